/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sampler: logits of one position to one token id.
 *
 *     logits -> + logit_bias -> penalties -> (mask) -> temperature -> top_k -> top_p -> min_p -> draw by (seed, position)
 *
 * temperature 0 is argmax (lowest id wins a tie). The draw uses random_uniform(seed, position, lane 0): the same logits,
 * settings, seed and position always give the same token. Sums run in a fixed order. One sampler per generation thread;
 * scratch is the sampler's own and is allocated once.
 * Sources: top-p Holtzman et al. arXiv:1904.09751; penalties as OpenAI's API reference defines them
 * (logit -= presence * [count > 0] + frequency * count, counts over the generated tokens).
 */
#ifndef ENGINE_SAMPLER_SAMPLER_H
#define ENGINE_SAMPLER_SAMPLER_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct logit_bias {
    int32_t id;
    float bias; /* -100..100; -100 bans in practice */
};

struct sampling {
    double temperature; /* >= 0 */
    double top_p;       /* (0, 1]; 1 = off */
    int top_k;          /* 0 = off */
    double min_p;       /* 0 = off */
    double presence_penalty, frequency_penalty; /* -2..2; 0 = off */
    uint64_t seed;
    const struct logit_bias *logit_bias;
    size_t logit_bias_count;
    int top_logprobs; /* -1 = none wanted; 0..20 */
};

struct sampler;
struct logprob_entry;

enum status sampler_create(int32_t vocabulary, struct sampler **out, struct error *err);
void sampler_destroy(struct sampler *sampler);

/** Choose a token. `logits` [V] f32 is used as scratch. `generated` are this generation's ids so far (for penalties); `position`
 *  is the index of the token being drawn in the whole sequence (prompt included). `out_logprobs` may be NULL. */
int32_t sampler_draw(struct sampler *sampler, const struct sampling *sampling, float *logits, const int32_t *generated, size_t generated_count,
                     uint64_t position, struct logprob_entry *out_logprobs);

#endif
