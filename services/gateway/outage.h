/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What passes while Redis does not answer: nothing, or a small allowance of each key (`--limits-outage local`), which this gateway gives by itself,
 * once per outage. So many gateways let so many allowances pass; that is the price of going on, and it is counted
 * (bora_gateway_outage_admissions_total{outcome}). What was used so is settled when Redis is back.
 */
#ifndef SERVICES_GATEWAY_OUTAGE_H
#define SERVICES_GATEWAY_OUTAGE_H

#include "base/metrics.h"
#include "store/limits.h"

struct outage;
struct outage_options {
    bool local;               /* false: nothing passes */
    int64_t requests, tokens; /* of a key in one outage */
    struct metrics *metrics;
};
enum status outage_create(const struct outage_options *options, struct outage **out, struct error *err);
void outage_destroy(struct outage *outage); /* NULL is nothing */

/** May it pass? Then `*out_held` of its output are taken from the key's allowance, never given back. Any thread. */
bool outage_admit(struct outage *outage, const struct limits_admission *admission, int64_t *out_held);
/** Redis answers again: the next outage begins anew. */
void outage_over(struct outage *outage);

#endif
