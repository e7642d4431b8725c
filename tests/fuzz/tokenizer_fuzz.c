/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any text: with a complete vocabulary its tokens give it back, none is a control token, and streaming them gives valid UTF-8. */
#include "base/text.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"

#include <stdlib.h>
#include <string.h>

static struct tokenizer *load(void) {
    static const char *const merges[] = {"a a", "aa aa", "a b", "h e", "l l",  "he ll", "hell o", "Ġ hello",
                                         "Ġ Ġ", "< |",   "' s", "â Ģ", "âĢ Ļ", "! !",   "!! !"};
    struct gguf_builder builder;
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    size_t length;
    gguf_builder_init(&builder);
    gguf_builder_tokenizer(&builder, merges, sizeof merges / sizeof merges[0]);
    uint8_t *file = gguf_builder_finish(&builder, &length);
    if (gguf_open_memory(file, length, "hand.gguf", &gguf, NULL) != STATUS_OK ||
        tokenizer_load_gguf(gguf, &tokenizer, NULL) != STATUS_OK)
        abort();
    gguf_close(gguf);
    free(file);
    return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct tokenizer *tokenizer;
    if (tokenizer == NULL) tokenizer = load();
    struct token_list ids = {.max_count = size};
    struct detokenizer detokenizer;
    struct bytes text;
    size_t at = 0, before = 0;
    bytes_init(&text, 3 * size + 3);
    detokenizer_init(&detokenizer, tokenizer);
    if (tokenizer_encode(tokenizer, bytes_view_of(data, size), &ids, NULL) != STATUS_OK) abort();
    for (size_t i = 0; i < ids.count; i++) {
        struct bytes_view piece = tokenizer_piece(tokenizer, ids.ids[i]);
        if (tokenizer_is_control(tokenizer, ids.ids[i]) || piece.length > size - at ||
            memcmp(piece.data, data + at, piece.length) != 0)
            abort();
        at += piece.length;
        if (detokenizer_push(&detokenizer, ids.ids[i], &text) != STATUS_OK) abort();
        if (text.length > before && !text_is_utf8(text.data + before, text.length - before)) abort();
        before = text.length;
    }
    if (detokenizer_finish(&detokenizer, &text) != STATUS_OK || at != size) abort();
    if (text_is_utf8(data, size) && !bytes_view_equal(bytes_view(&text), bytes_view_of(data, size))) abort();
    token_list_deinit(&ids);
    bytes_deinit(&text);
    return 0;
}
