/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-grammar MODE TOKENIZER: our side of what `bora grammar check` does not measure. Lines of JSON in, lines of JSON out.
 *
 *     tools    {"id", "schema"}            ->  {"id", "compile_us": [RUNS numbers]}
 *     fork     {"id", "schema", "tokens"}  ->  {"id", "fork_ns"}: a copy of the state behind all tokens of the first instance
 *     forced   {"id", "schema", "tokens"}  ->  {"id", "tokens", "forced"}: of instances that are accepted, the tokens that did not have to be asked for
 */
#include "base/clock.h"
#include "base/json.h"
#include "engine/grammar/grammar.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RUNS = 5,
    COPIES = 1 << 20,
    COPIES_KEPT = 64,
    FORCED_MAX = 256,
    RECENT = 4,
    DEPTH_MAX = 4096,
    VALUES_MAX = 1 << 26
};

struct bench {
    struct grammar_vocabulary *vocabulary;
    struct grammar_options options;
    int32_t *tokens; /* of one instance */
    size_t count, capacity;
};

static int fail(const char *message) {
    fprintf(stderr, "bora-bench-grammar: %s\n", message);
    return 1;
}

static bool read_tokens(struct bench *bench, const struct json_value *list) {
    bench->count = 0;
    for (const struct json_value *id = list->first; id != NULL; id = id->next) {
        int64_t token = -1;
        if (bench->count == bench->capacity) {
            bench->capacity = 2 * bench->capacity + 64;
            int32_t *more = realloc(bench->tokens, bench->capacity * sizeof *more);
            if (more == NULL) return false;
            bench->tokens = more;
        }
        if (!json_i64(id, &token) || token < 0) return false;
        bench->tokens[bench->count++] = (int32_t)token;
    }
    return true;
}

static struct grammar *compile(struct bench *bench, const struct json_value *line) {
    struct grammar *grammar = NULL;
    struct grammar_problem problem = {0};
    enum status status =
        grammar_compile_schema(bench->vocabulary, json_member(line, "schema"), &bench->options, &grammar, &problem);
    return status == STATUS_OK ? grammar : NULL;
}

/* ---- tools --------------------------------------------------------------------------------------------------------- */

static void run_tools(struct bench *bench, const struct json_value *line) {
    printf(", \"compile_us\": [");
    for (int run = 0; run < RUNS; run++) {
        int64_t begin = clock_monotonic_ns(clock_system());
        struct grammar *grammar = compile(bench, line);
        int64_t time = clock_monotonic_ns(clock_system()) - begin;
        if (grammar == NULL) break;
        printf("%s%.1f", run == 0 ? "" : ", ", (double)time / NS_PER_US);
        grammar_unref(grammar);
    }
    printf("]");
}

/* ---- fork ---------------------------------------------------------------------------------------------------------- */

static bool accept(struct grammar_session *session, struct grammar_state *state, int32_t token) {
    struct error err = {0};
    bool accepted = false;
    return grammar_accept(session, state, token, &accepted, &err) == STATUS_OK && accepted;
}

static void run_fork(struct bench *bench, const struct json_value *line) {
    struct grammar *grammar = compile(bench, line);
    struct grammar_session *session = NULL;
    struct grammar_state state, *copies = calloc(COPIES_KEPT, sizeof *copies);
    struct error err = {0};
    if (grammar != NULL && copies != NULL && grammar_session_create(grammar, &session, &err) == STATUS_OK &&
        grammar_start(session, &state, &err) == STATUS_OK) {
        for (size_t i = 0; i < bench->count && accept(session, &state, bench->tokens[i]); i++) {
        }
        int64_t begin = clock_monotonic_ns(clock_system());
        for (int i = 0; i < COPIES; i++) {
            copies[i % COPIES_KEPT] = state;
            __asm__ volatile("" ::"r"(copies) : "memory"); /* each copy is made */
        }
        printf(", \"fork_ns\": %.2f", (double)(clock_monotonic_ns(clock_system()) - begin) / COPIES);
    }
    if (session != NULL) grammar_session_destroy(session);
    if (grammar != NULL) grammar_unref(grammar);
    free(copies);
}

/* ---- forced -------------------------------------------------------------------------------------------------------- */

/** How many of the instance's tokens were forced, or -1 when it is not accepted. */
static int64_t forced_of(struct bench *bench, struct grammar *grammar) {
    struct grammar_session *session = NULL;
    struct grammar_state state;
    struct error err = {0};
    int64_t forced = 0;
    if (grammar_session_create(grammar, &session, &err) != STATUS_OK) return -1;
    bool good = grammar_start(session, &state, &err) == STATUS_OK;
    for (size_t at = 0; good && at < bench->count;) {
        int32_t ahead[FORCED_MAX];
        size_t count = 0, recent = at < RECENT ? at : RECENT;
        good = grammar_forced_tokens(session, &state, bench->tokens + at - recent, recent, ahead, FORCED_MAX, &count,
                                     &err) == STATUS_OK;
        if (count > bench->count - at || memcmp(ahead, bench->tokens + at, count * sizeof *ahead) != 0) count = 0;
        forced += (int64_t)count;
        for (size_t end = at + (count > 0 ? count : 1); good && at < end; at++)
            good = accept(session, &state, bench->tokens[at]);
    }
    good = good && grammar_complete(session, &state);
    grammar_session_destroy(session);
    return good ? forced : -1;
}

static void run_forced(struct bench *bench, const struct json_value *line) {
    struct grammar *grammar = compile(bench, line);
    int64_t forced = 0;
    size_t tokens = 0;
    const struct json_value *instances = json_member(line, "tokens");
    for (const struct json_value *list = grammar != NULL && instances != NULL ? instances->first : NULL; list != NULL;
         list = list->next) {
        int64_t found = read_tokens(bench, list) ? forced_of(bench, grammar) : -1;
        if (found < 0) continue;
        forced += found;
        tokens += bench->count;
    }
    printf(", \"tokens\": %zu, \"forced\": %lld", tokens, (long long)forced);
    if (grammar != NULL) grammar_unref(grammar);
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

static bool run_line(struct bench *bench, const char *mode, struct bytes_view text, struct arena *arena) {
    struct json_value *line;
    struct json_problem problem;
    arena_reset(arena);
    if (json_read_python(text, DEPTH_MAX, VALUES_MAX, arena, &line, &problem) != STATUS_OK) return false;
    const struct json_value *id = json_member(line, "id"), *lists = json_member(line, "tokens");
    if (id == NULL) return false;
    if (lists != NULL && lists->first != NULL && !read_tokens(bench, lists->first)) return false;
    printf("{\"id\": %.*s", (int)id->text.length, (const char *)id->text.data);
    if (strcmp(mode, "tools") == 0)
        run_tools(bench, line);
    else if (strcmp(mode, "fork") == 0)
        run_fork(bench, line);
    else
        run_forced(bench, line);
    printf("}\n");
    return fflush(stdout) == 0;
}

int main(int count, char **values) {
    struct tokenizer *tokenizer = NULL;
    struct error err = {0};
    struct bench bench = {.options = {.space = GRAMMAR_SPACE_MODEL, .order = GRAMMAR_ORDER_SCHEMA}};
    struct arena arena;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool good = true;
    if (count != 3) return fail("usage: bora-bench-grammar tools|fork|forced TOKENIZER");
    if (tokenizer_load_path(values[2], &tokenizer, &err) != STATUS_OK) return fail(err.message);
    if (grammar_vocabulary_create(tokenizer, &bench.vocabulary, &err) != STATUS_OK) return fail(err.message);
    arena_init(&arena, SIZE_MAX / 2);
    while (good && (length = getline(&line, &capacity, stdin)) > 0)
        good = run_line(&bench, values[1], bytes_view_of(line, (size_t)length), &arena);
    free(line);
    free(bench.tokens);
    arena_deinit(&arena);
    grammar_vocabulary_destroy(bench.vocabulary);
    tokenizer_destroy(tokenizer);
    return good ? 0 : fail("a line is malformed");
}
