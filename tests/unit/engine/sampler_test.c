/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "engine/sampler/sampler.h"
#include "tests/unit/engine/check.h"

#include <math.h>

enum { V = 8, LARGE = 49152 };

static const struct sampling greedy = {.top_p = 1, .top_logprobs = -1};

static int32_t draw_at(const struct sampling *sampling, const float *logits, int32_t vocabulary, uint64_t position,
                       struct logprob_entry *entry) {
    struct sampler *sampler = NULL;
    check_ok(sampler_create(vocabulary, &sampler, &check_error));
    float *copy = malloc((size_t)vocabulary * sizeof *copy);
    memcpy(copy, logits, (size_t)vocabulary * sizeof *copy);
    int32_t id = sampler_draw(sampler, sampling, copy, NULL, 0, position, entry);
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
        int32_t id = sampler_draw(sampler, sampling, copy, NULL, 0, (uint64_t)i, NULL);
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
    int32_t generated[] = {1, 1, 1, 2};
    struct sampling sampling = greedy;
    sampling.presence_penalty = 0.5;
    sampling.frequency_penalty = 0.25;
    /* token 1 loses 0.5 + 0.75, token 2 loses 0.5 + 0.25 */
    float logits[V] = {0, 3, 2.6f, 1.8f};
    assert_int_equal(sampler_draw(sampler, &sampling, logits, generated, 4, 0, NULL), 2);
    float again[V] = {0, 3, 2.6f, 1.8f};
    assert_int_equal(sampler_draw(sampler, &sampling, again, NULL, 0, 0, NULL), 1); /* counts do not stay */
    assert_float_equal(logits[1], 1.75, 1e-6);
    assert_float_equal(logits[2], 1.85, 1e-6);
    sampler_destroy(sampler);
}

static void test_ids_outside_the_vocabulary_are_not_counted(void **state) {
    (void)state;
    struct sampler *sampler = NULL;
    check_ok(sampler_create(V, &sampler, &check_error));
    int32_t generated[] = {-1, V, INT32_MAX, 1};
    struct sampling sampling = greedy;
    sampling.presence_penalty = 2;
    float logits[V] = {1, 2};
    assert_int_equal(sampler_draw(sampler, &sampling, logits, generated, 4, 0, NULL), 0);
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
        cmocka_unit_test(test_nan_is_never_chosen),
        cmocka_unit_test(test_no_usable_logit_gives_no_token),
        cmocka_unit_test(test_infinite_logits_share_the_draw),
        cmocka_unit_test(test_extreme_temperatures_end),
        cmocka_unit_test(test_check_names_what_is_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
