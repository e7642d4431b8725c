/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizer's files of a Hugging Face folder from a GGUF's tokenizer.*: tokenizer.json, tokenizer_config.json with the chat template, and for
 * SentencePiece vocabularies tokenizer.model, which has the scores that tokenizer.json has no place for.
 */
#include "base/json.h"
#include "engine/chat/chat.h"
#include "engine/convert/convert_internal.h"
#include "engine/convert/hugging_face_files.h"
#include "engine/weights/gguf.h"

enum { FILE_BYTES_MAX = 1 << 29, ARENA_BYTES = 1 << 30 };

static void append_token(struct bytes *out, const struct vocabulary *vocabulary, int64_t id, const char *name) {
    if (id < 0) return;
    (void)bytes_printf(out, ",\n  \"%s\": ", name);
    (void)json_append_string(out, vocabulary->tokens[id]);
}

/** One, or the list of it and the one for conversations with tools. */
static void append_templates(struct bytes *out, const struct gguf *gguf) {
    struct bytes_view template, with_tools;
    if (!gguf_string(gguf, "tokenizer.chat_template", &template)) return;
    bool two = gguf_string(gguf, "tokenizer.chat_template.tool_use", &with_tools);
    (void)bytes_printf(out, ",\n  \"chat_template\": %s", two ? "[{\"name\": \"default\", \"template\": " : "");
    (void)json_append_string(out, template);
    if (!two) return;
    (void)bytes_append_string(out, "}, {\"name\": \"tool_use\", \"template\": ");
    (void)json_append_string(out, with_tools);
    (void)bytes_append_string(out, "}]");
}

static void append_config(struct bytes *out, const struct gguf *gguf, const struct vocabulary *vocabulary) {
    struct bytes_view layout;
    bool flag;
    (void)bytes_append_string(
        out, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"clean_up_tokenization_spaces\": false");
    append_token(out, vocabulary, vocabulary->bos, "bos_token");
    append_token(out, vocabulary, vocabulary->eos, "eos_token");
    append_token(out, vocabulary, vocabulary->unknown, "unk_token");
    append_token(out, vocabulary, vocabulary->padding, "pad_token");
    if (vocabulary->adds_bos_said)
        (void)bytes_printf(out, ",\n  \"add_bos_token\": %s", vocabulary->adds_bos ? "true" : "false");
    if (gguf_bool(gguf, "tokenizer.ggml.add_eos_token", &flag))
        (void)bytes_printf(out, ",\n  \"add_eos_token\": %s", flag ? "true" : "false");
    append_templates(out, gguf);
    if (gguf_string(gguf, CHAT_LAYOUT_GGUF_KEY, &layout)) {
        (void)bytes_append_string(out, ",\n  \"" CHAT_LAYOUT_CONFIG_MEMBER "\": ");
        (void)json_append_string(out, layout);
    }
    (void)bytes_append_string(out, "\n}\n");
}

static enum status write_named(const struct converting *converting, const char *path, const char *name,
                               struct bytes *text) {
    struct bytes full;
    if (text->failed) return error_set(converting->err, STATUS_RESOURCE_EXHAUSTED, "out of memory for %s", name);
    bytes_init(&full, 1 << 16);
    enum status status = bytes_printf(&full, "%s/%s", path, name);
    if (status == STATUS_OK) status = convert_write_text(converting, (const char *)full.data, bytes_view(text));
    bytes_deinit(&full);
    bytes_reset(text);
    return status;
}

static enum status write_files(const struct converting *converting, const char *path, struct vocabulary *vocabulary,
                               struct bytes *text) {
    if (vocabulary->scores != NULL) {
        TRY(vocabulary_merges_of_scores(vocabulary, converting->err));
        hugging_face_sentencepiece(vocabulary, text);
        TRY(write_named(converting, path, "tokenizer.model", text));
    }
    if (!hugging_face_tokenizer_json(vocabulary, text) && !text->failed) {
        (void)bytes_printf(converting->notes,
                           "The tokenizer is left out: there is no file for a '%s' with the split '%.32s'.\n",
                           vocabulary->model, vocabulary->pre);
        return STATUS_OK;
    }
    TRY(write_named(converting, path, "tokenizer.json", text));
    append_config(text, checkpoint_gguf(converting->checkpoint), vocabulary);
    return write_named(converting, path, "tokenizer_config.json", text);
}

enum status convert_write_tokenizer(const struct converting *converting, const char *path) {
    struct arena arena;
    struct vocabulary vocabulary = {.arena = &arena, .bos = -1, .eos = -1, .unknown = -1, .padding = -1};
    struct error unreadable = {0};
    struct bytes text;
    arena_init(&arena, ARENA_BYTES);
    bytes_init(&text, FILE_BYTES_MAX);
    enum status status = vocabulary_of_gguf(checkpoint_gguf(converting->checkpoint), &vocabulary, &unreadable);
    if (status == STATUS_OK) {
        status = write_files(converting, path, &vocabulary, &text);
    } else { /* the weights are whole without */
        status = STATUS_OK;
        (void)bytes_printf(converting->notes, "The tokenizer is left out: %s.\n", unreadable.message);
    }
    bytes_deinit(&text);
    arena_deinit(&arena);
    return status;
}
