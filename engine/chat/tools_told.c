/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Tools for models whose layout has no place for them, in the words of Hermes, which Qwen 2.5 took over and many models have read:
 *
 *     system      ... # Tools ... <tools> {"type": "function", ...} </tools> ... <tool_call> ... </tool_call>
 *     assistant   <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>
 *     user        <tool_response>\n...\n</tool_response>          results, one after the other, and what the user says behind them
 *
 * Where there is no system role either, the first user message begins with it.
 */
#include "engine/chat/chat_internal.h"

#include <stdio.h>
#include <string.h>

static const char tools_before[] =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
    "signatures within <tools></tools> XML tags:\n<tools>";
static const char tools_behind[] =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\n</tool_call>";

struct telling {
    const struct chat_conversation *from;
    struct arena *arena;
    struct chat_message *messages; /* [count] */
    size_t *origins;
    size_t count;
    struct bytes text; /* scratch */
    struct error *err;
};

static enum status too_large(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
}

bool tools_told_are_needed(const struct chat_conversation *conversation) {
    bool needed = conversation->tool_count > 0;
    for (size_t i = 0; i < conversation->message_count && !needed; i++)
        needed = conversation->messages[i].role == CHAT_ROLE_TOOL || conversation->messages[i].tool_call_count > 0;
    return needed;
}

/** The scratch text, kept. */
static enum status keep_text(struct telling *telling, struct bytes_view *out) {
    char *text = telling->text.failed ? NULL : arena_copy(telling->arena, telling->text.data, telling->text.length);
    if (text == NULL) return too_large(telling->err);
    *out = bytes_view_of(text, telling->text.length);
    return STATUS_OK;
}

/** The texts of a message, joined by blank lines, behind what is in the scratch text. */
static enum status add_content(struct telling *telling, const struct chat_message *message, size_t index) {
    (void)bytes_append(&telling->text, message->content.data, message->content.length);
    bool first = true;
    for (size_t i = 0; i < message->part_count; i++) {
        const struct chat_part *part = &message->parts[i];
        if (part->kind != CHAT_PART_TEXT)
            return error_set(telling->err, STATUS_INVALID_ARGUMENT,
                             "messages.%zu.content.%zu: only texts have a place here, among calls and results", index,
                             i);
        if (!first) (void)bytes_append_string(&telling->text, "\n\n");
        (void)bytes_append(&telling->text, part->text.data, part->text.length);
        first = false;
    }
    return STATUS_OK;
}

/* ---- tools ---- */

static void add_tool(struct telling *telling, const struct chat_tool *tool) {
    struct bytes *out = &telling->text;
    (void)bytes_append_string(out, "\n{\"type\": \"function\", \"function\": {\"name\": ");
    (void)json_append_string(out, tool->name);
    if (tool->description.data != NULL) {
        (void)bytes_append_string(out, ", \"description\": ");
        (void)json_append_string(out, tool->description);
    }
    (void)bytes_append_string(out, ", \"parameters\": ");
    if (tool->parameters.length > 0)
        (void)bytes_append(out, tool->parameters.data, tool->parameters.length);
    else
        (void)bytes_append_string(out, "{\"type\": \"object\", \"properties\": {}}");
    (void)bytes_append_string(out, "}}");
}

static void add_tools(struct telling *telling) {
    (void)bytes_append_string(&telling->text, tools_before);
    for (size_t i = 0; i < telling->from->tool_count; i++) add_tool(telling, &telling->from->tools[i]);
    (void)bytes_append_string(&telling->text, tools_behind);
}

/** A new message with the scratch text as its content. */
static enum status add_message(struct telling *telling, enum chat_role role, size_t origin) {
    struct chat_message *message = &telling->messages[telling->count];
    *message = (struct chat_message){.role = role};
    telling->origins[telling->count++] = origin;
    return keep_text(telling, &message->content);
}

/** The message that begins with the tools, or one of its own in front. */
static enum status tell_tools(const struct chat_layout *layout, struct telling *telling, size_t *out_next) {
    const struct chat_conversation *from = telling->from;
    enum chat_role role = layout->support.system ? CHAT_ROLE_SYSTEM : CHAT_ROLE_USER;
    bool own = from->messages[0].role != role;
    *out_next = 0;
    if (from->tool_count == 0) return STATUS_OK;
    /* Before a user message that is told of tools there may be a system message that its layout merges into it: none is dropped. */
    if (own && from->messages[0].role == CHAT_ROLE_SYSTEM && from->message_count > 1) {
        telling->messages[telling->count] = from->messages[0];
        telling->origins[telling->count++] = 0;
        *out_next = 1;
        own = from->messages[1].role != role;
    }
    bytes_reset(&telling->text);
    if (!own && role == CHAT_ROLE_SYSTEM) {
        TRY(add_content(telling, &from->messages[*out_next], *out_next));
        (void)bytes_append_string(&telling->text, "\n\n");
    }
    if (own && layout->chatml.default_system != NULL)
        (void)bytes_printf(&telling->text, "%s\n\n", layout->chatml.default_system);
    add_tools(telling);
    if (own) return add_message(telling, role, SIZE_MAX);
    if (role == CHAT_ROLE_USER) {
        (void)bytes_append_string(&telling->text, "\n\n");
        TRY(add_content(telling, &from->messages[*out_next], *out_next));
    }
    return add_message(telling, role, (*out_next)++);
}

/* ---- calls and results ---- */

static enum status tell_calls(struct telling *telling, size_t index) {
    const struct chat_message *message = &telling->from->messages[index];
    bytes_reset(&telling->text);
    TRY(add_content(telling, message, index));
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct chat_tool_call *call = &message->tool_calls[i];
        if (telling->text.length > 0) (void)bytes_append_string(&telling->text, "\n");
        (void)bytes_append_string(&telling->text, "<tool_call>\n{\"name\": ");
        (void)json_append_string(&telling->text, call->name);
        (void)bytes_append_string(&telling->text, ", \"arguments\": ");
        if (call->arguments.length > 0)
            (void)bytes_append(&telling->text, call->arguments.data, call->arguments.length);
        else
            (void)bytes_append_string(&telling->text, "{}");
        (void)bytes_append_string(&telling->text, "}\n</tool_call>");
    }
    return add_message(telling, CHAT_ROLE_ASSISTANT, index);
}

/** Results from `index` on, and the user message that follows them: layouts want users and assistants to take turns. */
static enum status tell_results(struct telling *telling, size_t *index) {
    size_t first = *index, at = first;
    bytes_reset(&telling->text);
    for (; at < telling->from->message_count && telling->from->messages[at].role == CHAT_ROLE_TOOL; at++) {
        (void)bytes_append_string(&telling->text, at > first ? "\n<tool_response>\n" : "<tool_response>\n");
        TRY(add_content(telling, &telling->from->messages[at], at));
        (void)bytes_append_string(&telling->text, "\n</tool_response>");
    }
    if (at < telling->from->message_count && telling->from->messages[at].role == CHAT_ROLE_USER) {
        (void)bytes_append_string(&telling->text, "\n\n");
        TRY(add_content(telling, &telling->from->messages[at], at));
        at++;
    }
    *index = at;
    return add_message(telling, CHAT_ROLE_USER, first);
}

static enum status tell(const struct chat_layout *layout, struct telling *telling) {
    const struct chat_conversation *from = telling->from;
    size_t at;
    TRY(tell_tools(layout, telling, &at));
    while (at < from->message_count) {
        const struct chat_message *message = &from->messages[at];
        if (message->role == CHAT_ROLE_TOOL) {
            TRY(tell_results(telling, &at));
        } else if (message->tool_call_count > 0) {
            TRY(tell_calls(telling, at++));
        } else {
            telling->messages[telling->count] = *message;
            telling->origins[telling->count++] = at++;
        }
    }
    return STATUS_OK;
}

enum status tools_told_write(const struct chat_layout *layout, const struct chat_conversation *conversation,
                             struct arena *arena, struct tools_told *out, struct error *err) {
    enum { TEXT_BYTES_MAX = 1 << 30 };
    size_t most = conversation->message_count + 1;
    struct telling telling = {.from = conversation,
                              .arena = arena,
                              .messages = arena_alloc_array(arena, most, sizeof *telling.messages),
                              .origins = arena_alloc_array(arena, most, sizeof *telling.origins),
                              .err = err};
    if (telling.messages == NULL || telling.origins == NULL) return too_large(err);
    bytes_init(&telling.text, TEXT_BYTES_MAX);
    enum status status = tell(layout, &telling);
    bytes_deinit(&telling.text);
    out->conversation = *conversation;
    out->conversation.tools = NULL;
    out->conversation.tool_count = 0;
    out->conversation.messages = telling.messages;
    out->conversation.message_count = telling.count;
    out->origins = telling.origins;
    return status;
}

enum status tools_told_refuse(const struct tools_told *told, enum status status, const char *message,
                              struct error *err) {
    size_t index;
    int read = 0;
    if (sscanf(message, "messages.%zu%n", &index, &read) != 1 || index >= told->conversation.message_count)
        return error_set(err, status, "%s", message);
    if (told->origins[index] == SIZE_MAX) return error_set(err, status, "tools%s", message + read);
    return error_set(err, status, "messages.%zu%s", told->origins[index], message + read);
}
