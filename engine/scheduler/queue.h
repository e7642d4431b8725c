/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The waiting sequences: one queue per tenant, in the order of sequence_due inside it.
 *
 *     tenant a -> [s1] <-> [s4]        served: virtual tokens that it was given
 *     tenant b -> [s2]
 *
 * FAIRNESS is by virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): every computed
 * prompt token and every generated token is charged to its tenant, and the tenant that was charged least comes next, for
 * admission and for prompt rows. The counter at which the least served of those who want a turn stands is the virtual time. Nobody is
 * behind that time, by a pause or by a stream that is kept alive - but for a head start of the length of its prompt, if that is at
 * most QUEUE_HEAD_START_MAX, for who asks while nothing else of its own waits: those who ask for little are answered at once, a
 * flood is not. Who was away is not ahead of the time either: what it used while others did not ask is not held against it.
 *
 * ROOM. A full house ends the last that waits of the tenant with the most alive, for a newcomer whose tenant has at least two less - so that
 * afterwards it has no more than the other. So shares of a full house become equal whoever filled it first, and a tenant that asks for
 * less than an equal share is never refused, as long as somebody who has more waits and has not begun. (The longest queue drops:
 * Suter et al., "Design Considerations for Supporting TCP with Per-flow Queueing", INFOCOM 1998.)
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
    int alive, running;            /* its sequences; a search is one */
    int64_t blocks;                /* KV blocks in the tables of those that run */
    struct sequence *first, *last; /* waiting */
    uint64_t search_turn;          /* the last step in which one of its searches had its turn */
    struct sequence *blocked; /* the one of these that cannot have its place now: nobody of the tenant is asked about */
    struct tenant *previous, *next;
};

struct tenant_list {
    struct tenant *first, *last;
};

struct queue {
    struct tenant *pool;
    size_t records;            /* in the pool: more than sequences that may be alive */
    struct tenant_list active; /* with sequences alive, the newest first */
    struct tenant_list idle;   /* without, the last that had some first; fresh records last */
    int tenants, waiting;      /* active; sequences that wait */
    double time;               /* virtual time: never falls */
};

#define QUEUE_HEAD_START_MAX 1024 /* virtual tokens: about a second of a small model on two cores */
#define QUEUE_AGEING_NS (10 * NS_PER_S)
enum { QUEUE_TENANTS_KEPT = 256, QUEUE_PRIORITY_MAX = 1000000 /* more counts as that */ };

/** Room for `alive_max` sequences, each of a tenant of its own. */
enum status queue_init(struct queue *queue, size_t alive_max, struct error *err);
void queue_deinit(struct queue *queue);

/** Inside a tenant who is due first comes first, everywhere: in the queue, for prompt rows, and last when somebody must give up its place.
 *  A priority is worth QUEUE_AGEING_NS of waiting, so nobody waits for ever below others; and as all age alike, the order of two never changes. Who computes a beginning that others wait for is due when the first of them is. */
static inline int64_t sequence_due(const struct sequence *sequence) {
    int64_t priority = sequence->priority < -QUEUE_PRIORITY_MAX  ? -QUEUE_PRIORITY_MAX
                       : sequence->priority > QUEUE_PRIORITY_MAX ? QUEUE_PRIORITY_MAX
                                                                 : sequence->priority;
    int64_t own = sequence->arrived_ns - priority * QUEUE_AGEING_NS;
    return own < sequence->lent_due ? own : sequence->lent_due;
}

/** Queue a sequence that has just arrived and set its tenant. */
void queue_add(struct queue *queue, struct sequence *sequence);
/** `tenant` gets a turn: the virtual time is what it, or one that waits, was charged. */
void queue_serve(struct queue *queue, const struct tenant *tenant);
/** Queue a sequence again that has lost its place: before its equals. */
void queue_return(struct queue *queue, struct sequence *sequence);
/** Who is next: of the least served tenant, who is due first; without those that are paused or that `held` says must wait, and tenants that are blocked. NULL when
 *  nobody is left. */
enum { QUEUE_LOOKS = 64 /* that are asked about of one tenant */ };
typedef bool queue_held_fn(void *context, struct sequence *sequence);
struct sequence *queue_head(const struct queue *queue, queue_held_fn *held, void *context);
/** Who must go from a full house for a newcomer of the tenant `key`: of the tenant with most alive that has one which waits and never had a slot,
 *  the last such. NULL when the newcomer's has no less. */
struct sequence *queue_yielding(const struct queue *queue, uint64_t key);
/** Take a waiting sequence out of its queue; it keeps its tenant. */
void queue_remove(struct queue *queue, struct sequence *sequence);
/** The sequence, already out of its queue, has ended: its tenant may go. */
void queue_forget(struct queue *queue, struct sequence *sequence);
/** All that wait, tenant by tenant. */
struct sequence *queue_first(const struct queue *queue);
struct sequence *queue_next(const struct queue *queue, const struct sequence *sequence);

enum status queue_check(const struct queue *queue, struct error *err);
/** Make links, order and counts agree with who follows whom. A tenant's `alive` and what runs are the scheduler's to count. */
void queue_repair(struct queue *queue);

#endif
