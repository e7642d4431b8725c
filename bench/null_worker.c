/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-null: a worker that computes nothing, for what stands in front of workers to be measured by (bench/gateway.py).
 *
 *     null_protocol.c   as a worker of this house: the internal protocol, over null_stream.c, and an announcement in Redis
 *     null_http.c       the same answers by OpenAI's interface, for other proxies
 *     null_answer.c     the answers: as many words as max_tokens says, at once or in time
 *
 * Either face is left out where its address is. A line on standard output tells the ports once it serves:  grpc=7011 http=7012
 */
#include "bench/null_worker.h"
#include "base/clock.h"
#include "base/settings.h"
#include "store/registry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PASSWORD_BYTES_MAX = 4096, ANNOUNCEMENT_BYTES_MAX = 1 << 16, LINE_BYTES = 128 };
static const int64_t HEARTBEAT_NS = NS_PER_S, LIFE_NS = 3 * NS_PER_S;

#define S struct null_settings
static const struct setting settings_table[] = {
    SETTING_STRING(S, listen, "listen", NULL, "ADDRESS", "gRPC, for gateways; port 0 picks a free one"),
    SETTING_STRING(S, http_listen, "http-listen", NULL, "ADDRESS", "HTTP, for other proxies"),
    SETTING_STRING(S, redis_address, "redis", "127.0.0.1:7379", "ADDRESS", "where gateways look for workers"),
    SETTING_STRING(S, redis_password_file, "redis-password-file", NULL, "FILE", "file that holds its password"),
    SETTING_STRING(S, model, "model", "null", "NAME", "the model it says it serves"),
    SETTING_INTEGER(S, tokens, "tokens", "4", 1, NULL_CONTEXT_TOKENS / 2, "N", "of an answer without max_tokens"),
    SETTING_INTEGER(S, event_tokens, "event-tokens", "64", 1, NULL_EVENT_TOKENS_MAX, "N",
                    "that come together, without a delay"),
    SETTING_DURATION(S, delay_ns, "delay", "0s", 0, 86400e9, "before each token but the first"),
    {0}};
#undef S

struct null_worker {
    struct null_settings settings;
    struct loop *loop;
    int port;
    struct http_server *http;
    struct redis_client *redis;
    char id[LINE_BYTES], address[LINE_BYTES];
};

static enum status open_protocol(struct null_worker *worker, struct error *err) {
    const struct null_settings *settings = &worker->settings;
    const char *colon = strrchr(settings->listen, ':');
    char *password = NULL;
    size_t length = 0;
    TRY(null_protocol_listen(worker->loop, settings->listen, &worker->port, err));
    snprintf(worker->address, sizeof worker->address, "%.*s:%d", colon != NULL ? (int)(colon - settings->listen) : 0,
             settings->listen, worker->port);
    snprintf(worker->id, sizeof worker->id, "null-%d", (int)getpid());
    if (settings->redis_password_file != NULL) {
        TRY(settings_read_file(settings->redis_password_file, PASSWORD_BYTES_MAX, &password, &length, err));
        password[strcspn(password, "\r\n")] = 0;
    }
    struct redis_options redis = {.address = settings->redis_address, .password = password};
    enum status status = redis_client_create(&redis, &worker->redis, err);
    free(password);
    TRY(status);
    return redis_client_wait(worker->redis, 10 * NS_PER_S, err);
}

static void announce(struct null_worker *worker) {
    struct bytes packed;
    bytes_init(&packed, ANNOUNCEMENT_BYTES_MAX);
    if (null_protocol_announcement(&worker->settings, worker->id, worker->address, &packed) == STATUS_OK)
        registry_announce(worker->redis, "worker", worker->id, bytes_view(&packed), LIFE_NS, NULL, NULL);
    bytes_deinit(&packed);
}

static enum status serve(struct null_worker *worker, const sigset_t *signals, struct error *err) {
    const struct timespec heartbeat = {.tv_sec = HEARTBEAT_NS / NS_PER_S};
    TRY(null_answers_start(&worker->settings, err));
    TRY(loop_create("loop", &worker->loop, err));
    if (worker->settings.listen != NULL) TRY(open_protocol(worker, err));
    if (worker->settings.http_listen != NULL) TRY(null_http_open(worker->loop, &worker->settings, &worker->http, err));
    printf("grpc=%d http=%d\n", worker->port, worker->http != NULL ? http_server_port(worker->http) : 0);
    fflush(stdout);
    do {
        if (worker->redis != NULL) announce(worker);
    } while (sigtimedwait(signals, NULL, &heartbeat) < 0);
    _exit(0); /* answers and the threads that they come from go with the process */
}

int main(int argc, char **argv) {
    static struct null_worker worker;
    enum settings_outcome outcome;
    struct error err = {0};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    enum status status = settings_load(settings_table, "bora-bench-null", "A worker that computes nothing.", argc, argv,
                                       &worker.settings, &outcome, &err);
    if (status == STATUS_OK && outcome == SETTINGS_RUN) status = serve(&worker, &signals, &err);
    if (status == STATUS_OK) return 0;
    fprintf(stderr, "bora-bench-null: %s\n", err.message);
    return status == STATUS_INVALID_ARGUMENT ? 2 : 1;
}
