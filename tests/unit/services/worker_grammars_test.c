/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Grammars that are kept: compiled once for all who ask, as many as memory allows. */
#include "services/worker/grammars.h"

#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/checkpoint.h"
#include "tests/support/check.h"
#include "tests/support/tiny_model.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *model_path;
static struct checkpoint *checkpoint;
static struct tokenizer *tokenizer;
static struct metrics *metrics;
static struct grammars *grammars;

static int open_tokenizer(void **state) {
    (void)state;
    struct error err = {0};
    model_path = tiny_model_write(&(struct tiny_model_options){.seed = 1});
    if (checkpoint_open(model_path, &checkpoint, &err) != STATUS_OK) return -1;
    return tokenizer_load(checkpoint, &tokenizer, &err) == STATUS_OK ? 0 : -1;
}

static int close_tokenizer(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    checkpoint_close(checkpoint);
    unlink(model_path);
    free(model_path);
    return 0;
}

static void open_grammars(int64_t bytes_max) {
    struct error err = {0};
    metrics = metrics_create();
    assert_int_equal(grammars_create(tokenizer, bytes_max, metrics, &grammars, &err), STATUS_OK);
}

static void close_grammars(void) {
    grammars_destroy(grammars);
    metrics_destroy(metrics);
}

static double compiled(const char *outcome) {
    static const double none[] = {NAN}; /* the one that is there keeps its own */
    struct metric *seconds = metrics_histogram(metrics, "bora_worker_grammar_compile_seconds", "", none, "outcome");
    return metric_value(seconds, outcome);
}

static struct grammar_source schema_of(const char *text) {
    return (struct grammar_source){.kind = GRAMMAR_KIND_SCHEMA, .text = bytes_view_string(text)};
}

static struct kept_grammar *get(const struct grammar_source *source) {
    struct kept_grammar *kept = NULL;
    struct grammar_problem problem = {0};
    if (grammars_get(grammars, source, &kept, &problem) != STATUS_OK) fail_msg("%s", problem.reason);
    return kept;
}

static bool accepts(const struct kept_grammar *kept, const char *text) {
    size_t needed;
    return grammar_begins(kept_grammar_compiled(kept), bytes_view_string(text), &needed);
}

static void test_the_same_is_compiled_once(void **state) {
    (void)state;
    open_grammars(64 << 20);
    struct grammar_source source = schema_of("{\"type\":\"integer\"}"), spaced = source, ordered = source,
                          regex = source;
    spaced.space = GRAMMAR_SPACE_FREE;
    ordered.order = GRAMMAR_ORDER_ANY;
    regex.kind = GRAMMAR_KIND_REGEX;
    regex.text = bytes_view_string("[0-9]");
    struct kept_grammar *first = get(&source), *again = get(&source),
                        *others[] = {get(&spaced), get(&ordered), get(&regex)};
    assert_ptr_equal(first, again);
    assert_int_equal(compiled("ok"), 4);
    for (int i = 0; i < 3; i++) {
        assert_ptr_not_equal(first, others[i]);
        kept_grammar_release(others[i]);
    }
    kept_grammar_release(first);
    kept_grammar_release(again);
    close_grammars();
}

static void test_every_kind_is_compiled(void **state) {
    (void)state;
    static const struct {
        enum grammar_kind kind;
        const char *text, *begins, *does_not;
    } cases[] = {{GRAMMAR_KIND_SCHEMA, "{\"type\":\"object\"}", "{\"a\": 1", "["},
                 {GRAMMAR_KIND_SCHEMA, "{\"enum\":[\"ab\"]}", "\"ab\"", "\"b"},
                 {GRAMMAR_KIND_REGEX, "a+b", "aab", "c"},
                 {GRAMMAR_KIND_GBNF, "root ::= \"x\" root | \"y\"", "xxy", "yx"},
                 {GRAMMAR_KIND_LARK, "start: \"x\" start | \"y\"", "xxy", "yx"}};
    open_grammars(64 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct grammar_source source = {.kind = cases[i].kind, .text = bytes_view_string(cases[i].text)};
        struct kept_grammar *kept = get(&source);
        assert_true(accepts(kept, cases[i].begins));
        assert_false(accepts(kept, cases[i].does_not));
        kept_grammar_release(kept);
    }
    close_grammars();
}

static void test_what_is_declined_is_kept_too(void **state) {
    (void)state;
    open_grammars(64 << 20);
    struct grammar_source source = schema_of("{\"properties\":{\"a\":{\"pattern\":\"(\"}}}");
    for (int i = 0; i < 3; i++) {
        struct kept_grammar *kept = NULL;
        struct grammar_problem problem = {0};
        assert_int_equal(grammars_get(grammars, &source, &kept, &problem), STATUS_INVALID_ARGUMENT);
        assert_string_equal(problem.keyword, "pattern");
        assert_string_equal(problem.pointer, "/properties/a/pattern");
        assert_true(problem.reason[0] != 0);
    }
    assert_int_equal(compiled("INVALID_ARGUMENT"), 1);
    struct grammar_source broken = schema_of("{\"type\":");
    struct kept_grammar *kept = NULL;
    struct grammar_problem problem = {0};
    assert_int_equal(grammars_get(grammars, &broken, &kept, &problem), STATUS_INVALID_ARGUMENT);
    assert_true(problem.reason[0] != 0);
    close_grammars();
}

/** What is used longest ago goes first; who has it in use keeps it. */
static void test_memory_is_bounded(void **state) {
    (void)state;
    enum { MANY = 200 };
    char text[64];
    open_grammars(1 << 20);
    struct grammar_source favourite = schema_of("{\"const\":\"favourite\"}"),
                          early = schema_of("{\"const\":\"early\"}");
    struct kept_grammar *used = get(&early);
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "{\"const\":\"number %d\"}", i);
        struct grammar_source source = schema_of(text);
        kept_grammar_release(get(&source));
        kept_grammar_release(get(&favourite));
    }
    struct metric *bytes = metrics_gauge(metrics, "bora_worker_grammars_bytes", "");
    assert_true(metric_value(bytes) > 0 && metric_value(bytes) <= 1 << 20);
    assert_int_equal(compiled("ok"), MANY + 2);
    assert_true(accepts(used, "\"early\""));
    kept_grammar_release(used);
    kept_grammar_release(get(&early)); /* was let go of long ago */
    assert_int_equal(compiled("ok"), MANY + 3);
    close_grammars();
}

static void *ask_often(void *context) {
    (void)context;
    for (int i = 0; i < 50; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"const\":\"shared %d\"}", i);
        struct grammar_source source = schema_of(text);
        struct kept_grammar *kept = get(&source);
        assert_true(accepts(kept, "\"shared "));
        kept_grammar_release(kept);
    }
    return NULL;
}

static void test_threads_share_one_compilation(void **state) {
    (void)state;
    pthread_t threads[4];
    open_grammars(64 << 20);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(compiled("ok"), 50);
    close_grammars();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_is_compiled_once),     cmocka_unit_test(test_every_kind_is_compiled),
        cmocka_unit_test(test_what_is_declined_is_kept_too),  cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_threads_share_one_compilation),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
