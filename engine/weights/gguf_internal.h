/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What an open GGUF file holds; for the files of this folder. gguf_parse.c fills it from untrusted bytes, gguf.c answers from it.
 */
#ifndef ENGINE_WEIGHTS_GGUF_INTERNAL_H
#define ENGINE_WEIGHTS_GGUF_INTERNAL_H

#include "engine/weights/gguf.h"

struct gguf_entry {
    struct bytes_view key;
    enum gguf_type type;
    const uint8_t *value; /* scalar: its bytes; string: its u64 length; array: its type and count */
    size_t value_bytes;
    struct gguf_array array;
};

struct gguf {
    char *path;
    const uint8_t *data;
    size_t length;
    bool mapped;
    struct gguf_entry *metadata;
    size_t metadata_count;
    bool metadata_whole;         /* read to its end, and sorted */
    struct gguf_tensor *tensors; /* in the file's order */
    size_t tensor_count;
    size_t *by_name; /* tensors sorted by name */
};

/** Fill a gguf that has path, data and length. On failure it holds what was read so far, for gguf_close. */
enum status gguf_parse(struct gguf *gguf, struct error *err);

/** Bytes of one scalar; 0 for strings, arrays and unknown types. */
size_t gguf_scalar_bytes(enum gguf_type type);

#endif
