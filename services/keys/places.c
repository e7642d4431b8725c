/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/places.h"

#include "services/keys/handling.h"
#include "services/keys/hash_reader.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char key_limits_prefix[] = "key.";

/* --- records ------------------------------------------------------------------------------------------------------ */

/** What organisations and workspaces have in common. */
struct place {
    const char **name;
    int64_t *version, *created_at;
    bool *disabled;
    struct limit_set *limits;
    struct limits_bounds *key_limits; /* NULL: it has none */
};

static enum status read_field(void *context, const struct hash_reader *reader, const char *field,
                              struct bytes_view value) {
    const struct place *place = context;
    bool malformed = false;
    if (strcmp(field, "name") == 0) return hash_read_text(reader, field, value, place->name);
    if (strcmp(field, "version") == 0) return hash_read_number(reader, field, value, place->version);
    if (strcmp(field, "created_at") == 0) return hash_read_number(reader, field, value, place->created_at);
    if (strcmp(field, "disabled") == 0) *place->disabled = true;
    if (!limit_set_read_field(place->limits, field, value, reader->arena, &malformed) && place->key_limits != NULL)
        limit_bounds_read_field(place->key_limits, key_limits_prefix, field, value, &malformed);
    return malformed ? hash_malformed(reader, field) : STATUS_OK;
}

static enum status read_place(const char *what, const char *id, const struct redis_reply *fields, struct arena *arena,
                              struct place *place, struct error *err) {
    struct hash_reader reader = {.what = what, .id = id, .arena = arena, .err = err};
    TRY(hash_read(&reader, fields, read_field, place));
    if (*place->name == NULL) return hash_malformed(&reader, "name");
    if (*place->created_at == 0) return hash_malformed(&reader, "created_at");
    limit_set_sort(place->limits);
    return STATUS_OK;
}

enum status organization_read(const char *id, const struct redis_reply *fields, struct arena *arena,
                              struct organization *out, struct error *err) {
    *out = (struct organization){.limits = LIMIT_SET_EMPTY};
    snprintf(out->id, sizeof out->id, "%s", id);
    struct place place = {&out->name, &out->version, &out->created_at, &out->disabled, &out->limits, NULL};
    return read_place("organization", id, fields, arena, &place, err);
}

enum status workspace_read(const char *organization, const char *id, const struct redis_reply *fields,
                           struct arena *arena, struct workspace *out, struct error *err) {
    *out = (struct workspace){.limits = LIMIT_SET_EMPTY, .key_limits = LIMITS_UNLIMITED};
    snprintf(out->id, sizeof out->id, "%s", id);
    snprintf(out->organization, sizeof out->organization, "%s", organization);
    struct place place = {&out->name, &out->version, &out->created_at, &out->disabled, &out->limits, &out->key_limits};
    return read_place("workspace", id, fields, arena, &place, err);
}

/* --- finding ------------------------------------------------------------------------------------------------------ */

static enum status no_such_organization(struct error *err) {
    return error_set(err, STATUS_NOT_FOUND, "no such organization");
}
static enum status no_such_workspace(struct error *err) {
    return error_set(err, STATUS_NOT_FOUND, "no such workspace");
}

/** `out` holds a UUID; empty when the reply is none. */
static void copy_id(const struct redis_reply *reply, char *out) {
    bool proper = reply->type == REDIS_STRING && uuid_is_valid((const char *)reply->string.data);
    snprintf(out, UUID_CHARACTERS + 1, "%s", proper ? (const char *)reply->string.data : "");
}

enum status place_organization(struct keys_service *service, const char *id_or_null, struct arena *arena,
                               struct organization *out, struct error *err) {
    char id[UUID_CHARACTERS + 1], name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    if (id_or_null != NULL && !uuid_is_valid(id_or_null)) return no_such_organization(err);
    if (id_or_null == NULL) {
        TRY(store_words(service, &reply, err, WORDS("GET", STORE_FIRST_ORGANIZATION)));
        copy_id(reply, id);
        redis_reply_free(reply);
    } else {
        snprintf(id, sizeof id, "%s", id_or_null);
    }
    struct bytes_view words[] = {bytes_view_string("HGETALL"), store_name(name, "org", id, NULL)};
    TRY(store_call(service, words, 2, &reply, err));
    enum status status = reply->count == 0 ? no_such_organization(err) : organization_read(id, reply, arena, out, err);
    redis_reply_free(reply);
    return status;
}

enum status place_workspace(struct keys_service *service, const char *organization_or_null, const char *id,
                            struct arena *arena, struct workspace *out, struct error *err) {
    char organization[UUID_CHARACTERS + 1], name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    if (!uuid_is_valid(id)) return no_such_workspace(err);
    if (organization_or_null == NULL) {
        TRY(store_words(service, &reply, err, WORDS("HGET", STORE_WORKSPACE_INDEX, id)));
        copy_id(reply, organization);
        redis_reply_free(reply);
    } else {
        snprintf(organization, sizeof organization, "%s", organization_or_null);
    }
    struct bytes_view words[] = {bytes_view_string("HGETALL"), store_name(name, "ws", organization, id)};
    TRY(store_call(service, words, 2, &reply, err));
    enum status status =
        reply->count == 0 ? no_such_workspace(err) : workspace_read(organization, id, reply, arena, out, err);
    redis_reply_free(reply);
    return status;
}

enum status place_first_workspace(struct keys_service *service, const char *organization, char out[UUID_CHARACTERS + 1],
                                  struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    store_name(name, "wss", organization, NULL);
    TRY(store_words(service, &reply, err, WORDS("ZRANGE", name, "0", "0")));
    bool there = reply->count == 1;
    if (there) copy_id(&reply->items[0], out);
    redis_reply_free(reply);
    return there ? STATUS_OK : no_such_workspace(err);
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

static enum status list_ids(struct keys_service *service, const char *name, int64_t offset, int64_t limit,
                            struct arena *arena, char (**out)[UUID_CHARACTERS + 1], size_t *out_count,
                            struct error *err) {
    char from[24], to[24];
    struct redis_reply *reply = NULL;
    snprintf(from, sizeof from, "%" PRId64, offset);
    snprintf(to, sizeof to, "%" PRId64, offset + limit);
    TRY(store_words(service, &reply, err, WORDS("ZRANGE", name, from, to)));
    *out = arena_alloc_array(arena, reply->count, sizeof **out);
    *out_count = *out != NULL ? reply->count : 0;
    for (size_t i = 0; i < *out_count; i++) copy_id(&reply->items[i], (*out)[i]);
    redis_reply_free(reply);
    return *out != NULL ? STATUS_OK : out_of_memory(err);
}

enum status place_organization_ids(struct keys_service *service, int64_t offset, int64_t limit, struct arena *arena,
                                   char (**out)[UUID_CHARACTERS + 1], size_t *out_count, struct error *err) {
    return list_ids(service, STORE_ORGANIZATIONS, offset, limit, arena, out, out_count, err);
}

enum status place_workspace_ids(struct keys_service *service, const char *organization, int64_t offset, int64_t limit,
                                struct arena *arena, char (**out)[UUID_CHARACTERS + 1], size_t *out_count,
                                struct error *err) {
    char name[STORE_NAME_BYTES];
    store_name(name, "wss", organization, NULL);
    return list_ids(service, name, offset, limit, arena, out, out_count, err);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct workspace_name *)a)->id, ((const struct workspace_name *)b)->id);
}

enum status place_workspace_names(struct keys_service *service, const char *organization, struct arena *arena,
                                  struct workspace_names *out, struct error *err) {
    char name[STORE_NAME_BYTES];
    struct redis_reply *reply = NULL;
    store_name(name, "ws-names", organization, NULL);
    TRY(store_words(service, &reply, err, WORDS("HGETALL", name)));
    *out = (struct workspace_names){.items = arena_alloc_array(arena, reply->count / 2, sizeof *out->items)};
    snprintf(out->organization, sizeof out->organization, "%s", organization);
    bool room = out->items != NULL;
    for (size_t i = 0; i + 1 < reply->count && room; i += 2) {
        struct workspace_name *item = &out->items[out->count++];
        copy_id(&reply->items[i + 1], item->id);
        item->name = arena_copy(arena, reply->items[i].string.data, reply->items[i].string.length);
        room = item->name != NULL;
    }
    redis_reply_free(reply);
    if (!room) return out_of_memory(err);
    qsort(out->items, out->count, sizeof *out->items, compare_names);
    return STATUS_OK;
}

const char *workspace_names_find(const struct workspace_names *names, const char *id) {
    struct workspace_name wanted;
    snprintf(wanted.id, sizeof wanted.id, "%s", id);
    const struct workspace_name *found =
        names->count > 0 ? bsearch(&wanted, names->items, names->count, sizeof wanted, compare_names) : NULL;
    return found != NULL ? found->name : "";
}
