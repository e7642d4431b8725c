/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* One generation of a link, from Start to its last event. */
#include "base/limits.h"
#include "services/worker/convert.h"
#include "services/worker/link.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EVENT_ARENA_BYTES = 3 << 20
}; /* one message holds little - LIMIT_DELTA_BYTES -, but for a call, which is whole */

struct answering *answering_create(struct link *link, struct arena *start_arena,
                                   const Bora__Internal__V1__Start *start) {
    struct answering *call = calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    atomic_init(&call->references, 1);
    pthread_mutex_init(&call->mutex, NULL);
    call->link = link;
    link_ref(link);
    call->start = start;
    call->start_arena = *start_arena;
    arena_init(start_arena, start_arena->cap_bytes);
    report_begin(&call->report, start);
    call->answers = start->beam != NULL ? start->beam->answers : 1;
    call->deadline_ns = INT64_MAX;
    if (start->deadline_ms > 0 && start->deadline_ms < INT64_MAX / NS_PER_MS / 2)
        call->deadline_ns = clock_monotonic_ns(clock_system()) + start->deadline_ms * NS_PER_MS;
    return call;
}

void answering_ref(struct answering *call) {
    atomic_fetch_add(&call->references, 1);
}

/** What only the way to the engine needs. */
static void forget_start(struct answering *call) {
    token_list_deinit(&call->prompt);
    arena_deinit(&call->start_arena);
    call->start = NULL;
    call->begun = (struct bytes_view){0};
}

void answering_unref(struct answering *call) {
    if (atomic_fetch_sub(&call->references, 1) != 1) return;
    forget_start(call);
    kept_grammar_release(call->grammar);
    grammar_unref(call->calls);
    pthread_mutex_destroy(&call->mutex);
    link_unref(call->link);
    free(call);
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

/** The generation's last event, which says whether it went well. The mutex is held. */
static void end_locked(struct answering *call, Bora__Internal__V1__LinkEvent *event, enum status status) {
    if (call->phase == DONE) return;
    call->phase = DONE;
    metric_add(link_worker(call->link)->requests, 1, status == STATUS_OK ? "ok" : status_name(status));
    (void)link_send(call, event, true);
    if (call->generation == NULL) link_account(call); /* nothing was computed */
    link_remove(call);
}

static void finish_locked(struct answering *call, Bora__Internal__V1__Finished *finished) {
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_FINISHED;
    event.finished = finished;
    finished->last = true;
    bool cancelled = finished->reason == BORA__INTERNAL__V1__FINISHED__REASON__REASON_CANCELLED;
    end_locked(call, &event, cancelled ? STATUS_CANCELLED : STATUS_OK);
}

/** Before anything was computed. */
static void finish_cancelled_locked(struct answering *call) {
    Bora__Internal__V1__Finished finished = BORA__INTERNAL__V1__FINISHED__INIT;
    finished.reason = BORA__INTERNAL__V1__FINISHED__REASON__REASON_CANCELLED;
    finish_locked(call, &finished);
}

/** A layout's objection begins with its place ("messages.3.content: ..."): takes that into `place` and returns the rest. */
static const char *take_place(const char *message, char *place, size_t place_bytes) {
    size_t length = strspn(message, "abcdefghijklmnopqrstuvwxyz_.0123456789");
    bool known = strncmp(message, "messages.", 9) == 0 || strncmp(message, "tools: ", 7) == 0 ||
                 strncmp(message, "reasoning_effort: ", 18) == 0;
    if (!known || length >= place_bytes || strncmp(message + length, ": ", 2) != 0) return message;
    memcpy(place, message, length);
    place[length] = 0;
    return message + length + 2;
}

/** A lack of room comes with a hint when there may be some, a layout's objection with its place, a declined grammar with what is wrong with it. */
static void fail_locked(struct answering *call, enum status status, const char *message) {
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Failed failed = BORA__INTERNAL__V1__FAILED__INIT;
    Bora__Internal__V1__WorkerError error = BORA__INTERNAL__V1__WORKER_ERROR__INIT;
    Bora__Internal__V1__GrammarProblem grammar = BORA__INTERNAL__V1__GRAMMAR_PROBLEM__INIT;
    struct engine_load load;
    char place[64] = "";
    if (call->phase == DONE) return;
    if (status == STATUS_RESOURCE_EXHAUSTED) {
        engine_load(link_worker(call->link)->engine, &load);
        error.retry_after_ms = load.retry_after_ms;
    } else if (status == STATUS_INVALID_ARGUMENT && call->declined.problem.reason[0] != 0) {
        convert_declined(&call->declined, &grammar, &error);
    } else if (status == STATUS_INVALID_ARGUMENT) {
        message = take_place(message, place, sizeof place);
        error.param = place;
    }
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_FAILED;
    event.failed = &failed;
    failed.status = (int32_t)status;
    failed.message = (char *)message;
    failed.error = &error;
    end_locked(call, &event, status);
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

/** The engine skips a generation whose reader is slow or whose events wait in the link. */
static void pause_as_needed_locked(struct answering *call) {
    struct engine *engine = link_worker(call->link)->engine;
    bool wanted = call->held || call->choked;
    if (call->generation == NULL || wanted == call->paused) return;
    call->paused = wanted;
    if (wanted)
        engine_pause(engine, call->generation);
    else
        engine_resume(engine, call->generation);
}

/** A beam search has several answers; what goes wrong ends it at once. */
static bool is_last_answer(const struct answering *call, const struct generation_event *event) {
    return finish_is_failure(event->finish) || event->answer == call->answers - 1;
}

/** Text and tokens of an event, in as many messages as that takes. False: no room. */
static bool send_deltas_locked(struct answering *call, const struct generation_event *event) {
    const struct tokenizer *tokenizer = engine_tokenizer(link_worker(call->link)->engine);
    struct generation_event rest = *event;
    struct arena arena;
    bool sent = true;
    arena_init(&arena, EVENT_ARENA_BYTES);
    while (sent && (rest.text.length > 0 || rest.id_count > 0 || rest.logprob_count > 0 || rest.call_count > 0 ||
                    rest.thought.length > 0)) {
        Bora__Internal__V1__LinkEvent message = BORA__INTERNAL__V1__LINK_EVENT__INIT;
        Bora__Internal__V1__Delta delta;
        arena_reset(&arena);
        message.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_DELTA;
        message.delta = &delta;
        enum link_sent outcome =
            convert_delta(&rest, tokenizer, &arena, &delta) == STATUS_OK ? link_send(call, &message, false) : LINK_FULL;
        sent = outcome != LINK_FULL;
        call->choked = call->choked || outcome == LINK_CHOKED;
    }
    arena_deinit(&arena);
    return sent;
}

/** One answer's end, which is the generation's for the last one. */
static void send_end_locked(struct answering *call, const struct generation_event *event, bool last) {
    Bora__Internal__V1__LinkEvent message = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Finished finished;
    convert_finished(event, &finished);
    if (event->finish == FINISH_REFUSED) { /* as the gateway would have heard when it asked */
        fail_locked(call, STATUS_RESOURCE_EXHAUSTED, event->error);
    } else if (last) {
        finish_locked(call, &finished);
    } else {
        message.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_FINISHED;
        message.finished = &finished;
        (void)link_send(call, &message, true);
    }
}

static void on_engine_event(void *context, const struct generation_event *event) {
    struct answering *call = context;
    struct worker *worker = link_worker(call->link);
    pthread_mutex_lock(&call->mutex);
    if (!call->first_event && event->id_count > 0) {
        call->first_event = true;
        metric_observe(worker->first_token_s, (double)(clock_monotonic_ns(clock_system()) - call->proceeded_ns) / 1e9);
    }
    bool ended = event->finish != FINISH_NONE, last = ended && is_last_answer(call, event);
    if (call->phase == GENERATING && !send_deltas_locked(call, event)) {
        call->abandoned = true; /* the gateway will hear no more of it */
        fail_locked(call, STATUS_INTERNAL, "an event finds no room on its way");
        if (!last) engine_cancel(worker->engine, call->generation);
    }
    if (ended && event->finish != FINISH_REFUSED) {
        call->report.usage.input = event->prompt_tokens;
        call->report.usage.cached_input = event->cached_tokens;
        call->report.usage.output += event->completion_tokens;
    }
    if (last)
        link_account(call); /* before it leaves the table: whoever asks for it finds it in one place or the other */
    if (ended && call->phase == GENERATING) send_end_locked(call, event, last);
    if (last) {
        engine_release(worker->engine, call->generation);
        call->generation = NULL;
    } else {
        pause_as_needed_locked(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (last) answering_unref(call);
}

/* ---- from Start to Prepared ------------------------------------------------------------------------------------------ */

/** What the answer that the client sees begins with: the text of a prefix message. */
static struct bytes_view begun_text(const struct answering *call) {
    const Bora__Internal__V1__ConversationMessage *last = call->start->messages[call->start->n_messages - 1];
    return last->prefix ? bytes_view_of(last->content.data, last->content.len) : (struct bytes_view){0};
}

/** Does its answer perhaps hold calls? Without them a grammar needs no care for tools. */
static bool may_call(const Bora__Internal__V1__Start *start) {
    bool none =
        start->tool_choice != NULL && start->tool_choice->mode == BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_NONE;
    return start->n_tools > 0 && !(none && start->grammar != NULL);
}

static enum status decline(struct answering *call, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "the grammar is declined: %.200s", call->declined.problem.reason);
}

/** What is continued begins one of the grammar's texts, and max_tokens are enough for a short one. */
static enum status check_beginning(struct answering *call, struct grammar *grammar, struct bytes_view begun,
                                   struct error *err) {
    struct grammar_problem *problem = &call->declined.problem;
    size_t needed;
    call->declined.tool = -1;
    if (!grammar_begins(grammar, begun, &needed)) {
        *problem = (struct grammar_problem){.keyword = "prefix",
                                            .reason = "no text of the grammar begins with the text that is continued"};
        return decline(call, err);
    }
    if (needed == SIZE_MAX || (int64_t)needed <= call->max_tokens || call->max_tokens == 0) return STATUS_OK;
    *problem = (struct grammar_problem){.keyword = "max_tokens"};
    snprintf(problem->reason, sizeof problem->reason, "a short answer takes %zu tokens", needed);
    return decline(call, err);
}

static enum status prepare_tools(struct answering *call, struct error *err) {
    struct bytes_view begun = begun_text(call);
    struct error unfit = {0};
    enum status status = tools_compile(link_worker(call->link)->tools, call->start, &call->prompt, begun.length > 0,
                                       &call->calls, &call->declined, &unfit);
    if (status != STATUS_OK)
        return call->declined.problem.reason[0] != 0 ? decline(call, err) : error_set(err, status, "%s", unfit.message);
    /* Free text may end where a call begins. Where nothing but calls may come, the text before them is none of theirs. */
    size_t needed;
    if (call->start->grammar == NULL && !grammar_begins(call->calls, begun, &needed)) begun.length = 0;
    call->begun = begun;
    return check_beginning(call, call->calls, begun, err);
}

/** The grammar, compiled or found. Whatever is wrong with it is the client's to mend: STATUS_INVALID_ARGUMENT, and call->declined says why. */
static enum status prepare_grammar(struct answering *call, struct error *err) {
    struct grammar_source source;
    call->declined.tool = -1;
    if (may_call(call->start)) return prepare_tools(call, err);
    if (call->start->grammar == NULL) return STATUS_OK;
    TRY(convert_grammar(call->start, &source, err));
    if (grammars_get(link_worker(call->link)->grammars, &source, &call->grammar, &call->declined.problem) != STATUS_OK)
        return decline(call, err);
    call->begun = begun_text(call);
    return check_beginning(call, kept_grammar_compiled(call->grammar), call->begun, err);
}

/** Are the oldest turns of a conversation dropped that does not fit? */
static bool truncates(const struct answering *call) {
    switch (call->start->truncation) {
    case BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_AUTO:
        return true;
    case BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_DISABLED:
        return false;
    default:
        return link_worker(call->link)->model.truncates;
    }
}

/** The prompt, and what had to go so that `wanted` tokens (below 0: some) can follow it. STATUS_OUT_OF_RANGE: too long. */
static enum status tokenize(struct answering *call, const struct chat_conversation *conversation, int64_t wanted,
                            struct error *err) {
    const struct engine *engine = link_worker(call->link)->engine;
    int64_t context = link_worker(call->link)->description.context_tokens, room = wanted < 0 ? context / 8 : wanted;
    if (room < 1) room = 1; /* a prompt never fills the context */
    /* How long a prompt is that does not fit is worth knowing, up to a few contexts: what is longer is refused as soon as that shows. */
    enum { COUNTED_CONTEXTS = 4 };
    call->prompt.max_count = COUNTED_CONTEXTS * (size_t)context;
    if (!truncates(call) || room >= context) return engine_tokenize(engine, conversation, NULL, &call->prompt, err);
    call->prompt.max_count = (size_t)context;
    struct error unfit = {0};
    call->window.max_tokens = (size_t)(context - room);
    enum status status = engine_tokenize(engine, conversation, &call->window, &call->prompt, &unfit);
    if (status == STATUS_OUT_OF_RANGE && wanted < 0) { /* the last turn is long: less room is better than none */
        unfit = (struct error){0};
        call->window.max_tokens = (size_t)context - 1;
        status = engine_tokenize(engine, conversation, &call->window, &call->prompt, &unfit);
    }
    return status == STATUS_OK ? status : error_set(err, status, "%s", unfit.message);
}

/** In the words that a client knows. */
static enum status too_long(const struct answering *call, struct error *err) {
    long long context = (long long)link_worker(call->link)->description.context_tokens;
    *err = (struct error){0};
    if (call->window.max_tokens > 0)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "The system prompt and the last turn alone do not fit; the model's context holds %lld tokens.",
                         context);
    return error_set(err, STATUS_OUT_OF_RANGE, "The prompt has more than %zu tokens; the model's context holds %lld.",
                     call->prompt.max_count, context);
}

/** Prompt tokens are known: check them against the context and say what may be generated. */
static enum status prepare(struct answering *call, struct error *err) {
    struct chat_message *messages = NULL;
    size_t count = 0;
    TRY(convert_messages(call->start, &call->start_arena, &messages, &count, err));
    struct chat_conversation conversation = {.messages = messages, .message_count = count};
    TRY(convert_tools(call->start, &call->start_arena, &conversation, err));
    int64_t context = link_worker(call->link)->description.context_tokens;
    bool given = call->start->_max_tokens_case == BORA__INTERNAL__V1__START___MAX_TOKENS_MAX_TOKENS;
    if (given && call->start->max_tokens < 0) return error_set(err, STATUS_INVALID_ARGUMENT, "max_tokens is negative");
    enum status status = tokenize(call, &conversation, given ? call->start->max_tokens : -1, err);
    if (status == STATUS_OUT_OF_RANGE) return too_long(call, err);
    if (status != STATUS_OK) return status;
    int64_t prompt = (int64_t)call->prompt.count;
    int64_t wanted = given ? call->start->max_tokens : context - prompt;
    if (prompt >= context || wanted > context - prompt) {
        if (!given)
            return error_set(err, STATUS_OUT_OF_RANGE, "The prompt has %lld tokens; the model's context holds %lld.",
                             (long long)prompt, (long long)context);
        return error_set(
            err, STATUS_OUT_OF_RANGE,
            "The prompt has %lld tokens and max_tokens is %lld; together they pass the model's context of %lld tokens.",
            (long long)prompt, (long long)wanted, (long long)context);
    }
    call->max_tokens = wanted;
    return prepare_grammar(call, err);
}

static void send_prepared_locked(struct answering *call, bool goes_on) {
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Prepared prepared = BORA__INTERNAL__V1__PREPARED__INIT;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_PREPARED;
    event.prepared = &prepared;
    prepared.prompt_tokens = (int64_t)call->prompt.count;
    prepared.max_tokens = call->max_tokens;
    prepared.context_tokens = link_worker(call->link)->description.context_tokens;
    prepared.dropped_messages = (int64_t)call->window.dropped_messages;
    prepared.dropped_tokens = (int64_t)call->window.dropped_tokens;
    prepared.goes_on = goes_on;
    call->phase = AWAIT_PROCEED;
    if (link_send(call, &event, false) == LINK_FULL)
        fail_locked(call, STATUS_RESOURCE_EXHAUSTED, "too much waits for the gateway");
}

static bool is_late(const struct answering *call) {
    return call->deadline_ns != INT64_MAX && clock_monotonic_ns(clock_system()) >= call->deadline_ns;
}

static enum status generate_locked(struct answering *call, struct error *err) {
    struct generation_request request = {.prompt = call->prompt.ids,
                                         .prompt_count = call->prompt.count,
                                         .max_tokens = call->max_tokens,
                                         .on_event = on_engine_event,
                                         .context = call};
    TRY(convert_sampling(call->start, &call->start_arena, &request, err));
    request.calls = call->calls != NULL;
    request.grammar = request.calls ? call->calls : call->grammar != NULL ? kept_grammar_compiled(call->grammar) : NULL;
    request.begun = call->begun;
    call->phase = GENERATING;
    call->proceeded_ns = clock_monotonic_ns(clock_system());
    answering_ref(call); /* until the last event */
    enum status status = engine_submit(link_worker(call->link)->engine, &request, &call->generation, err);
    if (status != STATUS_OK) answering_unref(call); /* the caller has another */
    return status;
}

static void proceed_locked(struct answering *call, int64_t max_tokens) {
    struct error err = {0};
    if (max_tokens > 0 && max_tokens < call->max_tokens) call->max_tokens = max_tokens;
    enum status status = is_late(call) ? error_set(&err, STATUS_DEADLINE_EXCEEDED, "its time was over before it began")
                                       : generate_locked(call, &err);
    forget_start(call);
    if (status != STATUS_OK) fail_locked(call, status, err.message);
    pause_as_needed_locked(call);
}

/** Tokens are counted. The limits may have said yes already, to a prompt of so many. */
static void prepared_locked(struct answering *call) {
    bool goes_on = (int64_t)call->prompt.count <= call->start->proceed_prompt_tokens;
    send_prepared_locked(call, goes_on);
    if (goes_on && call->phase == AWAIT_PROCEED) proceed_locked(call, 0);
}

static void tokenize_job(void *context) {
    struct answering *call = context;
    struct error err = {0};
    pthread_mutex_lock(&call->mutex);
    bool wanted = call->phase == TOKENIZING; /* else the client left while this waited for its turn */
    pthread_mutex_unlock(&call->mutex);
    enum status status = STATUS_CANCELLED;
    if (wanted && is_late(call))
        status = error_set(&err, STATUS_DEADLINE_EXCEEDED, "its time was over before its turn came");
    else if (wanted)
        status = prepare(call, &err); /* in this phase nobody else touches start and prompt */
    pthread_mutex_lock(&call->mutex);
    if (call->phase == TOKENIZING && status == STATUS_OK)
        prepared_locked(call);
    else if (call->phase == TOKENIZING)
        fail_locked(call, status, err.message);
    pthread_mutex_unlock(&call->mutex);
    answering_unref(call);
}

void answering_start(struct answering *call) {
    struct worker *worker = link_worker(call->link);
    pthread_mutex_lock(&call->mutex);
    const Bora__Internal__V1__Start *start = call->start;
    if (call->phase != TOKENIZING) {
        /* the stream has ended meanwhile */
    } else if (strcmp(start->model, worker->model.name) != 0) { /* a gateway that still knows who was here before */
        fail_locked(call, STATUS_NOT_FOUND, "this worker does not serve that model");
    } else if (start->n_messages == 0) {
        fail_locked(call, STATUS_INVALID_ARGUMENT, "a conversation without a message");
    } else {
        struct turns *turns = start->grammar != NULL || start->n_tools > 0 ? worker->compiling : worker->tokenizing;
        answering_ref(call); /* the job's */
        if (turns_submit(turns, start->tenant, tokenize_job, call) != STATUS_OK) {
            answering_unref(call);
            fail_locked(call, STATUS_RESOURCE_EXHAUSTED, "too many requests wait for their tokens to be counted");
        }
    }
    pthread_mutex_unlock(&call->mutex);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

void answering_proceed(struct answering *call, int64_t max_tokens) {
    pthread_mutex_lock(&call->mutex);
    if (call->phase == AWAIT_PROCEED) {
        proceed_locked(call, max_tokens);
    } else if (call->phase != DONE) {
        fail_locked(call, STATUS_FAILED_PRECONDITION, "a Proceed that follows no Prepared");
        if (call->generation != NULL) engine_cancel(link_worker(call->link)->engine, call->generation);
    }
    pthread_mutex_unlock(&call->mutex);
}

void answering_stop(struct answering *call, bool abandoned) {
    pthread_mutex_lock(&call->mutex);
    call->abandoned = call->abandoned || abandoned;
    /* A running generation ends by its own last event, which comes within one step. */
    if (call->generation != NULL)
        engine_cancel(link_worker(call->link)->engine, call->generation);
    else
        finish_cancelled_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

void answering_hold(struct answering *call, bool hold) {
    pthread_mutex_lock(&call->mutex);
    call->held = hold;
    pause_as_needed_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

void answering_unchoke(struct answering *call) {
    pthread_mutex_lock(&call->mutex);
    call->choked = false;
    pause_as_needed_locked(call);
    pthread_mutex_unlock(&call->mutex);
}

void answering_refuse(struct answering *call, enum status status, const char *message) {
    pthread_mutex_lock(&call->mutex);
    call->abandoned = call->abandoned || call->generation != NULL; /* the gateway does not hear what it comes to */
    fail_locked(call, status, message);
    if (call->generation != NULL) engine_cancel(link_worker(call->link)->engine, call->generation);
    pthread_mutex_unlock(&call->mutex);
}

void answering_abandon(struct answering *call) {
    pthread_mutex_lock(&call->mutex);
    if (call->phase != DONE) metric_add(link_worker(call->link)->requests, 1, status_name(STATUS_CANCELLED));
    if (call->phase != DONE && call->generation == NULL) link_account(call);
    call->phase = DONE;
    if (call->generation != NULL) engine_cancel(link_worker(call->link)->engine, call->generation);
    pthread_mutex_unlock(&call->mutex);
}
