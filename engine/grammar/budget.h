/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What a grammar may cost: fuel and memory, counted and never timed, so that the same input ends the same way on every machine.
 *
 * One budget is shared by everything that one compiled grammar builds, at compile time and lazily later. Fuel is spent in units of about one
 * small node or one table row built (0.1 to 1 us); a step through what is there already is free. Who finds the budget empty stops, and
 * says so: at compile time the grammar is declined with the keyword at which it happened, later the generation fails with RESOURCE_EXHAUSTED.
 */
#ifndef ENGINE_GRAMMAR_BUDGET_H
#define ENGINE_GRAMMAR_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grammar_budget {
    int64_t fuel;        /* left; below 0: exhausted */
    int64_t bytes;       /* left; below 0: exhausted */
    int64_t looks;       /* who only looks for something that can be done without gives up when fuel is below this */
    int64_t looks_bytes; /* the same of bytes */
    bool ambiguous;      /* it was given up for too many ways to read one text (earley_internal.h) */
};

static inline bool budget_spend(struct grammar_budget *budget, int64_t fuel) {
    budget->fuel -= fuel;
    return budget->fuel >= 0;
}
/** For memory that stays: call before allocating. */
static inline bool budget_reserve(struct grammar_budget *budget, size_t bytes) {
    budget->bytes -= (int64_t)bytes;
    return budget->bytes >= 0;
}
static inline bool budget_may_look(const struct grammar_budget *budget) {
    return budget->fuel > budget->looks && budget->bytes >= budget->looks_bytes;
}
static inline bool budget_exhausted(const struct grammar_budget *budget) {
    return budget->fuel < 0 || budget->bytes < 0;
}

#endif
