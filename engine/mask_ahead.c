/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/mask_ahead.h"

#include "engine/engine_internal.h"

#include <stdlib.h>

struct mask_ahead {
    mask_ahead_fn *compute;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    struct generation *waiting;
    bool working; /* the thread, on one that is not waiting any more */
    bool closing;
};

/** The next one, or NULL. The mutex is held. */
static struct generation *take_locked(struct mask_ahead *ahead) {
    struct generation *generation = ahead->waiting;
    if (generation != NULL) ahead->waiting = generation->ahead_next;
    return generation;
}

static void *run(void *context) {
    struct mask_ahead *ahead = context;
    pthread_setname_np(pthread_self(), "masks");
    pthread_mutex_lock(&ahead->mutex);
    while (!ahead->closing) {
        struct generation *generation = take_locked(ahead);
        if (generation == NULL) {
            pthread_cond_wait(&ahead->changed, &ahead->mutex);
            continue;
        }
        ahead->working = true;
        pthread_mutex_unlock(&ahead->mutex);
        ahead->compute(generation);
        pthread_mutex_lock(&ahead->mutex);
        ahead->working = false;
        pthread_cond_broadcast(&ahead->changed);
    }
    pthread_mutex_unlock(&ahead->mutex);
    return NULL;
}

enum status mask_ahead_create(mask_ahead_fn *compute, struct mask_ahead **out, struct error *err) {
    struct mask_ahead *ahead = calloc(1, sizeof *ahead);
    if (ahead == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    ahead->compute = compute;
    pthread_mutex_init(&ahead->mutex, NULL);
    pthread_cond_init(&ahead->changed, NULL);
    int failure = pthread_create(&ahead->thread, NULL, run, ahead);
    if (failure != 0) {
        pthread_cond_destroy(&ahead->changed);
        pthread_mutex_destroy(&ahead->mutex);
        free(ahead);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "the thread of masks cannot be started");
    }
    *out = ahead;
    return STATUS_OK;
}

void mask_ahead_destroy(struct mask_ahead *ahead) {
    if (ahead == NULL) return;
    pthread_mutex_lock(&ahead->mutex);
    ahead->closing = true;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->mutex);
    pthread_join(ahead->thread, NULL);
    pthread_cond_destroy(&ahead->changed);
    pthread_mutex_destroy(&ahead->mutex);
    free(ahead);
}

void mask_ahead_add(struct mask_ahead *ahead, struct generation *generation) {
    pthread_mutex_lock(&ahead->mutex);
    generation->ahead_next = ahead->waiting;
    ahead->waiting = generation;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->mutex);
}

void mask_ahead_join(struct mask_ahead *ahead) {
    pthread_mutex_lock(&ahead->mutex);
    for (struct generation *generation; (generation = take_locked(ahead)) != NULL;) {
        pthread_mutex_unlock(&ahead->mutex);
        ahead->compute(generation);
        pthread_mutex_lock(&ahead->mutex);
    }
    while (ahead->working) pthread_cond_wait(&ahead->changed, &ahead->mutex);
    pthread_mutex_unlock(&ahead->mutex);
}
