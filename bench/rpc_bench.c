/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-rpc [seconds]: how many unary calls and stream messages a second, and what each costs the server's processor.
 *
 * The server is a process of its own with one queue, the client one with one thread; both on this machine. For each case it prints
 * the rate, the median and 99th percentile of the time from start to end (unary), and the server's processor time per call or message.
 */
#include "base/clock.h"
#include "rpc/grpc_client.h"
#include "rpc/grpc_server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLES_MAX = 1 << 22, IN_FLIGHT_MAX = 256, REPLY_BYTES = 1 << 16 };

static void must(enum status status, const struct error *err) {
    if (status == STATUS_OK) return;
    fprintf(stderr, "%s: %s\n", status_name(status), err->message);
    exit(1);
}

/* ---- the server's process ------------------------------------------------------------------------------------------ */

static void echo(struct rpc_call *call, struct bytes_view message) {
    enum status status = rpc_call_write(call, message);
    rpc_call_finish(call, status, NULL, (struct bytes_view){0});
}

/** Processor time of this process so far, in nanoseconds, as 8 bytes. */
static void cpu_time(struct rpc_call *call, struct bytes_view message) {
    (void)message;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    int64_t ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
                 (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US;
    enum status status = rpc_call_write(call, bytes_view_of(&ns, sizeof ns));
    rpc_call_finish(call, status, NULL, (struct bytes_view){0});
}

static void write_more(struct rpc_call *call) {
    static const char token[16] = "sixteen bytes...";
    int ahead = (int)(intptr_t)rpc_call_state(call);
    while (!rpc_call_cancelled(call) && rpc_call_pending_bytes(call) < (size_t)ahead &&
           rpc_call_write(call, bytes_view_of(token, sizeof token)) == STATUS_OK)
        continue;
}

/** Sends 16-byte messages until cancelled. The request's first two bytes: how many bytes to keep waiting. */
static void flood(struct rpc_call *call, struct bytes_view message) {
    rpc_call_set_state(call, (void *)(intptr_t)(message.data[0] | message.data[1] << 8));
    rpc_call_set_watermark(call, 1);
    write_more(call);
}

static const struct rpc_method methods[] = {
    {.path = "/bench.Service/Echo", .message = echo},
    {.path = "/bench.Service/CpuTime", .message = cpu_time},
    {.path = "/bench.Service/Flood", .message = flood, .writable = write_more},
};

static void serve(const char *address, int port_pipe) {
    struct rpc_server *server = NULL;
    struct error err = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    must(rpc_server_create(&(struct rpc_server_options){.address = address, .threads = 1, .message_bytes_max = 1 << 20},
                           &server, &err),
         &err);
    must(rpc_server_add(server, methods, sizeof methods / sizeof methods[0], NULL, &err), &err);
    must(rpc_server_start(server, &err), &err);
    int port = rpc_server_port(server);
    if (write(port_pipe, &port, sizeof port) != sizeof port) exit(1);
    for (;;) pause();
}

/* ---- the client's -------------------------------------------------------------------------------------------------- */

struct bench {
    struct rpc_channel *channel;
    struct bytes_view payload;
    int64_t end_ns;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int running;
    uint32_t *samples_us;
    size_t count; /* touched on the client's only thread */
};

struct slot {
    struct bench *bench;
    int64_t began_ns;
};

static int64_t now(void) {
    return clock_monotonic_ns(clock_system());
}

static void stopped(struct bench *bench) {
    pthread_mutex_lock(&bench->mutex);
    bench->running--;
    pthread_cond_signal(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
}

static void wait_until_stopped(struct bench *bench) {
    pthread_mutex_lock(&bench->mutex);
    while (bench->running > 0) pthread_cond_wait(&bench->changed, &bench->mutex);
    pthread_mutex_unlock(&bench->mutex);
}

static void on_echoed(void *context, const struct rpc_result *result, struct bytes_view reply);

static void ask(struct slot *slot) {
    struct error err = {0};
    slot->began_ns = now();
    must(rpc_client_unary_async(slot->bench->channel, "/bench.Service/Echo", NULL, slot->bench->payload, 60 * NS_PER_S,
                                on_echoed, slot, &err),
         &err);
}

static void on_echoed(void *context, const struct rpc_result *result, struct bytes_view reply) {
    (void)reply;
    struct slot *slot = context;
    struct bench *bench = slot->bench;
    must(result->status, &(struct error){0});
    int64_t ended_ns = now();
    if (bench->count < SAMPLES_MAX)
        bench->samples_us[bench->count++] = (uint32_t)((ended_ns - slot->began_ns) / NS_PER_US);
    if (ended_ns < bench->end_ns)
        ask(slot);
    else
        stopped(bench);
}

static int64_t server_cpu_ns(struct rpc_channel *channel) {
    struct bytes reply;
    struct error err = {0};
    int64_t ns;
    bytes_init(&reply, 64);
    must(rpc_client_unary(channel, "/bench.Service/CpuTime", NULL, bytes_view_string(""), 10 * NS_PER_S, &reply, &err),
         &err);
    memcpy(&ns, reply.data, sizeof ns);
    bytes_deinit(&reply);
    return ns;
}

static int compare(const void *a, const void *b) {
    return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : *(const uint32_t *)a > *(const uint32_t *)b;
}

static void bench_unary(struct bench *bench, int in_flight, size_t payload_bytes, double seconds) {
    static uint8_t payload[REPLY_BYTES];
    struct slot slots[IN_FLIGHT_MAX];
    bench->payload = bytes_view_of(payload, payload_bytes);
    bench->count = 0;
    bench->running = in_flight;
    int64_t cpu_ns = server_cpu_ns(bench->channel), began_ns = now();
    bench->end_ns = began_ns + (int64_t)(seconds * 1e9);
    for (int i = 0; i < in_flight; i++) {
        slots[i] = (struct slot){.bench = bench};
        ask(&slots[i]);
    }
    wait_until_stopped(bench);
    double took = (double)(now() - began_ns) / 1e9;
    cpu_ns = server_cpu_ns(bench->channel) - cpu_ns;
    qsort(bench->samples_us, bench->count, sizeof *bench->samples_us, compare);
    printf("unary   %5zu B, %3d in flight: %8.0f calls/s     p50 %6u us  p99 %6u us   server %5.1f us/call\n",
           payload_bytes, in_flight, (double)bench->count / took, bench->samples_us[bench->count / 2],
           bench->samples_us[bench->count * 99 / 100], (double)cpu_ns / 1e3 / (double)bench->count);
}

static void on_token(struct rpc_client_call *call, void *context, struct bytes_view message) {
    (void)message;
    struct bench *bench = context;
    bench->count++;
    if (now() < bench->end_ns)
        rpc_client_call_read(call);
    else
        rpc_client_call_cancel(call);
}

static void on_flood_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call, (void)result;
    stopped(context);
}

/** `ahead`: bytes the server keeps waiting; 1 sends each message when the one before is gone, as a model's tokens come. */
static void bench_streams(struct bench *bench, int streams, int ahead, double seconds) {
    uint8_t request[2] = {(uint8_t)ahead, (uint8_t)(ahead >> 8)};
    bench->count = 0;
    bench->running = streams;
    int64_t cpu_ns = server_cpu_ns(bench->channel), began_ns = now();
    bench->end_ns = began_ns + (int64_t)(seconds * 1e9);
    for (int i = 0; i < streams; i++) {
        struct rpc_client_call_options options = {.path = "/bench.Service/Flood",
                                                  .deadline_ns = INT64_MAX,
                                                  .on_message = on_token,
                                                  .on_finished = on_flood_finished,
                                                  .context = bench};
        struct rpc_client_call *call = NULL;
        struct error err = {0};
        must(rpc_client_call_start(bench->channel, &options, &call, &err), &err);
        must(rpc_client_call_write(call, bytes_view_of(request, 2)), &err);
        rpc_client_call_half_close(call);
        rpc_client_call_read(call);
        rpc_client_call_unref(call);
    }
    wait_until_stopped(bench);
    double took = (double)(now() - began_ns) / 1e9;
    cpu_ns = server_cpu_ns(bench->channel) - cpu_ns;
    printf("stream     16 B, %3d streams%s: %8.0f messages/s                                 server %5.1f us/message\n",
           streams, ahead > 1 ? ", queued" : "        ", (double)bench->count / took,
           (double)cpu_ns / 1e3 / (double)bench->count);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    int pipes[2], port = 0;
    if (seconds <= 0 || pipe(pipes) != 0) return fprintf(stderr, "usage: bora-bench-rpc [seconds]\n"), 1;
    pid_t child = fork(); /* before gRPC starts: it does not survive a fork */
    if (child == 0) serve("127.0.0.1:0", pipes[1]);
    if (child < 0 || read(pipes[0], &port, sizeof port) != sizeof port)
        return fprintf(stderr, "no server: %s\n", strerror(errno)), 1;
    char target[32];
    snprintf(target, sizeof target, "127.0.0.1:%d", port);
    struct rpc_client *client = NULL;
    struct error err = {0};
    struct bench bench = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .samples_us = malloc(SAMPLES_MAX * sizeof(uint32_t))};
    if (bench.samples_us == NULL) return 1;
    must(rpc_client_create(1, &client, &err), &err);
    must(rpc_channel_open(client, &(struct rpc_channel_options){.target = target}, &bench.channel, &err), &err);
    (void)server_cpu_ns(bench.channel); /* connect before measuring */

    bench_unary(&bench, 1, 16, seconds);
    bench_unary(&bench, 8, 16, seconds);
    bench_unary(&bench, 32, 16, seconds);
    bench_unary(&bench, 128, 16, seconds);
    bench_unary(&bench, 32, 1024, seconds);
    bench_unary(&bench, 8, REPLY_BYTES, seconds);
    bench_streams(&bench, 1, 1, seconds);
    bench_streams(&bench, 16, 1, seconds);
    bench_streams(&bench, 1, 4096, seconds);
    bench_streams(&bench, 16, 4096, seconds);

    rpc_channel_close(bench.channel);
    rpc_client_destroy(client);
    free(bench.samples_us);
    kill(child, SIGKILL);
    return waitpid(child, NULL, 0) == child ? 0 : 1;
}
