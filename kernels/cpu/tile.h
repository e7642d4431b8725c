/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Tiles: one group of packed weights times a few rows of x. What a row gets depends on that row only, and avx2 and avx512 give the same
 * bits: integer sums are exact, and every float sum is fixed here.
 *
 * QUANTISED TYPES. x is rounded to 8 bits in blocks of 32 whose halves have a scale each (struct quantised_block), which makes
 * half of the mean square error of one scale for 32. A row's result is
 *
 *     sum = 0;  for each block, ascending:   sum = fma(d_w * d_x, (float)I, sum);   [sum = fma(m_w, s_x, sum)]
 *
 *     I    the exact integer sum of q_w * q_x * factor_x over the block, below 2^24; Q6_K: its offset taken off and its scales multiplied in
 *     d_w  the file's scale; d * scale in the K types (exact in f32)
 *     m_w  m; -8 d in Q4_0 and -16 d in Q5_0; -(dmin * minimum) (exact) in Q4_K and Q5_K; Q8_0 and Q6_K have none
 *
 * FLOAT TYPES. x stays f32. k is cut in runs of FLOAT_RUN; a run's sum is part = fma(w[k], x[k], part), ascending from 0, and
 * sum = sum + part, ascending from 0.
 */
#ifndef KERNELS_CPU_TILE_H
#define KERNELS_CPU_TILE_H

#include "kernels/cpu/pack.h"

#include <string.h>

enum {
    TILE_ROWS_MAX = 24, /* rows of x in a call */
    FLOAT_RUN = 32
};

enum { QUANT_FACTOR_MAX = 16 };
/** 32 values of a row of x: x[k] = d * factor[k / 16] * q[k]. */
struct quantised_block {
    int8_t q[QUANT_BLOCK];
    float d;         /* max |x| / (127 * QUANT_FACTOR_MAX) */
    float s;         /* sum of x as rounded */
    int16_t half[2]; /* factor * sum of the first 16 q, of the second */
    int16_t factor
        [2]
        [2]; /* of the first 16 and of the second, twice each: the least whole number of 1..QUANT_FACTOR_MAX that reaches max |x| */
};

struct tile {
    const void *group;               /* packed weights */
    int64_t columns;                 /* K */
    const struct quantised_block *q; /* row t at q + t * (K / QUANT_BLOCK); the quantised types read it */
    const float *x;                  /* row t at x + t * x_stride; the float types read it */
    int64_t x_stride;
    int64_t rows; /* 1..TILE_ROWS_MAX */
    float *out;   /* [rows][PACK_ROWS], 64-byte aligned */
};
typedef void tile_fn(const struct tile *tile);

static inline void tile_clear(const struct tile *tile) {
    memset(tile->out, 0, (size_t)tile->rows * PACK_ROWS * sizeof *tile->out);
}

/**
 * Ask memory for the `bytes` of weights that come TILE_AHEAD later: a thread's groups lie one after another. The processor's own prefetching
 * stops at every page, and brings a decode to three quarters of what memory can do (Zen 3). What lies behind the last group may be another
 * thread's, or not mapped: a prefetch never faults.
 */
static inline void tile_prefetch(const void *unit, size_t bytes) {
    enum { TILE_AHEAD = 2048 };
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch((const char *)unit + TILE_AHEAD + line);
}

enum { TILE_TYPES = TENSOR_BF16 + 1 };
/** By type; NULL: there is no such type. */
extern tile_fn *const tiles_avx2[TILE_TYPES], *const tiles_avx512[TILE_TYPES];

#endif
