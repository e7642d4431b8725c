/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any conversation with calls and results in any of Mistral's layouts, and any tekken.json: ids or a refusal with words, and what users write never is
 * a control token. The first byte is the version; then a message for each zero-ended text, whose first byte says what it is. */
#include "engine/chat/chat_internal.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGES_MAX = 24 };

static const char *const controls[] = {"<unk>",
                                       "<s>",
                                       "</s>",
                                       "[INST]",
                                       "[/INST]",
                                       "[AVAILABLE_TOOLS]",
                                       "[/AVAILABLE_TOOLS]",
                                       "[TOOL_RESULTS]",
                                       "[/TOOL_RESULTS]",
                                       "[TOOL_CALLS]",
                                       "[IMG]",
                                       "[IMG_BREAK]",
                                       "[IMG_END]",
                                       "[PREFIX]",
                                       "[SUFFIX]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]",
                                       "[ARGS]",
                                       "[CALL_ID]",
                                       "[THINK]",
                                       "[/THINK]",
                                       "[MODEL_SETTINGS]",
                                       "[/MODEL_SETTINGS]"};
static struct tokenizer *tokenizer;

static void load(void) {
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_byte_tokenizer(&builder, controls, sizeof controls / sizeof controls[0]);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    if (gguf_open_memory(file, length, "hand.gguf", &gguf, NULL) != STATUS_OK ||
        tokenizer_load_gguf(gguf, &tokenizer, NULL) != STATUS_OK)
        abort();
    gguf_close(gguf);
    free(file);
}

/** What a text says of a message: its role, and whether it is content, a part, a call's arguments or a thought. */
static void make_message(const uint8_t *data, size_t length, struct chat_message *message, struct chat_part *part,
                         struct chat_tool_call *call) {
    static const char *const ids[] = {"aaaaaaaa1", "aaaaaaaa2", "null", "x"};
    struct bytes_view text = bytes_view_of(data + 1, length - 1);
    *message = (struct chat_message){.role = (enum chat_role)(data[0] % 4), .prefix = (data[0] & 4) != 0};
    struct bytes_view id = bytes_view_string(ids[data[0] >> 6]);
    if (message->role == CHAT_ROLE_TOOL) message->tool_call_id = id;
    *part = (struct chat_part){.kind = (enum chat_part_kind)(data[0] >> 4 & 3),
                               .text = text,
                               .closed = (data[0] & 1) != 0,
                               .image_columns = 2,
                               .image_rows = 2};
    *call = (struct chat_tool_call){.id = id, .name = bytes_view_string("f"), .arguments = text};
    if ((data[0] & 8) == 0) {
        message->content = text;
    } else if (message->role == CHAT_ROLE_ASSISTANT && (data[0] & 16) != 0) {
        message->tool_calls = call;
        message->tool_call_count = 1;
    } else {
        message->parts = part;
        message->part_count = 1;
    }
}

/** The control tokens that a text contains stay text: as many as with another text of the same kind. */
static size_t count_controls(const struct chat_layout *layout, const struct chat_conversation *conversation,
                             bool *out_good) {
    struct token_list ids = {.max_count = 200000};
    struct error err = {0};
    size_t count = 0;
    enum status status = chat_layout_render(layout, conversation, &ids, &err);
    if (status != STATUS_OK && (ids.count != 0 || err.message[0] == 0)) abort();
    for (size_t i = 0; i < ids.count; i++) count += tokenizer_is_control(tokenizer, ids.ids[i]);
    token_list_deinit(&ids);
    *out_good = status == STATUS_OK;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int versions[] = {1, 2, 3, 7, 11, 13, 15};
    struct chat_message messages[MESSAGES_MAX];
    struct chat_part parts[MESSAGES_MAX];
    struct chat_tool_call calls[MESSAGES_MAX];
    struct chat_tool tool = {.name = bytes_view_string("f")};
    struct mistral_layout tekken = {0};
    if (tokenizer == NULL) load();
    if (size == 0) return 0;
    (void)!mistral_layout_read_tekken(bytes_view_of(data, size), &tekken, NULL);
    struct chat_layout layout = {
        .tokenizer = tokenizer,
        .mistral = {.version = versions[data[0] % 7], .image_patch = 14, .image_side = 1540, .image_merge = 2}};
    if (mistral_layout_bind(&layout, NULL) != STATUS_OK) abort();
    struct chat_conversation conversation = {.messages = messages, .tools = &tool, .tool_count = data[0] >> 7};
    data++;
    size--;
    while (size > 0 && conversation.message_count < MESSAGES_MAX) {
        const uint8_t *end = memchr(data, 0, size);
        size_t length = end != NULL ? (size_t)(end - data) : size, at = conversation.message_count;
        if (length > 0) {
            make_message(data, length, &messages[at], &parts[at], &calls[at]);
            if (conversation.tool_count > 0) tool.parameters = bytes_view_of(data + 1, length - 1);
            conversation.message_count++;
        }
        size_t used = end != NULL ? length + 1 : length;
        data += used;
        size -= used;
    }
    bool good, again;
    size_t count = count_controls(&layout, &conversation, &good);
    if (!good) return 0;
    /* Every text with its brackets and less-than signs spoilt: the same control tokens. */
    uint8_t *copies[MESSAGES_MAX];
    size_t copied = conversation.message_count;
    for (size_t i = 0; i < copied; i++) {
        struct bytes_view *text = messages[i].part_count > 0 ? &parts[i].text : &messages[i].content;
        copies[i] = malloc(text->length + 1);
        if (copies[i] == NULL) abort();
        for (size_t j = 0; j < text->length; j++)
            copies[i][j] = text->data[j] == '[' || text->data[j] == '<' ? '(' : text->data[j];
        text->data = copies[i];
    }
    if (count_controls(&layout, &conversation, &again) != count && again) abort();
    for (size_t i = 0; i < copied; i++) free(copies[i]);
    return 0;
}
