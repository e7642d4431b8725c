/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The C client's dispatch: registry, and runs with every limit and mishap. */
#include "tests/unit/clients/scripted_gateway.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* ---- tools ---- */

static _Atomic int hanging, together, together_most;
static _Atomic bool let_go, was_cancelled;

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
}

static enum status add_numbers(void *context, const struct bora_call *call, struct bytes *out_result,
                               struct error *err) {
    (void)context;
    int64_t a, b;
    if (!json_i64(json_member(call->arguments, "a"), &a) || !json_i64(json_member(call->arguments, "b"), &b))
        return error_set(err, STATUS_INVALID_ARGUMENT, "a and b are integers");
    return bytes_printf(out_result, "%d", (int)(a + b));
}

/** Until let go; tells whether it heard that nobody waits. */
static enum status hang(void *context, const struct bora_call *call, struct bytes *out_result, struct error *err) {
    (void)context, (void)err;
    atomic_fetch_add(&hanging, 1);
    while (!atomic_load(&let_go)) nap();
    if (bora_call_cancelled(call)) atomic_store(&was_cancelled, true);
    return bytes_append_string(out_result, "late");
}

/** Returns when as many as the context says have met. */
static enum status meet(void *context, const struct bora_call *call, struct bytes *out_result, struct error *err) {
    int here = atomic_fetch_add(&together, 1) + 1, most = atomic_load(&together_most);
    while (here > most && !atomic_compare_exchange_weak(&together_most, &most, here)) {
    }
    while (atomic_load(&together_most) < *(int *)context) {
        if (bora_call_cancelled(call)) return error_set(err, STATUS_ABORTED, "alone");
        nap();
    }
    atomic_fetch_sub(&together, 1);
    return bytes_append_string(out_result, call->arguments_text);
}

static enum status huge(void *context, const struct bora_call *call, struct bytes *out_result, struct error *err) {
    (void)context, (void)err;
    bool broken = json_member(call->arguments, "broken") != NULL;
    if (broken) return bytes_append(out_result, "a\xff\0b", 4);
    for (int i = 0; i < 100000; i++) TRY(bytes_append_string(out_result, "ä"));
    return STATUS_OK;
}

static int three = 3;

static struct bora_tools *make_tools(void) {
    const struct bora_tool all[] = {
        {"add", "Adds.", "{\"type\": \"object\", \"properties\": {\"a\": {}, \"b\": {}}}", add_numbers, NULL},
        {"hang", NULL, NULL, hang, NULL},
        {"meet", NULL, "{\"type\": \"object\"}", meet, &three},
        {"huge", NULL, NULL, huge, NULL},
    };
    struct bora_tools *tools = NULL;
    check_ok(bora_tools_create(&tools, NULL));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) check_ok(bora_tools_add(tools, &all[i], NULL));
    atomic_store(&hanging, 0);
    atomic_store(&let_go, false);
    atomic_store(&was_cancelled, false);
    atomic_store(&together, 0);
    atomic_store(&together_most, 0);
    return tools;
}

/** All handlers end, then the registry. */
static void end_tools(struct bora_tools *tools) {
    atomic_store(&let_go, true);
    int64_t end_ns = clock_monotonic_ns(clock_system()) + PATIENCE_NS;
    while (bora_tools_abandoned(tools) > 0 && clock_monotonic_ns(clock_system()) < end_ns) nap();
    assert_int_equal(bora_tools_abandoned(tools), 0);
    bora_tools_destroy(tools);
}

static const struct step adds[] = {CALL("aaaaaaaaa", "add", "{\"a\": 1, \"b\": 2}"), END("tool_calls")};
static const struct step says_three[] = {{.text = "It is "}, {.text = "3.", .finish = "stop"}};

static const struct bora_message *message(const struct scripted *scripted, size_t index) {
    assert_true(index < bora_conversation_length(scripted->talk));
    return bora_conversation_at(scripted->talk, index);
}

static struct bora_run run_ok(struct scripted *scripted, struct bora_tools *tools,
                              const struct bora_run_options *options, enum bora_run_end end) {
    struct bora_run run;
    struct bora_error err = {0};
    enum status status = bora_client_run(scripted->client, scripted->talk, tools, options, &run, &err);
    if (status != STATUS_OK) fail_msg("%s: %s", status_name(status), err.message);
    assert_int_equal(run.end, end);
    return run;
}

/* ---- runs ---- */

static void test_results_go_back_until_the_model_answers(void **state) {
    (void)state;
    static const struct step more[] = {{.text = "Let me see."},
                                       CALL("bbbbbbbbb", "add", "{\"a\": 3, \"b\": 4}"),
                                       CALL("ccccccccc", "add", "{\"a\": 5, \"b\": 6}"),
                                       END("tool_calls")};
    struct scripted *scripted = SCRIPTED(adds, more, says_three);
    struct bora_tools *tools = make_tools();
    struct bora_run run =
        run_ok(scripted, tools, &(struct bora_run_options){.tool_choice = "required"}, BORA_RUN_ANSWERED);
    assert_string_equal(run.answer.text, "It is 3.");
    assert_int_equal(run.rounds, 3);
    assert_int_equal(run.completion_tokens, 15);
    assert_int_equal(bora_conversation_length(scripted->talk), 7);
    assert_string_equal(message(scripted, 2)->text, "3");
    assert_string_equal(message(scripted, 3)->text, "Let me see.");
    assert_string_equal(message(scripted, 5)->call_id, "ccccccccc");
    assert_string_equal(message(scripted, 5)->text, "11");
    const Bora__V1__ChatCompletionRequest *last = scripted_request(scripted, 2);
    assert_int_equal(last->n_messages, 6);
    assert_int_equal(last->n_tools, 4);
    assert_string_equal(last->tools[0]->function->parameters,
                        "{\"type\": \"object\", \"properties\": {\"a\": {}, \"b\": {}}}");
    assert_string_equal(scripted_request(scripted, 0)->tool_choice->mode, "required");
    assert_string_equal(last->tool_choice->mode, "auto"); /* or no answer would ever come */
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_a_run_whose_last_answer_was_cut_says_so(void **state) {
    (void)state;
    static const struct step length[] = {{.text = "It is th"}, END("length")},
                             context[] = {{.text = "It"}, END("model_length")};
    const struct step *const ends[] = {length, context};
    for (int i = 0; i < 2; i++) {
        struct scripted *scripted = SCRIPTED(adds, ends[i]);
        struct bora_tools *tools = make_tools();
        struct bora_run run = run_ok(scripted, tools, &(struct bora_run_options){0}, BORA_RUN_LENGTH);
        assert_int_equal(run.rounds, 2);
        bora_run_deinit(&run);
        end_tools(tools);
        scripted_close(scripted);
    }
}

static void test_a_named_choice_counts_once_and_none_stays(void **state) {
    (void)state;
    struct scripted *scripted = SCRIPTED(adds, says_three, adds, says_three, adds, says_three);
    struct bora_tools *tools = make_tools();
    const struct bora_run_options options[] = {{.tool_name = "add"}, {.tool_choice = "none"}, {.rounds_max = 0}};
    for (int i = 0; i < 3; i++) {
        struct bora_run run = run_ok(scripted, tools, &options[i], BORA_RUN_ANSWERED);
        bora_run_deinit(&run);
        check_ok(bora_conversation_add_text(scripted->talk, BORA_ROLE_USER, "again", NULL));
    }
    assert_string_equal(scripted_request(scripted, 0)->tool_choice->named->function->name, "add");
    assert_string_equal(scripted_request(scripted, 1)->tool_choice->mode, "auto");
    assert_string_equal(scripted_request(scripted, 2)->tool_choice->mode, "none");
    assert_string_equal(scripted_request(scripted, 3)->tool_choice->mode, "none");
    assert_null(scripted_request(scripted, 4)->tool_choice);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_mishaps_are_told_to_the_model(void **state) {
    (void)state;
    static const struct step calls[] = {CALL("1", "nope", "{}"), CALL("2", "add", "{broken"),
                                        CALL("3", "add", "[1]"), CALL("4", "add", "{\"a\": \"x\", \"b\": 1}"),
                                        CALL("5", "huge", ""),   CALL("6", "huge", "{\"broken\": 1}"),
                                        END("tool_calls")};
    struct scripted *scripted = SCRIPTED(calls, says_three);
    struct bora_tools *tools = make_tools();
    struct bora_run run =
        run_ok(scripted, tools, &(struct bora_run_options){.result_bytes_max = 1001}, BORA_RUN_ANSWERED);
    assert_string_equal(message(scripted, 2)->text, "{\"error\": \"there is no tool named nope\"}");
    assert_non_null(strstr(message(scripted, 3)->text, "not a JSON object: "));
    assert_non_null(strstr(message(scripted, 4)->text, "not a JSON object"));
    assert_string_equal(message(scripted, 5)->text, "{\"error\": \"a and b are integers\"}");
    assert_non_null(strstr(message(scripted, 6)->text, "ä\n[cut: 1000 of 200000 bytes]"));
    assert_string_equal(message(scripted, 7)->text, "a??b");
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_a_handlers_failure_can_end_the_run(void **state) {
    (void)state;
    static const struct step calls[] = {CALL("1", "add", "{\"a\": 1, \"b\": 1}"), CALL("2", "add", "{}"),
                                        CALL("3", "add", "{}"), END("tool_calls")};
    struct scripted *scripted = SCRIPTED(calls, says_three);
    struct bora_tools *tools = make_tools();
    struct bora_run run;
    struct bora_error err = {0};
    struct bora_run_options options = {.stop_on_handler_error = true};
    assert_int_equal(bora_client_run(scripted->client, scripted->talk, tools, &options, &run, &err),
                     STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "add: a and b are integers");
    assert_int_equal(run.end, BORA_RUN_FAILED);
    assert_int_equal(bora_conversation_length(scripted->talk), 3); /* the first one's result is there */
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_the_last_round_leaves_its_calls_and_a_run_goes_on_from_there(void **state) {
    (void)state;
    struct scripted *scripted = SCRIPTED(adds, adds, says_three);
    struct bora_tools *tools = make_tools();
    struct bora_run run = run_ok(scripted, tools, &(struct bora_run_options){.rounds_max = 2}, BORA_RUN_MAX_ROUNDS);
    assert_int_equal(run.rounds, 2);
    assert_int_equal(run.answer.call_count, 1);
    assert_int_equal(bora_conversation_length(scripted->talk), 4);
    bora_run_deinit(&run);
    run = run_ok(scripted, tools, &(struct bora_run_options){.tool_choice = "required"}, BORA_RUN_ANSWERED);
    assert_int_equal(run.rounds, 1);
    assert_string_equal(scripted_request(scripted, 2)->tool_choice->mode, "auto"); /* its round was the one before */
    assert_int_equal(scripted_request(scripted, 2)->n_messages, 5);
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_late_handlers_are_given_up_and_do_not_pile_up(void **state) {
    (void)state;
    struct step calls[41] = {0};
    for (int i = 0; i < 40; i++) calls[i] = (struct step)CALL("1", i == 39 ? "add" : "hang", "{}");
    calls[40] = (struct step)END("tool_calls");
    const struct step *answers[] = {calls, says_three};
    struct scripted *scripted = scripted_open(answers, 2, NULL);
    struct bora_tools *tools = make_tools();
    struct bora_run_options options = {.handler_timeout_ns = 20 * NS_PER_MS, .parallel = 4};
    struct bora_run run = run_ok(scripted, tools, &options, BORA_RUN_ANSWERED);
    assert_string_equal(message(scripted, 2)->text, "{\"error\": \"the tool did not answer within 0.02 s\"}");
    assert_non_null(strstr(message(scripted, 40)->text, "too many handlers"));
    int abandoned = bora_tools_abandoned(tools);
    assert_true(abandoned >= BORA_ABANDONED_MAX && abandoned < BORA_ABANDONED_MAX + 4);
    bora_run_deinit(&run);
    end_tools(tools);
    assert_true(atomic_load(&was_cancelled));
    scripted_close(scripted);
}

static void test_the_registry_may_go_before_a_handler_that_hangs(void **state) {
    (void)state;
    static const struct step calls[] = {CALL("1", "hang", "{}"), END("tool_calls")};
    struct scripted *scripted = SCRIPTED(calls, says_three);
    struct bora_tools *tools = make_tools();
    struct bora_run run =
        run_ok(scripted, tools, &(struct bora_run_options){.handler_timeout_ns = NS_PER_MS}, BORA_RUN_ANSWERED);
    scripted_await(&hanging, 1);
    bora_run_deinit(&run);
    scripted_close(scripted);
    bora_tools_destroy(tools); /* the sanitizers would see its thread touch what is gone */
    atomic_store(&let_go, true);
    int64_t end_ns = clock_monotonic_ns(clock_system()) + PATIENCE_NS;
    while (!atomic_load(&was_cancelled) && clock_monotonic_ns(clock_system()) < end_ns) nap();
    assert_true(atomic_load(&was_cancelled));
}

static void test_the_time_of_the_run_stops_it_and_keeps_what_there_is(void **state) {
    (void)state;
    static const struct step calls[] = {CALL("1", "add", "{\"a\": 1, \"b\": 2}"), CALL("2", "hang", "{}"),
                                        CALL("3", "add", "{\"a\": 1, \"b\": 2}"), END("tool_calls")};
    static const struct step hangs[] = {{.text = "It "}, {.hang = true}};
    struct scripted *scripted = SCRIPTED(calls, hangs);
    struct bora_tools *tools = make_tools();
    struct bora_run_options options = {.chat.timeout_ns = 3 * NS_PER_S};
    struct bora_run run = run_ok(scripted, tools, &options, BORA_RUN_TIMEOUT);
    assert_int_equal(bora_conversation_length(scripted->talk), 3); /* the first result; two calls wait */
    assert_int_equal(run.answer.call_count, 3);
    bora_run_deinit(&run);
    atomic_store(&let_go, true);
    run = run_ok(scripted, tools, &options, BORA_RUN_TIMEOUT); /* goes on with the two, and the answer hangs */
    assert_int_equal(bora_conversation_length(scripted->talk), 5);
    assert_string_equal(run.answer.text, "It ");
    assert_null(run.answer.finish_reason);
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

struct canceller {
    _Atomic int *when;
    struct bora_cancellation *cancellation;
};

static void *cancel_then(void *context) {
    struct canceller *canceller = context;
    scripted_await(canceller->when, 1);
    bora_cancellation_cancel(canceller->cancellation);
    return NULL;
}

static void cancelled_run(struct scripted *scripted, struct bora_tools *tools, _Atomic int *when, size_t messages) {
    struct canceller canceller = {.when = when};
    check_ok(bora_cancellation_create(&canceller.cancellation, NULL));
    pthread_t thread;
    pthread_create(&thread, NULL, cancel_then, &canceller);
    struct bora_run_options options = {.chat.cancellation = canceller.cancellation};
    struct bora_run run = run_ok(scripted, tools, &options, BORA_RUN_CANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(bora_conversation_length(scripted->talk), messages);
    bora_run_deinit(&run);
    bora_cancellation_destroy(canceller.cancellation);
}

static void test_cancelling_ends_a_run(void **state) {
    (void)state;
    static const struct step calls[] = {CALL("1", "add", "{\"a\": 1, \"b\": 2}"), CALL("2", "hang", "{}"),
                                        END("tool_calls")};
    static const struct step hangs[] = {{.text = "It "}, {.hang = true}};
    struct bora_tools *tools = make_tools();
    struct scripted *scripted = SCRIPTED(calls);
    cancelled_run(scripted, tools, &hanging, 3); /* a handler runs */
    scripted_close(scripted);
    scripted = SCRIPTED(adds, hangs);
    cancelled_run(scripted, tools, &scripted->hanging, 3); /* the answer is coming */
    scripted_close(scripted);
    end_tools(tools);
}

static bool refuse_text(void *context, const char *text) {
    (void)context, (void)text;
    return false;
}

static void test_on_text_ends_a_run(void **state) {
    (void)state;
    struct scripted *scripted = SCRIPTED(adds, says_three);
    struct bora_tools *tools = make_tools();
    struct bora_run run =
        run_ok(scripted, tools, &(struct bora_run_options){.chat.on_text = refuse_text}, BORA_RUN_CANCELLED);
    assert_string_equal(run.answer.text, "It is ");
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_parallel_calls_meet_and_never_more_than_asked(void **state) {
    (void)state;
    struct step calls[8] = {0};
    char arguments[7][16];
    for (int i = 0; i < 7; i++) {
        snprintf(arguments[i], sizeof arguments[i], "{\"n\": %d}", i);
        calls[i] = (struct step)CALL("1", "meet", arguments[i]);
    }
    calls[7] = (struct step)END("tool_calls");
    const struct step *answers[] = {calls, says_three};
    struct scripted *scripted = scripted_open(answers, 2, NULL);
    struct bora_tools *tools = make_tools();
    struct bora_run run = run_ok(scripted, tools, &(struct bora_run_options){.parallel = 3}, BORA_RUN_ANSWERED);
    assert_int_equal(atomic_load(&together_most), 3);
    for (size_t i = 0; i < 7; i++) assert_string_equal(message(scripted, 2 + i)->text, arguments[i]);
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_an_error_of_the_service_leaves_the_conversation(void **state) {
    (void)state;
    static const struct step dies[] = {{.text = "It "}, {.fail = STATUS_UNAVAILABLE, .text = "the worker died"}};
    struct scripted *scripted = SCRIPTED(adds, dies);
    struct bora_tools *tools = make_tools();
    struct bora_run run;
    struct bora_error err = {0};
    assert_int_equal(bora_client_run(scripted->client, scripted->talk, tools, NULL, &run, &err), STATUS_UNAVAILABLE);
    assert_string_equal(err.message, "the worker died");
    assert_string_equal(run.answer.text, "It ");
    assert_int_equal(run.end, BORA_RUN_FAILED);
    assert_int_equal(bora_conversation_length(scripted->talk), 3);
    bora_run_deinit(&run);
    end_tools(tools);
    scripted_close(scripted);
}

static void test_what_cannot_be_a_tool_is_refused(void **state) {
    (void)state;
    struct bora_tools *tools = make_tools();
    const struct bora_tool wrong[] = {{"", NULL, NULL, hang, NULL},    {"a b", NULL, NULL, hang, NULL},
                                      {"f", NULL, "[]", hang, NULL},   {"f", NULL, "{", hang, NULL},
                                      {"f", "\xff", NULL, hang, NULL}, {"f", NULL, NULL, NULL, NULL},
                                      {NULL, NULL, NULL, hang, NULL}};
    struct bora_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(bora_tools_add(tools, &wrong[i], &err), STATUS_INVALID_ARGUMENT);
    assert_int_equal(bora_tools_add(tools, &(struct bora_tool){"add", NULL, NULL, hang, NULL}, &err),
                     STATUS_ALREADY_EXISTS);
    bora_tools_destroy(tools);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_go_back_until_the_model_answers),
        cmocka_unit_test(test_a_run_whose_last_answer_was_cut_says_so),
        cmocka_unit_test(test_a_named_choice_counts_once_and_none_stays),
        cmocka_unit_test(test_mishaps_are_told_to_the_model),
        cmocka_unit_test(test_a_handlers_failure_can_end_the_run),
        cmocka_unit_test(test_the_last_round_leaves_its_calls_and_a_run_goes_on_from_there),
        cmocka_unit_test(test_late_handlers_are_given_up_and_do_not_pile_up),
        cmocka_unit_test(test_the_registry_may_go_before_a_handler_that_hangs),
        cmocka_unit_test(test_the_time_of_the_run_stops_it_and_keeps_what_there_is),
        cmocka_unit_test(test_cancelling_ends_a_run),
        cmocka_unit_test(test_on_text_ends_a_run),
        cmocka_unit_test(test_parallel_calls_meet_and_never_more_than_asked),
        cmocka_unit_test(test_an_error_of_the_service_leaves_the_conversation),
        cmocka_unit_test(test_what_cannot_be_a_tool_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
