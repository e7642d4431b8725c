/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/text.h"
#include "engine/model/config_internal.h"

#include <stdio.h>
#include <string.h>

enum { NUMBER_BYTES_MAX = 40 };

enum status config_object_init(struct config_object *object, const struct json_value *value, const char *file,
                               const char *inside, struct error *err) {
    *object = (struct config_object){.value = value, .file = file, .inside = inside};
    if (value == NULL || value->kind != JSON_KIND_OBJECT)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is no JSON object", file,
                         inside[0] != 0 ? inside : "it");
    if (value->count > CONFIG_MEMBERS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s has %u members, more than %d", file,
                         inside[0] != 0 ? inside : "the config", value->count, CONFIG_MEMBERS_MAX);
    return STATUS_OK;
}

static const struct json_value *find(const struct config_object *object, const char *name, uint32_t *out_index) {
    uint32_t index = 0;
    for (const struct json_value *member = object->value->first; member != NULL; member = member->next, index++) {
        if (bytes_view_equal_string(member->name, name)) {
            *out_index = index;
            return member;
        }
    }
    return NULL;
}

const struct json_value *config_take(struct config_object *object, const char *name) {
    uint32_t index;
    const struct json_value *member = find(object, name, &index);
    if (member == NULL) return NULL;
    object->taken[index] = true;
    return member->kind == JSON_KIND_NULL ? NULL : member;
}

bool config_has(const struct config_object *object, const char *name) {
    uint32_t index;
    const struct json_value *member = find(object, name, &index);
    return member != NULL && member->kind != JSON_KIND_NULL;
}

bool config_says(const struct config_object *object, const char *name) {
    uint32_t index;
    return find(object, name, &index) != NULL;
}

static bool number_of(const struct json_value *value, double *out) {
    return value->text.length <= NUMBER_BYTES_MAX && json_double(value, out);
}

/** Configs write 1000000.0 and 1e6 for whole numbers as well. */
static bool integer_of(const struct json_value *value, int64_t *out) {
    double number;
    if (!number_of(value, &number) || number < -0x1p53 || number > 0x1p53) return false;
    *out = (int64_t)number;
    return (double)*out == number;
}

enum status config_take_integer(struct config_object *object, const char *name, int64_t minimum, int64_t maximum,
                                bool required, int64_t fallback, int64_t *out, struct error *err) {
    const struct json_value *value = config_take(object, name);
    *out = fallback;
    if (value == NULL) {
        if (!required) return STATUS_OK;
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s is missing", object->file, object->inside, name);
    }
    if (!integer_of(value, out) || *out < minimum || *out > maximum)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s is %.*s, not a whole number in %lld..%lld",
                         object->file, object->inside, name, value->text.length < 24 ? (int)value->text.length : 24,
                         (const char *)value->text.data, (long long)minimum, (long long)maximum);
    return STATUS_OK;
}

enum status config_take_number(struct config_object *object, const char *name, double minimum, double maximum,
                               bool required, double fallback, double *out, struct error *err) {
    const struct json_value *value = config_take(object, name);
    *out = fallback;
    if (value == NULL) {
        if (!required) return STATUS_OK;
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s is missing", object->file, object->inside, name);
    }
    if (!number_of(value, out) || !(*out >= minimum && *out <= maximum))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s is %.*s, not a number in %g..%g", object->file,
                         object->inside, name, value->text.length < 24 ? (int)value->text.length : 24,
                         (const char *)value->text.data, minimum, maximum);
    return STATUS_OK;
}

enum status config_take_flag(struct config_object *object, const char *name, bool fallback, bool *out,
                             struct error *err) {
    const struct json_value *value = config_take(object, name);
    *out = value == NULL ? fallback : value->boolean;
    if (value != NULL && value->kind != JSON_KIND_BOOLEAN)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s is neither true nor false", object->file,
                         object->inside, name);
    return STATUS_OK;
}

enum status config_read_integers(const struct config_object *object, const char *name, const struct json_value *array,
                                 int64_t count, int64_t minimum, int64_t maximum, int64_t *out, struct error *err) {
    if (array->kind != JSON_KIND_ARRAY || array->count != count)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s is no array of %lld", object->file, object->inside,
                         name, (long long)count);
    for (const struct json_value *value = array->first; value != NULL; value = value->next, out++) {
        *out = 0;
        if (value->kind == JSON_KIND_NULL) continue;
        if (!integer_of(value, out) || *out < minimum || *out > maximum)
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s%s has an element that is not in %lld..%lld",
                             object->file, object->inside, name, (long long)minimum, (long long)maximum);
    }
    return STATUS_OK;
}

bool config_take_string(struct config_object *object, const char *name, struct bytes_view *out) {
    const struct json_value *value = config_take(object, name);
    if (value == NULL || value->kind != JSON_KIND_STRING) return false;
    *out = value->string;
    return true;
}

static bool says_nothing(const struct json_value *value) {
    switch (value->kind) {
    case JSON_KIND_NULL:
        return true;
    case JSON_KIND_BOOLEAN:
        return !value->boolean;
    case JSON_KIND_STRING:
        return value->string.length == 0;
    case JSON_KIND_ARRAY:
    case JSON_KIND_OBJECT:
        return value->count == 0;
    default:
        return false;
    }
}

enum status config_refuse_rest(const struct config_object *object, const char *const *harmless, struct error *err) {
    uint32_t index = 0;
    for (const struct json_value *member = object->value->first; member != NULL; member = member->next, index++) {
        bool passes =
            object->taken[index] || says_nothing(member) || (member->name.length > 0 && member->name.data[0] == '_');
        for (const char *const *name = harmless; !passes && *name != NULL; name++)
            passes = bytes_view_equal_string(member->name, *name);
        if (!passes)
            return error_set(err, STATUS_UNIMPLEMENTED,
                             "%s: %s%.*s is not known here and could change the model's numbers. If it does not, take "
                             "it out of the config of a copy",
                             object->file, object->inside, member->name.length < 48 ? (int)member->name.length : 48,
                             (const char *)member->name.data);
    }
    return STATUS_OK;
}

/** "fp8", "awq, 4 bits"; MLX names no method, and Mistral's own files the type of the weights. */
static void name_quantisation(const struct json_value *said, char *out, size_t bytes) {
    const struct json_value *method = json_member(said, "quant_method"), *bits = json_member(said, "bits");
    int64_t count = 0;
    if (method == NULL) method = json_member(said, "qformat_weight");
    struct bytes_view text = bytes_view_string("of a kind that it does not name");
    if (method != NULL && method->kind == JSON_KIND_STRING)
        text = method->string;
    else if (json_member(said, "group_size") != NULL)
        text = bytes_view_string("MLX");
    size_t length =
        (size_t)snprintf(out, bytes, "%.*s", text.length < 32 ? (int)text.length : 32, (const char *)text.data);
    if (bits != NULL && json_i64(bits, &count) && count > 0 && count < 64)
        snprintf(out + length, bytes - length, ", %d bits", (int)count);
}

enum status config_refuse_quantised(const struct config_object *object, struct error *err) {
    static const char *const members[] = {"quantization_config", "quantization"};
    char name[64];
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        const struct json_value *said = json_member(object->value, members[i]);
        if (said == NULL || says_nothing(said)) continue;
        name_quantisation(said, name, sizeof name);
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: %s: weights quantised so (%s) are not supported; use the 16-bit release, or a GGUF",
                         object->file, members[i], name);
    }
    return STATUS_OK;
}
