/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/number_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    REACH_POSITION =
        2 * EXPONENT_MAX + 2 /* no text of the machine is worth more than 10^this, or less than 10^-this but 0 */
};

/* ---- one side of a set ---- */

bool decimal_writable(struct decimal a) {
    if (a.count == 0) return true;
    int64_t position = decimal_position(a), fraction = a.exponent < 0 ? -a.exponent : 0;
    if (a.count > NUMBER_DIGITS_MAX) return false;
    if (position - 1 >= -EXPONENT_MAX && position - 1 <= EXPONENT_MAX) return true;
    return (position > 1 ? position : 1) + fraction <= NUMBER_DIGITS_MAX;
}

static struct number_bound mirrored(struct number_bound bound) {
    if (bound.at.count != 0) bound.at.negative = !bound.at.negative;
    return bound;
}

struct side_bounds entry_side(const struct number_entry *entry, bool negative) {
    struct number_bound lower = negative ? mirrored(entry->upper) : entry->lower;
    struct number_bound upper = negative ? mirrored(entry->lower) : entry->upper;
    struct side_bounds side = {.lower = {.present = true}};
    if (lower.present && !lower.at.negative) side.lower = lower;
    if (side.lower.at.count != 0) {
        int64_t position = decimal_position(side.lower.at);
        if (position > REACH_POSITION) side.empty = true;
        if (position < -REACH_POSITION) side.lower = (struct number_bound){.present = true, .open = true};
    }
    if (!upper.present) return side;
    if (upper.at.negative) {
        side.empty = true;
        return side;
    }
    side.upper = upper;
    if (upper.at.count != 0) {
        int64_t position = decimal_position(upper.at);
        if (position > REACH_POSITION) side.upper = (struct number_bound){0};
        if (position < -REACH_POSITION) side.upper = (struct number_bound){.present = true};
    }
    int order = side.upper.present ? decimal_compare(side.lower.at, side.upper.at) : -1;
    if (order > 0 || (order == 0 && (side.lower.open || side.upper.open))) side.empty = true;
    return side;
}

/* ---- members ---- */

static bool list_contains(const struct decimal_list *list, struct decimal x) {
    uint32_t low = 0, high = list->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = decimal_compare(list->items[middle], x);
        if (order == 0) return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool in_bounds(const struct number_entry *entry, struct decimal x) {
    if (entry->lower.present) {
        int order = decimal_compare(x, entry->lower.at);
        if (order < 0 || (order == 0 && entry->lower.open)) return false;
    }
    if (entry->upper.present) {
        int order = decimal_compare(x, entry->upper.at);
        if (order > 0 || (order == 0 && entry->upper.open)) return false;
    }
    return true;
}

/** But for what is excluded one by one. */
static bool fits_rules(const struct number_entry *entry, struct decimal x) {
    if (!in_bounds(entry, x)) return false;
    if (entry->multiple.count != 0 && !decimal_divides(entry->multiple, x)) return false;
    for (uint32_t i = 0; i < entry->non_multiples.count; i++) {
        if (decimal_divides(entry->non_multiples.items[i], x)) return false;
    }
    return true;
}

bool entry_contains(const struct number_entry *entry, struct decimal x) {
    if (entry->listed) return list_contains(&entry->members, x);
    return fits_rules(entry, x) && !list_contains(&entry->excluded, x);
}

bool number_contains(struct number_pool *pool, number_set set, struct bytes_view text) {
    if (set == NUMBER_NONE || set == NUMBER_FAILED) return false;
    if (set == NUMBER_ANY) return true;
    uint8_t *buffer = malloc(text.length + 1);
    struct decimal x;
    bool contains = buffer != NULL && decimal_read_any(text, buffer, &x) && entry_contains(entry_of(pool, set), x);
    free(buffer);
    return contains;
}

uint64_t number_count(struct number_pool *pool, number_set set, uint64_t limit) {
    if (set == NUMBER_NONE) return 0;
    if (set == NUMBER_ANY || set == NUMBER_FAILED) return limit;
    struct number_entry *entry = entry_of(pool, set);
    if (entry->listed) return entry->members.count < limit ? entry->members.count : limit;
    const struct number_form *form = pool->force_big ? NULL : entry_form(pool, entry);
    if (form != NULL) return form_count(form, limit);
    const struct number_big *big = entry_big(pool, entry);
    return big != NULL ? big_count(pool, big, limit) : limit;
}

/* ---- interning ---- */

static uint32_t hash_bytes(uint32_t hash, const void *data, size_t length) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

static uint32_t hash_decimal(uint32_t hash, struct decimal a) {
    hash = (hash ^ a.negative ^ ((uint32_t)a.exponent << 1)) * 16777619u;
    hash = (hash ^ (uint32_t)a.leading) * 16777619u;
    hash = (hash ^ (uint32_t)(a.leading >> 32)) * 16777619u;
    return a.count <= LEADING_DIGITS ? hash : hash_bytes(hash, a.digits, a.count);
}

static uint32_t hash_list(uint32_t hash, const struct decimal_list *list) {
    hash = (hash ^ list->count) * 16777619u;
    for (uint32_t i = 0; i < list->count; i++) hash = hash_decimal(hash, list->items[i]);
    return hash;
}

static uint32_t hash_bound(uint32_t hash, struct number_bound bound) {
    hash = (hash ^ (bound.present + 2u * bound.open)) * 16777619u;
    return hash_decimal(hash, bound.at);
}

static uint32_t hash_entry(const struct number_entry *entry) {
    uint32_t hash = hash_bound(hash_bound(2166136261u ^ entry->listed, entry->lower), entry->upper);
    hash = hash_decimal(hash, entry->multiple);
    hash = hash_list(hash_list(hash_list(hash, &entry->non_multiples), &entry->excluded), &entry->members);
    return hash ^ (hash >> 15);
}

static bool lists_equal(const struct decimal_list *a, const struct decimal_list *b) {
    if (a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (decimal_compare(a->items[i], b->items[i]) != 0) return false;
    }
    return true;
}

static bool bounds_equal(struct number_bound a, struct number_bound b) {
    return a.present == b.present && a.open == b.open && decimal_compare(a.at, b.at) == 0;
}

static bool entries_equal(const struct number_entry *a, const struct number_entry *b) {
    return a->hash == b->hash && a->listed == b->listed && bounds_equal(a->lower, b->lower) &&
           bounds_equal(a->upper, b->upper) && decimal_compare(a->multiple, b->multiple) == 0 &&
           lists_equal(&a->non_multiples, &b->non_multiples) && lists_equal(&a->excluded, &b->excluded) &&
           lists_equal(&a->members, &b->members);
}

static uint32_t entry_hash_at(const struct number_pool *pool, uint32_t index) {
    return pool->entries[index].hash;
}

static void make_rulers(struct number_entry *entry);

static number_set intern(struct number_pool *pool, struct number_entry *entry) {
    entry->hash = hash_entry(entry);
    if (!budget_spend(pool->budget, 1) || !index_reserve(pool, &pool->entry_index, entry_hash_at)) return NUMBER_FAILED;
    const struct index_table *table = &pool->entry_index;
    for (uint32_t slot = entry->hash & (table->size - 1); table->slots[slot] != 0;
         slot = (slot + 1) & (table->size - 1)) {
        if (entries_equal(&pool->entries[table->slots[slot] - 1], entry)) return table->slots[slot] - 1;
    }
    uint32_t index = pool->entries_count;
    if (!pool_grow(pool, &pool->entries, &pool->entries_capacity, index + 1, sizeof *pool->entries))
        return NUMBER_FAILED;
    make_rulers(entry);
    pool->entries[index] = *entry;
    pool->entries_count++;
    index_put(&pool->entry_index, entry->hash, index);
    return index;
}

/* ---- rulers ---- */

static struct number_special special_of(struct decimal at, enum special_kind kind, bool open) {
    struct number_special special = {.position = (int32_t)decimal_position(at), .kind = (uint8_t)kind, .open = open};
    uint32_t count = at.count < WIDE_DIGITS ? at.count : WIDE_DIGITS;
    for (uint32_t i = 0; i < count; i++) special.leading = special.leading * 10 + (at.digits[i] - '0');
    special.leading *= ten_to[WIDE_DIGITS - count];
    special.more = at.count > WIDE_DIGITS;
    return special;
}

static void make_ruler(const struct number_entry *entry, bool negative, struct number_ruler *ruler) {
    struct side_bounds side = entry_side(entry, negative);
    const struct decimal *multiple = &entry->multiple;
    ruler->multiples = multiple->count != 0;
    if (ruler->multiples) {
        bool power = multiple->count == 1 && multiple->digits[0] == '1';
        if (!power || multiple->exponent > CLEAR_GRID_MAX || multiple->exponent < -CLEAR_GRID_MAX) return;
        ruler->grid = (int16_t)-multiple->exponent;
    }
    if (entry->listed || entry->non_multiples.count != 0 || side.empty) return;
    if (side.lower.at.count != 0)
        ruler->specials[ruler->count++] = special_of(side.lower.at, SPECIAL_LOWER, side.lower.open);
    if (side.upper.present) {
        ruler->zero_only = side.upper.at.count == 0;
        if (!ruler->zero_only)
            ruler->specials[ruler->count++] = special_of(side.upper.at, SPECIAL_UPPER, side.upper.open);
    }
    bool zero_excluded = false;
    for (uint32_t i = 0; i < entry->excluded.count; i++) {
        struct decimal at = entry->excluded.items[i];
        if (at.count == 0) zero_excluded = true;
        if (at.count == 0 || at.negative != negative || !decimal_writable(at)) continue;
        if (ruler->count == CLEAR_SPECIALS) return;
        ruler->specials[ruler->count++] = special_of(at, SPECIAL_EXCLUDED, false);
    }
    ruler->usable = true;
    ruler->all = ruler->count == 0 && !ruler->zero_only && !side.lower.open && !zero_excluded && !ruler->multiples;
}

static void make_rulers(struct number_entry *entry) {
    memset(entry->rulers, 0, sizeof entry->rulers);
    make_ruler(entry, false, &entry->rulers[0]);
    make_ruler(entry, true, &entry->rulers[1]);
}

/* ---- constructors ---- */

static bool copy_decimal(struct number_pool *pool, struct bytes_view text, struct decimal *out) {
    uint8_t *buffer = pool_alloc(pool, text.length, 1);
    return buffer != NULL && decimal_read(text, buffer, out);
}

/** What the forms can be made of in reasonable time. */
static bool reasonable(struct decimal a) {
    return a.count <= DECIMAL_DIGITS_MAX;
}

static bool reasonable_multiple(struct decimal a) {
    int64_t position = decimal_position(a);
    return reasonable(a) && a.count != 0 && !a.negative && position <= DECIMAL_DIGITS_MAX &&
           position >= -DECIMAL_DIGITS_MAX;
}

static bool read_bound(struct number_pool *pool, struct bytes_view text, bool open, struct number_bound *out) {
    *out = (struct number_bound){.present = true, .open = open};
    return copy_decimal(pool, text, &out->at) && reasonable(out->at);
}

number_set number_at_least(struct number_pool *pool, struct bytes_view text, bool exclusive) {
    struct number_entry entry = {0};
    return read_bound(pool, text, exclusive, &entry.lower) ? intern(pool, &entry) : NUMBER_FAILED;
}

number_set number_at_most(struct number_pool *pool, struct bytes_view text, bool exclusive) {
    struct number_entry entry = {0};
    return read_bound(pool, text, exclusive, &entry.upper) ? intern(pool, &entry) : NUMBER_FAILED;
}

number_set number_multiple_of(struct number_pool *pool, struct bytes_view text) {
    struct number_entry entry = {0};
    bool read = copy_decimal(pool, text, &entry.multiple) && reasonable_multiple(entry.multiple);
    return read ? intern(pool, &entry) : NUMBER_FAILED;
}

number_set number_not_multiple_of(struct number_pool *pool, struct bytes_view text) {
    struct number_entry entry = {.non_multiples.count = 1};
    entry.non_multiples.items = pool_alloc(pool, 1, sizeof *entry.non_multiples.items);
    if (entry.non_multiples.items == NULL || !copy_decimal(pool, text, entry.non_multiples.items)) return NUMBER_FAILED;
    return reasonable_multiple(entry.non_multiples.items[0]) ? intern(pool, &entry) : NUMBER_FAILED;
}

static int compare_items(const void *a, const void *b) {
    return decimal_compare(*(const struct decimal *)a, *(const struct decimal *)b);
}

static bool read_list(struct number_pool *pool, const struct bytes_view *texts, size_t count,
                      struct decimal_list *out) {
    if (count > UINT32_MAX / 2 || !budget_spend(pool->budget, (int64_t)count / 4)) return false;
    struct decimal *items = pool_alloc(pool, count, sizeof *items);
    if (items == NULL) return false;
    for (size_t i = 0; i < count; i++) {
        if (!copy_decimal(pool, texts[i], &items[i])) return false;
    }
    if (count > 1) qsort(items, count, sizeof *items, compare_items);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || decimal_compare(items[kept - 1], items[i]) != 0) items[kept++] = items[i];
    }
    *out = (struct decimal_list){.items = items, .count = (uint32_t)kept};
    return true;
}

/** NUMBER_NONE if nothing that the machine can write is in it. */
static number_set decided(struct number_pool *pool, struct number_entry *entry) {
    if (entry->listed && entry->members.count == 0) return NUMBER_NONE;
    number_set set = intern(pool, entry);
    if (set == NUMBER_FAILED) return set;
    number_state start = number_start(pool, set);
    if (start == NUMBER_STATE_FAILED) return NUMBER_FAILED;
    return start == NUMBER_DEAD ? NUMBER_NONE : set;
}

number_set number_one_of(struct number_pool *pool, const struct bytes_view *texts, size_t count) {
    struct number_entry entry = {.listed = true};
    return read_list(pool, texts, count, &entry.members) ? decided(pool, &entry) : NUMBER_FAILED;
}

number_set number_none_of(struct number_pool *pool, const struct bytes_view *texts, size_t count) {
    struct number_entry entry = {0};
    if (count == 0) return NUMBER_ANY;
    return read_list(pool, texts, count, &entry.excluded) ? intern(pool, &entry) : NUMBER_FAILED;
}

/* ---- intersection ---- */

/** Those of a's members that b has too. */
static number_set filter_members(struct number_pool *pool, const struct number_entry *a, const struct number_entry *b) {
    struct number_entry entry = {.listed = true};
    if (!budget_spend(pool->budget, a->members.count / 4)) return NUMBER_FAILED;
    entry.members.items = pool_alloc(pool, a->members.count, sizeof *entry.members.items);
    if (entry.members.items == NULL) return NUMBER_FAILED;
    for (uint32_t i = 0; i < a->members.count; i++) {
        if (entry_contains(b, a->members.items[i])) entry.members.items[entry.members.count++] = a->members.items[i];
    }
    return decided(pool, &entry);
}

static struct number_bound tighter(struct number_bound a, struct number_bound b, bool lower) {
    if (!a.present) return b;
    if (!b.present) return a;
    int order = decimal_compare(a.at, b.at);
    if (order == 0) return a.open ? a : b;
    return (order > 0) == lower ? a : b;
}

static bool merge_lists(struct number_pool *pool, const struct decimal_list *a, const struct decimal_list *b,
                        struct decimal_list *out) {
    if (a->count == 0 || b->count == 0) {
        *out = a->count != 0 ? *a : *b;
        return true;
    }
    struct decimal *items = pool_alloc(pool, (size_t)a->count + b->count, sizeof *items);
    if (items == NULL || !budget_spend(pool->budget, (a->count + b->count) / 4)) return false;
    uint32_t i = 0, j = 0, count = 0;
    while (i < a->count || j < b->count) {
        int order = i == a->count ? 1 : j == b->count ? -1 : decimal_compare(a->items[i], b->items[j]);
        items[count++] = order <= 0 ? a->items[i] : b->items[j];
        i += order <= 0;
        j += order >= 0;
    }
    *out = (struct decimal_list){.items = items, .count = count};
    return true;
}

static bool decimal_of_mpz(struct number_pool *pool, const mpz_t value, int exponent, struct decimal *out) {
    size_t length = mpz_sizeinbase(value, 10);
    char *text = pool_alloc(pool, length + 2, 1);
    if (text == NULL) return false;
    mpz_get_str(text, 10, value);
    uint32_t count = (uint32_t)strlen(text);
    while (count > 0 && text[count - 1] == '0') {
        count--;
        exponent++;
    }
    *out = decimal_of((const uint8_t *)text, count, exponent, false);
    return true;
}

/** Least common multiple: the least number of which both are divisors. */
static bool common_multiple(struct number_pool *pool, struct decimal a, struct decimal b, struct decimal *out) {
    if (a.count == 0 || b.count == 0 || decimal_divides(a, b) || decimal_divides(b, a)) {
        *out = a.count == 0 || (b.count != 0 && decimal_divides(a, b)) ? b : a;
        return true;
    }
    int exponent = a.exponent < b.exponent ? a.exponent : b.exponent;
    mpz_t *t = pool_temporaries(pool);
    decimal_to_mpz(a, -exponent, t[0]);
    decimal_to_mpz(b, -exponent, t[1]);
    mpz_lcm(t[0], t[0], t[1]);
    return decimal_of_mpz(pool, t[0], exponent, out) && reasonable_multiple(*out);
}

/** Only those that could be members otherwise: so that equal sets are equal more often, and searches short. */
static bool drop_needless(struct number_pool *pool, struct number_entry *entry) {
    uint32_t kept = 0;
    struct decimal *items = pool_alloc(pool, entry->excluded.count, sizeof *items);
    if (items == NULL || !budget_spend(pool->budget, entry->excluded.count / 4)) return false;
    for (uint32_t i = 0; i < entry->excluded.count; i++) {
        if (fits_rules(entry, entry->excluded.items[i])) items[kept++] = entry->excluded.items[i];
    }
    entry->excluded = (struct decimal_list){.items = items, .count = kept};
    return true;
}

number_set number_and(struct number_pool *pool, number_set a, number_set b) {
    if (a == NUMBER_FAILED || b == NUMBER_FAILED) return NUMBER_FAILED;
    if (a == NUMBER_NONE || b == NUMBER_NONE) return NUMBER_NONE;
    if (a == NUMBER_ANY || a == b) return b;
    if (b == NUMBER_ANY) return a;
    const struct number_entry *left = entry_of(pool, a), *right = entry_of(pool, b);
    if (left->listed && (!right->listed || left->members.count <= right->members.count))
        return filter_members(pool, left, right);
    if (right->listed) return filter_members(pool, right, left);
    struct number_entry entry = {.lower = tighter(left->lower, right->lower, true),
                                 .upper = tighter(left->upper, right->upper, false)};
    if (!common_multiple(pool, left->multiple, right->multiple, &entry.multiple)) return NUMBER_FAILED;
    if (!merge_lists(pool, &left->non_multiples, &right->non_multiples, &entry.non_multiples)) return NUMBER_FAILED;
    if (entry.non_multiples.count > NON_MULTIPLES_MAX) return NUMBER_FAILED;
    if (!merge_lists(pool, &left->excluded, &right->excluded, &entry.excluded)) return NUMBER_FAILED;
    if (entry.excluded.count != 0 && !drop_needless(pool, &entry)) return NUMBER_FAILED;
    return decided(pool, &entry);
}
