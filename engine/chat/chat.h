/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Chat: a conversation laid out as the model was trained to read it, directly as token ids.
 *
 *     conversation ── layout ──> pieces (control tokens, texts) ── tokenizer ──> ids
 *
 * Two kinds of layouts. Mistral's, v1 to v15, are written here as mistral-common has them: every text is encoded by itself between
 * control tokens. All others are Jinja programs (the model file's own chat template, or a known one by the control tokens that the vocabulary
 * has), run in a sandbox (template.h) that knows of every byte whether a user wrote it. In both, what users write never becomes a control token.
 *
 * A layout says what it has no place for; a conversation that needs that is refused with the message's index and the field.
 * Read-only after load: any thread.
 */
#ifndef ENGINE_CHAT_CHAT_H
#define ENGINE_CHAT_CHAT_H

#include "base/bytes.h"
#include "base/status.h"
#include "engine/tokenizer/tokenizer.h"

enum chat_role { CHAT_ROLE_SYSTEM, CHAT_ROLE_USER, CHAT_ROLE_ASSISTANT, CHAT_ROLE_TOOL };
const char *chat_role_name(enum chat_role role);

enum chat_part_kind {
    CHAT_PART_TEXT,
    CHAT_PART_IMAGE,     /* its place: tokens that the vision encoder's rows are put over */
    CHAT_PART_THINKING,  /* what the model thought; open (no end token) unless `closed` */
    CHAT_PART_REFERENCE, /* a citation: no layout here has a place for it */
};

struct chat_part {
    enum chat_part_kind kind;
    bool closed;                       /* CHAT_PART_THINKING */
    struct bytes_view text;            /* CHAT_PART_TEXT, CHAT_PART_THINKING */
    int32_t image_columns, image_rows; /* CHAT_PART_IMAGE: patches, from chat_image_grid */
};

struct chat_tool_call {
    struct bytes_view id, name;
    struct bytes_view arguments; /* JSON text; normalised as the layout asks */
};

struct chat_message {
    enum chat_role role;
    struct bytes_view content; /* UTF-8, when there are no parts; data NULL: there is none (calls without a word) */
    const struct chat_part *parts;
    size_t part_count;
    const struct chat_tool_call *tool_calls; /* assistant */
    size_t tool_call_count;
    struct bytes_view tool_call_id, name; /* tool: the call that this answers; the tool's name */
    bool prefix;                          /* the last message, assistant: the answer continues this text */
};

struct chat_tool {
    struct bytes_view name, description; /* data NULL: none was given, which some templates tell from an empty one */
    struct bytes_view parameters;        /* JSON text, an object; empty: {}; data NULL: none was given */
    bool strict;
};

struct chat_conversation {
    const struct chat_message *messages;
    size_t message_count;
    const struct chat_tool *tools;
    size_t tool_count;
    /** For layouts whose calls are CHAT_CALLS_NONE: tools, calls and results are told in words, in the turns that every layout has, and the model is asked to write
     *  calls as CHAT_CALLS_TAGS (tools_told.c). */
    bool tools_in_words;
    struct bytes_view reasoning_effort; /* "none", "high"…; empty: the model's default */
    struct bytes_view json_schema;      /* of the answer, for layouts that show it to the model; empty: none */
};

struct chat_layout;
struct gguf;
struct checkpoint;

/** GGUF has no key for the version of Mistral's layouts: this one, of our own, holds its name ("mistral-v3"), as does the member of
 *  tokenizer_config.json where no tokenizer file of Mistral's says it. It comes before what else the files show. */
#define CHAT_LAYOUT_GGUF_KEY "bora.prompt_layout"
#define CHAT_LAYOUT_CONFIG_MEMBER "bora_prompt_layout"

/** Find the layout of a model file: Mistral's by the tokenizer file beside the weights or the control tokens, else its chat template, else one that
 *  its control tokens show. STATUS_UNIMPLEMENTED when the template needs what the sandbox does not know: the message says what
 *  was seen. `tokenizer` is borrowed for the layout's life. */
enum status chat_layout_load(const struct checkpoint *checkpoint, const struct tokenizer *tokenizer,
                             struct chat_layout **out, struct error *err);
enum status chat_layout_load_gguf(const struct gguf *gguf, const struct tokenizer *tokenizer, struct chat_layout **out,
                                  struct error *err);
/**
 * The layout that somebody chose, whatever the model's files show:
 *     "auto", or NULL              chat_layout_load
 *     "completion"                 of a base model, which completes text and knows no turns: what the messages say, blank lines between them, behind bos
 *                                  where texts begin with one. Also what chat_layout_load finds where a model shows no layout at all
 *     "chatml", "llama-3", "gemma" where the vocabulary has their control tokens
 *     "mistral-v1", -v2, -v3, -v7, -v11, -v13, -v15    likewise; images' sizes and settings are those of a tekken.json beside the weights
 *     "FILE.jinja"                 a chat template
 */
enum status chat_layout_load_as(const char *choice, const struct checkpoint *checkpoint,
                                const struct tokenizer *tokenizer, struct chat_layout **out, struct error *err);
/** Is `choice` one of these? Whether a file is there is seen at load. */
bool chat_layout_is_choice(const char *choice);
void chat_layout_destroy(struct chat_layout *layout);
const char *chat_layout_name(const struct chat_layout *layout); /* "mistral-v7", "template", "chatml-smollm2" */

struct chat_support {
    bool system, tools, images, thinking, prefix, fim, reasoning_effort;
};
/** What the layout has a place for. Of a template that is what its text mentions. */
struct chat_support chat_layout_support(const struct chat_layout *layout);

/** How the model writes the calls of tools. [X] is a control token. */
enum chat_calls {
    CHAT_CALLS_NONE, /* it was not trained to, or nobody knows how */
    CHAT_CALLS_LIST, /* Mistral v2, v3, v7: [TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "123456789"}]; the id may be missing */
    CHAT_CALLS_ID,         /* Mistral v11: [TOOL_CALLS] f [CALL_ID] 123456789 [ARGS] {} */
    CHAT_CALLS_ARGUMENTS,  /* Mistral v13, v15: [TOOL_CALLS] f [ARGS] {} */
    CHAT_CALLS_TAGS,       /* Hermes, Qwen: <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call> */
    CHAT_CALLS_PARAMETERS, /* Llama 3: {"name": "f", "parameters": {}}, alone or behind <|python_tag|> */
};
/** Of a template: by the marks that its text (or that of its version for tools) mentions. */
enum chat_calls chat_layout_calls(const struct chat_layout *layout);

/** Append the prompt's ids. `messages` are in an order the gateway has checked. STATUS_OUT_OF_RANGE when `out->max_count` is reached,
 *  STATUS_INVALID_ARGUMENT names the message and the field that the layout has no place for, or is what the template itself objects to. */
enum status chat_layout_render(const struct chat_layout *layout, const struct chat_conversation *conversation,
                               struct token_list *out, struct error *err);

/**
 * An upper bound of what chat_layout_render and chat_layout_render_window make of a conversation of texts alone:
 *
 *     fixed + message * (messages) + byte * (bytes of all contents together) tokens
 *
 * Of system, user and assistant messages whose contents are valid UTF-8, the last one perhaps a prefix, with any reasoning_effort; no tools, calls,
 * results, images, thinking or json_schema. A message of several text parts counts as so many messages.
 */
struct chat_prompt_bound {
    int64_t fixed, message, byte;
};
/** It follows from the layout and the tokenizer's settings (chat_bound.c), not from measuring. False: nothing is known, as with a template of the model's. */
bool chat_layout_bound(const struct chat_layout *layout, struct chat_prompt_bound *out);

/** Fill in the middle: the ids after which the model writes what stands between `prefix` and `suffix`. STATUS_UNIMPLEMENTED: the layout has none. */
enum status chat_layout_render_fim(const struct chat_layout *layout, struct bytes_view prefix, struct bytes_view suffix,
                                   struct token_list *out, struct error *err);

/** How many patches an image of `width` x `height` pixels takes once it has been scaled as the model wants it.
 *  STATUS_UNIMPLEMENTED: the layout has no images. */
enum status chat_image_grid(const struct chat_layout *layout, int width, int height, int32_t *out_columns,
                            int32_t *out_rows, struct error *err);

/**
 * Context windowing: what the oldest turns must give up so that the rest fits.
 *
 *     system | user assistant | user assistant tool assistant | user        a turn: consecutive user messages with all that answers them
 *              ^^^^^^^^^^^^^^ dropped first                     ^^^^ never; nor any system message
 */
struct chat_window {
    size_t max_tokens;                       /* in: what the prompt may have */
    size_t dropped_messages, dropped_tokens; /* out: what went, and how many ids fewer that made */
};

/**
 * As chat_layout_render without the fewest oldest turns that make the prompt fit into `window->max_tokens`; STATUS_OUT_OF_RANGE when the
 * last turn alone does not. `out->max_count` bounds what is counted, so tokens beyond it are not in dropped_tokens: then at least as many went.
 * Time: the whole is encoded once, up to out->max_count, and prompts of at most max_tokens O(log turns) times.
 */
enum status chat_layout_render_window(const struct chat_layout *layout, const struct chat_conversation *conversation,
                                      struct chat_window *window, struct token_list *out, struct error *err);

#endif
