/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * From the outbox, where gateways' settlements arrive (redis-limits), into the ledger and its sums (redis): each entry exactly once.
 *
 *     redis-limits: ledger_fetch.lua                                   redis: ledger_bring.lua
 *     what is in the ledger is removed, the next entries are read ──>  if the ledger stands where the batch begins: entries, sums, new position
 *                ^                                                                          │
 *                └──────────────────── position: (epoch, id of the last one) ───────────────┘
 *
 * Whoever dies between two steps leaves either the old position or the new one, never half a batch; of two keys services that bring the same batch one
 * finds the position moved, and goes on from there. Nothing is removed from the outbox before Redis has answered that it is in the ledger.
 *
 * Epoch: the outbox' ids are times, and the position is one of them. An outbox that lost everything begins anew, perhaps with lower ids when the clock was
 * set back; it has no epoch any more, gets a new random one, and with it a position of its own. One that lost only its end (a machine without power) keeps
 * its epoch; ledger_move then lifts its last id to the position, so that what comes next is newer. What would be lost: entries that were
 * written between such a restart and the first look, if the clock had been set back besides, by more than what was lost.
 *
 * A sum counts an entry at the entry's own time ("t"), to the token and the nano; months are sums of days.
 */
#ifndef SERVICES_KEYS_LEDGER_H
#define SERVICES_KEYS_LEDGER_H

#include "base/arena.h"
#include "store/redis.h"

enum {
    LEDGER_BATCH = 500, /* entries that are moved at once */
    LEDGER_EPOCH_DIGITS = 16,
    LEDGER_ID_BYTES = 41, /* "<u64>-<u64>" */
    LEDGER_NAME_BYTES = 96,
    LEDGER_HOURS_DAYS = 100, /* how long sums of hours are kept, */
    LEDGER_DAYS_DAYS = 5 * 366,
};

/** What one entry adds, and what a group of them adds up to. `cost` is in nanos. Corrections may be negative. */
struct ledger_amounts {
    int64_t requests, input, cached, output, cost;
};
/** False when a sum does not fit; then `to` is as before. */
bool ledger_amounts_add(struct ledger_amounts *to, const struct ledger_amounts *amounts);
/** "requests input cached output cost", as the sums are kept. */
bool ledger_amounts_read(const char *text, struct ledger_amounts *out);

/** How far an organisation's outbox is in the ledger. {0}: not known yet. */
struct ledger_position {
    char epoch[LEDGER_EPOCH_DIGITS + 1];
    char id[LEDGER_ID_BYTES + 1];
};
struct ledger_stores {
    struct redis_client *redis, *limits; /* may be the same */
};
/** What a move did. */
struct ledger_moved {
    int64_t entries, unreadable;
    int64_t oldest_ms; /* of the entries; 0 when there are none */
    bool again;        /* there may be more */
    bool end_lost;     /* the outbox had lost its end (see above) */
};

/**
 * Move at most LEDGER_BATCH entries of one organisation. Blocks; not on the clients' threads. Each call may be cut off anywhere, and be made by several
 * at once.
 *
 * position   from the call before, or {0}: then the store is asked
 * arena      reset by the call; some MiB
 * Fails:     as the stores do; then nothing, or the whole batch, was moved, and `position` is as before.
 */
enum status ledger_move(const struct ledger_stores *stores, const char *organization, struct ledger_position *position,
                        struct arena *arena, struct ledger_moved *out, struct error *err);

/** Remove entries that are older than `before_ms` from the ledger, some ten thousand at most; `*out_removed` > 0: there may be more. Sums stay. */
enum status ledger_trim(struct redis_client *redis, const char *organization, int64_t before_ms, int64_t *out_removed,
                        struct error *err);

/** Names of data in Redis. */
void ledger_name(const char *organization, char out[LEDGER_NAME_BYTES]);
/** "h" and "d": the sums of the hour or day that `time_ms` is in. */
void ledger_sums_name(const char *organization, char kind, int64_t time_ms, char out[LEDGER_NAME_BYTES]);

#endif
