/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/limits.h"

#include "base/text.h"
#include "cli/fields.h"
#include "cli/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct limit_kind limit_kinds[LIMIT_KINDS] = {
    {"requests-per-second", "requests_per_second", "requests / second", "req/s", false},
    {"requests-per-minute", "requests_per_minute", "requests / minute", "req/min", false},
    {"tokens-per-minute", "tokens_per_minute", "tokens / minute", "tok/min", false},
    {"input-tokens-per-minute", "input_tokens_per_minute", "input tokens / minute", "in tok/min", false},
    {"output-tokens-per-minute", "output_tokens_per_minute", "output tokens / minute", "out tok/min", false},
    {"tokens-per-day", "tokens_per_day", "tokens / day", "tok/day", false},
    {"tokens-per-month", "tokens_per_month", "tokens / month", "tok/month", false},
    {"concurrent-streams", "concurrent_streams", "streams at once", "streams", false},
    {"spend-per-month", "spend_per_month", "spend / month", "spend/month", true},
};

int limits_given(const struct limit_options *options) {
    int count = 0;
    for (int i = 0; i < LIMIT_KINDS; i++) count += options->text[i] != NULL;
    return count;
}

/** `where` is what is told before the option's name: "--", or "--model-limit: ". */
static int apply(const struct command_usage *usage, const char *where, const struct limit_kind *kind, const char *text,
                 Bora__V1__Limits *limits) {
    int64_t count;
    double amount;
    if (strcmp(text, "none") == 0) {
        field_clear(&limits->base, kind->field);
        return GO_ON;
    }
    if (kind->money) {
        if (!text_to_double(text, &amount) || amount < 0)
            return usage_error(usage, "%s%s: '%.64s' is no amount of 0 or more, nor none", where, kind->option, text);
        field_set_number(&limits->base, kind->field, amount);
        return GO_ON;
    }
    if (!value_parse_count(text, &count))
        return usage_error(usage, "%s%s: '%.64s' is no number of 0 or more (60, 20k, 1.5M), nor none", where,
                           kind->option, text);
    field_set_integer(&limits->base, kind->field, count);
    return GO_ON;
}

int limits_apply(const struct command_usage *usage, const struct limit_options *options, Bora__V1__Limits *limits) {
    for (int i = 0; i < LIMIT_KINDS; i++) {
        if (options->text[i] == NULL) continue;
        int result = apply(usage, "--", &limit_kinds[i], options->text[i], limits);
        if (result != GO_ON) return result;
    }
    return GO_ON;
}

/* --- limits of a model ------------------------------------------------------------------------------------------- */

static const struct limit_kind *find_kind(const char *option) {
    for (int i = 0; i < LIMIT_KINDS; i++) {
        if (strcmp(limit_kinds[i].option, option) == 0) return &limit_kinds[i];
    }
    return NULL;
}

static int not_understood(const struct command_usage *usage, const char *text) {
    return usage_error(usage,
                       "--model-limit: '%.64s' is neither MODEL:REQUESTS:TOKENS of a minute (an empty number means no "
                       "limit) nor as MODEL:tokens-per-day=1M,concurrent-streams=4",
                       text);
}

/** "tokens-per-minute=20k,requests-per-minute=60" behind the option `where` ("--model-limit: "); `list` is changed. */
static int apply_list(const struct command_usage *usage, const char *where, char *list, Bora__V1__Limits *limits) {
    char *rest = NULL;
    for (char *item = strtok_r(list, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        char *equals = strchr(item, '=');
        if (equals == NULL) return usage_error(usage, "%s'%.64s' is not as tokens-per-day=1M", where, item);
        *equals = 0;
        const struct limit_kind *kind = find_kind(item);
        if (kind == NULL) return usage_error(usage, "%sthere is no limit '%.64s'", where, item);
        int result = apply(usage, where, kind, equals + 1, limits);
        if (result != GO_ON) return result;
    }
    return GO_ON;
}

int limits_parse_list(const struct command_usage *usage, const char *option, const char *text, struct arena *arena,
                      Bora__V1__Limits *limits) {
    char *list = arena_copy(arena, text, strlen(text)), *where = arena_printf(arena, "--%s: ", option);
    if (list == NULL || where == NULL) return EXIT_FAILED;
    if (text[strspn(text, ", ")] == 0) return usage_error(usage, "--%s is empty", option);
    return apply_list(usage, where, list, limits);
}

/** "REQUESTS:TOKENS" at the end of `name`, which is cut before it. */
static int apply_two(const struct command_usage *usage, const char *text, char *name, Bora__V1__Limits *limits) {
    char *parts[2];
    for (int i = 1; i >= 0; i--) {
        parts[i] = strrchr(name, ':');
        if (parts[i] == NULL) return not_understood(usage, text);
        *parts[i]++ = 0;
    }
    if (name[0] == 0 || (parts[0][0] == 0 && parts[1][0] == 0)) return not_understood(usage, text);
    int64_t count;
    for (int i = 0; i < 2; i++) {
        if (parts[i][0] == 0) continue;
        if (!value_parse_count(parts[i], &count)) return not_understood(usage, text);
        field_set_integer(&limits->base, i == 0 ? "requests_per_minute" : "tokens_per_minute", count);
    }
    return GO_ON;
}

int limits_parse_model(const struct command_usage *usage, const char *text, struct arena *arena,
                       Bora__V1__ModelLimits **out) {
    Bora__V1__ModelLimits *model = arena_alloc(arena, sizeof *model);
    Bora__V1__Limits *limits = arena_alloc(arena, sizeof *limits);
    char *name = arena_copy(arena, text, strlen(text));
    if (model == NULL || limits == NULL || name == NULL) return EXIT_FAILED;
    bora__v1__model_limits__init(model);
    bora__v1__limits__init(limits);
    model->model = name;
    model->limits = limits;
    *out = model;
    char *colon = strrchr(name, ':');
    if (colon == NULL || colon == name || strchr(colon, '=') == NULL) return apply_two(usage, text, name, limits);
    *colon = 0;
    return apply_list(usage, "--model-limit: ", colon + 1, limits);
}

int limits_parse_models(const struct command_usage *usage, const struct argument_list *list, struct arena *arena,
                        Bora__V1__ModelLimits ***out) {
    *out = arena_alloc_array(arena, (size_t)list->count + 1, sizeof **out);
    if (*out == NULL) return EXIT_FAILED;
    for (int i = 0; i < list->count; i++) {
        int result = limits_parse_model(usage, list->items[i], arena, *out + i);
        if (result != GO_ON) return result;
    }
    return GO_ON;
}

/* --- words ------------------------------------------------------------------------------------------------------- */

/** A text that grows until LIMITS_TEXT_BYTES are full. */
struct words {
    char *out;
    size_t length;
};

static void append(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(struct words *words, const char *format, ...) {
    size_t room = LIMITS_TEXT_BYTES - words->length;
    va_list values;
    va_start(values, format);
    int length = vsnprintf(words->out + words->length, room, format, values);
    va_end(values);
    words->length += length < 0 ? 0 : (size_t)length < room ? (size_t)length : room - 1;
}

static void append_limits(struct words *words, const Bora__V1__Limits *limits,
                          void (*format)(int64_t value, char out[VALUE_COUNT_BYTES])) {
    const char *comma = "";
    for (int i = 0; limits != NULL && i < LIMIT_KINDS; i++) {
        const struct field_value value = field_get(&limits->base, limit_kinds[i].field);
        char number[VALUE_COUNT_BYTES];
        if (value.kind == FIELD_ABSENT) continue;
        if (value.kind == FIELD_NUMBER)
            value_format_money(value.number, number);
        else
            format(value.integer, number);
        bool one = strcmp(limit_kinds[i].unit, "streams") == 0 && value.integer == 1;
        append(words, "%s%s %s", comma, number, one ? "stream" : limit_kinds[i].unit);
        comma = ", ";
    }
}

void limits_describe(const Bora__V1__Limits *limits, char out[LIMITS_TEXT_BYTES]) {
    out[0] = 0;
    append_limits(&(struct words){out, 0}, limits, value_format_count);
}

/** "; small: 4 streams", or nothing where there are no limits. */
static void summarise_limits(struct words *words, const char *whose, const Bora__V1__Limits *limits) {
    size_t before = words->length;
    append(words, "%s%s%s", before > 0 ? "; " : "", whose, whose[0] != 0 ? ": " : "");
    size_t begin = words->length;
    append_limits(words, limits, value_format_short);
    if (words->length == begin) words->out[words->length = before] = 0;
}

static void summarise_scope(struct words *words, const char *title, const struct field_value *list) {
    for (size_t i = 0; list->kind == FIELD_LIST && i < list->count; i++)
        append(words, "%s%s%s",
               i > 0               ? ", "
               : words->length > 0 ? "; "
                                   : "",
               i == 0 ? title : "", (const char *)list->items[i]);
}

void limits_summarise(const ProtobufCMessage *owner, char out[LIMITS_TEXT_BYTES]) {
    struct words words = {out, 0};
    out[0] = 0;
    summarise_limits(&words, "", (const Bora__V1__Limits *)field_get(owner, "limits").message);
    const struct field_value models = field_get(owner, "model_limits");
    for (size_t i = 0; i < models.count; i++) {
        const Bora__V1__ModelLimits *model = models.items[i];
        summarise_limits(&words, model->model, model->limits);
    }
    if (field_known(owner, "key_limits"))
        summarise_limits(&words, "each key", (const Bora__V1__Limits *)field_get(owner, "key_limits").message);
    if (!field_known(owner, "scopes")) return;
    const struct field_value allowed = field_get(owner, "scopes.models"), acts = field_get(owner, "scopes.endpoints");
    summarise_scope(&words, "only models ", &allowed);
    summarise_scope(&words, "only for ", &acts);
}
