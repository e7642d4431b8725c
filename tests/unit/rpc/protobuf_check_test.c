/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Untrusted protobuf bytes: what protobuf-c alone would die of is a clear error. */
#include "rpc/transcode.h"

#include "base/limits.h"
#include "bora/v1/chat.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const ProtobufCMessageDescriptor *const request_type = &bora__v1__chat_completion_request__descriptor;

struct outcome {
    enum status status;
    struct error err;
};
static struct outcome unpack(const void *data, size_t length, size_t cap_bytes) {
    struct outcome outcome = {0};
    struct arena arena;
    arena_init(&arena, cap_bytes);
    /* An exact copy on the heap, so that ASan sees a read past the end. */
    uint8_t *exact = malloc(length + (length == 0));
    if (length > 0) memcpy(exact, data, length);
    ProtobufCMessage *message = NULL;
    outcome.status = protobuf_unpack(request_type, bytes_view_of(exact, length), &arena, &message, &outcome.err);
    assert_true((message != NULL) == (outcome.status == STATUS_OK));
    assert_true(arena.reserved_bytes <= cap_bytes);
    free(exact);
    arena_deinit(&arena);
    return outcome;
}

static void expect_invalid(const void *data, size_t length, const char *sentence) {
    struct outcome outcome = unpack(data, length, 1 << 20);
    assert_int_equal(outcome.status, STATUS_INVALID_ARGUMENT);
    assert_string_equal(outcome.err.message, sentence);
}

static void test_a_message_comes_back(void **state) {
    (void)state;
    Bora__V1__ChatCompletionRequest request = BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    request.model = (char *)"caf\xC3\xA9";
    request._temperature_case = BORA__V1__CHAT_COMPLETION_REQUEST___TEMPERATURE_TEMPERATURE;
    request.temperature = 0; /* present although zero */
    struct bytes packed;
    bytes_init(&packed, 1000);
    assert_int_equal(protobuf_pack(&request.base, &packed), STATUS_OK);
    struct arena arena;
    arena_init(&arena, 1 << 16);
    ProtobufCMessage *message = NULL;
    assert_int_equal(protobuf_unpack(request_type, bytes_view(&packed), &arena, &message, NULL), STATUS_OK);
    const Bora__V1__ChatCompletionRequest *again = (const Bora__V1__ChatCompletionRequest *)message;
    assert_string_equal(again->model, "caf\xC3\xA9");
    assert_int_equal(again->_temperature_case, BORA__V1__CHAT_COMPLETION_REQUEST___TEMPERATURE_TEMPERATURE);
    arena_deinit(&arena);
    bytes_deinit(&packed);
}

static void test_packing_respects_the_buffer_s_maximum(void **state) {
    (void)state;
    Bora__V1__ChatCompletionRequest request = BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    request.model = (char *)"0123456789";
    struct bytes packed;
    bytes_init(&packed, 11); /* tag, length and ten bytes are twelve */
    assert_int_equal(protobuf_pack(&request.base, &packed), STATUS_RESOURCE_EXHAUSTED);
    bytes_deinit(&packed);
    bytes_init(&packed, 12);
    assert_int_equal(protobuf_pack(&request.base, &packed), STATUS_OK);
    assert_int_equal(packed.length, 12);
    bytes_deinit(&packed);
}

static void test_empty_bytes_are_the_empty_message(void **state) {
    (void)state;
    assert_int_equal(unpack("", 0, 1 << 16).status, STATUS_OK);
}

static void test_strings_must_be_clean(void **state) {
    (void)state;
    expect_invalid("\x0a\x02\xC3\x28", 4, "bora.v1.ChatCompletionRequest.model: invalid UTF-8");
    expect_invalid("\x0a\x03"
                   "a\0b",
                   5, "bora.v1.ChatCompletionRequest.model: NUL characters are not accepted");
    /* messages { user { content { text: "\xff" } } } */
    expect_invalid("\x12\x07\x12\x05\x0a\x03\x0a\x01\xff", 9, "bora.v1.Content.text: invalid UTF-8");
}

static void test_malformed_bytes(void **state) {
    (void)state;
    static const char sentence[] = "bora.v1.ChatCompletionRequest: malformed protobuf";
    expect_invalid("\x0a", 1, sentence);                                          /* a length is missing */
    expect_invalid("\x0a\x05hi", 4, sentence);                                    /* a length past the end */
    expect_invalid("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, sentence); /* a length of 2^64 - 1 */
    expect_invalid("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11, sentence); /* a varint without an end */
    expect_invalid("\x00\x01", 2, sentence);                                      /* field number 0 */
    expect_invalid("\x0b\x0c", 2, sentence);                                      /* groups */
    expect_invalid("\x08\x01", 2, sentence);                                      /* model as a varint */
    expect_invalid("\x19\x01\x02", 3, sentence);                                  /* half a double */
}

static void test_every_truncation_is_told(void **state) {
    (void)state;
    static const uint8_t whole[] = "\x0a\x01m\x12\x08\x12\x06\x0a\x04\x0a\x02hi\x19\0\0\0\0\0\0\0\0";
    assert_int_equal(unpack(whole, sizeof whole - 1, 1 << 16).status, STATUS_OK);
    for (size_t length = 1; length < sizeof whole - 1; length++) {
        bool boundary = length == 3 || length == 13; /* between fields it is a shorter message */
        assert_int_equal(unpack(whole, length, 1 << 16).status, boundary ? STATUS_OK : STATUS_INVALID_ARGUMENT);
    }
}

static void test_the_number_of_fields_is_bounded(void **state) {
    (void)state;
    size_t count = LIMIT_PROTO_ELEMENTS + 1;
    uint8_t *empty_messages = malloc(2 * count);
    for (size_t i = 0; i < count; i++) memcpy(empty_messages + 2 * i, "\x12\0", 2);
    struct outcome outcome = unpack(empty_messages, 2 * count, (size_t)1 << 30);
    assert_int_equal(outcome.status, STATUS_INVALID_ARGUMENT);
    assert_string_equal(outcome.err.message, "bora.v1.ChatCompletionRequest: more than 200000 fields");
    free(empty_messages);
}

static void test_memory_is_bounded_by_the_arena(void **state) {
    (void)state;
    enum { COUNT = 10000 };
    uint8_t *empty_messages = malloc(2 * COUNT);
    for (size_t i = 0; i < COUNT; i++) memcpy(empty_messages + 2 * i, "\x12\0", 2);
    assert_int_equal(unpack(empty_messages, (size_t)2 * COUNT, (size_t)64 << 20).status, STATUS_OK);
    for (size_t cap = 64; cap < 200000; cap = cap * 3 / 2)
        assert_int_equal(unpack(empty_messages, (size_t)2 * COUNT, cap).status, STATUS_RESOURCE_EXHAUSTED);
    free(empty_messages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_comes_back),
        cmocka_unit_test(test_packing_respects_the_buffer_s_maximum),
        cmocka_unit_test(test_empty_bytes_are_the_empty_message),
        cmocka_unit_test(test_strings_must_be_clean),
        cmocka_unit_test(test_malformed_bytes),
        cmocka_unit_test(test_every_truncation_is_told),
        cmocka_unit_test(test_the_number_of_fields_is_bounded),
        cmocka_unit_test(test_memory_is_bounded_by_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
