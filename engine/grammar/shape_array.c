/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/shape_internal.h"

#include <stdlib.h>
#include <string.h>

/** As many as the longest tuple that a leaf asks for. */
static uint32_t longest_tuple(const struct shapes *shapes, const uint32_t *leaves, uint32_t count) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct formula_node *node = schema_node(shapes->schema, literal_formula(leaves[i]));
        if (node->kind == F_ITEMS && node->count > out) out = node->count;
    }
    return out;
}

static bool add_contains(struct shapes *shapes, struct array_form *form, struct array_contains *list,
                         const struct formula_node *node) {
    struct array_contains *contains = &list[form->contains_count++];
    *contains = (struct array_contains){conjunction_of(shapes, node->a), node->list[0], node->list[1], node->b};
    return contains->what != CONJUNCTION_FAILED;
}

bool build_array_form(struct shapes *shapes, const uint32_t *leaves, uint32_t count, struct array_form **out) {
    struct schema *schema = shapes->schema;
    *out = NULL;
    struct array_form form = {.max = UINT32_MAX, .first_count = longest_tuple(shapes, leaves, count)};
    conjunction *first = arena_alloc_array(&schema->arena, form.first_count, sizeof *first);
    struct array_contains *contains = arena_alloc_array(&schema->arena, count, sizeof *contains);
    struct array_form *kept = arena_alloc(&schema->arena, sizeof *kept);
    if (first == NULL || contains == NULL || kept == NULL || !budget_spend(&schema->budget, 1 + form.first_count))
        return shapes_exhausted(shapes, 0);
    for (uint32_t i = 0; i < count; i++) {
        struct formula_node node = *schema_node(schema, literal_formula(leaves[i]));
        switch (node.kind) {
        case F_ITEMS:
            for (uint32_t j = 0; j < form.first_count; j++)
                first[j] = conjunction_with(shapes, first[j], j < node.count ? node.list[j] : node.a, false);
            form.others = conjunction_with(shapes, form.others, node.a, false);
            break;
        case F_ITEM_COUNT:
            if (node.a > form.min) form.min = node.a;
            if (node.b < form.max) form.max = node.b;
            break;
        case F_CONTAINS:
            if (!add_contains(shapes, &form, contains, &node)) return shapes_exhausted(shapes, node.origin);
            break;
        case F_UNIQUE:
            form.unique |= !literal_negated(leaves[i]);
            form.duplicate |= literal_negated(leaves[i]);
            break;
        default:
            break;
        }
    }
    if (shapes->declined) return false;
    form.first = first;
    form.contains = contains;
    if (form.min > form.max || (form.unique && form.duplicate)) return true;
    *kept = form;
    *out = kept;
    return true;
}

/** How many items there must be so that enough of them can satisfy `contains`; UINT32_MAX: there can never be enough. */
static uint32_t items_for(struct shapes *shapes, const struct array_form *form, const struct array_contains *contains) {
    uint32_t found = 0, i = contains->from;
    if (contains->min == 0) return 0;
    for (; i < form->first_count && i < form->max; i++) {
        found += shape_satisfiable(shapes, conjunction_and(shapes, form->first[i], contains->what));
        if (found == contains->min) return i + 1;
    }
    if (!shape_satisfiable(shapes, conjunction_and(shapes, form->others, contains->what))) return UINT32_MAX;
    uint64_t needed = (uint64_t)i + (contains->min - found);
    return needed > form->max ? UINT32_MAX : (uint32_t)needed;
}

/** Two items that can be equal. */
static uint32_t items_for_duplicate(struct shapes *shapes, const struct array_form *form) {
    for (uint32_t j = 1; j < form->first_count + 2 && j < form->max; j++)
        for (uint32_t i = 0; i < j; i++)
            if (shape_satisfiable(shapes, conjunction_and(shapes, array_item(form, i), array_item(form, j))))
                return j + 1;
    return UINT32_MAX;
}

/** What an item may be when it may not satisfy any `contains` that has its maximum at 0. */
static conjunction bounded_item(struct shapes *shapes, const struct array_form *form, uint32_t index) {
    conjunction item = array_item(form, index);
    for (uint32_t i = 0; i < form->contains_count; i++)
        if (form->contains[i].max == 0 && index >= form->contains[i].from)
            item = conjunction_and(shapes, item, conjunction_not(shapes, form->contains[i].what));
    return item;
}

uint32_t measure_array(struct shapes *shapes, const struct array_form *form) {
    uint32_t items = form->min, needed;
    for (uint32_t i = 0; i < form->contains_count; i++) {
        if (form->contains[i].min > form->contains[i].max) return LENGTH_NEVER;
        needed = items_for(shapes, form, &form->contains[i]);
        if (needed == UINT32_MAX) return LENGTH_NEVER;
        if (needed > items) items = needed;
    }
    if (form->duplicate) {
        needed = items_for_duplicate(shapes, form);
        if (needed == UINT32_MAX) return LENGTH_NEVER;
        if (needed > items) items = needed;
    }
    if (items == 0) return 2;
    if (items > form->max) return LENGTH_NEVER;
    uint32_t out = 0;
    for (uint32_t i = 0; i < items && i < form->first_count; i++)
        out = length_add(out, length_add(2, shape_shortest(shapes, bounded_item(shapes, form, i))));
    if (items > form->first_count) {
        uint32_t others = items - form->first_count;
        uint32_t each = length_add(2, shape_shortest(shapes, bounded_item(shapes, form, form->first_count)));
        if (each == LENGTH_NEVER) return LENGTH_NEVER;
        if (form->unique && others > 1 && shape_count(shapes, form->others, others) < others) return LENGTH_NEVER;
        uint64_t all = (uint64_t)each * others;
        out = length_add(out, all > LENGTH_NEVER - 1 ? LENGTH_NEVER - 1 : (uint32_t)all);
    }
    return out; /* brackets, and a comma with a blank after each but the last */
}
