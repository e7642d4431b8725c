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

uint32_t array_items_possible(struct shapes *shapes, const struct array_form *form) {
    for (uint32_t i = 0; i < form->first_count && i < form->max; i++)
        if (!shape_satisfiable(shapes, form->first[i])) return i;
    if (form->first_count < form->max && !shape_satisfiable(shapes, form->others)) return form->first_count;
    return form->max;
}

/** Two items that can be equal. */
static uint32_t items_for_duplicate(struct shapes *shapes, const struct array_form *form) {
    for (uint32_t j = 1; j < form->first_count + 2 && j < form->max; j++)
        for (uint32_t i = 0; i < j; i++)
            if (shape_satisfiable(shapes, conjunction_and(shapes, array_item(form, i), array_item(form, j))))
                return j + 1;
    return UINT32_MAX;
}

/** How many items there will be: as many as are asked for, and one for each that a contains asks for beyond. */
static uint32_t items_expected(const struct array_form *form) {
    uint64_t out = form->min;
    for (uint32_t i = 0; i < form->contains_count; i++)
        if ((uint64_t)form->contains[i].from + form->contains[i].min > out)
            out = (uint64_t)form->contains[i].from + form->contains[i].min;
    return out >= UINT32_MAX ? UINT32_MAX - 1 : (uint32_t)out;
}

/** The bytes of the items from the first to `count`, each with a comma and a blank. */
static uint32_t items_length(struct shapes *shapes, const struct array_form *form, uint32_t count) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < count && i < form->first_count; i++) {
        uint32_t length = shape_shortest(shapes, form->first[i]);
        if (length == LENGTH_NEVER) return out; /* there are no more */
        out = length_add(out, length_add(2, length));
    }
    if (count <= form->first_count) return out;
    uint32_t each = shape_shortest(shapes, form->others);
    if (each == LENGTH_NEVER) return out;
    uint64_t all = ((uint64_t)each + 2) * (count - form->first_count);
    return length_add(out, all > LENGTH_NEVER / 2 ? LENGTH_NEVER / 2 : (uint32_t)all);
}

uint32_t measure_array(struct shapes *shapes, const struct array_form *form) {
    uint32_t items = items_expected(form), *counts = NULL, first, needed;
    for (uint32_t i = 0; i < form->contains_count; i++)
        if (form->contains[i].min > form->contains[i].max) return LENGTH_NEVER;
    if (form->duplicate) {
        needed = items_for_duplicate(shapes, form);
        if (needed == UINT32_MAX) return LENGTH_NEVER;
        if (needed > items) items = needed;
    }
    if (items == 0) return 2;
    struct array_progress progress = {.max = array_items_possible(shapes, form)};
    if (items > progress.max) return LENGTH_NEVER;
    if (form->contains_count > 0 && (counts = calloc(form->contains_count, sizeof *counts)) == NULL)
        return shapes_exhausted(shapes, 0) ? 0 : LENGTH_NEVER;
    progress.counts = counts;
    first = shape_shortest(shapes, array_next(shapes, form, &progress));
    free(counts);
    if (first == LENGTH_NEVER) return first;
    /* brackets, and a comma with a blank after each but the last */
    uint32_t all = items_length(shapes, form, items);
    return all < first + 2 ? first + 2 : all;
}
