/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum status process_forbid_dumps(struct error *err) {
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return error_set_errno(err, STATUS_INTERNAL, errno, "core dumps cannot be switched off");
    return STATUS_OK;
}
