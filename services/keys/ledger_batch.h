/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Inside ledger.h: what one run of ledger_bring.lua is given: entries as they came, and what they add to which sums. */
#ifndef SERVICES_KEYS_LEDGER_BATCH_H
#define SERVICES_KEYS_LEDGER_BATCH_H

#include "services/keys/ledger.h"

struct ledger_batch;

/** `entries`: {{id, {field, value...}}...}, 1 to LEDGER_BATCH of them; lent until the batch has been used. Everything lies in the arena. An entry of
 *  neither form that store/limits.h names, or with numbers that are none, is unreadable: it is kept aside as text. */
enum status ledger_batch_create(const char *organization, const struct redis_reply *entries, struct arena *arena,
                                struct ledger_batch **out, struct error *err);
size_t ledger_batch_unreadable(const struct ledger_batch *batch);
int64_t ledger_batch_oldest_ms(const struct ledger_batch *batch);

/** The script's keys (`first_keys` before the sums) and arguments. */
enum status ledger_batch_write(const struct ledger_batch *batch, const struct ledger_position *position,
                               const struct bytes_view *first_keys, size_t first_key_count,
                               struct bytes_view **out_keys, size_t *out_key_count, struct bytes_view **out_arguments,
                               size_t *out_argument_count, struct error *err);

#endif
