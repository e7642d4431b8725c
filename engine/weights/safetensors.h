/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Safetensors by mapping: the tensors of one file, nothing copied but the index.
 *
 *     [u64 header length N][N bytes of JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …, "__metadata__": {…}}][data…]
 *
 * The file is untrusted. Checked before anything is used: N against the file and the format's own 100 MB, the JSON (base/json.h, bounded), types,
 * shapes against overflow, each size against shape and type, and that the tensors' data covers the rest of the file without
 * overlap and without holes. A bad file is one clear line that names file and tensor.
 * Source: the format's description in huggingface/safetensors (README, "Format").
 *
 * Everything returned is lent and lives until safetensors_close. Read-only after open: any thread.
 */
#ifndef ENGINE_WEIGHTS_SAFETENSORS_H
#define ENGINE_WEIGHTS_SAFETENSORS_H

#include "base/bytes.h"
#include "base/status.h"
#include "kernels/kernels.h"

struct safetensors;

enum { SAFETENSORS_DIMENSIONS_MAX = 8 };

struct safetensors_tensor {
    struct bytes_view name;
    const char *dtype; /* "BF16", "F8_E4M3"…; static */
    bool known;        /* kernels know the type: it is `type` */
    enum tensor_type type;
    int dimension_count;                            /* 0: a scalar */
    int64_t dimensions[SAFETENSORS_DIMENSIONS_MAX]; /* slowest first, as the file has them: [rows, columns]; may be 0 */
    const void *data;
    size_t bytes;
};

/** STATUS_NOT_FOUND no such file; STATUS_PERMISSION_DENIED; STATUS_INVALID_ARGUMENT malformed; STATUS_RESOURCE_EXHAUSTED. The file stays
 *  mapped: it must not be cut shorter while it is open. */
enum status safetensors_open(const char *path, struct safetensors **out, struct error *err);
/** The same over memory (for tests and the fuzzer); `data` is borrowed. `name` is used in errors. */
enum status safetensors_open_memory(const void *data, size_t length, const char *name, struct safetensors **out,
                                    struct error *err);
void safetensors_close(struct safetensors *file);
const char *safetensors_path(const struct safetensors *file);
size_t safetensors_file_bytes(const struct safetensors *file);

/** In the order of the data. */
int64_t safetensors_tensor_count(const struct safetensors *file);
const struct safetensors_tensor *safetensors_tensor_at(const struct safetensors *file, int64_t index);
/** NULL when absent. */
const struct safetensors_tensor *safetensors_tensor(const struct safetensors *file, struct bytes_view name);

#endif
