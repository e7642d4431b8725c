/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** For tests of the ledger: two Redis servers with a client each, an outbox that is filled by hand, and what the ledger and its sums hold then. */
#ifndef TESTS_KEYS_LEDGER_FIXTURE_H
#define TESTS_KEYS_LEDGER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "services/keys/ledger.h"
#include "tests/support/redis_server.h"

#define LEDGER_ORGANIZATION "0b0a9c1e-53e2-4c4b-9d0f-1f2e3d4c5b6a"
/* 2100-03-01T14:19:05.678Z: sums of today and before may have run out. */
#define LEDGER_TIME_MS INT64_C(4107593945678)

struct ledger_fixture {
    struct redis_server redis_server, limits_server;
    struct ledger_stores stores;
    struct arena arena;
};

int ledger_fixture_setup(void **state);
int ledger_fixture_teardown(void **state);

/** A client of the server, connected. Fails the test when it cannot be. */
struct redis_client *ledger_client(const struct redis_server *server);

/** One settled answer. */
struct ledger_input {
    const char *id; /* in the outbox; NULL: "*" */
    int64_t time_ms;
    const char *request, *key, *workspace, *model;
    struct ledger_amounts amounts;
};
void ledger_put(struct ledger_fixture *fixture, const struct ledger_input *input);

/** Move until there is nothing left, with a position of its own; how many entries came. */
int64_t ledger_move_all(struct ledger_fixture *fixture);

/** A command's reply; fails the test when it does. Freed by the caller. */
struct redis_reply *ledger_ask(struct redis_client *client, const char *format, const char *word);
int64_t ledger_length(struct ledger_fixture *fixture, struct redis_client *client, const char *stream);
/** The field of an entry as XRANGE gives it. */
const char *ledger_field(const struct redis_reply *entry, const char *name);
/** What all entries of the ledger add up to. */
struct ledger_amounts ledger_total(struct ledger_fixture *fixture);
/** What one field of one hash of sums holds; zeros when it is not there. */
struct ledger_amounts ledger_sum(struct ledger_fixture *fixture, const char *name, const char *field);

void assert_amounts(struct ledger_amounts is, struct ledger_amounts expected);

#endif
