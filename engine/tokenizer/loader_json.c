/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/loader_json.h"

#include "base/limits.h"
#include "base/text.h"

#include <string.h>

enum status loader_json_read(struct bytes_view source, const char *file, struct arena *arena, struct json_value **out,
                             struct error *err) {
    struct json_problem problem = {0};
    arena_init(arena, LIMIT_TOKENIZER_TREE_BYTES);
    enum status status = json_read(source, LIMIT_JSON_DEPTH, LIMIT_TOKENIZER_VALUES, arena, out, &problem);
    if (status == STATUS_OK) return STATUS_OK;
    if (problem.reason == NULL)
        return error_set(err, status, "%s: too large for a tokenizer file (%zu bytes)", file, source.length);
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: no valid JSON at byte %zu: %s", file, problem.offset,
                     problem.reason);
}

const struct json_value *loader_member(const struct json_value *object, const char *name) {
    const struct json_value *member = json_member(object, name);
    return member != NULL && member->kind != JSON_KIND_NULL ? member : NULL;
}

const struct json_value *loader_member_of(const struct json_value *object, const char *name, enum json_kind kind) {
    const struct json_value *member = loader_member(object, name);
    return member != NULL && member->kind == kind ? member : NULL;
}

bool loader_bool(const struct json_value *object, const char *name, bool otherwise) {
    const struct json_value *member = loader_member_of(object, name, JSON_KIND_BOOLEAN);
    return member != NULL ? member->boolean : otherwise;
}

struct bytes_view loader_string(const struct json_value *object, const char *name) {
    const struct json_value *member = loader_member_of(object, name, JSON_KIND_STRING);
    return member != NULL ? member->string : (struct bytes_view){0};
}

bool loader_is(const struct json_value *object, const char *name, const char *string) {
    return bytes_view_equal_string(loader_string(object, name), string);
}

bool loader_integer(const struct json_value *number, int64_t most, int64_t *out) {
    char text[24];
    if (number == NULL || number->kind != JSON_KIND_NUMBER || number->text.length >= sizeof text) return false;
    memcpy(text, number->text.data, number->text.length);
    text[number->text.length] = 0;
    return text_to_i64(text, out) && *out >= 0 && *out <= most;
}

/** A decimal digit more into `*significand`; false when it has no room, so that the digit is lost. */
static bool take_digit(uint64_t *significand, uint8_t digit) {
    if (*significand > (UINT64_MAX - digit) / 10) return false;
    *significand = *significand * 10 + digit;
    return true;
}

bool loader_score(const struct json_value *number, double *out) {
    enum { EXACT_MAX = 22 }; /* 10^22 is the last power of ten that a double holds */
    double power = 1;
    uint64_t significand = 0;
    int exponent = 0;
    bool fraction = false;
    if (!json_double(number, out)) return false;
    for (size_t i = 0; i < number->text.length; i++) {
        uint8_t c = number->text.data[i];
        if (c == '.') fraction = true;
        if (c == 'e' || c == 'E') return true;
        if (c < '0' || c > '9') continue;
        if (take_digit(&significand, c - '0'))
            exponent -= fraction;
        else if (!fraction)
            return true;
    }
    if (exponent < -EXACT_MAX) return true;
    for (; exponent < 0; exponent++) power *= 10;
    *out = (double)significand / power;
    if (number->text.data[0] == '-') *out = -*out;
    return true;
}
