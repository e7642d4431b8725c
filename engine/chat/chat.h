/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Chat: a conversation laid out as the model was trained to read it, directly as token ids.
 *
 * Each text piece is encoded by itself and control tokens are placed between pieces, so user text can never become a
 * control token. First layout: ChatML (<|im_start|>role\ncontent<|im_end|>\n ... <|im_start|>assistant\n) as SmolLM2's own
 * template has it, default system prompt included. Mistral v1..v15, Llama 3, Gemma, Qwen and a sandboxed template
 * renderer come behind the same interface.
 */
#ifndef ENGINE_CHAT_CHAT_H
#define ENGINE_CHAT_CHAT_H

#include "base/bytes.h"
#include "base/status.h"
#include "engine/tokenizer/tokenizer.h"

enum chat_role { CHAT_ROLE_SYSTEM, CHAT_ROLE_USER, CHAT_ROLE_ASSISTANT, CHAT_ROLE_TOOL };
const char *chat_role_name(enum chat_role role);

struct chat_message {
    enum chat_role role;
    struct bytes_view content; /* UTF-8; parts already joined */
    bool prefix;               /* the last message, assistant: the answer continues this text */
};

struct chat_layout;
struct gguf;
struct checkpoint;

/** Find the layout of a model file from its metadata (chat template, architecture, control tokens). STATUS_UNIMPLEMENTED when none
 *  is known: the message says what was seen. `tokenizer` is borrowed for the layout's life. */
enum status chat_layout_load(const struct checkpoint *checkpoint, const struct tokenizer *tokenizer,
                             struct chat_layout **out, struct error *err);
enum status chat_layout_load_gguf(const struct gguf *gguf, const struct tokenizer *tokenizer, struct chat_layout **out,
                                  struct error *err);
void chat_layout_destroy(struct chat_layout *layout);
const char *chat_layout_name(const struct chat_layout *layout); /* "chatml-smollm2" */

/** Append the prompt's ids. `messages` are in an order the gateway has checked. STATUS_OUT_OF_RANGE when `out->max_count` is reached. */
enum status chat_layout_render(const struct chat_layout *layout, const struct chat_message *messages, size_t count,
                               struct token_list *out, struct error *err);

#endif
