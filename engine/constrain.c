/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What a generation may say: the grammar's mask before every draw, and a step of the grammar behind it. On the step thread, or beside it (mask_ahead.h); under no lock of the
 * engine. */
#include "engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the first token of a text ------------------------------------------------------------------------------------- */

/*
 * SentencePiece vocabularies put a blank in front of a text, which the detokenizer takes away again: what begins an answer as " {" is read as "{". So there the
 * token " {" is as good as "{", and is what the model knows. `begins_as` says which token each one is worth at the beginning: itself, its twin without the blank,
 * or none (NO_TWIN), and then it cannot begin.
 */
enum { NO_TWIN = -1 };

struct piece {
    struct bytes_view text;
    int32_t id;
};

static int compare_pieces(const void *a, const void *b) {
    const struct piece *x = a, *y = b;
    int order = bytes_view_compare(x->text, y->text);
    return order != 0 ? order : x->id < y->id ? -1 : 1;
}

/** The lowest id with that piece. */
static int32_t find_piece(const struct piece *pieces, size_t count, struct bytes_view text) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_view_compare(pieces[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && bytes_view_compare(pieces[low].text, text) == 0 ? pieces[low].id : NO_TWIN;
}

/** Does the detokenizer take the blank away in front of this token? Not of the token that is the byte 0x20 itself. */
static bool loses_blank(const struct tokenizer *tokenizer, int32_t id, struct bytes *scratch) {
    struct bytes_view piece = tokenizer_piece(tokenizer, id);
    if (piece.length == 0 || piece.data[0] != ' ') return false;
    struct detokenizer detokenizer;
    detokenizer_init(&detokenizer, tokenizer);
    bytes_reset(scratch);
    if (detokenizer_push(&detokenizer, id, scratch) != STATUS_OK) return false;
    return scratch->length == 0 || scratch->data[0] != ' ' ||
           scratch->length + detokenizer.pending_length < piece.length;
}

static bool find_twins(const struct tokenizer *tokenizer, int32_t *begins_as) {
    int32_t count = tokenizer_vocabulary(tokenizer);
    struct piece *pieces = malloc((size_t)count * sizeof *pieces);
    struct bytes scratch;
    size_t named = 0;
    if (pieces == NULL) return false;
    bytes_init(&scratch, LIMIT_ANSWER_BYTES);
    for (int32_t id = 0; id < count; id++) {
        begins_as[id] = id;
        struct bytes_view piece = tokenizer_piece(tokenizer, id);
        if (piece.length > 0 && !tokenizer_is_control(tokenizer, id)) pieces[named++] = (struct piece){piece, id};
    }
    qsort(pieces, named, sizeof *pieces, compare_pieces);
    for (int32_t id = 0; id < count; id++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, id);
        if (!loses_blank(tokenizer, id, &scratch)) continue;
        begins_as[id] = find_piece(pieces, named, bytes_view_of(piece.data + 1, piece.length - 1));
    }
    bytes_deinit(&scratch);
    free(pieces);
    return true;
}

static void find_foreseen(struct generation *generation);

enum status constrain_open(struct engine *engine, struct error *err) {
    struct detokenizer detokenizer;
    size_t count = (size_t)tokenizer_vocabulary(engine->tokenizer);
    engine->mask_words = (count + 31) / 32;
    engine->mask = malloc(engine->mask_words * sizeof *engine->mask);
    detokenizer_init(&detokenizer, engine->tokenizer);
    bool ok = engine->mask != NULL;
    if (ok && detokenizer.at_start) {
        engine->begins_as = malloc(count * sizeof *engine->begins_as);
        engine->mask_as_written = malloc(engine->mask_words * sizeof *engine->mask_as_written);
        ok = engine->begins_as != NULL && engine->mask_as_written != NULL &&
             find_twins(engine->tokenizer, engine->begins_as);
    }
    if (!ok) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return mask_ahead_create(find_foreseen, &engine->ahead, err);
}

void constrain_close(struct engine *engine) {
    mask_ahead_destroy(engine->ahead);
    free(engine->mask);
    free(engine->begins_as);
    free(engine->mask_as_written);
}

static bool begins_text(const struct generation *generation, const struct answer_state *answer) {
    struct detokenizer detokenizer;
    const struct engine *engine = generation->engine;
    if (answer->begun || engine->begins_as == NULL) return false;
    detokenizer_continue(&detokenizer, engine->tokenizer, generation->text.previous);
    return detokenizer.at_start;
}

/** Each token is admitted as what it is worth at the beginning. */
static void mask_beginning(const struct engine *engine, uint32_t *mask) {
    const uint32_t *as_written = engine->mask_as_written;
    memcpy(engine->mask_as_written, mask, engine->mask_words * sizeof *mask);
    memset(mask, 0, engine->mask_words * sizeof *mask);
    for (int32_t id = 0; id < tokenizer_vocabulary(engine->tokenizer); id++) {
        int32_t twin = engine->begins_as[id];
        if (twin != NO_TWIN && (as_written[twin / 32] >> twin % 32 & 1) != 0) mask[id / 32] |= 1u << id % 32;
    }
}

/* ---- a generation's grammar ---------------------------------------------------------------------------------------- */

enum status constrain_init(struct generation *generation, const struct generation_request *request, struct error *err) {
    bool fits = true;
    if (request->grammar == NULL) return STATUS_OK;
    generation->foreseen.words = malloc(generation->engine->mask_words * sizeof(uint32_t));
    if (generation->foreseen.words == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(grammar_session_create(request->grammar, &generation->grammar, err));
    if (request->beam.width > 0) grammar_session_branches(generation->grammar);
    TRY(grammar_start(generation->grammar, &generation->start, err));
    if (request->begun.length > 0)
        TRY(grammar_accept_bytes(generation->grammar, &generation->start, request->begun, &fits, err));
    if (fits) return STATUS_OK;
    return error_set(err, STATUS_FAILED_PRECONDITION, "no text of the grammar begins with the text that is continued");
}

void constrain_deinit(struct generation *generation) {
    grammar_session_destroy(generation->grammar);
    free(generation->foreseen.words);
}

/** Zeros are where every answer begins. */
static struct grammar_state state_of(const struct generation *generation, const struct answer_state *answer) {
    return answer->begun ? answer->grammar : generation->start;
}

static enum status find_mask(struct generation *generation, const struct grammar_state *at, int64_t left,
                             uint32_t *words) {
    const struct engine *engine = generation->engine;
    struct error err = {0};
    int64_t began = clock_monotonic_ns(clock_system());
    enum status status = grammar_mask(generation->grammar, at, (size_t)left, words, &err);
    if (engine->has_metrics)
        metric_observe(engine->metrics.mask_seconds, (double)(clock_monotonic_ns(clock_system()) - began) / 1e9);
    /* Out of range: it cannot become complete in what is left; the mask is the one without that care. */
    if (status != STATUS_OK && status != STATUS_OUT_OF_RANGE) generation->grammar_error = err;
    return status;
}

/** On the step thread or beside it, while the step thread leaves the generation alone. */
static void find_foreseen(struct generation *generation) {
    struct grammar_state at = state_of(generation, &generation->answer);
    struct mask_foreseen *foreseen = &generation->foreseen;
    foreseen->status = find_mask(generation, &at, foreseen->left, foreseen->words);
}

void constrain_foresee(struct sequence *sequence, int64_t left) {
    struct generation *generation = (struct generation *)sequence;
    struct mask_foreseen *foreseen = &generation->foreseen;
    if (foreseen->position == sequence->token_count) return; /* of a step that was given up */
    foreseen->position = sequence->token_count;
    foreseen->left = left;
    mask_ahead_add(generation->engine->ahead, generation);
}

enum verdict constrain_ask(struct sequence *leader, const void *state, int64_t left, struct token_mask *out_mask,
                           const char **out_error) {
    struct generation *generation = (struct generation *)leader;
    struct engine *engine = generation->engine;
    const struct answer_state *answer = state != NULL ? state : &generation->answer;
    struct grammar_state at = state_of(generation, answer);
    bool foreseen = state == NULL && generation->foreseen.position == leader->token_count;
    uint32_t *words = foreseen ? generation->foreseen.words : engine->mask;
    enum status status = foreseen ? generation->foreseen.status : find_mask(generation, &at, left, words);
    if (status != STATUS_OK && status != STATUS_OUT_OF_RANGE) {
        *out_error = generation->grammar_error.message;
        return VERDICT_ERROR;
    }
    if (begins_text(generation, answer)) mask_beginning(engine, words);
    *out_mask = (struct token_mask){.words = words, .word_count = engine->mask_words};
    /* A vocabulary without an end token has nothing to end with: then the text ends by itself. */
    if (!grammar_mask_is_empty(words, engine->mask_words)) return VERDICT_GO_ON;
    if (grammar_complete(generation->grammar, &at)) return VERDICT_STOP;
    *out_error = "no token of this model's vocabulary goes on with what the grammar asks for";
    return VERDICT_ERROR;
}

int constrain_force(struct sequence *sequence, int most, int32_t *out) {
    struct generation *generation = (struct generation *)sequence;
    const struct sampling *sampling = &sequence->sampling;
    struct error ignored = {0};
    size_t count = 0;
    /* Whoever wants log-probabilities wants logits, and a bias may speak of tokens that spell what is forced. */
    if (!generation->engine->jump_forward || sampling->top_logprobs >= 0 || sampling->logit_bias_count > 0) return 0;
    struct grammar_state at = generation->answer.grammar;
    enum status status = grammar_forced_tokens(generation->grammar, &at, sequence->tokens + sequence->prompt_count,
                                               (size_t)(sequence->token_count - sequence->prompt_count), out,
                                               (size_t)most, &count, &ignored);
    if (status != STATUS_OK || count == 0) return 0;
    int64_t left = sequence->prompt_count + sequence->max_tokens - sequence->token_count;
    return grammar_may_take(generation->grammar, &at, out, count, (size_t)left) ? (int)count : 0;
}

int constrain_admit(struct sequence *sequence, const int32_t *guesses, int count) {
    struct generation *generation = (struct generation *)sequence;
    const struct answer_state *answer = &generation->answer;
    if (begins_text(generation, answer)) return count;
    struct grammar_state at = state_of(generation, answer);
    return (int)grammar_count_accepted(generation->grammar, &at, guesses, (size_t)count);
}

/** A hash of the bytes; never 0. */
uint64_t constrain_text_key(struct sequence *leader, const void *state, int32_t id) {
    const struct answer_state *answer = state;
    const struct tokenizer *tokenizer = ((struct generation *)leader)->engine->tokenizer;
    uint64_t key = answer->text_key != 0 ? answer->text_key : BYTES_HASH_START;
    if (id < 0 || tokenizer_is_end(tokenizer, id)) return key;
    struct bytes_view piece = tokenizer_piece(tokenizer, id);
    key = bytes_hash(key, piece);
    if (piece.length == 0)
        key = (key ^ (uint32_t)id) * 0x9e3779b97f4a7c15; /* a control token is no text, but not nothing */
    return key != 0 ? key : 1;
}

enum verdict constrain_push(struct generation *generation, const struct answer_state *before, int32_t id,
                            struct answer_state *after) {
    if (generation->grammar == NULL) return VERDICT_GO_ON;
    struct grammar_state at = state_of(generation, before);
    bool accepted = false;
    if (begins_text(generation, before)) id = generation->engine->begins_as[id];
    if (grammar_accept(generation->grammar, &at, id, &accepted, &generation->grammar_error) != STATUS_OK || !accepted)
        return VERDICT_ERROR;
    after->grammar = at;
    after->begun = true;
    after->length = before->length + 1;
    after->text_key = constrain_text_key(&generation->sequence, before, id);
    /* Of answers that may hold calls, text is complete wherever it is cut; their end is looked at later. */
    bool last = after->length == generation->sequence.max_tokens && generation->calls == NULL;
    return last && grammar_complete(generation->grammar, &at) ? VERDICT_STOP : VERDICT_GO_ON;
}
