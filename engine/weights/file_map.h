/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A file mapped for reading. It must not be cut shorter while it is mapped. */
#ifndef ENGINE_WEIGHTS_FILE_MAP_H
#define ENGINE_WEIGHTS_FILE_MAP_H

#include "base/bytes.h"
#include "base/status.h"

/** All of the regular file `path`; an empty one gives an empty view. STATUS_NOT_FOUND, STATUS_PERMISSION_DENIED, STATUS_INVALID_ARGUMENT (a folder,
 *  a pipe, a link into nothing, a git-lfs pointer, or more than `bytes_max`), STATUS_RESOURCE_EXHAUSTED. */
enum status file_map_open(const char *path, size_t bytes_max, struct bytes_view *out, struct error *err);
void file_map_close(struct bytes_view map);

#endif
