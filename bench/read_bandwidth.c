/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/read_bandwidth.h"

#include "base/clock.h"
#include "base/threads.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* As the kernels' weights lie and are read: in large pages where the system has them, and asked for ahead. */
static const size_t READ_BYTES = 128u << 20, LARGE_PAGE = 2u << 20;
enum { LANES = 32, AHEAD = 512, THREADS_MAX = 256 }; /* words */

struct read_run {
    const uint64_t *words;
    size_t count;
    uint64_t sums[THREADS_MAX];
};

static void read_thread(void *context, int index, int size) {
    struct read_run *run = context;
    size_t first = run->count * (size_t)index / (size_t)size / LANES * LANES,
           last = run->count * (size_t)(index + 1) / (size_t)size / LANES * LANES;
    uint64_t sums[LANES] = {0};
    for (size_t i = first; i < last; i += LANES) {
        for (size_t j = 0; j < LANES; j += 8) __builtin_prefetch(run->words + i + AHEAD + j);
        for (size_t j = 0; j < LANES; j++) sums[j] += run->words[i + j];
    }
    for (size_t j = 0; j < LANES; j++) run->sums[index] += sums[j];
}

double read_bandwidth(int threads, double seconds) {
    struct read_run run = {.count = READ_BYTES / sizeof(uint64_t)};
    struct thread_team *team;
    uint64_t *words = aligned_alloc(LARGE_PAGE, READ_BYTES);
    if (words == NULL || threads > THREADS_MAX || thread_team_create(threads, 50000, &team, NULL) != STATUS_OK) {
        fprintf(stderr, "bench: no memory or no threads\n");
        exit(1);
    }
    (void)madvise(words, READ_BYTES, MADV_HUGEPAGE);
    for (size_t i = 0; i < run.count; i++) words[i] = i;
    run.words = words;
    int64_t until = clock_monotonic_ns(clock_system()) + (int64_t)(seconds * 1e9), best = INT64_MAX, began, ended;
    do {
        began = clock_monotonic_ns(clock_system());
        thread_team_run(team, read_thread, &run);
        ended = clock_monotonic_ns(clock_system());
        if (ended - began < best) best = ended - began;
    } while (ended < until);
    thread_team_destroy(team);
    volatile uint64_t keep = run.sums[0];
    (void)keep;
    free(words);
    return (double)READ_BYTES / ((double)best * 1e-9);
}
