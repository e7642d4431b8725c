/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/limit_seed.h"

#include "base/clock.h"
#include "base/log.h"
#include "services/keys/batch.h"
#include "services/keys/key_store.h"
#include "services/keys/limit_past.h"
#include "services/keys/out_of_memory.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char limit_seeds_lua[]; /* in this folder */

enum {
    KEEPER_MEMORY_BYTES = 96 << 20, /* as a call's: the sums of a month by key */
    SEEDS_PER_TURN = 16,
    MEMBER_BYTES = 2 + UUID_CHARACTERS + 1 + UUID_CHARACTERS + 1,
    NUMBER_BYTES = 24,
    MS_PER_S = 1000,
};
/* Gateways have heard of a limit by then, or lost what would tell them, and with it all that they remembered. */
static const int64_t HEARD_MS = 5 * MS_PER_S;
static const int64_t WAIT_MS_MIN = 1 * MS_PER_S, WAIT_MS_MAX = 60 * MS_PER_S;
static const int64_t CLAIM_MS = 10 * MS_PER_S; /* for as long no other keys service takes the turn */
static const int64_t PAUSE_NS = NS_PER_S;

static struct redis_script script;
static pthread_once_t script_once = PTHREAD_ONCE_INIT;

static void init_script(void) {
    redis_script_init(&script, limit_seeds_lua);
}

/* --- whose limits ------------------------------------------------------------------------------------------------- */

enum seed_kind { SEED_ORGANIZATION = 'o', SEED_WORKSPACE = 'w', SEED_KEY = 'k', SEED_KEYS_OF = 'y' };
struct seed {
    enum seed_kind kind;
    char organization[UUID_CHARACTERS + 1];
    char id[UUID_CHARACTERS + 1]; /* of a workspace, or a key's prefix */
};

static void write_member(const struct seed *seed, char out[MEMBER_BYTES]) {
    snprintf(out, MEMBER_BYTES, "%c %s %s", (char)seed->kind, seed->organization, seed->id);
}

static bool read_member(const char *text, struct seed *out) {
    *out = (struct seed){.kind = SEED_ORGANIZATION};
    if (strlen(text) < 3 + UUID_CHARACTERS || strchr("owky", text[0]) == NULL) return false;
    out->kind = (enum seed_kind)text[0];
    snprintf(out->organization, sizeof out->organization, "%s", text + 2);
    snprintf(out->id, sizeof out->id, "%s", text + 2 + UUID_CHARACTERS + 1);
    return uuid_is_valid(out->organization);
}

/** Does any of them need the past? */
static bool bounds_look_back(const struct limits_bounds *bounds) {
    return bounds->of[LIMITS_TOKENS_PER_DAY] != LIMITS_ABSENT || bounds->of[LIMITS_TOKENS_PER_MONTH] != LIMITS_ABSENT ||
           bounds->of[LIMITS_SPEND_PER_MONTH] != LIMITS_ABSENT;
}

static bool models_look_back(const struct limit_set *limits) {
    bool back = false;
    for (size_t i = 0; i < limits->model_count; i++) back = back || bounds_look_back(&limits->models[i].bounds);
    return back;
}

/** By what the store says now. `out` is empty when it is gone. */
static enum status read_limits(struct keys_service *service, const struct seed *seed, struct arena *arena,
                               struct limit_set *out, struct error *err) {
    struct organization organization;
    struct workspace workspace;
    struct key_record key;
    struct error cause = {0};
    enum status status = STATUS_OK;
    *out = LIMIT_SET_EMPTY;
    if (seed->kind == SEED_ORGANIZATION) {
        status = place_organization(service, seed->organization, arena, &organization, &cause);
        if (status == STATUS_OK) *out = organization.limits;
    } else if (seed->kind == SEED_KEY) {
        status = key_find(service, seed->organization, seed->id, arena, &key, &cause);
        if (status == STATUS_OK) *out = key.limits;
    } else {
        status = place_workspace(service, seed->organization, seed->id, arena, &workspace, &cause);
        if (status == STATUS_OK && seed->kind == SEED_WORKSPACE) *out = workspace.limits;
        if (status == STATUS_OK && seed->kind == SEED_KEYS_OF) out->all = workspace.key_limits;
    }
    return status == STATUS_OK || status == STATUS_NOT_FOUND ? STATUS_OK : error_set(err, status, "%s", cause.message);
}

/* --- catching up -------------------------------------------------------------------------------------------------- */

/** The scopes of one limit_past; each call takes some of them. */
struct catching {
    struct keys_service *service;
    struct limit_past past;
    struct limits_past scopes[LIMITS_PAST_MAX];
    int count;
    bool asked; /* the limits' Redis, at least once */
    bool complete;
    int64_t oldest_ms; /* of all that is not in the ledger, as far as it was looked at; 0: there is nothing */
    char cursor[LIMITS_CURSOR_BYTES + 1];
    bool of_limits; /* it was the limits' Redis that failed */
};

static void note_oldest(struct catching *catching, int64_t oldest_ms) {
    if (oldest_ms != 0 && (catching->oldest_ms == 0 || oldest_ms < catching->oldest_ms))
        catching->oldest_ms = oldest_ms;
}

static enum status read_oldest_lease(void *context, const struct redis_reply *reply, struct error *err) {
    struct catching *catching = context;
    int64_t oldest_ms = 0;
    if (!limits_read_oldest_lease(reply, catching->cursor, &oldest_ms))
        return error_set(err, STATUS_DATA_LOSS, "the limits' script gave a strange answer");
    note_oldest(catching, oldest_ms);
    return STATUS_OK;
}

/** When the first of an organisation's running answers began, by the last look at them. */
struct running {
    char organization[UUID_CHARACTERS + 1]; /* empty: nobody's */
    int64_t oldest_ms;
};

/** At all of them, before the ledger and the outbox are: what leaves the leases meanwhile is found there. A turn looks once for all limits of an organisation. */
static enum status look_at_running(struct catching *catching, const char *organization, struct running *running,
                                   struct error *err) {
    struct batch batch;
    struct error cause = {0};
    enum status status = STATUS_OK;
    if (strcmp(running->organization, organization) == 0) {
        note_oldest(catching, running->oldest_ms);
        return STATUS_OK;
    }
    batch_init(&batch);
    snprintf(catching->cursor, sizeof catching->cursor, "0");
    do {
        char cursor[sizeof catching->cursor];
        memcpy(cursor, catching->cursor, sizeof cursor);
        limits_oldest_lease(catching->service->limits_redis, organization, cursor, batch_answer,
                            batch_expect(&batch, read_oldest_lease, catching));
        status = batch_wait(&batch, NULL, &cause);
    } while (status == STATUS_OK && strcmp(catching->cursor, "0") != 0);
    batch_deinit(&batch);
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    snprintf(running->organization, sizeof running->organization, "%s", organization);
    running->oldest_ms = catching->oldest_ms;
    return STATUS_OK;
}

static enum status read_caught_up(void *context, const struct redis_reply *reply, struct error *err) {
    struct catching *catching = context;
    bool complete = false;
    int64_t oldest_ms = 0;
    if (!limits_read_caught_up(reply, &complete, &oldest_ms))
        return error_set(err, STATUS_DATA_LOSS, "the limits' script gave a strange answer");
    catching->complete = catching->complete && complete;
    note_oldest(catching, oldest_ms);
    return STATUS_OK;
}

/** None: only what is on its way to the ledger is looked at. */
static enum status send_scopes(struct catching *catching, struct error *err) {
    struct batch batch;
    struct error cause = {0};
    batch_init(&batch);
    limits_catch_up(catching->service->limits_redis, &catching->past.ledger, catching->scopes, catching->count,
                    batch_answer, batch_expect(&batch, read_caught_up, catching));
    enum status status = batch_wait(&batch, &catching->of_limits, &cause);
    batch_deinit(&batch);
    catching->count = 0;
    catching->asked = true;
    return status == STATUS_OK ? STATUS_OK : store_failure(status, cause.message, err);
}

static enum status add_scope(struct catching *catching, const char *letter, const char *id, const char *model_or_null,
                             const struct ledger_amounts *day, const struct ledger_amounts *month, struct error *err) {
    struct limits_past *past = &catching->scopes[catching->count++];
    *past = (struct limits_past){.model_or_null = model_or_null,
                                 .day_tokens = day->input + day->output,
                                 .month_tokens = month->input + month->output,
                                 .month_spend = month->cost};
    snprintf(past->scope, sizeof past->scope, "%s%s", letter, id);
    return catching->count == LIMITS_PAST_MAX ? send_scopes(catching, err) : STATUS_OK;
}

/** Every model that the scope has used: whose alias or tier a limited name is, only gateways know. */
static enum status add_scopes(struct catching *catching, const struct seed *seed, const struct limit_set *limits,
                              struct error *err) {
    const struct limit_past *past = &catching->past;
    const char *letter = seed->kind == SEED_ORGANIZATION ? "o" : seed->kind == SEED_WORKSPACE ? "w:" : "k:";
    bool all = bounds_look_back(&limits->all) && seed->kind != SEED_KEYS_OF, each = seed->kind == SEED_KEYS_OF;
    if (all) TRY(add_scope(catching, letter, seed->id, NULL, &past->day.total, &past->month.total, err));
    if (!each && !models_look_back(limits)) return STATUS_OK;
    for (size_t i = 0, at = 0; i < past->month.count; i++) {
        const struct usage_row *row = &past->month.rows[i];
        struct ledger_amounts of_day = limit_past_of_day(past, row, &at);
        TRY(add_scope(catching, letter, each ? row->key : seed->id, each ? NULL : row->model, &of_day, &row->amounts,
                      err));
    }
    return STATUS_OK;
}

static enum status catch_up(struct catching *catching, const struct seed *seed, const struct limit_set *limits,
                            struct arena *arena, struct error *err) {
    const struct usage_filter filter = {
        .key = seed->kind == SEED_KEY ? seed->id : NULL,
        .workspace = seed->kind == SEED_WORKSPACE || seed->kind == SEED_KEYS_OF ? seed->id : NULL};
    const struct usage_grouping grouping = {.key = seed->kind == SEED_KEYS_OF, .model = seed->kind != SEED_KEYS_OF};
    catching->complete = true;
    if (!bounds_look_back(&limits->all) && !models_look_back(limits)) return STATUS_OK;
    TRY(limit_past_read(catching->service, seed->organization, &filter, &grouping, arena, &catching->past,
                        &catching->of_limits, err));
    catching->complete = catching->past.steady;
    TRY(add_scopes(catching, seed, limits, err));
    /* Without any scope, too: what the ledger has nothing of may be on its way there. */
    if (catching->count > 0 || !catching->asked) TRY(send_scopes(catching, err));
    if (!catching->complete) return STATUS_OK;
    return limit_past_stands(catching->service, &catching->past, &catching->complete, err);
}

/* --- what has to be done ------------------------------------------------------------------------------------------ */

static enum status call_script(struct keys_service *service, const char *const *words, size_t count,
                               struct redis_reply **out, struct error *err) {
    enum { ARGUMENTS_MAX = 4 };
    struct bytes_view arguments[ARGUMENTS_MAX];
    const struct bytes_view keys[] = {bytes_view_string("bora:{seeds}:due"), bytes_view_string("bora:{seeds}:since")};
    pthread_once(&script_once, init_script);
    for (size_t i = 0; i < count; i++) arguments[i] = bytes_view_string(words[i]);
    return store_script(service, &script, keys, 2, arguments, count, out, err);
}

/** Written down, then done once; what fails is done later. */
static enum status seed_now(struct handling *handling, const struct seed *seed, const struct limit_set *limits,
                            struct error *err) {
    char member[MEMBER_BYTES], wait[NUMBER_BYTES];
    struct error cause = {0};
    if (!bounds_look_back(&limits->all) && !models_look_back(limits)) return STATUS_OK;
    write_member(seed, member);
    snprintf(wait, sizeof wait, "%" PRId64, WAIT_MS_MIN);
    TRY(call_script(handling->service, (const char *const[]){"set", member, wait}, 3, NULL, err));
    struct catching *catching = arena_alloc(&handling->arena, sizeof *catching);
    if (catching == NULL) return out_of_memory(err);
    *catching = (struct catching){.service = handling->service};
    enum status status = catch_up(catching, seed, limits, &handling->arena, &cause);
    if (status == STATUS_OK || (status == STATUS_UNAVAILABLE && catching->of_limits)) return STATUS_OK;
    return error_set(err, status, "%s", cause.message);
}

enum status limit_seed_scope(struct handling *handling, const char *organization, const char *workspace_or_null,
                             const char *prefix_or_null, const struct limit_set *limits, struct error *err) {
    const char *id = prefix_or_null != NULL ? prefix_or_null : workspace_or_null != NULL ? workspace_or_null : "";
    struct seed seed = {.kind = prefix_or_null != NULL      ? SEED_KEY
                                : workspace_or_null != NULL ? SEED_WORKSPACE
                                                            : SEED_ORGANIZATION};
    snprintf(seed.organization, sizeof seed.organization, "%s", organization);
    snprintf(seed.id, sizeof seed.id, "%s", id);
    return seed_now(handling, &seed, limits, err);
}

enum status limit_seed_keys(struct handling *handling, const char *organization, const char *workspace,
                            const struct limits_bounds *bounds, struct error *err) {
    const struct limit_set limits = {.all = *bounds};
    struct seed seed = {.kind = SEED_KEYS_OF};
    snprintf(seed.organization, sizeof seed.organization, "%s", organization);
    snprintf(seed.id, sizeof seed.id, "%s", workspace);
    return seed_now(handling, &seed, &limits, err);
}

/* --- the keeper --------------------------------------------------------------------------------------------------- */

/** Done when nothing can come any more that does not charge the scope itself. */
static bool is_done(const struct catching *catching, int64_t since_ms, int64_t age_ms) {
    return catching->complete && age_ms >= HEARD_MS &&
           (catching->oldest_ms == 0 || catching->oldest_ms > since_ms + HEARD_MS);
}

/** Less and less often: what is left is an answer that takes long. */
static int64_t wait_after(int64_t age_ms) {
    int64_t wait_ms = age_ms / 4;
    return wait_ms < WAIT_MS_MIN ? WAIT_MS_MIN : wait_ms > WAIT_MS_MAX ? WAIT_MS_MAX : wait_ms;
}

/** It has had its turn; `wait_ms` 0: it is done. */
static enum status tell(struct keys_service *service, const char *member, int64_t since_ms, int64_t wait_ms,
                        struct error *err) {
    char since[NUMBER_BYTES], wait[NUMBER_BYTES] = "";
    snprintf(since, sizeof since, "%" PRId64, since_ms);
    if (wait_ms > 0) snprintf(wait, sizeof wait, "%" PRId64, wait_ms);
    return call_script(service, (const char *const[]){"told", member, since, wait}, 4, NULL, err);
}

static enum status take_turn(struct keys_service *service, struct arena *arena, const char *member, int64_t since_ms,
                             int64_t age_ms, struct running *running, struct error *err) {
    struct seed seed;
    int64_t wait_ms = 0;
    struct limit_set limits = LIMIT_SET_EMPTY;
    struct catching *catching = arena_alloc(arena, sizeof *catching);
    if (catching == NULL) return out_of_memory(err);
    *catching = (struct catching){.service = service};
    if (read_member(member, &seed)) {
        TRY(read_limits(service, &seed, arena, &limits, err));
        TRY(look_at_running(catching, seed.organization, running, err));
        TRY(catch_up(catching, &seed, &limits, arena, err));
        if (!is_done(catching, since_ms, age_ms)) wait_ms = wait_after(age_ms);
    }
    return tell(service, member, since_ms, wait_ms, err);
}

/** `*out_more`: there were as many as one turn takes. */
static enum status take_turns(struct keys_service *service, struct arena *arena, bool *out_more, struct error *err) {
    char most[NUMBER_BYTES], claim[NUMBER_BYTES];
    struct redis_reply *reply = NULL;
    snprintf(most, sizeof most, "%d", SEEDS_PER_TURN);
    snprintf(claim, sizeof claim, "%" PRId64, CLAIM_MS);
    TRY(call_script(service, (const char *const[]){"take", most, claim}, 3, &reply, err));
    enum status status = STATUS_OK;
    struct running running = {.organization = ""};
    *out_more = reply->count == 3 * SEEDS_PER_TURN;
    for (size_t i = 0; i + 2 < reply->count; i += 3) {
        struct error cause = {0};
        const char *member = (const char *)reply->items[i].string.data;
        int64_t since_ms = reply->items[i + 1].integer, age_ms = reply->items[i + 2].integer;
        arena_reset(arena);
        enum status one = take_turn(service, arena, member, since_ms, age_ms, &running, &cause);
        if (one == STATUS_OK) continue;
        (void)!tell(service, member, since_ms, WAIT_MS_MIN, &cause);
        log_debug("a limit that was set late cannot catch up yet", LOG_S("scope", member),
                  LOG_S("error", cause.message));
        if (status == STATUS_OK) status = error_set(err, one, "%s", cause.message);
    }
    redis_reply_free(reply);
    return status;
}

int64_t limit_seeds_keep(void *context) {
    struct keys_service *service = context;
    struct error err = {0};
    struct arena arena;
    bool more = false;
    if (atomic_load(&service->readiness) != KEYS_READY || !redis_client_connected(service->limits_redis))
        return PAUSE_NS;
    arena_init(&arena, KEEPER_MEMORY_BYTES);
    enum status status = take_turns(service, &arena, &more, &err);
    arena_deinit(&arena);
    return status == STATUS_OK && more ? 0 : PAUSE_NS;
}
