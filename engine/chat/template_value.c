/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Values of the chat template language, as Python's: truth, equality, order, lists and dicts, and the caller's way to make them. */
#include "engine/chat/python_json.h"
#include "engine/chat/template_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct template_value template_integer(int64_t value) {
    return (struct template_value){.kind = TEMPLATE_INTEGER, .integer = value};
}
struct template_value template_boolean(bool value) {
    return (struct template_value){.kind = TEMPLATE_BOOLEAN, .boolean = value};
}

const char *template_kind_name(const struct template_value *value) {
    static const char *const names[] = {"nothing",  "None",    "a boolean", "an integer", "an integer",
                                        "a number", "a text",  "a list",    "a dict",     "a namespace",
                                        "a loop",   "a macro", "a method",  "a function"};
    return names[value->kind];
}

bool template_truth(const struct template_value *value) {
    switch (value->kind) {
    case TEMPLATE_UNDEFINED:
    case TEMPLATE_NONE:
        return false;
    case TEMPLATE_BOOLEAN:
        return value->boolean;
    case TEMPLATE_INTEGER:
        return value->integer != 0;
    case TEMPLATE_REAL:
        return value->real != 0;
    case TEMPLATE_STRING:
        return value->string.length > 0;
    case TEMPLATE_LIST:
        return value->list->count > 0;
    case TEMPLATE_DICT:
        return value->dict->count > 0;
    default:
        return true;
    }
}

bool template_is_number(const struct template_value *value) {
    return value->kind == TEMPLATE_BOOLEAN || value->kind == TEMPLATE_INTEGER || value->kind == TEMPLATE_REAL;
}

double template_real(const struct template_value *value) {
    if (value->kind == TEMPLATE_REAL) return value->real;
    return value->kind == TEMPLATE_BOOLEAN ? value->boolean : (double)value->integer;
}

static int64_t integer_of(const struct template_value *value) {
    return value->kind == TEMPLATE_BOOLEAN ? value->boolean : value->integer;
}

static enum status lists_equal(struct template_run *run, const struct template_list *a, const struct template_list *b,
                               bool *out) {
    *out = a->count == b->count && a->tuple == b->tuple;
    for (size_t i = 0; *out && i < a->count; i++) TRY(template_equal(run, &a->items[i], &b->items[i], out));
    return STATUS_OK;
}

static enum status dicts_equal(struct template_run *run, const struct template_dict *a, const struct template_dict *b,
                               bool *out) {
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        struct template_value *other = NULL;
        TRY(template_dict_find(run, b, &a->entries[i].key, &other));
        *out = other != NULL;
        if (*out) TRY(template_equal(run, &a->entries[i].value, other, out));
    }
    return STATUS_OK;
}

enum status template_equal(struct template_run *run, const struct template_value *a, const struct template_value *b,
                           bool *out) {
    TRY(template_spend(run, 1));
    if (template_is_number(a) && template_is_number(b)) {
        bool exact = a->kind != TEMPLATE_REAL && b->kind != TEMPLATE_REAL;
        *out = exact ? integer_of(a) == integer_of(b) : template_real(a) == template_real(b);
        return STATUS_OK;
    }
    *out = false;
    if (a->kind != b->kind) return STATUS_OK;
    switch (a->kind) {
    case TEMPLATE_STRING:
    case TEMPLATE_BIG:
        TRY(template_spend(run, a->string.length / 64));
        *out = template_strings_equal(a->string, b->string);
        return STATUS_OK;
    case TEMPLATE_LIST:
    case TEMPLATE_DICT: {
        if (run->depth >= TEMPLATE_RUN_DEPTH) return template_fail(run, "values are nested too deeply to be compared");
        run->depth++;
        enum status status = a->kind == TEMPLATE_LIST ? lists_equal(run, a->list, b->list, out)
                                                      : dicts_equal(run, a->dict, b->dict, out);
        run->depth--;
        return status;
    }
    case TEMPLATE_NAMESPACE:
        *out = a->dict == b->dict;
        return STATUS_OK;
    default: /* undefined, none */
        *out = a->kind == TEMPLATE_UNDEFINED || a->kind == TEMPLATE_NONE;
        return STATUS_OK;
    }
}

enum status template_compare(struct template_run *run, const struct template_value *a, const struct template_value *b,
                             int *out) {
    TRY(template_spend(run, 1));
    if (template_is_number(a) && template_is_number(b)) {
        if (a->kind != TEMPLATE_REAL && b->kind != TEMPLATE_REAL)
            *out = (integer_of(a) > integer_of(b)) - (integer_of(a) < integer_of(b));
        else
            *out = (template_real(a) > template_real(b)) - (template_real(a) < template_real(b));
        return STATUS_OK;
    }
    if (a->kind == TEMPLATE_STRING && b->kind == TEMPLATE_STRING) {
        size_t length = a->string.length < b->string.length ? a->string.length : b->string.length;
        int order = memcmp(a->string.data, b->string.data, length);
        *out = order != 0 ? order : (a->string.length > b->string.length) - (a->string.length < b->string.length);
        return STATUS_OK;
    }
    return template_fail(run, "%s and %s have no order", template_kind_name(a), template_kind_name(b));
}

/* ---- lists ---------------------------------------------------------------------------------------------------------- */

enum status template_list_make(struct template_run *run, size_t capacity, struct template_list **out) {
    struct template_list *list = template_alloc(run, 1, sizeof *list);
    struct template_value *items = template_alloc(run, capacity, sizeof *items);
    if (list == NULL || items == NULL) return template_no_memory(run);
    *list = (struct template_list){.items = items, .capacity = capacity};
    *out = list;
    return STATUS_OK;
}

enum status template_list_append(struct template_run *run, struct template_list *list, struct template_value value) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity < 8 ? 8 : 2 * list->capacity;
        struct template_value *items = template_alloc(run, capacity, sizeof *items);
        if (items == NULL) return template_no_memory(run);
        if (list->count > 0) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    TRY(template_spend(run, 1));
    list->items[list->count++] = value;
    return STATUS_OK;
}

static enum status characters_of(struct template_run *run, struct template_string text, struct template_list *list) {
    for (size_t at = 0; at < text.length;) {
        uint32_t code_point;
        size_t used = template_code_point(text, at, &code_point);
        TRY(template_list_append(run, list, template_string_value(template_slice(text, at, used))));
        at += used;
    }
    return STATUS_OK;
}

enum status template_iterate(struct template_run *run, const struct template_value *value,
                             const struct template_list **out) {
    struct template_list *list = NULL;
    if (value->kind == TEMPLATE_LIST) {
        *out = value->list;
        return STATUS_OK;
    }
    TRY(template_list_make(run, 0, &list));
    *out = list;
    if (value->kind == TEMPLATE_UNDEFINED) return STATUS_OK;
    if (value->kind == TEMPLATE_STRING) return characters_of(run, value->string, list);
    if (value->kind != TEMPLATE_DICT) return template_fail(run, "%s cannot be looped over", template_kind_name(value));
    for (size_t i = 0; i < value->dict->count; i++) TRY(template_list_append(run, list, value->dict->entries[i].key));
    return STATUS_OK;
}

enum status template_contains(struct template_run *run, const struct template_value *container,
                              const struct template_value *item, bool *out) {
    *out = false;
    if (container->kind == TEMPLATE_DICT) {
        struct template_value *found = NULL;
        TRY(template_dict_find(run, container->dict, item, &found));
        *out = found != NULL;
        return STATUS_OK;
    }
    if (container->kind == TEMPLATE_STRING) {
        if (item->kind != TEMPLATE_STRING)
            return template_fail(run, "'in' needs a text on its left side, not %s", template_kind_name(item));
        TRY(template_spend(run, 1 + container->string.length / 64));
        *out = template_find(container->string, item->string, 0) != SIZE_MAX;
        return STATUS_OK;
    }
    const struct template_list *list = NULL;
    TRY(template_iterate(run, container, &list));
    for (size_t i = 0; !*out && i < list->count; i++) TRY(template_equal(run, &list->items[i], item, out));
    return STATUS_OK;
}

/* ---- dicts ---------------------------------------------------------------------------------------------------------- */

enum status template_dict_find(struct template_run *run, const struct template_dict *dict,
                               const struct template_value *key, struct template_value **out) {
    *out = NULL;
    TRY(template_spend(run, 1 + dict->count / 8));
    for (size_t i = 0; i < dict->count; i++) {
        const struct template_value *other = &dict->entries[i].key;
        bool equal = false;
        if (key->kind == TEMPLATE_STRING && other->kind == TEMPLATE_STRING)
            equal = template_strings_equal(key->string, other->string);
        else if (key->kind != TEMPLATE_STRING || other->kind != TEMPLATE_STRING)
            TRY(template_equal(run, key, other, &equal));
        if (!equal) continue;
        *out = &dict->entries[i].value;
        return STATUS_OK;
    }
    return STATUS_OK;
}

enum status template_dict_put(struct template_run *run, struct template_dict *dict, struct template_value key,
                              struct template_value value) {
    struct template_value *there = NULL;
    TRY(template_dict_find(run, dict, &key, &there));
    if (there != NULL) {
        *there = value;
        return STATUS_OK;
    }
    if (dict->count == dict->capacity) {
        size_t capacity = dict->capacity < 8 ? 8 : 2 * dict->capacity;
        struct template_entry *entries = template_alloc(run, capacity, sizeof *entries);
        if (entries == NULL) return template_no_memory(run);
        if (dict->count > 0) memcpy(entries, dict->entries, dict->count * sizeof *entries);
        dict->entries = entries;
        dict->capacity = capacity;
    }
    dict->entries[dict->count++] = (struct template_entry){.key = key, .value = value};
    return STATUS_OK;
}

/* ---- members -------------------------------------------------------------------------------------------------------- */

static struct template_value undefined(const char *name) {
    return (struct template_value){.kind = TEMPLATE_UNDEFINED, .name = name};
}

static struct template_value loop_member(const struct template_loop *loop, const char *name) {
    int64_t at = (int64_t)loop->at, count = (int64_t)loop->items->count;
    if (strcmp(name, "index") == 0) return template_integer(at + 1);
    if (strcmp(name, "index0") == 0) return template_integer(at);
    if (strcmp(name, "revindex") == 0) return template_integer(count - at);
    if (strcmp(name, "revindex0") == 0) return template_integer(count - at - 1);
    if (strcmp(name, "first") == 0) return template_boolean(at == 0);
    if (strcmp(name, "last") == 0) return template_boolean(at + 1 == count);
    if (strcmp(name, "length") == 0) return template_integer(count);
    if (strcmp(name, "depth") == 0) return template_integer(1); /* of recursive loops, which there are not */
    if (strcmp(name, "depth0") == 0) return template_integer(0);
    if (strcmp(name, "previtem") == 0) return at > 0 ? loop->items->items[at - 1] : undefined("previtem");
    if (strcmp(name, "nextitem") == 0) return at + 1 < count ? loop->items->items[at + 1] : undefined("nextitem");
    return undefined(name);
}

/** A bound method, when values of that kind have it. */
static bool has_method(const struct template_value *value, const char *name) {
    static const char *const of_dicts[] = {"items", "keys", "values", "get", "copy", NULL};
    static const char *const of_lists[] = {"index", "count", NULL};
    if (value->kind == TEMPLATE_LOOP) return strcmp(name, "cycle") == 0;
    const char *const *names = value->kind == TEMPLATE_DICT ? of_dicts : value->kind == TEMPLATE_LIST ? of_lists : NULL;
    if (value->kind == TEMPLATE_STRING)
        return template_method_exists(name) && strcmp(name, "cycle") != 0 && strcmp(name, "items") != 0 &&
               strcmp(name, "keys") != 0 && strcmp(name, "values") != 0 && strcmp(name, "get") != 0 &&
               strcmp(name, "copy") != 0;
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(*names, name) == 0) return true;
    }
    return false;
}

static enum status bind_method(struct template_run *run, const struct template_value *value, const char *name,
                               struct template_value *out) {
    struct template_value *receiver = template_alloc(run, 1, sizeof *receiver);
    if (receiver == NULL) return template_no_memory(run);
    *receiver = *value;
    *out = (struct template_value){.kind = TEMPLATE_METHOD, .name = name, .receiver = receiver};
    return STATUS_OK;
}

static enum status member(struct template_run *run, const struct template_value *value,
                          const struct template_value *key, const char *name, struct template_value *out) {
    struct template_value *found = NULL;
    *out = undefined(name);
    if (value->kind == TEMPLATE_DICT || value->kind == TEMPLATE_NAMESPACE)
        TRY(template_dict_find(run, value->dict, key, &found));
    if (found != NULL) *out = *found;
    return STATUS_OK;
}

enum status template_attribute(struct template_run *run, const struct template_value *value, const char *name,
                               struct template_value *out) {
    if (value->kind == TEMPLATE_UNDEFINED)
        return template_fail(run, "'%.48s' is undefined", value->name != NULL ? value->name : "it");
    if (has_method(value, name)) return bind_method(run, value, name, out);
    if (value->kind == TEMPLATE_LOOP) {
        *out = loop_member(value->loop, name);
        return STATUS_OK;
    }
    struct template_value key = template_text(bytes_view_string(name), 0);
    return member(run, value, &key, name, out);
}

static enum status item_at(struct template_run *run, const struct template_value *value, int64_t index,
                           struct template_value *out) {
    bool text = value->kind == TEMPLATE_STRING;
    TRY(template_spend(run, text ? 1 + value->string.length / 16 : 1));
    int64_t count = text ? (int64_t)template_code_points(value->string) : (int64_t)value->list->count;
    if (index < 0) index += count;
    *out = undefined("an item");
    if (index < 0 || index >= count) return STATUS_OK;
    if (!text) {
        *out = value->list->items[index];
        return STATUS_OK;
    }
    uint32_t code_point;
    size_t at = template_code_point_offset(value->string, (size_t)index);
    *out =
        template_string_value(template_slice(value->string, at, template_code_point(value->string, at, &code_point)));
    return STATUS_OK;
}

enum status template_subscript(struct template_run *run, const struct template_value *value,
                               const struct template_value *key, struct template_value *out) {
    if (value->kind == TEMPLATE_UNDEFINED)
        return template_fail(run, "'%.48s' is undefined", value->name != NULL ? value->name : "it");
    bool sequence = value->kind == TEMPLATE_LIST || value->kind == TEMPLATE_STRING;
    if (sequence && (key->kind == TEMPLATE_INTEGER || key->kind == TEMPLATE_BOOLEAN))
        return item_at(run, value, integer_of(key), out);
    if (key->kind != TEMPLATE_STRING) return member(run, value, key, "an item", out);
    char *name = arena_copy(run->arena, key->string.data, key->string.length);
    if (name == NULL) return template_no_memory(run);
    TRY(member(run, value, key, name, out));
    if (out->kind == TEMPLATE_UNDEFINED && value->kind != TEMPLATE_NAMESPACE)
        return template_attribute(run, value, name, out);
    return STATUS_OK;
}

/* ---- the caller's --------------------------------------------------------------------------------------------------- */

struct template_list *template_list_new(struct template_builder *builder, size_t count) {
    struct template_list *list = arena_alloc(builder->arena, sizeof *list);
    struct template_value *items = arena_alloc_array(builder->arena, count, sizeof *items);
    if (list == NULL || items == NULL) {
        builder->failed = true;
        return NULL;
    }
    *list = (struct template_list){.items = items, .count = count, .capacity = count};
    return list;
}

void template_list_set(struct template_list *list, size_t at, struct template_value value) {
    if (list != NULL && at < list->count) list->items[at] = value;
}

struct template_value template_list_value(struct template_list *list) {
    if (list == NULL) return undefined("a list");
    return (struct template_value){.kind = TEMPLATE_LIST, .list = list};
}

struct template_dict *template_dict_new(struct template_builder *builder, size_t capacity) {
    struct template_dict *dict = arena_alloc(builder->arena, sizeof *dict);
    struct template_entry *entries = arena_alloc_array(builder->arena, capacity, sizeof *entries);
    if (dict == NULL || entries == NULL) {
        builder->failed = true;
        return NULL;
    }
    *dict = (struct template_dict){.entries = entries, .capacity = capacity};
    return dict;
}

void template_dict_set(struct template_dict *dict, const char *name, struct template_value value) {
    if (dict == NULL || dict->count == dict->capacity) return;
    dict->entries[dict->count++] =
        (struct template_entry){.key = template_text(bytes_view_string(name), 0), .value = value};
}

struct template_value template_dict_value(struct template_dict *dict) {
    if (dict == NULL) return undefined("a dict");
    return (struct template_value){.kind = TEMPLATE_DICT, .dict = dict};
}

static struct template_value json_number(struct template_builder *builder, struct bytes_view text, uint8_t whose) {
    char *copy = arena_copy(builder->arena, text.data, text.length);
    if (copy == NULL) {
        builder->failed = true;
        return undefined("a number");
    }
    if (!python_number_is_integer(text))
        return (struct template_value){.kind = TEMPLATE_REAL, .real = strtod(copy, NULL)};
    errno = 0;
    long long value = strtoll(copy, NULL, 10);
    if (errno != ERANGE) return template_integer(value);
    struct template_value big = template_text(bytes_view_of(copy, text.length), whose);
    big.kind = TEMPLATE_BIG;
    return big;
}

struct template_value template_json(struct template_builder *builder, const struct json_value *json, uint8_t whose) {
    switch (json->kind) {
    case JSON_KIND_BOOLEAN:
        return template_boolean(json->boolean);
    case JSON_KIND_NUMBER:
        return json_number(builder, json->text, whose);
    case JSON_KIND_STRING:
        return template_text(json->string, whose);
    case JSON_KIND_ARRAY: {
        struct template_list *list = template_list_new(builder, json->count);
        size_t at = 0;
        for (const struct json_value *child = json->first; child != NULL; child = child->next)
            template_list_set(list, at++, template_json(builder, child, whose));
        return template_list_value(list);
    }
    case JSON_KIND_OBJECT: {
        struct template_dict *dict = template_dict_new(builder, json->count);
        for (const struct json_value *child = json->first; dict != NULL && child != NULL; child = child->next)
            dict->entries[dict->count++] = (struct template_entry){.key = template_text(child->name, whose),
                                                                   .value = template_json(builder, child, whose)};
        return template_dict_value(dict);
    }
    default:
        return (struct template_value){.kind = TEMPLATE_NONE};
    }
}
