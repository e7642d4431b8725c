/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The process itself. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include "base/status.h"

/**
 * No core dump of this process is ever written (RLIMIT_CORE 0, which also covers what it starts; PR_SET_DUMPABLE 0, for dumps that a program takes through
 * a pipe), and no other process of the same user may read its memory. For processes that hold keys: call it before one is read.
 */
enum status process_forbid_dumps(struct error *err);

#endif
