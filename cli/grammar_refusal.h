/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Where a grammar refused a text, and what could have come there: the "refused" of `bora grammar check`, for people. */
#ifndef CLI_GRAMMAR_REFUSAL_H
#define CLI_GRAMMAR_REFUSAL_H

#include "engine/grammar/grammar.h"

/** How far a text came. */
struct grammar_refusal {
    size_t token;              /* index of the one that was refused; at the end of the text: how many there are */
    struct grammar_state at;   /* before that token */
    struct bytes_view refused; /* its bytes; none: the text ended too early */
};
/**
 * Append `{"token": 3, "byte": 9, "reason": "..."}`. "byte" is where in the text the first byte stands that fits no longer. A session of its grammar;
 * what is admitted is asked byte by byte, which costs about 256 steps.
 */
void grammar_refusal_append(struct grammar_session *session, const struct grammar_refusal *refusal, struct bytes *out);

#endif
