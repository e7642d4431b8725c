/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/chat/chat_internal.h"
#include "engine/chat/template.h"

#include <stdlib.h>
#include <string.h>

enum {
    ARENA_BYTES_LEAST = 32 << 20, /* what laying out may take: this, and ... */
    ARENA_BYTES_FACTOR = 64,      /* ... so many times what the conversation has; JSON as a tree is the greediest */
};

const char *chat_role_name(enum chat_role role) {
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return names[role];
}

/* ---- pieces --------------------------------------------------------------------------------------------------------- */

enum status prompt_add(struct prompt *prompt, struct prompt_piece piece, struct error *err) {
    if (prompt->count == prompt->capacity) {
        size_t capacity = prompt->capacity == 0 ? 64 : 2 * prompt->capacity;
        struct prompt_piece *pieces = arena_alloc_array(prompt->arena, capacity, sizeof *pieces);
        if (pieces == NULL)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too large to be laid out");
        if (prompt->count > 0) memcpy(pieces, prompt->pieces, prompt->count * sizeof *pieces);
        prompt->pieces = pieces;
        prompt->capacity = capacity;
    }
    prompt->pieces[prompt->count++] = piece;
    return STATUS_OK;
}

enum status prompt_add_control(struct prompt *prompt, int32_t id, struct error *err) {
    return prompt_add(prompt, (struct prompt_piece){.control = id}, err);
}

enum status prompt_add_text(struct prompt *prompt, struct bytes_view text, struct error *err) {
    if (text.length == 0) return STATUS_OK;
    return prompt_add(prompt, (struct prompt_piece){.control = -1, .text = text}, err);
}

static enum status encode_piece(const struct chat_layout *layout, const struct prompt_piece *piece,
                                struct token_list *out, struct error *err) {
    if (piece->control >= 0) {
        enum status status = token_list_append(out, piece->control);
        if (status == STATUS_OK) return status;
        return error_set(err, status, "the conversation does not fit into %zu tokens", out->max_count);
    }
    size_t before = out->count;
    if (piece->template) return tokenizer_encode_template(layout->tokenizer, piece->text, piece->untrusted, out, err);
    TRY(tokenizer_encode(layout->tokenizer, piece->text, out, err));
    size_t skip = piece->skip < out->count - before ? piece->skip : out->count - before;
    if (skip > 0) {
        memmove(out->ids + before, out->ids + before + skip, (out->count - before - skip) * sizeof *out->ids);
        out->count -= skip;
    }
    return STATUS_OK;
}

static enum status encode(const struct chat_layout *layout, const struct prompt *prompt, struct token_list *out,
                          struct error *err) {
    size_t before = out->count;
    for (size_t i = 0; i < prompt->count; i++) {
        enum status status = encode_piece(layout, &prompt->pieces[i], out, err);
        if (status == STATUS_OK) continue;
        out->count = before;
        return status;
    }
    return STATUS_OK;
}

static size_t message_bytes(const struct chat_message *message) {
    size_t bytes = sizeof *message + message->content.length + message->tool_call_id.length + message->name.length;
    for (size_t i = 0; i < message->part_count; i++) bytes += sizeof *message->parts + message->parts[i].text.length;
    for (size_t i = 0; i < message->tool_call_count; i++)
        bytes += sizeof *message->tool_calls + message->tool_calls[i].arguments.length +
                 message->tool_calls[i].name.length + message->tool_calls[i].id.length;
    return bytes;
}

static size_t conversation_bytes(const struct chat_conversation *conversation) {
    size_t bytes = conversation->json_schema.length;
    for (size_t i = 0; i < conversation->message_count; i++) bytes += message_bytes(&conversation->messages[i]);
    for (size_t i = 0; i < conversation->tool_count; i++)
        bytes += sizeof *conversation->tools + conversation->tools[i].parameters.length +
                 conversation->tools[i].description.length + conversation->tools[i].name.length;
    return bytes;
}

static enum status compose(const struct chat_layout *layout, const struct chat_conversation *conversation, size_t bytes,
                           struct prompt *out, struct error *err) {
    switch (layout->kind) {
    case CHAT_LAYOUT_TEMPLATE:
        return template_compose(layout, conversation, bytes, out, err);
    case CHAT_LAYOUT_MISTRAL:
        return mistral_compose(layout, conversation, out, err);
    default:
        return chatml_compose(layout, conversation, out, err);
    }
}

/** With tools told of in words, where that is asked for. */
static enum status compose_told(const struct chat_layout *layout, const struct chat_conversation *conversation,
                                size_t bytes, struct prompt *out, struct error *err) {
    struct tools_told told;
    struct error unfit = {0};
    if (!conversation->tools_in_words || !tools_told_are_needed(conversation))
        return compose(layout, conversation, bytes, out, err);
    TRY(tools_told_write(layout, conversation, out->arena, &told, err));
    enum status status = compose(layout, &told.conversation, bytes, out, &unfit);
    return status == STATUS_OK ? status : tools_told_refuse(&told, status, unfit.message, err);
}

enum status chat_layout_render(const struct chat_layout *layout, const struct chat_conversation *conversation,
                               struct token_list *out, struct error *err) {
    if (conversation->message_count == 0) return error_set(err, STATUS_INVALID_ARGUMENT, "the conversation is empty");
    struct arena arena;
    size_t bytes = conversation_bytes(conversation);
    arena_init(&arena, ARENA_BYTES_LEAST + ARENA_BYTES_FACTOR * bytes);
    struct prompt prompt = {.arena = &arena};
    enum status status = compose_told(layout, conversation, bytes, &prompt, err);
    if (status == STATUS_OK) status = encode(layout, &prompt, out, err);
    arena_deinit(&arena);
    return status;
}

enum status chat_layout_render_fim(const struct chat_layout *layout, struct bytes_view prefix, struct bytes_view suffix,
                                   struct token_list *out, struct error *err) {
    if (!layout->support.fim)
        return error_set(err, STATUS_UNIMPLEMENTED, "the layout %s cannot fill in the middle", layout->name);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES_LEAST + ARENA_BYTES_FACTOR * (prefix.length + suffix.length));
    struct prompt prompt = {.arena = &arena};
    enum status status = mistral_compose_fim(layout, prefix, suffix, &prompt, err);
    if (status == STATUS_OK) status = encode(layout, &prompt, out, err);
    arena_deinit(&arena);
    return status;
}

void chat_layout_destroy(struct chat_layout *layout) {
    if (layout == NULL) return;
    template_destroy(layout->template);
    template_destroy(layout->tool_template);
    free(layout->bos_token);
    free(layout->eos_token);
    free(layout);
}

const char *chat_layout_name(const struct chat_layout *layout) {
    return layout->name;
}

struct chat_support chat_layout_support(const struct chat_layout *layout) {
    return layout->support;
}

static bool template_writes(const struct chat_layout *layout, const char *mark) {
    return (layout->template != NULL && template_mentions(layout->template, mark)) ||
           (layout->tool_template != NULL && template_mentions(layout->tool_template, mark));
}

enum chat_calls chat_layout_calls(const struct chat_layout *layout) {
    int version = layout->mistral.version;
    if (layout->kind == CHAT_LAYOUT_MISTRAL)
        return version >= 13   ? CHAT_CALLS_ARGUMENTS
               : version >= 11 ? CHAT_CALLS_ID
               : version >= 2  ? CHAT_CALLS_LIST
                               : CHAT_CALLS_NONE;
    /* Qwen's coders write <function=name> and <parameter=name> between the same tags. */
    if (template_writes(layout, "<tool_call>"))
        return template_writes(layout, "<function=") || template_writes(layout, "<arg_key>") ? CHAT_CALLS_NONE
                                                                                             : CHAT_CALLS_TAGS;
    if (template_writes(layout, "\"parameters\"") && template_writes(layout, "<|start_header_id|>"))
        return CHAT_CALLS_PARAMETERS;
    return CHAT_CALLS_NONE;
}
