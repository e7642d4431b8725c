/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What the layouts share: the pieces they make and the layout's insides. */
#ifndef ENGINE_CHAT_CHAT_INTERNAL_H
#define ENGINE_CHAT_CHAT_INTERNAL_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/chat/chat.h"

/** A control token, or a text that is encoded by itself. */
struct prompt_piece {
    int32_t control; /* the id; -1: a text */
    struct bytes_view text;
    const uint8_t *
        untrusted; /* a template's text: bit i%8 of byte i/8 says that a user wrote byte i. NULL: no control tokens in it at all */
    size_t skip;   /* leave out the first ids of the text */
    bool template; /* control tokens stand in the text by name where it is trusted */
};

/** What a layout makes of a conversation; everything in it lives in `arena`. */
struct prompt {
    struct arena *arena;
    struct prompt_piece *pieces;
    size_t count, capacity;
};
enum status prompt_add_control(struct prompt *prompt, int32_t id, struct error *err);
/** Empty text adds nothing. `text` is lent. */
enum status prompt_add_text(struct prompt *prompt, struct bytes_view text, struct error *err);
enum status prompt_add(struct prompt *prompt, struct prompt_piece piece, struct error *err);

enum {
    MISTRAL_CONTROL_INST,
    MISTRAL_CONTROL_INST_END,
    MISTRAL_CONTROL_AVAILABLE_TOOLS,
    MISTRAL_CONTROL_AVAILABLE_TOOLS_END,
    MISTRAL_CONTROL_TOOL_RESULTS,
    MISTRAL_CONTROL_TOOL_RESULTS_END,
    MISTRAL_CONTROL_TOOL_CALLS,
    MISTRAL_CONTROL_SYSTEM_PROMPT,
    MISTRAL_CONTROL_SYSTEM_PROMPT_END,
    MISTRAL_CONTROL_TOOL_CONTENT,
    MISTRAL_CONTROL_ARGS,
    MISTRAL_CONTROL_CALL_ID,
    MISTRAL_CONTROL_MODEL_SETTINGS,
    MISTRAL_CONTROL_MODEL_SETTINGS_END,
    MISTRAL_CONTROL_THINK,
    MISTRAL_CONTROL_THINK_END,
    MISTRAL_CONTROL_IMG,
    MISTRAL_CONTROL_IMG_BREAK,
    MISTRAL_CONTROL_IMG_END,
    MISTRAL_CONTROL_PREFIX,
    MISTRAL_CONTROL_SUFFIX,
    MISTRAL_CONTROLS,
};

enum { MISTRAL_EFFORTS_MAX = 8 };

struct mistral_layout {
    int version;                                  /* 1, 2, 3, 7, 11, 13, 15 */
    int32_t bos, eos, controls[MISTRAL_CONTROLS]; /* -1: not in the vocabulary */
    int image_patch, image_side,
        image_merge; /* pixels of a patch, of the longest side, patches merged per side; image_patch 0: no images */
    char efforts[MISTRAL_EFFORTS_MAX][16], default_effort[16]; /* v15; no efforts: it has no such setting */
    int effort_count;
    bool takes_json_schema;
};

/** <|im_start|>role\ncontent<|im_end|>\n */
struct chatml_layout {
    const char *default_system; /* put in front when the conversation begins otherwise; NULL: none */
    int32_t turn_start, turn_end;
};

struct template;

enum chat_layout_kind { CHAT_LAYOUT_MISTRAL, CHAT_LAYOUT_CHATML, CHAT_LAYOUT_TEMPLATE };

struct chat_layout {
    enum chat_layout_kind kind;
    const char *name;
    const struct tokenizer *tokenizer;
    struct mistral_layout mistral;
    struct chatml_layout chatml;
    struct template *template,
        *tool_template;          /* the second: where a model has another one for conversations with tools; or NULL */
    char *bos_token, *eos_token; /* as templates write them; NULL: the vocabulary has none */
    struct chat_support support;
};

/* ---- chatml --------------------------------------------------------------------------------------------------------- */

/** Is the template one of those that are known word for word? `file` is for messages. */
bool chatml_layout_knows(struct bytes_view template, struct chat_layout *layout);
enum status chatml_layout_bind(struct chat_layout *layout, const char *file, struct error *err);
enum status chatml_compose(const struct chat_layout *layout, const struct chat_conversation *conversation,
                           struct prompt *out, struct error *err);

/* ---- tools in words ------------------------------------------------------------------------------------------------- */

/** A conversation without tools, calls and results: system prompts and turns say them. */
struct tools_told {
    struct chat_conversation conversation;
    size_t *origins; /* [message_count] which message each was; SIZE_MAX: none */
};
bool tools_told_are_needed(const struct chat_conversation *conversation);
/** In `arena`; lends from `conversation`. */
enum status tools_told_write(const struct chat_layout *layout, const struct chat_conversation *conversation,
                             struct arena *arena, struct tools_told *out, struct error *err);
/** A layout's objection to the conversation that was written, with the place that the caller knows. */
enum status tools_told_refuse(const struct tools_told *told, enum status status, const char *message,
                              struct error *err);

/* ---- mistral -------------------------------------------------------------------------------------------------------- */

/** Of tekken.json: its version and settings. */
enum status mistral_layout_read_tekken(struct bytes_view file, struct mistral_layout *out, struct error *err);
/** The layout that a tokenizer file stands for: of "tekken.json" what it says, of "….model.v3" or "….model.v7m1" what its name says. */
enum status mistral_layout_load_file(const char *name, struct bytes_view file, const struct tokenizer *tokenizer,
                                     struct chat_layout **out, struct error *err);
/** Look the control tokens up and check that the version's are there. */
enum status mistral_layout_bind(struct chat_layout *layout, struct error *err);
/** The version of "mistral-v3"; 0: there is none of that name. */
int mistral_layout_version(const char *name);
enum status mistral_compose(const struct chat_layout *layout, const struct chat_conversation *conversation,
                            struct prompt *out, struct error *err);
enum status mistral_compose_fim(const struct chat_layout *layout, struct bytes_view prefix, struct bytes_view suffix,
                                struct prompt *out, struct error *err);
/** What mistral-common's validator refuses in serving. */
enum status mistral_check(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                          struct error *err);

/** A message after normalisation. */
struct mistral_message {
    enum chat_role role;
    size_t index;                  /* of the first message that went into it */
    const struct chat_part *parts; /* neighbouring texts are one; no empty ones */
    size_t part_count;
    const struct chat_tool_call *tool_calls; /* arguments as they came */
    size_t tool_call_count;
    struct bytes_view tool_call_id, name;
    bool prefix;
};
/** Merge, join and sort as mistral-common's normaliser. `out_system`: before v7, all system prompts; they are no messages then. */
enum status mistral_normalise(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                              struct arena *arena, struct mistral_message **out, size_t *out_count,
                              struct bytes_view *out_system, struct error *err);

/* ---- templates ------------------------------------------------------------------------------------------------------ */

/** `name` is a constant: what the layout is called. `tool_source`: of the template for conversations with tools; empty: the same. */
enum status template_layout_bind(struct chat_layout *layout, const char *name, struct bytes_view source,
                                 struct bytes_view tool_source, struct error *err);
/** `bytes`: of the conversation, which what the template may do depends on. */
enum status template_compose(const struct chat_layout *layout, const struct chat_conversation *conversation,
                             size_t bytes, struct prompt *out, struct error *err);
/** A template for models that come without one: that of `*name`, or with NULL there the one whose control tokens the vocabulary has, whose name
 *  is set then. NULL when there is none, and when the vocabulary lacks `*out_lacks`. */
const char *template_known(const struct tokenizer *tokenizer, const char **name, const char **out_lacks);

#endif
