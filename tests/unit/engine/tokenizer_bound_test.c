/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* No text has more tokens than tokenizer_bound says, in any kind of tokenizer; and what its argument takes for granted of Unicode. */
#include "base/text.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/unicode_form.h"
#include "tests/unit/engine/bound_fixture.h"
#include "tests/unit/engine/check.h"

#include <utf8proc.h>

static struct bound_tokenizer tokenizers[BOUND_TOKENIZERS_MAX];
static size_t tokenizer_count;

static int set_up(void **state) {
    (void)state;
    tokenizer_count = bound_tokenizers_load(tokenizers);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bound_tokenizers_destroy(tokenizers, tokenizer_count);
    return 0;
}

/* ---- Unicode ------------------------------------------------------------------------------------------------------- */

static struct bytes form_of(enum unicode_form form, struct bytes_view text) {
    struct bytes out;
    bytes_init(&out, 1000);
    check_ok(unicode_form_append(form, text, &out));
    return out;
}

/** Forms of texts are made of forms of characters: NFD and NFKD put them one behind the other and order marks, NFC and NFKC put characters together
 *  again whose own NFD that is. So it is enough to know all characters. */
static void test_no_character_grows_by_more_than_its_factor(void **state) {
    (void)state;
    size_t most[4] = {0}, most_lower = 0;
    for (uint32_t character = 0; character < 0x110000; character++) {
        uint8_t encoded[4], lower[4];
        size_t length = text_encode(character, encoded);
        if (length == 0) continue;
        for (enum unicode_form form = UNICODE_NFC; form <= UNICODE_NFKD; form++) {
            struct bytes made = form_of(form, bytes_view_of(encoded, length));
            if (made.length * 10 / length > most[form]) most[form] = made.length * 10 / length;
            bool stays = form == UNICODE_NFC && bytes_view_equal(bytes_view(&made), bytes_view_of(encoded, length));
            bytes_deinit(&made);
            if (!stays) continue;
            struct bytes apart = form_of(UNICODE_NFD, bytes_view_of(encoded, length));
            if (apart.length < length) fail_msg("U+%04X is longer than what it is composed of", character);
            bytes_deinit(&apart);
        }
        size_t lower_length = text_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)character), lower);
        if (lower_length * 10 / length > most_lower) most_lower = lower_length * 10 / length;
    }
    assert_int_equal(most[UNICODE_NFC], 30);
    assert_int_equal(most[UNICODE_NFD], 30);
    assert_int_equal(most[UNICODE_NFKC], 110);
    assert_int_equal(most[UNICODE_NFKD], 110);
    assert_int_equal(most_lower, 15);
}

/* ---- bounds -------------------------------------------------------------------------------------------------------- */

static void test_bounds_are_those_of_the_settings(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t text, byte;
    } due[] = {{"model", 0, 1},
               {"bytes", 0, 1},
               {"sentencepiece-no-marks", 3, 3},
               {"gguf-unigram.gguf-squeeze", 1, 1},
               {"gguf-unigram.gguf-squeeze-suffix", 2, 2},
               {"sp-bpe-user.model-dummy", 1, 1},
               {"sp-bpe-user.model-suffix", 1, 1},
               {"nfc", 0, 3},
               {"nfkc", 0, 11},
               {"nfkd-lower", 0, 22},
               {"lower", 0, 2},
               {"replace", 0, 3},       /* five bytes of two */
               {"prepend-marks", 1, 2}, /* "~" and a mark, of a byte */
               {"prepend-no-marks", 9, 10},
               {"prepend-long-name", 1, 1},
               {"metaspace-always", 1, 2},
               {"metaspace-first", 1, 1},
               {"metaspace-no-marks", 3, 4},
               {"byte-level-prefix", 1, 2},
               {"byte-level-prefix-nfc", 1, 6},
               {"qwen2.json", 0, 3},
               {"llama3.json", 0, 1},
               {"llama2.json", 1, 1},
               {"gemma.json", 0, 1},
               {"tekken.json", 0, 1},
               {"sp-bpe-bytes.model", 1, 1},
               {"gguf-bpe-bytes.gguf", 1, 1}};
    for (size_t i = 0; i < sizeof due / sizeof due[0]; i++) {
        size_t at = 0;
        struct tokenizer_bound bound;
        while (at < tokenizer_count && strcmp(tokenizers[at].name, due[i].name) != 0) at++;
        if (at == tokenizer_count) fail_msg("there is no tokenizer %s", due[i].name);
        if (!tokenizer_bound(tokenizers[at].tokenizer, &bound)) fail_msg("%s has no bound", due[i].name);
        if (bound.text != due[i].text || bound.byte != due[i].byte)
            fail_msg("%s: %lld + %lld a byte", due[i].name, (long long)bound.text, (long long)bound.byte);
    }
}

static void test_table_of_replacements_has_no_bound(void **state) {
    (void)state;
    static const char *const due[] = {"gguf-unigram.gguf", "sp-bpe-user.model", "sp-unigram.model"};
    size_t without = 0;
    for (size_t i = 0; i < tokenizer_count; i++) {
        struct tokenizer_bound bound;
        if (tokenizer_bound(tokenizers[i].tokenizer, &bound)) continue;
        assert_in_range(without, 0, 2);
        assert_string_equal(tokenizers[i].name, due[without++]);
    }
    assert_int_equal(without, 3);
}

static void check_text(const struct bound_tokenizer *of, const struct tokenizer_bound *bound, struct bytes_view text) {
    struct token_list plain = {.max_count = 1 << 20}, template = {.max_count = 1 << 20};
    int64_t most = text.length > 0 ? bound->text + bound->byte * (int64_t)text.length : 0;
    check_ok(tokenizer_encode(of->tokenizer, text, &plain, &check_error));
    check_ok(tokenizer_encode_template(of->tokenizer, text, NULL, &template, &check_error));
    if ((int64_t)plain.count > most || (int64_t) template.count > most)
        fail_msg("%s: %zu and %zu tokens of %zu bytes, at most %lld are due: '%.*s'", of->name, plain.count,
                 template.count, text.length, (long long)most, (int)(text.length < 80 ? text.length : 80),
                 (const char *)text.data);
    token_list_deinit(&plain);
    token_list_deinit(&template);
}

static void test_no_text_passes_its_bound(void **state) {
    (void)state;
    enum { TEXTS = 4000 };
    for (size_t i = 0; i < tokenizer_count; i++) {
        struct bound_random random = {.seed = 17 + i};
        struct tokenizer_bound bound;
        if (!tokenizer_bound(tokenizers[i].tokenizer, &bound)) continue;
        for (int j = 0; j < TEXTS; j++) {
            struct bytes text;
            bytes_init(&text, 1 << 20);
            bound_text_append(&random, tokenizers[i].tokenizer, &text);
            check_text(&tokenizers[i], &bound, bytes_view(&text));
            bytes_deinit(&text);
        }
    }
}

static void test_no_character_passes_its_bound(void **state) {
    (void)state;
    for (size_t i = 0; i < tokenizer_count; i++) {
        struct tokenizer_bound bound;
        if (!tokenizer_bound(tokenizers[i].tokenizer, &bound)) continue;
        for (uint32_t character = 0; character < 0x110000; character += character < 0x20000 ? 1 : 257) {
            uint8_t encoded[4];
            size_t length = text_encode(character, encoded);
            if (length > 0) check_text(&tokenizers[i], &bound, bytes_view_of(encoded, length));
        }
    }
}

/** A bound that nothing comes near would be as little use as none: where every byte is a token, some text has half of it, beside what is rounded up. */
static void test_bounds_are_reached(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        size_t tokens;
    } cases[] = {{"nfc", "\xF0\x9D\x85\xA0", 12},  {"nfkc", "\xEF\xB7\xBA", 33},    {"lower", "\xC8\xBA", 3},
                 {"replace", "aaaa", 10},          {"prepend-marks", "a~a~a", 8},   {"prepend-long-name", "a~~a~~a", 8},
                 {"metaspace-always", "a~a~a", 8}, {"metaspace-first", "a~a~a", 6}, {"metaspace-no-marks", "a~a~a", 14},
                 {"byte-level-prefix", "a~a~a", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t at = 0;
        struct tokenizer_bound bound;
        struct token_list ids = {.max_count = 100};
        while (strcmp(tokenizers[at].name, cases[i].name) != 0) at++;
        assert_true(tokenizer_bound(tokenizers[at].tokenizer, &bound));
        check_ok(tokenizer_encode(tokenizers[at].tokenizer, bytes_view_string(cases[i].text), &ids, &check_error));
        if (ids.count != cases[i].tokens) fail_msg("%s: %zu tokens", cases[i].name, ids.count);
        assert_in_range((int64_t)ids.count * 2, bound.byte * (int64_t)strlen(cases[i].text), INT64_MAX);
        token_list_deinit(&ids);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_character_grows_by_more_than_its_factor),
        cmocka_unit_test(test_bounds_are_those_of_the_settings),
        cmocka_unit_test(test_table_of_replacements_has_no_bound),
        cmocka_unit_test(test_no_text_passes_its_bound),
        cmocka_unit_test(test_no_character_passes_its_bound),
        cmocka_unit_test(test_bounds_are_reached),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
