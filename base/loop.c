/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 128, WAIT_MS_MAX = 3600 * 1000 /* an int holds it */ };

struct loop {
    int epoll_fd, wake_fd;
    struct loop_source wake_source;
    pthread_t thread;
    atomic_bool sleeping;  /* it waits, and must be woken */
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t left;
    struct loop_member *joining; /* the latest last, so that it comes to be the first of the members */
    int leaving;                 /* members that want to be let go */
    bool stop;
    /* The thread's alone. */
    struct loop_member *members;
    int64_t now_ns;
    _Atomic int64_t spin_ns;
    bool busy; /* the last turn had events */
};

void loop_wake(struct loop *loop) {
    if (atomic_exchange(&loop->sleeping, false)) (void)!write(loop->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void on_wake(struct loop_source *source, uint32_t events) {
    struct loop *loop = (struct loop *)((char *)source - offsetof(struct loop, wake_source));
    uint64_t ignored;
    (void)events;
    (void)!read(loop->wake_fd, &ignored, sizeof ignored);
}

bool loop_is_current(const struct loop *loop) {
    return pthread_equal(pthread_self(), loop->thread);
}

int64_t loop_now_ns(const struct loop *loop) {
    return loop->now_ns;
}

int loop_add(struct loop *loop, int fd, uint32_t events, struct loop_source *source) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int loop_change(struct loop *loop, int fd, uint32_t events, struct loop_source *source) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : errno;
}

void loop_remove(struct loop *loop, int fd) {
    struct epoll_event event = {0};
    (void)!epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, &event);
}

/* ---- members ------------------------------------------------------------------------------------------------------- */

void loop_join(struct loop *loop, struct loop_member *member) {
    member->due_ns = 0;
    member->leaving = false;
    member->next = NULL;
    pthread_mutex_lock(&loop->mutex);
    struct loop_member **end = &loop->joining;
    while (*end != NULL) end = &(*end)->next;
    *end = member;
    pthread_mutex_unlock(&loop->mutex);
    loop_wake(loop);
}

void loop_leave(struct loop *loop, struct loop_member *member) {
    pthread_mutex_lock(&loop->mutex);
    member->leaving = true;
    loop->leaving++;
    pthread_mutex_unlock(&loop->mutex);
    loop_wake(loop);
    pthread_mutex_lock(&loop->mutex);
    while (member->leaving) pthread_cond_wait(&loop->left, &loop->mutex);
    pthread_mutex_unlock(&loop->mutex);
}

/** Take whoever joins, let go whoever leaves. True: it is time to stop. */
static bool change_members(struct loop *loop) {
    pthread_mutex_lock(&loop->mutex);
    for (struct loop_member *next; loop->joining != NULL; loop->joining = next) {
        struct loop_member *member = loop->joining;
        next = member->next;
        member->next = loop->members;
        loop->members = member;
    }
    for (struct loop_member **at = &loop->members; loop->leaving > 0 && *at != NULL;) {
        struct loop_member *member = *at;
        if (!member->leaving) {
            at = &member->next;
            continue;
        }
        *at = member->next;
        member->leaving = false;
        loop->leaving--;
        pthread_cond_broadcast(&loop->left);
    }
    bool stop = loop->stop;
    pthread_mutex_unlock(&loop->mutex);
    return stop;
}

static bool membership_changes(struct loop *loop) {
    pthread_mutex_lock(&loop->mutex);
    bool changes = loop->joining != NULL || loop->leaving > 0 || loop->stop;
    pthread_mutex_unlock(&loop->mutex);
    return changes;
}

/* ---- turns --------------------------------------------------------------------------------------------------------- */

static bool is_pending(struct loop *loop) {
    for (struct loop_member *member = loop->members; member != NULL; member = member->next) {
        if (member->pending != NULL && member->pending(member->context)) return true;
    }
    return membership_changes(loop);
}

static bool awaits_answer(const struct loop *loop) {
    for (struct loop_member *member = loop->members; member != NULL; member = member->next) {
        if (member->awaits != NULL && member->awaits(member->context)) return true;
    }
    return false;
}

/** As epoll_wait, until `until_ns`. It sees no more of other threads than their sources: for the rest it stops. */
static int spin(struct loop *loop, int64_t until_ns, struct epoll_event *events) {
    int count = 0;
    while (count == 0 && !is_pending(loop) && clock_monotonic_ns(clock_system()) < until_ns) {
        count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, 0);
        if (count == 0) sched_yield();
    }
    loop->now_ns = clock_monotonic_ns(clock_system());
    return count;
}

static int wait_for_events(struct loop *loop, struct epoll_event *events) {
    int64_t due_ns = INT64_MAX, now_ns = clock_monotonic_ns(clock_system()), wait_ms = 0;
    for (struct loop_member *member = loop->members; member != NULL; member = member->next) {
        if (member->due_ns < due_ns) due_ns = member->due_ns;
    }
    if (due_ns > now_ns) wait_ms = (due_ns - now_ns) / NS_PER_MS + 1;
    if (wait_ms > WAIT_MS_MAX) wait_ms = due_ns == INT64_MAX ? -1 : WAIT_MS_MAX;
    if (loop->spin_ns > 0 && loop->busy && wait_ms != 0 && awaits_answer(loop)) {
        int count = spin(loop, now_ns + (due_ns - now_ns < loop->spin_ns ? due_ns - now_ns : loop->spin_ns), events);
        if (count != 0) return count;
    }
    atomic_store(&loop->sleeping, true);
    if (is_pending(loop)) wait_ms = 0; /* it came before the loop said that it sleeps */
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, (int)wait_ms);
    atomic_store(&loop->sleeping, false);
    loop->now_ns = clock_monotonic_ns(clock_system());
    return count;
}

static void *run(void *context) {
    struct loop *loop = context;
    struct epoll_event events[EVENTS_PER_WAIT];
    while (!change_members(loop)) {
        int count = wait_for_events(loop, events);
        loop->busy = count > 0;
        for (int i = 0; i < count; i++) {
            struct loop_source *source = events[i].data.ptr;
            source->on_event(source, events[i].events);
        }
        for (struct loop_member *member = loop->members; member != NULL; member = member->next)
            member->due_ns = member->turn(member->context);
    }
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void free_loop(struct loop *loop) {
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    if (loop->wake_fd >= 0) close(loop->wake_fd);
    pthread_cond_destroy(&loop->left);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

enum status loop_create(const char *name, struct loop **out, struct error *err) {
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    pthread_mutex_init(&loop->mutex, NULL);
    pthread_cond_init(&loop->left, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->wake_source.on_event = on_wake;
    int failure = loop->epoll_fd < 0 || loop->wake_fd < 0 ? errno : 0;
    if (failure == 0) failure = loop_add(loop, loop->wake_fd, EPOLLIN, &loop->wake_source);
    if (failure == 0) failure = pthread_create(&loop->thread, NULL, run, loop);
    if (failure != 0) {
        free_loop(loop);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "the %s loop cannot be started", name);
    }
    (void)pthread_setname_np(loop->thread, name);
    *out = loop;
    return STATUS_OK;
}

void loop_set_spin(struct loop *loop, int64_t ns) {
    loop->spin_ns = ns;
}

void loop_destroy(struct loop *loop) {
    if (loop == NULL) return;
    pthread_mutex_lock(&loop->mutex);
    loop->stop = true;
    pthread_mutex_unlock(&loop->mutex);
    loop_wake(loop);
    pthread_join(loop->thread, NULL);
    free_loop(loop);
}
