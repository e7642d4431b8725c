/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Between the worker's protobuf messages and the engine's structs: the only file of the worker that knows both. */
#ifndef SERVICES_WORKER_CONVERT_H
#define SERVICES_WORKER_CONVERT_H

#include "base/arena.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "engine/engine.h"
#include "services/worker/grammars.h"

/** The conversation of `start`, lent from it, in the arena. */
enum status convert_messages(const Bora__Internal__V1__Start *start, struct arena *arena, struct chat_message **out,
                             size_t *out_count, struct error *err);
/** What its model may call, likewise. */
enum status convert_tools(const Bora__Internal__V1__Start *start, struct arena *arena, struct chat_conversation *out,
                          struct error *err);
/** Sampling, stop strings, tenant and beam search into `out` (pointers into the arena and `start`). Checks ranges: the gateway is trusted for policy, not for memory safety. */
enum status convert_sampling(const Bora__Internal__V1__Start *start, struct arena *arena,
                             struct generation_request *out, struct error *err);
/** The text and tokens of an engine event, or as much of them as one message may hold (LIMIT_DELTA_BYTES), as a packed GenerateEvent appended
 *  to `out`. `rest` is what is left of the event: call again until that is nothing. Log-probabilities follow the text. */
enum status convert_delta(struct generation_event *rest, const struct tokenizer *tokenizer, struct arena *arena,
                          struct bytes *out);
/** The end of a generation, likewise. */
enum status convert_finished(const struct generation_event *event, struct bytes *out);
/** `start` has a grammar. */
enum status convert_grammar(const Bora__Internal__V1__Start *start, struct grammar_source *out, struct error *err);
/** What a call that is refused says besides: google.rpc.Status with a WorkerError, appended to `out`. For want of room, or for the layout's place `param` (may be empty), ... */
enum status convert_refusal(enum status reason, const char *message, int64_t retry_after_ms, const char *param,
                            struct bytes *out);
/** ... and for its grammar, or the parameters of one of its tools; `tool` -1: none. */
enum status convert_declined(const char *message, const struct grammar_problem *problem, int tool, struct bytes *out);
enum status convert_prepared(int64_t prompt_tokens, int64_t max_tokens, int64_t context_tokens,
                             const struct chat_window *window, struct bytes *out);

#endif
