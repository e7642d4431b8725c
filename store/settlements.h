/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Charges, settlements and reports of leases (store/limits.h) on their way to Redis, kept until it has taken them.
 *
 *     any thread ──> gathered by organisation ──(its next admission, 64 of them, or 5 ms)──> sent in one call ──ok──> forgotten
 *                                                        │ UNAVAILABLE, DEADLINE_EXCEEDED: it may or may not have run
 *                                                        └──> waiting ──> sent again, oldest first, when Redis is back
 *
 * Nobody waits for them, and who comes alone (5 ms after the last) goes at once. An admission of this process (settlements_admit) takes along what was gathered before it, in the same call, and finds the room that
 * this makes. Admissions of other processes may find it a few milliseconds late; whoever's room others may be waiting for goes at once (settlements_settle_now), with what was gathered before it.
 *
 * Sending again is safe because each of these calls changes nothing when it is repeated: a charge says how much it was so far, a lease settles once. While
 * Redis is away calls only wait, and of a lease there waits no more than its newest charge, its settlement and its reports. At most SETTLEMENTS_MAX
 * wait; what comes on top is lost and counted (the lease then runs out, and is settled by what was charged last).
 */
#ifndef STORE_SETTLEMENTS_H
#define STORE_SETTLEMENTS_H

#include "store/limits.h"

enum {
    SETTLEMENTS_MAX = 65536,
    SETTLEMENTS_CHARGES_MAX = SETTLEMENTS_MAX / 4 * 3, /* above it charges are lost, so that settlements have room */
};

struct settlements;

/** Starts a thread. The client must outlive it. */
enum status settlements_create(struct redis_client *client, struct settlements **out, struct error *err);
/** Send what was gathered, wait until everything was taken, at most `timeout_ns` (and as long as one command may take, for those under way); gives how many were not. */
int64_t settlements_destroy(struct settlements *settlements, int64_t timeout_ns);

/** Arguments as in store/limits.h; copied. Never block, call nothing back. Any thread. */
void settlements_charge(struct settlements *settlements, const char *organization, const char *lease,
                        const struct limits_usage *usage);
void settlements_settle(struct settlements *settlements, const char *organization, const char *lease,
                        const struct limits_usage *usage);
/** Not gathered: it is in Redis' socket when this returns, unless Redis is away or takes nothing more for now. What is said to Redis behind it, by anybody
 *  who has heard of its end, finds its room. */
void settlements_settle_now(struct settlements *settlements, const char *organization, const char *lease,
                            const struct limits_usage *usage);
void settlements_report(struct settlements *settlements, const char *organization, const char *lease, int answer,
                        const struct limits_usage *usage);

/** limits_admit, which takes along what was gathered of its organisation, but for an estimate that somebody waits for. The admission's words are none: this fills them in. Denied by a limit to which
 *  settlements give something back, it asks once more, so that nobody is denied for whom room was made before. */
void settlements_admit(struct settlements *settlements, const struct limits_admission *admission, limits_fn *fn,
                       void *context);

/** Send what was gathered of an organisation, if it has waited for a while: at a moment when nobody waits for Redis, and without waking the thread. */
void settlements_pass_on(struct settlements *settlements, const char *organization);

/** What has passed while Redis was away (limits_admission.late), and its settlement. Without memory it is lost, and counted. */
void settlements_record(struct settlements *settlements, const struct limits_admission *admission,
                        const struct limits_usage *usage);

struct settlements_counts {
    int64_t waiting;  /* not taken yet, those under way included */
    int64_t repeated; /* sent again, since the start */
    int64_t dropped;  /* lost for lack of room or of memory, since the start */
    int64_t refused;  /* lost because Redis or its library refused them: a mistake of ours, since the start */
};
struct settlements_counts settlements_count(struct settlements *settlements);

#endif
