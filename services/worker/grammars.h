/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Grammars of requests, compiled once for all that ask for the same.
 *
 *     kind, options, text  --find-->  there: shared, also when it was declined       (the last used stay, as far as memory goes)
 *                          `-------> compiled by whoever asks first; who asks meanwhile waits for that
 *
 * The tokenizer's vocabulary is arranged for masks when the first grammar comes (5 to 50 ms), so that a worker is ready as soon as without.
 * Any thread.
 */
#ifndef SERVICES_WORKER_GRAMMARS_H
#define SERVICES_WORKER_GRAMMARS_H

#include "base/metrics.h"
#include "engine/grammar/grammar.h"

enum grammar_kind { GRAMMAR_KIND_SCHEMA, GRAMMAR_KIND_REGEX, GRAMMAR_KIND_GBNF, GRAMMAR_KIND_LARK };
struct grammar_source {
    enum grammar_kind kind;
    struct bytes_view text;
    enum grammar_space space; /* of schemas, as the next one */
    enum grammar_order order;
};

struct grammars;
/** One that is kept. */
struct kept_grammar;

/** `bytes_max`: of all that is kept for those who may come; what requests use comes on top. The tokenizer is borrowed. */
enum status grammars_create(const struct tokenizer *tokenizer, int64_t bytes_max, struct metrics *metrics,
                            struct grammars **out, struct error *err);
/** After engine_close: nobody uses a grammar any more. NULL is nothing. */
void grammars_destroy(struct grammars *grammars);

/** Made when it is asked for first; NULL without memory. */
const struct grammar_vocabulary *grammars_vocabulary(struct grammars *grammars);
/** Fails as grammar_compile_* do; `problem` is filled then. */
enum status grammars_get(struct grammars *grammars, const struct grammar_source *source, struct kept_grammar **out,
                         struct grammar_problem *problem);
/** For engine_submit; lent until the release, which comes after the last event. */
struct grammar *kept_grammar_compiled(const struct kept_grammar *kept);
/** False: no text of the grammar begins so. *out_needed: tokens that must follow, SIZE_MAX: not known. */
bool grammar_begins(struct grammar *grammar, struct bytes_view text, size_t *out_needed);
void kept_grammar_release(struct kept_grammar *kept);

#endif
