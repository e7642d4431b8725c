/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Integer tiles with AVX2: the two halves of a packed group one after the other, eight weight rows in the lanes. The integer
 * sums are exact, and the float operations are those of tile_avx512.c lane for lane, so both give the same bits.
 */
#include "kernels/cpu/cpu.h"

#include <immintrin.h>
#include <string.h>

static inline __attribute__((always_inline)) __m256i four_bytes(const int8_t *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return _mm256_set1_epi32(four);
}

static inline __attribute__((always_inline)) __m256 eight_halves(const uint16_t *at) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}

/** Eight pairs of products fit 16 bits: 8 * 2 * 15 * 127 = 30,480. */
static inline __attribute__((always_inline)) void tile_q4(const struct packed_q4 *group, int64_t blocks, int half,
                                                          const struct quantised *x, int64_t row, float *out,
                                                          const int C) {
    __m256 sum[4];
    for (int c = 0; c < C; c++) sum[c] = _mm256_setzero_ps();
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    for (int64_t b = 0; b < blocks; b++) {
        __m256i w[8];
        for (int i = 0; i < 4; i++) {
            __m256i q = _mm256_loadu_si256((const __m256i *)(group[b].q + 64 * i + 32 * half));
            w[i] = _mm256_and_si256(q, low);
            w[i + 4] = _mm256_and_si256(_mm256_srli_epi16(q, 4), low);
        }
        __m256 d = eight_halves(group[b].d + 8 * half), m = eight_halves(group[b].m + 8 * half);
        for (int c = 0; c < C; c++) {
            const int64_t at = (row + c) * blocks + b;
            const int8_t *q = x->q + at * QUANT_BLOCK;
            __m256i first = _mm256_maddubs_epi16(w[0], four_bytes(q)),
                    second = _mm256_maddubs_epi16(w[4], four_bytes(q + 16));
            for (int i = 1; i < 4; i++) {
                first = _mm256_add_epi16(first, _mm256_maddubs_epi16(w[i], four_bytes(q + 4 * i)));
                second = _mm256_add_epi16(second, _mm256_maddubs_epi16(w[i + 4], four_bytes(q + 16 + 4 * i)));
            }
            __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_add_epi16(first, second), ones));
            sum[c] = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(x->d[at])), products, sum[c]);
            sum[c] = _mm256_fmadd_ps(m, _mm256_set1_ps(x->s[at]), sum[c]);
        }
    }
    for (int c = 0; c < C; c++) _mm256_storeu_ps(out + PACK_ROWS * c + 8 * half, sum[c]);
}

/** maddubs wants one unsigned side: |w| times a with w's sign. A pair is at most 2 * 128 * 127 = 32,512, so each pair is widened before it is added. */
static inline __attribute__((always_inline)) void tile_q8(const struct packed_q8 *group, int64_t blocks, int half,
                                                          const struct quantised *x, int64_t row, float *out,
                                                          const int C) {
    __m256 sum[4];
    for (int c = 0; c < C; c++) sum[c] = _mm256_setzero_ps();
    const __m256i ones = _mm256_set1_epi16(1);
    for (int64_t b = 0; b < blocks; b++) {
        __m256i total[4];
        for (int c = 0; c < C; c++) total[c] = _mm256_setzero_si256();
        for (int i = 0; i < 8; i++) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(group[b].q + 64 * i + 32 * half)),
                    magnitude = _mm256_abs_epi8(w);
            for (int c = 0; c < C; c++) {
                const int8_t *q = x->q + ((row + c) * blocks + b) * QUANT_BLOCK + 4 * i;
                __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four_bytes(q), w));
                total[c] = _mm256_add_epi32(total[c], _mm256_madd_epi16(pairs, ones));
            }
        }
        __m256 d = eight_halves(group[b].d + 8 * half);
        for (int c = 0; c < C; c++) {
            __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(x->d[(row + c) * blocks + b]));
            sum[c] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(total[c]), sum[c]);
        }
    }
    for (int c = 0; c < C; c++) _mm256_storeu_ps(out + PACK_ROWS * c + 8 * half, sum[c]);
}

void tile_q4_avx2(const struct packed_q4 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                  int64_t rows, float *out) {
    for (; rows > 0;) {
        int64_t taken = rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        for (int half = 0; half < 2; half++) {
            if (taken == 4)
                tile_q4(group, blocks, half, x, first_row, out, 4);
            else if (taken == 2)
                tile_q4(group, blocks, half, x, first_row, out, 2);
            else
                tile_q4(group, blocks, half, x, first_row, out, 1);
        }
        rows -= taken;
        first_row += taken;
        out += taken * PACK_ROWS;
    }
}

void tile_q8_avx2(const struct packed_q8 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                  int64_t rows, float *out) {
    for (; rows > 0;) {
        int64_t taken = rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        for (int half = 0; half < 2; half++) {
            if (taken == 4)
                tile_q8(group, blocks, half, x, first_row, out, 4);
            else if (taken == 2)
                tile_q8(group, blocks, half, x, first_row, out, 2);
            else
                tile_q8(group, blocks, half, x, first_row, out, 1);
        }
        rows -= taken;
        first_row += taken;
        out += taken * PACK_ROWS;
    }
}
