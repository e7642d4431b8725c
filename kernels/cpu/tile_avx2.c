/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiles with AVX2 (tile.h says what they compute). A block's weights are unpacked into sixteen vectors of eight rows each once, and all
 * rows of x pass by, four at a time: their integer sums are registers, a vector of weights is loaded for four rows, and four bytes of x
 * are broadcast for sixteen weight rows. So 32 products are one multiplication, one addition and three quarters of a load. Their float
 * sums wait in `out`, which stays in the first cache.
 */
#include "kernels/cpu/tile.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
/** The compiler reorders integer sums, which only makes it run out of registers. */
#define AS_WRITTEN(v) __asm__("" : "+x"(v))

INLINE __m256i four_bytes(const void *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return _mm256_set1_epi32(four);
}

INLINE __m256 eight_halves(const uint16_t *at) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}

INLINE __m256 eight_bytes(const uint8_t *at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at)));
}

/** Sixteen rows x 32 k of weights. [2]: of the first eight rows, of the second. */
struct block {
    __m256i w[8][2];     /* byte 4*row + j of w[i] is weight k = 4i + j */
    __m256i scale[2][2]; /* Q6_K: of the first 16 k and of the second, 16 bits each */
    __m256i offsets[2];  /* what half[] is multiplied by, so that the offset is taken off; pairs of 16 bits */
    __m256 d[2], m[2];
};

/** How a block's integers are summed. `pairs`: products of w[i] and x that fit 16 bits together. */
struct shape {
    int pairs;                    /* 4: q < 32, 2: q < 64 */
    bool offset, scales, minimum; /* see struct block */
};

INLINE void add_block(const struct block *w, const struct quantised_block *x, const __m256i totals[2], float *out,
                      const struct shape shape) {
    UNROLL for (int half = 0; half < 2; half++) {
        __m256i total = totals[half];
        if (shape.offset) total = _mm256_add_epi32(total, _mm256_madd_epi16(four_bytes(x->half), w->offsets[half]));
        __m256 scale = _mm256_mul_ps(w->d[half], _mm256_set1_ps(x->d)), sum = _mm256_load_ps(out + 8 * half);
        sum = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(total), sum);
        if (shape.minimum) sum = _mm256_fmadd_ps(w->m[half], _mm256_set1_ps(x->s), sum);
        _mm256_store_ps(out + 8 * half, sum);
    }
}

/** `rows` rows of x, `stride` apart. Their sums are registers: a vector of weights serves all rows, and four bytes of x serve sixteen weights. */
INLINE void multiply_block(const struct block *w, const struct quantised_block *x, int64_t stride, float *out,
                           const struct shape shape, const int rows) {
    __m256i sum[4][2], total[4][2];
    UNROLL for (int i = 0; i < 8; i++) {
        __m256i weights[2] = {w->w[i][0], w->w[i][1]};
        AS_WRITTEN(weights[0]);
        AS_WRITTEN(weights[1]);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i four = four_bytes(x[r * stride].q + 4 * i);
            UNROLL for (int half = 0; half < 2; half++) {
                __m256i products = _mm256_maddubs_epi16(weights[half], four);
                sum[r][half] = i % shape.pairs == 0 ? products : _mm256_add_epi16(sum[r][half], products);
                AS_WRITTEN(sum[r][half]);
            }
        }
        if (i % shape.pairs != shape.pairs - 1) continue;
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i factor = four_bytes(x[r * stride].factor[i / 4]);
            UNROLL for (int half = 0; half < 2; half++) {
                __m256i by = shape.scales ? _mm256_mullo_epi16(w->scale[i / 4][half], factor) : factor,
                        wide = _mm256_madd_epi16(sum[r][half], by);
                total[r][half] = i < shape.pairs ? wide : _mm256_add_epi32(total[r][half], wide);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++) add_block(w, x + r * stride, total[r], out + r * PACK_ROWS, shape);
}

/** All rows of x past a block. */
INLINE void pass_rows(const struct block *w, const struct quantised_block *x, int64_t stride, int64_t rows, float *out,
                      const struct shape shape) {
    for (; rows >= 4; rows -= 4, x += 4 * stride, out += 4 * PACK_ROWS) multiply_block(w, x, stride, out, shape, 4);
    if (rows == 3) multiply_block(w, x, stride, out, shape, 3);
    if (rows == 2) multiply_block(w, x, stride, out, shape, 2);
    if (rows == 1) multiply_block(w, x, stride, out, shape, 1);
}

INLINE void unpack_nibbles(const uint8_t *q, struct block *out) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int i = 0; i < 8; i++) {
        __m256i both = _mm256_loadu_si256((const __m256i *)(q + 32 * i));
        out->w[i / 2][i % 2] = _mm256_and_si256(both, low);
        out->w[i / 2 + 4][i % 2] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    }
}

INLINE void add_fifth_bits(const uint8_t *high, struct block *out) {
    const __m256i bit = _mm256_set1_epi8(16);
    for (int half = 0; half < 2; half++) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)(high + 32 * half));
        for (int i = 0; i < 8; i++) {
            __m256i moved = i < 4 ? _mm256_slli_epi16(bits, 4 - i) : _mm256_srli_epi16(bits, i - 4);
            out->w[i][half] = _mm256_or_si256(out->w[i][half], _mm256_and_si256(moved, bit));
        }
    }
}

INLINE void add_upper_bits(const uint8_t *high, struct block *out) {
    const __m256i two = _mm256_set1_epi8(48);
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 8; i++) {
            __m256i bits = _mm256_loadu_si256((const __m256i *)(high + 64 * (i / 4) + 32 * half));
            int place = 2 * (i % 4); /* to 4 and 5 */
            __m256i moved = place < 4 ? _mm256_slli_epi16(bits, 4 - place) : _mm256_srli_epi16(bits, place - 4);
            out->w[i][half] = _mm256_or_si256(out->w[i][half], _mm256_and_si256(moved, two));
        }
    }
}

/** A K type's d * scale and -(dmin * minimum). */
INLINE void scale_part(const uint16_t *d, const uint16_t *dmin, const uint8_t *scale, const uint8_t *minimum,
                       struct block *out) {
    for (int half = 0; half < 2; half++) {
        out->d[half] = _mm256_mul_ps(eight_halves(d + 8 * half), eight_bytes(scale + 8 * half));
        __m256 m = _mm256_mul_ps(eight_halves(dmin + 8 * half), eight_bytes(minimum + 8 * half));
        out->m[half] = _mm256_xor_ps(m, _mm256_set1_ps(-0.0f));
    }
}

/** Scales as they lie; where there are no minima, they are `offset` times the scale. */
INLINE void load_scales(const uint16_t *d, const uint16_t *m, float offset, struct block *out) {
    for (int half = 0; half < 2; half++) {
        out->d[half] = eight_halves(d + 8 * half);
        out->m[half] = m != NULL ? eight_halves(m + 8 * half) : _mm256_mul_ps(out->d[half], _mm256_set1_ps(offset));
    }
}

INLINE struct shape shape_of(bool five) {
    (void)five;
    return (struct shape){.pairs = 4, .minimum = true};
}

/* ---- quantised types ------------------------------------------------------------------------------------------------ */

#include "kernels/cpu/tile_walks.inc"

static void tile_q6_k(const struct tile *tile) {
    const struct shape shape = {.pairs = 2, .offset = true, .scales = true};
    const struct packed_q6_k *unit = tile->group;
    int64_t blocks = tile->columns / QUANT_BLOCK;
    const __m256i lower = _mm256_set1_epi32(0xFFFF);
    struct block w;
    tile_clear(tile);
    for (int64_t b = 0; b < blocks; b++) {
        const struct packed_q6_k *block = unit + b / 8;
        const int8_t(*scale)[PACK_ROWS] = block->part[b % 8].scale;
        tile_prefetch(&block->part[b % 8], sizeof block->part[0]);
        unpack_nibbles(block->part[b % 8].q, &w);
        add_upper_bits(block->part[b % 8].high, &w);
        for (int half = 0; half < 2; half++) {
            __m256i first = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(scale[0] + 8 * half))),
                    second = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(scale[1] + 8 * half)));
            first = _mm256_and_si256(first, lower);
            second = _mm256_and_si256(second, lower);
            w.scale[0][half] = _mm256_or_si256(first, _mm256_slli_epi32(first, 16));
            w.scale[1][half] = _mm256_or_si256(second, _mm256_slli_epi32(second, 16));
            w.offsets[half] =
                _mm256_mullo_epi16(_mm256_or_si256(first, _mm256_slli_epi32(second, 16)), _mm256_set1_epi16(-32));
            w.d[half] = eight_halves(block->d + 8 * half);
        }
        pass_rows(&w, tile->q + b, blocks, tile->rows, tile->out, shape);
    }
}

/** Eight weight rows, signed by signed: |w| times x with w's sign. A pair is at most 2 * 128 * 127 = 32,512, so each is widened before it is
 *  added. With four operations for 32 products nothing is gained by unpacking: the weights are read where they lie. */
INLINE void multiply_signed(const int8_t *weights, __m256 d, const struct quantised_block *x, int64_t stride,
                            float *out, const int rows) {
    __m256i total[8];
    UNROLL for (int i = 0; i < 8; i++) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(weights + 64 * i)), magnitude = _mm256_abs_epi8(w);
        AS_WRITTEN(w);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i moved = _mm256_sign_epi8(four_bytes(x[r * stride].q + 4 * i), w);
            __m256i wide =
                _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, moved), four_bytes(x[r * stride].factor[i / 4]));
            total[r] = i == 0 ? wide : _mm256_add_epi32(total[r], wide);
            AS_WRITTEN(total[r]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(x[r * stride].d));
        float *sum = out + r * PACK_ROWS;
        _mm256_store_ps(sum, _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(total[r]), _mm256_load_ps(sum)));
    }
}

static void tile_q8_0(const struct tile *tile) {
    const struct packed_q8_0 *block = tile->group;
    int64_t blocks = tile->columns / QUANT_BLOCK;
    tile_clear(tile);
    for (int64_t b = 0; b < blocks; b++, block++) {
        tile_prefetch(block, sizeof *block);
        for (int half = 0; half < 2; half++) {
            const int8_t *w = block->q + 32 * half;
            __m256 d = eight_halves(block->d + 8 * half);
            const struct quantised_block *x = tile->q + b;
            float *out = tile->out + 8 * half;
            int64_t rows = tile->rows;
            for (; rows >= 8; rows -= 8, x += 8 * blocks, out += 8 * PACK_ROWS)
                multiply_signed(w, d, x, blocks, out, 8);
            for (; rows >= 4; rows -= 4, x += 4 * blocks, out += 4 * PACK_ROWS)
                multiply_signed(w, d, x, blocks, out, 4);
            if (rows == 3) multiply_signed(w, d, x, blocks, out, 3);
            if (rows == 2) multiply_signed(w, d, x, blocks, out, 2);
            if (rows == 1) multiply_signed(w, d, x, blocks, out, 1);
        }
    }
}

/* ---- float types ---------------------------------------------------------------------------------------------------- */

/** Sixteen weights of one k. */
INLINE void float_weights(const char *at, const enum tensor_type type, __m256 out[2]) {
    for (int i = 0; i < 2; i++) {
        if (type == TENSOR_F32) {
            out[i] = _mm256_loadu_ps((const float *)(const void *)at + 8 * i);
        } else {
            __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i));
            out[i] = type == TENSOR_F16 ? _mm256_cvtph_ps(halves)
                                        : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
        }
    }
}

INLINE void add_part(float *out, __m256 part) {
    _mm256_store_ps(out, _mm256_add_ps(_mm256_load_ps(out), part));
}

/** `rows` rows of x times a run of `count` k; `step`: bytes of a k's weights. */
INLINE void float_run(const char *weights, const float *x, int64_t x_stride, int count, float *out,
                      const enum tensor_type type, const int rows) {
    const int step = type == TENSOR_F32 ? 64 : 32;
    __m256 part[6][2];
    for (int t = 0; t < rows; t++) part[t][0] = part[t][1] = _mm256_setzero_ps();
    for (int k = 0; k < count; k++, weights += step) {
        __m256 w[2];
        float_weights(weights, type, w);
        for (int t = 0; t < rows; t++) {
            __m256 element = _mm256_broadcast_ss(x + t * x_stride + k);
            part[t][0] = _mm256_fmadd_ps(w[0], element, part[t][0]);
            part[t][1] = _mm256_fmadd_ps(w[1], element, part[t][1]);
        }
    }
    for (int t = 0; t < rows; t++) {
        add_part(out + PACK_ROWS * t, part[t][0]);
        add_part(out + PACK_ROWS * t + 8, part[t][1]);
    }
}

/** One row of x: two runs at once, because a run's sum waits for itself. */
INLINE void float_row(const struct tile *tile, const enum tensor_type type) {
    const int step = type == TENSOR_F32 ? 64 : 32;
    const char *weights = tile->group;
    int64_t k = 0;
    for (; k + 2 * FLOAT_RUN <= tile->columns; k += 2 * FLOAT_RUN) {
        tile_prefetch(weights + k * step, 2 * FLOAT_RUN * (size_t)step);
        __m256 part[2][2] = {{_mm256_setzero_ps(), _mm256_setzero_ps()}, {_mm256_setzero_ps(), _mm256_setzero_ps()}};
        for (int i = 0; i < FLOAT_RUN; i++) {
            for (int run = 0; run < 2; run++) {
                __m256 w[2], element = _mm256_broadcast_ss(tile->x + k + run * FLOAT_RUN + i);
                float_weights(weights + (k + run * FLOAT_RUN + i) * step, type, w);
                part[run][0] = _mm256_fmadd_ps(w[0], element, part[run][0]);
                part[run][1] = _mm256_fmadd_ps(w[1], element, part[run][1]);
            }
        }
        for (int run = 0; run < 2; run++) {
            add_part(tile->out, part[run][0]);
            add_part(tile->out + 8, part[run][1]);
        }
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
        for (; left >= 6; left -= 6, x += 6 * stride, out += 6 * PACK_ROWS)
            float_run(weights, x, stride, count, out, type, 6);
        switch (left) {
        case 5:
            float_run(weights, x, stride, count, out, type, 5);
            break;
        case 4:
            float_run(weights, x, stride, count, out, type, 4);
            break;
        case 3:
            float_run(weights, x, stride, count, out, type, 3);
            break;
        case 2:
            float_run(weights, x, stride, count, out, type, 2);
            break;
        case 1:
            float_run(weights, x, stride, count, out, type, 1);
            break;
        default:
            break;
        }
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

tile_fn *const tiles_avx2[TILE_TYPES] = {
    [TENSOR_F32] = tile_f32,   [TENSOR_F16] = tile_f16,   [TENSOR_BF16] = tile_bf16, [TENSOR_Q4_0] = tile_q4_0,
    [TENSOR_Q4_1] = tile_q4_1, [TENSOR_Q5_0] = tile_q5_0, [TENSOR_Q5_1] = tile_q5_1, [TENSOR_Q8_0] = tile_q8_0,
    [TENSOR_Q4_K] = tile_q4_k, [TENSOR_Q5_K] = tile_q5_k, [TENSOR_Q6_K] = tile_q6_k};
