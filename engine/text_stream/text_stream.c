/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/text_stream/text_stream.h"

#include <string.h>

enum { TEXT_BYTES_RESERVED = 1024 };

enum status text_stream_init(struct text_stream *stream, const struct tokenizer *tokenizer,
                             const struct bytes_view *stop, size_t stop_count, struct error *err) {
    *stream = (struct text_stream){.stop = stop, .stop_count = stop_count, .previous = -1};
    detokenizer_init(&stream->detokenizer, tokenizer);
    bytes_init(&stream->text, LIMIT_ANSWER_BYTES);
    if (bytes_reserve(&stream->text, TEXT_BYTES_RESERVED) != STATUS_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return STATUS_OK;
}

void text_stream_continue(struct text_stream *stream, int32_t previous) {
    stream->previous = previous;
    detokenizer_continue(&stream->detokenizer, stream->detokenizer.tokenizer, previous);
}

void text_stream_reset(struct text_stream *stream) {
    detokenizer_continue(&stream->detokenizer, stream->detokenizer.tokenizer, stream->previous);
    bytes_reset(&stream->text);
    stream->final_length = stream->searched = 0;
    stream->stopped = false;
}

void text_stream_save(const struct text_stream *stream, struct text_state *out) {
    size_t held = stream->text.length - stream->final_length, pending = stream->detokenizer.pending_length;
    out->held_length = (uint8_t)held;
    out->pending_length = (uint8_t)pending;
    out->begun = !stream->detokenizer.at_start;
    if (held > 0) memcpy(out->held, stream->text.data + stream->final_length, held);
    memcpy(out->pending, stream->detokenizer.pending, pending);
}

enum status text_stream_restore(struct text_stream *stream, const struct text_state *state) {
    text_stream_reset(stream);
    TRY(bytes_append(&stream->text, state->held, state->held_length));
    stream->searched = state->held_length;
    stream->detokenizer.pending_length = state->pending_length;
    if (state->begun) stream->detokenizer.at_start = false;
    memcpy(stream->detokenizer.pending, state->pending, state->pending_length);
    return STATUS_OK;
}

void text_stream_deinit(struct text_stream *stream) {
    bytes_deinit(&stream->text);
}

/** Find the match that ends first (the longest of those) and cut the text before it. None ends in what was searched before. */
static void cut_at_stop(struct text_stream *stream) {
    size_t best_start = 0, best_end = SIZE_MAX, searched = stream->searched;
    stream->searched = stream->text.length;
    for (size_t i = 0; i < stream->stop_count; i++) {
        size_t back = stream->stop[i].length - 1, from = searched > back ? searched - back : 0;
        if (stream->text.length - from < stream->stop[i].length) continue;
        const uint8_t *found =
            memmem(stream->text.data + from, stream->text.length - from, stream->stop[i].data, stream->stop[i].length);
        if (found == NULL) continue;
        size_t start = (size_t)(found - stream->text.data), end = start + stream->stop[i].length;
        if (end < best_end || (end == best_end && start < best_start)) {
            best_start = start;
            best_end = end;
        }
    }
    if (best_end == SIZE_MAX) return;
    stream->text.length = best_start;
    stream->stopped = true;
}

/** Bytes at the end of the text that a stop string begins with. */
static size_t held_length(const struct text_stream *stream) {
    size_t held = 0;
    for (size_t i = 0; i < stream->stop_count; i++) {
        size_t longest = stream->stop[i].length - 1;
        if (longest > stream->text.length) longest = stream->text.length;
        for (size_t length = longest; length > held; length--) {
            if (memcmp(stream->text.data + stream->text.length - length, stream->stop[i].data, length) == 0)
                held = length;
        }
    }
    return held;
}

static void settle(struct text_stream *stream) {
    cut_at_stop(stream);
    stream->final_length = stream->text.length - (stream->stopped ? 0 : held_length(stream));
}

enum status text_stream_push(struct text_stream *stream, int32_t id) {
    if (stream->stopped) return STATUS_OK;
    TRY(detokenizer_push(&stream->detokenizer, id, &stream->text));
    settle(stream);
    return STATUS_OK;
}

enum status text_stream_push_text(struct text_stream *stream, struct bytes_view text) {
    if (stream->stopped) return STATUS_OK;
    TRY(bytes_append(&stream->text, text.data, text.length));
    settle(stream);
    return STATUS_OK;
}

enum status text_stream_finish(struct text_stream *stream) {
    if (stream->stopped) return STATUS_OK;
    TRY(detokenizer_finish(&stream->detokenizer, &stream->text));
    settle(stream);
    stream->final_length = stream->text.length;
    return STATUS_OK;
}

struct bytes_view text_stream_final(const struct text_stream *stream) {
    return bytes_view_of(stream->text.data, stream->final_length);
}

void text_stream_consume(struct text_stream *stream) {
    bytes_consume(&stream->text, stream->final_length);
    stream->searched -= stream->searched < stream->final_length ? stream->searched : stream->final_length;
    stream->final_length = 0;
}
