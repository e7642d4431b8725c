/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/chat/python_json.h"

#include "base/text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 256,       /* Python's own end is near 1,000 */
    INTEGER_DIGITS = 4300, /* sys.get_int_max_str_digits() */
};

/** The shortest digits that read back as `value` (finite, not 0), without point; returns the decimal exponent of the first. */
static int shortest_digits(double value, char digits[24], int *out_count) {
    char text[40];
    text_from_double(value, text); /* %.15g to %.17g, which drops zeros: the shortest, but for subnormal numbers */
    for (int precision = 1; value < DBL_MIN && precision <= 15; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value) break;
    }
    int count = 0, exponent = 0, point = -1, seen = 0;
    for (const char *c = text; *c != 0; c++) {
        if (*c == 'e') {
            exponent = atoi(c + 1);
            break;
        }
        if (*c == '.') {
            point = seen;
            continue;
        }
        if (*c < '0' || *c > '9') continue;
        seen++;
        if (count > 0 || *c != '0') digits[count++] = *c;
    }
    if (point < 0) point = seen;
    /* The first digit that counts stands `seen - count` digits behind the text's first. */
    int first = point - (seen - count) - 1 + exponent;
    while (count > 1 && digits[count - 1] == '0') count--;
    *out_count = count;
    return first;
}

size_t python_float_repr(double value, char *out) {
    if (isnan(value)) return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "nan");
    if (isinf(value)) return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "%sinf", value < 0 ? "-" : "");
    const char *sign = signbit(value) ? "-" : "";
    if (value == 0) return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "%s0.0", sign);
    char digits[24];
    int count = 0, exponent = shortest_digits(fabs(value), digits, &count);
    if (exponent < -4 || exponent >= 16) {
        return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "%s%c%s%.*se%c%02d", sign, digits[0], count > 1 ? "." : "",
                                count - 1, digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
    }
    if (exponent < 0) /* 0.00ddd */
        return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "%s0.%.*s%.*s", sign, -exponent - 1, "0000", count, digits);
    if (count <= exponent + 1) /* ddd000.0 */
        return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "%s%.*s%.*s.0", sign, count, digits, exponent + 1 - count,
                                "0000000000000000");
    return (size_t)snprintf(out, PYTHON_FLOAT_BYTES, "%s%.*s.%.*s", sign, exponent + 1, digits, count - exponent - 1,
                            digits + exponent + 1);
}

bool python_number_is_integer(struct bytes_view text) {
    for (size_t i = 0; i < text.length; i++) {
        if ((text.data[i] < '0' || text.data[i] > '9') && text.data[i] != '-') return false;
    }
    return true;
}

/** strtod of a number that JSON's grammar has let through; what is too large is infinite, as in Python. */
static double number_value(struct bytes_view text) {
    char copy[400], *whole = copy;
    if (text.length >= sizeof copy && (whole = malloc(text.length + 1)) == NULL) return NAN;
    memcpy(whole, text.data, text.length);
    whole[text.length] = 0;
    double value = strtod(whole, NULL);
    if (whole != copy) free(whole);
    return value;
}

enum status python_json_append_number(struct bytes *out, struct bytes_view text) {
    if (python_number_is_integer(text)) {
        if (bytes_view_equal_string(text, "-0")) return bytes_append_byte(out, '0');
        return bytes_append(out, text.data, text.length);
    }
    double value = number_value(text);
    if (isnan(value)) return bytes_append_string(out, "NaN");
    if (isinf(value)) return bytes_append_string(out, value < 0 ? "-Infinity" : "Infinity");
    char repr[PYTHON_FLOAT_BYTES];
    size_t length = python_float_repr(value, repr);
    return bytes_append(out, repr, length);
}

enum status python_json_append(struct bytes *out, const struct json_value *value) {
    switch (value->kind) {
    case JSON_KIND_STRING:
        return json_append_string(out, value->string);
    case JSON_KIND_NUMBER:
        return python_json_append_number(out, value->text);
    case JSON_KIND_ARRAY:
    case JSON_KIND_OBJECT: {
        bool object = value->kind == JSON_KIND_OBJECT;
        (void)bytes_append_byte(out, object ? '{' : '[');
        for (const struct json_value *child = value->first; child != NULL; child = child->next) {
            if (child != value->first) (void)bytes_append_string(out, ", ");
            if (object) {
                (void)json_append_string(out, child->name);
                (void)bytes_append_string(out, ": ");
            }
            TRY(python_json_append(out, child));
        }
        return bytes_append_byte(out, object ? '}' : ']');
    }
    default: /* true, false, null */
        return bytes_append(out, value->text.data, value->text.length);
    }
}

static bool has_long_integer(const struct json_value *value) {
    if (value->kind == JSON_KIND_NUMBER)
        return value->text.length > INTEGER_DIGITS && python_number_is_integer(value->text);
    for (const struct json_value *child = value->first; child != NULL; child = child->next) {
        if (has_long_integer(child)) return true;
    }
    return false;
}

enum status python_json_read(struct bytes_view text, struct arena *arena, struct json_value **out, struct error *err) {
    struct json_problem problem;
    *out = NULL;
    struct json_value *root = NULL;
    enum status status = json_read_python(text, DEPTH_MAX, INT64_MAX, arena, &root, &problem);
    if (status == STATUS_RESOURCE_EXHAUSTED)
        return error_set(err, status, "the JSON texts of the conversation are too large");
    if (status != STATUS_OK && strcmp(problem.reason, "nested too deeply") == 0)
        return error_set(err, status, "a JSON text is nested more than %d deep", DEPTH_MAX);
    if (status != STATUS_OK) return STATUS_OK;
    if (has_long_integer(root))
        return error_set(err, STATUS_INVALID_ARGUMENT, "a JSON text has an integer of more than %d digits",
                         INTEGER_DIGITS);
    *out = root;
    return STATUS_OK;
}

enum status python_json_append_text(struct bytes *out, struct bytes_view text, bool empty_is_object,
                                    struct arena *scratch, struct error *err) {
    struct json_value *value = NULL;
    if (text.length == 0 && empty_is_object) return bytes_append_string(out, "{}");
    TRY(python_json_read(text, scratch, &value, err));
    if (value == NULL) return json_append_string(out, text);
    return python_json_append(out, value);
}
