/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/workers.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "rpc/transcode.h"
#include "services/gateway/gateway.h"
#include "services/gateway/worker_link.h"
#include "store/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 1024, NAME_SLOTS_PER_MODEL = LIMIT_MODEL_ALIASES + 2, ANNOUNCEMENT_BYTES_MAX = 1 << 20 };
static const int64_t FRESH_NS = 5 * NS_PER_S, REMEMBER_NS = 3600 * NS_PER_S;
/* A worker that is missing from the list but connected is kept for so long: announcements expire while Redis hangs or starts anew,
 * and that is no reason to refuse requests until the next heartbeat. */
static const int64_t LINGER_NS = 5 * NS_PER_S;

/** A name that was served, so that "nobody serves it now" can be told from "no such model". */
struct known_name {
    char name[LIMIT_MODEL_NAME_BYTES + 1];
    _Atomic int64_t seen_ns;
};

/* Every request looks at the table, so whoever reads a list takes it to pieces without the mutex, and then puts the new table in place. There is one list at a
 * time, and nobody else changes the table: its reader may look at it, and at the names, without the mutex. */
struct workers {
    struct gateway *gateway;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    bool stop, asked; /* asked: a list is on its way */
    struct worker *list[LIMIT_WORKERS];
    int count;
    int64_t refreshed_ns;
    struct known_name names[NAMES_MAX];
    int name_count;
    unsigned turn; /* spreads equal choices */
};

void worker_ref(struct worker *worker) {
    atomic_fetch_add(&worker->references, 1);
}

void worker_unref(struct worker *worker) {
    if (worker == NULL || atomic_fetch_sub(&worker->references, 1) != 1) return;
    worker_link_close(worker->link);
    arena_deinit(&worker->arena);
    free(worker);
}

/* ---- refreshing ---------------------------------------------------------------------------------------------------- */

static void remember_name(struct workers *workers, const char *name, int64_t now_ns) {
    struct known_name *oldest = &workers->names[0];
    for (int i = 0; i < workers->name_count; i++) {
        struct known_name *known = &workers->names[i];
        if (strcmp(known->name, name) == 0) {
            known->seen_ns = now_ns;
            return;
        }
        if (known->seen_ns < oldest->seen_ns) oldest = known;
    }
    pthread_mutex_lock(&workers->mutex);
    if (workers->name_count < NAMES_MAX) oldest = &workers->names[workers->name_count++];
    strncpy(oldest->name, name, LIMIT_MODEL_NAME_BYTES);
    oldest->seen_ns = now_ns;
    pthread_mutex_unlock(&workers->mutex);
}

static void remember_names(struct workers *workers, const Bora__Internal__V1__ModelDescription *model, int64_t now_ns) {
    remember_name(workers, model->name, now_ns);
    remember_name(workers, model->tier, now_ns);
    for (size_t i = 0; i < model->n_aliases; i++) remember_name(workers, model->aliases[i], now_ns);
}

static struct worker *find_worker(struct worker *const *list, int count, const char *id, const char *address) {
    for (int i = 0; i < count; i++) {
        if (list[i] != NULL && strcmp(list[i]->announcement->worker_id, id) == 0 &&
            strcmp(list[i]->announcement->address, address) == 0)
            return list[i];
    }
    return NULL;
}

/** What moves while a worker lives. */
static void take_load(struct worker *worker, const Bora__Internal__V1__WorkerAnnouncement *fresh) {
    atomic_store(&worker->draining, fresh->draining);
    if (fresh->load == NULL) return;
    atomic_store(&worker->load.running, fresh->load->running);
    atomic_store(&worker->load.waiting, fresh->load->waiting);
    atomic_store(&worker->load.kv_tokens_used, fresh->load->kv_tokens_used);
    atomic_store(&worker->load.prompt_tokens, (int64_t)fresh->load->prompt_tokens);
    atomic_store(&worker->load.completion_tokens, (int64_t)fresh->load->completion_tokens);
}

/** A worker that was not there before, and a link to it. */
static struct worker *make_worker(struct workers *workers, struct bytes_view announced) {
    struct worker *worker = calloc(1, sizeof *worker);
    struct error err = {0};
    ProtobufCMessage *message = NULL;
    if (worker == NULL) return NULL;
    arena_init(&worker->arena, ANNOUNCEMENT_BYTES_MAX);
    atomic_init(&worker->references, 1);
    enum status status = protobuf_unpack(&bora__internal__v1__worker_announcement__descriptor, announced,
                                         &worker->arena, &message, &err);
    worker->announcement = (const void *)message;
    if (status == STATUS_OK && worker->announcement->model != NULL && worker->announcement->rank == 0)
        status = worker_link_open(workers->gateway->links, worker->announcement->address, &worker->link, &err);
    if (worker->link != NULL) {
        take_load(worker, worker->announcement);
        return worker;
    }
    if (status != STATUS_OK) log_warn("an announced worker cannot be used", LOG_S("error", err.message));
    arena_deinit(&worker->arena);
    free(worker);
    return NULL;
}

static bool same_model(const Bora__Internal__V1__ModelDescription *a, const Bora__Internal__V1__ModelDescription *b) {
    struct bytes packed_a, packed_b;
    bytes_init(&packed_a, ANNOUNCEMENT_BYTES_MAX);
    bytes_init(&packed_b, ANNOUNCEMENT_BYTES_MAX);
    bool same = protobuf_pack(&a->base, &packed_a) == STATUS_OK && protobuf_pack(&b->base, &packed_b) == STATUS_OK &&
                bytes_view_equal(bytes_view(&packed_a), bytes_view(&packed_b));
    bytes_deinit(&packed_a);
    bytes_deinit(&packed_b);
    return same;
}

/** Is it the process that is known as `worker`? Only load and draining move while one lives; who started anew under the same id and address
 *  is another worker, perhaps with another model. */
static bool same_process(const struct worker *worker, const Bora__Internal__V1__WorkerAnnouncement *fresh) {
    const Bora__Internal__V1__WorkerAnnouncement *known = worker->announcement;
    return known->started_at == fresh->started_at && known->process_id == fresh->process_id &&
           same_model(known->model, fresh->model);
}

struct peek {
    struct arena arena;
    const Bora__Internal__V1__WorkerAnnouncement *announcement;
};

static bool peek_announcement(struct bytes_view announced, struct peek *out) {
    ProtobufCMessage *message = NULL;
    struct error err = {0};
    arena_init(&out->arena, ANNOUNCEMENT_BYTES_MAX);
    bool read = protobuf_unpack(&bora__internal__v1__worker_announcement__descriptor, announced, &out->arena, &message,
                                &err) == STATUS_OK;
    out->announcement = (const void *)message;
    return read && out->announcement->model != NULL;
}

static void update_worker(struct worker *worker, const Bora__Internal__V1__WorkerAnnouncement *fresh) {
    take_load(worker, fresh);
    if (worker_link_ready(worker->link)) atomic_store(&worker->suspect, false);
    worker->missing_since_ns = 0;
}

/** The table that comes next. */
struct next_table {
    struct worker *list[LIMIT_WORKERS];
    int count;
};

/** Keep `worker`, which the list now taken does not name? */
static bool lingers(const struct next_table *next, struct worker *worker, int64_t now_ns) {
    if (worker->draining || atomic_load(&worker->suspect) || !worker_link_ready(worker->link)) return false;
    for (int i = 0; i < next->count; i++) { /* another process has taken its place */
        if (strcmp(next->list[i]->announcement->address, worker->announcement->address) == 0) return false;
    }
    if (worker->missing_since_ns == 0) worker->missing_since_ns = now_ns;
    return now_ns - worker->missing_since_ns < LINGER_NS && next->count < LIMIT_WORKERS;
}

/** The worker that was announced so, referenced: the known one, or a new one. NULL: it cannot be used. */
static struct worker *find_or_make(struct workers *workers, struct bytes_view announced) {
    struct peek peek;
    struct worker *worker = NULL;
    if (peek_announcement(announced, &peek)) {
        worker = find_worker(workers->list, workers->count, peek.announcement->worker_id, peek.announcement->address);
        if (worker != NULL && same_process(worker, peek.announcement)) {
            update_worker(worker, peek.announcement);
            worker_ref(worker);
        } else {
            worker = make_worker(workers, announced);
            if (worker != NULL)
                log_info("worker found", LOG_S("worker_id", peek.announcement->worker_id),
                         LOG_S("address", peek.announcement->address), LOG_S("model", peek.announcement->model->name));
        }
    }
    arena_deinit(&peek.arena);
    return worker;
}

/** Who is there no more leaves; the table's references go with `before`. */
static void let_go(const struct next_table *before, const struct next_table *now) {
    for (int i = 0; i < before->count; i++) {
        struct worker *worker = before->list[i];
        if (find_worker(now->list, now->count, worker->announcement->worker_id, worker->announcement->address) == NULL)
            log_info("worker gone", LOG_S("worker_id", worker->announcement->worker_id),
                     LOG_S("address", worker->announcement->address));
        worker_unref(worker);
    }
}

static void take_list(struct workers *workers, const struct redis_reply *reply) {
    struct next_table next = {.count = 0}, before = {.count = workers->count};
    int64_t now_ns = clock_monotonic_ns(clock_system());
    memcpy(before.list, workers->list, sizeof before.list[0] * (size_t)before.count);
    for (size_t i = 0; i < reply->count && next.count < LIMIT_WORKERS; i++) {
        struct worker *worker = find_or_make(workers, reply->items[i].string);
        if (worker == NULL) continue;
        next.list[next.count++] = worker;
        remember_names(workers, worker->announcement->model, now_ns);
    }
    for (int i = 0; i < before.count; i++) {
        struct worker *worker = before.list[i];
        if (find_worker(next.list, next.count, worker->announcement->worker_id, worker->announcement->address) !=
                NULL ||
            !lingers(&next, worker, now_ns))
            continue;
        worker_ref(worker);
        next.list[next.count++] = worker;
    }
    pthread_mutex_lock(&workers->mutex);
    memcpy(workers->list, next.list, sizeof next.list[0] * (size_t)next.count);
    workers->count = next.count;
    workers->refreshed_ns = now_ns;
    pthread_mutex_unlock(&workers->mutex);
    let_go(&before, &next);
}

static void on_list(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)message;
    struct workers *workers = context;
    if (status == STATUS_OK && reply->type == REDIS_ARRAY) take_list(workers, reply);
    pthread_mutex_lock(&workers->mutex);
    workers->asked = false;
    pthread_cond_signal(&workers->wake);
    pthread_mutex_unlock(&workers->mutex);
}

static void *workers_main(void *context) {
    struct workers *workers = context;
    pthread_mutex_lock(&workers->mutex);
    while (!workers->stop) {
        if (!workers->asked) {
            workers->asked = true;
            pthread_mutex_unlock(&workers->mutex);
            registry_list(workers->gateway->redis, "worker", on_list, workers);
            pthread_mutex_lock(&workers->mutex);
        }
        int64_t until = clock_monotonic_ns(clock_system()) + workers->gateway->settings.discovery_ns;
        struct timespec deadline = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
        while (!workers->stop && pthread_cond_timedwait(&workers->wake, &workers->mutex, &deadline) == 0) {
        }
    }
    while (workers->asked) pthread_cond_wait(&workers->wake, &workers->mutex);
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

enum status workers_create(struct gateway *gateway, struct workers **out, struct error *err) {
    struct workers *workers = calloc(1, sizeof *workers);
    if (workers == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    workers->gateway = gateway;
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&workers->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    int failed = pthread_create(&workers->thread, NULL, workers_main, workers);
    if (failed != 0) {
        free(workers);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "no thread for the list of workers");
    }
    *out = workers;
    return STATUS_OK;
}

void workers_destroy(struct workers *workers) {
    if (workers == NULL) return;
    pthread_mutex_lock(&workers->mutex);
    workers->stop = true;
    pthread_cond_signal(&workers->wake);
    pthread_mutex_unlock(&workers->mutex);
    pthread_join(workers->thread, NULL);
    for (int i = 0; i < workers->count; i++) worker_unref(workers->list[i]);
    pthread_cond_destroy(&workers->wake);
    pthread_mutex_destroy(&workers->mutex);
    free(workers);
}

/* ---- choosing ------------------------------------------------------------------------------------------------------ */

static bool serves(const struct worker *worker, const char *name) {
    const Bora__Internal__V1__ModelDescription *model = worker->announcement->model;
    if (strcmp(model->name, name) == 0 || strcmp(model->tier, name) == 0) return true;
    for (size_t i = 0; i < model->n_aliases; i++) {
        if (strcmp(model->aliases[i], name) == 0) return true;
    }
    return false;
}

/** A model's own name comes before aliases and tiers: 0 best. */
static int closeness(const struct worker *worker, const char *name) {
    return strcmp(worker->announcement->model->name, name) == 0 ? 0 : 1;
}

static int64_t busyness(const struct worker *worker, const struct worker *except) {
    int64_t announced = worker->load.running + 2 * worker->load.waiting, ours = atomic_load(&worker->running);
    /* What we just sent is not in the announcement yet. */
    return (announced > ours ? announced : ours) + (worker == except ? 1 << 20 : 0) +
           (worker->missing_since_ns != 0 ? 1 << 22 : 0) + (atomic_load(&worker->suspect) ? 1 << 24 : 0);
}

static bool is_capable(const struct worker *worker, const char *capability) {
    const Bora__Internal__V1__ModelDescription *model = worker->announcement->model;
    if (capability == NULL) return true;
    for (size_t i = 0; i < model->n_capabilities; i++) {
        if (strcmp(model->capabilities[i], capability) == 0) return true;
    }
    return false;
}

enum workers_choice workers_choose(struct workers *workers, const char *name, const char *capability,
                                   const struct worker *except, struct worker **out) {
    struct worker *best = NULL;
    enum workers_choice choice = WORKERS_UNKNOWN_MODEL;
    int64_t now = clock_monotonic_ns(clock_system());
    pthread_mutex_lock(&workers->mutex);
    unsigned offset = workers->turn++;
    for (int i = 0; i < workers->count; i++) {
        struct worker *worker = workers->list[(offset + (unsigned)i) % (unsigned)workers->count];
        if (worker->draining || !serves(worker, name)) continue;
        if (!is_capable(worker, capability)) {
            choice = WORKERS_INCAPABLE;
            continue;
        }
        bool better =
            best == NULL || closeness(worker, name) < closeness(best, name) ||
            (closeness(worker, name) == closeness(best, name) && busyness(worker, except) < busyness(best, except));
        if (better) best = worker;
    }
    for (int i = 0; best == NULL && choice == WORKERS_UNKNOWN_MODEL && i < workers->name_count; i++) {
        if (strcmp(workers->names[i].name, name) == 0 && now - workers->names[i].seen_ns < REMEMBER_NS)
            choice = WORKERS_NONE_LIVE;
    }
    if (best != NULL) {
        worker_ref(best);
        *out = best;
        choice = WORKERS_CHOSEN;
    }
    pthread_mutex_unlock(&workers->mutex);
    return choice;
}

static int compare_models(const void *a, const void *b) {
    const struct worker *const *x = a, *const *y = b;
    return strcmp((*x)->announcement->model->name, (*y)->announcement->model->name);
}

size_t workers_list_models(struct workers *workers, struct worker **out, size_t max) {
    size_t count = 0;
    pthread_mutex_lock(&workers->mutex);
    for (int i = 0; i < workers->count && count < max; i++) {
        bool seen = workers->list[i]->draining;
        for (size_t j = 0; j < count && !seen; j++) seen = compare_models(&out[j], &workers->list[i]) == 0;
        if (seen) continue;
        worker_ref(workers->list[i]);
        out[count++] = workers->list[i];
    }
    pthread_mutex_unlock(&workers->mutex);
    qsort(out, count, sizeof *out, compare_models);
    return count;
}

static int compare_workers(const void *a, const void *b) {
    const struct worker *const *x = a, *const *y = b;
    int order = compare_models(a, b);
    return order != 0 ? order : strcmp((*x)->announcement->worker_id, (*y)->announcement->worker_id);
}

size_t workers_list(struct workers *workers, struct worker **out, size_t max) {
    size_t count = 0;
    pthread_mutex_lock(&workers->mutex);
    for (int i = 0; i < workers->count && count < max; i++) {
        worker_ref(workers->list[i]);
        out[count++] = workers->list[i];
    }
    pthread_mutex_unlock(&workers->mutex);
    qsort(out, count, sizeof *out, compare_workers);
    return count;
}

int workers_count(struct workers *workers) {
    pthread_mutex_lock(&workers->mutex);
    int count = workers->count;
    pthread_mutex_unlock(&workers->mutex);
    return count;
}

bool workers_are_fresh(struct workers *workers) {
    pthread_mutex_lock(&workers->mutex);
    bool fresh = workers->refreshed_ns != 0 && clock_monotonic_ns(clock_system()) - workers->refreshed_ns < FRESH_NS;
    pthread_mutex_unlock(&workers->mutex);
    return fresh;
}
