/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * How many tokens a conversation of texts may become, out of what the layout writes around them. Every control token is one token; every text that is
 * encoded by itself is at most what the tokenizer's bound makes of its bytes. A blank line between neighbours that become one text is charged to
 * the first of them.
 */
#include "engine/chat/chat_internal.h"
#include "engine/chat/template.h"

#include <string.h>

enum { BLANK_LINE = 2, ROLE_LINE = sizeof "assistant\n" - 1 };

/** `controls` control tokens and `texts` texts, which have `bytes` bytes that no message has. */
static int64_t written(const struct tokenizer_bound *bound, int64_t controls, int64_t texts, size_t bytes) {
    return controls + texts * bound->text + (int64_t)bytes * bound->byte;
}

/* ---- ChatML -------------------------------------------------------------------------------------------------------- */

/** A turn: its beginning, role and content, its end, a newline. An answer's opening ends with the role. */
static void bound_chatml(const struct chatml_layout *layout, const struct tokenizer_bound *bound,
                         struct chat_prompt_bound *out) {
    out->message = written(bound, 2, 2, ROLE_LINE + 1);
    out->fixed = written(bound, 1, 1, ROLE_LINE);
    if (layout->default_system != NULL)
        out->fixed += written(bound, 2, 2, strlen("system\n") + strlen(layout->default_system) + 1);
}

/* ---- Mistral ------------------------------------------------------------------------------------------------------- */

/** The bytes of {"reasoning_effort": "high"} with the longest word there is, every byte of it escaped. */
static size_t settings_bytes(const struct mistral_layout *layout) {
    size_t longest = strlen(layout->default_effort);
    for (int i = 0; i < layout->effort_count; i++) {
        size_t length = strlen(layout->efforts[i]);
        if (length > longest) longest = length;
    }
    return strlen("{\"reasoning_effort\": \"\"}") + strlen("\\u0000") * longest;
}

/** A user's message is the one with most around it: an answer has no more than eos, a system prompt two control tokens, or before v7 a place in a
 *  user's text. Behind bos, before v7, there may be a user's message that nobody wrote. */
static void bound_mistral(const struct mistral_layout *layout, const struct tokenizer_bound *bound,
                          struct chat_prompt_bound *out) {
    int64_t user =
        layout->version == 1 ? written(bound, 0, 1, strlen("[INST] ") + strlen(" [/INST]")) : written(bound, 2, 1, 0);
    out->message = user + written(bound, 0, 0, BLANK_LINE);
    out->fixed = 1;
    if (layout->version < 7) out->fixed += user;
    if (layout->version >= 15 && layout->effort_count > 0) out->fixed += written(bound, 2, 1, settings_bytes(layout));
}

/* ---- templates ----------------------------------------------------------------------------------------------------- */

/** What those of our own write beside contents, in a turn of the longest role and at the end: names of control tokens are counted as bytes, as they
 *  are text where a vocabulary lacks them. */
static const struct {
    const char *name, *turn, *opening;
} own_templates[] = {
    {"llama-3", "<|start_header_id|>assistant<|end_header_id|>\n\n<|eot_id|>",
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"gemma", "<start_of_turn>system\n<end_of_turn>\n", "<start_of_turn>model\n"},
    {"chatml", "<|im_start|>assistant\n<|im_end|>\n", "<|im_start|>assistant\n"},
    {"completion", "\n\n", ""},
};

/** The whole prompt is one text. */
static bool bound_template(const struct chat_layout *layout, const struct tokenizer_bound *bound,
                           struct chat_prompt_bound *out) {
    bool begins = layout->bos_token != NULL && template_mentions(layout->template, "bos_token");
    size_t bos = begins ? strlen(layout->bos_token) : 0;
    for (size_t i = 0; i < sizeof own_templates / sizeof own_templates[0]; i++) {
        if (strcmp(layout->name, own_templates[i].name) != 0) continue;
        out->message = written(bound, 0, 0, strlen(own_templates[i].turn));
        out->fixed = written(bound, 0, 1, bos + strlen(own_templates[i].opening));
        return true;
    }
    return false; /* a file's: a program that may write anything */
}

bool chat_layout_bound(const struct chat_layout *layout, struct chat_prompt_bound *out) {
    struct tokenizer_bound bound;
    struct chat_prompt_bound made = {0};
    if (!tokenizer_bound(layout->tokenizer, &bound)) return false;
    made.byte = bound.byte;
    switch (layout->kind) {
    case CHAT_LAYOUT_CHATML:
        bound_chatml(&layout->chatml, &bound, &made);
        break;
    case CHAT_LAYOUT_MISTRAL:
        bound_mistral(&layout->mistral, &bound, &made);
        break;
    case CHAT_LAYOUT_TEMPLATE:
        if (!bound_template(layout, &bound, &made)) return false;
        break;
    }
    *out = made;
    return true;
}
