/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * 100,000 entries are written into the outbox by several clients while two keepers move them, in processes of their own that are killed again and again,
 * and both Redis servers are killed again and again too. At the end the ledger has what the outbox was given: each entry once, and sums that agree.
 *
 * A client repeats nothing: an entry whose answer was lost may be there or not, and counts as "perhaps". All others must be there exactly once.
 */
#include "tests/unit/services/keys_ledger_fixture.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "services/keys/ledger_keeper.h"
#include "tests/support/process.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    WRITERS = 4,
    ENTRIES_EACH = 25000,
    ENTRIES = WRITERS * ENTRIES_EACH,
    WINDOW = 64,
    KEYS = 7,
    MODELS = 3,
    KEEPERS = 2
};
enum { PATIENCE_S = 150 };

static uint64_t seed;

static uint64_t draw(uint64_t position, uint32_t lane, uint64_t range) {
    return random_philox(seed, position, lane) % range;
}

/* --- the keeper's process ---------------------------------------------------------------------------------------- */

static int run_keeper(const char *redis_address, const char *limits_address) {
    log_configure("keeper", LOG_LEVEL_ERROR, LOG_FORMAT_JSON, 2);
    struct metrics *metrics = metrics_create();
    struct redis_options redis = {.address = redis_address}, limits = {.address = limits_address};
    struct ledger_keeper_options options = {.metrics = metrics};
    struct ledger_keeper *keeper = NULL;
    struct error err = {0};
    if (redis_client_create(&redis, &options.stores.redis, &err) != STATUS_OK ||
        redis_client_create(&limits, &options.stores.limits, &err) != STATUS_OK ||
        ledger_keeper_create(&options, &keeper, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    sigset_t signals;
    int number = 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigwait(&signals, &number);
    ledger_keeper_destroy(keeper);
    redis_client_destroy(options.stores.redis);
    redis_client_destroy(options.stores.limits);
    metrics_destroy(metrics);
    return 0;
}

struct keeper {
    struct test_process process;
    const struct ledger_fixture *fixture;
};

static void start_keeper(struct keeper *keeper) {
    const char *const arguments[] = {"/proc/self/exe", "--keeper", keeper->fixture->redis_server.address,
                                     keeper->fixture->limits_server.address, NULL};
    test_process_start(&keeper->process, arguments);
}

/* --- the writers ------------------------------------------------------------------------------------------------- */

enum fate { NOT_SENT, SENT, WRITTEN, PERHAPS };

struct writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int number, waiting;
    struct redis_client *client;
    atomic_uchar fates[ENTRIES_EACH]; /* enum fate */
};
struct sending {
    struct writer *writer;
    int index;
};

static void on_written(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    struct sending *sending = context;
    struct writer *writer = sending->writer;
    atomic_store(&writer->fates[sending->index], status == STATUS_OK ? WRITTEN : PERHAPS);
    pthread_mutex_lock(&writer->mutex);
    writer->waiting--;
    pthread_cond_signal(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    free(sending);
}

static struct ledger_amounts amounts_of(int entry) {
    return (struct ledger_amounts){1, (int64_t)draw((uint64_t)entry, 1, 5000), (int64_t)draw((uint64_t)entry, 2, 100),
                                   (int64_t)draw((uint64_t)entry, 3, 3000),
                                   (int64_t)draw((uint64_t)entry, 4, UINT64_C(10000000000))};
}

static void write_entry(struct writer *writer, int index) {
    struct sending *sending = malloc(sizeof *sending);
    *sending = (struct sending){writer, index};
    int entry = writer->number * ENTRIES_EACH + index;
    struct ledger_amounts amounts = amounts_of(entry);
    atomic_store(&writer->fates[index], SENT);
    redis_commandf(
        writer->client, on_written, sending,
        "XADD bora:outbox:{%s} * t %lld b 1 r %lld l x k key%lld w place m model%lld e chat i %lld c %lld o %lld n "
        "%lld s settled q 1",
        LEDGER_ORGANIZATION, (long long)(LEDGER_TIME_MS + entry * INT64_C(300)), (long long)entry,
        (long long)(entry % KEYS), (long long)(entry % MODELS), (long long)amounts.input, (long long)amounts.cached,
        (long long)amounts.output, (long long)amounts.cost);
}

static void *run_writer(void *context) {
    struct writer *writer = context;
    for (int i = 0; i < ENTRIES_EACH; i++) {
        /* Nothing is written into the void: what fails without a connection was never sent. */
        while (!redis_client_connected(writer->client)) nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
        pthread_mutex_lock(&writer->mutex);
        while (writer->waiting == WINDOW) pthread_cond_wait(&writer->changed, &writer->mutex);
        writer->waiting++;
        pthread_mutex_unlock(&writer->mutex);
        write_entry(writer, i);
    }
    pthread_mutex_lock(&writer->mutex);
    while (writer->waiting > 0) pthread_cond_wait(&writer->changed, &writer->mutex);
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

static bool all_written(const struct writer *writers) {
    for (int i = 0; i < WRITERS; i++) {
        unsigned char fate = atomic_load(&writers[i].fates[ENTRIES_EACH - 1]);
        if (fate == NOT_SENT || fate == SENT) return false;
    }
    return true;
}

/* --- the faults -------------------------------------------------------------------------------------------------- */

struct kills {
    int keepers, redis, limits;
};

static struct kills kill_until_written(struct ledger_fixture *fixture, struct keeper *keepers,
                                       const struct writer *writers) {
    struct kills kills = {0};
    for (uint64_t step = 0; !all_written(writers); step++) {
        nanosleep(&(struct timespec){.tv_nsec = (long)(1 + draw(step, 10, 80)) * NS_PER_MS}, NULL);
        switch (draw(step, 11, 6)) {
        case 0:
            redis_server_kill(&fixture->redis_server);
            redis_server_start(&fixture->redis_server);
            kills.redis++;
            break;
        case 1:
            redis_server_kill(&fixture->limits_server);
            redis_server_start(&fixture->limits_server);
            kills.limits++;
            break;
        default: {
            struct keeper *keeper = &keepers[draw(step, 12, KEEPERS)];
            test_process_stop(&keeper->process, SIGKILL, PATIENCE_S);
            start_keeper(keeper);
            kills.keepers++;
            break;
        }
        }
    }
    return kills;
}

/* --- the reckoning ----------------------------------------------------------------------------------------------- */

static void wait_until_moved(struct ledger_fixture *fixture) {
    struct error err = {0};
    if (redis_client_wait(fixture->stores.redis, PATIENCE_S * NS_PER_S, &err) != STATUS_OK ||
        redis_client_wait(fixture->stores.limits, PATIENCE_S * NS_PER_S, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    int64_t until = clock_monotonic_ns(clock_system()) + PATIENCE_S * NS_PER_S;
    while (ledger_length(fixture, fixture->stores.limits, "outbox") > 0) {
        if (clock_monotonic_ns(clock_system()) > until) fail_msg("the outbox does not become empty");
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    }
}

/** How often each entry is in the ledger; `total` is what they add up to. */
static void count_ledger(struct ledger_fixture *fixture, unsigned char *counts, struct ledger_amounts *total) {
    struct redis_reply *entries = ledger_ask(fixture->stores.redis, "XRANGE bora:ledger:{%s} - +", LEDGER_ORGANIZATION);
    for (size_t i = 0; i < entries->count; i++) {
        int entry = atoi(ledger_field(&entries->items[i], "r"));
        assert_in_range(entry, 0, ENTRIES - 1);
        counts[entry]++;
        struct ledger_amounts amounts = amounts_of(entry);
        assert_true(ledger_amounts_add(total, &amounts));
    }
    redis_reply_free(entries);
}

static struct ledger_amounts sums_of(struct ledger_fixture *fixture, const char *pattern) {
    struct redis_reply *names = ledger_ask(fixture->stores.redis, "KEYS %s", pattern);
    struct ledger_amounts total = {0}, amounts;
    for (size_t i = 0; i < names->count; i++) {
        struct redis_reply *values =
            ledger_ask(fixture->stores.redis, "HVALS %s", (const char *)names->items[i].string.data);
        for (size_t j = 0; j < values->count; j++) {
            assert_true(ledger_amounts_read((const char *)values->items[j].string.data, &amounts));
            assert_true(ledger_amounts_add(&total, &amounts));
        }
        redis_reply_free(values);
    }
    redis_reply_free(names);
    return total;
}

static void check(struct ledger_fixture *fixture, const struct writer *writers, struct kills kills) {
    unsigned char *counts = calloc(ENTRIES, 1);
    struct ledger_amounts total = {0};
    count_ledger(fixture, counts, &total);
    int lost = 0, twice = 0, perhaps = 0;
    for (int i = 0; i < ENTRIES; i++) {
        enum fate fate = atomic_load(&writers[i / ENTRIES_EACH].fates[i % ENTRIES_EACH]);
        perhaps += fate == PERHAPS;
        lost += fate == WRITTEN && counts[i] == 0;
        twice += counts[i] > 1;
    }
    free(counts);
    print_message("seed %" PRIu64 ": %d keepers, %d redis, %d redis-limits killed; %d of %d entries written perhaps\n",
                  seed, kills.keepers, kills.redis, kills.limits, perhaps, ENTRIES);
    assert_int_equal(lost, 0);
    assert_int_equal(twice, 0);
    assert_int_equal(ledger_length(fixture, fixture->stores.redis, "ledger-unreadable"), 0);
    assert_amounts(sums_of(fixture, "bora:sums:{" LEDGER_ORGANIZATION "}:h:*"), total);
    assert_amounts(sums_of(fixture, "bora:sums:{" LEDGER_ORGANIZATION "}:d:*"), total);
    assert_true(kills.keepers > 0 && kills.redis > 0 && kills.limits > 0);
}

static void test_every_entry_is_in_the_ledger_once_whatever_is_killed(void **state) {
    struct ledger_fixture *fixture = *state;
    static struct writer writers[WRITERS];
    static struct keeper keepers[KEEPERS];
    redis_reply_free(ledger_ask(fixture->stores.limits, "SADD bora:orgs-active %s", LEDGER_ORGANIZATION));
    for (int i = 0; i < KEEPERS; i++) {
        keepers[i].fixture = fixture;
        start_keeper(&keepers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        writers[i].client = ledger_client(&fixture->limits_server);
        pthread_mutex_init(&writers[i].mutex, NULL);
        pthread_cond_init(&writers[i].changed, NULL);
        assert_int_equal(pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]), 0);
    }
    struct kills kills = kill_until_written(fixture, keepers, writers);
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        redis_client_destroy(writers[i].client);
    }
    wait_until_moved(fixture);
    for (int i = 0; i < KEEPERS; i++) assert_int_equal(test_process_stop(&keepers[i].process, SIGTERM, PATIENCE_S), 0);
    check(fixture, writers, kills);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--keeper") == 0) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        return run_keeper(argv[2], argv[3]);
    }
    seed = argc == 2 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_entry_is_in_the_ledger_once_whatever_is_killed, ledger_fixture_setup,
                                        ledger_fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
