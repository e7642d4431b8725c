/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Keys in URLs end up in logs and browsers' histories: such requests are refused, whatever else they ask for. */
#ifndef SERVICES_GATEWAY_URL_SECRET_H
#define SERVICES_GATEWAY_URL_SECRET_H

#include "rpc/http_framing.h"

/** A constant sentence when a parameter is named as one for keys ("key", "api_key", ...) or a text looks like a key of ours; NULL: go on. */
const char *url_secret_find(const char *path, const struct http_field *queries);

#endif
