/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Members of JSON files, for the loaders: absent and null are alike.
 */
#ifndef ENGINE_TOKENIZER_LOADER_JSON_H
#define ENGINE_TOKENIZER_LOADER_JSON_H

#include "base/json.h"

#include <stdint.h>

/** Read a whole file. `file`: its name, for errors. The tree lives in `arena`, which is initialised here. */
enum status loader_json_read(struct bytes_view source, const char *file, struct arena *arena, struct json_value **out,
                             struct error *err);
/** NULL: absent, null, or `object` is none. */
const struct json_value *loader_member(const struct json_value *object, const char *name);
/** The member when it is of `kind`, else NULL. */
const struct json_value *loader_member_of(const struct json_value *object, const char *name, enum json_kind kind);
bool loader_bool(const struct json_value *object, const char *name, bool otherwise);
/** An empty view when it is absent or no string. */
struct bytes_view loader_string(const struct json_value *object, const char *name);
bool loader_is(const struct json_value *object, const char *name, const char *string);
/** A whole number in [0, most]; false when it is none. */
bool loader_integer(const struct json_value *number, int64_t most, int64_t *out);
/** A score as Hugging Face's library reads it: its JSON reader rounds twice, first all digits to a double and then the quotient, and equal sums
 *  of scores are decided by the last bit. */
bool loader_score(const struct json_value *number, double *out);

#endif
