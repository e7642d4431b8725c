/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The tools of requests as grammars (engine/grammar/calls.h). What is kept is the single tool, compiled once for all requests that offer it, whatever else they offer.
 *
 * Any thread.
 */
#ifndef SERVICES_WORKER_TOOLS_H
#define SERVICES_WORKER_TOOLS_H

#include "bora/internal/v1/worker.pb-c.h"
#include "engine/grammar/calls.h"
#include "services/worker/grammars.h"

struct tools;
/** `grammars` lends its vocabulary; `layout`: how the model writes calls. */
enum status tools_create(struct grammars *grammars, enum chat_calls layout, struct metrics *metrics, struct tools **out,
                         struct error *err);
/** After engine_close, before grammars_destroy. NULL is nothing. */
void tools_destroy(struct tools *tools);

/** Why a request with tools is declined: `tool` is an index into Start.tools, or -1: the schema of its content. */
struct tools_problem {
    int tool;
    struct grammar_problem problem;
};
/**
 * The grammar of a Start that has tools: calls, and content, which has to fit the Start's grammar where it has one (a schema). `prompt` is what the answer follows;
 * `continues`: text of the conversation that the grammar does not know of. Fails as calls_compile does, with `problem` filled; STATUS_INVALID_ARGUMENT and no reason in
 * it: the Start makes no sense, `err` says how.
 */
enum status tools_compile(struct tools *tools, const Bora__Internal__V1__Start *start, const struct token_list *prompt,
                          bool continues, struct grammar **out, struct tools_problem *problem, struct error *err);

#endif
