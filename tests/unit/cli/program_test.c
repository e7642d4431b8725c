/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The program `bora`, argv[1]: its key commands against a real keys service (argv[2]), chat and models against a gateway made
 * of canned answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "bora/v1/chat.pb-c.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "bora/v1/models.pb-c.h"
#include "rpc/grpc_server.h"
#include "rpc/transcode.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ADMIN_KEY "test-admin-key-0123456789"
#define API_KEY "bora_abcdefghijkl_0123456789012345678901234567890123456789abc"
enum { SECONDS = 60, WORDS_MAX = 24 };

static const char *bora, *bora_keys;

/* --- running the program ----------------------------------------------------------------------------------------- */

struct run {
    int exit;
    char *output; /* both streams, in the order they were written; malloc'd */
};

static void run_end(struct run *run) {
    free(run->output);
}

/** Words are separated by '|'. */
static struct run run(const char *words) {
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", words);
    const char *arguments[WORDS_MAX + 2] = {bora};
    int count = 1;
    for (char *word = copy; word != NULL && count < WORDS_MAX; count++) {
        char *end = strchr(word, '|');
        if (end != NULL) *end = 0;
        arguments[count] = word;
        word = end != NULL ? end + 1 : NULL;
    }
    struct test_process process;
    test_process_start(&process, arguments);
    struct run result = {.exit = test_process_wait(&process, SECONDS)};
    result.output = test_process_output(&process);
    test_process_stop(&process, SIGKILL, 1);
    return result;
}

static void assert_runs(const char *words, int status, const char *says) {
    struct run result = run(words);
    if (result.exit != status || (says != NULL && strstr(result.output, says) == NULL))
        fail_msg("bora %s: %d\n%s", words, result.exit, result.output);
    run_end(&result);
}

/* --- a gateway of canned answers --------------------------------------------------------------------------------- */

struct fake_gateway {
    struct rpc_server *server;
    pthread_mutex_t mutex; /* guards the next two; the order of things goes through another process */
    struct bytes last_request;
    char last_authorization[128];
    atomic_bool cancelled;
    atomic_int models;   /* how many it serves, at most 2 */
    atomic_int refusals; /* of the question "later", before it is answered */
};
static struct fake_gateway gateway = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void send_chunk(struct rpc_call *call, const char *content, const char *finish_reason, bool usage) {
    Bora__V1__Delta delta = BORA__V1__DELTA__INIT;
    delta._content_case = BORA__V1__DELTA___CONTENT_CONTENT;
    delta.content = (char *)content;
    Bora__V1__ChunkChoice choice = BORA__V1__CHUNK_CHOICE__INIT, *choices[] = {&choice};
    choice.delta = &delta;
    if (finish_reason != NULL)
        choice._finish_reason_case = BORA__V1__CHUNK_CHOICE___FINISH_REASON_FINISH_REASON,
        choice.finish_reason = (char *)finish_reason;
    Bora__V1__Usage counts = BORA__V1__USAGE__INIT;
    counts.prompt_tokens = 11;
    counts.completion_tokens = 22;
    Bora__V1__ChatCompletionChunk chunk = BORA__V1__CHAT_COMPLETION_CHUNK__INIT;
    chunk.choices = choices;
    chunk.n_choices = 1;
    if (usage) chunk.usage = &counts;
    struct bytes packed;
    bytes_init(&packed, 1 << 20);
    assert_int_equal(protobuf_pack(&chunk.base, &packed), STATUS_OK);
    (void)!rpc_call_write(call, bytes_view(&packed));
    bytes_deinit(&packed);
}

/** "Let me see", and a call of that tool. */
static void send_call(struct rpc_call *call, const char *name) {
    Bora__V1__FunctionArguments arguments = BORA__V1__FUNCTION_ARGUMENTS__INIT;
    Bora__V1__FunctionCall function = BORA__V1__FUNCTION_CALL__INIT;
    Bora__V1__ToolCall tool_call = BORA__V1__TOOL_CALL__INIT, *calls[] = {&tool_call};
    Bora__V1__Delta delta = BORA__V1__DELTA__INIT;
    Bora__V1__ChunkChoice choice = BORA__V1__CHUNK_CHOICE__INIT, *choices[] = {&choice};
    Bora__V1__ChatCompletionChunk chunk = BORA__V1__CHAT_COMPLETION_CHUNK__INIT;
    struct bytes packed;
    send_chunk(call, "Let me see", NULL, false);
    arguments.kind_case = BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT;
    arguments.text = (char *)"{\"city\": \"Bern\"}";
    function.name = (char *)name;
    function.arguments = &arguments;
    tool_call.function = &function;
    delta.tool_calls = calls;
    delta.n_tool_calls = 1;
    choice.delta = &delta;
    chunk.choices = choices;
    chunk.n_choices = 1;
    bytes_init(&packed, 1 << 20);
    assert_int_equal(protobuf_pack(&chunk.base, &packed), STATUS_OK);
    (void)!rpc_call_write(call, bytes_view(&packed));
    bytes_deinit(&packed);
}

static void refuse(struct rpc_call *call, enum status status, const char *message,
                   const Bora__V1__ErrorDetail *detail) {
    struct bytes packed, details;
    bytes_init(&packed, 1 << 16);
    bytes_init(&details, 1 << 16);
    assert_int_equal(protobuf_pack(&detail->base, &packed), STATUS_OK);
    assert_int_equal(rpc_status_details(status, message, "bora.v1.ErrorDetail", bytes_view(&packed), &details),
                     STATUS_OK);
    rpc_call_finish(call, status, message, bytes_view(&details));
    bytes_deinit(&packed);
    bytes_deinit(&details);
}

static void refuse_field(struct rpc_call *call) {
    Bora__V1__PathStep body = BORA__V1__PATH_STEP__INIT, messages = BORA__V1__PATH_STEP__INIT,
                       first = BORA__V1__PATH_STEP__INIT, content = BORA__V1__PATH_STEP__INIT;
    body.kind_case = messages.kind_case = content.kind_case = BORA__V1__PATH_STEP__KIND_NAME;
    body.name = (char *)"body", messages.name = (char *)"messages", content.name = (char *)"content";
    first.kind_case = BORA__V1__PATH_STEP__KIND_INDEX;
    Bora__V1__PathStep *path[] = {&body, &messages, &first, &content};
    Bora__V1__ValidationError error = BORA__V1__VALIDATION_ERROR__INIT, *errors[] = {&error};
    error.msg = (char *)"Input should be shorter";
    error.loc = path;
    error.n_loc = 4;
    Bora__V1__ValidationErrors list = BORA__V1__VALIDATION_ERRORS__INIT;
    list.detail = errors;
    list.n_detail = 1;
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_VALIDATION;
    detail.validation = &list;
    refuse(call, STATUS_INVALID_ARGUMENT, "the request is not valid", &detail);
}

static void refuse_limit(struct rpc_call *call, int64_t retry_after_ms) {
    Bora__V1__ApiError error = BORA__V1__API_ERROR__INIT;
    error.message = (char *)"Rate limit exceeded";
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_ERROR;
    detail.error = &error;
    detail.retry_after_ms = retry_after_ms;
    refuse(call, STATUS_RESOURCE_EXHAUSTED, "Rate limit exceeded", &detail);
}

/** As a gateway says of what no wait helps against; there is a time to come again all the same. */
static void refuse_for_ever(struct rpc_call *call) {
    assert_int_equal(rpc_call_add_trailer(call, "x-should-retry", "false"), STATUS_OK);
    refuse_limit(call, 61000);
}

static void refuse_model(struct rpc_call *call) {
    Bora__V1__ApiError error = BORA__V1__API_ERROR__INIT;
    error.type = (char *)"invalid_model";
    Bora__V1__ErrorDetail detail = BORA__V1__ERROR_DETAIL__INIT;
    detail.kind_case = BORA__V1__ERROR_DETAIL__KIND_ERROR;
    detail.error = &error;
    refuse(call, STATUS_INVALID_ARGUMENT, "Invalid model: gpt", &detail);
}

/** What happens is the question's choice. */
static void answer_chat(struct rpc_call *call, struct bytes_view message) {
    const char *authorization = rpc_call_metadata(call, "authorization");
    pthread_mutex_lock(&gateway.mutex);
    bytes_reset(&gateway.last_request);
    (void)!bytes_append(&gateway.last_request, message.data, message.length);
    snprintf(gateway.last_authorization, sizeof gateway.last_authorization, "%s",
             authorization != NULL ? authorization : "");
    pthread_mutex_unlock(&gateway.mutex);
    struct arena arena;
    arena_init(&arena, 64 << 20);
    ProtobufCMessage *unpacked = NULL;
    assert_int_equal(protobuf_unpack(&bora__v1__chat_completion_request__descriptor, message, &arena, &unpacked, NULL),
                     STATUS_OK);
    const Bora__V1__ChatCompletionRequest *request = (const Bora__V1__ChatCompletionRequest *)unpacked;
    const char *question = request->messages[request->n_messages - 1]->user->content->text;
    const struct bytes_view none = {0};
    if (strcmp(question, "hang") == 0) {
        send_chunk(call, "waiting", NULL, false);
        arena_deinit(&arena);
        return;
    }
    if (strcmp(question, "field") == 0) {
        refuse_field(call);
    } else if (strcmp(question, "limit") == 0) {
        refuse_limit(call, 2500);
    } else if (strcmp(question, "never") == 0) {
        refuse_for_ever(call);
    } else if (strcmp(question, "tomorrow") == 0) {
        refuse_limit(call, 6000001);
    } else if (strcmp(question, "later") == 0 && atomic_fetch_sub(&gateway.refusals, 1) > 0) {
        refuse_limit(call, 20);
    } else if (strcmp(question, "model") == 0) {
        refuse_model(call);
    } else if (strcmp(question, "break") == 0) {
        send_chunk(call, "half an ans", NULL, false);
        rpc_call_finish(call, STATUS_UNAVAILABLE, "the worker died", none);
    } else if (strcmp(question, "call") == 0) {
        send_call(call, request->tools[0]->function->name);
        rpc_call_finish(call, STATUS_OK, NULL, none);
    } else if (strcmp(question, "cut") == 0) {
        send_chunk(call, "too lo", "length", true);
        rpc_call_finish(call, STATUS_OK, NULL, none);
    } else {
        send_chunk(call, "Hello, ", NULL, false);
        send_chunk(call, "w\xc3\xb6rld\x1b[31m", NULL, false); /* an answer that would colour the terminal */
        send_chunk(call, "!", "stop", true);
        rpc_call_finish(call, STATUS_OK, NULL, none);
    }
    arena_deinit(&arena);
}

static void chat_cancelled(struct rpc_call *call) {
    atomic_store(&gateway.cancelled, true);
    rpc_call_finish(call, STATUS_CANCELLED, "cancelled", (struct bytes_view){0});
}

static void answer_with(struct rpc_call *call, const ProtobufCMessage *message) {
    struct bytes packed;
    bytes_init(&packed, 1 << 16);
    assert_int_equal(protobuf_pack(message, &packed), STATUS_OK);
    (void)!rpc_call_write(call, bytes_view(&packed));
    rpc_call_finish(call, STATUS_OK, NULL, (struct bytes_view){0});
    bytes_deinit(&packed);
}

static void answer_models(struct rpc_call *call, struct bytes_view message) {
    (void)message;
    char *aliases[] = {(char *)"smollm2", (char *)"latest"};
    Bora__V1__ModelCard card = BORA__V1__MODEL_CARD__INIT, second = BORA__V1__MODEL_CARD__INIT,
                        *cards[] = {&card, &second};
    second.id = (char *)"mine";
    card.id = (char *)"smollm2-135m-instruct";
    card._tier_case = BORA__V1__MODEL_CARD___TIER_TIER;
    card.tier = (char *)"small";
    card.max_context_length = 8192;
    card.aliases = aliases;
    card.n_aliases = 2;
    Bora__V1__ModelList list = BORA__V1__MODEL_LIST__INIT;
    list.object = (char *)"list";
    list.data = cards;
    list.n_data = (size_t)atomic_load(&gateway.models);
    answer_with(call, &list.base);
}

static void answer_workers(struct rpc_call *call, struct bytes_view message) {
    (void)message;
    char *aliases[] = {(char *)"smollm2", (char *)"latest"};
    Bora__V1__WorkerInfo worker = BORA__V1__WORKER_INFO__INIT, *workers[] = {&worker, &worker};
    worker.model = (char *)"smollm2-135m-instruct";
    worker.tier = (char *)"small";
    worker.aliases = aliases;
    worker.n_aliases = 2;
    Bora__V1__WorkerList list = BORA__V1__WORKER_LIST__INIT;
    list.workers = workers;
    list.n_workers = 2;
    answer_with(call, &list.base);
}

/** A key with the limits that were asked for. */
static void answer_create_key(struct rpc_call *call, struct bytes_view message) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    ProtobufCMessage *unpacked = NULL;
    assert_int_equal(protobuf_unpack(&bora__v1__create_key_request__descriptor, message, &arena, &unpacked, NULL),
                     STATUS_OK);
    const Bora__V1__CreateKeyRequest *request = (const Bora__V1__CreateKeyRequest *)unpacked;
    Bora__V1__ApiKey info = BORA__V1__API_KEY__INIT;
    info.key_id = (char *)"abcdefghijkl";
    info.limits = request->limits;
    info.model_limits = request->model_limits;
    info.n_model_limits = request->n_model_limits;
    Bora__V1__CreateKeyResponse response = BORA__V1__CREATE_KEY_RESPONSE__INIT;
    response.key = (char *)API_KEY;
    response.info = &info;
    answer_with(call, &response.base);
    arena_deinit(&arena);
}

static const struct rpc_method methods[] = {
    {.path = "/bora.v1.ChatService/StreamChat", .message = answer_chat, .cancelled = chat_cancelled},
    {.path = "/bora.v1.ModelService/ListModels", .message = answer_models},
    {.path = "/bora.v1.ModelService/ListWorkers", .message = answer_workers},
    {.path = "/bora.v1.KeyService/CreateKey", .message = answer_create_key}};

static int start_gateway(void **state) {
    (void)state;
    bytes_init(&gateway.last_request, 64 << 20);
    atomic_store(&gateway.cancelled, false);
    atomic_store(&gateway.models, 1);
    struct rpc_server_options options = {.address = "127.0.0.1:0", .message_bytes_max = 64 << 20};
    if (rpc_server_create(&options, &gateway.server, NULL) != STATUS_OK ||
        rpc_server_add(gateway.server, methods, sizeof methods / sizeof *methods, NULL, NULL) != STATUS_OK ||
        rpc_server_start(gateway.server, NULL) != STATUS_OK)
        return -1;
    char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", rpc_server_port(gateway.server));
    setenv("BORA_ADDRESS", address, 1);
    setenv("BORA_API_KEY", API_KEY, 1);
    unsetenv("BORA_ADMIN_KEY");
    return 0;
}

static int stop_gateway(void **state) {
    (void)state;
    rpc_server_stop(gateway.server, 0);
    rpc_server_destroy(gateway.server);
    bytes_deinit(&gateway.last_request);
    return 0;
}

/* --- chat and models --------------------------------------------------------------------------------------------- */

static void test_answer_is_printed_without_control_characters(void **state) {
    (void)state;
    struct run result = run("chat|hi");
    assert_int_equal(result.exit, 0);
    assert_string_equal(result.output, "Hello, w\xc3\xb6rld?[31m!\n");
    pthread_mutex_lock(&gateway.mutex);
    assert_string_equal(gateway.last_authorization, "Bearer " API_KEY);
    pthread_mutex_unlock(&gateway.mutex);
    run_end(&result);
}

/** What the gateway heard last, in the arena. */
static const Bora__V1__ChatCompletionRequest *last_request(struct arena *arena) {
    ProtobufCMessage *unpacked = NULL;
    pthread_mutex_lock(&gateway.mutex);
    assert_int_equal(protobuf_unpack(&bora__v1__chat_completion_request__descriptor, bytes_view(&gateway.last_request),
                                     arena, &unpacked, NULL),
                     STATUS_OK);
    pthread_mutex_unlock(&gateway.mutex);
    return (const Bora__V1__ChatCompletionRequest *)unpacked;
}

/** A file in the working folder. */
static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/** Files of a test are in a folder of their own. */
static void enter_folder(char folder[32], char before[4096]) {
    snprintf(folder, 32, "/tmp/bora-chat-XXXXXX");
    assert_non_null(getcwd(before, 4096));
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
}
static void leave_folder(const char *folder, const char *before) {
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_forms_of_the_answer_reach_the_request(void **state) {
    (void)state;
    static const char *const calls[] = {"chat|--schema|chat-test.json|hi", "chat|--regex|a+|hi",
                                        "chat|--grammar|chat-test.lark|hi", "chat|--choice|yes|--choice|no|hi"};
    static const char *const types[] = {"json_schema", "regex", "grammar", "choice"};
    char folder[32], before[4096];
    enter_folder(folder, before);
    write_file("chat-test.json", "{\"type\": \"integer\"}");
    write_file("chat-test.lark", "start: \"a\"");
    for (int i = 0; i < 4; i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        assert_runs(calls[i], 0, "Hello");
        const Bora__V1__ResponseFormat *format = last_request(&arena)->response_format;
        assert_string_equal(format->type, types[i]);
        if (i == 0) assert_string_equal(format->json_schema->schema, "{\"type\": \"integer\"}");
        if (i == 1) assert_string_equal(format->regex, "a+");
        if (i == 2) assert_string_equal(format->grammar, "start: \"a\"");
        if (i == 2) assert_string_equal(format->dialect, "lark");
        if (i == 3) assert_string_equal(format->choice[1], "no");
        arena_deinit(&arena);
    }
    assert_runs("chat|--schema|chat-test.json|--regex|a|hi", 2, "exclude each other");
    assert_runs("chat|--schema|chat-test.none|hi", 1, "chat-test.none");
    unlink("chat-test.json");
    unlink("chat-test.lark");
    leave_folder(folder, before);
}

static void test_tools_come_from_a_file_and_calls_are_printed(void **state) {
    (void)state;
    struct arena arena;
    char folder[32], before[4096];
    arena_init(&arena, 1 << 20);
    enter_folder(folder, before);
    write_file("chat-tools.json", "[{\"type\": \"function\", \"function\": {\"name\": \"weather\"}}]\n");
    assert_runs("chat|--tools|chat-tools.json|--tool-choice|required|call", 0,
                "Let me see\nweather {\"city\": \"Bern\"}\n");
    assert_string_equal(last_request(&arena)->tool_choice->mode, "required");
    assert_runs("chat|--tools|chat-tools.json|--tool-choice|weather|call", 0, "weather {");
    assert_string_equal(last_request(&arena)->tool_choice->named->function->name, "weather");
    write_file("chat-tools.json", "[{\"type\": \"function\", \"function\": {\"name\": \"a b\"}}]");
    assert_runs("chat|--tools|chat-tools.json|call", 1, "chat-tools.json: 0.function.name");
    write_file("chat-tools.json", "{\"tools\": []}");
    assert_runs("chat|--tools|chat-tools.json|call", 1, "chat-tools.json: ");
    write_file("chat-tools.json", "[");
    assert_runs("chat|--tools|chat-tools.json|call", 1, "chat-tools.json: ");
    assert_runs("chat|--tool-choice|none|call", 2, "--tool-choice is of --tools");
    unlink("chat-tools.json");
    leave_folder(folder, before);
    arena_deinit(&arena);
}

static void test_options_reach_the_request(void **state) {
    (void)state;
    assert_runs("chat|--model|large|--system=be brief|--max-tokens|7|--temperature|0.5|--top-p=0.9|--seed|42|hi", 0,
                "Hello");
    struct arena arena;
    arena_init(&arena, 1 << 20);
    const Bora__V1__ChatCompletionRequest *request = last_request(&arena);
    assert_string_equal(request->model, "large");
    assert_int_equal(request->n_messages, 2);
    assert_string_equal(request->messages[0]->system->content->text, "be brief");
    assert_string_equal(request->messages[1]->user->content->text, "hi");
    assert_int_equal(request->max_tokens, 7);
    assert_true(request->temperature == 0.5);
    assert_true(request->top_p == 0.9);
    assert_int_equal(request->random_seed, 42);
    arena_deinit(&arena);
}

static void test_model_that_is_not_named_is_the_only_one(void **state) {
    (void)state;
    assert_runs("chat|hi", 0, "Hello");
    pthread_mutex_lock(&gateway.mutex);
    assert_non_null(memmem(gateway.last_request.data, gateway.last_request.length, "smollm2-135m-instruct", 21));
    pthread_mutex_unlock(&gateway.mutex);
    atomic_store(&gateway.models, 2);
    assert_runs("chat|hi", 2, "bora: choose one with --model: smollm2-135m-instruct (smollm2, latest, small), mine\n");
    assert_runs("chat|--model|mine|hi", 0, "Hello");
    setenv("BORA_MODEL", "theirs", 1);
    assert_runs("chat|hi", 0, "Hello");
    unsetenv("BORA_MODEL");
    pthread_mutex_lock(&gateway.mutex);
    assert_non_null(memmem(gateway.last_request.data, gateway.last_request.length, "theirs", 6));
    pthread_mutex_unlock(&gateway.mutex);
    atomic_store(&gateway.models, 0);
    assert_runs("chat|hi", 6, "bora: no model is served right now\n");
}

static void test_refused_model_is_answered_with_what_there_is(void **state) {
    (void)state;
    assert_runs(
        "chat|--model|gpt|model", 4,
        "bora: Invalid model: gpt (INVALID_ARGUMENT)\n  served now: smollm2-135m-instruct (smollm2, latest, small)\n");
    atomic_store(&gateway.models, 0);
    assert_runs("chat|--model|gpt|model", 4, "  served now: none\n");
}

static void test_limit_for_a_name_that_nobody_serves_is_doubted(void **state) {
    (void)state;
    setenv("BORA_ADMIN_KEY", ADMIN_KEY, 1);
    assert_runs("key|create|--model-limit|smollm2:1:1|--model-limit|nope:1:1", 0,
                "bora: warning: no model is served as 'nope' now, so this limit limits nothing yet; there are: "
                "smollm2-135m-instruct\n");
    struct run known = run("key|create|--requests-per-minute|60|--model-limit|smollm2:1:1|--model-limit|latest:1:1|--"
                           "model-limit|small:1:1");
    assert_null(strstr(known.output, "warning"));
    assert_non_null(strstr(known.output, "Limits over all models: 60 req/min\n"));
    run_end(&known);
    unsetenv("BORA_ADMIN_KEY");
}

/** What is asked for goes to standard output, what is told about it to standard error. */
static void test_lines_end_on_their_own_stream(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command,
             "test \"$('%s' chat --usage hi 2>/dev/null; echo x)\" = \"$(printf 'Hello, w\xc3\xb6rld?[31m!\nx')\"",
             bora);
    assert_int_equal(system(command), 0);
}

static void test_refusals_are_explained(void **state) {
    (void)state;
    assert_runs("chat|field", 1,
                "bora: the request is not valid (INVALID_ARGUMENT)\n  messages[0].content: Input should be shorter\n");
    assert_runs("chat|limit", 5, "bora: Rate limit exceeded (RESOURCE_EXHAUSTED)\n  try again in 2.5 s\n");
    assert_runs("chat|break", 6, "half an ans\nbora: ");
    assert_runs("chat|break", 6, "the worker died (UNAVAILABLE)");
    assert_runs("chat|cut", 0, "the answer was cut");
    assert_runs("chat|--usage|hi", 0, "11 prompt tokens, 22 answered");
}

/** --retry waits as long as it is told, and as often as it may. */
static void test_retry_waits_and_asks_again(void **state) {
    (void)state;
    atomic_store(&gateway.refusals, 2);
    assert_runs("chat|--retry|2|later", 0, "trying again in 0.0 s\nHello");
    atomic_store(&gateway.refusals, 2);
    assert_runs("chat|--retry|1|later", 5, "Rate limit exceeded (RESOURCE_EXHAUSTED)");
    atomic_store(&gateway.refusals, 1);
    assert_runs("chat|--retry|1|--quiet|--json|later", 0, "{\"");
    assert_runs("chat|--retry|-1|hi", 2, "--retry: from 0 to");
}

/** What waiting cannot mend, or not soon, is told at once: neither test could end in time otherwise. */
static void test_retry_does_not_wait_in_vain(void **state) {
    (void)state;
    int64_t start_ns = clock_monotonic_ns(clock_system());
    assert_runs(
        "chat|--retry|5|never", 5,
        "bora: Rate limit exceeded (RESOURCE_EXHAUSTED)\n  trying again is of no use, however long one waits\n");
    assert_runs("chat|never", 5, "  trying again is of no use");
    assert_runs("chat|--retry|5|tomorrow", 5, "  try again in 1 h 41 min, which is longer than --retry waits\n");
    assert_runs("chat|tomorrow", 5, "  try again in 1 h 41 min\n");
    assert_true(clock_monotonic_ns(clock_system()) - start_ns < 60 * NS_PER_S);
}

static void test_json_has_a_line_for_each_chunk(void **state) {
    (void)state;
    struct run result = run("chat|--json|hi");
    assert_int_equal(result.exit, 0);
    int lines = 0;
    for (const char *at = result.output; (at = strchr(at, '\n')) != NULL; at++) lines++;
    assert_int_equal(lines, 3);
    assert_non_null(strstr(result.output, "\"content\":\"Hello, \""));
    run_end(&result);
    assert_runs("models|--json", 0, "\"id\":\"smollm2-135m-instruct\"");
}

static void test_models_are_a_table(void **state) {
    (void)state;
    struct run result = run("models");
    assert_int_equal(result.exit, 0);
    assert_non_null(strstr(result.output, "smollm2-135m-instruct"));
    assert_non_null(strstr(result.output, "8,192"));
    assert_non_null(strstr(result.output, "smollm2, latest"));
    run_end(&result);
}

static void test_interrupt_frees_the_model(void **state) {
    (void)state;
    const char *const arguments[] = {bora, "chat", "hang", NULL};
    struct test_process process;
    test_process_start(&process, arguments);
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    for (bool shown = false; !shown;) {
        char *output = test_process_output(&process);
        shown = strcmp(output, "waiting") == 0; /* the answer is shown as it comes, not at the end */
        free(output);
        assert_true(clock_monotonic_ns(clock_system()) < until);
    }
    kill(process.pid, SIGINT);
    assert_int_equal(test_process_wait(&process, SECONDS), 128 + SIGINT);
    while (!atomic_load(&gateway.cancelled)) assert_true(clock_monotonic_ns(clock_system()) < until);
    test_process_stop(&process, SIGKILL, 1);
}

static void test_timeout_ends_the_answer(void **state) {
    (void)state;
    assert_runs("chat|--timeout|200ms|hang", 6, "DEADLINE_EXCEEDED");
}

static void test_nobody_there_is_one_clear_line(void **state) {
    (void)state;
    assert_runs("models|--address|127.0.0.1:1", 6, "127.0.0.1:1 cannot be reached");
    assert_runs("chat|--address|127.0.0.1:1|hi", 6, "the address is from the command line\n");
}

static void test_missing_credentials_are_named(void **state) {
    (void)state;
    unsetenv("BORA_API_KEY");
    assert_runs("models", 3, "no API key");
    assert_runs("keys|list", 3, ".bora/secrets/admin-key");
    assert_runs("models|--key-file|/tmp/bora-no-such-file", 1, "/tmp/bora-no-such-file");
    setenv("BORA_API_KEY", API_KEY, 1);
}

static void test_wrong_calls_exit_with_2(void **state) {
    (void)state;
    static const char *const calls[] = {"nonsense",
                                        "model",
                                        "key|nonsense",
                                        "key|revoke",
                                        "key|revoke|a|b",
                                        "chat|a|b",
                                        "chat|--max-tokens|many|x",
                                        "models|extra",
                                        "key|create|--model-limit|small",
                                        "key|create|--model-limit|small::",
                                        "key|create|--model-limit|:1:2",
                                        "key|create|--model-limit|small:-1:",
                                        "key|revoke|" API_KEY};
    setenv("BORA_ADMIN_KEY", ADMIN_KEY, 1);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) assert_runs(calls[i], 2, NULL);
    unsetenv("BORA_ADMIN_KEY");
    static const char *const helps[] = {
        "--help",        "help",       "key|--help", "key|create|--help", "key|list|--help", "key|revoke|--help",
        "models|--help", "chat|--help"};
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++) assert_runs(helps[i], 0, "Usage: bora");
    assert_runs("--version", 0, "bora ");
    assert_runs("--help", 0, "127.0.0.1:8081");
    assert_runs("--adress|x|models", 2, "unknown option '--adress' in front of a command");
    assert_runs("--address|x", 2, "no command behind '--address'");
    assert_runs("--address", 2, "no command behind '--address'");
    assert_runs("--json|--help", 0, "Usage: bora");
    assert_runs("--json|--address|x:1|completion|bash", 2, "unknown option --json"); /* it asks no gateway */
    assert_runs("key|create|--requests-per-minute|-1", 2, "--requests-per-minute: '-1' is no number of 0 or more");
    assert_runs("key|create|--expires-in|0", 2, "--expires-in must be 1s or more");
    assert_runs("key|create|--expires-in|banana", 2, "30d");
    assert_runs("key|create|--requests-per-minute|99999999999999999999", 2, "is no number");
    assert_runs("keys|lits", 2, "did you mean 'keys list'?");
    assert_runs("kesy", 2, "did you mean 'keys'?");
    assert_runs("list|keys", 2, "unknown command 'list'; did you mean 'keys list'?");
    assert_runs("delete|org|acme", 2, "did you mean 'orgs delete'?");
    assert_runs("keys|view|--help", 0, "Usage: bora keys get");
    assert_runs("models|describe|--help", 0, "Usage: bora models show");
    assert_runs("workspace|edit|--help", 0, "Usage: bora workspaces update");
    assert_runs("key|rm|--help", 0, "Usage: bora keys revoke");
    assert_runs("prices|rm|--help", 0, "Usage: bora prices remove");
    assert_runs("orgs|rm|--help", 0, "Usage: bora orgs delete");
    assert_runs("keys|list|--status|dead", 2, "is not one of active|disabled|expired|revoked");
    assert_runs("models|--jsno", 2, "unknown option --jsno; did you mean --json?");
    assert_runs("key|revoke|" API_KEY, 2, "two underscores: abcdefghijkl\n");
    struct run keys = run("key|--help");
    assert_non_null(strstr(keys.output, "keys revoke KEY_ID"));
    assert_null(strstr(keys.output, "ask a model"));
    run_end(&keys);
}

/* --- keys, against the real service ------------------------------------------------------------------------------ */

struct keys_fixture {
    struct redis_server redis;
    struct test_process keys;
    char folder[64];
};

static int start_keys(void **state) {
    struct keys_fixture *fixture = calloc(1, sizeof *fixture);
    redis_server_create(&fixture->redis, NULL);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/bora-test-cli-XXXXXX");
    if (mkdtemp(fixture->folder) == NULL) return -1;
    char redis[160], secret[128], line[512], address[64];
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    snprintf(secret, sizeof secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    const char *const arguments[] = {
        bora_keys, "--listen=127.0.0.1:0",   redis,
        secret,    "--admin-key=" ADMIN_KEY, "--service-token=test-service-token-0123456789",
        NULL};
    test_process_start(&fixture->keys, arguments);
    if (!test_process_wait_for(&fixture->keys, "\"event\":\"serving\"", SECONDS, line, sizeof line)) return -1;
    if (!test_process_wait_for(&fixture->keys, "\"event\":\"ready\"", SECONDS, NULL, 0)) return -1;
    const char *found = strstr(line, "\"address\":\"") + strlen("\"address\":\"");
    snprintf(address, sizeof address, "%.*s", (int)strcspn(found, "\""), found);
    setenv("BORA_ADDRESS", address, 1);
    setenv("BORA_ADMIN_KEY", ADMIN_KEY, 1);
    *state = fixture;
    return 0;
}

static int stop_keys(void **state) {
    struct keys_fixture *fixture = *state;
    int status = test_process_stop(&fixture->keys, SIGTERM, SECONDS);
    redis_server_destroy(&fixture->redis);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
    status |= system(command);
    free(fixture);
    return status;
}

static void test_key_is_created_listed_and_revoked(void **state) {
    (void)state;
    struct run created = run("key|create|--name=demo "
                             "\"x\"|--tenant|acme|--requests-per-minute|60|--model-limit|small:v1:5:|--model-limit|"
                             "large::1000|--expires-in|30d");
    assert_int_equal(created.exit, 0);
    assert_memory_equal(created.output, "bora_", 5);
    assert_int_equal(strcspn(created.output, "\n"), 61);
    char key_id[16], words[64];
    snprintf(key_id, sizeof key_id, "%.12s", created.output + 5);

    struct run listed = run("key|list");
    assert_int_equal(listed.exit, 0);
    assert_non_null(strstr(listed.output, key_id));
    assert_non_null(strstr(listed.output, "active"));
    assert_non_null(strstr(listed.output, "demo \"x\""));
    assert_non_null(strstr(listed.output, "60 req/min"));
    assert_null(strstr(listed.output, "bora_")); /* nothing of the key itself */
    run_end(&listed);
    snprintf(words, sizeof words, "keys|get|%s", key_id);
    assert_runs(words, 0, "  of small:v1: 5 req/min\n");
    struct run json = run("key|list|--json");
    assert_non_null(strstr(json.output, "\"model\":\"small:v1\",\"limits\":{\"requests_per_minute\":5}"));
    assert_non_null(strstr(json.output, "\"model\":\"large\",\"limits\":{\"tokens_per_minute\":1000}"));
    assert_non_null(strstr(json.output, "\"has_more\":false"));
    run_end(&json);

    snprintf(words, sizeof words, "key|revoke|%s", key_id);
    assert_runs(words, 0, "is revoked");
    assert_runs(words, 0, "is revoked"); /* again is fine */
    assert_runs("key|list", 0, "revoked");
    run_end(&created);
}

static void test_keys_service_refusals_are_explained(void **state) {
    (void)state;
    assert_runs("key|revoke|abcdefghijkl", 4, "(NOT_FOUND)");
    assert_runs("key|create|--requests-per-minute|9999999999", 1,
                "bora: the request is not valid (INVALID_ARGUMENT)\n  limits.requests_per_minute: ");
    setenv("BORA_ADMIN_KEY", "another-key-0123456789", 1);
    assert_runs("key|list", 3, "(UNAUTHENTICATED)\n  the key is from BORA_ADMIN_KEY\n");
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s BORA_PROGRAM BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    bora = argv[1];
    bora_keys = argv[2];
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1); /* whoever runs this may have a profile */
#define GATEWAY_TEST(name) cmocka_unit_test_setup_teardown(name, start_gateway, stop_gateway)
#define KEYS_TEST(name) cmocka_unit_test_setup_teardown(name, start_keys, stop_keys)
    const struct CMUnitTest tests[] = {
        GATEWAY_TEST(test_answer_is_printed_without_control_characters),
        GATEWAY_TEST(test_options_reach_the_request),
        GATEWAY_TEST(test_forms_of_the_answer_reach_the_request),
        GATEWAY_TEST(test_tools_come_from_a_file_and_calls_are_printed),
        GATEWAY_TEST(test_model_that_is_not_named_is_the_only_one),
        GATEWAY_TEST(test_refused_model_is_answered_with_what_there_is),
        GATEWAY_TEST(test_limit_for_a_name_that_nobody_serves_is_doubted),
        GATEWAY_TEST(test_lines_end_on_their_own_stream),
        GATEWAY_TEST(test_refusals_are_explained),
        GATEWAY_TEST(test_retry_waits_and_asks_again),
        GATEWAY_TEST(test_retry_does_not_wait_in_vain),
        GATEWAY_TEST(test_json_has_a_line_for_each_chunk),
        GATEWAY_TEST(test_models_are_a_table),
        GATEWAY_TEST(test_interrupt_frees_the_model),
        GATEWAY_TEST(test_timeout_ends_the_answer),
        GATEWAY_TEST(test_nobody_there_is_one_clear_line),
        GATEWAY_TEST(test_missing_credentials_are_named),
        GATEWAY_TEST(test_wrong_calls_exit_with_2),
        KEYS_TEST(test_key_is_created_listed_and_revoked),
        KEYS_TEST(test_keys_service_refusals_are_explained),
    };
    return cmocka_run_group_tests_name("cli/program", tests, NULL, NULL);
}
