/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Methods that have a file of their own, for the tables. */
#ifndef SERVICES_KEYS_METHODS_H
#define SERVICES_KEYS_METHODS_H

#include "services/keys/handling.h"

enum status list_audit(struct handling *handling, const void *message, ProtobufCMessage **out_reply, struct error *err);

#endif
