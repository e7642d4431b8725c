/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The parts of Hugging Face's tokenizer.json, each read by a file of its own; for load_json*.c.
 */
#ifndef ENGINE_TOKENIZER_LOAD_JSON_H
#define ENGINE_TOKENIZER_LOAD_JSON_H

#include "engine/tokenizer/loader_json.h"
#include "engine/tokenizer/tokenizer_internal.h"

struct json_loader {
    struct tokenizer *tokenizer;
    const char *file;
    const struct json_value *root;
    bool byte_level; /* the vocabulary's names are bytes in GPT-2's disguise */
    bool has_metaspace;
};

/** "FILE: WHAT 'TYPE' is not supported". */
enum status json_unsupported(const struct json_loader *loader, const char *what, struct bytes_view type,
                             struct error *err);
enum status json_read_normalizer(struct json_loader *loader, const struct json_value *value, int depth,
                                 struct error *err);
enum status json_read_pre_tokenizer(struct json_loader *loader, const struct json_value *value, int depth,
                                    struct error *err);
/** decoder and post_processor: what of them matters. */
void json_read_ends(struct json_loader *loader);
enum status json_read_model(struct json_loader *loader, struct error *err);

#endif
