/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/ledger_keeper.h"

#include "base/clock.h"
#include "base/log.h"
#include "services/keys/batch.h"
#include "services/keys/ledger_organizations.h"
#include "services/keys/out_of_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum {
    MS_PER_S = 1000,
    PAUSE_MS_MIN = 250,
    PAUSE_MS_MAX = 1000,
    BATCHES_PER_TURN = 20,  /* of one organisation, before others have theirs */
    BATCH_BYTES = 16 << 20, /* some hundred KiB are used; see ledger_batch.h */
};
#define TRIM_PAUSE_NS (3600 * NS_PER_S)
#define SWEEP_PAUSE_NS (60 * NS_PER_S)

struct ledger_keeper {
    struct ledger_stores stores;
    int64_t retention_ns;
    struct metric *entries, *unreadable, *expired, *leases_unreadable, *lag, *failing;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping; /* under the mutex */

    /* the thread's */
    struct arena arena;
    struct ledger_organizations organizations;
    int64_t sweep_due_ns;
    bool failed; /* the last round; it has been logged */
};

static bool is_stopping(struct ledger_keeper *keeper) {
    pthread_mutex_lock(&keeper->mutex);
    bool stopping = keeper->stopping;
    pthread_mutex_unlock(&keeper->mutex);
    return stopping;
}

/** Until then, or the end. */
static void pause_for(struct ledger_keeper *keeper, int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000 * NS_PER_MS);
    until.tv_sec += ms / 1000 + until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    pthread_mutex_lock(&keeper->mutex);
    while (!keeper->stopping && pthread_cond_timedwait(&keeper->changed, &keeper->mutex, &until) == 0) {
    }
    pthread_mutex_unlock(&keeper->mutex);
}

/* --- one organisation's turn ------------------------------------------------------------------------------------- */

struct reaped {
    int64_t count, unreadable;
};

static enum status read_reaped(void *context, const struct redis_reply *reply, struct error *err) {
    struct reaped *reaped = context;
    if (limits_read_reaped(reply, &reaped->count, &reaped->unreadable)) return STATUS_OK;
    return error_set(err, STATUS_INTERNAL, "the limits function gave a strange answer");
}

static enum status reap(struct ledger_keeper *keeper, struct ledger_organization *organization, struct error *err) {
    struct batch batch;
    struct reaped reaped = {.unreadable = organization->leases_unreadable};
    batch_init(&batch);
    limits_reap(keeper->stores.limits, organization->id, batch_answer, batch_expect(&batch, read_reaped, &reaped));
    enum status status = batch_wait(&batch, NULL, err);
    batch_deinit(&batch);
    metric_add(keeper->expired, (double)reaped.count);
    int64_t more = reaped.unreadable - organization->leases_unreadable;
    if (more > 0) {
        metric_add(keeper->leases_unreadable, (double)more);
        log_error("leases cannot be read; they are kept in bora:leases-unreadable",
                  LOG_S("organization", organization->id), LOG_I("leases", more));
    }
    organization->leases_unreadable = reaped.unreadable;
    return status;
}

static void note_moved(struct ledger_keeper *keeper, const char *organization, const struct ledger_moved *moved,
                       int64_t *oldest_ms) {
    metric_add(keeper->entries, (double)moved->entries);
    metric_add(keeper->unreadable, (double)moved->unreadable);
    if (moved->unreadable > 0)
        log_error("entries of the outbox cannot be read; they are kept in bora:ledger-unreadable",
                  LOG_S("organization", organization), LOG_I("entries", moved->unreadable));
    if (moved->end_lost)
        log_warn("the outbox has lost its end: Redis came back with older data", LOG_S("organization", organization));
    if (moved->oldest_ms != 0 && (*oldest_ms == 0 || moved->oldest_ms < *oldest_ms)) *oldest_ms = moved->oldest_ms;
}

/** What a round found to do. */
struct round {
    bool moved, more; /* something; and there is more */
    int64_t oldest_ms;
};

static enum status move(struct ledger_keeper *keeper, struct ledger_organization *organization, struct round *round,
                        struct error *err) {
    struct ledger_moved moved = {.again = true};
    for (int i = 0; i < BATCHES_PER_TURN && moved.again && !is_stopping(keeper); i++) {
        TRY(ledger_move(&keeper->stores, organization->id, &organization->position, &keeper->arena, &moved, err));
        note_moved(keeper, organization->id, &moved, &round->oldest_ms);
        round->moved = round->moved || moved.again;
    }
    round->more = round->more || moved.again;
    return STATUS_OK;
}

static enum status trim(struct ledger_keeper *keeper, struct ledger_organization *organization, struct error *err) {
    int64_t now_ns = clock_monotonic_ns(clock_system()), removed = 0;
    if (keeper->retention_ns == 0 || now_ns < organization->trim_due_ns) return STATUS_OK;
    int64_t before_ms = (clock_unix_ns(clock_system()) - keeper->retention_ns) / NS_PER_MS;
    if (before_ms <= 0) return STATUS_OK;
    TRY(ledger_trim(keeper->stores.redis, organization->id, before_ms, &removed, err));
    if (removed == 0) organization->trim_due_ns = now_ns + TRIM_PAUSE_NS;
    return STATUS_OK;
}

/* --- the thread -------------------------------------------------------------------------------------------------- */

static bool is_away(enum status status) {
    return status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_CANCELLED;
}

static enum status take_turn(struct ledger_keeper *keeper, struct ledger_organization *organization,
                             struct round *round, struct error *err) {
    if (organization->busy) {
        TRY(reap(keeper, organization, err));
        TRY(move(keeper, organization, round, err));
    }
    return trim(keeper, organization, err);
}

/** One turn for each organisation. What fails for one of them does not keep the others waiting; `err` is the first one's. */
static enum status run_round(struct ledger_keeper *keeper, struct round *round, struct error *err) {
    /* Now and then all there are, for an organisation whose note that it is active was lost. */
    int64_t now_ns = clock_monotonic_ns(clock_system());
    bool all = now_ns >= keeper->sweep_due_ns;
    enum status status = ledger_organizations_scan(&keeper->organizations, &keeper->stores, all, err);
    if (is_away(status)) return status;
    TRY(ledger_organizations_probe(&keeper->organizations, &keeper->stores, all, err));
    if (all) keeper->sweep_due_ns = now_ns + SWEEP_PAUSE_NS;
    for (size_t i = 0; i < keeper->organizations.count && !is_stopping(keeper); i++) {
        enum status turn = take_turn(keeper, &keeper->organizations.items[i], round, err);
        if (turn == STATUS_OK) continue;
        if (status == STATUS_OK) status = turn;
        if (is_away(turn)) break; /* for all of them */
    }
    double lag =
        round->oldest_ms == 0 ? 0 : (double)(clock_unix_ns(clock_system()) / NS_PER_MS - round->oldest_ms) / MS_PER_S;
    metric_set(keeper->lag, lag > 0 ? lag : 0);
    return status;
}

static void *run_keeper(void *context) {
    struct ledger_keeper *keeper = context;
    prctl(PR_SET_NAME, "ledger");
    int64_t pause_ms = PAUSE_MS_MIN;
    /* At a start the clients are still connecting, which is nothing to complain about. */
    (void)!redis_client_wait(keeper->stores.limits, NS_PER_S, NULL);
    (void)!redis_client_wait(keeper->stores.redis, NS_PER_S, NULL);
    while (!is_stopping(keeper)) {
        struct error err = {0};
        struct round round = {0};
        enum status status = run_round(keeper, &round, &err);
        if (status != STATUS_OK) {
            keeper->organizations.run_id[0] = 0; /* who had no turn has one in the next round */
            if (!keeper->failed)
                log_warn("the ledger cannot go on", LOG_S("status", status_name(status)), LOG_S("error", err.message));
        } else if (keeper->failed) {
            log_info("the ledger goes on");
        }
        keeper->failed = status != STATUS_OK;
        metric_set(keeper->failing, keeper->failed ? 1 : 0);
        if (round.moved)
            pause_ms = PAUSE_MS_MIN;
        else if (pause_ms < PAUSE_MS_MAX)
            pause_ms *= 2;
        if (!round.more || status != STATUS_OK) pause_for(keeper, pause_ms);
    }
    return NULL;
}

static void declare_metrics(struct ledger_keeper *keeper, struct metrics *metrics) {
    keeper->entries =
        metrics_counter(metrics, "bora_keys_ledger_entries_total", "Entries that were moved into the ledger.");
    keeper->unreadable = metrics_counter(metrics, "bora_keys_ledger_unreadable_total",
                                         "Entries of the outbox that could not be read and were set aside.");
    keeper->expired = metrics_counter(metrics, "bora_keys_ledger_expired_leases_total",
                                      "Leases that ran out and were settled by this service.");
    keeper->leases_unreadable =
        metrics_counter(metrics, "bora_keys_ledger_unreadable_leases_total",
                        "Leases that ran out, could not be read and were set aside, also before this service started.");
    keeper->lag = metrics_gauge(metrics, "bora_keys_ledger_lag_seconds",
                                "Age of the oldest entry that the last round moved; 0 when there was none.");
    keeper->failing = metrics_gauge(metrics, "bora_keys_ledger_failing", "1 while the ledger waits for Redis.");
}

enum status ledger_keeper_create(const struct ledger_keeper_options *options, struct ledger_keeper **out,
                                 struct error *err) {
    struct ledger_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) return out_of_memory(err);
    keeper->stores = options->stores;
    keeper->retention_ns = options->retention_ns;
    declare_metrics(keeper, options->metrics);
    arena_init(&keeper->arena, BATCH_BYTES);
    ledger_organizations_init(&keeper->organizations);
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int number = pthread_create(&keeper->thread, NULL, run_keeper, keeper);
    if (number != 0) {
        free(keeper);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, number, "no thread for the ledger");
    }
    *out = keeper;
    return STATUS_OK;
}

void ledger_keeper_destroy(struct ledger_keeper *keeper) {
    if (keeper == NULL) return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->stopping = true;
    pthread_cond_signal(&keeper->changed);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);
    pthread_mutex_destroy(&keeper->mutex);
    pthread_cond_destroy(&keeper->changed);
    arena_deinit(&keeper->arena);
    ledger_organizations_deinit(&keeper->organizations);
    free(keeper);
}
