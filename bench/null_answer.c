/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/null_answer.h"

#include "base/clock.h"

#include <string.h>
#include <time.h>

static const char WORD[] = " word";

/* All delays are equal, so the list is in the order of time as it grows. */
static struct {
    const struct null_settings *settings;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct null_answer *first, *last;
    char text[NULL_EVENT_TOKENS_MAX * (sizeof WORD - 1)];
} answers = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static void remove_locked(struct null_answer *answer) {
    *(answer->previous != NULL ? &answer->previous->next : &answers.first) = answer->next;
    *(answer->next != NULL ? &answer->next->previous : &answers.last) = answer->previous;
    answer->waits = false;
}

static void wait_for_time(struct null_answer *answer) {
    answer->ref(answer);
    pthread_mutex_lock(&answers.mutex);
    answer->waits = true;
    answer->due_ns = now_ns() + answers.settings->delay_ns;
    answer->previous = answers.last;
    answer->next = NULL;
    *(answers.last != NULL ? &answers.last->next : &answers.first) = answer;
    answers.last = answer;
    if (answer->previous == NULL) pthread_cond_signal(&answers.wake);
    pthread_mutex_unlock(&answers.mutex);
}

static bool waits(struct null_answer *answer) {
    pthread_mutex_lock(&answers.mutex);
    bool found = answer->waits;
    pthread_mutex_unlock(&answers.mutex);
    return found;
}

/** Whoever comes: what stood in the way is gone, or its time has come. One that waits for its time has been served by another already. */
static void advance(struct null_answer *answer) {
    const struct null_settings *settings = answers.settings;
    pthread_mutex_lock(&answer->mutex);
    bool timed = settings->delay_ns > 0, early = timed && waits(answer);
    while (!early && !answer->over && !answer->held && !answer->full) {
        int64_t rest = answer->tokens - answer->sent, piece = timed ? 1 : settings->event_tokens;
        if (piece > rest) piece = rest;
        answer->sent += piece;
        answer->over = piece == rest;
        answer->full = !answer->send(answer, piece, answer->over);
        if (timed) break;
    }
    if (timed && !early && !answer->over && !answer->held && !answer->full) wait_for_time(answer);
    pthread_mutex_unlock(&answer->mutex);
}

static void *answers_main(void *context) {
    (void)context;
    pthread_mutex_lock(&answers.mutex);
    for (;;) {
        struct null_answer *answer = answers.first;
        if (answer == NULL) {
            pthread_cond_wait(&answers.wake, &answers.mutex);
        } else if (answer->due_ns > now_ns()) {
            struct timespec due = {answer->due_ns / NS_PER_S, answer->due_ns % NS_PER_S};
            pthread_cond_timedwait(&answers.wake, &answers.mutex, &due);
        } else {
            remove_locked(answer);
            pthread_mutex_unlock(&answers.mutex);
            advance(answer);
            answer->unref(answer);
            pthread_mutex_lock(&answers.mutex);
        }
    }
    return NULL;
}

enum status null_answers_start(const struct null_settings *settings, struct error *err) {
    answers.settings = settings;
    for (size_t i = 0; i < sizeof answers.text; i++) answers.text[i] = WORD[i % (sizeof WORD - 1)];
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&answers.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_t thread;
    if (pthread_create(&thread, NULL, answers_main, NULL) != 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no thread for the answers");
    pthread_detach(thread);
    return STATUS_OK;
}

void null_answer_init(struct null_answer *answer, int64_t tokens) {
    answer->tokens = tokens < 1 ? answers.settings->tokens : tokens;
    pthread_mutex_init(&answer->mutex, NULL);
}

void null_answer_deinit(struct null_answer *answer) {
    pthread_mutex_destroy(&answer->mutex);
}

void null_answer_go(struct null_answer *answer) {
    pthread_mutex_lock(&answer->mutex);
    answer->full = false;
    pthread_mutex_unlock(&answer->mutex);
    advance(answer);
}

void null_answer_hold(struct null_answer *answer, bool hold) {
    pthread_mutex_lock(&answer->mutex);
    answer->held = hold;
    pthread_mutex_unlock(&answer->mutex);
    if (!hold) advance(answer);
}

bool null_answer_end(struct null_answer *answer) {
    pthread_mutex_lock(&answer->mutex);
    bool ended = !answer->over;
    answer->over = true;
    pthread_mutex_unlock(&answer->mutex);
    pthread_mutex_lock(&answers.mutex);
    bool waited = answer->waits;
    if (waited) remove_locked(answer);
    pthread_mutex_unlock(&answers.mutex);
    if (waited) answer->unref(answer);
    return ended;
}

struct bytes_view null_answer_text(int64_t tokens) {
    return bytes_view_of(answers.text, (size_t)tokens * (sizeof WORD - 1));
}
