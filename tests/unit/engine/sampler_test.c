/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "engine/sampler/sampler.h"
#include "tests/unit/engine/check.h"

#include <float.h>
#include <math.h>

enum { V = 8, LARGE = 49152 };

static const struct sampling greedy = {.top_p = 1, .top_logprobs = -1};

static int32_t draw_at(const struct sampling *sampling, const float *logits, int32_t vocabulary, uint64_t position,
                       struct logprob_entry *entry) {
    struct sampler *sampler = NULL;
    check_ok(sampler_create(vocabulary, &sampler, &check_error));
    float *copy = malloc((size_t)vocabulary * sizeof *copy);
    memcpy(copy, logits, (size_t)vocabulary * sizeof *copy);
    int32_t id = sampler_draw(sampler, sampling, copy, &(struct token_history){.count = position}, entry);
    free(copy);
    sampler_destroy(sampler);
    return id;
}

/** How often each of V ids is drawn at positions 0.. */
static void histogram(const struct sampling *sampling, const float *logits, int draws, int counts[V]) {
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    memset(counts, 0, V * sizeof *counts);
    for (int i = 0; i < draws; i++) {
        float copy[V];
        memcpy(copy, logits, sizeof copy);
        int32_t id = sampler_draw(sampler, sampling, copy, &(struct token_history){.count = (size_t)i}, NULL);
        assert_in_range(id, 0, V - 1);
        counts[id]++;
    }
    sampler_destroy(sampler);
}

static void test_temperature_zero_is_argmax_lowest_id_wins(void **state) {
    (void)state;
    float logits[V] = {0, 3, 1, 3, 2, -1, 3, 0};
    assert_int_equal(draw_at(&greedy, logits, V, 5, NULL), 1);
}

static void test_draws_follow_the_softmax(void **state) {
    (void)state;
    enum { DRAWS = 200000 };
    float logits[V] = {0, 1, 2, 3, -1, 0.5f, -20, 1.5f};
    struct sampling sampling = greedy;
    sampling.temperature = 0.8;
    sampling.seed = 42;
    int counts[V];
    histogram(&sampling, logits, DRAWS, counts);
    double sum = 0;
    for (int i = 0; i < V; i++) sum += exp(logits[i] / 0.8);
    for (int i = 0; i < V; i++) {
        double p = exp(logits[i] / 0.8) / sum, sigma = sqrt(p * (1 - p) / DRAWS);
        assert_true(fabs((double)counts[i] / DRAWS - p) <= 5 * sigma + 1e-9);
    }
}

static void test_seed_and_position_decide_the_draw(void **state) {
    (void)state;
    float logits[V] = {0};
    struct sampling sampling = greedy, other;
    sampling.temperature = 1;
    sampling.seed = 7;
    other = sampling;
    other.seed = 8;
    int differing_position = 0, differing_seed = 0;
    for (uint64_t position = 0; position < 64; position++) {
        int32_t id = draw_at(&sampling, logits, V, position, NULL);
        assert_int_equal(id, draw_at(&sampling, logits, V, position, NULL));
        differing_position += id != draw_at(&sampling, logits, V, position + 1, NULL);
        differing_seed += id != draw_at(&other, logits, V, position, NULL);
    }
    assert_true(differing_position > 32);
    assert_true(differing_seed > 32);
}

static void test_top_k_keeps_the_likeliest(void **state) {
    (void)state;
    float logits[V] = {1, 5, 4, 4.5f, 0, 0, 0, 0};
    struct sampling sampling = greedy;
    sampling.temperature = 2;
    sampling.top_k = 3;
    int counts[V];
    histogram(&sampling, logits, 5000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i == 1 || i == 2 || i == 3);
}

static void test_top_p_keeps_the_smallest_set_that_holds_it(void **state) {
    (void)state;
    /* p = 0.5, 0.25, 0.125, 0.0625, ... */
    float logits[V];
    for (int i = 0; i < V; i++) logits[i] = (float)(-i * log(2.0));
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    int counts[V];
    sampling.top_p = 0.7; /* 0.502 is not enough, 0.753 is */
    histogram(&sampling, logits, 5000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i < 2);
    sampling.top_p = 0.8;
    histogram(&sampling, logits, 5000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i < 3);
}

static void test_top_p_is_a_share_of_what_top_k_left(void **state) {
    (void)state;
    float logits[V];
    for (int i = 0; i < V; i++) logits[i] = (float)(-i * log(2.0));
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    sampling.top_k = 2; /* 2/3 and 1/3 */
    sampling.top_p = 0.6;
    int counts[V];
    histogram(&sampling, logits, 2000, counts);
    assert_int_equal(counts[0], 2000);
}

static void test_min_p_is_relative_to_the_likeliest(void **state) {
    (void)state;
    float logits[V];
    for (int i = 0; i < V; i++) logits[i] = (float)(-i * log(2.0));
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    sampling.min_p = 0.2; /* 1, 1/2, 1/4 stay, 1/8 goes */
    int counts[V];
    histogram(&sampling, logits, 5000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i < 3);
}

static void test_tiny_top_p_keeps_one(void **state) {
    (void)state;
    float logits[V] = {0, 0, 0.5f, 0};
    struct sampling sampling = greedy;
    sampling.temperature = 50;
    sampling.top_p = 1e-12;
    for (uint64_t position = 0; position < 50; position++)
        assert_int_equal(draw_at(&sampling, logits, V, position, NULL), 2);
}

static int by_descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/** Against a full sort, over a large vocabulary: what is drawn is always within the set, and the set's edge is reached. */
static void test_truncation_agrees_with_a_full_sort(void **state) {
    (void)state;
    float *logits = malloc(LARGE * sizeof *logits), *sorted = malloc(LARGE * sizeof *sorted);
    for (int i = 0; i < LARGE; i++) sorted[i] = logits[i] = (float)(12 * random_uniform(3, (uint64_t)i, 1));
    qsort(sorted, LARGE, sizeof *sorted, by_descending);
    double total = 0, sum = 0;
    int edge = 0;
    for (int i = 0; i < LARGE; i++) total += exp(sorted[i] - sorted[0]);
    while (sum < 0.01 * total) sum += exp(sorted[edge++] - sorted[0]);
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    sampling.top_p = 0.01;
    float lowest = INFINITY;
    for (uint64_t position = 0; position < 400; position++) {
        float drawn = logits[draw_at(&sampling, logits, LARGE, position, NULL)];
        assert_true(drawn >= sorted[edge - 1]);
        if (drawn < lowest) lowest = drawn;
    }
    assert_true(lowest < sorted[edge / 2]);
    free(logits);
    free(sorted);
}

static void test_bias_bans_and_forces(void **state) {
    (void)state;
    float logits[V] = {0, 9, 8, 7};
    struct logit_bias bias[] = {{1, -100}, {3, 2}};
    struct sampling sampling = greedy;
    sampling.logit_bias = bias;
    sampling.logit_bias_count = 2;
    assert_int_equal(draw_at(&sampling, logits, V, 0, NULL), 3);
}

static void test_penalties_count_generated_tokens(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    int32_t tokens[] = {3, 3, 1, 1, 1, 2}; /* the prompt's two do not count */
    struct token_history history = {.tokens = tokens, .prompt_count = 2, .count = 6};
    struct sampling sampling = greedy;
    sampling.presence_penalty = 0.5;
    sampling.frequency_penalty = 0.25;
    /* token 1 loses 0.5 + 0.75, token 2 loses 0.5 + 0.25 */
    float logits[V] = {0, 3, 2.6f, 1.8f};
    assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, NULL), 2);
    float again[V] = {0, 3, 2.6f, 1.8f};
    assert_int_equal(sampler_draw(sampler, &sampling, again, &(struct token_history){0}, NULL),
                     1); /* counts do not stay */
    assert_float_equal(logits[1], 1.75, 1e-6);
    assert_float_equal(logits[2], 1.85, 1e-6);
    assert_float_equal(logits[3], 1.8, 1e-6);
    sampler_destroy(sampler);
}

static void test_ids_outside_the_vocabulary_are_not_counted(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    int32_t tokens[] = {-1, V, INT32_MAX, 1};
    struct token_history history = {.tokens = tokens, .count = 4};
    struct sampling sampling = greedy;
    sampling.presence_penalty = 2;
    sampling.repetition_penalty = 1.1;
    float logits[V] = {1, 2};
    assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, NULL), 0);
    sampler_destroy(sampler);
}

static void test_logprobs_are_of_the_raw_logits(void **state) {
    (void)state;
    float logits[V] = {0, 1, 2, 3, 2, -1, -2, 0.5f};
    struct logit_bias bias[] = {{5, 100}};
    struct sampling sampling = greedy;
    sampling.top_logprobs = 4;
    sampling.logit_bias = bias;
    sampling.logit_bias_count = 1;
    struct logprob_entry entry;
    assert_int_equal(draw_at(&sampling, logits, V, 0, &entry), 5);
    double sum = 0;
    for (int i = 0; i < V; i++) sum += exp(logits[i]);
    assert_int_equal(entry.chosen.id, 5);
    assert_float_equal(entry.chosen.logprob, -1 - log(sum), 1e-5);
    const int32_t expected[] = {3, 2, 4, 1}; /* equal ones by id */
    assert_int_equal(entry.top_count, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(entry.top[i].id, expected[i]);
        assert_float_equal(entry.top[i].logprob, logits[expected[i]] - log(sum), 1e-5);
    }
}

static void test_top_logprobs_zero_gives_the_chosen_alone(void **state) {
    (void)state;
    float logits[V] = {0};
    struct sampling sampling = greedy;
    sampling.top_logprobs = 0;
    struct logprob_entry entry;
    assert_int_equal(draw_at(&sampling, logits, V, 0, &entry), 0);
    assert_int_equal(entry.top_count, 0);
    assert_float_equal(entry.chosen.logprob, -log(V), 1e-5);
}

static void test_more_logprobs_than_tokens(void **state) {
    (void)state;
    float logits[V] = {0, -INFINITY};
    struct sampling sampling = greedy;
    sampling.top_logprobs = 20;
    struct logprob_entry entry;
    draw_at(&sampling, logits, V, 0, &entry);
    assert_int_equal(entry.top_count, V);
    assert_int_equal(entry.top[V - 1].id, 1);
    assert_float_equal(entry.top[V - 1].logprob, -9999, 0); /* finite, for JSON */
}

static void test_nan_is_never_chosen(void **state) {
    (void)state;
    float logits[V] = {NAN, 1, NAN, 2, NAN, -INFINITY, NAN, 0};
    assert_int_equal(draw_at(&greedy, logits, V, 0, NULL), 3);
    struct sampling sampling = greedy;
    sampling.temperature = 5;
    int counts[V];
    histogram(&sampling, logits, 2000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i == 1 || i == 3 || i == 7);
    sampling.top_p = 0.999;
    sampling.top_k = 7;
    histogram(&sampling, logits, 2000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i == 1 || i == 3 || i == 7);
}

static void test_no_usable_logit_gives_no_token(void **state) {
    (void)state;
    float logits[V] = {NAN, -INFINITY, NAN, -INFINITY, NAN, NAN, NAN, NAN};
    struct sampling sampling = greedy;
    sampling.top_logprobs = 3;
    struct logprob_entry entry;
    assert_int_equal(draw_at(&sampling, logits, V, 0, &entry), SAMPLER_NO_TOKEN);
    sampling.temperature = 1;
    sampling.top_p = 0.5;
    assert_int_equal(draw_at(&sampling, logits, V, 0, &entry), SAMPLER_NO_TOKEN);
}

static void test_infinite_logits_share_the_draw(void **state) {
    (void)state;
    float logits[V] = {0, INFINITY, 100, INFINITY};
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    int counts[V];
    histogram(&sampling, logits, 1000, counts);
    assert_int_equal(counts[1] + counts[3], 1000);
    assert_true(counts[1] > 300 && counts[3] > 300);
}

static void test_extreme_temperatures_end(void **state) {
    (void)state;
    float logits[V] = {0, 1, 2, 3};
    struct sampling sampling = greedy;
    sampling.temperature = 5e-324;
    assert_int_equal(draw_at(&sampling, logits, V, 0, NULL), 3);
    sampling.top_p = 0.9;
    assert_int_equal(draw_at(&sampling, logits, V, 0, NULL), 3);
    sampling.temperature = 1e308;
    assert_in_range(draw_at(&sampling, logits, V, 0, NULL), 0, V - 1);
}

static void test_repetition_counts_prompt_and_output_once(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    int32_t tokens[] = {1, 1, 2, 2, 3}; /* 1 and 2 in the prompt, 2 and 3 generated */
    struct token_history history = {.tokens = tokens, .prompt_count = 3, .count = 5};
    struct sampling sampling = greedy;
    sampling.repetition_penalty = 2;
    const float before[V] = {1.5f, 3, -1, 2.5f, 0, -INFINITY};
    float logits[V];
    memcpy(logits, before, sizeof logits);
    assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, NULL), 0); /* 1.5 and 1.5: the lower id */
    const float after[V] = {1.5f, 1.5f, -2, 1.25f, 0, -INFINITY};
    assert_memory_equal(logits, after, sizeof after);
    for (int off = 0; off < 2; off++) { /* 0 and 1 leave everything as it is; nothing is remembered */
        sampling.repetition_penalty = off;
        memcpy(logits, before, sizeof logits);
        assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, NULL), 1);
        assert_memory_equal(logits, before, sizeof before);
    }
    sampler_destroy(sampler);
}

static void test_extreme_repetition_stays_finite(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    int32_t tokens[] = {0, 1, 2, 3};
    struct token_history history = {.tokens = tokens, .prompt_count = 4, .count = 4};
    struct sampling sampling = greedy;
    sampling.repetition_penalty = 5e-324;
    float logits[V] = {1, -1, INFINITY, NAN, 0, 0, 0, 0};
    assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, NULL), 0); /* as large as the infinite one */
    assert_true(logits[0] == FLT_MAX && logits[2] == FLT_MAX && logits[3] == -INFINITY);
    sampling.repetition_penalty = 10;
    float low[V] = {-FLT_MAX, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    assert_int_equal(sampler_draw(sampler, &sampling, low, &history, NULL), 0); /* a number stays one */
    sampler_destroy(sampler);
}

static void test_typical_keeps_the_least_surprising_surprise(void **state) {
    (void)state;
    /* p = 0.5, then 0.1 five times: entropy 1.498, surprises 0.693 and 2.303. Both are 0.805 away but for rounding; a sixth part moves it. */
    float logits[V] = {logf(0.5f), logf(0.1f), logf(0.1f), logf(0.1f), logf(0.1f), logf(0.05f), logf(0.05f), -INFINITY};
    /* entropy 1.567: surprises 0.693 (0.874 away), 2.303 (0.736 away), 2.996 (1.429 away) */
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    sampling.typical_p = 0.35; /* 0.3 is not enough, 0.4 is: the likeliest is left out */
    int counts[V];
    histogram(&sampling, logits, 4000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i >= 1 && i <= 4);
    sampling.typical_p = 0.25; /* three of four equal ones: the lower ids */
    histogram(&sampling, logits, 4000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i >= 1 && i <= 3);
    sampling.typical_p = 0.85;
    histogram(&sampling, logits, 4000, counts);
    for (int i = 0; i < V; i++) assert_int_equal(counts[i] > 0, i <= 4);
    sampling.top_p = 0.5; /* typical_p is a share of what top_p left */
    histogram(&sampling, logits, 1000, counts);
    assert_int_equal(counts[0], 1000);
}

/** One token far above 1,500 equal ones, and 500 below: the likeliest is the least typical, and unlikely ones come before it. */
static void test_the_likeliest_may_be_the_least_typical(void **state) {
    (void)state;
    enum { PLATEAU = 1500, ALL = 2001 };
    /* masses 0.0887, 0.8966, 0.0149; distances 4.60, 0.40, 3.40 */
    float *logits = malloc(ALL * sizeof *logits);
    for (int i = 0; i < ALL; i++) logits[i] = i == 0 ? 0 : i <= PLATEAU ? -5 : -8;
    struct sampling sampling = greedy;
    sampling.temperature = 1;
    sampling.typical_p = 0.905;
    int below = 0;
    for (uint64_t position = 0; position < 2000; position++) {
        int32_t id = draw_at(&sampling, logits, ALL, position, NULL);
        assert_int_not_equal(id, 0);
        below += id > PLATEAU;
    }
    assert_in_range(below, 5, 60); /* 18 are expected */
    free(logits);
}

static void test_neutral_settings_are_off(void **state) {
    (void)state;
    float logits[V] = {0, 1, 2, 3, -1, 0.5f, -20, 1.5f};
    struct sampling plain = greedy, neutral = greedy;
    plain.temperature = neutral.temperature = 0.9;
    neutral.top_k = V;
    neutral.typical_p = 1;
    neutral.repetition_penalty = 1;
    for (uint64_t position = 0; position < 500; position++)
        assert_int_equal(draw_at(&plain, logits, V, position, NULL), draw_at(&neutral, logits, V, position, NULL));
}

/** What a sampler did before does not show: other rows, other settings, other histories. */
static void test_nothing_is_left_from_other_draws(void **state) {
    (void)state;
    enum { ROWS = 300, COUNT = 3000 };
    float *logits = malloc(COUNT * sizeof *logits), *copy = malloc(COUNT * sizeof *copy);
    int32_t tokens[50], alone[ROWS];
    for (int i = 0; i < COUNT; i++) logits[i] = (float)(9 * random_uniform(5, (uint64_t)i, 1));
    for (int i = 0; i < 50; i++) tokens[i] = i * 7;
    struct sampler *shared = NULL, *own = NULL;
    struct sampling sampling = greedy;
    struct logprob_entry entry;
    check_ok(sampler_create(COUNT, &shared, &check_error));
    for (int together = 0; together < 2; together++) {
        for (int row = 0; row < ROWS; row++) {
            sampling.temperature = 0.5 + 0.25 * (row % 3);
            sampling.top_k = row % 2 * 40;
            sampling.top_p = row % 5 == 0 ? 0.8 : 1;
            sampling.typical_p = row % 7 == 0 ? 0.6 : 1;
            sampling.repetition_penalty = row % 4 == 0 ? 1.3 : 0;
            sampling.frequency_penalty = row % 6 == 0 ? 0.5 : 0;
            sampling.top_logprobs = row % 11 == 0 ? 5 : -1;
            struct token_history history = {.tokens = tokens, .prompt_count = 20, .count = 50};
            if (!together) check_ok(sampler_create(COUNT, &own, &check_error));
            memcpy(copy, logits, COUNT * sizeof *copy);
            int32_t id = sampler_draw(together ? shared : own, &sampling, copy, &history, &entry);
            if (together)
                assert_int_equal(id, alone[row]);
            else
                alone[row] = id;
            if (!together) sampler_destroy(own);
        }
    }
    sampler_destroy(shared);
    free(logits);
    free(copy);
}

static void test_all_filters_survive_nan_and_infinity(void **state) {
    (void)state;
    struct sampling sampling = greedy;
    sampling.temperature = 0.7;
    sampling.top_k = 5;
    sampling.top_p = 0.9;
    sampling.min_p = 0.01;
    sampling.typical_p = 0.9;
    float odd[V] = {NAN, 1, -INFINITY, 2, NAN, 0, -NAN, 1.5f};
    int counts[V];
    histogram(&sampling, odd, 2000, counts);
    assert_int_equal(counts[0] + counts[2] + counts[4] + counts[6], 0);
    float infinite[V] = {INFINITY, 1, NAN, INFINITY, 2, 3, 4, 5};
    histogram(&sampling, infinite, 2000, counts);
    assert_int_equal(counts[0] + counts[3], 2000);
    float lowest[V] = {-FLT_MAX, -FLT_MAX, -INFINITY, NAN, -INFINITY, NAN, NAN, NAN};
    histogram(&sampling, lowest, 2000, counts);
    assert_int_equal(counts[0] + counts[1], 2000);
}

static void test_likeliest_are_the_models_and_what_was_added(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    struct logit_bias bias[] = {{0, 2}};
    int32_t tokens[] = {3};
    struct token_history history = {.tokens = tokens, .count = 1};
    struct sampling sampling = greedy;
    sampling.logit_bias = bias;
    sampling.logit_bias_count = 1;
    sampling.presence_penalty = 1.5;
    const float before[V] = {0, 1, 2, 3, 2, -INFINITY, NAN, -5};
    float logits[V];
    double sum = 0;
    for (int i = 0; i < V; i++) sum += isfinite(before[i]) ? exp(before[i]) : 0;
    struct token_logprob out[V];
    memcpy(logits, before, sizeof logits);
    assert_int_equal(sampler_likeliest(sampler, &sampling, logits, &history, out, 3), 3);
    const struct token_logprob three[] = {{0, 2}, {2, 2}, {4, 2}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(out[i].id, three[i].id);
        assert_float_equal(out[i].logprob, three[i].logprob - log(sum), 1e-6);
    }
    memcpy(logits, before, sizeof logits);
    assert_int_equal(sampler_likeliest(sampler, &sampling, logits, &history, out, V), 6); /* two are -inf */
    assert_int_equal(out[3].id, 3);
    assert_float_equal(out[3].logprob, 1.5 - log(sum), 1e-6);
    assert_int_equal(out[5].id, 7);
    for (int i = 0; i < V; i++) logits[i] = NAN;
    assert_int_equal(sampler_likeliest(sampler, &sampling, logits, &history, out, V), 0);
    sampler_destroy(sampler);
}

static void test_a_mask_stands_before_bias_and_penalties(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    enum { WIDE = 70 };
    check_ok(sampler_create(WIDE, &sampler, &check_error));
    struct logit_bias bias[] = {{1, 100}};
    const uint32_t words[] = {1u << 3 | 1u << 31, 1u << 2}; /* 3, 31, 34; ids from 64 on are past the end */
    struct token_history history = {.mask = {.words = words, .word_count = 2}};
    struct sampling sampling = greedy;
    sampling.logit_bias = bias;
    sampling.logit_bias_count = 1;
    sampling.repetition_penalty = 5;
    sampling.top_logprobs = 2;
    float before[WIDE], logits[WIDE];
    for (int i = 0; i < WIDE; i++) before[i] = (float)i;
    before[3] = 50;
    memcpy(logits, before, sizeof logits);
    struct logprob_entry entry;
    assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, &entry), 3);
    assert_int_equal(entry.top[0].id, WIDE - 1); /* of the model itself */
    assert_int_equal(entry.chosen.id, 3);
    sampling.temperature = 100;
    sampling.top_logprobs = -1;
    int counts[WIDE] = {0};
    for (int i = 0; i < 300; i++) {
        memcpy(logits, before, sizeof logits);
        history.count = 0;
        sampling.seed = (uint64_t)i;
        counts[sampler_draw(sampler, &sampling, logits, &history, NULL)]++;
    }
    assert_int_equal(counts[3] + counts[31] + counts[34], 300);
    assert_true(counts[3] > 0 && counts[31] > 0 && counts[34] > 0);
    struct token_logprob out[WIDE];
    memcpy(logits, before, sizeof logits);
    assert_int_equal(sampler_likeliest(sampler, &sampling, logits, &history, out, 10), 3);
    assert_int_equal(out[0].id, 3);
    assert_int_equal(out[2].id, 31);
    const uint32_t none[] = {0, 0};
    history.mask.words = none;
    memcpy(logits, before, sizeof logits);
    assert_int_equal(sampler_draw(sampler, &sampling, logits, &history, NULL), SAMPLER_NO_TOKEN);
    sampler_destroy(sampler);
}

static void test_check_names_what_is_out_of_range(void **state) {
    (void)state;
    struct sampling sampling = greedy;
    check_ok(sampling_check(&sampling, V, &check_error));
#define REFUSED(field, bad)                                                                  \
    do {                                                                                     \
        struct sampling one = greedy;                                                        \
        one.field = (bad);                                                                   \
        check_fails(sampling_check(&one, V, &check_error), STATUS_INVALID_ARGUMENT, #field); \
    } while (0)
    REFUSED(temperature, -0.1);
    REFUSED(temperature, NAN);
    REFUSED(temperature, INFINITY);
    REFUSED(top_p, 0);
    REFUSED(top_p, 1.01);
    REFUSED(top_k, -1);
    REFUSED(min_p, 1.5);
    REFUSED(typical_p, -0.1);
    REFUSED(typical_p, 1.01);
    REFUSED(repetition_penalty, -1);
    REFUSED(repetition_penalty, 10.5);
    REFUSED(repetition_penalty, NAN);
    REFUSED(presence_penalty, 2.1);
    REFUSED(frequency_penalty, NAN);
    REFUSED(top_logprobs, 21);
    REFUSED(top_logprobs, -2);
#undef REFUSED
    struct logit_bias outside = {V, 1}, large = {0, 101}, nan = {0, NAN};
    const struct logit_bias *const bad[] = {&outside, &large, &nan};
    for (size_t i = 0; i < 3; i++) {
        sampling.logit_bias = bad[i];
        sampling.logit_bias_count = 1;
        check_fails(sampling_check(&sampling, V, &check_error), STATUS_INVALID_ARGUMENT, "logit_bias");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_temperature_zero_is_argmax_lowest_id_wins),
        cmocka_unit_test(test_draws_follow_the_softmax),
        cmocka_unit_test(test_seed_and_position_decide_the_draw),
        cmocka_unit_test(test_top_k_keeps_the_likeliest),
        cmocka_unit_test(test_top_p_keeps_the_smallest_set_that_holds_it),
        cmocka_unit_test(test_top_p_is_a_share_of_what_top_k_left),
        cmocka_unit_test(test_min_p_is_relative_to_the_likeliest),
        cmocka_unit_test(test_tiny_top_p_keeps_one),
        cmocka_unit_test(test_truncation_agrees_with_a_full_sort),
        cmocka_unit_test(test_bias_bans_and_forces),
        cmocka_unit_test(test_penalties_count_generated_tokens),
        cmocka_unit_test(test_ids_outside_the_vocabulary_are_not_counted),
        cmocka_unit_test(test_logprobs_are_of_the_raw_logits),
        cmocka_unit_test(test_top_logprobs_zero_gives_the_chosen_alone),
        cmocka_unit_test(test_more_logprobs_than_tokens),
        cmocka_unit_test(test_a_mask_stands_before_bias_and_penalties),
        cmocka_unit_test(test_nan_is_never_chosen),
        cmocka_unit_test(test_no_usable_logit_gives_no_token),
        cmocka_unit_test(test_infinite_logits_share_the_draw),
        cmocka_unit_test(test_extreme_temperatures_end),
        cmocka_unit_test(test_repetition_counts_prompt_and_output_once),
        cmocka_unit_test(test_extreme_repetition_stays_finite),
        cmocka_unit_test(test_typical_keeps_the_least_surprising_surprise),
        cmocka_unit_test(test_the_likeliest_may_be_the_least_typical),
        cmocka_unit_test(test_neutral_settings_are_off),
        cmocka_unit_test(test_nothing_is_left_from_other_draws),
        cmocka_unit_test(test_all_filters_survive_nan_and_infinity),
        cmocka_unit_test(test_likeliest_are_the_models_and_what_was_added),
        cmocka_unit_test(test_check_names_what_is_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
