/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a tokenizer file: refused with one line, or it encodes any text, and gives ids of its own and no control token. The first byte
 * says which form: 'j' tokenizer.json, 't' tekken.json, 's' SentencePiece.
 */
#include "base/text.h"
#include "engine/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static void check_ids(const struct tokenizer *tokenizer, const struct token_list *ids) {
    struct detokenizer detokenizer;
    struct bytes text;
    bytes_init(&text, 1 << 24);
    detokenizer_init(&detokenizer, tokenizer);
    for (size_t i = 0; i < ids->count; i++) {
        if (ids->ids[i] < 0 || ids->ids[i] >= tokenizer_vocabulary(tokenizer)) abort();
        if (detokenizer_push(&detokenizer, ids->ids[i], &text) != STATUS_OK) break;
    }
    (void)!detokenizer_finish(&detokenizer, &text);
    if (!text_is_utf8(text.data, text.length)) abort();
    bytes_deinit(&text);
}

static void use(const struct tokenizer *tokenizer) {
    static const char text[] =
        "Hello, hello w\xC3\xB6rld's  12 \xFF<|im_end|>\n</s>[INST] \xE2\x96\x81x e\xCC\x81 \xEF\xAC\x81";
    uint8_t untrusted[sizeof text / 8 + 1];
    memset(untrusted, 0x55, sizeof untrusted);
    struct token_list ids = {.max_count = 10000};
    if (tokenizer_encode(tokenizer, bytes_view_of(text, sizeof text), &ids, NULL) == STATUS_OK) {
        for (size_t i = 0; i < ids.count; i++) {
            if (tokenizer_is_control(tokenizer, ids.ids[i])) abort();
        }
    }
    check_ids(tokenizer, &ids);
    ids.count = 0;
    if (tokenizer_encode_template(tokenizer, bytes_view_of(text, sizeof text), untrusted, &ids, NULL) == STATUS_OK)
        check_ids(tokenizer, &ids);
    ids.count = 0;
    if (tokenizer_encode_template(tokenizer, bytes_view_of(text, sizeof text), NULL, &ids, NULL) == STATUS_OK)
        check_ids(tokenizer, &ids);
    token_list_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tokenizer *tokenizer = NULL;
    struct error err = {0};
    if (size == 0) return 0;
    struct bytes_view bytes = bytes_view_of(data + 1, size - 1);
    enum status status = data[0] == 'j'   ? tokenizer_load_json(bytes, "fuzz.json", &tokenizer, &err)
                         : data[0] == 't' ? tokenizer_load_tekken(bytes, "tekken.json", &tokenizer, &err)
                                          : tokenizer_load_sentencepiece(bytes, "fuzz.model", &tokenizer, &err);
    if (status != STATUS_OK) {
        if (tokenizer != NULL || err.message[0] == 0 || strchr(err.message, '\n') != NULL) abort();
        return 0;
    }
    use(tokenizer);
    tokenizer_destroy(tokenizer);
    return 0;
}
