/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "base/random.h"
#include "base/text.h"
#include "engine/text_stream/text_stream.h"
#include "engine/weights/gguf.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/engine/check.h"

static uint8_t *file;
static struct gguf *gguf;
static struct tokenizer *tokenizer;

static int open_tokenizer(void **state) {
    (void)state;
    size_t length;
    file = tiny_model_build(&(struct tiny_model_options){0}, &length);
    check_ok(gguf_open_memory(file, length, "tiny", &gguf, &check_error));
    check_ok(tokenizer_load_gguf(gguf, &tokenizer, &check_error));
    return 0;
}

static int close_tokenizer(void **state) {
    (void)state;
    tokenizer_destroy(tokenizer);
    gguf_close(gguf);
    free(file);
    return 0;
}

struct result {
    char text[512];
    size_t length;
    bool stopped;
    size_t pushed; /* bytes pushed when it stopped */
};

static void take(struct text_stream *stream, struct result *result) {
    struct bytes_view text = text_stream_final(stream);
    assert_true(text_is_utf8(text.data, text.length));
    memcpy(result->text + result->length, text.data, text.length);
    result->length += text.length;
    result->text[result->length] = 0;
    text_stream_consume(stream);
}

/** Push `text` byte by byte; every byte is a token. */
static struct result push_bytes(const char *text, size_t length, const char *const *stops, bool finish) {
    struct result result = {0};
    struct bytes_view stop[LIMIT_STOP_STRINGS] = {0};
    size_t stop_count = 0;
    for (; stops != NULL && stops[stop_count] != NULL; stop_count++)
        stop[stop_count] = bytes_view_string(stops[stop_count]);
    struct text_stream stream;
    check_ok(text_stream_init(&stream, tokenizer, stop, stop_count, &check_error));
    for (size_t i = 0; i < length; i++) {
        check_ok(text_stream_push(&stream, (uint8_t)text[i])); /* in the tiny vocabulary a byte's id is the byte */
        if (stream.stopped && !result.stopped) {
            result.stopped = true;
            result.pushed = i + 1;
        }
        take(&stream, &result);
    }
    if (finish) check_ok(text_stream_finish(&stream));
    take(&stream, &result);
    text_stream_deinit(&stream);
    return result;
}

static struct result push_text(const char *text, const char *const *stops) {
    return push_bytes(text, strlen(text), stops, true);
}

static void test_text_passes_unchanged(void **state) {
    (void)state;
    struct result result = push_text("hello, wörld €5 😀!", NULL);
    assert_string_equal(result.text, "hello, wörld €5 😀!");
    assert_false(result.stopped);
}

static void test_character_is_held_until_complete(void **state) {
    (void)state;
    const char *text = "a😀";
    for (size_t length = 2; length < 5; length++) assert_string_equal(push_bytes(text, length, NULL, false).text, "a");
    assert_string_equal(push_bytes(text, 5, NULL, false).text, "a😀");
}

static void test_cut_character_becomes_a_replacement(void **state) {
    (void)state;
    assert_string_equal(push_bytes("a\xF0\x9F\x98", 4, NULL, true).text, "a\xEF\xBF\xBD");
    assert_string_equal(push_bytes("a\xFF"
                                   "b",
                                   3, NULL, true)
                            .text,
                        "a\xEF\xBF\xBD"
                        "b");
}

static void test_stop_string_never_comes_out(void **state) {
    (void)state;
    struct result result = push_text("one END two", (const char *[]){"END", NULL});
    assert_string_equal(result.text, "one ");
    assert_true(result.stopped);
    assert_int_equal(result.pushed, 7);
}

static void test_prefix_of_a_stop_string_is_held(void **state) {
    (void)state;
    const char *const stops[] = {"END", NULL};
    assert_string_equal(push_bytes("one EN", 6, stops, false).text, "one ");
    assert_string_equal(push_bytes("one ENT", 7, stops, false).text, "one ENT");
    assert_string_equal(push_bytes("one EEN", 7, stops, false).text, "one E");
}

static void test_held_text_comes_out_at_the_end(void **state) {
    (void)state;
    assert_string_equal(push_text("one EN", (const char *[]){"END", NULL}).text, "one EN");
}

static void test_first_to_end_wins(void **state) {
    (void)state;
    assert_string_equal(push_text("xabcy", (const char *[]){"abcd", "b", NULL}).text, "xa");
    assert_string_equal(push_text("xabcy", (const char *[]){"c", "abc", NULL}).text,
                        "x"); /* both end there: the longest */
}

static void test_stop_string_of_many_bytes(void **state) {
    (void)state;
    struct result result = push_text("für 😀😁 und", (const char *[]){"😁", NULL});
    assert_string_equal(result.text, "für 😀");
    assert_true(result.stopped);
}

static void test_whole_text_can_be_the_stop(void **state) {
    (void)state;
    struct result result = push_text("ab", (const char *[]){"ab", NULL});
    assert_int_equal(result.length, 0);
    assert_true(result.stopped);
}

static void test_nothing_after_the_stop(void **state) {
    (void)state;
    assert_string_equal(push_text("a\n\nb\n\nc", (const char *[]){"\n\n", NULL}).text, "a");
}

static void test_control_token_has_no_text(void **state) {
    (void)state;
    struct text_stream stream;
    check_ok(text_stream_init(&stream, tokenizer, NULL, 0, &check_error));
    check_ok(text_stream_push(&stream, TINY_END_OF_TURN));
    check_ok(text_stream_push(&stream, 298));
    check_ok(text_stream_push(&stream, 1 << 30));
    check_ok(text_stream_push(&stream, -1));
    check_ok(text_stream_finish(&stream));
    assert_int_equal(text_stream_final(&stream).length, 0);
    text_stream_deinit(&stream);
}

/** What must come out, by the definition: everything before the match that ends first. */
static size_t expected_length(const char *text, const char *const *stops) {
    size_t best_start = strlen(text), best_end = SIZE_MAX;
    for (size_t i = 0; stops[i] != NULL; i++) {
        const char *found = strstr(text, stops[i]);
        if (found == NULL) continue;
        size_t start = (size_t)(found - text), end = start + strlen(stops[i]);
        if (end < best_end || (end == best_end && start < best_start)) best_start = start, best_end = end;
    }
    return best_start;
}

/** Random texts over few letters, with random stop strings, cut into random tokens: pairs where the vocabulary has them. */
static void test_text_does_not_depend_on_tokens(void **state) {
    (void)state;
    static const char letters[] = "aeintr";
    uint64_t at = 0;
    int stopped = 0;
    for (int round = 0; round < 3000; round++) {
        char text[64], stop_text[3][8];
        const char *stops[4] = {stop_text[0], stop_text[1], stop_text[2], NULL};
        size_t length = 1 + random_philox(5, at++, 0) % 60;
        for (size_t i = 0; i < length; i++) text[i] = letters[random_philox(5, at++, 0) % 6];
        text[length] = 0;
        for (int s = 0; s < 3; s++) {
            size_t stop_length = 1 + random_philox(5, at++, 0) % 6;
            for (size_t i = 0; i < stop_length; i++) stop_text[s][i] = letters[random_philox(5, at++, 0) % 6];
            stop_text[s][stop_length] = 0;
        }
        size_t expected = expected_length(text, stops);
        struct bytes_view views[3];
        for (int s = 0; s < 3; s++) views[s] = bytes_view_string(stops[s]);
        struct text_stream stream;
        struct result result = {0};
        check_ok(text_stream_init(&stream, tokenizer, views, 3, &check_error));
        for (size_t i = 0; i < length;) {
            struct token_list ids = {.max_count = 16};
            size_t pair = random_philox(5, at++, 0) % 2 == 0 && i + 1 < length ? 2 : 1;
            check_ok(tokenizer_encode(tokenizer, bytes_view_of(text + i, pair), &ids, &check_error));
            for (size_t t = 0; t < ids.count; t++) {
                check_ok(text_stream_push(&stream, ids.ids[t]));
                if (random_philox(5, at++, 0) % 3 > 0) take(&stream, &result);
                assert_true(result.length <= expected);
            }
            token_list_deinit(&ids);
            i += pair;
        }
        check_ok(text_stream_finish(&stream));
        take(&stream, &result);
        assert_int_equal(result.length, expected);
        assert_memory_equal(result.text, text, expected);
        stopped += stream.stopped;
        text_stream_deinit(&stream);
    }
    assert_true(stopped > 1000 && stopped < 3000);
}

/** The answer of a beam search is taken whole: megabytes of it, with many stop strings, take time in proportion (minutes else). */
static void test_long_text_is_searched_once(void **state) {
    (void)state;
    enum { BYTES = 1500020 };
    static const char *const stops[] = {"END", "a b c", "aab", "zzz"};
    struct bytes_view views[4];
    for (int s = 0; s < 4; s++) views[s] = bytes_view_string(stops[s]);
    struct text_stream stream;
    check_ok(text_stream_init(&stream, tokenizer, views, 4, &check_error));
    for (int i = 0; i < BYTES; i++) check_ok(text_stream_push(&stream, i % 40 == 39 ? ' ' : 'a'));
    assert_false(stream.stopped);
    check_ok(text_stream_push(&stream, 'b'));
    assert_true(stream.stopped);
    assert_int_equal(text_stream_final(&stream).length, BYTES - 2);
    text_stream_deinit(&stream);
}

/** A text that is put aside behind every token stops where one stops that is not, whatever was in the stream meanwhile. */
static void test_text_put_aside_goes_on_as_it_was(void **state) {
    (void)state;
    static const char *const stops[] = {"aab", "\xC3\xA9\xC3\xA9",
                                        "\xEF\xBF\xBD"
                                        "b",
                                        "bbbbb"};
    static const uint8_t alphabet[] = {'a', 'a', 'b', 0xC3, 0xA9, 'c'};
    struct bytes_view views[4];
    int stopped = 0;
    for (int s = 0; s < 4; s++) views[s] = bytes_view_string(stops[s]);
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct text_stream whole, shared;
        struct text_state aside[2] = {0};
        check_ok(text_stream_init(&whole, tokenizer, views, 4, &check_error));
        check_ok(text_stream_init(&shared, tokenizer, views, 4, &check_error));
        for (uint64_t i = 0; i < 40 && !whole.stopped; i++) {
            int32_t id = alphabet[random_philox(seed, i, 0) % sizeof alphabet];
            check_ok(text_stream_push(&whole, id));
            check_ok(text_stream_restore(&shared, &aside[i % 2]));
            check_ok(text_stream_push(&shared, id));
            assert_int_equal(shared.stopped, whole.stopped);
            if (!shared.stopped) text_stream_save(&shared, &aside[(i + 1) % 2]);
            check_ok(text_stream_restore(&shared, &(struct text_state){0})); /* another branch's text */
            check_ok(text_stream_push(&shared, 'b'));
        }
        stopped += whole.stopped;
        text_stream_deinit(&whole);
        text_stream_deinit(&shared);
    }
    assert_true(stopped > 200 && stopped < 300);
}

static void test_restored_stream_keeps_the_blank_of_its_next_word(void **state) {
    (void)state;
    struct tokenizer *marked = NULL;
    struct text_stream stream;
    struct text_state at_start, begun;
    struct token_list ids = {.max_count = 100};
    check_ok(tokenizer_load_path("tests/golden/tokenizers/llama2.json", &marked, &check_error));
    check_ok(tokenizer_encode(marked, bytes_view_string("the"), &ids, &check_error));
    struct bytes_view piece = tokenizer_piece(marked, ids.ids[0]);
    assert_int_equal(piece.data[0], ' ');
    check_ok(text_stream_init(&stream, marked, NULL, 0, &check_error));
    text_stream_save(&stream, &at_start);
    check_ok(text_stream_push(&stream, ids.ids[0]));
    text_stream_save(&stream, &begun);
    check_ok(text_stream_restore(&stream, &begun));
    check_ok(text_stream_push(&stream, ids.ids[0]));
    assert_true(bytes_view_equal(text_stream_final(&stream), piece));
    check_ok(text_stream_restore(&stream, &at_start));
    check_ok(text_stream_push(&stream, ids.ids[0]));
    assert_true(bytes_view_equal(text_stream_final(&stream), bytes_view_of(piece.data + 1, piece.length - 1)));
    token_list_deinit(&ids);
    text_stream_deinit(&stream);
    tokenizer_destroy(marked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restored_stream_keeps_the_blank_of_its_next_word),
        cmocka_unit_test(test_text_passes_unchanged),
        cmocka_unit_test(test_character_is_held_until_complete),
        cmocka_unit_test(test_cut_character_becomes_a_replacement),
        cmocka_unit_test(test_stop_string_never_comes_out),
        cmocka_unit_test(test_prefix_of_a_stop_string_is_held),
        cmocka_unit_test(test_held_text_comes_out_at_the_end),
        cmocka_unit_test(test_first_to_end_wins),
        cmocka_unit_test(test_stop_string_of_many_bytes),
        cmocka_unit_test(test_whole_text_can_be_the_stop),
        cmocka_unit_test(test_nothing_after_the_stop),
        cmocka_unit_test(test_control_token_has_no_text),
        cmocka_unit_test(test_text_does_not_depend_on_tokens),
        cmocka_unit_test(test_long_text_is_searched_once),
        cmocka_unit_test(test_text_put_aside_goes_on_as_it_was),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
