/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/ledger_organizations.h"

#include "base/limits.h"
#include "services/keys/out_of_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64, SCAN_COUNT = 500, FLIGHT_MAX = 512 };

void ledger_organizations_init(struct ledger_organizations *list) {
    *list = (struct ledger_organizations){0};
    pthread_mutex_init(&list->mutex, NULL);
    pthread_cond_init(&list->changed, NULL);
}

void ledger_organizations_deinit(struct ledger_organizations *list) {
    pthread_mutex_destroy(&list->mutex);
    pthread_cond_destroy(&list->changed);
    free(list->items);
}

/* --- who there is ------------------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b) {
    return strcmp(((const struct ledger_organization *)a)->id, ((const struct ledger_organization *)b)->id);
}

/** Those behind `known` are new and not in order yet. */
static struct ledger_organization *find(struct ledger_organizations *list, size_t known,
                                        const struct ledger_organization *wanted) {
    struct ledger_organization *found = known > 0 ? bsearch(wanted, list->items, known, sizeof *wanted, compare) : NULL;
    for (size_t i = known; found == NULL && i < list->count; i++) {
        if (strcmp(list->items[i].id, wanted->id) == 0) found = &list->items[i];
    }
    return found;
}

static enum status add(struct ledger_organizations *list, size_t known, struct bytes_view id, bool active,
                       struct error *err) {
    struct ledger_organization wanted = {.active = active, .list = list};
    if (id.length == 0 || id.length > LIMITS_ID_BYTES) return STATUS_OK; /* nobody's */
    memcpy(wanted.id, id.data, id.length);
    struct ledger_organization *found = find(list, known, &wanted);
    if (found != NULL) {
        found->active = found->active || active;
        return STATUS_OK;
    }
    if (list->count == LIMIT_ORGANIZATIONS)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "there are more than %d organisations", LIMIT_ORGANIZATIONS);
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + FIRST_CAPACITY;
        struct ledger_organization *more = realloc(list->items, capacity * sizeof *more);
        if (more == NULL) return out_of_memory(err);
        list->items = more;
        list->capacity = capacity;
    }
    list->items[list->count++] = wanted;
    return STATUS_OK;
}

/** Through a set or sorted set, a page at a time: SSCAN and ZSCAN alike. Every `step`th item is an id. */
static enum status scan(struct ledger_organizations *list, struct redis_client *client, const char *command,
                        const char *name, size_t step, struct error *err) {
    char cursor[LEDGER_ID_BYTES + 1] = "0";
    enum status status = STATUS_OK;
    do {
        struct redis_reply *reply = NULL;
        TRY(redis_callf(client, &reply, err, "%s %s %s COUNT %lld", command, name, cursor, (long long)SCAN_COUNT));
        size_t known = list->count;
        const struct redis_reply *items = reply->items;
        if (reply->count == 2 && items[0].string.length <= LEDGER_ID_BYTES) {
            memcpy(cursor, items[0].string.data, items[0].string.length + 1);
            for (size_t i = 0; i < items[1].count && status == STATUS_OK; i += step)
                status = add(list, known, items[1].items[i].string, step == 1, err);
        } else {
            status = error_set(err, STATUS_DATA_LOSS, "%s gave a strange answer", command);
        }
        redis_reply_free(reply);
        if (list->count > known) qsort(list->items, list->count, sizeof *list->items, compare);
    } while (status == STATUS_OK && strcmp(cursor, "0") != 0);
    return status;
}

enum status ledger_organizations_scan(struct ledger_organizations *list, const struct ledger_stores *stores, bool all,
                                      struct error *err) {
    TRY(scan(list, stores->limits, "SSCAN", "bora:orgs-active", 1, err));
    return all ? scan(list, stores->redis, "ZSCAN", "bora:orgs", 2, err) : STATUS_OK;
}

/* --- who is busy ------------------------------------------------------------------------------------------------- */

static void on_counted(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct ledger_organization *organization = context;
    struct ledger_organizations *list = organization->list;
    pthread_mutex_lock(&list->mutex);
    if (status != STATUS_OK && list->status == STATUS_OK) list->status = error_set(&list->cause, status, "%s", message);
    if (status == STATUS_OK && reply->integer > 0) organization->busy = true;
    list->in_flight--;
    pthread_cond_signal(&list->changed);
    pthread_mutex_unlock(&list->mutex);
}

/** Until at most `most` are under way. */
static void wait_for_flight(struct ledger_organizations *list, size_t most) {
    pthread_mutex_lock(&list->mutex);
    while (list->in_flight > most) pthread_cond_wait(&list->changed, &list->mutex);
    pthread_mutex_unlock(&list->mutex);
}

static void count(struct ledger_organization *organization, struct redis_client *client, const char *format) {
    struct ledger_organizations *list = organization->list;
    pthread_mutex_lock(&list->mutex);
    list->in_flight++;
    pthread_mutex_unlock(&list->mutex);
    redis_commandf(client, on_counted, organization, format, organization->id);
}

/** `*out_changed`: it is another process than last time. */
static enum status ask_run_id(struct ledger_organizations *list, struct redis_client *limits, bool *out_changed,
                              struct error *err) {
    static const char field[] = "\nrun_id:";
    struct redis_reply *reply = NULL;
    char run_id[sizeof list->run_id] = "";
    if (redis_client_in_cluster(limits)) { /* whose processes are several */
        snprintf(run_id, sizeof run_id, "%lld", (long long)redis_client_generation(limits));
        *out_changed = strcmp(run_id, list->run_id) != 0;
        memcpy(list->run_id, run_id, sizeof list->run_id);
        return STATUS_OK;
    }
    TRY(redis_callf(limits, &reply, err, "INFO server"));
    const char *found = reply->type == REDIS_STRING ? strstr((const char *)reply->string.data, field) : NULL;
    if (found != NULL) {
        found += sizeof field - 1;
        size_t length = strcspn(found, "\r\n");
        if (length < sizeof run_id) memcpy(run_id, found, length);
    }
    redis_reply_free(reply);
    /* Without one, which no Redis is known to be, everybody is always busy. */
    *out_changed = run_id[0] == 0 || strcmp(run_id, list->run_id) != 0;
    memcpy(list->run_id, run_id, sizeof list->run_id);
    return STATUS_OK;
}

enum status ledger_organizations_probe(struct ledger_organizations *list, const struct ledger_stores *stores, bool all,
                                       struct error *err) {
    bool restarted = false;
    TRY(ask_run_id(list, stores->limits, &restarted, err));
    list->status = STATUS_OK;
    list->cause = (struct error){0};
    for (size_t i = 0; i < list->count; i++) {
        struct ledger_organization *organization = &list->items[i];
        organization->busy = restarted || organization->position.epoch[0] == 0;
        if (organization->busy || (!all && !organization->active)) continue;
        wait_for_flight(list, FLIGHT_MAX);
        count(organization, stores->limits, "XLEN bora:outbox:{%s}");
        count(organization, stores->limits, "ZCARD bora:due:{%s}");
    }
    wait_for_flight(list, 0);
    return list->status == STATUS_OK ? STATUS_OK : error_set(err, list->status, "%s", list->cause.message);
}
