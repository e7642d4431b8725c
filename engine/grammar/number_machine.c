/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* States of the machine: interned, with their steps remembered row by row. */
#include "engine/grammar/number_internal.h"

#include <string.h>

enum { FUEL_OF_STEP = 1, NO_SYMBOL = 15 };

/* ---- interning ---- */

static uint32_t node_hash(const struct number_node *node) {
    uint64_t a = (uint64_t)node->value, b = (uint64_t)(node->value >> 64);
    uint64_t c = (uint64_t)node->set << 32 | (uint32_t)node->fraction << 16 | node->count;
    uint64_t d = (uint64_t)node->kind << 16 | (uint64_t)node->phase << 8 | node->flags;
    uint64_t hash = (a ^ 0x9E3779B97F4A7C15ULL) * 0xBF58476D1CE4E5B9ULL;
    hash = (hash ^ (hash >> 32) ^ c ^ (d << 40)) * 0x94D049BB133111EBULL;
    hash = (hash ^ (hash >> 29) ^ b) * 0xBF58476D1CE4E5B9ULL;
    return (uint32_t)(hash >> 32);
}

static uint32_t node_hash_at(const struct number_pool *pool, uint32_t index) {
    return node_hash(&pool->nodes[index]);
}

static bool nodes_equal(const struct number_node *a, const struct number_node *b) {
    return a->value == b->value && a->set == b->set && a->fraction == b->fraction && a->count == b->count &&
           a->kind == b->kind && a->phase == b->phase && a->flags == b->flags;
}

number_state node_intern(struct number_pool *pool, const struct number_node *node) {
    if (!index_reserve(pool, &pool->node_index, node_hash_at)) return NUMBER_STATE_FAILED;
    const struct index_table *table = &pool->node_index;
    uint32_t hash = node_hash(node);
    for (uint32_t slot = hash & (table->size - 1); table->slots[slot] != 0; slot = (slot + 1) & (table->size - 1)) {
        if (nodes_equal(&pool->nodes[table->slots[slot] - 1], node)) return table->slots[slot] - 1;
    }
    uint32_t index = pool->nodes_count;
    if (!pool_grow(pool, &pool->nodes, &pool->nodes_capacity, index + 1, sizeof *node)) return NUMBER_STATE_FAILED;
    pool->nodes[index] = *node;
    pool->nodes[index].row = 0;
    pool->nodes_count++;
    index_put(&pool->node_index, hash, index);
    return index;
}

/* ---- the mantissa of a state ---- */

static struct mantissa mantissa_of(const struct number_node *node) {
    return (struct mantissa){.value = node->value,
                             .count = node->count,
                             .fraction = node->fraction,
                             .large = (node->flags & NODE_LARGE) != 0};
}

/** The digits of a mantissa that outgrows 128 bits are kept as text; false without budget. */
static bool extend_large(struct number_pool *pool, struct mantissa *m, unsigned digit) {
    uint32_t at = pool->digits_count;
    if (!pool_grow(pool, &pool->digits, &pool->digits_capacity, at + m->count + 1u, 1)) return false;
    if (m->large) {
        memcpy(pool->digits + at, pool->digits + (uint32_t)m->value, m->count);
    } else {
        wide value = m->value;
        for (int i = m->count; i > 0; i--, value /= 10)
            pool->digits[at + (uint32_t)i - 1] = (uint8_t)('0' + (unsigned)(value % 10));
    }
    pool->digits[at + m->count] = (uint8_t)('0' + digit);
    pool->digits_count = at + m->count + 1;
    m->value = at;
    m->count++;
    m->large = true;
    return true;
}

static bool extend(struct number_pool *pool, struct mantissa *m, unsigned digit) {
    if (m->large || m->count == WIDE_DIGITS) return extend_large(pool, m, digit);
    m->value = m->value * 10 + digit;
    if (m->value != 0) m->count++;
    return true;
}

/* ---- steps of a prefix that is not clear ---- */

/** `next` with mantissa `m`: its state if it is live. */
static number_state settle(struct number_pool *pool, struct number_node *next, struct mantissa m) {
    struct number_entry *entry = entry_of(pool, next->set);
    bool negative = next->flags & NODE_NEGATIVE, scientific = next->flags & NODE_SCIENTIFIC;
    number_state clear;
    if (mantissa_written(m) > NUMBER_DIGITS_MAX) return NUMBER_DEAD;
    if (next->phase != PHASE_POINT && clear_enter(pool, next, m, &clear)) return clear;
    if (!reach_plain(pool, entry, negative, m, next->phase == PHASE_INTEGER) &&
        !(scientific && reach_scientific(pool, entry, negative, m)))
        return budget_exhausted(pool->budget) ? NUMBER_STATE_FAILED : NUMBER_DEAD;
    next->flags &= (uint8_t) ~(NODE_TAIL | NODE_LARGE | NODE_ACCEPTS);
    if (next->phase == PHASE_FRACTION && reach_is_tail(pool, entry, negative, m, scientific)) next->flags |= NODE_TAIL;
    if (next->phase != PHASE_POINT && reach_holds(pool, entry, negative, m, 0)) next->flags |= NODE_ACCEPTS;
    if (m.large) next->flags |= NODE_LARGE;
    next->value = m.value;
    next->count = m.count;
    next->fraction = m.fraction;
    return node_intern(pool, next);
}

static number_state first_digit(struct number_pool *pool, struct number_node *next, unsigned digit) {
    const struct number_ruler *ruler = &entry_of(pool, next->set)->rulers[(next->flags & NODE_NEGATIVE) != 0];
    if (ruler->all) return clear_enter_all(pool, digit, next->flags);
    bool negative_zero = digit == 0 && (next->flags & NODE_NEGATIVE);
    if (negative_zero && (next->flags & NODE_NO_POINT)) return NUMBER_DEAD;
    struct mantissa m = {.value = digit, .count = digit != 0};
    next->phase = digit == 0 ? PHASE_ZERO : PHASE_INTEGER;
    if (digit != 0 && !(next->flags & NODE_NO_EXPONENT)) next->flags |= NODE_SCIENTIFIC;
    return settle(pool, next, m);
}

static number_state minus(struct number_pool *pool, struct number_node *next) {
    next->phase = PHASE_MINUS;
    next->flags |= NODE_NEGATIVE;
    for (unsigned digit = 0; digit < 10; digit++) {
        struct number_node probe = *next;
        number_state state = first_digit(pool, &probe, digit);
        if (state == NUMBER_STATE_FAILED) return state;
        if (state != NUMBER_DEAD) return node_intern(pool, next);
    }
    return NUMBER_DEAD;
}

/** One digit more; the text of a large mantissa is only kept for a live state. */
static number_state extend_and_settle(struct number_pool *pool, struct number_node *next, struct mantissa m,
                                      unsigned digit) {
    uint32_t mark = pool->digits_count;
    if (!extend(pool, &m, digit)) return NUMBER_STATE_FAILED;
    number_state state = settle(pool, next, m);
    if (state == NUMBER_DEAD) pool->digits_count = mark;
    return state;
}

static number_state exact_digit(struct number_pool *pool, struct number_node *next, unsigned digit) {
    struct mantissa m = mantissa_of(next);
    switch (next->phase) {
    case PHASE_START:
    case PHASE_MINUS:
        return first_digit(pool, next, digit);
    case PHASE_INTEGER:
        next->flags &= (uint8_t)~NODE_SCIENTIFIC;
        return extend_and_settle(pool, next, m, digit);
    case PHASE_POINT:
    case PHASE_FRACTION:
        if (next->flags & NODE_TAIL) return digit == 0 ? node_intern(pool, next) : NUMBER_DEAD;
        next->phase = PHASE_FRACTION;
        m.fraction++;
        return extend_and_settle(pool, next, m, digit);
    default:
        return NUMBER_DEAD; /* a digit after 0 */
    }
}

static number_state exact_exponent(struct number_pool *pool, const struct number_node *node) {
    bool complete = node->phase == PHASE_ZERO || node->phase == PHASE_INTEGER || node->phase == PHASE_FRACTION;
    if (!complete || (node->flags & NODE_NO_EXPONENT)) return NUMBER_DEAD;
    struct exponent_set set = {0};
    reach_exponents(pool, entry_of(pool, node->set), node->flags & NODE_NEGATIVE, mantissa_of(node), &set);
    return budget_exhausted(pool->budget) ? NUMBER_STATE_FAILED : exponent_enter(pool, &set);
}

static number_state exact_step(struct number_pool *pool, struct number_node next, unsigned symbol) {
    if (symbol < 10) return exact_digit(pool, &next, symbol);
    if (symbol == SYMBOL_E) return exact_exponent(pool, &next);
    if (symbol == SYMBOL_MINUS) return next.phase == PHASE_START ? minus(pool, &next) : NUMBER_DEAD;
    if (symbol != SYMBOL_POINT || (next.phase != PHASE_ZERO && next.phase != PHASE_INTEGER)) return NUMBER_DEAD;
    if (next.flags & NODE_NO_POINT) return NUMBER_DEAD;
    next.phase = PHASE_POINT;
    return settle(pool, &next, mantissa_of(&next));
}

/* ---- public ---- */

static number_state start(struct number_pool *pool, number_set set, uint8_t flags) {
    if (set == NUMBER_NONE) return NUMBER_DEAD;
    if (set == NUMBER_FAILED) return NUMBER_STATE_FAILED;
    struct number_node node = {.kind = NODE_EXACT, .phase = PHASE_START, .set = set, .flags = flags};
    for (unsigned symbol = 0; symbol <= SYMBOL_MINUS; symbol++) {
        number_state next = exact_step(pool, node, symbol);
        if (next == NUMBER_STATE_FAILED) return next;
        if (next != NUMBER_DEAD) return node_intern(pool, &node);
    }
    return NUMBER_DEAD;
}

number_state number_start(struct number_pool *pool, number_set set) {
    return start(pool, set, 0);
}

/** All members are whole, and it is known without counting them. */
static bool is_whole(const struct number_entry *entry) {
    if (!entry->listed) return entry->multiple.count > 0 && entry->multiple.exponent >= 0;
    bool whole = entry->members.count > 0;
    for (uint32_t i = 0; i < entry->members.count; i++) whole = whole && entry->members.items[i].exponent >= 0;
    return whole;
}

/** Those from `least` to `most`, if there are any that the machine can write; else NUMBER_DEAD. */
static number_state start_within(struct number_pool *pool, number_set set, const char *least, const char *most,
                                 uint8_t flags) {
    number_set lower = number_at_least(pool, bytes_view_string(least), false);
    number_set within =
        number_and(pool, set, number_and(pool, lower, number_at_most(pool, bytes_view_string(most), false)));
    return start(pool, within, flags);
}

static number_state start_printed(struct number_pool *pool, number_set set) {
    static const char double_most[] = "1.7976931348623157e308", double_least[] = "-1.7976931348623157e308";
    number_state state = NUMBER_DEAD;
    if (set == NUMBER_NONE || set == NUMBER_FAILED) return number_start(pool, set);
    if (set != NUMBER_ANY && is_whole(entry_of(pool, set))) {
        state =
            start_within(pool, set, "-9223372036854775808", "9223372036854775807", NODE_NO_EXPONENT | NODE_NO_POINT);
        if (state == NUMBER_DEAD) state = start(pool, set, NODE_NO_EXPONENT | NODE_NO_POINT);
    } else {
        state = start_within(pool, set, double_least, double_most, 0);
    }
    return state != NUMBER_DEAD ? state : number_start(pool, set);
}

number_state number_start_printed(struct number_pool *pool, number_set set) {
    if (set == NUMBER_FAILED) return NUMBER_STATE_FAILED;
    if (set < pool->printed_capacity && pool->printed[set] != 0) return pool->printed[set] - 1;
    uint32_t before = pool->printed_capacity;
    number_state state = start_printed(pool, set);
    if (state == NUMBER_STATE_FAILED) return state;
    if (!pool_grow(pool, &pool->printed, &pool->printed_capacity, set + 1, sizeof *pool->printed))
        return NUMBER_STATE_FAILED;
    if (pool->printed_capacity > before)
        memset(pool->printed + before, 0, (pool->printed_capacity - before) * sizeof *pool->printed);
    pool->printed[set] = state + 1;
    return state;
}

bool number_prints_digits(const struct number_pool *pool, number_state start) {
    return start != NUMBER_STATE_FAILED && (pool->nodes[start].flags & NODE_NO_POINT) != 0;
}

static unsigned symbol_of(uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    switch (byte) {
    case '-':
        return SYMBOL_MINUS;
    case '+':
        return SYMBOL_PLUS;
    case '.':
        return SYMBOL_POINT;
    case 'e':
    case 'E':
        return SYMBOL_E;
    default:
        return NO_SYMBOL;
    }
}

static number_state compute(struct number_pool *pool, number_state state, unsigned symbol) {
    struct number_node node = pool->nodes[state]; /* a copy: the array may move */
    switch (node.kind) {
    case NODE_EXACT:
        return exact_step(pool, node, symbol);
    case NODE_DENSE:
    case NODE_MULTIPLE:
        return clear_step(pool, &node, symbol);
    default:
        return exponent_step(pool, &node, symbol);
    }
}

/** The state's row of remembered steps, made when it is first needed; NULL without budget. */
static uint32_t *row_of(struct number_pool *pool, number_state state) {
    if (pool->nodes[state].row == 0) {
        uint32_t row = pool->rows_count;
        if (!pool_grow(pool, &pool->rows, &pool->rows_capacity, row + 1, NUMBER_SYMBOLS * sizeof *pool->rows))
            return NULL;
        memset(pool->rows + (size_t)row * NUMBER_SYMBOLS, STEP_NOT_KNOWN_BYTE, NUMBER_SYMBOLS * sizeof *pool->rows);
        pool->rows_count++;
        pool->nodes[state].row = row;
    }
    return pool->rows + (size_t)pool->nodes[state].row * NUMBER_SYMBOLS;
}

number_state number_step(struct number_pool *pool, number_state state, uint8_t byte) {
    unsigned symbol = symbol_of(byte);
    if (symbol == NO_SYMBOL || state == NUMBER_DEAD) return NUMBER_DEAD;
    if (state == NUMBER_STATE_FAILED) return state;
    uint32_t *row = row_of(pool, state);
    if (row == NULL) return NUMBER_STATE_FAILED;
    if (row[symbol] != STEP_NOT_KNOWN) return row[symbol];
    if (!budget_spend(pool->budget, FUEL_OF_STEP)) return NUMBER_STATE_FAILED;
    number_state next = compute(pool, state, symbol);
    if (next == NUMBER_STATE_FAILED) return next;
    return row[symbol] = next;
}

bool number_accepts(const struct number_pool *pool, number_state state) {
    return state != NUMBER_STATE_FAILED && (pool->nodes[state].flags & NODE_ACCEPTS) != 0;
}
