/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * tekken.json: bytes by rank, without merges. GGUF's byte-level BPE wants them: two tokens merge wherever their bytes together are a token, and its
 * rank is the merge's. Special tokens have the first ids.
 */
#include "base/limits.h"
#include "engine/convert/vocabulary.h"
#include "engine/tokenizer/tekken_file.h"

#include <stdlib.h>
#include <string.h>

enum { SPECIAL_DEFAULT = 1000 };

static enum status bad(const char *file, const char *what, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s %s", file, what);
}

/** GPT-2's letter for a byte: printable ones are themselves, the others 256 and on (encoder.py, bytes_to_unicode). */
static uint32_t letter_of(uint8_t byte) {
    static const struct { uint8_t from, to; } printable[] = {{'!', '~'}, {0xA1, 0xAC}, {0xAE, 0xFF}};
    uint32_t others = 0;
    for (uint32_t b = 0; b <= byte; b++) {
        bool plain = false;
        for (size_t i = 0; i < sizeof printable / sizeof printable[0]; i++)
            plain = plain || (b >= printable[i].from && b <= printable[i].to);
        if (b == byte) return plain ? b : 256 + others;
        others += !plain;
    }
    return 0;
}

static struct bytes_view letters_of(struct arena *arena, struct bytes_view raw, const uint32_t letters[256]) {
    uint8_t *out = arena_alloc(arena, 2 * raw.length + 1);
    size_t length = 0;
    if (out == NULL) return (struct bytes_view){0};
    for (size_t i = 0; i < raw.length; i++) {
        uint32_t letter = letters[raw.data[i]];
        if (letter < 0x80) {
            out[length++] = (uint8_t)letter;
        } else {
            out[length++] = (uint8_t)(0xC0 | letter >> 6);
            out[length++] = (uint8_t)(0x80 | (letter & 63));
        }
    }
    return bytes_view_of(out, length);
}

/* ---- tokens by their bytes --------------------------------------------------------------------------------------------- */

struct table {
    const struct bytes_view *raw;
    int32_t *slots; /* rank, or -1 */
    size_t mask;
};

static uint64_t hash_of(struct bytes_view view) {
    uint64_t hash = bytes_hash(BYTES_HASH_START, view);
    return hash ^ hash >> 29;
}

static int32_t table_find(const struct table *table, struct bytes_view raw) {
    for (size_t i = hash_of(raw) & table->mask; table->slots[i] >= 0; i = (i + 1) & table->mask) {
        if (bytes_view_equal(table->raw[table->slots[i]], raw)) return table->slots[i];
    }
    return -1;
}

static void table_add(struct table *table, int32_t rank) {
    size_t i = hash_of(table->raw[rank]) & table->mask;
    while (table->slots[i] >= 0) i = (i + 1) & table->mask;
    table->slots[i] = rank;
}

static enum status make_merges(struct vocabulary *out, const struct bytes_view *raw, size_t count, size_t special,
                               struct error *err) {
    struct table table = {.raw = raw, .mask = 1};
    while (table.mask < 2 * count) table.mask = 2 * table.mask;
    table.slots = malloc(table.mask * sizeof *table.slots);
    size_t capacity = 8 * count + 1;
    out->merges = arena_alloc_array(out->arena, capacity, sizeof *out->merges);
    if (table.slots == NULL || out->merges == NULL) {
        free(table.slots);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    for (size_t i = 0; i < table.mask; i++) table.slots[i] = -1;
    table.mask--;
    for (size_t i = 0; i < count; i++) table_add(&table, (int32_t)i);
    enum status status = STATUS_OK;
    for (size_t rank = 0; rank < count && status == STATUS_OK; rank++) {
        for (size_t cut = 1; cut < raw[rank].length && status == STATUS_OK; cut++) {
            int32_t left = table_find(&table, bytes_view_of(raw[rank].data, cut)),
                    right = table_find(&table, bytes_view_of(raw[rank].data + cut, raw[rank].length - cut));
            if (left < 0 || right < 0 || (size_t)left >= rank || (size_t)right >= rank) continue;
            struct bytes_view a = out->tokens[special + (size_t)left], b = out->tokens[special + (size_t)right];
            char *text = arena_printf(out->arena, "%.*s %.*s", (int)a.length, (const char *)a.data, (int)b.length,
                                      (const char *)b.data);
            if (text == NULL || out->merge_count == capacity)
                status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "too many merges for memory");
            else
                out->merges[out->merge_count++] = bytes_view_of(text, a.length + b.length + 1);
        }
    }
    free(table.slots);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------------- */

static enum status read_specials(struct vocabulary *out, const struct json_value *list, size_t special,
                                 const char *file, struct error *err) {
    for (size_t i = 0; i < special; i++) {
        char *name = arena_printf(out->arena, "<SPECIAL_%zu>", i);
        if (name == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        out->tokens[i] = bytes_view_string(name);
        out->types[i] = VOCABULARY_CONTROL;
    }
    if (list == NULL || list->kind != JSON_KIND_ARRAY) { /* older files do not list them */
        for (size_t i = 0; i < special; i++) {
            struct bytes_view name = tekken_unlisted_special(i);
            if (name.length > 0) out->tokens[i] = name;
        }
        return STATUS_OK;
    }
    for (const struct json_value *entry = list->first; entry != NULL; entry = entry->next) {
        const struct json_value *text = json_member(entry, "token_str");
        int64_t rank;
        if (text == NULL || text->kind != JSON_KIND_STRING || !json_i64(json_member(entry, "rank"), &rank) ||
            rank < 0 || (size_t)rank >= special)
            return bad(file, "has a special token without text or with an impossible rank", err);
        out->tokens[rank] = text->string;
    }
    return STATUS_OK;
}

static enum status read_raw(struct vocabulary *out, const struct json_value *list, size_t count, const char *file,
                            struct bytes_view *raw, struct error *err) {
    size_t at = 0;
    for (const struct json_value *entry = list->first; entry != NULL && at < count; entry = entry->next, at++) {
        const struct json_value *text = json_member(entry, "token_bytes");
        int64_t rank;
        size_t length = 0;
        if (text == NULL || text->kind != JSON_KIND_STRING || text->string.length > TEKKEN_TOKEN_BYTES_MAX ||
            !json_i64(json_member(entry, "rank"), &rank) || rank != (int64_t)at)
            return bad(file, "has a token without bytes or out of the order of its rank", err);
        uint8_t *bytes = arena_alloc(out->arena, text->string.length + 1);
        if (bytes == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        if (!tekken_decode(text->string, bytes, &length) || length == 0)
            return bad(file, "has a token that is no base64", err);
        raw[at] = bytes_view_of(bytes, length);
    }
    return STATUS_OK;
}

enum status vocabulary_of_tekken(const struct json_value *root, const char *file, struct vocabulary *out,
                                 struct error *err) {
    const struct json_value *config = json_member(root, "config"), *list = json_member(root, "vocab");
    int64_t special = SPECIAL_DEFAULT, total = 0;
    uint32_t letters[256];
    if (list == NULL || list->kind != JSON_KIND_ARRAY) return bad(file, "has no vocab", err);
    (void)json_i64(json_member(config, "default_num_special_tokens"), &special);
    if (!json_i64(json_member(config, "default_vocab_size"), &total)) total = special + list->count;
    if (special < 17 || special > LIMIT_VOCABULARY || total <= special || total > LIMIT_VOCABULARY ||
        total - special > (int64_t)list->count)
        return bad(file, "has an impossible vocabulary size", err);
    size_t count = (size_t)(total - special);
    struct bytes_view *raw = arena_alloc_array(out->arena, count, sizeof *raw);
    if (raw == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(vocabulary_reserve(out, (size_t)total, err));
    TRY(read_specials(out, json_member(root, "special_tokens"), (size_t)special, file, err));
    TRY(read_raw(out, list, count, file, raw, err));
    for (int i = 0; i < 256; i++) letters[i] = letter_of((uint8_t)i);
    for (size_t i = 0; i < count; i++) {
        out->tokens[(size_t)special + i] = letters_of(out->arena, raw[i], letters);
        out->types[(size_t)special + i] = VOCABULARY_NORMAL;
        if (out->tokens[(size_t)special + i].length == 0)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    out->model = "gpt2";
    out->pre = "tekken";
    out->unknown = 0;
    out->bos = 1;
    out->eos = 2;
    out->padding = vocabulary_find(out, bytes_view_string("<pad>"));
    out->adds_bos = out->adds_bos_said = true;
    return make_merges(out, raw, count, (size_t)special, err);
}
