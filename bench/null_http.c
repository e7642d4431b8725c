/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The null worker as a server that any proxy of OpenAI's interface can stand in front of: the same answers, by HTTP. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "bench/null_worker.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 64,
    VALUES_MAX = 100000,
    REQUEST_ARENA_BYTES = 8 << 20,
    ANSWER_BYTES_MAX = 16 << 20,
    CONNECTIONS_MAX = 16384
};

struct null_exchange {
    struct null_answer answer; /* first: found from it */
    const struct null_settings *settings;
    struct http_exchange *http;
    atomic_int references;
    bool stream;
    int64_t created;
    struct bytes text; /* what is being written, or all of a whole answer; under the answer's mutex */
};

static void exchange_ref(struct null_answer *answer) {
    atomic_fetch_add(&((struct null_exchange *)answer)->references, 1);
}

static void exchange_unref(struct null_answer *answer) {
    struct null_exchange *exchange = (struct null_exchange *)answer;
    if (atomic_fetch_sub(&exchange->references, 1) != 1) return;
    null_answer_deinit(answer);
    bytes_deinit(&exchange->text);
    http_exchange_unref(exchange->http);
    free(exchange);
}

static void write_usage(struct null_exchange *exchange) {
    long long tokens = (long long)exchange->answer.sent;
    (void)!bytes_printf(&exchange->text,
                        "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%lld,\"total_tokens\":%lld}}",
                        NULL_PROMPT_TOKENS, tokens, NULL_PROMPT_TOKENS + tokens);
}

static void write_head(struct null_exchange *exchange, const char *object) {
    (void)!bytes_printf(&exchange->text,
                        "{\"id\":\"chatcmpl-null\",\"object\":\"%s\",\"created\":%lld,\"model\":\"%s\",\"choices\":[{"
                        "\"index\":0,",
                        object, (long long)exchange->created, exchange->settings->model);
}

/** An event for `tokens`; the last one ends the stream. */
static bool stream_tokens(struct null_exchange *exchange, int64_t tokens, bool last) {
    struct bytes *out = &exchange->text;
    struct bytes_view text = null_answer_text(tokens);
    bytes_reset(out);
    (void)!bytes_append_string(out, "data: ");
    write_head(exchange, "chat.completion.chunk");
    (void)!bytes_printf(out, "\"delta\":{%s\"content\":\"%.*s\"},\"finish_reason\":null}]}\n\n",
                        exchange->answer.sent == tokens ? "\"role\":\"assistant\"," : "", (int)text.length, text.data);
    if (last) {
        (void)!bytes_append_string(out, "data: ");
        write_head(exchange, "chat.completion.chunk");
        (void)!bytes_append_string(out, "\"delta\":{},\"finish_reason\":\"length\"}],");
        write_usage(exchange);
        (void)!bytes_append_string(out, "\n\ndata: [DONE]\n\n");
    }
    (void)!http_exchange_write(exchange->http, bytes_view(out)); /* on_closed tells of a client that left */
    if (last) http_exchange_end(exchange->http);
    return http_exchange_pending_bytes(exchange->http) <= LIMIT_STREAM_PENDING_BYTES;
}

static bool send_tokens(struct null_answer *answer, int64_t tokens, bool last) {
    struct null_exchange *exchange = (struct null_exchange *)answer;
    if (exchange->stream) return stream_tokens(exchange, tokens, last);
    struct bytes_view text = null_answer_text(tokens);
    struct bytes *out = &exchange->text;
    if (answer->sent == tokens) {
        write_head(exchange, "chat.completion");
        (void)!bytes_append_string(out, "\"message\":{\"role\":\"assistant\",\"content\":\"");
    }
    (void)!bytes_append(out, text.data, text.length);
    if (!last) return true;
    (void)!bytes_append_string(out, "\"},\"finish_reason\":\"length\"}],");
    write_usage(exchange);
    http_exchange_respond(exchange->http, out->failed ? 500 : 200, "application/json", bytes_view(out));
    return true;
}

static struct null_exchange *exchange_open(struct http_exchange *http, const struct null_settings *settings,
                                           const struct json_value *request) {
    struct null_exchange *exchange = calloc(1, sizeof *exchange);
    int64_t tokens = 0;
    if (exchange == NULL) return NULL;
    const struct json_value *stream = json_member(request, "stream");
    (void)json_i64(json_member(request, "max_tokens"), &tokens);
    null_answer_init(&exchange->answer, tokens);
    exchange->answer.send = send_tokens;
    exchange->answer.ref = exchange_ref;
    exchange->answer.unref = exchange_unref;
    exchange->settings = settings;
    exchange->http = http;
    exchange->stream = stream != NULL && stream->kind == JSON_KIND_BOOLEAN && stream->boolean;
    exchange->created = clock_unix_ns(clock_system()) / NS_PER_S;
    atomic_init(&exchange->references, 2); /* the server's and on_request's */
    bytes_init(&exchange->text, ANSWER_BYTES_MAX);
    http_exchange_ref(http);
    http_exchange_set_state(http, exchange);
    return exchange;
}

static void respond_text(struct http_exchange *http, int http_status, const char *text) {
    http_exchange_respond(http, http_status, "text/plain", bytes_view_string(text));
}

static void on_request(struct http_exchange *http, void *context) {
    const char *path = http_exchange_path(http);
    if (strcmp(path, "/v1/chat/completions") != 0) {
        respond_text(http, strcmp(path, "/healthz") == 0 ? 200 : 404, "the null worker\n");
        return;
    }
    struct arena arena;
    struct json_value *request = NULL;
    struct json_problem problem = {0};
    arena_init(&arena, REQUEST_ARENA_BYTES);
    if (json_read(http_exchange_body(http), DEPTH_MAX, VALUES_MAX, &arena, &request, &problem) == STATUS_OK) {
        struct null_exchange *exchange = exchange_open(http, context, request);
        if (exchange != NULL) {
            if (exchange->stream) http_exchange_start(http, 200, "text/event-stream");
            null_answer_go(&exchange->answer);
            exchange_unref(&exchange->answer);
        } else {
            respond_text(http, 503, "out of memory\n");
        }
    } else {
        respond_text(http, 400, "this is no JSON\n");
    }
    arena_deinit(&arena);
}

static void on_writable(struct http_exchange *http, void *context) {
    (void)context;
    struct null_exchange *exchange = http_exchange_state(http);
    if (exchange != NULL) null_answer_go(&exchange->answer);
}

static void on_closed(struct http_exchange *http, void *context, bool completed) {
    (void)context, (void)completed;
    struct null_exchange *exchange = http_exchange_state(http);
    if (exchange == NULL) return;
    (void)null_answer_end(&exchange->answer);
    exchange_unref(&exchange->answer);
}

enum status null_http_open(struct loop *loop, const struct null_settings *settings, struct http_server **out,
                           struct error *err) {
    struct http_server_options options = {.loop = loop,
                                          .address = settings->http_listen,
                                          .body_bytes_max = LIMIT_REQUEST_BODY_BYTES_MAX,
                                          .connections_max = CONNECTIONS_MAX,
                                          .on_request = on_request,
                                          .on_writable = on_writable,
                                          .on_closed = on_closed,
                                          .context = (void *)settings};
    return http_server_create(&options, out, err);
}
