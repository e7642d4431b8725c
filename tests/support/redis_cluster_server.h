/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A real Redis Cluster for a test: three primaries, each with a replica or none, on ports of 127.0.0.1. Slots are shared out evenly, in order. */
#ifndef TESTS_SUPPORT_REDIS_CLUSTER_SERVER_H
#define TESTS_SUPPORT_REDIS_CLUSTER_SERVER_H

#include "tests/support/redis_server.h"

#include <stddef.h>

enum { REDIS_CLUSTER_PRIMARIES = 3, REDIS_CLUSTER_SERVERS_MAX = 2 * REDIS_CLUSTER_PRIMARIES };

struct redis_cluster_server {
    struct redis_server servers[REDIS_CLUSTER_SERVERS_MAX]; /* the primaries are the first three */
    int count;
    char address[32 * REDIS_CLUSTER_PRIMARIES]; /* of all primaries, as struct redis_options wants it */
};

/** Ready when it returns. Fails the test if redis-cli is not installed. `password` may be NULL. */
void redis_cluster_server_create(struct redis_cluster_server *cluster, bool with_replicas, const char *password);
void redis_cluster_server_destroy(struct redis_cluster_server *cluster);
/** What a server answers to a command (words for a shell), without the last line's end; lent until the next call. */
const char *redis_cluster_server_ask(const struct redis_cluster_server *cluster, int server, const char *command);
/** Which of the servers has a slot, by the word of a living one; -1: none that is alive. */
int redis_cluster_server_owner(const struct redis_cluster_server *cluster, int slot);
/** Move a slot from one primary to the other, in the steps that operators' tools take: */
void redis_cluster_server_begin_move(const struct redis_cluster_server *cluster, int slot, int from, int to);
void redis_cluster_server_move_keys(const struct redis_cluster_server *cluster, int slot, int from, int to);
void redis_cluster_server_end_move(const struct redis_cluster_server *cluster, int slot, int from, int to);

#endif
