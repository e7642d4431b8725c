/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The sampler against its definition, written out in double with sorts: random settings over random logits. Where the definition itself
 * stands on an edge - a share or the draw moved by EDGE gives another token - float may fall to either side, and the case is passed over;
 * few may be.
 */
#include "base/random.h"
#include "engine/sampler/candidates.h"
#include "engine/sampler/sampler.h"
#include "engine/sampler/softmax.h"
#include "tests/unit/engine/check.h"

#include <math.h>

enum { LARGEST = 5000, CASES = 4000, HISTORY = 40 };
static const double EDGE = 2e-5; /* a float weight is right to 1e-6, at x = -10 the argument of exp adds 1e-6 */

/* ---- the definition ------------------------------------------------------------------------------------------------ */

struct entry {
    int id;
    double p, order; /* probability; smaller order is better */
};

static int by_order(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->order != y->order) return x->order < y->order ? -1 : 1;
    return x->id - y->id;
}
static int by_id(const void *a, const void *b) {
    return ((const struct entry *)a)->id - ((const struct entry *)b)->id;
}

static void normalise(struct entry *entries, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += entries[i].p;
    for (int i = 0; i < count; i++) entries[i].p /= sum;
}

/** The smallest number of the first that holds `mass`. */
static int holding(const struct entry *entries, int count, double mass) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
        sum += entries[i].p;
        if (sum >= mass) return i + 1;
    }
    return count;
}

static int keep_typical(struct entry *entries, int count, double mass) {
    double entropy = 0;
    for (int i = 0; i < count; i++) entropy -= entries[i].p > 0 ? entries[i].p * log(entries[i].p) : 0;
    for (int i = 0; i < count; i++) entries[i].order = fabs(-log(entries[i].p) - entropy);
    qsort(entries, (size_t)count, sizeof *entries, by_order);
    return holding(entries, count, mass);
}

static void penalise(double *logits, int vocabulary, const struct sampling *s, const struct token_history *history) {
    for (size_t i = 0; i < s->logit_bias_count; i++) logits[s->logit_bias[i].id] += s->logit_bias[i].bias;
    for (int id = 0; id < vocabulary; id++) {
        int all = 0, generated = 0;
        for (size_t i = 0; i < history->count; i++) {
            all += history->tokens[i] == id;
            generated += history->tokens[i] == id && i >= history->prompt_count;
        }
        if (all > 0 && s->repetition_penalty > 0)
            logits[id] = logits[id] > 0 ? logits[id] / s->repetition_penalty : logits[id] * s->repetition_penalty;
        logits[id] -= s->presence_penalty * (generated > 0) + s->frequency_penalty * generated;
    }
}

/** `shift` moves every share, and the draw, by that much. */
static int define(const float *logits, int vocabulary, const struct sampling *s, const struct token_history *history,
                  double shift) {
    static double moved[LARGEST];
    static struct entry entries[LARGEST];
    for (int i = 0; i < vocabulary; i++) moved[i] = logits[i];
    penalise(moved, vocabulary, s, history);
    double maximum = -INFINITY;
    int count = vocabulary;
    for (int i = 0; i < vocabulary; i++) maximum = fmax(maximum, moved[i]);
    for (int i = 0; i < vocabulary; i++) {
        double p = s->temperature > 0 ? exp((moved[i] - maximum) / s->temperature) : moved[i] == maximum;
        entries[i] = (struct entry){.id = i, .p = p, .order = -moved[i]};
    }
    qsort(entries, (size_t)count, sizeof *entries, by_order);
    if (s->temperature == 0) return entries[0].id;
    if (s->top_k > 0 && s->top_k < count) count = s->top_k;
    normalise(entries, count);
    if (s->top_p < 1) count = holding(entries, count, s->top_p + shift);
    double least = s->min_p > 0 ? (s->min_p + shift) * entries[0].p : 0;
    while (count > 1 && entries[count - 1].p < least) count--;
    normalise(entries, count);
    if (s->typical_p > 0 && s->typical_p < 1) count = keep_typical(entries, count, s->typical_p + shift);
    normalise(entries, count);
    qsort(entries, (size_t)count, sizeof *entries, by_id);
    double u = random_uniform(s->seed, history->count, 0) + shift, sum = 0;
    for (int i = 0; i < count; i++) {
        sum += entries[i].p;
        if (sum > u) return entries[i].id;
    }
    return entries[count - 1].id;
}

/* ---- random cases -------------------------------------------------------------------------------------------------- */

static double uniform(uint64_t *counter) {
    return random_uniform(77, (*counter)++, 3);
}
/** One of them. */
static double choose(uint64_t *counter, int count, const double *from) {
    return from[(int)(uniform(counter) * count)];
}
#define CHOOSE(...) choose(&counter, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static void test_draws_agree_with_the_definition(void **state) {
    (void)state;
    static float logits[LARGEST], copy[LARGEST];
    uint64_t counter = 0;
    int edges = 0, lengths[] = {1, 2, 7, 64, 65, 333, 1000, LARGEST};
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        int vocabulary = lengths[l], cases = vocabulary > 100 ? CASES / 20 : CASES / 4;
        struct sampler *sampler = NULL;
        check_ok(sampler_create(vocabulary, &sampler, &check_error));
        for (int c = 0; c < cases; c++) {
            double spread = CHOOSE(0.5, 4, 12, 30), step = CHOOSE(0, 0, 0.5); /* with a step: many ties */
            bool plateaus =
                CHOOSE(0, 0, 0, 1) > 0; /* one far above many, and some below: the likeliest is not typical */
            for (int i = 0; i < vocabulary; i++) {
                double logit = spread * (uniform(&counter) + uniform(&counter) - 1);
                if (plateaus) logit = (i == vocabulary / 2 ? 5 : i % 3 > 0 ? 0 : -3) + 0.01 * logit;
                logits[i] = (float)(step > 0 ? round(logit / step) * step : logit);
            }
            int32_t tokens[HISTORY];
            for (int i = 0; i < HISTORY; i++) tokens[i] = (int32_t)(uniform(&counter) * uniform(&counter) * vocabulary);
            struct token_history history = {.tokens = tokens, .count = (size_t)(uniform(&counter) * HISTORY)};
            history.prompt_count = history.count / 2;
            struct logit_bias bias = {(int32_t)(uniform(&counter) * vocabulary), (float)CHOOSE(-100, -1, 2, 5)};
            struct sampling sampling = {.temperature = CHOOSE(0, 0.3, 0.8, 1, 2),
                                        .top_k = (int)CHOOSE(0, 0, 1, 3, 40, 500),
                                        .top_p = CHOOSE(1, 1, 0.1, 0.5, 0.9, 0.99),
                                        .min_p = CHOOSE(0, 0, 0.05, 0.5, 1),
                                        .typical_p = CHOOSE(0, 1, 1, 0.2, 0.7, 0.95),
                                        .repetition_penalty = CHOOSE(0, 1, 1.2, 0.8, 3),
                                        .presence_penalty = CHOOSE(0, 0, -1, 0.7),
                                        .frequency_penalty = CHOOSE(0, 0, -0.5, 0.4),
                                        .seed = (uint64_t)c,
                                        .logit_bias = &bias,
                                        .logit_bias_count = (size_t)CHOOSE(0, 1),
                                        .top_logprobs = -1};
            check_ok(sampling_check(&sampling, vocabulary, &check_error));
            int expected = define(logits, vocabulary, &sampling, &history, 0);
            bool edge = define(logits, vocabulary, &sampling, &history, EDGE) != expected ||
                        define(logits, vocabulary, &sampling, &history, -EDGE) != expected;
            memcpy(copy, logits, (size_t)vocabulary * sizeof *copy);
            int32_t drawn = sampler_draw(sampler, &sampling, copy, &history, NULL);
            edges += edge;
            if (edge || drawn == expected) continue;
            print_message("case %d of %d tokens: temperature %g top_k %d top_p %g min_p %g typical_p %g, spread %g\n",
                          c, vocabulary, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p,
                          sampling.typical_p, spread);
            assert_int_equal(drawn, expected);
        }
        sampler_destroy(sampler);
    }
    print_message("%d cases stand on an edge\n", edges);
    assert_true(edges < CASES / 20);
}

static void test_log_probabilities_agree_with_the_definition(void **state) {
    (void)state;
    enum { V = 49152 };
    float *logits = malloc(V * sizeof *logits), *copy = malloc(V * sizeof *copy);
    uint64_t counter = 9000000;
    double sum = 0;
    for (int i = 0; i < V; i++) {
        logits[i] = (float)(30 * uniform(&counter) - 20);
        sum += exp(logits[i]);
    }
    struct sampler *sampler = NULL;
    struct sampling sampling = {.temperature = 1.5, .top_p = 1, .top_logprobs = LIMIT_TOP_LOGPROBS};
    struct logprob_entry entry;
    check_ok(sampler_create(V, &sampler, &check_error));
    memcpy(copy, logits, V * sizeof *copy);
    int32_t id = sampler_draw(sampler, &sampling, copy, &(struct token_history){.count = 3}, &entry);
    assert_int_equal(entry.chosen.id, id);
    assert_float_equal(entry.chosen.logprob, logits[id] - log(sum), 2e-6);
    for (int i = 0; i < LIMIT_TOP_LOGPROBS; i++) {
        int better = 0;
        for (int j = 0; j < V; j++) {
            float other = logits[j], mine = logits[entry.top[i].id];
            better += other > mine || (other == mine && j < entry.top[i].id);
        }
        assert_int_equal(better, i);
        assert_float_equal(entry.top[i].logprob, logits[entry.top[i].id] - log(sum), 2e-6);
    }
    sampler_destroy(sampler);
    free(logits);
    free(copy);
}

/* ---- the parts ----------------------------------------------------------------------------------------------------- */

static void test_exp_is_right_to_the_last_bits(void **state) {
    (void)state;
    enum { COUNT = 86 * 1000 + 3 };
    static float x[COUNT], y[COUNT];
    double sum = 0, worst = 0;
    for (int i = 0; i < COUNT; i++) x[i] = -(float)i / 1000;
    double total = softmax_weights(x, COUNT, 0, 1, y, NULL, NULL);
    assert_true(y[0] == 1);
    for (int i = 0; i < COUNT; i++) {
        double right = x[i] < SOFTMAX_LEAST ? 0 : exp(x[i]);
        if (right > 0) worst = fmax(worst, fabs(y[i] / right - 1));
        if (right == 0) assert_true(y[i] == 0);
        sum += right;
    }
    print_message("largest relative error of exp: %g\n", worst);
    assert_true(worst < 2e-7);
    assert_float_equal(total, sum, sum * 1e-6);
}

static int by_key(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return x->id - y->id;
}

static void test_keep_agrees_with_a_sort(void **state) {
    (void)state;
    enum { COUNT = 500 };
    static struct candidate items[COUNT], scratch[COUNT], sorted[COUNT];
    uint64_t counter = 5000000;
    for (int c = 0; c < 3000; c++) {
        int count = 1 + (int)(uniform(&counter) * COUNT), kinds = (int)CHOOSE(1, 3, 50, 1e9),
            most = 1 + (int)(uniform(&counter) * 1.2 * count);
        double total = 0, mass = 0, sum = 0;
        for (int i = 0; i < count; i++) {
            /* weights that are sums of powers of two add up without rounding, so that shares are exact */
            items[i] = (struct candidate){.key = (uint32_t)(uniform(&counter) * kinds) * 2654435761u,
                                          .weight = (float)(1 + (int)(uniform(&counter) * 8)) / 8,
                                          .id = i};
            total += items[i].weight;
        }
        memcpy(sorted, items, sizeof sorted);
        qsort(sorted, (size_t)count, sizeof *sorted, by_key);
        mass = c % 3 == 0 ? INFINITY : c % 3 == 1 ? total * uniform(&counter) + 0.01 : total * 2;
        struct candidates candidates = {.items = items, .count = count, .scratch = scratch};
        candidates_keep(&candidates, most, mass);
        int kept = 0;
        while (kept == 0 || (kept < count && kept < most && sum < mass)) sum += sorted[kept++].weight;
        assert_int_equal(candidates.count, kept);
        for (int i = 1; i < kept; i++) assert_true(items[i - 1].id < items[i].id);
        qsort(items, (size_t)kept, sizeof *items, by_key);
        assert_memory_equal(items, sorted, (size_t)kept * sizeof *items);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws_agree_with_the_definition),
        cmocka_unit_test(test_log_probabilities_agree_with_the_definition),
        cmocka_unit_test(test_exp_is_right_to_the_last_bits),
        cmocka_unit_test(test_keep_agrees_with_a_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
