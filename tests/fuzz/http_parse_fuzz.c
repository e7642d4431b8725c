/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A head, and behind its blank line a chunked body: cut anywhere, the body is the same, and nothing outside of the text is read. */
#include "rpc/http_parse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition) abort();
}

/** The body's pieces in one; fed `step` bytes at a time. */
static enum http_chunks_state read_chunks(struct bytes_view text, size_t step, struct bytes *out, size_t *out_left) {
    struct http_chunks chunks = {0};
    enum http_chunks_state state = HTTP_CHUNKS_MORE;
    while (state == HTTP_CHUNKS_MORE && text.length > 0) {
        size_t length = text.length < step ? text.length : step;
        uint8_t *exact = malloc(length);
        memcpy(exact, text.data, length);
        struct bytes_view part = bytes_view_of(exact, length), piece;
        while (state == HTTP_CHUNKS_MORE && part.length > 0) {
            state = http_chunks_next(&chunks, &part, &piece);
            (void)!bytes_append(out, piece.data, piece.length);
        }
        text = bytes_view_of(text.data + (length - part.length), text.length - (length - part.length));
        free(exact);
    }
    *out_left = text.length;
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_head head;
    const char *reason = NULL;
    struct bytes_view text = bytes_view_of(data, size);
    size_t length = http_head_length(text, 0);
    for (size_t seen = 0; seen < size && seen < 64; seen++)
        must(http_head_length(bytes_view_of(data, seen), 0) <= seen);
    if (length > 0) {
        int refused = http_head_parse(bytes_view_of(data, length), &head, &reason);
        must(reason != NULL && (refused == 0 || refused == 400 || refused == 431 || refused == 505));
        if (refused == 0) {
            must(strlen(head.method) > 0 && strchr(head.method, ' ') == NULL);
            for (const struct http_field *field = head.headers; field != NULL; field = field->next)
                must(strlen(field->name) + strlen(field->value) <= length);
            http_head_deinit(&head);
        }
    }
    struct bytes whole, cut;
    size_t left_whole, left_cut;
    bytes_init(&whole, 1 << 20);
    bytes_init(&cut, 1 << 20);
    text = bytes_view_of(data + length, size - length);
    enum http_chunks_state first = read_chunks(text, SIZE_MAX, &whole, &left_whole),
                           second = read_chunks(text, 3, &cut, &left_cut);
    must(first == second && left_whole == left_cut && bytes_view_equal(bytes_view(&whole), bytes_view(&cut)));
    bytes_deinit(&whole);
    bytes_deinit(&cut);
    return 0;
}
