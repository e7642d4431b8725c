/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A record out of HGETALL's reply, field by field. What is malformed is STATUS_DATA_LOSS, and named: "the record of key k3v9x0q2m7ab has no proper hash". */
#ifndef SERVICES_KEYS_HASH_READER_H
#define SERVICES_KEYS_HASH_READER_H

#include "base/arena.h"
#include "store/redis.h"

struct hash_reader {
    const char *what, *id; /* "key", its prefix */
    struct arena *arena;   /* strings are copied there */
    struct error *err;
};

typedef enum status hash_field_fn(void *context, const struct hash_reader *reader, const char *field,
                                  struct bytes_view value);
enum status hash_read(const struct hash_reader *reader, const struct redis_reply *fields, hash_field_fn *fn,
                      void *context);

enum status hash_malformed(const struct hash_reader *reader, const char *field);
enum status hash_out_of_memory(const struct hash_reader *reader);
/** A whole number, not negative. */
enum status hash_read_number(const struct hash_reader *reader, const char *field, struct bytes_view value,
                             int64_t *out);
/** Without NUL bytes. */
enum status hash_read_text(const struct hash_reader *reader, const char *field, struct bytes_view value,
                           const char **out);

#endif
