/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kernels/fixture.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int fixture_announce(void **state) {
    (void)state;
    static const char *const all[] = {"avx512", "avx2", "plain"};
    printf("[  KERNELS ] %s\n[  KERNELS ] variants run:", kernels_cpu_description());
    for_each_variant(name) printf(" %s", name);
    printf("; lacked by this machine:");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        bool here = false;
        for_each_variant(name) here = here || strcmp(name, all[i]) == 0;
        if (!here) printf(" %s", all[i]);
    }
    printf("\n");
    return 0;
}

struct kernels *fixture_open(const char *variant, int threads) {
    struct kernels_options options = {.variant = variant,
                                      .threads = threads,
                                      .spin_ns = -1,
                                      .rows_max = FIXTURE_ROWS_MAX,
                                      .columns_max = FIXTURE_COLUMNS_MAX,
                                      .context_max = 8192,
                                      .heads_max = FIXTURE_HEADS_MAX};
    struct kernels *kernels = NULL;
    struct error err = {0};
    if (kernels_open("cpu", &options, &kernels, &err) != STATUS_OK) fail_msg("%s: %s", variant, err.message);
    return kernels;
}

double fixture_uniform(struct fixture_random *random) {
    return random_uniform(random->seed, random->position++, 0);
}

int fixture_integer(struct fixture_random *random, int low, int high) {
    return low + (int)(fixture_uniform(random) * (high - low + 1));
}

float fixture_normal(struct fixture_random *random) {
    double radius = sqrt(-2 * log(1 - fixture_uniform(random)));
    return (float)(radius * cos(2 * M_PI * fixture_uniform(random)));
}

float *fixture_floats(int64_t count, float value) {
    float *out = test_malloc((size_t)count * sizeof *out);
    for (int64_t i = 0; i < count; i++) out[i] = value;
    return out;
}

float *fixture_normals(struct fixture_random *random, int64_t count) {
    float *out = fixture_floats(count, 0);
    for (int64_t i = 0; i < count; i++) out[i] = fixture_normal(random);
    return out;
}

/* ---- weights --------------------------------------------------------------------------------------------------------- */

/** The places of f16 scales in a block; -1 ends. */
static void scale_places(enum tensor_type type, int places[3]) {
    places[0] = type == TENSOR_Q6_K ? 208 : 0;
    places[1] = type == TENSOR_Q4_1 || type == TENSOR_Q5_1 || type == TENSOR_Q4_K || type == TENSOR_Q5_K ? 2 : -1;
    places[2] = -1;
}

static void put_f16(uint8_t *at, int sign, int exponent, int fraction) {
    uint16_t half = (uint16_t)(sign << 15 | (exponent + 15) << 10 | fraction);
    memcpy(at, &half, 2);
}

struct tensor_view fixture_tensor(struct fixture_random *random, enum tensor_type type, int64_t rows, int64_t columns) {
    size_t block_bytes = tensor_type_block_bytes(type), bytes = (size_t)rows * tensor_type_row_bytes(type, columns);
    uint8_t *data = test_malloc(bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)fixture_integer(random, 0, 255);
    for (uint8_t *block = data; block < data + bytes; block += block_bytes) {
        if (type == TENSOR_F32) {
            float value = fixture_normal(random);
            memcpy(block, &value, 4);
        } else if (type == TENSOR_BF16) {
            float value = fixture_normal(random);
            memcpy(block, (const char *)&value + 2, 2);
        } else {
            int places[3];
            scale_places(type, places);
            for (int i = 0; places[i] >= 0; i++)
                put_f16(block + places[i], fixture_integer(random, 0, 1), fixture_integer(random, -8, -6),
                        fixture_integer(random, 0, 1023));
        }
    }
    return (struct tensor_view){.data = data, .type = type, .rows = rows, .columns = columns};
}

static double f16_value(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, 2);
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

/** |minimum| of weight `i` of a block: what is added to d * q, and may cancel it. */
static double minimum_of(enum tensor_type type, const uint8_t *block, int i) {
    if (type == TENSOR_Q4_1 || type == TENSOR_Q5_1) return fabs(f16_value(block + 2));
    if (type == TENSOR_Q4_0 || type == TENSOR_Q5_0) return fabs(f16_value(block)) * (type == TENSOR_Q4_0 ? 8 : 16);
    if (type != TENSOR_Q4_K && type != TENSOR_Q5_K) return 0;
    const uint8_t *packed = block + 4; /* twelve bytes of 6-bit scales and minima */
    int part = i / 32, minimum = part < 4 ? packed[part + 4] & 63 : packed[part + 4] >> 4 | (packed[part] >> 6) << 4;
    return fabs(f16_value(block + 2)) * minimum;
}

/** Weight `i` of a block of 32 of Q4_0, Q4_1 or Q8_0, in double. */
static double small_block(enum tensor_type type, const uint8_t *block, int i) {
    double d = f16_value(block);
    switch (type) {
    case TENSOR_Q4_0:
        return d * ((i < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4) - 8);
    case TENSOR_Q4_1:
        return d * (i < 16 ? block[4 + i] & 15 : block[4 + i - 16] >> 4) + f16_value(block + 2);
    default: /* Q8_0 */
        return d * (int8_t)block[2 + i];
    }
}

void fixture_dequantise(const struct tensor_view *view, double *out, double *out_span) {
    float *row = fixture_floats(view->columns, 0);
    size_t row_bytes = tensor_type_row_bytes(view->type, view->columns),
           block_bytes = tensor_type_block_bytes(view->type);
    for (int64_t n = 0; n < view->rows; n++) {
        const uint8_t *data = (const uint8_t *)view->data + (size_t)n * row_bytes;
        bool small = view->type == TENSOR_Q4_0 || view->type == TENSOR_Q4_1 || view->type == TENSOR_Q8_0;
        if (!small)
            assert_int_equal(tensor_dequantise_row(view->type, data, view->columns, row),
                             STATUS_OK); /* tensor_type_test.c checks these */
        int block = tensor_type_block(view->type);
        for (int64_t k = 0; k < view->columns; k++) {
            const uint8_t *at = data + (size_t)(k / block) * block_bytes;
            int inside = (int)(k % block);
            double value = small ? small_block(view->type, at, inside) : row[k];
            out[n * view->columns + k] = value;
            if (out_span != NULL)
                out_span[n * view->columns + k] = fabs(value) + 2 * minimum_of(view->type, at, inside);
        }
    }
    test_free(row);
}
