/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Between the worker's protobuf messages and the engine's structs: the only file of the worker that knows both. */
#ifndef SERVICES_WORKER_CONVERT_H
#define SERVICES_WORKER_CONVERT_H

#include "base/arena.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "engine/engine.h"
#include "services/worker/tools.h"

/** The conversation of `start`, lent from it, in the arena. */
enum status convert_messages(const Bora__Internal__V1__Start *start, struct arena *arena, struct chat_message **out,
                             size_t *out_count, struct error *err);
/** What its model may call, likewise. */
enum status convert_tools(const Bora__Internal__V1__Start *start, struct arena *arena, struct chat_conversation *out,
                          struct error *err);
/** Sampling, stop strings, tenant and beam search into `out` (pointers into the arena and `start`). Checks ranges: the gateway is trusted for policy, not for memory safety. */
enum status convert_sampling(const Bora__Internal__V1__Start *start, struct arena *arena,
                             struct generation_request *out, struct error *err);
/** The text and tokens of an engine event, or as much of them as one message may hold (LIMIT_DELTA_BYTES), lent from it and the arena. `rest` is what
 *  is left of the event: call again until that is nothing. Log-probabilities follow the text. */
enum status convert_delta(struct generation_event *rest, const struct tokenizer *tokenizer, struct arena *arena,
                          Bora__Internal__V1__Delta *out);
/** The end of an answer, likewise. */
void convert_finished(const struct generation_event *event, Bora__Internal__V1__Finished *out);
/** `start` has a grammar. */
enum status convert_grammar(const Bora__Internal__V1__Start *start, struct grammar_source *out, struct error *err);
/** Why a grammar, or the parameters of a tool, are declined; lent from `problem`, whose texts are made valid UTF-8. */
void convert_declined(struct tools_problem *problem, Bora__Internal__V1__GrammarProblem *out_grammar,
                      Bora__Internal__V1__WorkerError *out);

#endif
