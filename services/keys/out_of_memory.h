/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICES_KEYS_OUT_OF_MEMORY_H
#define SERVICES_KEYS_OUT_OF_MEMORY_H

#include "base/status.h"

static inline enum status out_of_memory(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
}

/** Where less would have done. */
static inline enum status too_much_memory(struct error *err) {
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the answer needs too much memory; ask for less");
}

#endif
