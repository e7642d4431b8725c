/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/limits.h"
#include "clients/c/client_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS_DEFAULT = 10 };

struct run_state {
    struct bora_client *client;
    struct bora_conversation *conversation;
    struct bora_tools *tools;
    const struct bora_run_options *options;
    struct bora_chat_options chat; /* the options', with the cancellation that all of it waits on */
    int64_t deadline_ns;
    struct request_tools request;
    bool text_refused; /* on_text said no */
    struct bora_run *run;
};

/** Calls of the last assistant's message that no tool message behind it answers: `out` (malloc'd, the texts lent from the conversation). Each result
 *  answers one call, so that two of one id need two. */
static enum status pending_calls(const struct bora_conversation *conversation, struct bora_tool_call **out,
                                 size_t *out_count, struct bora_error *err) {
    size_t last = bora_conversation_length(conversation), end = last;
    *out = NULL;
    *out_count = 0;
    while (last > 0 && bora_conversation_at(conversation, last - 1)->role == BORA_ROLE_TOOL) last--;
    if (last == 0) return STATUS_OK;
    const struct bora_message *asking = bora_conversation_at(conversation, last - 1);
    if (asking->role != BORA_ROLE_ASSISTANT || asking->call_count == 0) return STATUS_OK;
    struct bora_tool_call *calls = calloc(asking->call_count, sizeof *calls);
    bool *used = calloc(end - last + 1, sizeof *used);
    if (calls == NULL || used == NULL) {
        free(calls);
        free(used);
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    for (size_t i = 0; i < asking->call_count; i++) {
        const char *id = asking->calls[i].id != NULL ? asking->calls[i].id : "";
        bool answered = false;
        for (size_t j = last; j < end && !answered; j++) {
            const char *answers = bora_conversation_at(conversation, j)->call_id;
            answered = !used[j - last] && strcmp(answers != NULL ? answers : "", id) == 0;
            if (answered) used[j - last] = true;
        }
        if (answered) continue;
        calls[*out_count] = asking->calls[i];
        calls[*out_count].id = id;
        if (calls[*out_count].name == NULL) calls[*out_count].name = "";
        (*out_count)++;
    }
    free(used);
    *out = calls;
    return STATUS_OK;
}

/** A choice that forces a call would force one in every round, and no answer would ever come: it counts once. */
static void relax_choice(struct request_tools *request) {
    bool forced =
        request->name != NULL ||
        (request->choice != NULL && (strcmp(request->choice, "required") == 0 || strcmp(request->choice, "any") == 0));
    if (forced) request->choice = "auto";
    request->name = NULL;
}

static bool hear(void *context, const char *text) {
    struct run_state *state = context;
    const struct bora_chat_options *chat = &state->options->chat;
    if (chat->on_text == NULL || chat->on_text(chat->context, text)) return true;
    state->text_refused = true;
    return false;
}

/** Did our own limit end the call? */
static bool stopped(const struct run_state *state, enum status status, enum bora_run_end *out_end) {
    if (status == STATUS_DEADLINE_EXCEEDED && state->deadline_ns != INT64_MAX) {
        /* The call's deadline is the run's; gRPC's clock may be a hair ahead of ours. */
        bool ours = state->deadline_ns - clock_monotonic_ns(clock_system()) < 100 * NS_PER_MS;
        if (ours) *out_end = BORA_RUN_TIMEOUT;
        return ours;
    }
    if (status != STATUS_CANCELLED) return false;
    pthread_mutex_lock(&state->chat.cancellation->mutex);
    bool cancelled = state->chat.cancellation->cancelled || state->text_refused;
    pthread_mutex_unlock(&state->chat.cancellation->mutex);
    if (cancelled) *out_end = BORA_RUN_CANCELLED;
    return cancelled;
}

/** One answer more. `out_end` is set when it was stopped, and stays BORA_RUN_FAILED when the run goes on. */
static enum status ask_once(struct run_state *state, enum bora_run_end *out_end, struct bora_error *err) {
    struct bora_run *run = state->run;
    struct bora_answer answer;
    struct bora_error error = {0};
    enum status status = client_ask(state->client, state->conversation, &state->chat, &state->request, true,
                                    state->deadline_ns, &answer, &error);
    bool nothing = status != STATUS_OK && answer.text[0] == 0 && answer.call_count == 0;
    if (nothing) {
        bora_answer_deinit(&answer);
    } else {
        bora_answer_deinit(&run->answer);
        run->answer = answer;
    }
    if (status != STATUS_OK) {
        if (stopped(state, status, out_end)) return STATUS_OK;
        if (err != NULL) *err = error;
        return status;
    }
    run->rounds++;
    run->prompt_tokens += answer.prompt_tokens;
    run->completion_tokens += answer.completion_tokens;
    struct bora_message message = bora_answer_message(&answer);
    relax_choice(&state->request);
    return bora_conversation_add(state->conversation, &message, err);
}

static bool is_cut(const struct bora_answer *answer) {
    const char *reason = answer->finish_reason != NULL ? answer->finish_reason : "";
    return strcmp(reason, "length") == 0 || strcmp(reason, "model_length") == 0;
}

/** Run the calls that wait. `out_end`: BORA_RUN_FAILED when the run goes on with another answer. */
static enum status run_pending(struct run_state *state, enum bora_run_end *out_end, struct bora_error *err) {
    struct bora_tool_call *calls = NULL;
    size_t count = 0;
    int rounds_max = state->options->rounds_max > 0 ? state->options->rounds_max : ROUNDS_DEFAULT;
    TRY(pending_calls(state->conversation, &calls, &count, err));
    enum status status = STATUS_OK;
    enum bora_run_end end = BORA_RUN_FAILED;
    if (count > 0 && state->run->rounds >= rounds_max) {
        end = BORA_RUN_MAX_ROUNDS;
    } else if (count > 0) {
        relax_choice(&state->request);
        status = round_run(state->conversation, state->tools, state->options, state->chat.cancellation,
                           state->deadline_ns, calls, count, &end, err);
        if (end == BORA_RUN_ANSWERED) end = BORA_RUN_FAILED; /* the calls were, not the question */
    } else if (state->run->rounds > 0) {
        end = is_cut(&state->run->answer) ? BORA_RUN_LENGTH : BORA_RUN_ANSWERED;
    }
    free(calls);
    *out_end = end;
    return status;
}

enum status bora_client_run(struct bora_client *client, struct bora_conversation *conversation,
                            struct bora_tools *tools, const struct bora_run_options *options, struct bora_run *out,
                            struct bora_error *err) {
    static const struct bora_run_options nothing_said = {0};
    if (options == NULL) options = &nothing_said;
    *out = (struct bora_run){.answer = {.text = "", .reasoning = "", .model = "", .id = ""}};
    if (tools == NULL) return bora_error_set(err, STATUS_INVALID_ARGUMENT, "a run needs a registry of tools");
    struct run_state state = {.client = client,
                              .conversation = conversation,
                              .tools = tools,
                              .options = options,
                              .chat = options->chat,
                              .deadline_ns = client_deadline_ns(client, &options->chat),
                              .request = {tools, options->tool_choice, options->tool_name},
                              .run = out};
    state.chat.on_text = hear;
    state.chat.context = &state;
    if (state.chat.cancellation == NULL)
        TRY(bora_cancellation_create(&state.chat.cancellation, err));
    else
        bora_cancellation_ref(state.chat.cancellation);
    enum bora_run_end end = BORA_RUN_FAILED;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && end == BORA_RUN_FAILED) {
        status = run_pending(&state, &end, err);
        if (status == STATUS_OK && end == BORA_RUN_FAILED) status = ask_once(&state, &end, err);
    }
    bora_cancellation_destroy(state.chat.cancellation);
    out->end = status == STATUS_OK ? end : BORA_RUN_FAILED;
    return status;
}

void bora_run_deinit(struct bora_run *run) {
    bora_answer_deinit(&run->answer);
}
