/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum status file_map_open(const char *path, size_t bytes_max, struct bytes_view *out, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer for ever */
    if (fd < 0) {
        enum status status = errno == ENOENT   ? STATUS_NOT_FOUND
                             : errno == EACCES ? STATUS_PERMISSION_DENIED
                                               : STATUS_INVALID_ARGUMENT;
        return error_set_errno(err, status, errno, "cannot open %s", path);
    }
    struct stat facts;
    if (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        close(fd);
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s is not a file", path);
    }
    size_t length = (size_t)facts.st_size;
    if (length > bytes_max) {
        close(fd);
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu bytes, more than the %zu that are read", path,
                         length, bytes_max);
    }
    void *data = length == 0 ? NULL : mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
    int failure = errno;
    close(fd);
    if (data == MAP_FAILED) return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failure, "cannot map %s", path);
    *out = bytes_view_of(data, length);
    return STATUS_OK;
}

void file_map_close(struct bytes_view map) {
    if (map.length != 0) munmap((void *)map.data, map.length);
}
