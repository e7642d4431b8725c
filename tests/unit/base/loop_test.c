/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A wait that is never over is what fails here: sem_wait has no time-out, the test has. */
#include "base/loop.h"

#include "base/clock.h"
#include "tests/support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static void nap(int64_t ns) {
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static struct loop *open_loop(void) {
    struct loop *loop = NULL;
    check_ok(loop_create("test-loop", &loop, &check_error));
    return loop;
}

/** What happened, in order, one letter each. Written on the loop's thread; read when it is known to have gone on, or to have ended. */
struct diary {
    char text[256];
    size_t length;
};

static void note(struct diary *diary, char letter) {
    if (diary->length < sizeof diary->text - 1) diary->text[diary->length++] = letter;
}

/** A member that counts its turns, and may hold the loop in one of them. */
struct guest {
    struct loop_member member;
    struct loop *loop;
    struct diary *diary; /* may be NULL */
    char letter;
    int64_t next_ns;   /* what its turns return */
    atomic_bool block; /* the next turn stops: it posts `blocked`, and waits for `go_on` */
    bool foreign;      /* a turn came on another thread than the loop's */
    sem_t turned, blocked, go_on;
};

static int64_t take_turn(void *context) {
    struct guest *guest = context;
    if (!loop_is_current(guest->loop)) guest->foreign = true;
    if (guest->diary != NULL) note(guest->diary, guest->letter);
    if (atomic_exchange(&guest->block, false)) {
        sem_post(&guest->blocked);
        sem_wait(&guest->go_on);
    }
    sem_post(&guest->turned);
    return guest->next_ns;
}

static void init_guest(struct guest *guest, struct loop *loop, struct diary *diary, char letter) {
    *guest = (struct guest){.loop = loop, .diary = diary, .letter = letter, .next_ns = INT64_MAX};
    guest->member = (struct loop_member){.context = guest, .turn = take_turn};
    sem_init(&guest->turned, 0, 0);
    sem_init(&guest->blocked, 0, 0);
    sem_init(&guest->go_on, 0, 0);
}

/** From here until sem_post(&guest->go_on) the loop is in the middle of this guest's turn. */
static void block(struct guest *guest) {
    atomic_store(&guest->block, true);
    loop_wake(guest->loop);
    sem_wait(&guest->blocked);
}

/** A pipe as a source of events. */
struct tap {
    struct loop_source source;
    struct loop *loop;
    struct diary *diary;
    char letter;
    int ends[2];
    uint32_t events;
    sem_t came;
};

static void on_event(struct loop_source *source, uint32_t events) {
    struct tap *tap = (struct tap *)source;
    char ignored[64];
    tap->events = events;
    while (read(tap->ends[0], ignored, sizeof ignored) > 0) continue;
    if (tap->diary != NULL) note(tap->diary, tap->letter);
    assert_true(loop_is_current(tap->loop));
    sem_post(&tap->came);
}

static void open_tap(struct tap *tap, struct loop *loop, struct diary *diary, char letter) {
    *tap = (struct tap){.source.on_event = on_event, .loop = loop, .diary = diary, .letter = letter};
    assert_int_equal(pipe2(tap->ends, O_NONBLOCK | O_CLOEXEC), 0);
    sem_init(&tap->came, 0, 0);
    assert_int_equal(loop_add(loop, tap->ends[0], EPOLLIN | EPOLLET, &tap->source), 0);
}

static void drip(const struct tap *tap) {
    assert_int_equal(write(tap->ends[1], "x", 1), 1);
}

static void close_tap(struct tap *tap) {
    close(tap->ends[0]);
    close(tap->ends[1]);
}

/* ---- events and turns ---------------------------------------------------------------------------------------------- */

static void test_event_is_told_and_a_turn_follows(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct diary diary = {0};
    struct guest guest;
    struct tap tap;
    init_guest(&guest, loop, &diary, 't');
    loop_join(loop, &guest.member);
    sem_wait(&guest.turned); /* the first one, at once */
    open_tap(&tap, loop, &diary, 'e');
    drip(&tap);
    sem_wait(&tap.came);
    sem_wait(&guest.turned);
    assert_int_equal(tap.events, EPOLLIN);
    assert_false(loop_is_current(loop));
    loop_leave(loop, &guest.member);
    assert_memory_equal(diary.text, "tet", 3); /* leaving may bring another */
    assert_false(guest.foreign);
    close_tap(&tap);
    loop_destroy(loop);
}

static void test_what_comes_together_is_told_before_any_turn(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct diary diary = {0};
    struct guest first, second;
    struct tap taps[3];
    init_guest(&first, loop, &diary, '1');
    init_guest(&second, loop, &diary, '2');
    loop_join(loop, &first.member);
    sem_wait(&first.turned);
    loop_join(loop, &second.member);
    sem_wait(&second.turned);
    for (int i = 0; i < 3; i++) open_tap(&taps[i], loop, &diary, 'e');
    block(&first);
    memset(&diary, 0, sizeof diary); /* the loop stands */
    for (int i = 0; i < 3; i++) drip(&taps[i]);
    sem_post(&first.go_on);
    for (int i = 0; i < 3; i++) sem_wait(&taps[i].came);
    loop_leave(loop, &first.member);
    loop_leave(loop, &second.member);
    assert_memory_equal(diary.text, "eee21", 5);
    for (int i = 0; i < 3; i++) close_tap(&taps[i]);
    loop_destroy(loop);
}

static void test_latest_to_join_has_its_turn_first_also_when_many_join_at_once(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct diary diary = {0};
    struct guest host, guests[4];
    init_guest(&host, loop, &diary, 'h');
    loop_join(loop, &host.member);
    block(&host);
    memset(&diary, 0, sizeof diary);
    for (int i = 0; i < 4; i++) {
        init_guest(&guests[i], loop, &diary, (char)('a' + i));
        loop_join(loop, &guests[i].member);
    }
    sem_post(&host.go_on);
    for (int i = 0; i < 4; i++) sem_wait(&guests[i].turned);
    for (int i = 0; i < 4; i++) loop_leave(loop, &guests[i].member);
    loop_leave(loop, &host.member);
    assert_memory_equal(diary.text, "dcbah", 5);
    loop_destroy(loop);
}

static void test_source_that_is_removed_or_changed_tells_no_more(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct tap removed, changed, other;
    open_tap(&removed, loop, NULL, 'r');
    open_tap(&changed, loop, NULL, 'c');
    open_tap(&other, loop, NULL, 'o');
    loop_remove(loop, removed.ends[0]);
    assert_int_equal(loop_change(loop, changed.ends[0], EPOLLOUT, &changed.source), 0);
    drip(&removed);
    drip(&changed);
    drip(&other);
    sem_wait(&other.came);
    assert_int_equal(loop_change(loop, changed.ends[0], EPOLLIN, &changed.source), 0);
    sem_wait(&changed.came); /* what has lain there */
    assert_int_equal(sem_trywait(&removed.came), -1);
    close_tap(&removed);
    close_tap(&changed);
    close_tap(&other);
    loop_destroy(loop);
}

static void test_wrong_descriptors_are_errors(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct tap tap;
    open_tap(&tap, loop, NULL, 't');
    assert_int_equal(loop_add(loop, -1, EPOLLIN, &tap.source), EBADF);
    assert_int_equal(loop_add(loop, tap.ends[0], EPOLLIN, &tap.source), EEXIST);
    assert_int_equal(loop_change(loop, tap.ends[1], EPOLLIN, &tap.source), ENOENT);
    close_tap(&tap);
    loop_destroy(loop);
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

static void test_turn_comes_when_it_is_due_and_not_before(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct guest guest;
    init_guest(&guest, loop, NULL, 0);
    guest.next_ns = now_ns() + 60 * NS_PER_MS;
    loop_join(loop, &guest.member);
    sem_wait(&guest.turned);
    int64_t due_ns = guest.next_ns;
    sem_wait(&guest.turned);
    assert_true(now_ns() >= due_ns);
    loop_leave(loop, &guest.member);
    loop_destroy(loop);
}

/** Milliseconds that do not fit an int are no reason to turn at once. 2^32 ms and a little would be a little. */
static void test_far_due_time_and_none_let_the_loop_sleep(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    for (int i = 0; i < 3; i++) {
        struct guest guest;
        init_guest(&guest, loop, NULL, 0);
        if (i > 0) guest.next_ns = i == 1 ? INT64_MAX - 1 : now_ns() + (((int64_t)1 << 32) + 20) * NS_PER_MS;
        loop_join(loop, &guest.member);
        sem_wait(&guest.turned);
        nap(50 * NS_PER_MS);
        assert_int_equal(sem_trywait(&guest.turned), -1);
        loop_leave(loop, &guest.member);
    }
    loop_destroy(loop);
}

static int64_t check_time(void *context) {
    struct guest *guest = context;
    int64_t said_ns = loop_now_ns(guest->loop), is_ns = now_ns();
    if (said_ns > is_ns || said_ns < guest->next_ns) guest->foreign = true;
    guest->next_ns = said_ns;
    sem_post(&guest->turned);
    return INT64_MAX;
}

static void test_time_of_the_turn_never_goes_back_or_ahead(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct guest guest;
    init_guest(&guest, loop, NULL, 0);
    guest.member.turn = check_time;
    guest.next_ns = now_ns();
    loop_join(loop, &guest.member);
    for (int i = 0; i < 100; i++) {
        sem_wait(&guest.turned);
        nap(100 * NS_PER_US); /* let it sleep */
        loop_wake(loop);
    }
    loop_leave(loop, &guest.member);
    assert_false(guest.foreign);
    loop_destroy(loop);
}

/* ---- from other threads -------------------------------------------------------------------------------------------- */

enum { GIVERS = 4, GIFTS = 20000 };

/** Things that threads leave for the loop. Nothing but loop_wake tells of them: no due times, no events. */
struct basket {
    struct loop_member member;
    struct loop *loop;
    atomic_int waiting;
    int64_t taken; /* the loop's, until it has ended */
    sem_t all;
};

static bool has_gifts(void *context) {
    return atomic_load(&((struct basket *)context)->waiting) > 0;
}

static int64_t take_gifts(void *context) {
    struct basket *basket = context;
    int64_t before = basket->taken;
    basket->taken += atomic_exchange(&basket->waiting, 0);
    if (before < GIVERS * GIFTS && basket->taken == GIVERS * GIFTS) sem_post(&basket->all);
    return INT64_MAX;
}

static void *give(void *context) {
    struct basket *basket = context;
    unsigned seed = (unsigned)(uintptr_t)&seed >> 12;
    for (int i = 0; i < GIFTS; i++) {
        atomic_fetch_add(&basket->waiting, 1);
        loop_wake(basket->loop);
        if (rand_r(&seed) % 64 == 0)
            nap(rand_r(&seed) % 50000); /* so that the loop falls asleep at all kinds of moments */
    }
    return NULL;
}

static void test_no_wake_up_is_lost(void **state) {
    (void)state;
    struct basket basket = {.loop = open_loop()};
    basket.member = (struct loop_member){.context = &basket, .pending = has_gifts, .turn = take_gifts};
    sem_init(&basket.all, 0, 0);
    loop_join(basket.loop, &basket.member);
    pthread_t givers[GIVERS];
    for (int i = 0; i < GIVERS; i++) assert_int_equal(pthread_create(&givers[i], NULL, give, &basket), 0);
    sem_wait(&basket.all);
    for (int i = 0; i < GIVERS; i++) pthread_join(givers[i], NULL);
    loop_leave(basket.loop, &basket.member);
    loop_destroy(basket.loop);
    assert_int_equal(basket.taken, GIVERS * GIFTS);
}

enum { VISITORS = 4, VISITS = 1000 };

struct visitor {
    struct loop *loop;
    pthread_t thread;
    atomic_int wrong;
};

/** A member's memory is its owner's again the moment loop_leave returns. */
static void *come_and_go(void *context) {
    struct visitor *visitor = context;
    for (int i = 0; i < VISITS; i++) {
        struct guest *guest = malloc(sizeof *guest);
        init_guest(guest, visitor->loop, NULL, 0);
        guest->next_ns = i % 3 == 0 ? 0 : INT64_MAX; /* 0: at once again */
        loop_join(visitor->loop, &guest->member);
        if (i % 2 == 0) sem_wait(&guest->turned); /* or leave before it has come in, perhaps */
        loop_leave(visitor->loop, &guest->member);
        if (guest->foreign) atomic_fetch_add(&visitor->wrong, 1);
        memset(guest, 0xff, sizeof *guest);
        free(guest);
    }
    return NULL;
}

static void test_members_come_and_go_while_the_loop_is_busy(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct visitor visitors[VISITORS];
    struct guest busy;
    struct tap tap;
    init_guest(&busy, loop, NULL, 0);
    busy.next_ns = 0;
    loop_join(loop, &busy.member);
    open_tap(&tap, loop, NULL, 0);
    for (int i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){.loop = loop};
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, come_and_go, &visitors[i]), 0);
    }
    for (int i = 0; i < 1000; i++) {
        drip(&tap);
        sem_wait(&tap.came);
    }
    for (int i = 0; i < VISITORS; i++) {
        pthread_join(visitors[i].thread, NULL);
        assert_int_equal(visitors[i].wrong, 0);
    }
    loop_leave(loop, &busy.member);
    close_tap(&tap);
    loop_destroy(loop);
}

static void test_many_leave_at_once(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct visitor visitors[8];
    for (int i = 0; i < 8; i++) { /* an idle loop: each change must wake it */
        visitors[i] = (struct visitor){.loop = loop};
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, come_and_go, &visitors[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(visitors[i].thread, NULL);
        assert_int_equal(visitors[i].wrong, 0);
    }
    loop_destroy(loop);
}

/* How often the loop has looked before it fell asleep. */
static atomic_int looks;
static atomic_bool answer_comes;

static bool count_look(void *context) {
    (void)context;
    atomic_fetch_add(&looks, 1);
    return false;
}

static bool awaits_answer(void *context) {
    (void)context;
    return atomic_load(&answer_comes);
}

static void test_it_stays_awake_only_where_an_answer_is_awaited(void **state) {
    (void)state;
    struct loop *loop = open_loop();
    struct guest guest;
    struct tap tap;
    init_guest(&guest, loop, NULL, 'g');
    guest.member.pending = count_look;
    guest.member.awaits = awaits_answer;
    loop_set_spin(loop, 100 * NS_PER_MS);
    loop_join(loop, &guest.member);
    open_tap(&tap, loop, NULL, 't');
    for (int awaited = 0; awaited < 2; awaited++) {
        atomic_store(&answer_comes, awaited == 1);
        atomic_store(&looks, 0);
        drip(&tap);
        sem_wait(&tap.came);
        nap(300 * NS_PER_MS); /* by then it sleeps */
        int count = atomic_load(&looks);
        assert_true(awaited == 1 ? count > 20 : count < 20);
        drip(&tap); /* what comes then is seen all the same */
        sem_wait(&tap.came);
    }
    loop_leave(loop, &guest.member);
    close_tap(&tap);
    loop_destroy(loop);
}

static void test_loops_are_made_and_destroyed(void **state) {
    (void)state;
    loop_destroy(NULL);
    for (int i = 0; i < 100; i++) loop_destroy(open_loop());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_is_told_and_a_turn_follows),
        cmocka_unit_test(test_what_comes_together_is_told_before_any_turn),
        cmocka_unit_test(test_latest_to_join_has_its_turn_first_also_when_many_join_at_once),
        cmocka_unit_test(test_source_that_is_removed_or_changed_tells_no_more),
        cmocka_unit_test(test_wrong_descriptors_are_errors),
        cmocka_unit_test(test_turn_comes_when_it_is_due_and_not_before),
        cmocka_unit_test(test_far_due_time_and_none_let_the_loop_sleep),
        cmocka_unit_test(test_time_of_the_turn_never_goes_back_or_ahead),
        cmocka_unit_test(test_no_wake_up_is_lost),
        cmocka_unit_test(test_members_come_and_go_while_the_loop_is_busy),
        cmocka_unit_test(test_many_leave_at_once),
        cmocka_unit_test(test_it_stays_awake_only_where_an_answer_is_awaited),
        cmocka_unit_test(test_loops_are_made_and_destroyed),
    };
    return cmocka_run_group_tests_name("base/loop", tests, NULL, NULL);
}
