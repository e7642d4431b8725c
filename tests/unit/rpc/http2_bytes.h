/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** HTTP/2 as bytes (RFC 9113), for servers of tests that say what no proper server says. */
#ifndef TESTS_UNIT_RPC_HTTP2_BYTES_H
#define TESTS_UNIT_RPC_HTTP2_BYTES_H

#include "base/bytes.h"

#include <string.h>

enum {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FLAG_END_STREAM = 1,
    FLAG_END_HEADERS = 4
};

[[maybe_unused]] static void put_frame(struct bytes *out, uint8_t type, uint8_t flags, uint32_t stream,
                                       struct bytes_view payload) {
    const uint8_t head[9] = {
        (uint8_t)(payload.length >> 16), (uint8_t)(payload.length >> 8), (uint8_t)payload.length, type,           flags,
        (uint8_t)(stream >> 24),         (uint8_t)(stream >> 16),        (uint8_t)(stream >> 8),  (uint8_t)stream};
    (void)!bytes_append(out, head, sizeof head);
    (void)!bytes_append(out, payload.data, payload.length);
}

/** Headers as "name: value\n" each, not indexed and not Huffman-coded (RFC 7541, 6.2.2); names and values of at most 126 bytes. */
[[maybe_unused]] static void put_headers(struct bytes *out, uint8_t flags, uint32_t stream, const char *headers) {
    uint8_t block[4096];
    size_t length = 0;
    for (const char *line = headers, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        const char *colon = strchr(line + 1, ':');
        size_t name = (size_t)(colon - line), value = (size_t)(end - colon) - 2;
        block[length++] = 0;
        block[length++] = (uint8_t)name;
        memcpy(block + length, line, name);
        length += name;
        block[length++] = (uint8_t)value;
        memcpy(block + length, colon + 2, value);
        length += value;
    }
    put_frame(out, FRAME_HEADERS, flags | FLAG_END_HEADERS, stream, bytes_view_of(block, length));
}

/** A gRPC message in a DATA frame of its own. */
[[maybe_unused]] static void put_message(struct bytes *out, uint8_t flags, uint32_t stream, const char *text) {
    uint8_t message[256] = {0, 0, 0, 0, (uint8_t)strlen(text)};
    memcpy(message + 5, text, strlen(text));
    put_frame(out, FRAME_DATA, flags, stream, bytes_view_of(message, 5 + strlen(text)));
}

#endif
