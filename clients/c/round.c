/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of one answer. Each handler runs in a thread of its own that nobody joins, so that one which hangs holds up neither the run nor the program's
 * end. A thread owns its task together with the round; whoever is last frees it, so a handler that was given up touches nothing that is gone.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "clients/c/client_internal.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGUMENTS_MEMORY_BYTES = 64 << 20, RESULT_BYTES_MAX = 64 << 20, RESULT_BYTES_DEFAULT = 256 << 10 };
static const int64_t HANDLER_TIMEOUT_NS = 60 * NS_PER_S;

struct task {
    struct bora_call call; /* the first member: bora_call_cancelled finds the rest from it */
    atomic_int references; /* the round and the thread */
    atomic_bool cancelled;
    struct bora_cancellation *sync; /* its mutex guards `done` and `abandoned` */
    struct bora_tools *tools;
    const struct bora_tool *tool;
    struct arena memory;
    struct bytes result;
    struct error error;
    enum status status;
    bool done, abandoned;
};

static void task_unref(struct task *task) {
    if (atomic_fetch_sub(&task->references, 1) != 1) return;
    arena_deinit(&task->memory);
    bytes_deinit(&task->result);
    bora_cancellation_destroy(task->sync);
    bora_tools_unref(task->tools);
    free(task);
}

bool bora_call_cancelled(const struct bora_call *call) {
    return atomic_load(&((const struct task *)call)->cancelled);
}

static void *task_main(void *argument) {
    struct task *task = argument;
    enum status status = task->tool->handler(task->tool->context, &task->call, &task->result, &task->error);
    pthread_mutex_lock(&task->sync->mutex);
    task->status = status;
    task->done = true;
    if (task->abandoned) atomic_fetch_sub(&task->tools->abandoned, 1);
    pthread_cond_broadcast(&task->sync->changed);
    pthread_mutex_unlock(&task->sync->mutex);
    task_unref(task);
    return NULL;
}

struct round {
    struct bora_conversation *conversation;
    struct bora_tools *tools;
    const struct bora_run_options *options;
    struct bora_cancellation *sync;
    int64_t deadline_ns;
    const struct bora_tool_call *calls;
    size_t count;
    struct task *running[BORA_PARALLEL_MAX]; /* NULL: free */
    size_t index_of[BORA_PARALLEL_MAX];
    int active, parallel;
    struct arena memory;
    const char **results; /* of each call; NULL: none yet */
};

/* ---- results ---- */

/** Text for the model: UTF-8 without NUL, at most so long. NULL without memory. */
static const char *clean_result(struct round *round, struct bytes_view text) {
    size_t max = round->options->result_bytes_max > 0 ? round->options->result_bytes_max : RESULT_BYTES_DEFAULT;
    size_t kept = text.length > max ? text_truncate((const char *)text.data, text.length, max) : text.length;
    char *out = text.length == kept ? arena_copy(&round->memory, text.data, kept)
                                    : arena_printf(&round->memory, "%.*s\n[cut: %zu of %zu bytes]", (int)kept,
                                                   (const char *)text.data, kept, text.length);
    if (out == NULL) return NULL;
    for (size_t at = 0; at < kept;) {
        uint32_t code_point;
        bool valid;
        size_t length = text_decode((const uint8_t *)out + at, kept - at, &code_point, &valid);
        if (!valid || code_point == 0) memset(out + at, '?', length);
        at += length;
    }
    return out;
}

static enum status record(struct round *round, size_t index, const char *text, bool failed, struct bora_error *err) {
    if (text == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    round->results[index] = text;
    if (round->options->on_result != NULL)
        round->options->on_result(round->options->context, &round->calls[index], text, failed);
    return STATUS_OK;
}

/** {"error": "..."} as the result. */
static enum status record_error(struct round *round, size_t index, const char *reason, struct bora_error *err) {
    struct bytes text;
    bytes_init(&text, RESULT_BYTES_MAX);
    (void)!bytes_append_string(&text, "{\"error\": ");
    (void)!json_append_string(&text, bytes_view_string(reason));
    (void)!bytes_append_string(&text, "}");
    const char *copied = text.failed ? NULL : arena_copy(&round->memory, text.data, text.length);
    bytes_deinit(&text);
    return record(round, index, copied, true, err);
}

static enum status finish(struct round *round, size_t index, struct task *task, struct bora_error *err) {
    if (task->status == STATUS_OK && task->result.failed)
        return record_error(round, index, "the result is too large", err);
    if (task->status == STATUS_OK)
        return record(round, index, clean_result(round, bytes_view(&task->result)), false, err);
    const char *reason = task->error.message[0] != 0 ? task->error.message : status_name(task->status);
    if (round->options->stop_on_handler_error)
        return bora_error_set(err, task->status, "%s: %s", task->call.name, reason);
    return record_error(round, index, reason, err);
}

/* ---- starting ---- */

static bool copy_call(struct task *task, const struct bora_tool_call *call) {
    const char *text = call->arguments != NULL && call->arguments[0] != 0 ? call->arguments : "{}";
    task->call.id = arena_copy(&task->memory, call->id, strlen(call->id));
    task->call.name = task->tool->name;
    task->call.arguments_text = arena_copy(&task->memory, text, strlen(text));
    return task->call.id != NULL && task->call.arguments_text != NULL;
}

static struct task *task_create(struct round *round, const struct bora_tool *tool, const struct bora_tool_call *call) {
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL) return NULL;
    atomic_init(&task->references, 1);
    atomic_init(&task->cancelled, false);
    arena_init(&task->memory, ARGUMENTS_MEMORY_BYTES);
    bytes_init(&task->result, RESULT_BYTES_MAX);
    bora_cancellation_ref(round->sync);
    task->sync = round->sync;
    atomic_fetch_add(&round->tools->references, 1);
    task->tools = round->tools;
    task->tool = tool;
    int64_t limit_ns = round->options->handler_timeout_ns, now_ns = clock_monotonic_ns(clock_system());
    if (limit_ns == 0) limit_ns = HANDLER_TIMEOUT_NS;
    int64_t own_ns = limit_ns < 0 || limit_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + limit_ns;
    task->call.deadline_ns = own_ns < round->deadline_ns ? own_ns : round->deadline_ns;
    if (copy_call(task, call)) return task;
    task_unref(task);
    return NULL;
}

/** Why the call cannot be run, written into `reason`; or its thread runs. */
static enum status start_thread(struct round *round, size_t index, int slot, char *reason, size_t bytes,
                                struct bora_error *err) {
    const struct bora_tool_call *call = &round->calls[index];
    const struct bora_tool *tool = bora_tools_find(round->tools, call->name);
    if (tool == NULL) {
        snprintf(reason, bytes, "there is no tool named %.64s", call->name);
        return STATUS_OK;
    }
    if (bora_tools_abandoned(round->tools) >= BORA_ABANDONED_MAX) {
        snprintf(reason, bytes, "too many handlers of earlier calls still run");
        return STATUS_OK;
    }
    struct task *task = task_create(round, tool, call);
    if (task == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    struct json_value *arguments = NULL;
    struct json_problem problem = {0};
    enum status status = json_read(bytes_view_string(task->call.arguments_text), LIMIT_JSON_DEPTH, LIMIT_PROTO_ELEMENTS,
                                   &task->memory, &arguments, &problem);
    if (status != STATUS_OK || arguments->kind != JSON_KIND_OBJECT) {
        snprintf(reason, bytes, "the arguments are not a JSON object%s%s", problem.reason != NULL ? ": " : "",
                 problem.reason != NULL ? problem.reason : "");
        task_unref(task);
        return STATUS_OK;
    }
    task->call.arguments = arguments;
    pthread_t thread;
    atomic_store(&task->references, 2);
    int failed = pthread_create(&thread, NULL, task_main, task);
    if (failed != 0) {
        atomic_store(&task->references, 1);
        task_unref(task);
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "no thread for a handler: %s", strerror(failed));
    }
    pthread_detach(thread);
    round->running[slot] = task;
    round->index_of[slot] = index;
    round->active++;
    return STATUS_OK;
}

static enum status start(struct round *round, size_t index, struct bora_error *err) {
    char reason[ERROR_MESSAGE_BYTES] = "";
    int slot = 0;
    while (round->running[slot] != NULL) slot++;
    if (round->options->on_call != NULL) round->options->on_call(round->options->context, &round->calls[index]);
    TRY(start_thread(round, index, slot, reason, sizeof reason, err));
    return reason[0] != 0 ? record_error(round, index, reason, err) : STATUS_OK;
}

/* ---- ending ---- */

static void release(struct round *round, int slot) {
    task_unref(round->running[slot]);
    round->running[slot] = NULL;
    round->active--;
}

/** With the mutex held. */
static void abandon(struct round *round, struct task *task) {
    task->abandoned = true;
    atomic_fetch_add(&round->tools->abandoned, 1);
    atomic_store(&task->cancelled, true);
}

static void abandon_all(struct round *round) {
    for (int slot = 0; slot < round->parallel; slot++) {
        if (round->running[slot] == NULL) continue;
        pthread_mutex_lock(&round->sync->mutex);
        if (!round->running[slot]->done) abandon(round, round->running[slot]);
        pthread_mutex_unlock(&round->sync->mutex);
        release(round, slot);
    }
}

/** Wait until a handler is done, its time or that of the run is over, or somebody cancels. The slot, with `out_late`; -1: ask again. */
static int wait_for_one(struct round *round, bool *out_late) {
    int64_t now_ns = clock_monotonic_ns(clock_system()), next_ns = round->deadline_ns;
    int found = -1;
    *out_late = false;
    pthread_mutex_lock(&round->sync->mutex);
    for (int slot = 0; slot < round->parallel && found < 0; slot++) {
        struct task *task = round->running[slot];
        if (task == NULL) continue;
        if (task->done) {
            found = slot;
        } else if (task->call.deadline_ns <= now_ns && task->call.deadline_ns < round->deadline_ns) {
            abandon(round, task);
            *out_late = true;
            found = slot;
        } else if (task->call.deadline_ns < next_ns) {
            next_ns = task->call.deadline_ns;
        }
    }
    if (found < 0 && !round->sync->cancelled) bora_cancellation_wait(round->sync, next_ns);
    pthread_mutex_unlock(&round->sync->mutex);
    return found;
}

static enum status take_one(struct round *round, struct bora_error *err) {
    bool late;
    int slot = wait_for_one(round, &late);
    if (slot < 0) return STATUS_OK;
    size_t index = round->index_of[slot];
    enum status status;
    if (late) {
        char reason[ERROR_MESSAGE_BYTES];
        int64_t limit_ns =
            round->options->handler_timeout_ns > 0 ? round->options->handler_timeout_ns : HANDLER_TIMEOUT_NS;
        snprintf(reason, sizeof reason, "the tool did not answer within %g s", (double)limit_ns / (double)NS_PER_S);
        status = record_error(round, index, reason, err);
    } else {
        status = finish(round, index, round->running[slot], err);
    }
    release(round, slot);
    return status;
}

static bool stopped(struct round *round, enum bora_run_end *out_end) {
    pthread_mutex_lock(&round->sync->mutex);
    bool cancelled = round->sync->cancelled;
    pthread_mutex_unlock(&round->sync->mutex);
    bool late = round->deadline_ns <= clock_monotonic_ns(clock_system());
    if (cancelled || late) *out_end = cancelled ? BORA_RUN_CANCELLED : BORA_RUN_TIMEOUT;
    return cancelled || late;
}

static enum status run_all(struct round *round, enum bora_run_end *out_end, struct bora_error *err) {
    size_t next = 0;
    while (next < round->count || round->active > 0) {
        if (stopped(round, out_end)) return STATUS_OK;
        while (next < round->count && round->active < round->parallel) TRY(start(round, next++, err));
        if (round->active > 0) TRY(take_one(round, err));
    }
    *out_end = BORA_RUN_ANSWERED;
    return STATUS_OK;
}

static enum status append_results(struct round *round, struct bora_error *err) {
    for (size_t i = 0; i < round->count; i++) {
        if (round->results[i] == NULL) continue;
        struct bora_message message = {.role = BORA_ROLE_TOOL,
                                       .text = round->results[i],
                                       .call_id = round->calls[i].id,
                                       .tool_name = round->calls[i].name};
        TRY(bora_conversation_add(round->conversation, &message, err));
    }
    return STATUS_OK;
}

enum status round_run(struct bora_conversation *conversation, struct bora_tools *tools,
                      const struct bora_run_options *options, struct bora_cancellation *cancellation,
                      int64_t deadline_ns, const struct bora_tool_call *calls, size_t count, enum bora_run_end *out_end,
                      struct bora_error *err) {
    int parallel = options->parallel < 1 ? 1 : options->parallel;
    struct round round = {.conversation = conversation,
                          .tools = tools,
                          .options = options,
                          .sync = cancellation,
                          .deadline_ns = deadline_ns,
                          .calls = calls,
                          .count = count,
                          .parallel = parallel > BORA_PARALLEL_MAX ? BORA_PARALLEL_MAX : parallel};
    arena_init(&round.memory, SIZE_MAX); /* each result has its limit */
    round.results = arena_alloc_array(&round.memory, count, sizeof *round.results);
    if (round.results == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = run_all(&round, out_end, err);
    abandon_all(&round);
    struct bora_error ignored; /* what came first counts; results that there are stay, however the round ended */
    enum status appended = append_results(&round, status == STATUS_OK ? err : &ignored);
    arena_deinit(&round.memory);
    return status != STATUS_OK ? status : appended;
}
