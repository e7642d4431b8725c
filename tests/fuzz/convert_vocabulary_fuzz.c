/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a tokenizer's file on its way into GGUF. The first byte chooses: tokenizer.json, tekken.json or tokenizer.model. */
#include "base/limits.h"
#include "engine/convert/vocabulary.h"

#include <stdlib.h>
#include <string.h>

static volatile uint64_t sink;

static void touch(struct bytes_view view) {
    for (size_t i = 0; i < view.length; i++) sink += view.data[i];
}

static void touch_all(const struct vocabulary *vocabulary) {
    if (vocabulary->model == NULL || vocabulary->count > LIMIT_VOCABULARY || vocabulary->merge_count > LIMIT_MERGES * 2)
        abort();
    for (size_t i = 0; i < vocabulary->count; i++) {
        touch(vocabulary->tokens[i]);
        sink += (uint64_t)vocabulary->types[i];
        if (vocabulary->scores != NULL) sink += vocabulary->scores[i] > 0;
    }
    for (size_t i = 0; i < vocabulary->merge_count; i++) touch(vocabulary->merges[i]);
    touch(vocabulary->charsmap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct vocabulary vocabulary = {.arena = &arena, .bos = -1, .eos = -1, .unknown = -1, .padding = -1};
    struct error err = {0};
    struct json_value *root = NULL;
    struct json_problem problem;
    if (size == 0) return 0;
    struct bytes_view text = bytes_view_of(data + 1, size - 1);
    arena_init(&arena, 64 << 20);
    enum status status = STATUS_OK;
    if (data[0] % 3 == 2)
        status = vocabulary_of_sentencepiece(text, "tokenizer.model", &vocabulary, &err);
    else if (json_read(text, LIMIT_JSON_DEPTH, 1 << 16, &arena, &root, &problem) == STATUS_OK)
        status = data[0] % 3 == 0 ? vocabulary_of_tokenizer_json(root, "tokenizer.json", &vocabulary, &err)
                                  : vocabulary_of_tekken(root, "tekken.json", &vocabulary, &err);
    else
        goto cleanup;
    if (status == STATUS_OK)
        touch_all(&vocabulary);
    else if (err.message[0] == 0 || strchr(err.message, '\n') != NULL)
        abort();
cleanup:
    arena_deinit(&arena);
    return 0;
}
