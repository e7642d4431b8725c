/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/id_table.h"
#include "base/random.h"
#include "tests/support/check.h"

#include <stdlib.h>

static void test_empty_table_has_nothing(void **state) {
    (void)state;
    struct id_table table = {0};
    assert_null(id_table_find(&table, 0));
    assert_null(id_table_remove(&table, 0));
    assert_null(id_table_take_all(&table));
    id_table_deinit(&table);
}

static void test_a_number_is_there_once(void **state) {
    (void)state;
    struct id_table table;
    struct id_entry one, other;
    id_table_init(&table);
    assert_int_equal(id_table_add(&table, &one, 7), STATUS_OK);
    assert_int_equal(id_table_add(&table, &other, 7), STATUS_ALREADY_EXISTS);
    assert_ptr_equal(id_table_find(&table, 7), &one);
    assert_ptr_equal(id_table_remove(&table, 7), &one);
    assert_null(id_table_find(&table, 7));
    assert_int_equal(id_table_add(&table, &other, 7), STATUS_OK);
    assert_int_equal(table.count, 1);
    id_table_deinit(&table);
}

/** Against an array that says who is in; numbers collide in their low bits on purpose. */
static void test_what_is_added_is_found_until_it_is_removed(void **state) {
    (void)state;
    enum { ENTRIES = 1000, TURNS = 20000 };
    static struct id_entry entries[ENTRIES];
    static bool in[ENTRIES];
    struct id_table table;
    size_t count = 0;
    id_table_init(&table);
    for (uint64_t turn = 0; turn < TURNS; turn++) {
        size_t i = (size_t)(random_philox(5, turn, 0) % ENTRIES);
        uint64_t id = (uint64_t)i * 1024;
        if (in[i]) {
            assert_ptr_equal(id_table_remove(&table, id), &entries[i]);
        } else {
            assert_null(id_table_find(&table, id));
            assert_int_equal(id_table_add(&table, &entries[i], id), STATUS_OK);
        }
        in[i] = !in[i];
        count += in[i] ? 1 : (size_t)-1;
        assert_int_equal(table.count, count);
    }
    for (size_t i = 0; i < ENTRIES; i++) assert_true((id_table_find(&table, (uint64_t)i * 1024) != NULL) == in[i]);
    size_t taken = 0;
    for (struct id_entry *entry = id_table_take_all(&table); entry != NULL; entry = entry->next) taken++;
    assert_int_equal(taken, count);
    assert_int_equal(table.count, 0);
    id_table_deinit(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_table_has_nothing),
        cmocka_unit_test(test_a_number_is_there_once),
        cmocka_unit_test(test_what_is_added_is_found_until_it_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
