/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.json in the words of the tokenizers library: byte-level BPE as GPT-2's, or BPE on characters with a fallback to bytes, as transformers
 * makes it of SentencePiece models.
 */
#include "base/json.h"
#include "engine/convert/hugging_face_files.h"

#include <string.h>

static bool is_sentencepiece(const struct vocabulary *vocabulary) {
    return vocabulary->scores != NULL;
}

/** Control, unknown and user-defined tokens are added ones. */
static void append_added(const struct vocabulary *vocabulary, struct bytes *out) {
    bool first = true;
    for (size_t i = 0; i < vocabulary->count; i++) {
        int32_t type = vocabulary->types[i];
        if (type != VOCABULARY_CONTROL && type != VOCABULARY_USER_DEFINED && type != VOCABULARY_UNKNOWN) continue;
        (void)bytes_printf(out, "%s{\"id\":%zu,\"content\":", first ? "" : ",", i);
        (void)json_append_string(out, vocabulary->tokens[i]);
        (void)bytes_printf(
            out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
            type == VOCABULARY_USER_DEFINED ? "false" : "true");
        first = false;
    }
}

/* ---- stages ---------------------------------------------------------------------------------------------------------- */

/** Blanks become U+2581, and one more stands before a text that asks for it. */
static void append_normalizer(const struct vocabulary *vocabulary, struct bytes *out) {
    static const char blanks[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" SENTENCEPIECE_BLANK "\"}";
    if (vocabulary->normalizer != NULL) {
        (void)bytes_append_string(out, "{\"type\":");
        (void)json_append_string(out, bytes_view_string(vocabulary->normalizer));
        (void)bytes_append_string(out, "}");
    } else if (!is_sentencepiece(vocabulary))
        (void)bytes_append_string(out, "null");
    else if (!vocabulary->space_prefix)
        (void)bytes_append_string(out, blanks);
    else
        (void)bytes_printf(out,
                           "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"%s\"},%s]}",
                           SENTENCEPIECE_BLANK, blanks);
}

static bool append_split(const struct vocabulary *vocabulary, struct bytes *out) {
    static const char byte_level[] =
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":%s}";
    char pattern[VOCABULARY_PATTERN_BYTES];
    if (is_sentencepiece(vocabulary)) return bytes_append_string(out, "null") == STATUS_OK;
    if (strcmp(vocabulary->pre, "gpt-2") == 0) return bytes_printf(out, byte_level, "true") == STATUS_OK;
    (void)bytes_append_string(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    if (strcmp(vocabulary->pre, "smollm") == 0) {
        (void)bytes_append_string(out, "{\"type\":\"Digits\",\"individual_digits\":true},");
        (void)bytes_printf(out, byte_level, "true");
    } else if (vocabulary_pattern(vocabulary->pre, pattern)) {
        (void)bytes_append_string(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
        (void)json_append_string(out, bytes_view_string(pattern));
        (void)bytes_append_string(out, "},\"behavior\":\"Isolated\",\"invert\":false},");
        (void)bytes_printf(out, byte_level, "false");
    } else {
        return false;
    }
    return bytes_append_string(out, "]}") == STATUS_OK;
}

static void append_bos_template(struct bytes_view token, int64_t id, struct bytes *out) {
    (void)bytes_append_string(out, "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":");
    (void)json_append_string(out, token);
    (void)bytes_append_string(out,
                              ",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[{\"Sequence\":{"
                              "\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}],"
                              "\"special_tokens\":{");
    (void)json_append_string(out, token);
    (void)bytes_append_string(out, ":{\"id\":");
    (void)json_append_string(out, token);
    (void)bytes_printf(out, ",\"ids\":[%lld],\"tokens\":[", (long long)id);
    (void)json_append_string(out, token);
    (void)bytes_append_string(out, "]}}}");
}

static void append_decoder(const struct vocabulary *vocabulary, struct bytes *out) {
    if (!is_sentencepiece(vocabulary))
        (void)bytes_append_string(
            out, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}");
    else
        (void)bytes_printf(out,
                           "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"%s\"},"
                           "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}%s]}",
                           SENTENCEPIECE_BLANK,
                           vocabulary->space_prefix ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"
                                                    : "");
}

/* ---- the model ------------------------------------------------------------------------------------------------------- */

static void append_model(const struct vocabulary *vocabulary, bool whole_words, struct bytes *out) {
    const char *by_bytes = is_sentencepiece(vocabulary) ? "true" : "false";
    (void)bytes_append_string(out, "{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (is_sentencepiece(vocabulary) && vocabulary->unknown >= 0)
        (void)json_append_string(out, vocabulary->tokens[vocabulary->unknown]);
    else
        (void)bytes_append_string(out, "null");
    (void)bytes_printf(out,
                       ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":%s,\"byte_"
                       "fallback\":%s,\"ignore_merges\":%s,\"vocab\":{",
                       by_bytes, by_bytes, whole_words ? "true" : "false");
    for (size_t i = 0, written = 0; i < vocabulary->count; i++) {
        /* Rows of the embedding that no token has are no tokens here either. */
        if (!is_sentencepiece(vocabulary) && vocabulary->types[i] == VOCABULARY_UNUSED) continue;
        if (written++ > 0) (void)bytes_append_byte(out, ',');
        (void)json_append_string(out, vocabulary->tokens[i]);
        (void)bytes_printf(out, ":%zu", i);
    }
    (void)bytes_append_string(out, "},\"merges\":[");
    for (size_t i = 0; i < vocabulary->merge_count; i++) {
        if (i > 0) (void)bytes_append_byte(out, ',');
        (void)json_append_string(out, vocabulary->merges[i]);
    }
    (void)bytes_append_string(out, "]}");
}

bool hugging_face_tokenizer_json(const struct vocabulary *vocabulary, struct bytes *out) {
    bool whole_words = !is_sentencepiece(vocabulary) &&
                       (strcmp(vocabulary->pre, "llama-bpe") == 0 || strcmp(vocabulary->pre, "tekken") == 0);
    (void)bytes_append_string(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    append_added(vocabulary, out);
    (void)bytes_append_string(out, "],\"normalizer\":");
    append_normalizer(vocabulary, out);
    (void)bytes_append_string(out, ",\"pre_tokenizer\":");
    if (!append_split(vocabulary, out)) return false;
    (void)bytes_append_string(out, ",\"post_processor\":");
    if (vocabulary->adds_bos && vocabulary->bos >= 0)
        append_bos_template(vocabulary->tokens[vocabulary->bos], vocabulary->bos, out);
    else
        (void)bytes_append_string(out, "null");
    (void)bytes_append_string(out, ",\"decoder\":");
    append_decoder(vocabulary, out);
    (void)bytes_append_string(out, ",\"model\":");
    append_model(vocabulary, whole_words, out);
    return bytes_append_string(out, "}\n") == STATUS_OK;
}
