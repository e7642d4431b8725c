/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/ledger_keeper.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "store/limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

enum {
    PAUSE_MS_MIN = 250,
    PAUSE_MS_MAX = 1000,
    BATCHES_PER_TURN = 20,    /* of one organisation, before others have theirs */
    BATCH_BYTES = 16 << 20,   /* some hundred KiB are used; see ledger_batch.h */
    ORGANIZATIONS_FIRST = 64, /* the table's first size */
    SCAN_COUNT = 500,
};
#define TRIM_PAUSE_NS (3600 * NS_PER_S)
#define SWEEP_PAUSE_NS (60 * NS_PER_S)

struct active_organization {
    char id[LIMITS_ID_BYTES + 1];
    bool active; /* in bora:orgs-active */
    struct ledger_position position;
    int64_t trim_due_ns;
};

struct ledger_keeper {
    struct ledger_stores stores;
    int64_t retention_ns;
    struct metric *entries, *unreadable, *expired, *lag, *failing;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping; /* under the mutex */

    /* the thread's */
    struct arena arena;
    struct active_organization *organizations; /* sorted by id */
    size_t count, capacity;
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

/* --- who there is ------------------------------------------------------------------------------------------------ */

static int compare_organizations(const void *a, const void *b) {
    return strcmp(((const struct active_organization *)a)->id, ((const struct active_organization *)b)->id);
}

/** Those behind `known` are new and not in order yet. */
static struct active_organization *find_organization(struct ledger_keeper *keeper, size_t known,
                                                     const struct active_organization *wanted) {
    struct active_organization *found =
        bsearch(wanted, keeper->organizations, known, sizeof *wanted, compare_organizations);
    for (size_t i = known; found == NULL && i < keeper->count; i++) {
        if (strcmp(keeper->organizations[i].id, wanted->id) == 0) found = &keeper->organizations[i];
    }
    return found;
}

static enum status add_organization(struct ledger_keeper *keeper, size_t known, struct bytes_view id, bool active,
                                    struct error *err) {
    struct active_organization wanted = {.active = active};
    if (id.length == 0 || id.length > LIMITS_ID_BYTES) return STATUS_OK; /* nobody's */
    memcpy(wanted.id, id.data, id.length);
    struct active_organization *found = find_organization(keeper, known, &wanted);
    if (found != NULL) {
        found->active = found->active || active;
        return STATUS_OK;
    }
    if (keeper->count == LIMIT_ORGANIZATIONS)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "there are more than %d organisations", LIMIT_ORGANIZATIONS);
    if (keeper->count == keeper->capacity) {
        size_t capacity = 2 * keeper->capacity + ORGANIZATIONS_FIRST;
        struct active_organization *more = realloc(keeper->organizations, capacity * sizeof *more);
        if (more == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        keeper->organizations = more;
        keeper->capacity = capacity;
    }
    keeper->organizations[keeper->count++] = wanted;
    return STATUS_OK;
}

/** Through a set or sorted set, a page at a time: SSCAN and ZSCAN alike. Every `step`th item is an id. */
static enum status scan(struct ledger_keeper *keeper, struct redis_client *client, const char *command,
                        const char *name, size_t step, struct error *err) {
    char cursor[LEDGER_ID_BYTES + 1] = "0";
    enum status status = STATUS_OK;
    do {
        struct redis_reply *reply = NULL;
        TRY(redis_callf(client, &reply, err, "%s %s %s COUNT %lld", command, name, cursor, (long long)SCAN_COUNT));
        size_t known = keeper->count;
        const struct redis_reply *items = reply->items;
        if (reply->count == 2 && items[0].string.length <= LEDGER_ID_BYTES) {
            memcpy(cursor, items[0].string.data, items[0].string.length + 1);
            for (size_t i = 0; i < items[1].count && status == STATUS_OK; i += step)
                status = add_organization(keeper, known, items[1].items[i].string, step == 1, err);
        } else {
            status = error_set(err, STATUS_DATA_LOSS, "%s gave a strange answer", command);
        }
        redis_reply_free(reply);
        if (keeper->count > known)
            qsort(keeper->organizations, keeper->count, sizeof *keeper->organizations, compare_organizations);
    } while (status == STATUS_OK && strcmp(cursor, "0") != 0);
    return status;
}

/* --- one organisation's turn ------------------------------------------------------------------------------------- */

/** A callback's answer, waited for. */
struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
    enum status status;
    int64_t integer;
    struct error *err;
};

static void on_reaped(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct waiter *waiter = context;
    pthread_mutex_lock(&waiter->mutex);
    waiter->status = status == STATUS_OK ? STATUS_OK : error_set(waiter->err, status, "%s", message);
    waiter->integer = status == STATUS_OK ? reply->integer : 0;
    waiter->done = true;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->mutex);
}

static enum status reap(struct ledger_keeper *keeper, const char *organization, struct error *err) {
    struct waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .err = err};
    limits_reap(keeper->stores.limits, organization, on_reaped, &waiter);
    pthread_mutex_lock(&waiter.mutex);
    while (!waiter.done) pthread_cond_wait(&waiter.changed, &waiter.mutex);
    pthread_mutex_unlock(&waiter.mutex);
    pthread_mutex_destroy(&waiter.mutex);
    pthread_cond_destroy(&waiter.changed);
    metric_add(keeper->expired, (double)waiter.integer);
    return waiter.status;
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

static enum status move(struct ledger_keeper *keeper, struct active_organization *organization, bool *again,
                        int64_t *oldest_ms, struct error *err) {
    struct ledger_moved moved = {.again = true};
    for (int i = 0; i < BATCHES_PER_TURN && moved.again && !is_stopping(keeper); i++) {
        TRY(ledger_move(&keeper->stores, organization->id, &organization->position, &keeper->arena, &moved, err));
        note_moved(keeper, organization->id, &moved, oldest_ms);
        *again = *again || moved.again;
    }
    return STATUS_OK;
}

static enum status trim(struct ledger_keeper *keeper, struct active_organization *organization, struct error *err) {
    int64_t now_ns = clock_monotonic_ns(clock_system()), removed = 0;
    if (keeper->retention_ns == 0 || now_ns < organization->trim_due_ns) return STATUS_OK;
    int64_t before_ms = (clock_unix_ns(clock_system()) - keeper->retention_ns) / NS_PER_MS;
    if (before_ms <= 0) return STATUS_OK;
    TRY(ledger_trim(keeper->stores.redis, organization->id, before_ms, &removed, err));
    if (removed == 0) organization->trim_due_ns = now_ns + TRIM_PAUSE_NS;
    return STATUS_OK;
}

/* --- the thread -------------------------------------------------------------------------------------------------- */

/** One turn for each organisation. What fails for one of them does not keep the others waiting; `err` is the first one's. */
static enum status run_round(struct ledger_keeper *keeper, bool *again, struct error *err) {
    enum status status = scan(keeper, keeper->stores.limits, "SSCAN", "bora:orgs-active", 1, err);
    /* Now and then all there are, for an organisation whose note that it is active was lost. */
    int64_t now_ns = clock_monotonic_ns(clock_system()), oldest_ms = 0;
    bool sweep = now_ns >= keeper->sweep_due_ns;
    if (sweep && status == STATUS_OK) status = scan(keeper, keeper->stores.redis, "ZSCAN", "bora:orgs", 2, err);
    if (sweep && status == STATUS_OK) keeper->sweep_due_ns = now_ns + SWEEP_PAUSE_NS;
    for (size_t i = 0; i < keeper->count && !is_stopping(keeper); i++) {
        struct active_organization *organization = &keeper->organizations[i];
        if (!organization->active && !sweep) continue;
        enum status turn = reap(keeper, organization->id, err);
        if (turn == STATUS_OK) turn = move(keeper, organization, again, &oldest_ms, err);
        if (turn == STATUS_OK) turn = trim(keeper, organization, err);
        if (turn == STATUS_OK) continue;
        if (status == STATUS_OK) status = turn;
        if (turn == STATUS_UNAVAILABLE || turn == STATUS_DEADLINE_EXCEEDED) break; /* for all of them */
    }
    double lag = oldest_ms == 0 ? 0 : (double)(clock_unix_ns(clock_system()) / NS_PER_MS - oldest_ms) / 1000;
    metric_set(keeper->lag, lag > 0 ? lag : 0);
    return status;
}

static void *run_keeper(void *context) {
    struct ledger_keeper *keeper = context;
    prctl(PR_SET_NAME, "ledger");
    int64_t pause_ms = PAUSE_MS_MIN;
    while (!is_stopping(keeper)) {
        struct error err = {0};
        bool again = false;
        enum status status = run_round(keeper, &again, &err);
        if (status != STATUS_OK) {
            if (!keeper->failed)
                log_warn("the ledger waits for Redis", LOG_S("status", status_name(status)),
                         LOG_S("error", err.message));
        } else if (keeper->failed) {
            log_info("the ledger goes on");
        }
        keeper->failed = status != STATUS_OK;
        metric_set(keeper->failing, keeper->failed ? 1 : 0);
        pause_ms = again ? PAUSE_MS_MIN : pause_ms * 2 < PAUSE_MS_MAX ? pause_ms * 2 : PAUSE_MS_MAX;
        pause_for(keeper, pause_ms);
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
    keeper->lag = metrics_gauge(metrics, "bora_keys_ledger_lag_seconds",
                                "Age of the oldest entry that the last round moved; 0 when there was none.");
    keeper->failing = metrics_gauge(metrics, "bora_keys_ledger_failing", "1 while the ledger waits for Redis.");
}

enum status ledger_keeper_create(const struct ledger_keeper_options *options, struct ledger_keeper **out,
                                 struct error *err) {
    struct ledger_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    keeper->stores = options->stores;
    keeper->retention_ns = options->retention_ns;
    declare_metrics(keeper, options->metrics);
    arena_init(&keeper->arena, BATCH_BYTES);
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
    free(keeper->organizations);
    free(keeper);
}
