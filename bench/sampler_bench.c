/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-sampler: what one sample costs, by settings, vocabulary and shape of the distribution. Medians of RUNS.
 *
 *   peaked  a model that knows what it says: normal logits of deviation 2.5 and a few far above
 *   flat    logits of deviation 0.5: thousands of tokens share the mass
 */
#include "base/clock.h"
#include "base/random.h"
#include "engine/sampler/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 401, HISTORY = 2048, PROMPT = 1024 };

static const struct setting {
    const char *name;
    struct sampling sampling;
} settings[] = {
    {"greedy", {.top_p = 1, .top_logprobs = -1}},
    {"temperature", {.temperature = 1, .top_p = 1, .top_logprobs = -1}},
    {"top_k 40", {.temperature = 1, .top_k = 40, .top_p = 1, .top_logprobs = -1}},
    {"top_k 5000", {.temperature = 1, .top_k = 5000, .top_p = 1, .top_logprobs = -1}},
    {"top_p 0.95", {.temperature = 1, .top_p = 0.95, .top_logprobs = -1}},
    {"min_p 0.05", {.temperature = 1, .top_p = 1, .min_p = 0.05, .top_logprobs = -1}},
    {"typical_p 0.9", {.temperature = 1, .top_p = 1, .typical_p = 0.9, .top_logprobs = -1}},
    {"all filters and penalties",
     {.temperature = 0.8,
      .top_k = 100,
      .top_p = 0.95,
      .min_p = 0.02,
      .typical_p = 0.95,
      .repetition_penalty = 1.1,
      .presence_penalty = 0.5,
      .frequency_penalty = 0.5,
      .top_logprobs = -1}},
    {"all, and 20 logprobs",
     {.temperature = 0.8,
      .top_k = 100,
      .top_p = 0.95,
      .min_p = 0.02,
      .typical_p = 0.95,
      .repetition_penalty = 1.1,
      .presence_penalty = 0.5,
      .frequency_penalty = 0.5,
      .top_logprobs = 20}},
};

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/** Normal logits; of a peaked distribution some stand out. */
static void make_logits(float *logits, int32_t count, bool flat) {
    for (int32_t i = 0; i < count; i++) {
        double u = random_uniform(1, (uint64_t)i, 1), v = random_uniform(1, (uint64_t)i, 2);
        double normal = sqrt(-2 * log(1 - u)) * cos(2 * acos(-1) * v);
        logits[i] = (float)(normal * (flat ? 0.5 : 2.5) + (!flat && i % 997 == 0 ? 8 : 0));
    }
}

static double microseconds(struct sampler *sampler, const struct sampling *sampling, const float *logits, float *copy,
                           int32_t vocabulary) {
    static int64_t times[RUNS];
    static int32_t tokens[HISTORY];
    for (int i = 0; i < HISTORY; i++) tokens[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)vocabulary);
    for (int run = 0; run < RUNS; run++) {
        struct token_history history = {.tokens = tokens, .prompt_count = PROMPT, .count = HISTORY};
        struct logprob_entry entry;
        struct sampling one = *sampling;
        one.seed = (uint64_t)run;
        memcpy(copy, logits, (size_t)vocabulary * sizeof *copy);
        int64_t begin = clock_monotonic_ns(clock_system());
        (void)sampler_draw(sampler, &one, copy, &history, &entry);
        times[run] = clock_monotonic_ns(clock_system()) - begin;
    }
    qsort(times, RUNS, sizeof times[0], by_time);
    return (double)times[RUNS / 2] / 1e3;
}

int main(void) {
    static const int32_t vocabularies[] = {49152, 131072};
    printf("%-28s %14s %14s %14s %14s\n", "microseconds per sample", "49k peaked", "49k flat", "128k peaked",
           "128k flat");
    for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
        printf("%-28s", settings[s].name);
        for (size_t v = 0; v < 2; v++) {
            struct sampler *sampler;
            struct error err = {0};
            float *logits = malloc((size_t)vocabularies[v] * sizeof *logits),
                  *copy = malloc((size_t)vocabularies[v] * sizeof *copy);
            if (logits == NULL || copy == NULL || sampler_create(vocabularies[v], &sampler, &err) != STATUS_OK) {
                fprintf(stderr, "bora-bench-sampler: out of memory\n");
                return 1;
            }
            for (int flat = 0; flat < 2; flat++) {
                make_logits(logits, vocabularies[v], flat);
                printf(" %14.1f", microseconds(sampler, &settings[s].sampling, logits, copy, vocabularies[v]));
            }
            sampler_destroy(sampler);
            free(logits);
            free(copy);
        }
        printf("\n");
    }
    return 0;
}
