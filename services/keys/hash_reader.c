/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/hash_reader.h"

#include "base/text.h"

#include <string.h>

enum status hash_malformed(const struct hash_reader *reader, const char *field) {
    return error_set(reader->err, STATUS_DATA_LOSS, "the record of %s %.64s has no proper %.64s", reader->what,
                     reader->id, field);
}

enum status hash_out_of_memory(const struct hash_reader *reader) {
    return error_set(reader->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

enum status hash_read_number(const struct hash_reader *reader, const char *field, struct bytes_view value,
                             int64_t *out) {
    /* Redis' strings are NUL-terminated; a NUL inside cuts the number, and the lengths differ. */
    const char *text = (const char *)value.data;
    if (strlen(text) != value.length || !text_to_i64(text, out) || *out < 0) return hash_malformed(reader, field);
    return STATUS_OK;
}

enum status hash_read_text(const struct hash_reader *reader, const char *field, struct bytes_view value,
                           const char **out) {
    if (memchr(value.data, 0, value.length) != NULL) return hash_malformed(reader, field);
    *out = arena_copy(reader->arena, value.data, value.length);
    return *out != NULL ? STATUS_OK : hash_out_of_memory(reader);
}

enum status hash_read(const struct hash_reader *reader, const struct redis_reply *fields, hash_field_fn *fn,
                      void *context) {
    if (fields->type != REDIS_ARRAY) return hash_malformed(reader, "fields");
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        if (fields->items[i].type != REDIS_STRING || fields->items[i + 1].type != REDIS_STRING)
            return hash_malformed(reader, "fields");
        TRY(fn(context, reader, (const char *)fields->items[i].string.data, fields->items[i + 1].string));
    }
    return STATUS_OK;
}
