/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A pool of key/value blocks for tests: blocks in shuffled order, everything that was never stored is NaN. */
#ifndef TESTS_UNIT_KERNELS_ATTENTION_FIXTURE_H
#define TESTS_UNIT_KERNELS_ATTENTION_FIXTURE_H

#include "tests/unit/kernels/fixture.h"

enum { POOL_SEQUENCES_MAX = 8, POOL_BLOCKS_MAX = 64 };

struct pool_shape {
    int heads, kv_heads, head_dim, block_tokens;
    enum kv_type type;
};

/** Each sequence's keys, values and queries for all its positions are drawn from its own seed: the same wherever it stands. */
struct pool {
    struct pool_shape shape;
    struct kv_layer layer;
    int sequence_count;
    int64_t contexts[POOL_SEQUENCES_MAX]; /* tokens of a sequence, all told */
    int32_t blocks[POOL_SEQUENCES_MAX][POOL_BLOCKS_MAX];
    float *keys[POOL_SEQUENCES_MAX], *values[POOL_SEQUENCES_MAX]; /* [context][G][hd] */
    float *queries[POOL_SEQUENCES_MAX];                           /* [context][H][hd] */
    float *out[POOL_SEQUENCES_MAX];                               /* [context][H][hd], filled by pool_step */
};

void pool_init(struct pool *pool, const struct pool_shape *shape, int sequence_count, const int64_t *contexts,
               const uint64_t *seeds);
void pool_deinit(struct pool *pool);

/** A step of the model: for every sequence s store keys and values of the positions [from[s], to[s]), then attend with their queries;
 *  the results go into pool->out. from == to leaves a sequence out. */
void pool_step(struct pool *pool, struct kernels *kernels, const int64_t *from, const int64_t *to, float scale,
               int64_t window, float softcap);

/** Element k of a stored key or value: what the cache holds, without error. */
double pool_key(const struct pool *pool, int s, int64_t position, int kv_head, int k);
double pool_value(const struct pool *pool, int s, int64_t position, int kv_head, int k);

/** Rotate the rows of x [rows][heads][hd] in place, as queries. If `keys` is not NULL, head 0 of each row goes through the cache as a key as
 *  well, and what is stored comes back there, [rows][hd]. */
void fixture_rope(struct kernels *kernels, const struct rope *rope, const int32_t *positions, int64_t rows, float *x,
                  int64_t stride, int heads, int head_dim, float *keys);
/** The same with all that kv_store does to heads: a norm of queries and keys, and scales of queries [rows]; each may be NULL, `rope` too. */
void fixture_heads(struct kernels *kernels, const struct rope *rope, const float *norm, float eps, const float *scales,
                   const int32_t *positions, int64_t rows, float *x, int64_t stride, int heads, int head_dim,
                   float *keys);

#endif
