/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The passes over a whole vocabulary, four lanes at a time: cleaning, the best logit, exp.
 *
 * Written in GCC's vector extensions for the baseline instruction set, with an exp of its own, so that every machine gives the
 * same bits; libm's expf does not, because it chooses its code by processor. Without FMA contraction (CMakeLists.txt) nothing else can
 * differ.
 *
 * exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, exp(r) by the polynomial of Cephes' expf (S. Moshier); relative error
 * below 2e-7.
 */
#ifndef ENGINE_SAMPLER_SOFTMAX_H
#define ENGINE_SAMPLER_SOFTMAX_H

#include <stdint.h>

enum { SOFTMAX_BLOCK = 64 };

/** Below e^-86 of the likeliest a weight is 0: a float's normal range ends there, and 53 random bits never reach it. */
#define SOFTMAX_LEAST (-86.0f)

/** Blocks of a vocabulary; the last may be short. */
static inline int32_t softmax_blocks(int32_t count) {
    return (count + SOFTMAX_BLOCK - 1) / SOFTMAX_BLOCK;
}

/** Make every logit a number or -inf: NaN becomes -inf, +inf the largest float. Returns the index of the largest, the lowest among equals;
 *  -1 when none is above -inf. */
int32_t softmax_clean(float *logits, int32_t count);

/**
 * weights[i] = exp((logits[i] - maximum) * inverse_temperature), 0 for -inf and below SOFTMAX_LEAST.
 *
 * logits               [count] cleaned
 * maximum              the largest of them, above -inf: its weight is exactly 1
 * inverse_temperature  >= 0, finite
 * weights              [count]; may be `logits`
 * sums, maxima         [softmax_blocks(count)] of each block; both NULL or neither
 *
 * Returns the sum of all, block by block in order; the order of every sum is fixed.
 */
double softmax_weights(const float *logits, int32_t count, float maximum, float inverse_temperature, float *weights,
                       double *sums, float *maxima);

/** sum_i weights[i] * x_i with x_i = (logits[i] - maximum) * inverse_temperature, of the same arguments. */
double softmax_moment(const float *logits, int32_t count, float maximum, float inverse_temperature,
                      const float *weights);

#endif
