/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/weights/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/** What `git clone` leaves of large files where git-lfs is not installed. */
static bool is_lfs_pointer(struct bytes_view file) {
    static const char begin[] = "version https://git-lfs.github.com/spec/";
    return file.length < 1024 && file.length >= strlen(begin) && memcmp(file.data, begin, strlen(begin)) == 0;
}

static enum status cannot_open(const char *path, int failure, struct error *err) {
    struct stat facts;
    if (failure == ENOENT && lstat(path, &facts) == 0 && S_ISLNK(facts.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is a link to a file that is not there (an unfinished download?)", path);
    enum status status = failure == ENOENT   ? STATUS_NOT_FOUND
                         : failure == EACCES ? STATUS_PERMISSION_DENIED
                                             : STATUS_INVALID_ARGUMENT;
    return error_set_errno(err, status, failure, "cannot open %s", path);
}

enum status file_map_open(const char *path, size_t bytes_max, struct bytes_view *out, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer for ever */
    if (fd < 0) return cannot_open(path, errno, err);
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
    struct bytes_view map = bytes_view_of(data, length);
    if (is_lfs_pointer(map)) {
        file_map_close(map);
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s is not the file but a git-lfs pointer to it: fetch it with git lfs pull", path);
    }
    *out = map;
    return STATUS_OK;
}

void file_map_close(struct bytes_view map) {
    if (map.length != 0) munmap((void *)map.data, map.length);
}
