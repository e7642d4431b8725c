/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The methods of bora.v1.UsageService (proto/bora/v1/usage.proto), each a method_fn. */
#ifndef SERVICES_KEYS_USAGE_METHODS_H
#define SERVICES_KEYS_USAGE_METHODS_H

#include "services/keys/handling.h"

method_fn usage_get;                            /* usage_methods.c */
method_fn ledger_list;                          /* ledger_methods.c */
method_fn rate_limit_get, spend_get, spend_set; /* limit_methods.c */
method_fn prices_get, prices_set;               /* prices.c */

#endif
