/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Candidates: the tokens that are still in the game, in order of their ids, and how to keep the best of them without sorting.
 *
 * "The smallest number of the best that holds a mass" is found by digits: candidates are counted and added up in 256 buckets by the
 * leading byte of their keys; the bucket in which the mass is reached is looked at by the next byte, and so on. That is at most four
 * passes, the later ones over a shrinking part, whatever the distribution: time is linear and no order of magnitude hides in a
 * flat one. Sums are in double and in a fixed order.
 */
#ifndef ENGINE_SAMPLER_CANDIDATES_H
#define ENGINE_SAMPLER_CANDIDATES_H

#include <stdint.h>
#include <string.h>

struct candidate {
    uint32_t key; /* larger is better; among equals the lower id */
    float weight; /* >= 0: its share of the mass */
    int32_t id;
};

struct candidates {
    struct candidate *items; /* in order of ids */
    int32_t count;
    struct candidate *scratch; /* as many again */
};

/** The bits of a float >= 0: ordered as the floats are. */
static inline uint32_t candidate_key(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/** Sum of all weights, in a fixed order. */
double candidates_sum(const struct candidates *candidates);

/** Keep the best until they number `most` or hold `mass`, whichever comes first; at least one. All, when neither is reached. The order
 *  stays that of the ids. most >= 1, mass > 0 (INFINITY: no matter). */
void candidates_keep(struct candidates *candidates, int32_t most, double mass);

#endif
