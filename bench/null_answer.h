/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The answers of the null worker (bench/null_worker.c): so many words, at once or one after the other, until the reader is full. Both
 * of its faces use them, and differ only in how a piece is sent.
 *
 *     delay 0     pieces of `event_tokens` tokens, all at once
 *     delay > 0   a token at once and then one each `delay`; a long delay makes streams that are open and silent
 */
#ifndef BENCH_NULL_ANSWER_H
#define BENCH_NULL_ANSWER_H

#include "base/bytes.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { NULL_EVENT_TOKENS_MAX = 256, NULL_PROMPT_TOKENS = 8, NULL_CONTEXT_TOKENS = 1 << 24 };

struct null_settings {
    char *listen, *http_listen, *redis_address, *redis_password_file, *model;
    int64_t tokens, event_tokens, delay_ns;
};

struct null_answer {
    int64_t tokens, sent; /* in all; so far */
    bool full;            /* there is no room for more: null_answer_go goes on */
    bool held;            /* the reader asked for it */
    bool over;
    /** `tokens` more, the last ones if `last`; false: full. With the answer's mutex held, on any thread. */
    bool (*send)(struct null_answer *answer, int64_t tokens, bool last);
    void (*ref)(struct null_answer *answer);
    void (*unref)(struct null_answer *answer);
    pthread_mutex_t mutex;
    /* In the list of those that wait for their time, under its mutex. */
    bool waits;
    int64_t due_ns;
    struct null_answer *previous, *next;
};

/** Starts the thread that pieces with a delay come from. `settings` is borrowed for good. */
enum status null_answers_start(const struct null_settings *settings, struct error *err);

/** `tokens` < 1: as many as the settings say. The three functions are set; the answer's owner frees it. */
void null_answer_init(struct null_answer *answer, int64_t tokens);
void null_answer_deinit(struct null_answer *answer);
/** There is room, at first or again. Any thread. */
void null_answer_go(struct null_answer *answer);
/** The reader wants no more for now, or again. Any thread. */
void null_answer_hold(struct null_answer *answer, bool hold);
/** The reader has gone; false: it was over already. Not with the answer's mutex held. */
bool null_answer_end(struct null_answer *answer);
/** The text of `tokens` (at most NULL_EVENT_TOKENS_MAX) tokens. */
struct bytes_view null_answer_text(int64_t tokens);

#endif
