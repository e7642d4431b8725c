/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/batch.h"

void batch_init(struct batch *batch) {
    pthread_mutex_init(&batch->mutex, NULL);
    pthread_cond_init(&batch->changed, NULL);
    batch->expected = batch->answered = 0;
    batch->status = STATUS_OK;
    batch->of_store = false;
    batch->err = (struct error){0};
}

void *batch_expect(struct batch *batch, batch_fn *fn, void *context) {
    struct batch_entry *entry = &batch->entries[batch->expected++];
    *entry = (struct batch_entry){batch, fn, context};
    return entry;
}

void batch_answer(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct batch_entry *entry = context;
    struct batch *batch = entry->batch;
    pthread_mutex_lock(&batch->mutex);
    bool first = batch->status == STATUS_OK;
    if (first && status != STATUS_OK) {
        batch->of_store = true;
        batch->status = error_set(&batch->err, status, "%s", message);
    } else if (first && entry->fn != NULL) {
        batch->status = entry->fn(entry->context, reply, &batch->err);
    }
    batch->answered++;
    pthread_cond_signal(&batch->changed);
    pthread_mutex_unlock(&batch->mutex);
}

enum status batch_wait(struct batch *batch, bool *out_of_store, struct error *err) {
    pthread_mutex_lock(&batch->mutex);
    while (batch->answered < batch->expected) pthread_cond_wait(&batch->changed, &batch->mutex);
    pthread_mutex_unlock(&batch->mutex);
    enum status status = batch->status;
    if (out_of_store != NULL) *out_of_store = batch->of_store;
    if (status != STATUS_OK) status = error_set(err, status, "%s", batch->err.message);
    batch->expected = batch->answered = 0;
    batch->status = STATUS_OK;
    batch->of_store = false;
    batch->err = (struct error){0};
    return status;
}

void batch_deinit(struct batch *batch) {
    pthread_cond_destroy(&batch->changed);
    pthread_mutex_destroy(&batch->mutex);
}
