/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/grammar.h"

#include "engine/grammar/earley.h"
#include "engine/grammar/grammar_internal.h"
#include "engine/grammar/json_machine.h"
#include "engine/grammar/json_spelling.h"
#include "engine/grammar/regex_machine.h"
#include "engine/grammar/schema.h"
#include "engine/grammar/shape.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUEL_DEFAULT = 2000000, BYTES_DEFAULT = 64 << 20, SESSION_BYTES_MAX = 64 << 20, STEP_FUEL = 2000000 };

static struct grammar_options defaults(const struct grammar_options *options) {
    struct grammar_options out = options == NULL ? (struct grammar_options){0} : *options;
    if (out.fuel <= 0) out.fuel = FUEL_DEFAULT;
    if (out.bytes <= 0) out.bytes = BYTES_DEFAULT;
    return out;
}

static enum status out_of_memory(struct grammar_problem *problem) {
    snprintf(problem->reason, sizeof problem->reason, "out of memory");
    return STATUS_RESOURCE_EXHAUSTED;
}

static struct grammar *new_grammar(const struct grammar_vocabulary *vocabulary, const struct grammar_options *options) {
    struct grammar *grammar = calloc(1, sizeof *grammar);
    if (grammar == NULL || pthread_mutex_init(&grammar->lock, NULL) != 0) {
        free(grammar);
        return NULL;
    }
    grammar->vocabulary = vocabulary;
    grammar->own = (struct grammar_budget){options->fuel, options->bytes};
    grammar->budget = &grammar->own;
    atomic_init(&grammar->references, 1);
    return grammar;
}

enum status grammar_wrap(const struct grammar_vocabulary *vocabulary, struct machine *machine,
                         struct grammar_budget *budget, struct grammar **out, struct grammar_problem *problem) {
    struct grammar *grammar = new_grammar(vocabulary, &(struct grammar_options){0});
    if (grammar == NULL) {
        machine->operations->destroy(machine);
        return out_of_memory(problem);
    }
    grammar->machine = machine;
    grammar->budget = budget;
    *out = grammar;
    return STATUS_OK;
}

enum status grammar_json_machine(const struct grammar_vocabulary *vocabulary, const struct json_value *text,
                                 const struct grammar_options *options, struct grammar_problem *later,
                                 struct machine **out, struct grammar_budget **out_budget,
                                 struct grammar_problem *problem) {
    uint32_t unspelled = vocabulary != NULL ? vocabulary->unspelled : CODE_POINTS_COUNT;
    struct schema *schema;
    struct shapes *shapes;
    TRY(schema_create(text, options->documents, options->document_count, options->fuel, options->bytes, problem,
                      &schema));
    enum status status = shapes_create(schema, &shapes);
    if (status != STATUS_OK) {
        schema_destroy(schema);
        return status;
    }
    TRY(json_machine_create(shapes, options, unspelled, out, problem));
    *out_budget = &schema->budget;
    schema->problem = later;
    return STATUS_OK;
}

enum status grammar_compile_schema(const struct grammar_vocabulary *vocabulary, const struct json_value *text,
                                   const struct grammar_options *options, struct grammar **out,
                                   struct grammar_problem *problem) {
    struct grammar_options all = defaults(options);
    *problem = (struct grammar_problem){0};
    struct grammar *grammar = new_grammar(vocabulary, &all);
    if (grammar == NULL) return out_of_memory(problem);
    enum status status =
        grammar_json_machine(vocabulary, text, &all, &grammar->later, &grammar->machine, &grammar->budget, problem);
    if (status == STATUS_OK)
        *out = grammar;
    else
        grammar_unref(grammar);
    return status;
}

static enum status compile_regex(struct grammar *grammar, struct bytes_view pattern, struct error *err) {
    struct regex_pool *pool;
    regex language;
    TRY(regex_pool_create(grammar->budget, &pool, err));
    enum status status = regex_parse(pool, pattern, REGEX_LENIENT, &language, err);
    if (status == STATUS_OK && language == REGEX_NOTHING)
        status = error_set(err, STATUS_FAILED_PRECONDITION, "no text matches the pattern");
    if (status == STATUS_OK) status = regex_machine_create(pool, language, &grammar->machine, err);
    if (status != STATUS_OK) regex_pool_destroy(pool);
    return status;
}

enum status grammar_compile_regex(const struct grammar_vocabulary *vocabulary, struct bytes_view pattern,
                                  const struct grammar_options *options, struct grammar **out,
                                  struct grammar_problem *problem) {
    struct grammar_options all = defaults(options);
    struct error err = {0};
    *problem = (struct grammar_problem){.keyword = "regex"};
    struct grammar *grammar = new_grammar(vocabulary, &all);
    if (grammar == NULL) return out_of_memory(problem);
    enum status status = compile_regex(grammar, pattern, &err);
    if (status == STATUS_OK) {
        *out = grammar;
        return STATUS_OK;
    }
    snprintf(problem->reason, sizeof problem->reason, "%s", err.message);
    grammar_unref(grammar);
    return status;
}

enum status grammar_compile_rules(const struct grammar_vocabulary *vocabulary, struct bytes_view text,
                                  enum grammar_dialect dialect, const struct grammar_options *options,
                                  struct grammar **out, struct grammar_problem *problem) {
    struct grammar_options all = defaults(options);
    *problem = (struct grammar_problem){0};
    struct grammar *grammar = new_grammar(vocabulary, &all);
    if (grammar == NULL) return out_of_memory(problem);
    enum status status = earley_machine_create(grammar->budget, text, dialect, &grammar->machine, problem);
    if (status == STATUS_OK)
        *out = grammar;
    else
        grammar_unref(grammar);
    return status;
}

struct grammar *grammar_ref(struct grammar *grammar) {
    atomic_fetch_add(&grammar->references, 1);
    return grammar;
}

void grammar_unref(struct grammar *grammar) {
    if (grammar == NULL || atomic_fetch_sub(&grammar->references, 1) != 1) return;
    if (grammar->machine != NULL) grammar->machine->operations->destroy(grammar->machine);
    pthread_mutex_destroy(&grammar->lock);
    free(grammar->farthest);
    free(grammar);
}

/* ---- generating ---- */

/** What one mask or one token may cost. */
void grammar_refuel(struct grammar *grammar) {
    grammar->budget->fuel = STEP_FUEL;
    grammar->budget->looks = grammar->budget->looks_bytes = 0;
    grammar->budget->ambiguous = false;
}

enum status grammar_session_create(struct grammar *grammar, struct grammar_session **out, struct error *err) {
    struct grammar_session *session = calloc(1, sizeof *session);
    if (session == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a grammar's session");
    session->grammar = grammar_ref(grammar);
    frames_init(&session->frames, SESSION_BYTES_MAX);
    session->walk.vocabulary = grammar->vocabulary;
    session->walk.machine = grammar->machine;
    session->walk.frames = &session->frames;
    *out = session;
    return STATUS_OK;
}

bool grammar_mask_is_empty(const uint32_t *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (words[i] != 0) return false;
    return true;
}

void grammar_session_branches(struct grammar_session *session) {
    session->branches = true;
}

void grammar_session_destroy(struct grammar_session *session) {
    if (session == NULL) return;
    finish_deinit(session);
    frames_deinit(&session->frames);
    for (int i = 0; i < MASK_KEPT; i++) free(session->walk.kept[i].mask);
    grammar_unref(session->grammar);
    free(session);
}

enum status grammar_failed(const struct grammar *grammar, struct error *err) {
    if (grammar->budget->ambiguous)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "the grammar is too ambiguous: the text so far can be read in too many ways at once");
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the grammar costs more than a grammar may cost");
}

enum status grammar_start(struct grammar_session *session, struct grammar_state *out, struct error *err) {
    struct grammar *grammar = session->grammar;
    *out = (struct grammar_state){0};
    pthread_mutex_lock(&grammar->lock);
    enum machine_step step = grammar->machine->operations->start(grammar->machine, &session->frames, &out->machine);
    pthread_mutex_unlock(&grammar->lock);
    return step == MACHINE_LIVE ? STATUS_OK : grammar_failed(grammar, err);
}

static enum status accept_bytes(struct grammar_session *session, struct grammar_state *state, struct bytes_view text,
                                bool *out_accepted, struct error *err) {
    struct machine *machine = session->grammar->machine;
    struct machine_state at = state->machine;
    struct frames_mark before = frames_mark(&session->frames);
    *out_accepted = false;
    grammar_refuel(session->grammar);
    for (size_t i = 0; i < text.length; i++) {
        enum machine_step step = machine->operations->step(machine, &session->frames, &at, text.data[i], &at);
        if (step == MACHINE_LIVE) continue;
        frames_drop(&session->frames, before); /* what is refused leaves nothing behind */
        return step == MACHINE_FAILED ? grammar_failed(session->grammar, err) : STATUS_OK;
    }
    state->machine = at;
    state->length += text.length;
    *out_accepted = true;
    return STATUS_OK;
}

enum status grammar_accept_bytes(struct grammar_session *session, struct grammar_state *state, struct bytes_view text,
                                 bool *out_accepted, struct error *err) {
    pthread_mutex_lock(&session->grammar->lock);
    enum status status = accept_bytes(session, state, text, out_accepted, err);
    pthread_mutex_unlock(&session->grammar->lock);
    return status;
}

static enum status accept_control(struct grammar_session *session, struct grammar_state *state, int32_t token,
                                  bool *out_accepted, struct error *err) {
    struct grammar *grammar = session->grammar;
    const struct machine_operations *operations = grammar->machine->operations;
    struct machine_state next;
    if (operations->control == NULL) return STATUS_OK;
    pthread_mutex_lock(&grammar->lock);
    grammar_refuel(grammar);
    enum machine_step step = operations->control(grammar->machine, &session->frames, &state->machine, token, &next);
    pthread_mutex_unlock(&grammar->lock);
    if (step == MACHINE_FAILED) return grammar_failed(grammar, err);
    *out_accepted = step == MACHINE_LIVE;
    if (step == MACHINE_LIVE) state->machine = next;
    return STATUS_OK;
}

enum status grammar_accept(struct grammar_session *session, struct grammar_state *state, int32_t token,
                           bool *out_accepted, struct error *err) {
    const struct tokenizer *tokenizer = session->grammar->vocabulary->tokenizer;
    struct bytes_view piece = tokenizer_piece(tokenizer, token);
    *out_accepted = false;
    if (tokenizer_is_end(tokenizer, token)) {
        *out_accepted = grammar_complete(session, state);
        return STATUS_OK;
    }
    if (tokenizer_is_control(tokenizer, token)) return accept_control(session, state, token, out_accepted, err);
    if (piece.length == 0 || piece.length > TRIE_DEPTH_MAX) return STATUS_OK;
    return grammar_accept_bytes(session, state, piece, out_accepted, err);
}

size_t grammar_accept_each(struct grammar_session *session, struct grammar_state *state, const int32_t *tokens,
                           size_t count) {
    struct error ignored = {0};
    bool accepted = false;
    for (size_t i = 0; i < count; i++) {
        if (grammar_accept(session, state, tokens[i], &accepted, &ignored) != STATUS_OK || !accepted) return i;
        if (tokenizer_is_end(session->grammar->vocabulary->tokenizer, tokens[i])) return i + 1;
    }
    return count;
}

size_t grammar_count_accepted(struct grammar_session *session, const struct grammar_state *state, const int32_t *tokens,
                              size_t count) {
    struct frames_mark before = frames_mark(&session->frames);
    struct grammar_state at = *state;
    size_t out = grammar_accept_each(session, &at, tokens, count);
    frames_drop(&session->frames, before);
    return out;
}

bool grammar_complete(struct grammar_session *session, const struct grammar_state *state) {
    struct grammar *grammar = session->grammar;
    pthread_mutex_lock(&grammar->lock);
    bool complete = grammar->machine->operations->complete(grammar->machine, &state->machine);
    pthread_mutex_unlock(&grammar->lock);
    return complete;
}

enum status grammar_mask(struct grammar_session *session, const struct grammar_state *state, size_t tokens_left,
                         uint32_t *out, struct error *err) {
    struct grammar *grammar = session->grammar;
    pthread_mutex_lock(&grammar->lock);
    memset(out, 0, grammar->vocabulary->words * sizeof *out);
    grammar_refuel(grammar);
    const struct token_trie *trie = &grammar->vocabulary->trie;
    bool ok = grammar->machine->operations->fill != NULL
                  ? grammar->machine->operations->fill(grammar->machine, &session->walk, &state->machine, out)
                  : mask_walk(&session->walk, trie, 0, trie->count, &state->machine, out);
    if (ok && grammar->machine->operations->complete(grammar->machine, &state->machine))
        for (uint32_t i = 0; i < grammar->vocabulary->end_count; i++) mask_set(out, grammar->vocabulary->end_tokens[i]);
    if (ok && grammar->machine->operations->controls != NULL)
        grammar->machine->operations->controls(grammar->machine, &state->machine, out);
    enum status status = ok ? STATUS_OK : grammar_failed(grammar, err);
    if (ok && tokens_left != SIZE_MAX) status = finish_filter(session, state, tokens_left, out, err);
    pthread_mutex_unlock(&grammar->lock);
    return status;
}
