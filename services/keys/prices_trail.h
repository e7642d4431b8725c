/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Where prices are in a Redis Cluster. One script sets them, their currency and an entry of the audit trail; there all of its keys are in the slot of
 * bora:prices, so the entry goes into a trail of its own, {bora:prices}:audit, written by that script, and is brought into the operator's afterwards, by whoever
 * sees it there.
 */
#ifndef SERVICES_KEYS_PRICES_TRAIL_H
#define SERVICES_KEYS_PRICES_TRAIL_H

#include "services/keys/handling.h"
#include "services/keys/price.h"
#include "services/keys/store_names.h"

const char *prices_currency_name(const struct keys_service *service);
/** Where the script writes the entry; lent from `out`. */
struct bytes_view prices_trail_name(const struct keys_service *service, const char *organization,
                                    char out[STORE_NAME_BYTES]);
/** Bring what is there into the first organisation's trail. Nothing without a cluster. Doing it again, or two at once, does no harm. */
enum status prices_trail_bring(struct keys_service *service, struct error *err);
/** Data that were copied here from a single server have the currency under its name there. */
enum status prices_take_over(struct keys_service *service, struct error *err);

#endif
