/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any conversation: as many control tokens as the layout places, whatever the contents. A zero byte parts messages; a message's
 * first byte is its role. */
#include "engine/chat/chat.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGES_MAX = 32 };

static struct tokenizer *tokenizer;
static struct chat_layout *layout;

static void load(void) {
    static const char template[] =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
        "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_tokenizer(&builder, NULL, 0);
    gguf_builder_string(&builder, "tokenizer.chat_template", template);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    if (gguf_open_memory(file, length, "hand.gguf", &gguf, NULL) != STATUS_OK ||
        tokenizer_load_gguf(gguf, &tokenizer, NULL) != STATUS_OK ||
        chat_layout_load_gguf(gguf, tokenizer, &layout, NULL) != STATUS_OK) {
        abort();
    }
    gguf_close(gguf);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct chat_message messages[MESSAGES_MAX];
    size_t count = 0, controls = 0;
    if (layout == NULL) load();
    while (size > 0 && count < MESSAGES_MAX) {
        const uint8_t *end = memchr(data, 0, size);
        size_t length = end != NULL ? (size_t)(end - data) : size;
        if (length > 0) {
            messages[count++] = (struct chat_message){.role = (enum chat_role)(data[0] % 4),
                                                      .content = bytes_view_of(data + 1, length - 1),
                                                      .prefix = (data[0] & 4) != 0};
        }
        size_t used = end != NULL ? length + 1 : length;
        data += used;
        size -= used;
    }
    struct token_list ids = {.max_count = 100000};
    struct chat_conversation conversation = {.messages = messages, .message_count = count};
    enum status status = chat_layout_render(layout, &conversation, &ids, NULL);
    if (count == 0 ? status != STATUS_INVALID_ARGUMENT : status != STATUS_OK && status != STATUS_RESOURCE_EXHAUSTED)
        abort();
    if (status != STATUS_OK && ids.count != 0) abort();
    for (size_t i = 0; i < ids.count; i++) controls += tokenizer_is_control(tokenizer, ids.ids[i]);
    bool open = count > 0 && messages[count - 1].prefix && messages[count - 1].role == CHAT_ROLE_ASSISTANT;
    if (status == STATUS_OK && controls != 2 * count + (open ? -1 : 1)) abort();
    token_list_deinit(&ids);
    return 0;
}
