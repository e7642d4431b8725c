/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * For tests of the scheduler alone: no thread, a fake clock, and a fake model. A position's keys and values are a hash of all
 * tokens up to it, kept in the real cache's memory, and the next token is made from the hash: whoever is given a wrong block,
 * or a right one that somebody wrote over, says something wrong. check_tokens() finds it out. The forward pass also checks every
 * batch against what it was told before, and that nobody writes into a block that somebody else holds.
 */
#ifndef TESTS_UNIT_ENGINE_SCHEDULER_FIXTURE_H
#define TESTS_UNIT_ENGINE_SCHEDULER_FIXTURE_H

#include "tests/unit/engine/check.h"

#include "engine/scheduler/beam.h"
#include "engine/scheduler/scheduler.h"

enum { V = 16, CONTEXT = 256, TOKENS_MAX = CONTEXT, LIVE_MAX = 128 };

struct client {
    struct sequence sequence; /* first */
    int32_t tokens[TOKENS_MAX];
    uint64_t salt;
    void *beam_memory;
    int accepted, reports;
    enum finish_reason finish;
    char error[64];
    int stop_after; /* accept says stop at this token; 0: never */
    bool fail;      /* accept says error */
    int echo;       /* its model repeats the token from so many before; 0: it does not */
    int64_t finish_step;
    int64_t submitted_ns, first_ns; /* of its first token */
    uint64_t order;                 /* of its first token, over all clients */
    bool decodes;                   /* its rows of this step are no prompt's */
    int64_t counted;                /* computed by now in this step, guesses among it */
    int64_t
        given; /* what it was given, counted here: 1 for a prompt's row and one of a forced token, 2 for another token (but the one that comes with a prompt) */
};

struct fixture {
    struct kv_cache *cache;
    struct scheduler *scheduler;
    struct clock_fake clock;
    int64_t base_ns, row_ns, position_ns; /* what a step takes */
    int64_t rows_of_step, steps, abandoned_steps;
    int64_t logits_max;
    int64_t decodes_of_step, decode_positions_of_step;
    bool forward_fails, nan_logits, extend_fails;
    bool calibrating;                         /* steps of nobody: they take their time and compute nothing */
    bool rich;                                /* every token has a logit of its own, 0..4 */
    const float *fixed;                       /* [V] the logits of every position; NULL: as above */
    int32_t end_tokens;                       /* ids below this end a hypothesis */
    bool stops;                               /* so does ends_by_pair() */
    int echo;                                 /* of new clients */
    bool forces;                              /* the owners of new clients know now and then what comes next */
    void (*in_step)(struct fixture *fixture); /* called inside the forward pass */
    struct client *clients[LIVE_MAX];
    int client_count;
    uint64_t salts;
};

extern struct fixture *current;

/** Steps take no time. */
void setup(struct fixture *fixture, int sequences_max, int step_tokens_max, int queue_max, int64_t blocks);
/** With options of the test's own (cache, clock and model are filled in); the fixture's prices stay. */
void setup_with(struct fixture *fixture, const struct scheduler_options *wanted, int64_t blocks);
void teardown(struct fixture *fixture);

/** A client whose cache nobody shares, not yet submitted. */
struct client *client_new(struct fixture *fixture, int64_t prompt, int64_t max_tokens, uint64_t tenant);
struct client *submit(struct fixture *fixture, int64_t prompt, int64_t max_tokens, uint64_t tenant);
/** Make a search of a client that was not submitted yet. */
void make_search(struct client *client, const struct beam_settings *beams);
struct client *submit_search(struct fixture *fixture, int64_t prompt, int64_t max_tokens,
                             const struct beam_settings *beams);
void submit_client(struct fixture *fixture, struct client *client);
void run_until_idle(struct fixture *fixture);

/** What the fake model keeps of tokens, and the logits it makes of that when the fixture is rich. */
uint64_t hash_of(const int32_t *tokens, int64_t count);
void rich_logits(uint64_t hash, float *logits);
/** The fake stop string, which takes two tokens. */
static inline bool ends_by_pair(int32_t before, int32_t id) {
    return before % 4 == 1 && id % 4 == 2;
}
/** What a client's fake model continues with: a function of all tokens before. */
int32_t next_token(const struct client *client, const int32_t *tokens, int64_t count);
void check_tokens(const struct client *client);

#endif
