/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/limits.h"

#include "base/random.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char limits_reserve_lua[], limits_settle_lua[]; /* store/limits_*.lua */

enum { NAME_BYTES = 320, NUMBER_BYTES = 24, RESERVE_ARGUMENTS = 9, RESERVE_REPLY_ITEMS = 9 };

static struct redis_script reserve_script, settle_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&reserve_script, limits_reserve_lua);
    redis_script_init(&settle_script, limits_settle_lua);
}

/** The names of one key's data; see the header. */
struct names {
    char record[NAME_BYTES], key_usage[NAME_BYTES], model_usage[NAME_BYTES], reservation[NAME_BYTES];
};

static void write_names(struct names *names, const struct limits_reservation *reservation) {
    snprintf(names->record, NAME_BYTES, LIMITS_KEY_RECORD_FORMAT, reservation->key_id);
    snprintf(names->key_usage, NAME_BYTES, "bora:usage:{%s}", reservation->key_id);
    snprintf(names->model_usage, NAME_BYTES, "bora:usage:{%s}:%s", reservation->key_id, reservation->model);
    snprintf(names->reservation, NAME_BYTES, "bora:reservation:{%s}:%s", reservation->key_id, reservation->id);
}

/** A request on its way. */
struct reserving {
    limits_fn *fn;
    void *context;
    struct limits_reservation reservation;
};

static bool outcome_of(struct bytes_view word, enum limits_outcome *out) {
    static const char *const words[] = {
        [LIMITS_ADMITTED] = "admitted",   [LIMITS_DENIED] = "denied",       [LIMITS_NEVER_FITS] = "never",
        [LIMITS_KEY_UNKNOWN] = "unknown", [LIMITS_KEY_REVOKED] = "revoked", [LIMITS_KEY_EXPIRED] = "expired"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!bytes_view_equal_string(word, words[i])) continue;
        *out = (enum limits_outcome)i;
        return true;
    }
    return false;
}

static bool read_result(const struct redis_reply *reply, const struct limits_reservation *reservation,
                        struct limits_result *out) {
    if (reply->type != REDIS_ARRAY || reply->count < 1 || !outcome_of(reply->items[0].string, &out->outcome))
        return false;
    out->requests = out->tokens = (struct limits_room){LIMITS_ABSENT, LIMITS_ABSENT};
    if (out->outcome >= LIMITS_KEY_UNKNOWN) return true;
    if (reply->count != RESERVE_REPLY_ITEMS) return false;
    const struct redis_reply *items = reply->items;
    if (items[1].integer >= 0) out->denied_by = (enum limits_bucket)items[1].integer;
    out->retry_after_ms = items[2].integer;
    out->requests = (struct limits_room){items[3].integer, items[4].integer};
    out->tokens = (struct limits_room){items[5].integer, items[6].integer};
    out->reservation = *reservation;
    if (items[7].integer == 0) out->reservation.id[0] = 0;
    out->tokens_taken = items[8].integer;
    return true;
}

static void on_reserved(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct reserving *reserving = context;
    struct limits_result result = {0};
    if (status != STATUS_OK)
        reserving->fn(reserving->context, status, NULL, message);
    else if (!read_result(reply, &reserving->reservation, &result))
        reserving->fn(reserving->context, STATUS_INTERNAL, NULL, "the limits script gave a strange answer");
    else
        reserving->fn(reserving->context, STATUS_OK, &result, "");
    free(reserving);
}

static const char *what_is_wrong(const struct limits_request *request) {
    if (request->key_id[0] == 0 || strlen(request->key_id) > LIMITS_KEY_ID_BYTES)
        return "limits: the key id is empty or too long";
    if (strlen(request->model) > LIMIT_MODEL_NAME_BYTES) return "limits: the model's name is too long";
    if (request->tokens < 0 || request->tokens > LIMITS_MAX || request->tokens_optional < 0 ||
        request->tokens_optional > request->tokens || request->tokens_ahead < 0 || request->tokens_ahead > LIMITS_MAX)
        return "limits: tokens out of range";
    const int64_t limits[] = {request->key.requests_per_minute, request->key.tokens_per_minute,
                              request->key_and_model.requests_per_minute, request->key_and_model.tokens_per_minute};
    for (int i = 0; i < 4; i++) {
        if (limits[i] < LIMITS_ABSENT || limits[i] > LIMITS_MAX) return "limits: a limit is out of range";
    }
    return NULL;
}

void limits_reserve(struct redis_client *client, const struct limits_request *request, limits_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    const char *wrong = what_is_wrong(request);
    struct reserving *reserving = wrong == NULL ? calloc(1, sizeof *reserving) : NULL;
    if (reserving == NULL) {
        fn(context, wrong != NULL ? STATUS_INVALID_ARGUMENT : STATUS_UNAVAILABLE, NULL,
           wrong != NULL ? wrong : "out of memory");
        return;
    }
    *reserving = (struct reserving){.fn = fn, .context = context};
    snprintf(reserving->reservation.key_id, sizeof reserving->reservation.key_id, "%s", request->key_id);
    snprintf(reserving->reservation.model, sizeof reserving->reservation.model, "%s", request->model);
    if (request->taken != NULL && request->taken->id[0] != 0)
        reserving->reservation = *request->taken;
    else
        random_hex_id(reserving->reservation.id, LIMITS_RESERVATION_ID_BYTES);

    struct names names;
    write_names(&names, &reserving->reservation);
    struct bytes_view keys[] = {bytes_view_string(names.record), bytes_view_string(names.reservation),
                                bytes_view_string(names.key_usage), bytes_view_string(names.model_usage)};
    const int64_t values[RESERVE_ARGUMENTS] = {request->test_time_ms,
                                               request->taken == NULL,
                                               request->tokens,
                                               request->tokens_optional,
                                               request->tokens_ahead,
                                               request->key.requests_per_minute,
                                               request->key.tokens_per_minute,
                                               request->key_and_model.requests_per_minute,
                                               request->key_and_model.tokens_per_minute};
    char texts[RESERVE_ARGUMENTS][NUMBER_BYTES];
    struct bytes_view arguments[RESERVE_ARGUMENTS];
    for (int i = 0; i < RESERVE_ARGUMENTS; i++) {
        snprintf(texts[i], NUMBER_BYTES, "%" PRId64, values[i]);
        arguments[i] = bytes_view_string(texts[i]);
    }
    redis_script_run(client, &reserve_script, keys, 4, arguments, RESERVE_ARGUMENTS, on_reserved, reserving);
}

void limits_check_key(struct redis_client *client, const char *key_id, limits_fn *fn, void *context) {
    struct limits_bounds unlimited = {LIMITS_ABSENT, LIMITS_ABSENT};
    struct limits_request request = {.key_id = key_id, .model = "", .key = unlimited, .key_and_model = unlimited};
    limits_reserve(client, &request, fn, context);
}

void limits_settle(struct redis_client *client, const struct limits_reservation *reservation, int64_t actual_tokens,
                   redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    if (reservation->id[0] == 0) {
        struct redis_reply nothing = {.type = REDIS_INTEGER};
        if (fn != NULL) fn(context, STATUS_OK, &nothing, "");
        return;
    }
    if (actual_tokens < 0) actual_tokens = 0;
    if (actual_tokens > LIMITS_MAX) actual_tokens = LIMITS_MAX;
    struct names names;
    write_names(&names, reservation);
    struct bytes_view keys[] = {bytes_view_string(names.reservation), bytes_view_string(names.key_usage),
                                bytes_view_string(names.model_usage)};
    char actual[NUMBER_BYTES];
    snprintf(actual, sizeof actual, "%" PRId64, actual_tokens);
    struct bytes_view argument = bytes_view_string(actual);
    redis_script_run(client, &settle_script, keys, 3, &argument, 1, fn, context);
}
