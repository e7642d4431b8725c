/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Names in Redis; docs/design/tenants.md lists them. What is of one organisation has its id as hash tag. */
#ifndef SERVICES_KEYS_STORE_NAMES_H
#define SERVICES_KEYS_STORE_NAMES_H

#include "base/bytes.h"

#include <stdio.h>

enum { STORE_NAME_BYTES = 128 };
#define STORE_KEY_INDEX "bora:key-index"
#define STORE_WORKSPACE_INDEX "bora:ws-index"
#define STORE_ORGANIZATIONS "bora:orgs"
#define STORE_FIRST_ORGANIZATION "bora:orgs:first"

/** "bora:<what>:{<organization>}" or, with an id, "bora:<what>:{<organization>}:<id>"; lent from `out`. */
static inline struct bytes_view store_name(char out[STORE_NAME_BYTES], const char *what, const char *organization,
                                           const char *id_or_null) {
    snprintf(out, STORE_NAME_BYTES, "bora:%s:{%s}%s%s", what, organization, id_or_null != NULL ? ":" : "",
             id_or_null != NULL ? id_or_null : "");
    return bytes_view_string(out);
}

#endif
