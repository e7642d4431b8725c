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
enum { GATES_OF_A_KEY = 4, KEYS_AT_ONCE = BATCH_MAX / GATES_OF_A_KEY };

static int64_t unix_now(void) {
    return clock_unix_ns(clock_system()) / NS_PER_S;
}

/** What a record says of its gates. */
struct gate_state {
    bool refused;
    bool has_previous; /* the secret before goes on for now */
    int64_t rotations;
    int64_t expires_at, previous_expires_at; /* 0: never; not looked at for a place's keys, where they do not change */
};

static bool states_equal(const struct gate_state *a, const struct gate_state *b) {
    return a->refused == b->refused && a->has_previous == b->has_previous && a->rotations == b->rotations &&
           a->expires_at == b->expires_at && a->previous_expires_at == b->previous_expires_at;
}

/** Of the newest secrets. Those of older ones were shut when they were rotated away, unless several rotations are told at once. */
static void send_gates(struct keys_service *service, const char *organization, const char *prefix,
                       const struct gate_state *state, struct batch *batch) {
    for (int64_t back = 0; back < GATES_OF_A_KEY && back <= state->rotations; back++) {
        char gate[KEY_GATE_BYTES];
        bool open = !state->refused && (back == 0 || (back == 1 && state->has_previous));
        void *context = batch_expect(batch, NULL, NULL);
        key_gate_name(prefix, state->rotations - back, gate);
        if (open)
            limits_open_gate(service->limits_redis, organization, gate, batch_answer, context);
        else
            limits_shut_gate(service->limits_redis, organization, gate, batch_answer, context);
    }
}

/** Answers that run know the end that the key had when they began. */
static void send_expiry(struct keys_service *service, const char *organization, const char *prefix,
                        const struct gate_state *state, struct batch *batch) {
    int64_t ends[2] = {state->expires_at, state->previous_expires_at};
    if (state->expires_at != 0 && state->expires_at < ends[1]) ends[1] = state->expires_at;
    for (int back = 0; back <= (state->has_previous ? 1 : 0); back++) {
        char gate[KEY_GATE_BYTES];
        key_gate_name(prefix, state->rotations - back, gate);
        limits_set_expiry(service->limits_redis, organization, gate, ends[back], batch_answer,
                          batch_expect(batch, NULL, NULL));
    }
}

static enum status move_key_gates(struct keys_service *service, const char *organization, const char *prefix,
                                  const struct gate_state *state, struct error *err) {
    struct batch batch;
    batch_init(&batch);
    send_gates(service, organization, prefix, state, &batch);
    send_expiry(service, organization, prefix, state, &batch);
    enum status status = batch_wait(&batch, NULL, err);
    batch_deinit(&batch);
    return status;
}

static enum status too_many_turns(struct error *err) {
    return error_set(err, STATUS_UNAVAILABLE, "others are changing it all the time; try again");
}

/* --- one key ------------------------------------------------------------------------------------------------------ */

/** A workspace or an organisation that is gone is no reason: nothing but revoked keys can have been in it. */
static enum status read_key_state(struct keys_service *service, const char *organization, const char *prefix,
                                  struct gate_state *out, struct error *err) {
    struct arena arena;
    struct authority authority = {0};
    arena_init(&arena, RECORD_MEMORY_BYTES);
    enum status status = key_find(service, organization, prefix, &arena, &authority.key, err);
    if (status == STATUS_OK && authority.key.revoked_at == 0)
        status = place_workspace(service, organization, authority.key.workspace, &arena, &authority.workspace, err);
    if (status == STATUS_OK && authority.key.revoked_at == 0)
        status = place_organization(service, organization, &arena, &authority.organization, err);
    int64_t now = unix_now();
    if (status == STATUS_OK)
        *out = (struct gate_state){.refused = authority_refusal(&authority, now) != NULL,
                                   .has_previous = authority.key.previous_expires_at > now,
                                   .expires_at = authority.key.expires_at,
                                   .previous_expires_at = authority.key.previous_expires_at,
                                   .rotations = authority.key.rotations};
    arena_deinit(&arena);
    return status;
}

enum status gates_of_key(struct keys_service *service, const char *organization, const char *prefix,
                         bool *out_of_limits, struct error *err) {
    struct gate_state moved, state;
    TRY(read_key_state(service, organization, prefix, &state, err));
    for (int i = 0; i < TURNS_MAX; i++) {
        moved = state;
        enum status status = move_key_gates(service, organization, prefix, &moved, err);
        *out_of_limits = status != STATUS_OK;
        TRY(status);
        TRY(read_key_state(service, organization, prefix, &state, err));
        if (states_equal(&state, &moved)) return STATUS_OK;
    }
    return too_many_turns(err);
}

/* --- all keys of a workspace -------------------------------------------------------------------------------------- */

struct gate_slot {
    char prefix[KEY_PREFIX_CHARACTERS + 1];
    struct gate_state state, moved;
};
/** One walk over the keys of a workspace. */
struct walk {
    struct keys_service *service;
    const char *organization, *workspace;
    bool place_refused;
    struct batch batch;
    struct gate_slot slots[KEYS_AT_ONCE];
    size_t count;
    bool of_limits;
};

/** 0: there is none. */
static int64_t number_of(const struct redis_reply *field) {
    return field->type == REDIS_STRING ? atoll((const char *)field->string.data) : 0;
}

static enum status take_state(void *context, const struct redis_reply *reply, struct error *err) {
    struct gate_slot *slot = context;
    int64_t now = unix_now();
    (void)err;
    if (reply->count != 5) return STATUS_OK;
    int64_t expires_at = number_of(&reply->items[2]);
    slot->state =
        (struct gate_state){.refused = reply->items[0].type == REDIS_STRING || reply->items[1].type == REDIS_STRING ||
                                       (expires_at != 0 && expires_at <= now),
                            .rotations = number_of(&reply->items[3]),
                            .has_previous = number_of(&reply->items[4]) > now};
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
        redis_commandf(walk->service->redis, batch_answer, batch_expect(&walk->batch, take_state, &walk->slots[i]),
                       "HMGET bora:key:{%s}:%s revoked_at disabled expires_at rotations previous_expires_at",
                       walk->organization, walk->slots[i].prefix);
    TRY(wait_for_batch(walk, false, err));
    for (size_t i = 0; i < walk->count; i++)
        walk->slots[i].state.refused = walk->slots[i].state.refused || walk->place_refused;
    return STATUS_OK;
}

/** The gates of one piece, by what the place and each key say; and once more afterwards. */
static enum status move_gates(struct walk *walk, struct error *err) {
    TRY(read_key_states(walk, err));
    bool agreed = false;
    for (int turn = 0; turn < TURNS_MAX && !agreed; turn++) {
        for (size_t i = 0; i < walk->count; i++) {
            struct gate_slot *slot = &walk->slots[i];
            slot->moved = slot->state;
            send_gates(walk->service, walk->organization, slot->prefix, &slot->moved, &walk->batch);
        }
        TRY(wait_for_batch(walk, true, err));
        TRY(read_key_states(walk, err));
        agreed = true;
        for (size_t i = 0; i < walk->count; i++)
            agreed = agreed && states_equal(&walk->slots[i].state, &walk->slots[i].moved);
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
            if (walk->count == KEYS_AT_ONCE || i + 1 == found->count) status = move_gates(walk, err);
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
