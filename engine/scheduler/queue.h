/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The waiting sequences: one queue per tenant, higher priority first and older first inside it.
 *
 *     tenant a -> [s1] <-> [s4]        admitted, served: when the tenant last had a turn (a ticket number)
 *     tenant b -> [s2]
 *
 * A tenant's record lives from its first sequence's arrival to its last one's end, so a tenant's turn survives between
 * its requests only while it has some. Records come from a pool that is as large as the number of sequences alive.
 * The scheduler's own part; one thread.
 */
#ifndef ENGINE_SCHEDULER_QUEUE_H
#define ENGINE_SCHEDULER_QUEUE_H

#include "engine/scheduler/scheduler.h"

struct tenant {
    uint64_t key;
    uint64_t admitted, served;     /* tickets: lower had its turn longer ago */
    int alive;                     /* its sequences, waiting and running */
    struct sequence *first, *last; /* waiting */
    struct tenant *previous, *next;
};

struct queue {
    struct tenant *pool;
    struct tenant *free;  /* linked by next */
    struct tenant *first; /* those alive */
    int waiting;
};

/** Room for `alive_max` sequences, each of a tenant of its own. */
enum status queue_init(struct queue *queue, size_t alive_max, struct error *err);
void queue_deinit(struct queue *queue);

/** Queue a sequence and set its tenant. */
void queue_add(struct queue *queue, struct sequence *sequence);
/** Who is next: of the tenant admitted longest ago. NULL when nobody waits. */
struct sequence *queue_head(const struct queue *queue);
/** Take a waiting sequence out of its queue; it keeps its tenant. */
void queue_remove(struct queue *queue, struct sequence *sequence);
/** The sequence, already out of its queue, has ended: its tenant may go. */
void queue_forget(struct queue *queue, struct sequence *sequence);
/** All that wait, tenant by tenant. */
struct sequence *queue_first(const struct queue *queue);
struct sequence *queue_next(const struct queue *queue, const struct sequence *sequence);

enum status queue_check(const struct queue *queue, struct error *err);

#endif
