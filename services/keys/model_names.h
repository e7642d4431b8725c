/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What workers that are there now call their models (store/registry.h): limits may name a model by an alias or a tier, counters have its own name. */
#ifndef SERVICES_KEYS_MODEL_NAMES_H
#define SERVICES_KEYS_MODEL_NAMES_H

#include "base/arena.h"
#include "base/status.h"

struct keys_service;

enum { MODEL_NAMES_MAX = 256 }; /* models; of more the first count */

struct model_names {
    size_t count;
    struct model_name {
        const char *own, *tier, **aliases;
        size_t alias_count;
    } items[MODEL_NAMES_MAX];
};
/** Each model once. Names are in the arena. UNAVAILABLE: the limits' Redis cannot be reached. */
enum status model_names_read(struct keys_service *service, struct arena *arena, struct model_names *out,
                             struct error *err);
/** The own names of the models that are called `name`; at most `most` of them. */
size_t model_names_find(const struct model_names *names, const char *name, const char **out, size_t most);

#endif
