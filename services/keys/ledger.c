/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/ledger.h"

#include "base/random.h"
#include "base/text.h"
#include "services/keys/ledger_batch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

extern const char ledger_fetch_lua[], ledger_bring_lua[]; /* *.lua in this folder */

enum { FETCH_ATTEMPTS = 3, NUMBER_BYTES = 24, TRIM_ENTRIES = 10000 };

static struct redis_script fetch_script, bring_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&fetch_script, ledger_fetch_lua);
    redis_script_init(&bring_script, ledger_bring_lua);
}

/* --- amounts ----------------------------------------------------------------------------------------------------- */

bool ledger_amounts_add(struct ledger_amounts *to, const struct ledger_amounts *amounts) {
    struct ledger_amounts sum;
    if (__builtin_add_overflow(to->requests, amounts->requests, &sum.requests) ||
        __builtin_add_overflow(to->input, amounts->input, &sum.input) ||
        __builtin_add_overflow(to->cached, amounts->cached, &sum.cached) ||
        __builtin_add_overflow(to->output, amounts->output, &sum.output) ||
        __builtin_add_overflow(to->cost, amounts->cost, &sum.cost))
        return false;
    *to = sum;
    return true;
}

bool ledger_amounts_read(const char *text, struct ledger_amounts *out) {
    int64_t values[5];
    for (int i = 0; i < 5; i++) {
        char word[NUMBER_BYTES];
        size_t length = strcspn(text, " ");
        if (length == 0 || length >= sizeof word) return false;
        memcpy(word, text, length);
        word[length] = 0;
        if (!text_to_i64(word, &values[i])) return false;
        text += length;
        if (*text == ' ' && i < 4) text++;
    }
    *out = (struct ledger_amounts){values[0], values[1], values[2], values[3], values[4]};
    return *text == 0;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

void ledger_name(const char *organization, char out[LEDGER_NAME_BYTES]) {
    snprintf(out, LEDGER_NAME_BYTES, "bora:ledger:{%s}", organization);
}

void ledger_sums_name(const char *organization, char kind, int64_t time_ms, char out[LEDGER_NAME_BYTES]) {
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm time;
    char text[NUMBER_BYTES];
    gmtime_r(&seconds, &time);
    strftime(text, sizeof text, kind == 'h' ? "%Y%m%d%H" : "%Y%m%d", &time);
    snprintf(out, LEDGER_NAME_BYTES, "bora:sums:{%s}:%c:%s", organization, kind, text);
}

/* --- moving ------------------------------------------------------------------------------------------------------ */

struct names {
    char outbox[LEDGER_NAME_BYTES], epoch[LEDGER_NAME_BYTES];                                   /* redis-limits */
    char ledger[LEDGER_NAME_BYTES], position[LEDGER_NAME_BYTES], unreadable[LEDGER_NAME_BYTES]; /* redis */
};

static void write_names(const char *organization, struct names *out) {
    snprintf(out->outbox, LEDGER_NAME_BYTES, "bora:outbox:{%s}", organization);
    snprintf(out->epoch, LEDGER_NAME_BYTES, "bora:outbox-epoch:{%s}", organization);
    snprintf(out->position, LEDGER_NAME_BYTES, "bora:ledger-seen:{%s}", organization);
    snprintf(out->unreadable, LEDGER_NAME_BYTES, "bora:ledger-unreadable:{%s}", organization);
    ledger_name(organization, out->ledger);
}

static bool copy_text(struct bytes_view from, char *to, size_t size) {
    if (from.length >= size) return false;
    memcpy(to, from.data, from.length);
    to[from.length] = 0;
    return true;
}

static enum status strange_answer(struct error *err) {
    return error_set(err, STATUS_DATA_LOSS, "a script of the ledger gave a strange answer");
}

/** How far the ledger is with the outbox of this epoch. */
static enum status ask_position(const struct ledger_stores *stores, const struct names *names,
                                struct ledger_position *position, struct error *err) {
    struct redis_reply *reply = NULL;
    TRY(redis_callf(stores->redis, &reply, err, "HGET %s %s", names->position, position->epoch));
    enum status status = STATUS_OK;
    if (reply->type == REDIS_NIL)
        snprintf(position->id, sizeof position->id, "0-0");
    else if (!copy_text(reply->string, position->id, sizeof position->id))
        status = strange_answer(err);
    redis_reply_free(reply);
    return status;
}

/** `*out_reply`: {epoch, end lost, entries} */
static enum status fetch_once(const struct ledger_stores *stores, const struct names *names,
                              const struct ledger_position *position, struct redis_reply **out_reply,
                              struct error *err) {
    char new_epoch[LEDGER_EPOCH_DIGITS + 1], batch[NUMBER_BYTES];
    random_hex_id(new_epoch, LEDGER_EPOCH_DIGITS);
    snprintf(batch, sizeof batch, "%d", LEDGER_BATCH);
    struct bytes_view keys[] = {bytes_view_string(names->outbox), bytes_view_string(names->epoch)};
    struct bytes_view arguments[] = {bytes_view_string(new_epoch), bytes_view_string(position->epoch),
                                     bytes_view_string(position->id), bytes_view_string(batch)};
    struct redis_reply *reply = NULL;
    TRY(redis_script_call(stores->limits, &fetch_script, keys, 2, arguments, 4, &reply, err));
    if (reply->type != REDIS_ARRAY || reply->count != 3 || reply->items[2].type != REDIS_ARRAY) {
        redis_reply_free(reply);
        return strange_answer(err);
    }
    *out_reply = reply;
    return STATUS_OK;
}

/** The entries behind the position, which is looked up when it is not known or another epoch's. */
static enum status fetch(const struct ledger_stores *stores, const struct names *names,
                         struct ledger_position *position, struct redis_reply **out_reply, struct error *err) {
    for (int attempt = 0; attempt < FETCH_ATTEMPTS; attempt++) {
        struct redis_reply *reply = NULL;
        TRY(fetch_once(stores, names, position, &reply, err));
        if (bytes_view_equal_string(reply->items[0].string, position->epoch)) {
            *out_reply = reply;
            return STATUS_OK;
        }
        bool fits = copy_text(reply->items[0].string, position->epoch, sizeof position->epoch);
        redis_reply_free(reply);
        if (!fits) return strange_answer(err);
        TRY(ask_position(stores, names, position, err));
    }
    return error_set(err, STATUS_UNAVAILABLE, "the outbox' epoch changes all the time");
}

static enum status bring(const struct ledger_stores *stores, const struct names *names, const char *organization,
                         const struct redis_reply *entries, struct arena *arena, struct ledger_position *position,
                         struct ledger_moved *out, struct error *err) {
    struct ledger_batch *batch = NULL;
    TRY(ledger_batch_create(organization, entries, arena, &batch, err));
    const struct bytes_view first_keys[] = {bytes_view_string(names->ledger), bytes_view_string(names->position),
                                            bytes_view_string(names->unreadable)};
    struct bytes_view *keys = NULL, *arguments = NULL;
    size_t key_count = 0, argument_count = 0;
    TRY(ledger_batch_write(batch, position, first_keys, 3, &keys, &key_count, &arguments, &argument_count, err));
    struct redis_reply *reply = NULL;
    TRY(redis_script_call(stores->redis, &bring_script, keys, key_count, arguments, argument_count, &reply, err));
    enum status status = STATUS_OK;
    if (reply->type != REDIS_ARRAY || reply->count != 2 ||
        !copy_text(reply->items[1].string, position->id, sizeof position->id)) {
        status = strange_answer(err);
    } else if (reply->items[0].integer == 1) {
        out->entries = (int64_t)(entries->count - ledger_batch_unreadable(batch));
        out->unreadable = (int64_t)ledger_batch_unreadable(batch);
        out->oldest_ms = ledger_batch_oldest_ms(batch);
    }
    redis_reply_free(reply);
    return status;
}

enum status ledger_move(const struct ledger_stores *stores, const char *organization, struct ledger_position *position,
                        struct arena *arena, struct ledger_moved *out, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    *out = (struct ledger_moved){0};
    struct names names;
    write_names(organization, &names);
    struct ledger_position at = *position;
    if (at.epoch[0] == 0) snprintf(at.id, sizeof at.id, "0-0");
    struct redis_reply *reply = NULL;
    TRY(fetch(stores, &names, &at, &reply, err));
    out->end_lost = reply->items[1].integer == 1;
    const struct redis_reply *entries = &reply->items[2];
    enum status status = STATUS_OK;
    arena_reset(arena);
    if (entries->count > 0) {
        status = bring(stores, &names, organization, entries, arena, &at, out, err);
        out->again = true; /* also removes from the outbox what has been brought */
    }
    redis_reply_free(reply);
    if (status == STATUS_OK) *position = at;
    return status;
}

enum status ledger_trim(struct redis_client *redis, const char *organization, int64_t before_ms, int64_t *out_removed,
                        struct error *err) {
    char name[LEDGER_NAME_BYTES];
    ledger_name(organization, name);
    struct redis_reply *reply = NULL;
    TRY(redis_callf(redis, &reply, err, "XTRIM %s MINID ~ %lld LIMIT %lld", name, (long long)before_ms,
                    (long long)TRIM_ENTRIES));
    *out_removed = reply->integer;
    redis_reply_free(reply);
    return STATUS_OK;
}
