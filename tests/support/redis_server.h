/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A real redis-server for a test: on a Unix socket, in a folder of its own under /tmp, with an append-only file that is flushed on every
 * write unless asked otherwise. Everything is removed by redis_server_destroy; a server whose test dies follows it.
 */
#ifndef TESTS_SUPPORT_REDIS_SERVER_H
#define TESTS_SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct redis_server {
    char folder[64];
    char address[96];  /* "unix:/tmp/.../redis.sock" */
    char password[32]; /* empty: none */
    bool written_only; /* appendfsync no: written before each answer, flushed when the kernel likes */
    int cluster_port;  /* not 0: one of a cluster (redis_cluster_server.h), its bus there */
    int port;          /* 0: none beside the socket */
    pid_t pid;         /* 0: not running */
};

/** Start and wait until it accepts. Fails the test if redis-server is not installed. `password` may be NULL. */
void redis_server_create(struct redis_server *server, const char *password);
/** The same for `server` with `written_only`, or with `cluster_port` and `port`, set and all else 0. */
void redis_server_create_as(struct redis_server *server);
void redis_server_destroy(struct redis_server *server);
/** As a crash would: SIGKILL, and wait. */
void redis_server_kill(struct redis_server *server);
/** Start again over the same folder and wait until it accepts. */
void redis_server_start(struct redis_server *server);
/** SIGSTOP and SIGCONT. */
void redis_server_freeze(struct redis_server *server);
void redis_server_thaw(struct redis_server *server);
/** The bytes of the append-only files contain `text`. */
bool redis_server_disk_contains(const struct redis_server *server, const char *text);

#endif
