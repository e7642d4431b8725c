/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/currency.h"

#include "base/clock.h"
#include "services/keys/batch.h"
#include "services/keys/ledger.h"
#include "services/keys/out_of_memory.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    COMMANDS = 4, /* of an organisation, at most */
    ORGANIZATIONS_AT_ONCE = BATCH_MAX / COMMANDS,
    DAYS_AT_ONCE = 16, /* hashes may be large, and others' commands wait behind them */
    SECONDS_PER_DAY = 24 * 3600,
    CLOCKS_DAYS = 2, /* what clocks may differ by */
    AMOUNTS_BYTES = 128,
};

struct state {
    const char *id;
    int64_t created_at;
    bool noted, has_ledger, under_way;
};

/* --- what is noted, and what is under way ------------------------------------------------------------------------- */

static enum status read_position(void *context, const struct redis_reply *reply, struct error *err) {
    struct state *state = context;
    (void)err;
    state->noted = reply->count == 2 && reply->items[0].type == REDIS_STRING;
    state->has_ledger = reply->count == 2 && reply->items[1].type == REDIS_STRING;
    return STATUS_OK;
}

static enum status read_created(void *context, const struct redis_reply *reply, struct error *err) {
    struct state *state = context;
    (void)err;
    if (reply->type == REDIS_STRING) state->created_at = atoll((const char *)reply->string.data);
    return STATUS_OK;
}

static enum status read_length(void *context, const struct redis_reply *reply, struct error *err) {
    struct state *state = context;
    (void)err;
    state->under_way = state->under_way || reply->integer > 0;
    return STATUS_OK;
}

static enum status wait_for(struct batch *batch, struct error *err) {
    struct error cause = {0};
    enum status status = batch_wait(batch, NULL, &cause);
    return status == STATUS_OK ? STATUS_OK : store_failure(status, cause.message, err);
}

static enum status read_states(struct keys_service *service, struct state *states, size_t count, bool priced,
                               struct batch *batch, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        struct state *state = &states[i];
        redis_commandf(service->redis, batch_answer, batch_expect(batch, read_position, state),
                       "HMGET bora:ledger-seen:{%s} priced top", state->id);
        redis_commandf(service->redis, batch_answer, batch_expect(batch, read_created, state),
                       "HGET bora:org:{%s} created_at", state->id);
        if (!priced) continue;
        redis_commandf(service->limits_redis, batch_answer, batch_expect(batch, read_length, state),
                       "XLEN bora:outbox:{%s}", state->id);
        redis_commandf(service->limits_redis, batch_answer, batch_expect(batch, read_length, state),
                       "HLEN bora:leases:{%s}", state->id);
    }
    return wait_for(batch, err);
}

/* --- sums --------------------------------------------------------------------------------------------------------- */

static enum status find_cost(void *context, const struct redis_reply *reply, struct error *err) {
    bool *found = context;
    for (size_t i = 0; i < reply->count && !*found; i++) {
        char text[AMOUNTS_BYTES];
        struct ledger_amounts amounts;
        const struct bytes_view value = reply->items[i].string;
        snprintf(text, sizeof text, "%.*s", (int)value.length, (const char *)value.data);
        if (!ledger_amounts_read(text, &amounts))
            return error_set(err, STATUS_DATA_LOSS, "the sums hold a malformed field");
        *found = amounts.cost != 0;
    }
    return STATUS_OK;
}

/** From the day on which the organisation was made, or the first that sums are kept of. */
static enum status find_charge(struct keys_service *service, const struct state *state, struct batch *batch, bool *out,
                               struct error *err) {
    int64_t now = clock_unix_ns(clock_system()) / NS_PER_S, end = now + CLOCKS_DAYS * SECONDS_PER_DAY;
    int64_t at = state->created_at - CLOCKS_DAYS * SECONDS_PER_DAY;
    int64_t kept_since = now - (LEDGER_DAYS_DAYS + CLOCKS_DAYS) * (int64_t)SECONDS_PER_DAY;
    *out = false;
    for (at = at < kept_since ? kept_since : at; at <= end && !*out;) {
        for (int i = 0; i < DAYS_AT_ONCE && at <= end; i++, at += SECONDS_PER_DAY) {
            char name[LEDGER_NAME_BYTES];
            ledger_sums_name(state->id, 'd', at * 1000, name);
            redis_commandf(service->redis, batch_answer, batch_expect(batch, find_cost, out), "HVALS %s", name);
        }
        TRY(wait_for(batch, err));
    }
    return STATUS_OK;
}

/** The next time one look is enough. */
static void note(struct keys_service *service, const struct state *state) {
    redis_commandf(service->redis, NULL, NULL, "HSET bora:ledger-seen:{%s} priced 1", state->id);
}

/* --- all organisations -------------------------------------------------------------------------------------------- */

static enum status find_use(struct keys_service *service, struct state *states, size_t count, bool priced,
                            struct batch *batch, enum currency_use *out, struct error *err) {
    TRY(read_states(service, states, count, priced, batch, err));
    for (size_t i = 0; i < count; i++) {
        if (states[i].noted) *out = CURRENCY_CHARGED;
        if (states[i].under_way && *out == CURRENCY_UNUSED) *out = CURRENCY_UNDER_WAY;
    }
    for (size_t i = 0; i < count && *out != CURRENCY_CHARGED; i++) {
        bool charged = false;
        if (states[i].has_ledger) TRY(find_charge(service, &states[i], batch, &charged, err));
        if (!charged) continue;
        note(service, &states[i]);
        *out = CURRENCY_CHARGED;
    }
    return STATUS_OK;
}

enum status currency_find_use(struct handling *handling, bool priced, enum currency_use *out, struct error *err) {
    char(*ids)[UUID_CHARACTERS + 1] = NULL;
    size_t count = 0;
    struct batch batch;
    *out = CURRENCY_UNUSED;
    TRY(place_organization_ids(handling->service, 0, LIMIT_ORGANIZATIONS, &handling->arena, &ids, &count, err));
    struct state *states = arena_alloc_array(&handling->arena, count, sizeof *states);
    if (states == NULL) return out_of_memory(err);
    for (size_t i = 0; i < count; i++) states[i] = (struct state){.id = ids[i]};
    batch_init(&batch);
    enum status status = STATUS_OK;
    for (size_t at = 0; at < count && status == STATUS_OK && *out != CURRENCY_CHARGED; at += ORGANIZATIONS_AT_ONCE) {
        size_t some = count - at < ORGANIZATIONS_AT_ONCE ? count - at : ORGANIZATIONS_AT_ONCE;
        status = find_use(handling->service, states + at, some, priced, &batch, out, err);
    }
    batch_deinit(&batch);
    return status;
}
