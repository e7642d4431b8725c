/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/sampler/sampler.h"

#include "base/random.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const double LOGPROB_LEAST = -9999; /* what OpenAI's API writes for "very unlikely"; JSON has no -infinity */

struct candidate {
    float weight; /* p relative to the best one's: exp((logit - maximum) / temperature) */
    int32_t id;
};

struct sampler {
    int32_t vocabulary;
    int32_t *counts;              /* [V] zero between draws */
    float *raw;                   /* [V] the logits as they came, for log-probabilities */
    struct candidate *candidates; /* [V] by id, then a heap */
    struct candidate *likeliest;  /* [V] taken from the heap, in order */
};

enum status sampling_check(const struct sampling *sampling, int32_t vocabulary, struct error *err) {
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"temperature", sampling->temperature, 0, DBL_MAX},
                  {"top_p", sampling->top_p, DBL_MIN, 1},
                  {"top_k", sampling->top_k, 0, INT32_MAX},
                  {"min_p", sampling->min_p, 0, 1},
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
    size_t count = (size_t)vocabulary;
    *sampler = (struct sampler){.vocabulary = vocabulary,
                                .counts = calloc(count, sizeof *sampler->counts),
                                .raw = calloc(count, sizeof *sampler->raw),
                                .candidates = calloc(count, sizeof *sampler->candidates),
                                .likeliest = calloc(count, sizeof *sampler->likeliest)};
    if (sampler->counts == NULL || sampler->raw == NULL || sampler->candidates == NULL || sampler->likeliest == NULL) {
        sampler_destroy(sampler);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    *out = sampler;
    return STATUS_OK;
}

void sampler_destroy(struct sampler *sampler) {
    if (sampler == NULL) return;
    free(sampler->counts);
    free(sampler->raw);
    free(sampler->candidates);
    free(sampler->likeliest);
    free(sampler);
}

/* ---- preparing the logits ------------------------------------------------------------------------------------------ */

/** Make every logit a number or -inf. */
static void clean(float *logits, int32_t vocabulary) {
    for (int32_t i = 0; i < vocabulary; i++) {
        if (isnan(logits[i]))
            logits[i] = -INFINITY;
        else if (logits[i] > FLT_MAX)
            logits[i] = FLT_MAX;
    }
}

static void add_bias(const struct sampling *sampling, float *logits) {
    for (size_t i = 0; i < sampling->logit_bias_count; i++)
        logits[sampling->logit_bias[i].id] += sampling->logit_bias[i].bias;
}

static void subtract_penalties(struct sampler *sampler, const struct sampling *sampling, float *logits,
                               const int32_t *generated, size_t count) {
    if (sampling->presence_penalty == 0 && sampling->frequency_penalty == 0) return;
    for (size_t i = 0; i < count; i++) {
        if (generated[i] >= 0 && generated[i] < sampler->vocabulary) sampler->counts[generated[i]]++;
    }
    for (size_t i = 0; i < count; i++) {
        if (generated[i] < 0 || generated[i] >= sampler->vocabulary) continue;
        int32_t *seen = &sampler->counts[generated[i]];
        if (*seen == 0) continue; /* done at its first place */
        logits[generated[i]] -= (float)(sampling->presence_penalty + sampling->frequency_penalty * *seen);
        *seen = 0;
    }
}

/** The likeliest id, the lowest among equals; SAMPLER_NO_TOKEN when all are -inf. */
static int32_t best_of(const float *logits, int32_t vocabulary) {
    int32_t best = SAMPLER_NO_TOKEN;
    float maximum = -INFINITY;
    for (int32_t i = 0; i < vocabulary; i++) {
        if (logits[i] > maximum) {
            maximum = logits[i];
            best = i;
        }
    }
    return best;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------- */

static bool is_likelier(struct candidate a, struct candidate b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

static void sift_down(struct candidate *heap, int32_t count, int32_t at) {
    struct candidate moved = heap[at];
    for (int32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_likelier(heap[child + 1], heap[child])) child++;
        if (!is_likelier(heap[child], moved)) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static struct candidate take_likeliest(struct candidate *heap, int32_t *count) {
    struct candidate best = heap[0];
    heap[0] = heap[--*count];
    if (*count > 0) sift_down(heap, *count, 0);
    return best;
}

/** The id at which the running sum of weights passes `u` times `total`, which is the sum over these same candidates. */
static int32_t draw_from(const struct candidate *candidates, int32_t count, double total, double u) {
    double sum = 0, target = u * total;
    int32_t chosen = candidates[0].id;
    for (int32_t i = 0; i < count && sum <= target; i++) {
        if (candidates[i].weight == 0) continue;
        sum += candidates[i].weight;
        chosen = candidates[i].id;
    }
    return chosen;
}

/** Move to the front what top_p and min_p could keep; returns how many. All that lie below (1 - top_p) / V of the sum hold at most
 *  1 - top_p of it together, so the others suffice. top_k alone decides by rank: it needs all. */
static int32_t drop_hopeless(struct candidate *candidates, int32_t count, const struct sampling *sampling,
                             double total) {
    if (sampling->top_k > 0) return count;
    double least = fmax((1 - sampling->top_p) * total / count, sampling->min_p);
    int32_t left = 0;
    for (int32_t i = 0; i < count; i++) {
        if (candidates[i].weight >= least) candidates[left++] = candidates[i];
    }
    return left;
}

/** Draw among what top_k, top_p and min_p keep. The candidates hold every weight; `total` is their sum. */
static int32_t draw_truncated(struct sampler *sampler, const struct sampling *sampling, double total, double u) {
    struct candidate *heap = sampler->candidates, *likeliest = sampler->likeliest;
    int32_t left = drop_hopeless(heap, sampler->vocabulary, sampling, total), taken = 0, kept = 0;
    for (int32_t i = left / 2 - 1; i >= 0; i--) sift_down(heap, left, i);
    if (sampling->top_k > 0) { /* top_p is a share of the best k, so their sum comes first */
        total = 0;
        while (left > 0 && taken < sampling->top_k) {
            likeliest[taken] = take_likeliest(heap, &left);
            total += likeliest[taken++].weight;
        }
        left = 0;
    }
    double sum = 0;
    while (kept == 0 || sum < sampling->top_p * total) {
        if (kept == taken && left > 0) likeliest[taken++] = take_likeliest(heap, &left);
        if (kept == taken || (kept > 0 && likeliest[kept].weight < sampling->min_p)) break;
        sum += likeliest[kept++].weight;
    }
    return draw_from(likeliest, kept, sum, u);
}

static int32_t draw(struct sampler *sampler, const struct sampling *sampling, const float *logits, float maximum,
                    double u) {
    double total = 0;
    for (int32_t i = 0; i < sampler->vocabulary; i++) {
        float weight = expf((float)(((double)logits[i] - maximum) / sampling->temperature));
        sampler->candidates[i] = (struct candidate){.weight = weight, .id = i};
        total += weight;
    }
    bool truncated =
        (sampling->top_k > 0 && sampling->top_k < sampler->vocabulary) || sampling->top_p < 1 || sampling->min_p > 0;
    return truncated ? draw_truncated(sampler, sampling, total, u)
                     : draw_from(sampler->candidates, sampler->vocabulary, total, u);
}

/* ---- log-probabilities --------------------------------------------------------------------------------------------- */

static double log_sum_exp(const float *logits, int32_t vocabulary) {
    float maximum = logits[best_of(logits, vocabulary)];
    double sum = 0;
    for (int32_t i = 0; i < vocabulary; i++) sum += expf(logits[i] - maximum);
    return (double)maximum + log(sum);
}

static struct token_logprob logprob_of(const float *raw, int32_t id, double normaliser) {
    return (struct token_logprob){.id = id, .logprob = (float)fmax((double)raw[id] - normaliser, LOGPROB_LEAST)};
}

/** Fill `entry` from the logits as they came, one of which is above -inf. */
static void fill_logprobs(const float *raw, int32_t vocabulary, int32_t chosen, int wanted,
                          struct logprob_entry *entry) {
    double normaliser = log_sum_exp(raw, vocabulary);
    *entry = (struct logprob_entry){.chosen = logprob_of(raw, chosen, normaliser)};
    struct token_logprob *top = entry->top;
    for (int32_t i = 0; i < vocabulary && wanted > 0;
         i++) { /* insertion into a short sorted list; only better ones move anything */
        if (entry->top_count == wanted && raw[i] <= raw[top[wanted - 1].id]) continue;
        int place = entry->top_count < wanted ? entry->top_count++ : wanted - 1;
        for (; place > 0 && raw[i] > raw[top[place - 1].id]; place--) top[place] = top[place - 1];
        top[place].id = i;
    }
    for (int i = 0; i < entry->top_count; i++) top[i] = logprob_of(raw, top[i].id, normaliser);
}

int32_t sampler_draw(struct sampler *sampler, const struct sampling *sampling, float *logits, const int32_t *generated,
                     size_t generated_count, uint64_t position, struct logprob_entry *out_logprobs) {
    bool logprobs = out_logprobs != NULL && sampling->top_logprobs >= 0;
    clean(logits, sampler->vocabulary);
    if (logprobs) memcpy(sampler->raw, logits, (size_t)sampler->vocabulary * sizeof *logits);
    add_bias(sampling, logits);
    subtract_penalties(sampler, sampling, logits, generated, generated_count);
    int32_t id = best_of(logits, sampler->vocabulary);
    if (id == SAMPLER_NO_TOKEN) return SAMPLER_NO_TOKEN;
    if (sampling->temperature > 0)
        id = draw(sampler, sampling, logits, logits[id], random_uniform(sampling->seed, position, 0));
    if (logprobs) fill_logprobs(sampler->raw, sampler->vocabulary, id, sampling->top_logprobs, out_logprobs);
    return id;
}
