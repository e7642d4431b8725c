/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a generation may say: the grammar's mask before every draw, and a step of the grammar behind it. On the step thread, under no lock of the engine. */
#include "engine/engine_internal.h"

#include <string.h>

enum status constrain_init(struct generation *generation, const struct generation_request *request, struct error *err) {
    bool fits = true;
    if (request->grammar == NULL) return STATUS_OK;
    TRY(grammar_session_create(request->grammar, &generation->grammar, err));
    TRY(grammar_start(generation->grammar, &generation->start, err));
    if (request->begun.length > 0)
        TRY(grammar_accept_bytes(generation->grammar, &generation->start, request->begun, &fits, err));
    if (fits) return STATUS_OK;
    return error_set(err, STATUS_FAILED_PRECONDITION, "no text of the grammar begins with the text that is continued");
}

void constrain_deinit(struct generation *generation) {
    grammar_session_destroy(generation->grammar);
}

/** Zeros are where every answer begins. */
static struct grammar_state state_of(const struct generation *generation, const struct answer_state *answer) {
    return answer->begun ? answer->grammar : generation->start;
}

static bool is_empty(const struct engine *engine) {
    for (size_t i = 0; i < engine->mask_words; i++)
        if (engine->mask[i] != 0) return false;
    return true;
}

static void count_seconds(const struct engine *engine, int64_t began) {
    if (engine->has_metrics)
        metric_observe(engine->metrics.mask_seconds, (double)(clock_monotonic_ns(clock_system()) - began) / 1e9);
}

enum verdict constrain_ask(struct sequence *leader, const void *state, int64_t left, struct token_mask *out_mask,
                           const char **out_error) {
    struct generation *generation = (struct generation *)leader;
    struct engine *engine = generation->engine;
    const struct answer_state *answer = state != NULL ? state : &generation->answer;
    struct grammar_state at = state_of(generation, answer);
    struct error err = {0};
    int64_t began = clock_monotonic_ns(clock_system());
    enum status status = grammar_mask(generation->grammar, &at, (size_t)left, engine->mask, &err);
    count_seconds(engine, began);
    /* Out of range: it cannot become complete in what is left; the mask is the one without that care. */
    if (status != STATUS_OK && status != STATUS_OUT_OF_RANGE) {
        *out_error = "the grammar costs more than a grammar may cost";
        return VERDICT_ERROR;
    }
    *out_mask = (struct token_mask){.words = engine->mask, .word_count = engine->mask_words};
    /* A vocabulary without an end token has nothing to end with: then the text ends by itself. */
    if (!is_empty(engine)) return VERDICT_GO_ON;
    if (grammar_complete(generation->grammar, &at)) return VERDICT_STOP;
    *out_error = "no token of this model's vocabulary goes on with what the grammar asks for";
    return VERDICT_ERROR;
}

bool constrain_push(struct generation *generation, const struct answer_state *before, int32_t id,
                    struct answer_state *after) {
    if (generation->grammar == NULL) return true;
    struct error err = {0};
    struct grammar_state at = state_of(generation, before);
    bool accepted = false;
    if (grammar_accept(generation->grammar, &at, id, &accepted, &err) != STATUS_OK || !accepted) return false;
    after->grammar = at;
    after->begun = true;
    return true;
}
