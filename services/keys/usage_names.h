/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What keys and workspaces that reports and the ledger name by their ids are called now. */
#ifndef SERVICES_KEYS_USAGE_NAMES_H
#define SERVICES_KEYS_USAGE_NAMES_H

#include "bora/v1/usage.pb-c.h"
#include "services/keys/handling.h"

/** `what`: "key" or "ws", as in store_names.h. In the handling's arena; NULL when there is no such record any more. */
enum status usage_name(struct handling *handling, const char *what, const char *organization, const char *id,
                       const char **out, struct error *err);
/** Into the entries of a page; each name is asked for once, however many entries have it. */
enum status usage_name_entries(struct handling *handling, const char *organization, Bora__V1__LedgerEntry **entries,
                               size_t count, struct error *err);

#endif
