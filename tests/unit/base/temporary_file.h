/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A file with given content, for tests of what reads files. */
#ifndef TESTS_UNIT_BASE_TEMPORARY_FILE_H
#define TESTS_UNIT_BASE_TEMPORARY_FILE_H

#include "tests/support/check.h"

#include <unistd.h>

enum { TEMPORARY_PATH_BYTES = 64 };

/** Write `length` bytes into a new file whose name comes back in `path`; the test unlinks it. */
static inline void temporary_file(const void *data, size_t length, char path[TEMPORARY_PATH_BYTES]) {
    strcpy(path, "/tmp/bora-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, length), length);
    close(fd);
}

#endif
