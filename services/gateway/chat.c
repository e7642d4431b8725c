/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/chat.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ATTEMPTS_MAX = 2,
    SCRATCH_BYTES =
        16
        << 20, /* a worker's message and what is made of it: some ten times LIMIT_DELTA_BYTES, but for a call, which is whole */
    ANSWER_BYTES_MAX = 64 << 20, /* a whole answer and its log-probabilities, not streamed */
    SEED_LANE = 7,
};
static const double TEMPERATURE_DEFAULT = 1.0;

static const struct generation_callbacks callbacks;

/* ---- life ---------------------------------------------------------------------------------------------------------- */

void chat_ref(struct chat *chat) {
    atomic_fetch_add(&chat->references, 1);
}

static void list_add(struct gateway *gateway, struct chat *chat) {
    pthread_mutex_lock(&gateway->chats_mutex);
    chat->next = gateway->chats;
    if (chat->next != NULL) chat->next->previous = chat;
    gateway->chats = chat;
    pthread_mutex_unlock(&gateway->chats_mutex);
}

static void list_remove(struct gateway *gateway, struct chat *chat) {
    pthread_mutex_lock(&gateway->chats_mutex);
    if (chat->previous != NULL)
        chat->previous->next = chat->next;
    else
        gateway->chats = chat->next;
    if (chat->next != NULL) chat->next->previous = chat->previous;
    chat_leave_estimates_locked(chat);
    pthread_mutex_unlock(&gateway->chats_mutex);
}

int chats_count(struct gateway *gateway) {
    int count = 0;
    pthread_mutex_lock(&gateway->chats_mutex);
    for (const struct chat *chat = gateway->chats; chat != NULL; chat = chat->next) count++;
    pthread_mutex_unlock(&gateway->chats_mutex);
    return count;
}

void chat_unref(struct chat *chat) {
    if (atomic_fetch_sub(&chat->references, 1) != 1) return;
    list_remove(chat->gateway, chat);
    for (int i = 0; i < chat->choice_count; i++) {
        bytes_deinit(&chat->choices[i].text);
        bytes_deinit(&chat->choices[i].thought);
        free(chat->choices[i].calls);
        free(chat->choices[i].logprobs);
    }
    if (chat->worker != NULL) {
        atomic_fetch_sub(&chat->worker->running, 1);
        worker_unref(chat->worker);
    }
    arena_deinit(&chat->scratch);
    arena_deinit(&chat->answer);
    pthread_mutex_destroy(&chat->mutex);
    free(chat);
}

void chat_let_go(struct chat *chat) {
    struct request *request = chat->request;
    chat_unref(chat);
    request_unref(request);
}

static void stop_generations_locked(struct chat *chat) {
    for (int i = 0; i < chat->choice_count; i++) {
        if (chat->choices[i].generation != NULL) generation_stop(chat->choices[i].generation);
    }
}

/** The client has its end, whatever it is. What it has cost is known when the last generation has ended too. */
static void done_locked(struct chat *chat) {
    if (chat->phase == CHAT_DONE) return;
    chat->phase = CHAT_DONE;
    struct limits_usage usage =
        chat_usage_locked(chat); /* so far, for the log; what is settled waits for the workers' last words */
    chat->request->prompt_tokens = usage.input;
    chat->request->completion_tokens = usage.output;
    stop_generations_locked(chat);
    chat_settle_locked(chat);
}

void chat_fail_locked(struct chat *chat, const struct api_error *error) {
    if (chat->phase == CHAT_DONE) return;
    bool sent = chat->sent;
    done_locked(chat);
    if (sent)
        chat_send_broken(chat, error);
    else
        request_fail(chat->request, error);
}

/** Some at a time, as nothing of a chat may be done under the list's mutex. `when`: NULL: all; else those of keys that have expired by then. */
static void end_chats(struct gateway *gateway, const int64_t *when, const struct api_error *error) {
    enum { AT_ONCE = 64 };
    for (;;) {
        struct chat *some[AT_ONCE];
        struct request *requests[AT_ONCE];
        int count = 0;
        pthread_mutex_lock(&gateway->chats_mutex);
        for (struct chat *chat = gateway->chats; chat != NULL && count < AT_ONCE; chat = chat->next) {
            bool expired = !chat->expiry_unsure && chat->expires_at != 0 && when != NULL && chat->expires_at <= *when;
            if (chat->ended || (when != NULL && !expired)) continue;
            /* A request that is being freed is still there: freeing its chat, which nobody else holds then, waits for this mutex. */
            if (!request_try_ref(chat->request)) continue;
            chat->ended = true;
            chat_ref(chat);
            requests[count] = chat->request;
            some[count++] = chat;
        }
        pthread_mutex_unlock(&gateway->chats_mutex);
        if (count == 0) return;
        for (int i = 0; i < count; i++) {
            pthread_mutex_lock(&some[i]->mutex);
            chat_fail_locked(some[i], error);
            pthread_mutex_unlock(&some[i]->mutex);
            chat_unref(some[i]);
            request_unref(requests[i]);
        }
    }
}

void chats_end(struct gateway *gateway) {
    struct api_error error = api_error_unavailable("The gateway is stopping.");
    end_chats(gateway, NULL, &error);
}

void chats_end_expired(struct gateway *gateway) {
    struct api_error error = api_error_unauthorized();
    const int64_t now = clock_unix_ns(clock_system()) / NS_PER_S;
    end_chats(gateway, &now, &error);
}

/** Without an answer it stays unsure: the gate is looked at again as soon as Redis is back. */
static void learn_expiry(struct chat *chat, int64_t expires_at_or_absent) {
    pthread_mutex_lock(&chat->gateway->chats_mutex);
    chat->expiry_unsure = false;
    if (expires_at_or_absent != LIMITS_ABSENT) chat->expires_at = expires_at_or_absent;
    pthread_mutex_unlock(&chat->gateway->chats_mutex);
}

/** A chat whose key's gate is looked at. */
static void on_gate(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)message;
    struct chat *chat = context;
    struct api_error error = api_error_unauthorized();
    if (status == STATUS_OK) learn_expiry(chat, result->expires_at);
    if (status == STATUS_OK && result->outcome == LIMITS_KEY_CLOSED) {
        pthread_mutex_lock(&chat->mutex);
        chat_fail_locked(chat, &error);
        pthread_mutex_unlock(&chat->mutex);
    }
    chat_let_go(chat);
}

void chats_end_of(struct gateway *gateway, enum key_change change, const char *id) {
    enum { AT_ONCE = 64 };
    uint64_t pass = 0;
    for (;;) { /* some at a time, as above */
        struct chat *some[AT_ONCE];
        int count = 0;
        pthread_mutex_lock(&gateway->chats_mutex);
        if (pass == 0) pass = ++gateway->changes_seen;
        for (struct chat *chat = gateway->chats; chat != NULL && count < AT_ONCE; chat = chat->next) {
            if (chat->change_seen == pass || !key_change_is_about(change, id, chat->request->key)) continue;
            chat->change_seen = pass;
            chat->expiry_unsure = true;
            if (!request_try_ref(chat->request)) continue;
            chat_ref(chat);
            some[count++] = chat;
        }
        pthread_mutex_unlock(&gateway->chats_mutex);
        if (count == 0) return;
        for (int i = 0; i < count; i++) {
            const struct key_info *key = some[i]->request->key;
            limits_check_gate(gateway->limits, key->organization, key->gate, on_gate, some[i]);
        }
    }
}

void chat_cancel(struct chat *chat) {
    pthread_mutex_lock(&chat->mutex);
    chat->estimate.counts = true;
    done_locked(chat);
    pthread_mutex_unlock(&chat->mutex);
}

/* ---- choosing a worker --------------------------------------------------------------------------------------------- */

static bool choose_worker_locked(struct chat *chat, struct api_error *error) {
    struct worker *before = chat->worker, *worker = NULL;
    /* A second worker must have the model whose limits have let the request pass, whatever the name that was asked for. */
    const char *name = before != NULL ? before->announcement->model->name : chat->plan.request->model;
    enum workers_choice choice =
        workers_choose(chat->request->gateway->workers, name, "completion_chat", before, &worker);
    if (choice == WORKERS_CHOSEN && before != NULL && strcmp(worker->announcement->model->name, name) != 0) {
        worker_unref(worker);
        choice = WORKERS_NONE_LIVE;
    }
    switch (choice) {
    case WORKERS_CHOSEN:
        break;
    case WORKERS_INCAPABLE:
        *error =
            api_error_bad_request("invalid_model", "1500", "model", "The model %.64s does not complete chats.", name);
        return false;
    case WORKERS_NONE_LIVE:
        *error = api_error_unavailable("No worker serves the model %.64s right now.", name);
        return false;
    case WORKERS_UNKNOWN_MODEL:
        if (!workers_are_fresh(chat->request->gateway->workers))
            *error = api_error_unavailable("The list of models cannot be read.");
        else
            *error = api_error_bad_request("invalid_model", "1500", NULL, "Invalid model: %.64s", name);
        return false;
    }
    if (before != NULL) {
        atomic_fetch_sub(&before->running, 1);
        worker_unref(before);
    }
    atomic_fetch_add(&worker->running, 1);
    chat->worker = worker;
    snprintf(chat->request->model, sizeof chat->request->model, "%s", worker->announcement->model->name);
    return true;
}

static bool may_use_locked(const struct chat *chat, struct api_error *error) {
    if (key_info_may_use(chat->request->key, chat->worker->announcement->model)) return true;
    *error = api_error_forbidden("This key may not use the model %.64s.", chat->plan.request->model);
    return false;
}

/* ---- streams ------------------------------------------------------------------------------------------------------- */

static enum status open_stream_locked(struct chat *chat, int index) {
    struct chat_choice *choice = &chat->choices[index];
    Bora__Internal__V1__Start start = *chat->plan.start;
    Bora__Internal__V1__Sampling sampling = *chat->plan.start->sampling;
    const Bora__Internal__V1__ModelDescription *model = chat->worker->announcement->model;
    bool has_default = model->_default_temperature_case ==
                       BORA__INTERNAL__V1__MODEL_DESCRIPTION___DEFAULT_TEMPERATURE_DEFAULT_TEMPERATURE;
    if (sampling.temperature < 0) sampling.temperature = has_default ? model->default_temperature : TEMPERATURE_DEFAULT;
    /* The first answer's seed is the client's own; the others' follow from it. */
    sampling.seed = index == 0 ? chat->plan.seed : random_philox(chat->plan.seed, (uint64_t)index, SEED_LANE);
    start.request_id = chat->request->id;
    start.model = model->name;
    start.sampling = &sampling;
    start.tenant = (char *)chat->request->key->workspace;
    char lease[LIMITS_ID_BYTES + 1 + LIMITS_LEASE_ID_BYTES + 1];
    start.lease.len = (size_t)snprintf(lease, sizeof lease, "%s/%s", chat->request->key->organization, chat->lease);
    start.lease.data = (uint8_t *)lease;
    start.answer = index;
    start.proceed_prompt_tokens = chat->estimate.input;
    choice->prepared = choice->finished = choice->held = false;
    chat_ref(chat);
    request_ref(chat->request);
    enum status status =
        generation_start(chat->worker, &start, chat->request->deadline_ns, &callbacks, choice, &choice->generation);
    if (status == STATUS_OK) return STATUS_OK;
    request_unref(chat->request); /* never the last references: the caller has some */
    chat_unref(chat);
    return status;
}

void chat_open_streams_locked(struct chat *chat) {
    chat->attempts++;
    chat->phase = CHAT_PREPARING;
    if (chat->estimate.input > 0)
        chat->proceeded_ns = clock_monotonic_ns(clock_system());
    else
        random_hex_id(chat->lease,
                      LIMITS_LEASE_ID_BYTES); /* of this attempt: a worker that was given up reports for its own */
    for (int i = 0; i < chat->plan.streams; i++) {
        enum status status = open_stream_locked(chat, i);
        if (status == STATUS_OK) continue;
        struct api_error error = api_error_unavailable("The worker cannot be reached.");
        bool lost = status == STATUS_UNAVAILABLE || status == STATUS_CANCELLED;
        if (lost) atomic_store(&chat->worker->suspect, true);
        /* Nothing was started: another one may do it. */
        if (i == 0) chat_drop_estimate_locked(chat);
        if (lost && i == 0 && chat->attempts < ATTEMPTS_MAX && choose_worker_locked(chat, &error))
            chat_open_streams_locked(chat);
        else
            chat_fail_locked(chat, &error);
        return;
    }
}

void chat_start(struct request *request, const struct chat_plan *plan) {
    if (!request_permits(request, "chat")) return;
    struct chat *chat = calloc(1, sizeof *chat + (size_t)plan->choices * sizeof chat->choices[0]);
    if (chat == NULL) {
        struct api_error error = api_error_unavailable("Out of memory.");
        request_fail(request, &error);
        return;
    }
    chat->gateway = request->gateway;
    chat->request = request;
    chat->plan = *plan;
    chat->created = clock_unix_ns(clock_system()) / NS_PER_S;
    chat->expires_at = request->key->expires_at;
    atomic_init(&chat->references, 1); /* the request's */
    pthread_mutex_init(&chat->mutex, NULL);
    arena_init(&chat->scratch, SCRATCH_BYTES);
    arena_init(&chat->answer, ANSWER_BYTES_MAX);
    chat->choice_count = plan->choices;
    for (int i = 0; i < plan->choices; i++) {
        chat->choices[i] = (struct chat_choice){.chat = chat, .index = i};
        bytes_init(&chat->choices[i].text, ANSWER_BYTES_MAX);
        bytes_init(&chat->choices[i].thought, ANSWER_BYTES_MAX);
    }
    list_add(chat->gateway, chat);
    pthread_mutex_lock(&request->mutex);
    bool closed = request->closed;
    request->chat = chat; /* freed with the request */
    pthread_mutex_unlock(&request->mutex);
    struct api_error error;
    pthread_mutex_lock(&chat->mutex);
    if (closed) done_locked(chat);
    bool wanted = chat->phase != CHAT_DONE; /* the client may have left in between: chat_cancel said so */
    if (wanted && !(choose_worker_locked(chat, &error) && may_use_locked(chat, &error) &&
                    chat_check_model(request, plan->request, chat->worker->announcement, plan->streams, &error))) {
        chat_fail_locked(chat, &error);
        wanted = false;
    }
    struct chat_estimate estimate;
    bool denied = wanted && chat_looks_denied(chat), estimated = wanted && !denied && chat_estimate(chat, &estimate);
    pthread_mutex_unlock(&chat->mutex);
    if (denied) chat_peek(chat);
    if (estimated) chat_admit_estimate(chat, &estimate);
    if (!wanted || denied || estimated) return;
    pthread_mutex_lock(&chat->mutex);
    if (chat->phase == CHAT_PEEKING) chat_open_streams_locked(chat);
    pthread_mutex_unlock(&chat->mutex);
}

/* ---- proceeding --------------------------------------------------------------------------------------------------- */

void chat_proceed_locked(struct chat *chat, int64_t max_tokens) {
    chat->phase = CHAT_GENERATING;
    chat->proceeded_ns = clock_monotonic_ns(clock_system());
    for (int i = 0; i < chat->choice_count; i++) { /* NULL: ended meanwhile, which its last callback has said */
        if (chat->choices[i].generation != NULL) generation_proceed(chat->choices[i].generation, max_tokens);
    }
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

/** The client has too much waiting already: no more until it caught up. */
static void hold_if_slow_locked(struct chat *chat, struct chat_choice *choice) {
    if (chat->plan.streams == 1) choice = &chat->choices[0]; /* whose generation all of them share */
    if (choice->held || choice->generation == NULL ||
        chat->request->front->pending_bytes(chat->request) <= LIMIT_STREAM_PENDING_BYTES)
        return;
    choice->held = true;
    generation_hold(choice->generation);
}

void chat_writable(struct chat *chat) {
    for (int i = 0; i < chat->choice_count; i++) {
        struct chat_choice *choice = &chat->choices[i];
        pthread_mutex_lock(&chat->mutex);
        struct generation *generation = choice->held ? choice->generation : NULL;
        choice->held = false;
        if (generation != NULL) generation_ref(generation);
        pthread_mutex_unlock(&chat->mutex);
        if (generation == NULL) continue;
        generation_continue(generation);
        generation_unref(generation);
    }
}

/** True when this was the last one awaited and the limits are to be asked. */
static bool on_prepared_locked(struct chat *chat, struct chat_choice *choice,
                               const Bora__Internal__V1__Prepared *prepared) {
    /* One that was stopped: its prompt may have been computed all the same. */
    bool stopped = chat->phase == CHAT_DONE && chat->estimate.input > 0 && prepared->goes_on;
    if (chat->phase != CHAT_PREPARING && !stopped) return false;
    if (stopped) chat->estimate.counts = true;
    for (int i = choice->index, last = chat->plan.streams == 1 ? chat->choice_count - 1 : i; i <= last; i++) {
        chat->choices[i].prepared = true;
        chat->choices[i].prompt_tokens = prepared->prompt_tokens;
        chat->choices[i].max_tokens = prepared->max_tokens;
        chat->choices[i].dropped_messages = prepared->dropped_messages;
        chat->choices[i].dropped_tokens = prepared->dropped_tokens;
    }
    for (int i = 0; i < chat->choice_count; i++) {
        if (!chat->choices[i].prepared) return false;
    }
    if (chat->estimate.input > 0) {
        if (stopped || !chat_confirm_estimate_locked(chat)) return false;
        chat->phase = CHAT_GENERATING;
        if (!prepared->goes_on && choice->generation != NULL) generation_proceed(choice->generation, 0);
        return false;
    }
    chat->phase = CHAT_ADMITTING;
    return true;
}

static void note_first_token_locked(struct chat *chat, const struct chat_choice *choice) {
    if (choice->completion_tokens != 0) return;
    metric_observe(chat->request->gateway->first_token_s,
                   (double)(clock_monotonic_ns(clock_system()) - chat->request->started_ns) / 1e9,
                   chat->request->model);
}

/** An answer that has begun on every choice is never asked for again: what was asked may be large, and the stream last for hours. */
static void forget_request_locked(struct chat *chat) {
    if (chat->plan.start == NULL) return;
    for (int i = 0; i < chat->choice_count; i++) {
        if (!chat->choices[i].role_sent || chat->choices[i].completion_tokens == 0) return;
    }
    chat->plan.costly_param = chat_format_costly_param(&chat->plan);
    chat->plan.start = NULL;
    chat->plan.request = NULL;
    chat->plan.prefix = NULL; /* every choice has had it */
    arena_deinit(&chat->request->arena);
}

static void on_delta_locked(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Delta *delta) {
    if (chat->phase == CHAT_DONE && delta->completion_tokens > choice->completion_tokens)
        choice->completion_tokens = delta->completion_tokens; /* nobody reads it, but it was generated */
    if (chat->phase != CHAT_GENERATING) return;
    note_first_token_locked(chat, choice);
    choice->completion_tokens = delta->completion_tokens;
    chat_send_delta(chat, choice, delta);
    if (choice->failed) {
        struct api_error error = api_error_make(500, STATUS_RESOURCE_EXHAUSTED, "server_error", NULL,
                                                "The answer is too large to be sent whole; stream it.");
        chat_fail_locked(chat, &error);
        return;
    }
    if (!chat->plan.stream) return;
    chat->request->front->flush(chat->request);
    forget_request_locked(chat);
    hold_if_slow_locked(chat, choice);
}

static void on_end_locked(struct chat *chat, struct chat_choice *choice, const Bora__Internal__V1__Finished *finished) {
    choice->completion_tokens = finished->completion_tokens;
    choice->cached_tokens = finished->cached_tokens;
    if (chat->phase == CHAT_DONE || chat->refusal != NULL) return; /* the end of what was stopped is no news */
    if (finished->reason == BORA__INTERNAL__V1__FINISHED__REASON__REASON_CANCELLED) { /* not by us: by its deadline */
        struct api_error error =
            api_error_make(504, STATUS_DEADLINE_EXCEEDED, "timeout", NULL, "The request took too long.");
        chat_fail_locked(chat, &error);
        return;
    }
    if (chat->phase != CHAT_GENERATING) return;
    choice->reason = finished->reason;
    choice->logprob_sum += finished->other_logprob_sum;
    choice->logprob_tokens += finished->other_logprob_tokens;
    choice->finished = true;
    if (finished->grammar_too_costly) {
        struct api_error error = chat_format_costly(&chat->plan, finished->error);
        chat_fail_locked(chat, &error);
        return;
    }
    if (finished->reason == BORA__INTERNAL__V1__FINISHED__REASON__REASON_ERROR) {
        log_error("generation failed", LOG_S("request_id", chat->request->id), LOG_S("error", finished->error));
        bool said = finished->error != NULL && *finished->error != 0;
        struct api_error error =
            api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The model failed to answer%s%.200s.",
                           said ? ": " : "", said ? finished->error : "");
        chat_fail_locked(chat, &error);
        return;
    }
    bool last = true;
    for (int i = 0; i < chat->choice_count; i++) last = last && chat->choices[i].finished;
    /* Settled before its client hears of the end: what it asks next, wherever, finds the room. */
    if (last) done_locked(chat);
    if (chat->plan.stream)
        chat_send_finish(chat, choice, last);
    else if (last)
        chat_send_answer(chat);
    if (!last && chat->plan.stream) chat->request->front->flush(chat->request);
}

/** Whose event it is, of those that share a stream. */
static struct chat_choice *choice_of(struct chat_choice *choice, int32_t answer) {
    struct chat *chat = choice->chat;
    bool shared = chat->plan.streams == 1 && answer > 0 && answer < chat->choice_count;
    return shared ? &chat->choices[answer] : choice;
}

static void on_prepared(void *context, const Bora__Internal__V1__Prepared *prepared) {
    struct chat_choice *choice = context;
    struct chat *chat = choice->chat;
    pthread_mutex_lock(&chat->mutex);
    bool ask_limits = on_prepared_locked(chat, choice, prepared);
    pthread_mutex_unlock(&chat->mutex);
    if (ask_limits) chat_admit(chat);
}

static void on_delta(void *context, const Bora__Internal__V1__Delta *delta) {
    struct chat_choice *choice = context;
    struct chat *chat = choice->chat;
    pthread_mutex_lock(&chat->mutex);
    on_delta_locked(chat, choice_of(choice, delta->answer), delta);
    arena_deinit(&chat->scratch);
    pthread_mutex_unlock(&chat->mutex);
}

/** When the worker thinks that there will be room; a second where it does not say. */
static int64_t retry_hint_ms(const struct generation_failure *failure) {
    enum { UNKNOWN_MS = 1000 };
    const Bora__Internal__V1__WorkerError *detail = failure->detail;
    return detail != NULL && detail->retry_after_ms > 0 ? detail->retry_after_ms : UNKNOWN_MS;
}

/** The place that the worker objects to, as the client counts messages: it knows of none that was put in front. NULL: it names none. */
static const char *refused_param(struct chat *chat, const Bora__Internal__V1__WorkerError *detail) {
    size_t added = chat->plan.start->n_messages - chat->plan.request->n_messages, index;
    int read = 0;
    if (detail == NULL || *detail->param == 0) return NULL;
    if (sscanf(detail->param, "messages.%zu%n", &index, &read) != 1)
        return arena_printf(&chat->request->arena, "%s", detail->param);
    if (index < added) return "safe_prompt";
    return arena_printf(&chat->request->arena, "messages.%zu%s", index - added, detail->param + read);
}

static struct api_error invalid_argument(struct chat *chat, const struct generation_failure *failure) {
    const Bora__Internal__V1__WorkerError *detail = failure->detail;
    if (chat->plan.start == NULL) /* a worker that objects to what it has begun */
        return api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The model failed to answer.");
    if (detail != NULL && detail->grammar != NULL) {
        if (detail->_tool_case == BORA__INTERNAL__V1__WORKER_ERROR___TOOL_TOOL)
            return chat_tool_error(&chat->plan, detail->tool, detail->grammar, &chat->request->arena);
        return chat_format_error(&chat->plan, detail->grammar);
    }
    const char *param = refused_param(chat, detail);
    if (param == NULL && chat->plan.start->beam != NULL) param = "best_of";
    return api_error_bad_request("invalid_request_error", NULL, param, "%.250s", failure->message);
}

/** Before anything was computed: such an answer costs nothing. */
static bool is_refusal(enum status status) {
    return status == STATUS_RESOURCE_EXHAUSTED || status == STATUS_UNIMPLEMENTED || status == STATUS_INVALID_ARGUMENT ||
           status == STATUS_OUT_OF_RANGE;
}

/** Whatever the prompt: max_tokens alone is more than the context holds. */
static bool asks_past_context(const struct chat *chat) {
    const Bora__Internal__V1__Start *start = chat->plan.start;
    return start != NULL && start->_max_tokens_case == BORA__INTERNAL__V1__START___MAX_TOKENS_MAX_TOKENS &&
           start->max_tokens >= chat->worker->announcement->model->context_tokens;
}

/** A worker's refusal as the client sees it. */
static struct api_error worker_error(struct chat *chat, const struct generation_failure *failure) {
    struct api_error error;
    switch (failure->status) {
    case STATUS_OUT_OF_RANGE:
        return api_error_bad_request("invalid_request_error", "context_length_exceeded",
                                     asks_past_context(chat) ? "max_tokens" : "messages", "%.250s", failure->message);
    case STATUS_INVALID_ARGUMENT:
        return invalid_argument(chat, failure);
    case STATUS_RESOURCE_EXHAUSTED:
        error = api_error_make(429, STATUS_RESOURCE_EXHAUSTED, "service_tier_capacity_exceeded", "3505",
                               "Service tier capacity exceeded for this model.");
        error.retry_after_ms = retry_hint_ms(failure);
        return error;
    case STATUS_DEADLINE_EXCEEDED:
        return api_error_make(504, STATUS_DEADLINE_EXCEEDED, "timeout", NULL, "The request took too long.");
    case STATUS_UNIMPLEMENTED:
        if (chat->plan.start != NULL && chat->plan.start->beam != NULL)
            return api_error_bad_request("invalid_request_error", NULL, "use_beam_search",
                                         "The worker of this model does not search by beams.");
        return api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The model failed to answer.");
    case STATUS_INTERNAL:
        return api_error_make(500, STATUS_INTERNAL, "server_error", NULL, "The model failed to answer.");
    default:
        return api_error_unavailable("The worker for this model cannot be reached.");
    }
}

/** A refusal is an answer, and mostly the client's own doing: nobody needs to be woken for it. */
static void log_end(const struct chat *chat, const struct generation_failure *failure) {
    if (is_refusal(failure->status))
        log_info("a worker refused a request", LOG_S("request_id", chat->request->id),
                 LOG_S("worker_id", chat->worker->announcement->worker_id),
                 LOG_S("status", status_name(failure->status)), LOG_S("reason", failure->message));
    else
        log_warn("a worker's stream broke", LOG_S("request_id", chat->request->id),
                 LOG_S("worker_id", chat->worker->announcement->worker_id),
                 LOG_S("status", status_name(failure->status)), LOG_S("error", failure->message));
}

/** The worker has counted tokens and says no: that was work, so the limits count a request before the client hears of it. */
static bool refuse_later_locked(struct chat *chat, const struct generation_failure *failure,
                                const struct api_error *error) {
    if (chat->phase != CHAT_PREPARING ||
        (failure->status != STATUS_OUT_OF_RANGE && failure->status != STATUS_INVALID_ARGUMENT))
        return false;
    chat->estimate.counts = true;
    if (chat->estimate.input > 0) return false; /* they have */
    chat->refusal = arena_alloc(&chat->request->arena, sizeof *error);
    if (chat->refusal == NULL) return false;
    *chat->refusal = *error;
    chat->phase = CHAT_ADMITTING;
    stop_generations_locked(chat);
    return true;
}

/** The stream broke before its end. Tried again elsewhere when nothing is lost by it. True: the limits are to be asked. */
static bool on_broken_locked(struct chat *chat, const struct generation_failure *failure) {
    if (chat->phase == CHAT_DONE || chat->refusal != NULL) return false;
    struct api_error error;
    /* NOT_FOUND: another process has taken its place, which the list does not say yet. */
    bool lost = failure->status == STATUS_UNAVAILABLE || failure->status == STATUS_CANCELLED ||
                failure->status == STATUS_UNKNOWN || failure->status == STATUS_OK ||
                failure->status == STATUS_NOT_FOUND;
    if (lost) atomic_store(&chat->worker->suspect, true);
    log_end(chat, failure);
    bool again = lost && chat->phase == CHAT_PREPARING && chat->attempts < ATTEMPTS_MAX && chat->plan.streams == 1;
    if (again) {
        chat_drop_estimate_locked(chat);
        if (choose_worker_locked(chat, &error))
            chat_open_streams_locked(chat);
        else
            chat_fail_locked(chat, &error);
        return false;
    }
    bool idle = true;
    for (int i = 0; i < chat->choice_count; i++) idle = idle && chat->choices[i].completion_tokens == 0;
    chat->refused = idle && is_refusal(failure->status);
    error = worker_error(chat, failure);
    if (refuse_later_locked(chat, failure, &error)) return true;
    chat_fail_locked(chat, &error);
    return false;
}

/** Its last callback has come. */
static void generation_ended_locked(struct chat_choice *choice) {
    generation_unref(choice->generation);
    choice->generation = NULL;
}

/** A search's generation has ended: were there as many answers as were asked for? */
static bool lacks_answers_locked(const struct chat *chat) {
    bool lacks = false;
    for (int i = 0; i < chat->choice_count; i++) lacks = lacks || !chat->choices[i].finished;
    return lacks && chat->plan.streams == 1 && chat->phase != CHAT_DONE;
}

static void on_finished(void *context, const Bora__Internal__V1__Finished *finished, bool last) {
    struct chat_choice *choice = context;
    struct chat *chat = choice->chat;
    pthread_mutex_lock(&chat->mutex);
    if (last) generation_ended_locked(choice);
    on_end_locked(chat, choice_of(choice, finished->answer), finished);
    if (last) {
        if (lacks_answers_locked(chat)) {
            const struct generation_failure failure = {.status = STATUS_UNAVAILABLE, .message = "answers are missing"};
            (void)on_broken_locked(chat, &failure);
        }
        chat_settle_locked(chat);
    }
    pthread_mutex_unlock(&chat->mutex);
    if (last) chat_let_go(chat);
}

static void on_failed(void *context, const struct generation_failure *failure) {
    struct chat_choice *choice = context;
    struct chat *chat = choice->chat;
    pthread_mutex_lock(&chat->mutex);
    chat->provisional = chat->provisional || (chat->proceeded_ns != 0 && !is_refusal(failure->status));
    generation_ended_locked(choice);
    bool ask_limits = on_broken_locked(chat, failure);
    chat_settle_locked(chat);
    pthread_mutex_unlock(&chat->mutex);
    if (ask_limits) chat_admit(chat);
    chat_let_go(chat);
}

static const struct generation_callbacks callbacks = {
    .prepared = on_prepared, .delta = on_delta, .finished = on_finished, .failed = on_failed};
