/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/outage.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 4096, PROBES = 16 };

/** Of one key in this outage. */
struct allowance {
    char key[LIMITS_KEY_ID_BYTES + 1]; /* "": free */
    int64_t requests, tokens;          /* left */
};

struct outage {
    struct outage_options options;
    struct metric *admissions;
    pthread_mutex_t mutex;
    struct allowance allowances[KEYS];
};

enum status outage_create(const struct outage_options *options, struct outage **out, struct error *err) {
    struct outage *outage = calloc(1, sizeof *outage);
    if (outage == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    outage->options = *options;
    outage->admissions = metrics_counter(
        options->metrics, "bora_gateway_outage_admissions_total",
        "Requests whose limits could not be checked: let pass by --limits-outage, or refused.", "outcome");
    pthread_mutex_init(&outage->mutex, NULL);
    *out = outage;
    return STATUS_OK;
}

void outage_destroy(struct outage *outage) {
    if (outage == NULL) return;
    pthread_mutex_destroy(&outage->mutex);
    free(outage);
}

/** The key's, made when it is new; NULL when there is no place: who floods us with keys during an outage gets nothing. */
static struct allowance *find_locked(struct outage *outage, const char *key) {
    size_t home = 5381;
    for (const char *c = key; *c != 0; c++) home = home * 33 + (unsigned char)*c;
    for (size_t i = 0; i < PROBES; i++) {
        struct allowance *allowance = &outage->allowances[(home + i) % KEYS];
        if (strcmp(allowance->key, key) == 0) return allowance;
        if (allowance->key[0] != 0) continue;
        *allowance = (struct allowance){.requests = outage->options.requests, .tokens = outage->options.tokens};
        strncpy(allowance->key, key, LIMITS_KEY_ID_BYTES);
        return allowance;
    }
    return NULL;
}

static bool take_locked(struct outage *outage, const struct limits_admission *admission, int64_t *out_held) {
    struct allowance *allowance = find_locked(outage, admission->subject.key);
    if (allowance == NULL || allowance->requests < 1) return false;
    int64_t least = admission->input + admission->output - admission->output_optional;
    if (allowance->tokens < least) return false;
    int64_t held = allowance->tokens - admission->input;
    *out_held = held < admission->output ? held : admission->output;
    allowance->requests--;
    allowance->tokens -= admission->input + *out_held;
    return true;
}

bool outage_admit(struct outage *outage, const struct limits_admission *admission, int64_t *out_held) {
    pthread_mutex_lock(&outage->mutex);
    bool passes = outage->options.local && take_locked(outage, admission, out_held);
    pthread_mutex_unlock(&outage->mutex);
    metric_add(outage->admissions, 1, passes ? "passed" : "refused");
    return passes;
}

void outage_over(struct outage *outage) {
    pthread_mutex_lock(&outage->mutex);
    memset(outage->allowances, 0, sizeof outage->allowances);
    pthread_mutex_unlock(&outage->mutex);
}
