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
enum { CHANGE_NONCE_CHARACTERS = 16 };

enum change_kind { CHANGE_KEY, CHANGE_WORKSPACE, CHANGE_ORGANIZATION };
/** One change under way. */
struct change {
    char
        mark[2 + UUID_CHARACTERS + 1]; /* the field in bora:pending:{<org>}: "k <prefix>", "w <workspace>", "o <org>" */
    char nonce[CHANGE_NONCE_CHARACTERS + 1]; /* its value: who marks again later takes it over */
    char organization[UUID_CHARACTERS + 1];
};
void change_begin(enum change_kind kind, const char *organization, const char *id, struct change *out);
/** After the commit. UNAVAILABLE: it stands, and will be told as soon as the limits' Redis is back. */
enum status change_finish(struct keys_service *service, const struct change *change, struct error *err);
/** A rotation that lets the old secret go at once: the gate is shut until every gateway has had time to hear. */
enum status change_finish_secret(struct keys_service *service, const struct change *change, struct error *err);

/** PUBLISH bora:changed, for what has no gate: "prices". */
enum status changes_publish(struct keys_service *service, const char *message, struct error *err);

#endif
