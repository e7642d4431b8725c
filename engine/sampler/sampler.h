/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sampler: logits of one position to one token id.
 *
 *     logits -> + logit_bias -> penalties -> (mask) -> temperature -> top_k -> top_p -> min_p -> draw by (seed, position)
 *
 * temperature 0 is argmax (lowest id wins a tie). Otherwise p_i = softmax(logit_i / temperature), and
 *   top_k  keeps the k likeliest,
 *   top_p  keeps the likeliest until they hold that share of what top_k left,
 *   min_p  keeps those at least that share of the likeliest;
 * at least one is always kept. The draw uses random_uniform(seed, position, lane 0): the same logits, settings, seed and
 * position always give the same token. Sums run in a fixed order, in double.
 *
 * The vocabulary is never sorted: the likeliest are taken from a heap, one by one, until enough are kept.
 *
 * NaN logits count as -inf and +inf as the largest float, so that a broken model gives a token or an error, never a hang.
 *
 * One sampler per thread; scratch is the sampler's own and is allocated once.
 * Sources: top-p Holtzman et al. arXiv:1904.09751; min-p Nguyen et al. arXiv:2407.01082; penalties as OpenAI's API reference
 * defines them (logit -= presence * [count > 0] + frequency * count, counts over the generated tokens).
 */
#ifndef ENGINE_SAMPLER_SAMPLER_H
#define ENGINE_SAMPLER_SAMPLER_H

#include "base/limits.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct logit_bias {
    int32_t id;
    float bias; /* -100..100; -100 bans in practice */
};

struct sampling {
    double temperature;                         /* >= 0 */
    double top_p;                               /* (0, 1]; 1 = off */
    int top_k;                                  /* 0 = off */
    double min_p;                               /* 0..1; 0 = off */
    double presence_penalty, frequency_penalty; /* -2..2; 0 = off */
    uint64_t seed;
    const struct logit_bias *logit_bias; /* an id twice counts twice */
    size_t logit_bias_count;
    int top_logprobs; /* -1 = none wanted; 0..20 */
};

/** One token's log-probability, natural log, of the model itself: softmax of the logits as they came, before bias, penalties
 *  and temperature. Never below -9999 (OpenAI's figure for "very unlikely"). */
struct token_logprob {
    int32_t id;
    float logprob;
};
struct logprob_entry {
    struct token_logprob chosen;
    int top_count;
    struct token_logprob top[LIMIT_TOP_LOGPROBS]; /* descending; lowest id first among equals */
};

struct sampler;

enum { SAMPLER_NO_TOKEN = -1 };

/** STATUS_INVALID_ARGUMENT names the setting that is out of its range (as written above) or not finite, or a bias id outside the vocabulary. */
enum status sampling_check(const struct sampling *sampling, int32_t vocabulary, struct error *err);

/** STATUS_RESOURCE_EXHAUSTED without memory. */
enum status sampler_create(int32_t vocabulary, struct sampler **out, struct error *err);
void sampler_destroy(struct sampler *sampler);

/**
 * Choose a token. `sampling` has passed sampling_check.
 *
 * logits     [V] f32, used as scratch
 * generated  this generation's ids so far (for the penalties); ids outside the vocabulary are ignored
 * position   the index of the token being drawn in the whole sequence, prompt included
 *
 * `out_logprobs` may be NULL; it is filled when top_logprobs >= 0. SAMPLER_NO_TOKEN when no logit is above -inf.
 */
int32_t sampler_draw(struct sampler *sampler, const struct sampling *sampling, float *logits, const int32_t *generated,
                     size_t generated_count, uint64_t position, struct logprob_entry *out_logprobs);

#endif
