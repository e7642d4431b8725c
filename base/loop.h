/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * One thread that waits for many sockets (epoll). What belongs together runs on one loop, so that nothing on a request's way wakes another thread:
 *
 *     turn:  wait ─> on_event of each source that something happened to ─> turn of each member
 *
 * A member is a part of the program that lives on the loop: an HTTP server, a Redis connection, the links to workers. What its sources bring, and what
 * other threads leave for it, it may gather until its turn: so what comes together leaves in one system call.
 *
 *     any other thread:  leaves something where `pending` finds it ─> loop_wake        nothing but a flag is looked at when the loop runs anyway
 *
 * A source that was removed inside an on_event may still be called for what happened before: its memory must stay until its member's next turn.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop_source {
    void (*on_event)(struct loop_source *source, uint32_t events); /* EPOLLIN, ... */
};

struct loop_member {
    void *context;
    bool (*pending)(void *context); /* has another thread left something? Asked before the loop sleeps; NULL: never */
    bool (*awaits)(
        void *context); /* does an answer come that is worth staying awake for (loop_set_spin)? NULL: never */
    int64_t (*turn)(
        void *context); /* after the events of each turn; the time by which it wants the next one, INT64_MAX: none */
    /* The loop's. */
    struct loop_member *next;
    int64_t due_ns;
    bool leaving;
};

/** `name`: of the thread, at most 15 bytes. It runs from now on. */
enum status loop_create(const char *name, struct loop **out, struct error *err);
/** From now on, where some member awaits an answer, look for it for so long before sleeping: a processor that sleeps takes its time to wake up, and whoever
 *  wakes it does too. Whoever else wants the processor has it meanwhile. Before members join. */
void loop_set_spin(struct loop *loop, int64_t ns);
/** After every member has left. NULL is nothing. Not from its own thread. */
void loop_destroy(struct loop *loop);

/** Any thread; it gets its first turn at once. The latest to join has its turn first, as it uses those that were there before. The member's memory
 *  is the caller's until it has left. */
void loop_join(struct loop *loop, struct loop_member *member);
/** When it returns, none of the member's functions runs or will. Not from the loop's thread. */
void loop_leave(struct loop *loop, struct loop_member *member);

/** Any thread. 0, or an errno. `events` as epoll has them: EPOLLIN | EPOLLET, ... */
int loop_add(struct loop *loop, int fd, uint32_t events, struct loop_source *source);
int loop_change(struct loop *loop, int fd, uint32_t events, struct loop_source *source);
void loop_remove(struct loop *loop, int fd);

/** Any thread: let every member have a turn soon. Nothing to do while the loop is in the middle of one. */
void loop_wake(struct loop *loop);
bool loop_is_current(const struct loop *loop); /* is this the loop's thread? */
int64_t loop_now_ns(const struct loop *loop);  /* on its thread: when this turn began (monotonic) */

#endif
