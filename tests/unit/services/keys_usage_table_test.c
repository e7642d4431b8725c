/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Reports: random entries go through the outbox, the ledger and its sums; every grouping of every range is what the entries themselves add up to. */
#include "services/keys/usage_table.h"

#include "base/random.h"
#include "tests/unit/services/keys_ledger_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ENTRIES = 3000, KEYS = 5, WORKSPACES = 3, MODELS = 4, QUESTIONS = 60, SPAN_HOURS = 60 * 24, NAME_BYTES = 40 };

static uint64_t seed;

static uint64_t draw(uint64_t position, uint32_t lane, uint64_t range) {
    return random_philox(seed, position, lane) % range;
}

/** An entry as the test knows it. */
struct known {
    int64_t time_ms;
    char key[NAME_BYTES], workspace[NAME_BYTES], model[NAME_BYTES];
    struct ledger_amounts amounts;
};

static struct known known_of(int i) {
    struct known known = {.time_ms = LEDGER_TIME_MS + (int64_t)draw((uint64_t)i, 0, SPAN_HOURS * UINT64_C(3600000))};
    uint64_t key = draw((uint64_t)i, 1, KEYS);
    snprintf(known.key, NAME_BYTES, "key%" PRIu64, key);
    snprintf(known.workspace, NAME_BYTES, "ws%" PRIu64, key % WORKSPACES);
    snprintf(known.model, NAME_BYTES, "model %" PRIu64, draw((uint64_t)i, 2, MODELS)); /* a blank belongs to the name */
    bool correction = draw((uint64_t)i, 3, 10) == 0;
    known.amounts = (struct ledger_amounts){correction ? 0 : 1, (int64_t)draw((uint64_t)i, 4, 100000),
                                            (int64_t)draw((uint64_t)i, 5, 1000), (int64_t)draw((uint64_t)i, 6, 5000),
                                            (int64_t)draw((uint64_t)i, 7, UINT64_C(1000000000000))};
    if (correction) known.amounts.output = -known.amounts.output, known.amounts.cost = -known.amounts.cost;
    return known;
}

/** What the ledger's own entries say to the same question, one row after the other. */
static void add_to_rows(struct usage_table *rows, const struct known *known) {
    struct error err = {0};
    char name[3 * NAME_BYTES], amounts[128];
    int64_t time = known->time_ms / 1000, step = usage_range_step(&rows->range);
    const struct ledger_amounts *a = &known->amounts;
    if (time < rows->range.from || time >= rows->range.to) return;
    snprintf(name, sizeof name, "%s %s %s", known->key, known->workspace, known->model);
    snprintf(amounts, sizeof amounts, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, a->requests, a->input,
             a->cached, a->output, a->cost);
    assert_int_equal(
        usage_table_add(rows, time - time % step, bytes_view_string(name), bytes_view_string(amounts), &err),
        STATUS_OK);
}

/** The plainest reckoning: every entry that passes is looked for in a row of its own. */
static struct ledger_amounts reckon(const struct known *all, const struct usage_table *table,
                                    const struct usage_row *row_or_null) {
    struct ledger_amounts sum = {0};
    for (int i = 0; i < ENTRIES; i++) {
        const struct known *known = &all[i];
        int64_t time = known->time_ms / 1000;
        if (time < table->range.from || time >= table->range.to) continue;
        if (table->filter.key != NULL && strcmp(table->filter.key, known->key) != 0) continue;
        if (table->filter.workspace != NULL && strcmp(table->filter.workspace, known->workspace) != 0) continue;
        if (table->filter.model != NULL && strcmp(table->filter.model, known->model) != 0) continue;
        if (row_or_null != NULL) {
            if (usage_range_begin(&table->range, time) != row_or_null->begin) continue;
            if (table->grouping.key && strcmp(row_or_null->key, known->key) != 0) continue;
            if (table->grouping.workspace && strcmp(row_or_null->workspace, known->workspace) != 0) continue;
            if (table->grouping.model && strcmp(row_or_null->model, known->model) != 0) continue;
        }
        assert_true(ledger_amounts_add(&sum, &known->amounts));
    }
    return sum;
}

static struct usage_range range_of(uint64_t question) {
    struct usage_range range = {.interval = (enum usage_interval)draw(question, 20, 4)};
    int64_t step = usage_range_step(&range), begin = LEDGER_TIME_MS / 1000;
    range.from = begin + (int64_t)draw(question, 21, SPAN_HOURS) * 3600;
    range.from -= range.from % step;
    range.to = range.from +
               step * (1 + (int64_t)draw(question, 22, range.interval == USAGE_HOUR ? SPAN_HOURS : SPAN_HOURS / 24));
    return range;
}

static void ask(struct ledger_fixture *fixture, const struct known *all, uint64_t question) {
    const struct usage_range range = range_of(question);
    const struct known *some = &all[draw(question, 23, ENTRIES)];
    uint64_t filters = draw(question, 24, 8), groups = draw(question, 25, 8);
    const struct usage_filter filter = {(filters & 1) != 0 ? some->key : NULL,
                                        (filters & 2) != 0 ? some->workspace : NULL,
                                        (filters & 4) != 0 ? some->model : NULL};
    const struct usage_grouping grouping = {(groups & 1) != 0, (groups & 2) != 0, (groups & 4) != 0};
    struct usage_table table, direct;
    struct error err = {0};
    arena_reset(&fixture->arena);
    assert_int_equal(usage_table_init(&table, &range, &filter, &grouping, &fixture->arena, &err), STATUS_OK);
    assert_int_equal(usage_table_init(&direct, &range, &filter, &grouping, &fixture->arena, &err), STATUS_OK);
    if (usage_table_read(&table, fixture->stores.redis, LEDGER_ORGANIZATION, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    for (int i = 0; i < ENTRIES; i++) add_to_rows(&direct, &all[i]);
    usage_table_finish(&table);
    usage_table_finish(&direct);
    assert_int_equal(table.count, direct.count);
    assert_amounts(table.total, reckon(all, &table, NULL));
    struct ledger_amounts rows = {0};
    for (size_t i = 0; i < table.count; i++) {
        assert_amounts(table.rows[i].amounts, reckon(all, &table, &table.rows[i]));
        assert_true(ledger_amounts_add(&rows, &table.rows[i].amounts));
        if (i > 0) assert_true(table.rows[i - 1].begin <= table.rows[i].begin);
    }
    assert_amounts(rows, table.total);
}

static void test_every_grouping_adds_up_to_what_the_ledger_has(void **state) {
    struct ledger_fixture *fixture = *state;
    static struct known all[ENTRIES];
    struct ledger_amounts sum = {0};
    print_message("seed %" PRIu64 "\n", seed);
    for (int i = 0; i < ENTRIES; i++) {
        all[i] = known_of(i);
        char request[NAME_BYTES];
        snprintf(request, sizeof request, "request-%d", i);
        const struct ledger_input input = {NULL,         all[i].time_ms, request, all[i].key, all[i].workspace,
                                           all[i].model, all[i].amounts};
        ledger_put(fixture, &input);
        assert_true(ledger_amounts_add(&sum, &all[i].amounts));
        if (draw((uint64_t)i, 8, 200) == 0) ledger_move_all(fixture); /* batches of many sizes */
    }
    ledger_move_all(fixture);
    assert_amounts(ledger_total(fixture), sum);
    for (uint64_t question = 0; question < QUESTIONS; question++) ask(fixture, all, question);
}

/* --- without Redis ----------------------------------------------------------------------------------------------- */

static struct usage_table open_table(struct arena *arena, struct usage_grouping grouping) {
    const struct usage_range range = {USAGE_HOUR, 0, USAGE_HOURS_MAX * 3600};
    const struct usage_filter filter = {NULL, NULL, NULL};
    struct usage_table table;
    arena_init(arena, 64 << 20);
    assert_int_equal(usage_table_init(&table, &range, &filter, &grouping, arena, NULL), STATUS_OK);
    return table;
}

static void test_more_rows_than_the_maximum_are_refused(void **state) {
    (void)state;
    struct arena arena;
    struct error err = {0};
    struct usage_table table = open_table(&arena, (struct usage_grouping){.key = true});
    enum status status = STATUS_OK;
    for (int i = 0; i <= USAGE_ROWS_MAX && status == STATUS_OK; i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "k%d w m", i);
        assert_int_equal(table.count, i);
        status = usage_table_add(&table, 0, bytes_view_string(name), bytes_view_string("1 1 1 1 1"), &err);
    }
    assert_int_equal(status, STATUS_OUT_OF_RANGE);
    assert_int_equal(table.count, USAGE_ROWS_MAX);
    assert_non_null(strstr(err.message, "100000"));
    arena_deinit(&arena);
}

static void test_rows_of_nothing_are_left_out(void **state) {
    (void)state;
    struct arena arena;
    struct usage_table table = open_table(&arena, (struct usage_grouping){.model = true});
    assert_int_equal(usage_table_add(&table, 0, bytes_view_string("k w a"), bytes_view_string("1 2 3 4 5"), NULL),
                     STATUS_OK);
    assert_int_equal(usage_table_add(&table, 0, bytes_view_string("k w b"), bytes_view_string("1 2 3 4 5"), NULL),
                     STATUS_OK);
    assert_int_equal(usage_table_add(&table, 0, bytes_view_string("k w a"), bytes_view_string("-1 -2 -3 -4 -5"), NULL),
                     STATUS_OK);
    usage_table_finish(&table);
    assert_int_equal(table.count, 1);
    assert_string_equal(table.rows[0].model, "b");
    arena_deinit(&arena);
}

static void test_malformed_fields_are_data_loss_and_sums_do_not_wrap(void **state) {
    (void)state;
    struct arena arena;
    struct usage_table table = open_table(&arena, (struct usage_grouping){.key = true});
    const struct bytes_view good = bytes_view_string("k w m");
    assert_int_equal(usage_table_add(&table, 0, bytes_view_string("k w"), bytes_view_string("1 1 1 1 1"), NULL),
                     STATUS_DATA_LOSS);
    assert_int_equal(usage_table_add(&table, 0, good, bytes_view_string("1 1 1 1"), NULL), STATUS_DATA_LOSS);
    assert_int_equal(table.count, 0);
    assert_int_equal(usage_table_add(&table, 0, good, bytes_view_string("0 0 0 0 9223372036854775807"), NULL),
                     STATUS_OK);
    assert_int_equal(usage_table_add(&table, 0, good, bytes_view_string("0 0 0 0 1"), NULL), STATUS_OUT_OF_RANGE);
    arena_deinit(&arena);
}

int main(int argc, char **argv) {
    seed = argc == 2 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_grouping_adds_up_to_what_the_ledger_has, ledger_fixture_setup,
                                        ledger_fixture_teardown),
        cmocka_unit_test(test_more_rows_than_the_maximum_are_refused),
        cmocka_unit_test(test_rows_of_nothing_are_left_out),
        cmocka_unit_test(test_malformed_fields_are_data_loss_and_sums_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
