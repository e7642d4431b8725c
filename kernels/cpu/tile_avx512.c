/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles with AVX-512 VNNI (tile.h says what they compute): sixteen weight rows in the lanes. A block's weights are unpacked into eight
 * registers of unsigned bytes once, and all rows of x pass by: one vpdpbusd multiplies four neighbouring k of sixteen rows by four bytes
 * of x, which it broadcasts from memory by itself. The same float operations, lane for lane, as tile_avx2.c.
 */
#include "kernels/cpu/tile.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m512i four_bytes(const void *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return _mm512_set1_epi32(four);
}

INLINE __m512 sixteen_halves(const uint16_t *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

INLINE __m512 sixteen_bytes(const uint8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)at)));
}

struct block {
    __m512i w[8];     /* w[i]: byte 4*row + j is weight k = 4i + j, unsigned */
    __m512i scale[2]; /* Q6_K: of the first and the second 16 k */
    __m512i offsets;  /* what half[] is multiplied by, so that the offset is taken off; pairs of 16 bits */
    __m512 d, m;
};

struct shape {
    bool offset, scales, minimum; /* see struct block */
    bool wide;                    /* the sums of 16 k may need more than 16 bits */
};

/** sums * factor, for each half of a block. */
INLINE __m512i times_factor(__m512i sums, const struct block *w, const struct quantised_block *x, int half,
                            const struct shape shape) {
    __m512i factor = _mm512_srli_epi32(four_bytes(x->factor[half]), 16);
    if (shape.scales) factor = _mm512_madd_epi16(w->scale[half], factor);
    return shape.wide ? _mm512_mullo_epi32(sums, factor) : _mm512_madd_epi16(sums, factor);
}

INLINE void add_block(const struct block *w, const struct quantised_block *x, float *out, const struct shape shape) {
    __m512i first = _mm512_setzero_si512(), second = first;
    for (int i = 0; i < 4; i++) {
        first = _mm512_dpbusd_epi32(first, w->w[i], four_bytes(x->q + 4 * i));
        second = _mm512_dpbusd_epi32(second, w->w[i + 4], four_bytes(x->q + 16 + 4 * i));
    }
    __m512i total = _mm512_add_epi32(times_factor(first, w, x, 0, shape), times_factor(second, w, x, 1, shape));
    if (shape.offset) total = _mm512_add_epi32(total, _mm512_madd_epi16(four_bytes(x->half), w->offsets));
    __m512 sum = _mm512_load_ps(out);
    sum = _mm512_fmadd_ps(_mm512_mul_ps(w->d, _mm512_set1_ps(x->d)), _mm512_cvtepi32_ps(total), sum);
    if (shape.minimum) sum = _mm512_fmadd_ps(w->m, _mm512_set1_ps(x->s), sum);
    _mm512_store_ps(out, sum);
}

INLINE void pass_rows(const struct block *w, const struct quantised_block *x, int64_t blocks, int64_t rows, float *out,
                      const struct shape shape) {
    for (int64_t t = 0; t < rows; t++, x += blocks, out += PACK_ROWS) add_block(w, x, out, shape);
}

INLINE void unpack_nibbles(const uint8_t *q, struct block *out) {
    const __m512i low = _mm512_set1_epi8(15);
    for (int i = 0; i < 4; i++) {
        __m512i both = _mm512_loadu_si512(q + 64 * i);
        out->w[i] = _mm512_and_si512(both, low);
        out->w[i + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
}

INLINE void add_fifth_bits(const uint8_t *high, struct block *out) {
    const __m512i bit = _mm512_set1_epi8(16), bits = _mm512_loadu_si512(high);
    for (int i = 0; i < 8; i++) {
        __m512i moved = i < 4 ? _mm512_slli_epi16(bits, 4 - i) : _mm512_srli_epi16(bits, i - 4);
        out->w[i] = _mm512_or_si512(out->w[i], _mm512_and_si512(moved, bit));
    }
}

INLINE void add_upper_bits(const uint8_t *high, struct block *out) {
    const __m512i two = _mm512_set1_epi8(48);
    for (int i = 0; i < 8; i++) {
        __m512i bits = _mm512_loadu_si512(high + 64 * (i / 4));
        int place = 2 * (i % 4); /* to 4 and 5 */
        __m512i moved = place < 4 ? _mm512_slli_epi16(bits, 4 - place) : _mm512_srli_epi16(bits, place - 4);
        out->w[i] = _mm512_or_si512(out->w[i], _mm512_and_si512(moved, two));
    }
}

/** A K type's d * scale and -(dmin * minimum). */
INLINE void scale_part(const uint16_t *d, const uint16_t *dmin, const uint8_t *scale, const uint8_t *minimum,
                       struct block *out) {
    out->d = _mm512_mul_ps(sixteen_halves(d), sixteen_bytes(scale));
    out->m = _mm512_mul_ps(sixteen_halves(dmin), sixteen_bytes(minimum));
    out->m = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(out->m), _mm512_set1_epi32(INT32_MIN)));
}

/** Scales as they lie; where there are no minima, they are `offset` times the scale. */
INLINE void load_scales(const uint16_t *d, const uint16_t *m, float offset, struct block *out) {
    out->d = sixteen_halves(d);
    out->m = m != NULL ? sixteen_halves(m) : _mm512_mul_ps(out->d, _mm512_set1_ps(offset));
}

INLINE struct shape shape_of(bool five) {
    return (struct shape){.minimum = true, .wide = five};
}

/* ---- quantised types ------------------------------------------------------------------------------------------------ */

#include "kernels/cpu/tile_walks.inc"

static void tile_q6_k(const struct tile *tile) {
    const struct shape shape = {.offset = true, .scales = true, .wide = true};
    const struct packed_q6_k *unit = tile->group;
    int64_t blocks = tile->columns / QUANT_BLOCK;
    struct block w;
    tile_clear(tile);
    for (int64_t b = 0; b < blocks; b++) {
        const struct packed_q6_k *block = unit + b / 8;
        tile_prefetch(&block->part[b % 8], sizeof block->part[0]);
        unpack_nibbles(block->part[b % 8].q, &w);
        add_upper_bits(block->part[b % 8].high, &w);
        w.scale[0] = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)block->part[b % 8].scale[0]));
        w.scale[1] = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)block->part[b % 8].scale[1]));
        __m512i pairs =
            _mm512_or_si512(_mm512_and_si512(w.scale[0], _mm512_set1_epi32(0xFFFF)), _mm512_slli_epi32(w.scale[1], 16));
        w.offsets = _mm512_mullo_epi16(pairs, _mm512_set1_epi16(-32));
        w.d = sixteen_halves(block->d);
        pass_rows(&w, tile->q + b, blocks, tile->rows, tile->out, shape);
    }
}

/** vpdpbusd wants unsigned weights: q + 128, and 128 times the sum of x is taken off again. */
static void tile_q8_0(const struct tile *tile) {
    const struct packed_q8_0 *block = tile->group;
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    int64_t blocks = tile->columns / QUANT_BLOCK;
    struct block w = {.offsets = _mm512_set1_epi16(-128)};
    tile_clear(tile);
    for (int64_t b = 0; b < blocks; b++, block++) {
        tile_prefetch(block, sizeof *block);
        for (int i = 0; i < 8; i++) w.w[i] = _mm512_xor_si512(_mm512_loadu_si512(block->q + 64 * i), flip);
        w.d = sixteen_halves(block->d);
        pass_rows(&w, tile->q + b, blocks, tile->rows, tile->out, (struct shape){.offset = true, .wide = true});
    }
}

/* ---- float types ---------------------------------------------------------------------------------------------------- */

/** Sixteen weights of one k. */
INLINE __m512 float_weights(const char *at, const enum tensor_type type) {
    if (type == TENSOR_F32) return _mm512_loadu_ps(at);
    __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)at);
    if (type == TENSOR_F16) return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

INLINE void add_part(float *out, __m512 part) {
    _mm512_store_ps(out, _mm512_add_ps(_mm512_load_ps(out), part));
}

/** `rows` rows of x times a run of `count` k. */
INLINE void float_run(const char *weights, const float *x, int64_t x_stride, int count, float *out,
                      const enum tensor_type type, const int rows) {
    const int step = type == TENSOR_F32 ? 64 : 32;
    __m512 part[12];
    for (int t = 0; t < rows; t++) part[t] = _mm512_setzero_ps();
    for (int k = 0; k < count; k++, weights += step) {
        __m512 w = float_weights(weights, type);
        for (int t = 0; t < rows; t++) part[t] = _mm512_fmadd_ps(w, _mm512_set1_ps(x[t * x_stride + k]), part[t]);
    }
    for (int t = 0; t < rows; t++) add_part(out + PACK_ROWS * t, part[t]);
}

/** One row of x: four runs at once, because a run's sum waits for itself. */
INLINE void float_row(const struct tile *tile, const enum tensor_type type) {
    const int step = type == TENSOR_F32 ? 64 : 32;
    const char *weights = tile->group;
    int64_t k = 0;
    for (; k + 4 * FLOAT_RUN <= tile->columns; k += 4 * FLOAT_RUN) {
        tile_prefetch(weights + k * step, 4 * FLOAT_RUN * (size_t)step);
        __m512 part[4];
        for (int run = 0; run < 4; run++) part[run] = _mm512_setzero_ps();
        for (int i = 0; i < FLOAT_RUN; i++) {
            for (int run = 0; run < 4; run++) {
                int64_t at = k + run * FLOAT_RUN + i;
                part[run] =
                    _mm512_fmadd_ps(float_weights(weights + at * step, type), _mm512_set1_ps(tile->x[at]), part[run]);
            }
        }
        for (int run = 0; run < 4; run++) add_part(tile->out, part[run]);
    }
    for (; k < tile->columns; k += FLOAT_RUN) {
        int count = tile->columns - k < FLOAT_RUN ? (int)(tile->columns - k) : FLOAT_RUN;
        float_run(weights + k * step, tile->x + k, 0, count, tile->out, type, 1);
    }
}

INLINE void tile_float(const struct tile *tile, const enum tensor_type type) {
    const int step = type == TENSOR_F32 ? 64 : 32;
    tile_clear(tile);
    if (tile->rows == 1) {
        float_row(tile, type);
        return;
    }
    for (int64_t k = 0; k < tile->columns; k += FLOAT_RUN) {
        int count = tile->columns - k < FLOAT_RUN ? (int)(tile->columns - k) : FLOAT_RUN;
        const char *weights = (const char *)tile->group + k * step;
        tile_prefetch(weights, (size_t)(count * step));
        const float *x = tile->x + k;
        float *out = tile->out;
        int64_t left = tile->rows, stride = tile->x_stride;
        for (; left >= 12; left -= 12, x += 12 * stride, out += 12 * PACK_ROWS)
            float_run(weights, x, stride, count, out, type, 12);
        for (; left >= 4; left -= 4, x += 4 * stride, out += 4 * PACK_ROWS)
            float_run(weights, x, stride, count, out, type, 4);
        for (; left > 0; left--, x += stride, out += PACK_ROWS) float_run(weights, x, stride, count, out, type, 1);
    }
}

static void tile_f32(const struct tile *tile) {
    tile_float(tile, TENSOR_F32);
}
static void tile_f16(const struct tile *tile) {
    tile_float(tile, TENSOR_F16);
}
static void tile_bf16(const struct tile *tile) {
    tile_float(tile, TENSOR_BF16);
}

tile_fn *const tiles_avx512[TILE_TYPES] = {
    [TENSOR_F32] = tile_f32,   [TENSOR_F16] = tile_f16,   [TENSOR_BF16] = tile_bf16, [TENSOR_Q4_0] = tile_q4_0,
    [TENSOR_Q4_1] = tile_q4_1, [TENSOR_Q5_0] = tile_q5_0, [TENSOR_Q5_1] = tile_q5_1, [TENSOR_Q8_0] = tile_q8_0,
    [TENSOR_Q4_K] = tile_q4_k, [TENSOR_Q5_K] = tile_q5_k, [TENSOR_Q6_K] = tile_q6_k};
