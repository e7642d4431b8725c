/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/schema_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- problems ---- */

static void append_step(char *out, size_t capacity, size_t *used, struct bytes_view step) {
    if (*used + 1 < capacity) out[(*used)++] = '/';
    for (size_t i = 0; i < step.length && *used + 3 < capacity; i++) {
        uint8_t c = step.data[i];
        if (c == '~' || c == '/') {
            out[(*used)++] = '~';
            c = c == '~' ? '0' : '1';
        }
        out[(*used)++] = (char)c;
    }
    out[*used] = '\0';
}

/** The pointer of an origin, from the root on. */
static void write_pointer(const struct schema *schema, uint32_t origin, char *out, size_t capacity) {
    uint32_t steps[SCHEMA_DEPTH_MAX * 2];
    size_t count = 0, used = 0;
    for (uint32_t at = origin; at != UINT32_MAX && count < sizeof steps / sizeof *steps; at = schema->origins[at].above)
        steps[count++] = at;
    out[0] = '\0';
    while (count-- > 0)
        if (schema->origins[steps[count]].keyword.data != NULL)
            append_step(out, capacity, &used, schema->origins[steps[count]].keyword);
}

enum status schema_decline(struct schema *schema, enum status status, uint32_t origin, const char *keyword,
                           const char *format, ...) {
    struct grammar_problem *problem = schema->problem;
    snprintf(problem->keyword, sizeof problem->keyword, "%s", keyword);
    write_pointer(schema, origin, problem->pointer, sizeof problem->pointer);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->reason, sizeof problem->reason, format, arguments);
    va_end(arguments);
    return status;
}

enum status schema_too_costly(struct schema *schema, uint32_t origin, const char *keyword) {
    return schema_decline(schema, STATUS_RESOURCE_EXHAUSTED, origin, keyword,
                          "the schema costs more than a schema may cost (%s)",
                          schema->budget.bytes < 0 ? "memory" : "work");
}

uint32_t schema_origin_add(struct schema *schema, uint32_t above, struct bytes_view keyword) {
    if (schema->origin_count == schema->origin_capacity) {
        uint32_t capacity = schema->origin_capacity == 0 ? 64 : schema->origin_capacity * 2;
        if (!budget_reserve(&schema->budget, (capacity - schema->origin_capacity) * sizeof *schema->origins))
            return above;
        struct schema_origin *origins = realloc(schema->origins, capacity * sizeof *origins);
        if (origins == NULL) return above;
        schema->origins = origins;
        schema->origin_capacity = capacity;
    }
    /* a copy: problems are told long after the schema's text is gone */
    char *copy = arena_copy(&schema->arena, keyword.data, keyword.length);
    if (copy == NULL) return above;
    if (keyword.data != NULL) keyword.data = (const uint8_t *)copy;
    schema->origins[schema->origin_count] = (struct schema_origin){above, keyword};
    return schema->origin_count++;
}

/* ---- nodes ---- */

formula schema_make(struct schema *schema, struct formula_node node) {
    if (schema->node_count == schema->node_capacity) {
        uint32_t capacity = schema->node_capacity == 0 ? 64 : schema->node_capacity * 2;
        if (!budget_reserve(&schema->budget, (capacity - schema->node_capacity) * sizeof *schema->nodes))
            return FORMULA_NONE;
        struct formula_node *nodes = realloc(schema->nodes, capacity * sizeof *nodes);
        if (nodes == NULL) return FORMULA_NONE;
        schema->nodes = nodes;
        schema->node_capacity = capacity;
    }
    if (!budget_spend(&schema->budget, 1)) return FORMULA_NONE;
    schema->nodes[schema->node_count] = node;
    return schema->node_count++;
}

formula schema_make_required(struct schema *schema, uint32_t origin, name_id name) {
    uint32_t *list = arena_alloc_array(&schema->arena, 1, sizeof *list);
    if (list == NULL) return FORMULA_NONE;
    list[0] = name;
    return schema_make(schema, (struct formula_node){.kind = F_REQUIRED, .origin = origin, .list = list, .count = 1});
}

formula schema_make_number(struct schema *schema, uint32_t origin, number_set set, number_set complement) {
    if (set == NUMBER_FAILED || complement == NUMBER_FAILED) {
        schema->beyond = !budget_exhausted(&schema->budget);
        return FORMULA_NONE;
    }
    return schema_make(schema, (struct formula_node){.kind = F_NUMBER, .origin = origin, .a = set, .b = complement});
}

formula schema_make_string(struct schema *schema, uint32_t origin, regex language) {
    if (language == REGEX_FAILED) return FORMULA_NONE;
    return schema_make(schema,
                       (struct formula_node){.kind = F_STRING, .origin = origin, .a = language, .b = REGEX_NOT_KNOWN});
}

formula schema_follow(const struct schema *schema, formula f) {
    for (int steps = 0; f != FORMULA_NONE && schema->nodes[f].kind == F_REF; steps++) {
        if (steps == SCHEMA_DEPTH_MAX) return FORMULA_NONE;
        f = schema->nodes[f].a;
    }
    return f;
}

/* ---- names ---- */

name_id schema_name(struct schema *schema, struct bytes_view text) {
    uint32_t local[64], *words = local, count = 1 + (uint32_t)((text.length + 3) / 4);
    if (count > 64) {
        words = calloc(count, sizeof *words);
        if (words == NULL) return INTERN_FAILED;
    } else {
        memset(words, 0, count * sizeof *words);
    }
    words[0] = (uint32_t)text.length;
    if (text.length > 0) memcpy(words + 1, text.data, text.length);
    name_id name = intern_put(&schema->names, words, count);
    if (words != local) free(words);
    return name;
}

struct bytes_view schema_name_text(const struct schema *schema, name_id name) {
    struct intern_item item = intern_get(&schema->names, name);
    return (struct bytes_view){(const uint8_t *)(item.words + 1), item.words[0]};
}

static int compare_named(const void *a, const void *b, void *named_) {
    const struct named_formula *named = named_;
    name_id x = named[*(const uint32_t *)a].name, y = named[*(const uint32_t *)b].name;
    return (x > y) - (x < y);
}

void properties_sort(struct properties *properties) {
    bool rising = true; /* as names come in the order of their ids unless they were met before */
    for (uint32_t i = 0; i < properties->named_count; i++) {
        properties->sorted[i] = i;
        rising &= i == 0 || properties->named[i - 1].name < properties->named[i].name;
    }
    if (!rising)
        qsort_r(properties->sorted, properties->named_count, sizeof *properties->sorted, compare_named,
                properties->named);
}

formula properties_named(const struct properties *properties, name_id name) {
    uint32_t low = 0, high = properties->named_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct named_formula *named = &properties->named[properties->sorted[middle]];
        if (named->name == name) return named->formula;
        if (named->name < name)
            low = middle + 1;
        else
            high = middle;
    }
    return FORMULA_NONE;
}

/* ---- life ---- */

enum status schema_create(const struct json_value *text, const struct schema_document *documents, size_t document_count,
                          int64_t fuel, int64_t bytes, struct grammar_problem *problem, struct schema **out) {
    *problem = (struct grammar_problem){0};
    struct schema *schema = calloc(1, sizeof *schema);
    if (schema == NULL) {
        snprintf(problem->reason, sizeof problem->reason, "out of memory");
        return STATUS_RESOURCE_EXHAUSTED;
    }
    schema->problem = problem;
    schema->budget = (struct grammar_budget){fuel, bytes};
    arena_init(&schema->arena, (size_t)bytes);
    intern_init(&schema->names, &schema->arena, &schema->budget);
    memo_init(&schema->built, &schema->budget);
    memo_init(&schema->constants, &schema->budget);
    memo_init(&schema->strings, &schema->budget);
    intern_init(&schema->constant_values, &schema->arena, &schema->budget);
    struct error err = {0};
    enum status status = regex_pool_create(&schema->budget, &schema->regexes, &err);
    if (status == STATUS_OK) status = number_pool_create(&schema->budget, &schema->numbers, &err);
    uint32_t root = schema_origin_add(schema, UINT32_MAX, (struct bytes_view){0});
    if (status != STATUS_OK || schema_make(schema, (struct formula_node){.kind = F_TRUE}) != FORMULA_TRUE ||
        schema_make(schema, (struct formula_node){.kind = F_FALSE}) != FORMULA_FALSE) {
        status = schema_too_costly(schema, root, "");
    } else {
        status = registry_create(schema, text, documents, document_count);
    }
    if (status == STATUS_OK) {
        struct schema_place place = {
            .value = text, .base = registry_base(schema, text, (struct bytes_view){0}), .origin = root};
        status = schema_read(schema, place, &schema->root);
    }
    if (status == STATUS_OK && !schema_merge(schema)) status = schema_too_costly(schema, root, "");
    if (status != STATUS_OK) {
        schema_destroy(schema);
        return status;
    }
    *out = schema;
    return STATUS_OK;
}

void schema_destroy(struct schema *schema) {
    if (schema == NULL) return;
    registry_destroy(schema->registry);
    regex_pool_destroy(schema->regexes);
    number_pool_destroy(schema->numbers);
    intern_deinit(&schema->names);
    memo_deinit(&schema->built);
    memo_deinit(&schema->constants);
    memo_deinit(&schema->strings);
    intern_deinit(&schema->constant_values);
    arena_deinit(&schema->arena);
    free(schema->nodes);
    free(schema->origins);
    free(schema);
}
