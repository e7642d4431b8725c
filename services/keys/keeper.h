/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A thread that takes a turn when it is woken, and after a pause that its last turn asked for. */
#ifndef SERVICES_KEYS_KEEPER_H
#define SERVICES_KEYS_KEEPER_H

#include "base/status.h"

#include <stdint.h>

struct keeper;
/** On the keeper's thread; gives how long to wait for the next turn, in ns. */
typedef int64_t keeper_fn(void *context);

/** The first turn is at once. */
enum status keeper_start(keeper_fn *fn, void *context, struct keeper **out, struct error *err);
/** A turn, soon. NULL is nothing. Any thread. */
void keeper_wake(struct keeper *keeper);
/** Once; returns after the turn that is under way. NULL is nothing. Whoever wakes it afterwards does no harm, */
void keeper_stop(struct keeper *keeper);
/** until now. */
void keeper_destroy(struct keeper *keeper);

#endif
