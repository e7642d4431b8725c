/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include "bora/v1/keys.pb-c.h"
#include "bora/v1/tenants.pb-c.h"
#include "bora/v1/usage.pb-c.h"
#include "cli/fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void assert_cell(const ProtobufCMessage *message, const char *path, enum cell_form form, int width,
                        const char *text) {
    char cell[TABLE_CELL_BYTES];
    table_cell(message, &(struct table_column){"", path, form, width}, cell);
    assert_string_equal(cell, text);
}

static void test_cells_say_what_a_field_holds(void **state) {
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    char *models[] = {(char *)"small", (char *)"large"};
    Bora__V1__Scopes scopes = BORA__V1__SCOPES__INIT;
    Bora__V1__ApiKey key = BORA__V1__API_KEY__INIT;
    scopes.models = models;
    scopes.n_models = 2;
    key.scopes = &scopes;
    key.name = (char *)"a\tb\033[31m";
    key.created_at = (char *)"2026-11-02T12:00:00.5Z";
    field_set_integer(&key.base, "expires_at", 1793620800);
    assert_cell(&key.base, "name", CELL_TEXT, 0, "a?b?[31m");
    assert_cell(&key.base, "created_at", CELL_TIME, 0, "2026-11-02 12:00");
    assert_cell(&key.base, "expires_at", CELL_TIME, 0, "2026-11-02 12:00");
    assert_cell(&key.base, "revoked_at", CELL_TIME, 0, "-");
    assert_cell(&key.base, "last_used", CELL_AGO, 0, "-");
    assert_cell(&key.base, "disabled", CELL_TEXT, 0, "no");
    assert_cell(&key.base, "scopes.models", CELL_TEXT, 0, "small, large");
    assert_cell(&key.base, "scopes.endpoints", CELL_TEXT, 0, "-");
    assert_cell(&key.base, "limits", CELL_LIMITS, 0, "-");
    Bora__V1__Me me = BORA__V1__ME__INIT;
    assert_cell(&me.base, "api_key.name", CELL_TEXT, 0, "-"); /* through a message that is not there */
}

static void test_long_cells_are_cut_between_characters(void **state) {
    (void)state;
    Bora__V1__ApiKey key = BORA__V1__API_KEY__INIT;
    key.name = (char *)"Z\xc3\xbcrich lab";
    assert_cell(&key.base, "name", CELL_TEXT, 10, "Z\xc3\xbcrich lab");
    assert_cell(&key.base, "name", CELL_TEXT, 3, "Z\xc3\xbc\xe2\x80\xa6");
    char *huge = calloc(1, 10000);
    for (int i = 0; i < 4999; i++) memcpy(huge + 2 * i, "\xc3\xbc", 2);
    key.name = huge;
    char cell[TABLE_CELL_BYTES];
    table_cell(&key.base, &(struct table_column){"", "name", CELL_TEXT, 0}, cell);
    assert_true(strlen(cell) < TABLE_CELL_BYTES);
    assert_int_equal(strlen(cell) % 2, 0);
    free(huge);
}

static void test_columns_are_aligned_whatever_stands_in_them(void **state) {
    (void)state;
    Bora__V1__UsageRow first = BORA__V1__USAGE_ROW__INIT, second = BORA__V1__USAGE_ROW__INIT;
    ProtobufCMessage *rows[] = {&first.base, &second.base};
    static const struct table_column columns[] = {
        {"MODEL", "model", CELL_TEXT, 0}, {"REQUESTS", "requests", CELL_COUNT, 0}, {"COST", "cost", CELL_MONEY, 0}};
    field_set_text(&first.base, "model", "\xe6\xa8\xa1\xe5\x9e\x8b\xe4\xb8\x80"); /* three characters of two columns */
    field_set_text(&second.base, "model", "small");
    first.requests = 1234567;
    second.requests = 1;
    second.cost = 0.125;
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    /* a memory stream is no terminal, so that there are no colours */
    table_print(file, columns, 3, rows, 2);
    fclose(file);
    assert_string_equal(text, "MODEL    REQUESTS   COST\n"
                              "\xe6\xa8\xa1\xe5\x9e\x8b\xe4\xb8\x80  1,234,567   0.00\n"
                              "small           1  0.125\n");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells_say_what_a_field_holds),
        cmocka_unit_test(test_long_cells_are_cut_between_characters),
        cmocka_unit_test(test_columns_are_aligned_whatever_stands_in_them),
    };
    return cmocka_run_group_tests_name("cli/table", tests, NULL, NULL);
}
