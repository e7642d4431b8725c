/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/model_names.h"

#include "bora/internal/v1/worker.pb-c.h"
#include "rpc/transcode.h"
#include "services/keys/batch.h"
#include "services/keys/handling.h"
#include "store/registry.h"

#include <string.h>

struct reading {
    struct arena *arena;
    struct model_names *names;
};

static bool is_known(const struct model_names *names, const char *own) {
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].own, own) == 0) return true;
    }
    return false;
}

/** What cannot be read is not ours: gateways say so. */
static enum status read_workers(void *context, const struct redis_reply *reply, struct error *err) {
    struct reading *reading = context;
    struct model_names *names = reading->names;
    (void)err;
    for (size_t i = 0; i < reply->count && names->count < MODEL_NAMES_MAX; i++) {
        ProtobufCMessage *message = NULL;
        struct error strange = {0};
        if (protobuf_unpack(&bora__internal__v1__worker_announcement__descriptor, reply->items[i].string,
                            reading->arena, &message, &strange) != STATUS_OK)
            continue;
        const Bora__Internal__V1__ModelDescription *model = ((Bora__Internal__V1__WorkerAnnouncement *)message)->model;
        if (model == NULL || is_known(names, model->name)) continue;
        names->items[names->count++] =
            (struct model_name){model->name, model->tier, (const char **)model->aliases, model->n_aliases};
    }
    return STATUS_OK;
}

enum status model_names_read(struct keys_service *service, struct arena *arena, struct model_names *out,
                             struct error *err) {
    struct reading reading = {arena, out};
    struct batch batch;
    struct error cause = {0};
    out->count = 0;
    batch_init(&batch);
    registry_list(service->limits_redis, "worker", batch_answer, batch_expect(&batch, read_workers, &reading));
    enum status status = batch_wait(&batch, NULL, &cause);
    batch_deinit(&batch);
    return status == STATUS_OK ? STATUS_OK : store_failure(status, cause.message, err);
}

static bool is_called(const struct model_name *model, const char *name) {
    for (size_t i = 0; i < model->alias_count; i++) {
        if (strcmp(model->aliases[i], name) == 0) return true;
    }
    return strcmp(model->own, name) == 0 || strcmp(model->tier, name) == 0;
}

size_t model_names_find(const struct model_names *names, const char *name, const char **out, size_t most) {
    size_t count = 0;
    for (size_t i = 0; i < names->count && count < most; i++) {
        if (is_called(&names->items[i], name)) out[count++] = names->items[i].own;
    }
    return count;
}
