/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sixteen floats, in plain C. vector_avx2.h and vector_avx512.h have the same names; leaves.inc is written once over
 * them. The order of a sum over the lanes is part of the contract: halves are added until one lane is left.
 */
#ifndef KERNELS_CPU_VECTOR_H
#define KERNELS_CPU_VECTOR_H

#include "kernels/float16.h"

#include <math.h>
#include <stdint.h>

typedef struct {
    float lane[16];
} f32x16;

#define LANES(expression)                                  \
    f32x16 r;                                              \
    for (int i = 0; i < 16; i++) r.lane[i] = (expression); \
    return r

/** Vectors beside each other in a tile of so many rows, such that its sums stay in registers: 4, 2 or 1. */
#define TILE_VECTORS(rows) 1
#define V_IN_MEMORY

static inline f32x16 v_set1(float x) {
    LANES(x);
}
static inline f32x16 v_load(const float *p) {
    LANES(p[i]);
}
static inline void v_store(float *p, f32x16 a) {
    for (int i = 0; i < 16; i++) p[i] = a.lane[i];
}
static inline f32x16 v_add(f32x16 a, f32x16 b) {
    LANES(a.lane[i] + b.lane[i]);
}
static inline f32x16 v_sub(f32x16 a, f32x16 b) {
    LANES(a.lane[i] - b.lane[i]);
}
static inline f32x16 v_mul(f32x16 a, f32x16 b) {
    LANES(a.lane[i] * b.lane[i]);
}
static inline f32x16 v_div(f32x16 a, f32x16 b) {
    LANES(a.lane[i] / b.lane[i]);
}
static inline f32x16 v_max(f32x16 a, f32x16 b) {
    LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
static inline f32x16 v_min(f32x16 a, f32x16 b) {
    LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}
static inline f32x16 v_abs(f32x16 a) {
    LANES(fabsf(a.lane[i]));
}
/** a*b + c; fused where the variant has it. */
static inline f32x16 v_madd(f32x16 a, f32x16 b, f32x16 c) {
    LANES(a.lane[i] * b.lane[i] + c.lane[i]);
}
/** Nearest even. */
static inline f32x16 v_round(f32x16 a) {
    LANES(nearbyintf(a.lane[i]));
}
/** 2^n for whole n in [-126, 127]; infinity for 128. */
static inline f32x16 v_exp2i(f32x16 n) {
    LANES(float_from_bits((uint32_t)((int32_t)n.lane[i] + 127) << 23));
}
/** p * 2^n for p in [0.5, 2) and whole n in [-125, 126]: added to the exponent. */
static inline f32x16 v_times_exp2i(f32x16 p, f32x16 n) {
    LANES(float_from_bits(float_to_bits(p.lane[i]) + ((uint32_t)(int32_t)n.lane[i] << 23)));
}
/** Lanes first to last - 1 of `a`, and `other` before and after them. */
static inline f32x16 v_between(f32x16 a, int first, int last, float other) {
    LANES(i >= first && i < last ? a.lane[i] : other);
}
static inline f32x16 v_load_f16(const uint16_t *p) {
    LANES(float_from_f16(p[i]));
}
static inline void v_store_f16(uint16_t *p, f32x16 a) {
    for (int i = 0; i < 16; i++) p[i] = float_to_f16(a.lane[i]);
}
static inline f32x16 v_load_bf16(const uint16_t *p) {
    LANES(float_from_bf16(p[i]));
}
static inline f32x16 v_load_i8(const int8_t *p) {
    LANES((float)p[i]);
}
/** Lanes 2i and 2i+1 change places. */
static inline f32x16 v_swap_pairs(f32x16 a) {
    LANES(a.lane[i ^ 1]);
}
/** Whole values in [-128, 127]. */
static inline void v_store_i8(int8_t *p, f32x16 a) {
    for (int i = 0; i < 16; i++) p[i] = (int8_t)a.lane[i];
}
static inline float v_sum(f32x16 a) {
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) a.lane[i] += a.lane[i + half];
    }
    return a.lane[0];
}
static inline float v_max_lane(f32x16 a) {
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
    }
    return a.lane[0];
}
#undef LANES

#endif
