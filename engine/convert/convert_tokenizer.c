/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer and the chat template beside the weights, as tokenizer.* of GGUF. */
#include "base/limits.h"
#include "base/text.h"
#include "engine/chat/chat.h"
#include "engine/convert/convert_internal.h"
#include "engine/convert/hugging_face_files.h"
#include "engine/convert/vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { JSON_VALUES_MAX = 8 << 20, ARENA_BYTES = 1 << 30, NOTE_PIECE = 200 };

/** The JSON file `name` beside the weights; NULL when it is not there or is no JSON. */
static const struct json_value *read_json(const struct converting *converting, struct arena *arena, const char *name) {
    struct bytes_view text;
    struct json_value *root = NULL;
    struct json_problem problem;
    if (checkpoint_file(converting->checkpoint, name, &text, NULL) != STATUS_OK) return NULL;
    return json_read(text, LIMIT_JSON_DEPTH, JSON_VALUES_MAX, arena, &root, &problem) == STATUS_OK ? root : NULL;
}

/* ---- which file -------------------------------------------------------------------------------------------------------- */

static enum status read_sentencepiece(const struct converting *converting, struct vocabulary *out, bool *out_found,
                                      struct error *err) {
    static const char *const names[] = {"tokenizer.model", "tokenizer.model.v7", "tokenizer.model.v3",
                                        "tokenizer.model.v2", "tokenizer.model.v1"};
    struct bytes_view text;
    *out_found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (checkpoint_file(converting->checkpoint, names[i], &text, NULL) != STATUS_OK) continue;
        *out_found = true;
        return vocabulary_of_sentencepiece(text, names[i], out, err);
    }
    return STATUS_OK;
}

typedef enum status of_json_fn(const struct json_value *root, const char *file, struct vocabulary *out,
                               struct error *err);

static enum status read_one(const struct converting *converting, struct arena *arena, const char *name,
                            of_json_fn *of_json, struct vocabulary *out, bool *out_found, struct error *err) {
    struct bytes_view text;
    *out_found = checkpoint_file(converting->checkpoint, name, &text, NULL) == STATUS_OK;
    if (!*out_found) return STATUS_OK;
    const struct json_value *root = read_json(converting, arena, name);
    return root != NULL ? of_json(root, name, out, err)
                        : error_set(err, STATUS_INVALID_ARGUMENT, "%s is not JSON, or too large", name);
}

static const struct vocabulary nothing = {.bos = -1, .eos = -1, .unknown = -1, .padding = -1};

/** The first of the files that there is. Hugging Face folders of Llama 3 have another kind of tokenizer.model, so a bad one is passed over there. */
static enum status read_vocabulary(const struct converting *converting, struct arena *arena, struct vocabulary *out,
                                   bool *out_found, struct error *err) {
    bool mistral = checkpoint_form(converting->checkpoint) == CHECKPOINT_MISTRAL;
    *out = nothing;
    out->arena = arena;
    if (mistral) {
        TRY(read_one(converting, arena, "tekken.json", vocabulary_of_tekken, out, out_found, err));
        return *out_found ? STATUS_OK : read_sentencepiece(converting, out, out_found, err);
    }
    struct error ignored = {0};
    if (read_sentencepiece(converting, out, out_found, &ignored) == STATUS_OK && *out_found) return STATUS_OK;
    *out = nothing;
    out->arena = arena;
    TRY(read_one(converting, arena, "tokenizer.json", vocabulary_of_tokenizer_json, out, out_found, err));
    return *out_found ? STATUS_OK
                      : read_one(converting, arena, "tekken.json", vocabulary_of_tekken, out, out_found, err);
}

/* ---- what else is said about tokens ---------------------------------------------------------------------------------- */

/** tokenizer_config.json names special tokens by text, or by an object with "content". */
static void find_special(const struct vocabulary *vocabulary, const struct json_value *config, const char *name,
                         int64_t *id) {
    const struct json_value *value = json_member(config, name);
    if (value != NULL && value->kind == JSON_KIND_OBJECT) value = json_member(value, "content");
    if (value == NULL || value->kind != JSON_KIND_STRING) return;
    int64_t found = vocabulary_find(vocabulary, value->string);
    if (found >= 0) *id = found;
}

static void find_id(const struct vocabulary *vocabulary, const struct json_value *config, const char *name,
                    int64_t *id) {
    const struct json_value *value = json_member(config, name);
    int64_t found;
    if (value != NULL && value->kind == JSON_KIND_ARRAY) value = value->first;
    if (*id < 0 && json_i64(value, &found) && found >= 0 && (size_t)found < vocabulary->count) *id = found;
}

static void find_specials(const struct converting *converting, struct arena *arena, struct vocabulary *vocabulary) {
    const struct json_value *tokenizer = read_json(converting, arena, "tokenizer_config.json"),
                            *config = checkpoint_config(converting->checkpoint);
    const struct {
        const char *name, *id_name;
        int64_t *id;
    } specials[] = {{"bos_token", "bos_token_id", &vocabulary->bos},
                    {"eos_token", "eos_token_id", &vocabulary->eos},
                    {"unk_token", NULL, &vocabulary->unknown},
                    {"pad_token", "pad_token_id", &vocabulary->padding}};
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
        find_special(vocabulary, tokenizer, specials[i].name, specials[i].id);
        if (specials[i].id_name != NULL) find_id(vocabulary, config, specials[i].id_name, specials[i].id);
    }
    const struct json_value *adds = json_member(tokenizer, "add_bos_token");
    if (adds != NULL && adds->kind == JSON_KIND_BOOLEAN) {
        vocabulary->adds_bos = adds->boolean;
        vocabulary->adds_bos_said = true;
    }
}

/** A post-processor that puts a token first is how most tokenizer.json say that there is a bos. */
static void find_template_bos(const struct json_value *root, struct vocabulary *vocabulary) {
    const struct json_value *processor = json_member(root, "post_processor"),
                            *parts = json_member(processor, "processors");
    for (const struct json_value *part = parts != NULL ? parts->first : processor; part != NULL;
         part = parts != NULL ? part->next : NULL) {
        const struct json_value *single = json_member(part, "single");
        const struct json_value *special = single != NULL && single->kind == JSON_KIND_ARRAY && single->first != NULL
                                               ? json_member(json_member(single->first, "SpecialToken"), "id")
                                               : NULL;
        if (special == NULL || special->kind != JSON_KIND_STRING || vocabulary->adds_bos_said) continue;
        vocabulary->adds_bos = vocabulary->adds_bos_said = true;
        if (vocabulary->bos < 0) vocabulary->bos = vocabulary_find(vocabulary, special->string);
    }
}

/** As it stands in a text: blanks, where SentencePiece writes U+2581 for them. NULL data: no memory. */
static struct bytes_view without_marks(struct arena *arena, struct bytes_view text) {
    static const char mark[] = SENTENCEPIECE_BLANK;
    enum { MARK_BYTES = sizeof mark - 1 };
    char *out = arena_alloc(arena, text.length + 1);
    size_t length = 0;
    for (size_t i = 0; out != NULL && i < text.length; length++) {
        bool marked = text.length - i >= MARK_BYTES && memcmp(text.data + i, mark, MARK_BYTES) == 0;
        out[length] = marked ? ' ' : (char)text.data[i];
        i += marked ? MARK_BYTES : 1;
    }
    return bytes_view_of(out, length);
}

/** One of added_tokens, or of added_tokens_decoder, whose names are ids. Of the `known` first tokens only SentencePiece's can be meant otherwise:
 *  there "<start_of_turn>" is text of the user's, and here it controls. */
static enum status add_one(struct vocabulary *vocabulary, size_t known, const struct json_value *entry,
                           struct error *err) {
    const struct json_value *content = json_member(entry, "content"), *special = json_member(entry, "special"),
                            *number = json_member(entry, "id");
    const char *name = arena_copy(vocabulary->arena, entry->name.data, entry->name.length);
    int64_t id = -1;
    if (name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    if (number != NULL ? !json_i64(number, &id) : !text_to_i64(name, &id)) return STATUS_OK;
    if (content == NULL || content->kind != JSON_KIND_STRING || id < 0 || (size_t)id >= vocabulary->count)
        return STATUS_OK;
    bool controls = special != NULL && special->boolean;
    if ((size_t)id < known && (vocabulary->scores == NULL || vocabulary->types[id] == VOCABULARY_BYTE ||
                               (controls && vocabulary->types[id] == VOCABULARY_UNKNOWN)))
        return STATUS_OK;
    vocabulary->tokens[id] = content->string;
    vocabulary->types[id] = controls ? VOCABULARY_CONTROL : VOCABULARY_USER_DEFINED;
    if (controls || vocabulary->scores == NULL) return STATUS_OK;
    vocabulary->tokens[id] = without_marks(vocabulary->arena, content->string);
    return vocabulary->tokens[id].data != NULL ? STATUS_OK : error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

/** tokenizer.json, or else tokenizer_config.json, has tokens that a SentencePiece file has not, or says otherwise what they are. */
static enum status add_added(struct vocabulary *vocabulary, const struct json_value *root,
                             const struct json_value *config, size_t rows, struct error *err) {
    const struct json_value *added = json_member(root, "added_tokens");
    if (added == NULL) added = json_member(config, "added_tokens_decoder");
    if (rows > LIMIT_VOCABULARY) return error_set(err, STATUS_INVALID_ARGUMENT, "a vocabulary of %zu", rows);
    if (rows < vocabulary->count) rows = vocabulary->count;
    struct vocabulary grown = *vocabulary;
    TRY(vocabulary_reserve(&grown, rows, err));
    memcpy(grown.tokens, vocabulary->tokens, vocabulary->count * sizeof *grown.tokens);
    memcpy(grown.types, vocabulary->types, vocabulary->count * sizeof *grown.types);
    if (vocabulary->scores != NULL) {
        grown.scores = arena_alloc_array(vocabulary->arena, rows + 1, sizeof *grown.scores);
        if (grown.scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        memcpy(grown.scores, vocabulary->scores, vocabulary->count * sizeof *grown.scores);
    }
    for (const struct json_value *entry = added != NULL ? added->first : NULL; entry != NULL; entry = entry->next)
        TRY(add_one(&grown, vocabulary->count, entry, err));
    /* Rows of the embedding that no token has. */
    for (size_t i = 0; i < rows; i++) {
        if (grown.types[i] != 0) continue;
        char *name = arena_printf(vocabulary->arena, "[PAD%zu]", i);
        if (name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        grown.tokens[i] = bytes_view_string(name);
        grown.types[i] = VOCABULARY_UNUSED;
    }
    *vocabulary = grown;
    return STATUS_OK;
}

/** "llama" falls back to the bytes' own tokens, and llama.cpp does not live without them. */
static enum status check_bytes(const struct vocabulary *vocabulary, struct error *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < vocabulary->count; i++) bytes += vocabulary->types[i] == VOCABULARY_BYTE;
    if (strcmp(vocabulary->model, "llama") != 0 || bytes == 256) return STATUS_OK;
    return error_set(err, STATUS_UNIMPLEMENTED, "it has %zu tokens for bytes, and GGUF's \"llama\" needs 256", bytes);
}

/* ---- into metadata --------------------------------------------------------------------------------------------------- */

static void put_id(struct gguf_metadata *metadata, const char *key, int64_t id) {
    if (id >= 0) gguf_metadata_u32(metadata, key, (uint32_t)id);
}

static void put_vocabulary(const struct vocabulary *vocabulary, struct gguf_metadata *metadata) {
    gguf_metadata_text(metadata, "tokenizer.ggml.model", vocabulary->model);
    if (vocabulary->pre != NULL) gguf_metadata_text(metadata, "tokenizer.ggml.pre", vocabulary->pre);
    gguf_metadata_strings(metadata, "tokenizer.ggml.tokens", vocabulary->tokens, vocabulary->count);
    gguf_metadata_i32s(metadata, "tokenizer.ggml.token_type", vocabulary->types, vocabulary->count);
    if (vocabulary->normalizer != NULL) gguf_metadata_text(metadata, TOKENIZER_GGUF_NORMALIZER, vocabulary->normalizer);
    if (vocabulary->scores != NULL)
        gguf_metadata_f32s(metadata, "tokenizer.ggml.scores", vocabulary->scores, vocabulary->count);
    if (vocabulary->merge_count > 0)
        gguf_metadata_strings(metadata, "tokenizer.ggml.merges", vocabulary->merges, vocabulary->merge_count);
    put_id(metadata, "tokenizer.ggml.bos_token_id", vocabulary->bos);
    put_id(metadata, "tokenizer.ggml.eos_token_id", vocabulary->eos);
    put_id(metadata, "tokenizer.ggml.unknown_token_id", vocabulary->unknown);
    put_id(metadata, "tokenizer.ggml.padding_token_id", vocabulary->padding);
    if (vocabulary->adds_bos_said) gguf_metadata_bool(metadata, "tokenizer.ggml.add_bos_token", vocabulary->adds_bos);
    if (vocabulary->space_prefix_said)
        gguf_metadata_bool(metadata, "tokenizer.ggml.add_space_prefix", vocabulary->space_prefix);
    if (vocabulary->removes_blanks_said)
        gguf_metadata_bool(metadata, "tokenizer.ggml.remove_extra_whitespaces", vocabulary->removes_blanks);
    if (vocabulary->charsmap.length > 0)
        gguf_metadata_bytes(metadata, "tokenizer.ggml.precompiled_charsmap", vocabulary->charsmap);
}

static bool put_template(const struct converting *converting, struct arena *arena, struct gguf_metadata *metadata) {
    struct bytes_view text;
    if (checkpoint_file(converting->checkpoint, "chat_template.jinja", &text, NULL) == STATUS_OK && text.length > 0) {
        gguf_metadata_string(metadata, "tokenizer.chat_template", text);
        return true;
    }
    const struct json_value *config = read_json(converting, arena, "tokenizer_config.json"),
                            *template = json_member(config, "chat_template");
    if (template == NULL) template = json_member(read_json(converting, arena, "chat_template.json"), "chat_template");
    if (template != NULL && template->kind == JSON_KIND_STRING) {
        gguf_metadata_string(metadata, "tokenizer.chat_template", template->string);
        return true;
    }
    bool found = false;
    for (const struct json_value *entry = template != NULL ? template->first : NULL; entry != NULL;
         entry = entry->next) {
        const struct json_value *body = json_member(entry, "template"), *name = json_member(entry, "name");
        if (body == NULL || body->kind != JSON_KIND_STRING) continue;
        if (json_is_string(name, "tool_use"))
            gguf_metadata_string(metadata, "tokenizer.chat_template.tool_use", body->string);
        if (!json_is_string(name, "default")) continue;
        gguf_metadata_string(metadata, "tokenizer.chat_template", body->string);
        found = true;
    }
    return found;
}

/** Whether a template comes along or not: which version of Mistral's layouts a model was trained on cannot be told from its vocabulary. */
static bool put_layout(const struct converting *converting, struct gguf_metadata *metadata) {
    struct tokenizer *tokenizer = NULL;
    struct chat_layout *layout = NULL;
    struct error ignored = {0}; /* what is wrong with its files is said when it is served */
    enum status status = tokenizer_load(converting->checkpoint, &tokenizer, &ignored);
    if (status == STATUS_OK) status = chat_layout_load(converting->checkpoint, tokenizer, &layout, &ignored);
    bool mistral = status == STATUS_OK && strncmp(chat_layout_name(layout), "mistral-", strlen("mistral-")) == 0;
    if (mistral) gguf_metadata_text(metadata, CHAT_LAYOUT_GGUF_KEY, chat_layout_name(layout));
    chat_layout_destroy(layout);
    tokenizer_destroy(tokenizer);
    return mistral;
}

enum status convert_metadata_of_tokenizer(struct converting *converting, struct gguf_metadata *metadata) {
    struct arena arena;
    struct vocabulary vocabulary;
    bool found = false;
    struct error err = {0};
    arena_init(&arena, ARENA_BYTES);
    enum status status = read_vocabulary(converting, &arena, &vocabulary, &found, &err);
    if (status == STATUS_OK && found) {
        const struct json_value *root = read_json(converting, &arena, "tokenizer.json");
        find_specials(converting, &arena, &vocabulary);
        find_template_bos(root, &vocabulary);
        status = add_added(&vocabulary, root, read_json(converting, &arena, "tokenizer_config.json"),
                           (size_t)converting->config.vocabulary, &err);
        if (status == STATUS_OK) status = check_bytes(&vocabulary, &err);
    }
    if (status == STATUS_OK && found) {
        put_vocabulary(&vocabulary, metadata);
        if (vocabulary.normalizer != NULL)
            (void)bytes_printf(converting->notes,
                               "Text is normalised (%s) before it is cut into tokens. llama.cpp does not do that; Bora "
                               "does, by the key " TOKENIZER_GGUF_NORMALIZER ".\n",
                               vocabulary.normalizer);
    } else {
        /* The weights are whole without; llama.cpp calls it so. */
        gguf_metadata_text(metadata, "tokenizer.ggml.model", "no_vocab");
        (void)bytes_printf(converting->notes, "The tokenizer is left out: %.*s.\n", NOTE_PIECE,
                           err.message[0] != 0 ? err.message
                                               : "there is no tokenizer.json, tokenizer.model or tekken.json");
    }
    bool mistral = put_layout(converting, metadata);
    if (!put_template(converting, &arena, metadata) && !mistral)
        (void)bytes_append_string(converting->notes, "There is no chat template to take along.\n");
    arena_deinit(&arena);
    return STATUS_OK;
}
