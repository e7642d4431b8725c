/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Names of organisations, each of them one's: the hash bora:org-names, name -> "<id> <ms since 1970 when it was claimed>". Organisations lie in slots of their own, so a
 * name is claimed before a record gets it and let go after a record has lost it. A claim that came to nothing, because who made it died, holds for a
 * minute; then whoever wants the name finds that no record has it.
 *
 * All functions wait for Redis: job threads only.
 */
#ifndef SERVICES_KEYS_ORGANIZATION_NAMES_H
#define SERVICES_KEYS_ORGANIZATION_NAMES_H

#include "services/keys/handling.h"

enum { ORGANIZATION_NAME_HOLDER_BYTES = UUID_CHARACTERS + 24 };

/** ALREADY_EXISTS: it is another one's. Its own again is no fault. */
enum status organization_name_claim(struct keys_service *service, const char *name, const char *id, struct arena *arena,
                                    struct error *err);
/**
 * What stands behind a name that `id` has: another word each time it is claimed. "": it is not its own. Who changes a record asks before, and lets go of just that:
 * the organisation may have been named so again by then, by another service.
 */
enum status organization_name_holder(struct keys_service *service, const char *name, const char *id,
                                     char out[ORGANIZATION_NAME_HOLDER_BYTES], struct error *err);
/** Unless another word stands there by now. `holder`: as organization_name_holder gave it; or the id of one that is gone for good. Nobody waits for it. */
void organization_name_release(struct keys_service *service, const char *name, const char *holder);
/** At a start: names of organisations that were made before names were kept. Of several with one name the oldest gets it; the others keep theirs until they are renamed. */
enum status organization_names_complete(struct keys_service *service, struct arena *arena, struct error *err);

#endif
