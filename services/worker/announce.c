/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "rpc/transcode.h"
#include "services/worker/worker.h"
#include "store/registry.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEARTBEATS_MISSED_MAX = 3 };

struct announcer {
    struct worker *worker;
    struct redis_client *redis;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop, now;
    atomic_bool connected;
    /* Under the mutex: an announcement that cannot be sent is answered by the announcing thread, others by the client's. */
    bool tried;    /* to announce, whatever came of it */
    bool reported; /* an outage is logged once */
};

static void fill_load(struct engine *engine, const struct worker_settings *settings, Bora__Internal__V1__Load *out) {
    struct engine_load load;
    engine_load(engine, &load);
    bora__internal__v1__load__init(out);
    out->running = load.running;
    out->waiting = load.waiting;
    out->sequences_max = (int32_t)settings->sequences_max;
    out->alive_max = (int32_t)(settings->sequences_max + settings->queue_max);
    out->kv_tokens_used = load.kv_tokens_used;
    out->kv_tokens_total = load.kv_tokens_total;
    out->steps = load.steps;
    out->prompt_tokens = load.prompt_tokens;
    out->completion_tokens = load.completion_tokens;
}

enum status worker_announcement(struct worker *worker, struct bytes *out) {
    Bora__Internal__V1__ModelDescription model = BORA__INTERNAL__V1__MODEL_DESCRIPTION__INIT;
    model.name = worker->model.name;
    model.aliases = worker->model.aliases;
    model.n_aliases = (size_t)worker->model.alias_count;
    model.tier = worker->model.tier;
    model.description = worker->model.description != NULL ? worker->model.description : "";
    model.context_tokens = worker->description.context_tokens;
    model.vocabulary_tokens = worker->description.vocabulary;
    model.capabilities = worker->model.capabilities;
    model.n_capabilities = (size_t)worker->model.capability_count;
    if (!isnan(worker->model.temperature)) {
        model._default_temperature_case =
            BORA__INTERNAL__V1__MODEL_DESCRIPTION___DEFAULT_TEMPERATURE_DEFAULT_TEMPERATURE;
        model.default_temperature = worker->model.temperature;
    }
    Bora__Internal__V1__PromptBound bound = BORA__INTERNAL__V1__PROMPT_BOUND__INIT;
    struct chat_prompt_bound tokens;
    if (engine_prompt_bound(worker->engine, &tokens)) {
        bound.fixed_tokens = tokens.fixed;
        bound.message_tokens = tokens.message;
        bound.byte_tokens = tokens.byte;
        model.prompt_bound = &bound;
    }
    Bora__Internal__V1__Load load;
    fill_load(worker->engine, &worker->settings, &load);
    Bora__Internal__V1__WorkerAnnouncement message = BORA__INTERNAL__V1__WORKER_ANNOUNCEMENT__INIT;
    message.worker_id = worker->id;
    message.address = worker->address;
    message.model = &model;
    message.load = &load;
    message.region = worker->settings.region;
    message.device = (char *)worker->description.device;
    message.kernel_variant = (char *)worker->description.variant;
    message.started_at = worker->started_at;
    message.draining = atomic_load(&worker->draining);
    message.process_id = (int32_t)getpid();
    message.version = BORA_VERSION;
    message.rank_count = 1;
    return protobuf_pack(&message.base, out);
}

static void on_announced(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply;
    struct announcer *announcer = context;
    bool connected = status == STATUS_OK;
    pthread_mutex_lock(&announcer->mutex);
    bool was = atomic_exchange(&announcer->connected, connected);
    if (connected && (!was || announcer->reported))
        log_info("announced", LOG_S("worker_id", announcer->worker->id), LOG_S("address", announcer->worker->address));
    bool first = !announcer->tried; /* which comes before the connection is made */
    announcer->tried = true;
    if (connected || first) {
        announcer->reported = false;
    } else if (!announcer->reported) {
        log_warn("announcement failed", LOG_S("redis", announcer->worker->settings.redis_address),
                 LOG_S("error", message));
        announcer->reported = true;
    }
    pthread_mutex_unlock(&announcer->mutex);
}

static void announce_now(struct announcer *announcer) {
    struct bytes packed;
    bytes_init(&packed, 1 << 20);
    if (worker_announcement(announcer->worker, &packed) == STATUS_OK) {
        registry_announce(announcer->redis, "worker", announcer->worker->id, bytes_view(&packed),
                          announcer->worker->settings.heartbeat_ns * HEARTBEATS_MISSED_MAX, on_announced, announcer);
    }
    bytes_deinit(&packed);
}

static void *announcer_main(void *context) {
    struct announcer *announcer = context;
    pthread_mutex_lock(&announcer->mutex);
    while (!announcer->stop) {
        announcer->now = false;
        pthread_mutex_unlock(&announcer->mutex);
        announce_now(announcer);
        pthread_mutex_lock(&announcer->mutex);
        int64_t until = clock_monotonic_ns(clock_system()) + announcer->worker->settings.heartbeat_ns;
        struct timespec deadline = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
        while (!announcer->stop && !announcer->now) {
            if (pthread_cond_timedwait(&announcer->wake, &announcer->mutex, &deadline) != 0) break;
        }
    }
    pthread_mutex_unlock(&announcer->mutex);
    return NULL;
}

enum status announcer_start(struct worker *worker, struct announcer **out, struct error *err) {
    struct announcer *announcer = calloc(1, sizeof *announcer);
    if (announcer == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    announcer->worker = worker;
    char *password = NULL;
    enum status status = STATUS_OK;
    TRY_CLEANUP(settings_read_secret(worker->settings.redis_password_file, &password, err));
    struct redis_options options = {.address = worker->settings.redis_address, .password = password};
    TRY_CLEANUP(redis_client_create(&options, &announcer->redis, err));
    pthread_mutex_init(&announcer->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&announcer->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&announcer->thread, NULL, announcer_main, announcer) != 0) {
        status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "no thread for the announcements");
        pthread_mutex_destroy(&announcer->mutex);
        pthread_cond_destroy(&announcer->wake);
        redis_client_destroy(announcer->redis);
        goto cleanup;
    }
    *out = announcer;
cleanup:
    free(password);
    if (status != STATUS_OK) free(announcer);
    return status;
}

static void signal_announcer(struct announcer *announcer, bool stop) {
    pthread_mutex_lock(&announcer->mutex);
    announcer->stop = announcer->stop || stop;
    announcer->now = true;
    pthread_cond_signal(&announcer->wake);
    pthread_mutex_unlock(&announcer->mutex);
}

void announcer_drain(struct announcer *announcer) {
    signal_announcer(announcer, false);
}

static void on_removed(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)status, (void)reply, (void)message;
    struct announcer *announcer = context;
    pthread_mutex_lock(&announcer->mutex);
    announcer->now = false;
    pthread_cond_signal(&announcer->wake);
    pthread_mutex_unlock(&announcer->mutex);
}

void announcer_stop(struct announcer *announcer) {
    if (announcer == NULL) return;
    signal_announcer(announcer, true);
    pthread_join(announcer->thread, NULL);
    /* `now` is still true: it falls when the removal was answered or has failed. */
    registry_remove(announcer->redis, "worker", announcer->worker->id, on_removed, announcer);
    pthread_mutex_lock(&announcer->mutex);
    while (announcer->now) pthread_cond_wait(&announcer->wake, &announcer->mutex);
    pthread_mutex_unlock(&announcer->mutex);
    redis_client_destroy(announcer->redis);
    pthread_cond_destroy(&announcer->wake);
    pthread_mutex_destroy(&announcer->mutex);
    free(announcer);
}

void announcer_reason(struct announcer *announcer, char *out, size_t bytes) {
    redis_client_reason(announcer->redis, out, bytes);
}

bool announcer_connected(const struct announcer *announcer) {
    return atomic_load(&announcer->connected);
}
