/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Random grammars over an alphabet of two letters against sets of texts: the least sets that satisfy the rules, every text up to a length, found by trying until
 * nothing is added. Nothing of the engine is in there.
 */
#include "base/random.h"
#include "base/text.h"
#include "engine/grammar/earley.h"

#include "tests/unit/engine/check.h"

#include <stdio.h>
#include <string.h>

enum { LENGTH_MAX = 7, TEXTS = 2 << LENGTH_MAX, RULES = 4, NODES = 64, GRAMMARS = 10000 };

/* A text of a and b is a number: 1, then a bit for each letter. */
struct texts {
    bool has[TEXTS];
};
static int length_of(int text) {
    return 31 - __builtin_clz((unsigned)text);
}

enum kind { NODE_TEXT, NODE_CLASS, NODE_RULE, NODE_CONCAT, NODE_OR, NODE_REPEAT };
struct node {
    enum kind kind;
    int value;       /* text, class as bits, rule */
    int left, right; /* nodes */
    int min, max;    /* max -1: any number */
};
struct grammar_case {
    struct node nodes[NODES];
    int count;
    int roots[RULES];
    struct texts languages[RULES];
    char text[8192];
};

/* ---- random grammars ---- */

struct draws {
    uint64_t seed, position;
};
static int pick(struct draws *draws, int below) {
    return (int)(random_philox(draws->seed, draws->position++, 0) % (uint64_t)below);
}

static int make_node(struct grammar_case *it, struct draws *draws, int depth) {
    int index = it->count++;
    struct node node = {.kind = (enum kind)pick(draws, depth > 0 && it->count < NODES - 16 ? 6 : 3)};
    switch (node.kind) {
    case NODE_TEXT: {
        int length = pick(draws, 4) == 0 ? pick(draws, 3) : 1;
        node.value = 1 << length | pick(draws, 1 << length);
        break;
    }
    case NODE_CLASS:
        node.value = 1 + pick(draws, 3);
        break;
    case NODE_RULE:
        node.value = pick(draws, RULES);
        break;
    case NODE_CONCAT:
    case NODE_OR:
        node.left = make_node(it, draws, depth - 1);
        node.right = make_node(it, draws, depth - 1);
        break;
    case NODE_REPEAT:
        node.left = make_node(it, draws, depth - 1);
        node.min = pick(draws, 3);
        node.max = pick(draws, 2) == 0 ? -1 : node.min + pick(draws, 3);
        break;
    }
    it->nodes[index] = node;
    return index;
}

/* As GBNF; the two letters are `letters`. */
static void print_node(const struct grammar_case *it, int index, const char *const letters[2], struct bytes *out) {
    const struct node *node = &it->nodes[index];
    switch (node->kind) {
    case NODE_TEXT:
        check_ok(bytes_append_string(out, "\""));
        for (int i = length_of(node->value); i-- > 0;)
            check_ok(bytes_append_string(out, letters[node->value >> i & 1]));
        check_ok(bytes_append_string(out, "\""));
        break;
    case NODE_CLASS:
        check_ok(bytes_printf(out, "[%s%s]", node->value & 1 ? letters[0] : "", node->value & 2 ? letters[1] : ""));
        break;
    case NODE_RULE:
        check_ok(bytes_printf(out, "%s", node->value == 0 ? "root" : ""));
        break;
    default:
        break;
    }
    if (node->kind == NODE_RULE && node->value > 0) check_ok(bytes_printf(out, "r%d", node->value));
    if (node->kind < NODE_CONCAT) return;
    check_ok(bytes_append_string(out, "("));
    print_node(it, node->left, letters, out);
    if (node->kind == NODE_OR) check_ok(bytes_append_string(out, " | "));
    if (node->kind == NODE_CONCAT) check_ok(bytes_append_string(out, " "));
    if (node->kind != NODE_REPEAT) print_node(it, node->right, letters, out);
    check_ok(bytes_append_string(out, ")"));
    if (node->kind != NODE_REPEAT) return;
    if (node->max == -1)
        check_ok(bytes_printf(out, "{%d,}", node->min));
    else
        check_ok(bytes_printf(out, "{%d,%d}", node->min, node->max));
}

/* ---- what they mean ---- */

static struct texts join(const struct texts *a, const struct texts *b) {
    struct texts out = {0};
    for (int i = 1; i < TEXTS; i++) {
        if (!a->has[i]) continue;
        for (int k = 1; k < TEXTS; k++) {
            int length = length_of(k);
            if (b->has[k] && length_of(i) + length <= LENGTH_MAX) out.has[(i << length) | (k - (1 << length))] = true;
        }
    }
    return out;
}

static struct texts either(const struct texts *a, const struct texts *b) {
    struct texts out;
    for (int i = 0; i < TEXTS; i++) out.has[i] = a->has[i] || b->has[i];
    return out;
}

static struct texts meaning(const struct grammar_case *it, int index) {
    const struct node *node = &it->nodes[index];
    struct texts out = {0}, left, right, empty = {0};
    empty.has[1] = true;
    switch (node->kind) {
    case NODE_TEXT:
        out.has[node->value] = true;
        return out;
    case NODE_CLASS:
        out.has[2] = node->value & 1;
        out.has[3] = (node->value & 2) != 0;
        return out;
    case NODE_RULE:
        return it->languages[node->value];
    case NODE_CONCAT:
    case NODE_OR:
        left = meaning(it, node->left);
        right = meaning(it, node->right);
        return node->kind == NODE_OR ? either(&left, &right) : join(&left, &right);
    case NODE_REPEAT:
        break;
    }
    left = meaning(it, node->left);
    struct texts power = empty;
    int most = node->max == -1 ? node->min + LENGTH_MAX : node->max;
    for (int i = 0; i <= most; i++) {
        if (i >= node->min) out = either(&out, &power);
        power = join(&power, &left);
    }
    return out;
}

static void find_languages(struct grammar_case *it) {
    memset(it->languages, 0, sizeof it->languages);
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < RULES; i++) {
            struct texts next = meaning(it, it->roots[i]);
            if (memcmp(&next, &it->languages[i], sizeof next) != 0) more = true;
            it->languages[i] = next;
        }
    }
}

/* ---- the machine ---- */

struct walk {
    bool live, complete;
    uint64_t signature;
};

static struct machine_state walk_bytes(struct machine *machine, struct frames *frames, struct bytes_view text,
                                       bool *out_live) {
    struct machine_state state = {0};
    assert_int_equal(machine->operations->start(machine, frames, &state), MACHINE_LIVE);
    *out_live = true;
    for (size_t i = 0; i < text.length && *out_live; i++) {
        enum machine_step step = machine->operations->step(machine, frames, &state, text.data[i], &state);
        assert_int_not_equal(step, MACHINE_FAILED);
        *out_live = step == MACHINE_LIVE;
    }
    return state;
}

/* A live state's shortest rest makes the text complete, and is as long as it says. */
static uint64_t check_shortest(const struct grammar_case *it, struct machine *machine, struct frames *frames,
                               struct bytes_view text, const struct machine_state *state) {
    struct bytes whole;
    bytes_init(&whole, 1 << 16);
    check_ok(bytes_append(&whole, text.data, text.length));
    uint64_t rest = machine->operations->shortest(machine, frames, state, 1000, &whole);
    bool live;
    struct machine_state end = walk_bytes(machine, frames, bytes_view(&whole), &live);
    if (!live || !machine->operations->complete(machine, &end) || whole.length != text.length + rest)
        fail_msg("'%.*s' is not completed by its shortest rest, '%.*s' (%d bytes), in\n%s", (int)text.length, text.data,
                 (int)whole.length, whole.data, (int)rest, it->text);
    bytes_deinit(&whole);
    return rest;
}

static void write_text(int text, const char *const letters[2], struct bytes *out) {
    bytes_reset(out);
    for (int i = length_of(text); i-- > 0;) check_ok(bytes_append_string(out, letters[text >> i & 1]));
}

/* Shortest rest of `text` among texts of the bounded language, in letters; -1: none. */
static int wanted_rest(const struct texts *language, int text) {
    int best = -1, length = length_of(text);
    for (int i = 1; i < TEXTS; i++) {
        int more = length_of(i) - length;
        if (language->has[i] && more >= 0 && i >> more == text && (best == -1 || more < best)) best = more;
    }
    return best;
}

static void check_futures(const struct grammar_case *it, const struct walk *walks) {
    const struct texts *language = &it->languages[0];
    for (int a = 1; a < TEXTS; a++)
        for (int b = a + 1; b < TEXTS; b++) {
            if (!walks[a].live || walks[a].signature == 0 || walks[a].signature != walks[b].signature || !walks[b].live)
                continue;
            for (int rest = 1; rest < TEXTS; rest++) {
                int length = length_of(rest), tail = rest - (1 << length);
                if (length_of(b) + length > LENGTH_MAX) break;
                if (language->has[a << length | tail] != language->has[b << length | tail])
                    fail_msg("equal signatures, unequal futures (%x, %x) in\n%s", (unsigned)a, (unsigned)b, it->text);
            }
        }
}

static void check_machine(struct grammar_case *it, struct machine *machine, const char *const letters[2]) {
    static struct walk walks[TEXTS];
    const struct texts *language = &it->languages[0];
    size_t letter_bytes = strlen(letters[0]);
    struct bytes text;
    bytes_init(&text, 1 << 10);
    for (int i = 1; i < TEXTS; i++) {
        struct frames frames;
        frames_init(&frames, 64 << 20);
        write_text(i, letters, &text);
        struct machine_state state = walk_bytes(machine, &frames, bytes_view(&text), &walks[i].live);
        walks[i].complete = walks[i].live && machine->operations->complete(machine, &state);
        if (walks[i].live) walks[i].signature = machine->operations->signature(machine, &state);
        int wanted = wanted_rest(language, i);
        if (walks[i].complete != language->has[i] || (wanted >= 0 && !walks[i].live))
            fail_msg("'%.*s' is %saccepted in\n%s", (int)text.length, text.data, walks[i].complete ? "" : "not ",
                     it->text);
        if (walks[i].live) {
            uint64_t rest = check_shortest(it, machine, &frames, bytes_view(&text), &state);
            if (wanted >= 0 && rest != (uint64_t)wanted * letter_bytes)
                fail_msg("the shortest rest of '%.*s' is not %d but %d bytes in\n%s", (int)text.length, text.data,
                         wanted, (int)rest, it->text);
        }
        frames_deinit(&frames);
    }
    check_futures(it, walks);
    bytes_deinit(&text);
}

static void print_grammar(struct grammar_case *it, const char *const letters[2]) {
    struct bytes out;
    bytes_init(&out, sizeof it->text - 1);
    for (int i = 0; i < RULES; i++) {
        check_ok(i == 0 ? bytes_append_string(&out, "root ::= ") : bytes_printf(&out, "r%d ::= ", i));
        print_node(it, it->roots[i], letters, &out);
        check_ok(bytes_append_string(&out, "\n"));
    }
    snprintf(it->text, sizeof it->text, "%.*s", (int)out.length, (const char *)out.data);
    bytes_deinit(&out);
}

static void check_random(const char *const letters[2], uint64_t seed, int grammars) {
    static struct grammar_case it;
    struct draws draws = {.seed = seed};
    int empty = 0;
    for (int i = 0; i < grammars; i++) {
        it.count = 0;
        for (int rule = 0; rule < RULES; rule++) it.roots[rule] = make_node(&it, &draws, 1 + pick(&draws, 3));
        print_grammar(&it, letters);
        find_languages(&it);
        struct grammar_budget budget = {.fuel = 10000000, .bytes = 256 << 20};
        struct grammar_problem problem = {0};
        struct machine *machine = NULL;
        enum status status =
            earley_machine_create(&budget, bytes_view_string(it.text), GRAMMAR_GBNF, &machine, &problem);
        bool none = wanted_rest(&it.languages[0], 1) == -1;
        if (status == STATUS_FAILED_PRECONDITION && none) {
            empty++;
            continue;
        }
        if (status != STATUS_OK) fail_msg("%s %s in\n%s", problem.pointer, problem.reason, it.text);
        check_machine(&it, machine, letters);
        machine->operations->destroy(machine);
    }
    printf("seed %llu: %d grammars, %d of them empty\n", (unsigned long long)seed, grammars, empty);
    assert_true(empty < grammars / 2);
}

static void test_random_grammars_over_ascii(void **state) {
    (void)state;
    check_random((const char *const[2]){"a", "b"}, 1, GRAMMARS);
}

static void test_random_grammars_over_letters_that_begin_with_the_same_byte(void **state) {
    (void)state;
    check_random((const char *const[2]){"\xC3\xA9", "\xC3\xA8"}, 2, GRAMMARS / 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_grammars_over_ascii),
        cmocka_unit_test(test_random_grammars_over_letters_that_begin_with_the_same_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
