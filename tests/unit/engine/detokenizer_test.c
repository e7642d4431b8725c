/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/tokenizer.h"

#include "base/random.h"
#include "base/text.h"
#include "tests/unit/engine/check.h"
#include "tests/unit/engine/tokenizer_fixture.h"

enum { SEED = 7, LONG_TOKEN = 256, HALF_TOKEN = 257, IM_END = 260 };

static struct tokenizer *tokenizer; /* ids 0 to 255 are the bytes */

static int set_up(void **state) {
    (void)state;
    /* 256: the euro sign at once; 257: its first two bytes. "â" is 0xE2, "Ĥ" 0x82, "¬" 0xAC in disguise. */
    static const char *const merges[] = {"âĤ ¬", "â Ĥ"};
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_tokenizer(&builder, merges, 2);
    tokenizer = fixture_tokenizer(&builder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    return 0;
}

/** What the ids give, with '|' after every push, and what is left over at the end. */
static const char *stream(const int32_t *ids, size_t count) {
    static struct bytes out;
    struct detokenizer detokenizer;
    bytes_deinit(&out);
    bytes_init(&out, 4096);
    detokenizer_init(&detokenizer, tokenizer);
    for (size_t i = 0; i < count; i++) {
        check_ok(detokenizer_push(&detokenizer, ids[i], &out));
        check_ok(bytes_append_byte(&out, '|'));
    }
    check_ok(detokenizer_finish(&detokenizer, &out));
    return (const char *)out.data;
}

static const char *stream_bytes(const char *bytes) {
    int32_t ids[64];
    size_t count = strlen(bytes);
    for (size_t i = 0; i < count; i++) ids[i] = (uint8_t)bytes[i];
    return stream(ids, count);
}

static void test_sequence_is_held_back_until_it_is_whole(void **state) {
    (void)state;
    assert_string_equal(stream_bytes("a\xE2\x82\xAC"), "a|||\xE2\x82\xAC|");
    assert_string_equal(stream_bytes("\xF0\x9F\x98\x80!"), "|||\xF0\x9F\x98\x80|!|");
    assert_string_equal(stream((int32_t[]){HALF_TOKEN, 0xAC}, 2), "|\xE2\x82\xAC|");
    assert_string_equal(stream((int32_t[]){LONG_TOKEN, HALF_TOKEN, LONG_TOKEN}, 3),
                        "\xE2\x82\xAC||\xEF\xBF\xBD\xE2\x82\xAC|");
}

static void test_bytes_that_cannot_become_valid_are_replaced_at_once(void **state) {
    (void)state;
    assert_string_equal(stream_bytes("\xFF"), "\xEF\xBF\xBD|");
    assert_string_equal(stream_bytes("\x80\xC0"), "\xEF\xBF\xBD|\xEF\xBF\xBD|");
    assert_string_equal(stream_bytes("\xE2\x82x"), "||\xEF\xBF\xBDx|");
    assert_string_equal(stream_bytes("\xED\xA0"), "|\xEF\xBF\xBD\xEF\xBF\xBD|"); /* would be a surrogate */
}

static void test_unfinished_sequence_is_replaced_at_the_end(void **state) {
    (void)state;
    assert_string_equal(stream_bytes("\xE2\x82"), "||\xEF\xBF\xBD");
    assert_string_equal(stream_bytes("\xF0\x9F\x98"), "|||\xEF\xBF\xBD");
}

static void test_control_and_unknown_ids_give_nothing(void **state) {
    (void)state;
    assert_string_equal(stream((int32_t[]){'a', IM_END, -1, 1 << 30, 'b'}, 5), "a||||b|");
    assert_string_equal(stream((int32_t[]){0xE2, IM_END, 0x82, 0xAC}, 4), "|||\xE2\x82\xAC|");
}

static void test_nul_is_text(void **state) {
    (void)state;
    struct detokenizer detokenizer;
    struct bytes out;
    bytes_init(&out, 16);
    detokenizer_init(&detokenizer, tokenizer);
    check_ok(detokenizer_push(&detokenizer, 0, &out));
    assert_int_equal(out.length, 1);
    assert_int_equal(out.data[0], 0);
    bytes_deinit(&out);
}

static void test_full_output_is_resource_exhausted(void **state) {
    (void)state;
    struct detokenizer detokenizer;
    struct bytes out;
    bytes_init(&out, 2);
    detokenizer_init(&detokenizer, tokenizer);
    assert_int_equal(detokenizer_push(&detokenizer, LONG_TOKEN, &out), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(out.length, 0);
    bytes_deinit(&out);
}

/** All of `bytes` at once: valid sequences stay, every maximal invalid part becomes U+FFFD. */
static void replace_invalid(const uint8_t *bytes, size_t length, struct bytes *out) {
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        bool valid;
        size_t used = text_decode(bytes + at, length - at, &code_point, &valid);
        check_ok(valid ? bytes_append(out, bytes + at, used) : bytes_append(out, "\xEF\xBF\xBD", 3));
        at += used;
    }
}

static void test_stream_equals_whole_and_every_prefix_is_utf8(void **state) {
    (void)state;
    /* Bytes that meet the edges of every rule of UTF-8, so that random strings are often nearly valid. */
    static const uint8_t edges[] = {'a',  0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2,
                                    0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
    for (uint64_t round = 0; round < 3000; round++) {
        struct bytes whole, want, out;
        struct detokenizer detokenizer;
        bytes_init(&whole, 1024);
        bytes_init(&want, 4096);
        bytes_init(&out, 4096);
        detokenizer_init(&detokenizer, tokenizer);
        size_t count = random_philox(SEED, round, 0) % 24, before = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t number = random_philox(SEED, round, 1 + i);
            int32_t id = number % 8 == 0 ? (int32_t)(LONG_TOKEN + number / 8 % 2) : edges[number / 8 % sizeof edges];
            struct bytes_view piece = tokenizer_piece(tokenizer, id);
            check_ok(bytes_append(&whole, piece.data, piece.length));
            check_ok(detokenizer_push(&detokenizer, id, &out));
            if (out.length > before && !text_is_utf8(out.data + before, out.length - before))
                fail_msg("seed %d, round %d: a push gave part of a sequence", SEED, (int)round);
            before = out.length;
        }
        check_ok(detokenizer_finish(&detokenizer, &out));
        replace_invalid(whole.data, whole.length, &want);
        if (!bytes_view_equal(bytes_view(&out), bytes_view(&want))) fail_msg("seed %d, round %d", SEED, (int)round);
        bytes_deinit(&whole);
        bytes_deinit(&want);
        bytes_deinit(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequence_is_held_back_until_it_is_whole),
        cmocka_unit_test(test_bytes_that_cannot_become_valid_are_replaced_at_once),
        cmocka_unit_test(test_unfinished_sequence_is_replaced_at_the_end),
        cmocka_unit_test(test_control_and_unknown_ids_give_nothing),
        cmocka_unit_test(test_nul_is_text),
        cmocka_unit_test(test_full_output_is_resource_exhausted),
        cmocka_unit_test(test_stream_equals_whole_and_every_prefix_is_utf8),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
