/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Sampler: logits of one position to one token id.
 *
 *     logits -> only the tokens of a mask -> + logit_bias -> repetition_penalty -> presence_ and frequency_penalty -> temperature
 *            -> top_k -> top_p -> min_p -> typical_p -> draw by (seed, position)
 *
 * The order is that of Hugging Face transformers' processors and warpers; vLLM's differs in min_p, which it applies before top_k.
 *
 *   logit_bias          logit += bias
 *   repetition_penalty  for every token that occurs in prompt or output: logit = logit > 0 ? logit / r : logit * r
 *   presence_penalty    for every token that occurs in the output: logit -= presence
 *   frequency_penalty   for every token: logit -= frequency * (how often it occurs in the output)
 *   temperature         0 is argmax, and nothing below it matters; else p_i = softmax(logit_i / temperature)
 *   top_k               keeps the k likeliest
 *   top_p               keeps the likeliest until they hold that share of what top_k left
 *   min_p               keeps those at least that share of the likeliest one's
 *   typical_p           keeps those whose surprise -ln p_i is nearest to the entropy of what the others left, until they hold that share of it
 *   draw                the lowest id at which the running sum over those kept, in order of ids, passes random_uniform(seed, position, lane 0)
 *
 * Each filter keeps at least one. Ties go to the lower id, everywhere. A token less likely than e^-86 times the likeliest is never drawn.
 *
 * The same logits, settings, tokens, seed and position always give the same token, on every machine: sums run in a fixed order, and
 * exp is our own (softmax.h). Nothing is sorted: every step is linear in the vocabulary (candidates.h).
 *
 * NaN logits count as -inf and +inf as the largest float, so that a broken model gives a token or an error, never a hang.
 *
 * One sampler per thread; scratch is the sampler's own and is allocated once.
 *
 * Sources: top-p Holtzman et al. arXiv:1904.09751; min-p Nguyen et al. arXiv:2407.01082; locally typical sampling Meister et al.
 * arXiv:2202.00666; repetition penalty Keskar et al. arXiv:1909.05858 (section 4.1), with transformers' sign rule and llama.cpp's and vLLM's
 * range (prompt and output); presence and frequency as OpenAI's API reference defines them.
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
    double temperature;        /* >= 0 */
    double top_p;              /* (0, 1]; 1 = off */
    int top_k;                 /* >= 0; 0 and from the vocabulary's size on: off */
    double min_p;              /* 0..1; 0 = off */
    double typical_p;          /* 0..1; 0 and 1 = off */
    double repetition_penalty; /* 0..SAMPLER_REPETITION_PENALTY_MAX; 0 and 1 = off; below 1 encourages */
    double presence_penalty, frequency_penalty; /* -2..2; 0 = off */
    uint64_t seed;
    const struct logit_bias *logit_bias; /* an id twice counts twice */
    size_t logit_bias_count;
    int top_logprobs; /* -1 = none wanted; 0..20 */
};

/** The tokens that may be chosen: bit id % 32 of words[id / 32], those past the end may not. `words` NULL: any. */
struct token_mask {
    const uint32_t *words;
    size_t word_count;
};

/** The sequence so far: the prompt, then what was generated. The token to be drawn has the position `count`. */
struct token_history {
    const int32_t *tokens; /* [count]; read for penalties only; ids outside the vocabulary are ignored */
    size_t prompt_count;   /* <= count */
    size_t count;
    struct token_mask mask; /* of what may come next */
};

/** One token's log-probability, natural log, of the model itself: softmax of the logits as they came, before bias, penalties
 *  and temperature, whatever a mask leaves out. Never below -9999 (OpenAI's figure for "very unlikely"). */
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

enum { SAMPLER_NO_TOKEN = -1, SAMPLER_REPETITION_PENALTY_MAX = 10 };

/** STATUS_INVALID_ARGUMENT names the setting that is out of its range (as written above) or not finite, or a bias id outside the vocabulary. */
enum status sampling_check(const struct sampling *sampling, int32_t vocabulary, struct error *err);

/** STATUS_RESOURCE_EXHAUSTED without memory. */
enum status sampler_create(int32_t vocabulary, struct sampler **out, struct error *err);
void sampler_destroy(struct sampler *sampler);

/**
 * Choose a token. `sampling` has passed sampling_check.
 *
 * logits  [V] f32, used as scratch
 *
 * `out_logprobs` may be NULL; it is filled when top_logprobs >= 0. SAMPLER_NO_TOKEN when no logit that the mask leaves is above -inf.
 */
int32_t sampler_draw(struct sampler *sampler, const struct sampling *sampling, float *logits,
                     const struct token_history *history, struct logprob_entry *out_logprobs);

/**
 * The likeliest tokens after bias and penalties, for searches that compare sequences: log-probabilities are those of the model
 * (softmax of the logits as they came) plus what bias and penalties added to the logit, as transformers' beam search has it.
 *
 * logits  [V] f32, used as scratch
 * out     [count] descending, lowest id first among equals; 1 <= count <= V
 *
 * Returns how many there are: fewer than `count` when others are -inf or not in the mask; 0 when all are. Temperature and filters play no part.
 */
int sampler_likeliest(struct sampler *sampler, const struct sampling *sampling, float *logits,
                      const struct token_history *history, struct token_logprob *out, int count);

#endif
