/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Methods of texts, dicts, lists and loops, and the functions of the chat template language. */
#include "engine/chat/template_internal.h"

#include <string.h>
#include <time.h>

enum { STRFTIME_BYTES = 256, RANGE_MAX = 100000 };

static struct template_value text_value(struct template_string text) {
    return template_string_value(text);
}

/** Argument `position` as a text, or NULL when there is none (or None). */
static const struct template_string *optional_text(const struct template_arguments *arguments, size_t position) {
    const struct template_value *value = template_argument(arguments, position, NULL);
    return value != NULL && value->kind == TEMPLATE_STRING ? &value->string : NULL;
}

static int64_t optional_integer(const struct template_arguments *arguments, size_t position, const char *name,
                                int64_t otherwise) {
    const struct template_value *value = template_argument(arguments, position, name);
    return value != NULL && value->kind == TEMPLATE_INTEGER ? value->integer : otherwise;
}

/* ---- texts ---------------------------------------------------------------------------------------------------------- */

typedef enum status method_function(struct template_run *run, const char *name, struct template_string text,
                                    const struct template_arguments *arguments, struct template_value *out);

static enum status method_strip(struct template_run *run, const char *name, struct template_string text,
                                const struct template_arguments *arguments, struct template_value *out) {
    int sides = *name == 'l'   ? TEMPLATE_STRIP_LEFT
                : *name == 'r' ? TEMPLATE_STRIP_RIGHT
                               : TEMPLATE_STRIP_LEFT | TEMPLATE_STRIP_RIGHT;
    TRY(template_spend(run, 1));
    *out = text_value(template_strip(text, optional_text(arguments, 0), sides));
    return STATUS_OK;
}

static enum status method_case(struct template_run *run, const char *name, struct template_string text,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)arguments;
    enum template_case how = *name == 'u'   ? CASE_UPPER
                             : *name == 'l' ? CASE_LOWER
                             : *name == 't' ? CASE_TITLE
                                            : CASE_CAPITAL;
    TRY(template_change_case(run, text, how, &text));
    *out = text_value(text);
    return STATUS_OK;
}

/** One affix, or any of a tuple's. */
static enum status method_affix(struct template_run *run, const char *name, struct template_string text,
                                const struct template_arguments *arguments, struct template_value *out) {
    const struct template_value *affix = template_argument(arguments, 0, NULL);
    if (affix == NULL || (affix->kind != TEMPLATE_STRING && affix->kind != TEMPLATE_LIST))
        return template_fail(run, "%s needs a text", name);
    size_t count = affix->kind == TEMPLATE_LIST ? affix->list->count : 1;
    *out = template_boolean(false);
    for (size_t i = 0; i < count; i++) {
        const struct template_value *one = affix->kind == TEMPLATE_LIST ? &affix->list->items[i] : affix;
        if (one->kind != TEMPLATE_STRING) return template_fail(run, "%s needs texts", name);
        if (one->string.length > text.length) continue;
        size_t from = *name == 's' ? 0 : text.length - one->string.length;
        if (template_strings_equal(template_slice(text, from, one->string.length), one->string)) out->boolean = true;
    }
    return STATUS_OK;
}

static enum status method_remove(struct template_run *run, const char *name, struct template_string text,
                                 const struct template_arguments *arguments, struct template_value *out) {
    struct template_string affix;
    TRY(template_text_argument(run, arguments, 0, NULL, &affix));
    *out = text_value(text);
    if (affix.length > text.length) return STATUS_OK;
    bool prefix = strcmp(name, "removeprefix") == 0;
    size_t rest = text.length - affix.length;
    if (template_strings_equal(template_slice(text, prefix ? 0 : rest, affix.length), affix))
        *out = text_value(template_slice(text, prefix ? affix.length : 0, rest));
    return STATUS_OK;
}

static enum status method_replace(struct template_run *run, const char *name, struct template_string text,
                                  const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    struct template_string old, new;
    TRY(template_text_argument(run, arguments, 0, "old", &old));
    TRY(template_text_argument(run, arguments, 1, "new", &new));
    TRY(template_replace(run, text, old, new, optional_integer(arguments, 2, "count", -1), &text));
    *out = text_value(text);
    return STATUS_OK;
}

/** Where the last one is at or before `end`. */
static size_t find_last(struct template_string text, struct template_string part) {
    for (size_t at = text.length < part.length ? 0 : text.length - part.length + 1; at-- > 0;) {
        if (memcmp(text.data + at, part.data, part.length) == 0) return at;
    }
    return SIZE_MAX;
}

static enum status method_find(struct template_run *run, const char *name, struct template_string text,
                               const struct template_arguments *arguments, struct template_value *out) {
    struct template_string part;
    TRY(template_text_argument(run, arguments, 0, NULL, &part));
    if (arguments->count > 1) return template_fail(run, "%s with a start is not supported", name);
    TRY(template_spend(run, 1 + text.length / 8));
    size_t at = *name == 'r' ? find_last(text, part) : template_find(text, part, 0);
    if (at == SIZE_MAX && *name == 'i') return template_fail(run, "substring not found");
    *out = template_integer(at == SIZE_MAX ? -1 : (int64_t)template_code_points(template_slice(text, 0, at)));
    return STATUS_OK;
}

static enum status method_count(struct template_run *run, const char *name, struct template_string text,
                                const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    struct template_string part;
    int64_t count = 0;
    TRY(template_text_argument(run, arguments, 0, NULL, &part));
    TRY(template_spend(run, 1 + text.length / 8));
    if (part.length == 0) count = (int64_t)template_code_points(text) + 1;
    for (size_t at = 0; part.length > 0 && (at = template_find(text, part, at)) != SIZE_MAX; at += part.length) count++;
    *out = template_integer(count);
    return STATUS_OK;
}

static enum status method_is(struct template_run *run, const char *name, struct template_string text,
                             const struct template_arguments *arguments, struct template_value *out) {
    (void)arguments;
    TRY(template_spend(run, 1 + text.length / 16));
    bool all = text.length > 0;
    for (size_t at = 0; all && at < text.length;) {
        uint32_t c;
        at += template_code_point(text, at, &c);
        bool digit = c >= '0' && c <= '9', letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80;
        all = strcmp(name, "isspace") == 0   ? template_is_space(c)
              : strcmp(name, "isdigit") == 0 ? digit
              : strcmp(name, "isalpha") == 0 ? letter
                                             : digit || letter;
    }
    *out = template_boolean(all);
    return STATUS_OK;
}

/** By runs of blanks. */
static enum status split_blanks(struct template_run *run, struct template_string text, int64_t most,
                                struct template_list *list) {
    for (;;) {
        text = template_strip(text, NULL, TEMPLATE_STRIP_LEFT);
        if (text.length == 0) return STATUS_OK;
        if (most == 0) return template_list_append(run, list, text_value(text));
        size_t end = 0;
        while (end < text.length) {
            uint32_t code_point;
            size_t used = template_code_point(text, end, &code_point);
            if (template_is_space(code_point)) break;
            end += used;
        }
        TRY(template_spend(run, 1 + end / 16));
        TRY(template_list_append(run, list, text_value(template_slice(text, 0, end))));
        text = template_slice(text, end, text.length - end);
        if (most > 0) most--;
    }
}

static enum status method_split(struct template_run *run, const char *name, struct template_string text,
                                const struct template_arguments *arguments, struct template_value *out) {
    const struct template_value *given = template_argument(arguments, 0, "sep");
    const struct template_string *separator = given != NULL && given->kind == TEMPLATE_STRING ? &given->string : NULL;
    int64_t most = optional_integer(arguments, 1, "maxsplit", -1);
    struct template_list *list = NULL;
    TRY(template_list_make(run, 0, &list));
    *out = template_list_value(list);
    bool from_right = *name == 'r';
    if (separator == NULL && from_right && most >= 0) return template_fail(run, "rsplit by blanks is not supported");
    if (separator == NULL) return split_blanks(run, text, most, list);
    if (separator->length == 0) return template_fail(run, "empty separator");
    if (from_right && most >= 0) { /* what stays whole is the beginning */
        size_t count = 0;
        for (size_t at = 0; (at = template_find(text, *separator, at)) != SIZE_MAX; at += separator->length) count++;
        if (most == 0) return template_list_append(run, list, text_value(text));
        if (count > (size_t)most) {
            size_t from = 0;
            for (size_t i = count - (size_t)most + 1; i > 0; i--)
                from = template_find(text, *separator, from) + separator->length;
            TRY(template_list_append(run, list, text_value(template_slice(text, 0, from - separator->length))));
            text = template_slice(text, from, text.length - from);
        }
        most = -1;
    }
    for (size_t at; most != 0 && (at = template_find(text, *separator, 0)) != SIZE_MAX; most -= most > 0) {
        TRY(template_spend(run, 1 + at / 16));
        TRY(template_list_append(run, list, text_value(template_slice(text, 0, at))));
        text = template_slice(text, at + separator->length, text.length - at - separator->length);
    }
    return template_list_append(run, list, text_value(text));
}

static enum status method_splitlines(struct template_run *run, const char *name, struct template_string text,
                                     const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *given = template_argument(arguments, 0, "keepends");
    bool keep = given != NULL && template_truth(given);
    struct template_list *list = NULL;
    TRY(template_list_make(run, 0, &list));
    TRY(template_spend(run, 1 + text.length / 16));
    *out = template_list_value(list);
    for (size_t at = 0, from = 0; at < text.length;) {
        uint32_t c;
        size_t used = template_code_point(text, at, &c);
        bool line = (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
        if (line && c == '\r' && at + 1 < text.length && text.data[at + 1] == '\n') used = 2;
        if (line)
            TRY(template_list_append(run, list, text_value(template_slice(text, from, at + (keep ? used : 0) - from))));
        at += used;
        if (line) from = at;
        if (!line && at == text.length)
            TRY(template_list_append(run, list, text_value(template_slice(text, from, at - from))));
    }
    return STATUS_OK;
}

static enum status method_join(struct template_run *run, const char *name, struct template_string text,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *items = template_argument(arguments, 0, NULL);
    const struct template_list *list = NULL;
    struct template_writer writer = {.run = run};
    if (items == NULL) return template_fail(run, "join needs a list");
    TRY(template_iterate(run, items, &list));
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kind != TEMPLATE_STRING)
            return template_fail(run, "join needs texts, not %s", template_kind_name(&list->items[i]));
        if (i > 0) TRY(template_write(&writer, text));
        TRY(template_write(&writer, list->items[i].string));
    }
    *out = text_value(template_written(&writer));
    return STATUS_OK;
}

static const struct {
    const char *name;
    method_function *function;
} text_methods[] = {
    {"capitalize", method_case},     {"count", method_count},
    {"endswith", method_affix},      {"find", method_find},
    {"index", method_find},          {"isalnum", method_is},
    {"isalpha", method_is},          {"isdigit", method_is},
    {"isspace", method_is},          {"join", method_join},
    {"lower", method_case},          {"lstrip", method_strip},
    {"removeprefix", method_remove}, {"removesuffix", method_remove},
    {"replace", method_replace},     {"rfind", method_find},
    {"rsplit", method_split},        {"rstrip", method_strip},
    {"split", method_split},         {"splitlines", method_splitlines},
    {"startswith", method_affix},    {"strip", method_strip},
    {"title", method_case},          {"upper", method_case},
};

static method_function *find_text_method(const char *name) {
    for (size_t i = 0; i < sizeof text_methods / sizeof text_methods[0]; i++) {
        if (strcmp(text_methods[i].name, name) == 0) return text_methods[i].function;
    }
    return NULL;
}

bool template_method_exists(const char *name) {
    static const char *const others[] = {"items", "keys", "values", "get", "copy", "cycle"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i], name) == 0) return true;
    }
    return find_text_method(name) != NULL;
}

bool template_method_changes(const char *name) {
    static const char *const names[] = {"append", "clear",   "extend",     "insert", "pop",   "popitem",
                                        "remove", "reverse", "setdefault", "sort",   "update"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

/* ---- dicts, lists, loops -------------------------------------------------------------------------------------------- */

static enum status dict_get(struct template_run *run, const struct template_dict *dict,
                            const struct template_arguments *arguments, struct template_value *out) {
    const struct template_value *key = template_argument(arguments, 0, NULL),
                                *otherwise = template_argument(arguments, 1, "default");
    struct template_value *found = NULL;
    if (key == NULL) return template_fail(run, "get needs a key");
    TRY(template_dict_find(run, dict, key, &found));
    *out = found != NULL ? *found : otherwise != NULL ? *otherwise : (struct template_value){.kind = TEMPLATE_NONE};
    return STATUS_OK;
}

static enum status dict_method(struct template_run *run, const char *name, const struct template_value *receiver,
                               const struct template_arguments *arguments, struct template_value *out) {
    static const struct template_arguments none = {0};
    struct template_list *list = NULL;
    if (strcmp(name, "get") == 0) return dict_get(run, receiver->dict, arguments, out);
    if (strcmp(name, "items") == 0) return template_filter(run, "items", receiver, &none, out);
    if (strcmp(name, "copy") == 0) {
        *out = *receiver; /* nothing can change it */
        return STATUS_OK;
    }
    TRY(template_list_make(run, receiver->dict->count, &list));
    for (size_t i = 0; i < receiver->dict->count; i++) {
        const struct template_entry *entry = &receiver->dict->entries[i];
        TRY(template_list_append(run, list, *name == 'k' ? entry->key : entry->value));
    }
    *out = template_list_value(list);
    return STATUS_OK;
}

static enum status list_method(struct template_run *run, const char *name, const struct template_list *list,
                               const struct template_arguments *arguments, struct template_value *out) {
    const struct template_value *item = template_argument(arguments, 0, NULL);
    int64_t count = 0;
    if (item == NULL) return template_fail(run, "%s needs an item", name);
    for (size_t i = 0; i < list->count; i++) {
        bool equal = false;
        TRY(template_equal(run, &list->items[i], item, &equal));
        if (equal && *name == 'i') {
            *out = template_integer((int64_t)i);
            return STATUS_OK;
        }
        count += equal;
    }
    if (*name == 'i') return template_fail(run, "the item is not in the list");
    *out = template_integer(count);
    return STATUS_OK;
}

enum status template_call_method(struct template_run *run, const struct template_value *receiver, const char *name,
                                 const struct template_arguments *arguments, struct template_value *out) {
    TRY(template_spend(run, 1));
    switch (receiver->kind) {
    case TEMPLATE_STRING:
        return find_text_method(name)(run, name, receiver->string, arguments, out);
    case TEMPLATE_DICT:
        return dict_method(run, name, receiver, arguments, out);
    case TEMPLATE_LIST:
        return list_method(run, name, receiver->list, arguments, out);
    default: /* loop.cycle */
        if (arguments->count == 0) return template_fail(run, "no items for cycling given");
        *out = arguments->values[receiver->loop->at % arguments->count];
        return STATUS_OK;
    }
}

/* ---- functions ------------------------------------------------------------------------------------------------------ */

static enum status function_range(struct template_run *run, const struct template_arguments *arguments,
                                  struct template_value *out) {
    int64_t from = 0, to = 0, step = optional_integer(arguments, 2, NULL, 1);
    for (size_t i = 0; i < arguments->count; i++) {
        if (arguments->values[i].kind != TEMPLATE_INTEGER) return template_fail(run, "range needs integers");
    }
    if (arguments->count == 0 || step == 0) return template_fail(run, "range needs an end, and a step other than 0");
    to = arguments->values[arguments->count > 1].integer;
    if (arguments->count > 1) from = arguments->values[0].integer;
    struct template_list *list = NULL;
    TRY(template_list_make(run, 0, &list));
    for (int64_t value = from; step > 0 ? value < to : value > to;) {
        if (list->count == RANGE_MAX) return template_fail(run, "a range of more than %d", RANGE_MAX);
        TRY(template_list_append(run, list, template_integer(value)));
        if (__builtin_add_overflow(value, step, &value)) break;
    }
    *out = template_list_value(list);
    return STATUS_OK;
}

/** namespace(a=1), dict(a=1), with a dict to begin with. */
static enum status function_dict(struct template_run *run, const struct template_arguments *arguments, bool namespace,
                                 struct template_value *out) {
    struct template_dict *dict = template_alloc(run, 1, sizeof *dict);
    if (dict == NULL) return template_no_memory(run);
    for (size_t i = 0; i < arguments->count; i++) {
        const struct template_value *value = &arguments->values[i];
        if (arguments->names[i] != NULL) {
            TRY(template_dict_put(run, dict, template_text(bytes_view_string(arguments->names[i]), 0), *value));
            continue;
        }
        if (value->kind != TEMPLATE_DICT) return template_fail(run, "a dict is made of names and values");
        for (size_t j = 0; j < value->dict->count; j++)
            TRY(template_dict_put(run, dict, value->dict->entries[j].key, value->dict->entries[j].value));
    }
    *out = (struct template_value){.kind = namespace ? TEMPLATE_NAMESPACE : TEMPLATE_DICT, .dict = dict};
    return STATUS_OK;
}

/** The template's own words: they become the request's error. */
static enum status function_raise(struct template_run *run, const struct template_arguments *arguments,
                                  struct template_value *out) {
    const struct template_value *message = template_argument(arguments, 0, "message");
    struct template_string text = {.data = (const uint8_t *)"the chat template objects", .length = 25};
    (void)out;
    if (message != NULL) TRY(template_str(run, message, &text));
    return error_set(run->err, STATUS_INVALID_ARGUMENT, "%.*s", text.length < 200 ? (int)text.length : 200,
                     (const char *)text.data);
}

static enum status function_strftime(struct template_run *run, const struct template_arguments *arguments,
                                     struct template_value *out) {
    struct template_string format;
    char pattern[STRFTIME_BYTES], *made = arena_alloc(run->arena, STRFTIME_BYTES);
    TRY(template_text_argument(run, arguments, 0, "format", &format));
    if (made == NULL) return template_no_memory(run);
    if (format.length >= sizeof pattern) return template_fail(run, "a date format of %zu bytes", format.length);
    memcpy(pattern, format.data, format.length);
    pattern[format.length] = 0;
    time_t now = (time_t)run->now;
    struct tm local;
    localtime_r(&now, &local);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t length = strftime(made, STRFTIME_BYTES, pattern, &local);
#pragma GCC diagnostic pop
    *out = template_text(bytes_view_of(made, length), format.mask != NULL ? 1 : format.whose);
    return STATUS_OK;
}

bool template_function_exists(const char *name) {
    static const char *const names[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

enum status template_call_function(struct template_run *run, const char *name,
                                   const struct template_arguments *arguments, struct template_value *out) {
    if (strcmp(name, "range") == 0) return function_range(run, arguments, out);
    if (strcmp(name, "namespace") == 0) return function_dict(run, arguments, true, out);
    if (strcmp(name, "dict") == 0) return function_dict(run, arguments, false, out);
    if (strcmp(name, "raise_exception") == 0) return function_raise(run, arguments, out);
    return function_strftime(run, arguments, out);
}
