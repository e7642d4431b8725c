/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/usage_names.h"

#include "services/keys/batch.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <stdlib.h>
#include <string.h>

/** One id's answer; the thread that waits for the batch leaves the arena to the one that answers. */
struct asked {
    struct arena *arena;
    const char **to;
};

static int compare(const void *a, const void *b) {
    return strcmp(((const struct usage_name *)a)->id, ((const struct usage_name *)b)->id);
}

static bool is_first(const struct usage_name *names, size_t i) {
    return i == 0 || strcmp(names[i - 1].id, names[i].id) != 0;
}

static enum status take_name(void *context, const struct redis_reply *reply, struct error *err) {
    const struct asked *asked = context;
    if (reply->type != REDIS_STRING) return STATUS_OK;
    *asked->to = arena_copy(asked->arena, reply->string.data, reply->string.length);
    return *asked->to != NULL ? STATUS_OK : too_much_memory(err);
}

/** The next ids from `*at` on, as many as a batch has room for. */
static enum status ask_some(struct handling *handling, const char *what, const char *organization,
                            const struct usage_name *names, size_t count, size_t *at, struct batch *batch,
                            struct error *err) {
    struct asked asked[BATCH_MAX];
    struct error cause = {0};
    bool of_store = false;
    for (int sent = 0; *at < count && sent < BATCH_MAX; ++*at) {
        char name[STORE_NAME_BYTES];
        if (!is_first(names, *at)) continue;
        asked[sent] = (struct asked){&handling->arena, names[*at].to};
        *names[*at].to = NULL;
        store_name(name, what, organization, names[*at].id);
        redis_commandf(handling->service->redis, batch_answer, batch_expect(batch, take_name, &asked[sent++]),
                       "HGET %s name", name);
    }
    enum status status = batch_wait(batch, &of_store, &cause);
    if (status == STATUS_OK) return STATUS_OK;
    return of_store ? store_failure(status, cause.message, err) : error_set(err, status, "%s", cause.message);
}

enum status usage_names_find(struct handling *handling, const char *what, const char *organization,
                             struct usage_name *names, size_t count, struct error *err) {
    struct batch batch;
    enum status status = STATUS_OK;
    if (count > 0) qsort(names, count, sizeof *names, compare);
    batch_init(&batch);
    for (size_t at = 0; at < count && status == STATUS_OK;)
        status = ask_some(handling, what, organization, names, count, &at, &batch, err);
    batch_deinit(&batch);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (!is_first(names, i)) *names[i].to = *names[i - 1].to;
    }
    return status;
}
