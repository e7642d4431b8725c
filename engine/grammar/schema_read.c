/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Keywords to formulas. Each keyword is a row of a table: its name, and the function that adds what it says to the subschema's parts. */
#include "engine/grammar/schema_internal.h"

#include "engine/grammar/formats.h"

#include <stdlib.h>
#include <string.h>

/** The parts of one subschema: formulas that all hold. */
struct parts {
    struct schema *schema;
    struct schema_place place;
    formula *list;
    uint32_t count, capacity;
};

typedef enum status read_keyword(struct parts *parts, const struct json_value *value, uint32_t origin);

static const char *keyword_of(const struct parts *parts, uint32_t origin) {
    struct bytes_view keyword = parts->schema->origins[origin].keyword;
    char *text = arena_copy(&parts->schema->arena, keyword.data, keyword.length);
    return text == NULL ? "" : text;
}

static enum status malformed(struct parts *parts, uint32_t origin, const char *expected) {
    return schema_decline(parts->schema, STATUS_INVALID_ARGUMENT, origin, keyword_of(parts, origin), "must be %s",
                          expected);
}

static enum status too_costly(struct parts *parts, uint32_t origin) {
    if (parts->schema->beyond)
        return schema_decline(parts->schema, STATUS_UNIMPLEMENTED, origin, keyword_of(parts, origin),
                              "a number is beyond what is supported (1,000 digits)");
    return schema_too_costly(parts->schema, origin, keyword_of(parts, origin));
}

static enum status add_formula(struct parts *parts, uint32_t origin, formula f) {
    if (f == FORMULA_NONE) return too_costly(parts, origin);
    if (f == FORMULA_TRUE) return STATUS_OK;
    if (parts->count == parts->capacity) {
        uint32_t capacity = parts->capacity == 0 ? 8 : parts->capacity * 2;
        formula *list = arena_alloc_array(&parts->schema->arena, capacity, sizeof *list);
        if (list == NULL) return too_costly(parts, origin);
        if (parts->count > 0) memcpy(list, parts->list, parts->count * sizeof *list);
        parts->list = list;
        parts->capacity = capacity;
    }
    parts->list[parts->count++] = f;
    return STATUS_OK;
}

static enum status add(struct parts *parts, struct formula_node node) {
    return add_formula(parts, node.origin, schema_make(parts->schema, node));
}

/** A subschema below this one; `step` is where, from `origin` on (an index or a member's name; none: at the keyword itself). */
static enum status read_below(struct parts *parts, const struct json_value *value, uint32_t origin,
                              struct bytes_view step, formula *out) {
    struct schema_place place = {.value = value, .depth = parts->place.depth + 1};
    place.origin = step.data == NULL ? origin : schema_origin_add(parts->schema, origin, step);
    place.base = registry_base(parts->schema, value, parts->place.base);
    return schema_read(parts->schema, place, out);
}

static struct bytes_view index_text(struct parts *parts, uint32_t index) {
    char *text = arena_printf(&parts->schema->arena, "%u", index);
    return bytes_view_string(text);
}

static const struct json_value *sibling(const struct parts *parts, const char *name) {
    return json_member(parts->place.value, name);
}

/* ---- any kind of value ---- */

static uint32_t kind_of_type(struct bytes_view name) {
    static const struct {
        const char *name;
        uint32_t kinds;
    } TYPES[] = {{"null", 1 << VALUE_NULL},     {"boolean", 1 << VALUE_FALSE | 1 << VALUE_TRUE},
                 {"number", 1 << VALUE_NUMBER}, {"integer", 1 << VALUE_NUMBER | 1 << VALUE_KINDS},
                 {"string", 1 << VALUE_STRING}, {"array", 1 << VALUE_ARRAY},
                 {"object", 1 << VALUE_OBJECT}, {"any", VALUE_ALL}};
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (bytes_view_equal_string(name, TYPES[i].name)) return TYPES[i].kinds;
    return 0;
}

static enum status read_type(struct parts *parts, const struct json_value *value, uint32_t origin) {
    static const char *const EXPECTED =
        "one of null, boolean, integer, number, string, array, object, or an array of these";
    uint32_t kinds = 0;
    bool integer = false, number = false;
    const struct json_value *item = value->kind == JSON_KIND_ARRAY ? value->first : value;
    for (; item != NULL; item = value->kind == JSON_KIND_ARRAY ? item->next : NULL) {
        if (item->kind == JSON_KIND_OBJECT) /* draft 3's unions of schemas */
            return schema_decline(parts->schema, STATUS_UNIMPLEMENTED, origin, "type",
                                  "schemas within type are not supported");
        uint32_t kind = item->kind == JSON_KIND_STRING ? kind_of_type(item->string) : 0;
        if (kind == 0) return malformed(parts, origin, EXPECTED);
        bool is_integer = kind >> VALUE_KINDS & 1;
        integer |= is_integer;
        number |= !is_integer && kind >> VALUE_NUMBER & 1;
        kinds |= kind & VALUE_ALL;
    }
    TRY(add(parts, (struct formula_node){.kind = F_TYPE, .origin = origin, .a = kinds}));
    if (!integer || number) return STATUS_OK;
    struct bytes_view one = bytes_view_string("1");
    return add(parts, (struct formula_node){.kind = F_NUMBER,
                                            .origin = origin,
                                            .a = number_multiple_of(parts->schema->numbers, one),
                                            .b = number_not_multiple_of(parts->schema->numbers, one)});
}

static enum status read_constant(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_formula(parts, origin, schema_make_constant(parts->schema, origin, value));
}

static enum status add_or(struct parts *parts, uint32_t origin, const formula *list, uint32_t count) {
    if (count == 0) return add_formula(parts, origin, FORMULA_FALSE);
    if (count == 1) return add_formula(parts, origin, list[0]);
    return add(parts, (struct formula_node){.kind = F_OR, .origin = origin, .list = list, .count = count});
}

/** Scalars of an enum are one formula, however many: a set of numbers, a trie of strings. */
static enum status read_enum(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    if (value->kind != JSON_KIND_ARRAY) return malformed(parts, origin, "an array");
    struct bytes_view *strings = arena_alloc_array(&schema->arena, value->count + 1, sizeof *strings);
    struct bytes_view *numbers = arena_alloc_array(&schema->arena, value->count + 1, sizeof *numbers);
    formula *list = arena_alloc_array(&schema->arena, value->count + 1, sizeof *list);
    if (strings == NULL || numbers == NULL || list == NULL) return too_costly(parts, origin);
    uint32_t string_count = 0, number_count = 0, count = 0, kinds = 0;
    for (const struct json_value *item = value->first; item != NULL; item = item->next) {
        switch (item->kind) {
        case JSON_KIND_NULL:
            kinds |= 1 << VALUE_NULL;
            break;
        case JSON_KIND_BOOLEAN:
            kinds |= 1 << (item->boolean ? VALUE_TRUE : VALUE_FALSE);
            break;
        case JSON_KIND_STRING:
            strings[string_count++] = item->string;
            break;
        case JSON_KIND_NUMBER:
            numbers[number_count++] = item->text;
            break;
        default:
            list[count] = schema_make_constant(schema, origin, item);
            if (list[count++] == FORMULA_NONE) return too_costly(parts, origin);
        }
    }
    kinds |= (uint32_t)(string_count > 0) << VALUE_STRING | (uint32_t)(number_count > 0) << VALUE_NUMBER;
    if (kinds != 0) {
        formula of[3] = {schema_make(schema, (struct formula_node){.kind = F_TYPE, .origin = origin, .a = kinds}),
                         FORMULA_TRUE, FORMULA_TRUE};
        if (string_count > 0)
            of[1] = schema_make_string(schema, origin, regex_literals(schema->regexes, strings, string_count));
        if (number_count > 0)
            of[2] = schema_make_number(schema, origin, number_one_of(schema->numbers, numbers, number_count),
                                       number_none_of(schema->numbers, numbers, number_count));
        if (of[0] == FORMULA_NONE || of[1] == FORMULA_NONE || of[2] == FORMULA_NONE) return too_costly(parts, origin);
        uint32_t *and = arena_alloc_array(&schema->arena, 3, sizeof *and);
        if (and == NULL) return too_costly(parts, origin);
        memcpy(and, of, sizeof of);
        list[count] =
            schema_make(schema, (struct formula_node){.kind = F_AND, .origin = origin, .list = and, .count = 3});
        if (list[count++] == FORMULA_NONE) return too_costly(parts, origin);
    }
    return add_or(parts, origin, list, count);
}

static enum status read_list(struct parts *parts, const struct json_value *value, uint32_t origin, formula **out) {
    if (value->kind != JSON_KIND_ARRAY) return malformed(parts, origin, "an array of schemas");
    formula *list = arena_alloc_array(&parts->schema->arena, value->count, sizeof *list);
    if (list == NULL) return too_costly(parts, origin);
    uint32_t count = 0;
    for (const struct json_value *item = value->first; item != NULL; item = item->next, count++)
        TRY(read_below(parts, item, origin, index_text(parts, count), &list[count]));
    *out = list;
    return STATUS_OK;
}

static enum status read_all_of(struct parts *parts, const struct json_value *value, uint32_t origin) {
    formula *list;
    TRY(read_list(parts, value, origin, &list));
    for (uint32_t i = 0; i < value->count; i++) TRY(add_formula(parts, origin, list[i]));
    return STATUS_OK;
}

static enum status read_any_of(struct parts *parts, const struct json_value *value, uint32_t origin) {
    formula *list;
    TRY(read_list(parts, value, origin, &list));
    return add_or(parts, origin, list, value->count);
}

static enum status read_one_of(struct parts *parts, const struct json_value *value, uint32_t origin) {
    formula *list;
    TRY(read_list(parts, value, origin, &list));
    if (value->count < 2) return add_or(parts, origin, list, value->count);
    return add(parts, (struct formula_node){.kind = F_ONE_OF, .origin = origin, .list = list, .count = value->count});
}

static enum status read_not(struct parts *parts, const struct json_value *value, uint32_t origin) {
    formula f;
    TRY(read_below(parts, value, origin, (struct bytes_view){0}, &f));
    return add(parts, (struct formula_node){.kind = F_NOT, .origin = origin, .a = f});
}

static formula make_list(struct schema *schema, enum formula_kind kind, uint32_t origin, formula a, formula b) {
    uint32_t *list = arena_alloc_array(&schema->arena, 2, sizeof *list);
    if (list == NULL || a == FORMULA_NONE || b == FORMULA_NONE) return FORMULA_NONE;
    list[0] = a;
    list[1] = b;
    return schema_make(schema, (struct formula_node){.kind = kind, .origin = origin, .list = list, .count = 2});
}

/** (if and then) or (not if and else) */
static enum status read_if(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    const struct json_value *then_text = sibling(parts, "then"), *else_text = sibling(parts, "else");
    formula condition, then = FORMULA_TRUE, otherwise = FORMULA_TRUE;
    TRY(read_below(parts, value, origin, (struct bytes_view){0}, &condition));
    if (then_text == NULL && else_text == NULL) return STATUS_OK;
    uint32_t above = parts->place.origin;
    if (then_text != NULL) TRY(read_below(parts, then_text, above, bytes_view_string("then"), &then));
    if (else_text != NULL) TRY(read_below(parts, else_text, above, bytes_view_string("else"), &otherwise));
    formula not = schema_make(schema, (struct formula_node){.kind = F_NOT, .origin = origin, .a = condition});
    formula yes = make_list(schema, F_AND, origin, condition, then),
            no = make_list(schema, F_AND, origin, not, otherwise);
    return add_formula(parts, origin, make_list(schema, F_OR, origin, yes, no));
}

static enum status read_reference(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind != JSON_KIND_STRING) return malformed(parts, origin, "a string");
    struct schema_place place = registry_find(parts->schema, value->string, parts->place.base);
    if (place.value == NULL)
        return schema_decline(parts->schema, STATUS_UNIMPLEMENTED, origin, "$ref",
                              "\"%.*s\" names no schema that is at hand (remote schemas are not fetched)",
                              value->string.length > 64 ? 64 : (int)value->string.length,
                              (const char *)value->string.data);
    place.depth = parts->place.depth + 1;
    place.origin = origin;
    formula f;
    TRY(schema_read(parts->schema, place, &f));
    return add_formula(parts, origin, f);
}

/* ---- numbers ---- */

static enum status add_number(struct parts *parts, uint32_t origin, number_set set, number_set complement) {
    return add_formula(parts, origin, schema_make_number(parts->schema, origin, set, complement));
}

static enum status add_bound(struct parts *parts, const struct json_value *value, uint32_t origin, bool lower,
                             bool exclusive) {
    struct number_pool *numbers = parts->schema->numbers;
    if (value->kind != JSON_KIND_NUMBER) return malformed(parts, origin, "a number");
    /* with the complement: of x >= v it is x < v */
    return lower ? add_number(parts, origin, number_at_least(numbers, value->text, exclusive),
                              number_at_most(numbers, value->text, !exclusive))
                 : add_number(parts, origin, number_at_most(numbers, value->text, exclusive),
                              number_at_least(numbers, value->text, !exclusive));
}

/** Draft 4's exclusiveMinimum: true makes minimum exclusive. */
static bool is_true(const struct json_value *value) {
    return value != NULL && value->kind == JSON_KIND_BOOLEAN && value->boolean;
}

static enum status read_minimum(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_bound(parts, value, origin, true, is_true(sibling(parts, "exclusiveMinimum")));
}
static enum status read_maximum(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_bound(parts, value, origin, false, is_true(sibling(parts, "exclusiveMaximum")));
}
static enum status read_exclusive_minimum(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind == JSON_KIND_BOOLEAN) return STATUS_OK;
    return add_bound(parts, value, origin, true, true);
}
static enum status read_exclusive_maximum(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind == JSON_KIND_BOOLEAN) return STATUS_OK;
    return add_bound(parts, value, origin, false, true);
}
static enum status read_multiple_of(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct number_pool *numbers = parts->schema->numbers;
    if (value->kind != JSON_KIND_NUMBER || number_compare(value->text, bytes_view_string("0")) != 1)
        return malformed(parts, origin, "a number above 0");
    return add_number(parts, origin, number_multiple_of(numbers, value->text),
                      number_not_multiple_of(numbers, value->text));
}

/* ---- counts ---- */

/** A count: a whole number from 0 on; larger ones than 2^32 - 2 are that. */
static enum status read_count(struct parts *parts, const struct json_value *value, uint32_t origin, uint32_t *out) {
    int64_t count;
    double number;
    if (json_i64(value, &count) && count >= 0)
        *out = count > UINT32_MAX - 2 ? UINT32_MAX - 2 : (uint32_t)count;
    else if (json_double(value, &number) && number > 1e18)
        *out = UINT32_MAX - 2;
    else
        return malformed(parts, origin, "a whole number from 0 on");
    return STATUS_OK;
}

static enum status add_count(struct parts *parts, const struct json_value *value, uint32_t origin,
                             enum formula_kind kind, bool is_min) {
    uint32_t count;
    TRY(read_count(parts, value, origin, &count));
    return add(parts, (struct formula_node){
                          .kind = kind, .origin = origin, .a = is_min ? count : 0, .b = is_min ? UINT32_MAX : count});
}

static enum status read_min_items(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_count(parts, value, origin, F_ITEM_COUNT, true);
}
static enum status read_max_items(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_count(parts, value, origin, F_ITEM_COUNT, false);
}
static enum status read_min_properties(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_count(parts, value, origin, F_PROPERTY_COUNT, true);
}
static enum status read_max_properties(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return add_count(parts, value, origin, F_PROPERTY_COUNT, false);
}

/* ---- strings ---- */

static enum status add_string(struct parts *parts, uint32_t origin, regex r) {
    return add_formula(parts, origin, schema_make_string(parts->schema, origin, r));
}

static enum status read_min_length(struct parts *parts, const struct json_value *value, uint32_t origin) {
    uint32_t count;
    TRY(read_count(parts, value, origin, &count));
    return add_string(parts, origin, regex_length(parts->schema->regexes, count, REGEX_UNBOUNDED));
}
static enum status read_max_length(struct parts *parts, const struct json_value *value, uint32_t origin) {
    uint32_t count;
    TRY(read_count(parts, value, origin, &count));
    return add_string(parts, origin, regex_length(parts->schema->regexes, 0, count));
}

static enum status parse_pattern(struct parts *parts, struct bytes_view pattern, uint32_t origin, const char *keyword,
                                 regex *out) {
    struct error err = {0};
    enum status status = regex_parse(parts->schema->regexes, pattern, REGEX_SEARCH | REGEX_ANCHORS, out, &err);
    if (status == STATUS_RESOURCE_EXHAUSTED) return schema_too_costly(parts->schema, origin, keyword);
    if (status != STATUS_OK) return schema_decline(parts->schema, status, origin, keyword, "%s", err.message);
    return STATUS_OK;
}

static enum status read_pattern(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind != JSON_KIND_STRING) return malformed(parts, origin, "a string");
    regex r;
    TRY(parse_pattern(parts, value->string, origin, "pattern", &r));
    return add_string(parts, origin, r);
}

static enum status read_format(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind != JSON_KIND_STRING) return STATUS_OK;
    struct error err = {0};
    bool known;
    struct formula_node node = {.kind = F_STRING, .origin = origin};
    enum status status = format_regex(parts->schema->regexes, value->string, &node.a, &known, &err);
    if (status == STATUS_OK) status = format_complement(parts->schema->regexes, value->string, node.a, &node.b, &err);
    if (status == STATUS_RESOURCE_EXHAUSTED) return too_costly(parts, origin);
    if (status != STATUS_OK)
        return schema_decline(parts->schema, status, origin, keyword_of(parts, origin), "%s", err.message);
    return known ? add(parts, node) : STATUS_OK; /* what nobody knows is an annotation of somebody's own */
}

static enum status read_content_encoding(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind != JSON_KIND_STRING) return STATUS_OK;
    struct error err = {0};
    bool known;
    regex r;
    if (content_encoding_regex(parts->schema->regexes, value->string, &r, &known, &err) != STATUS_OK)
        return too_costly(parts, origin);
    return known ? add_string(parts, origin, r) : STATUS_OK;
}

/* ---- arrays ---- */

/** prefixItems + items (2020-12), or items as an array + additionalItems (draft 7), or items alone. */
static enum status read_items(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    const struct json_value *prefix = sibling(parts, "prefixItems"), *items = sibling(parts, "items");
    const char *others_keyword = "items";
    const struct json_value *others = items;
    if (prefix == NULL && items != NULL && items->kind == JSON_KIND_ARRAY) {
        prefix = items;
        others_keyword = "additionalItems";
        others = sibling(parts, others_keyword);
    }
    if (prefix != NULL && value != prefix && value != others) return STATUS_OK;
    if (prefix != NULL && value == others) return STATUS_OK; /* done where the first items are */
    struct formula_node node = {.kind = F_ITEMS, .origin = origin, .a = FORMULA_TRUE};
    if (prefix != NULL) {
        formula *list;
        TRY(read_list(parts, prefix, origin, &list));
        node.list = list;
        node.count = prefix->count;
    }
    if (others != NULL) {
        uint32_t at = schema_origin_add(schema, parts->place.origin, bytes_view_string(others_keyword));
        TRY(read_below(parts, others, at, (struct bytes_view){0}, &node.a));
    }
    if (node.a == FORMULA_TRUE && node.count == 0) return STATUS_OK;
    return add(parts, node);
}

static enum status read_contains(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    const struct json_value *min = sibling(parts, "minContains"), *max = sibling(parts, "maxContains");
    uint32_t *counts = arena_alloc_array(&schema->arena, 2, sizeof *counts);
    if (counts == NULL) return too_costly(parts, origin);
    counts[0] = 1;
    counts[1] = UINT32_MAX;
    if (min != NULL) TRY(read_count(parts, min, origin, &counts[0]));
    if (max != NULL) TRY(read_count(parts, max, origin, &counts[1]));
    formula f;
    TRY(read_below(parts, value, origin, (struct bytes_view){0}, &f));
    if (counts[0] == 0 && counts[1] == UINT32_MAX) return STATUS_OK;
    return add(parts, (struct formula_node){.kind = F_CONTAINS, .origin = origin, .a = f, .list = counts, .count = 2});
}

static enum status read_unique_items(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind != JSON_KIND_BOOLEAN) return malformed(parts, origin, "a boolean");
    return value->boolean ? add(parts, (struct formula_node){.kind = F_UNIQUE, .origin = origin}) : STATUS_OK;
}

/* ---- objects ---- */

static enum status read_names(struct parts *parts, const struct json_value *value, uint32_t origin, uint32_t **out) {
    if (value->kind != JSON_KIND_ARRAY) return malformed(parts, origin, "an array of strings");
    uint32_t *list = arena_alloc_array(&parts->schema->arena, value->count, sizeof *list), count = 0;
    if (list == NULL) return too_costly(parts, origin);
    for (const struct json_value *item = value->first; item != NULL; item = item->next) {
        if (item->kind != JSON_KIND_STRING) return malformed(parts, origin, "an array of strings");
        list[count] = schema_name(parts->schema, item->string);
        if (list[count++] == INTERN_FAILED) return too_costly(parts, origin);
    }
    *out = list;
    return STATUS_OK;
}

static enum status read_required(struct parts *parts, const struct json_value *value, uint32_t origin) {
    if (value->kind == JSON_KIND_BOOLEAN) return STATUS_OK; /* draft 3, on a property: it was an annotation since */
    uint32_t *list;
    TRY(read_names(parts, value, origin, &list));
    if (value->count == 0) return STATUS_OK;
    return add(parts, (struct formula_node){.kind = F_REQUIRED, .origin = origin, .list = list, .count = value->count});
}

static enum status read_named(struct parts *parts, const struct json_value *value, struct properties *out) {
    struct schema *schema = parts->schema;
    uint32_t origin = schema_origin_add(schema, parts->place.origin, bytes_view_string("properties"));
    if (value->kind != JSON_KIND_OBJECT) return malformed(parts, origin, "an object of schemas");
    out->named = arena_alloc_array(&schema->arena, value->count, sizeof *out->named);
    out->sorted = arena_alloc_array(&schema->arena, value->count, sizeof *out->sorted);
    if (out->named == NULL || out->sorted == NULL) return too_costly(parts, origin);
    for (const struct json_value *member = value->first; member != NULL; member = member->next) {
        struct named_formula *named = &out->named[out->named_count];
        named->name = schema_name(schema, member->name);
        if (named->name == INTERN_FAILED) return too_costly(parts, origin);
        TRY(read_below(parts, member, origin, member->name, &named->formula));
        out->named_count++;
    }
    properties_sort(out);
    return STATUS_OK;
}

static enum status read_matched(struct parts *parts, const struct json_value *value, struct properties *out) {
    struct schema *schema = parts->schema;
    uint32_t origin = schema_origin_add(schema, parts->place.origin, bytes_view_string("patternProperties"));
    if (value->kind != JSON_KIND_OBJECT) return malformed(parts, origin, "an object of schemas");
    out->matched = arena_alloc_array(&schema->arena, value->count, sizeof *out->matched);
    if (out->matched == NULL) return too_costly(parts, origin);
    for (const struct json_value *member = value->first; member != NULL; member = member->next) {
        struct matched_formula *matched = &out->matched[out->matched_count++];
        uint32_t at = schema_origin_add(schema, origin, member->name);
        TRY(parse_pattern(parts, member->name, at, "patternProperties", &matched->names));
        TRY(read_below(parts, member, at, (struct bytes_view){0}, &matched->formula));
    }
    return STATUS_OK;
}

/** properties, patternProperties and additionalProperties are one assertion; the first of them that is there stands for all. */
static enum status read_properties(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    const struct json_value *named = sibling(parts, "properties"), *matched = sibling(parts, "patternProperties");
    const struct json_value *others = sibling(parts, "additionalProperties");
    if (value != (named != NULL ? named : matched != NULL ? matched : others)) return STATUS_OK;
    struct properties *properties = arena_alloc(&schema->arena, sizeof *properties);
    if (properties == NULL) return too_costly(parts, origin);
    properties->others = FORMULA_TRUE;
    properties->others_said = others != NULL;
    if (named != NULL) TRY(read_named(parts, named, properties));
    if (matched != NULL) TRY(read_matched(parts, matched, properties));
    if (others != NULL)
        TRY(read_below(parts, others, parts->place.origin, bytes_view_string("additionalProperties"),
                       &properties->others));
    return add(parts, (struct formula_node){.kind = F_PROPERTIES, .origin = origin, .properties = properties});
}

/** {a: F_FALSE}: without the property */
static formula make_without(struct schema *schema, uint32_t origin, name_id name) {
    struct properties *properties = arena_alloc(&schema->arena, sizeof *properties);
    if (properties == NULL) return FORMULA_NONE;
    properties->named = arena_alloc(&schema->arena, sizeof *properties->named);
    properties->sorted = arena_alloc(&schema->arena, sizeof *properties->sorted);
    if (properties->named == NULL || properties->sorted == NULL) return FORMULA_NONE;
    properties->named[0] = (struct named_formula){name, FORMULA_FALSE};
    properties->named_count = 1;
    properties->others = FORMULA_TRUE;
    return schema_make(schema, (struct formula_node){.kind = F_PROPERTIES, .origin = origin, .properties = properties});
}

static enum status read_dependencies(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    if (value->kind != JSON_KIND_OBJECT) return malformed(parts, origin, "an object");
    for (const struct json_value *member = value->first; member != NULL; member = member->next) {
        uint32_t at = schema_origin_add(schema, origin, member->name);
        name_id name = schema_name(schema, member->name);
        if (name == INTERN_FAILED) return too_costly(parts, at);
        if (member->kind == JSON_KIND_ARRAY || member->kind == JSON_KIND_STRING) { /* a string: draft 3 */
            struct formula_node node = {.kind = F_DEPENDENT, .origin = at, .a = name};
            uint32_t *list;
            if (member->kind == JSON_KIND_ARRAY) {
                TRY(read_names(parts, member, at, &list));
                node.count = member->count;
            } else {
                list = arena_alloc(&schema->arena, sizeof *list);
                if (list == NULL || (list[0] = schema_name(schema, member->string)) == INTERN_FAILED)
                    return too_costly(parts, at);
                node.count = 1;
            }
            node.list = list;
            if (node.count > 0) TRY(add(parts, node));
            continue;
        }
        formula f;
        TRY(read_below(parts, member, at, (struct bytes_view){0}, &f));
        if (f == FORMULA_TRUE) continue;
        TRY(add_formula(parts, at, make_list(schema, F_OR, at, make_without(schema, at, name), f)));
    }
    return STATUS_OK;
}

/** Names are strings, so that of what is asked only what it says about strings counts. */
static enum status read_property_names(struct parts *parts, const struct json_value *value, uint32_t origin) {
    struct schema *schema = parts->schema;
    formula f;
    TRY(read_below(parts, value, origin, (struct bytes_view){0}, &f));
    regex names = schema_strings(schema, f, false);
    if (names == REGEX_FAILED)
        return budget_exhausted(&schema->budget)
                   ? too_costly(parts, origin)
                   : schema_decline(schema, STATUS_UNIMPLEMENTED, origin, "propertyNames", "refers to itself");
    if (names == REGEX_EVERYTHING) return STATUS_OK;
    return add(parts, (struct formula_node){.kind = F_NAMES, .origin = origin, .a = names, .b = f});
}

/* ---- what no other keyword looks at ---- */

static enum status read_unevaluated(struct parts *parts, const struct json_value *value, uint32_t origin, bool items) {
    formula others, f;
    TRY(read_below(parts, value, origin, (struct bytes_view){0}, &others));
    if (others == FORMULA_TRUE) return STATUS_OK;
    TRY(schema_unevaluated(parts->schema, parts->place, origin, items, others, &f));
    return add_formula(parts, origin, f);
}
static enum status read_unevaluated_items(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return read_unevaluated(parts, value, origin, true);
}
static enum status read_unevaluated_properties(struct parts *parts, const struct json_value *value, uint32_t origin) {
    return read_unevaluated(parts, value, origin, false);
}

static const struct {
    const char *name;
    read_keyword *read;
} KEYWORDS[] = {
    {"$dynamicRef", read_reference},
    {"$recursiveRef", read_reference},
    {"$ref", read_reference},
    {"additionalItems", read_items},
    {"additionalProperties", read_properties},
    {"allOf", read_all_of},
    {"anyOf", read_any_of},
    {"const", read_constant},
    {"contains", read_contains},
    {"contentEncoding", read_content_encoding},
    {"dependencies", read_dependencies},
    {"dependentRequired", read_dependencies},
    {"dependentSchemas", read_dependencies},
    {"enum", read_enum},
    {"exclusiveMaximum", read_exclusive_maximum},
    {"exclusiveMinimum", read_exclusive_minimum},
    {"format", read_format},
    {"if", read_if},
    {"items", read_items},
    {"maxItems", read_max_items},
    {"maxLength", read_max_length},
    {"maxProperties", read_max_properties},
    {"maximum", read_maximum},
    {"minItems", read_min_items},
    {"minLength", read_min_length},
    {"minProperties", read_min_properties},
    {"minimum", read_minimum},
    {"multipleOf", read_multiple_of},
    {"not", read_not},
    {"oneOf", read_one_of},
    {"pattern", read_pattern},
    {"patternProperties", read_properties},
    {"prefixItems", read_items},
    {"properties", read_properties},
    {"propertyNames", read_property_names},
    {"required", read_required},
    {"type", read_type},
    {"unevaluatedItems", read_unevaluated_items},
    {"unevaluatedProperties", read_unevaluated_properties},
    {"uniqueItems", read_unique_items},
};

static read_keyword *find_keyword(struct bytes_view name) {
    size_t low = 0, high = sizeof KEYWORDS / sizeof *KEYWORDS;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = bytes_view_compare(name, bytes_view_string(KEYWORDS[middle].name));
        if (order == 0) return KEYWORDS[middle].read;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static enum status read_members(struct parts *parts, const struct json_value *value) {
    const struct json_value *reference = json_member(value, "$ref");
    bool alone = reference != NULL && registry_hides_siblings(parts->schema, parts->place.base);
    for (const struct json_value *member = value->first; member != NULL; member = member->next) {
        if (alone && member != reference) continue;
        read_keyword *read = find_keyword(member->name);
        if (read == NULL) continue; /* an annotation, or unknown: the standard lets both pass */
        TRY(read(parts, member, schema_origin_add(parts->schema, parts->place.origin, member->name)));
    }
    return STATUS_OK;
}

enum status schema_read(struct schema *schema, struct schema_place place, formula *out) {
    struct parts parts = {.schema = schema, .place = place};
    const struct json_value *value = place.value;
    if (value->kind == JSON_KIND_BOOLEAN) {
        *out = value->boolean ? FORMULA_TRUE : FORMULA_FALSE;
        return STATUS_OK;
    }
    if (value->kind != JSON_KIND_OBJECT)
        return schema_decline(schema, STATUS_INVALID_ARGUMENT, place.origin, "",
                              "a schema must be an object or a boolean");
    if (place.depth > SCHEMA_DEPTH_MAX)
        return schema_decline(schema, STATUS_RESOURCE_EXHAUSTED, place.origin, "", "nested deeper than %d",
                              SCHEMA_DEPTH_MAX);
    if (memo_get(&schema->built, (uintptr_t)value, out)) return STATUS_OK;
    /* who refers to this schema while it is being read gets the reference */
    formula forward =
        schema_make(schema, (struct formula_node){.kind = F_REF, .origin = place.origin, .a = FORMULA_NONE});
    if (forward == FORMULA_NONE || !memo_put(&schema->built, (uintptr_t)value, forward))
        return schema_too_costly(schema, place.origin, "");
    TRY(read_members(&parts, value));
    if (parts.count == 0)
        *out = FORMULA_TRUE;
    else if (parts.count == 1)
        *out = parts.list[0];
    else
        *out = schema_make(
            schema,
            (struct formula_node){.kind = F_AND, .origin = place.origin, .list = parts.list, .count = parts.count});
    if (*out == FORMULA_NONE) return schema_too_costly(schema, place.origin, "");
    schema->nodes[forward].a = *out;
    if (!memo_put(&schema->built, (uintptr_t)value, *out)) return schema_too_costly(schema, place.origin, "");
    return STATUS_OK;
}
