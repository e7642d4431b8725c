/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * How many values a conjunction has, where they are few: items that must differ (uniqueItems) may run out of them.
 *
 * Exact for scalars. For arrays and objects what is counted is there: at least so many, or so many that it does not matter.
 */
#include "engine/grammar/shape_internal.h"

enum { COUNT_DEPTH_MAX = 6, COUNT_ITEMS_MAX = 16, COUNT_FORMS_MAX = 32 };

static uint64_t count_of(struct shapes *shapes, conjunction c, uint64_t limit, int depth);

static uint64_t times(uint64_t a, uint64_t b, uint64_t limit) {
    return b != 0 && a > limit / b ? limit : a * b < limit ? a * b : limit;
}

static uint64_t count_object(struct shapes *shapes, struct object_form *form, uint64_t limit, int depth) {
    if (form->max == 0 || form->constant) return 1;
    if (form->max < form->order_count || form->min > form->required_count || form->dependent_count > 0) return limit;
    if (object_other_names(shapes, form) != REGEX_NOTHING) return limit;
    uint64_t out = 1;
    for (uint32_t i = 0; i < form->order_count && out > 0; i++) {
        uint64_t of = count_of(shapes, object_named(shapes, form, form->order[i]), limit, depth + 1);
        bool required = false;
        for (uint32_t r = 0; r < form->required_count && !required; r++) required = form->required[r] == form->order[i];
        out = times(out, of + !required, limit);
    }
    return out > 1 && form->obligation_count > 0 ? 1 : out; /* what an obligation leaves is not counted */
}

static uint64_t count_array(struct shapes *shapes, const struct array_form *form, uint64_t limit, int depth) {
    uint32_t longest = array_items_possible(shapes, form);
    if (longest == 0 || form->constant) return 1;
    bool unique = form->unique && form->first_count == 0; /* items of one set: each takes one of it away */
    if ((longest > COUNT_ITEMS_MAX && !unique) || form->contains_count > 0 || form->unique != unique || form->duplicate)
        return limit;
    uint64_t out = form->min == 0, of = 1;
    for (uint32_t i = 0; i < longest && out < limit && of > 0; i++) {
        uint64_t values = count_of(shapes, array_item(form, i), limit, depth + 1);
        if (unique) values = values > i ? values - i : 0;
        of = times(of, values, limit);
        if (i + 1 >= form->min) out = out + of < limit ? out + of : limit;
    }
    return out;
}

/* ---- unions ---- */

/** No object is of both forms: a property that one requires cannot be there in the other, or as the other wants it. */
static bool objects_exclude(struct shapes *shapes, struct object_form *a, struct object_form *b) {
    for (uint32_t i = 0; i < a->required_count && i < COUNT_ITEMS_MAX; i++) {
        conjunction x = object_named(shapes, a, a->required[i]), y = object_named(shapes, b, a->required[i]);
        if (!shape_satisfiable(shapes, conjunction_and(shapes, x, y))) return true;
    }
    return false;
}

static bool arrays_exclude(struct shapes *shapes, const struct array_form *a, const struct array_form *b) {
    if (a->min > b->max || b->min > a->max) return true;
    for (uint32_t i = 0; i < a->min && i < b->min && i < COUNT_ITEMS_MAX; i++)
        if (!shape_satisfiable(shapes, conjunction_and(shapes, array_item(a, i), array_item(b, i)))) return true;
    return false;
}

/** Forms that have no value in common with one before are added up, and so are forms of one value; of others the largest counts. */
struct added {
    uint64_t sum, most;
};
static void add_form(struct added *added, uint64_t of, bool apart) {
    if (apart || of <= 1)
        added->sum += of;
    else if (of > added->most)
        added->most = of;
}

static uint64_t count_arrays(struct shapes *shapes, const struct shape *shape, uint64_t limit, int depth) {
    struct added added = {0};
    for (uint32_t i = 0; i < shape->array_count && added.sum < limit && added.most < limit; i++) {
        bool apart = shape->array_count <= COUNT_FORMS_MAX;
        for (uint32_t j = 0; j < shape->array_count && apart; j++)
            apart = i == j || arrays_exclude(shapes, shape->arrays[i], shape->arrays[j]);
        add_form(&added, count_array(shapes, shape->arrays[i], limit, depth), apart);
    }
    return added.sum + added.most;
}

static uint64_t count_objects(struct shapes *shapes, const struct shape *shape, uint64_t limit, int depth) {
    struct added added = {0};
    for (uint32_t i = 0; i < shape->object_count && added.sum < limit && added.most < limit; i++) {
        bool apart = shape->object_count <= COUNT_FORMS_MAX;
        for (uint32_t j = 0; j < shape->object_count && apart; j++)
            apart = i == j || objects_exclude(shapes, shape->objects[i], shape->objects[j]) ||
                    objects_exclude(shapes, shape->objects[j], shape->objects[i]);
        add_form(&added, count_object(shapes, shape->objects[i], limit, depth), apart);
    }
    return added.sum + added.most;
}

static uint64_t count_of(struct shapes *shapes, conjunction c, uint64_t limit, int depth) {
    const struct shape *shape = shape_of(shapes, c, SHAPE_SCALARS | SHAPE_ARRAYS | SHAPE_OBJECTS);
    if (shape == NULL) return limit;
    if (depth > COUNT_DEPTH_MAX && shape->array_count + shape->object_count > 0) return limit;
    uint64_t out = count_arrays(shapes, shape, limit, depth);
    if (out < limit) out += count_objects(shapes, shape, limit, depth);
    out += (uint64_t)__builtin_popcount(shape->constants);
    out += regex_count(shapes->schema->regexes, shape->string, limit);
    for (uint32_t i = 0; i < shape->number_count && out < limit; i++)
        out += number_count(shapes->schema->numbers, shape->numbers[i], limit);
    return out < limit ? out : limit;
}

uint64_t shape_count(struct shapes *shapes, conjunction c, uint64_t limit) {
    return count_of(shapes, c, limit, 0);
}
