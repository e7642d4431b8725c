/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "base/text.h"
#include "clients/c/client_internal.h"

#include <stdlib.h>
#include <string.h>

enum { CONVERSATION_BYTES = 256 << 20 };

struct bora_conversation {
    struct arena memory; /* texts and messages */
    size_t length;
    struct bora_message *messages[LIMIT_MESSAGES];
};

enum status bora_conversation_create(struct bora_conversation **out, struct bora_error *err) {
    struct bora_conversation *conversation = calloc(1, sizeof *conversation);
    if (conversation == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    arena_init(&conversation->memory, CONVERSATION_BYTES);
    *out = conversation;
    return STATUS_OK;
}

void bora_conversation_destroy(struct bora_conversation *conversation) {
    if (conversation == NULL) return;
    arena_deinit(&conversation->memory);
    free(conversation);
}

/** A copy; NULL stays NULL. */
static enum status copy(struct arena *memory, const char *text, const char **out, struct bora_error *err) {
    *out = NULL;
    if (text == NULL) return STATUS_OK;
    size_t length = strlen(text);
    if (!text_is_utf8(text, length))
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "a text of the conversation is not UTF-8");
    *out = arena_copy(memory, text, length);
    if (*out == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too long");
    return STATUS_OK;
}

static enum status copy_calls(struct arena *memory, const struct bora_message *from, struct bora_message *to,
                              struct bora_error *err) {
    if (from->call_count == 0) return STATUS_OK;
    struct bora_tool_call *calls = arena_alloc_array(memory, from->call_count, sizeof *calls);
    if (calls == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too long");
    for (size_t i = 0; i < from->call_count; i++) {
        TRY(copy(memory, from->calls[i].id, &calls[i].id, err));
        TRY(copy(memory, from->calls[i].name, &calls[i].name, err));
        TRY(copy(memory, from->calls[i].arguments, &calls[i].arguments, err));
    }
    to->calls = calls;
    to->call_count = from->call_count;
    return STATUS_OK;
}

enum status bora_conversation_add(struct bora_conversation *conversation, const struct bora_message *message,
                                  struct bora_error *err) {
    struct arena *memory = &conversation->memory;
    if (conversation->length >= LIMIT_MESSAGES)
        return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "a conversation has at most %d messages", LIMIT_MESSAGES);
    struct bora_message *added = arena_alloc(memory, sizeof *added);
    if (added == NULL) return bora_error_set(err, STATUS_RESOURCE_EXHAUSTED, "the conversation is too long");
    added->role = message->role;
    TRY(copy(memory, message->text != NULL ? message->text : "", &added->text, err));
    TRY(copy(memory, message->call_id, &added->call_id, err));
    TRY(copy(memory, message->tool_name, &added->tool_name, err));
    TRY(copy_calls(memory, message, added, err));
    conversation->messages[conversation->length++] = added;
    return STATUS_OK;
}

enum status bora_conversation_add_text(struct bora_conversation *conversation, enum bora_role role, const char *text,
                                       struct bora_error *err) {
    return bora_conversation_add(conversation, &(struct bora_message){.role = role, .text = text}, err);
}

size_t bora_conversation_length(const struct bora_conversation *conversation) {
    return conversation->length;
}

const struct bora_message *bora_conversation_at(const struct bora_conversation *conversation, size_t index) {
    return conversation->messages[index];
}
