/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Exact limits and the settlement of usage, in Redis. docs/design/tenants.md has the whole picture and the names of the data.
 *
 * A lease is what one request holds while its answer is generated. Three functions of Redis, each atomic and one round trip:
 *
 *     limits_admit     all or nothing: counts the request, charges its input tokens, holds the worst case of its output ──> a lease
 *     limits_charge    now and then: tokens generated so far are charged to the window of now, and no longer held; the lease lives on
 *     limits_settle    the end: the rest is charged, what is held goes back, one entry goes to the outbox of the ledger
 *
 * What is said of leases (charge, settle, report) can be said of many in one call: limits_tell, or on the way of an admission (its `words`).
 *
 * The promise, in every scope, at any concurrency, from any number of gateways, whoever dies when:
 *
 *     charged inside the window + held by leases <= limit
 *
 * Windows: a second (to the microsecond: the times of the last N requests are kept), a minute (240 slices of 250 ms; the slice in which the window begins
 * counts whole, so a window is up to 60.25 s, never too short), the calendar's day and month (UTC). Times are Redis' own.
 *
 * A scope is one counter: of the organisation, a workspace or a key, over all models or for one. A request names those that it has limits in, at most
 * LIMITS_SCOPES_MAX. All data of a call are under the organisation's hash tag.
 *
 * A lease that is neither charged nor settled for LIMITS_LEASE_MS has run out: the next call of the organisation (any of these, or limits_reap) settles it, by
 * what workers have reported of it (limits_report) or else by what was charged last. A later limits_settle of that lease adds the difference, once.
 */
#ifndef STORE_LIMITS_H
#define STORE_LIMITS_H

#include "base/limits.h"
#include "store/redis.h"

enum {
    LIMITS_ABSENT = -1,
    LIMITS_SCOPES_MAX = 6, /* organisation, workspace, key; over all models and for one */
    LIMITS_ID_BYTES = 36,  /* an organisation's or workspace's id */
    LIMITS_KEY_ID_BYTES = 12,
    LIMITS_GATE_BYTES = LIMITS_KEY_ID_BYTES + 1 + 20,
    LIMITS_SCOPE_BYTES = 2 + LIMITS_ID_BYTES, /* "o", "w:<workspace>", "k:<key prefix>" */
    LIMITS_LEASE_ID_BYTES = 32,
    LIMITS_LEASE_MS = 20000,
    LIMITS_AHEAD_MS = 100,
    LIMITS_ANSWERS_MAX = LIMIT_CHOICES,
    LIMITS_WORDS_MAX = 64,
};
/** The largest limit and the largest number of tokens of one request: sums stay exact in Lua's doubles. */
#define LIMITS_MAX INT64_C(1000000000000)
/** Of money, in nanos; also the most that the input, and the output, of one request costs. */
#define LIMITS_SPEND_MAX INT64_C(1000000000000000)
/** Nanos for a million tokens. */
#define LIMITS_PRICE_MAX INT64_C(1000000000000)

/** LIMITS_ABSENT: unlimited. 0: nothing passes. */
enum limits_kind {
    LIMITS_REQUESTS_PER_SECOND,
    LIMITS_REQUESTS_PER_MINUTE,
    LIMITS_INPUT_PER_MINUTE,
    LIMITS_OUTPUT_PER_MINUTE,
    LIMITS_TOKENS_PER_MINUTE,
    LIMITS_TOKENS_PER_DAY,
    LIMITS_TOKENS_PER_MONTH,
    LIMITS_STREAMS,
    LIMITS_SPEND_PER_MONTH, /* nanos */
    LIMITS_KINDS,
};
struct limits_bounds {
    int64_t of[LIMITS_KINDS];
};
#define LIMITS_UNLIMITED ((struct limits_bounds){{-1, -1, -1, -1, -1, -1, -1, -1, -1}})

struct limits_scope {
    char name[LIMITS_SCOPE_BYTES + 1];
    bool of_model; /* counts only this request's model */
    struct limits_bounds bounds;
};

/** Nanos for a million tokens, 0..LIMITS_PRICE_MAX. */
struct limits_price {
    int64_t input, cached_input, output;
};

/** What the ledger says of a request, besides numbers. */
struct limits_subject {
    const char *organization; /* id */
    const char *workspace;    /* id */
    const char *key;          /* prefix */
    const char *model;        /* own name */
    const char *request_id;
    const char *endpoint; /* "chat" */
};

/** Tokens of a request so far, or at its end. */
struct limits_usage {
    int64_t
        input; /* 0 when the worker refused it before it computed anything; else what was admitted, or what an estimate came to */
    int64_t cached_input; /* of the input, known at the end */
    int64_t output;       /* all answers together; what is less than an earlier call said counts as that */
    bool
        unused; /* settle: nothing was made of it, which is not counted as a request either and has no entry; provisional, too */
    bool
        returned; /* with `unused`, of a lease made ahead: no worker has heard of it, so no better word can come, and nothing is kept of it */
    bool
        provisional; /* settle: the worker's last word is missing (its link broke). Its reports, or a later settle, may still add a difference */
};

enum limits_said { LIMITS_CHARGE, LIMITS_SETTLE, LIMITS_REPORT };
/** What is said of one lease: limits_charge, limits_settle, limits_report. */
struct limits_word {
    enum limits_said said;
    const char *lease;
    int answer; /* REPORT */
    struct limits_usage usage;
};

struct limits_admission {
    struct limits_subject subject;
    const char *
        lease; /* LIMITS_LEASE_ID_BYTES hex digits, random; made by the caller so that a lost answer can be settled all the same. NULL: peek */
    struct limits_price price;
    const char *gate; /* that is looked at; NULL: named like the key */
    int scope_count;  /* 0: only the key's gate is looked at, and the lease is made for the ledger's sake */
    const struct limits_scope *scopes;
    int64_t input;           /* prompt tokens, 0..LIMITS_MAX */
    int64_t output;          /* the most that may be generated, all answers together */
    int64_t output_optional; /* of which so many are held only as far as there is room, 0..output */
    int answers; /* generations that will report for themselves when the gateway dies, 1..LIMITS_ANSWERS_MAX */
    bool peek;   /* only whether it would pass; takes nothing, makes no lease */
    bool
        estimate; /* `input` and `output` are upper bounds: it passes only where at least three quarters of every limit of tokens and of spend is left behind it, so
                   * that what is held too much is nobody's need, else SCARCE. The first charge or settlement says the input. output_optional is 0 */
    bool
        ahead; /* with `estimate`: of a request that begins within LIMITS_AHEAD_MS of this call, or never (then it is settled as unused). It counts as begun at
                * the end of that time, and passes only where three quarters of all limits are left behind it, and no day ends meanwhile; else SCARCE. A
                * lease of which nobody has said anything when it runs out was never used */
    bool
        late; /* it has passed already, without Redis: taken whatever the limits say, and once; then it is settled like any other */
    /* Of other leases of the organisation, said before this request is looked at, whatever becomes of it. */
    int word_count; /* 0..LIMITS_WORDS_MAX */
    const struct limits_word *words;
    redis_fn *told; /* may be NULL; before the limits_fn: OK when they count, else as of limits_tell. No reply */
    void *told_context;
    int64_t test_time_us; /* 0: Redis' clock, or what limits_set_test_time says. Tests bring their own time */
};

enum limits_outcome {
    LIMITS_ADMITTED,
    LIMITS_DENIED, /* passes again after retry_after_ms, if nobody else comes first and nothing is given back before */
    LIMITS_NEVER_FITS, /* larger than the limit itself */
    LIMITS_KEY_CLOSED, /* revoked, disabled, ...: the gate is shut */
    LIMITS_SCARCE, /* an estimate that passes or not, nobody can say: nothing was taken, to be asked again with exact numbers */
};

/** Room in the tightest scope of a kind; both LIMITS_ABSENT when no scope limits it. Of requests per second at least so much, where that is more than half. */
struct limits_room {
    int64_t limit, remaining;
};
struct limits_result {
    enum limits_outcome outcome;
    enum limits_kind denied_by;            /* DENIED, NEVER_FITS: the limit that keeps it out longest */
    int denied_scope;                      /* index into the admission's scopes */
    int64_t denied_limit;                  /* that limit */
    int64_t retry_after_ms;                /* DENIED: > 0 */
    int64_t output_held;                   /* ADMITTED: output less the optional tokens for which there was no room */
    struct limits_room room[LIMITS_KINDS]; /* after this request, if admitted */
    int64_t expires_at; /* limits_check_gate: what limits_set_expiry has said within an hour; LIMITS_ABSENT: nothing */
};

/** `result` is lent, and NULL unless `status` is OK. FAILED_PRECONDITION: its lease was settled before, nothing was taken. Otherwise nothing is known: the
 *  caller must not let the request pass, and settles the lease with nothing used (it may exist). On the client's thread, or before the call returns. */
typedef void limits_fn(void *context, enum status status, const struct limits_result *result, const char *message);
void limits_admit(struct redis_client *client, const struct limits_admission *admission, limits_fn *fn, void *context);

/** Reply: a byte for each word, of what follows; they count in their order, all of them or, when the call fails, perhaps none. `fn` may be NULL. */
void limits_tell(struct redis_client *client, const char *organization, const struct limits_word *words, int count,
                 redis_fn *fn, void *context);
/** Else whatever it is said in is refused. */
bool limits_word_is_valid(const struct limits_word *word);
/** One word. Reply: 1; 0 when there is no such lease (any more). `fn` may be NULL. */
void limits_charge(struct redis_client *client, const char *organization, const char *lease,
                   const struct limits_usage *usage, redis_fn *fn, void *context);
/** Of several answers, one may have lost its worker: then the gateway settles provisionally and reports the others itself.
 *  Reply: 1 settled now; 2 it had run out and the difference was added; 0 nothing to settle. Whatever is lost on the way may be sent again. */
void limits_settle(struct redis_client *client, const char *organization, const char *lease,
                   const struct limits_usage *usage, redis_fn *fn, void *context);
/** A worker's word for generation `answer` of a lease whose gateway is gone. When all of them are there the lease is settled (or what was
 *  settled provisionally is corrected). Every answer reports the prompt's input, which counts once. Reply: as limits_settle; 0 while some are missing. */
void limits_report(struct redis_client *client, const char *organization, const char *lease, int answer,
                   const struct limits_usage *usage, redis_fn *fn, void *context);
/** Settle what has run out, at most some hundred leases. Reply: through limits_read_reaped. */
void limits_reap(struct redis_client *client, const char *organization, redis_fn *fn, void *context);
/** `*out_unreadable`: leases that made no sense, of which nothing was settled, of this call and of all others before: kept in bora:leases-unreadable. */
bool limits_read_reaped(const struct redis_reply *reply, int64_t *out_count, int64_t *out_unreadable);

/** What counts in a scope now (requests per second only where they are limited). Reply to `fn`: struct limits_bounds of used amounts through limits_read_used. */
void limits_used(struct redis_client *client, const char *organization, const char *scope, const char *model_or_null,
                 redis_fn *fn, void *context);
bool limits_read_used(const struct redis_reply *reply, struct limits_bounds *out);

/**
 * A scope that gets a limit by day, month or spend counts from the day's and the month's beginning, not from its first request: what the ledger has of
 * them, what the outbox has behind the ledger's position and what running leases were charged, all added up, is the least that counts. Nothing
 * happens where the scope has counted more, so it may be done again at any time, and has to be while answers run that began without the limit: they
 * charge the scope nothing.
 */
struct limits_ledger {
    const char *organization;
    const char *epoch, *position; /* of the outbox (services/keys/ledger.h): "" and "0-0" where there are none */
    int64_t day;                  /* since 1970, UTC: that the sums below are of */
};
struct limits_past {
    char scope[LIMITS_SCOPE_BYTES + 1];
    const char *model_or_null;
    int64_t day_tokens, month_tokens, month_spend; /* by the ledger, up to the position and no further */
};
enum { LIMITS_PAST_MAX = 32 };
/** `count` may be 0: then only the reply matters. */
void limits_catch_up(struct redis_client *client, const struct limits_ledger *ledger, const struct limits_past *scopes,
                     int count, redis_fn *fn, void *context);
/** `*out_complete`: the sums are of today, and all of the outbox was looked at (not where thousands of entries wait, or it is another one). `*out_oldest_ms`:
 *  when the first of what is not in the ledger began; 0: there is nothing. Of leases at most some 4,096 are looked at, and added up: limits_oldest_lease
 *  looks at all. */
bool limits_read_caught_up(const struct redis_reply *reply, bool *out_complete, int64_t *out_oldest_ms);

/** When the first of the running answers began, a piece of them at a time: `cursor` is "0", then what the reply before gave, until that is "0". Answers that
 *  run from the first piece to the last are in one of them. */
enum { LIMITS_CURSOR_BYTES = 20 };
void limits_oldest_lease(struct redis_client *client, const char *organization, const char *cursor, redis_fn *fn,
                         void *context);
/** `*out_oldest_ms` 0: there is none in this piece. */
bool limits_read_oldest_lease(const struct redis_reply *reply, char out_cursor[LIMITS_CURSOR_BYTES + 1],
                              int64_t *out_oldest_ms);

/** The gate of a key, or of one of its secrets (`gate` is its name, at most LIMITS_GATE_BYTES): shut, every admission refuses it from then on; for an hour,
 *  by when no gateway remembers it. */
void limits_shut_gate(struct redis_client *client, const char *organization, const char *gate, redis_fn *fn,
                      void *context);
void limits_open_gate(struct redis_client *client, const char *organization, const char *gate, redis_fn *fn,
                      void *context);
/** When the key, or that secret of it, ends, in Unix seconds; 0: never. For an hour, to whoever looks at the gate because the key has changed. */
void limits_set_expiry(struct redis_client *client, const char *organization, const char *gate, int64_t expires_at,
                       redis_fn *fn, void *context);
/** Only whether the gate is open, outcome ADMITTED or KEY_CLOSED, and what was said of the expiry. */
void limits_check_gate(struct redis_client *client, const char *organization, const char *gate, limits_fn *fn,
                       void *context);

/** What all calls take for Redis' clock from now on, in this process; 0: Redis' own. For tests. */
void limits_set_test_time(int64_t us);

/** The cost of tokens, in nanos: each kind rounded up for itself; input and output at most LIMITS_SPEND_MAX each. */
int64_t limits_cost(const struct limits_price *price, const struct limits_usage *usage);

/** Is there room for a hundred more like it, which was admitted, in every limit to which its end gives something back? Then nobody waits for that. */
bool limits_leaves_plenty(const struct limits_admission *admission, const struct limits_result *result);

/** The smaller of two bounds, of which LIMITS_ABSENT is none. */
static inline int64_t limits_tighter(int64_t a, int64_t b) {
    if (a == LIMITS_ABSENT || b == LIMITS_ABSENT) return a == LIMITS_ABSENT ? b : a;
    return a < b ? a : b;
}

/** One entry of the outbox, for services/keys. Texts are lent. */
enum limits_entry_kind { LIMITS_SETTLED, LIMITS_EXPIRED, LIMITS_CORRECTION };
struct limits_entry {
    int64_t time_ms, began_ms;            /* now; of the admission */
    int64_t requests;                     /* 1; 0 for a correction, which has differences that may be negative */
    int64_t input, cached, output, nanos; /* nanos: the cost */
    enum limits_entry_kind kind;
    struct bytes_view lease, key, workspace, model, endpoint, request;
};
/**
 * Entries have one field, "p" (XADD bora:outbox:{<org>} * p <packed>): seven doubles (times, requests, input, cached, output, nanos), a byte for the kind, the
 * lease's id, then key, workspace, model, endpoint and request id, each with a zero behind it. False when it is not of that form.
 * Earlier versions wrote fields, all text: t time in ms, b time of admission in ms, r request id, l lease, k key prefix, w workspace, m model, e endpoint, i input,
 * c cached input, o output, n nanos, s "settled", "expired", "correction", q requests.
 */
bool limits_read_entry(struct bytes_view packed, struct limits_entry *out);

#endif
