/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The waiting sequences: one queue per tenant, higher priority first and older first inside it.
 *
 *     tenant a -> [s1] <-> [s4]        served: virtual tokens that it was given
 *     tenant b -> [s2]
 *
 * FAIRNESS is by virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): every computed
 * prompt token and every generated token is charged to its tenant, and the tenant that was charged least comes next, for
 * admission and for prompt rows. Who asks while nothing of its own waits keeps its counter, but is never more than QUEUE_CREDIT
 * below the least served of the others who are there: a small head start, which lets those who ask for little be answered at once,
 * and no more credit can be saved up than that, by a pause or by a stream that is kept alive.
 *
 * Records come from a pool that is somewhat larger than the number of sequences alive; those of tenants with nothing alive are
 * kept until they are needed for others. The scheduler's own part; one thread.
 */
#ifndef ENGINE_SCHEDULER_QUEUE_H
#define ENGINE_SCHEDULER_QUEUE_H

#include "engine/scheduler/scheduler.h"

struct tenant {
    uint64_t key;
    double served;                 /* virtual tokens */
    int alive, running;            /* its sequences */
    int64_t blocks;                /* KV blocks in the tables of those that run */
    struct sequence *first, *last; /* waiting */
    struct tenant *previous, *next;
};

struct tenant_list {
    struct tenant *first, *last;
};

struct queue {
    struct tenant *pool;
    struct tenant_list active; /* with sequences alive, the newest first */
    struct tenant_list idle;   /* without, the last that had some first; fresh records last */
    int tenants, waiting;      /* active; sequences that wait */
    double floor;              /* the most that a tenant was charged that left */
};

#define QUEUE_CREDIT 1024.0 /* virtual tokens: about a second of a small model on two cores */
enum { QUEUE_TENANTS_KEPT = 256 };

/** Room for `alive_max` sequences, each of a tenant of its own. */
enum status queue_init(struct queue *queue, size_t alive_max, struct error *err);
void queue_deinit(struct queue *queue);

/** Queue a sequence that has just arrived and set its tenant. */
void queue_add(struct queue *queue, struct sequence *sequence);
/** Queue a sequence again that has lost its place: before its equals. */
void queue_return(struct queue *queue, struct sequence *sequence);
/** Who is next: of the least served tenant, the highest priority - it rises by one in QUEUE_AGEING_NS of waiting -, then the oldest; without
 *  those that `held` says must wait. NULL when nobody is left. */
enum { QUEUE_LOOKS = 64 /* that are considered of one tenant */ };
#define QUEUE_AGEING_NS (10 * NS_PER_S)
typedef bool queue_held_fn(void *context, struct sequence *sequence);
struct sequence *queue_head(const struct queue *queue, int64_t now_ns, queue_held_fn *held, void *context);
/** Take a waiting sequence out of its queue; it keeps its tenant. */
void queue_remove(struct queue *queue, struct sequence *sequence);
/** The sequence, already out of its queue, has ended: its tenant may go. */
void queue_forget(struct queue *queue, struct sequence *sequence);
/** All that wait, tenant by tenant. */
struct sequence *queue_first(const struct queue *queue);
struct sequence *queue_next(const struct queue *queue, const struct sequence *sequence);

enum status queue_check(const struct queue *queue, struct error *err);

#endif
