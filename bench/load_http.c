/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/load_http.h"

#include "base/settings.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK_DIGITS_MAX = 8, LINE_END = 2 };

enum status load_request(const char *path, const char *key, const char *body_file, struct bytes *out,
                         struct error *err) {
    char *body = NULL;
    size_t length = 0;
    TRY(settings_read_file(body_file, LOAD_BODY_BYTES_MAX, &body, &length, err));
    (void)!bytes_printf(out,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: */*\r\n"
                        "Content-Length: %zu\r\n",
                        path, length);
    if (key != NULL) (void)!bytes_printf(out, "Authorization: Bearer %s\r\n", key);
    (void)!bytes_append_string(out, "\r\n");
    (void)!bytes_append(out, body, length);
    free(body);
    return out->failed ? error_set(err, STATUS_RESOURCE_EXHAUSTED, "the request is too large") : STATUS_OK;
}

int load_connect(int port, int receive_bytes) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (receive_bytes > 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0)
        return fd;
    close(fd);
    return -1;
}

void load_reader_reset(struct load_reader *reader) {
    reader->state = LOAD_HEAD;
    reader->status = 0;
    reader->closes = false;
    reader->rest = reader->body_bytes = 0;
    reader->head_length = 0;
}

/** The value of a header in a NUL-terminated head, or NULL. */
static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += LINE_END;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
    }
    return NULL;
}

/** Continues a head; the bytes that belong to it. */
static size_t feed_head(struct load_reader *reader, const uint8_t *data, size_t length) {
    size_t room = sizeof reader->head - 1 - reader->head_length, before = reader->head_length;
    size_t taken = length < room ? length : room, search = before > 3 ? before - 3 : 0;
    memcpy(reader->head + before, data, taken);
    reader->head[before + taken] = 0;
    reader->head_length += taken;
    const char *end = strstr(reader->head + search, "\r\n\r\n");
    if (end == NULL) {
        if (taken < length) reader->state = LOAD_BROKEN;
        return taken;
    }
    size_t head_length = (size_t)(end - reader->head) + 2 * LINE_END;
    reader->head[head_length - LINE_END] = 0;
    const char *size = header(reader->head, "Content-Length"), *coding = header(reader->head, "Transfer-Encoding");
    const char *connection = header(reader->head, "Connection");
    reader->closes = connection != NULL && strncasecmp(connection, "close", 5) == 0;
    if (sscanf(reader->head, "HTTP/1.1 %3d", &reader->status) != 1)
        reader->state = LOAD_BROKEN;
    else if (coding != NULL && strncasecmp(coding, "chunked", 7) == 0)
        reader->state = LOAD_CHUNK_SIZE;
    else if (size != NULL)
        reader->state = (reader->rest = atoll(size)) > 0 ? LOAD_BODY : LOAD_DONE;
    else
        reader->state = LOAD_BROKEN;
    reader->head_length = 0; /* of a chunk's size, from now on */
    return head_length - before;
}

/** Bytes that are only counted. */
static size_t feed_body(struct load_reader *reader, size_t length) {
    size_t taken = (int64_t)length < reader->rest ? length : (size_t)reader->rest;
    reader->rest -= (int64_t)taken;
    reader->body_bytes += (int64_t)taken;
    if (reader->rest == 0) reader->state = reader->state == LOAD_BODY ? LOAD_DONE : LOAD_CHUNK_SIZE;
    return taken;
}

static void feed_chunk_size(struct load_reader *reader, char byte) {
    if (byte == '\n') {
        reader->head[reader->head_length] = 0;
        int64_t size = strtoll(reader->head, NULL, 16);
        reader->state = reader->head_length == 0 ? LOAD_BROKEN : size == 0 ? LOAD_TRAILER : LOAD_CHUNK;
        reader->rest = size == 0 ? 0 : size + LINE_END;
        reader->head_length = 0;
    } else if (reader->state == LOAD_CHUNK_SIZE) {
        if (byte == '\r' || byte == ';')
            reader->state = LOAD_CHUNK_LINE;
        else if (reader->head_length == CHUNK_DIGITS_MAX || strchr("0123456789abcdefABCDEF", byte) == NULL)
            reader->state = LOAD_BROKEN;
        else
            reader->head[reader->head_length++] = byte;
    }
}

static void feed_trailer(struct load_reader *reader, char byte) {
    if (byte == '\n') {
        if (reader->rest == 0) reader->state = LOAD_DONE;
        reader->rest = 0;
    } else if (byte != '\r') {
        reader->rest++;
    }
}

enum load_state load_reader_feed(struct load_reader *reader, struct bytes_view received) {
    for (size_t i = 0; i < received.length && reader->state != LOAD_BROKEN;) {
        switch (reader->state) {
        case LOAD_HEAD:
            i += feed_head(reader, received.data + i, received.length - i);
            break;
        case LOAD_BODY:
        case LOAD_CHUNK:
            i += feed_body(reader, received.length - i);
            break;
        case LOAD_CHUNK_SIZE:
        case LOAD_CHUNK_LINE:
            feed_chunk_size(reader, (char)received.data[i++]);
            break;
        case LOAD_TRAILER:
            feed_trailer(reader, (char)received.data[i++]);
            break;
        default:
            reader->state = LOAD_BROKEN;
        }
    }
    return reader->state;
}
