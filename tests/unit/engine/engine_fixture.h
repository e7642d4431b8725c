/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** For tests of the engine as its callers see it, on tiny random models: a client that collects its events. */
#ifndef TESTS_UNIT_ENGINE_ENGINE_FIXTURE_H
#define TESTS_UNIT_ENGINE_ENGINE_FIXTURE_H

#include "tests/unit/engine/check.h"

#include "base/limits.h"
#include "engine/engine.h"
#include "tests/support/tiny_model.h"

#include <pthread.h>

enum { TEXT_MAX = 4096, IDS_MAX = 512 };

struct client {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct engine *engine;
    struct generation *generation;
    char text[TEXT_MAX];
    size_t text_length;
    char calls[TEXT_MAX]; /* "name(arguments)", one behind the other, and their ids, each with a comma */
    char call_ids[256];
    double other_logprob_sum;
    size_t other_logprob_count;
    int32_t ids[IDS_MAX];
    size_t id_count;
    int events;
    bool done;
    enum finish_reason finish;
    int64_t prompt_tokens, completion_tokens;
    char error[ERROR_MESSAGE_BYTES];
    struct logprob_entry logprobs[IDS_MAX];
    size_t logprob_count;
    bool want_logprobs, release_in_event;
    int pause_at, cancel_at; /* events; 0: never */
    struct engine_load load_at_end;
};

extern char *model_path;
extern const int32_t prompt[40];
/** End tokens banned, so that a generation lasts as long as it may. */
extern const struct logit_bias endless[2];

int write_model(void **state);
int remove_model(void **state);
struct engine_options default_options(void);
struct engine *open_engine(const struct engine_options *options);
void client_init(struct client *client, struct engine *engine);
struct generation_request request_of(struct client *client, const int32_t *ids, size_t count, int64_t max_tokens);
void wait_for_events(struct client *client, int events);
void wait_done(struct client *client);
void client_deinit(struct client *client);
void run(struct engine *engine, struct client *client, const struct generation_request *request);

/** Inline, so that what it says is in the test's own check_error. */
static inline enum status submit(struct client *client, const struct generation_request *request) {
    pthread_mutex_lock(&client->mutex);
    client->want_logprobs = request->sampling.top_logprobs >= 0;
    enum status status = engine_submit(client->engine, request, &client->generation, &check_error);
    pthread_mutex_unlock(&client->mutex);
    return status;
}

#endif
