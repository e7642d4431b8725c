/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Gates of keys at the limits' Redis (bora:gate:{<org>}:<gate>, for an hour): shut where a key may not be used now, else open. Each secret that a key had has
 * one of its own (key_gate_name): those that were rotated away stay shut, whatever becomes of the key. What records say decides;
 * each function looks again afterwards, and goes on until both agree, so that of changes that cross the last one counts.
 *
 * `*out_of_limits`: a failure was that of the limits' Redis, with its own words in `err`. Job threads only.
 */
#ifndef SERVICES_KEYS_GATES_H
#define SERVICES_KEYS_GATES_H

#include "base/status.h"

#include <stdbool.h>

struct keys_service;

enum status gates_of_key(struct keys_service *service, const char *organization, const char *prefix,
                         bool *out_of_limits, struct error *err);
/** Of all its keys that are not revoked (those were shut when they were). */
enum status gates_of_workspace(struct keys_service *service, const char *organization, const char *workspace,
                               bool *out_of_limits, struct error *err);
enum status gates_of_organization(struct keys_service *service, const char *organization, bool *out_of_limits,
                                  struct error *err);

#endif
