/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/gates.h"

#include "base/clock.h"
#include "services/keys/batch.h"
#include "services/keys/handling.h"
#include "services/keys/key_store.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <stdlib.h>
#include <string.h>

/* Crossing changes end; each turn is lost only to another change's success. */
enum { TURNS_MAX = 16, RECORD_MEMORY_BYTES = 4 << 20, WORKSPACES_AT_ONCE = 500 };

static int64_t unix_now(void) {
    return clock_unix_ns(clock_system()) / NS_PER_S;
}

static void send_gate(struct keys_service *service, const char *organization, const char *prefix, bool shut,
                      struct batch *batch) {
    void *context = batch_expect(batch, NULL, NULL);
    if (shut)
        limits_shut_gate(service->limits_redis, organization, prefix, batch_answer, context);
    else
        limits_open_gate(service->limits_redis, organization, prefix, batch_answer, context);
}

static enum status move_gate(struct keys_service *service, const char *organization, const char *prefix, bool shut,
                             struct error *err) {
    struct batch batch;
    batch_init(&batch);
    send_gate(service, organization, prefix, shut, &batch);
    enum status status = batch_wait(&batch, NULL, err);
    batch_deinit(&batch);
    return status;
}

enum status gate_shut(struct keys_service *service, const char *organization, const char *prefix, struct error *err) {
    return move_gate(service, organization, prefix, true, err);
}

static enum status too_many_turns(struct error *err) {
    return error_set(err, STATUS_UNAVAILABLE, "others are changing it all the time; try again");
}

/* --- one key ------------------------------------------------------------------------------------------------------ */

/** A workspace or an organisation that is gone is no reason: nothing but revoked keys can have been in it. */
static enum status key_is_refused(struct keys_service *service, const char *organization, const char *prefix,
                                  bool *out_refused, struct error *err) {
    struct arena arena;
    struct authority authority = {0};
    arena_init(&arena, RECORD_MEMORY_BYTES);
    enum status status = key_find(service, organization, prefix, &arena, &authority.key, err);
    if (status == STATUS_OK && authority.key.revoked_at == 0)
        status = place_workspace(service, organization, authority.key.workspace, &arena, &authority.workspace, err);
    if (status == STATUS_OK && authority.key.revoked_at == 0)
        status = place_organization(service, organization, &arena, &authority.organization, err);
    if (status == STATUS_OK) *out_refused = authority_refusal(&authority, unix_now()) != NULL;
    arena_deinit(&arena);
    return status;
}

enum status gates_of_key(struct keys_service *service, const char *organization, const char *prefix,
                         bool *out_of_limits, struct error *err) {
    bool shut = false, refused = false;
    TRY(key_is_refused(service, organization, prefix, &refused, err));
    for (int i = 0; i < TURNS_MAX; i++) {
        shut = refused;
        enum status status = move_gate(service, organization, prefix, shut, err);
        *out_of_limits = status != STATUS_OK;
        TRY(status);
        TRY(key_is_refused(service, organization, prefix, &refused, err));
        if (refused == shut) return STATUS_OK;
    }
    return too_many_turns(err);
}

/* --- all keys of a workspace -------------------------------------------------------------------------------------- */

struct gate_slot {
    char prefix[KEY_PREFIX_CHARACTERS + 1];
    bool refused, shut;
};
/** One walk over the keys of a workspace. */
struct walk {
    struct keys_service *service;
    const char *organization, *workspace;
    bool place_refused;
    struct batch batch;
    struct gate_slot slots[BATCH_MAX];
    size_t count;
    bool of_limits;
};

static enum status read_key_state(void *context, const struct redis_reply *reply, struct error *err) {
    struct gate_slot *slot = context;
    (void)err;
    if (reply->count != 3) return STATUS_OK;
    const struct redis_reply *expires = &reply->items[2];
    bool expired = expires->type == REDIS_STRING && atoll((const char *)expires->string.data) <= unix_now();
    slot->refused = reply->items[0].type == REDIS_STRING || reply->items[1].type == REDIS_STRING || expired;
    return STATUS_OK;
}

static enum status wait_for_batch(struct walk *walk, bool of_limits, struct error *err) {
    bool of_store = false;
    enum status status = batch_wait(&walk->batch, &of_store, err);
    walk->of_limits = status != STATUS_OK && of_limits;
    return status;
}

static enum status read_key_states(struct walk *walk, struct error *err) {
    for (size_t i = 0; i < walk->count; i++)
        redis_commandf(walk->service->redis, batch_answer, batch_expect(&walk->batch, read_key_state, &walk->slots[i]),
                       "HMGET bora:key:{%s}:%s revoked_at disabled expires_at", walk->organization,
                       walk->slots[i].prefix);
    return wait_for_batch(walk, false, err);
}

/** The gates of one piece. Where the place is refused all of them are shut; else it is asked what each key says itself, and once more afterwards. */
static enum status move_gates(struct walk *walk, struct error *err) {
    if (!walk->place_refused) TRY(read_key_states(walk, err));
    bool agreed = false;
    for (int turn = 0; turn < TURNS_MAX && !agreed; turn++) {
        for (size_t i = 0; i < walk->count; i++) {
            struct gate_slot *slot = &walk->slots[i];
            slot->shut = walk->place_refused || slot->refused;
            send_gate(walk->service, walk->organization, slot->prefix, slot->shut, &walk->batch);
        }
        TRY(wait_for_batch(walk, true, err));
        agreed = true;
        if (walk->place_refused) break;
        TRY(read_key_states(walk, err));
        for (size_t i = 0; i < walk->count; i++) agreed = agreed && walk->slots[i].refused == walk->slots[i].shut;
    }
    walk->count = 0;
    return agreed ? STATUS_OK : too_many_turns(err);
}

static enum status walk_keys(struct walk *walk, struct error *err) {
    char name[STORE_NAME_BYTES], cursor[24] = "0";
    store_name(name, "ws-keys", walk->organization, walk->workspace);
    do {
        struct redis_reply *reply = NULL;
        TRY(store_words(walk->service, &reply, err, WORDS("SSCAN", name, cursor, "COUNT", "500")));
        const struct redis_reply *found = &reply->items[1];
        enum status status = STATUS_OK;
        snprintf(cursor, sizeof cursor, "%s", (const char *)reply->items[0].string.data);
        for (size_t i = 0; i < found->count && status == STATUS_OK; i++) {
            struct gate_slot *slot = &walk->slots[walk->count++];
            *slot = (struct gate_slot){0};
            snprintf(slot->prefix, sizeof slot->prefix, "%s", (const char *)found->items[i].string.data);
            if (walk->count == BATCH_MAX || i + 1 == found->count) status = move_gates(walk, err);
        }
        redis_reply_free(reply);
        TRY(status);
    } while (strcmp(cursor, "0") != 0);
    return STATUS_OK;
}

/** One that is gone has no keys left. */
static enum status place_is_refused(struct keys_service *service, const char *organization, const char *workspace,
                                    bool *out_refused, struct error *err) {
    struct arena arena;
    struct workspace place;
    struct organization owner;
    struct error cause = {0};
    arena_init(&arena, RECORD_MEMORY_BYTES);
    enum status status = place_workspace(service, organization, workspace, &arena, &place, &cause);
    if (status == STATUS_OK) status = place_organization(service, organization, &arena, &owner, &cause);
    *out_refused = status == STATUS_OK && (place.disabled || owner.disabled);
    arena_deinit(&arena);
    return status == STATUS_OK || status == STATUS_NOT_FOUND ? STATUS_OK : error_set(err, status, "%s", cause.message);
}

enum status gates_of_workspace(struct keys_service *service, const char *organization, const char *workspace,
                               bool *out_of_limits, struct error *err) {
    struct walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL) return out_of_memory(err);
    walk->service = service;
    walk->organization = organization;
    walk->workspace = workspace;
    batch_init(&walk->batch);
    bool refused = false, agreed = false;
    enum status status = place_is_refused(service, organization, workspace, &refused, err);
    for (int i = 0; i < TURNS_MAX && status == STATUS_OK && !agreed; i++) {
        walk->place_refused = refused;
        status = walk_keys(walk, err);
        if (status == STATUS_OK) status = place_is_refused(service, organization, workspace, &refused, err);
        agreed = refused == walk->place_refused;
    }
    *out_of_limits = walk->of_limits;
    batch_deinit(&walk->batch);
    free(walk);
    return status == STATUS_OK && !agreed ? too_many_turns(err) : status;
}

enum status gates_of_organization(struct keys_service *service, const char *organization, bool *out_of_limits,
                                  struct error *err) {
    struct arena arena;
    arena_init(&arena, RECORD_MEMORY_BYTES);
    enum status status = STATUS_OK;
    size_t count = WORKSPACES_AT_ONCE + 1;
    for (int64_t offset = 0; status == STATUS_OK && count > WORKSPACES_AT_ONCE; offset += WORKSPACES_AT_ONCE) {
        char(*ids)[UUID_CHARACTERS + 1] = NULL;
        arena_reset(&arena);
        status = place_workspace_ids(service, organization, offset, WORKSPACES_AT_ONCE, &arena, &ids, &count, err);
        for (size_t i = 0; status == STATUS_OK && i < count && i < WORKSPACES_AT_ONCE; i++)
            status = gates_of_workspace(service, organization, ids[i], out_of_limits, err);
    }
    arena_deinit(&arena);
    return status;
}
