/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Filters and tests of the chat template language, as Jinja 3.1 has them; tojson as transformers replaces it. */
#include "engine/chat/template_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct template_value *template_argument(const struct template_arguments *arguments, size_t position,
                                               const char *name) {
    size_t at = 0;
    for (size_t i = 0; i < arguments->count; i++) {
        if (arguments->names[i] != NULL) {
            if (name != NULL && strcmp(arguments->names[i], name) == 0) return &arguments->values[i];
        } else if (at++ == position) {
            return &arguments->values[i];
        }
    }
    return NULL;
}

enum status template_text_argument(struct template_run *run, const struct template_arguments *arguments,
                                   size_t position, const char *name, struct template_string *out) {
    const struct template_value *value = template_argument(arguments, position, name);
    if (value == NULL || value->kind != TEMPLATE_STRING)
        return template_fail(run, "an argument must be a text, not %s",
                             value == NULL ? "nothing" : template_kind_name(value));
    *out = value->string;
    return STATUS_OK;
}

static bool flag(const struct template_arguments *arguments, size_t position, const char *name, bool otherwise) {
    const struct template_value *value = template_argument(arguments, position, name);
    return value != NULL ? template_truth(value) : otherwise;
}

/* ---- texts ---------------------------------------------------------------------------------------------------------- */

static enum status filter_case(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)arguments;
    enum template_case how = *name == 'u'   ? CASE_UPPER
                             : *name == 'l' ? CASE_LOWER
                             : *name == 'c' ? CASE_CAPITAL
                                            : CASE_TITLE_FILTER;
    struct template_string text;
    TRY(template_str(run, input, &text));
    TRY(template_change_case(run, text, how, &text));
    *out = template_string_value(text);
    return STATUS_OK;
}

static enum status filter_trim(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    struct template_string text;
    const struct template_value *characters = template_argument(arguments, 0, "chars");
    bool given = characters != NULL && characters->kind == TEMPLATE_STRING;
    TRY(template_str(run, input, &text));
    *out = template_string_value(
        template_strip(text, given ? &characters->string : NULL, TEMPLATE_STRIP_LEFT | TEMPLATE_STRIP_RIGHT));
    return STATUS_OK;
}

static enum status filter_replace(struct template_run *run, const char *name, const struct template_value *input,
                                  const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    struct template_string text, old, new;
    const struct template_value *count = template_argument(arguments, 2, "count");
    const struct template_value *from = template_argument(arguments, 0, "old"),
                                *to = template_argument(arguments, 1, "new");
    if (from == NULL || to == NULL) return template_fail(run, "replace needs two texts");
    TRY(template_str(run, input, &text));
    TRY(template_str(run, from, &old));
    TRY(template_str(run, to, &new));
    TRY(template_replace(run, text, old, new, count != NULL && count->kind == TEMPLATE_INTEGER ? count->integer : -1,
                         &text));
    *out = template_string_value(text);
    return STATUS_OK;
}

/** Jinja's indent: lines but the first, and not empty ones, unless asked. */
static enum status filter_indent(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    static const char blanks[] = "                                                                ";
    const struct template_value *width = template_argument(arguments, 0, "width");
    bool first = flag(arguments, 1, "first", false), blank = flag(arguments, 2, "blank", false);
    int64_t count = width == NULL ? 4 : width->kind == TEMPLATE_INTEGER ? width->integer : 0;
    struct template_string text, by = {.data = (const uint8_t *)blanks, .length = (size_t)count};
    if (width != NULL && width->kind == TEMPLATE_STRING)
        by = width->string;
    else if (count < 0 || count > (int64_t)sizeof blanks - 1)
        return template_fail(run, "an indent of that width");
    TRY(template_str(run, input, &text));
    struct template_writer writer = {.run = run};
    if (first) TRY(template_write(&writer, by));
    for (size_t at = 0, line = 0; at <= text.length; line++) {
        const uint8_t *newline = at < text.length ? memchr(text.data + at, '\n', text.length - at) : NULL;
        size_t end = newline != NULL ? (size_t)(newline - text.data) : text.length;
        if (line > 0) TRY(template_write_text(&writer, "\n"));
        if (line > 0 && (blank || end > at)) TRY(template_write(&writer, by));
        TRY(template_write(&writer, template_slice(text, at, end - at)));
        at = end + 1;
    }
    *out = template_string_value(template_written(&writer));
    return STATUS_OK;
}

static enum status filter_string(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)name, (void)arguments;
    struct template_string text;
    TRY(template_str(run, input, &text));
    *out = template_string_value(text);
    return STATUS_OK;
}

static enum status filter_same(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)run, (void)name, (void)arguments;
    *out = *input;
    return STATUS_OK;
}

static enum status filter_escape(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)name, (void)arguments;
    static const char *const pairs[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
    struct template_string text;
    TRY(template_str(run, input, &text));
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct template_string old = {.data = (const uint8_t *)pairs[i][0], .length = 1};
        struct template_string new = {.data = (const uint8_t *)pairs[i][1], .length = strlen(pairs[i][1])};
        TRY(template_replace(run, text, old, new, -1, &text));
    }
    *out = template_string_value(text);
    return STATUS_OK;
}

static struct template_string constant(const char *text) {
    return (struct template_string){.data = (const uint8_t *)text, .length = strlen(text)};
}

/** tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False) */
static enum status filter_tojson(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *indent = template_argument(arguments, 1, "indent");
    const struct template_value *separators = template_argument(arguments, 2, "separators");
    struct template_json_style style = {.indent = -1,
                                        .item_separator = constant(", "),
                                        .key_separator = constant(": "),
                                        .ensure_ascii = flag(arguments, 0, "ensure_ascii", false),
                                        .sort_keys = flag(arguments, 3, "sort_keys", false)};
    if (indent != NULL && indent->kind == TEMPLATE_INTEGER) style.indent = indent->integer < 0 ? 0 : indent->integer;
    if (indent != NULL && indent->kind == TEMPLATE_STRING) {
        style.indent = 0;
        style.indent_text = indent->string;
    }
    if (style.indent >= 0) style.item_separator = constant(",");
    if (style.indent > 64) return template_fail(run, "an indent of that width");
    if (separators != NULL && separators->kind == TEMPLATE_LIST && separators->list->count == 2) {
        TRY(template_str(run, &separators->list->items[0], &style.item_separator));
        TRY(template_str(run, &separators->list->items[1], &style.key_separator));
    }
    struct template_writer writer = {.run = run};
    TRY(template_write_json(&writer, input, &style, 0));
    *out = template_string_value(template_written(&writer));
    return STATUS_OK;
}

/* ---- sequences ------------------------------------------------------------------------------------------------------ */

static enum status filter_length(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)name, (void)arguments;
    const struct template_list *list = NULL;
    if (input->kind == TEMPLATE_STRING) {
        TRY(template_spend(run, 1 + input->string.length / 16));
        *out = template_integer((int64_t)template_code_points(input->string));
        return STATUS_OK;
    }
    TRY(template_iterate(run, input, &list));
    *out = template_integer((int64_t)list->count);
    return STATUS_OK;
}

static enum status filter_ends(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)arguments;
    const struct template_list *list = NULL;
    TRY(template_iterate(run, input, &list));
    *out = (struct template_value){.kind = TEMPLATE_UNDEFINED, .name = name};
    if (list->count > 0) *out = list->items[*name == 'f' ? 0 : list->count - 1];
    return STATUS_OK;
}

static enum status copy_list(struct template_run *run, const struct template_value *input, struct template_list **out) {
    const struct template_list *list = NULL;
    TRY(template_iterate(run, input, &list));
    TRY(template_list_make(run, list->count, out));
    TRY(template_spend(run, list->count));
    if (list->count > 0) memcpy((*out)->items, list->items, list->count * sizeof *list->items);
    (*out)->count = list->count;
    return STATUS_OK;
}

static enum status filter_list(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)arguments;
    struct template_list *list = NULL;
    if (*name == 'r' && input->kind == TEMPLATE_STRING) { /* reverse of a text is a text */
        struct template_writer writer = {.run = run};
        TRY(copy_list(run, input, &list));
        for (size_t i = list->count; i-- > 0;) TRY(template_write(&writer, list->items[i].string));
        *out = template_string_value(template_written(&writer));
        return STATUS_OK;
    }
    TRY(copy_list(run, input, &list));
    for (size_t i = 0; *name == 'r' && i < list->count / 2; i++) {
        struct template_value kept = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = kept;
    }
    *out = template_list_value(list);
    return STATUS_OK;
}

/** x.a.b, or x[0], of an attribute's text. */
static enum status dotted(struct template_run *run, const struct template_value *value,
                          const struct template_value *path, struct template_value *out) {
    *out = *value;
    if (path->kind != TEMPLATE_STRING) return template_subscript(run, value, path, out);
    for (size_t at = 0; at <= path->string.length;) {
        size_t end = at;
        while (end < path->string.length && path->string.data[end] != '.') end++;
        struct template_value key = template_string_value(template_slice(path->string, at, end - at)), from = *out;
        TRY(template_subscript(run, &from, &key, out));
        at = end + 1;
    }
    return STATUS_OK;
}

static enum status filter_join(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *separator = template_argument(arguments, 0, "d"),
                                *path = template_argument(arguments, 1, "attribute");
    const struct template_list *list = NULL;
    struct template_writer writer = {.run = run};
    struct template_string between = constant(""), text;
    if (separator != NULL) TRY(template_str(run, separator, &between));
    TRY(template_iterate(run, input, &list));
    for (size_t i = 0; i < list->count; i++) {
        struct template_value item = list->items[i];
        if (path != NULL) TRY(dotted(run, &list->items[i], path, &item));
        if (i > 0) TRY(template_write(&writer, between));
        TRY(template_str(run, &item, &text));
        TRY(template_write(&writer, text));
    }
    *out = template_string_value(template_written(&writer));
    return STATUS_OK;
}

/** Arguments from the one at `from` on, for the filter or test that is named before them. */
static struct template_arguments rest_of(const struct template_arguments *arguments, size_t from) {
    struct template_arguments rest = {0};
    size_t position = 0;
    for (size_t i = 0; i < arguments->count; i++) {
        if (arguments->names[i] == NULL && position++ < from) continue;
        rest.names[rest.count] = arguments->names[i];
        rest.values[rest.count++] = arguments->values[i];
    }
    return rest;
}

static enum status name_of(struct template_run *run, const struct template_value *value, char out[32]) {
    if (value->kind != TEMPLATE_STRING || value->string.length >= 32)
        return template_fail(run, "a filter or a test is named by a text");
    memcpy(out, value->string.data, value->string.length);
    out[value->string.length] = 0;
    return STATUS_OK;
}

/** Of None, 0 and the like these filters make an empty list, where others object. */
static enum status iterate_if_true(struct template_run *run, const struct template_value *input,
                                   const struct template_list **out) {
    static const struct template_list nothing = {0};
    *out = &nothing;
    return template_truth(input) ? template_iterate(run, input, out) : STATUS_OK;
}

static enum status filter_map(struct template_run *run, const char *name, const struct template_value *input,
                              const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *path = template_argument(arguments, SIZE_MAX, "attribute");
    const struct template_value *otherwise = template_argument(arguments, SIZE_MAX, "default");
    const struct template_value *filter = template_argument(arguments, 0, NULL);
    const struct template_list *list = NULL;
    struct template_list *made = NULL;
    char filter_name[32] = "";
    if (path == NULL && filter == NULL) return template_fail(run, "map needs a filter or an attribute");
    if (path == NULL) {
        TRY(name_of(run, filter, filter_name));
        if (!template_filter_exists(filter_name))
            return template_fail(run, "filter '%s' is not supported", filter_name);
    }
    struct template_arguments rest = rest_of(arguments, 1);
    TRY(iterate_if_true(run, input, &list));
    TRY(template_list_make(run, list->count, &made));
    for (size_t i = 0; i < list->count; i++) {
        struct template_value item;
        TRY(path != NULL ? dotted(run, &list->items[i], path, &item)
                         : template_filter(run, filter_name, &list->items[i], &rest, &item));
        if (item.kind == TEMPLATE_UNDEFINED && otherwise != NULL) item = *otherwise;
        TRY(template_list_append(run, made, item));
    }
    *out = template_list_value(made);
    return STATUS_OK;
}

/** select, reject, selectattr, rejectattr: items that pass a test (or are true), or that do not. */
static enum status filter_select(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    bool wanted = *name == 's', by_attribute = strstr(name, "attr") != NULL;
    const struct template_value *path = by_attribute ? template_argument(arguments, 0, NULL) : NULL;
    const struct template_value *test = template_argument(arguments, by_attribute, NULL);
    const struct template_list *list = NULL;
    struct template_list *made = NULL;
    char test_name[32] = "";
    if (by_attribute && path == NULL) return template_fail(run, "%s needs an attribute", name);
    if (test != NULL) {
        TRY(name_of(run, test, test_name));
        if (!template_test_exists(test_name)) return template_fail(run, "test '%s' is not supported", test_name);
    }
    struct template_arguments rest = rest_of(arguments, 1u + by_attribute);
    TRY(iterate_if_true(run, input, &list));
    TRY(template_list_make(run, list->count, &made));
    for (size_t i = 0; i < list->count; i++) {
        struct template_value item = list->items[i];
        bool passes;
        if (path != NULL) TRY(dotted(run, &list->items[i], path, &item));
        if (test != NULL)
            TRY(template_test(run, test_name, &item, &rest, &passes));
        else
            passes = template_truth(&item);
        if (passes == wanted) TRY(template_list_append(run, made, list->items[i]));
    }
    *out = template_list_value(made);
    return STATUS_OK;
}

/** For orders that ignore case. */
static enum status folded(struct template_run *run, const struct template_value *value, bool sensitive,
                          struct template_value *out) {
    *out = *value;
    if (sensitive || value->kind != TEMPLATE_STRING) return STATUS_OK;
    return template_change_case(run, value->string, CASE_LOWER, &out->string);
}

/** Stable, by `keys`. */
static enum status sort_by(struct template_run *run, struct template_list *list, struct template_value *keys,
                           bool reverse) {
    for (size_t i = 1; i < list->count; i++) {
        struct template_value item = list->items[i], key = keys[i];
        size_t at = i;
        for (; at > 0; at--) {
            int order = 0;
            TRY(template_compare(run, &keys[at - 1], &key, &order));
            if (reverse ? order >= 0 : order <= 0) break;
            list->items[at] = list->items[at - 1];
            keys[at] = keys[at - 1];
        }
        list->items[at] = item;
        keys[at] = key;
    }
    return STATUS_OK;
}

static enum status filter_sort(struct template_run *run, const char *name, const struct template_value *input,
                               const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    bool reverse = flag(arguments, 0, "reverse", false), sensitive = flag(arguments, 1, "case_sensitive", false);
    const struct template_value *path = template_argument(arguments, 2, "attribute");
    struct template_list *list = NULL;
    TRY(copy_list(run, input, &list));
    struct template_value *keys = template_alloc(run, list->count + 1, sizeof *keys);
    if (keys == NULL) return template_no_memory(run);
    for (size_t i = 0; i < list->count; i++) {
        struct template_value key = list->items[i];
        if (path != NULL) TRY(dotted(run, &list->items[i], path, &key));
        TRY(folded(run, &key, sensitive, &keys[i]));
    }
    TRY(sort_by(run, list, keys, reverse));
    *out = template_list_value(list);
    return STATUS_OK;
}

static enum status pairs_of(struct template_run *run, const struct template_dict *dict, struct template_list **out) {
    TRY(template_list_make(run, dict->count, out));
    for (size_t i = 0; i < dict->count; i++) {
        struct template_list *pair = NULL;
        TRY(template_list_make(run, 2, &pair));
        pair->tuple = true;
        TRY(template_list_append(run, pair, dict->entries[i].key));
        TRY(template_list_append(run, pair, dict->entries[i].value));
        TRY(template_list_append(run, *out, template_list_value(pair)));
    }
    return STATUS_OK;
}

static enum status filter_items(struct template_run *run, const char *name, const struct template_value *input,
                                const struct template_arguments *arguments, struct template_value *out) {
    static const struct template_dict nothing = {0};
    bool sorted = *name == 'd';
    struct template_list *list = NULL;
    if (input->kind != TEMPLATE_DICT && (sorted || input->kind != TEMPLATE_UNDEFINED))
        return template_fail(run, "%s needs a dict, not %s", name, template_kind_name(input));
    TRY(pairs_of(run, input->kind == TEMPLATE_DICT ? input->dict : &nothing, &list));
    if (sorted) {
        bool sensitive = flag(arguments, 0, "case_sensitive", false), reverse = flag(arguments, 2, "reverse", false);
        const struct template_value *by = template_argument(arguments, 1, "by");
        size_t place = by != NULL && by->kind == TEMPLATE_STRING && template_string_is(by->string, "value");
        struct template_value *keys = template_alloc(run, list->count + 1, sizeof *keys);
        if (keys == NULL) return template_no_memory(run);
        for (size_t i = 0; i < list->count; i++)
            TRY(folded(run, &list->items[i].list->items[place], sensitive, &keys[i]));
        TRY(sort_by(run, list, keys, reverse));
    }
    *out = template_list_value(list);
    return STATUS_OK;
}

static enum status filter_unique(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    bool sensitive = flag(arguments, 0, "case_sensitive", false);
    const struct template_list *list = NULL;
    struct template_list *made = NULL, *keys = NULL;
    TRY(template_iterate(run, input, &list));
    TRY(template_list_make(run, list->count, &made));
    TRY(template_list_make(run, list->count, &keys));
    for (size_t i = 0; i < list->count; i++) {
        struct template_value key, known = template_list_value(keys);
        bool seen = false;
        TRY(folded(run, &list->items[i], sensitive, &key));
        TRY(template_contains(run, &known, &key, &seen));
        if (seen) continue;
        TRY(template_list_append(run, keys, key));
        TRY(template_list_append(run, made, list->items[i]));
    }
    *out = template_list_value(made);
    return STATUS_OK;
}

static enum status filter_extreme(struct template_run *run, const char *name, const struct template_value *input,
                                  const struct template_arguments *arguments, struct template_value *out) {
    (void)arguments;
    const struct template_list *list = NULL;
    TRY(template_iterate(run, input, &list));
    *out = (struct template_value){.kind = TEMPLATE_UNDEFINED, .name = name};
    for (size_t i = 0; i < list->count; i++) {
        int order = 0;
        if (i > 0) TRY(template_compare(run, &list->items[i], out, &order));
        if (i == 0 || (name[1] == 'a' ? order > 0 : order < 0)) *out = list->items[i];
    }
    return STATUS_OK;
}

static enum status filter_batch(struct template_run *run, const char *name, const struct template_value *input,
                                const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *size = template_argument(arguments, 0, "linecount"),
                                *fill = template_argument(arguments, 1, "fill_with");
    const struct template_list *list = NULL;
    struct template_list *made = NULL, *row = NULL;
    if (size == NULL || size->kind != TEMPLATE_INTEGER || size->integer < 1)
        return template_fail(run, "batch needs a size");
    TRY(template_iterate(run, input, &list));
    TRY(template_list_make(run, 0, &made));
    for (size_t i = 0; i < list->count; i++) {
        if (i % (size_t)size->integer == 0) {
            TRY(template_list_make(run, 0, &row));
            TRY(template_list_append(run, made, template_list_value(row)));
        }
        TRY(template_list_append(run, row, list->items[i]));
    }
    while (row != NULL && fill != NULL && fill->kind != TEMPLATE_NONE && (int64_t)row->count < size->integer)
        TRY(template_list_append(run, row, *fill));
    *out = template_list_value(made);
    return STATUS_OK;
}

/* ---- numbers and the rest ------------------------------------------------------------------------------------------- */

static enum status filter_default(struct template_run *run, const char *name, const struct template_value *input,
                                  const struct template_arguments *arguments, struct template_value *out) {
    (void)run, (void)name;
    const struct template_value *otherwise = template_argument(arguments, 0, "default_value");
    bool absent = input->kind == TEMPLATE_UNDEFINED || (flag(arguments, 1, "boolean", false) && !template_truth(input));
    *out = *input;
    if (absent) *out = otherwise != NULL ? *otherwise : template_text((struct bytes_view){0}, 0);
    return STATUS_OK;
}

/** int and float: of a text what stands in it, else the default. */
static enum status filter_number(struct template_run *run, const char *name, const struct template_value *input,
                                 const struct template_arguments *arguments, struct template_value *out) {
    (void)run;
    bool integer = *name == 'i';
    const struct template_value *otherwise = template_argument(arguments, 0, "default");
    double value = 0;
    bool good = template_is_number(input);
    if (good) value = template_real(input);
    if (input->kind == TEMPLATE_STRING) {
        struct template_string text = template_strip(input->string, NULL, TEMPLATE_STRIP_LEFT | TEMPLATE_STRIP_RIGHT);
        char copy[64], *end = copy;
        if (text.length > 0 && text.length < sizeof copy) {
            memcpy(copy, text.data, text.length);
            copy[text.length] = 0;
            errno = 0;
            long long whole = strtoll(copy, &end, 10);
            if (integer && *end == 0 && errno == 0) {
                *out = template_integer(whole);
                return STATUS_OK;
            }
            value = strtod(copy, &end);
            good = *end == 0 && strpbrk(copy, "xXpP") == NULL;
        }
    }
    if (integer && input->kind == TEMPLATE_INTEGER) {
        *out = *input;
    } else if (good && (!integer || fabs(value) < 9e18)) {
        *out =
            integer ? template_integer((int64_t)value) : (struct template_value){.kind = TEMPLATE_REAL, .real = value};
    } else if (otherwise != NULL) {
        *out = *otherwise;
    } else {
        *out = integer ? template_integer(0) : (struct template_value){.kind = TEMPLATE_REAL};
    }
    return STATUS_OK;
}

static enum status filter_absolute(struct template_run *run, const char *name, const struct template_value *input,
                                   const struct template_arguments *arguments, struct template_value *out) {
    (void)name, (void)arguments;
    if (!template_is_number(input)) return template_fail(run, "abs needs a number, not %s", template_kind_name(input));
    if (input->kind == TEMPLATE_REAL)
        *out = (struct template_value){.kind = TEMPLATE_REAL, .real = fabs(input->real)};
    else
        *out = template_integer(
            template_real(input) < 0 && input->integer != INT64_MIN ? -input->integer : (int64_t)template_real(input));
    return STATUS_OK;
}

static enum status filter_round(struct template_run *run, const char *name, const struct template_value *input,
                                const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *digits = template_argument(arguments, 0, "precision"),
                                *method = template_argument(arguments, 1, "method");
    if (!template_is_number(input))
        return template_fail(run, "round needs a number, not %s", template_kind_name(input));
    double scale = digits != NULL && digits->kind == TEMPLATE_INTEGER ? pow(10, (double)digits->integer) : 1;
    double value = template_real(input) * scale;
    bool up = method != NULL && method->kind == TEMPLATE_STRING && template_string_is(method->string, "ceil");
    bool down = method != NULL && method->kind == TEMPLATE_STRING && template_string_is(method->string, "floor");
    *out = (struct template_value){.kind = TEMPLATE_REAL,
                                   .real = (up     ? ceil(value)
                                            : down ? floor(value)
                                                   : nearbyint(value)) /
                                           scale};
    return STATUS_OK;
}

static enum status filter_sum(struct template_run *run, const char *name, const struct template_value *input,
                              const struct template_arguments *arguments, struct template_value *out) {
    (void)name;
    const struct template_value *path = template_argument(arguments, 0, "attribute");
    const struct template_list *list = NULL;
    int64_t whole = 0;
    double real = 0;
    bool exact = true;
    TRY(template_iterate(run, input, &list));
    for (size_t i = 0; i < list->count; i++) {
        struct template_value item = list->items[i];
        if (path != NULL) TRY(dotted(run, &list->items[i], path, &item));
        if (!template_is_number(&item))
            return template_fail(run, "sum needs numbers, not %s", template_kind_name(&item));
        real += template_real(&item);
        exact = exact && item.kind != TEMPLATE_REAL &&
                !__builtin_add_overflow(whole, (int64_t)template_real(&item), &whole);
    }
    *out = exact ? template_integer(whole) : (struct template_value){.kind = TEMPLATE_REAL, .real = real};
    return STATUS_OK;
}

typedef enum status filter_function(struct template_run *run, const char *name, const struct template_value *input,
                                    const struct template_arguments *arguments, struct template_value *out);

static const struct {
    const char *name;
    filter_function *function;
} filters[] = {
    {"abs", filter_absolute},    {"batch", filter_batch},   {"capitalize", filter_case},
    {"count", filter_length},    {"d", filter_default},     {"default", filter_default},
    {"dictsort", filter_items},  {"e", filter_escape},      {"escape", filter_escape},
    {"first", filter_ends},      {"float", filter_number},  {"indent", filter_indent},
    {"int", filter_number},      {"items", filter_items},   {"join", filter_join},
    {"last", filter_ends},       {"length", filter_length}, {"list", filter_list},
    {"lower", filter_case},      {"map", filter_map},       {"max", filter_extreme},
    {"min", filter_extreme},     {"reject", filter_select}, {"rejectattr", filter_select},
    {"replace", filter_replace}, {"reverse", filter_list},  {"round", filter_round},
    {"safe", filter_same},       {"select", filter_select}, {"selectattr", filter_select},
    {"sort", filter_sort},       {"string", filter_string}, {"sum", filter_sum},
    {"title", filter_case},      {"tojson", filter_tojson}, {"trim", filter_trim},
    {"unique", filter_unique},   {"upper", filter_case},
};

static filter_function *find_filter(const char *name) {
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        if (strcmp(filters[i].name, name) == 0) return filters[i].function;
    }
    return NULL;
}

bool template_filter_exists(const char *name) {
    return find_filter(name) != NULL;
}

enum status template_filter(struct template_run *run, const char *name, const struct template_value *input,
                            const struct template_arguments *arguments, struct template_value *out) {
    struct template_value from = *input; /* `out` may be where `input` is */
    TRY(template_spend(run, 1));
    return find_filter(name)(run, name, &from, arguments, out);
}
