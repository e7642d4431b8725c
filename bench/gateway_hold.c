/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-hold: streams that stay open. Asks on so many connections to 127.0.0.1, waits until each answer's body has begun, and then reads
 *
 *   --bytes 0    whatever comes, at once: streams that wait for a silent worker
 *   --bytes N    N bytes of each every --every, into a receive buffer that is kept small: readers too slow for what they asked
 *
 * "open=5000" on standard output once all are open, and at the end, after SIGTERM:  open=5000 ended=0 refused=0 bytes=123456
 */
#include "base/clock.h"
#include "base/settings.h"
#include "bench/load_http.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STREAMS_MAX = 16384, EVENTS = 256, READ_BYTES_MAX = 65536, SMALL_BUFFER_BYTES = 4096, AT_ONCE = 64 };

struct hold_settings {
    char *path, *key, *body_file;
    int64_t port, streams, bytes, every_ns, patience_ns;
};

#define S struct hold_settings
static const struct setting settings_table[] = {
    SETTING_INTEGER(S, port, "port", "8080", 1, 65535, "PORT", "of the server"),
    SETTING_STRING(S, path, "path", "/v1/chat/completions", "PATH", "what is asked for"),
    SETTING_STRING(S, key, "key", NULL, "KEY", "bearer token"),
    SETTING_STRING(S, body_file, "body-file", NULL, "FILE", "the request's body"),
    SETTING_INTEGER(S, streams, "streams", "100", 1, STREAMS_MAX, "N", "connections, with a request each"),
    SETTING_INTEGER(S, bytes, "bytes", "0", 0, READ_BYTES_MAX, "N", "that are read at a time; 0: all that come"),
    SETTING_DURATION(S, every_ns, "every", "1s", 1e6, 3600e9, "between two reads of a stream"),
    SETTING_DURATION(S, patience_ns, "patience", "60s", 1e9, 3600e9, "until all are open"),
    {0}};
#undef S

struct stream {
    int fd;
    bool open; /* its body has begun */
    struct load_reader reader;
};

static struct hold {
    struct hold_settings settings;
    struct bytes request;
    struct stream *streams;
    int epoll;
    int64_t open, ended, refused, bytes;
} hold;
static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static enum status ask(struct stream *stream, struct error *err) {
    stream->fd = load_connect((int)hold.settings.port, hold.settings.bytes > 0 ? SMALL_BUFFER_BYTES : 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    if (stream->fd < 0 ||
        send(stream->fd, hold.request.data, hold.request.length, MSG_NOSIGNAL) != (ssize_t)hold.request.length ||
        epoll_ctl(hold.epoll, EPOLL_CTL_ADD, stream->fd, &event) != 0)
        return error_set(err, STATUS_UNAVAILABLE, "a stream could not be asked for: %s", strerror(errno));
    load_reader_reset(&stream->reader);
    return STATUS_OK;
}

static void forget(struct stream *stream) {
    close(stream->fd);
    stream->fd = -1;
    if (stream->open)
        hold.ended++;
    else
        hold.refused++;
}

static void receive(struct stream *stream, size_t bytes_max) {
    static uint8_t buffer[READ_BYTES_MAX];
    ssize_t got = recv(stream->fd, buffer, bytes_max, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        forget(stream);
        return;
    }
    hold.bytes += got;
    enum load_state state = load_reader_feed(&stream->reader, bytes_view_of(buffer, (size_t)got));
    bool refused = stream->reader.status != 0 && stream->reader.status != 200;
    if (!stream->open && !refused && stream->reader.body_bytes > 0) {
        stream->open = true;
        hold.open++;
        /* From now on it is read by the clock. */
        if (hold.settings.bytes > 0) epoll_ctl(hold.epoll, EPOLL_CTL_DEL, stream->fd, NULL);
    }
    if (refused || state == LOAD_DONE || state == LOAD_BROKEN) forget(stream);
}

static void handle_events(int64_t timeout_ns) {
    struct epoll_event events[EVENTS];
    int timeout_ms = (int)((timeout_ns + NS_PER_MS - 1) / NS_PER_MS);
    int count = epoll_wait(hold.epoll, events, EVENTS, timeout_ms > 0 ? timeout_ms : 0);
    for (int i = 0; i < count; i++) {
        struct stream *stream = events[i].data.ptr;
        size_t slowly = (size_t)hold.settings.bytes;
        if (stream->fd >= 0) receive(stream, slowly > 0 && slowly < READ_BYTES_MAX ? slowly : READ_BYTES_MAX);
    }
}

/** Some at a time, so that no listener's queue overflows. */
static enum status open_all(struct error *err) {
    int64_t until = now_ns() + hold.settings.patience_ns, asked = 0;
    while (hold.open < hold.settings.streams) {
        for (; asked < hold.settings.streams && asked - hold.open < AT_ONCE; asked++)
            TRY(ask(&hold.streams[asked], err));
        handle_events(10 * NS_PER_MS);
        if (hold.refused > 0)
            return error_set(err, STATUS_UNAVAILABLE, "a stream was refused, with %lld open", (long long)hold.open);
        if (now_ns() > until || stopping)
            return error_set(err, STATUS_DEADLINE_EXCEEDED, "only %lld streams opened", (long long)hold.open);
    }
    return STATUS_OK;
}

static void keep(void) {
    int64_t began_ns = now_ns(), reads = 0, count = hold.settings.streams;
    while (!stopping) {
        if (hold.settings.bytes == 0) {
            handle_events(NS_PER_S);
            continue;
        }
        /* One stream after the other, spread over the time. */
        int64_t due_ns =
            began_ns + (reads / count) * hold.settings.every_ns + (reads % count) * hold.settings.every_ns / count;
        if (due_ns > now_ns()) {
            handle_events(due_ns - now_ns());
            continue;
        }
        struct stream *stream = &hold.streams[reads++ % count];
        if (stream->fd >= 0) receive(stream, (size_t)hold.settings.bytes);
    }
}

static enum status run(struct error *err) {
    const struct hold_settings *settings = &hold.settings;
    if (settings->body_file == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "--body-file is needed");
    bytes_init(&hold.request, LOAD_BODY_BYTES_MAX + LOAD_HEAD_BYTES_MAX);
    TRY(load_request(settings->path, settings->key, settings->body_file, &hold.request, err));
    hold.streams = calloc((size_t)settings->streams, sizeof *hold.streams);
    hold.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (hold.streams == NULL || hold.epoll < 0) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TRY(open_all(err));
    printf("open=%lld\n", (long long)hold.open);
    fflush(stdout);
    keep();
    printf("open=%lld ended=%lld refused=%lld bytes=%lld\n", (long long)(hold.open - hold.ended), (long long)hold.ended,
           (long long)hold.refused, (long long)hold.bytes);
    return STATUS_OK;
}

int main(int argc, char **argv) {
    enum settings_outcome outcome;
    struct error err = {0};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    enum status status = settings_load(settings_table, "bora-bench-hold", "Streams that stay open.", argc, argv,
                                       &hold.settings, &outcome, &err);
    if (status == STATUS_OK && outcome == SETTINGS_RUN) status = run(&err);
    if (status == STATUS_OK) return 0;
    fprintf(stderr, "bora-bench-hold: %s\n", err.message);
    return status == STATUS_INVALID_ARGUMENT ? 2 : 1;
}
