/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What the keys service tells of changes, on the channel bora:changed (docs/design/tenants.md): "k <prefix>", "w <workspace>", "o <organisation>",
 * "prices". What was remembered about it is forgotten, and running answers of keys whose gate is shut end. While nobody listens, nothing is remembered.
 */
#ifndef SERVICES_GATEWAY_KEY_CHANGES_H
#define SERVICES_GATEWAY_KEY_CHANGES_H

#include "services/gateway/gateway.h"

/** For the life of the gateway's Redis client. */
enum status key_changes_follow(struct gateway *gateway, struct error *err);

#endif
