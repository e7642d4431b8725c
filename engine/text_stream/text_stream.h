/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Text stream: the sampled tokens of one generation turned into text that may be sent, and the watch for stop strings.
 *
 *     id -> detokenizer -> text so far not sent:  [ final | held ]
 *                                                           ^ could still become a stop string
 *
 * What comes out is valid UTF-8 and never holds any part of a stop string. Of several matches the one that ends first
 * counts, and of those that end together the longest: so the text does not depend on how it was cut into tokens.
 * The text before the match is final; nothing behind it ever comes out.
 *
 * Tokens that end a generation have no text and need not be pushed.
 */
#ifndef ENGINE_TEXT_STREAM_TEXT_STREAM_H
#define ENGINE_TEXT_STREAM_TEXT_STREAM_H

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

struct text_stream {
    struct detokenizer detokenizer;
    const struct bytes_view *stop; /* lent */
    size_t stop_count;
    struct bytes text;   /* not given out yet */
    size_t final_length; /* the part of it that may go out */
    size_t searched;     /* the part of it that no stop string ends in */
    bool stopped;
    int32_t previous; /* the last token of the prompt, which text goes on from; -1: none */
};

/** Where a stream stands: all of its past that decides what later tokens do. Small and without pointers, so that a search keeps one for each of
 *  its branches. Zeros: the beginning. */
struct text_state {
    uint8_t held[LIMIT_STOP_STRING_BYTES - 1], held_length;
    uint8_t pending[4], pending_length; /* the detokenizer's */
    uint8_t begun; /* the first piece has been there: a blank in front of the text is not to be taken away again */
};

/** `stop`: non-empty valid UTF-8 strings, lent until deinit. Reserves what a usual stream needs, so that pushing allocates only for
 *  extraordinary tokens. STATUS_RESOURCE_EXHAUSTED without memory (nothing to deinit then). */
enum status text_stream_init(struct text_stream *stream, const struct tokenizer *tokenizer,
                             const struct bytes_view *stop, size_t stop_count, struct error *err);
void text_stream_deinit(struct text_stream *stream);
/** Before the first push: the text goes on behind the prompt's last token (detokenizer_continue). Resets keep it. */
void text_stream_continue(struct text_stream *stream, int32_t previous);

/** Begin anew, with the same stop strings. */
void text_stream_reset(struct text_stream *stream);
/** Add a token's text. `stream->stopped` is true once a stop string is complete; later pushes change nothing. */
enum status text_stream_push(struct text_stream *stream, int32_t id);
/** Add text that somebody else has made of tokens. */
enum status text_stream_push_text(struct text_stream *stream, struct bytes_view text);
/** Where the stream, which has not stopped, stands. */
void text_stream_save(const struct text_stream *stream, struct text_state *out);
/** Begin anew from there, with the same stop strings: text that was final is not there any more. STATUS_RESOURCE_EXHAUSTED without memory. */
enum status text_stream_restore(struct text_stream *stream, const struct text_state *state);
/** No more tokens come: what was held becomes final, a cut UTF-8 sequence becomes U+FFFD. */
enum status text_stream_finish(struct text_stream *stream);
/** Text that may go out; lent until the next call on the stream. */
struct bytes_view text_stream_final(const struct text_stream *stream);
/** What text_stream_final gave has gone out. */
void text_stream_consume(struct text_stream *stream);

#endif
