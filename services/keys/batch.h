/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Many commands in flight at once, and one wait for all of them: so a long list costs a few round trips, and Redis serves others in between.
 *
 *     batch_init(&batch);
 *     for (...) redis_command(redis, words, n, batch_answer, batch_expect(&batch, on_reply, &slot[i]));
 *     TRY(batch_wait(&batch, err));
 */
#ifndef SERVICES_KEYS_BATCH_H
#define SERVICES_KEYS_BATCH_H

#include "store/redis.h"

#include <pthread.h>

enum { BATCH_MAX = 500 };

struct batch;
/** On the Redis client's thread, one at a time, while the waiting thread waits; a failure becomes that of the batch. */
typedef enum status batch_fn(void *context, const struct redis_reply *reply, struct error *err);

struct batch_entry {
    struct batch *batch;
    batch_fn *fn; /* NULL: the answer does not matter, only that it is one */
    void *context;
};
struct batch {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int expected, answered;
    struct batch_entry entries[BATCH_MAX];
    enum status status;
    bool of_store; /* the failure is Redis', not `fn`'s */
    struct error err;
};

void batch_init(struct batch *batch);
/** At most BATCH_MAX times between waits. */
void *batch_expect(struct batch *batch, batch_fn *fn, void *context);
/** For redis_command; the context is what batch_expect gave. */
void batch_answer(void *context, enum status status, const struct redis_reply *reply, const char *message);
/** Wait for all; the first failure. The batch can be used again. `*out_of_store` (may be NULL): it was Redis that failed, `err` has its own words. */
enum status batch_wait(struct batch *batch, bool *out_of_store, struct error *err);
void batch_deinit(struct batch *batch);

#endif
