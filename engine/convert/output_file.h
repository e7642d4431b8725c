/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A file that appears under its name only when it is whole: written beside it as NAME.part, flushed to the disk, renamed. */
#ifndef ENGINE_CONVERT_OUTPUT_FILE_H
#define ENGINE_CONVERT_OUTPUT_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct output_file {
    char *path, *part;
    FILE *file;
    uint64_t written;
};

/** STATUS_ALREADY_EXISTS when `path` is there and not `force`. */
enum status output_file_open(const char *path, bool force, struct output_file *out, struct error *err);
/** STATUS_RESOURCE_EXHAUSTED: the disk is full. */
enum status output_file_write(struct output_file *file, const void *data, size_t bytes, struct error *err);
/** Zeros up to the next multiple of `alignment`. */
enum status output_file_align(struct output_file *file, size_t alignment, struct error *err);
/** What was written so far reaches the file, which gets `bytes` at once: a full disk shows before the work, and readers of the beginning find a
 *  file of the size that it will have. */
enum status output_file_reserve(struct output_file *file, uint64_t bytes, struct error *err);
/** To the disk, and the name; the end of `file`, also when it fails. */
enum status output_file_finish(struct output_file *file, struct error *err);
/** Remove what was written, unless output_file_finish was called. */
void output_file_abandon(struct output_file *file);

#endif
