/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What gateways must hear of. A change has been committed; then, at the limits' Redis, gates are shut or opened, and everybody who has subscribed to
 * bora:changed is told; then the caller is answered. The commit's script leaves a mark in bora:pending:{<org>} that is taken away when all of it is done:
 * whatever dies in between, the next keys service that sees the mark does it again.
 *
 *     bora:changed messages   k <prefix>    the key (its secret, what it may, its limits)
 *                             w <workspace id>, o <organisation id>    as far as they count for their keys
 *                             prices
 */
#ifndef SERVICES_KEYS_CHANGES_H
#define SERVICES_KEYS_CHANGES_H

#include "services/keys/places.h"

#define CHANGES_CHANNEL "bora:changed"
/** In bora:pending:{<org>} of an organisation that is gone: indexes have to follow (place_forget_organization). */
#define CHANGES_DELETED_MARK "deleted"
enum { CHANGE_NONCE_CHARACTERS = 16 };

/** With gates: whether keys may be used at all has changed, not only what counts for them. A key's gate is always looked after. */
enum change_kind {
    CHANGE_KEY,
    CHANGE_WORKSPACE,
    CHANGE_WORKSPACE_GATES,
    CHANGE_ORGANIZATION,
    CHANGE_ORGANIZATION_GATES
};
/** One change under way. */
struct change {
    enum change_kind kind;
    char organization[UUID_CHARACTERS + 1], id[UUID_CHARACTERS + 1];
    char mark[2 + UUID_CHARACTERS + 1];      /* the field in bora:pending:{<org>}: "k <prefix>" */
    char nonce[CHANGE_NONCE_CHARACTERS + 1]; /* its value: who marks again later takes it over */
};
void change_begin(enum change_kind kind, const char *organization, const char *id, struct change *out);
/** After the commit. Gates follow from what the records say now, so that doing it again, or late, does no harm. UNAVAILABLE: the change stands, and
 *  gateways will be told as soon as the limits' Redis is back. */
enum status change_finish(struct keys_service *service, const struct change *change, struct error *err);

/** PUBLISH bora:changed, for what has no gate: "prices". UNAVAILABLE as above, but nobody repeats it: gateways remember for key-cache at most. */
enum status changes_publish(struct keys_service *service, const char *message, struct error *err);

/** A keeper's turn (keeper.h; the context is the struct keys_service): finish what others left. Wake it at a start, and when a Redis is back. */
int64_t changes_keep(void *service);

#endif
