/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-base: what the pieces cost that run once per step, token, request or byte. The best of five rounds each.
 */
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/text.h"
#include "base/threads.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 5, TEXT_BYTES = 1 << 20 };

static volatile uint64_t sink; /* keeps results from being dropped */

typedef void bench_fn(void *context, int repeats);

static void measure(const char *name, bench_fn *fn, void *context, int repeats, double per_repeat, const char *unit) {
    int64_t best = INT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start = clock_monotonic_ns(clock_system());
        fn(context, repeats);
        int64_t took = clock_monotonic_ns(clock_system()) - start;
        if (took < best) best = took;
    }
    printf("%-44s %10.1f ns per %s\n", name, (double)best / repeats / per_repeat, unit);
}

static void no_part(void *context, int index, int size) {
    (void)context, (void)index, (void)size;
}

static void run_team(void *context, int repeats) {
    for (int i = 0; i < repeats; i++) thread_team_run(context, no_part, NULL);
}

static void add_unlabelled(void *context, int repeats) {
    for (int i = 0; i < repeats; i++) metric_add(context, 1);
}

static void add_labelled(void *context, int repeats) {
    for (int i = 0; i < repeats; i++) metric_add(context, 1, "smollm2-135m-instruct", "200");
}

static void log_lines(void *context, int repeats) {
    (void)context;
    for (int i = 0; i < repeats; i++)
        log_info("request done", LOG_S("request_id", "0123456789abcdef0123456789abcdef"), LOG_I("status", 200),
                 LOG_F("seconds", 0.125));
}

static void draw(void *context, int repeats) {
    (void)context;
    for (int i = 0; i < repeats; i++) sink += random_philox(1, (uint64_t)i, 0);
}

static void check_text(void *context, int repeats) {
    for (int i = 0; i < repeats; i++) sink += text_is_utf8(context, TEXT_BYTES);
}

static void write_doubles(void *context, int repeats) {
    (void)context;
    char out[32];
    for (int i = 0; i < repeats; i++) sink += text_from_double(-0.001 * i, out);
}

static void fill_arena(void *context, int repeats) {
    for (int i = 0; i < repeats; i++) {
        for (int j = 0; j < 100; j++) sink += arena_alloc(context, 48) != NULL;
        arena_reset(context);
    }
}

static void measure_teams(void) {
    static const int64_t spins_ns[] = {0, 50 * NS_PER_US};
    for (int size = 2; size <= threads_available(); size *= 2) {
        for (int spin = 0; spin < 2; spin++) {
            struct thread_team *team = NULL;
            if (thread_team_create(size, spins_ns[spin], &team, NULL) != STATUS_OK) return;
            char name[64];
            snprintf(name, sizeof name, "thread_team_run, %d threads, spin %d us", size,
                     (int)(spins_ns[spin] / NS_PER_US));
            measure(name, run_team, team, 20000, 1, "run");
            thread_team_destroy(team);
        }
    }
}

int main(void) {
    struct metrics *metrics = metrics_create();
    struct metric *labelled = metrics_counter(metrics, "labelled", "Has series.", "model", "status");
    for (int i = 0; i < 50; i++) {
        char status[8];
        snprintf(status, sizeof status, "%d", 500 + i);
        metric_add(labelled, 1, "smollm2-135m-instruct", status);
    }
    char *ascii = malloc(TEXT_BYTES), *mixed = malloc(TEXT_BYTES);
    memset(ascii, 'a', TEXT_BYTES);
    for (int i = 0; i + 4 <= TEXT_BYTES; i += 4) memcpy(mixed + i, "a\xE2\x82\xAC", 4);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    log_configure("bench", LOG_LEVEL_INFO, LOG_FORMAT_JSON, open("/dev/null", O_WRONLY));

    measure_teams();
    measure("metric_add, no labels", add_unlabelled, metrics_counter(metrics, "plain", "Has none."), 1000000, 1, "add");
    measure("metric_add, 2 labels, the last of 51 series", add_labelled, labelled, 300000, 1, "add");
    measure("log_info, 3 fields, to /dev/null", log_lines, NULL, 100000, 1, "line");
    measure("random_philox", draw, NULL, 3000000, 1, "draw");
    measure("text_is_utf8, ASCII", check_text, ascii, 50, TEXT_BYTES / 1024.0, "KiB");
    measure("text_is_utf8, every second character 3 bytes", check_text, mixed, 10, TEXT_BYTES / 1024.0, "KiB");
    measure("text_from_double", write_doubles, NULL, 100000, 1, "number");
    measure("arena: 100 x 48 bytes and a reset", fill_arena, &arena, 10000, 100, "allocation");

    arena_deinit(&arena);
    metrics_destroy(metrics);
    free(ascii);
    free(mixed);
    return 0;
}
