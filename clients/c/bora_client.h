/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Bora from C: a connection to a gateway, conversations, answers whole or in pieces. bora_tools.h beside this adds tools that run here.
 *
 *     struct bora_client *client;  struct bora_conversation *talk;  struct bora_answer answer;  struct bora_error err = {0};
 *     bora_client_open(&(struct bora_client_options){.model = "small"}, &client, &err);    // $BORA_API_KEY, $BORA_ADDRESS
 *     bora_conversation_create(&talk, &err);
 *     bora_conversation_add_text(talk, BORA_ROLE_USER, "Why is the sky blue?", &err);
 *     if (bora_client_chat(client, talk, NULL, &answer, &err) == STATUS_OK) puts(answer.text);
 *     bora_answer_deinit(&answer);
 *
 * Functions block; they return STATUS_OK or fill `err` (which may be NULL). A client may be used by several threads at once, a conversation by one.
 */
#ifndef CLIENTS_C_BORA_CLIENT_H
#define CLIENTS_C_BORA_CLIENT_H

#include "base/arena.h"
#include "base/status.h"
#include "bora/v1/chat.pb-c.h"
#include "rpc/grpc_client.h"

/* ---- errors ---- */

/** What went wrong. Texts are empty where there is nothing to say. */
struct bora_error {
    enum status status;
    char message[ERROR_MESSAGE_BYTES]; /* a sentence */
    char type[64], code[16];           /* the service's own: "invalid_model" and "1500" */
    char field[128];                   /* the first field that was refused: "messages[0].content" */
    char request_id[64];               /* to be found in the gateway's log */
    int64_t retry_after_ms;            /* > 0: when it may go better */
};

/* ---- the connection ---- */

struct bora_client;

struct bora_client_options {
    const char *target;  /* "host:port" of gRPC; NULL: $BORA_ADDRESS, as of the command line, 127.0.0.1:8081 */
    const char *api_key; /* NULL: $BORA_API_KEY */
    bool use_tls;
    struct rpc_tls tls;
    const char *model;         /* for calls that name none */
    int64_t timeout_ns;        /* for calls that say nothing themselves; 0: as long as it takes */
    int retries_max;           /* see bora_client_chat; 0: two, negative: none */
    int64_t retry_wait_max_ns; /* longer waits are not begun; 0: 20 s */
};

/** Options are copied. Connects with the first call, and again whenever it has to. STATUS_INVALID_ARGUMENT without a key, or with one that is none. */
enum status bora_client_open(const struct bora_client_options *options, struct bora_client **out,
                             struct bora_error *err);
/** No call may be running. Handlers that were given up (bora_tools.h) do not hinder it. */
void bora_client_close(struct bora_client *client);

/** A switch that ends calls from another thread: any number of them, those to come as well. */
struct bora_cancellation;
enum status bora_cancellation_create(struct bora_cancellation **out, struct bora_error *err);
/** Any thread, once or often. */
void bora_cancellation_cancel(struct bora_cancellation *cancellation);
void bora_cancellation_destroy(struct bora_cancellation *cancellation); /* after the calls that it was given to */

/* ---- conversations ---- */

enum bora_role { BORA_ROLE_SYSTEM, BORA_ROLE_USER, BORA_ROLE_ASSISTANT, BORA_ROLE_TOOL };

/** A call that a model wants. `arguments` is JSON text, as it was written. */
struct bora_tool_call {
    const char *id, *name, *arguments;
};

struct bora_message {
    enum bora_role role;
    const char *text;
    const struct bora_tool_call *calls; /* BORA_ROLE_ASSISTANT */
    size_t call_count;
    const char *call_id, *tool_name; /* BORA_ROLE_TOOL: which call this is the result of */
};

/** Messages, in order; it only grows. */
struct bora_conversation;
enum status bora_conversation_create(struct bora_conversation **out, struct bora_error *err);
void bora_conversation_destroy(struct bora_conversation *conversation);
/** Copied. STATUS_INVALID_ARGUMENT when a text is no UTF-8, STATUS_RESOURCE_EXHAUSTED past LIMIT_MESSAGES or 256 MiB. */
enum status bora_conversation_add(struct bora_conversation *conversation, const struct bora_message *message,
                                  struct bora_error *err);
enum status bora_conversation_add_text(struct bora_conversation *conversation, enum bora_role role, const char *text,
                                       struct bora_error *err);
size_t bora_conversation_length(const struct bora_conversation *conversation);
/** `index` < length. Lent until the conversation is destroyed. */
const struct bora_message *bora_conversation_at(const struct bora_conversation *conversation, size_t index);

/* ---- answers ---- */

/** The first choice of an answer. Everything belongs to it until bora_answer_deinit. */
struct bora_answer {
    const char *text;      /* never NULL */
    const char *reasoning; /* what the model thought before, where it says so; never NULL */
    const struct bora_tool_call *calls;
    size_t call_count;
    const char *finish_reason; /* "stop", "length", "model_length", "tool_calls"; NULL: it was cut off */
    const char *model, *id;
    int64_t prompt_tokens, completion_tokens;
    struct arena memory;
};
void bora_answer_deinit(struct bora_answer *answer);
/** The answer as a message, lent from it: to go on with the conversation. */
struct bora_message bora_answer_message(const struct bora_answer *answer);

/** What the answer must look like: enforced token by token. Say in the prompt what is wanted, too. */
enum bora_format_kind {
    BORA_FORMAT_ANY, /* or as `settings` say */
    BORA_FORMAT_JSON_OBJECT,
    BORA_FORMAT_JSON_SCHEMA, /* text: the schema, as JSON */
    BORA_FORMAT_REGEX,       /* all of the answer matches it */
    BORA_FORMAT_GBNF,        /* text: a grammar, whose rule `root` is all of the answer */
    BORA_FORMAT_LARK         /* the same with `start` */
};
struct bora_format {
    enum bora_format_kind kind;
    const char *text; /* lent for the call; NULL for the first two */
};

struct bora_chat_options {
    const char *model;         /* NULL: the client's */
    int64_t max_tokens;        /* 0: not said */
    const double *temperature; /* NULL: not said */
    struct bora_format format; /* {BORA_FORMAT_JSON_SCHEMA, "{\"type\": \"integer\"}"} */
    /* Everything else that the interface has: a message of which all is taken but model, messages and what stands here. NULL: nothing. */
    const Bora__V1__ChatCompletionRequest *settings;
    int64_t timeout_ns; /* 0: the client's */
    struct bora_cancellation *cancellation;
    /* Streams: text as it comes, on the caller's thread; false ends the call with STATUS_CANCELLED. A slow one slows the model down, no more. */
    bool (*on_text)(void *context, const char *text);
    void *context; /* of on_text */
};

/**
 * One answer to the conversation, which stays as it is. `options` may be NULL.
 *
 * A call that did not begin is made again, up to retries_max times and within its timeout: when the service said when to come back (429, 503), or there
 * was no connection. Never once a piece of the answer has come.
 *
 * Memory: `out` is to be given to bora_answer_deinit, whatever comes back; on failure it holds what had come (finish_reason NULL).
 * Fails:  with the service's status; STATUS_UNAVAILABLE without a connection, STATUS_DEADLINE_EXCEEDED, STATUS_CANCELLED; STATUS_DATA_LOSS when
 *         a stream ended before the answer did.
 */
enum status bora_client_chat(struct bora_client *client, const struct bora_conversation *conversation,
                             const struct bora_chat_options *options, struct bora_answer *out, struct bora_error *err);
/** The same, in pieces. */
enum status bora_client_chat_stream(struct bora_client *client, const struct bora_conversation *conversation,
                                    const struct bora_chat_options *options, struct bora_answer *out,
                                    struct bora_error *err);

#endif
