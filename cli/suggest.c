/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/suggest.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { WORD_MAX = 64, PREFIX_MIN = 2 };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/** Optimal string alignment: three rows are enough, as a swap looks two back. */
static size_t edit_distance(const char *a, const char *b) {
    size_t rows[3][WORD_MAX + 1], m = strlen(a), n = strlen(b);
    if (m > WORD_MAX || n > WORD_MAX) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *now = rows[i % 3];
        const size_t *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            now[j] = least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], two_before[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

size_t suggest_distance(const char *word) {
    return least((strlen(word) + 1) / 2, 3) + 1;
}

void suggest_word(const char *word, const char *known, const char **nearest, size_t *distance) {
    size_t length = strlen(word);
    bool begins = length >= PREFIX_MIN && strncmp(word, known, length) == 0;
    size_t here = begins ? least(1, strlen(known) - length) : edit_distance(word, known);
    if (here >= *distance) return;
    *distance = here;
    *nearest = known;
}
