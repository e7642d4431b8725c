/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What a store gets when it is used first: an organisation "default" with a workspace "default"; and keys of versions before there were any. */
#ifndef SERVICES_KEYS_BOOTSTRAP_H
#define SERVICES_KEYS_BOOTSTRAP_H

#include "base/status.h"

struct keys_service;

/**
 * Any number of times, by any number of services at once: each step does nothing where it was done before.
 * Keys of earlier versions (hash bora:key:{<prefix>}, list bora:keys) go to the first organisation, into the workspace named as their tenant was. An old record goes
 * after the new one is on disk.
 */
enum status bootstrap(struct keys_service *service, struct error *err);

#endif
