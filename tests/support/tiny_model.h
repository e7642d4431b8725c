/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A tiny llama with random weights as a GGUF file, so that tests of the decoder need no download and run in milliseconds,
 * under sanitizers too. Vocabulary 300: the 256 bytes, 41 pairs of letters, <|endoftext|> (297), <|im_start|> (298)
 * and <|im_end|> (299); chat layout chatml. The same options give the same file.
 */
#ifndef TESTS_SUPPORT_TINY_MODEL_H
#define TESTS_SUPPORT_TINY_MODEL_H

#include "base/bytes.h"
#include "kernels/kernels.h"

enum { TINY_VOCABULARY = 300, TINY_END_OF_TEXT = 297, TINY_END_OF_TURN = 299 };

struct tiny_model_options {
    int layers, width, heads, kv_heads, feed_forward, context; /* 0: 2, 64, 4, 2, 96, 256 */
    enum tensor_type type;                                     /* of all matrices: F32, Q4_1 or Q8_0 */
    bool untied;                                               /* with an output.weight of its own */
    uint64_t seed;
    /* Damage, for tests of what is refused. */
    const char *architecture;   /* NULL: "llama" */
    const char *without_tensor; /* leave this one out */
    const char *extra_tensor;   /* add one of this name */
    const char *wrong_rows;     /* this tensor has one row too many */
    const char *without_key;    /* leave this metadata key out */
    const char *number_key;     /* add or replace this one */
    uint32_t number;
    const char *string_key, *string; /* add this one */
};

/** The file's bytes, aligned for gguf_open_memory; free() them. Aborts without memory. */
uint8_t *tiny_model_build(const struct tiny_model_options *options, size_t *out_length);
/** Write it to a new file in the temporary folder and give the path (malloc'd; unlink it). */
char *tiny_model_write(const struct tiny_model_options *options);

#endif
