/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Where in a schema it is that nothing satisfies: the smallest part that is impossible by itself. */
#include "engine/grammar/shape_internal.h"

#include <stdio.h>

enum {
    STEPS_MAX = 64, /* down the schema; a reference may lead back up */
    KEYWORD_BYTES = 32,
    TOGETHER_MAX = 32 /* assertions of one place of which those that exclude each other are looked for */
};

static bool is_impossible(struct shapes *shapes, formula f) {
    if (shapes->declined || f == FORMULA_NONE) return false;
    conjunction c = conjunction_of(shapes, f);
    return c != CONJUNCTION_FAILED && shape_shortest(shapes, c) == LENGTH_NEVER && !shapes->declined;
}

/** A name that "required" lists. */
struct required_name {
    bool found;
    name_id name;
    uint32_t origin; /* of "required" */
};

/** What a property that has to be there, and cannot have any value, must satisfy; FORMULA_NONE: there is no such one. */
static formula impossible_property(struct shapes *shapes, const struct formula_node *and, struct required_name *out) {
    const struct schema *schema = shapes->schema;
    for (uint32_t i = 0; i < and->count; i++) {
        const struct formula_node required = *schema_node(schema, and->list[i]);
        for (uint32_t n = 0; required.kind == F_REQUIRED && n < required.count; n++) {
            for (uint32_t j = 0; j < and->count; j++) {
                const struct formula_node *node = schema_node(schema, and->list[j]);
                if (node->kind != F_PROPERTIES) continue;
                formula value = properties_named(node->properties, required.list[n]);
                if (value == FORMULA_NONE || !is_impossible(shapes, value)) continue;
                *out = (struct required_name){true, required.list[n], required.origin};
                return value;
            }
        }
    }
    return FORMULA_NONE;
}

static bool impossible_together(struct shapes *shapes, const formula *list, uint32_t count, uint32_t left_out) {
    conjunction c = CONJUNCTION_TRUE;
    for (uint32_t i = 0; i < count && c != CONJUNCTION_FAILED; i++)
        if (i != left_out) c = conjunction_with(shapes, c, list[i], false);
    return c != CONJUNCTION_FAILED && shape_shortest(shapes, c) == LENGTH_NEVER && !shapes->declined;
}

/** Of assertions that exclude each other leave those that still do when there are no others; how many. */
static uint32_t leave_needed(struct shapes *shapes, formula *list, uint32_t count) {
    for (uint32_t i = count; i-- > 0;) {
        if (!impossible_together(shapes, list, count, i)) continue;
        for (uint32_t j = i + 1; j < count; j++) list[j - 1] = list[j];
        count--;
    }
    return count;
}

/** The last step of a place: a keyword, the name of a property, or a number in a list. */
static void write_keyword(const struct schema *schema, uint32_t origin, char out[KEYWORD_BYTES]) {
    struct bytes_view keyword = schema->origins[origin].keyword;
    if (keyword.data == NULL) keyword = bytes_view_string("");
    snprintf(out, KEYWORD_BYTES, "%.*s", keyword.length < KEYWORD_BYTES ? (int)keyword.length : KEYWORD_BYTES - 1,
             (const char *)keyword.data);
}

/** `"type", "minimum" and "maximum"`: places of assertions, those with more than one once. Cut to what fits. */
static void write_together(const struct schema *schema, const formula *list, uint32_t count, char *out, size_t bytes) {
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < count && used < bytes; i++) {
        char keyword[KEYWORD_BYTES];
        uint32_t origin = schema_node(schema, list[i])->origin;
        if (i > 0 && origin == schema_node(schema, list[i - 1])->origin) continue;
        write_keyword(schema, origin, keyword);
        used += (size_t)snprintf(out + used, bytes - used, "%s\"%s\"", i > 0 ? " and " : "", keyword);
    }
}

/** Tell of the place `f`, of which no single part is impossible by itself. */
static enum status decline_at(struct shapes *shapes, formula f) {
    struct schema *schema = shapes->schema;
    const struct formula_node node = *schema_node(schema, f); /* a copy: asking makes nodes */
    char keyword[KEYWORD_BYTES], together[160];
    write_keyword(schema, node.origin, keyword);
    if (node.kind == F_OR || node.kind == F_ONE_OF)
        return schema_decline(schema, STATUS_FAILED_PRECONDITION, node.origin, keyword, "no value satisfies %s of it",
                              node.kind == F_OR ? "any" : "exactly one");
    if (node.kind != F_AND || node.count < 2 || node.count > TOGETHER_MAX)
        return schema_decline(schema, STATUS_FAILED_PRECONDITION, node.origin, keyword, "no value satisfies it");
    formula list[TOGETHER_MAX];
    for (uint32_t i = 0; i < node.count; i++) list[i] = node.list[i];
    uint32_t count = leave_needed(shapes, list, node.count);
    uint32_t at = count - 1; /* a type alone is seldom what is wrong, and that of a tool's arguments may be ours */
    while (at > 0 && schema_node(schema, list[at])->kind == F_TYPE) at--;
    uint32_t origin = schema_node(schema, list[at])->origin;
    write_keyword(schema, origin, keyword);
    write_together(schema, list, count, together, sizeof together);
    return schema_decline(schema, STATUS_FAILED_PRECONDITION, origin, keyword, "no value satisfies %s", together);
}

enum status shapes_decline_nothing(struct shapes *shapes) {
    struct schema *schema = shapes->schema;
    formula at = schema_follow(schema, schema->root);
    for (int steps = 0; steps < STEPS_MAX && at != FORMULA_NONE; steps++) {
        const struct formula_node node = *schema_node(schema, at);
        formula part = FORMULA_NONE;
        struct required_name required = {0};
        for (uint32_t i = 0; node.kind == F_AND && i < node.count && part == FORMULA_NONE; i++)
            if (is_impossible(shapes, node.list[i])) part = node.list[i];
        if (node.kind == F_AND && part == FORMULA_NONE) part = impossible_property(shapes, &node, &required);
        if (part == FORMULA_FALSE && required.found) {
            struct bytes_view name = schema_name_text(schema, required.name);
            return schema_decline(schema, STATUS_FAILED_PRECONDITION, required.origin, "required",
                                  "no value may stand at \"%.*s\"", (int)(name.length < 64 ? name.length : 64),
                                  (const char *)name.data);
        }
        formula below = part == FORMULA_NONE || part == FORMULA_FALSE ? FORMULA_NONE : schema_follow(schema, part);
        if (below == FORMULA_NONE) break;
        at = below;
    }
    if (at == FORMULA_NONE)
        return schema_decline(schema, STATUS_FAILED_PRECONDITION, 0, "", "no value satisfies the schema");
    return decline_at(shapes, at);
}
