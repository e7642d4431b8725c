/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/scan_sets.h"

#include "engine/grammar/growing.h"

enum { ASCII = 128, OTHERS_MAX = 1 << 15 };

bool scan_sets_init(struct scan_sets *sets, struct regex_pool *pool, struct grammar_budget *budget) {
    *sets = (struct scan_sets){.budget = budget, .pool = pool};
    uint32_t empty;
    if (!growing_reserve(budget, &sets->words, &sets->word_capacity, 16, sizeof *sets->words) ||
        !scan_sets_threads(sets, NULL, 0, &empty) ||
        !growing_reserve(budget, &sets->transitions, &sets->transition_capacity, 2, sizeof *sets->transitions))
        return false;
    memset(sets->transitions, 0, 2 * sizeof *sets->transitions);
    sets->transition_count = 2;
    return true;
}

void scan_sets_deinit(struct scan_sets *sets) {
    for (uint32_t i = 0; i < sets->set_count; i++) free(sets->sets[i].ascii);
    free(sets->words);
    free(sets->sets);
    free(sets->transitions);
    free(sets->set_table);
    free(sets->transition_table);
    free(sets->others);
    free(sets->scratch);
}

/* ---- interning ---- */

static uint64_t words_hash(const uint32_t *words, uint32_t count) {
    uint64_t hash = count;
    for (uint32_t i = 0; i < count; i++) hash = scan_mix(hash, words[i]);
    return hash;
}

/* Twice as many slots, at least 64, all free. */
static bool table_grow(struct grammar_budget *budget, uint32_t **table, uint32_t *slots) {
    uint32_t wanted = *slots == 0 ? 64 : 2 * *slots;
    if (wanted == 0 || !budget_reserve(budget, (size_t)(wanted - *slots) * sizeof **table)) return false;
    uint32_t *grown = calloc(wanted, sizeof *grown);
    if (grown == NULL) return false;
    free(*table);
    *table = grown;
    *slots = wanted;
    return true;
}

static bool set_table_grow(struct scan_sets *sets) {
    if (!table_grow(sets->budget, &sets->set_table, &sets->set_slots)) return false;
    for (uint32_t i = 0; i < sets->set_count; i++) {
        const struct scan_set *set = &sets->sets[i];
        uint32_t slot = (uint32_t)words_hash(sets->words + set->first, set->count) & (sets->set_slots - 1);
        while (sets->set_table[slot] != 0) slot = (slot + 1) & (sets->set_slots - 1);
        sets->set_table[slot] = i + 1;
    }
    return true;
}

static bool intern_words(struct scan_sets *sets, const uint32_t *words, uint32_t count, uint32_t *out_set) {
    if (2 * (uint64_t)(sets->set_count + 1) > sets->set_slots && !set_table_grow(sets)) return false;
    uint32_t slot = (uint32_t)words_hash(words, count) & (sets->set_slots - 1), number;
    for (; (number = sets->set_table[slot]) != 0; slot = (slot + 1) & (sets->set_slots - 1)) {
        const struct scan_set *set = &sets->sets[number - 1];
        if (set->count == count && (count == 0 || memcmp(sets->words + set->first, words, count * 4UL) == 0)) {
            *out_set = number - 1;
            return true;
        }
    }
    if (!budget_spend(sets->budget, 1 + count / 8) ||
        !growing_reserve(sets->budget, &sets->sets, &sets->set_capacity, (uint64_t)sets->set_count + 1,
                         sizeof *sets->sets) ||
        !growing_reserve(sets->budget, &sets->words, &sets->word_capacity, (uint64_t)sets->word_count + count,
                         sizeof *sets->words))
        return false;
    if (count > 0) memcpy(sets->words + sets->word_count, words, count * 4UL);
    sets->sets[sets->set_count] = (struct scan_set){.first = sets->word_count, .count = count};
    sets->word_count += count;
    *out_set = sets->set_count++;
    sets->set_table[slot] = sets->set_count;
    return true;
}

/* Sort records of `size` words, and leave one of each. */
static int compare_words(const uint32_t *a, const uint32_t *b, uint32_t size) {
    for (uint32_t i = 0; i < size; i++)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}
static int compare_threads(const void *a, const void *b) {
    return compare_words(a, b, 3);
}
static int compare_ends(const void *a, const void *b) {
    return compare_words(a, b, 2);
}

static uint32_t sort_records(uint32_t *words, uint32_t count, uint32_t size) {
    enum { FEW = 8 };
    uint32_t kept = 0, sorted = 1;
    while (sorted < count &&
           compare_words(words + (size_t)(sorted - 1) * size, words + (size_t)sorted * size, size) < 0)
        sorted++;
    if (sorted >= count) return count;
    if (count > FEW) {
        qsort(words, count, size * sizeof *words, size == 3 ? compare_threads : compare_ends);
    } else {
        for (uint32_t i = 1; i < count; i++) {
            uint32_t record[3], at = i;
            memcpy(record, words + (size_t)i * size, size * sizeof *words);
            for (; at > 0 && compare_words(words + (size_t)(at - 1) * size, record, size) > 0; at--)
                memcpy(words + (size_t)at * size, words + (size_t)(at - 1) * size, size * sizeof *words);
            memcpy(words + (size_t)at * size, record, size * sizeof *words);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && compare_words(words + (size_t)(kept - 1) * size, words + (size_t)i * size, size) == 0) continue;
        memmove(words + (size_t)kept++ * size, words + (size_t)i * size, size * sizeof *words);
    }
    return kept;
}

bool scan_sets_threads(struct scan_sets *sets, struct scan_thread *threads, uint32_t count, uint32_t *out_set) {
    uint32_t *words = (uint32_t *)(void *)threads;
    return intern_words(sets, words, 3 * sort_records(words, count, 3), out_set);
}

/* ---- transitions ---- */

static bool transition_table_grow(struct scan_sets *sets) {
    if (!table_grow(sets->budget, &sets->transition_table, &sets->transition_slots)) return false;
    for (uint32_t i = 2; i < sets->transition_count; i++) {
        struct scan_transition it = sets->transitions[i];
        uint32_t slot = (uint32_t)scan_mix(it.threads, it.ends) & (sets->transition_slots - 1);
        while (sets->transition_table[slot] != 0) slot = (slot + 1) & (sets->transition_slots - 1);
        sets->transition_table[slot] = i + 1;
    }
    return true;
}

static uint32_t intern_transition(struct scan_sets *sets, struct scan_transition it) {
    if (it.threads == 0 && it.ends == 0) return SCAN_DEAD;
    if (2 * (uint64_t)(sets->transition_count + 1) > sets->transition_slots && !transition_table_grow(sets))
        return SCAN_UNKNOWN;
    uint32_t slot = (uint32_t)scan_mix(it.threads, it.ends) & (sets->transition_slots - 1), number;
    for (; (number = sets->transition_table[slot]) != 0; slot = (slot + 1) & (sets->transition_slots - 1)) {
        const struct scan_transition *there = &sets->transitions[number - 1];
        if (there->threads == it.threads && there->ends == it.ends) return number - 1;
    }
    if (!growing_reserve(sets->budget, &sets->transitions, &sets->transition_capacity,
                         (uint64_t)sets->transition_count + 1, sizeof *sets->transitions))
        return SCAN_UNKNOWN;
    sets->transitions[sets->transition_count] = it;
    sets->transition_table[slot] = ++sets->transition_count;
    return sets->transition_count - 1;
}

/* Every thread's derivative. What is new is paid for where it is made; to find what is there is free, as often as it is forgotten. */
static uint32_t make_transition(struct scan_sets *sets, uint32_t set, uint32_t code_point) {
    uint32_t count, threads = 0, ends = 0;
    const struct scan_thread *from = scan_set_threads(sets, set, &count);
    if (count == 0) return SCAN_DEAD;
    if (!growing_reserve(sets->budget, &sets->scratch, &sets->scratch_capacity, 5UL * count, sizeof *sets->scratch))
        return SCAN_UNKNOWN;
    struct scan_thread *to = (struct scan_thread *)(void *)sets->scratch;
    struct scan_end *ended = (struct scan_end *)(void *)(sets->scratch + 3UL * count);
    for (uint32_t i = 0; i < count; i++) {
        regex left = regex_step(sets->pool, from[i].left, code_point);
        if (left == REGEX_FAILED) return SCAN_UNKNOWN;
        if (left == REGEX_NOTHING) continue;
        if (regex_accepts(sets->pool, left)) ended[ends++] = (struct scan_end){from[i].state, from[i].slot};
        if (left != REGEX_EMPTY) to[threads++] = (struct scan_thread){left, from[i].state, from[i].slot};
    }
    struct scan_transition it = {0};
    uint32_t *words = (uint32_t *)(void *)ended;
    if (!scan_sets_threads(sets, to, threads, &it.threads) ||
        !intern_words(sets, words, 2 * sort_records(words, ends, 2), &it.ends))
        return SCAN_UNKNOWN;
    return intern_transition(sets, it);
}

/* The place of a key, or of a free entry for it. The table is emptied when it is too full: what was in it can be computed again. */
static struct scan_other *find_other(struct scan_sets *sets, uint64_t key) {
    if (2 * (sets->other_count + 1) > sets->other_slots) {
        uint32_t slots = sets->other_slots == 0 ? 256 : sets->other_slots < OTHERS_MAX ? 4 * sets->other_slots : 0;
        if (slots != 0) {
            if (!budget_reserve(sets->budget, (size_t)(slots - sets->other_slots) * sizeof *sets->others)) return NULL;
            struct scan_other *others = calloc(slots, sizeof *others);
            if (others == NULL) return NULL;
            free(sets->others);
            sets->others = others;
            sets->other_slots = slots;
        } else {
            memset(sets->others, 0, sets->other_slots * sizeof *sets->others);
        }
        sets->other_count = 0;
    }
    uint32_t slot = (uint32_t)scan_mix(0, key) & (sets->other_slots - 1);
    while (sets->others[slot].key != 0 && sets->others[slot].key != key) slot = (slot + 1) & (sets->other_slots - 1);
    return &sets->others[slot];
}

uint32_t scan_sets_step(struct scan_sets *sets, uint32_t set, uint32_t code_point) {
    if (code_point < ASCII) {
        if (sets->sets[set].ascii == NULL) {
            if (!budget_reserve(sets->budget, ASCII * sizeof(uint32_t))) return SCAN_UNKNOWN;
            sets->sets[set].ascii = calloc(ASCII, sizeof(uint32_t));
            if (sets->sets[set].ascii == NULL) return SCAN_UNKNOWN;
        }
        uint32_t known = sets->sets[set].ascii[code_point];
        if (known != SCAN_UNKNOWN) return known;
        uint32_t made = make_transition(sets, set, code_point);
        sets->sets[set].ascii[code_point] = made; /* the array of sets may have moved */
        return made;
    }
    uint64_t key = (uint64_t)set << 32 | code_point;
    struct scan_other *other = find_other(sets, key);
    if (other == NULL) return SCAN_UNKNOWN;
    if (other->key == key) return other->value;
    uint32_t made = make_transition(sets, set, code_point);
    if (made == SCAN_UNKNOWN) return made;
    *other = (struct scan_other){key, made};
    sets->other_count++;
    return made;
}

bool scan_sets_live_in(struct scan_sets *sets, uint32_t set, uint32_t unfinished, uint32_t first, uint32_t last,
                       bool *out_failed) {
    uint64_t key = (uint64_t)set << 32 | 0x80000000U | unfinished;
    struct scan_other *other = find_other(sets, key);
    *out_failed = other == NULL;
    if (*out_failed) return false;
    if (other->key == key) return other->value;
    uint32_t count;
    bool live = false;
    const struct scan_thread *threads = scan_set_threads(sets, set, &count);
    for (uint32_t i = 0; i < count && !live; i++) live = regex_live_in(sets->pool, threads[i].left, first, last);
    *out_failed = budget_exhausted(sets->budget);
    if (*out_failed) return false;
    *other = (struct scan_other){key, live};
    sets->other_count++;
    return live;
}
