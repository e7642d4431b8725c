/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What the engine tells of itself: metrics, and books that do not add up. */
#include "tests/unit/engine/engine_fixture.h"

#include "engine/engine_internal.h"

static void test_metrics_count(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.metrics = metrics_create();
    struct engine *engine = open_engine(&options);
    struct client client;
    client_init(&client, engine);
    struct generation_request request = request_of(&client, prompt, 24, 30);
    run(engine, &client, &request);
    client_deinit(&client);
    engine_close(engine);
    struct bytes text;
    bytes_init(&text, 1 << 20);
    check_ok(metrics_write(options.metrics, &text));
    static const char *const lines[] = {"bora_engine_prompt_tokens_total 24\n",
                                        "bora_engine_completion_tokens_total 30\n",
                                        "bora_engine_running 0\n",
                                        "bora_engine_waiting 0\n",
                                        "bora_engine_kv_tokens_used 0\n",
                                        "bora_engine_step_seconds_count 30\n",
                                        "bora_engine_step_tokens_sum 53\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (strstr((char *)text.data, lines[i]) == NULL) fail_msg("no line '%s' in:\n%s", lines[i], (char *)text.data);
    }
    bytes_deinit(&text);
    metrics_destroy(options.metrics);
}

struct fault {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct engine *engine;
    generation_event_fn *on_event;
    char message[256];
};
static struct fault fault = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void keep_fault(void *context, const char *message) {
    (void)context;
    pthread_mutex_lock(&fault.mutex);
    snprintf(fault.message, sizeof fault.message, "%s", message);
    pthread_cond_signal(&fault.changed);
    pthread_mutex_unlock(&fault.mutex);
}

static void lose_block(void *context, const struct generation_event *event) {
    if (event->finish != FINISH_NONE) kv_cache_take(fault.engine->cache); /* on the step thread, between two steps */
    fault.on_event(context, event);
}

/** A block is lost: when the engine goes to sleep it finds out, tells, counts and mends. */
static void test_lost_block_is_told_counted_and_mended(void **state) {
    (void)state;
    struct engine_options options = default_options();
    options.metrics = metrics_create();
    options.on_fault = keep_fault;
    fault.engine = open_engine(&options);
    struct client client;
    client_init(&client, fault.engine);
    struct generation_request request = request_of(&client, prompt, 24, 10);
    fault.on_event = request.on_event;
    request.on_event = lose_block;
    run(fault.engine, &client, &request);
    pthread_mutex_lock(&fault.mutex);
    while (fault.message[0] == 0) pthread_cond_wait(&fault.changed, &fault.mutex);
    pthread_mutex_unlock(&fault.mutex);
    client_deinit(&client);
    engine_close(fault.engine);
    assert_non_null(strstr(fault.message, "1 references"));
    struct bytes text;
    bytes_init(&text, 1 << 20);
    check_ok(metrics_write(options.metrics, &text));
    assert_non_null(strstr((const char *)text.data, "bora_engine_repairs_total 1\n"));
    assert_non_null(strstr((const char *)text.data, "bora_engine_kv_tokens_used 0\n"));
    bytes_deinit(&text);
    metrics_destroy(options.metrics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_count),
        cmocka_unit_test(test_lost_block_is_told_counted_and_mended),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
