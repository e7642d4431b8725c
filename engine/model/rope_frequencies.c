/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/model.h"

#include <math.h>

/** Llama 3.1: a pair that turns more than high_frequency_factor times over the original context stays, one that turns less than
 *  low_frequency_factor times is stretched, those between are mixed by their number of turns. */
static double llama3(const struct rope_config *rope, double frequency) {
    double turns = rope->original_context * frequency / (2 * M_PI), low = rope->low_frequency_factor,
           high = rope->high_frequency_factor;
    if (turns > high) return frequency;
    if (turns < low) return frequency / rope->factor;
    double share = (turns - low) / (high - low);
    return (1 - share) * frequency / rope->factor + share * frequency;
}

/** The pair (counted with its fraction) that turns `turns` times over the original context. */
static double pair_of(const struct rope_config *rope, int rotary_dim, double turns) {
    return rotary_dim * log(rope->original_context / (turns * 2 * M_PI)) / (2 * log(rope->base));
}

/** YaRN: pairs before the one that turns beta_fast times stay, pairs behind the one that turns beta_slow times are stretched, between them
 *  a linear ramp over the pairs. */
static double yarn(const struct rope_config *rope, int rotary_dim, int pair, double frequency) {
    double low = pair_of(rope, rotary_dim, rope->beta_fast), high = pair_of(rope, rotary_dim, rope->beta_slow);
    if (!rope->untruncated) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, rotary_dim - 1);
    if (low == high) high += 0.001;
    double stretched = fmin(fmax((pair - low) / (high - low), 0), 1);
    return frequency / rope->factor * stretched + frequency * (1 - stretched);
}

void model_rope_frequencies(const struct rope_config *rope, int rotary_dim, float *out) {
    for (int i = 0; i < rotary_dim / 2; i++) {
        double frequency = pow(rope->base, -2.0 * i / rotary_dim);
        switch (rope->scaling) {
        case ROPE_SCALING_LINEAR:
            frequency /= rope->factor;
            break;
        case ROPE_SCALING_LLAMA3:
            frequency = llama3(rope, frequency);
            break;
        case ROPE_SCALING_YARN:
            frequency = yarn(rope, rotary_dim, i, frequency);
            break;
        case ROPE_SCALING_NONE:
            break;
        }
        out[i] = (float)frequency;
    }
}
