/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A redis-server and a connected client for one test, and a counter that callbacks report to. */
#ifndef TESTS_UNIT_STORE_REDIS_FIXTURE_H
#define TESTS_UNIT_STORE_REDIS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "store/redis.h"
#include "tests/support/redis_server.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_NS (20 * NS_PER_S)
/* Time-outs in tests are long where an answer is expected (sanitizers on a crowded machine) and short where none is. */
#define PATIENT_NS (30 * NS_PER_S)

/* With BORA_TEST_REDIS_LOOP in the environment all clients are on one loop, as the gateway's are: each test must pass either way. */
static struct loop *test_loop;
[[maybe_unused]] static void destroy_test_loop(void) {
    loop_destroy(test_loop);
}

/** redis_client_create, on the loop if there shall be one. */
[[maybe_unused]] static enum status create_client(const struct redis_options *options, struct redis_client **out,
                                                  struct error *err) {
    struct redis_options filled = *options;
    if (test_loop == NULL && getenv("BORA_TEST_REDIS_LOOP") != NULL) {
        assert_int_equal(loop_create("test-loop", &test_loop, NULL), STATUS_OK);
        atexit(destroy_test_loop);
    }
    filled.loop = test_loop;
    return redis_client_create(&filled, out, err);
}

struct redis_fixture {
    struct redis_server server;
    struct redis_client *client;
};

[[maybe_unused]] static int redis_fixture_setup(void **state) {
    struct redis_fixture *fixture = calloc(1, sizeof *fixture);
    redis_server_create(&fixture->server, NULL);
    struct error err = {0};
    struct redis_options options = {.address = fixture->server.address, .timeout_ns = PATIENT_NS};
    if (create_client(&options, &fixture->client, &err) != STATUS_OK ||
        redis_client_wait(fixture->client, CONNECT_NS, &err) != STATUS_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    *state = fixture;
    return 0;
}

[[maybe_unused]] static int redis_fixture_teardown(void **state) {
    struct redis_fixture *fixture = *state;
    redis_client_destroy(fixture->client);
    redis_server_destroy(&fixture->server);
    free(fixture);
    return 0;
}

/** How callbacks ended, by status. */
struct tally {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int total;
    int by_status[17];
    char message[256];
};
#define TALLY_INIT \
    { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER }

[[maybe_unused]] static void tally_count(void *context, enum status status, const struct redis_reply *reply,
                                         const char *message) {
    (void)reply;
    struct tally *tally = context;
    pthread_mutex_lock(&tally->mutex);
    tally->total++;
    tally->by_status[status]++;
    strncpy(tally->message, message, sizeof tally->message - 1);
    pthread_cond_signal(&tally->changed);
    pthread_mutex_unlock(&tally->mutex);
}

/** Wait until `total` callbacks came; fails the test when they do not. */
[[maybe_unused]] static void tally_wait(struct tally *tally, int total) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    pthread_mutex_lock(&tally->mutex);
    while (tally->total < total && pthread_cond_timedwait(&tally->changed, &tally->mutex, &deadline) == 0) {
    }
    int came = tally->total;
    pthread_mutex_unlock(&tally->mutex);
    assert_int_equal(came, total);
}

[[maybe_unused]] static int64_t call_integer(struct redis_client *client, const char *format, const char *word) {
    struct redis_reply *reply = NULL;
    struct error err = {0};
    if (redis_callf(client, &reply, &err, format, word) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(reply->type, REDIS_INTEGER);
    int64_t integer = reply->integer;
    redis_reply_free(reply);
    return integer;
}

#endif
