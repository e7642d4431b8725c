/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Context windowing works on conversations, not on tokens: what is left is laid out like any conversation, so tools and system prompts stand where the
 * layout puts them, and no layout needs to know of it. */
#include "engine/chat/chat.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/** Where the turns begin that may be dropped; behind them, where the last turn does. */
struct turns {
    size_t *starts, count; /* `count` may be dropped; starts[count] is the last turn's */
};

static enum status find_turns(const struct chat_conversation *conversation, struct turns *out, struct error *err) {
    size_t *starts = calloc(conversation->message_count + 1, sizeof *starts), count = 0;
    if (starts == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    bool last_is_user = false;
    for (size_t i = 0; i < conversation->message_count; i++) {
        enum chat_role role = conversation->messages[i].role,
                       before = i > 0 ? conversation->messages[i - 1].role : role;
        bool user = role == CHAT_ROLE_USER;
        /* What an assistant says before any user is a turn too. */
        bool begins = user ? i == 0 || before != CHAT_ROLE_USER : count == 0 && role != CHAT_ROLE_SYSTEM;
        if (begins) starts[count++] = i;
        if (begins) last_is_user = user;
    }
    *out = (struct turns){.starts = starts, .count = count > 0 && last_is_user ? count - 1 : 0};
    return STATUS_OK;
}

/** The conversation without its first `drop` turns; system messages stay. Returns how many messages went. */
static size_t without(const struct chat_conversation *conversation, const struct turns *turns, size_t drop,
                      struct chat_message *messages, struct chat_conversation *out) {
    size_t count = 0;
    for (size_t i = 0; i < conversation->message_count; i++) {
        if (i >= turns->starts[drop] || conversation->messages[i].role == CHAT_ROLE_SYSTEM)
            messages[count++] = conversation->messages[i];
    }
    *out = *conversation;
    out->messages = messages;
    out->message_count = count;
    return conversation->message_count - count;
}

/** Does it fit without `drop` turns? Then `out` has the ids. */
static enum status attempt(const struct chat_layout *layout, const struct chat_conversation *conversation,
                           const struct turns *turns, size_t drop, struct chat_message *messages,
                           struct token_list *out, bool *out_fits, size_t *out_dropped, struct error *err) {
    struct chat_conversation rest;
    struct error unfit = {0};
    size_t dropped = without(conversation, turns, drop, messages, &rest);
    out->count = 0;
    enum status status = chat_layout_render(layout, &rest, out, &unfit);
    *out_fits = status == STATUS_OK;
    if (status == STATUS_OK) *out_dropped = dropped;
    return status == STATUS_OK || status == STATUS_OUT_OF_RANGE ? STATUS_OK
                                                                : error_set(err, status, "%s", unfit.message);
}

/** The least number of turns whose absence makes it fit, by halving; `trial` ends with those ids. */
static enum status search(const struct chat_layout *layout, const struct chat_conversation *conversation,
                          const struct turns *turns, struct chat_message *messages, struct token_list *trial,
                          size_t *out_dropped, struct error *err) {
    size_t low = 1, high = turns->count;
    bool fits = false;
    if (high == 0) return error_set(err, STATUS_OUT_OF_RANGE, "the last turn does not fit");
    TRY(attempt(layout, conversation, turns, high, messages, trial, &fits, out_dropped, err));
    if (!fits) return error_set(err, STATUS_OUT_OF_RANGE, "the last turn does not fit");
    size_t held = high; /* whose ids `trial` has */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        TRY(attempt(layout, conversation, turns, middle, messages, trial, &fits, out_dropped, err));
        held = fits ? middle : SIZE_MAX;
        if (fits)
            high = middle;
        else
            low = middle + 1;
    }
    if (held != high) TRY(attempt(layout, conversation, turns, high, messages, trial, &fits, out_dropped, err));
    return fits ? STATUS_OK : error_set(err, STATUS_OUT_OF_RANGE, "the last turn does not fit");
}

enum status chat_layout_render_window(const struct chat_layout *layout, const struct chat_conversation *conversation,
                                      struct chat_window *window, struct token_list *out, struct error *err) {
    struct token_list whole = {.max_count = LIMIT_CONVERSATION_TOKENS}, trial = {.max_count = window->max_tokens};
    struct turns turns = {0};
    struct chat_message *messages = NULL;
    enum status status;
    window->dropped_messages = window->dropped_tokens = 0;
    TRY_CLEANUP(chat_layout_render(layout, conversation, &whole, err));
    struct token_list *fitting = &whole;
    if (whole.count > window->max_tokens) {
        messages = calloc(conversation->message_count, sizeof *messages);
        if (messages == NULL) {
            status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
            goto cleanup;
        }
        TRY_CLEANUP(find_turns(conversation, &turns, err));
        size_t dropped = 0;
        TRY_CLEANUP(search(layout, conversation, &turns, messages, &trial, &dropped, err));
        window->dropped_messages = dropped;
        window->dropped_tokens = whole.count - trial.count;
        fitting = &trial;
    }
    size_t before = out->count;
    for (size_t i = 0; i < fitting->count; i++) {
        status = token_list_append(out, fitting->ids[i]);
        if (status == STATUS_OK) continue;
        out->count = before;
        status = error_set(err, status, "the conversation does not fit into %zu tokens", out->max_count);
        goto cleanup;
    }
cleanup:
    free(turns.starts);
    free(messages);
    token_list_deinit(&whole);
    token_list_deinit(&trial);
    return status;
}
