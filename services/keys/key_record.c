/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_record.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_FIELDS = 9, WORDS_MAX = 2 * (OWN_FIELDS + 2 * LIMIT_KEY_MODEL_LIMITS) };

static const char requests_field[] = "requests_per_minute", tokens_field[] = "tokens_per_minute";

/* --- writing ---------------------------------------------------------------------------------------------------- */

struct writer {
    struct arena *arena;
    struct bytes_view *words;
    size_t count;
    bool failed;
};

static void put_text(struct writer *writer, const char *field, const char *value) {
    writer->failed = writer->failed || field == NULL || value == NULL;
    writer->words[writer->count++] = bytes_view_string(field);
    writer->words[writer->count++] = bytes_view_string(value);
}

static void put_number(struct writer *writer, const char *field, int64_t value) {
    put_text(writer, field, arena_printf(writer->arena, "%" PRId64, value));
}

static void put_limits(struct writer *writer, const struct key_limits *limits, const char *model) {
    const char *fields[] = {requests_field, tokens_field};
    const int64_t values[] = {limits->requests_per_minute, limits->tokens_per_minute};
    for (int i = 0; i < 2; i++) {
        if (values[i] != KEY_UNLIMITED)
            put_number(writer, model != NULL ? arena_printf(writer->arena, "%s:%s", fields[i], model) : fields[i],
                       values[i]);
    }
}

enum status key_record_write(const struct key_record *record, struct arena *arena, struct bytes_view **out_words,
                             size_t *out_count, struct error *err) {
    struct writer writer = {.arena = arena, .words = arena_alloc_array(arena, WORDS_MAX, sizeof *writer.words)};
    char *hash = arena_alloc(arena, 2 * KEY_HASH_BYTES + 1);
    if (writer.words == NULL || hash == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    bytes_to_hex(record->hash, KEY_HASH_BYTES, hash);
    put_number(&writer, "created_at", record->created_at);
    if (record->expires_at != 0) put_number(&writer, "expires_at", record->expires_at);
    if (record->revoked_at != 0) put_number(&writer, "revoked_at", record->revoked_at);
    put_text(&writer, "name", record->name);
    put_text(&writer, "tenant", record->tenant);
    put_text(&writer, "hash", hash);
    put_text(&writer, "last", record->last);
    put_limits(&writer, &record->limits, NULL);
    for (size_t i = 0; i < record->model_count; i++)
        put_limits(&writer, &record->models[i].limits, record->models[i].model);
    if (writer.failed) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    *out_words = writer.words;
    *out_count = writer.count;
    return STATUS_OK;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

struct reader {
    struct key_record *record;
    struct arena *arena;
    struct error *err;
    bool has_hash;
};

static enum status malformed(const struct reader *reader, const char *field) {
    return error_set(reader->err, STATUS_DATA_LOSS, "the record of key %s has no proper %.64s", reader->record->id,
                     field);
}

static enum status read_number(const struct reader *reader, const char *field, struct bytes_view value, int64_t *out) {
    /* Redis' strings are NUL-terminated; a NUL inside cuts the number, and the lengths differ. */
    const char *text = (const char *)value.data;
    if (strlen(text) != value.length || !text_to_i64(text, out) || *out < 0) return malformed(reader, field);
    return STATUS_OK;
}

static enum status read_text(const struct reader *reader, struct bytes_view value, const char **out) {
    *out = arena_copy(reader->arena, value.data, value.length);
    return *out != NULL ? STATUS_OK : error_set(reader->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

static enum status read_hash(struct reader *reader, struct bytes_view value) {
    if (value.length != 2 * KEY_HASH_BYTES ||
        !bytes_from_hex((const char *)value.data, value.length, reader->record->hash))
        return malformed(reader, "hash");
    reader->has_hash = true;
    return STATUS_OK;
}

static enum status read_last(struct reader *reader, struct bytes_view value) {
    if (value.length != KEY_LAST_CHARACTERS || memchr(value.data, 0, value.length) != NULL)
        return malformed(reader, "last");
    memcpy(reader->record->last, value.data, value.length);
    return STATUS_OK;
}

/** "requests_per_minute" or "requests_per_minute:<model>": where its number belongs; NULL when the field is neither. */
static enum status find_limits(struct reader *reader, const char *field, const char *name, struct key_limits **out) {
    struct key_record *record = reader->record;
    size_t length = strlen(name);
    *out = NULL;
    if (strcmp(field, name) == 0) {
        *out = &record->limits;
    } else if (strncmp(field, name, length) == 0 && field[length] == ':') {
        const char *model = field + length + 1;
        size_t i = 0;
        while (i < record->model_count && strcmp(record->models[i].model, model) != 0) i++;
        if (i == LIMIT_KEY_MODEL_LIMITS) return malformed(reader, field);
        if (i == record->model_count) {
            const char *copy = NULL;
            TRY(read_text(reader, bytes_view_string(model), &copy));
            record->models[record->model_count++] = (struct key_model_limits){copy, {KEY_UNLIMITED, KEY_UNLIMITED}};
        }
        *out = &record->models[i].limits;
    }
    return STATUS_OK;
}

static enum status read_field(struct reader *reader, const char *field, struct bytes_view value) {
    struct key_record *record = reader->record;
    if (strcmp(field, "created_at") == 0) return read_number(reader, field, value, &record->created_at);
    if (strcmp(field, "expires_at") == 0) return read_number(reader, field, value, &record->expires_at);
    if (strcmp(field, "revoked_at") == 0) return read_number(reader, field, value, &record->revoked_at);
    if (strcmp(field, "name") == 0) return read_text(reader, value, &record->name);
    if (strcmp(field, "tenant") == 0) return read_text(reader, value, &record->tenant);
    if (strcmp(field, "hash") == 0) return read_hash(reader, value);
    if (strcmp(field, "last") == 0) return read_last(reader, value);
    struct key_limits *limits = NULL;
    TRY(find_limits(reader, field, requests_field, &limits));
    if (limits != NULL) return read_number(reader, field, value, &limits->requests_per_minute);
    TRY(find_limits(reader, field, tokens_field, &limits));
    if (limits != NULL) return read_number(reader, field, value, &limits->tokens_per_minute);
    return STATUS_OK;
}

static int compare_models(const void *a, const void *b) {
    return strcmp(((const struct key_model_limits *)a)->model, ((const struct key_model_limits *)b)->model);
}

enum status key_record_read(const char *key_id, const struct redis_reply *fields, struct arena *arena,
                            struct key_record *out, struct error *err) {
    *out = (struct key_record){.name = "", .limits = {KEY_UNLIMITED, KEY_UNLIMITED}};
    struct reader reader = {.record = out, .arena = arena, .err = err};
    if (!key_id_is_valid(key_id)) return error_set(err, STATUS_DATA_LOSS, "%.64s is no key id", key_id);
    memcpy(out->id, key_id, sizeof out->id);
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        if (fields->items[i].type != REDIS_STRING || fields->items[i + 1].type != REDIS_STRING)
            return malformed(&reader, "fields");
        TRY(read_field(&reader, (const char *)fields->items[i].string.data, fields->items[i + 1].string));
    }
    if (out->created_at == 0) return malformed(&reader, "created_at");
    if (!reader.has_hash) return malformed(&reader, "hash");
    if (out->tenant == NULL) return malformed(&reader, "tenant");
    if (out->last[0] == 0) return malformed(&reader, "last");
    qsort(out->models, out->model_count, sizeof out->models[0], compare_models);
    return STATUS_OK;
}
