/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What mistral-common's request validator refuses in serving, version by version. The order of roles is the gateway's to check
 * (services/gateway/chat_check.c); it is not looked at again here.
 */
#include "base/limits.h"
#include "engine/chat/chat_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static enum status refuse(struct error *err, size_t message, const char *field, const char *sentence) {
    return error_set(err, STATUS_INVALID_ARGUMENT, "messages.%zu.%s: %s", message, field, sentence);
}

static bool is_name(struct bytes_view name) {
    if (name.length == 0 || name.length > 64) return false;
    for (size_t i = 0; i < name.length; i++) {
        if (!isalnum(name.data[i]) && name.data[i] != '_' && name.data[i] != '-') return false;
    }
    return true;
}

/** Nine letters or digits; from v13 anything but nothing and "null". */
static bool is_call_id(const struct mistral_layout *layout, struct bytes_view id) {
    if (layout->version >= 13) return id.length > 0 && !bytes_view_equal_string(id, "null");
    if (id.length != 9) return false;
    for (size_t i = 0; i < id.length; i++) {
        if (!isalnum(id.data[i])) return false;
    }
    return true;
}

static const char *call_id_rule(const struct mistral_layout *layout) {
    return layout->version >= 13 ? "must be there, and other than \"null\"" : "must be nine letters or digits";
}

/** May the part stand in a message of that role? */
static bool has_place(const struct mistral_layout *layout, enum chat_role role, const struct chat_part *part) {
    switch (part->kind) {
    case CHAT_PART_TEXT:
        return true;
    case CHAT_PART_IMAGE:
        return layout->image_patch > 0 &&
               ((role == CHAT_ROLE_USER && layout->version >= 3) || (role == CHAT_ROLE_TOOL && layout->version >= 15));
    case CHAT_PART_THINKING:
        if (layout->version < 13 || layout->controls[MISTRAL_CONTROL_THINK] < 0) return false;
        return role == CHAT_ROLE_ASSISTANT || (role == CHAT_ROLE_SYSTEM && layout->version < 15);
    default:
        return false;
    }
}

static enum status check_parts(const struct mistral_layout *layout, const struct chat_message *message, size_t index,
                               struct error *err) {
    static const char *const kinds[] = {"a text", "an image", "thinking", "a reference"};
    for (size_t i = 0; i < message->part_count; i++) {
        const struct chat_part *part = &message->parts[i];
        if (!has_place(layout, message->role, part))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "messages.%zu.content.%zu: the layout mistral-v%d has no place for %s in a %s message",
                             index, i, layout->version, kinds[part->kind], chat_role_name(message->role));
        if (part->kind == CHAT_PART_IMAGE && (part->image_columns < 1 || part->image_rows < 1))
            return error_set(err, STATUS_INVALID_ARGUMENT, "messages.%zu.content.%zu: an image of %d x %d patches",
                             index, i, part->image_columns, part->image_rows);
    }
    return STATUS_OK;
}

static bool has_content(const struct chat_message *message) {
    return message->content.length > 0 || message->part_count > 0;
}

static enum status check_assistant(const struct mistral_layout *layout, const struct chat_message *message,
                                   size_t index, bool last, struct error *err) {
    if (message->prefix && !last) return refuse(err, index, "prefix", "only the last message may be continued");
    if (!has_content(message) && message->tool_call_count == 0)
        return refuse(err, index, "content", "an assistant message must have content or tool calls");
    if (message->tool_call_count == 0) return STATUS_OK;
    if (layout->version < 2) return refuse(err, index, "tool_calls", "the layout mistral-v1 has no place for them");
    if (layout->version < 7 && has_content(message))
        return refuse(err, index, "tool_calls", "before mistral-v7 a message has either content or tool calls");
    for (size_t i = 0; i < message->tool_call_count; i++) {
        const struct chat_tool_call *call = &message->tool_calls[i];
        char field[64];
        snprintf(field, sizeof field, "tool_calls.%zu.function.name", i);
        if (!is_name(call->name)) return refuse(err, index, field, "must be 1 to 64 letters, digits, '_' or '-'");
        snprintf(field, sizeof field, "tool_calls.%zu.id", i);
        if (layout->version >= 3 && !is_call_id(layout, call->id))
            return refuse(err, index, field, call_id_rule(layout));
    }
    return STATUS_OK;
}

static enum status check_result(const struct mistral_layout *layout, const struct chat_message *message, size_t index,
                                struct error *err) {
    if (layout->version < 2) return refuse(err, index, "role", "the layout mistral-v1 has no place for tool results");
    if (message->name.length > 0 && !is_name(message->name))
        return refuse(err, index, "name", "must be 1 to 64 letters, digits, '_' or '-'");
    if (layout->version >= 3 && !is_call_id(layout, message->tool_call_id))
        return refuse(err, index, "tool_call_id", call_id_rule(layout));
    return STATUS_OK;
}

/* ---- calls and results ---------------------------------------------------------------------------------------------- */

/** The calls of one assistant message, and which of them are answered. */
struct pairing {
    const struct chat_tool_call *calls;
    size_t count, answered;
    bool seen[LIMIT_TOOLS]; /* by place among the calls */
};

/** From v11 a result answers one call of the last assistant message, by its id. */
static enum status answer_call(struct pairing *pairing, const struct chat_message *message, size_t index,
                               struct error *err) {
    for (size_t i = 0; i < pairing->count; i++) {
        if (!bytes_view_equal(pairing->calls[i].id, message->tool_call_id)) continue;
        if (pairing->seen[i]) return refuse(err, index, "tool_call_id", "this call has been answered already");
        pairing->seen[i] = true;
        return STATUS_OK;
    }
    return refuse(err, index, "tool_call_id", "the assistant message before made no such call");
}

static enum status begin_calls(const struct mistral_layout *layout, struct pairing *pairing,
                               const struct chat_message *message, size_t index, struct error *err) {
    *pairing = (struct pairing){.calls = message->tool_calls, .count = message->tool_call_count};
    if (pairing->count > LIMIT_TOOLS) return refuse(err, index, "tool_calls", "there are too many");
    for (size_t i = 0; layout->version >= 11 && i < pairing->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (bytes_view_equal(pairing->calls[i].id, pairing->calls[j].id))
                return refuse(err, index, "tool_calls", "two of them have the same id");
        }
    }
    return STATUS_OK;
}

static enum status check_pairs(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                               struct error *err) {
    struct pairing pairing = {0};
    size_t last_user = conversation->message_count;
    while (last_user > 0 && conversation->messages[last_user - 1].role != CHAT_ROLE_USER) last_user--;
    for (size_t i = 0; i < conversation->message_count; i++) {
        const struct chat_message *message = &conversation->messages[i];
        if (message->role == CHAT_ROLE_TOOL) {
            if (layout->version >= 11) TRY(answer_call(&pairing, message, i, err));
            pairing.answered++;
            if (layout->version == 2 && pairing.answered > 1 && i >= last_user)
                return refuse(err, i, "role", "the layout mistral-v2 has one result for a turn of calls");
        } else if (message->role == CHAT_ROLE_ASSISTANT) {
            if (pairing.answered != pairing.count)
                return refuse(err, i, "role", "not the same number of function calls and responses before");
            TRY(begin_calls(layout, &pairing, message, i, err));
        }
    }
    if (pairing.answered != pairing.count)
        return refuse(err, conversation->message_count - 1, "role",
                      "not the same number of function calls and responses");
    return STATUS_OK;
}

/* ---- tools and settings --------------------------------------------------------------------------------------------- */

static enum status check_settings(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                                  struct error *err) {
    if (layout->version < 2 && conversation->tool_count > 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "tools: the layout mistral-v1 has no place for them");
    for (size_t i = 0; i < conversation->tool_count; i++) {
        if (!is_name(conversation->tools[i].name))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "tools.%zu.function.name: must be 1 to 64 letters, digits, '_' or '-'", i);
    }
    struct bytes_view effort = conversation->reasoning_effort;
    if (effort.length == 0) return STATUS_OK;
    for (int i = 0; i < layout->effort_count; i++) {
        if (bytes_view_equal_string(effort, layout->efforts[i])) return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID_ARGUMENT, "reasoning_effort: '%.*s' is not supported for this model",
                     (int)(effort.length < 16 ? effort.length : 16), (const char *)effort.data);
}

enum status mistral_check(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                          struct error *err) {
    TRY(check_settings(layout, conversation, err));
    for (size_t i = 0; i < conversation->message_count; i++) {
        const struct chat_message *message = &conversation->messages[i];
        TRY(check_parts(layout, message, i, err));
        if (message->role == CHAT_ROLE_ASSISTANT)
            TRY(check_assistant(layout, message, i, i + 1 == conversation->message_count, err));
        if (message->role == CHAT_ROLE_TOOL) TRY(check_result(layout, message, i, err));
    }
    return check_pairs(layout, conversation, err);
}
