/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/services/keys_ledger_fixture.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Long: a sanitizer on a crowded machine. */
#define PATIENT_NS (30 * NS_PER_S)
enum { ARENA_BYTES = 16 << 20, NUMBER_BYTES = 24 };

struct redis_client *ledger_client(const struct redis_server *server) {
    struct redis_options options = {.address = server->address, .timeout_ns = PATIENT_NS};
    struct redis_client *client = NULL;
    struct error err = {0};
    if (redis_client_create(&options, &client, &err) != STATUS_OK ||
        redis_client_wait(client, PATIENT_NS, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return client;
}

int ledger_fixture_setup(void **state) {
    struct ledger_fixture *fixture = calloc(1, sizeof *fixture);
    redis_server_create(&fixture->redis_server, NULL);
    redis_server_create(&fixture->limits_server, NULL);
    fixture->stores =
        (struct ledger_stores){ledger_client(&fixture->redis_server), ledger_client(&fixture->limits_server)};
    arena_init(&fixture->arena, ARENA_BYTES);
    *state = fixture;
    return 0;
}

int ledger_fixture_teardown(void **state) {
    struct ledger_fixture *fixture = *state;
    redis_client_destroy(fixture->stores.redis);
    redis_client_destroy(fixture->stores.limits);
    redis_server_destroy(&fixture->redis_server);
    redis_server_destroy(&fixture->limits_server);
    arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

struct redis_reply *ledger_ask(struct redis_client *client, const char *format, const char *word) {
    struct redis_reply *reply = NULL;
    struct error err = {0};
    if (redis_callf(client, &reply, &err, format, word) != STATUS_OK) fail_msg("%s: %s", format, err.message);
    return reply;
}

void ledger_put(struct ledger_fixture *fixture, const struct ledger_input *input) {
    char numbers[6][NUMBER_BYTES];
    const struct ledger_amounts *amounts = &input->amounts;
    const int64_t values[] = {input->time_ms,  amounts->input, amounts->cached,
                              amounts->output, amounts->cost,  amounts->requests};
    for (int i = 0; i < 6; i++) snprintf(numbers[i], NUMBER_BYTES, "%" PRId64, values[i]);
    const char *words[] = {"XADD",
                           "bora:outbox:{" LEDGER_ORGANIZATION "}",
                           input->id != NULL ? input->id : "*",
                           "t",
                           numbers[0],
                           "b",
                           numbers[0],
                           "r",
                           input->request,
                           "l",
                           input->request,
                           "k",
                           input->key,
                           "w",
                           input->workspace,
                           "m",
                           input->model,
                           "e",
                           "chat",
                           "i",
                           numbers[1],
                           "c",
                           numbers[2],
                           "o",
                           numbers[3],
                           "n",
                           numbers[4],
                           "s",
                           "settled",
                           "q",
                           numbers[5]};
    enum { COUNT = sizeof words / sizeof *words };
    struct bytes_view views[COUNT];
    for (int i = 0; i < COUNT; i++) views[i] = bytes_view_string(words[i]);
    struct error err = {0};
    if (redis_call(fixture->stores.limits, views, COUNT, NULL, &err) != STATUS_OK) fail_msg("%s", err.message);
}

int64_t ledger_move_all(struct ledger_fixture *fixture) {
    struct ledger_position position = {0};
    struct ledger_moved moved = {.again = true};
    struct error err = {0};
    int64_t entries = 0;
    while (moved.again) {
        if (ledger_move(&fixture->stores, LEDGER_ORGANIZATION, &position, &fixture->arena, &moved, &err) != STATUS_OK)
            fail_msg("%s", err.message);
        entries += moved.entries;
    }
    return entries;
}

int64_t ledger_length(struct ledger_fixture *fixture, struct redis_client *client, const char *stream) {
    (void)fixture;
    struct redis_reply *reply = ledger_ask(client, "XLEN bora:%s:{" LEDGER_ORGANIZATION "}", stream);
    int64_t length = reply->integer;
    redis_reply_free(reply);
    return length;
}

const char *ledger_field(const struct redis_reply *entry, const char *name) {
    const struct redis_reply *words = &entry->items[1];
    for (size_t i = 0; i + 1 < words->count; i += 2) {
        if (bytes_view_equal_string(words->items[i].string, name)) return (const char *)words->items[i + 1].string.data;
    }
    fail_msg("an entry has no %s", name);
    return "";
}

static int64_t number_of(const struct redis_reply *entry, const char *name) {
    int64_t value = 0;
    assert_true(text_to_i64(ledger_field(entry, name), &value));
    return value;
}

struct ledger_amounts ledger_total(struct ledger_fixture *fixture) {
    struct redis_reply *entries = ledger_ask(fixture->stores.redis, "XRANGE bora:ledger:{%s} - +", LEDGER_ORGANIZATION);
    struct ledger_amounts total = {0};
    for (size_t i = 0; i < entries->count; i++) {
        const struct redis_reply *entry = &entries->items[i];
        struct ledger_amounts amounts = {number_of(entry, "q"), number_of(entry, "i"), number_of(entry, "c"),
                                         number_of(entry, "o"), number_of(entry, "n")};
        assert_true(ledger_amounts_add(&total, &amounts));
    }
    redis_reply_free(entries);
    return total;
}

struct ledger_amounts ledger_sum(struct ledger_fixture *fixture, const char *name, const char *field) {
    struct bytes_view words[] = {bytes_view_string("HGET"), bytes_view_string(name), bytes_view_string(field)};
    struct redis_reply *reply = NULL;
    struct error err = {0};
    if (redis_call(fixture->stores.redis, words, 3, &reply, &err) != STATUS_OK) fail_msg("%s", err.message);
    struct ledger_amounts amounts = {0};
    if (reply->type == REDIS_STRING) assert_true(ledger_amounts_read((const char *)reply->string.data, &amounts));
    redis_reply_free(reply);
    return amounts;
}

void assert_amounts(struct ledger_amounts is, struct ledger_amounts expected) {
    assert_int_equal(is.requests, expected.requests);
    assert_int_equal(is.input, expected.input);
    assert_int_equal(is.cached, expected.cached);
    assert_int_equal(is.output, expected.output);
    assert_int_equal(is.cost, expected.cost);
}
