/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/changes.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "services/keys/gates.h"
#include "services/keys/handling.h"
#include "services/keys/prices_trail.h"
#include "services/keys/store_names.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { MARKS_MEMORY_BYTES = 64 << 20, ORGANIZATIONS_AT_ONCE = 500 };
static const int64_t RETRY_NS = 500 * (int64_t)NS_PER_MS, LOOK_AGAIN_NS = 300 * NS_PER_S;
static const char letters[] = {[CHANGE_KEY] = 'k',
                               [CHANGE_WORKSPACE] = 'w',
                               [CHANGE_WORKSPACE_GATES] = 'W',
                               [CHANGE_ORGANIZATION] = 'o',
                               [CHANGE_ORGANIZATION_GATES] = 'O'};

static struct redis_script unmark_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&unmark_script, "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then "
                                      "redis.call('HDEL', KEYS[1], ARGV[1]) end return 1");
}

/* --- one change --------------------------------------------------------------------------------------------------- */

void change_begin(enum change_kind kind, const char *organization, const char *id, struct change *out) {
    *out = (struct change){.kind = kind};
    snprintf(out->organization, sizeof out->organization, "%s", organization);
    snprintf(out->id, sizeof out->id, "%s", id);
    snprintf(out->mark, sizeof out->mark, "%c %s", letters[kind], id);
    random_hex_id(out->nonce, CHANGE_NONCE_CHARACTERS);
}

/** What a failure of the limits' Redis means. */
static enum status told_later(enum status status, const char *cause, struct error *err) {
    log_warn("gateways cannot be told of a change", LOG_S("status", status_name(status)), LOG_S("error", cause));
    return error_set(err, STATUS_UNAVAILABLE,
                     "the change was made, but gateways cannot be told of it now: the limits' Redis cannot be reached; "
                     "they will be as soon as it is back");
}

enum status changes_publish(struct keys_service *service, const char *message, struct error *err) {
    struct bytes_view words[] = {bytes_view_string("PUBLISH"), bytes_view_string(CHANGES_CHANNEL),
                                 bytes_view_string(message)};
    struct error cause = {0};
    enum status status = redis_call(service->limits_redis, words, 3, NULL, &cause);
    return status == STATUS_OK ? STATUS_OK : told_later(status, cause.message, err);
}

static enum status set_gates(struct keys_service *service, const struct change *change, struct error *err) {
    struct error cause = {0};
    enum status status = STATUS_OK;
    bool of_limits = false;
    if (change->kind == CHANGE_KEY)
        status = gates_of_key(service, change->organization, change->id, &of_limits, &cause);
    else if (change->kind == CHANGE_WORKSPACE_GATES)
        status = gates_of_workspace(service, change->organization, change->id, &of_limits, &cause);
    else if (change->kind == CHANGE_ORGANIZATION_GATES)
        status = gates_of_organization(service, change->organization, &of_limits, &cause);
    if (status == STATUS_OK) return STATUS_OK;
    return of_limits ? told_later(status, cause.message, err) : error_set(err, status, "%s", cause.message);
}

static enum status tell(struct keys_service *service, const struct change *change, struct error *err) {
    static const char channel_letters[] = {'k', 'w', 'w', 'o', 'o'};
    char message[2 + UUID_CHARACTERS + 1];
    pthread_once(&scripts_once, init_scripts);
    snprintf(message, sizeof message, "%c %s", channel_letters[change->kind], change->id);
    /* The gates of a place's keys take their time, one after the other: meanwhile gateways ask us, who say no already. Answers that run end when
     * gateways are told once more. */
    bool of_place = change->kind == CHANGE_WORKSPACE_GATES || change->kind == CHANGE_ORGANIZATION_GATES;
    if (of_place) TRY(changes_publish(service, message, err));
    TRY(set_gates(service, change, err));
    TRY(changes_publish(service, message, err));
    char name[STORE_NAME_BYTES];
    struct bytes_view key = store_name(name, "pending", change->organization, NULL);
    struct bytes_view arguments[] = {bytes_view_string(change->mark), bytes_view_string(change->nonce)};
    struct error cause = {0}; /* everybody has been told; once more does no harm */
    if (redis_script_call(service->redis, &unmark_script, &key, 1, arguments, 2, NULL, &cause) != STATUS_OK)
        keeper_wake(service->changes);
    return STATUS_OK;
}

enum status change_finish(struct keys_service *service, const struct change *change, struct error *err) {
    enum status status = tell(service, change, err);
    if (status != STATUS_OK) keeper_wake(service->changes);
    return status;
}

/* --- what others left --------------------------------------------------------------------------------------------- */

static bool read_mark(const struct redis_reply *mark, const struct redis_reply *nonce, const char *organization,
                      struct change *out) {
    const char *text = (const char *)mark->string.data;
    for (size_t kind = 0; kind < sizeof letters; kind++) {
        if (text[0] != letters[kind] || text[1] != ' ' || strlen(text) >= sizeof out->mark) continue;
        change_begin((enum change_kind)kind, organization, text + 2, out);
        snprintf(out->nonce, sizeof out->nonce, "%s", (const char *)nonce->string.data);
        return true;
    }
    return false;
}

/** All marks of an organisation. */
static enum status finish_marks(struct keys_service *service, const char *organization, struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    store_name(name, "pending", organization, NULL);
    TRY(store_words(service, &reply, err, WORDS("HGETALL", name)));
    enum status status = STATUS_OK;
    for (size_t i = 0; i + 1 < reply->count && status == STATUS_OK; i += 2) {
        struct change change;
        bool was_there = false;
        if (bytes_view_equal_string(reply->items[i].string, CHANGES_DELETED_MARK))
            status = place_forget_organization(service, organization, &was_there, err);
        if (!read_mark(&reply->items[i], &reply->items[i + 1], organization, &change)) continue;
        status = tell(service, &change, err);
        if (status == STATUS_OK) log_info("gateways were told of a change", LOG_S("change", change.mark));
    }
    redis_reply_free(reply);
    return status;
}

static enum status finish_all(struct keys_service *service, struct error *err) {
    struct arena arena;
    arena_init(&arena, MARKS_MEMORY_BYTES);
    enum status status = STATUS_OK;
    size_t count = ORGANIZATIONS_AT_ONCE + 1;
    for (int64_t offset = 0; status == STATUS_OK && count > ORGANIZATIONS_AT_ONCE; offset += ORGANIZATIONS_AT_ONCE) {
        char(*ids)[UUID_CHARACTERS + 1] = NULL;
        arena_reset(&arena);
        status = place_organization_ids(service, offset, ORGANIZATIONS_AT_ONCE, &arena, &ids, &count, err);
        for (size_t i = 0; status == STATUS_OK && i < count && i < ORGANIZATIONS_AT_ONCE; i++)
            status = finish_marks(service, ids[i], err);
    }
    arena_deinit(&arena);
    return status == STATUS_OK ? prices_trail_bring(service, err) : status;
}

int64_t changes_keep(void *context) {
    struct keys_service *service = context;
    struct error err = {0};
    bool ready = atomic_load(&service->readiness) == KEYS_READY && redis_client_connected(service->limits_redis);
    return ready && finish_all(service, &err) == STATUS_OK ? LOOK_AGAIN_NS : RETRY_NS;
}
