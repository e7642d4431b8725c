/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/grammar_walk.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    TOKENS_LEFT_MAX = 4096, /* of a walk whose text does not fit what it was given */
    SHORT_PIECE_BYTES = 2   /* half of the draws look at such tokens only: most others are the insides of words */
};

struct walks {
    const struct grammar_walk_options *options;
    int32_t *short_tokens; /* [short_count] */
    size_t short_count;
    uint64_t draws; /* so far, in all lines: the place in the stream of random numbers */
    size_t probes, disagreements;
};

enum walk_end { WALK_COMPLETE, WALK_CUT, WALK_DEAD_END };

static uint64_t draw(struct walks *walks, uint64_t below) {
    return random_philox(walks->options->seed, walks->draws++, 0) % below;
}

/** A token of the mask that is no end of text: the first one at or behind a random place. -1: there is none. */
static int32_t draw_token(struct grammar_run *run, struct walks *walks) {
    if (walks->short_count > 0 && draw(walks, 2) == 0) {
        size_t from = draw(walks, walks->short_count);
        for (size_t i = 0; i < walks->short_count; i++) {
            int32_t token = walks->short_tokens[(from + i) % walks->short_count];
            if (grammar_run_bit(run, token)) return token;
        }
    }
    size_t count = (size_t)tokenizer_vocabulary(run->tokenizer), from = draw(walks, count);
    for (size_t i = 0; i < count; i++) {
        int32_t token = (int32_t)((from + i) % count);
        if (grammar_run_bit(run, token) && !tokenizer_is_end(run->tokenizer, token)) return token;
    }
    return -1;
}

/** Compare the mask's bits of random tokens with what accepting them says. A budget of tokens makes masks smaller, so only without one. */
static enum status probe(struct grammar_run *run, struct walks *walks, struct grammar_session *session,
                         const struct grammar_state *state, struct error *err) {
    if (walks->options->probes == 0) return STATUS_OK;
    TRY(grammar_mask(session, state, SIZE_MAX, run->mask, err));
    for (size_t i = 0; i < walks->options->probes; i++) {
        struct grammar_state copy = *state;
        int32_t token = i % 2 == 0 ? draw_token(run, walks) : -1;
        bool accepted = false;
        if (token < 0) token = (int32_t)draw(walks, (uint64_t)tokenizer_vocabulary(run->tokenizer));
        TRY(grammar_accept(session, &copy, token, &accepted, err));
        walks->probes++;
        if (accepted != grammar_run_bit(run, token)) walks->disagreements++;
    }
    return STATUS_OK;
}

/** Enough tokens for some text: `left`, or as often twice that as it takes; 0 when none is enough. */
static enum status enough_tokens(struct grammar_run *run, struct grammar_session *session,
                                 const struct grammar_state *state, size_t *left, struct error *err) {
    enum status status = STATUS_OUT_OF_RANGE;
    for (; *left <= TOKENS_LEFT_MAX && status == STATUS_OUT_OF_RANGE; *left *= 2) {
        struct error shut = {0};
        status = grammar_mask(session, state, *left, run->mask, &shut);
        if (status == STATUS_OK) return STATUS_OK;
        if (status != STATUS_OUT_OF_RANGE) return error_set(err, status, "%s", shut.message);
    }
    *left = 0;
    return STATUS_OK;
}

/** Draw until the end, which comes within `left` tokens (or more where a text needs them). */
static enum status walk(struct grammar_run *run, struct walks *walks, struct grammar_session *session, size_t left,
                        struct bytes *text, enum walk_end *out, struct error *err) {
    struct grammar_state state;
    TRY(grammar_start(session, &state, err));
    TRY(enough_tokens(run, session, &state, &left, err));
    for (*out = WALK_CUT; left > 0; left--) {
        TRY(probe(run, walks, session, &state, err));
        TRY(grammar_mask(session, &state, left, run->mask, err));
        bool may_end = grammar_run_may_end(run, grammar_complete(session, &state)), accepted = false;
        int32_t token = may_end && draw(walks, 4) == 0 ? -1 : draw_token(run, walks);
        *out = may_end ? WALK_COMPLETE : WALK_DEAD_END;
        if (token < 0) return STATUS_OK;
        TRY(grammar_accept(session, &state, token, &accepted, err));
        if (!accepted) return error_set(err, STATUS_INTERNAL, "token %d has its bit and is not accepted", token);
        struct bytes_view piece = tokenizer_piece(run->tokenizer, token);
        TRY(bytes_append(text, piece.data, piece.length));
        *out = grammar_complete(session, &state) ? WALK_COMPLETE : WALK_CUT; /* if that was the last one */
    }
    return STATUS_OK;
}

static void append_walk(struct grammar_run *run, struct walks *walks, struct grammar *grammar, struct bytes *out) {
    struct grammar_session *session = NULL;
    struct error err = {0};
    struct bytes text;
    enum walk_end end = WALK_CUT;
    bytes_init(&text, GRAMMAR_LINE_BYTES_MAX);
    size_t left = 1 + draw(walks, walks->options->tokens_max);
    enum status status = grammar_session_create(grammar, &session, &err);
    if (status == STATUS_OK) status = walk(run, walks, session, left, &text, &end, &err);
    bool complete = status == STATUS_OK && end == WALK_COMPLETE;
    (void)bytes_append_string(out, "{\"text\": ");
    (void)json_append_string(out, bytes_view(&text));
    (void)bytes_printf(out, ", \"complete\": %s", complete ? "true" : "false");
    if (status == STATUS_OK && end == WALK_DEAD_END) (void)bytes_append_string(out, ", \"dead_end\": true");
    if (status != STATUS_OK) {
        (void)bytes_append_string(out, ", \"error\": ");
        (void)json_append_string(out, bytes_view_string(err.message[0] != 0 ? err.message : status_name(status)));
    }
    (void)bytes_append_byte(out, '}');
    if (session != NULL) grammar_session_destroy(session);
    bytes_deinit(&text);
}

static bool answer(struct grammar_run *run, const struct grammar_line *line, struct bytes *out, struct error *err,
                   void *context) {
    struct walks *walks = context;
    (void)err;
    walks->probes = walks->disagreements = 0;
    (void)bytes_append_string(out, ", \"walks\": [");
    for (size_t i = 0; line->grammar != NULL && i < walks->options->count; i++) {
        if (i > 0) (void)bytes_append_string(out, ", ");
        append_walk(run, walks, line->grammar, out);
    }
    (void)bytes_printf(out, "], \"probes\": %zu, \"disagreements\": %zu", walks->probes, walks->disagreements);
    return true;
}

int grammar_walk_lines(struct grammar_run *run, const struct grammar_walk_options *options) {
    struct walks walks = {.options = options};
    int32_t count = tokenizer_vocabulary(run->tokenizer);
    walks.short_tokens = calloc((size_t)count, sizeof *walks.short_tokens);
    for (int32_t id = 0; walks.short_tokens != NULL && id < count; id++) {
        size_t length = tokenizer_piece(run->tokenizer, id).length;
        if (length > 0 && length <= SHORT_PIECE_BYTES && !tokenizer_is_end(run->tokenizer, id))
            walks.short_tokens[walks.short_count++] = id;
    }
    int result = grammar_run_lines(run, answer, &walks);
    free(walks.short_tokens);
    return result;
}
