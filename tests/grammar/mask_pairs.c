/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Mask equals acceptance, for as many pairs of a state and a token as one likes to wait for:
 *
 *     mask_pairs TOKENIZER PAIRS SEED <lines
 *
 * A line of standard input is one grammar: {"schema"}, {"regex"}, {"dialect": "gbnf" or "lark", "grammar"} or {"layout": 1 to 5, "choice": 0 to 3, "tools": [schema, ...]}. Each
 * in turn, again and again, is walked at random from its start, mostly by odd tokens (those in which quotes, brackets, escapes or parts of characters stand
 * beside other things); in each state the mask's bit of random tokens, of odd ones and of admitted ones is compared with what grammar_accept says.
 * Prints {"kind": pairs, ...} and each disagreement; exits with 1 where there is one.
 */
#include "base/json.h"
#include "base/random.h"
#include "engine/grammar/calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 1 << 16, WALK_TOKENS = 48, PROBES = 96, DEPTH_MAX = 1000, TOOLS_MAX = 64, TOLD_MAX = 20 };
enum kind { KIND_SCHEMA, KIND_REGEX, KIND_RULES, KIND_CALLS, KINDS };
static const char *const kind_names[KINDS] = {"schema", "regex", "rules", "calls"};

struct soak {
    struct tokenizer *tokenizer;
    struct grammar_vocabulary *vocabulary;
    struct call_format *formats[CHAT_CALLS_PARAMETERS + 1]; /* NULL: the vocabulary has not what the layout needs */
    int32_t count, *odd, *admitted, *admitted_odd;          /* [count] each; the latter two: by the mask */
    size_t odd_count, admitted_count, admitted_odd_count;
    uint32_t *mask;
    uint64_t seed, draws;
    uint64_t pairs[KINDS], set[KINDS], states[KINDS], grammars[KINDS];
    size_t declined, failed, disagreements;
    struct bytes text; /* of the walk, for who has to look at a disagreement */
};

static uint64_t draw(struct soak *soak, uint64_t below) {
    return random_philox(soak->seed, soak->draws++, 0) % below;
}

static bool bit(const struct soak *soak, int32_t token) {
    return (soak->mask[token / 32] >> token % 32 & 1) != 0;
}

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

/** More than one kind of bytes in it: marks of JSON beside other things, or a part of a character. */
static bool is_odd(struct bytes_view piece) {
    bool marks = false, others = false, begins_inside = piece.length > 0 && (piece.data[0] & 0xC0) == 0x80;
    size_t last = piece.length;
    while (last > 0 && (piece.data[last - 1] & 0xC0) == 0x80) last--;
    bool ends_inside = last > 0 && piece.data[last - 1] >= 0xC0 &&
                       piece.length - last < (piece.data[last - 1] >= 0xF0   ? 3U
                                              : piece.data[last - 1] >= 0xE0 ? 2U
                                                                             : 1U);
    for (size_t i = 0; i < piece.length; i++) {
        bool mark = piece.data[i] != 0 && strchr("\"\\{}[]:,\n\t ", piece.data[i]) != NULL;
        marks |= mark;
        others |= !mark;
    }
    return begins_inside || ends_inside || (marks && (others || piece.length > 1));
}

static bool list_odd(struct soak *soak) {
    int32_t *lists = calloc(3 * (size_t)soak->count, sizeof *lists);
    if (lists == NULL) return false;
    soak->odd = lists;
    soak->admitted = lists + soak->count;
    soak->admitted_odd = lists + 2 * (size_t)soak->count;
    for (int32_t id = 0; id < soak->count; id++)
        if (tokenizer_is_control(soak->tokenizer, id) || is_odd(tokenizer_piece(soak->tokenizer, id)))
            soak->odd[soak->odd_count++] = id;
    return soak->odd_count > 0;
}

/** What the mask admits, ends of text aside. */
static void list_admitted(struct soak *soak) {
    soak->admitted_count = soak->admitted_odd_count = 0;
    for (int32_t id = 0; id < soak->count; id++) {
        if (id % 32 == 0 && soak->mask[id / 32] == 0) {
            id += 31;
            continue;
        }
        if (bit(soak, id) && !tokenizer_is_end(soak->tokenizer, id)) soak->admitted[soak->admitted_count++] = id;
    }
    for (size_t i = 0; i < soak->odd_count; i++)
        if (bit(soak, soak->odd[i]) && !tokenizer_is_end(soak->tokenizer, soak->odd[i]))
            soak->admitted_odd[soak->admitted_odd_count++] = soak->odd[i];
}

/** An admitted token, mostly an odd one; -1: there is none. */
static int32_t draw_admitted(struct soak *soak) {
    if (soak->admitted_odd_count > 0 && draw(soak, 3) > 0)
        return soak->admitted_odd[draw(soak, soak->admitted_odd_count)];
    return soak->admitted_count > 0 ? soak->admitted[draw(soak, soak->admitted_count)] : -1;
}

static int32_t draw_probe(struct soak *soak, int number) {
    if (number % 3 == 0) return (int32_t)draw(soak, (uint64_t)soak->count);
    if (number % 3 == 1) return soak->odd[draw(soak, soak->odd_count)];
    int32_t token = draw_admitted(soak);
    return token < 0 ? 0 : token;
}

/* ---- grammars ------------------------------------------------------------------------------------------------------ */

static int64_t number_of(const struct json_value *line, const char *name) {
    int64_t value = 0;
    return json_i64(json_member(line, name), &value) ? value : 0;
}

static enum status compile_calls(struct soak *soak, const struct json_value *line,
                                 const struct grammar_options *options, struct grammar **out) {
    static const char *const names[] = {"get", "get_weather", "say \"it\"", "t-1", "\xC3\xA9"};
    static struct call_tool tools[TOOLS_MAX];
    static char made[TOOLS_MAX][16];
    int64_t layout = number_of(line, "layout");
    struct call_request request = {.tools = tools, .options = options};
    struct call_problem problem;
    const struct json_value *list = json_member(line, "tools");
    if (layout < 1 || layout > CHAT_CALLS_PARAMETERS || soak->formats[layout] == NULL || list == NULL)
        return STATUS_UNIMPLEMENTED;
    for (const struct json_value *schema = list->first; schema != NULL && request.tool_count < TOOLS_MAX;
         schema = schema->next) {
        size_t i = request.tool_count++;
        snprintf(made[i], sizeof made[i], "tool_%zu", i);
        tools[i] = (struct call_tool){.name = bytes_view_string(i < 5 ? names[i] : made[i]), .parameters = schema};
    }
    request.choice = (enum call_choice)(number_of(line, "choice") & 3);
    request.named = request.tool_count > 0 ? draw(soak, request.tool_count) : 0;
    request.parallel = draw(soak, 2) == 0;
    request.thought_open = draw(soak, 8) == 0;
    return calls_compile(soak->formats[layout], &request, out, &problem);
}

static enum status compile(struct soak *soak, const struct json_value *line, struct grammar **out, enum kind *kind) {
    struct grammar_options options = {.space = (enum grammar_space)draw(soak, 3),
                                      .order = (enum grammar_order)draw(soak, 2),
                                      .spelling = (enum grammar_spelling)draw(soak, 2),
                                      .any_properties = draw(soak, 2) != 0};
    struct grammar_problem problem;
    const struct json_value *schema = json_member(line, "schema"), *regex = json_member(line, "regex"),
                            *rules = json_member(line, "grammar");
    *kind = schema != NULL ? KIND_SCHEMA : regex != NULL ? KIND_REGEX : rules != NULL ? KIND_RULES : KIND_CALLS;
    if (schema != NULL) return grammar_compile_schema(soak->vocabulary, schema, &options, out, &problem);
    if (regex != NULL) return grammar_compile_regex(soak->vocabulary, regex->string, &options, out, &problem);
    bool lark = json_is_string(json_member(line, "dialect"), "lark");
    if (rules != NULL)
        return grammar_compile_rules(soak->vocabulary, rules->string, lark ? GRAMMAR_LARK : GRAMMAR_GBNF, &options, out,
                                     &problem);
    return compile_calls(soak, line, &options, out);
}

/* ---- walks --------------------------------------------------------------------------------------------------------- */

static void tell(struct soak *soak, const struct json_value *line, int32_t token, bool accepted) {
    if (soak->disagreements++ >= TOLD_MAX) return;
    struct bytes_view piece = tokenizer_piece(soak->tokenizer, token);
    struct bytes out;
    bytes_init(&out, 64 << 20);
    (void)bytes_printf(&out, "token %d ", token);
    (void)json_append_string(&out, piece);
    (void)bytes_printf(&out, " is %s behind ", accepted ? "accepted and not in the mask" : "in the mask and refused");
    (void)json_append_string(&out, bytes_view(&soak->text));
    fprintf(stderr, "%.*s of %.*s\n", (int)out.length, (const char *)out.data, (int)line->text.length,
            (const char *)line->text.data);
    bytes_deinit(&out);
}

static bool compare(struct soak *soak, const struct json_value *line, enum kind kind, struct grammar_session *session,
                    const struct grammar_state *state, struct error *err) {
    for (int i = 0; i < PROBES; i++) {
        struct grammar_state copy = *state;
        int32_t token = draw_probe(soak, i);
        bool accepted = false;
        if (grammar_accept(session, &copy, token, &accepted, err) != STATUS_OK) return false;
        soak->pairs[kind]++;
        soak->set[kind] += accepted;
        if (accepted != bit(soak, token)) tell(soak, line, token, accepted);
    }
    return true;
}

/** False: the grammar's budget is spent. */
static bool walk(struct soak *soak, const struct json_value *line, enum kind kind, struct grammar_session *session) {
    struct grammar_state state;
    struct error err = {0};
    bytes_reset(&soak->text);
    if (grammar_start(session, &state, &err) != STATUS_OK) return false;
    for (size_t step = draw(soak, WALK_TOKENS); step < WALK_TOKENS; step++) {
        bool accepted = false;
        if (grammar_mask(session, &state, SIZE_MAX, soak->mask, &err) != STATUS_OK) return false;
        list_admitted(soak);
        if (!compare(soak, line, kind, session, &state, &err)) return false;
        soak->states[kind]++;
        int32_t token = draw_admitted(soak);
        if (token < 0) return true;
        struct bytes_view piece = tokenizer_piece(soak->tokenizer, token);
        if (grammar_accept(session, &state, token, &accepted, &err) != STATUS_OK) return false;
        if (!accepted || bytes_append(&soak->text, piece.data, piece.length) != STATUS_OK) return true;
    }
    return true;
}

static void walk_line(struct soak *soak, const struct json_value *line, int walks) {
    struct grammar *grammar = NULL;
    struct error err = {0};
    enum kind kind;
    if (compile(soak, line, &grammar, &kind) != STATUS_OK) {
        soak->declined++;
        return;
    }
    soak->grammars[kind]++;
    for (int i = 0; i < walks; i++) {
        struct grammar_session *session = NULL;
        if (grammar_session_create(grammar, &session, &err) != STATUS_OK) break;
        soak->failed += !walk(soak, line, kind, session);
        grammar_session_destroy(session);
    }
    grammar_unref(grammar);
}

/* ---- all of it ----------------------------------------------------------------------------------------------------- */

static bool read_lines(struct arena *arena, struct bytes *held, const struct json_value **lines, size_t *count) {
    uint8_t piece[1 << 16];
    size_t got, begin = 0;
    while ((got = fread(piece, 1, sizeof piece, stdin)) > 0)
        if (bytes_append(held, piece, got) != STATUS_OK) return false;
    for (size_t i = 0; i < held->length && *count < LINES_MAX; i++) {
        if (held->data[i] != '\n') continue;
        struct json_value *value;
        struct json_problem problem;
        struct bytes_view text = bytes_view_of(held->data + begin, i - begin);
        begin = i + 1;
        if (json_read_python(text, DEPTH_MAX, 1 << 20, arena, &value, &problem) == STATUS_OK) lines[(*count)++] = value;
    }
    return *count > 0;
}

static bool open_soak(struct soak *soak, const char *path, struct error *err) {
    if (tokenizer_load_path(path, &soak->tokenizer, err) != STATUS_OK ||
        grammar_vocabulary_create(soak->tokenizer, &soak->vocabulary, err) != STATUS_OK)
        return false;
    soak->count = tokenizer_vocabulary(soak->tokenizer);
    soak->mask = calloc(grammar_mask_words(soak->vocabulary), sizeof *soak->mask);
    bytes_init(&soak->text, 16 << 20);
    for (int layout = CHAT_CALLS_LIST; layout <= CHAT_CALLS_PARAMETERS; layout++) {
        struct error none = {0};
        if (call_format_create(soak->vocabulary, (enum chat_calls)layout, &soak->formats[layout], &none) != STATUS_OK)
            soak->formats[layout] = NULL;
    }
    return soak->mask != NULL && list_odd(soak);
}

static void close_soak(struct soak *soak) {
    for (int layout = CHAT_CALLS_LIST; layout <= CHAT_CALLS_PARAMETERS; layout++)
        if (soak->formats[layout] != NULL) call_format_destroy(soak->formats[layout]);
    if (soak->vocabulary != NULL) grammar_vocabulary_destroy(soak->vocabulary);
    if (soak->tokenizer != NULL) tokenizer_destroy(soak->tokenizer);
    bytes_deinit(&soak->text);
    free(soak->mask);
    free(soak->odd);
}

static void print(const struct soak *soak) {
    printf("{");
    for (int kind = 0; kind < KINDS; kind++)
        printf("\"%s\": {\"pairs\": %llu, \"admitted\": %llu, \"states\": %llu, \"grammars\": %llu}, ",
               kind_names[kind], (unsigned long long)soak->pairs[kind], (unsigned long long)soak->set[kind],
               (unsigned long long)soak->states[kind], (unsigned long long)soak->grammars[kind]);
    printf("\"declined\": %zu, \"failed\": %zu, \"disagreements\": %zu}\n", soak->declined, soak->failed,
           soak->disagreements);
}

int main(int argc, char **argv) {
    static const struct json_value *lines[LINES_MAX];
    struct soak soak = {0};
    struct arena arena;
    struct bytes held;
    struct error err = {0};
    size_t count = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: mask_pairs TOKENIZER PAIRS SEED <lines\n");
        return 2;
    }
    uint64_t wanted = strtoull(argv[2], NULL, 10), done = 0;
    soak.seed = strtoull(argv[3], NULL, 10);
    arena_init(&arena, SIZE_MAX / 2);
    bytes_init(&held, 1 << 30);
    bool ok = read_lines(&arena, &held, lines, &count) && open_soak(&soak, argv[1], &err);
    if (!ok) fprintf(stderr, "mask_pairs: %s\n", err.message[0] != 0 ? err.message : "no lines");
    for (uint64_t round = 0, before = 1; ok && done < wanted && done != before; round++) {
        before = done;
        for (size_t i = 0; i < count && done < wanted; i++) {
            walk_line(&soak, lines[i], 2);
            done = soak.pairs[KIND_SCHEMA] + soak.pairs[KIND_REGEX] + soak.pairs[KIND_RULES] + soak.pairs[KIND_CALLS];
        }
    }
    if (ok) print(&soak);
    ok = ok && soak.disagreements == 0;
    close_soak(&soak);
    bytes_deinit(&held);
    arena_deinit(&arena);
    return ok ? 0 : 1;
}
