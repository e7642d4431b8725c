/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/sampler/softmax.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { LANES = 4 };
typedef float floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ints __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));
typedef double doubles __attribute__((vector_size(LANES * sizeof(double))));

static inline floats all(float value) {
    return (floats){value, value, value, value};
}

static inline floats load(const float *from) {
    floats out;
    memcpy(&out, from, sizeof out);
    return out;
}

static inline void store(float *to, floats value) {
    memcpy(to, &value, sizeof value);
}

/** Lanes of `a` where the mask is set, of `b` elsewhere. */
static inline floats pick(ints mask, floats a, floats b) {
    return (floats)((mask & (ints)a) | (~mask & (ints)b));
}

/* ---- cleaning ------------------------------------------------------------------------------------------------------ */

static inline float clean_one(float logit) {
    return isnan(logit) ? -INFINITY : logit > FLT_MAX ? FLT_MAX : logit;
}

int32_t softmax_clean(float *logits, int32_t count) {
    floats best = all(-INFINITY);
    ints ids = {-1, -1, -1, -1}, at = {0, 1, 2, 3};
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES, at += LANES) {
        floats v = load(logits + i);
        v = pick(v == v, v, all(-INFINITY));
        v = pick(v > FLT_MAX, all(FLT_MAX), v);
        store(logits + i, v);
        ints better = v > best;
        best = pick(better, v, best);
        ids = (better & at) | (~better & ids);
    }
    int32_t id = -1;
    float maximum = -INFINITY;
    for (int lane = 0; lane < LANES; lane++) {
        bool earlier = best[lane] == maximum && ids[lane] < id;
        if (ids[lane] < 0 || !(best[lane] > maximum || earlier)) continue;
        maximum = best[lane];
        id = ids[lane];
    }
    for (; i < count; i++) {
        logits[i] = clean_one(logits[i]);
        if (logits[i] <= maximum) continue;
        maximum = logits[i];
        id = i;
    }
    return id;
}

/* ---- exp ----------------------------------------------------------------------------------------------------------- */

/** exp of lanes in SOFTMAX_LEAST..0; 0 below it, and for NaN. */
static inline floats exp_lanes(floats x) {
    const float round = 12582912; /* 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits */
    ints usable = x >= SOFTMAX_LEAST;
    floats shifted = x * 1.44269504088896341f + round, n = shifted - round;
    floats r =
        x - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts: the first has few bits, so n * it is exact */
    floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    return (floats)(((words)p + ((words)shifted << 23)) & (words)usable);
}

struct exp_sum {
    double sum;
    float maximum;
};

static inline floats weigh(floats logits, float maximum, float inverse) {
    /* -inf * 0 is NaN and gives 0 too; a difference that overflows gives -inf */
    floats w = exp_lanes((logits - maximum) * inverse);
    return pick(logits > -INFINITY, w, all(0));
}

/** One block; `count` <= SOFTMAX_BLOCK. */
static struct exp_sum weigh_block(const float *logits, int32_t count, float maximum, float inverse, float *weights) {
    doubles sum = {0, 0, 0, 0};
    floats largest = all(0);
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        floats w = weigh(load(logits + i), maximum, inverse);
        store(weights + i, w);
        sum += __builtin_convertvector(w, doubles);
        largest = pick(w > largest, w, largest);
    }
    if (i < count) {
        floats v = all(-INFINITY);
        memcpy(&v, logits + i, (size_t)(count - i) * sizeof *logits);
        floats w = weigh(v, maximum, inverse);
        memcpy(weights + i, &w, (size_t)(count - i) * sizeof *weights);
        sum += __builtin_convertvector(w, doubles);
        largest = pick(w > largest, w, largest);
    }
    float most = largest[0];
    for (int lane = 1; lane < LANES; lane++) most = largest[lane] > most ? largest[lane] : most;
    return (struct exp_sum){.sum = (sum[0] + sum[1]) + (sum[2] + sum[3]), .maximum = most};
}

double softmax_weights(const float *logits, int32_t count, float maximum, float inverse_temperature, float *weights,
                       double *sums, float *maxima) {
    double total = 0;
    for (int32_t block = 0; block < softmax_blocks(count); block++) {
        int32_t first = block * SOFTMAX_BLOCK, in_block = count - first < SOFTMAX_BLOCK ? count - first : SOFTMAX_BLOCK;
        struct exp_sum part = weigh_block(logits + first, in_block, maximum, inverse_temperature, weights + first);
        total += part.sum;
        if (sums == NULL) continue;
        sums[block] = part.sum;
        maxima[block] = part.maximum;
    }
    return total;
}

double softmax_moment(const float *logits, int32_t count, float maximum, float inverse_temperature,
                      const float *weights) {
    doubles sum = {0, 0, 0, 0};
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        floats w = load(weights + i), x = (load(logits + i) - maximum) * inverse_temperature;
        sum += __builtin_convertvector(pick(w > 0, w * x, all(0)), doubles);
    }
    double total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (; i < count; i++) {
        if (weights[i] > 0) total += weights[i] * ((logits[i] - maximum) * inverse_temperature);
    }
    return total;
}
