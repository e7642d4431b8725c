/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/audit.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static int make_arena(void **state) {
    static struct arena arena;
    arena_init(&arena, 16 << 20);
    *state = &arena;
    return 0;
}
static int drop_arena(void **state) {
    arena_deinit(*state);
    return 0;
}

static void test_only_what_changed_is_told(void **state) {
    struct arena *arena = *state;
    struct audit_detail detail;
    audit_detail_begin(&detail, arena);
    audit_detail_add(&detail, "name", audit_json_text(arena, "a \"b\"\n"), audit_json_text(arena, "c"));
    audit_detail_add(&detail, "disabled", audit_json_flag(false), audit_json_flag(false));
    audit_detail_add(&detail, "role", AUDIT_NONE, audit_json_text(arena, "admin"));
    struct limits_bounds bounds = LIMITS_UNLIMITED;
    bounds.of[LIMITS_SPEND_PER_MONTH] = 1250000001;
    bounds.of[LIMITS_TOKENS_PER_DAY] = 0;
    audit_detail_add(&detail, "limits", audit_json_bounds(arena, &LIMITS_UNLIMITED), audit_json_bounds(arena, &bounds));
    const char *text = audit_detail_end(&detail);
    assert_string_equal(text,
                        "{\"name\":{\"before\":\"a \\\"b\\\"\\n\",\"after\":\"c\"},\"role\":\"admin\","
                        "\"limits\":{\"before\":{},\"after\":{\"tokens_per_day\":0,\"spend_per_month\":1.250000001}}}");
    enum json_kind kind;
    assert_true(json_is_valid(bytes_view_string(text), 8, &kind));
}

static void test_nothing_is_an_empty_object(void **state) {
    struct audit_detail detail;
    audit_detail_begin(&detail, *state);
    assert_string_equal(audit_detail_end(&detail), "{}");
}

static void test_what_would_not_fit_is_named(void **state) {
    struct arena *arena = *state;
    static char names[LIMIT_KEY_MODEL_LIMITS][LIMIT_MODEL_NAME_BYTES + 1];
    struct model_limits models[LIMIT_KEY_MODEL_LIMITS];
    struct limit_set set = {.all = LIMITS_UNLIMITED, .models = models, .model_count = LIMIT_KEY_MODEL_LIMITS};
    for (int i = 0; i < LIMIT_KEY_MODEL_LIMITS; i++) {
        memset(names[i], 'm', LIMIT_MODEL_NAME_BYTES);
        snprintf(names[i], 4, "%03d", i);
        names[i][3] = 'm';
        models[i] = (struct model_limits){names[i], LIMITS_UNLIMITED};
        for (int kind = 0; kind < LIMITS_KINDS; kind++) models[i].bounds.of[kind] = LIMITS_MAX;
    }
    struct audit_detail detail;
    audit_detail_begin(&detail, arena);
    audit_detail_add(&detail, "model_limits", audit_json_models(arena, &set),
                     audit_json_models(arena, &LIMIT_SET_EMPTY));
    const char *text = audit_detail_end(&detail);
    assert_string_equal(text, "{\"changed\":[\"model_limits\"],\"too_long\":true}");
}

static void test_without_memory_there_is_no_detail(void **state) {
    (void)state;
    struct arena small;
    struct audit_detail detail;
    arena_init(&small, 64);
    audit_detail_begin(&detail, &small);
    audit_detail_add(&detail, "name",
                     audit_json_text(&small, "a long name that needs more than there is, by far, by far"),
                     audit_json_text(&small, "b"));
    assert_null(audit_detail_end(&detail));
    arena_deinit(&small);
}

#define AUDIT_TEST(name) cmocka_unit_test_setup_teardown(name, make_arena, drop_arena)
int main(void) {
    const struct CMUnitTest tests[] = {
        AUDIT_TEST(test_only_what_changed_is_told),
        AUDIT_TEST(test_nothing_is_an_empty_object),
        AUDIT_TEST(test_what_would_not_fit_is_named),
        AUDIT_TEST(test_without_memory_there_is_no_detail),
    };
    return cmocka_run_group_tests_name("services/keys_audit", tests, NULL, NULL);
}
