/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/audit_detail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(const void *context, const char *id) {
    return strcmp(id, context) == 0 ? "lab" : NULL;
}

static void assert_text(const char *detail, const char *expected) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_string_equal(audit_detail_text(&arena, detail, name_of, "w-1"), expected);
    arena_deinit(&arena);
}

static void test_changes_are_told_from_what_to_what(void **state) {
    (void)state;
    assert_text("{\"limits\":{\"before\":{\"tokens_per_day\":5},\"after\":{}}}",
                "limits: tokens_per_day 5 \u2192 none");
    assert_text("{\"name\":{\"before\":\"a\",\"after\":\"b\"},\"disabled\":{\"before\":false,\"after\":true}}",
                "name: a \u2192 b; disabled: no \u2192 yes");
    assert_text("{\"models\":{\"before\":[],\"after\":[\"small\",\"large\"]}}", "models: any \u2192 small, large");
}

static void test_what_a_new_key_has_is_told_and_what_it_has_not_is_left_out(void **state) {
    (void)state;
    assert_text("{\"workspace\":\"w-1\",\"role\":\"service\",\"expires_at\":null,\"models\":[],\"limits\":{},"
                "\"model_limits\":{\"small\":{\"tokens_per_minute\":5,\"concurrent_streams\":2}}}",
                "workspace: lab (w-1); role: service; model_limits: small (tokens_per_minute 5, concurrent_streams 2)");
    assert_text("{\"workspace\":\"w-2\"}", "workspace: w-2");
    assert_text("{}", "");
}

static void test_times_are_dates_and_money_has_no_zeros_behind_it(void **state) {
    (void)state;
    assert_text("{\"expires_at\":{\"before\":null,\"after\":1798761599}}", "expires: never \u2192 2026-12-31 23:59");
    assert_text("{\"previous_expires_at\":1798761599}", "previous_expires: 2026-12-31 23:59");
    assert_text(
        "{\"limits\":{\"before\":{\"spend_per_month\":12.500000000},\"after\":{\"spend_per_month\":0.000000000}}}",
        "limits: spend_per_month 12.5 \u2192 spend_per_month 0");
}

static void test_what_is_no_such_object_stays(void **state) {
    (void)state;
    assert_text("free text", "free text");
    assert_text("[1]", "[1]");
    assert_text("{\"changed\":[\"limits\",\"models\"],\"too_long\":true}", "changed: limits, models; too_long: yes");
}

int main(void) {
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_are_told_from_what_to_what),
        cmocka_unit_test(test_what_a_new_key_has_is_told_and_what_it_has_not_is_left_out),
        cmocka_unit_test(test_times_are_dates_and_money_has_no_zeros_behind_it),
        cmocka_unit_test(test_what_is_no_such_object_stays),
    };
    return cmocka_run_group_tests_name("cli/audit_detail", tests, NULL, NULL);
}
