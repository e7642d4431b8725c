/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The tables of the administrative interface: whole, without doubt, and in agreement with the protos. */
#include "services/gateway/admin_routes.h"

#include "proto/descriptors.h"
#include "tests/support/check.h"

#include <string.h>

static const struct admin_route *find(const char *verb, const char *path) {
    const struct admin_route *found = NULL;
    for (size_t i = 0; i < admin_route_count; i++) {
        if (strcmp(admin_routes[i].verb, verb) != 0 || !admin_route_matches(&admin_routes[i], path)) continue;
        if (found != NULL) fail_msg("%s %s is two rows'", verb, path);
        found = &admin_routes[i];
    }
    return found;
}

static void test_paths_find_their_rows(void **state) {
    (void)state;
    static const struct {
        const char *verb, *path, *calls;
    } rows[] = {
        {"POST", "/v1/admin/api-keys", "/bora.v1.KeyService/CreateKey"},
        {"GET", "/v1/admin/api-keys", "/bora.v1.KeyService/ListKeys"},
        {"GET", "/v1/admin/api-keys/a-b", "/bora.v1.KeyService/GetKey"},
        {"PATCH", "/v1/admin/api-keys/a", "/bora.v1.KeyService/UpdateKey"},
        {"DELETE", "/v1/admin/api-keys/rotate", "/bora.v1.KeyService/RevokeKey"},
        {"POST", "/v1/admin/api-keys/a/rotate", "/bora.v1.KeyService/RotateKey"},
        {"GET", "/v1/admin/usage", "/bora.v1.UsageService/GetUsage"},
        {"GET", "/v1/admin/usage/ledger", "/bora.v1.UsageService/ListLedger"},
        {"PUT", "/v1/admin/prices", "/bora.v1.UsageService/SetPrices"},
        {"GET", "/v1/users/me", "/bora.v1.TenantService/GetMe"},
        {"GET", "/v1/admin/api-keys/", NULL},
        {"GET", "/v1/admin/api-keys//", NULL},
        {"GET", "/v1/admin/api-keys/a/", NULL},
        {"GET", "/v1/admin/api-keys/a/b", NULL},
        {"POST", "/v1/admin/api-keys//rotate", NULL},
        {"POST", "/v1/admin/api-keys/a/rotates", NULL},
        {"POST", "/v1/admin/api-keys/a/rotate/", NULL},
        {"POST", "/v1/admin/api-keys/a/b/rotate", NULL},
        {"GET", "/v1/admin/api-key", NULL},
        {"GET", "/v1/admin/api-keysa", NULL},
        {"GET", "/v1/admin/api-keys{key_id}", NULL},
        {"POST", "/v1/users/me", NULL},
        {"GET", "", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct admin_route *route = find(rows[i].verb, rows[i].path);
        const char *got = route != NULL ? route->calls : "none",
                   *expected = rows[i].calls != NULL ? rows[i].calls : "none";
        if (strcmp(got, expected) != 0)
            fail_msg("%s %s is %s instead of %s", rows[i].verb, rows[i].path, got, expected);
    }
}

static void test_segments_are_cut_out(void **state) {
    (void)state;
    struct arena arena;
    struct transcode_parameter segments[2];
    arena_init(&arena, 4096);
    const char *path = "/v1/admin/api-keys/0198-ab/rotate", *braces = "/v1/admin/workspaces/{workspace_id}";
    assert_int_equal(admin_route_segments(find("POST", path), path, &arena, segments, 2), 1);
    assert_string_equal(segments[0].name, "key_id");
    assert_string_equal(segments[0].value, "0198-ab");
    assert_int_equal(admin_route_segments(find("GET", braces), braces, &arena, segments, 2), 1);
    assert_string_equal(segments[0].value, "{workspace_id}"); /* a name like any other */
    assert_int_equal(admin_route_segments(find("GET", "/v1/usage"), "/v1/usage", &arena, segments, 2), 0);
    arena_deinit(&arena);
    arena_init(&arena, 1);
    assert_int_equal(admin_route_segments(find("POST", path), path, &arena, segments, 2), -1);
    arena_deinit(&arena);
}

/** Every field of a pattern is one of its message; every message is transcoded. */
static void test_each_row_calls_a_method_whose_message_has_its_fields(void **state) {
    (void)state;
    for (size_t i = 0; i < admin_route_count; i++) {
        const struct admin_route *route = &admin_routes[i];
        const struct admin_method *method = admin_find_method(route->calls);
        if (method == NULL) fail_msg("%s %s calls nothing", route->verb, route->pattern);
        const char *brace = strchr(route->pattern, '{');
        if (brace == NULL) continue;
        char field[64];
        snprintf(field, sizeof field, "%.*s", (int)strcspn(brace + 1, "}"), brace + 1);
        if (protobuf_c_message_descriptor_get_field_by_name(method->request, field) == NULL)
            fail_msg("%s: no field %s", method->request->name, field);
    }
}

static void test_each_method_has_a_row_and_its_messages_a_json_form(void **state) {
    (void)state;
    for (size_t i = 0; i < admin_method_count; i++) {
        const ProtobufCMessageDescriptor *messages[] = {admin_methods[i].request, admin_methods[i].response};
        struct transcoder *transcoder = NULL;
        bool called = false;
        for (size_t j = 0; j < admin_route_count; j++)
            called |= strcmp(admin_routes[j].calls, admin_methods[i].path) == 0;
        if (!called) fail_msg("nothing calls %s", admin_methods[i].path);
        check_ok(transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), messages, 2, &transcoder,
                                   &check_error));
        transcoder_destroy(transcoder);
    }
    assert_null(admin_find_method("/bora.v1.KeyService/VerifyKey"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_find_their_rows),
        cmocka_unit_test(test_segments_are_cut_out),
        cmocka_unit_test(test_each_row_calls_a_method_whose_message_has_its_fields),
        cmocka_unit_test(test_each_method_has_a_row_and_its_messages_a_json_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
