/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Integer tiles with AVX-512 VNNI: sixteen weight rows in the lanes, C activation rows beside each other. One vpdpbusd
 * multiplies four neighbouring k of sixteen rows by four activation bytes that are broadcast.
 */
#include "kernels/cpu/cpu.h"

#include <immintrin.h>
#include <string.h>

static inline __attribute__((always_inline)) __m512i four_bytes(const int8_t *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return _mm512_set1_epi32(four);
}

static inline __attribute__((always_inline)) __m512 sixteen_halves(const uint16_t *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

static inline __attribute__((always_inline)) void tile_q4(const struct packed_q4 *group, int64_t blocks,
                                                          const struct quantised *x, int64_t row, float *out,
                                                          const int C) {
    __m512 sum[TILE_ROWS_MAX];
    for (int c = 0; c < C; c++) sum[c] = _mm512_setzero_ps();
    const __m512i low = _mm512_set1_epi8(15);
    for (int64_t b = 0; b < blocks; b++) {
        __m512i w[8];
        for (int i = 0; i < 4; i++) {
            __m512i q = _mm512_loadu_si512(group[b].q + 64 * i);
            w[i] = _mm512_and_si512(q, low);
            w[i + 4] = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
        }
        __m512 d = sixteen_halves(group[b].d), m = sixteen_halves(group[b].m);
        for (int c = 0; c < C; c++) {
            const int64_t at = (row + c) * blocks + b;
            const int8_t *q = x->q + at * QUANT_BLOCK;
            __m512i first = _mm512_setzero_si512(), second = first;
            for (int i = 0; i < 4; i++) {
                first = _mm512_dpbusd_epi32(first, w[i], four_bytes(q + 4 * i));
                second = _mm512_dpbusd_epi32(second, w[i + 4], four_bytes(q + 16 + 4 * i));
            }
            __m512 products = _mm512_cvtepi32_ps(_mm512_add_epi32(first, second));
            sum[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x->d[at])), products, sum[c]);
            sum[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(x->s[at]), sum[c]);
        }
    }
    for (int c = 0; c < C; c++) _mm512_storeu_ps(out + PACK_ROWS * c, sum[c]);
}

/** vpdpbusd wants unsigned weights: q + 128, and 128 times the activations' sum is taken off again, exactly. */
static inline __attribute__((always_inline)) void tile_q8(const struct packed_q8 *group, int64_t blocks,
                                                          const struct quantised *x, int64_t row, float *out,
                                                          const int C) {
    __m512 sum[TILE_ROWS_MAX];
    for (int c = 0; c < C; c++) sum[c] = _mm512_setzero_ps();
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    for (int64_t b = 0; b < blocks; b++) {
        __m512i w[8];
        for (int i = 0; i < 8; i++) w[i] = _mm512_xor_si512(_mm512_loadu_si512(group[b].q + 64 * i), flip);
        __m512 d = sixteen_halves(group[b].d);
        for (int c = 0; c < C; c++) {
            const int64_t at = (row + c) * blocks + b;
            const int8_t *q = x->q + at * QUANT_BLOCK;
            __m512i first = _mm512_set1_epi32(-128 * x->isum[at]), second = _mm512_setzero_si512();
            for (int i = 0; i < 4; i++) {
                first = _mm512_dpbusd_epi32(first, w[i], four_bytes(q + 4 * i));
                second = _mm512_dpbusd_epi32(second, w[i + 4], four_bytes(q + 16 + 4 * i));
            }
            __m512 products = _mm512_cvtepi32_ps(_mm512_add_epi32(first, second));
            sum[c] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x->d[at])), products, sum[c]);
        }
    }
    for (int c = 0; c < C; c++) _mm512_storeu_ps(out + PACK_ROWS * c, sum[c]);
}

void tile_q4_avx512(const struct packed_q4 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                    int64_t rows, float *out) {
    for (; rows >= 8; rows -= 8, first_row += 8, out += 8 * PACK_ROWS) tile_q4(group, blocks, x, first_row, out, 8);
    for (; rows >= 4; rows -= 4, first_row += 4, out += 4 * PACK_ROWS) tile_q4(group, blocks, x, first_row, out, 4);
    for (; rows >= 2; rows -= 2, first_row += 2, out += 2 * PACK_ROWS) tile_q4(group, blocks, x, first_row, out, 2);
    if (rows > 0) tile_q4(group, blocks, x, first_row, out, 1);
}

void tile_q8_avx512(const struct packed_q8 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                    int64_t rows, float *out) {
    for (; rows >= 8; rows -= 8, first_row += 8, out += 8 * PACK_ROWS) tile_q8(group, blocks, x, first_row, out, 8);
    for (; rows >= 4; rows -= 4, first_row += 4, out += 4 * PACK_ROWS) tile_q8(group, blocks, x, first_row, out, 4);
    for (; rows >= 2; rows -= 2, first_row += 2, out += 2 * PACK_ROWS) tile_q8(group, blocks, x, first_row, out, 2);
    if (rows > 0) tile_q8(group, blocks, x, first_row, out, 1);
}
