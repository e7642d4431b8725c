/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json of Hugging Face tokenizers. */
#include "base/limits.h"
#include "engine/convert/vocabulary.h"

#include <stdio.h>
#include <string.h>

static enum status bad(const char *file, const char *what, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s %s", file, what);
}

static bool is_true(const struct json_value *value) {
    return value != NULL && value->kind == JSON_KIND_BOOLEAN && value->boolean;
}

/* ---- which split ----------------------------------------------------------------------------------------------------- */

/** Calls `visit` for every object below `value`. Depth is bounded by the reader. */
static void walk(const struct json_value *value, void (*visit)(const struct json_value *object, void *context),
                 void *context) {
    if (value == NULL || (value->kind != JSON_KIND_OBJECT && value->kind != JSON_KIND_ARRAY)) return;
    if (value->kind == JSON_KIND_OBJECT) visit(value, context);
    for (const struct json_value *child = value->first; child != NULL; child = child->next) walk(child, visit, context);
}

struct splits {
    struct bytes_view pattern; /* of the first Split with a Regex */
    bool byte_level, byte_level_regex, single_digits;
};

static void note_split(const struct json_value *object, void *context) {
    struct splits *splits = context;
    const struct json_value *type = json_member(object, "type"),
                            *regex = json_member(json_member(object, "pattern"), "Regex");
    if (json_is_string(type, "ByteLevel")) {
        const struct json_value *use = json_member(object, "use_regex");
        splits->byte_level = true;
        splits->byte_level_regex = use == NULL || is_true(use);
    }
    if (json_is_string(type, "Digits") && is_true(json_member(object, "individual_digits")))
        splits->single_digits = true;
    if (json_is_string(type, "Split") && regex != NULL && regex->kind == JSON_KIND_STRING &&
        splits->pattern.length == 0)
        splits->pattern = regex->string;
}

bool vocabulary_pattern(const char *pre, char out[VOCABULARY_PATTERN_BYTES]) {
    static const char words[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|",
                      rest[] = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
                      tekken[] =
                          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
                          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
                          "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    if (strcmp(pre, "tekken") == 0)
        snprintf(out, VOCABULARY_PATTERN_BYTES, "%s", tekken);
    else if (strcmp(pre, "llama-bpe") == 0)
        snprintf(out, VOCABULARY_PATTERN_BYTES, "%s\\p{N}{1,3}%s", words, rest);
    else if (strcmp(pre, "qwen2") == 0)
        snprintf(out, VOCABULARY_PATTERN_BYTES, "%s\\p{N}%s", words, rest);
    else
        return false;
    return true;
}

/** llama.cpp's name of a split, NULL when it is none of those. */
static const char *pre_of(const struct splits *splits) {
    static const char *const names[] = {"tekken", "llama-bpe", "qwen2"};
    char pattern[VOCABULARY_PATTERN_BYTES];
    if (splits->pattern.length == 0) {
        if (!splits->byte_level_regex) return NULL;
        return splits->single_digits ? "smollm" : "gpt-2";
    }
    if (splits->byte_level_regex) return NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (vocabulary_pattern(names[i], pattern) && bytes_view_equal_string(splits->pattern, pattern)) return names[i];
    }
    return NULL;
}

/* ---- tokens ---------------------------------------------------------------------------------------------------------- */

static enum status place(struct vocabulary *vocabulary, const char *file, struct bytes_view token, int64_t id,
                         enum vocabulary_type type, bool again, struct error *err) {
    if (id < 0 || (size_t)id >= vocabulary->count) return bad(file, "has ids that are not dense", err);
    if (vocabulary->types[id] != 0 && !(again && bytes_view_equal(vocabulary->tokens[id], token)))
        return bad(file, "gives one id to two tokens", err);
    vocabulary->tokens[id] = token;
    vocabulary->types[id] = type;
    return STATUS_OK;
}

static bool is_byte_token(struct bytes_view token) {
    return token.length == 6 && memcmp(token.data, "<0x", 3) == 0 && token.data[5] == '>';
}

/** The count of ids: one more than the largest. */
static enum status count_ids(const struct json_value *vocab, const struct json_value *added, const char *file,
                             size_t *out, struct error *err) {
    int64_t largest = -1, id;
    for (const struct json_value *entry = vocab->first; vocab->kind == JSON_KIND_OBJECT && entry != NULL;
         entry = entry->next) {
        if (!json_i64(entry, &id) || id < 0 || id >= LIMIT_VOCABULARY)
            return bad(file, "has an impossible token id", err);
        largest = id > largest ? id : largest;
    }
    if (vocab->kind == JSON_KIND_ARRAY) largest = (int64_t)vocab->count - 1;
    for (const struct json_value *entry = added != NULL ? added->first : NULL; entry != NULL; entry = entry->next) {
        if (!json_i64(json_member(entry, "id"), &id) || id < 0 || id >= LIMIT_VOCABULARY)
            return bad(file, "has an added token with an impossible id", err);
        largest = id > largest ? id : largest;
    }
    if (largest >= LIMIT_VOCABULARY) return bad(file, "has too many tokens", err);
    *out = (size_t)(largest + 1);
    return STATUS_OK;
}

static enum status read_tokens(struct vocabulary *vocabulary, const struct json_value *root, const char *file,
                               bool byte_level, struct error *err) {
    const struct json_value *model = json_member(root, "model"), *vocab = json_member(model, "vocab"),
                            *added = json_member(root, "added_tokens"), *unknown = json_member(model, "unk_token");
    size_t count = 0;
    TRY(count_ids(vocab, added, file, &count, err));
    TRY(vocabulary_reserve(vocabulary, count, err));
    int64_t id = 0;
    for (const struct json_value *entry = vocab->first; entry != NULL; entry = entry->next, id++) {
        struct bytes_view token = entry->name;
        if (vocab->kind == JSON_KIND_ARRAY) { /* unigram: [piece, score] */
            double score;
            if (entry->kind != JSON_KIND_ARRAY || entry->count != 2 || entry->first->kind != JSON_KIND_STRING ||
                !json_double(entry->first->next, &score))
                return bad(file, "has a piece that is no pair of text and score", err);
            token = entry->first->string;
            vocabulary->scores[id] = (float)score;
        } else {
            (void)json_i64(entry, &id);
        }
        bool is_unknown =
            unknown != NULL && unknown->kind == JSON_KIND_STRING && bytes_view_equal(token, unknown->string);
        TRY(place(vocabulary, file, token, id,
                  !byte_level && is_byte_token(token) ? VOCABULARY_BYTE
                  : is_unknown                        ? VOCABULARY_UNKNOWN
                                                      : VOCABULARY_NORMAL,
                  false, err));
    }
    for (const struct json_value *entry = added != NULL ? added->first : NULL; entry != NULL; entry = entry->next) {
        const struct json_value *content = json_member(entry, "content");
        if (content == NULL || content->kind != JSON_KIND_STRING)
            return bad(file, "has an added token without text", err);
        (void)json_i64(json_member(entry, "id"), &id);
        bool special = is_true(json_member(entry, "special"));
        if (special && vocabulary->types[id] == VOCABULARY_UNKNOWN) continue;
        TRY(place(vocabulary, file, content->string, id, special ? VOCABULARY_CONTROL : VOCABULARY_USER_DEFINED, true,
                  err));
    }
    return STATUS_OK;
}

/* ---- merges ---------------------------------------------------------------------------------------------------------- */

/** "left right", whichever way it is written. */
static enum status read_merge(const struct vocabulary *vocabulary, const struct json_value *merge, const char *file,
                              struct bytes_view *out, struct error *err) {
    if (merge->kind == JSON_KIND_STRING) return *out = merge->string, STATUS_OK;
    if (merge->kind != JSON_KIND_ARRAY || merge->count != 2 || merge->first->kind != JSON_KIND_STRING ||
        merge->first->next->kind != JSON_KIND_STRING)
        return bad(file, "has a merge that is no pair", err);
    struct bytes_view left = merge->first->string, right = merge->first->next->string;
    char *text = arena_alloc(vocabulary->arena, left.length + right.length + 2);
    if (text == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memcpy(text, left.data, left.length);
    text[left.length] = ' ';
    memcpy(text + left.length + 1, right.data, right.length);
    *out = bytes_view_of(text, left.length + right.length + 1);
    return STATUS_OK;
}

static enum status read_merges(struct vocabulary *vocabulary, const struct json_value *merges, const char *file,
                               struct error *err) {
    if (merges == NULL || merges->kind != JSON_KIND_ARRAY) return bad(file, "has no merges", err);
    if (merges->count > LIMIT_MERGES) return bad(file, "has too many merges", err);
    vocabulary->merges = arena_alloc_array(vocabulary->arena, merges->count + 1, sizeof *vocabulary->merges);
    if (vocabulary->merges == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (const struct json_value *merge = merges->first; merge != NULL; merge = merge->next)
        TRY(read_merge(vocabulary, merge, file, &vocabulary->merges[vocabulary->merge_count++], err));
    return STATUS_OK;
}

/** "llama" has no merges but scores: what the first merge of a token's two parts is, counted down. */
static enum status scores_of_merges(struct vocabulary *vocabulary, struct error *err) {
    struct vocabulary_index index;
    vocabulary->scores = arena_alloc_array(vocabulary->arena, vocabulary->count + 1, sizeof *vocabulary->scores);
    if (vocabulary->scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(vocabulary_index_init(&index, vocabulary, VOCABULARY_ANY, err));
    for (size_t i = 0; i < vocabulary->merge_count; i++) {
        struct bytes_view merge = vocabulary->merges[i];
        const uint8_t *blank = memchr(merge.data, ' ', merge.length);
        char *joined = arena_alloc(vocabulary->arena, merge.length + 1);
        if (blank == NULL) continue;
        if (joined == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        size_t left = (size_t)(blank - merge.data);
        memcpy(joined, merge.data, left);
        memcpy(joined + left, blank + 1, merge.length - left - 1);
        int64_t id = vocabulary_index_find(&index, bytes_view_of(joined, merge.length - 1));
        if (id >= 0 && vocabulary->scores[id] == 0) vocabulary->scores[id] = -(float)(i + 1);
    }
    /* What no merge makes must never win against what one makes. */
    for (size_t i = 0; i < vocabulary->count; i++) {
        if (vocabulary->scores[i] == 0 && vocabulary->types[i] == VOCABULARY_NORMAL)
            vocabulary->scores[i] = -(float)(vocabulary->merge_count + 1 + i);
    }
    vocabulary->merge_count = 0;
    return STATUS_OK;
}

/* ---- normaliser ------------------------------------------------------------------------------------------------------ */

/** Byte-level BPE has none, or one of Unicode's forms. */
static enum status read_normalizer(const struct json_value *normalizer, const char *file, const char **out,
                                   struct error *err) {
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const struct json_value *steps = json_member(normalizer, "normalizers"), *type;
    if (steps != NULL && steps->kind == JSON_KIND_ARRAY && steps->count < 2) normalizer = steps->first;
    if (normalizer == NULL || normalizer->kind == JSON_KIND_NULL) return STATUS_OK;
    type = json_member(normalizer, "type");
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (!json_is_string(type, forms[i])) continue;
        *out = forms[i];
        return STATUS_OK;
    }
    return error_set(err, STATUS_UNIMPLEMENTED,
                     "%s changes text before it is cut in a way that has no name in GGUF here", file);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------- */

static void note_prefix(const struct json_value *object, void *context) {
    bool *prefix = context;
    const struct json_value *type = json_member(object, "type"), *scheme = json_member(object, "prepend_scheme");
    if (json_is_string(type, "Prepend")) *prefix = true;
    if (json_is_string(type, "Metaspace") &&
        (is_true(json_member(object, "add_prefix_space")) || (scheme != NULL && !json_is_string(scheme, "never"))))
        *prefix = true;
}

enum status vocabulary_of_tokenizer_json(const struct json_value *root, const char *file, struct vocabulary *out,
                                         struct error *err) {
    const struct json_value *model = json_member(root, "model"), *type = json_member(model, "type"),
                            *vocab = json_member(model, "vocab");
    struct splits splits = {0};
    bool unigram = json_is_string(type, "Unigram"), bpe = json_is_string(type, "BPE");
    if (!bpe && !unigram)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s is neither BPE nor unigram, which GGUF has names for", file);
    if (vocab == NULL || vocab->kind != (unigram ? JSON_KIND_ARRAY : JSON_KIND_OBJECT))
        return bad(file, "has no vocabulary", err);
    walk(json_member(root, "pre_tokenizer"), note_split, &splits);
    bool fallback = is_true(json_member(model, "byte_fallback"));
    if (unigram) {
        out->scores = arena_alloc_array(out->arena, (size_t)LIMIT_VOCABULARY, sizeof *out->scores);
        if (out->scores == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        if (vocab->count > LIMIT_VOCABULARY) return bad(file, "has too many tokens", err);
    }
    TRY(read_tokens(out, root, file, splits.byte_level, err));
    out->model = unigram ? "t5" : splits.byte_level ? "gpt2" : "llama";
    if (!unigram) TRY(read_merges(out, json_member(model, "merges"), file, err));
    if (bpe && splits.byte_level) {
        TRY(read_normalizer(json_member(root, "normalizer"), file, &out->normalizer, err));
        out->pre = pre_of(&splits);
        return out->pre != NULL
                   ? STATUS_OK
                   : error_set(err, STATUS_UNIMPLEMENTED,
                               "%s cuts text by a rule that has no name in GGUF here (there are gpt-2, smollm, "
                               "llama-bpe, qwen2 and tekken)",
                               file);
    }
    walk(json_member(root, "normalizer"), note_prefix, &out->space_prefix);
    walk(json_member(root, "pre_tokenizer"), note_prefix, &out->space_prefix);
    out->space_prefix_said = true;
    if (unigram) return STATUS_OK;
    if (!fallback)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s is BPE without bytes, which GGUF has no name for", file);
    out->pre = "default";
    return scores_of_merges(out, err);
}
