/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Grammars that come as a text of their own: a regex, or rules. They own the budget that their machine spends. */
#include "engine/grammar/cost.h"
#include "engine/grammar/earley.h"
#include "engine/grammar/grammar_internal.h"
#include "engine/grammar/regex_machine.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* As for schemas. */
enum { FUEL_DEFAULT = 2000000, BYTES_DEFAULT = 64 << 20 };

struct text_grammar {
    struct grammar base; /* first: freed as one */
    struct grammar_budget budget;
};

static enum status make(const struct grammar_vocabulary *vocabulary, const struct grammar_options *options,
                        struct text_grammar **out, struct grammar_problem *problem) {
    struct text_grammar *grammar = calloc(1, sizeof *grammar);
    if (grammar == NULL || pthread_mutex_init(&grammar->base.lock, NULL) != 0) {
        free(grammar);
        *problem = (struct grammar_problem){.reason = "out of memory"};
        return STATUS_RESOURCE_EXHAUSTED;
    }
    grammar->base.vocabulary = vocabulary;
    grammar->budget.fuel = options != NULL && options->fuel > 0 ? options->fuel : FUEL_DEFAULT;
    grammar->budget.bytes = options != NULL && options->bytes > 0 ? options->bytes : BYTES_DEFAULT;
    atomic_init(&grammar->base.references, 1);
    *out = grammar;
    return STATUS_OK;
}

static void discard(struct text_grammar *grammar) {
    pthread_mutex_destroy(&grammar->base.lock);
    free(grammar);
}

static enum status compile_pattern(struct text_grammar *grammar, struct bytes_view pattern, struct error *err) {
    struct regex_pool *pool = NULL;
    regex language = REGEX_NOTHING;
    TRY(regex_pool_create(&grammar->budget, &pool, err));
    enum status status = regex_parse(pool, pattern, REGEX_LENIENT, &language, err);
    if (status == STATUS_OK && language == REGEX_NOTHING)
        status = error_set(err, STATUS_FAILED_PRECONDITION, "no text matches");
    if (status == STATUS_OK) status = regex_machine_create(pool, language, &grammar->base.machine, err);
    if (status != STATUS_OK) regex_pool_destroy(pool);
    return status;
}

enum status grammar_compile_regex(const struct grammar_vocabulary *vocabulary, struct bytes_view pattern,
                                  const struct grammar_options *options, struct grammar **out,
                                  struct grammar_problem *problem) {
    struct text_grammar *grammar;
    struct error err = {0};
    TRY(make(vocabulary, options, &grammar, problem));
    enum status status = compile_pattern(grammar, pattern, &err);
    if (status != STATUS_OK) {
        *problem = (struct grammar_problem){.keyword = "regex"};
        snprintf(problem->reason, sizeof problem->reason, "%.255s", err.message);
        discard(grammar);
        return status;
    }
    *out = &grammar->base;
    return STATUS_OK;
}

enum status grammar_compile_rules(const struct grammar_vocabulary *vocabulary, struct bytes_view text,
                                  enum grammar_dialect dialect, const struct grammar_options *options,
                                  struct grammar **out, struct grammar_problem *problem) {
    struct text_grammar *grammar;
    TRY(make(vocabulary, options, &grammar, problem));
    enum status status =
        earley_machine_create(&grammar->budget, text, dialect, &grammar->base.machine, problem);
    if (status != STATUS_OK) {
        discard(grammar);
        return status;
    }
    *out = &grammar->base;
    return STATUS_OK;
}

int64_t grammar_bytes_left(struct grammar *grammar) {
    pthread_mutex_lock(&grammar->lock);
    int64_t bytes = grammar->machine->operations->budget(grammar->machine)->bytes;
    pthread_mutex_unlock(&grammar->lock);
    return bytes;
}
