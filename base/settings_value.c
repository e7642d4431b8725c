/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* One value: from text into the field of a setting, and back. */
#include "base/settings_internal.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first: a value is shown in the first unit that gives a whole number. */
static const struct unit duration_units[] = {
    {"d", 86400000000000}, {"h", 3600000000000}, {"m", 60000000000}, {"s", 1000000000},
    {"ms", 1000000},       {"us", 1000},         {"ns", 1},          {NULL, 0}};
static const struct unit size_units[] = {{"t", INT64_C(1) << 40}, {"g", 1 << 30}, {"m", 1 << 20},
                                         {"k", 1 << 10},          {"", 1},        {NULL, 0}};

static bool parse_with_unit(const char *text, const struct unit *units, int64_t *out) {
    enum { NUMBER_BYTES = 32 };
    size_t digits = strspn(text, "0123456789.");
    char number[NUMBER_BYTES];
    if (digits == 0 || digits >= sizeof number) return false;
    memcpy(number, text, digits);
    number[digits] = 0;
    while (units->name != NULL && strcasecmp(text + digits, units->name) != 0) units++;
    if (units->name == NULL) return false;
    int64_t whole;
    if (text_to_i64(number, &whole)) {
        if (__builtin_mul_overflow(whole, units->factor, &whole)) return false;
        *out = whole;
        return true;
    }
    double value;
    if (!text_to_double(number, &value)) return false;
    value = round(value * (double)units->factor);
    if (value >= 0x1p63) return false;
    *out = (int64_t)value;
    return true;
}

static bool parse_duration(const char *text, int64_t *out_ns) {
    if (strcmp(text, "0") == 0) return *out_ns = 0, true;
    return parse_with_unit(text, duration_units, out_ns);
}

#define A_DURATION "a duration such as 250ms, 5s, 2m, 1h or 30d"
#define A_SIZE "a size such as 4096, 64k, 8m or 2g"

enum status settings_parse_duration(const char *text, int64_t *out_ns, struct error *err) {
    if (!parse_duration(text, out_ns))
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is not " A_DURATION, text);
    return STATUS_OK;
}

enum status settings_parse_size(const char *text, int64_t *out_bytes, struct error *err) {
    if (!parse_with_unit(text, size_units, out_bytes))
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is not " A_SIZE, text);
    return STATUS_OK;
}

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *at = choices; *at != 0;) {
        size_t word = strcspn(at, "|");
        if (word == length && memcmp(at, value, length) == 0) return true;
        at += word + (at[word] == '|');
    }
    return false;
}

static bool parse_bool(const char *value, bool *out) {
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (int truth = 0; truth < 2; truth++) {
            if (strcasecmp(value, words[i][truth]) == 0) return *out = truth, true;
        }
    }
    return false;
}

static enum status set_string(char **field, const char *value, const char *where, struct error *err) {
    char *copy = strdup(value);
    if (copy == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", where);
    free(*field);
    *field = copy;
    return STATUS_OK;
}

static enum status set_number(const struct setting *setting, void *field, const char *text, const char *where,
                              struct error *err) {
    const char *kind = NULL;
    int64_t integer = 0;
    double number = 0;
    bool parsed = false;
    switch (setting->type) {
    case SETTING_TYPE_INTEGER:
        kind = "a whole number", parsed = text_to_i64(text, &integer);
        break;
    case SETTING_TYPE_DURATION:
        kind = A_DURATION, parsed = parse_duration(text, &integer);
        break;
    case SETTING_TYPE_SIZE:
        kind = A_SIZE, parsed = parse_with_unit(text, size_units, &integer);
        break;
    default:
        kind = "a number", parsed = text_to_double(text, &number);
        break;
    }
    bool is_double = setting->type == SETTING_TYPE_DOUBLE;
    if (!is_double) number = (double)integer;
    if (!parsed || number < setting->minimum || number > setting->maximum) {
        char range[SETTING_RANGE_BYTES];
        setting_format_range(setting, range);
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is not %s in %s", where, text, kind, range);
    }
    if (is_double)
        *(double *)field = number;
    else
        *(int64_t *)field = integer;
    return STATUS_OK;
}

enum status setting_set(const struct setting *setting, void *out_struct, const char *text, const char *where,
                        struct error *err) {
    void *field = (char *)out_struct + setting->offset;
    switch (setting->type) {
    case SETTING_TYPE_REMOVED:
        fprintf(stderr, "%s: %s: '%s' was removed and has no effect: %s\n", program_invocation_short_name, where,
                setting->name, setting->help);
        return STATUS_OK;
    case SETTING_TYPE_STRING:
        return set_string(field, text, where, err);
    case SETTING_TYPE_CHOICE:
        if (!is_choice(setting->choices, text))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is none of %s", where, text, setting->choices);
        return set_string(field, text, where, err);
    case SETTING_TYPE_BOOL:
        if (!parse_bool(text, field))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is neither true nor false", where, text);
        return STATUS_OK;
    case SETTING_TYPE_INTEGER:
    case SETTING_TYPE_DOUBLE:
    case SETTING_TYPE_DURATION:
    case SETTING_TYPE_SIZE:
        return set_number(setting, field, text, where, err);
    case SETTING_TYPE_END:
        break;
    }
    return error_set(err, STATUS_INTERNAL, "%s: a setting of no type", where);
}

static void format_with_unit(int64_t value, const struct unit *units, char out[SETTING_NUMBER_BYTES]) {
    while (value % units->factor != 0) units++;
    if (value == 0)
        snprintf(out, SETTING_NUMBER_BYTES, "0");
    else
        snprintf(out, SETTING_NUMBER_BYTES, "%" PRId64 "%s", value / units->factor, units->name);
}

void setting_format(const struct setting *setting, const void *settings_struct, char out[SETTING_NUMBER_BYTES]) {
    const void *field = (const char *)settings_struct + setting->offset;
    switch (setting->type) {
    case SETTING_TYPE_BOOL:
        snprintf(out, SETTING_NUMBER_BYTES, "%s", *(const bool *)field ? "true" : "false");
        break;
    case SETTING_TYPE_INTEGER:
        snprintf(out, SETTING_NUMBER_BYTES, "%" PRId64, *(const int64_t *)field);
        break;
    case SETTING_TYPE_DOUBLE:
        text_from_double(*(const double *)field, out);
        break;
    case SETTING_TYPE_DURATION:
        format_with_unit(*(const int64_t *)field, duration_units, out);
        break;
    case SETTING_TYPE_SIZE:
        format_with_unit(*(const int64_t *)field, size_units, out);
        break;
    case SETTING_TYPE_STRING:
    case SETTING_TYPE_CHOICE:
    case SETTING_TYPE_REMOVED:
    case SETTING_TYPE_END:
        out[0] = 0;
        break;
    }
}

/** A bound for people to read: in the largest unit that it reaches, to six digits. */
static void format_bound(enum setting_type type, double value, char out[SETTING_NUMBER_BYTES]) {
    const struct unit *units = type == SETTING_TYPE_DURATION ? duration_units
                               : type == SETTING_TYPE_SIZE   ? size_units
                                                             : NULL;
    if (units == NULL || value <= 0) {
        if (fabs(value) < 1e15 && value == floor(value))
            snprintf(out, SETTING_NUMBER_BYTES, "%.0f", value);
        else
            text_from_double(value, out);
        return;
    }
    while (value < (double)units->factor && units[1].name != NULL) units++;
    snprintf(out, SETTING_NUMBER_BYTES, "%.6g%s", value / (double)units->factor, units->name);
}

void setting_format_range(const struct setting *setting, char out[SETTING_RANGE_BYTES]) {
    char low[SETTING_NUMBER_BYTES], high[SETTING_NUMBER_BYTES];
    out[0] = 0;
    if (setting->type == SETTING_TYPE_STRING || setting->type == SETTING_TYPE_BOOL ||
        setting->type == SETTING_TYPE_CHOICE)
        return;
    format_bound(setting->type, setting->minimum, low);
    format_bound(setting->type, setting->maximum, high);
    snprintf(out, SETTING_RANGE_BYTES, "%s..%s", low, high);
}
