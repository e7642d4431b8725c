/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * GGUF v3 (and v2) by mapping: metadata and tensor views of a model file, nothing copied but the index.
 *
 *     [magic][version][tensor count][metadata count][metadata…][tensor infos…][padding][tensor data…]
 *
 * The file is untrusted. Everything is checked before it is used: counts and sizes against LIMIT_GGUF_*, offsets and
 * extents against the file, overlap between tensors, alignment (a power of two), duplicate names, element counts
 * against overflow, strings (valid lengths), array nesting (refused). A bad file is one clear line that names the
 * place: "model.gguf: tensor 'blk.3.ffn_up.weight' ends 4096 bytes after the file".
 * Source: ggml/docs/gguf.md (format specification).
 *
 * Everything returned is lent and lives until gguf_close. Read-only after open: any thread.
 */
#ifndef ENGINE_WEIGHTS_GGUF_H
#define ENGINE_WEIGHTS_GGUF_H

#include "base/bytes.h"
#include "base/status.h"
#include "kernels/kernels.h"

enum gguf_type {
    GGUF_U8 = 0,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
};

struct gguf;

struct gguf_tensor {
    struct bytes_view name;
    uint32_t type; /* ggml_type; may be one that kernels do not know */
    int dimension_count;
    int64_t dimensions[4]; /* GGUF order: dimensions[0] is the row length (K) */
    const void *data;
    size_t bytes;
};

/** STATUS_NOT_FOUND no such file; STATUS_PERMISSION_DENIED not readable; STATUS_INVALID_ARGUMENT not a GGUF or a malformed one;
 *  STATUS_UNIMPLEMENTED another version or byte order. The file stays mapped: it must not be cut shorter while it is open. */
enum status gguf_open(const char *path, struct gguf **out, struct error *err);
/** The same over memory (for tests and the fuzzer); `data` is borrowed, 32-aligned. `name` is used in errors. */
enum status gguf_open_memory(const void *data, size_t length, const char *name, struct gguf **out, struct error *err);
/** For looking at a damaged file: what was read before the damage, if the metadata is whole. Tensors are listed, their `data` is not to be used, and
 *  gguf_tensor() finds none. The status of gguf_open when not even that is there. */
enum status gguf_open_damaged(const char *path, struct gguf **out);
void gguf_close(struct gguf *gguf);
const char *gguf_path(const struct gguf *gguf);
size_t gguf_file_bytes(const struct gguf *gguf);

/** NULL when absent. */
const struct gguf_tensor *gguf_tensor(const struct gguf *gguf, const char *name);
int64_t gguf_tensor_count(const struct gguf *gguf);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *gguf, int64_t index);

/** One metadata entry as it is written; for copying and listing. */
struct gguf_metadata_entry {
    struct bytes_view key;
    enum gguf_type type;
    struct bytes_view value; /* behind the type; of an array with its element type and count */
};
int64_t gguf_metadata_count(const struct gguf *gguf);
/** In the order of the keys. */
struct gguf_metadata_entry gguf_metadata_at(const struct gguf *gguf, int64_t index);

/** Scalars: false when absent or of another kind (integers of any width convert when they fit). */
bool gguf_has(const struct gguf *gguf, const char *key);
bool gguf_u64(const struct gguf *gguf, const char *key, uint64_t *out);
bool gguf_f64(const struct gguf *gguf, const char *key, double *out);
bool gguf_bool(const struct gguf *gguf, const char *key, bool *out);
bool gguf_string(const struct gguf *gguf, const char *key, struct bytes_view *out);

/** Arrays. `string_at` is O(1): offsets are indexed at open. */
struct gguf_array {
    enum gguf_type element;
    int64_t count;
    const void *data;        /* numeric elements, packed little-endian, maybe unaligned */
    const uint64_t *offsets; /* strings: where each starts, relative to data */
};
bool gguf_array(const struct gguf *gguf, const char *key, struct gguf_array *out);
struct bytes_view gguf_array_string(const struct gguf_array *array, int64_t index);
int64_t gguf_array_i64(const struct gguf_array *array, int64_t index); /* integer and bool elements */
double gguf_array_f64(const struct gguf_array *array, int64_t index);  /* any numeric element */

/** The matrix `name` as the kernels see it: rows x columns. STATUS_NOT_FOUND when absent, STATUS_INVALID_ARGUMENT when its
 *  shape is not rows x columns (the message says both), STATUS_UNIMPLEMENTED when its type is unknown. rows 0 = a vector of `columns`. */
enum status gguf_matrix(const struct gguf *gguf, const char *name, int64_t rows, int64_t columns,
                        struct tensor_view *out, struct error *err);

#endif
