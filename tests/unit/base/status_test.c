/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"
#include "base/text.h"
#include "tests/support/check.h"

#include <errno.h>

static void test_name_of_every_status(void **state) {
    (void)state;
    assert_string_equal(status_name(STATUS_OK), "OK");
    assert_string_equal(status_name(STATUS_INVALID_ARGUMENT), "INVALID_ARGUMENT");
    assert_string_equal(status_name(STATUS_DATA_LOSS), "DATA_LOSS");
    assert_string_equal(status_name(STATUS_UNAUTHENTICATED), "UNAUTHENTICATED");
    for (int i = 0; i <= STATUS_UNAUTHENTICATED; i++) {
        if (i != STATUS_UNKNOWN) assert_string_not_equal(status_name((enum status)i), "UNKNOWN");
        for (int j = 0; j < i; j++) assert_string_not_equal(status_name((enum status)i), status_name((enum status)j));
    }
}

static void test_name_of_a_number_outside_is_unknown(void **state) {
    (void)state;
    assert_string_equal(status_name((enum status)17), "UNKNOWN");
    assert_string_equal(status_name((enum status) - 1), "UNKNOWN");
}

static void test_set_returns_its_status_and_formats(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, STATUS_NOT_FOUND, "no model named %s (%d)", "small", 3), STATUS_NOT_FOUND);
    assert_string_equal(err.message, "no model named small (3)");
}

static void test_first_sentence_stays(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, STATUS_NOT_FOUND, "first"), STATUS_NOT_FOUND);
    assert_int_equal(error_set(&err, STATUS_INTERNAL, "second"), STATUS_INTERNAL);
    assert_int_equal(error_set_errno(&err, STATUS_UNAVAILABLE, EIO, "third"), STATUS_UNAVAILABLE);
    assert_string_equal(err.message, "first");
}

static void test_no_error_wanted(void **state) {
    (void)state;
    assert_int_equal(error_set(NULL, STATUS_ABORTED, "%d", 1), STATUS_ABORTED);
    assert_int_equal(error_set_errno(NULL, STATUS_ABORTED, EIO, "%d", 1), STATUS_ABORTED);
}

static void test_control_characters_become_question_marks(void **state) {
    (void)state;
    struct error err = {0};
    (void)error_set(&err, STATUS_INTERNAL,
                    "a\nb\tc\x1b[31m\x7f"
                    "d\xC2\x85"
                    "e");
    assert_string_equal(err.message, "a?b?c?[31m?d?e");
}

static void test_invalid_utf8_becomes_question_marks(void **state) {
    (void)state;
    struct error err = {0};
    (void)error_set(&err, STATUS_INTERNAL, "name '%.4s' \xFF.", "abc\xC3\xA9"); /* the precision cuts the e acute */
    assert_string_equal(err.message, "name 'abc?' ?.");
}

static void test_long_sentence_is_cut_between_code_points(void **state) {
    (void)state;
    char text[1001];
    for (int i = 0; i < 500; i++) memcpy(text + 2 * i, "\xC3\xA9", 2);
    text[1000] = 0;
    struct error err = {0};
    (void)error_set(&err, STATUS_INTERNAL, "%s", text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 2); /* 255 is odd */
    assert_true(text_is_utf8(err.message, strlen(err.message)));
    err = (struct error){0};
    (void)error_set(&err, STATUS_INTERNAL, "a%s", text);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
}

static void test_errno_is_explained(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set_errno(&err, STATUS_NOT_FOUND, ENOENT, "cannot open %s", "x"), STATUS_NOT_FOUND);
    assert_string_equal(err.message, "cannot open x: No such file or directory");
}

static void test_reason_survives_a_long_sentence(void **state) {
    (void)state;
    char path[2000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = 0;
    struct error err = {0};
    (void)error_set_errno(&err, STATUS_NOT_FOUND, ENOENT, "cannot open %s", path);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_BYTES - 1);
    assert_non_null(strstr(err.message, "ppp: No such file or directory"));
}

static enum status failing(int *reached) {
    TRY(STATUS_OK);
    ++*reached;
    TRY(STATUS_ABORTED);
    ++*reached;
    return STATUS_OK;
}

static enum status cleaning(int *cleaned) {
    enum status status = STATUS_OK;
    TRY_CLEANUP(STATUS_OK);
    TRY_CLEANUP(STATUS_DATA_LOSS);
    *cleaned = -100;
cleanup:
    ++*cleaned;
    return status;
}

static void test_try_leaves_at_the_first_failure(void **state) {
    (void)state;
    int reached = 0, cleaned = 0;
    assert_int_equal(failing(&reached), STATUS_ABORTED);
    assert_int_equal(reached, 1);
    assert_int_equal(cleaning(&cleaned), STATUS_DATA_LOSS);
    assert_int_equal(cleaned, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name_of_every_status),
        cmocka_unit_test(test_name_of_a_number_outside_is_unknown),
        cmocka_unit_test(test_set_returns_its_status_and_formats),
        cmocka_unit_test(test_first_sentence_stays),
        cmocka_unit_test(test_no_error_wanted),
        cmocka_unit_test(test_control_characters_become_question_marks),
        cmocka_unit_test(test_invalid_utf8_becomes_question_marks),
        cmocka_unit_test(test_long_sentence_is_cut_between_code_points),
        cmocka_unit_test(test_errno_is_explained),
        cmocka_unit_test(test_reason_survives_a_long_sentence),
        cmocka_unit_test(test_try_leaves_at_the_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
