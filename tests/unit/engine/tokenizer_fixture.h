/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Tokenizers of vocabularies that are made by hand (tests/support/gguf_builder.h). Failing fails the test. */
#ifndef TESTS_UNIT_ENGINE_TOKENIZER_FIXTURE_H
#define TESTS_UNIT_ENGINE_TOKENIZER_FIXTURE_H

#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/gguf.h"
#include "tests/support/gguf_builder.h"
#include "tests/unit/engine/check.h"

#include <stdlib.h>

/** Of what was built, which ends the builder. The caller destroys it. */
static inline struct tokenizer *fixture_tokenizer(struct gguf_builder *builder) {
    struct gguf *gguf = NULL;
    struct tokenizer *tokenizer = NULL;
    size_t length;
    uint8_t *file = gguf_builder_finish(builder, &length);
    check_ok(gguf_open_memory(file, length, "hand.gguf", &gguf, &check_error));
    check_ok(tokenizer_load_gguf(gguf, &tokenizer, &check_error));
    gguf_close(gguf);
    free(file);
    return tokenizer;
}

/** All bytes and these control tokens, of which the second begins and the third ends texts. */
static inline struct tokenizer *fixture_byte_tokenizer(const char *const *controls, size_t count) {
    struct gguf_builder builder;
    gguf_builder_init(&builder);
    gguf_builder_byte_tokenizer(&builder, controls, count);
    return fixture_tokenizer(&builder);
}

#endif
