/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What the files of clients/c share. */
#ifndef CLIENTS_C_CLIENT_INTERNAL_H
#define CLIENTS_C_CLIENT_INTERNAL_H

#include "base/bytes.h"
#include "base/limits.h"
#include "clients/c/bora_tools.h"

#include <pthread.h>
#include <stdatomic.h>

/** Write the sentence, and what stands in the error besides it is cleared. Returns `status`. */
enum status bora_error_set(struct bora_error *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Everything that a finished call says. */
void bora_error_from_result(struct bora_error *err, const struct rpc_result *result);

/** A cancellation is also what a call or a run waits on: whoever has news for it takes `mutex` and broadcasts `changed`. */
struct bora_cancellation {
    atomic_int references;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* monotonic clock */
    bool cancelled;
};
void bora_cancellation_ref(struct bora_cancellation *cancellation);
/** With the mutex held: wait for news, until `deadline_ns` (INT64_MAX: for ever). */
void bora_cancellation_wait(struct bora_cancellation *cancellation, int64_t deadline_ns);

struct bora_client {
    struct rpc_client *rpc;
    struct rpc_channel *channel;
    char *authorization, *model;
    int64_t timeout_ns, retry_wait_max_ns;
    int retries_max;
};

/** What of the registry stands in a request. */
struct request_tools {
    const struct bora_tools *tools; /* NULL: none */
    const char *choice, *name;
};
/** Pack the request, appended. Texts are lent. */
enum status request_pack(const struct bora_client *client, const struct bora_conversation *conversation,
                         const struct bora_chat_options *options, const struct request_tools *tools, struct bytes *out,
                         struct bora_error *err);

/** Puts an answer together, message by message. */
struct accumulator;
enum status accumulator_create(struct accumulator **out, struct bora_error *err);
void accumulator_destroy(struct accumulator *accumulator);
/** A packed ChatCompletionResponse or, `streamed`, a ChatCompletionChunk. `out_text` is what is new, lent until the next. */
enum status accumulator_add(struct accumulator *accumulator, struct bytes_view message, bool streamed,
                            const char **out_text, struct bora_error *err);
bool accumulator_started(const struct accumulator *accumulator);
bool accumulator_finished(const struct accumulator *accumulator);
/** What there is, copied. */
enum status accumulator_answer(const struct accumulator *accumulator, struct bora_answer *out, struct bora_error *err);

/** One call with its repetitions; `deadline_ns` is monotonic. */
enum status client_ask(struct bora_client *client, const struct bora_conversation *conversation,
                       const struct bora_chat_options *options, const struct request_tools *tools, bool streamed,
                       int64_t deadline_ns, struct bora_answer *out, struct bora_error *err);
/** When a call that begins now has to end: INT64_MAX when neither says. */
int64_t client_deadline_ns(const struct bora_client *client, const struct bora_chat_options *options);

struct bora_tools {
    atomic_int references; /* the owner's, and one of each handler that runs */
    atomic_int abandoned;
    struct arena memory;
    size_t count;
    struct bora_tool items[LIMIT_TOOLS];
};
void bora_tools_unref(struct bora_tools *tools);
const struct bora_tool *bora_tools_find(const struct bora_tools *tools, const char *name);

/** Run `calls` and append a message for each to the conversation, in their order; those that had no time get none. `out_end` is BORA_RUN_ANSWERED when all
 *  have their result, BORA_RUN_TIMEOUT or BORA_RUN_CANCELLED. Fails when a handler did and the run is to stop then, or without memory. */
enum status round_run(struct bora_conversation *conversation, struct bora_tools *tools,
                      const struct bora_run_options *options, struct bora_cancellation *cancellation,
                      int64_t deadline_ns, const struct bora_tool_call *calls, size_t count, enum bora_run_end *out_end,
                      struct bora_error *err);

#endif
