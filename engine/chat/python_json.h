/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * JSON as Python reads and writes it: what the reference layouts do to tools, arguments and results before they are tokens.
 *
 *     json.dumps(json.loads(text), ensure_ascii=False)      {"a":1e2, "a":[1,2]}  ->  {"a": [1, 2]}
 *
 * Separators ", " and ": "; members in their order, of one name the last value at the first place; integers with all digits, other numbers
 * as Python's repr of a double; NaN and Infinity as these words.
 */
#ifndef ENGINE_CHAT_PYTHON_JSON_H
#define ENGINE_CHAT_PYTHON_JSON_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/json.h"

enum { PYTHON_FLOAT_BYTES = 32 };

/** repr(value): "0.1", "1e+16", "inf", "nan". `out` holds PYTHON_FLOAT_BYTES. Returns the length. */
size_t python_float_repr(double value, char *out);
/** The number whose JSON source is `text`: true and an int64, or false and a double. Integers beyond int64 are neither: `out_big`. */
bool python_number_is_integer(struct bytes_view text);
/** As json.dumps writes the number; "NaN", "Infinity". */
enum status python_json_append_number(struct bytes *out, struct bytes_view text);
enum status python_json_append(struct bytes *out, const struct json_value *value);

/** json.loads. `out` is NULL when `text` is not JSON (Python raises JSONDecodeError). STATUS_INVALID_ARGUMENT where Python would fail
 *  otherwise: too deep, integers of more than 4,300 digits. STATUS_RESOURCE_EXHAUSTED: the arena. */
enum status python_json_read(struct bytes_view text, struct arena *arena, struct json_value **out, struct error *err);

/** Append dumps(loads(text)), or, when `text` is not JSON, dumps of it as a string. Empty text is {} when `empty_is_object`. */
enum status python_json_append_text(struct bytes *out, struct bytes_view text, bool empty_is_object,
                                    struct arena *scratch, struct error *err);

#endif
