/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler/queue.h"

#include <stdlib.h>

enum status queue_init(struct queue *queue, size_t alive_max, struct error *err) {
    *queue = (struct queue){.pool = calloc(alive_max, sizeof *queue->pool)};
    if (queue->pool == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a queue of %zu", alive_max);
    for (size_t i = alive_max; i-- > 0;) {
        queue->pool[i].next = queue->free;
        queue->free = &queue->pool[i];
    }
    return STATUS_OK;
}

void queue_deinit(struct queue *queue) {
    free(queue->pool);
    *queue = (struct queue){0};
}

static struct tenant *tenant_of(struct queue *queue, uint64_t key) {
    for (struct tenant *tenant = queue->first; tenant != NULL; tenant = tenant->next) {
        if (tenant->key == key) return tenant;
    }
    struct tenant *tenant = queue->free; /* never NULL: there are as many records as sequences */
    queue->free = tenant->next;
    *tenant = (struct tenant){.key = key, .next = queue->first};
    if (queue->first != NULL) queue->first->previous = tenant;
    queue->first = tenant;
    return tenant;
}

void queue_add(struct queue *queue, struct sequence *sequence) {
    struct tenant *tenant = tenant_of(queue, sequence->tenant_key);
    struct sequence *before = tenant->last;
    while (before != NULL && before->priority < sequence->priority) before = before->previous;
    sequence->tenant = tenant;
    sequence->previous = before;
    sequence->next = before != NULL ? before->next : tenant->first;
    if (before != NULL)
        before->next = sequence;
    else
        tenant->first = sequence;
    if (sequence->next != NULL)
        sequence->next->previous = sequence;
    else
        tenant->last = sequence;
    tenant->alive++;
    queue->waiting++;
}

struct sequence *queue_head(const struct queue *queue) {
    const struct tenant *best = NULL;
    for (const struct tenant *tenant = queue->first; tenant != NULL; tenant = tenant->next) {
        if (tenant->first == NULL) continue;
        /* Tenants are listed newest first, so <= gives the older one among those that never had a turn. */
        if (best == NULL || tenant->admitted <= best->admitted) best = tenant;
    }
    return best != NULL ? best->first : NULL;
}

void queue_remove(struct queue *queue, struct sequence *sequence) {
    struct tenant *tenant = sequence->tenant;
    if (sequence->previous != NULL)
        sequence->previous->next = sequence->next;
    else
        tenant->first = sequence->next;
    if (sequence->next != NULL)
        sequence->next->previous = sequence->previous;
    else
        tenant->last = sequence->previous;
    sequence->previous = sequence->next = NULL;
    queue->waiting--;
}

void queue_forget(struct queue *queue, struct sequence *sequence) {
    struct tenant *tenant = sequence->tenant;
    sequence->tenant = NULL;
    if (--tenant->alive > 0) return;
    if (tenant->previous != NULL)
        tenant->previous->next = tenant->next;
    else
        queue->first = tenant->next;
    if (tenant->next != NULL) tenant->next->previous = tenant->previous;
    tenant->next = queue->free;
    queue->free = tenant;
}

static struct sequence *first_from(const struct tenant *tenant) {
    while (tenant != NULL && tenant->first == NULL) tenant = tenant->next;
    return tenant != NULL ? tenant->first : NULL;
}

struct sequence *queue_first(const struct queue *queue) {
    return first_from(queue->first);
}

struct sequence *queue_next(const struct queue *queue, const struct sequence *sequence) {
    (void)queue;
    return sequence->next != NULL ? sequence->next : first_from(sequence->tenant->next);
}

enum status queue_check(const struct queue *queue, struct error *err) {
    int waiting = 0;
    for (const struct tenant *tenant = queue->first; tenant != NULL; tenant = tenant->next) {
        int of_tenant = 0;
        for (const struct sequence *sequence = tenant->first; sequence != NULL; sequence = sequence->next) {
            of_tenant++;
            bool ordered = sequence->next == NULL
                               ? tenant->last == sequence
                               : sequence->next->previous == sequence && sequence->next->priority <= sequence->priority;
            if (sequence->tenant != tenant || !ordered)
                return error_set(err, STATUS_INTERNAL, "a tenant's queue is out of order");
        }
        if (tenant->alive < of_tenant || tenant->alive < 1)
            return error_set(err, STATUS_INTERNAL, "a tenant counts %d sequences; %d wait", tenant->alive, of_tenant);
        waiting += of_tenant;
    }
    return waiting == queue->waiting
               ? STATUS_OK
               : error_set(err, STATUS_INTERNAL, "%d sequences wait; the queue says %d", waiting, queue->waiting);
}
