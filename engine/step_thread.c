/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The step thread: sleeps while nothing can advance, else steps; and what it publishes about itself. */
#include "engine/engine_internal.h"

static void count_metrics(struct engine *engine, const struct scheduler_stats *stats) {
    const struct engine_metrics *metrics = &engine->metrics;
    metric_set(metrics->running, stats->running);
    metric_set(metrics->waiting, stats->waiting);
    metric_set(metrics->kv_tokens_used, (double)(kv_cache_used(engine->cache) * KV_BLOCK_TOKENS));
    metric_add(metrics->prompt_tokens, (double)(stats->prompt_tokens - engine->counted.prompt_tokens));
    metric_add(metrics->completion_tokens, (double)(stats->completion_tokens - engine->counted.completion_tokens));
    metric_add(metrics->cached_tokens, (double)(stats->cached_tokens - engine->counted.cached_tokens));
    metric_add(metrics->forced_tokens, (double)(stats->forced_tokens - engine->counted.forced_tokens));
    metric_add(metrics->draft_tokens, (double)(stats->draft_tokens - engine->counted.draft_tokens));
    metric_add(metrics->draft_accepted, (double)(stats->draft_accepted - engine->counted.draft_accepted));
    metric_add(metrics->preemptions, (double)(stats->preemptions - engine->counted.preemptions));
    engine->counted = *stats;
}

void engine_publish_load(struct engine *engine) {
    struct scheduler_stats stats;
    scheduler_stats(engine->scheduler, &stats);
    if (engine->has_metrics) count_metrics(engine, &stats);
    pthread_mutex_lock(&engine->mutex);
    engine->load.running = stats.running;
    engine->load.waiting = stats.waiting;
    engine->load.kv_tokens_used = kv_cache_used(engine->cache) * KV_BLOCK_TOKENS;
    engine->load.steps = stats.steps;
    engine->load.prompt_tokens = stats.prompt_tokens;
    engine->load.completion_tokens = stats.completion_tokens;
    engine->end_gap_ns = stats.end_gap_ns;
    pthread_mutex_unlock(&engine->mutex);
}

void engine_wake(struct engine *engine) {
    pthread_mutex_lock(&engine->mutex);
    engine->awake = true;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->mutex);
}

/** Sleep until there is something to do. Takes the inbox. False when the engine closes. */
static bool wait_for_work(struct engine *engine, struct generation **out_inbox) {
    pthread_mutex_lock(&engine->mutex);
    while (!engine->closing && !engine->awake && engine->inbox == NULL)
        pthread_cond_wait(&engine->wake, &engine->mutex);
    *out_inbox = engine->inbox;
    engine->inbox = engine->inbox_last = NULL;
    engine->inbox_count = 0;
    engine->awake = false; /* whoever changes something from here on sets it again */
    bool goes_on = !engine->closing;
    pthread_mutex_unlock(&engine->mutex);
    return goes_on;
}

/** Nobody can advance: time to see whether every KV block is accounted for. Counts, tells and mends. */
static void check_books(struct engine *engine) {
    struct error err = {0};
    if (engine->checked) return;
    engine->checked = true;
    if (scheduler_check(engine->scheduler, &err) == STATUS_OK) return;
    if (engine->has_metrics) metric_add(engine->metrics.repairs, 1);
    if (engine->on_fault != NULL) engine->on_fault(engine->on_fault_context, err.message);
    scheduler_repair(engine->scheduler);
}

static void step(struct engine *engine) {
    int64_t began = clock_monotonic_ns(clock_system());
    int64_t rows = scheduler_step(engine->scheduler);
    if (rows > 0) {
        engine->checked = false;
        pthread_mutex_lock(&engine->mutex);
        engine->awake = true;
        pthread_mutex_unlock(&engine->mutex);
    }
    if (rows == 0) check_books(engine);
    if (rows > 0 && engine->has_metrics) {
        metric_observe(engine->metrics.step_seconds, (double)(clock_monotonic_ns(clock_system()) - began) / 1e9);
        metric_observe(engine->metrics.step_rows, (double)rows);
    }
    engine_publish_load(engine);
}

void *engine_step_thread(void *context) {
    struct engine *engine = context;
    pthread_setname_np(pthread_self(), "engine");
    for (bool goes_on = true; goes_on;) {
        struct generation *inbox = NULL;
        goes_on = wait_for_work(engine, &inbox);
        for (struct generation *next; inbox != NULL; inbox = next) {
            next = inbox->inbox_next;
            generation_enter(inbox);
        }
        if (goes_on) step(engine);
    }
    scheduler_cancel_all(engine->scheduler);
    engine_publish_load(engine);
    return NULL;
}
