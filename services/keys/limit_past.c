/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/limit_past.h"

#include "base/clock.h"
#include "services/keys/handling.h"
#include "services/keys/store_names.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Batches come into the ledger several times a second, and the sums are read within milliseconds. */
enum { READS_MAX = 4, SECONDS_PER_DAY = 24 * 3600 };
#define POSITION_START "0-0"

/* --- the ledger's sums -------------------------------------------------------------------------------------------- */

static enum status read_sums(struct keys_service *service, const char *organization, const char *from_or_null,
                             int64_t now, const struct usage_filter *filter, const struct usage_grouping *grouping,
                             struct arena *arena, struct usage_table *table, struct error *err) {
    const struct usage_asked asked = {.interval = "all", .from = from_or_null};
    const char *field = NULL, *message = NULL;
    struct usage_range range;
    struct error cause = {0};
    if (!usage_range_read(&asked, now, &range, &field, &message))
        return error_set(err, STATUS_INTERNAL, "the time cannot be told: %s", message);
    TRY(usage_table_init(table, &range, filter, grouping, arena, err));
    enum status status = usage_table_read(table, service->redis, organization, &cause);
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    usage_table_finish(table);
    return STATUS_OK;
}

struct ledger_amounts limit_past_of_day(const struct limit_past *past, const struct usage_row *row, size_t *at) {
    const struct usage_table *day = &past->day;
    for (; *at < day->count; ++*at) {
        int order = strcmp(day->rows[*at].key, row->key);
        if (order == 0) order = strcmp(day->rows[*at].model, row->model);
        if (order == 0) return day->rows[*at].amounts;
        if (order > 0) break;
    }
    return (struct ledger_amounts){0};
}

/* --- the position ------------------------------------------------------------------------------------------------- */

static enum status read_epoch(struct keys_service *service, struct limit_past *out, bool *out_of_limits,
                              struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    struct error cause = {0};
    const struct bytes_view words[] = {bytes_view_string("GET"),
                                       store_name(name, "outbox-epoch", out->organization, NULL)};
    enum status status = redis_call(service->limits_redis, words, 2, &reply, &cause);
    *out_of_limits = status != STATUS_OK;
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    snprintf(out->position.epoch, sizeof out->position.epoch, "%s",
             reply->type == REDIS_STRING ? (const char *)reply->string.data : "");
    redis_reply_free(reply);
    return STATUS_OK;
}

/** And a digest of all positions there are: it is another one as soon as anything comes into the ledger. */
static enum status read_position(struct keys_service *service, struct limit_past *out, uint64_t *out_digest,
                                 struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    store_name(name, "ledger-seen", out->organization, NULL);
    TRY(store_words(service, &reply, err, WORDS("HGETALL", name)));
    snprintf(out->position.id, sizeof out->position.id, POSITION_START);
    *out_digest = BYTES_HASH_START;
    for (size_t i = 0; i + 1 < reply->count; i += 2) {
        struct bytes_view epoch = reply->items[i].string, id = reply->items[i + 1].string;
        *out_digest = bytes_hash(bytes_hash(*out_digest, epoch), id);
        if (bytes_view_equal_string(epoch, out->position.epoch))
            snprintf(out->position.id, sizeof out->position.id, "%s", (const char *)id.data);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status limit_past_read(struct keys_service *service, const char *organization, const struct usage_filter *filter,
                            const struct usage_grouping *grouping, struct arena *arena, struct limit_past *out,
                            bool *out_of_limits, struct error *err) {
    uint64_t after = 0;
    *out = (struct limit_past){.steady = false};
    snprintf(out->organization, sizeof out->organization, "%s", organization);
    for (int i = 0; i < READS_MAX && !out->steady; i++) {
        char from[] = "YYYY-MM-DD";
        struct tm parts;
        TRY(read_epoch(service, out, out_of_limits, err));
        TRY(read_position(service, out, &out->positions, err));
        time_t now = (time_t)(clock_unix_ns(clock_system()) / NS_PER_S);
        strftime(from, sizeof from, "%Y-%m-%d", gmtime_r(&now, &parts));
        TRY(read_sums(service, organization, NULL, now, filter, grouping, arena, &out->month, err));
        TRY(read_sums(service, organization, from, now, filter, grouping, arena, &out->day, err));
        TRY(read_position(service, out, &after, err));
        out->ledger.day = now / SECONDS_PER_DAY;
        out->steady = out->positions == after;
    }
    out->ledger.organization = out->organization;
    /* No outbox has that epoch, so of those that moved on meanwhile nothing is added twice. */
    out->ledger.epoch = out->steady ? out->position.epoch : "-";
    out->ledger.position = out->position.id;
    return STATUS_OK;
}

enum status limit_past_stands(struct keys_service *service, const struct limit_past *past, bool *out,
                              struct error *err) {
    struct limit_past now = *past;
    uint64_t positions = 0;
    TRY(read_position(service, &now, &positions, err));
    *out = positions == past->positions;
    return STATUS_OK;
}
