/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Derivatives, and how they are remembered: per state a row for ASCII; beyond it a table by the answers that the state's sets give for the character, so
 * that a class of a hundred thousand letters is one transition. */
#include "engine/grammar/regex_internal.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- derivative ---- */

static regex edge_target(const struct regex_node *node, uint32_t code_point) {
    uint32_t low = 0, high = node->edge_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (node->edges[middle].code_point < code_point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < node->edge_count && node->edges[low].code_point == code_point ? node->edges[low].target
                                                                               : REGEX_NOTHING;
}

static regex derive_concat(struct regex_pool *pool, regex r, uint32_t code_point) {
    uint32_t base = pool->scratch_count;
    for (;;) {
        struct regex_node node = *regex_node(pool, r);
        bool chain = node.kind == REGEX_KIND_CONCAT;
        regex d = regex_derive(pool, chain ? node.head : r, code_point);
        if (chain) d = regex_make_concat(pool, d, node.tail);
        bool last = !chain || !regex_has(pool, node.head, REGEX_NULLABLE);
        if (last && pool->scratch_count == base) return d;
        if (!regex_push_or(pool, d)) break;
        if (last) return regex_or_from(pool, base);
        r = node.tail;
    }
    pool->scratch_count = base;
    return REGEX_FAILED;
}

static regex derive_repeat(struct regex_pool *pool, const struct regex_node *node, uint32_t code_point) {
    regex d = regex_derive(pool, node->body, code_point);
    if (d == REGEX_NOTHING || d == REGEX_FAILED) return d;
    uint32_t min = node->min > 0 ? node->min - 1 : 0;
    uint32_t max = node->max == REGEX_UNBOUNDED ? node->max : node->max - 1;
    return regex_make_concat(pool, d, regex_make_repeat(pool, node->body, min, max));
}

static regex derive_or(struct regex_pool *pool, const struct regex_node *node, uint32_t code_point) {
    uint32_t base = pool->scratch_count;
    for (uint32_t i = 0; i < node->count; i++) {
        if (regex_push_or(pool, regex_derive(pool, node->children[i], code_point))) continue;
        pool->scratch_count = base;
        return REGEX_FAILED;
    }
    return regex_or_from(pool, base);
}

/** An operand of & or ~ is one of many states at once: its own steps are remembered, if they need no search. */
static regex derive_operand(struct regex_pool *pool, regex r, uint32_t code_point) {
    const struct regex_node *node = regex_node(pool, r);
    bool worth = node->kind == REGEX_KIND_CONCAT || node->kind == REGEX_KIND_OR;
    if (worth && code_point < 128 && (node->flags & REGEX_EXACT) != 0) return regex_step(pool, r, code_point);
    return regex_derive(pool, r, code_point);
}

static regex derive_and(struct regex_pool *pool, const struct regex_node *node, uint32_t code_point) {
    uint32_t base = pool->scratch_count;
    for (uint32_t i = 0; i < node->count; i++) {
        regex d = derive_operand(pool, node->children[i], code_point);
        if (d != REGEX_NOTHING && regex_push_and(pool, d)) continue;
        pool->scratch_count = base;
        return d == REGEX_NOTHING ? d : REGEX_FAILED;
    }
    return regex_and_from(pool, base);
}

/** The least solution: a loop that comes back to itself without a character adds nothing. */
static regex derive_loop(struct regex_pool *pool, regex r, uint32_t code_point) {
    if (regex_has(pool, r, REGEX_BUSY)) return REGEX_NOTHING;
    if (pool->loop_depth >= REGEX_LOOPS_MAX) return REGEX_FAILED;
    regex_node(pool, r)->flags |= REGEX_BUSY;
    pool->loop_depth++;
    regex d = regex_derive(pool, regex_node(pool, r)->of, code_point);
    pool->loop_depth--;
    regex_node(pool, r)->flags &= (uint8_t)~REGEX_BUSY;
    return d;
}

regex regex_derive(struct regex_pool *pool, regex r, uint32_t code_point) {
    if (!budget_spend(pool->budget, 1)) return REGEX_FAILED;
    struct regex_node node = *regex_node(pool, r);
    switch (node.kind) {
    case REGEX_KIND_CLASS:
        return regex_set_has(&pool->sets[node.set], code_point) ? REGEX_EMPTY : REGEX_NOTHING;
    case REGEX_KIND_CONCAT:
        return derive_concat(pool, r, code_point);
    case REGEX_KIND_REPEAT:
        return r == REGEX_EVERYTHING ? r : derive_repeat(pool, &node, code_point);
    case REGEX_KIND_OR:
        return derive_or(pool, &node, code_point);
    case REGEX_KIND_AND:
        return derive_and(pool, &node, code_point);
    case REGEX_KIND_NOT:
        return regex_make_not(pool, derive_operand(pool, node.of, code_point));
    case REGEX_KIND_BRANCH:
        return edge_target(&node, code_point);
    case REGEX_KIND_LOOP:
        return derive_loop(pool, r, code_point);
    default:
        return REGEX_NOTHING;
    }
}

/* ---- what looks at the first character ---- */

/** Calls `see` with every class and trie node that the next character of `r` is looked up in. */
typedef void see_fn(void *context, const struct regex_node *node);
static void each_first(struct regex_pool *pool, regex r, see_fn *see, void *context) {
    for (;;) {
        const struct regex_node *node = regex_node(pool, r);
        switch (node->kind) {
        case REGEX_KIND_CLASS:
        case REGEX_KIND_BRANCH:
            see(context, node);
            return;
        case REGEX_KIND_CONCAT:
            each_first(pool, node->head, see, context);
            if (!regex_has(pool, node->head, REGEX_NULLABLE)) return;
            r = node->tail;
            break;
        case REGEX_KIND_REPEAT:
            r = node->body;
            break;
        case REGEX_KIND_NOT:
            r = node->of;
            break;
        case REGEX_KIND_LOOP: {
            if (regex_has(pool, r, REGEX_BUSY) || pool->loop_depth >= REGEX_LOOPS_MAX) return;
            regex of = node->of;
            regex_node(pool, r)->flags |= REGEX_BUSY;
            pool->loop_depth++;
            each_first(pool, of, see, context);
            pool->loop_depth--;
            regex_node(pool, r)->flags &= (uint8_t)~REGEX_BUSY;
            return;
        }
        case REGEX_KIND_OR:
        case REGEX_KIND_AND:
            for (uint32_t i = 0; i < node->count; i++) each_first(pool, node->children[i], see, context);
            return;
        default:
            return;
        }
    }
}

/** The ASCII characters that no set of the state tells from `code_point`. */
struct alike {
    const struct regex_pool *pool;
    uint32_t code_point;
    uint64_t bits[2];
};
static void see_alike(void *context, const struct regex_node *node) {
    struct alike *alike = context;
    uint32_t c = alike->code_point;
    if (node->kind == REGEX_KIND_CLASS) {
        const struct regex_set *set = &alike->pool->sets[node->set];
        uint64_t flip = (set->ascii[c / 64] >> (c % 64) & 1) != 0 ? 0 : ~0ull;
        alike->bits[0] &= set->ascii[0] ^ flip;
        alike->bits[1] &= set->ascii[1] ^ flip;
        return;
    }
    uint64_t edges[2] = {0};
    for (uint32_t i = 0; i < node->edge_count && node->edges[i].code_point < 128; i++)
        edges[node->edges[i].code_point / 64] |= 1ull << (node->edges[i].code_point % 64);
    bool edge = (edges[c / 64] >> (c % 64) & 1) != 0;
    for (uint32_t word = 0; word < 2; word++)
        alike->bits[word] &= edge ? (word == c / 64 ? 1ull << (c % 64) : 0) : ~edges[word];
}

static struct alike alike_in(struct regex_pool *pool, regex r, uint32_t code_point) {
    struct alike alike = {.pool = pool, .code_point = code_point, .bits = {~0ull, ~0ull}};
    each_first(pool, r, see_alike, &alike);
    return alike;
}

struct collect {
    const struct regex_pool *pool;
    uint32_t sets[REGEX_FIRSTS_MAX];
    uint16_t count;
    bool plain, overflow;
};
static void see_collect(void *context, const struct regex_node *node) {
    struct collect *collect = context;
    if (node->kind == REGEX_KIND_BRANCH) {
        if (node->edges[node->edge_count - 1].code_point >= 128) collect->plain = false, collect->overflow = true;
        return;
    }
    if (collect->pool->sets[node->set].beyond != REGEX_BEYOND_SOME) return; /* says the same for all of them */
    collect->plain = false;
    for (uint16_t i = 0; i < collect->count; i++)
        if (collect->sets[i] == node->set) return;
    if (collect->count == REGEX_FIRSTS_MAX)
        collect->overflow = true;
    else
        collect->sets[collect->count++] = node->set;
}

static struct regex_firsts *firsts_of(struct regex_pool *pool, regex r) {
    if (regex_node(pool, r)->firsts != NULL) return regex_node(pool, r)->firsts;
    struct collect collect = {.pool = pool, .plain = true};
    each_first(pool, r, see_collect, &collect);
    size_t bytes = collect.count * sizeof *collect.sets;
    struct regex_firsts *firsts = regex_alloc(pool, sizeof *firsts + bytes);
    if (firsts == NULL) return NULL;
    *firsts = (struct regex_firsts){
        .beyond_ascii = REGEX_NOT_KNOWN, .count = collect.count, .plain = collect.plain, .overflow = collect.overflow};
    memcpy(firsts->sets, collect.sets, bytes);
    return regex_node(pool, r)->firsts = firsts;
}

/** Equal for characters with the same derivative. */
static uint64_t signature(const struct regex_pool *pool, const struct regex_firsts *firsts, uint32_t code_point) {
    if (firsts->overflow) return 1ull << 63 | code_point;
    uint64_t bits = 0;
    for (uint16_t i = 0; i < firsts->count; i++)
        bits |= (uint64_t)regex_set_has(&pool->sets[firsts->sets[i]], code_point) << i;
    return bits;
}

/* ---- remembered steps ---- */

static uint32_t transition_at(const struct regex_pool *pool, regex state, uint64_t signature) {
    uint32_t mask = pool->transition_size - 1;
    uint32_t at = regex_hash(regex_hash(regex_hash(state, (uint32_t)signature), (uint32_t)(signature >> 32)), 1) & mask;
    const struct regex_transition *list = pool->transitions;
    while (list[at].state != REGEX_NOTHING && (list[at].state != state || list[at].signature != signature))
        at = (at + 1) & mask;
    return at;
}

static bool transitions_room(struct regex_pool *pool) {
    if (pool->transition_count * 2 < pool->transition_size) return true;
    uint32_t old_size = pool->transition_size, size = old_size == 0 ? 64 : old_size * 2;
    if (!budget_reserve(pool->budget, (size - old_size) * sizeof *pool->transitions)) return false;
    struct regex_transition *old = pool->transitions, *list = calloc(size, sizeof *list);
    if (list == NULL) return false;
    pool->transitions = list;
    pool->transition_size = size;
    for (uint32_t i = 0; i < old_size; i++)
        if (old[i].state != REGEX_NOTHING) list[transition_at(pool, old[i].state, old[i].signature)] = old[i];
    free(old);
    return true;
}

static regex step_beyond_ascii(struct regex_pool *pool, regex state, uint32_t code_point) {
    struct regex_firsts *firsts = firsts_of(pool, state);
    if (firsts == NULL) return REGEX_FAILED;
    if (firsts->plain) {
        if (firsts->beyond_ascii != REGEX_NOT_KNOWN) return firsts->beyond_ascii;
        regex target = regex_settle(pool, regex_derive(pool, state, code_point));
        if (target != REGEX_FAILED) firsts->beyond_ascii = target;
        return target;
    }
    if (!transitions_room(pool)) return REGEX_FAILED;
    uint64_t key = signature(pool, firsts, code_point);
    uint32_t at = transition_at(pool, state, key);
    if (pool->transitions[at].state != REGEX_NOTHING) return pool->transitions[at].target;
    regex target = regex_settle(pool, regex_derive(pool, state, code_point));
    if (target == REGEX_FAILED) return target;
    pool->transitions[transition_at(pool, state, key)] = (struct regex_transition){state, target, key};
    pool->transition_count++;
    return target;
}

static regex *row_of(struct regex_pool *pool, regex state) {
    regex *row = regex_node(pool, state)->row;
    if (row != NULL) return row;
    if (!budget_spend(pool->budget, 1)) return NULL;
    row = regex_alloc(pool, 128 * sizeof *row);
    if (row == NULL) return NULL;
    for (int c = 0; c < 128; c++) row[c] = REGEX_NOT_KNOWN;
    return regex_node(pool, state)->row = row;
}

/** One derivative for all ASCII characters that are alike, if no search has made it before. */
static regex derive_alike(struct regex_pool *pool, regex state, uint32_t code_point, struct alike *out) {
    const struct regex_fan *fan = regex_node(pool, state)->fan;
    for (uint32_t i = 0; fan != NULL && i < fan->count; i++) {
        const struct regex_way *way = &fan->ways[i];
        if ((way->ascii[code_point / 64] >> (code_point % 64) & 1) == 0) continue;
        *out = (struct alike){.bits = {way->ascii[0], way->ascii[1]}};
        return way->target;
    }
    *out = alike_in(pool, state, code_point);
    return fan != NULL ? REGEX_NOTHING : regex_derive(pool, state, code_point);
}

static regex fill_row(struct regex_pool *pool, regex state, regex *row, uint32_t code_point) {
    struct alike alike;
    regex target = regex_settle(pool, derive_alike(pool, state, code_point, &alike));
    if (target == REGEX_FAILED) return target;
    for (uint32_t word = 0; word < 2; word++)
        for (uint64_t bits = alike.bits[word]; bits != 0; bits &= bits - 1)
            row[word * 64 + (uint32_t)__builtin_ctzll(bits)] = target;
    return target;
}

bool regex_same_beyond(struct regex_pool *pool, regex state) {
    if (state == REGEX_FAILED || state == REGEX_NOTHING) return true;
    const struct regex_firsts *firsts = firsts_of(pool, state);
    return firsts != NULL && firsts->plain;
}

regex regex_step(struct regex_pool *pool, regex state, uint32_t code_point) {
    if (state == REGEX_FAILED || state == REGEX_NOTHING) return state;
    if (code_point < 128) {
        regex *row = row_of(pool, state);
        if (row == NULL) return REGEX_FAILED;
        return row[code_point] != REGEX_NOT_KNOWN ? row[code_point] : fill_row(pool, state, row, code_point);
    }
    if (code_point > REGEX_CODE_POINT_LAST ||
        (code_point >= REGEX_SURROGATE_FIRST && code_point <= REGEX_SURROGATE_LAST))
        return REGEX_NOTHING;
    return step_beyond_ascii(pool, state, code_point);
}

const regex *regex_row(struct regex_pool *pool, regex state) {
    return state == REGEX_FAILED ? NULL : row_of(pool, state);
}

regex regex_walk(struct regex_pool *pool, regex state, struct bytes_view text) {
    uint32_t code_point;
    bool valid;
    if (!budget_spend(pool->budget, (int64_t)(text.length / 32))) return REGEX_FAILED;
    for (size_t at = 0;
         at < text.length && state != REGEX_NOTHING && state != REGEX_EVERYTHING && state != REGEX_FAILED;) {
        at += text_decode(text.data + at, text.length - at, &code_point, &valid);
        state = regex_step(pool, state, code_point);
    }
    return state;
}

bool regex_accepts(const struct regex_pool *pool, regex state) {
    return state != REGEX_FAILED && regex_has(pool, state, REGEX_NULLABLE);
}

bool regex_matches(struct regex_pool *pool, regex a, struct bytes_view text) {
    return regex_accepts(pool, regex_walk(pool, a, text));
}

/* ---- all ways out ---- */

/** The next code point at or behind which one of the state's sets, or an edge, may tell characters apart. */
struct border {
    const struct regex_pool *pool;
    uint32_t code_point, next;
};
static void see_border(void *context, const struct regex_node *node) {
    struct border *border = context;
    uint32_t next = REGEX_CODE_POINT_LAST + 1, at = border->code_point;
    if (node->kind == REGEX_KIND_CLASS) {
        const struct regex_set *set = &border->pool->sets[node->set];
        if (set->beyond == REGEX_BEYOND_SOME || at < 128) next = regex_set_border(set, at);
    } else {
        uint32_t low = 0, high = node->edge_count;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (node->edges[middle].code_point < at)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < node->edge_count) next = node->edges[low].code_point == at ? at + 1 : node->edges[low].code_point;
    }
    if (next < border->next) border->next = next;
}

/** `firsts` are the state's, or NULL. */
static uint32_t border_behind(struct regex_pool *pool, regex r, const struct regex_firsts *firsts,
                              uint32_t code_point) {
    struct border border = {.pool = pool, .code_point = code_point, .next = REGEX_CODE_POINT_LAST + 1};
    if (code_point < REGEX_SURROGATE_FIRST) border.next = REGEX_SURROGATE_FIRST;
    if (firsts == NULL || firsts->overflow || code_point < 128) {
        each_first(pool, r, see_border, &border);
        return border.next;
    }
    for (uint16_t i = 0; i < firsts->count; i++) {
        uint32_t next = regex_set_border(&pool->sets[firsts->sets[i]], code_point);
        if (next < border.next) border.next = next;
    }
    return border.next;
}

bool regex_live_in(struct regex_pool *pool, regex state, uint32_t first, uint32_t last) {
    if (state == REGEX_NOTHING || state == REGEX_FAILED) return false;
    if (last > REGEX_CODE_POINT_LAST) last = REGEX_CODE_POINT_LAST;
    for (uint32_t c = first; c <= last; c = border_behind(pool, state, regex_node(pool, state)->firsts, c)) {
        if (c >= REGEX_SURROGATE_FIRST && c <= REGEX_SURROGATE_LAST) {
            c = REGEX_SURROGATE_LAST + 1;
            if (c > last) return false;
        }
        regex target = regex_step(pool, state, c);
        if (target == REGEX_FAILED) return false;
        if (target != REGEX_NOTHING) return true;
    }
    return false;
}

/** Ways that are being collected: one for each target. */
struct ways {
    struct regex_way *list;
    uint32_t count, capacity;
};

static bool add_way(struct regex_pool *pool, struct ways *ways, const struct regex_way *way) {
    if (way->target == REGEX_NOTHING) return true;
    for (uint32_t i = ways->count < 64 ? 0 : ways->count - 64; i < ways->count; i++) {
        struct regex_way *known = &ways->list[i];
        if (known->target != way->target) continue;
        known->characters += way->characters;
        known->ascii[0] |= way->ascii[0];
        known->ascii[1] |= way->ascii[1];
        return true;
    }
    if (!regex_grow(pool, &ways->list, &ways->capacity, ways->count + 1, sizeof *ways->list)) return false;
    ways->list[ways->count++] = *way;
    return true;
}

static bool ascii_ways(struct regex_pool *pool, regex r, struct ways *ways) {
    /* Letters and digits first: they stand for the others that are alike, and read well where a text is made up. */
    static const uint8_t first[] = {'a', '0', 'A', ' '};
    uint64_t left[2] = {~0ull, ~0ull};
    uint32_t preferred = 0;
    while ((left[0] | left[1]) != 0) {
        uint32_t c = left[0] != 0 ? (uint32_t)__builtin_ctzll(left[0]) : 64 + (uint32_t)__builtin_ctzll(left[1]);
        while (preferred < sizeof first) {
            uint32_t wanted = first[preferred++];
            if ((left[wanted / 64] >> (wanted % 64) & 1) == 0) continue;
            c = wanted;
            break;
        }
        struct alike alike = alike_in(pool, r, c);
        regex target = regex_derive(pool, r, c);
        if (target == REGEX_FAILED) return false;
        uint64_t count = (uint64_t)(__builtin_popcountll(alike.bits[0]) + __builtin_popcountll(alike.bits[1]));
        struct regex_way way = {target, c, count, {alike.bits[0], alike.bits[1]}};
        if (!add_way(pool, ways, &way)) return false;
        left[0] &= ~alike.bits[0];
        left[1] &= ~alike.bits[1];
    }
    return true;
}

/** Derivatives beyond ASCII, each signature's once. */
static bool ways_beyond(struct regex_pool *pool, regex r, struct ways *ways) {
    const struct regex_firsts *firsts = firsts_of(pool, r);
    if (firsts == NULL) return false;
    struct {
        uint64_t signature;
        regex target;
    } seen[32];
    uint32_t seen_count = 0, borders = 0, end;
    for (uint32_t c = 128; c <= REGEX_CODE_POINT_LAST; c = end) {
        if (c == REGEX_SURROGATE_FIRST) c = REGEX_SURROGATE_LAST + 1;
        if (!budget_spend(pool->budget, (++borders & 7) == 0)) return false; /* a little for every border */
        end = border_behind(pool, r, firsts, c);
        uint64_t key = firsts->plain ? 0 : signature(pool, firsts, c);
        uint32_t i = 0;
        while (i < seen_count && seen[i].signature != key) i++;
        regex target = i < seen_count ? seen[i].target : regex_derive(pool, r, c);
        if (target == REGEX_FAILED) return false;
        if (i == seen_count && i < sizeof seen / sizeof seen[0]) {
            seen[seen_count].signature = key;
            seen[seen_count++].target = target;
        }
        if (!add_way(pool, ways, &(struct regex_way){target, c, end - c, {0}})) return false;
    }
    return true;
}

/** Those of `known`, or of ASCII, and if asked for those beyond. */
static bool collect_ways(struct regex_pool *pool, regex r, const struct regex_fan *known, bool complete,
                         struct ways *ways) {
    if (known == NULL) {
        if (!ascii_ways(pool, r, ways)) return false;
    } else {
        if (!regex_grow(pool, &ways->list, &ways->capacity, known->count + 1, sizeof *ways->list)) return false;
        memcpy(ways->list, known->ways, known->count * sizeof *ways->list);
        ways->count = known->count;
    }
    return !complete || ways_beyond(pool, r, ways);
}

const struct regex_fan *regex_fan(struct regex_pool *pool, regex r, bool complete) {
    const struct regex_fan *known = regex_node(pool, r)->fan;
    if (known != NULL && (known->complete || !complete)) return known;
    const struct regex_firsts *firsts = firsts_of(pool, r);
    if (firsts == NULL) return NULL;
    complete = complete || firsts->plain; /* one derivative more */
    struct ways ways = {0};
    struct regex_fan *fan = NULL;
    if (collect_ways(pool, r, known, complete, &ways)) {
        fan = regex_alloc(pool, sizeof *fan + ways.count * sizeof *ways.list);
        if (fan != NULL) {
            fan->count = ways.count;
            fan->complete = complete;
            if (ways.count > 0) memcpy(fan->ways, ways.list, ways.count * sizeof *ways.list);
            regex_node(pool, r)->fan = fan;
        }
    }
    pool->budget->bytes += (int64_t)(ways.capacity * sizeof *ways.list);
    free(ways.list);
    return fan;
}
