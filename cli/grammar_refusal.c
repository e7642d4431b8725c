/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/grammar_refusal.h"

#include "base/json.h"

#include <inttypes.h>

static bool admits(struct grammar_session *session, const struct grammar_state *state, uint8_t byte) {
    struct grammar_state copy = *state;
    struct error err = {0};
    bool accepted = false;
    return grammar_accept_bytes(session, &copy, bytes_view_of(&byte, 1), &accepted, &err) == STATUS_OK && accepted;
}

/** A byte as it is shown; those of characters beyond ASCII by their numbers, as half a character is no text. */
static void append_byte(struct bytes *out, uint8_t byte) {
    if (byte == ' ')
        (void)bytes_append_string(out, "blank");
    else if (byte == '\n')
        (void)bytes_append_string(out, "\\n");
    else if (byte == '\r')
        (void)bytes_append_string(out, "\\r");
    else if (byte == '\t')
        (void)bytes_append_string(out, "\\t");
    else if (byte > ' ' && byte < 0x7F)
        (void)bytes_append_byte(out, byte);
    else
        (void)bytes_printf(out, "byte %02X", byte);
}

/** " 0-9 a-f", and whether there is any. Beyond ASCII they are told together. */
static bool append_admitted(struct grammar_session *session, const struct grammar_state *state, struct bytes *out) {
    bool any = false, beyond = false;
    for (int byte = 0; byte < 256; byte++) {
        if (!admits(session, state, (uint8_t)byte)) continue;
        any = true;
        if (byte >= 0x80) {
            beyond = true;
            continue;
        }
        int last = byte;
        while (byte > ' ' && last + 1 < 0x7F && admits(session, state, (uint8_t)(last + 1))) last++;
        (void)bytes_append_byte(out, ' ');
        append_byte(out, (uint8_t)byte);
        if (last > byte) (void)bytes_printf(out, "%c%c", last > byte + 1 ? '-' : ' ', last);
        byte = last;
    }
    if (beyond) (void)bytes_append_string(out, " characters beyond ASCII");
    return any;
}

/** What must come, where that is one text; else what may. */
static void append_expected(struct grammar_session *session, const struct grammar_state *state, struct bytes *out) {
    enum { FORCED_BYTES = 60 };
    bool complete = grammar_complete(session, state);
    struct bytes forced;
    struct error err = {0};
    bytes_init(&forced, FORCED_BYTES + 1);
    if (!complete && grammar_forced(session, state, FORCED_BYTES, &forced, &err) == STATUS_OK && forced.length > 0) {
        (void)bytes_append_string(out, "; here must come: ");
        (void)bytes_append(out, forced.data, forced.length);
    } else {
        (void)bytes_append_string(out, "; here may come:");
        bool any = append_admitted(session, state, out);
        if (complete) (void)bytes_append_string(out, any ? " or the end" : " nothing but the end");
    }
    bytes_deinit(&forced);
}

void grammar_refusal_append(struct grammar_session *session, const struct grammar_refusal *refusal, struct bytes *out) {
    struct grammar_state state = refusal->at;
    struct error err = {0};
    struct bytes reason;
    size_t fits = 0;
    bool accepted = true;
    bytes_init(&reason, SIZE_MAX / 2);
    while (fits < refusal->refused.length && accepted) {
        enum status status =
            grammar_accept_bytes(session, &state, bytes_view_of(refusal->refused.data + fits, 1), &accepted, &err);
        accepted = accepted && status == STATUS_OK;
        if (accepted) fits++;
    }
    if (refusal->refused.length == 0) {
        (void)bytes_append_string(&reason, "the text ends too early");
    } else if (fits == refusal->refused.length) {
        (void)bytes_append_string(&reason, "the token was refused, though its bytes fit");
    } else {
        (void)bytes_append_string(&reason, "unexpected ");
        append_byte(&reason, refusal->refused.data[fits]);
    }
    append_expected(session, &state, &reason);
    (void)bytes_printf(out, "{\"token\": %zu, \"byte\": %" PRIu64 ", \"reason\": ", refusal->token, state.length);
    (void)json_append_string(out, bytes_view(&reason));
    (void)bytes_append_byte(out, '}');
    bytes_deinit(&reason);
}
