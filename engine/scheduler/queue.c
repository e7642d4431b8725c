/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler/queue.h"

#include <math.h>
#include <stdlib.h>

static void list_push(struct tenant_list *list, struct tenant *tenant) {
    tenant->previous = NULL;
    tenant->next = list->first;
    if (list->first != NULL)
        list->first->previous = tenant;
    else
        list->last = tenant;
    list->first = tenant;
}

static void list_remove(struct tenant_list *list, struct tenant *tenant) {
    if (tenant->previous != NULL)
        tenant->previous->next = tenant->next;
    else
        list->first = tenant->next;
    if (tenant->next != NULL)
        tenant->next->previous = tenant->previous;
    else
        list->last = tenant->previous;
}

enum status queue_init(struct queue *queue, size_t alive_max, struct error *err) {
    size_t records = alive_max + QUEUE_TENANTS_KEPT;
    *queue = (struct queue){.pool = calloc(records, sizeof *queue->pool), .records = records};
    if (queue->pool == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a queue of %zu", alive_max);
    for (size_t i = 0; i < records; i++) {
        queue->pool[i].served = -INFINITY;
        list_push(&queue->idle, &queue->pool[i]);
    }
    return STATUS_OK;
}

void queue_deinit(struct queue *queue) {
    free(queue->pool);
    *queue = (struct queue){0};
}

static struct tenant *find(const struct tenant_list *list, uint64_t key) {
    for (struct tenant *tenant = list->first; tenant != NULL; tenant = tenant->next) {
        if (tenant->key == key && tenant->served > -INFINITY) return tenant;
    }
    return NULL;
}

static struct tenant *tenant_of(struct queue *queue, uint64_t key) {
    struct tenant *tenant = find(&queue->active, key);
    if (tenant != NULL) return tenant;
    tenant = find(&queue->idle, key);
    double served = tenant != NULL ? tenant->served : -INFINITY;
    if (tenant == NULL) tenant = queue->idle.last; /* never NULL: there are more records than sequences */
    list_remove(&queue->idle, tenant);
    *tenant = (struct tenant){.key = key, .served = served};
    list_push(&queue->active, tenant);
    queue->tenants++;
    return tenant;
}

/** Put `sequence` behind `before` (NULL: at the front) in its tenant's list. */
static void insert(struct queue *queue, struct sequence *sequence, struct sequence *before) {
    struct tenant *tenant = sequence->tenant;
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
    queue->waiting++;
}

/** Does something of the tenant wait for its turn? Who is paused does not. */
static bool wants_a_turn(const struct tenant *tenant) {
    for (const struct sequence *at = tenant->first; at != NULL; at = at->next) {
        if (!atomic_load(&at->paused)) return true;
    }
    return false;
}

/** Put `sequence` where its turn is, behind its equals. */
static void place(struct queue *queue, struct sequence *sequence) {
    struct sequence *before = sequence->tenant->last;
    while (before != NULL && sequence_due(before) > sequence_due(sequence)) before = before->previous;
    insert(queue, sequence, before);
}

void queue_add(struct queue *queue, struct sequence *sequence) {
    struct tenant *tenant = tenant_of(queue, sequence->tenant_key);
    sequence->tenant = tenant;
    bool little = sequence->prompt_count <= QUEUE_HEAD_START_MAX && !wants_a_turn(tenant);
    tenant->served = fmax(tenant->served, queue->time - (little ? (double)sequence->prompt_count : 0));
    if (tenant->alive == 0) tenant->served = fmin(tenant->served, queue->time);
    tenant->alive++;
    place(queue, sequence);
}

void queue_serve(struct queue *queue, const struct tenant *tenant) {
    double least = tenant->served;
    for (const struct tenant *other = queue->active.first; other != NULL; other = other->next) {
        if (other->served < least && wants_a_turn(other)) least = other->served;
    }
    queue->time = fmax(queue->time, least);
}

void queue_return(struct queue *queue, struct sequence *sequence) {
    struct sequence *before = NULL, *next = sequence->tenant->first;
    for (; next != NULL && sequence_due(next) < sequence_due(sequence); next = next->next) before = next;
    insert(queue, sequence, before);
}

/** A tenant's first waiting sequence that is neither paused nor held. */
static struct sequence *first_of(const struct tenant *tenant, queue_held_fn *held, void *context) {
    int looks = 0;
    for (struct sequence *at = tenant->first; at != NULL && looks < QUEUE_LOOKS; at = at->next) {
        if (atomic_load(&at->paused)) continue;
        if (!held(context, at)) return at;
        looks++;
    }
    return NULL;
}

struct sequence *queue_head(const struct queue *queue, queue_held_fn *held, void *context) {
    struct sequence *best = NULL;
    for (const struct tenant *tenant = queue->active.first; tenant != NULL; tenant = tenant->next) {
        /* Tenants are listed newest first, so that the older one wins among equals. */
        if (tenant->first == NULL || tenant->blocked != NULL) continue;
        if (best != NULL && tenant->served > best->tenant->served) continue;
        if (best != NULL && tenant->served == best->tenant->served && tenant->running > best->tenant->running) continue;
        struct sequence *candidate = first_of(tenant, held, context);
        if (candidate != NULL) best = candidate;
    }
    return best;
}

/** The last of the tenant's that waits and for which nothing was done yet. */
static struct sequence *last_fresh(const struct tenant *tenant) {
    struct sequence *at = tenant->last;
    while (at != NULL && at->was_admitted) at = at->previous;
    return at;
}

struct sequence *queue_yielding(const struct queue *queue, uint64_t key) {
    const struct tenant *newcomer = find(&queue->active, key);
    int most = newcomer != NULL ? newcomer->alive + 1 : 1;
    struct sequence *last = NULL;
    for (const struct tenant *tenant = queue->active.first; tenant != NULL; tenant = tenant->next) {
        struct sequence *candidate = tenant->alive > most ? last_fresh(tenant) : NULL;
        if (candidate == NULL) continue;
        most = tenant->alive;
        last = candidate;
    }
    return last;
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
    list_remove(&queue->active, tenant);
    list_push(&queue->idle, tenant);
    queue->tenants--;
    if (queue->tenants == 0) queue->time = fmax(queue->time, tenant->served);
}

static struct sequence *first_from(const struct tenant *tenant) {
    while (tenant != NULL && tenant->first == NULL) tenant = tenant->next;
    return tenant != NULL ? tenant->first : NULL;
}

struct sequence *queue_first(const struct queue *queue) {
    return first_from(queue->active.first);
}

struct sequence *queue_next(const struct queue *queue, const struct sequence *sequence) {
    (void)queue;
    return sequence->next != NULL ? sequence->next : first_from(sequence->tenant->next);
}

enum status queue_check(const struct queue *queue, struct error *err) {
    int waiting = 0, tenants = 0;
    const struct tenant *before = NULL;
    for (const struct tenant *tenant = queue->active.first; tenant != NULL; before = tenant, tenant = tenant->next) {
        int of_tenant = 0;
        if (++tenants > queue->tenants || tenant->previous != before)
            return error_set(err, STATUS_INTERNAL, "the list of %d tenants is broken", queue->tenants);
        for (const struct sequence *sequence = tenant->first; sequence != NULL; sequence = sequence->next) {
            of_tenant++;
            bool ordered = sequence->next == NULL ? tenant->last == sequence
                                                  : sequence->next->previous == sequence &&
                                                        sequence_due(sequence->next) >= sequence_due(sequence);
            if (sequence->tenant != tenant || !ordered || of_tenant > queue->waiting)
                return error_set(err, STATUS_INTERNAL, "a tenant's queue is out of order");
        }
        if (tenant->alive < of_tenant || tenant->alive < 1)
            return error_set(err, STATUS_INTERNAL, "a tenant counts %d sequences; %d wait", tenant->alive, of_tenant);
        waiting += of_tenant;
    }
    if (tenants != queue->tenants || queue->active.last != before)
        return error_set(err, STATUS_INTERNAL, "%d tenants are listed; the queue says %d", tenants, queue->tenants);
    return waiting == queue->waiting
               ? STATUS_OK
               : error_set(err, STATUS_INTERNAL, "%d sequences wait; the queue says %d", waiting, queue->waiting);
}

void queue_repair(struct queue *queue) {
    struct tenant *before = NULL;
    queue->waiting = queue->tenants = 0;
    for (struct tenant *tenant = queue->active.first; tenant != NULL; before = tenant, tenant = tenant->next) {
        struct sequence *at = tenant->first, *next;
        tenant->previous = before;
        tenant->first = tenant->last = NULL;
        queue->tenants++;
        for (; at != NULL && (size_t)queue->waiting < queue->records; at = next) { /* a ring has no end */
            next = at->next;
            at->tenant = tenant;
            place(queue, at);
        }
    }
    queue->active.last = before;
}
