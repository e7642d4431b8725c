/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Do health and reflection answer as gRPC's own documents say, and do malformed bytes do no harm? */
#include "base/protobuf_wire.h"
#include "rpc/grpc_internal.h"
#include "tests/unit/rpc/grpc_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- health -------------------------------------------------------------------------------------------------------- */

static void test_health_check_and_watch_follow_the_state(void **state) {
    struct house *house = *state;
    struct bytes reply;
    struct error err = {0};
    bytes_init(&reply, 1024);
    rpc_server_set_health(house->server, "test.Service", true);
    assert_int_equal(ask(house, "/grpc.health.v1.Health/Check", bytes_view_string("\n\x0ctest.Service"), &reply, &err),
                     STATUS_OK);
    assert_int_equal(reply.length, 2);
    assert_memory_equal(reply.data, "\x08\x01", 2);
    assert_int_equal(ask(house, "/grpc.health.v1.Health/Check", bytes_view_string("\n\x04none"), &reply, &err),
                     STATUS_NOT_FOUND);
    assert_int_equal(ask(house, "/grpc.health.v1.Health/Check", bytes_view_string("\xff\xff"), &reply, &err),
                     STATUS_INVALID_ARGUMENT);
    bytes_deinit(&reply);

    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(house, "/grpc.health.v1.Health/Watch", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("\n\x0ctest.Service")), STATUS_OK);
    rpc_client_call_half_close(call);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.messages, 1));
    rpc_server_set_health(house->server, "test.Service", false);
    assert_true(reaches(&listener.messages, 2));
    rpc_client_call_cancel(call);
    assert_true(reaches(&listener.finished, 1));
    rpc_client_call_unref(call);
}

static void test_watch_of_an_unknown_service_tells_when_it_comes_and_when_the_server_stops(void **state) {
    enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };
    struct house *house = *state;
    struct listener listener = {.credit_each = true};
    struct rpc_client_call *call = start(house, "/grpc.health.v1.Health/Watch", &listener, NULL, PATIENCE_NS);
    assert_int_equal(rpc_client_call_write(call, bytes_view_string("\n\x05later")), STATUS_OK);
    rpc_client_call_read(call);
    assert_true(reaches(&listener.messages, 1));
    assert_int_equal(value_of(&listener.last_byte), SERVICE_UNKNOWN);
    rpc_server_set_health(house->server, "later", true);
    assert_true(reaches(&listener.messages, 2));
    assert_int_equal(value_of(&listener.last_byte), SERVING);
    rpc_server_set_health(house->server, "other", true); /* nothing to tell */
    rpc_server_stop(house->server, PATIENCE_NS);         /* does not wait for the watcher */
    assert_true(reaches(&listener.finished, 1));
    assert_int_equal(listener.messages, 3);
    assert_int_equal(value_of(&listener.last_byte), NOT_SERVING);
    assert_int_equal(listener.status, STATUS_UNAVAILABLE);
    rpc_client_call_unref(call);
}

/* ---- reflection ---------------------------------------------------------------------------------------------------- */

enum {
    REQUEST_FILE = 3,
    REQUEST_SYMBOL = 4,
    REQUEST_EXTENSION_NUMBERS = 6,
    REQUEST_LIST = 7,
    ANSWER_FILES = 4,
    ANSWER_SERVICES = 6,
    ANSWER_ERROR = 7
};

static void put_text(struct bytes *out, uint32_t number, const char *text) {
    wire_put_bytes(out, number, bytes_view_string(text));
}

static void put_inner(struct bytes *out, uint32_t number, struct bytes *inner) {
    wire_put_bytes(out, number, bytes_view(inner));
    bytes_reset(inner);
}

/** a.proto (package p.q, imports b.proto): message Outer { message Inner { field leaf }, enum Kind { FIRST } }, service Desk { method Ask }.  b.proto: message Base. */
static void make_set(struct bytes *set) {
    struct bytes file, message, nested, name;
    struct bytes *all[] = {&file, &message, &nested, &name};
    for (size_t i = 0; i < 4; i++) bytes_init(all[i], 4096);
    put_text(&file, 1, "a.proto");
    put_text(&file, 2, "p.q");
    put_text(&file, 3, "b.proto");
    put_text(&message, 1, "Outer");
    put_text(&nested, 1, "Inner");
    put_text(&name, 1, "leaf");
    put_inner(&nested, 2, &name);
    put_inner(&message, 3, &nested);
    put_text(&nested, 1, "Kind");
    put_text(&name, 1, "FIRST");
    put_inner(&nested, 2, &name);
    put_inner(&message, 4, &nested);
    put_inner(&file, 4, &message);
    put_text(&message, 1, "Desk");
    put_text(&name, 1, "Ask");
    put_inner(&message, 2, &name);
    put_inner(&file, 6, &message);
    put_inner(set, 1, &file);
    put_text(&file, 1, "b.proto");
    put_text(&message, 1, "Base");
    put_inner(&file, 4, &message);
    put_inner(set, 1, &file);
    for (size_t i = 0; i < 4; i++) bytes_deinit(all[i]);
}

struct reflecting {
    struct bytes set, answer;
    struct grpc_reflection *reflection;
};

static int open_reflection(void **state) {
    struct reflecting *reflecting = calloc(1, sizeof *reflecting);
    bytes_init(&reflecting->set, 4096);
    bytes_init(&reflecting->answer, 1 << 20);
    make_set(&reflecting->set);
    assert_int_equal(grpc_reflection_create(bytes_view(&reflecting->set), &reflecting->reflection, NULL), STATUS_OK);
    grpc_reflection_add_path(reflecting->reflection, "/p.q.Desk/Ask");
    *state = reflecting;
    return 0;
}

static int close_reflection(void **state) {
    struct reflecting *reflecting = *state;
    grpc_reflection_destroy(reflecting->reflection);
    bytes_deinit(&reflecting->answer);
    bytes_deinit(&reflecting->set);
    free(reflecting);
    return 0;
}

/** Ask, and return field `kind` of the answer; empty when the answer is of another kind. */
static struct bytes_view reflect(struct reflecting *reflecting, uint32_t number, const char *text, uint32_t kind) {
    struct bytes request;
    bytes_init(&request, 4096);
    put_text(&request, 1, "a host");
    put_text(&request, number, text);
    bytes_reset(&reflecting->answer);
    assert_int_equal(grpc_reflection_answer(reflecting->reflection, bytes_view(&request), &reflecting->answer),
                     STATUS_OK);
    struct bytes_view cursor = bytes_view(&reflecting->answer), found = {0};
    struct wire_field field;
    while (wire_next(&cursor, &field)) {
        if (field.number == 1) assert_true(bytes_view_equal_string(field.bytes, "a host"));
        if (field.number == 2) assert_true(bytes_view_equal(field.bytes, bytes_view(&request)));
        if (field.number == kind) found = field.bytes;
    }
    assert_int_equal(cursor.length, 0);
    bytes_deinit(&request);
    return found;
}

/** Names of the files of an answer, joined by spaces. */
static void file_names(struct bytes_view files, char *out, size_t out_bytes) {
    struct wire_field file, field = {0};
    out[0] = 0;
    while (wire_next(&files, &file)) {
        struct bytes_view cursor = file.bytes;
        while (wire_next(&cursor, &field) && field.number != 1) continue;
        size_t used = strlen(out);
        snprintf(out + used, out_bytes - used, "%s%.*s", used > 0 ? " " : "", (int)field.bytes.length,
                 (const char *)field.bytes.data);
    }
}

static void test_file_comes_with_what_it_imports(void **state) {
    char names[256];
    file_names(reflect(*state, REQUEST_FILE, "a.proto", ANSWER_FILES), names, sizeof names);
    assert_string_equal(names, "a.proto b.proto");
    file_names(reflect(*state, REQUEST_FILE, "b.proto", ANSWER_FILES), names, sizeof names);
    assert_string_equal(names, "b.proto");
}

static void test_symbols_are_found_at_every_depth(void **state) {
    const char *const in_a[] = {"p.q.Outer",      "p.q.Outer.Inner", "p.q.Outer.Inner.leaf",
                                "p.q.Outer.Kind", "p.q.Desk",        "p.q.Desk.Ask"};
    char names[256];
    for (size_t i = 0; i < sizeof in_a / sizeof in_a[0]; i++) {
        file_names(reflect(*state, REQUEST_SYMBOL, in_a[i], ANSWER_FILES), names, sizeof names);
        assert_string_equal(names, "a.proto b.proto");
    }
    file_names(reflect(*state, REQUEST_SYMBOL, "Base", ANSWER_FILES), names, sizeof names);
    assert_string_equal(names, "b.proto");
    file_names(reflect(*state, REQUEST_SYMBOL, "grpc.health.v1.Health.Check", ANSWER_FILES), names, sizeof names);
    assert_string_equal(names, "grpc/health/v1/health.proto");
    file_names(reflect(*state, REQUEST_SYMBOL, "grpc.reflection.v1.ServerReflection", ANSWER_FILES), names,
               sizeof names);
    assert_string_equal(names, "grpc/reflection/v1/reflection.proto");
}

static void test_what_is_not_there_is_not_found(void **state) {
    const char *const absent[] = {
        "p.q", "p", "", "p.q.", "p.q.Out", "p.q.OuterX", "p.q.Outer.Nothing", "q.Outer", "Outer", "p.q.Desk.Ask.More"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        struct bytes_view error = reflect(*state, REQUEST_SYMBOL, absent[i], ANSWER_ERROR);
        assert_true(error.length > 2);
        assert_int_equal(error.data[1], STATUS_NOT_FOUND);
    }
    assert_int_equal(reflect(*state, REQUEST_FILE, "c.proto", ANSWER_ERROR).data[1], STATUS_NOT_FOUND);
    assert_int_equal(reflect(*state, REQUEST_EXTENSION_NUMBERS, "p.q.Outer", ANSWER_ERROR).data[1],
                     STATUS_UNIMPLEMENTED);
}

static void test_malformed_reflection_request_is_invalid_argument(void **state) {
    struct reflecting *reflecting = *state;
    const char *const requests[] = {"", "\xff",
                                    "\x1a\x7f"
                                    "a",
                                    "\x0a\x01h"};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        bytes_reset(&reflecting->answer);
        assert_int_equal(
            grpc_reflection_answer(reflecting->reflection, bytes_view_string(requests[i]), &reflecting->answer),
            STATUS_INVALID_ARGUMENT);
    }
    struct grpc_reflection *none = NULL;
    assert_int_equal(grpc_reflection_create(bytes_view_string("\x0a\x7fshort"), &none, NULL), STATUS_INVALID_ARGUMENT);
    assert_null(none);
}

/** Each answer is waited for before the next request is read, and the stream ends when the client's does. */
static void test_both_reflections_list_the_services_over_the_wire(void **state) {
    const char *const paths[] = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                 "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"};
    for (int i = 0; i < 2; i++) {
        struct listener listener = {.credit_each = true};
        struct rpc_client_call *call = start(*state, paths[i], &listener, NULL, PATIENCE_NS);
        for (int k = 0; k < 20; k++)
            assert_int_equal(rpc_client_call_write(call, bytes_view_of("\x3a\0", 2)), STATUS_OK);
        rpc_client_call_half_close(call);
        rpc_client_call_read(call);
        assert_true(reaches(&listener.finished, 1));
        assert_int_equal(listener.status, STATUS_OK);
        assert_int_equal(listener.messages, 20);
        assert_true((size_t)listener.bytes >
                    20 * strlen("test.Service grpc.health.v1.Health grpc.reflection.v1.ServerReflection"));
        rpc_client_call_unref(call);
    }
}

/* ---- status details ------------------------------------------------------------------------------------------------ */

static void test_details_are_found_by_type_and_malformed_ones_are_not(void **state) {
    (void)state;
    struct bytes details;
    struct bytes_view found;
    bytes_init(&details, 4096);
    assert_int_equal(rpc_status_details(STATUS_NOT_FOUND, "no", "a.B", bytes_view_string("value"), &details),
                     STATUS_OK);
    assert_true(rpc_status_details_find(bytes_view(&details), "a.B", &found));
    assert_true(bytes_view_equal_string(found, "value"));
    assert_false(rpc_status_details_find(bytes_view(&details), "a.C", &found));
    assert_false(rpc_status_details_find(bytes_view(&details), "B", &found));
    for (size_t length = 0; length < details.length; length++)
        assert_false(rpc_status_details_find(bytes_view_of(details.data, length), "a.B", &found));
    bytes_deinit(&details);
}

#define REFLECTION_TEST(name) cmocka_unit_test_setup_teardown(name, open_reflection, close_reflection)

int main(void) {
    const struct CMUnitTest tests[] = {
        HOUSE_TEST(test_health_check_and_watch_follow_the_state),
        HOUSE_TEST(test_watch_of_an_unknown_service_tells_when_it_comes_and_when_the_server_stops),
        REFLECTION_TEST(test_file_comes_with_what_it_imports),
        REFLECTION_TEST(test_symbols_are_found_at_every_depth),
        REFLECTION_TEST(test_what_is_not_there_is_not_found),
        REFLECTION_TEST(test_malformed_reflection_request_is_invalid_argument),
        HOUSE_TEST(test_both_reflections_list_the_services_over_the_wire),
        cmocka_unit_test(test_details_are_found_by_type_and_malformed_ones_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
