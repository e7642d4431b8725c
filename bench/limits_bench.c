/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What limits cost: admissions and settlements a second over one connection, with 1, 16 and 64 calls under way at once, beside the plainest
 * command there is. Its own redis-server, as --redis-limits is to be run: append-only file, appendfsync no, on a Unix socket.
 *
 * The best of twenty rounds each. Then whole requests, as a gateway makes them: admitted, and settled by store/settlements when they are; saturated, and
 * a thousand a second. Of those the median of all rounds.
 *
 *     bora-bench-limits [REQUESTS OF A ROUND [whole]]     whole: only whole requests
 */
#include "base/clock.h"
#include "store/settlements.h"
#include "tests/support/redis_server.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 200, DEPTH_MAX = 64, REQUESTS_DEFAULT = 500, ROUNDS = 20, RATE = 1000 };

enum work { WORK_INCR, WORK_PEEK, WORK_ADMIT, WORK_SETTLE, WORK_DENIED, WORK_REQUEST };

struct run {
    struct redis_client *client;
    struct settlements *settlements;
    enum work work;
    bool paced; /* the next one starts when its time has come, not when one has ended */
    int requests, scope_count;
    int first_lease; /* settlements are of the leases that the run before has made */
    int next;        /* the client's thread's, once it runs */
    int done;
    int failed, admitted;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static void start_one(struct run *run, int number);

static void end_one(struct run *run, bool ok, bool admitted) {
    pthread_mutex_lock(&run->mutex);
    run->done++;
    run->failed += !ok;
    run->admitted += admitted;
    int number = !run->paced && run->next < run->requests ? run->next++ : -1;
    if (run->done == run->requests) pthread_cond_signal(&run->changed);
    pthread_mutex_unlock(&run->mutex);
    if (number >= 0) start_one(run, number);
}

static void on_result(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)message;
    end_one(context, status == STATUS_OK, status == STATUS_OK && result->outcome == LIMITS_ADMITTED);
}

static void on_reply(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    end_one(context, status == STATUS_OK, false);
}

static const char organization[] = "0b0e9c5a-55a6-4cb4-a3a5-1f8f3a7a7f10";

/** Key, workspace and organisation with the limits that a platform sets: requests and tokens a minute, tokens a day, spend a month; or the key alone, with
 *  three of them. */
static void set_limits(struct limits_scope scopes[3], int count, const char *key, int number, bool denied) {
    for (int i = 0; i < 3; i++) scopes[i] = (struct limits_scope){.bounds = LIMITS_UNLIMITED};
    snprintf(scopes[0].name, sizeof scopes[0].name, "k:%s", key);
    scopes[0].bounds.of[LIMITS_REQUESTS_PER_MINUTE] = LIMITS_MAX;
    scopes[0].bounds.of[LIMITS_TOKENS_PER_MINUTE] = denied ? 10 * (300 + 512) : LIMITS_MAX;
    if (count == 1) scopes[0].bounds.of[LIMITS_TOKENS_PER_MONTH] = LIMITS_MAX;
    snprintf(scopes[1].name, sizeof scopes[1].name, "w:5d2f2f26-0000-4000-8000-%012d", number % 10);
    scopes[1].bounds.of[LIMITS_TOKENS_PER_DAY] = LIMITS_MAX;
    snprintf(scopes[2].name, sizeof scopes[2].name, "o");
    scopes[2].bounds.of[LIMITS_SPEND_PER_MONTH] = LIMITS_SPEND_MAX;
}

struct request {
    struct run *run;
    char lease[LIMITS_LEASE_ID_BYTES + 1];
};

static void on_request_admitted(void *context, enum status status, const struct limits_result *result,
                                const char *message) {
    (void)message;
    struct request *request = context;
    struct run *run = request->run;
    bool admitted = status == STATUS_OK && result->outcome == LIMITS_ADMITTED;
    struct limits_usage usage = {.input = 300, .output = 200};
    if (admitted) settlements_settle(run->settlements, organization, request->lease, &usage);
    free(request);
    end_one(run, admitted, admitted);
}

static void admit_one(struct run *run, int number, const char *lease) {
    char key[16];
    bool denied = run->work == WORK_DENIED;
    int which = run->work == WORK_REQUEST ? 0 : number % KEYS;
    snprintf(key, sizeof key, "%s%09d", denied ? "den" : "key", which); /* keys of their own, full at once */
    struct limits_scope scopes[3];
    set_limits(scopes, run->scope_count, key, number, denied);
    struct limits_admission admission = {
        .subject = {organization, "5d2f2f26-0000-4000-8000-000000000001", key, "smollm2-135m-instruct",
                    "0123456789abcdef0123456789abcdef", "chat"},
        .lease = lease,
        .price = {200000000, 50000000, 600000000},
        .scope_count = run->scope_count,
        .scopes = scopes,
        .input = 300,
        .output = 512,
        .answers = 1,
        .peek = run->work == WORK_PEEK,
    };
    if (run->work != WORK_REQUEST) {
        limits_admit(run->client, &admission, on_result, run);
        return;
    }
    struct request *request = malloc(sizeof *request);
    if (request == NULL) abort();
    request->run = run;
    snprintf(request->lease, sizeof request->lease, "%s", lease);
    settlements_admit(run->settlements, &admission, on_request_admitted, request);
}

static void start_one(struct run *run, int number) {
    char lease[LIMITS_LEASE_ID_BYTES + 1];
    snprintf(lease, sizeof lease, "%032x", (unsigned)(run->first_lease + number));
    struct limits_usage usage = {.input = 300, .output = 200};
    if (run->work == WORK_INCR)
        redis_commandf(run->client, on_reply, run, "INCR counter");
    else if (run->work == WORK_SETTLE)
        limits_settle(run->client, organization, lease, &usage, on_reply, run);
    else
        admit_one(run, number, lease);
}

/** Seconds of processor time that Redis has used so far: unlike what it says of its scripts, free of what else runs on the machine. */
static double processor_seconds(struct redis_client *client) {
    struct redis_reply *reply = NULL;
    struct error err;
    if (redis_callf(client, &reply, &err, "INFO cpu") != STATUS_OK) return 0;
    double seconds = 0;
    static const char *const names[] = {"used_cpu_sys:", "used_cpu_user:"};
    for (int i = 0; i < 2; i++) {
        const char *value = strstr((const char *)reply->string.data, names[i]);
        if (value != NULL) seconds += strtod(value + strlen(names[i]), NULL);
    }
    redis_reply_free(reply);
    return seconds;
}

static void start_paced(struct run *run) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int i = 0; i < run->requests; i++) {
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        next.tv_nsec += NS_PER_S / RATE;
        next.tv_sec += next.tv_nsec / NS_PER_S;
        next.tv_nsec %= NS_PER_S;
        start_one(run, i);
    }
}

/** One round: wall-clock seconds and Redis' processor seconds. */
static void run_once(struct run *run, int depth, double *out_seconds, double *out_processor) {
    run->next = depth;
    run->done = 0;
    double used = processor_seconds(run->client);
    int64_t start = clock_monotonic_ns(clock_system());
    if (run->paced) start_paced(run);
    for (int i = 0; i < depth; i++) start_one(run, i);
    pthread_mutex_lock(&run->mutex);
    while (run->done < run->requests) pthread_cond_wait(&run->changed, &run->mutex);
    pthread_mutex_unlock(&run->mutex);
    *out_seconds = (double)(clock_monotonic_ns(clock_system()) - start) / NS_PER_S;
    *out_processor = processor_seconds(run->client) - used;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** Whole requests; the median of all rounds. */
static void measure_requests(struct redis_client *client, struct settlements *settlements, const char *name,
                             int scope_count, bool paced, int requests) {
    static int next_lease = 1 << 30;
    struct run run = {.client = client,
                      .settlements = settlements,
                      .work = WORK_REQUEST,
                      .paced = paced,
                      .requests = requests,
                      .scope_count = scope_count,
                      .mutex = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER};
    double rates[ROUNDS], processor[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double seconds;
        run.first_lease = next_lease;
        next_lease += requests;
        run_once(&run, paced ? 0 : DEPTH_MAX, &seconds, &processor[round]);
        rates[round] = requests / seconds;
    }
    qsort(rates, ROUNDS, sizeof *rates, compare);
    qsort(processor, ROUNDS, sizeof *processor, compare);
    printf("%-40s %7.0f a second %7.1f us of Redis' processor (%.1f to %.1f)", name, rates[ROUNDS / 2],
           processor[ROUNDS / 2] * 1e6 / requests, processor[0] * 1e6 / requests,
           processor[ROUNDS - 1] * 1e6 / requests);
    if (run.failed > 0) printf("   %d FAILED", run.failed);
    printf("\n");
}

/** The best of all rounds. Settlements are of the leases that the admissions before them have made. */
static void measure(struct redis_client *client, const char *name, enum work work, int scope_count, int depth,
                    int requests) {
    static int next_lease;
    if (work == WORK_SETTLE) next_lease -= ROUNDS * requests;
    struct run run = {.client = client,
                      .work = work,
                      .requests = requests,
                      .scope_count = scope_count,
                      .mutex = PTHREAD_MUTEX_INITIALIZER,
                      .changed = PTHREAD_COND_INITIALIZER};
    double best_seconds = 1e9, best_processor = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double seconds, processor;
        run.first_lease = next_lease;
        next_lease += requests;
        run_once(&run, depth, &seconds, &processor);
        if (seconds < best_seconds) best_seconds = seconds;
        if (processor < best_processor) best_processor = processor;
    }
    printf("%-22s %2d at once %9.0f a second %7.1f us of Redis' processor", name, depth, requests / best_seconds,
           best_processor * 1e6 / requests);
    if (work == WORK_DENIED) printf("   %d of %d admitted", run.admitted, ROUNDS * requests);
    if (run.failed > 0) printf("   %d FAILED", run.failed);
    printf("\n");
}

int main(int argc, char **argv) {
    int requests = argc > 1 ? atoi(argv[1]) : REQUESTS_DEFAULT;
    if (requests < DEPTH_MAX) requests = DEPTH_MAX;
    struct redis_server server = {.written_only = true};
    redis_server_create_as(&server);
    struct redis_client *client = NULL;
    struct error err;
    struct redis_options options = {.address = server.address, .timeout_ns = 10 * NS_PER_S};
    if (redis_client_create(&options, &client, &err) != STATUS_OK ||
        redis_client_wait(client, 10 * NS_PER_S, &err) != STATUS_OK) {
        fprintf(stderr, "bora-bench-limits: %s\n", err.message);
        return 1;
    }
    static const int depths[] = {1, 16, DEPTH_MAX};
    for (int i = 0; i < 3 && argc < 3; i++) {
        measure(client, "INCR", WORK_INCR, 0, depths[i], requests);
        measure(client, "peek, three scopes", WORK_PEEK, 3, depths[i], requests);
        measure(client, "admit, three scopes", WORK_ADMIT, 3, depths[i], requests);
        measure(client, "settle, three scopes", WORK_SETTLE, 3, depths[i], requests);
        measure(client, "admit, one scope", WORK_ADMIT, 1, depths[i], requests);
        measure(client, "settle, one scope", WORK_SETTLE, 1, depths[i], requests);
        measure(client, "denied, three scopes", WORK_DENIED, 3, depths[i], requests);
    }
    struct settlements *settlements = NULL;
    if (settlements_create(client, &settlements, &err) != STATUS_OK) {
        fprintf(stderr, "bora-bench-limits: %s\n", err.message);
        return 1;
    }
    for (int paced = 0; paced < 2; paced++) {
        static const char *const names[2][2] = {
            {"requests, three limits of the key", "requests, limits in three places"},
            {"1,000 a second, three limits of the key", "1,000 a second, limits in three places"}};
        measure_requests(client, settlements, names[paced][0], 1, paced, 2 * requests);
        measure_requests(client, settlements, names[paced][1], 3, paced, 2 * requests);
    }
    settlements_destroy(settlements, 10 * NS_PER_S);
    redis_client_destroy(client);
    redis_server_destroy(&server);
    return 0;
}
