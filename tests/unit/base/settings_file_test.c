/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/settings.h"
#include "tests/unit/base/temporary_file.h"

/** What a file gave: "line:section.name=value;" for each entry. */
static char seen[4096];
static struct error err;

static enum status note_entry(void *context, const char *section, const char *name, const char *value, int line,
                              struct error *error) {
    (void)context, (void)error;
    size_t length = strlen(seen);
    snprintf(seen + length, sizeof seen - length, "%d:%s.%s=%s;", line, section, name, value);
    return STATUS_OK;
}

static enum status read_bytes(const void *data, size_t length, size_t max_bytes) {
    char path[TEMPORARY_PATH_BYTES];
    temporary_file(data, length, path);
    seen[0] = 0;
    err = (struct error){0};
    enum status status = settings_read_ini(path, max_bytes, note_entry, NULL, &err);
    unlink(path);
    return status;
}

static void check_seen(const char *text, const char *expected) {
    assert_int_equal(read_bytes(text, strlen(text), 4096), STATUS_OK);
    assert_string_equal(seen, expected);
}

/** The reading fails, and the message names `word`, which holds the line. */
static void check_refused(const char *text, const char *word) {
    assert_int_equal(read_bytes(text, strlen(text), 4096), STATUS_INVALID_ARGUMENT);
    if (strstr(err.message, word) == NULL) fail_msg("'%s' does not name '%s'", err.message, word);
}

static void test_entries_come_in_order_with_their_section(void **state) {
    (void)state;
    check_seen("a = 1\n\n[one]\nb=2\n[ two words ]\nc =3\n", "1:.a=1;4:one.b=2;6:two words.c=3;");
}

static void test_empty_file_has_no_entries(void **state) {
    (void)state;
    check_seen("", "");
    check_seen("\n\n  \n\t\n", "");
}

static void test_last_line_needs_no_line_feed(void **state) {
    (void)state;
    check_seen("a = 1", "1:.a=1;");
    check_seen("a = 1\n[s]", "1:.a=1;");
}

static void test_white_space_around_is_cut_and_inside_kept(void **state) {
    (void)state;
    check_seen(" \t name \t = \t two  words \t\r\n", "1:.name=two  words;");
    check_seen("a =\n", "1:.a=;");
    check_seen("a = b = c\n", "1:.a=b = c;");
}

static void test_comments_start_lines_or_follow_white_space(void **state) {
    (void)state;
    check_seen("# x\n; y\n  # z\na = 1 # x\nb = 2\t; y\n", "4:.a=1;5:.b=2;");
    check_seen("a = x#y\nb=#000\nc=;\n", "1:.a=x#y;2:.b=#000;3:.c=;;");
    check_seen("[one] # x\na = 1\n", "2:one.a=1;");
}

static void test_lines_of_other_systems(void **state) {
    (void)state;
    check_seen("\xEF\xBB\xBF"
               "a = 1\r\n[s]\r\nb = 2\r\n",
               "1:.a=1;3:s.b=2;");
}

static void test_line_without_equals_is_refused(void **state) {
    (void)state;
    check_refused("a = 1\nword\n", ":2: 'word'");
    check_refused("= 1\n", ":1: '= 1'");
    check_refused("  = 1\n", ":1:");
    check_refused("\n\na # = 1", ":3: 'a'");
}

static void test_bad_section_is_refused(void **state) {
    (void)state;
    check_refused("[one\n", ":1: '[one'");
    check_refused("[one] x\n", ":1:");
    check_refused("[]\n", ":1:");
    check_refused("[  ]\n", ":1:");
    check_refused("[\n", ":1:");
    check_refused("[a]b]\n", ":1:");
    char text[302] = "[";
    memset(text + 1, 'x', 299);
    text[300] = ']';
    check_refused(text, ":1:");
}

static void test_nul_is_refused(void **state) {
    (void)state;
    assert_int_equal(read_bytes("a = 1\0b\n", 8, 100), STATUS_INVALID_ARGUMENT);
    assert_string_equal(seen, "");
    assert_non_null(strstr(err.message, "not a text file"));
}

static void test_file_of_the_maximum_is_read_and_one_more_byte_is_refused(void **state) {
    (void)state;
    assert_int_equal(read_bytes("a = 1234", 8, 8), STATUS_OK);
    assert_string_equal(seen, "1:.a=1234;");
    assert_int_equal(read_bytes("a = 1234", 8, 7), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "larger than 7 bytes"));
    assert_string_equal(seen, "");
}

static enum status refuse_second(void *context, const char *section, const char *name, const char *value, int line,
                                 struct error *error) {
    (void)section, (void)name, (void)value;
    ++*(int *)context;
    return line == 2 ? error_set(error, STATUS_ALREADY_EXISTS, "twice") : STATUS_OK;
}

static void test_failure_of_the_callback_stops_the_reading(void **state) {
    (void)state;
    char path[TEMPORARY_PATH_BYTES];
    temporary_file("a=1\nb=2\nc=3\n", 12, path);
    int calls = 0;
    struct error error = {0};
    assert_int_equal(settings_read_ini(path, 100, refuse_second, &calls, &error), STATUS_ALREADY_EXISTS);
    assert_string_equal(error.message, "twice");
    assert_int_equal(calls, 2);
    unlink(path);
}

static void test_missing_file_is_not_found(void **state) {
    (void)state;
    struct error error = {0};
    assert_int_equal(settings_read_ini("/nonexistent/x", 100, note_entry, NULL, &error), STATUS_NOT_FOUND);
    assert_string_equal(error.message, "cannot open /nonexistent/x: No such file or directory");
}

static void test_folder_is_refused(void **state) {
    (void)state;
    char *text = NULL;
    size_t length = 0;
    check_fails(settings_read_file("/tmp", 100, &text, &length, &check_error), STATUS_INVALID_ARGUMENT, "/tmp");
    assert_null(text);
}

static void test_whole_file_is_read_as_it_is(void **state) {
    (void)state;
    char path[TEMPORARY_PATH_BYTES], *text = NULL;
    size_t length = 0;
    temporary_file("key\0x\n", 6, path);
    check_ok(settings_read_file(path, 6, &text, &length, &check_error));
    assert_int_equal(length, 6);
    assert_memory_equal(text, "key\0x\n\0", 7);
    free(text);
    text = NULL;
    check_fails(settings_read_file(path, 5, &text, &length, &check_error), STATUS_INVALID_ARGUMENT, "larger than 5");
    assert_null(text);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_come_in_order_with_their_section),
        cmocka_unit_test(test_empty_file_has_no_entries),
        cmocka_unit_test(test_last_line_needs_no_line_feed),
        cmocka_unit_test(test_white_space_around_is_cut_and_inside_kept),
        cmocka_unit_test(test_comments_start_lines_or_follow_white_space),
        cmocka_unit_test(test_lines_of_other_systems),
        cmocka_unit_test(test_line_without_equals_is_refused),
        cmocka_unit_test(test_bad_section_is_refused),
        cmocka_unit_test(test_nul_is_refused),
        cmocka_unit_test(test_file_of_the_maximum_is_read_and_one_more_byte_is_refused),
        cmocka_unit_test(test_failure_of_the_callback_stops_the_reading),
        cmocka_unit_test(test_missing_file_is_not_found),
        cmocka_unit_test(test_folder_is_refused),
        cmocka_unit_test(test_whole_file_is_read_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
