/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/cost.h"

#include "engine/grammar/grammar_internal.h"

int64_t grammar_bytes_left(struct grammar *grammar) {
    pthread_mutex_lock(&grammar->lock);
    int64_t bytes = grammar->budget->bytes;
    pthread_mutex_unlock(&grammar->lock);
    return bytes;
}
