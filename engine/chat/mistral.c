/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Mistral's layouts, as mistral-common 1.13 encodes them (instruct.py there is the definition). [X] stands for a control token, each text between
 * two of them is encoded by itself:
 *
 *     v1        "[INST] system\n\nuser [/INST]" as plain text, assistant </s>
 *     v2, v3    [INST] user [/INST] assistant </s> … [AVAILABLE_TOOLS] json [/AVAILABLE_TOOLS] [INST] system\n\nuser [/INST]
 *     v7, v11   [SYSTEM_PROMPT] system [/SYSTEM_PROMPT] at its place; tools before the last [INST]
 *     v13, v15  tools before the first [INST], with v15's [MODEL_SETTINGS] json [/MODEL_SETTINGS]
 */
#include "engine/chat/chat_internal.h"
#include "engine/chat/python_json.h"

#include <stdio.h>
#include <string.h>

struct composing {
    const struct mistral_layout *layout;
    const struct chat_conversation *conversation;
    struct prompt *prompt;
    struct bytes_view system; /* before v7 */
    size_t first_user, last_user;
    struct error *err;
};

static enum status add_control(const struct composing *composing, int control) {
    return prompt_add_control(composing->prompt, composing->layout->controls[control], composing->err);
}

static enum status add_text(const struct composing *composing, struct bytes_view text) {
    return prompt_add_text(composing->prompt, text, composing->err);
}

static enum status out_of_memory(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
}

/** Take the text that was put together, into the prompt's arena. */
static enum status add_built(const struct composing *composing, struct bytes *text) {
    char *kept = text->failed ? NULL : arena_copy(composing->prompt->arena, text->data, text->length);
    size_t length = text->length;
    bytes_deinit(text);
    return kept == NULL ? out_of_memory(composing->err) : add_text(composing, bytes_view_of(kept, length));
}

/** As a piece: dumps(loads(text)). */
static enum status append_json(const struct composing *composing, struct bytes *out, struct bytes_view text) {
    return python_json_append_text(out, text, true, composing->prompt->arena, composing->err);
}

/* ---- contents ------------------------------------------------------------------------------------------------------- */

/** Rows of [IMG], each with a break behind it, the last with the end. */
static enum status add_image(const struct composing *composing, const struct chat_part *part) {
    for (int32_t row = 0; row < part->image_rows; row++) {
        for (int32_t column = 0; column < part->image_columns; column++)
            TRY(add_control(composing, MISTRAL_CONTROL_IMG));
        bool last = row + 1 == part->image_rows;
        TRY(add_control(composing, last ? MISTRAL_CONTROL_IMG_END : MISTRAL_CONTROL_IMG_BREAK));
    }
    return STATUS_OK;
}

static enum status add_part(const struct composing *composing, const struct chat_part *part) {
    switch (part->kind) {
    case CHAT_PART_IMAGE:
        return add_image(composing, part);
    case CHAT_PART_THINKING:
        TRY(add_control(composing, MISTRAL_CONTROL_THINK));
        TRY(add_text(composing, part->text));
        return part->closed ? add_control(composing, MISTRAL_CONTROL_THINK_END) : STATUS_OK;
    default:
        return add_text(composing, part->text);
    }
}

static enum status add_parts(const struct composing *composing, const struct chat_part *parts, size_t count) {
    for (size_t i = 0; i < count; i++) TRY(add_part(composing, &parts[i]));
    return STATUS_OK;
}

/** The content when it is nothing but text. */
static bool is_plain(const struct mistral_message *message) {
    return message->part_count == 0 || (message->part_count == 1 && message->parts[0].kind == CHAT_PART_TEXT);
}

static struct bytes_view plain_text(const struct mistral_message *message) {
    return message->part_count > 0 ? message->parts[0].text : (struct bytes_view){0};
}

/* ---- users ---------------------------------------------------------------------------------------------------------- */

/** One tool as pydantic dumps it, without `strict`. */
static enum status append_tool(const struct composing *composing, struct bytes *out, const struct chat_tool *tool) {
    (void)bytes_append_string(out, "{\"type\": \"function\", \"function\": {\"name\": ");
    (void)json_append_string(out, tool->name);
    (void)bytes_append_string(out, ", \"description\": ");
    (void)json_append_string(out, tool->description);
    (void)bytes_append_string(out, ", \"parameters\": ");
    TRY(append_json(composing, out, tool->parameters));
    return bytes_append_string(out, "}}");
}

static enum status add_tools(const struct composing *composing) {
    const struct chat_conversation *conversation = composing->conversation;
    if (conversation->tool_count == 0) return STATUS_OK;
    struct bytes text;
    bytes_init(&text, SIZE_MAX / 2);
    (void)bytes_append_byte(&text, '[');
    for (size_t i = 0; i < conversation->tool_count; i++) {
        if (i > 0) (void)bytes_append_string(&text, ", ");
        enum status status = append_tool(composing, &text, &conversation->tools[i]);
        if (status != STATUS_OK) {
            bytes_deinit(&text);
            return status;
        }
    }
    (void)bytes_append_byte(&text, ']');
    if (add_control(composing, MISTRAL_CONTROL_AVAILABLE_TOOLS) != STATUS_OK) {
        bytes_deinit(&text);
        return out_of_memory(composing->err);
    }
    TRY(add_built(composing, &text));
    return add_control(composing, MISTRAL_CONTROL_AVAILABLE_TOOLS_END);
}

/** v15: {"json_schema": …, "reasoning_effort": …}, what there is of them. */
static enum status add_settings(const struct composing *composing) {
    const struct mistral_layout *layout = composing->layout;
    const struct chat_conversation *conversation = composing->conversation;
    bool schema = layout->takes_json_schema && conversation->json_schema.length > 0;
    if (layout->version < 15 || (layout->effort_count == 0 && !schema)) return STATUS_OK;
    struct bytes text;
    bytes_init(&text, SIZE_MAX / 2);
    (void)bytes_append_byte(&text, '{');
    if (schema) {
        (void)bytes_append_string(&text, "\"json_schema\": ");
        enum status status = append_json(composing, &text, conversation->json_schema);
        if (status != STATUS_OK) {
            bytes_deinit(&text);
            return status;
        }
    }
    if (layout->effort_count > 0) {
        struct bytes_view effort = conversation->reasoning_effort.length > 0
                                       ? conversation->reasoning_effort
                                       : bytes_view_string(layout->default_effort);
        (void)bytes_append_string(&text, schema ? ", \"reasoning_effort\": " : "\"reasoning_effort\": ");
        (void)json_append_string(&text, effort);
    }
    (void)bytes_append_byte(&text, '}');
    if (add_control(composing, MISTRAL_CONTROL_MODEL_SETTINGS) != STATUS_OK) {
        bytes_deinit(&text);
        return out_of_memory(composing->err);
    }
    TRY(add_built(composing, &text));
    return add_control(composing, MISTRAL_CONTROL_MODEL_SETTINGS_END);
}

/** `head`, a blank line and `text`, as one text. */
static enum status add_headed(const struct composing *composing, const char *open, struct bytes_view head,
                              struct bytes_view text, const char *close) {
    struct bytes whole;
    bytes_init(&whole, SIZE_MAX / 2);
    (void)bytes_append_string(&whole, open);
    (void)bytes_append(&whole, head.data, head.length);
    if (head.length > 0) (void)bytes_append_string(&whole, "\n\n");
    (void)bytes_append(&whole, text.data, text.length);
    (void)bytes_append_string(&whole, close);
    return add_built(composing, &whole);
}

/** An image behind nothing but texts comes before them. */
static bool image_goes_first(const struct mistral_message *message) {
    if (message->part_count < 2 || message->parts[message->part_count - 1].kind != CHAT_PART_IMAGE) return false;
    for (size_t i = 0; i + 1 < message->part_count; i++) {
        if (message->parts[i].kind != CHAT_PART_TEXT) return false;
    }
    return true;
}

static enum status add_user(const struct composing *composing, const struct mistral_message *message, size_t index) {
    const struct mistral_layout *layout = composing->layout;
    bool first = index == composing->first_user, last = index == composing->last_user;
    if (layout->version == 1) {
        struct bytes_view head = first ? composing->system : (struct bytes_view){0};
        return add_headed(composing, "[INST] ", head, plain_text(message), " [/INST]");
    }
    if (layout->version >= 13 ? first : last) {
        TRY(add_tools(composing));
        TRY(add_settings(composing));
    }
    TRY(add_control(composing, MISTRAL_CONTROL_INST));
    struct bytes_view head = last ? composing->system : (struct bytes_view){0};
    if (is_plain(message)) {
        TRY(head.length > 0 ? add_headed(composing, "", head, plain_text(message), "")
                            : add_text(composing, plain_text(message)));
    } else {
        if (head.length > 0) TRY(add_headed(composing, "", head, (struct bytes_view){0}, ""));
        bool moved = image_goes_first(message);
        if (moved) TRY(add_part(composing, &message->parts[message->part_count - 1]));
        TRY(add_parts(composing, message->parts, message->part_count - moved));
    }
    return add_control(composing, MISTRAL_CONTROL_INST_END);
}

/* ---- assistants ----------------------------------------------------------------------------------------------------- */

/** v2 to v7: one list of all calls. */
static enum status add_call_list(const struct composing *composing, const struct mistral_message *message) {
    struct bytes text;
    bytes_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct chat_tool_call *call = &message->tool_calls[i];
        (void)bytes_append_string(&text, i > 0 ? ", {\"name\": " : "[{\"name\": ");
        (void)json_append_string(&text, call->name);
        (void)bytes_append_string(&text, ", \"arguments\": ");
        enum status status = append_json(composing, &text, call->arguments);
        if (status != STATUS_OK) {
            bytes_deinit(&text);
            return status;
        }
        if (composing->layout->version >= 3) {
            (void)bytes_append_string(&text, ", \"id\": ");
            (void)json_append_string(&text, call->id);
        }
        (void)bytes_append_byte(&text, '}');
    }
    (void)bytes_append_byte(&text, ']');
    if (add_control(composing, MISTRAL_CONTROL_TOOL_CALLS) != STATUS_OK) {
        bytes_deinit(&text);
        return out_of_memory(composing->err);
    }
    return add_built(composing, &text);
}

/** From v11: [TOOL_CALLS] name [CALL_ID] id [ARGS] arguments, from v13 without the id. */
static enum status add_call(const struct composing *composing, const struct chat_tool_call *call) {
    TRY(add_control(composing, MISTRAL_CONTROL_TOOL_CALLS));
    TRY(add_text(composing, call->name));
    if (composing->layout->version < 13) {
        TRY(add_control(composing, MISTRAL_CONTROL_CALL_ID));
        TRY(add_text(composing, call->id));
    }
    TRY(add_control(composing, MISTRAL_CONTROL_ARGS));
    struct bytes text;
    bytes_init(&text, SIZE_MAX / 2);
    enum status status = append_json(composing, &text, call->arguments);
    if (status != STATUS_OK) {
        bytes_deinit(&text);
        return status;
    }
    return add_built(composing, &text);
}

static struct bytes_view without_trailing_blanks(struct bytes_view text) {
    while (text.length > 0 && text.data[text.length - 1] == ' ') text.length--;
    return text;
}

static enum status add_assistant(const struct composing *composing, const struct mistral_message *message,
                                 size_t index) {
    const struct mistral_layout *layout = composing->layout;
    bool old = layout->version == 2 && composing->last_user != SIZE_MAX && index < composing->last_user;
    if (old && message->tool_call_count > 0) return STATUS_OK;
    if (message->part_count == 0 && message->tool_call_count == 0)
        return error_set(composing->err, STATUS_INVALID_ARGUMENT,
                         "messages.%zu.content: an assistant message must have content or tool calls", message->index);
    if (layout->version < 7 && message->part_count > 0 && message->tool_call_count > 0)
        return error_set(composing->err, STATUS_INVALID_ARGUMENT,
                         "messages.%zu.tool_calls: before mistral-v7 neighbouring assistant messages have either "
                         "content or tool calls",
                         message->index);
    if (is_plain(message)) {
        struct bytes_view text = plain_text(message);
        TRY(add_text(composing, layout->version == 1 ? text : without_trailing_blanks(text)));
    } else {
        TRY(add_parts(composing, message->parts, message->part_count));
    }
    if (message->tool_call_count > 0 && layout->version < 11) TRY(add_call_list(composing, message));
    for (size_t i = 0; layout->version >= 11 && i < message->tool_call_count; i++)
        TRY(add_call(composing, &message->tool_calls[i]));
    return message->prefix ? STATUS_OK : prompt_add_control(composing->prompt, layout->eos, composing->err);
}

/* ---- results -------------------------------------------------------------------------------------------------------- */

/** v2: [{"name", "content"}], v3: {"content", "call_id"}. */
static enum status add_result_json(const struct composing *composing, const struct mistral_message *message) {
    struct bytes text;
    bool list = composing->layout->version == 2;
    bytes_init(&text, SIZE_MAX / 2);
    if (list) {
        (void)bytes_append_string(&text, "[{\"name\": ");
        if (message->name.length > 0)
            (void)json_append_string(&text, message->name);
        else
            (void)bytes_append_string(&text, "null");
        (void)bytes_append_string(&text, ", ");
    }
    (void)bytes_append_string(&text, list ? "\"content\": " : "{\"content\": ");
    enum status status = append_json(composing, &text, plain_text(message));
    if (status != STATUS_OK) {
        bytes_deinit(&text);
        return status;
    }
    if (!list) {
        (void)bytes_append_string(&text, ", \"call_id\": ");
        (void)json_append_string(&text, message->tool_call_id);
    }
    (void)bytes_append_string(&text, list ? "}]" : "}");
    return add_built(composing, &text);
}

static enum status add_result(const struct composing *composing, const struct mistral_message *message, size_t index) {
    const struct mistral_layout *layout = composing->layout;
    if (layout->version == 2 && composing->last_user != SIZE_MAX && index < composing->last_user) return STATUS_OK;
    TRY(add_control(composing, MISTRAL_CONTROL_TOOL_RESULTS));
    if (layout->version < 7) {
        TRY(add_result_json(composing, message));
    } else {
        if (layout->version < 13) {
            TRY(add_text(composing, message->tool_call_id));
            TRY(add_control(composing, MISTRAL_CONTROL_TOOL_CONTENT));
        }
        TRY(add_parts(composing, message->parts, message->part_count));
    }
    return add_control(composing, MISTRAL_CONTROL_TOOL_RESULTS_END);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static enum status add_message(const struct composing *composing, const struct mistral_message *message, size_t index) {
    switch (message->role) {
    case CHAT_ROLE_USER:
        return add_user(composing, message, index);
    case CHAT_ROLE_ASSISTANT:
        return add_assistant(composing, message, index);
    case CHAT_ROLE_TOOL:
        return add_result(composing, message, index);
    default:
        TRY(add_control(composing, MISTRAL_CONTROL_SYSTEM_PROMPT));
        TRY(add_parts(composing, message->parts, message->part_count));
        return add_control(composing, MISTRAL_CONTROL_SYSTEM_PROMPT_END);
    }
}

enum status mistral_compose(const struct chat_layout *layout, const struct chat_conversation *conversation,
                            struct prompt *out, struct error *err) {
    struct composing composing = {.layout = &layout->mistral,
                                  .conversation = conversation,
                                  .prompt = out,
                                  .first_user = SIZE_MAX,
                                  .last_user = SIZE_MAX,
                                  .err = err};
    struct mistral_message *messages = NULL;
    size_t count = 0;
    TRY(mistral_check(&layout->mistral, conversation, err));
    TRY(mistral_normalise(&layout->mistral, conversation, out->arena, &messages, &count, &composing.system, err));
    for (size_t i = 0; i < count; i++) {
        if (messages[i].role != CHAT_ROLE_USER) continue;
        if (composing.first_user == SIZE_MAX) composing.first_user = i;
        composing.last_user = i;
    }
    TRY(prompt_add_control(out, layout->mistral.bos, err));
    for (size_t i = 0; i < count; i++) TRY(add_message(&composing, &messages[i], i));
    return STATUS_OK;
}

enum status mistral_compose_fim(const struct chat_layout *layout, struct bytes_view prefix, struct bytes_view suffix,
                                struct prompt *out, struct error *err) {
    const struct mistral_layout *mistral = &layout->mistral;
    TRY(prompt_add_control(out, mistral->bos, err));
    TRY(prompt_add_control(out, mistral->controls[MISTRAL_CONTROL_SUFFIX], err));
    if (suffix.length > 0) {
        /* The suffix has no blank put in front of it: the reference writes U+263A there, two tokens, and takes them away again. */
        uint8_t *marked = arena_alloc(out->arena, suffix.length + 4);
        if (marked == NULL) return out_of_memory(err);
        memcpy(marked, "\xE2\x98\xBA", 3);
        memcpy(marked + 3, suffix.data, suffix.length);
        TRY(prompt_add(
            out, (struct prompt_piece){.control = -1, .text = bytes_view_of(marked, suffix.length + 3), .skip = 2},
            err));
    }
    TRY(prompt_add_control(out, mistral->controls[MISTRAL_CONTROL_PREFIX], err));
    return prompt_add_text(out, prefix, err);
}
