/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/sampler/sampler.h"

#include "base/random.h"
#include "engine/sampler/candidates.h"
#include "engine/sampler/softmax.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const double LOGPROB_LEAST = -9999; /* what OpenAI's API writes for "very unlikely"; JSON has no -infinity */

struct sampler {
    int32_t vocabulary;
    int32_t *counts; /* [V] zero between draws */
    uint64_t *
        seen; /* [V / 64] a bit per token; zero between draws: small enough for the nearest cache, however long the prompt */
    float *raw;         /* [V] the logits as they came, for log-probabilities */
    float *weights;     /* [V] p relative to the likeliest one's: exp((logit - maximum) / temperature) */
    double *block_sums; /* of the weights */
    float *block_maxima;
    struct candidates candidates; /* room for V */
};

enum status sampling_check(const struct sampling *sampling, int32_t vocabulary, struct error *err) {
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"temperature", sampling->temperature, 0, DBL_MAX},
                  {"top_p", sampling->top_p, DBL_MIN, 1},
                  {"top_k", sampling->top_k, 0, INT32_MAX},
                  {"min_p", sampling->min_p, 0, 1},
                  {"typical_p", sampling->typical_p, 0, 1},
                  {"repetition_penalty", sampling->repetition_penalty, 0, SAMPLER_REPETITION_PENALTY_MAX},
                  {"presence_penalty", sampling->presence_penalty, -2, 2},
                  {"frequency_penalty", sampling->frequency_penalty, -2, 2},
                  {"top_logprobs", sampling->top_logprobs, -1, LIMIT_TOP_LOGPROBS},
                  {"number of logit biases", (double)sampling->logit_bias_count, 0, LIMIT_LOGIT_BIAS}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high) continue; /* NaN falls through */
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is %g, outside its range", ranges[i].name, ranges[i].value);
    }
    for (size_t i = 0; i < sampling->logit_bias_count; i++) {
        const struct logit_bias *bias = &sampling->logit_bias[i];
        if (bias->id < 0 || bias->id >= vocabulary)
            return error_set(err, STATUS_INVALID_ARGUMENT, "logit_bias names token %d of a vocabulary of %d", bias->id,
                             vocabulary);
        if (!(fabsf(bias->bias) <= 100))
            return error_set(err, STATUS_INVALID_ARGUMENT, "logit_bias of token %d is %g; it must be -100..100",
                             bias->id, (double)bias->bias);
    }
    return STATUS_OK;
}

enum status sampler_create(int32_t vocabulary, struct sampler **out, struct error *err) {
    if (vocabulary < 1 || vocabulary > LIMIT_VOCABULARY)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a vocabulary of %d cannot be sampled", vocabulary);
    struct sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    size_t count = (size_t)vocabulary, blocks = (size_t)softmax_blocks(vocabulary);
    struct candidate *items = calloc(2 * count, sizeof *items);
    *sampler = (struct sampler){.vocabulary = vocabulary,
                                .counts = calloc(count, sizeof *sampler->counts),
                                .seen = calloc(count / 64 + 1, sizeof *sampler->seen),
                                .raw = calloc(count, sizeof *sampler->raw),
                                .weights = calloc(count, sizeof *sampler->weights),
                                .block_sums = calloc(blocks, sizeof *sampler->block_sums),
                                .block_maxima = calloc(blocks, sizeof *sampler->block_maxima),
                                .candidates = {.items = items}};
    if (sampler->counts == NULL || sampler->seen == NULL || sampler->raw == NULL || sampler->weights == NULL ||
        sampler->block_sums == NULL || sampler->block_maxima == NULL || items == NULL) {
        sampler_destroy(sampler);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    sampler->candidates.scratch = items + count;
    *out = sampler;
    return STATUS_OK;
}

void sampler_destroy(struct sampler *sampler) {
    if (sampler == NULL) return;
    free(sampler->counts);
    free(sampler->seen);
    free(sampler->raw);
    free(sampler->weights);
    free(sampler->block_sums);
    free(sampler->block_maxima);
    free(sampler->candidates.items);
    free(sampler);
}

/* ---- masks, bias and penalties -------------------------------------------------------------------------------------------- */

/** Everything that is not in the mask becomes -inf, which no bias and no penalty brings back. */
static void apply_mask(const struct token_mask *mask, float *logits, int32_t vocabulary) {
    if (mask->words == NULL) return;
    for (int32_t first = 0; first < vocabulary; first += 32) {
        size_t at = (size_t)first / 32;
        uint32_t word = at < mask->word_count ? mask->words[at] : 0;
        int32_t end = vocabulary - first < 32 ? vocabulary - first : 32;
        if (word == UINT32_MAX) continue;
        for (int32_t i = 0; i < end; i++) logits[first + i] = word >> i & 1 ? logits[first + i] : -INFINITY;
    }
}

static void add_bias(const struct sampling *sampling, float *logits) {
    for (size_t i = 0; i < sampling->logit_bias_count; i++)
        logits[sampling->logit_bias[i].id] += sampling->logit_bias[i].bias;
}

static bool in_vocabulary(const struct sampler *sampler, int32_t id) {
    return id >= 0 && id < sampler->vocabulary;
}

/** Nearer to zero from above, further from it below. A number stays one. */
static float scale_logit(float logit, double penalty) {
    if (isinf(logit)) return logit;
    double scaled = logit > 0 ? logit / penalty : logit * penalty;
    return scaled > FLT_MAX ? FLT_MAX : scaled < -FLT_MAX ? -FLT_MAX : (float)scaled;
}

static void penalise_repetition(struct sampler *sampler, double penalty, float *logits,
                                const struct token_history *history) {
    if (penalty == 0 || penalty == 1) return;
    for (size_t i = 0; i < history->count; i++) {
        int32_t id = history->tokens[i];
        if (!in_vocabulary(sampler, id)) continue;
        uint64_t *word = &sampler->seen[id / 64], bit = (uint64_t)1 << id % 64;
        if (*word & bit) continue;
        *word |= bit;
        logits[id] = scale_logit(logits[id], penalty);
    }
    memset(sampler->seen, 0, ((size_t)sampler->vocabulary / 64 + 1) * sizeof *sampler->seen);
}

static void subtract_penalties(struct sampler *sampler, const struct sampling *sampling, float *logits,
                               const struct token_history *history) {
    if (sampling->presence_penalty == 0 && sampling->frequency_penalty == 0) return;
    for (size_t i = history->prompt_count; i < history->count; i++) {
        if (in_vocabulary(sampler, history->tokens[i])) sampler->counts[history->tokens[i]]++;
    }
    for (size_t i = history->prompt_count; i < history->count; i++) {
        int32_t id = history->tokens[i];
        if (!in_vocabulary(sampler, id) || sampler->counts[id] == 0) continue; /* done at its first place */
        logits[id] -= (float)(sampling->presence_penalty + sampling->frequency_penalty * sampler->counts[id]);
        sampler->counts[id] = 0;
    }
}

/** Everything before temperature. The likeliest id, or SAMPLER_NO_TOKEN. */
static int32_t prepare(struct sampler *sampler, const struct sampling *sampling, float *logits,
                       const struct token_history *history) {
    apply_mask(&history->mask, logits, sampler->vocabulary);
    add_bias(sampling, logits);
    penalise_repetition(sampler, sampling->repetition_penalty, logits, history);
    subtract_penalties(sampler, sampling, logits, history);
    return softmax_clean(logits, sampler->vocabulary);
}

/* ---- filters ------------------------------------------------------------------------------------------------------- */

/** The draw's settings and its distribution, as the filters see them. */
struct distribution {
    const float *logits;
    float maximum, inverse_temperature;
    double total; /* of the weights */
};

/** Those with a weight above 0 of at least `share`. */
static void gather(struct sampler *sampler, double share) {
    struct candidates *candidates = &sampler->candidates;
    const float *weights = sampler->weights;
    candidates->count = 0;
    float least = (float)fmax(share, FLT_MIN); /* weights are 0 or normal */
    if (least < share) least = nextafterf(least, INFINITY);
    for (int32_t block = 0; block < softmax_blocks(sampler->vocabulary); block++) {
        if (sampler->block_maxima[block] < least) continue;
        int32_t first = block * SOFTMAX_BLOCK, end = first + SOFTMAX_BLOCK;
        for (int32_t id = first; id < end && id < sampler->vocabulary; id++) {
            candidates->items[candidates->count] =
                (struct candidate){.key = candidate_key(weights[id]), .weight = weights[id], .id = id};
            candidates->count += weights[id] >= least;
        }
    }
}

/** A weight that at least `k` tokens reach: that of the k-th best block's best. */
static float reached_by(struct sampler *sampler, int32_t k) {
    struct candidates *blocks = &sampler->candidates;
    int32_t count = softmax_blocks(sampler->vocabulary);
    if (k > count) return 0;
    for (int32_t i = 0; i < count; i++) {
        blocks->items[i] =
            (struct candidate){.key = candidate_key(sampler->block_maxima[i]), .weight = sampler->block_maxima[i]};
    }
    blocks->count = count;
    candidates_keep(blocks, k, INFINITY);
    float least = blocks->items[0].weight;
    for (int32_t i = 1; i < blocks->count; i++) least = fminf(least, blocks->items[i].weight);
    return least;
}

/** Of a share of the mass, the rest: all that weigh less than this hold no more together. Less a little, for rounding. */
static double rest_of(const struct sampler *sampler, double share, double total) {
    return (1 - share) * total / sampler->vocabulary * (1 - 1e-6);
}

/** Gather what top_k, top_p and min_p leave. */
static void keep_likely(struct sampler *sampler, const struct sampling *sampling, double total) {
    struct candidates *candidates = &sampler->candidates;
    bool top_k = sampling->top_k > 0 && sampling->top_k < sampler->vocabulary;
    if (top_k) {
        gather(sampler, reached_by(sampler, sampling->top_k));
        candidates_keep(candidates, sampling->top_k, INFINITY);
        total = candidates_sum(candidates);
    } else {
        gather(sampler, fmax(rest_of(sampler, sampling->top_p, total), sampling->min_p));
    }
    if (sampling->top_p < 1) candidates_keep(candidates, INT32_MAX, sampling->top_p * total);
    if (!top_k || sampling->min_p == 0) return; /* or min_p was done while gathering */
    int32_t kept = 0;
    for (int32_t i = 0; i < candidates->count; i++) {
        candidates->items[kept] = candidates->items[i];
        kept += candidates->items[i].weight >= sampling->min_p; /* the likeliest one's weight is 1 */
    }
    candidates->count = kept;
}

/** Keep candidates by the distance of x_i = ln weight_i from `mean`, until they hold `mass`. */
static void keep_nearest(struct candidates *candidates, const struct distribution *from, double mean, double mass) {
    for (int32_t i = 0; i < candidates->count; i++) {
        struct candidate *item = &candidates->items[i];
        float x = (from->logits[item->id] - from->maximum) * from->inverse_temperature;
        item->key = ~candidate_key((float)fabs((double)x - mean)); /* the nearest is the best */
    }
    candidates_keep(candidates, INT32_MAX, mass);
}

/**
 * With x_i = ln weight_i, ln p_i = x_i - ln sum, so the distance of the surprise from the entropy is
 *     |-ln p_i + sum_j p_j ln p_j| = |x_i - mean|,  mean = sum_j p_j x_j.
 * Of what other filters left.
 */
static void keep_typical(struct candidates *candidates, double typical_p, const struct distribution *from) {
    double total = candidates_sum(candidates), moment = 0;
    for (int32_t i = 0; i < candidates->count; i++) {
        const struct candidate *item = &candidates->items[i];
        moment += item->weight * (double)((from->logits[item->id] - from->maximum) * from->inverse_temperature);
    }
    keep_nearest(candidates, from, moment / total, typical_p * total);
}

/**
 * The same over everything. Most tokens are hopeless: those below `rest` hold at most what typical_p leaves out, and those below
 * e^(2 mean) are farther from the mean than the likeliest one, x = 0, so that a token below both comes after all others.
 */
static void keep_typical_of_all(struct sampler *sampler, double typical_p, const struct distribution *from) {
    double mean =
        softmax_moment(from->logits, sampler->vocabulary, from->maximum, from->inverse_temperature, sampler->weights) /
        from->total;
    gather(sampler, fmin(rest_of(sampler, typical_p, from->total), exp(2 * mean) * (1 - 1e-6)));
    keep_nearest(&sampler->candidates, from, mean, typical_p * from->total);
}

/* ---- drawing ------------------------------------------------------------------------------------------------------- */

/** The lowest id at which the running sum passes `u` of the sum. */
static int32_t draw_candidate(const struct candidates *candidates, double u) {
    double sum = 0, target = u * candidates_sum(candidates);
    int32_t at = 0;
    for (; at < candidates->count - 1; at++) {
        sum += candidates->items[at].weight;
        if (sum > target) break;
    }
    return candidates->items[at].id;
}

/** The same over everything: the block first. */
static int32_t draw_any(const struct sampler *sampler, double total, double u) {
    double sum = 0, target = u * total;
    int32_t block = 0, blocks = softmax_blocks(sampler->vocabulary), chosen = SAMPLER_NO_TOKEN;
    while (block < blocks - 1 && !(sum + sampler->block_sums[block] > target)) sum += sampler->block_sums[block++];
    while (sampler->block_sums[block] == 0) block--; /* a target that rounding put behind the last */
    for (int32_t id = block * SOFTMAX_BLOCK; id < sampler->vocabulary && id < (block + 1) * SOFTMAX_BLOCK; id++) {
        if (sampler->weights[id] == 0) continue;
        chosen = id;
        sum += sampler->weights[id];
        if (sum > target) break;
    }
    return chosen;
}

static int32_t draw(struct sampler *sampler, const struct sampling *sampling, const float *logits, float maximum,
                    double u) {
    struct distribution from = {
        .logits = logits, .maximum = maximum, .inverse_temperature = (float)fmin(1 / sampling->temperature, FLT_MAX)};
    from.total = softmax_weights(logits, sampler->vocabulary, maximum, from.inverse_temperature, sampler->weights,
                                 sampler->block_sums, sampler->block_maxima);
    bool likely =
        (sampling->top_k > 0 && sampling->top_k < sampler->vocabulary) || sampling->top_p < 1 || sampling->min_p > 0;
    bool typical = sampling->typical_p > 0 && sampling->typical_p < 1;
    if (!likely && !typical) return draw_any(sampler, from.total, u);
    if (likely) keep_likely(sampler, sampling, from.total);
    if (typical && likely) keep_typical(&sampler->candidates, sampling->typical_p, &from);
    if (typical && !likely) keep_typical_of_all(sampler, sampling->typical_p, &from);
    return draw_candidate(&sampler->candidates, u);
}

/* ---- log-probabilities --------------------------------------------------------------------------------------------- */

/** Fill `out` with the ids of the `wanted` largest values, descending. How many there are. */
static int find_largest(const float *values, int32_t count, struct token_logprob *out, int wanted) {
    int found = 0;
    float least = -INFINITY;
    for (int32_t i = 0; i < count; i++) { /* insertion into a short sorted list; only better ones move anything */
        if (found == wanted && !(values[i] > least)) continue;
        int place = found < wanted ? found++ : wanted - 1;
        for (; place > 0 && values[i] > values[out[place - 1].id]; place--) out[place] = out[place - 1];
        out[place].id = i;
        least = values[out[found - 1].id];
    }
    return found;
}

/** Keep a clean copy of the logits as they came; ln sum_i exp(logit_i). -inf when all are. */
static double keep_raw(struct sampler *sampler, const float *logits) {
    memcpy(sampler->raw, logits, (size_t)sampler->vocabulary * sizeof *logits);
    int32_t best = softmax_clean(sampler->raw, sampler->vocabulary);
    if (best == SAMPLER_NO_TOKEN) return -INFINITY;
    float maximum = sampler->raw[best];
    return (double)maximum +
           log(softmax_weights(sampler->raw, sampler->vocabulary, maximum, 1, sampler->weights, NULL, NULL));
}

static struct token_logprob logprob_of(int32_t id, float logit, double normaliser) {
    return (struct token_logprob){.id = id, .logprob = (float)fmax((double)logit - normaliser, LOGPROB_LEAST)};
}

static void fill_logprobs(const struct sampler *sampler, int32_t chosen, int wanted, double normaliser,
                          struct logprob_entry *entry) {
    const float *raw = sampler->raw;
    *entry = (struct logprob_entry){.chosen = logprob_of(chosen, raw[chosen], normaliser)};
    if (wanted > 0) entry->top_count = find_largest(raw, sampler->vocabulary, entry->top, wanted);
    for (int i = 0; i < entry->top_count; i++)
        entry->top[i] = logprob_of(entry->top[i].id, raw[entry->top[i].id], normaliser);
}

int32_t sampler_draw(struct sampler *sampler, const struct sampling *sampling, float *logits,
                     const struct token_history *history, struct logprob_entry *out_logprobs) {
    bool logprobs = out_logprobs != NULL && sampling->top_logprobs >= 0;
    double normaliser = logprobs ? keep_raw(sampler, logits) : 0;
    int32_t id = prepare(sampler, sampling, logits, history);
    if (id == SAMPLER_NO_TOKEN) return SAMPLER_NO_TOKEN;
    if (sampling->temperature > 0)
        id = draw(sampler, sampling, logits, logits[id], random_uniform(sampling->seed, history->count, 0));
    if (logprobs) fill_logprobs(sampler, id, sampling->top_logprobs, normaliser, out_logprobs);
    return id;
}

int sampler_likeliest(struct sampler *sampler, const struct sampling *sampling, float *logits,
                      const struct token_history *history, struct token_logprob *out, int count) {
    double normaliser = keep_raw(sampler, logits);
    if (prepare(sampler, sampling, logits, history) == SAMPLER_NO_TOKEN) return 0;
    int found = find_largest(logits, sampler->vocabulary, out, count);
    while (found > 0 && logits[out[found - 1].id] == -INFINITY) found--;
    for (int i = 0; i < found; i++) out[i] = logprob_of(out[i].id, logits[out[i].id], normaliser);
    return found;
}
