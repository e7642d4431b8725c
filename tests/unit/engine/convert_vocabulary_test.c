/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers' files on their way into GGUF. */
#include "engine/convert/hugging_face_files.h"
#include "engine/convert/vocabulary.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/gguf.h"
#include "tests/support/check.h"
#include "tests/support/gguf_builder.h"

static struct arena arena;
static struct vocabulary vocabulary;

static int set_up(void **state) {
    (void)state;
    arena_init(&arena, 64 << 20);
    vocabulary = (struct vocabulary){.arena = &arena, .bos = -1, .eos = -1, .unknown = -1, .padding = -1};
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static const struct json_value *parsed(const char *text) {
    struct json_value *root = NULL;
    struct json_problem problem;
    assert_int_equal(json_read(bytes_view_string(text), 32, 10000, &arena, &root, &problem), STATUS_OK);
    return root;
}

static void assert_token(size_t id, const char *text, enum vocabulary_type type) {
    if (!bytes_view_equal_string(vocabulary.tokens[id], text))
        fail_msg("token %zu is '%.*s', not '%s'", id, (int)vocabulary.tokens[id].length,
                 (const char *)vocabulary.tokens[id].data, text);
    assert_int_equal(vocabulary.types[id], type);
}

#define BYTE_LEVEL(regex) "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" regex "}"
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
#define REST "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(pattern)                                                                                \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern \
    "\"}}," BYTE_LEVEL("false") "]}"
#define SMALL "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]"

static void test_byte_level_bpe(void **state) {
    (void)state;
    check_ok(vocabulary_of_tokenizer_json(
        parsed(
            "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true},{\"id\":4,\"content\":\"yes\","
            "\"special\":false}],"
            "\"pre_tokenizer\":" BYTE_LEVEL("true") ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},"
                                                    "\"merges\":[\"a b\",[\"ab\",\"a\"]]}}"),
        "tokenizer.json", &vocabulary, &check_error));
    assert_string_equal(vocabulary.model, "gpt2");
    assert_string_equal(vocabulary.pre, "gpt-2");
    assert_int_equal(vocabulary.count, 5);
    assert_token(2, "ab", VOCABULARY_NORMAL);
    assert_token(3, "<s>", VOCABULARY_CONTROL);
    assert_token(4, "yes", VOCABULARY_USER_DEFINED);
    assert_int_equal(vocabulary.merge_count, 2);
    assert_true(bytes_view_equal_string(vocabulary.merges[1], "ab a"));
    assert_null(vocabulary.scores);
}

#define NORMALISED(by) \
    "{\"normalizer\":" by ",\"pre_tokenizer\":" BYTE_LEVEL("true") ",\"model\":{\"type\":\"BPE\"," SMALL "}}"

static void test_a_form_of_unicode_is_taken_along(void **state) {
    (void)state;
    struct bytes text;
    bytes_init(&text, 1 << 16);
    check_ok(
        vocabulary_of_tokenizer_json(parsed(NORMALISED("{\"type\":\"NFC\"}")), "t.json", &vocabulary, &check_error));
    assert_string_equal(vocabulary.normalizer, "NFC");
    assert_true(hugging_face_tokenizer_json(&vocabulary, &text));
    static const char expected[] = "\"normalizer\":{\"type\":\"NFC\"}";
    assert_non_null(memmem(text.data, text.length, expected, strlen(expected)));
    bytes_deinit(&text);
    vocabulary.normalizer = NULL;
    check_ok(vocabulary_of_tokenizer_json(parsed(NORMALISED("{\"type\":\"Sequence\",\"normalizers\":[]}")), "t.json",
                                          &vocabulary, &check_error));
    assert_null(vocabulary.normalizer);
    check_fails(vocabulary_of_tokenizer_json(parsed(NORMALISED("{\"type\":\"Lowercase\"}")), "t.json", &vocabulary,
                                             &check_error),
                STATUS_UNIMPLEMENTED, "changes text before it is cut");
}

static void test_splits_are_found_by_their_pattern(void **state) {
    (void)state;
    static const struct {
        const char *pre_tokenizer, *name;
    } cases[] = {
        {SPLIT(WORDS "\\\\p{N}" REST), "qwen2"},
        {SPLIT(WORDS "\\\\p{N}{1,3}" REST), "llama-bpe"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}," BYTE_LEVEL(
             "true") "]}",
         "smollm"},
        {SPLIT("\\\\w+"), NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"pre_tokenizer\":%s,\"model\":{\"type\":\"BPE\"," SMALL "}}",
                 cases[i].pre_tokenizer);
        if (cases[i].name == NULL) {
            check_fails(vocabulary_of_tokenizer_json(parsed(text), "tokenizer.json", &vocabulary, &check_error),
                        STATUS_UNIMPLEMENTED, "a rule that has no name");
        } else {
            check_ok(vocabulary_of_tokenizer_json(parsed(text), "tokenizer.json", &vocabulary, &check_error));
            assert_string_equal(vocabulary.pre, cases[i].name);
        }
        assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
    }
}

static void test_bpe_with_bytes_gets_scores_of_its_merges(void **state) {
    (void)state;
    check_ok(vocabulary_of_tokenizer_json(parsed("{\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"},\"model\":{"
                                                 "\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<unk>\","
                                                 "\"vocab\":{\"<unk>\":0,\"<0x0A>\":1,\"a\":2,\"b\":3,\"ab\":4,\"ba\":"
                                                 "5,\"aba\":6},\"merges\":[\"b a\",\"a b\",\"a ba\",\"ab a\"]}}"),
                                          "tokenizer.json", &vocabulary, &check_error));
    assert_string_equal(vocabulary.model, "llama");
    assert_token(0, "<unk>", VOCABULARY_UNKNOWN);
    assert_token(1, "<0x0A>", VOCABULARY_BYTE);
    assert_true(vocabulary.scores[5] == -1 && vocabulary.scores[4] == -2 && vocabulary.scores[6] == -3);
    assert_true(vocabulary.scores[2] < -4); /* made by no merge: after all that are */
    assert_int_equal(vocabulary.merge_count, 0);
    assert_true(vocabulary.space_prefix && vocabulary.space_prefix_said);
}

static void test_unigram_keeps_its_scores(void **state) {
    (void)state;
    check_ok(
        vocabulary_of_tokenizer_json(parsed("{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"never\"},"
                                            "\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"<unk>\",0],[\"a\",-1.5]]}}"),
                                     "tokenizer.json", &vocabulary, &check_error));
    assert_string_equal(vocabulary.model, "t5");
    assert_true(vocabulary.scores[1] == -1.5f && !vocabulary.space_prefix);
}

static void test_bad_vocabularies_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *model;
        enum status status;
        const char *word;
    } cases[] = {
        {"{\"type\":\"WordPiece\",\"vocab\":{}}", STATUS_UNIMPLEMENTED, "neither BPE nor unigram"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}", STATUS_INVALID_ARGUMENT,
         "one id to two tokens"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}", STATUS_INVALID_ARGUMENT, "impossible token id"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}", STATUS_INVALID_ARGUMENT,
         "impossible token id"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[7]}", STATUS_INVALID_ARGUMENT, "no pair"},
        {"{\"type\":\"BPE\",\"vocab\":{\"a\":0}}", STATUS_INVALID_ARGUMENT, "no merges"},
        {"{\"type\":\"BPE\",\"vocab\":[]}", STATUS_INVALID_ARGUMENT, "no vocabulary"},
        {"{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}", STATUS_INVALID_ARGUMENT, "no pair of text and score"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "{\"pre_tokenizer\":" BYTE_LEVEL("true") ",\"model\":%s}", cases[i].model);
        check_fails(vocabulary_of_tokenizer_json(parsed(text), "tokenizer.json", &vocabulary, &check_error),
                    cases[i].status, cases[i].word);
        assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
    }
}

static void test_tekken_gets_merges_of_its_ranks(void **state) {
    (void)state;
    /* "a", "b", " ", "ab", "abab", and a byte that GPT-2 writes with another letter */
    check_ok(vocabulary_of_tekken(parsed("{\"config\":{\"default_num_special_tokens\":20,\"default_vocab_size\":25},"
                                         "\"special_tokens\":[{\"rank\":1,\"token_str\":\"<s>\"},"
                                         "{\"rank\":11,\"token_str\":\"<pad>\"}],\"vocab\":[{\"rank\":0,\"token_"
                                         "bytes\":\"YQ==\"},{\"rank\":1,\"token_bytes\":\"Yg==\"},"
                                         "{\"rank\":2,\"token_bytes\":\"IA==\"},{\"rank\":3,\"token_bytes\":\"YWI=\"},{"
                                         "\"rank\":4,\"token_bytes\":\"YWJhYg==\"},"
                                         "{\"rank\":5,\"token_bytes\":\"Ynk=\"}]}"),
                                  "tekken.json", &vocabulary, &check_error));
    assert_string_equal(vocabulary.pre, "tekken");
    assert_int_equal(vocabulary.count, 25); /* the sixth is beyond default_vocab_size */
    assert_token(1, "<s>", VOCABULARY_CONTROL);
    assert_token(3, "<SPECIAL_3>", VOCABULARY_CONTROL);
    assert_token(22, "\xC4\xA0", VOCABULARY_NORMAL); /* Ġ */
    assert_token(24, "abab", VOCABULARY_NORMAL);
    assert_int_equal(vocabulary.merge_count, 2);
    assert_true(bytes_view_equal_string(vocabulary.merges[0], "a b"));
    assert_true(bytes_view_equal_string(vocabulary.merges[1], "ab ab"));
    assert_int_equal(vocabulary.bos, 1);
    assert_int_equal(vocabulary.padding, 11);
    assert_true(vocabulary.adds_bos);
}

static void test_bad_tekken_files_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } cases[] = {{"{}", "no vocab"},
                 {"{\"config\":{\"default_num_special_tokens\":20,\"default_vocab_size\":30},\"vocab\":[]}",
                  "impossible vocabulary size"},
                 {"{\"config\":{\"default_num_special_tokens\":20,\"default_vocab_size\":21},\"vocab\":[{\"rank\":1,"
                  "\"token_bytes\":\"YQ==\"}]}",
                  "out of the order"},
                 {"{\"config\":{\"default_num_special_tokens\":20,\"default_vocab_size\":21},\"vocab\":[{\"rank\":0,"
                  "\"token_bytes\":\"YQ=a\"}]}",
                  "no base64"},
                 {"{\"config\":{\"default_num_special_tokens\":20,\"default_vocab_size\":21},\"special_tokens\":[{"
                  "\"rank\":20,\"token_str\":\"x\"}],"
                  "\"vocab\":[{\"rank\":0,\"token_bytes\":\"YQ==\"}]}",
                  "impossible rank"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_fails(vocabulary_of_tekken(parsed(cases[i].text), "tekken.json", &vocabulary, &check_error),
                    STATUS_INVALID_ARGUMENT, cases[i].word);
        assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
    }
}

/** A protobuf field with bytes in it. */
static void field(struct bytes *out, uint8_t number, const void *data, size_t length) {
    check_ok(bytes_append_byte(out, (uint8_t)(number << 3 | 2)));
    check_ok(bytes_append_byte(out, (uint8_t)length));
    check_ok(bytes_append(out, data, length));
}

static void piece(struct bytes *out, const char *text, float score, uint8_t type) {
    struct bytes message;
    bytes_init(&message, 100);
    field(&message, 1, text, strlen(text));
    check_ok(bytes_append_byte(&message, 2 << 3 | 5));
    check_ok(bytes_append(&message, &score, sizeof score));
    check_ok(bytes_append(&message, (const uint8_t[]){3 << 3, type}, 2));
    field(out, 1, message.data, message.length);
    bytes_deinit(&message);
}

static void test_sentencepiece(void **state) {
    (void)state;
    struct bytes file;
    bytes_init(&file, 1000);
    piece(&file, "<unk>", 0, 2);
    piece(&file, "<s>", 0, 3);
    piece(&file, "<0x0A>", 0, 6);
    piece(&file, "a", -1.5f, 1);
    size_t pieces = file.length;
    field(&file, 2, "\x18\x02\xC8\x02\x01\xD8\x02\x03", 8); /* model_type 2 (BPE), bos_id 1, pad_id 3 */
    field(&file, 3, "\x18\x00\x20\x00", 4);                 /* no dummy prefix, blanks stay */
    check_ok(vocabulary_of_sentencepiece(bytes_view(&file), "tokenizer.model", &vocabulary, &check_error));
    assert_string_equal(vocabulary.model, "llama");
    assert_int_equal(vocabulary.count, 4);
    assert_token(0, "<unk>", VOCABULARY_UNKNOWN);
    assert_token(1, "<s>", VOCABULARY_CONTROL);
    assert_token(2, "<0x0A>", VOCABULARY_BYTE);
    assert_token(3, "a", VOCABULARY_NORMAL);
    assert_true(vocabulary.scores[3] == -1.5f);
    assert_int_equal(vocabulary.bos, 1);
    assert_int_equal(vocabulary.padding, 3);
    assert_false(vocabulary.space_prefix);
    for (size_t cut = 0; cut < 14; cut++)
        assert_int_equal(
            vocabulary_of_sentencepiece(bytes_view_of(file.data, cut), "tokenizer.model", &vocabulary, NULL),
            STATUS_INVALID_ARGUMENT);
    file.length = pieces; /* without a trainer it is unigram, the format's default */
    check_ok(vocabulary_of_sentencepiece(bytes_view(&file), "tokenizer.model", &vocabulary, &check_error));
    assert_string_equal(vocabulary.model, "t5");
    bytes_deinit(&file);
}

/* ---- out of GGUF ------------------------------------------------------------------------------------------------------- */

enum { BYTES_AT = 3, PIECES_AT = BYTES_AT + 256 };

/** A "llama" as converters write Gemma: "<unk>" is a control token, user-defined blanks are blanks. */
static uint8_t *gemma_like(bool prefix, size_t *out_length) {
    static const struct {
        const char *text;
        float score;
        int32_t type;
    } pieces[] = {{"\xE2\x96\x81", -9, 1},
                  {"a", -10, 1},
                  {"b", -11, 1},
                  {"ab", -1, 1},
                  {"ba", -2, 1},
                  {"aba", -3, 1},
                  {"abab", -4, 1},
                  {"\xE2\x96\x81"
                   "a",
                   -5, 1},
                  {"  ", -1000, 4},
                  {"   ", -1000, 4},
                  {"\n\n", -1000, 4},
                  {"<table>", -1000, 4},
                  {"<turn>", -1000, 3},
                  {"\xC3\xA9", -12, 1}};
    enum { COUNT = PIECES_AT + sizeof pieces / sizeof pieces[0] };
    static char bytes[256][8];
    const char *tokens[COUNT] = {"<unk>", "<s>", "</s>"};
    int32_t types[COUNT] = {3, 3, 3};
    float scores[COUNT] = {0};
    struct gguf_builder builder;
    for (int i = 0; i < 256; i++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
        tokens[BYTES_AT + i] = bytes[i];
        types[BYTES_AT + i] = VOCABULARY_BYTE;
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        tokens[PIECES_AT + i] = pieces[i].text;
        types[PIECES_AT + i] = pieces[i].type;
        scores[PIECES_AT + i] = pieces[i].score;
    }
    gguf_builder_init(&builder);
    gguf_builder_string(&builder, "tokenizer.ggml.model", "llama");
    gguf_builder_strings(&builder, "tokenizer.ggml.tokens", tokens, COUNT);
    gguf_builder_i32s(&builder, "tokenizer.ggml.token_type", types, COUNT);
    gguf_builder_f32s(&builder, "tokenizer.ggml.scores", scores, COUNT);
    gguf_builder_bool(&builder, "tokenizer.ggml.add_space_prefix", prefix);
    return gguf_builder_finish(&builder, out_length);
}

static void same_ids(const struct tokenizer *a, const struct tokenizer *b, const char *text, const char *which) {
    struct token_list x = {.max_count = 1000}, y = {.max_count = 1000};
    check_ok(tokenizer_encode(a, bytes_view_string(text), &x, &check_error));
    check_ok(tokenizer_encode(b, bytes_view_string(text), &y, &check_error));
    if (x.count != y.count || memcmp(x.ids, y.ids, x.count * sizeof *x.ids) != 0)
        fail_msg("%s: '%s' becomes other tokens: %zu and %zu of them", which, text, x.count, y.count);
    token_list_deinit(&x);
    token_list_deinit(&y);
}

static void test_files_of_a_gguf_cut_text_as_it_does(void **state) {
    (void)state;
    static const char *const texts[] = {
        "ababab", "a ba  ab   ab    a", "\n\n\nab", "<table>ab</table>", "<turn>a", "<unk>", "\xC3\xA9\xC3\xA9 z", "",
        " ",      "babababbaab a"};
    for (int prefix = 0; prefix < 2; prefix++) {
        struct gguf *gguf = NULL;
        struct tokenizer *before = NULL, *json = NULL, *model = NULL;
        struct bytes text;
        size_t length;
        uint8_t *file = gemma_like(prefix, &length);
        bytes_init(&text, 1 << 20);
        check_ok(gguf_open_memory(file, length, "m.gguf", &gguf, &check_error));
        check_ok(tokenizer_load_gguf(gguf, &before, &check_error));
        check_ok(vocabulary_of_gguf(gguf, &vocabulary, &check_error));
        assert_token(0, "<unk>", VOCABULARY_UNKNOWN);
        check_ok(vocabulary_merges_of_scores(&vocabulary, &check_error));
        assert_true(hugging_face_tokenizer_json(&vocabulary, &text));
        check_ok(tokenizer_load_json(bytes_view(&text), "tokenizer.json", &json, &check_error));
        bytes_reset(&text);
        hugging_face_sentencepiece(&vocabulary, &text);
        check_ok(tokenizer_load_sentencepiece(bytes_view(&text), "tokenizer.model", &model, &check_error));
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            same_ids(before, json, texts[i], "tokenizer.json");
            /* llama.cpp puts a blank behind every user-defined token as well, SentencePiece only before the text */
            if (!prefix) same_ids(before, model, texts[i], "tokenizer.model");
        }
        tokenizer_destroy(before);
        tokenizer_destroy(json);
        tokenizer_destroy(model);
        gguf_close(gguf);
        bytes_deinit(&text);
        free(file);
        assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
    }
}

static void test_merges_stand_in_the_order_of_scores(void **state) {
    (void)state;
    static const char *const expected[] = {"a b", "b a", "ab a", "a ba", "aba b", "ab ab", "\xE2\x96\x81 a"};
    struct gguf *gguf = NULL;
    size_t length;
    uint8_t *file = gemma_like(false, &length);
    check_ok(gguf_open_memory(file, length, "m.gguf", &gguf, &check_error));
    check_ok(vocabulary_of_gguf(gguf, &vocabulary, &check_error));
    check_ok(vocabulary_merges_of_scores(&vocabulary, &check_error));
    assert_int_equal(vocabulary.merge_count, sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < vocabulary.merge_count; i++)
        assert_true(bytes_view_equal_string(vocabulary.merges[i], expected[i]));
    gguf_close(gguf);
    free(file);
}

#define in_an_arena(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        in_an_arena(test_byte_level_bpe),
        in_an_arena(test_a_form_of_unicode_is_taken_along),
        in_an_arena(test_splits_are_found_by_their_pattern),
        in_an_arena(test_bpe_with_bytes_gets_scores_of_its_merges),
        in_an_arena(test_unigram_keeps_its_scores),
        in_an_arena(test_bad_vocabularies_are_refused),
        in_an_arena(test_tekken_gets_merges_of_its_ranks),
        in_an_arena(test_bad_tekken_files_are_refused),
        in_an_arena(test_sentencepiece),
        in_an_arena(test_files_of_a_gguf_cut_text_as_it_does),
        in_an_arena(test_merges_stand_in_the_order_of_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
