/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A server for the HTTP tests and a client made of a raw socket.
 *
 *   /echo     answers at once: "METHOD path|body"
 *   /hold     is kept: the test takes it with take_held() and answers from its own thread
 *   /stream   starts a stream and is kept
 *
 * Every wait ends after PATIENCE_MS with a failed test.
 */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include "base/clock.h"
#include "rpc/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PATIENCE_MS = 20000,
    HELD_MAX = 128,
    BODY_BYTES_MAX = 2 * 1024 * 1024,
    WATERMARK = 16 * 1024,
    TEXT_BYTES_MAX = 8 * 1024 * 1024
};

struct tester {
    struct http_server *server;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct http_exchange *held[HELD_MAX];
    int held_count, requests, closed, completed, writable, refused;
};

static inline void tester_request(struct http_exchange *exchange, void *context) {
    struct tester *tester = context;
    const char *path = http_exchange_path(exchange);
    bool streams = strcmp(path, "/stream") == 0, keep = streams || strcmp(path, "/hold") == 0;
    if (streams) http_exchange_start(exchange, 200, "text/event-stream; charset=utf-8");
    pthread_mutex_lock(&tester->mutex);
    tester->requests++;
    if (keep) {
        http_exchange_ref(exchange);
        tester->held[tester->held_count++] = exchange;
    }
    pthread_cond_broadcast(&tester->changed);
    pthread_mutex_unlock(&tester->mutex);
    if (keep) return;
    struct bytes out;
    bytes_init(&out, BODY_BYTES_MAX + 1000);
    (void)bytes_printf(&out, "%s %s|", http_exchange_method(exchange), path);
    struct bytes_view body = http_exchange_body(exchange);
    (void)bytes_append(&out, body.data, body.length);
    http_exchange_respond(exchange, 200, "text/plain", bytes_view(&out));
    bytes_deinit(&out);
}

static inline void tester_writable(struct http_exchange *exchange, void *context) {
    (void)exchange;
    struct tester *tester = context;
    pthread_mutex_lock(&tester->mutex);
    tester->writable++;
    pthread_cond_broadcast(&tester->changed);
    pthread_mutex_unlock(&tester->mutex);
}

static inline void tester_closed(struct http_exchange *exchange, void *context, bool completed) {
    (void)exchange;
    struct tester *tester = context;
    pthread_mutex_lock(&tester->mutex);
    tester->closed++;
    tester->completed += completed;
    pthread_cond_broadcast(&tester->changed);
    pthread_mutex_unlock(&tester->mutex);
}

static inline void tester_refused(int http_status, const char *reason, struct bytes *out, void *context) {
    struct tester *tester = context;
    (void)bytes_printf(out, "{\"status\":%d,\"reason\":\"%s\"}", http_status, reason);
    pthread_mutex_lock(&tester->mutex);
    tester->refused++;
    pthread_mutex_unlock(&tester->mutex);
}

static inline struct http_server_options tester_options(struct tester *tester) {
    return (struct http_server_options){.address = "127.0.0.1:0",
                                        .body_bytes_max = BODY_BYTES_MAX,
                                        .connections_max = 200,
                                        .idle_timeout_ns = 60 * NS_PER_S,
                                        .watermark_bytes = WATERMARK,
                                        .on_request = tester_request,
                                        .on_writable = tester_writable,
                                        .on_closed = tester_closed,
                                        .on_refused = tester_refused,
                                        .context = tester};
}

static inline void tester_open_with(struct tester *tester, const struct http_server_options *options) {
    struct error err = {0};
    pthread_mutex_init(&tester->mutex, NULL);
    pthread_cond_init(&tester->changed, NULL);
    if (http_server_create(options, &tester->server, &err) != STATUS_OK) fail_msg("%s", err.message);
}

static inline struct tester *tester_new(void) {
    return calloc(1, sizeof(struct tester));
}

static inline struct tester *tester_open(void) {
    struct tester *tester = tester_new();
    struct http_server_options options = tester_options(tester);
    tester_open_with(tester, &options);
    return tester;
}

static inline void tester_close(struct tester *tester) {
    http_server_destroy(tester->server);
    assert_int_equal(tester->closed, tester->requests); /* on_closed exactly once for each */
    for (int i = 0; i < tester->held_count; i++) {
        if (tester->held[i] != NULL) http_exchange_unref(tester->held[i]);
    }
    pthread_cond_destroy(&tester->changed);
    pthread_mutex_destroy(&tester->mutex);
    free(tester);
}

static inline int tester_count(struct tester *tester, const int *counter) {
    pthread_mutex_lock(&tester->mutex);
    int count = *counter;
    pthread_mutex_unlock(&tester->mutex);
    return count;
}

/** Wait until `*counter` is at least `value`. */
static inline void tester_wait(struct tester *tester, const int *counter, int value) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&tester->mutex);
    int failure = 0;
    while (*counter < value && failure == 0) failure = pthread_cond_timedwait(&tester->changed, &tester->mutex, &until);
    int reached = *counter;
    pthread_mutex_unlock(&tester->mutex);
    if (reached < value) fail_msg("%d instead of %d", reached, value);
}

/** The next exchange that is kept; released by tester_close. */
static inline struct http_exchange *tester_held(struct tester *tester, int index) {
    tester_wait(tester, &tester->held_count, index + 1);
    return tester->held[index];
}

/* --- the client --- */

static inline int client_connect(const struct tester *tester) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_server_port(tester->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static inline void client_send_bytes(int fd, const void *data, size_t length) {
    const char *at = data;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent <= 0) fail_msg("send: %s", strerror(errno));
        at += sent;
        length -= (size_t)sent;
    }
}
static inline void client_send(int fd, const char *text) {
    client_send_bytes(fd, text, strlen(text));
}

/** Once readable: append what is there. 0 at the end, -1 for a reset. */
static inline ssize_t client_receive(int fd, struct bytes *into, size_t most) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, PATIENCE_MS) != 1)
        fail_msg("nothing came; so far: %s", into->data != NULL ? (const char *)into->data : "");
    char block[65536];
    ssize_t got = recv(fd, block, most < sizeof block ? most : sizeof block, 0);
    if (got > 0) (void)bytes_append(into, block, (size_t)got);
    return got;
}

/** Read until `needle` has come. The text is the caller's to bytes_deinit. */
static inline void client_read_until(int fd, struct bytes *into, const char *needle) {
    while (into->data == NULL || memmem(into->data, into->length, needle, strlen(needle)) == NULL) {
        if (client_receive(fd, into, 65536) <= 0)
            fail_msg("the end came before '%s': %s", needle, into->data != NULL ? (const char *)into->data : "");
    }
}

/** Read to the end; false when it is a reset. */
static inline bool client_read_to_end(int fd, struct bytes *into) {
    ssize_t got;
    while ((got = client_receive(fd, into, 65536)) > 0) {
    }
    return got == 0;
}

struct answer {
    int status;
    bool whole; /* the body ended as its headers say */
    struct bytes head, body;
};

static inline void answer_init(struct answer *answer) {
    *answer = (struct answer){0};
    bytes_init(&answer->head, TEXT_BYTES_MAX);
    bytes_init(&answer->body, TEXT_BYTES_MAX);
}
static inline void answer_deinit(struct answer *answer) {
    bytes_deinit(&answer->head);
    bytes_deinit(&answer->body);
}

/** One byte at a time up to the blank line, so that nothing of the next answer is taken. */
static inline void answer_read_head(struct answer *answer, int fd) {
    while (answer->head.length < 4 || memcmp(answer->head.data + answer->head.length - 4, "\r\n\r\n", 4) != 0) {
        if (client_receive(fd, &answer->head, 1) <= 0)
            fail_msg("the end came inside the headers: %s",
                     answer->head.data != NULL ? (const char *)answer->head.data : "");
    }
    assert_int_equal(sscanf((const char *)answer->head.data, "HTTP/1.1 %d", &answer->status), 1);
}

/** The value of a header of the answer, up to the line's end; NULL when absent. */
static inline const char *answer_header(const struct answer *answer, const char *name) {
    static char value[1000];
    char wanted[100];
    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = strcasestr((const char *)answer->head.data, wanted);
    if (at == NULL) return NULL;
    at += strlen(wanted);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

/** One chunk: false at the last one, and when the stream breaks (`whole` says which). */
static inline bool answer_read_chunk(struct answer *answer, int fd) {
    struct bytes line;
    bytes_init(&line, 1000);
    bool more = false;
    while (line.length < 2 || line.data[line.length - 1] != '\n') {
        if (client_receive(fd, &line, 1) <= 0) goto cleanup;
    }
    size_t left = strtoul((const char *)line.data, NULL, 16), length = left;
    struct bytes chunk;
    bytes_init(&chunk, TEXT_BYTES_MAX);
    for (left += 2; left > 0;) { /* and its CRLF */
        ssize_t got = client_receive(fd, &chunk, left);
        if (got <= 0) break;
        left -= (size_t)got;
    }
    (void)bytes_append(&answer->body, chunk.data, chunk.length < length ? chunk.length : length);
    bytes_deinit(&chunk);
    more = left == 0 && length > 0;
    answer->whole = left == 0 && length == 0;
cleanup:
    bytes_deinit(&line);
    return more;
}

static inline void answer_read(struct answer *answer, int fd) {
    answer_read_head(answer, fd);
    const char *length = answer_header(answer, "Content-Length");
    if (length != NULL) {
        size_t left = strtoul(length, NULL, 10);
        while (left > 0) {
            ssize_t got = client_receive(fd, &answer->body, left);
            if (got <= 0) return;
            left -= (size_t)got;
        }
        answer->whole = true;
    } else {
        while (answer_read_chunk(answer, fd)) {
        }
    }
}

/** Read one answer and compare it. */
static inline void expect_answer(int fd, int status, const char *body) {
    struct answer answer;
    answer_init(&answer);
    answer_read(&answer, fd);
    assert_int_equal(answer.status, status);
    assert_true(answer.whole);
    assert_string_equal(answer.body.data != NULL ? (const char *)answer.body.data : "", body);
    answer_deinit(&answer);
}

/** Nothing more comes, and no reset. */
static inline void expect_end(int fd) {
    struct bytes rest;
    bytes_init(&rest, TEXT_BYTES_MAX);
    assert_true(client_read_to_end(fd, &rest));
    assert_int_equal(rest.length, 0);
    bytes_deinit(&rest);
    close(fd);
}

#endif
