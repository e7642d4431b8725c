/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/sampler/candidates.h"

#include <stdbool.h>

enum { DIGIT_BITS = 8, BUCKETS = 1 << DIGIT_BITS, KEY_BITS = 32 };

double candidates_sum(const struct candidates *candidates) {
    enum { LANES = 4 }; /* an addition waits for the last one: four chains take a quarter of the time */
    double sums[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= candidates->count; i += LANES) {
        for (int lane = 0; lane < LANES; lane++) sums[lane] += candidates->items[i + lane].weight;
    }
    for (; i < candidates->count; i++) sums[0] += candidates->items[i].weight;
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/** What is kept so far: everything in better buckets. */
struct kept {
    int64_t count;
    double mass;
};

/** The bucket of `shift` in which `most` or `mass` is reached, the last that is not empty when neither is; `kept` takes in those above it. */
static uint32_t find_bucket(const struct candidate *items, int32_t count, int shift, int32_t most, double mass,
                            struct kept *kept) {
    int32_t counts[BUCKETS] = {0};
    double masses[BUCKETS] = {0};
    for (int32_t i = 0; i < count; i++) {
        uint32_t bucket = items[i].key >> shift & (BUCKETS - 1);
        counts[bucket]++;
        masses[bucket] += items[i].weight;
    }
    uint32_t last = 0, bucket = BUCKETS - 1;
    while (counts[last] == 0) last++;
    for (; bucket > last; bucket--) {
        if (counts[bucket] == 0) continue;
        if (kept->count + counts[bucket] >= most || kept->mass + masses[bucket] >= mass) break;
        kept->count += counts[bucket];
        kept->mass += masses[bucket];
    }
    return bucket;
}

/** Copy those of one bucket to `out`, which may be `items`; how many. */
static int32_t take_bucket(const struct candidate *items, int32_t count, int shift, uint32_t bucket,
                           struct candidate *out) {
    int32_t taken = 0;
    for (int32_t i = 0; i < count; i++) {
        out[taken] = items[i];
        taken += (items[i].key >> shift & (BUCKETS - 1)) == bucket;
    }
    return taken;
}

void candidates_keep(struct candidates *candidates, int32_t most, double mass) {
    if (candidates->count == 0) return;
    struct kept kept = {0};
    const struct candidate *part = candidates->items;
    int32_t left = candidates->count;
    uint32_t edge = 0; /* the key of the worst that is kept */
    for (int shift = KEY_BITS - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        uint32_t bucket = find_bucket(part, left, shift, most, mass, &kept);
        left = take_bucket(part, left, shift, bucket, candidates->scratch);
        part = candidates->scratch;
        edge = edge << DIGIT_BITS | bucket;
    }
    int32_t equal = 0; /* of those at the edge, by id */
    while (equal < left && (kept.count == 0 || (kept.count < most && kept.mass < mass))) {
        kept.mass += part[equal++].weight;
        kept.count++;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < candidates->count; i++) {
        struct candidate item = candidates->items[i];
        bool at_edge = item.key == edge;
        candidates->items[count] = item;
        count += item.key > edge || (at_edge && equal > 0);
        equal -= at_edge;
    }
    candidates->count = count;
}
