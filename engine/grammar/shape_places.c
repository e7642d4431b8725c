/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What the next item of an array must be, so that the array can still be completed.
 *
 * How many items satisfy each `contains` is a vector, and an item moves it by the set of those that it satisfies. Sets that no item can have are left out; which
 * vectors lead to an end is found by going on from one with all vectors that can be reached, until one will do or no new one comes. That is exact as long
 * as the vectors are few (PLAN_MAX); beyond, each `contains` is looked at alone.
 *
 * Items that must differ are places for values: by Hall's theorem they can be filled if any n of them have n values at least, and a value may be taken by the next
 * item unless n places that come later have no more than n and it is one of them.
 */
#include "engine/grammar/shape_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PLAN_MAX = 1024, PLAN_CONTAINS_MAX = 5, PLACES_MAX = 8 };

/* ---- vectors ---- */

struct plan {
    struct shapes *shapes;
    const struct array_form *form;
    const struct array_progress *progress;
    uint32_t radix[PLAN_CONTAINS_MAX]; /* counts from 0 to radix - 1 are told apart */
    bool bounded[PLAN_CONTAINS_MAX];   /* radix - 1 is the most that may be; else it stands for that and more */
    uint32_t size;                     /* of all vectors */
};

/** False: too many to be looked at all. */
static bool plan_init(struct plan *plan, struct shapes *shapes, const struct array_form *form,
                      const struct array_progress *progress) {
    *plan = (struct plan){.shapes = shapes, .form = form, .progress = progress, .size = 1};
    if (form->contains_count > PLAN_CONTAINS_MAX) return false;
    for (uint32_t i = 0; i < form->contains_count; i++) {
        const struct array_contains *contains = &form->contains[i];
        plan->bounded[i] = contains->max < progress->max;
        uint32_t most = plan->bounded[i] ? contains->max : contains->min;
        if (most >= PLAN_MAX) return false;
        plan->radix[i] = most + 1;
        plan->size *= most + 1;
        if (plan->size > PLAN_MAX) return false;
    }
    return true;
}

/** The vector after an item that satisfies the set; UINT32_MAX: more than may be. */
static uint32_t plan_step(const struct plan *plan, uint32_t vector, uint32_t set) {
    uint32_t out = 0, scale = 1;
    for (uint32_t i = 0; i < plan->form->contains_count; i++) {
        uint32_t count = vector / scale % plan->radix[i] + (set >> i & 1);
        if (count == plan->radix[i]) {
            if (plan->bounded[i]) return UINT32_MAX;
            count--;
        }
        out += count * scale;
        scale *= plan->radix[i];
    }
    return out;
}

static bool plan_met(const struct plan *plan, uint32_t vector) {
    for (uint32_t i = 0; i < plan->form->contains_count; i++) {
        if (vector % plan->radix[i] < plan->form->contains[i].min) return false;
        vector /= plan->radix[i];
    }
    return true;
}

/** Values that satisfy the contains of the set, and none of the others that count at `index`. */
static conjunction plan_values(const struct plan *plan, uint32_t index, uint32_t set) {
    conjunction out = CONJUNCTION_TRUE;
    for (uint32_t i = 0; i < plan->form->contains_count; i++) {
        const struct array_contains *contains = &plan->form->contains[i];
        if (index < contains->from) {
            if (set >> i & 1) return CONJUNCTION_FALSE;
            continue;
        }
        conjunction what = set >> i & 1 ? contains->what : conjunction_not(plan->shapes, contains->what);
        out = conjunction_and(plan->shapes, out, what);
    }
    return out;
}

static conjunction item_at(const struct plan *plan, uint32_t index) {
    return conjunction_and(plan->shapes, array_item(plan->form, index), plan->progress->without);
}

/** Bit s: some item at `index` satisfies exactly the contains of s. */
static uint32_t plan_sets(const struct plan *plan, uint32_t index) {
    uint32_t out = 0;
    conjunction item = item_at(plan, index);
    if (item == CONJUNCTION_FALSE) return 0;
    for (uint32_t set = 0; set < 1u << plan->form->contains_count; set++)
        if (shape_satisfiable(plan->shapes, conjunction_and(plan->shapes, item, plan_values(plan, index, set))))
            out |= 1u << set;
    return out;
}

/** From this index on every item is asked for the same. */
static uint32_t plan_tail(const struct plan *plan) {
    uint32_t out = plan->form->first_count;
    for (uint32_t i = 0; i < plan->form->contains_count; i++)
        if (plan->form->contains[i].from > out) out = plan->form->contains[i].from;
    return out;
}

struct vectors {
    uint64_t bits[PLAN_MAX / 64];
};

static bool any_met(const struct plan *plan, const struct vectors *now) {
    for (uint32_t v = 0; v < plan->size; v++)
        if (now->bits[v / 64] >> v % 64 & 1 && plan_met(plan, v)) return true;
    return false;
}

static struct vectors advance(const struct plan *plan, const struct vectors *now, uint32_t sets) {
    struct vectors out = {0};
    for (uint32_t v = 0; v < plan->size; v++) {
        if (!(now->bits[v / 64] >> v % 64 & 1)) continue;
        for (uint32_t set = 0; set < 1u << plan->form->contains_count; set++) {
            uint32_t next = sets >> set & 1 ? plan_step(plan, v, set) : UINT32_MAX;
            if (next != UINT32_MAX) out.bits[next / 64] |= 1ull << next % 64;
        }
    }
    return out;
}

/** An array of `index` items with these counts can be completed. */
static bool plan_feasible(const struct plan *plan, uint32_t index, uint32_t vector) {
    struct vectors now = {0}, next;
    uint32_t tail = plan_tail(plan);
    now.bits[vector / 64] |= 1ull << vector % 64;
    for (;; index++) {
        bool met = any_met(plan, &now);
        if (index >= plan->form->min && met) return true;
        if (index >= plan->progress->max || plan->shapes->declined ||
            !budget_spend(&plan->shapes->schema->budget, 1 + plan->size / 16))
            return false;
        next = advance(plan, &now, plan_sets(plan, index));
        if (index >= tail && memcmp(&next, &now, sizeof now) == 0)
            return met && plan->form->min <= plan->progress->max; /* more items change nothing */
        now = next;
    }
}

/** `item` without the sets after which there is no end. */
static conjunction plan_next(const struct plan *plan, uint32_t index, conjunction item) {
    uint32_t vector = 0, scale = 1, sets = plan_sets(plan, index), good = 0;
    for (uint32_t i = 0; i < plan->form->contains_count; i++) {
        uint32_t count = plan->progress->counts[i];
        vector += (count < plan->radix[i] ? count : plan->radix[i] - 1) * scale;
        scale *= plan->radix[i];
    }
    for (uint32_t set = 0; set < 1u << plan->form->contains_count; set++) {
        uint32_t next = sets >> set & 1 ? plan_step(plan, vector, set) : UINT32_MAX;
        if (next != UINT32_MAX && plan_feasible(plan, index + 1, next)) good |= 1u << set;
    }
    if (good == 0) return CONJUNCTION_FALSE;
    if ((good & (good - 1)) == 0) /* one way only */
        return conjunction_and(plan->shapes, item, plan_values(plan, index, (uint32_t)__builtin_ctz(good)));
    for (uint32_t set = 0; set < 1u << plan->form->contains_count; set++)
        if ((sets & ~good) >> set & 1)
            item = conjunction_and(plan->shapes, item, conjunction_not(plan->shapes, plan_values(plan, index, set)));
    return item;
}

/* ---- too many vectors ---- */

/** Items from `index` on that can satisfy `contains`, counted up to `limit`. */
static uint32_t places_left(const struct plan *plan, const struct array_contains *contains, uint32_t index,
                            uint32_t limit) {
    const struct array_form *form = plan->form;
    uint32_t found = 0, i = index > contains->from ? index : contains->from, max = plan->progress->max;
    for (; i < form->first_count && i < max && found < limit; i++)
        found += shape_satisfiable(plan->shapes, conjunction_and(plan->shapes, item_at(plan, i), contains->what));
    if (i >= max || found >= limit) return found;
    if (!shape_satisfiable(plan->shapes, conjunction_and(plan->shapes, item_at(plan, i), contains->what))) return found;
    return max - i > limit - found ? limit : found + (max - i);
}

/** Each contains alone. */
static conjunction alone_next(const struct plan *plan, uint32_t index, conjunction item) {
    for (uint32_t i = 0; i < plan->form->contains_count; i++) {
        const struct array_contains *contains = &plan->form->contains[i];
        uint32_t count = plan->progress->counts[i];
        if (index < contains->from) continue;
        if (count >= contains->max) {
            item = conjunction_and(plan->shapes, item, conjunction_not(plan->shapes, contains->what));
        } else if (count < contains->min) {
            uint32_t missing = contains->min - count, left = places_left(plan, contains, index + 1, missing);
            if (left + 1 < missing) return CONJUNCTION_FALSE;
            if (left < missing) item = conjunction_and(plan->shapes, item, contains->what);
        }
    }
    return item;
}

/* ---- items that differ ---- */

/** A value that satisfies one of both. */
static conjunction either(struct shapes *shapes, conjunction a, conjunction b) {
    return conjunction_not(shapes, conjunction_and(shapes, conjunction_not(shapes, a), conjunction_not(shapes, b)));
}

/** Places that have the same values. */
struct place {
    conjunction values;
    uint32_t count;
};

/** The places that must be filled behind `index` and have few values; false: a place has none. */
static bool few_valued(const struct plan *plan, uint32_t index, struct place *places, uint32_t *count) {
    const struct array_form *form = plan->form;
    uint32_t needed = form->min > index + 1 ? form->min - index - 1 : 0;
    *count = 0;
    for (uint32_t i = index + 1; i < form->min && *count < PLACES_MAX;) {
        uint32_t same = i < form->first_count ? 1 : form->min - i;
        conjunction values = item_at(plan, i);
        i += same;
        uint64_t there = shape_count(plan->shapes, values, needed + 1);
        if (there > needed) continue; /* enough whatever the others take */
        if (there == 0) return false;
        uint32_t p = 0;
        while (p < *count && places[p].values != values) p++;
        if (p == *count) places[(*count)++] = (struct place){values, 0};
        places[p].count += same;
    }
    return true;
}

/** `item` without the values that later places need. */
static conjunction leave_values(const struct plan *plan, uint32_t index, conjunction item) {
    struct shapes *shapes = plan->shapes;
    struct place places[PLACES_MAX];
    uint32_t count;
    if (!few_valued(plan, index, places, &count)) return CONJUNCTION_FALSE;
    for (uint32_t set = 1; set < 1u << count; set++) {
        conjunction values = CONJUNCTION_FALSE;
        uint64_t needed = 0;
        for (uint32_t p = 0; p < count; p++) {
            if (!(set >> p & 1)) continue;
            values = values == CONJUNCTION_FALSE ? places[p].values : either(shapes, values, places[p].values);
            needed += places[p].count;
        }
        uint64_t there = shape_count(shapes, values, needed + 1);
        if (there < needed) return CONJUNCTION_FALSE;
        if (there == needed) item = conjunction_and(shapes, item, conjunction_not(shapes, values));
    }
    return item;
}

/** Items that differ: of what a contains still asks for there are enough values. */
static bool enough_to_contain(const struct plan *plan, uint32_t index) {
    if (index < plan->form->first_count) return true;
    conjunction item = item_at(plan, index);
    for (uint32_t i = 0; i < plan->form->contains_count; i++) {
        const struct array_contains *contains = &plan->form->contains[i];
        if (plan->progress->counts[i] >= contains->min) continue;
        uint64_t missing = contains->min - plan->progress->counts[i];
        if (shape_count(plan->shapes, conjunction_and(plan->shapes, item, contains->what), missing) < missing)
            return false;
    }
    return true;
}

conjunction array_next(struct shapes *shapes, const struct array_form *form, const struct array_progress *progress) {
    struct plan plan;
    if (progress->index >= progress->max || form->min > progress->max) return CONJUNCTION_FALSE;
    bool few = plan_init(&plan, shapes, form, progress);
    conjunction item = item_at(&plan, progress->index);
    if (form->contains_count > 0)
        item = few ? plan_next(&plan, progress->index, item) : alone_next(&plan, progress->index, item);
    if (form->unique && !enough_to_contain(&plan, progress->index)) return CONJUNCTION_FALSE;
    if (form->unique && form->min > progress->index + 1 && item != CONJUNCTION_FALSE)
        item = leave_values(&plan, progress->index, item);
    return item;
}
