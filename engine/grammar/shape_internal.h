/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by shape.c (conjunctions, scalars), shape_forms.c (choices multiplied out), shape_object.c, shape_array.c and shape_satisfy.c. */
#ifndef ENGINE_GRAMMAR_SHAPE_INTERNAL_H
#define ENGINE_GRAMMAR_SHAPE_INTERNAL_H

#include "engine/grammar/shape.h"

static inline formula literal_formula(uint32_t literal) {
    return literal >> 1;
}
static inline bool literal_negated(uint32_t literal) {
    return literal & 1;
}

/** Note that the budget is exhausted, or `keyword` at `origin` cannot be enforced. Both return false. */
bool shapes_exhausted(struct shapes *shapes, uint32_t origin);
bool shapes_decline(struct shapes *shapes, uint32_t origin, const char *keyword, const char *reason);

/** The union of forms of arrays or of objects. False: exhausted or declined. */
bool expand_arrays(struct shapes *shapes, conjunction c, struct shape *shape);
bool expand_objects(struct shapes *shapes, conjunction c, struct shape *shape);

/** A form of leaves that all hold; *out NULL: nothing satisfies it. False: exhausted or declined. */
bool build_array_form(struct shapes *shapes, const uint32_t *leaves, uint32_t count, struct array_form **out);
bool build_object_form(struct shapes *shapes, const uint32_t *leaves, uint32_t count, struct object_form **out);

/** Bytes of a short text of the form; LENGTH_NEVER. */
uint32_t measure_array(struct shapes *shapes, const struct array_form *form);
uint32_t measure_object(struct shapes *shapes, struct object_form *form);

static inline uint32_t length_add(uint32_t a, uint32_t b) {
    if (a == LENGTH_NEVER || b == LENGTH_NEVER) return LENGTH_NEVER;
    return a > LENGTH_NEVER - 1 - b ? LENGTH_NEVER - 1 : a + b;
}

#endif
