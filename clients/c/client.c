/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/limits.h"
#include "clients/c/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t RETRY_WAIT_MAX_NS = 20 * NS_PER_S;
enum { RETRIES_DEFAULT = 2 };

/* ---- the connection ---- */

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != 0 ? value : NULL;
}

static const char *target_of(const struct bora_client_options *options) {
    const char *target = options->target;
    if (target == NULL) target = environment("BORA_ADDRESS");
    return target != NULL ? target : "127.0.0.1:8081";
}

static bool key_is_sendable(const char *key) {
    for (const char *c = key; *c != 0; c++) {
        if (*c <= 0x20 || *c >= 0x7F) return false;
    }
    return true;
}

enum status bora_client_open(const struct bora_client_options *options, struct bora_client **out,
                             struct bora_error *err) {
    const char *key = options->api_key != NULL ? options->api_key : environment("BORA_API_KEY");
    if (key == NULL || key[0] == 0)
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "no API key: give api_key, or set BORA_API_KEY");
    if (!key_is_sendable(key))
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "the API key holds characters that no key has");
    struct bora_client *client = calloc(1, sizeof *client);
    if (client == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    client->timeout_ns = options->timeout_ns;
    client->retries_max = options->retries_max == 0 ? RETRIES_DEFAULT : options->retries_max;
    client->retry_wait_max_ns = options->retry_wait_max_ns > 0 ? options->retry_wait_max_ns : RETRY_WAIT_MAX_NS;
    struct rpc_channel_options channel = {.target = target_of(options),
                                          .message_bytes_max = LIMIT_REQUEST_BODY_BYTES_MAX,
                                          .use_tls = options->use_tls,
                                          .tls = options->tls};
    struct error why = {0};
    enum status status = STATUS_RESOURCE_EXHAUSTED;
    if (asprintf(&client->authorization, "Bearer %s", key) < 0) {
        client->authorization = NULL;
        goto cleanup;
    }
    if (options->model != NULL && (client->model = strdup(options->model)) == NULL) goto cleanup;
    TRY_CLEANUP(rpc_client_create(1, &client->rpc, &why));
    TRY_CLEANUP(rpc_channel_open(client->rpc, &channel, &client->channel, &why));
    *out = client;
    return STATUS_OK;
cleanup:
    bora_client_close(client);
    return bora_error_set(err, status, "%s", why.message[0] != 0 ? why.message : "out of memory");
}

void bora_client_close(struct bora_client *client) {
    if (client == NULL) return;
    if (client->channel != NULL) rpc_channel_close(client->channel);
    if (client->rpc != NULL) rpc_client_destroy(client->rpc);
    free(client->authorization);
    free(client->model);
    free(client);
}

int64_t client_deadline_ns(const struct bora_client *client, const struct bora_chat_options *options) {
    int64_t timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : client->timeout_ns,
            now_ns = clock_monotonic_ns(clock_system());
    return timeout_ns <= 0 || timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
}

/* ---- one attempt ----
 * gRPC's thread leaves each message in `message` and asks for no more; the caller's thread takes it, shows it and then asks for the next. So callbacks run
 * where the caller is, may take their time, and the server waits meanwhile. */

struct attempt {
    struct bora_cancellation *sync; /* its mutex guards what follows */
    struct bytes message;
    bool has_message, finished;
    enum status status;
    struct bora_error error;
};

static void on_message(struct rpc_client_call *call, void *context, struct bytes_view message) {
    (void)call;
    struct attempt *attempt = context;
    pthread_mutex_lock(&attempt->sync->mutex);
    (void)!bytes_append(&attempt->message, message.data, message.length); /* `failed` is looked at by who takes it */
    attempt->has_message = true;
    pthread_cond_broadcast(&attempt->sync->changed);
    pthread_mutex_unlock(&attempt->sync->mutex);
}

static void on_finished(struct rpc_client_call *call, void *context, const struct rpc_result *result) {
    (void)call;
    struct attempt *attempt = context;
    pthread_mutex_lock(&attempt->sync->mutex);
    attempt->finished = true;
    attempt->status = result->status;
    if (result->status != STATUS_OK) bora_error_from_result(&attempt->error, result);
    pthread_cond_broadcast(&attempt->sync->changed);
    pthread_mutex_unlock(&attempt->sync->mutex);
}

/** Wait for the next message, which is moved to `out`; false when the call has ended. Passes a cancellation on. */
static bool next_message(struct attempt *attempt, struct rpc_client_call *call, struct bytes *out) {
    bool told = false;
    pthread_mutex_lock(&attempt->sync->mutex);
    while (!attempt->has_message && !attempt->finished) {
        if (attempt->sync->cancelled && !told) {
            told = true;
            pthread_mutex_unlock(&attempt->sync->mutex);
            rpc_client_call_cancel(call);
            pthread_mutex_lock(&attempt->sync->mutex);
            continue;
        }
        bora_cancellation_wait(attempt->sync, INT64_MAX); /* gRPC knows the deadline */
    }
    bool found = attempt->has_message;
    if (found) {
        struct bytes taken = attempt->message;
        attempt->message = *out;
        bytes_reset(&attempt->message);
        attempt->has_message = false;
        *out = taken;
    }
    pthread_mutex_unlock(&attempt->sync->mutex);
    return found;
}

/** Read until the end. The accumulator's failure, or on_text's wish, ends the call early. */
static enum status read_answer(struct attempt *attempt, struct rpc_client_call *call,
                               const struct bora_chat_options *options, bool streamed, struct accumulator *accumulator,
                               struct bora_error *err) {
    struct bytes message;
    bytes_init(&message, SIZE_MAX); /* the channel has the limit */
    enum status status = STATUS_OK;
    while (next_message(attempt, call, &message)) {
        if (status != STATUS_OK) continue; /* cancelled: only its end is waited for */
        const char *text = "";
        if (message.failed)
            status = bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        else
            status = accumulator_add(accumulator, bytes_view(&message), streamed, &text, err);
        if (status == STATUS_OK && options->on_text != NULL && text[0] != 0 &&
            !options->on_text(options->context, text))
            status = bora_error_set(err, STATUS_CANCELLED, "on_text ended the answer");
        if (status == STATUS_OK)
            rpc_client_call_read(call);
        else
            rpc_client_call_cancel(call);
    }
    bytes_deinit(&message);
    if (status != STATUS_OK) return status;
    if (attempt->status != STATUS_OK) {
        if (err != NULL) *err = attempt->error;
        return attempt->status;
    }
    if (!accumulator_finished(accumulator))
        return bora_error_set(err, STATUS_DATA_LOSS, "the stream ended before the answer did");
    return STATUS_OK;
}

static enum status attempt_once(struct bora_client *client, struct bytes_view request,
                                const struct bora_chat_options *options, struct bora_cancellation *sync, bool streamed,
                                int64_t deadline_ns, struct accumulator *accumulator, struct bora_error *err) {
    struct attempt attempt = {.sync = sync};
    bytes_init(&attempt.message, SIZE_MAX);
    const char *const metadata[] = {"authorization", client->authorization, NULL};
    struct rpc_client_call_options call_options = {.path = streamed ? "/bora.v1.ChatService/StreamChat"
                                                                    : "/bora.v1.ChatService/CompleteChat",
                                                   .deadline_ns = deadline_ns,
                                                   .metadata = metadata,
                                                   .only_request = &request,
                                                   .on_message = on_message,
                                                   .on_finished = on_finished,
                                                   .context = &attempt};
    struct rpc_client_call *call = NULL;
    struct error why = {0};
    enum status status = rpc_client_call_start(client->channel, &call_options, &call, &why);
    if (status != STATUS_OK) {
        bytes_deinit(&attempt.message);
        return bora_error_set(err, status, "%s", why.message);
    }
    rpc_client_call_read(call);
    status = read_answer(&attempt, call, options, streamed, accumulator, err);
    rpc_client_call_unref(call);
    bytes_deinit(&attempt.message);
    return status;
}

/* ---- a call with its repetitions ---- */

/** How long to wait before trying again; negative: do not. Nothing of the answer has come. */
static int64_t retry_wait_ns(const struct bora_client *client, const struct bora_error *error, int attempt,
                             int64_t deadline_ns) {
    static const int64_t backoff_ns[] = {200 * NS_PER_MS, 800 * NS_PER_MS, 2 * NS_PER_S};
    bool limited = error->status == STATUS_RESOURCE_EXHAUSTED && error->retry_after_ms > 0;
    if (attempt >= client->retries_max || (error->status != STATUS_UNAVAILABLE && !limited)) return -1;
    if (error->retry_after_ms > client->retry_wait_max_ns / NS_PER_MS) return -1;
    int64_t wait_ns =
        error->retry_after_ms > 0 ? error->retry_after_ms * NS_PER_MS : backoff_ns[attempt < 2 ? attempt : 2];
    bool in_time = deadline_ns == INT64_MAX || wait_ns < deadline_ns - clock_monotonic_ns(clock_system());
    return in_time ? wait_ns : -1;
}

/** Sleep; false when cancelled. */
static bool pause_for(struct bora_cancellation *sync, int64_t wait_ns) {
    int64_t end_ns = clock_monotonic_ns(clock_system()) + wait_ns;
    pthread_mutex_lock(&sync->mutex);
    while (!sync->cancelled && clock_monotonic_ns(clock_system()) < end_ns) bora_cancellation_wait(sync, end_ns);
    bool go_on = !sync->cancelled;
    pthread_mutex_unlock(&sync->mutex);
    return go_on;
}

static enum status ask_until_begun(struct bora_client *client, struct bytes_view request,
                                   const struct bora_chat_options *options, struct bora_cancellation *sync,
                                   bool streamed, int64_t deadline_ns, struct accumulator *accumulator,
                                   struct bora_error *err) {
    int64_t wait_ns = 0;
    struct bora_error error = {0};
    for (int attempt = 0; pause_for(sync, wait_ns); attempt++) {
        error = (struct bora_error){0};
        enum status status = attempt_once(client, request, options, sync, streamed, deadline_ns, accumulator, &error);
        if (status != STATUS_OK && !accumulator_started(accumulator))
            wait_ns = retry_wait_ns(client, &error, attempt, deadline_ns);
        else
            wait_ns = -1;
        if (wait_ns < 0) {
            if (err != NULL && status != STATUS_OK) *err = error;
            return status;
        }
    }
    return bora_error_set(err, STATUS_CANCELLED, "cancelled before the answer began");
}

enum status client_ask(struct bora_client *client, const struct bora_conversation *conversation,
                       const struct bora_chat_options *options, const struct request_tools *tools, bool streamed,
                       int64_t deadline_ns, struct bora_answer *out, struct bora_error *err) {
    *out = (struct bora_answer){.text = "", .reasoning = "", .model = "", .id = ""};
    struct bora_cancellation *sync = options->cancellation;
    struct accumulator *accumulator = NULL;
    struct bytes request;
    bytes_init(&request, LIMIT_REQUEST_BODY_BYTES_MAX);
    enum status status = STATUS_OK;
    if (sync == NULL)
        TRY_CLEANUP(bora_cancellation_create(&sync, err));
    else
        bora_cancellation_ref(sync);
    TRY_CLEANUP(accumulator_create(&accumulator, err));
    TRY_CLEANUP(request_pack(client, conversation, options, tools, &request, err));
    status = ask_until_begun(client, bytes_view(&request), options, sync, streamed, deadline_ns, accumulator, err);
    struct bora_error ignored;
    enum status copied = accumulator_answer(accumulator, out, status == STATUS_OK ? err : &ignored);
    if (status == STATUS_OK) status = copied;
cleanup:
    accumulator_destroy(accumulator);
    bytes_deinit(&request);
    bora_cancellation_destroy(sync);
    return status;
}

static const struct bora_chat_options nothing_said = {0};

enum status bora_client_chat(struct bora_client *client, const struct bora_conversation *conversation,
                             const struct bora_chat_options *options, struct bora_answer *out, struct bora_error *err) {
    if (options == NULL) options = &nothing_said;
    return client_ask(client, conversation, options, NULL, false, client_deadline_ns(client, options), out, err);
}

enum status bora_client_chat_stream(struct bora_client *client, const struct bora_conversation *conversation,
                                    const struct bora_chat_options *options, struct bora_answer *out,
                                    struct bora_error *err) {
    if (options == NULL) options = &nothing_said;
    return client_ask(client, conversation, options, NULL, true, client_deadline_ns(client, options), out, err);
}
