/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Simple case folding (CaseFolding.txt, C and S), by utf8proc's letters: two characters are equal when the small letters of their capitals are. */
#include "engine/grammar/regex_pattern.h"

#include <pthread.h>
#include <stdlib.h>

#include <utf8proc.h>

enum { FOLDS_MAX = 6000, LAST_WITH_CASE = 0x1FFFF, FIRST_RANGES = 64 };

/** Characters that are equal to another one, by their folded form. */
static struct fold { uint32_t folded, code_point; } folds[FOLDS_MAX];
static uint32_t fold_count;
static pthread_once_t folds_once = PTHREAD_ONCE_INIT;

static uint32_t fold_of(uint32_t c) {
    /* The dotted I and the dotless i fold only in Turkish. */
    if (c == 0x130 || c == 0x131) return c;
    return (uint32_t)utf8proc_tolower(utf8proc_toupper((utf8proc_int32_t)c));
}

static int by_fold(const void *a, const void *b) {
    const struct fold *x = a, *y = b;
    if (x->folded != y->folded) return x->folded < y->folded ? -1 : 1;
    return x->code_point < y->code_point ? -1 : x->code_point > y->code_point;
}

static void learn_folds(void) {
    for (uint32_t c = 0; c <= LAST_WITH_CASE && fold_count + 2 < FOLDS_MAX; c++) {
        uint32_t folded = fold_of(c);
        if (folded == c) continue;
        folds[fold_count++] = (struct fold){folded, c};
        folds[fold_count++] = (struct fold){folded, folded};
    }
    qsort(folds, fold_count, sizeof *folds, by_fold);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < fold_count; i++)
        if (kept == 0 || by_fold(&folds[kept - 1], &folds[i]) != 0) folds[kept++] = folds[i];
    fold_count = kept;
}

/** ASCII letters have one other case, but for k and s, which have two. */
static uint32_t fold_ascii(struct regex_pool *pool, uint32_t set) {
    struct regex_range ranges[FIRST_RANGES];
    size_t count = 0;
    for (uint32_t c = 'A'; c <= 'Z'; c++) {
        const struct regex_set *own = &pool->sets[set];
        if (!regex_set_has(own, c) && !regex_set_has(own, c + 32)) continue;
        ranges[count++] = (struct regex_range){c, c};
        ranges[count++] = (struct regex_range){c + 32, c + 32};
        if (c == 'K') ranges[count++] = (struct regex_range){0x212A, 0x212A};
        if (c == 'S') ranges[count++] = (struct regex_range){0x17F, 0x17F};
    }
    return regex_set_or(pool, set, regex_set_make(pool, ranges, count, false));
}

uint32_t regex_set_fold(struct regex_pool *pool, uint32_t set) {
    if (set == REGEX_SET_FAILED) return set;
    if (pool->sets[set].beyond == REGEX_BEYOND_NONE) return fold_ascii(pool, set);
    pthread_once(&folds_once, learn_folds);
    struct regex_range *ranges = malloc((fold_count + 1) * sizeof *ranges);
    if (ranges == NULL || !budget_spend(pool->budget, fold_count / 16)) {
        free(ranges);
        return REGEX_SET_FAILED;
    }
    size_t count = 0;
    for (uint32_t i = 0, end; i < fold_count; i = end) {
        bool any = false;
        for (end = i; end < fold_count && folds[end].folded == folds[i].folded; end++)
            any = any || regex_set_has(&pool->sets[set], folds[end].code_point);
        for (uint32_t k = i; k < end && any; k++)
            ranges[count++] = (struct regex_range){folds[k].code_point, folds[k].code_point};
    }
    uint32_t folded = regex_set_or(pool, set, regex_set_make(pool, ranges, count, false));
    free(ranges);
    return folded;
}
