/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/prices_trail.h"

#include <pthread.h>
#include <string.h>

extern const char prices_bring_lua[]; /* in this folder */

#define CLUSTER_CURRENCY_NAME "{" PRICES_NAME "}:currency"
#define CLUSTER_TRAIL_NAME "{" PRICES_NAME "}:audit"

static struct redis_script bring_script;
static pthread_once_t script_once = PTHREAD_ONCE_INIT;

static void init_script(void) {
    redis_script_init(&bring_script, prices_bring_lua);
}

const char *prices_currency_name(const struct keys_service *service) {
    return redis_client_in_cluster(service->redis) ? CLUSTER_CURRENCY_NAME : PRICES_CURRENCY_NAME;
}

struct bytes_view prices_trail_name(const struct keys_service *service, const char *organization,
                                    char out[STORE_NAME_BYTES]) {
    if (!redis_client_in_cluster(service->redis)) return store_name(out, "audit", organization, NULL);
    return bytes_view_string(CLUSTER_TRAIL_NAME);
}

/** `entry`: {id, {field, value...}} */
static enum status bring_entry(struct keys_service *service, const char *trail, const struct redis_reply *entry,
                               struct error *err) {
    enum { WORDS_AHEAD = 2, WORDS_MAX = WORDS_AHEAD + 2 * (AUDIT_WORDS - 1) };
    const char *id = (const char *)entry->items[0].string.data;
    const struct redis_reply *fields = &entry->items[1];
    const struct bytes_view key = bytes_view_string(trail);
    struct bytes_view words[WORDS_MAX] = {bytes_view_string(service->audit_kept), bytes_view_string(id)};
    size_t count = WORDS_AHEAD;
    for (size_t i = 0; i < fields->count && count < WORDS_MAX; i++) words[count++] = fields->items[i].string;
    TRY(store_script(service, &bring_script, &key, 1, words, count, NULL, err));
    return store_words(service, NULL, err, WORDS("XDEL", CLUSTER_TRAIL_NAME, id));
}

enum status prices_trail_bring(struct keys_service *service, struct error *err) {
    char trail[STORE_NAME_BYTES];
    struct redis_reply *first = NULL, *entries = NULL;
    if (!redis_client_in_cluster(service->redis)) return STATUS_OK;
    pthread_once(&script_once, init_script);
    TRY(store_words(service, &first, err, WORDS("GET", STORE_FIRST_ORGANIZATION)));
    bool known = first->type == REDIS_STRING;
    if (known) store_name(trail, "audit", (const char *)first->string.data, NULL);
    redis_reply_free(first);
    if (!known) return STATUS_OK;
    TRY(store_words(service, &entries, err, WORDS("XRANGE", CLUSTER_TRAIL_NAME, "-", "+")));
    enum status status = STATUS_OK;
    for (size_t i = 0; i < entries->count && status == STATUS_OK; i++)
        status = bring_entry(service, trail, &entries->items[i], err);
    redis_reply_free(entries);
    return status;
}

enum status prices_take_over(struct keys_service *service, struct error *err) {
    struct redis_reply *reply = NULL;
    if (!redis_client_in_cluster(service->redis)) return STATUS_OK;
    TRY(store_words(service, &reply, err, WORDS("GET", PRICES_CURRENCY_NAME)));
    enum status status = STATUS_OK;
    if (reply->type == REDIS_STRING) {
        status =
            store_words(service, NULL, err, WORDS("SETNX", CLUSTER_CURRENCY_NAME, (const char *)reply->string.data));
        if (status == STATUS_OK) status = store_words(service, NULL, err, WORDS("DEL", PRICES_CURRENCY_NAME));
    }
    redis_reply_free(reply);
    return status;
}
