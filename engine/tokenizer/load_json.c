/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Hugging Face's tokenizer.json: the whole pipeline of a tokenizer as that library saves it. Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM,
 * tekken), BPE of characters with marked blanks (Llama 2, Mistral, Gemma) and unigram. What is not known is refused by its name.
 */
#include "engine/tokenizer/load_json.h"

enum status tokenizer_load_json(struct bytes_view json, const char *file, struct tokenizer **out, struct error *err) {
    struct json_loader loader = {.file = file};
    struct json_value *root = NULL;
    struct arena arena;
    enum status status = loader_json_read(json, file, &arena, &root, err);
    if (status != STATUS_OK) goto cleanup;
    loader.root = root;
    TRY_CLEANUP(json_read_model(&loader, err));
    TRY_CLEANUP(json_read_normalizer(&loader, loader_member(root, "normalizer"), 0, err));
    json_read_ends(&loader);
    TRY_CLEANUP(tokenizer_finish(loader.tokenizer, err));
    *out = loader.tokenizer;
    loader.tokenizer = NULL;
cleanup:
    arena_deinit(&arena);
    tokenizer_destroy(loader.tokenizer);
    return status;
}
