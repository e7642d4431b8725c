/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/convert/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20 };

static enum status failed(const struct output_file *file, const char *what, struct error *err) {
    enum status status = errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == ENOMEM
                             ? STATUS_RESOURCE_EXHAUSTED
                         : errno == EACCES || errno == EROFS || errno == EPERM ? STATUS_PERMISSION_DENIED
                         : errno == ENOENT                                     ? STATUS_NOT_FOUND
                                                                               : STATUS_UNAVAILABLE;
    return error_set_errno(err, status, errno, "cannot %s %s", what, file->part);
}

static void release(struct output_file *file) {
    free(file->path);
    free(file->part);
    *file = (struct output_file){0};
}

enum status output_file_open(const char *path, bool force, struct output_file *out, struct error *err) {
    struct output_file file = {.path = strdup(path)};
    struct stat facts;
    enum status status = STATUS_OK;
    size_t length = strlen(path) + sizeof ".part";
    file.part = malloc(length);
    if (file.path == NULL || file.part == NULL) {
        release(&file);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    snprintf(file.part, length, "%s.part", path);
    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
        status = error_set(err, STATUS_ALREADY_EXISTS, "%s is there and no file", path);
    else if (!force && access(path, F_OK) == 0)
        status = error_set(err, STATUS_ALREADY_EXISTS, "%s is there already (--force replaces it)", path);
    else if ((file.file = fopen(file.part, "wbe")) == NULL)
        status = failed(&file, "write", err);
    if (status != STATUS_OK) {
        release(&file);
        return status;
    }
    setvbuf(file.file, NULL, _IOFBF, BUFFER_BYTES);
    *out = file;
    return STATUS_OK;
}

enum status output_file_write(struct output_file *file, const void *data, size_t bytes, struct error *err) {
    if (bytes > 0 && fwrite(data, 1, bytes, file->file) != bytes) return failed(file, "write", err);
    file->written += bytes;
    return STATUS_OK;
}

enum status output_file_align(struct output_file *file, size_t alignment, struct error *err) {
    static const char zeros[64];
    size_t beyond = file->written % alignment;
    for (size_t left = beyond == 0 ? 0 : alignment - beyond, piece; left > 0; left -= piece) {
        piece = left < sizeof zeros ? left : sizeof zeros;
        TRY(output_file_write(file, zeros, piece, err));
    }
    return STATUS_OK;
}

enum status output_file_reserve(struct output_file *file, uint64_t bytes, struct error *err) {
    if (fflush(file->file) != 0) return failed(file, "write", err);
    int number = fileno(file->file);
    if (fallocate(number, 0, 0, (off_t)bytes) == 0) return STATUS_OK;
    /* Not every file system can; then the size alone, in which nothing is kept. */
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || ftruncate(number, (off_t)bytes) != 0)
        return failed(file, "write", err);
    return STATUS_OK;
}

enum status output_file_finish(struct output_file *file, struct error *err) {
    enum status status = STATUS_OK;
    if (fflush(file->file) != 0 || fsync(fileno(file->file)) != 0) status = failed(file, "write", err);
    if (fclose(file->file) != 0 && status == STATUS_OK) status = failed(file, "write", err);
    if (status == STATUS_OK && rename(file->part, file->path) != 0) status = failed(file, "rename", err);
    if (status != STATUS_OK) unlink(file->part);
    release(file);
    return status;
}

void output_file_abandon(struct output_file *file) {
    if (file->file == NULL) return;
    fclose(file->file);
    unlink(file->part);
    release(file);
}
