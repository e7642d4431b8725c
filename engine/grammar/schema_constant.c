/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A JSON value as the formula that only it (and what equals it: 1 and 1.0, members in any order) satisfies. */
#include "engine/grammar/json_canonical.h"
#include "engine/grammar/schema_internal.h"

#include <stdlib.h>

static formula make_and(struct schema *schema, uint32_t origin, const formula *list, uint32_t count) {
    uint32_t *copy = arena_alloc_array(&schema->arena, count, sizeof *copy);
    if (copy == NULL) return FORMULA_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] == FORMULA_NONE) return FORMULA_NONE;
        copy[i] = list[i];
    }
    return schema_make(schema, (struct formula_node){.kind = F_AND, .origin = origin, .list = copy, .count = count});
}

static formula make_type(struct schema *schema, uint32_t origin, enum value_kind kind) {
    return schema_make(schema, (struct formula_node){.kind = F_TYPE, .origin = origin, .a = 1u << kind});
}

enum { CONSTANT_DEPTH_MAX = 1000 };

static formula constant_of(struct schema *schema, uint32_t origin, const struct json_value *value, int depth);

static formula constant_array(struct schema *schema, uint32_t origin, const struct json_value *value, int depth) {
    formula *list = arena_alloc_array(&schema->arena, value->count, sizeof *list);
    if (list == NULL) return FORMULA_NONE;
    uint32_t count = 0;
    for (const struct json_value *item = value->first; item != NULL; item = item->next) {
        list[count] = constant_of(schema, origin, item, depth + 1);
        if (list[count++] == FORMULA_NONE) return FORMULA_NONE;
    }
    formula all[3] = {
        make_type(schema, origin, VALUE_ARRAY),
        schema_make(
            schema,
            (struct formula_node){.kind = F_ITEMS, .origin = origin, .a = FORMULA_FALSE, .list = list, .count = count}),
        schema_make(schema, (struct formula_node){.kind = F_ITEM_COUNT, .origin = origin, .a = count, .b = count})};
    return make_and(schema, origin, all, 3);
}

static formula constant_object(struct schema *schema, uint32_t origin, const struct json_value *value, int depth) {
    struct properties *properties = arena_alloc(&schema->arena, sizeof *properties);
    uint32_t *required = arena_alloc_array(&schema->arena, value->count, sizeof *required);
    if (properties == NULL || required == NULL) return FORMULA_NONE;
    properties->named = arena_alloc_array(&schema->arena, value->count, sizeof *properties->named);
    properties->sorted = arena_alloc_array(&schema->arena, value->count, sizeof *properties->sorted);
    if (properties->named == NULL || properties->sorted == NULL) return FORMULA_NONE;
    properties->others = FORMULA_FALSE;
    for (const struct json_value *member = value->first; member != NULL; member = member->next) {
        uint32_t at = properties->named_count++;
        name_id name = schema_name(schema, member->name);
        properties->named[at] = (struct named_formula){name, constant_of(schema, origin, member, depth + 1)};
        if (name == INTERN_FAILED || properties->named[at].formula == FORMULA_NONE) return FORMULA_NONE;
        required[at] = name;
    }
    properties_sort(properties);
    formula all[3] = {
        make_type(schema, origin, VALUE_OBJECT),
        schema_make(schema, (struct formula_node){.kind = F_PROPERTIES, .origin = origin, .properties = properties}),
        schema_make(schema, (struct formula_node){
                                .kind = F_REQUIRED, .origin = origin, .list = required, .count = value->count})};
    return make_and(schema, origin, all, value->count > 0 ? 3 : 2);
}

static formula constant_of(struct schema *schema, uint32_t origin, const struct json_value *value, int depth) {
    if (!budget_spend(&schema->budget, 1) || depth > CONSTANT_DEPTH_MAX) return FORMULA_NONE;
    formula all[2] = {FORMULA_NONE, FORMULA_NONE};
    switch (value->kind) {
    case JSON_KIND_NULL:
        return make_type(schema, origin, VALUE_NULL);
    case JSON_KIND_BOOLEAN:
        return make_type(schema, origin, value->boolean ? VALUE_TRUE : VALUE_FALSE);
    case JSON_KIND_NUMBER:
        all[0] = make_type(schema, origin, VALUE_NUMBER);
        all[1] = schema_make_number(schema, origin, number_one_of(schema->numbers, &value->text, 1),
                                    number_none_of(schema->numbers, &value->text, 1));
        return make_and(schema, origin, all, 2);
    case JSON_KIND_STRING:
        all[0] = make_type(schema, origin, VALUE_STRING);
        all[1] = schema_make_string(schema, origin, regex_literal(schema->regexes, value->string));
        return make_and(schema, origin, all, 2);
    case JSON_KIND_ARRAY:
        return constant_array(schema, origin, value, depth);
    case JSON_KIND_OBJECT:
        return constant_object(schema, origin, value, depth);
    }
    return FORMULA_NONE;
}

formula schema_make_constant(struct schema *schema, uint32_t origin, const struct json_value *value) {
    formula out = constant_of(schema, origin, value, 0);
    if (out == FORMULA_NONE || (value->kind != JSON_KIND_ARRAY && value->kind != JSON_KIND_OBJECT)) return out;
    uint64_t hash[2];
    uint32_t words[4];
    if (!canonical_hash_of(value, hash)) return out;
    for (int i = 0; i < 4; i++) words[i] = (uint32_t)(hash[i / 2] >> i % 2 * 32);
    uint32_t id = intern_put(&schema->constant_values, words, 4);
    return id != INTERN_FAILED && memo_put(&schema->constants, out, id) ? out : FORMULA_NONE;
}

uint32_t schema_constant(const struct schema *schema, formula f) {
    uint32_t id;
    return memo_get(&schema->constants, f, &id) ? id : CONSTANT_NONE;
}
