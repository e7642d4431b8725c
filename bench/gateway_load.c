/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-load: requests at a given rate, whatever comes back (an open loop), over keep-alive connections to 127.0.0.1.
 *
 * A latency counts from the moment at which the request was *meant* to be sent to the last byte of its answer: a server that falls behind is
 * charged for the requests that had to wait for a connection (no coordinated omission), and so is this program for waking up late, which
 * `late_us` tells: intended to sent. Connections take turns. One thread, epoll. What was measured is a line of JSON:
 *
 *   {"rate": 1000, "seconds": 5, "sent": 5000, "status": {"200": 5000}, "broken": 0, "unfinished": 0, "answered_per_s": 999.8,
 *    "latency_us": {"p50": .., "p90": .., "p99": .., "p999": .., "max": ..}, "first_us": {of the first byte of the body}, "late_us": {..},
 *    "body_bytes": of all, "begun": requests, with those of the warm-up, "cpu_us": of this program for a request}
 *
 * Latencies are those of answers with status 200. `broken`: the connection ended, or what came was no HTTP; `unfinished`: no answer by --drain.
 */
#include "base/clock.h"
#include "base/random.h"
#include "base/settings.h"
#include "bench/load_http.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 16384,
    SAMPLES_MAX = 1 << 23,
    STATUS_MAX = 600,
    EVENTS = 256,
    RECEIVE_BYTES = 1 << 16,
    ARRIVAL_LANE = 3
};

struct load_settings {
    char *path, *key, *body_file, *arrivals;
    int64_t port, connections, seed, seconds_ns, warmup_ns, drain_ns;
    double rate;
};

#define S struct load_settings
static const struct setting settings_table[] = {
    SETTING_INTEGER(S, port, "port", "8080", 1, 65535, "PORT", "of the server"),
    SETTING_STRING(S, path, "path", "/v1/chat/completions", "PATH", "what is asked for"),
    SETTING_STRING(S, key, "key", NULL, "KEY", "bearer token"),
    SETTING_STRING(S, body_file, "body-file", NULL, "FILE", "the request's body"),
    SETTING_DOUBLE(S, rate, "rate", "1000", 0.1, 1e6, "N", "requests a second"),
    SETTING_CHOICE(S, arrivals, "arrivals", "poisson", "poisson|constant", "times between requests"),
    SETTING_DURATION(S, seconds_ns, "seconds", "5s", 1e6, 3600e9, "how long it is measured"),
    SETTING_DURATION(S, warmup_ns, "warmup", "1s", 0, 3600e9, "the same load before, not measured"),
    SETTING_DURATION(S, drain_ns, "drain", "3s", 0, 3600e9, "wait for the last answers"),
    SETTING_INTEGER(S, connections, "connections", "64", 1, CONNECTIONS_MAX, "N",
                    "at most so many requests are under way"),
    SETTING_INTEGER(S, seed, "seed", "1", 0, 1e15, "N", "of the arrivals"),
    {0}};
#undef S

struct connection {
    int fd;
    size_t sent; /* bytes of the request */
    int64_t intended_ns, first_ns;
    bool measured;           /* else it belongs to the warm-up */
    struct connection *next; /* of those that are idle */
    struct load_reader reader;
};

struct samples {
    uint32_t *us;
    size_t count;
};

static struct load {
    struct load_settings settings;
    struct bytes request;
    struct connection *connections, *idle_first, *idle_last;
    int epoll, under_way;
    int64_t next_ns, measure_ns,
        end_ns;                   /* next arrival; from when on arrivals are measured; no arrivals from then on */
    int64_t backlog[SAMPLES_MAX]; /* a ring of the intended times of requests that wait for a connection */
    size_t backlog_first, backlog_count;
    uint64_t arrivals;
    struct samples latency, first, late;
    int64_t begun, sent, broken, unfinished, body_bytes, status[STATUS_MAX], last_answer_ns, cpu_ns;
} load;

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static int64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * NS_PER_S + used.tv_nsec;
}

static void sample(struct samples *samples, int64_t ns) {
    if (samples->count < SAMPLES_MAX) samples->us[samples->count++] = (uint32_t)(ns / NS_PER_US);
}

/* ---- connections --------------------------------------------------------------------------------------------------- */

static void make_idle(struct connection *connection) {
    connection->next = NULL;
    connection->reader.state = LOAD_DONE;
    *(load.idle_last != NULL ? &load.idle_last->next : &load.idle_first) = connection;
    load.idle_last = connection;
}

static bool open_connection(struct connection *connection) {
    connection->fd = load_connect((int)load.settings.port, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    return connection->fd >= 0 && epoll_ctl(load.epoll, EPOLL_CTL_ADD, connection->fd, &event) == 0;
}

static void watch(struct connection *connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(load.epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

/** A new connection in its place; where none can be had, this one is not used any more. */
static void renew(struct connection *connection) {
    close(connection->fd);
    if (open_connection(connection)) make_idle(connection);
}

static void failed(struct connection *connection) {
    load.under_way--;
    connection->reader.state = LOAD_BROKEN; /* it owes nothing any more */
    if (connection->measured) load.broken++;
    renew(connection);
}

static void send_rest(struct connection *connection) {
    bool blocked = connection->sent > 0;
    ssize_t sent = send(connection->fd, load.request.data + connection->sent, load.request.length - connection->sent,
                        MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        failed(connection);
        return;
    }
    connection->sent += sent > 0 ? (size_t)sent : 0;
    if (connection->sent < load.request.length)
        watch(connection, EPOLLIN | EPOLLOUT);
    else if (blocked)
        watch(connection, EPOLLIN);
}

static void begin(int64_t intended_ns) {
    struct connection *connection = load.idle_first;
    load.idle_first = connection->next;
    if (load.idle_first == NULL) load.idle_last = NULL;
    connection->intended_ns = intended_ns;
    connection->first_ns = 0;
    connection->sent = 0;
    connection->measured = intended_ns >= load.measure_ns;
    load_reader_reset(&connection->reader);
    load.under_way++;
    load.begun++;
    if (connection->measured) {
        load.sent++;
        sample(&load.late, now_ns() - intended_ns);
    }
    send_rest(connection);
}

static void begin_waiting(void) {
    while (load.backlog_count > 0 && load.idle_first != NULL) {
        int64_t intended_ns = load.backlog[load.backlog_first];
        load.backlog_first = (load.backlog_first + 1) % SAMPLES_MAX;
        load.backlog_count--;
        begin(intended_ns);
    }
}

static void answered(struct connection *connection) {
    load.under_way--;
    load.last_answer_ns = now_ns();
    int status = connection->reader.status;
    if (connection->measured) {
        load.status[status < STATUS_MAX ? status : 0]++;
        load.body_bytes += connection->reader.body_bytes;
        if (status == 200) sample(&load.latency, load.last_answer_ns - connection->intended_ns);
        if (status == 200 && connection->first_ns > 0)
            sample(&load.first, connection->first_ns - connection->intended_ns);
    }
    if (connection->reader.closes)
        renew(connection);
    else
        make_idle(connection);
}

static void receive(struct connection *connection) {
    static uint8_t buffer[RECEIVE_BYTES];
    ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (connection->reader.state == LOAD_DONE) { /* idle: the server has closed it, or speaks unasked */
        struct connection **link = &load.idle_first;
        load.idle_last = NULL;
        for (struct connection *other = load.idle_first, *next; other != NULL; other = next) {
            next = other->next;
            if (other == connection) continue;
            *link = other;
            link = &other->next;
            load.idle_last = other;
        }
        *link = NULL;
        renew(connection);
        return;
    }
    enum load_state state =
        got <= 0 ? LOAD_BROKEN : load_reader_feed(&connection->reader, bytes_view_of(buffer, (size_t)got));
    if (connection->first_ns == 0 && connection->reader.body_bytes > 0) connection->first_ns = now_ns();
    if (state == LOAD_DONE)
        answered(connection);
    else if (state == LOAD_BROKEN)
        failed(connection);
}

/* ---- arrivals ------------------------------------------------------------------------------------------------------ */

static int64_t gap_ns(void) {
    double mean = 1e9 / load.settings.rate;
    if (strcmp(load.settings.arrivals, "constant") == 0) return (int64_t)mean;
    return (int64_t)(-log1p(-random_uniform((uint64_t)load.settings.seed, load.arrivals, ARRIVAL_LANE)) * mean);
}

static void arrive(int64_t now) {
    for (; load.next_ns <= now && load.next_ns < load.end_ns; load.arrivals++) {
        if (load.backlog_count < SAMPLES_MAX) {
            load.backlog[(load.backlog_first + load.backlog_count) % SAMPLES_MAX] = load.next_ns;
            load.backlog_count++;
        } else {
            load.unfinished++;
        }
        load.next_ns += gap_ns();
    }
    begin_waiting();
}

static void run(void) {
    struct epoll_event events[EVENTS];
    int64_t stop_ns = load.end_ns + load.settings.drain_ns, cpu_before = -1;
    for (int64_t now; (now = now_ns()) < stop_ns;) {
        if (cpu_before < 0 && now >= load.measure_ns) cpu_before = cpu_ns();
        arrive(now);
        bool over = load.next_ns >= load.end_ns;
        if (over && load.cpu_ns == 0) load.cpu_ns = cpu_ns() - cpu_before;
        if (over && load.under_way == 0 && load.backlog_count == 0) break;
        int64_t until = (over ? stop_ns : load.next_ns) - now_ns();
        struct timespec timeout = {until > 0 ? until / NS_PER_S : 0, until > 0 ? until % NS_PER_S : 0};
        int count = epoll_pwait2(load.epoll, events, EVENTS, &timeout, NULL);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_rest(connection);
            if (events[i].events & ~(uint32_t)EPOLLOUT) receive(connection);
        }
        begin_waiting();
    }
}

/* ---- what came of it ----------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, struct samples *samples) {
    static const struct {
        const char *name;
        double share;
    } wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    qsort(samples->us, samples->count, sizeof *samples->us, compare);
    printf(", \"%s\": {", name);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && samples->count > 0; i++) {
        size_t rank = (size_t)ceil(wanted[i].share * (double)samples->count);
        printf("%s\"%s\": %u", i > 0 ? ", " : "", wanted[i].name, samples->us[rank > 0 ? rank - 1 : 0]);
    }
    printf("}");
}

static void print_results(void) {
    double seconds = (double)load.settings.seconds_ns / 1e9,
           took = (double)(load.last_answer_ns - load.measure_ns) / 1e9;
    printf("{\"rate\": %g, \"seconds\": %g, \"sent\": %lld, \"status\": {", load.settings.rate, seconds,
           (long long)load.sent);
    const char *comma = "";
    for (int status = 0; status < STATUS_MAX; status++) {
        if (load.status[status] == 0) continue;
        printf("%s\"%d\": %lld", comma, status, (long long)load.status[status]);
        comma = ", ";
    }
    printf("}, \"broken\": %lld, \"unfinished\": %lld, \"answered_per_s\": %.1f", (long long)load.broken,
           (long long)load.unfinished, took > 0 ? (double)load.status[200] / took : 0);
    print_percentiles("latency_us", &load.latency);
    print_percentiles("first_us", &load.first);
    print_percentiles("late_us", &load.late);
    printf(", \"body_bytes\": %lld, \"begun\": %lld, \"cpu_us\": %.2f}\n", (long long)load.body_bytes,
           (long long)load.begun, load.sent > 0 ? (double)load.cpu_ns / 1e3 / (double)load.sent : 0);
}

static enum status prepare(struct error *err) {
    const struct load_settings *settings = &load.settings;
    struct samples *all[] = {&load.latency, &load.first, &load.late};
    if (settings->body_file == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "--body-file is needed");
    bytes_init(&load.request, LOAD_BODY_BYTES_MAX + LOAD_HEAD_BYTES_MAX);
    TRY(load_request(settings->path, settings->key, settings->body_file, &load.request, err));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) all[i]->us = malloc(SAMPLES_MAX * sizeof(uint32_t));
    load.connections = calloc((size_t)settings->connections, sizeof *load.connections);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.latency.us == NULL || load.first.us == NULL || load.late.us == NULL || load.connections == NULL ||
        load.epoll < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (int64_t i = 0; i < settings->connections; i++) {
        if (!open_connection(&load.connections[i]))
            return error_set(err, STATUS_UNAVAILABLE, "connection %lld to port %lld: %s", (long long)i,
                             (long long)settings->port, strerror(errno));
        make_idle(&load.connections[i]);
    }
    return STATUS_OK;
}

int main(int argc, char **argv) {
    enum settings_outcome outcome;
    struct error err = {0};
    enum status status =
        settings_load(settings_table, "bora-bench-load", "Requests at a given rate, over keep-alive connections.", argc,
                      argv, &load.settings, &outcome, &err);
    if (status == STATUS_OK && outcome == SETTINGS_PRINTED) return 0;
    prctl(PR_SET_TIMERSLACK, 1UL); /* the default wakes us up to 50 us late */
    if (status == STATUS_OK) status = prepare(&err);
    if (status != STATUS_OK) {
        fprintf(stderr, "bora-bench-load: %s\n", err.message);
        return status == STATUS_INVALID_ARGUMENT ? 2 : 1;
    }
    int64_t began_ns = now_ns();
    load.next_ns = began_ns + gap_ns();
    load.measure_ns = began_ns + load.settings.warmup_ns;
    load.end_ns = load.measure_ns + load.settings.seconds_ns;
    run();
    /* All that were meant to be sent: those still under way, and those that never found a connection. */
    for (int64_t i = 0; i < load.settings.connections; i++) {
        enum load_state state = load.connections[i].reader.state;
        if (state != LOAD_DONE && state != LOAD_BROKEN && load.connections[i].measured) load.unfinished++;
    }
    for (; load.backlog_count > 0; load.backlog_count--, load.backlog_first = (load.backlog_first + 1) % SAMPLES_MAX) {
        if (load.backlog[load.backlog_first] < load.measure_ns) continue;
        load.unfinished++;
        load.sent++;
    }
    print_results();
    return 0;
}
