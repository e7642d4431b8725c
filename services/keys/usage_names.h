/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What keys and workspaces that reports and the ledger name by their ids are called now. */
#ifndef SERVICES_KEYS_USAGE_NAMES_H
#define SERVICES_KEYS_USAGE_NAMES_H

#include "services/keys/handling.h"

struct usage_name {
    const char *id;  /* a key's prefix, or a workspace */
    const char **to; /* gets the name, in the handling's arena; NULL when there is no such record any more */
};

/** `what`: "key" or "ws", as in store_names.h. Each id is asked for once, however often it comes, and hundreds in one round trip. `names` change their order. */
enum status usage_names_find(struct handling *handling, const char *what, const char *organization,
                             struct usage_name *names, size_t count, struct error *err);

#endif
