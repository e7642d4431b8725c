/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/engine_fixture.h"

#include "engine/grammar/calls.h"

#include "base/text.h"

#include <unistd.h>

char *model_path;

int write_model(void **state) {
    (void)state;
    model_path = tiny_model_write(&(struct tiny_model_options){.type = TENSOR_Q8_0, .seed = 21});
    return 0;
}

int remove_model(void **state) {
    (void)state;
    unlink(model_path);
    free(model_path);
    return 0;
}

struct engine_options default_options(void) {
    return (struct engine_options){.model_path = model_path,
                                   .device = "cpu",
                                   .variant = "auto",
                                   .threads = 1,
                                   .kv_type = "f16",
                                   .sequences_max = 8,
                                   .step_tokens_max = 32,
                                   .queue_max = 64,
                                   .jump_forward = true};
}

struct engine *open_engine(const struct engine_options *options) {
    struct engine *engine = NULL;
    check_ok(engine_open(options, &engine, &check_error));
    return engine;
}

void client_init(struct client *client, struct engine *engine) {
    *client = (struct client){.engine = engine};
    pthread_mutex_init(&client->mutex, NULL);
    pthread_cond_init(&client->changed, NULL);
}

static void note_call(struct client *client, const struct call_made *call) {
    size_t used = strlen(client->calls), ids = strlen(client->call_ids);
    int length =
        snprintf(client->calls + used, TEXT_MAX - used, "%.*s(%.*s)", (int)call->name.length,
                 (const char *)call->name.data, (int)call->arguments.length, (const char *)call->arguments.data);
    assert_true((size_t)length < TEXT_MAX - used);
    snprintf(client->call_ids + ids, sizeof client->call_ids - ids, "%s,", call->id);
}

static void on_event(void *context, const struct generation_event *event) {
    struct client *client = context;
    pthread_mutex_lock(&client->mutex); /* held by the test around engine_submit, as services do */
    assert_false(client->done);
    assert_true(text_is_utf8(event->text.data, event->text.length));
    assert_true(client->text_length + event->text.length < TEXT_MAX && client->id_count + event->id_count <= IDS_MAX);
    if (!client->want_logprobs) assert_null(event->logprobs);
    memcpy(client->text + client->text_length, event->text.data, event->text.length);
    client->text_length += event->text.length;
    for (size_t i = 0; i < event->id_count; i++) {
        client->ids[client->id_count++] = event->ids[i];
    }
    for (size_t i = 0; i < event->call_count; i++) note_call(client, &event->calls[i]);
    client->other_logprob_sum += event->other_logprob_sum;
    client->other_logprob_count += event->other_logprob_count;
    for (size_t i = 0; i < event->logprob_count; i++) client->logprobs[client->logprob_count++] = event->logprobs[i];
    assert_int_equal(event->completion_tokens, client->id_count);
    client->events++;
    if (event->error != NULL) snprintf(client->error, sizeof client->error, "%s", event->error);
    if (client->events == client->pause_at) engine_pause(client->engine, client->generation);
    if (client->events == client->cancel_at) engine_cancel(client->engine, client->generation);
    if (event->finish != FINISH_NONE) {
        client->done = true;
        client->finish = event->finish;
        client->prompt_tokens = event->prompt_tokens;
        client->completion_tokens = event->completion_tokens;
        engine_load(client->engine, &client->load_at_end);
        if (client->release_in_event) engine_release(client->engine, client->generation);
    }
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->mutex);
}

/** End tokens banned, so that a generation lasts as long as it may. */
const struct logit_bias endless[2] = {{TINY_END_OF_TEXT, -100}, {TINY_END_OF_TURN, -100}};

struct generation_request request_of(struct client *client, const int32_t *ids, size_t count, int64_t max_tokens) {
    return (struct generation_request){
        .prompt = ids,
        .prompt_count = count,
        .max_tokens = max_tokens,
        .tenant = "t",
        .on_event = on_event,
        .context = client,
        .sampling = {
            .temperature = 1, .top_p = 1, .seed = 5, .top_logprobs = -1, .logit_bias = endless, .logit_bias_count = 2}};
}

void wait_for_events(struct client *client, int events) {
    pthread_mutex_lock(&client->mutex);
    while (!client->done && client->events < events) pthread_cond_wait(&client->changed, &client->mutex);
    pthread_mutex_unlock(&client->mutex);
}

void wait_done(struct client *client) {
    wait_for_events(client, INT32_MAX);
}

void client_deinit(struct client *client) {
    if (client->generation != NULL && !client->release_in_event) engine_release(client->engine, client->generation);
    pthread_cond_destroy(&client->changed);
    pthread_mutex_destroy(&client->mutex);
}

const int32_t prompt[40] = {298, 'u', 's', 'e', 'r', 10,  'h', 'e', 'l', 'l', 'o', 299,
                            10,  298, 'a', 's', 's', 'i', 's', 't', 'a', 'n', 't', 10};

/** Run one generation to its end. */
void run(struct engine *engine, struct client *client, const struct generation_request *request) {
    check_ok(submit(client, request));
    wait_done(client);
    (void)engine;
}
