/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Tools that run here: a registry of handlers, and a run that asks, runs the calls that come back, gives their results and asks again until the model
 * answers or a limit is reached.
 *
 *     ask ──> calls? ──no──> BORA_RUN_ANSWERED (BORA_RUN_LENGTH: the answer was cut)
 *      ^        │ yes
 *      └─ results of the handlers, each a message with the call's id
 */
#ifndef CLIENTS_C_BORA_TOOLS_H
#define CLIENTS_C_BORA_TOOLS_H

#include "base/json.h"
#include "clients/c/bora_client.h"

enum { BORA_PARALLEL_MAX = 16, BORA_ABANDONED_MAX = 32 };

/** A call as its handler sees it. Lent until the handler returns. */
struct bora_call {
    const char *id, *name;
    const struct json_value *arguments; /* an object (base/json.h: json_member, json_i64, ...) */
    const char *arguments_text;
    int64_t deadline_ns; /* monotonic (base/clock.h); INT64_MAX: none */
};
/** Nobody waits for the result any more: the time is up, or the run was cancelled. For handlers that take long. */
bool bora_call_cancelled(const struct bora_call *call);

/**
 * Do it and append the result's text to `out_result`. On failure `err` says why; the model is told that sentence. Runs on a thread of its own, several
 * at once when the run is parallel.
 */
typedef enum status bora_handler_fn(void *context, const struct bora_call *call, struct bytes *out_result,
                                    struct error *err);

struct bora_tool {
    const char *name;        /* 1..64 letters, digits, '_' and '-' */
    const char *description; /* for the model; may be NULL */
    const char *parameters;  /* JSON Schema of an object; NULL: none */
    bora_handler_fn *handler;
    void *context;
};

/** A registry. Adding is for one thread, before runs; runs of several threads may share it. */
struct bora_tools;
enum status bora_tools_create(struct bora_tools **out, struct bora_error *err);
/** Copied, but for the context. STATUS_INVALID_ARGUMENT, STATUS_ALREADY_EXISTS, STATUS_RESOURCE_EXHAUSTED past LIMIT_TOOLS. */
enum status bora_tools_add(struct bora_tools *tools, const struct bora_tool *tool, struct bora_error *err);
/** Handlers that were given up and still run: threads cannot be stopped. Their contexts must live until this is 0. */
int bora_tools_abandoned(const struct bora_tools *tools);
/** After the last run. Handlers that still run keep what they need of it. */
void bora_tools_destroy(struct bora_tools *tools);

enum bora_run_end {
    BORA_RUN_FAILED,     /* with an error */
    BORA_RUN_ANSWERED,   /* `answer` is the model's last */
    BORA_RUN_MAX_ROUNDS, /* calls of the last answer have not been run */
    BORA_RUN_TIMEOUT,    /* `answer` is the last, or what had come of it */
    BORA_RUN_CANCELLED,  /* by the cancellation, or on_text */
    BORA_RUN_LENGTH      /* `answer` is the model's last, cut by max_tokens or its context */
};

struct bora_run_options {
    struct bora_chat_options chat; /* of every round; its timeout_ns is that of the whole run */
    const char *
        tool_choice; /* "auto", "none", "required", "any"; NULL: not said. What forces a call counts in the first round only: */
    const char *tool_name; /* so does this: call that tool; NULL: no matter which */
    int rounds_max;        /* answers to ask for; 0: 10 */
    int64_t
        handler_timeout_ns; /* of each call; 0: 60 s, negative: none. One that is late is given up, and the model told. */
    int parallel;           /* calls at once, at most BORA_PARALLEL_MAX; 0: one after the other */
    bool stop_on_handler_error; /* a handler's failure ends the run with its status; otherwise the model is told */
    size_t result_bytes_max;    /* longer results are cut, and the model told; 0: 256 KiB */
    /* On the caller's thread; may be NULL. `failed`: the result tells of an error. */
    void (*on_call)(void *context, const struct bora_tool_call *call);
    void (*on_result)(void *context, const struct bora_tool_call *call, const char *result, bool failed);
    void *context; /* of these two */
};

struct bora_run {
    enum bora_run_end end;
    struct bora_answer answer;
    int rounds;
    int64_t prompt_tokens, completion_tokens; /* of all rounds */
};
void bora_run_deinit(struct bora_run *run);

/**
 * Run until the model answers. The conversation grows by every answer and result, so that nothing is lost however it ends: given to another run it goes on
 * there, and calls without a result are run first. Calls of unknown tools and arguments that are not JSON are answered with an error that the
 * model sees. `options` may be NULL.
 *
 * Memory: `out` is to be given to bora_run_deinit, whatever comes back.
 * Fails:  as bora_client_chat_stream; a limit that was reached is no failure but an `end`.
 */
enum status bora_client_run(struct bora_client *client, struct bora_conversation *conversation,
                            struct bora_tools *tools, const struct bora_run_options *options, struct bora_run *out,
                            struct bora_error *err);

#endif
