/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The most tokens that a chat may have, known without a word from its worker. */
#include "base/clock.h"
#include "services/gateway/chat.h"

/* What a worker may say of itself; more is no bound that helps anybody. */
enum { BOUND_TOKENS_MAX = 1 << 20 };

static bool is_sane(const Bora__Internal__V1__PromptBound *bound) {
    return bound != NULL && bound->fixed_tokens >= 0 && bound->fixed_tokens <= BOUND_TOKENS_MAX &&
           bound->message_tokens >= 0 && bound->message_tokens <= BOUND_TOKENS_MAX && bound->byte_tokens >= 1 &&
           bound->byte_tokens <= BOUND_TOKENS_MAX;
}

/** Texts alone: what else a prompt may hold is laid out in ways that no bound covers, or may be declined by the worker. */
static bool is_plain(const struct chat_plan *plan) {
    const Bora__Internal__V1__Start *start = plan->start;
    if (!plan->max_tokens_given || plan->streams != 1 || plan->choices != 1 || start->grammar != NULL ||
        start->n_tools > 0 || start->beam != NULL)
        return false;
    for (size_t i = 0; i < start->n_messages; i++) {
        if (start->messages[i]->role == BORA__INTERNAL__V1__CONVERSATION_MESSAGE__ROLE__ROLE_TOOL ||
            start->messages[i]->n_tool_calls > 0)
            return false;
    }
    return true;
}

/** A worker that looks as if it would refuse for lack of places is asked first. */
static bool has_places(const struct worker *worker) {
    const Bora__Internal__V1__Load *load = worker->announcement->load;
    if (load == NULL || atomic_load(&worker->load.waiting) > 0) return false;
    return load->alive_max == 0 || atomic_load(&worker->running) <= load->alive_max / 2;
}

static int64_t at_most(int64_t value, int64_t most) {
    return value < most ? value : most;
}

bool chat_estimate(const struct chat *chat, struct chat_estimate *out) {
    const Bora__Internal__V1__ModelDescription *model = chat->worker->announcement->model;
    const Bora__Internal__V1__Start *start = chat->plan.start;
    const Bora__Internal__V1__PromptBound *bound = model->prompt_bound;
    if (!is_sane(bound) || !is_plain(&chat->plan) || !has_places(chat->worker) ||
        atomic_load(&chat->request->key->counted_until_ns) > clock_monotonic_ns(clock_system()))
        return false;
    int64_t bytes = 0, context = model->context_tokens;
    for (size_t i = 0; i < start->n_messages; i++) bytes += (int64_t)start->messages[i]->content.len;
    int64_t input =
        bound->fixed_tokens + bound->message_tokens * (int64_t)start->n_messages + bound->byte_tokens * bytes;
    *out = (struct chat_estimate){.input = at_most(input, context), /* what is longer is refused */
                                  .output = at_most(start->max_tokens, context)};
    out->needs_input = out->input;
    out->needs_output = out->output;
    return out->input > 0;
}
