/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The Generate call. Three parties touch a call: the completion-queue thread (messages, cancellation), a tokenizing
 * thread (between Start and Prepared) and the engine's step thread (events). Its mutex orders them; each holds a
 * reference while it may still come.
 *
 *   AWAIT_START ─Start→ TOKENIZING ─→ AWAIT_PROCEED ─Proceed→ GENERATING ─last event→ DONE
 *        └───────────────────┴───────────────┴── cancelled, or an error → DONE
 */
#include "base/limits.h"
#include "base/log.h"
#include "rpc/transcode.h"
#include "services/worker/convert.h"
#include "services/worker/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum phase { AWAIT_START, TOKENIZING, AWAIT_PROCEED, GENERATING, DONE };

enum {
    START_ARENA_BYTES_FACTOR = 4, /* an unpacked Start may take this many times the largest message */
    EVENT_ARENA_BYTES = 3 << 20,  /* one message holds little - LIMIT_DELTA_BYTES -, but for a call, which is whole */
};

struct generate_call {
    struct worker *worker;
    struct rpc_call *rpc;
    atomic_int references;
    pthread_mutex_t mutex;
    enum phase phase;
    bool paused;      /* the reader is slow: the engine skips this generation */
    bool first_event; /* the first token was timed */
    int64_t proceeded_ns;
    struct arena start_arena; /* Start and what is lent from it */
    const Bora__Internal__V1__Start *start;
    struct arena event_arena;
    struct bytes packed; /* scratch for one message */
    struct token_list prompt;
    struct chat_window window; /* what was dropped of the conversation */
    int64_t max_tokens;
    struct kept_grammar *grammar;  /* NULL: anything may be said, or ... */
    struct grammar *calls;         /* ... what this says: text and calls of tools */
    struct bytes_view begun;       /* of what is continued, the text that the grammar counts in */
    struct tools_problem declined; /* with a reason: why the grammar or a tool was declined */
    struct generation *generation;
};

static void call_unref(struct generate_call *call) {
    if (atomic_fetch_sub(&call->references, 1) != 1) return;
    token_list_deinit(&call->prompt);
    kept_grammar_release(call->grammar);
    grammar_unref(call->calls);
    arena_deinit(&call->start_arena);
    arena_deinit(&call->event_arena);
    bytes_deinit(&call->packed);
    pthread_mutex_destroy(&call->mutex);
    rpc_call_unref(call->rpc);
    free(call);
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

/** End the call. A lack of room comes with a hint when there may be some, a layout's objection with its place, a declined grammar with what is wrong with it. The mutex is held. */
static void finish_locked(struct generate_call *call, enum status status, const char *message) {
    if (call->phase == DONE) return;
    call->phase = DONE;
    metric_add(call->worker->requests, 1, status == STATUS_OK ? "ok" : status_name(status));
    struct bytes_view details = {0};
    struct engine_load load = {0};
    char place[64] = "";
    bytes_reset(&call->packed);
    if (status == STATUS_RESOURCE_EXHAUSTED) engine_load(call->worker->engine, &load);
    bool declined = status == STATUS_INVALID_ARGUMENT && call->declined.problem.reason[0] != 0;
    if (status == STATUS_INVALID_ARGUMENT && !declined) message = take_place(message, place, sizeof place);
    if (declined) {
        if (convert_declined(message, &call->declined.problem, call->declined.tool, &call->packed) == STATUS_OK)
            details = bytes_view(&call->packed);
    } else if ((status == STATUS_RESOURCE_EXHAUSTED || *place != 0) &&
               convert_refusal(status, message, load.retry_after_ms, place, &call->packed) == STATUS_OK) {
        details = bytes_view(&call->packed);
    }
    rpc_call_finish(call->rpc, status, message, details);
}

static void write_packed_locked(struct generate_call *call) {
    /* A failed write means that the call is over: `cancelled` tells the rest. */
    if (rpc_call_write(call->rpc, bytes_view(&call->packed)) != STATUS_OK && call->generation != NULL) {
        engine_cancel(call->worker->engine, call->generation);
    }
}

/** A beam search has several answers; what goes wrong ends it at once. */
static bool is_last_answer(const struct generate_call *call, const struct generation_event *event) {
    if (finish_is_failure(event->finish) || call->start->beam == NULL) return true;
    return event->answer == call->start->beam->answers - 1;
}

/** Text and tokens of an event, in as many messages as that takes. */
static enum status write_deltas_locked(struct generate_call *call, const struct generation_event *event) {
    const struct tokenizer *tokenizer = engine_tokenizer(call->worker->engine);
    struct generation_event rest = *event;
    while (rest.text.length > 0 || rest.id_count > 0 || rest.logprob_count > 0 || rest.call_count > 0 ||
           rest.thought.length > 0) {
        arena_reset(&call->event_arena);
        bytes_reset(&call->packed);
        TRY(convert_delta(&rest, tokenizer, &call->event_arena, &call->packed));
        write_packed_locked(call);
    }
    return STATUS_OK;
}

/** End the call as its generation ended: a refusal is what the gateway would have got when it asked. The mutex is held. */
static void finish_as_locked(struct generate_call *call, const struct generation_event *event) {
    switch (event->finish) {
    case FINISH_CANCELLED:
        finish_locked(call, STATUS_CANCELLED, "cancelled");
        break;
    case FINISH_REFUSED:
        finish_locked(call, STATUS_RESOURCE_EXHAUSTED, event->error);
        break;
    default: /* its Finished says the rest */
        finish_locked(call, STATUS_OK, NULL);
        break;
    }
}

static void on_engine_event(void *context, const struct generation_event *event) {
    struct generate_call *call = context;
    pthread_mutex_lock(&call->mutex);
    if (!call->first_event && event->id_count > 0) {
        call->first_event = true;
        metric_observe(call->worker->first_token_s,
                       (double)(clock_monotonic_ns(clock_system()) - call->proceeded_ns) / 1e9);
    }
    bool failed = write_deltas_locked(call, event) != STATUS_OK;
    bool ended = event->finish != FINISH_NONE, last = ended && is_last_answer(call, event);
    if (ended) {
        bytes_reset(&call->packed);
        failed = failed || convert_finished(event, &call->packed) != STATUS_OK;
        bool told = event->finish != FINISH_CANCELLED && event->finish != FINISH_REFUSED;
        if (!failed && told) write_packed_locked(call);
    }
    if (last) {
        if (failed) finish_locked(call, STATUS_INTERNAL, "an event could not be packed");
        finish_as_locked(call, event); /* nothing when it is over */
        engine_release(call->worker->engine, call->generation);
        call->generation = NULL;
    } else if (failed) {
        finish_locked(call, STATUS_INTERNAL, "an event could not be packed");
        engine_cancel(call->worker->engine, call->generation);
    } else if (!call->paused && rpc_call_pending_bytes(call->rpc) > LIMIT_STREAM_PENDING_BYTES) {
        call->paused = true;
        engine_pause(call->worker->engine, call->generation);
    }
    pthread_mutex_unlock(&call->mutex);
    if (last) call_unref(call);
}

/** What the answer that the client sees begins with: the text of a prefix message. */
static struct bytes_view begun_text(const struct generate_call *call) {
    const Bora__Internal__V1__ConversationMessage *last = call->start->messages[call->start->n_messages - 1];
    return last->prefix ? bytes_view_of(last->content.data, last->content.len) : (struct bytes_view){0};
}

/** Does its answer perhaps hold calls? Without them a grammar needs no care for tools. */
static bool may_call(const Bora__Internal__V1__Start *start) {
    bool none =
        start->tool_choice != NULL && start->tool_choice->mode == BORA__INTERNAL__V1__TOOL_CHOICE__MODE__MODE_NONE;
    return start->n_tools > 0 && !(none && start->grammar != NULL);
}

static enum status decline(struct generate_call *call, struct error *err) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "the grammar is declined: %.200s", call->declined.problem.reason);
}

/** What is continued begins one of the grammar's texts, and max_tokens are enough for a short one. */
static enum status check_beginning(struct generate_call *call, struct grammar *grammar, struct bytes_view begun,
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

static enum status prepare_tools(struct generate_call *call, struct error *err) {
    struct bytes_view begun = begun_text(call);
    struct error unfit = {0};
    enum status status = tools_compile(call->worker->tools, call->start, &call->prompt, begun.length > 0, &call->calls,
                                       &call->declined, &unfit);
    if (status != STATUS_OK)
        return call->declined.problem.reason[0] != 0 ? decline(call, err) : error_set(err, status, "%s", unfit.message);
    /* Free text may end where a call begins. Where nothing but calls may come, the text before them is none of theirs. */
    size_t needed;
    if (call->start->grammar == NULL && !grammar_begins(call->calls, begun, &needed)) begun.length = 0;
    call->begun = begun;
    return check_beginning(call, call->calls, begun, err);
}

/** The grammar, compiled or found. Whatever is wrong with it is the client's to mend: STATUS_INVALID_ARGUMENT, and call->declined says why. */
static enum status prepare_grammar(struct generate_call *call, struct error *err) {
    struct grammar_source source;
    call->declined.tool = -1;
    if (may_call(call->start)) return prepare_tools(call, err);
    if (call->start->grammar == NULL) return STATUS_OK;
    TRY(convert_grammar(call->start, &source, err));
    if (grammars_get(call->worker->grammars, &source, &call->grammar, &call->declined.problem) != STATUS_OK)
        return decline(call, err);
    call->begun = begun_text(call);
    return check_beginning(call, kept_grammar_compiled(call->grammar), call->begun, err);
}

static void start_generation_locked(struct generate_call *call, const Bora__Internal__V1__Proceed *proceed) {
    struct error err = {0};
    if (proceed->max_tokens > 0 && proceed->max_tokens < call->max_tokens) call->max_tokens = proceed->max_tokens;
    struct generation_request request = {.prompt = call->prompt.ids,
                                         .prompt_count = call->prompt.count,
                                         .max_tokens = call->max_tokens,
                                         .on_event = on_engine_event,
                                         .context = call};
    enum status status = convert_sampling(call->start, &call->start_arena, &request, &err);
    request.calls = call->calls != NULL;
    request.grammar = request.calls ? call->calls : call->grammar != NULL ? kept_grammar_compiled(call->grammar) : NULL;
    request.begun = call->begun;
    if (status == STATUS_OK) {
        call->phase = GENERATING;
        call->proceeded_ns = clock_monotonic_ns(clock_system());
        atomic_fetch_add(&call->references, 1); /* until the last event */
        status = engine_submit(call->worker->engine, &request, &call->generation, &err);
        if (status != STATUS_OK) atomic_fetch_sub(&call->references, 1);
    }
    if (status != STATUS_OK) finish_locked(call, status, err.message);
}

/** Are the oldest turns of a conversation dropped that does not fit? */
static bool truncates(const struct generate_call *call) {
    switch (call->start->truncation) {
    case BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_AUTO:
        return true;
    case BORA__INTERNAL__V1__START__TRUNCATION__TRUNCATION_DISABLED:
        return false;
    default:
        return call->worker->model.truncates;
    }
}

/** The prompt, and what had to go so that `wanted` tokens (below 0: some) can follow it. STATUS_OUT_OF_RANGE: too long. */
static enum status tokenize(struct generate_call *call, const struct chat_conversation *conversation, int64_t wanted,
                            struct error *err) {
    const struct engine *engine = call->worker->engine;
    int64_t context = call->worker->description.context_tokens, room = wanted < 0 ? context / 8 : wanted;
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
static enum status too_long(const struct generate_call *call, struct error *err) {
    long long context = (long long)call->worker->description.context_tokens;
    *err = (struct error){0};
    if (call->window.max_tokens > 0)
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "The system prompt and the last turn alone do not fit; the model's context holds %lld tokens.",
                         context);
    return error_set(err, STATUS_OUT_OF_RANGE, "The prompt has more than %zu tokens; the model's context holds %lld.",
                     call->prompt.max_count, context);
}

/** Prompt tokens are known: check them against the context and say what may be generated. */
static enum status prepare(struct generate_call *call, struct error *err) {
    struct chat_message *messages = NULL;
    size_t count = 0;
    TRY(convert_messages(call->start, &call->start_arena, &messages, &count, err));
    struct chat_conversation conversation = {.messages = messages, .message_count = count};
    TRY(convert_tools(call->start, &call->start_arena, &conversation, err));
    int64_t context = call->worker->description.context_tokens;
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

static void tokenize_job(void *context) {
    struct generate_call *call = context;
    struct error err = {0};
    pthread_mutex_lock(&call->mutex);
    bool wanted = call->phase == TOKENIZING; /* else the client left while this waited for its turn */
    pthread_mutex_unlock(&call->mutex);
    /* In this phase nobody else touches start and prompt. */
    enum status status = wanted ? prepare(call, &err) : STATUS_CANCELLED;
    pthread_mutex_lock(&call->mutex);
    if (call->phase == TOKENIZING) {
        bytes_reset(&call->packed);
        if (status == STATUS_OK)
            status = convert_prepared((int64_t)call->prompt.count, call->max_tokens,
                                      call->worker->description.context_tokens, &call->window, &call->packed);
        if (status == STATUS_OK) {
            call->phase = AWAIT_PROCEED;
            write_packed_locked(call);
        } else {
            finish_locked(call, status, err.message);
        }
    }
    pthread_mutex_unlock(&call->mutex);
    call_unref(call);
}

static void on_start(struct rpc_call *rpc, void *service) {
    struct worker *worker = service;
    struct generate_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        rpc_call_finish(rpc, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return;
    }
    call->worker = worker;
    call->rpc = rpc;
    rpc_call_ref(rpc);
    atomic_init(&call->references, 1);
    pthread_mutex_init(&call->mutex, NULL);
    arena_init(&call->start_arena, (size_t)worker->settings.message_bytes_max * START_ARENA_BYTES_FACTOR);
    arena_init(&call->event_arena, EVENT_ARENA_BYTES);
    bytes_init(&call->packed, EVENT_ARENA_BYTES);
    rpc_call_set_state(rpc, call);
    rpc_call_set_watermark(rpc, LIMIT_STREAM_PENDING_BYTES);
    if (atomic_load(&worker->draining)) {
        pthread_mutex_lock(&call->mutex);
        finish_locked(call, STATUS_UNAVAILABLE, "the worker is draining");
        pthread_mutex_unlock(&call->mutex);
    }
}

static void take_start_locked(struct generate_call *call, const Bora__Internal__V1__Start *start) {
    call->start = start;
    if (strcmp(start->model, call->worker->model.name) != 0) { /* a gateway that still knows who was here before */
        finish_locked(call, STATUS_NOT_FOUND, "this worker does not serve that model");
        return;
    }
    call->phase = TOKENIZING;
    atomic_fetch_add(&call->references, 1); /* the job's */
    struct turns *turns =
        start->grammar != NULL || start->n_tools > 0 ? call->worker->compiling : call->worker->tokenizing;
    if (turns_submit(turns, start->tenant, tokenize_job, call) != STATUS_OK) {
        atomic_fetch_sub(&call->references, 1);
        finish_locked(call, STATUS_RESOURCE_EXHAUSTED, "too many requests wait for their tokens to be counted");
    }
}

static void on_message(struct rpc_call *rpc, struct bytes_view message) {
    struct generate_call *call = rpc_call_state(rpc);
    if (call == NULL) return;
    pthread_mutex_lock(&call->mutex);
    struct error err = {0};
    ProtobufCMessage *unpacked = NULL;
    enum status status = STATUS_OK;
    if (call->phase == AWAIT_START || call->phase == AWAIT_PROCEED) {
        status = protobuf_unpack(&bora__internal__v1__generate_command__descriptor, message, &call->start_arena,
                                 &unpacked, &err);
        const Bora__Internal__V1__GenerateCommand *command = (const void *)unpacked;
        if (status != STATUS_OK)
            finish_locked(call, status, err.message);
        else if (call->phase == AWAIT_START && command->kind_case == BORA__INTERNAL__V1__GENERATE_COMMAND__KIND_START)
            take_start_locked(call, command->start);
        else if (call->phase == AWAIT_PROCEED &&
                 command->kind_case == BORA__INTERNAL__V1__GENERATE_COMMAND__KIND_PROCEED)
            start_generation_locked(call, command->proceed);
        else
            finish_locked(call, STATUS_FAILED_PRECONDITION,
                          call->phase == AWAIT_START ? "the first command must be Start"
                                                     : "the second command must be Proceed");
    } else if (call->phase != DONE) {
        finish_locked(call, STATUS_FAILED_PRECONDITION, "a command came before the last one was answered");
        if (call->generation != NULL) engine_cancel(call->worker->engine, call->generation);
    }
    pthread_mutex_unlock(&call->mutex);
}

static void on_half_closed(struct rpc_call *rpc) {
    struct generate_call *call = rpc_call_state(rpc);
    if (call == NULL) return;
    pthread_mutex_lock(&call->mutex);
    if (call->phase == AWAIT_START || call->phase == TOKENIZING || call->phase == AWAIT_PROCEED)
        finish_locked(call, STATUS_CANCELLED, "the gateway did not proceed");
    pthread_mutex_unlock(&call->mutex);
}

static void on_writable(struct rpc_call *rpc) {
    struct generate_call *call = rpc_call_state(rpc);
    if (call == NULL) return;
    pthread_mutex_lock(&call->mutex);
    if (call->paused && call->generation != NULL) {
        call->paused = false;
        engine_resume(call->worker->engine, call->generation);
    }
    pthread_mutex_unlock(&call->mutex);
}

static void on_cancelled(struct rpc_call *rpc) {
    struct generate_call *call = rpc_call_state(rpc);
    if (call == NULL) return;
    pthread_mutex_lock(&call->mutex);
    /* A running generation ends by its own last event, which comes within one step. */
    if (call->generation != NULL)
        engine_cancel(call->worker->engine, call->generation);
    else
        finish_locked(call, STATUS_CANCELLED, "cancelled");
    pthread_mutex_unlock(&call->mutex);
}

static void on_finished(struct rpc_call *rpc) {
    struct generate_call *call = rpc_call_state(rpc);
    if (call != NULL) call_unref(call);
}

static void describe(struct rpc_call *rpc, struct bytes_view message) {
    (void)message;
    struct bytes packed;
    bytes_init(&packed, 1 << 20);
    enum status status = worker_announcement(rpc_call_service(rpc), &packed);
    if (status == STATUS_OK) status = rpc_call_write(rpc, bytes_view(&packed));
    rpc_call_finish(rpc, status, status == STATUS_OK ? NULL : "the announcement could not be packed",
                    (struct bytes_view){0});
    bytes_deinit(&packed);
}

const struct rpc_method worker_methods[] = {
    {.path = "/bora.internal.v1.WorkerService/Generate",
     .start = on_start,
     .message = on_message,
     .half_closed = on_half_closed,
     .writable = on_writable,
     .cancelled = on_cancelled,
     .finished = on_finished},
    {.path = "/bora.internal.v1.WorkerService/Describe", .message = describe},
};
const size_t worker_method_count = sizeof worker_methods / sizeof worker_methods[0];
