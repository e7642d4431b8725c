/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/redis_fixture.h"

#include <stdio.h>

/** What one subscription heard. */
struct ear {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int messages, ups, downs;
    bool subscribed;
    char last[64];
    size_t last_length;
};
#define EAR_INIT \
    { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER }

static void hear(void *context, struct bytes_view message) {
    struct ear *ear = context;
    pthread_mutex_lock(&ear->mutex);
    ear->messages++;
    ear->last_length = message.length < sizeof ear->last ? message.length : sizeof ear->last;
    memcpy(ear->last, message.data, ear->last_length);
    pthread_cond_signal(&ear->changed);
    pthread_mutex_unlock(&ear->mutex);
}

static void note_state(void *context, bool subscribed) {
    struct ear *ear = context;
    pthread_mutex_lock(&ear->mutex);
    ear->subscribed = subscribed;
    if (subscribed)
        ear->ups++;
    else
        ear->downs++;
    pthread_cond_signal(&ear->changed);
    pthread_mutex_unlock(&ear->mutex);
}

/** Wait until `*count` reaches `least`. */
static void wait_for(struct ear *ear, const int *count, int least) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 30;
    pthread_mutex_lock(&ear->mutex);
    while (*count < least && pthread_cond_timedwait(&ear->changed, &ear->mutex, &deadline) == 0) {
    }
    int reached = *count;
    pthread_mutex_unlock(&ear->mutex);
    assert_true(reached >= least);
}

static void test_messages_of_the_channel_arrive_whole(void **state) {
    struct redis_fixture *fixture = *state;
    struct ear ear = EAR_INIT, other = EAR_INIT;
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &ear, NULL), STATUS_OK);
    assert_int_equal(redis_subscribe(fixture->client, "weather", hear, note_state, &other, NULL), STATUS_OK);
    wait_for(&ear, &ear.ups, 1);
    wait_for(&other, &other.ups, 1);
    struct bytes_view message = bytes_view_of("a\0b", 3);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "PUBLISH news %b", &message),
                     STATUS_OK); /* ordinary commands go on */
    wait_for(&ear, &ear.messages, 1);
    assert_int_equal(ear.last_length, 3);
    assert_memory_equal(ear.last, "a\0b", 3);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "PUBLISH weather sun"), STATUS_OK);
    wait_for(&other, &other.messages, 1);
    assert_int_equal(ear.messages, 1);
    redis_client_destroy(fixture->client); /* before the ears go */
    fixture->client = NULL;
}

static void test_two_subscribers_of_one_channel_both_hear(void **state) {
    struct redis_fixture *fixture = *state;
    struct ear a = EAR_INIT, b = EAR_INIT;
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &a, NULL), STATUS_OK);
    wait_for(&a, &a.ups, 1);
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &b, NULL), STATUS_OK);
    wait_for(&b, &b.ups, 1);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "PUBLISH news x"), STATUS_OK);
    wait_for(&a, &a.messages, 1);
    wait_for(&b, &b.messages, 1);
    redis_client_destroy(fixture->client);
    fixture->client = NULL;
}

static void test_subscription_survives_a_restart_and_says_what_it_missed(void **state) {
    struct redis_fixture *fixture = *state;
    struct ear ear = EAR_INIT;
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &ear, NULL), STATUS_OK);
    wait_for(&ear, &ear.ups, 1);
    redis_server_kill(&fixture->server);
    wait_for(&ear, &ear.downs, 1);
    redis_server_start(&fixture->server);
    wait_for(&ear, &ear.ups, 2);
    assert_int_equal(redis_client_wait(fixture->client, CONNECT_NS, NULL), STATUS_OK);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "PUBLISH news back"), STATUS_OK);
    wait_for(&ear, &ear.messages, 1);
    redis_client_destroy(fixture->client);
    fixture->client = NULL;
}

static void test_silent_server_is_noticed_on_a_quiet_channel(void **state) {
    struct redis_fixture *fixture = *state;
    struct ear ear = EAR_INIT;
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &ear, NULL), STATUS_OK);
    wait_for(&ear, &ear.ups, 1);
    redis_server_freeze(&fixture->server);
    wait_for(&ear, &ear.downs, 1); /* no message, no command: only the probe can tell */
    redis_server_thaw(&fixture->server);
    wait_for(&ear, &ear.ups, 2);
    redis_client_destroy(fixture->client);
    fixture->client = NULL;
}

static void test_quiet_channel_of_a_live_server_stays_subscribed(void **state) {
    struct redis_fixture *fixture = *state;
    struct ear ear = EAR_INIT;
    assert_int_equal(redis_subscribe(fixture->client, "news", hear, note_state, &ear, NULL), STATUS_OK);
    wait_for(&ear, &ear.ups, 1);
    nanosleep(&(struct timespec){.tv_sec = 5}, NULL); /* two probes; there is no other sign of them */
    assert_int_equal(ear.downs, 0);
    assert_int_equal(redis_callf(fixture->client, NULL, NULL, "PUBLISH news x"), STATUS_OK);
    wait_for(&ear, &ear.messages, 1);
    redis_client_destroy(fixture->client);
    fixture->client = NULL;
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, redis_fixture_setup, redis_fixture_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_messages_of_the_channel_arrive_whole),
        REDIS_TEST(test_two_subscribers_of_one_channel_both_hear),
        REDIS_TEST(test_subscription_survives_a_restart_and_says_what_it_missed),
        REDIS_TEST(test_silent_server_is_noticed_on_a_quiet_channel),
        REDIS_TEST(test_quiet_channel_of_a_live_server_stays_subscribed),
    };
    return cmocka_run_group_tests_name("store/redis_subscribe", tests, NULL, NULL);
}
