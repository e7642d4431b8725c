/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Who serves what now: a table of live workers, read again and again from Redis (store/registry.h), with a link to each.
 * Who is no longer announced leaves the table: at once when its connection is broken too, else within seconds.
 * A worker is referenced while a request uses it, so it may leave the table at any time.
 */
#ifndef SERVICES_GATEWAY_WORKERS_H
#define SERVICES_GATEWAY_WORKERS_H

#include "base/arena.h"
#include "base/status.h"
#include "bora/internal/v1/worker.pb-c.h"

#include <stdatomic.h>
#include <stdbool.h>

struct gateway;
struct worker_link;

/** What its latest announcement said of it; each number by itself. */
struct worker_load {
    _Atomic int64_t running, waiting, kv_tokens_used, prompt_tokens, completion_tokens;
};

struct worker {
    atomic_int references;
    atomic_int running;   /* requests that this gateway has on it */
    atomic_bool suspect;  /* its connection broke: not chosen until it announces itself anew */
    atomic_bool draining; /* by its latest announcement */
    struct worker_load load;
    struct arena arena;
    const Bora__Internal__V1__WorkerAnnouncement
        *announcement; /* the first one, constant: what moves is above. It lives as long as the worker is referenced */
    struct worker_link *link;
    _Atomic int64_t missing_since_ns; /* not announced since then, but connected; 0 while it is announced */
};
void worker_ref(struct worker *worker);
void worker_unref(struct worker *worker);

struct workers;
enum status workers_create(struct gateway *gateway, struct workers **out, struct error *err);
void workers_destroy(struct workers *workers);

enum workers_choice { WORKERS_CHOSEN, WORKERS_UNKNOWN_MODEL, WORKERS_NONE_LIVE, WORKERS_INCAPABLE };
/** The least busy worker for a model's name, an alias or a tier's name, but not `except` (may be NULL) if there is another. The caller unrefs it.
 *  `capability`: what its model must be able to do ("completion_chat"); NULL: anything. INCAPABLE: nobody who serves the name can.
 *  NONE_LIVE: the name was served within the last hour, but nobody serves it now. */
enum workers_choice workers_choose(struct workers *workers, const char *name, const char *capability,
                                   const struct worker *except, struct worker **out);

/** References to one worker of each model, ordered by model name; at most `max`. The caller unrefs each. */
size_t workers_list_models(struct workers *workers, struct worker **out, size_t max);
/** References to all workers, ordered by model name and then by id; at most `max`. The caller unrefs each. */
size_t workers_list(struct workers *workers, struct worker **out, size_t max);
int workers_count(struct workers *workers);
/** The list was read within the last seconds. */
bool workers_are_fresh(struct workers *workers);

#endif
