/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any GGUF file as a vocabulary: refused with one line, or it encodes and gives ids of its own. */
#include "engine/chat/chat.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

static void use(const struct tokenizer *tokenizer) {
    static const char text[] = "Hello, hello w\xC3\xB6rld's  12 \xFF<|im_end|>\n";
    struct token_list ids = {.max_count = 1000};
    if (tokenizer_encode(tokenizer, bytes_view_of(text, sizeof text), &ids, NULL) == STATUS_OK) {
        for (size_t i = 0; i < ids.count; i++) {
            if (ids.ids[i] < 0 || ids.ids[i] >= tokenizer_vocabulary(tokenizer)) abort();
            if (tokenizer_is_control(tokenizer, ids.ids[i])) abort();
        }
    }
    token_list_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    struct chat_layout *layout = NULL;
    struct error err = {0};
    if (gguf_open_memory(data, size, "fuzz.gguf", &gguf, &err) != STATUS_OK) return 0;
    err = (struct error){0};
    if (tokenizer_load_gguf(gguf, &tokenizer, &err) != STATUS_OK) {
        if (tokenizer != NULL || err.message[0] == 0 || strchr(err.message, '\n') != NULL) abort();
    } else {
        use(tokenizer);
        err = (struct error){0};
        if (chat_layout_load_gguf(gguf, tokenizer, &layout, &err) != STATUS_OK &&
            (layout != NULL || err.message[0] == 0))
            abort();
        chat_layout_destroy(layout);
        tokenizer_destroy(tokenizer);
    }
    gguf_close(gguf);
    return 0;
}
