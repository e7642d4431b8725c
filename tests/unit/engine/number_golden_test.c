/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Sets and texts against what exact arithmetic in Python says of them: with 128 bits where they suffice, and by big integers only. */
#include "engine/grammar/number_internal.h"

#include "tests/unit/engine/check.h"
#include "tests/unit/engine/number_fixture.h"

struct run {
    struct grammar_budget budget;
    struct number_pool *pool;
    number_set set;
    number_state start;
    char rules[8192];
    int wrong, asked;
};

static void begin_set(struct run *run, const char *rules) {
    snprintf(run->rules, sizeof run->rules, "%s", rules);
    run->rules[strcspn(run->rules, "\n")] = 0;
    run->set = number_rules(run->pool, rules);
    run->start = number_start(run->pool, run->set);
    if (run->set == NUMBER_FAILED || run->start == NUMBER_STATE_FAILED) fail_msg("%s: failed", rules);
}

static void expect(struct run *run, const char *text, const char *what, bool got, bool due) {
    run->asked++;
    if (got == due) return;
    if (run->wrong++ < 40) print_error("%s: \"%s\" %s is %d, due is %d\n", run->rules, text, what, got, due);
}

static void ask(struct run *run, const char *text, bool member, bool accepted, bool live) {
    number_state state = number_walk(run->pool, run->start, text);
    expect(run, text, "live", state != NUMBER_DEAD, live);
    expect(run, text, "accepted", number_accepts(run->pool, state), accepted);
    if (accepted || member)
        expect(run, text, "member", number_contains(run->pool, run->set, bytes_view_string(text)), member);
    if (state == NUMBER_DEAD || state == NUMBER_STATE_FAILED) return;
    struct bytes rest;
    bytes_init(&rest, 4096);
    (void)bytes_append_string(&rest, text);
    uint32_t length = number_shortest(run->pool, state, &rest);
    expect(run, (char *)rest.data, "length of rest", rest.length == strlen(text) + length, true);
    expect(run, (char *)rest.data, "completion",
           number_accepts(run->pool, number_walk(run->pool, run->start, (char *)rest.data)), true);
    expect(run, (char *)rest.data, "completion's membership", number_contains(run->pool, run->set, bytes_view(&rest)),
           true);
    bytes_deinit(&rest);
}

static void read_line(struct run *run, char *line) {
    if (line[0] == 'S') begin_set(run, line + 2);
    if (line[0] != 'T') return;
    char *text = strchr(line, '"') + 1, *end = strrchr(line, '"');
    *end = 0;
    ask(run, text, end[2] == '1', end[4] == '1', end[6] == '1');
}

static void run_golden(bool force_big) {
    static char line[8192];
    struct run run = {.budget = {INT64_MAX / 2, INT64_MAX / 2}};
    FILE *file = fopen(BORA_SOURCE_DIR "/tests/golden/grammar/numbers.txt", "r");
    assert_non_null(file);
    check_ok(number_pool_create(&run.budget, &run.pool, &check_error));
    run.pool->force_big = force_big;
    while (fgets(line, sizeof line, file) != NULL) read_line(&run, line);
    fclose(file);
    number_pool_destroy(run.pool);
    assert_true(run.asked > 10000);
    if (run.wrong != 0) fail_msg("%d of %d answers are wrong", run.wrong, run.asked);
}

static void test_golden_by_128_bits(void **state) {
    (void)state;
    run_golden(false);
}

static void test_golden_by_big_integers(void **state) {
    (void)state;
    run_golden(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden_by_128_bits),
                                       cmocka_unit_test(test_golden_by_big_integers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
