/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Prices in Redis: the hash bora:prices, a model's name -> "input output" or "input output cached_input", nanos for a million tokens; and the currency's name in
 * bora:prices:currency (in a cluster elsewhere: prices_trail.h). The usage methods write them, VerifyKey hands them to gateways.
 */
#ifndef SERVICES_KEYS_PRICE_H
#define SERVICES_KEYS_PRICE_H

#include "base/bytes.h"

#define PRICES_NAME "bora:prices"
#define PRICES_CURRENCY_NAME "bora:prices:currency"
enum { PRICE_TEXT_BYTES = 64, PRICE_ABSENT = -1 };

struct price {
    int64_t input, output;
    int64_t cached_input; /* PRICE_ABSENT: as input */
};
void price_write(const struct price *price, char out[PRICE_TEXT_BYTES]);
bool price_read(struct bytes_view text, struct price *out);

#endif
