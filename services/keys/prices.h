/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The operator's prices: what the store has, and the methods GetPrices and SetPrices (usage_methods.h). price.h has the form in Redis. */
#ifndef SERVICES_KEYS_PRICES_H
#define SERVICES_KEYS_PRICES_H

#include "services/keys/handling.h"
#include "services/keys/price.h"

#define PRICES_CURRENCY_DEFAULT "EUR"

/** The currency's name, in the handling's arena. */
enum status prices_currency(struct handling *handling, const char **out, struct error *err);

#endif
