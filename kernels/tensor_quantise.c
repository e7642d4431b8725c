/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * From f32 to every storage type: the other direction of tensor_type.c.
 *
 * All block types solve one problem: choose scales (and minima) so that sum_i weight_i * (x_i - stored_i)^2 is small. For fixed integers q the
 * best scale is a linear least squares fit; for a fixed scale the best q is rounding. So: start from a row of scales around the one
 * that just covers the block, fit, round again, fit again, and keep what has the least error as it will be read back (scales in f16
 * or 6 bits included). K types choose per group first, then refine the group scales, which are integers, together with the two
 * numbers of the block.
 */
#include "kernels/float16.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32, K_BLOCK = 256 };

/** To the nearest integer, ties to even, for |x| < 2^22; a shape that compilers make vectors of. */
static inline float nearest(float x) {
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline float clamp(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static float rounded_to_f16(float x) {
    return float_from_f16(float_to_f16(x));
}

/** How much an error at each weight counts: large weights matter somewhat more, as they multiply what activations there are. */
static void importance(const float *x, int count, float *out) {
    float squares = 0;
    for (int i = 0; i < count; i++) squares += x[i] * x[i];
    float mean = sqrtf(squares / (float)count);
    for (int i = 0; i < count; i++) out[i] = mean + fabsf(x[i]);
}

/* ---- scale alone: x ~ d q, low <= q <= high ------------------------------------------------------------------------ */

struct fit {
    float d, m;
    float error;
};

/** Sums go in LANES strands that are added in one order: fixed, and a shape that compilers make vectors of. Counts are multiples of LANES. */
enum { LANES = 8 };

static inline float total(const float strands[LANES]) {
    return ((strands[0] + strands[4]) + (strands[1] + strands[5])) +
           ((strands[2] + strands[6]) + (strands[3] + strands[7]));
}

/** The error with scale d, and the scale that fits the integers which d gives. */
static inline float scale_error(const float *x, const float *weight, int count, float d, float low, float high,
                                float *out_fitted) {
    float inverse = d != 0 ? 1 / d : 0, error[LANES] = {0}, xq[LANES] = {0}, qq[LANES] = {0};
    for (int i = 0; i < count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float q = clamp(nearest(x[i + j] * inverse), low, high), rest = x[i + j] - d * q, wq = weight[i + j] * q;
            error[j] += weight[i + j] * rest * rest;
            xq[j] += wq * x[i + j];
            qq[j] += wq * q;
        }
    }
    float squares = total(qq);
    *out_fitted = squares > 0 ? total(xq) / squares : 0;
    return total(error);
}

static float largest(const float *x, int count) {
    float most = 0;
    for (int i = 0; i < count; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

/** Of the starts only those that look best are fitted further. */
enum { FINALISTS = 4, REFITS = 2, STARTS_MAX = 40 };

/** The indices of the FINALISTS least errors, least first; earlier ones first where they are equal. */
static void choose_finalists(const float *errors, int count, int out[FINALISTS]) {
    for (int i = 0; i < FINALISTS; i++) out[i] = -1;
    for (int start = 0; start < count; start++) {
        int at = start;
        for (int i = 0; i < FINALISTS && at >= 0; i++) {
            if (out[i] >= 0 && !(errors[at] < errors[out[i]])) continue;
            int moved = out[i];
            out[i] = at;
            at = moved;
        }
    }
}

/** With `half` the scales are tried as f16 has them. */
static struct fit fit_scale(const float *x, const float *weight, int count, int low, int high, bool half) {
    enum { STEPS = 18 };
    float most = largest(x, count), errors[STARTS_MAX], fitted[STARTS_MAX], least = (float)low, top = (float)high;
    int finalists[FINALISTS];
    struct fit best = {0, 0, scale_error(x, weight, count, 0, least, top, &fitted[0])};
    if (!(most > 0x1p-40f)) return best;
    for (int start = 0; start < 2 * STEPS; start++) {
        /* The largest lands between three quarters and 1.2 times the end of the range; of either sign, as the range has one more below zero. */
        float reach = -least * (0.76f + 0.025f * (float)(start / 2)), d = (start % 2 == 0 ? most : -most) / reach;
        if (half) d = rounded_to_f16(d);
        errors[start] = scale_error(x, weight, count, d, least, top, &fitted[start]);
        if (errors[start] < best.error) best = (struct fit){d, 0, errors[start]};
    }
    choose_finalists(errors, 2 * STEPS, finalists);
    for (int i = 0; i < FINALISTS; i++) {
        float d = fitted[finalists[i]];
        for (int refit = 0; refit < REFITS; refit++) {
            float next, tried = half ? rounded_to_f16(d) : d;
            float error = scale_error(x, weight, count, tried, least, top, &next);
            if (error < best.error) best = (struct fit){tried, 0, error};
            if (next == d) break;
            d = next;
        }
    }
    return best;
}

/* ---- scale and offset: x ~ d q + m, 0 <= q <= high ----------------------------------------------------------------- */

struct sums {
    float w, x, q, qq, xq;
};

static inline float affine_error(const float *x, const float *weight, int count, float d, float m, float high,
                                 struct sums *out) {
    float inverse = d != 0 ? 1 / d : 0;
    float error[LANES] = {0}, w[LANES] = {0}, wx[LANES] = {0}, wq[LANES] = {0}, wqq[LANES] = {0}, wxq[LANES] = {0};
    for (int i = 0; i < count; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float q = clamp(nearest((x[i + j] - m) * inverse), 0, high), rest = x[i + j] - (d * q + m),
                  weighted = weight[i + j] * q;
            error[j] += weight[i + j] * rest * rest;
            w[j] += weight[i + j];
            wx[j] += weight[i + j] * x[i + j];
            wq[j] += weighted;
            wqq[j] += weighted * q;
            wxq[j] += weighted * x[i + j];
        }
    }
    *out = (struct sums){total(w), total(wx), total(wq), total(wqq), total(wxq)};
    return total(error);
}

/** The line through (q, x); with `below` only one that starts at or under zero. False when there is none. */
static bool fit_line(const struct sums *s, bool below, float *d, float *m) {
    float determinant = s->w * s->qq - s->q * s->q;
    if (determinant > 0) {
        *d = (s->w * s->xq - s->q * s->x) / determinant;
        *m = (s->qq * s->x - s->q * s->xq) / determinant;
    }
    if (!(determinant > 0) || (below && *m > 0)) {
        *m = 0;
        *d = s->qq > 0 ? s->xq / s->qq : 0;
    }
    return *d > 0;
}

/** `half`: d and m are tried as f16 has them. `below`: m <= 0. */
static struct fit fit_affine(const float *x, const float *weight, int count, int high, bool half, bool below) {
    enum { STARTS = 20 };
    float least = x[0], most = x[0], errors[STARTS], top = (float)high;
    struct sums sums[STARTS];
    int finalists[FINALISTS];
    for (int i = 1; i < count; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    if (below && least > 0) least = 0;
    float m = half ? rounded_to_f16(least) : least;
    struct fit best = {0, m, affine_error(x, weight, count, 0, m, top, &sums[0])};
    if (!(most - least > 0x1p-40f)) return best;
    for (int start = 0; start < STARTS; start++) {
        float d = (most - least) / (top + 0.15f * (float)(start - STARTS / 3));
        if (half) d = rounded_to_f16(d);
        errors[start] = affine_error(x, weight, count, d, m, top, &sums[start]);
        if (errors[start] < best.error) best = (struct fit){d, m, errors[start]};
    }
    choose_finalists(errors, STARTS, finalists);
    for (int i = 0; i < FINALISTS; i++) {
        struct sums fitted = sums[finalists[i]];
        float d, offset;
        for (int refit = 0; refit < REFITS && fit_line(&fitted, below, &d, &offset); refit++) {
            if (half) d = rounded_to_f16(d), offset = rounded_to_f16(offset);
            float error = affine_error(x, weight, count, d, offset, top, &fitted);
            if (error < best.error) best = (struct fit){d, offset, error};
        }
    }
    return best;
}

/* ---- blocks of 32 -------------------------------------------------------------------------------------------------- */

static void store_f16(uint8_t *at, float value) {
    uint16_t bits = float_to_f16(value);
    memcpy(at, &bits, sizeof bits);
}

/** q of each weight for the chosen scale, moved by `shift` so that it is not negative. */
static void integers(const float *x, int count, float d, float m, int low, int high, int shift, uint8_t *out) {
    float inverse = d != 0 ? 1 / d : 0;
    for (int i = 0; i < count; i++)
        out[i] = (uint8_t)((int)clamp(nearest((x[i] - m) * inverse), (float)low, (float)high) + shift);
}

static void pack_nibbles(const uint8_t *q, uint8_t *out) {
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void pack_fifth_bits(const uint8_t *q, uint8_t *out) {
    uint32_t high = 0;
    for (int i = 0; i < 32; i++) high |= (uint32_t)(q[i] >> 4 & 1) << i;
    memcpy(out, &high, sizeof high);
}

static void quantise_symmetric(const float *x, int bits, uint8_t *block) {
    float weight[BLOCK];
    uint8_t q[BLOCK];
    int half = 1 << (bits - 1);
    importance(x, BLOCK, weight);
    struct fit fit = fit_scale(x, weight, BLOCK, -half, half - 1, true);
    store_f16(block, fit.d);
    integers(x, BLOCK, fit.d, 0, -half, half - 1, half, q);
    if (bits == 5) pack_fifth_bits(q, block + 2);
    pack_nibbles(q, block + (bits == 5 ? 6 : 2));
}

static void quantise_affine(const float *x, int bits, uint8_t *block) {
    float weight[BLOCK];
    uint8_t q[BLOCK];
    int high = (1 << bits) - 1;
    importance(x, BLOCK, weight);
    struct fit fit = fit_affine(x, weight, BLOCK, high, true, false);
    store_f16(block, fit.d);
    store_f16(block + 2, fit.m);
    integers(x, BLOCK, fit.d, fit.m, 0, high, 0, q);
    if (bits == 5) pack_fifth_bits(q, block + 4);
    pack_nibbles(q, block + (bits == 5 ? 8 : 4));
}

/**
 * The scale that just covers the block, and rounding: bit for bit what ggml writes. A search for better scales lessens the error by 2 % and leaves no
 * trace in the model's answers that stands out of the noise (docs/BENCHMARKS.md), so being equal is worth more.
 */
static void quantise_q8_0(const float *x, uint8_t *block) {
    float d = largest(x, BLOCK) / 127, inverse = d != 0 ? 1 / d : 0;
    store_f16(block, d);
    for (int i = 0; i < BLOCK; i++) block[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
}

/* ---- Q4_K, Q5_K: eight groups of 32 -------------------------------------------------------------------------------- */

enum { K_GROUPS = 8, K_SCALE_MAX = 63 };

/** x ~ d * scale[g] * q - dmin * minimum[g] */
struct k_choice {
    float d, dmin;
    int scale[K_GROUPS], minimum[K_GROUPS];
    float error;
};

/** The best six-bit scale and minimum of one group near those wanted. */
static float choose_group(const float *x, const float *weight, int high, const struct fit *wanted, float d, float dmin,
                          int *out_scale, int *out_minimum) {
    struct sums ignored;
    float best = INFINITY;
    int scale = d > 0 ? (int)clamp(nearest(wanted->d / d), 0, K_SCALE_MAX) : 0,
        minimum = dmin > 0 ? (int)clamp(nearest(-wanted->m / dmin), 0, K_SCALE_MAX) : 0;
    for (int s = scale > 0 ? scale - 1 : 0; s <= scale + 1 && s <= K_SCALE_MAX; s++) {
        for (int m = minimum > 1 ? minimum - 2 : 0; m <= minimum + 2 && m <= K_SCALE_MAX; m++) {
            float error = affine_error(x, weight, BLOCK, d * (float)s, -dmin * (float)m, (float)high, &ignored);
            if (error >= best) continue;
            best = error;
            *out_scale = s;
            *out_minimum = m;
        }
    }
    return best;
}

static void choose_groups(const float *x, const float *weight, int high, const struct fit *wanted,
                          struct k_choice *choice) {
    choice->error = 0;
    for (int g = 0; g < K_GROUPS; g++)
        choice->error += choose_group(x + g * BLOCK, weight + g * BLOCK, high, &wanted[g], choice->d, choice->dmin,
                                      &choice->scale[g], &choice->minimum[g]);
}

/** d and dmin that fit the integers which are chosen: least squares in two unknowns over the whole block. */
static void refit_block(const float *x, const float *weight, int high, struct k_choice *choice) {
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int g = 0; g < K_GROUPS; g++) {
        float d = choice->d * (float)choice->scale[g], m = -choice->dmin * (float)choice->minimum[g],
              inverse = d != 0 ? 1 / d : 0;
        for (int i = g * BLOCK; i < (g + 1) * BLOCK; i++) {
            float a = clamp(nearest((x[i] - m) * inverse), 0, (float)high) * (float)choice->scale[g],
                  b = -(float)choice->minimum[g];
            aa += weight[i] * a * a;
            ab += weight[i] * a * b;
            bb += weight[i] * b * b;
            ax += weight[i] * a * x[i];
            bx += weight[i] * b * x[i];
        }
    }
    double determinant = aa * bb - ab * ab;
    if (determinant > 1e-9 * aa * bb) {
        double d = (bb * ax - ab * bx) / determinant, dmin = (aa * bx - ab * ax) / determinant;
        if (d > 0 && dmin >= 0) {
            choice->d = rounded_to_f16((float)d);
            choice->dmin = rounded_to_f16((float)dmin);
        }
    } else if (aa > 0 && bb == 0 && ax > 0) {
        choice->d = rounded_to_f16((float)(ax / aa));
    }
}

static struct k_choice choose_k(const float *x, const float *weight, int high) {
    enum { BLOCK_REFITS = 3 };
    struct fit wanted[K_GROUPS];
    float most_d = 0, most_m = 0;
    for (int g = 0; g < K_GROUPS; g++) {
        wanted[g] = fit_affine(x + g * BLOCK, weight + g * BLOCK, BLOCK, high, false, true);
        most_d = wanted[g].d > most_d ? wanted[g].d : most_d;
        most_m = -wanted[g].m > most_m ? -wanted[g].m : most_m;
    }
    struct k_choice choice = {.d = rounded_to_f16(most_d / K_SCALE_MAX), .dmin = rounded_to_f16(most_m / K_SCALE_MAX)};
    choose_groups(x, weight, high, wanted, &choice);
    struct k_choice best = choice;
    for (int refit = 0; refit < BLOCK_REFITS; refit++) {
        refit_block(x, weight, high, &choice);
        choose_groups(x, weight, high, wanted, &choice);
        if (!(choice.error < best.error)) break;
        best = choice;
    }
    return best;
}

static void pack_k_scales(const struct k_choice *choice, uint8_t *out) {
    for (int g = 0; g < 4; g++) {
        out[g] = (uint8_t)(choice->scale[g] | choice->scale[g + 4] >> 4 << 6);
        out[g + 4] = (uint8_t)(choice->minimum[g] | choice->minimum[g + 4] >> 4 << 6);
        out[g + 8] = (uint8_t)((choice->scale[g + 4] & 15) | (choice->minimum[g + 4] & 15) << 4);
    }
}

static void quantise_q45_k(const float *x, bool five_bits, uint8_t *block) {
    float weight[K_BLOCK];
    uint8_t q[K_BLOCK];
    int high = five_bits ? 31 : 15;
    for (int g = 0; g < K_GROUPS; g++) importance(x + g * BLOCK, BLOCK, weight + g * BLOCK);
    struct k_choice choice = choose_k(x, weight, high);
    for (int g = 0; g < K_GROUPS; g++)
        integers(x + g * BLOCK, BLOCK, choice.d * (float)choice.scale[g], -choice.dmin * (float)choice.minimum[g], 0,
                 high, 0, q + g * BLOCK);
    store_f16(block, choice.d);
    store_f16(block + 2, choice.dmin);
    pack_k_scales(&choice, block + 4);
    uint8_t *fifth = block + 16, *nibbles = block + (five_bits ? 48 : 16);
    if (five_bits) memset(fifth, 0, 32);
    for (int g = 0; g < K_GROUPS; g++) {
        for (int i = 0; i < BLOCK; i++) {
            uint8_t low = q[g * BLOCK + i] & 15, *place = &nibbles[g / 2 * 32 + i];
            *place = g % 2 == 0 ? low : (uint8_t)(*place | low << 4);
            if (five_bits) fifth[i] |= (uint8_t)(q[g * BLOCK + i] >> 4 << g);
        }
    }
}

/* ---- Q6_K: sixteen groups of 16 ------------------------------------------------------------------------------------ */

enum { Q6_GROUPS = 16, Q6_GROUP = 16 };

struct q6_choice {
    float d;
    int scale[Q6_GROUPS];
    float error;
};

static void choose_q6_scales(const float *x, const float *weight, const struct fit *wanted, struct q6_choice *choice) {
    float ignored;
    choice->error = 0;
    for (int g = 0; g < Q6_GROUPS; g++) {
        int near = choice->d != 0 ? (int)clamp(nearest(wanted[g].d / choice->d), -128, 127) : 0;
        float best = INFINITY;
        for (int s = near > -128 ? near - 1 : -128; s <= near + 1 && s <= 127; s++) {
            float error =
                scale_error(x + g * Q6_GROUP, weight + g * Q6_GROUP, Q6_GROUP, choice->d * (float)s, -32, 31, &ignored);
            if (error >= best) continue;
            best = error;
            choice->scale[g] = s;
        }
        choice->error += best;
    }
}

static void refit_q6(const float *x, const float *weight, struct q6_choice *choice) {
    double aa = 0, ax = 0;
    for (int i = 0; i < K_BLOCK; i++) {
        float scale = (float)choice->scale[i / Q6_GROUP], d = choice->d * scale;
        float a = scale * clamp(nearest(d != 0 ? x[i] / d : 0), -32, 31);
        aa += weight[i] * a * a;
        ax += weight[i] * a * x[i];
    }
    if (aa > 0) choice->d = rounded_to_f16((float)(ax / aa));
}

static struct q6_choice choose_q6(const float *x, const float *weight) {
    enum { BLOCK_REFITS = 3 };
    struct fit wanted[Q6_GROUPS];
    float most = 0;
    for (int g = 0; g < Q6_GROUPS; g++) {
        wanted[g] = fit_scale(x + g * Q6_GROUP, weight + g * Q6_GROUP, Q6_GROUP, -32, 31, false);
        if (fabsf(wanted[g].d) > fabsf(most)) most = wanted[g].d;
    }
    struct q6_choice choice = {.d = rounded_to_f16(most / -128)};
    choose_q6_scales(x, weight, wanted, &choice);
    struct q6_choice best = choice;
    for (int refit = 0; refit < BLOCK_REFITS; refit++) {
        refit_q6(x, weight, &choice);
        choose_q6_scales(x, weight, wanted, &choice);
        if (!(choice.error < best.error)) break;
        best = choice;
    }
    return best;
}

static void quantise_q6_k(const float *x, uint8_t *block) {
    float weight[K_BLOCK];
    uint8_t q[K_BLOCK];
    for (int g = 0; g < Q6_GROUPS; g++) importance(x + g * Q6_GROUP, Q6_GROUP, weight + g * Q6_GROUP);
    struct q6_choice choice = choose_q6(x, weight);
    for (int g = 0; g < Q6_GROUPS; g++) {
        integers(x + g * Q6_GROUP, Q6_GROUP, choice.d * (float)choice.scale[g], 0, -32, 31, 32, q + g * Q6_GROUP);
        block[192 + g] = (uint8_t)(int8_t)choice.scale[g];
    }
    store_f16(block + 208, choice.d);
    for (int half = 0; half < 2; half++) {
        uint8_t *low = block + half * 64, *high = block + 128 + half * 32;
        const uint8_t *a = q + half * 128, *b = a + 32, *c = a + 64, *d = a + 96;
        for (int i = 0; i < 32; i++) {
            low[i] = (uint8_t)((a[i] & 15) | (c[i] & 15) << 4);
            low[i + 32] = (uint8_t)((b[i] & 15) | (d[i] & 15) << 4);
            high[i] = (uint8_t)(a[i] >> 4 | b[i] >> 4 << 2 | c[i] >> 4 << 4 | d[i] >> 4 << 6);
        }
    }
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

static enum status store_16_bits(const float *x, bool brain, int64_t columns, uint8_t *out) {
    bool overflow = false;
    for (int64_t k = 0; k < columns; k++) {
        uint16_t bits = brain ? float_to_bf16(x[k]) : float_to_f16(x[k]);
        overflow = overflow || (!brain && (bits & 0x7FFF) == 0x7C00 && !isinf(x[k]));
        memcpy(out + 2 * k, &bits, sizeof bits);
    }
    return overflow ? STATUS_OUT_OF_RANGE : STATUS_OK;
}

static void quantise_block(enum tensor_type type, const float *x, uint8_t *block) {
    switch (type) {
    case TENSOR_Q4_0:
    case TENSOR_Q5_0:
        quantise_symmetric(x, type == TENSOR_Q4_0 ? 4 : 5, block);
        break;
    case TENSOR_Q4_1:
    case TENSOR_Q5_1:
        quantise_affine(x, type == TENSOR_Q4_1 ? 4 : 5, block);
        break;
    case TENSOR_Q8_0:
        quantise_q8_0(x, block);
        break;
    case TENSOR_Q4_K:
    case TENSOR_Q5_K:
        quantise_q45_k(x, type == TENSOR_Q5_K, block);
        break;
    case TENSOR_Q6_K:
        quantise_q6_k(x, block);
        break;
    default:
        break; /* one weight a block: below */
    }
}

/** Scales are f16: beyond what those hold (times the largest q) a block could not be read back. */
static bool fits(const float *x, int count) {
    float most = 0;
    bool finite = true;
    for (int i = 0; i < count; i++) {
        finite = finite && isfinite(x[i]);
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    return finite && most < 60000.0f;
}

enum status tensor_quantise_row(enum tensor_type type, const float *weights, int64_t columns, void *out) {
    int block = tensor_type_block(type);
    size_t bytes = tensor_type_block_bytes(type);
    if (block == 0 || columns < 0 || columns % block != 0) return STATUS_INVALID_ARGUMENT;
    if (type == TENSOR_F32) {
        memcpy(out, weights, (size_t)columns * sizeof *weights);
        return STATUS_OK;
    }
    if (block == 1) return store_16_bits(weights, type == TENSOR_BF16, columns, out);
    uint8_t *at = out;
    for (int64_t k = 0; k < columns; k += block, at += bytes) {
        if (!fits(weights + k, block)) return STATUS_OUT_OF_RANGE;
        quantise_block(type, weights + k, at);
    }
    return STATUS_OK;
}
