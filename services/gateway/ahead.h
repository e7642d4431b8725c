/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Admission ahead: of a key that asks often, and has plenty of room in all of its limits, the next requests are admitted before they come, so that none of
 * them waits for Redis. What is made so is a lease like any other (limits_admission.ahead), by upper bounds of tokens (chat_estimate.c): it is there for
 * LIMITS_AHEAD_MS, for one request of that key and model that is no larger; if none comes it is given back, and was none.
 *
 *     ahead_note  a request has begun ──> as many as may come while Redis answers are asked for
 *     ahead_take  the next one: is there a lease for it?
 *     ahead_drop  a key has changed: all of its go back;  ahead_yield  somebody is denied: all that are held in that place do
 *
 * Any thread; nothing blocks.
 */
#ifndef SERVICES_GATEWAY_AHEAD_H
#define SERVICES_GATEWAY_AHEAD_H

#include "base/loop.h"
#include "base/metrics.h"
#include "services/gateway/key_info.h"
#include "store/settlements.h"

struct ahead;
struct ahead_options {
    bool enabled; /* false: nothing is ever there */
    struct loop *loop;
    struct redis_client *limits;     /* while it is not connected nothing is there */
    struct settlements *settlements; /* used until ahead_stop returns */
    struct metrics *metrics;         /* bora_gateway_admissions_ahead_total{outcome} */
};

/** A lease that was made; the numbers are its own, no less than what was asked for. */
struct ahead_lease {
    char lease[LIMITS_LEASE_ID_BYTES + 1];
    char request_id[LIMITS_LEASE_ID_BYTES + 1]; /* its request's from now on, as the ledger has it */
    int64_t input, output;                      /* tokens */
    struct limits_room requests, tokens;        /* a minute's, when it was made */
    bool plenty;                                /* there is room for a hundred more like it in all limits */
};

enum status ahead_create(const struct ahead_options *options, struct ahead **out, struct error *err);
/** Nothing is made any more, and all goes back; waits for what Redis has been asked. Idempotent; NULL is nothing. */
void ahead_stop(struct ahead *ahead);
/** After ahead_stop, and before the loop is gone. NULL is nothing. */
void ahead_destroy(struct ahead *ahead);

/** For a request of at most so many tokens, which then begins with it, or gives it back. False: there is none. */
bool ahead_take(struct ahead *ahead, const struct key_info *key, const char *model, int64_t input, int64_t output,
                struct ahead_lease *out);
/** It begins. */
void ahead_use(struct ahead *ahead);
/** It does not, and no worker has heard of the lease. */
void ahead_return(struct ahead *ahead, const struct key_info *key, const struct ahead_lease *lease);
/** A request like that has come, and its worker has it. `key` is referenced for as long as it asks often; one that is not remembered has nothing ahead. */
void ahead_note(struct ahead *ahead, struct key_info *key, const model_description *model, int64_t input,
                int64_t output);
/** Give back those of the keys that a change is about; those that Redis has been asked for follow when they come. */
void ahead_drop(struct ahead *ahead, enum key_change change, const char *id);
/** The same for somebody who was denied in their place; and nothing is made there for a while. How many went back; `*out_asked`: how many follow. */
int ahead_yield(struct ahead *ahead, enum key_change change, const char *id, int *out_asked);

#endif
