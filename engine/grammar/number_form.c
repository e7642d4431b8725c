/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A set in integers of 128 bits. Nearly all sets of real schemas are of this form, so nothing here allocates once it is made. */
#include "engine/grammar/number_internal.h"

#include <limits.h>

/* ---- making ---- */

/** The power of ten that makes `a` an integer; false when more than 36 digits would come of it. */
static bool widen_scale(struct decimal a, int *scale) {
    if (a.count == 0) return true;
    if (a.count > WIDE_DIGITS || a.exponent < -WIDE_DIGITS) return false;
    if (-a.exponent > *scale) *scale = -a.exponent;
    return true;
}

static bool convert(struct decimal a, struct number_form *form, wide *out) {
    if (!decimal_to_wide(a, form->scale, out)) return false;
    unsigned digits = wide_digits(*out);
    if (digits > form->digits) form->digits = digits;
    return digits <= WIDE_DIGITS;
}

static bool find_scale(const struct number_entry *entry, const struct side_bounds sides[2], int *scale) {
    const struct decimal_list *lists[] = {&entry->non_multiples, &entry->excluded, &entry->members};
    for (int i = 0; i < 2; i++) {
        if (sides[i].empty) continue;
        if (!widen_scale(sides[i].lower.at, scale) || !widen_scale(sides[i].upper.at, scale)) return false;
    }
    if (!widen_scale(entry->multiple, scale)) return false;
    for (int i = 0; i < 3; i++) {
        for (uint32_t j = 0; j < lists[i]->count; j++) {
            if (decimal_writable(lists[i]->items[j]) && !widen_scale(lists[i]->items[j], scale)) return false;
        }
    }
    return true;
}

/** The items of one sign (0 has both), ascending without it. */
static bool convert_list(struct number_pool *pool, struct number_form *form, const struct decimal_list *list,
                         bool negative, const wide **out, uint32_t *out_count) {
    uint32_t count = 0;
    if (list->count == 0) return true;
    wide *values = pool_alloc(pool, list->count, sizeof *values);
    if (values == NULL) return false;
    for (uint32_t i = 0; i < list->count; i++) {
        struct decimal at = list->items[negative ? list->count - 1 - i : i];
        if ((at.count != 0 && at.negative != negative) || !decimal_writable(at)) continue;
        if (!convert(at, form, &values[count++])) return false;
    }
    *out = values;
    *out_count = count;
    return true;
}

static bool member(const struct number_form *form, const struct number_side *side, wide x);

/** Bounds of a set of multiples are themselves multiples, and closed. */
static void round_bounds(const struct number_form *form, struct number_side *side) {
    wide rest = wide_remainder(side->lower, form->multiple);
    if (rest != 0)
        side->lower += form->multiple - rest;
    else if (side->lower_open)
        side->lower += form->multiple;
    side->lower_open = false;
    if (!side->bounded) return;
    rest = wide_remainder(side->upper, form->multiple);
    if (rest == 0 && side->upper_open) {
        if (side->upper == 0)
            side->empty = true;
        else
            side->upper -= form->multiple;
    } else {
        side->upper -= rest;
    }
    side->upper_open = false;
    if (side->lower > side->upper) side->empty = true;
}

static bool exists_between(const struct number_form *form, const struct number_side *side, wide first, wide last);

static void decide_empty(const struct number_form *form, struct number_side *side) {
    if (side->empty) return;
    if (form->listed) {
        side->empty = side->members_count == 0;
        return;
    }
    for (uint32_t i = 0; i < form->non_multiples_count && !form->dense; i++) {
        if (wide_remainder(form->multiple, form->non_multiples[i]) == 0) side->empty = true;
    }
    if (side->empty || !side->bounded) return;
    if (form->dense)
        side->empty = side->lower >= side->upper && !member(form, side, side->lower);
    else
        side->empty = !exists_between(form, side, side->lower, side->upper);
}

static bool make_side(struct number_pool *pool, const struct number_entry *entry, struct number_form *form,
                      const struct side_bounds *bounds, bool negative) {
    struct number_side *side = &form->sides[negative];
    *side = (struct number_side){.empty = bounds->empty};
    if (side->empty) return true;
    side->lower_open = bounds->lower.open;
    side->bounded = bounds->upper.present;
    side->upper_open = bounds->upper.open;
    if (!convert(bounds->lower.at, form, &side->lower) || !convert(bounds->upper.at, form, &side->upper)) return false;
    if (!convert_list(pool, form, &entry->excluded, negative, &side->excluded, &side->excluded_count)) return false;
    return convert_list(pool, form, &entry->members, negative, &side->members, &side->members_count);
}

static bool make_form(struct number_pool *pool, const struct number_entry *entry, struct number_form *form) {
    struct side_bounds bounds[2] = {entry_side(entry, false), entry_side(entry, true)};
    *form = (struct number_form){.budget = pool->budget, .listed = entry->listed};
    form->dense = !entry->listed && entry->multiple.count == 0;
    if (!find_scale(entry, bounds, &form->scale) || !convert(entry->multiple, form, &form->multiple)) return false;
    wide *values = pool_alloc(pool, entry->non_multiples.count, sizeof *values);
    if (values == NULL) return false;
    for (uint32_t i = 0; i < entry->non_multiples.count; i++) {
        if (!convert(entry->non_multiples.items[i], form, &values[i])) return false;
    }
    form->non_multiples = values;
    form->non_multiples_count = entry->non_multiples.count;
    for (int negative = 0; negative < 2; negative++) {
        if (!make_side(pool, entry, form, &bounds[negative], negative)) return false;
        if (form->multiple != 0 && !form->sides[negative].empty) round_bounds(form, &form->sides[negative]);
        decide_empty(form, &form->sides[negative]);
    }
    return true;
}

const struct number_form *entry_make_form(struct number_pool *pool, struct number_entry *entry) {
    entry->form_made = true;
    struct number_form *form = pool_alloc(pool, 1, sizeof *form);
    if (form != NULL && make_form(pool, entry, form)) entry->form = form;
    return entry->form;
}

/* ---- asking ---- */

/** How many of the ascending values are less than x. */
static uint32_t count_below(const wide *values, uint32_t count, wide x) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (values[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool listed_in(const wide *values, uint32_t count, wide x) {
    uint32_t at = count_below(values, count, x);
    return at < count && values[at] == x;
}

static bool excluded_by_multiple(const struct number_form *form, wide x) {
    for (uint32_t i = 0; i < form->non_multiples_count; i++) {
        if (wide_remainder(x, form->non_multiples[i]) == 0) return true;
    }
    return false;
}

static bool member(const struct number_form *form, const struct number_side *side, wide x) {
    if (form->listed) return listed_in(side->members, side->members_count, x);
    if (x < side->lower || (x == side->lower && side->lower_open)) return false;
    if (side->bounded && (x > side->upper || (x == side->upper && side->upper_open))) return false;
    if (form->multiple != 0 && wide_remainder(x, form->multiple) != 0) return false;
    return !excluded_by_multiple(form, x) && !listed_in(side->excluded, side->excluded_count, x);
}

/** Multiples of a set that has both kinds of exclusions, one by one. */
static bool search_between(const struct number_form *form, const struct number_side *side, wide first, wide last) {
    for (wide x = first; x <= last; x += form->multiple) {
        if (!excluded_by_multiple(form, x) && !listed_in(side->excluded, side->excluded_count, x)) return true;
        if (!budget_spend(form->budget, 1)) return false;
    }
    return false;
}

/** Of a set of multiples: a member x with first <= x <= last, both inside of the bounds. */
static bool exists_between(const struct number_form *form, const struct number_side *side, wide first, wide last) {
    if (first > last) return false;
    bool excludes = form->non_multiples_count != 0 || side->excluded_count != 0;
    if (!excludes && last - first >= form->multiple - 1) return true; /* nearly always, and no division */
    wide over = wide_remainder(first, form->multiple);
    if (!excludes) return over == 0 || form->multiple - over <= last - first;
    if (over != 0) first += form->multiple - over;
    if (first > last) return false;
    last -= wide_remainder(last, form->multiple);
    if (form->non_multiples_count != 0) return search_between(form, side, first, last);
    uint32_t excluded = count_below(side->excluded, side->excluded_count, last + 1) -
                        count_below(side->excluded, side->excluded_count, first);
    return (last - first) / form->multiple >= excluded;
}

/** [D, D+1) * 10^-power, power > 0: at most one multiple of 10^-scale, D itself; and what lies between two of them. */
static bool exists_inside(const struct number_form *form, const struct number_side *side, wide value, unsigned power) {
    wide unit = power <= WIDE_DIGITS ? ten_to[power] : 0;
    wide floor = unit != 0 ? value / unit : 0;
    bool whole = unit != 0 ? floor * unit == value : value == 0;
    if (form->dense && side->lower <= floor && (!side->bounded || side->upper > floor)) return true;
    return whole && member(form, side, floor);
}

static wide remainder_of_power(wide value, int power, wide divisor) {
    wide rest = wide_remainder(value, divisor);
    for (; power > 0 && rest != 0; power--) rest = wide_remainder(rest * 10, divisor);
    return rest;
}

/** [D, D+1) * 10^power lies beyond all bounds and excluded values of a side without end, where only multiples matter. */
static bool exists_beyond(const struct number_form *form, wide value, int power) {
    if (form->dense || power > WIDE_DIGITS + 1) return true; /* 10^38 is a hundred times the longest gap */
    wide rest = remainder_of_power(value, power, form->multiple), rests[NON_MULTIPLES_MAX];
    for (uint32_t i = 0; i < form->non_multiples_count; i++)
        rests[i] = remainder_of_power(value, power, form->non_multiples[i]);
    for (wide offset = rest != 0 ? form->multiple - rest : 0; offset < ten_to[power]; offset += form->multiple) {
        uint32_t i = 0;
        while (i < form->non_multiples_count && wide_remainder(rests[i] + offset, form->non_multiples[i]) != 0) i++;
        if (i == form->non_multiples_count) return true;
    }
    return false;
}

bool form_exists(const struct number_form *form, const struct number_side *side, wide value, unsigned count, int e) {
    int power = e + form->scale;
    if (side->empty) return false;
    if (power < 0) return exists_inside(form, side, value, (unsigned)-power);
    if ((int)count + power > WIDE_DIGITS + 1)
        return !form->listed && !side->bounded && exists_beyond(form, value, power);
    wide first = value * ten_to[power], end = first + ten_to[power];
    if (form->listed) {
        uint32_t at = count_below(side->members, side->members_count, first);
        return at < side->members_count && side->members[at] < end;
    }
    if (side->lower > first) first = side->lower;
    if (!form->dense) {
        wide last = side->bounded && side->upper < end - 1 ? side->upper : end - 1;
        return first <= last && exists_between(form, side, first, last);
    }
    if (first >= end) return false;
    if (!side->bounded || side->upper > first) return true;
    return side->upper == first && member(form, side, first);
}

/** The least power for which value * 10^power is a multiple of `divisor`; INT_MAX if none is. */
static int power_divisible(wide value, wide divisor) {
    wide rest = wide_remainder(value, divisor);
    for (int power = 0; power <= 128; power++) { /* 2^128 has all the factors of two that a divisor could */
        if (rest == 0) return power;
        rest = wide_remainder(rest * 10, divisor);
    }
    return INT_MAX;
}

void form_powers_beyond(const struct number_form *form, wide value, int *out_from, int *out_until) {
    *out_from = form->multiple != 0 ? power_divisible(value, form->multiple) : 0;
    *out_until = INT_MAX;
    for (uint32_t i = 0; i < form->non_multiples_count; i++) {
        int power = power_divisible(value, form->non_multiples[i]);
        if (power < *out_until) *out_until = power;
    }
}

/** value * 10^power has more digits than anything in the form. */
static bool holds_beyond(const struct number_form *form, const struct number_side *side, wide value, int power) {
    int from, until;
    if (form->listed || side->bounded) return false;
    form_powers_beyond(form, value, &from, &until);
    return from <= power && power < until;
}

bool form_holds(const struct number_form *form, const struct number_side *side, wide value, unsigned count, int e) {
    int power = e + form->scale;
    if (side->empty) return false;
    if (value == 0) return member(form, side, 0);
    if (power < 0) {
        wide unit = -power <= WIDE_DIGITS ? ten_to[-power] : 0;
        wide floor = unit != 0 ? value / unit : 0;
        if (unit != 0 && floor * unit == value) return member(form, side, floor);
        return form->dense && side->lower <= floor && (!side->bounded || side->upper > floor);
    }
    if ((int)count + power > WIDE_DIGITS + 1) return holds_beyond(form, side, value, power);
    return member(form, side, value * ten_to[power]);
}

/* ---- counting ---- */

static uint64_t count_side(const struct number_form *form, const struct number_side *side, bool without_zero,
                           uint64_t limit) {
    if (side->empty) return 0;
    if (form->dense && !(side->bounded && side->lower == side->upper)) return limit;
    if (!side->bounded) return limit;
    wide step = form->dense ? 1 : form->multiple, first = side->lower;
    if (without_zero && first == 0) first += step;
    if (first > side->upper) return 0;
    wide count = (side->upper - first) / step + 1;
    if (form->non_multiples_count == 0) {
        count -= side->excluded_count - count_below(side->excluded, side->excluded_count, first);
        return count < limit ? (uint64_t)count : limit;
    }
    uint64_t found = 0;
    for (wide x = first; x <= side->upper && found < limit; x += step) {
        found += member(form, side, x);
        if (!budget_spend(form->budget, 1)) return limit;
    }
    return found;
}

uint64_t form_count(const struct number_form *form, uint64_t limit) {
    uint64_t above = count_side(form, &form->sides[0], false, limit),
             below = count_side(form, &form->sides[1], true, limit);
    return above < limit && below < limit - above ? above + below : limit;
}
