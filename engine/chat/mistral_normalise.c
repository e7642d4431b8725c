/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * What mistral-common does to a conversation before it is encoded: neighbours of one role are one message (tool results never, system messages
 * not from v7 on), texts of one message are joined, results stand in the order of their calls, and before v7 the conversation begins with a user.
 */
#include "engine/chat/chat_internal.h"

#include <string.h>

/* Between messages, and between the parts of one before v15. */
static const char separator[] = "\n\n";

static enum status out_of_memory(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
}

/** The parts of a message: its own, or its content as one. */
static const struct chat_part *parts_of(const struct chat_message *message, struct chat_part *own, size_t *out_count) {
    *out_count = message->part_count;
    if (message->part_count > 0) return message->parts;
    *own = (struct chat_part){.kind = CHAT_PART_TEXT, .text = message->content};
    *out_count = message->content.length > 0;
    return own;
}

/** Texts are gathered until a part of another kind, or the end, makes them one part. */
struct gathering {
    struct arena *arena;
    struct chat_part *parts;
    size_t count;
    struct bytes_view *texts; /* of the part to come, separators among them */
    size_t text_count;
};

static bool flush(struct gathering *gathering) {
    if (gathering->text_count == 0) return true;
    size_t length = 0;
    for (size_t i = 0; i < gathering->text_count; i++) length += gathering->texts[i].length;
    struct bytes_view whole = gathering->texts[0];
    if (gathering->text_count > 1) {
        uint8_t *joined = arena_alloc(gathering->arena, length + 1), *end = joined;
        if (joined == NULL) return false;
        for (size_t i = 0; i < gathering->text_count; i++)
            end = (uint8_t *)mempcpy(end, gathering->texts[i].data, gathering->texts[i].length);
        whole = bytes_view_of(joined, length);
    }
    gathering->parts[gathering->count++] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = whole};
    gathering->text_count = 0;
    return true;
}

static bool gather_message(struct gathering *gathering, const struct chat_message *message,
                           const char *part_separator) {
    struct chat_part own;
    size_t count;
    const struct chat_part *parts = parts_of(message, &own, &count);
    bool first_of_message = gathering->text_count > 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].kind != CHAT_PART_TEXT) {
            if (!flush(gathering)) return false;
            gathering->parts[gathering->count++] = parts[i];
            continue;
        }
        if (parts[i].text.length == 0) continue;
        const char *between = first_of_message ? separator : part_separator;
        if (gathering->text_count > 0 && *between != 0)
            gathering->texts[gathering->text_count++] = bytes_view_string(between);
        gathering->texts[gathering->text_count++] = parts[i].text;
        first_of_message = false;
    }
    return true;
}

/** The content of `count` messages as one list of parts. */
static enum status join_content(const struct mistral_layout *layout, const struct chat_message *messages, size_t count,
                                struct arena *arena, struct mistral_message *out, struct error *err) {
    size_t parts = 0;
    for (size_t i = 0; i < count; i++) parts += messages[i].part_count > 0 ? messages[i].part_count : 1;
    struct gathering gathering = {.arena = arena,
                                  .parts = arena_alloc_array(arena, parts, sizeof(struct chat_part)),
                                  .texts = arena_alloc_array(arena, 2 * parts, sizeof(struct bytes_view))};
    if (gathering.parts == NULL || gathering.texts == NULL) return out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (!gather_message(&gathering, &messages[i], layout->version >= 15 ? "" : separator))
            return out_of_memory(err);
    }
    if (!flush(&gathering)) return out_of_memory(err);
    out->parts = gathering.parts;
    out->part_count = gathering.count;
    return STATUS_OK;
}

/** All calls of neighbouring assistant messages. */
static enum status join_calls(const struct chat_message *messages, size_t count, struct arena *arena,
                              struct mistral_message *out, struct error *err) {
    size_t calls = 0;
    for (size_t i = 0; i < count; i++) calls += messages[i].tool_call_count;
    struct chat_tool_call *list = arena_alloc_array(arena, calls, sizeof *list);
    if (list == NULL) return out_of_memory(err);
    out->tool_calls = list;
    out->tool_call_count = calls;
    for (size_t i = 0; i < count; i++) {
        if (messages[i].tool_call_count > 0)
            list = mempcpy(list, messages[i].tool_calls, messages[i].tool_call_count * sizeof *list);
    }
    return STATUS_OK;
}

struct normalising {
    const struct mistral_layout *layout;
    const struct chat_conversation *conversation;
    struct arena *arena;
    struct mistral_message *messages;
    size_t count;
    struct bytes_view *call_ids; /* of calls not answered yet, in their order */
    size_t call_id_count;
};

/** Where the call that `message` answers stands among the calls. */
static size_t place_of(const struct normalising *normalising, const struct mistral_message *message) {
    for (size_t i = normalising->call_id_count; i-- > 0;) {
        if (bytes_view_equal(normalising->call_ids[i], message->tool_call_id)) return i;
    }
    return SIZE_MAX;
}

/** Results in the order of their calls; those of unknown calls last, as they came. `places` is scratch for `count`. */
static void sort_results(const struct normalising *normalising, struct mistral_message *results, size_t *places,
                         size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct mistral_message moving = results[i];
        size_t place = place_of(normalising, &moving), at = i;
        for (; at > 0 && places[at - 1] > place; at--) {
            results[at] = results[at - 1];
            places[at] = places[at - 1];
        }
        results[at] = moving;
        places[at] = place;
    }
}

/** Messages [from, to) of one role. */
static enum status add_run(struct normalising *normalising, size_t from, size_t to, struct error *err) {
    const struct chat_message *messages = normalising->conversation->messages;
    enum chat_role role = messages[from].role;
    bool apart = role == CHAT_ROLE_TOOL || role == CHAT_ROLE_SYSTEM;
    if (role == CHAT_ROLE_SYSTEM && normalising->layout->version < 7) return STATUS_OK;
    size_t first = normalising->count;
    for (size_t at = from; at < to; at += apart ? 1 : to - from) {
        size_t count = apart ? 1 : to - from;
        struct mistral_message *out = &normalising->messages[normalising->count++];
        *out = (struct mistral_message){.role = role,
                                        .index = at,
                                        .tool_call_id = messages[at].tool_call_id,
                                        .name = messages[at].name,
                                        .prefix = messages[at + count - 1].prefix && role == CHAT_ROLE_ASSISTANT};
        TRY(join_content(normalising->layout, &messages[at], count, normalising->arena, out, err));
        TRY(join_calls(&messages[at], count, normalising->arena, out, err));
        for (size_t i = 0; i < out->tool_call_count; i++)
            normalising->call_ids[normalising->call_id_count++] = out->tool_calls[i].id;
    }
    if (role == CHAT_ROLE_TOOL) {
        if (normalising->layout->version >= 11) {
            size_t *places = arena_alloc_array(normalising->arena, to - from, sizeof *places);
            if (places == NULL) return out_of_memory(err);
            sort_results(normalising, &normalising->messages[first], places, to - from);
        }
        normalising->call_id_count = 0;
    }
    return STATUS_OK;
}

/** Before v7: all system prompts as one text. */
static enum status join_system(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                               struct arena *arena, struct bytes_view *out, struct error *err) {
    struct chat_message *systems = arena_alloc_array(arena, conversation->message_count, sizeof *systems);
    if (systems == NULL) return out_of_memory(err);
    size_t count = 0;
    for (size_t i = 0; i < conversation->message_count; i++) {
        if (conversation->messages[i].role == CHAT_ROLE_SYSTEM) systems[count++] = conversation->messages[i];
    }
    struct mistral_message joined = {0};
    TRY(join_content(layout, systems, count, arena, &joined, err));
    *out = joined.part_count > 0 ? joined.parts[0].text : (struct bytes_view){0};
    return STATUS_OK;
}

enum status mistral_normalise(const struct mistral_layout *layout, const struct chat_conversation *conversation,
                              struct arena *arena, struct mistral_message **out, size_t *out_count,
                              struct bytes_view *out_system, struct error *err) {
    size_t count = conversation->message_count, calls = 0;
    for (size_t i = 0; i < count; i++) calls += conversation->messages[i].tool_call_count;
    struct normalising normalising = {.layout = layout,
                                      .conversation = conversation,
                                      .arena = arena,
                                      .messages = arena_alloc_array(arena, count + 1, sizeof *normalising.messages),
                                      .call_ids = arena_alloc_array(arena, calls, sizeof(struct bytes_view))};
    if (normalising.messages == NULL || normalising.call_ids == NULL) return out_of_memory(err);
    *out_system = (struct bytes_view){0};
    if (layout->version < 7) {
        TRY(join_system(layout, conversation, arena, out_system, err));
        size_t first = 0;
        while (first < count && conversation->messages[first].role == CHAT_ROLE_SYSTEM) first++;
        if (first == count || conversation->messages[first].role != CHAT_ROLE_USER)
            normalising.messages[normalising.count++] = (struct mistral_message){.role = CHAT_ROLE_USER};
    }
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && conversation->messages[to].role == conversation->messages[from].role;) to++;
        TRY(add_run(&normalising, from, to, err));
    }
    *out = normalising.messages;
    *out_count = normalising.count;
    return STATUS_OK;
}
