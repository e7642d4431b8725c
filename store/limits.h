/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Rate limits of API keys: requests and tokens per minute, per key and per (key, model), taken before work starts.
 *
 * The promise: in no window of 60 s more than the limit is admitted, at any concurrency, from any number of gateways; a denied request takes
 * nothing. (A token bucket or GCRA would let twice the limit pass in some windows.) So each bucket remembers what it admitted in each second:
 *
 *     second   ... 941   942 ...            1001  1002        now = 1002.4
 *                  [3:900][1:200] . . . . . [7:2100][2:610]   requests:tokens; the window is seconds 942..1002
 *
 * The second in which the window begins counts whole, so the window is 60 s and a fraction: never too short. Times are Redis' own. One call is
 * one script, atomic in Redis, and one round trip; the same script checks that the key still stands, so that a revocation holds for the next
 * request on every gateway without a message to any.
 *
 * A request goes through in two steps, so that nothing is done for a key that may do nothing, and that tokens are exact:
 *
 *     reserve 1 request ──> count its tokens ──> reserve the worst case: prompt + max_tokens ──> work ──> settle (what was used):
 *       and look whether      (the worker)         on the same reservation; denied: the            the rest goes back to the
 *       a token is left                            request goes back too                           second it was taken from
 *
 * Whoever does not say how many tokens may be generated gets what remains: such tokens are optional, and the script says how many it took.
 *
 * A reservation that nobody settles (the gateway died, or Redis was away at that moment) leaves the window like everything else, after a minute:
 * meanwhile the key has less room, never more. So settling is not tried again: what a retry could give back leaves by itself at the latest
 * LIMITS_WINDOW_S after it was taken, and a list of things to settle would be state that a gateway does not have otherwise.
 *
 * In Redis, all under one hash tag:
 *     bora:key:{<key id>}                      the key's record (services/keys): only created_at, expires_at, revoked_at are read here
 *     bora:usage:{<key id>}                    hash: requests, tokens (sums), oldest (second), <second> = "requests:tokens"; expires by itself
 *     bora:usage:{<key id>}:<model>            the same for one model
 *     bora:reservation:{<key id>}:<id>         "tokens, seconds (key, model) of the tokens, of the request" until settled; expires by itself
 */
#ifndef STORE_LIMITS_H
#define STORE_LIMITS_H

#include "base/limits.h"
#include "store/redis.h"

#define LIMITS_KEY_RECORD_FORMAT "bora:key:{%s}"

enum { LIMITS_WINDOW_S = 61, LIMITS_ABSENT = -1, LIMITS_KEY_ID_BYTES = 64, LIMITS_RESERVATION_ID_BYTES = 32 };
/** The largest limit and the largest number of tokens of one request: sums stay exact in Lua's doubles. */
#define LIMITS_MAX INT64_C(1000000000000)

/** LIMITS_ABSENT: unlimited. 0: nothing passes. */
struct limits_bounds {
    int64_t requests_per_minute, tokens_per_minute;
};

struct limits_reservation;
struct limits_request {
    const char *key_id;
    const char *model; /* the model's own name */
    struct limits_bounds key, key_and_model;
    const struct limits_reservation
        *taken;     /* the second step: what the first reserved, with the same bounds. NULL: one request is taken */
    int64_t tokens; /* the most this request can use, 0..LIMITS_MAX */
    int64_t tokens_optional; /* of which so many are taken only as far as there is room, 0..tokens */
    int64_t tokens_ahead;    /* for which there must be room besides, but which are not taken yet */
    int64_t test_time_ms;    /* 0: Redis' clock. Tests bring their own time */
};

enum limits_outcome {
    LIMITS_ADMITTED,
    LIMITS_DENIED,      /* passes again after retry_after_ms, if nobody else comes first */
    LIMITS_NEVER_FITS,  /* larger than the limit itself */
    LIMITS_KEY_UNKNOWN, /* no such key (any more) */
    LIMITS_KEY_REVOKED,
    LIMITS_KEY_EXPIRED,
};
enum limits_bucket { LIMITS_KEY_REQUESTS, LIMITS_KEY_TOKENS, LIMITS_MODEL_REQUESTS, LIMITS_MODEL_TOKENS };

/** Room in the tightest bucket of a kind; both LIMITS_ABSENT when there is none. */
struct limits_room {
    int64_t limit, remaining;
};

/** What the second step and limits_settle need. A plain value, may be copied. `id` is empty when there are no limits: settling is then nothing. */
struct limits_reservation {
    char key_id[LIMITS_KEY_ID_BYTES + 1];
    char model[LIMIT_MODEL_NAME_BYTES + 1];
    char id[LIMITS_RESERVATION_ID_BYTES + 1];
};

struct limits_result {
    enum limits_outcome outcome;
    enum limits_bucket denied_by;        /* DENIED, NEVER_FITS: the bucket that keeps it out longest */
    int64_t retry_after_ms;              /* DENIED: > 0 */
    struct limits_room requests, tokens; /* after this request, if admitted */
    int64_t tokens_taken;                /* ADMITTED: tokens less the optional ones for which there was no room */
    struct limits_reservation reservation;
};

/** `result` is lent, and NULL unless `status` is OK. Otherwise nothing is known: the caller must not let the request pass. (When the connection
 *  broke at the wrong moment the reservation may exist; it expires.) On the client's thread, or before the call returns. */
typedef void limits_fn(void *context, enum status status, const struct limits_result *result, const char *message);

void limits_reserve(struct redis_client *client, const struct limits_request *request, limits_fn *fn, void *context);

/** The smaller of two bounds, of which LIMITS_ABSENT is none. */
static inline int64_t limits_tighter(int64_t a, int64_t b) {
    if (a == LIMITS_ABSENT || b == LIMITS_ABSENT) return a == LIMITS_ABSENT ? b : a;
    return a < b ? a : b;
}

/** Only whether the key stands; takes nothing. */
void limits_check_key(struct redis_client *client, const char *key_id, limits_fn *fn, void *context);

/** Give back what was reserved above `actual_tokens`. Once per reservation: repeated calls, and calls after the window has passed, change nothing.
 *  The request itself stays counted. `fn` may be NULL; its reply is 1 when this call settled it, else 0. */
void limits_settle(struct redis_client *client, const struct limits_reservation *reservation, int64_t actual_tokens,
                   redis_fn *fn, void *context);

#endif
