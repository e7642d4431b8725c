/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A line of rules, then the text to walk. With 128 bits where they suffice and by big integers only, the machine says the same; what it accepts is a
 * member; from every live state the shortest rest leads to one. A third pool has hardly any budget.
 */
#include "engine/grammar/number_internal.h"

#include "tests/unit/engine/number_fixture.h"

#include <stdlib.h>
#include <string.h>

enum { RULES_BYTES_MAX = 160, TEXT_BYTES_MAX = 80 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition) abort();
}

static void must_complete(struct number_pool *pool, number_set set, number_state start, number_state state,
                          const char *text) {
    struct bytes whole;
    bytes_init(&whole, 1 << 13);
    must(bytes_append_string(&whole, text) == STATUS_OK);
    uint32_t rest = number_shortest(pool, state, &whole);
    if (!budget_exhausted(pool->budget)) {
        must(whole.length == strlen(text) + rest);
        must(number_contains(pool, set, bytes_view(&whole)));
        number_state end = number_walk(pool, start, (const char *)whole.data);
        must(number_accepts(pool, end) || budget_exhausted(pool->budget));
    }
    bytes_deinit(&whole);
}

struct walker {
    struct grammar_budget budget;
    struct number_pool *pool;
    number_set set;
    number_state start, state;
};

static bool begin(struct walker *walker, const char *rules, int64_t fuel, bool force_big) {
    walker->budget = (struct grammar_budget){fuel, 16 << 20};
    must(number_pool_create(&walker->budget, &walker->pool, NULL) == STATUS_OK);
    walker->pool->force_big = force_big;
    walker->set = number_rules(walker->pool, rules);
    walker->start = walker->state = number_start(walker->pool, walker->set);
    return walker->set != NUMBER_FAILED && walker->state != NUMBER_STATE_FAILED;
}

static void walk_both(struct walker *small, struct walker *big, const char *text) {
    char so_far[TEXT_BYTES_MAX + 1] = "";
    for (size_t i = 0; text[i] != 0 && small->state != NUMBER_DEAD; i++) {
        small->state = number_step(small->pool, small->state, (uint8_t)text[i]);
        big->state = number_step(big->pool, big->state, (uint8_t)text[i]);
        if (budget_exhausted(&small->budget) || budget_exhausted(&big->budget)) return;
        so_far[i] = text[i];
        so_far[i + 1] = 0;
        if (small->state == NUMBER_DEAD || small->pool->nodes[small->state].kind != NODE_ANY_EXPONENT) {
            must((small->state == NUMBER_DEAD) == (big->state == NUMBER_DEAD));
            must(number_accepts(small->pool, small->state) == number_accepts(big->pool, big->state));
        }
        if (small->state == NUMBER_DEAD) return;
        if (number_accepts(small->pool, small->state))
            must(number_contains(small->pool, small->set, bytes_view_string(so_far)));
        must_complete(small->pool, small->set, small->start, small->state, so_far);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char rules[RULES_BYTES_MAX + 1], text[TEXT_BYTES_MAX + 1];
    const uint8_t *end = size != 0 ? memchr(data, '\n', size) : NULL;
    if (end == NULL || end - data > RULES_BYTES_MAX) return 0;
    size_t rules_length = (size_t)(end - data), text_length = size - rules_length - 1;
    if (text_length > TEXT_BYTES_MAX || memchr(data, 0, size) != NULL) return 0;
    memcpy(rules, data, rules_length);
    memcpy(text, end + 1, text_length);
    rules[rules_length] = text[text_length] = 0;

    struct walker small, big, poor;
    bool begun = begin(&small, rules, 100000, false), begun_big = begin(&big, rules, 200000, true);
    if (begun && begun_big) {
        must((small.set == NUMBER_NONE) == (big.set == NUMBER_NONE) || budget_exhausted(&big.budget));
        walk_both(&small, &big, text);
    }
    if (begin(&poor, rules, (int64_t)(size % 50), size % 3 == 0)) (void)number_walk(poor.pool, poor.start, text);
    number_pool_destroy(small.pool);
    number_pool_destroy(big.pool);
    number_pool_destroy(poor.pool);
    return 0;
}
