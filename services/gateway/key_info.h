/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What a gateway knows of a key: whose it is, what it may ask for, which limits count, what tokens cost. Immutable but for the last fields, shared, reference-counted. */
#ifndef SERVICES_GATEWAY_KEY_INFO_H
#define SERVICES_GATEWAY_KEY_INFO_H

#include "base/arena.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "store/limits.h"

#include <stdatomic.h>

struct key_model_bounds {
    const char *model; /* own name, alias or tier */
    struct limits_bounds bounds;
};
/** The limits of the organisation, the workspace or the key. */
struct key_level {
    char scope[LIMITS_SCOPE_BYTES + 1];
    struct limits_bounds bounds;
    size_t model_count;
    struct key_model_bounds *models;
};
enum { KEY_LEVELS_MAX = 3 };

struct key_info {
    atomic_int references;
    struct arena arena;                   /* of all strings and lists */
    const char *key_id;                   /* UUID */
    const char *prefix;                   /* public; names the key in logs, leases and the ledger */
    const char *gate;                     /* of the secret that was shown (store/limits.h) */
    const char *organization, *workspace; /* ids; "" of the operator's key */
    const char *role;                     /* "operator", "admin", "member", "service" */
    int64_t expires_at;                   /* Unix seconds; 0: never */
    size_t model_count, endpoint_count;
    const char **models;    /* that may be asked for; none: all */
    const char **endpoints; /* likewise */
    size_t level_count;
    struct key_level levels[KEY_LEVELS_MAX];
    size_t price_count;
    struct {
        const char *model;
        struct limits_price price;
    } * prices;
    atomic_bool remembered; /* it was in the gateway's cache, so that the next request of its key may have it as well */
    atomic_llong denied_until_ns;  /* by limits: until then they are asked before a worker is */
    atomic_llong counted_until_ns; /* there is little room: until then tokens are counted before the limits are asked */
};

/** NULL when memory is out or the answer has no proper ids. */
struct key_info *key_info_create(const Bora__V1__VerifyKeyResponse *verified);
void key_info_ref(struct key_info *info);
void key_info_unref(struct key_info *info); /* NULL is nothing */

typedef Bora__Internal__V1__ModelDescription model_description;
/** The scopes that count for a model, given under any of its names; of several bounds at one level the tightest. */
int key_info_scopes(const struct key_info *info, const model_description *model,
                    struct limits_scope out[LIMITS_SCOPES_MAX]);
/** By its own name, else an alias, else its tier; nothing when none has a price. */
struct limits_price key_info_price(const struct key_info *info, const model_description *model);
bool key_info_may_use(const struct key_info *info, const model_description *model);
/** `endpoint`: a word of Scopes.endpoints in proto/bora/v1/keys.proto. The operator's key may ask no model. */
bool key_info_may_ask(const struct key_info *info, const char *endpoint);
bool key_info_is_operator(const struct key_info *info);
bool key_info_is_admin(const struct key_info *info); /* the operator too */

/** Whose keys a change is about: one key, those of a workspace or an organisation, all. */
enum key_change { KEY_CHANGE_KEY, KEY_CHANGE_WORKSPACE, KEY_CHANGE_ORGANIZATION, KEY_CHANGE_ALL };
bool key_change_is_about(enum key_change change, const char *id, const struct key_info *info);

#endif
