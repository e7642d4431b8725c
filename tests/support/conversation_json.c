/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/conversation_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bytes_view text_of(const json_t *value) {
    return value == NULL || json_is_null(value) ? (struct bytes_view){0}
                                                : bytes_view_of(json_string_value(value), json_string_length(value));
}

/** As json.dumps would, for members that the interface takes as text or as an object. */
static struct bytes_view json_text(const json_t *value, struct arena *arena) {
    if (value == NULL || json_is_string(value)) return text_of(value);
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_PRESERVE_ORDER);
    struct bytes_view text = bytes_view_string(arena_copy(arena, dumped, strlen(dumped)));
    free(dumped);
    return text;
}

static struct chat_part part_from_json(const json_t *json, const struct chat_layout *layout) {
    const char *type = json_string_value(json_object_get(json, "type"));
    struct chat_part part = {.kind = CHAT_PART_TEXT, .text = text_of(json_object_get(json, "text"))};
    if (strcmp(type, "thinking") == 0) {
        part = (struct chat_part){.kind = CHAT_PART_THINKING,
                                  .closed = json_is_true(json_object_get(json, "closed")),
                                  .text = text_of(json_object_get(json, "thinking"))};
    } else if (strcmp(type, "image_url") == 0) {
        int width = 0, height = 0;
        if (sscanf(json_string_value(json_object_get(json, "image_url")), "size:%dx%d", &width, &height) != 2) abort();
        part = (struct chat_part){.kind = CHAT_PART_IMAGE, .image_columns = 1, .image_rows = 1};
        (void)!chat_image_grid(layout, width, height, &part.image_columns, &part.image_rows, NULL);
    } else if (strcmp(type, "text") != 0) {
        abort();
    }
    return part;
}

static void set_content(struct chat_message *message, const json_t *content, const struct chat_layout *layout,
                        struct arena *arena) {
    if (!json_is_array(content)) {
        message->content = text_of(content);
        return;
    }
    struct chat_part *parts = arena_alloc_array(arena, json_array_size(content), sizeof *parts);
    const json_t *part;
    size_t i;
    json_array_foreach(content, i, part) parts[i] = part_from_json(part, layout);
    message->parts = parts;
    message->part_count = json_array_size(content);
}

static void set_calls(struct chat_message *message, const json_t *list, struct arena *arena) {
    struct chat_tool_call *calls = arena_alloc_array(arena, json_array_size(list), sizeof *calls);
    const json_t *call;
    size_t i;
    json_array_foreach(list, i, call) {
        const json_t *function = json_object_get(call, "function");
        calls[i] = (struct chat_tool_call){.id = text_of(json_object_get(call, "id")),
                                           .name = text_of(json_object_get(function, "name")),
                                           .arguments = json_text(json_object_get(function, "arguments"), arena)};
    }
    message->tool_calls = calls;
    message->tool_call_count = json_array_size(list);
}

struct chat_conversation conversation_from_json(const json_t *request, const struct chat_layout *layout,
                                                struct arena *arena) {
    const json_t *list = json_object_get(request, "messages"), *tool_list = json_object_get(request, "tools"), *item;
    size_t i, count = json_array_size(list), tool_count = json_array_size(tool_list);
    struct chat_message *messages = arena_alloc_array(arena, count, sizeof *messages);
    struct chat_tool *tools = arena_alloc_array(arena, tool_count, sizeof *tools);
    json_array_foreach(list, i, item) {
        const char *role = json_string_value(json_object_get(item, "role"));
        while (strcmp(chat_role_name(messages[i].role), role) != 0) messages[i].role++;
        set_content(&messages[i], json_object_get(item, "content"), layout, arena);
        set_calls(&messages[i], json_object_get(item, "tool_calls"), arena);
        messages[i].tool_call_id = text_of(json_object_get(item, "tool_call_id"));
        messages[i].name = text_of(json_object_get(item, "name"));
        messages[i].prefix = json_is_true(json_object_get(item, "prefix"));
    }
    json_array_foreach(tool_list, i, item) {
        const json_t *function = json_object_get(item, "function");
        tools[i] = (struct chat_tool){.name = text_of(json_object_get(function, "name")),
                                      .description = text_of(json_object_get(function, "description")),
                                      .parameters = json_text(json_object_get(function, "parameters"), arena),
                                      .strict = json_is_true(json_object_get(function, "strict"))};
    }
    return (struct chat_conversation){.messages = messages,
                                      .message_count = count,
                                      .tools = tools,
                                      .tool_count = tool_count,
                                      .reasoning_effort = text_of(json_object_get(request, "reasoning_effort")),
                                      .json_schema = json_text(json_object_get(request, "json_schema"), arena)};
}
