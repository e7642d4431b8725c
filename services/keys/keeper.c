/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/keeper.h"

#include "base/clock.h"
#include "services/keys/out_of_memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

struct keeper {
    keeper_fn *fn;
    void *context;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool wanted, stopping; /* under the mutex */
};

/** Until it is wanted, or long enough; false: it stops. */
static bool wait_until_wanted(struct keeper *keeper, int64_t longest_ns) {
    int64_t at = clock_monotonic_ns(clock_system()) + longest_ns;
    const struct timespec until = {.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S};
    int waited = 0;
    pthread_mutex_lock(&keeper->mutex);
    while (!keeper->wanted && !keeper->stopping && waited == 0)
        waited = pthread_cond_timedwait(&keeper->changed, &keeper->mutex, &until);
    keeper->wanted = false;
    bool goes_on = !keeper->stopping;
    pthread_mutex_unlock(&keeper->mutex);
    return goes_on;
}

static void *keep(void *context) {
    struct keeper *keeper = context;
    int64_t wait_ns = 0;
    while (wait_until_wanted(keeper, wait_ns)) wait_ns = keeper->fn(keeper->context);
    return NULL;
}

static void deinit(struct keeper *keeper) {
    pthread_cond_destroy(&keeper->changed);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper);
}

enum status keeper_start(keeper_fn *fn, void *context, struct keeper **out, struct error *err) {
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) return out_of_memory(err);
    keeper->fn = fn;
    keeper->context = context;
    keeper->wanted = true;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_cond_init(&keeper->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int number = pthread_create(&keeper->thread, NULL, keep, keeper);
    if (number != 0) {
        deinit(keeper);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, number, "no thread can be started");
    }
    *out = keeper;
    return STATUS_OK;
}

void keeper_wake(struct keeper *keeper) {
    if (keeper == NULL) return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->wanted = true;
    pthread_cond_signal(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
}

void keeper_stop(struct keeper *keeper) {
    if (keeper == NULL) return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->stopping = true;
    pthread_cond_signal(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);
}

void keeper_destroy(struct keeper *keeper) {
    if (keeper != NULL) deinit(keeper);
}
