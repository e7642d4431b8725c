/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json (byte-level BPE) or tokenizer.model (SentencePiece BPE), tokenizer_config.json and chat_template.jinja from a GGUF's tokenizer.*. */
#include "base/json.h"
#include "engine/convert/convert_internal.h"
#include "engine/convert/vocabulary.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 29 };

struct lists {
    struct gguf_array tokens, types, merges, scores;
};

static enum vocabulary_type type_at(const struct lists *lists, int64_t index) {
    return lists->types.count > index ? (enum vocabulary_type)gguf_array_i64(&lists->types, index) : VOCABULARY_NORMAL;
}

static bool is_array(const struct gguf *gguf, const char *key, bool strings, struct gguf_array *out) {
    return gguf_array(gguf, key, out) && (out->element == GGUF_STRING) == strings;
}

/* ---- tokenizer.json ---------------------------------------------------------------------------------------------------- */

static bool append_split(struct bytes *out, const char *pre) {
    static const char byte_level[] =
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":%s}";
    char pattern[VOCABULARY_PATTERN_BYTES];
    if (strcmp(pre, "gpt-2") == 0) return bytes_printf(out, byte_level, "true") == STATUS_OK;
    (void)bytes_append_string(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    if (strcmp(pre, "smollm") == 0) {
        (void)bytes_append_string(out, "{\"type\":\"Digits\",\"individual_digits\":true},");
        (void)bytes_printf(out, byte_level, "true");
    } else if (vocabulary_pattern(pre, pattern)) {
        (void)bytes_append_string(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
        (void)json_append_string(out, bytes_view_string(pattern));
        (void)bytes_append_string(out, "},\"behavior\":\"Isolated\",\"invert\":false},");
        (void)bytes_printf(out, byte_level, "false");
    } else {
        return false;
    }
    return bytes_append_string(out, "]}") == STATUS_OK;
}

/** Control and user-defined tokens are added ones. */
static void append_added(struct bytes *out, const struct lists *lists) {
    bool first = true;
    for (int64_t i = 0; i < lists->tokens.count; i++) {
        enum vocabulary_type type = type_at(lists, i);
        if (type != VOCABULARY_CONTROL && type != VOCABULARY_USER_DEFINED && type != VOCABULARY_UNKNOWN) continue;
        (void)bytes_printf(out, "%s{\"id\":%lld,\"content\":", first ? "" : ",", (long long)i);
        (void)json_append_string(out, gguf_array_string(&lists->tokens, i));
        (void)bytes_printf(
            out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
            type == VOCABULARY_USER_DEFINED ? "false" : "true");
        first = false;
    }
}

static void append_model(struct bytes *out, const struct lists *lists, bool whole_words) {
    (void)bytes_printf(
        out,
        "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,"
        "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":%s,\"vocab\":{",
        whole_words ? "true" : "false");
    for (int64_t i = 0; i < lists->tokens.count; i++) {
        if (i > 0) (void)bytes_append_byte(out, ',');
        (void)json_append_string(out, gguf_array_string(&lists->tokens, i));
        (void)bytes_printf(out, ":%lld", (long long)i);
    }
    (void)bytes_append_string(out, "},\"merges\":[");
    for (int64_t i = 0; i < lists->merges.count; i++) {
        if (i > 0) (void)bytes_append_byte(out, ',');
        (void)json_append_string(out, gguf_array_string(&lists->merges, i));
    }
    (void)bytes_append_string(out, "]}");
}

static bool append_tokenizer_json(struct bytes *out, const struct gguf *gguf, const struct lists *lists) {
    struct bytes_view pre = bytes_view_string("gpt-2");
    char name[64];
    bool adds_bos = false;
    uint64_t bos;
    (void)gguf_string(gguf, "tokenizer.ggml.pre", &pre);
    snprintf(name, sizeof name, "%.*s", (int)(pre.length < 63 ? pre.length : 63), (const char *)pre.data);
    bool whole_words = strcmp(name, "llama-bpe") == 0 || strcmp(name, "tekken") == 0;
    adds_bos = whole_words;
    (void)gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &adds_bos);
    (void)bytes_append_string(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    append_added(out, lists);
    (void)bytes_append_string(out, "],\"normalizer\":null,\"pre_tokenizer\":");
    if (!append_split(out, name)) return false;
    if (adds_bos && gguf_u64(gguf, "tokenizer.ggml.bos_token_id", &bos) && bos < (uint64_t)lists->tokens.count) {
        struct bytes_view token = gguf_array_string(&lists->tokens, (int64_t)bos);
        (void)bytes_append_string(
            out, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":");
        (void)json_append_string(out, token);
        (void)bytes_append_string(
            out, ",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":"
                 "\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],\"special_tokens\":{");
        (void)json_append_string(out, token);
        (void)bytes_append_string(out, ":{\"id\":");
        (void)json_append_string(out, token);
        (void)bytes_printf(out, ",\"ids\":[%llu],\"tokens\":[", (unsigned long long)bos);
        (void)json_append_string(out, token);
        (void)bytes_append_string(out, "]}}}");
    } else {
        (void)bytes_append_string(out, ",\"post_processor\":null");
    }
    (void)bytes_append_string(
        out,
        ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},");
    append_model(out, lists, whole_words);
    return bytes_append_string(out, "}\n") == STATUS_OK;
}

/* ---- tokenizer.model --------------------------------------------------------------------------------------------------- */

static void append_varint(struct bytes *out, uint64_t value) {
    for (; value >= 128; value >>= 7) (void)bytes_append_byte(out, (uint8_t)(value | 128));
    (void)bytes_append_byte(out, (uint8_t)value);
}
static void append_number(struct bytes *out, uint32_t field, int64_t value) {
    append_varint(out, field << 3);
    append_varint(out, (uint64_t)value);
}
static void append_block(struct bytes *out, uint32_t field, struct bytes_view value) {
    append_varint(out, field << 3 | 2);
    append_varint(out, value.length);
    if (value.length > 0) (void)bytes_append(out, value.data, value.length);
}

static int64_t id_of(const struct gguf *gguf, const char *key) {
    uint64_t id;
    return gguf_u64(gguf, key, &id) && id < INT32_MAX ? (int64_t)id : -1;
}

/** Field numbers: vocabulary_sentencepiece.c. */
static bool append_sentencepiece(struct bytes *out, const struct gguf *gguf, const struct lists *lists) {
    struct bytes part;
    bool prefix = true;
    if (lists->scores.count != lists->tokens.count) return false;
    bytes_init(&part, 1 << 20);
    for (int64_t i = 0; i < lists->tokens.count; i++) {
        float score = (float)gguf_array_f64(&lists->scores, i);
        bytes_reset(&part);
        append_block(&part, 1, gguf_array_string(&lists->tokens, i));
        append_varint(&part, 2 << 3 | 5);
        (void)bytes_append(&part, &score, sizeof score);
        if (type_at(lists, i) != VOCABULARY_NORMAL) append_number(&part, 3, type_at(lists, i));
        append_block(out, 1, bytes_view(&part));
    }
    (void)gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", &prefix);
    bytes_reset(&part);
    append_number(&part, 3, 2); /* BPE */
    append_number(&part, 4, lists->tokens.count);
    append_number(&part, 35, 1); /* byte fallback */
    static const char *const keys[] = {"tokenizer.ggml.unknown_token_id", "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"};
    for (uint32_t i = 0; i < 4; i++) { /* by id and by name */
        int64_t id = id_of(gguf, keys[i]);
        append_number(&part, 40 + i, id < 0 && i == 0 ? 0 : id);
        if (id >= 0 && id < lists->tokens.count) append_block(&part, 45 + i, gguf_array_string(&lists->tokens, id));
    }
    append_block(out, 2, bytes_view(&part));
    bytes_reset(&part);
    append_block(&part, 1, bytes_view_string("identity"));
    append_number(&part, 3, prefix);
    append_number(&part, 4, 0); /* blanks stay */
    append_number(&part, 5, 1);
    append_block(out, 3, bytes_view(&part));
    bool whole = !part.failed;
    bytes_deinit(&part);
    return whole;
}

/* ---- tokenizer_config.json and the template ------------------------------------------------------------------------------ */

static void append_token(struct bytes *out, const struct gguf *gguf, const struct lists *lists, const char *key,
                         const char *name) {
    int64_t id = id_of(gguf, key);
    if (id < 0 || id >= lists->tokens.count) return;
    (void)bytes_printf(out, ",\n  \"%s\": ", name);
    (void)json_append_string(out, gguf_array_string(&lists->tokens, id));
}

static void append_config(struct bytes *out, const struct gguf *gguf, const struct lists *lists, bool sentencepiece) {
    struct bytes_view template;
    bool flag;
    (void)bytes_printf(out, "{\n  \"tokenizer_class\": \"%s\"",
                       sentencepiece ? "LlamaTokenizer" : "PreTrainedTokenizerFast");
    append_token(out, gguf, lists, "tokenizer.ggml.bos_token_id", "bos_token");
    append_token(out, gguf, lists, "tokenizer.ggml.eos_token_id", "eos_token");
    append_token(out, gguf, lists, "tokenizer.ggml.unknown_token_id", "unk_token");
    append_token(out, gguf, lists, "tokenizer.ggml.padding_token_id", "pad_token");
    if (gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &flag))
        (void)bytes_printf(out, ",\n  \"add_bos_token\": %s", flag ? "true" : "false");
    if (gguf_bool(gguf, "tokenizer.ggml.add_eos_token", &flag))
        (void)bytes_printf(out, ",\n  \"add_eos_token\": %s", flag ? "true" : "false");
    if (gguf_string(gguf, "tokenizer.chat_template", &template)) {
        (void)bytes_append_string(out, ",\n  \"chat_template\": ");
        (void)json_append_string(out, template);
    }
    (void)bytes_append_string(out, "\n}\n");
}

static enum status write_named(const struct converting *converting, const char *path, const char *name,
                               const struct bytes *text) {
    struct bytes full;
    if (text->failed) return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory for %s", name);
    bytes_init(&full, 1 << 16);
    enum status status = bytes_printf(&full, "%s/%s", path, name);
    if (status == STATUS_OK) status = convert_write_text(converting, (const char *)full.data, bytes_view(text));
    bytes_deinit(&full);
    return status;
}

enum status convert_write_tokenizer(const struct converting *converting, const char *path) {
    const struct gguf *gguf = checkpoint_gguf(converting->checkpoint);
    struct bytes_view model = {0};
    struct lists lists = {0};
    struct bytes text;
    (void)gguf_string(gguf, "tokenizer.ggml.model", &model);
    bool bpe = bytes_view_equal_string(model, "gpt2"), sentencepiece = bytes_view_equal_string(model, "llama");
    bool listed = is_array(gguf, "tokenizer.ggml.tokens", true, &lists.tokens);
    if (!is_array(gguf, "tokenizer.ggml.token_type", false, &lists.types)) lists.types.count = 0;
    if (!is_array(gguf, "tokenizer.ggml.merges", true, &lists.merges)) lists.merges.count = 0;
    if (!is_array(gguf, "tokenizer.ggml.scores", false, &lists.scores)) lists.scores.count = 0;
    bytes_init(&text, FILE_BYTES_MAX);
    enum status status = STATUS_OK;
    bool made = listed && ((bpe && append_tokenizer_json(&text, gguf, &lists)) ||
                           (sentencepiece && append_sentencepiece(&text, gguf, &lists)));
    if (made) {
        status = write_named(converting, path, bpe ? "tokenizer.json" : "tokenizer.model", &text);
        bytes_reset(&text);
        append_config(&text, gguf, &lists, sentencepiece);
        if (status == STATUS_OK) status = write_named(converting, path, "tokenizer_config.json", &text);
    } else {
        (void)bytes_printf(converting->notes,
                           "The tokenizer is left out: there is no file for a '%.*s' with this split.\n",
                           (int)(model.length < 32 ? model.length : 32), (const char *)model.data);
    }
    bytes_deinit(&text);
    return status;
}
