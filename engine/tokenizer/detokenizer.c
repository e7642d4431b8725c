/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "engine/tokenizer/tokenizer_internal.h"

#include <string.h>

void detokenizer_init(struct detokenizer *detokenizer, const struct tokenizer *tokenizer) {
    *detokenizer = (struct detokenizer){.tokenizer = tokenizer, .at_start = tokenizer->strip_first_space};
}

void detokenizer_continue(struct detokenizer *detokenizer, const struct tokenizer *tokenizer, int32_t previous) {
    detokenizer_init(detokenizer, tokenizer);
    if (previous >= 0 && previous < tokenizer->count && !tokenizer_is_control(tokenizer, previous))
        detokenizer->at_start = false;
}

/** Append `length` bytes that are complete, with U+FFFD for what is not UTF-8. */
static enum status append_valid(const uint8_t *data, size_t length, struct bytes *out) {
    while (length > 0) {
        uint32_t code_point;
        bool valid;
        size_t used = text_decode(data, length, &code_point, &valid);
        TRY(valid ? bytes_append(out, data, used) : bytes_append(out, "\xEF\xBF\xBD", 3));
        data += used;
        length -= used;
    }
    return STATUS_OK;
}

enum status detokenizer_push(struct detokenizer *detokenizer, int32_t id, struct bytes *out) {
    struct bytes_view piece = tokenizer_piece(detokenizer->tokenizer, id);
    if (detokenizer->at_start && piece.length > 0) {
        /* A byte token is the byte itself: it was no blank put in front of the text. */
        bool byte_token = detokenizer->tokenizer->tokens[id].type == TOKEN_BYTE;
        if (piece.data[0] == ' ' && !byte_token) piece = bytes_view_of(piece.data + 1, piece.length - 1);
        detokenizer->at_start = false;
    }
    while (piece.length > 0) {
        /* Fill the pending bytes up first; what is complete among them leaves at once. */
        uint8_t joined[64];
        size_t have = detokenizer->pending_length, room = sizeof joined - have,
               taken = piece.length < room ? piece.length : room;
        memcpy(joined, detokenizer->pending, have);
        memcpy(joined + have, piece.data, taken);
        size_t total = have + taken, complete = text_complete_prefix(joined, total);
        TRY(append_valid(joined, complete, out));
        detokenizer->pending_length = total - complete;
        memcpy(detokenizer->pending, joined + complete, detokenizer->pending_length);
        piece.data += taken;
        piece.length -= taken;
    }
    return STATUS_OK;
}

enum status detokenizer_finish(struct detokenizer *detokenizer, struct bytes *out) {
    size_t length = detokenizer->pending_length;
    detokenizer->pending_length = 0;
    return append_valid(detokenizer->pending, length, out);
}
