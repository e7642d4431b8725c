/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixtures of experts, for every variant: choices and weights against their definition in float64, products against matmul - to the bit, a row with
 * each of its experts alone, so that neither the other rows of an expert nor the threads matter - and sums against their definition.
 *
 *   weight    two e^x and a sum of E, a quotient, and with `normalise` another sum and quotient: E + 16 half units in the last place, and what
 *             the difference of two logits lost: half a unit of the larger
 */
#include "tests/unit/kernels/fixture.h"

#include <math.h>
#include <string.h>

enum { T = 41, K = 256, N = 53, E = 7, USED_MAX = 4, SLOTS_MAX = T * USED_MAX };

struct room {
    struct routed routed;
    float weights[SLOTS_MAX];
    int32_t slots[SLOTS_MAX], slot_rows[SLOTS_MAX], first_slot[E + 1];
};

static struct routed *room_init(struct room *room) {
    memset(room, 0xFF, sizeof *room);
    room->routed = (struct routed){
        .weights = room->weights, .slots = room->slots, .slot_rows = room->slot_rows, .first_slot = room->first_slot};
    return &room->routed;
}

static struct kernels *open_kernels(const char *variant, int threads) {
    struct kernels_options options = {.variant = variant,
                                      .threads = threads,
                                      .spin_ns = -1,
                                      .rows_max = T,
                                      .columns_max = K,
                                      .context_max = 32,
                                      .heads_max = 1,
                                      .experts_used_max = USED_MAX};
    struct kernels *kernels = NULL;
    assert_int_equal(kernels_open("cpu", &options, &kernels, NULL), STATUS_OK);
    return kernels;
}

/** The expert of slot `slot`. */
static int expert_of(const struct routed *routed, int32_t slot) {
    int expert = 0;
    while (routed->first_slot[expert + 1] <= slot) expert++;
    return expert;
}

/* ---- choosing ------------------------------------------------------------------------------------------------------------ */

/** Slots are a permutation of all pairs, ascending by expert and then by row. */
static void check_slots(const struct routed *routed, int64_t rows, int used) {
    bool seen[SLOTS_MAX] = {false};
    assert_int_equal(routed->first_slot[0], 0);
    assert_int_equal(routed->first_slot[E], rows * used);
    for (int64_t i = 0; i < rows * used; i++) {
        int32_t slot = routed->slots[i];
        assert_true(slot >= 0 && slot < rows * used && !seen[slot]);
        seen[slot] = true;
        assert_int_equal(routed->slot_rows[slot], i / used);
        if (i % used > 0) assert_true(expert_of(routed, slot) > expert_of(routed, routed->slots[i - 1]));
    }
    for (int e = 0; e < E; e++) {
        for (int32_t s = routed->first_slot[e] + 1; s < routed->first_slot[e + 1]; s++)
            assert_true(routed->slot_rows[s] > routed->slot_rows[s - 1]);
    }
}

static void check_row(const struct routing *routing, const struct routed *routed, int64_t t) {
    const float *logits = routing->logits + t * E;
    double total = 0, chosen_sum = 0, smallest = INFINITY, score[E], largest = -INFINITY;
    bool chosen[E] = {false};
    for (int e = 0; e < E; e++) largest = fmax(largest, logits[e]);
    for (int e = 0; e < E; e++) total += exp(logits[e] - largest);
    for (int e = 0; e < E; e++)
        score[e] = routing->score == ROUTING_SOFTMAX ? exp(logits[e] - largest) / total : 1 / (1 + exp(-logits[e]));
    for (int j = 0; j < routing->used; j++) {
        int expert = expert_of(routed, routed->slots[t * routing->used + j]);
        chosen[expert] = true;
        chosen_sum += score[expert];
        smallest = fmin(smallest, logits[expert]);
    }
    for (int e = 0; e < E; e++) assert_true(chosen[e] || logits[e] <= smallest);
    for (int j = 0; j < routing->used; j++) {
        int expert = expert_of(routed, routed->slots[t * routing->used + j]);
        double want = score[expert] * routing->scale / (routing->normalise ? chosen_sum : 1);
        double bound = F32_HALF_ULP * (E + 16 + 2 * fabs((double)logits[expert]) + 2 * fabs(largest)) * want;
        if (!(fabs(routed->weights[t * routing->used + j] - want) <= bound))
            fail_msg("row %lld, expert %d weighs %.9g, not %.9g", (long long)t, expert,
                     (double)routed->weights[t * routing->used + j], want);
    }
}

static void test_choices_and_weights_are_the_definition(void **state) {
    (void)state;
    for_each_variant(variant) {
        struct kernels *kernels = open_kernels(variant, 2);
        struct fixture_random random = {.seed = 61};
        float *logits = fixture_normals(&random, T * E);
        for (int i = 0; i < T * E; i++) logits[i] *= i % 5 == 0 ? 20 : 1;
        for (int e = 0; e < E; e++) logits[e] = 1;               /* all equal: the first ones */
        for (int e = 0; e < E; e++) logits[E + e] = (float)(-e); /* descending */
        for (int c = 0; c < 16; c++) {
            struct room room;
            struct routing routing = {.logits = logits,
                                      .rows = c == 15 ? 1 : T,
                                      .experts = E,
                                      .used = 1 + c % USED_MAX,
                                      .score = c / 4 % 2 == 0 ? ROUTING_SOFTMAX : ROUTING_SIGMOID,
                                      .normalise = c >= 8,
                                      .scale = c == 3 ? 2.5f : 1};
            struct routed *routed = room_init(&room);
            kernels->operations->route(kernels, &routing, routed);
            check_slots(routed, routing.rows, routing.used);
            for (int64_t t = 0; t < routing.rows; t++) check_row(&routing, routed, t);
            for (int j = 0; j < routing.used; j++) assert_int_equal(expert_of(routed, routed->slots[j]), j);
        }
        test_free(logits);
        kernels_close(kernels);
    }
}

/** Broken logits still choose as many different experts, and show in the weights. */
static void test_logits_that_are_not_numbers_show(void **state) {
    (void)state;
    for_each_variant(variant) {
        struct kernels *kernels = open_kernels(variant, 1);
        float logits[2 * E];
        for (int e = 0; e < 2 * E; e++) logits[e] = e < E ? NAN : (float)e;
        logits[E + 2] = NAN;
        struct room room;
        struct routing routing = {.logits = logits, .rows = 2, .experts = E, .used = 3, .scale = 1};
        struct routed *routed = room_init(&room);
        kernels->operations->route(kernels, &routing, routed);
        check_slots(routed, 2, 3);
        for (int j = 0; j < 6; j++) assert_true(isnan(routed->weights[j]));
        kernels_close(kernels);
    }
}

/* ---- multiplying --------------------------------------------------------------------------------------------------------- */

struct experts {
    struct tensor_view views[2][E];
    struct weights *weights[2][E]; /* gates and ups */
    float *x, *norm;               /* [SLOTS_MAX][K], [K] */
    struct room room;
};

static void experts_init(struct experts *experts, struct kernels *kernels, enum tensor_type type, int64_t rows,
                         int used) {
    struct fixture_random random = {.seed = 62};
    for (int i = 0; i < 2 * E; i++) {
        struct tensor_view *view = &experts->views[i / E][i % E];
        *view = fixture_tensor(&random, type, N, K);
        assert_int_equal(kernels->operations->weights_create(kernels, view, &experts->weights[i / E][i % E], NULL),
                         STATUS_OK);
    }
    experts->x = fixture_normals(&random, SLOTS_MAX * K);
    experts->norm = fixture_normals(&random, K);
    float *logits = fixture_normals(&random, T * E);
    for (int t = 0; t < T; t++)
        logits[t * E + 3] = t < T - 2 ? -50 : 50;       /* an expert that two rows ask for, or nobody */
    for (int t = 0; t < T; t++) logits[t * E + 5] += 2; /* and one that most do */
    struct routing routing = {.logits = logits, .rows = rows, .experts = E, .used = used, .scale = 1};
    kernels->operations->route(kernels, &routing, room_init(&experts->room));
    test_free(logits);
}

static void experts_deinit(struct experts *experts, struct kernels *kernels) {
    for (int i = 0; i < 2 * E; i++) {
        kernels->operations->weights_destroy(kernels, experts->weights[i / E][i % E]);
        test_free((void *)experts->views[i / E][i % E].data);
    }
    test_free(experts->x);
    test_free(experts->norm);
}

/** What matmul gives for one row and one expert. */
static void multiply_alone(struct kernels *kernels, const struct experts *experts, int expert, const float *x,
                           bool norm, bool gated, float *y) {
    struct matmul matmul = {.x = x,
                            .x_stride = K,
                            .rows = 1,
                            .norm_weight = norm ? experts->norm : NULL,
                            .norm_eps = 1e-5f,
                            .gated = gated,
                            .activation = ACTIVATION_GELU_TANH,
                            .output_count = gated ? 2 : 1,
                            .outputs = {{.weights = experts->weights[0][expert], .y = y, .y_stride = N},
                                        {.weights = experts->weights[1][expert], .y = NULL, .y_stride = N}}};
    kernels->operations->matmul(kernels, &matmul);
}

static void check_products(struct kernels *kernels, struct kernels *single, enum tensor_type type, int64_t rows,
                           int used, int kind) {
    bool by_slot = kind & 1, norm = kind & 2, gated = kind & 4;
    struct experts experts;
    experts_init(&experts, kernels, type, rows, used);
    const struct routed *routed = &experts.room.routed;
    float *y = fixture_floats(SLOTS_MAX * N + 1, -7), alone[N];
    struct expert_matmul matmul = {.routed = routed,
                                   .x = experts.x,
                                   .x_stride = K,
                                   .by_slot = by_slot,
                                   .norm_weight = norm ? experts.norm : NULL,
                                   .norm_eps = 1e-5f,
                                   .weights = (const struct weights *const *)experts.weights[0],
                                   .up = gated ? (const struct weights *const *)experts.weights[1] : NULL,
                                   .activation = ACTIVATION_GELU_TANH,
                                   .y = y};
    kernels->operations->expert_matmul(kernels, &matmul);
    for (int32_t slot = 0; slot < rows * used; slot++) {
        const float *x = experts.x + (by_slot ? slot : routed->slot_rows[slot]) * K;
        multiply_alone(single, &experts, expert_of(routed, slot), x, norm, gated, alone);
        if (memcmp(alone, y + slot * N, sizeof alone) != 0)
            fail_msg("%s %s, %lld rows of %d experts, kind %d: slot %d is not what it is alone", kernels->variant,
                     tensor_type_name(type), (long long)rows, used, kind, slot);
    }
    assert_true(y[rows * used * N] == -7);
    test_free(y);
    experts_deinit(&experts, kernels);
}

static void test_products_are_those_of_each_row_alone(void **state) {
    (void)state;
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_K};
    static const int64_t rows[] = {1, 2, 5, T};
    for_each_variant(variant) {
        struct kernels *single = open_kernels(variant, 1); /* its threads need not meet, thousands of times */
        for (int threads = 1; threads <= 3; threads++) {
            struct kernels *kernels = open_kernels(variant, threads);
            for (size_t i = 0; i < 4 * (sizeof types / sizeof types[0]); i++) {
                for (int kind = 0; kind < 8; kind++)
                    check_products(kernels, single, types[i / 4], rows[i % 4], 1 + (int)(i + (size_t)kind) % USED_MAX,
                                   kind);
            }
            kernels_close(kernels);
        }
        kernels_close(single);
    }
}

/* ---- adding up ----------------------------------------------------------------------------------------------------------- */

static void test_sums_are_the_definition(void **state) {
    (void)state;
    static const int64_t widths[] = {1, 16, 37, 256};
    for_each_variant(variant) {
        struct kernels *kernels = open_kernels(variant, 2);
        for (int c = 0; c < 8; c++) {
            int used = 1 + c % USED_MAX;
            int64_t width = widths[c / 2], rows = c % 2 == 0 ? T : 3;
            struct experts experts;
            experts_init(&experts, kernels, TENSOR_F32, rows, used);
            struct fixture_random random = {.seed = 63};
            const struct routed *routed = &experts.room.routed;
            float *x = fixture_normals(&random, SLOTS_MAX * width), *y = fixture_normals(&random, T * width),
                  *before = fixture_floats(T * width, 0);
            memcpy(before, y, (size_t)(T * width) * sizeof *y);
            kernels->operations->combine(kernels, routed, x, width, y);
            for (int64_t i = 0; i < T * width; i++) {
                double want = before[i], size = fabs((double)before[i]);
                for (int j = 0; j < used && i / width < rows; j++) {
                    int64_t pair = i / width * used + j;
                    double term = (double)routed->weights[pair] * x[routed->slots[pair] * width + i % width];
                    want += term;
                    size += fabs(term);
                }
                assert_true(fabs(y[i] - want) <= 2 * used * F32_HALF_ULP * size);
            }
            test_free(x);
            test_free(y);
            test_free(before);
            experts_deinit(&experts, kernels);
        }
        kernels_close(kernels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices_and_weights_are_the_definition),
        cmocka_unit_test(test_logits_that_are_not_numbers_show),
        cmocka_unit_test(test_products_are_those_of_each_row_alone),
        cmocka_unit_test(test_sums_are_the_definition),
    };
    return cmocka_run_group_tests(tests, fixture_announce, NULL);
}
