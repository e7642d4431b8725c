/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bora/v1/tenants.pb-c.h"
#include "services/keys/methods.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_LIMIT_DEFAULT = 100, TIME_BYTES = 32 };

/** <milliseconds>-<number>, as Redis makes them. */
static bool is_entry_id(const char *text) {
    size_t first = strspn(text, "0123456789");
    if (first == 0 || first > 20 || text[first] != '-') return false;
    size_t second = strspn(text + first + 1, "0123456789");
    return second > 0 && second <= 20 && text[first + 1 + second] == 0;
}

/** {id, {field, value...}} */
static Bora__V1__AuditEntry *convert_entry(const struct redis_reply *reply, struct arena *arena) {
    Bora__V1__AuditEntry *out = arena_alloc(arena, sizeof *out);
    if (out == NULL) return NULL;
    bora__v1__audit_entry__init(out);
    const struct {
        const char *field;
        char **to;
    } places[] = {{"actor", &out->actor},      {"action", &out->action}, {"target", &out->target},
                  {"name", &out->target_name}, {"detail", &out->detail}, {"request", &out->request_id},
                  {"address", &out->address}};
    const struct bytes_view id = reply->items[0].string;
    const struct redis_reply *fields = &reply->items[1];
    char time[TIME_BYTES];
    clock_format_rfc3339(strtoll((const char *)id.data, NULL, 10) * NS_PER_MS, time);
    out->id = arena_copy(arena, id.data, id.length);
    out->time = arena_copy(arena, time, strlen(time));
    bool whole = out->id != NULL && out->time != NULL;
    for (size_t i = 0; i + 1 < fields->count && whole; i += 2) {
        for (size_t j = 0; j < sizeof places / sizeof *places && whole; j++) {
            const struct bytes_view value = fields->items[i + 1].string;
            if (!bytes_view_equal_string(fields->items[i].string, places[j].field)) continue;
            *places[j].to = arena_copy(arena, value.data, value.length);
            whole = *places[j].to != NULL;
        }
    }
    return whole ? out : NULL;
}

static enum status convert_entries(const struct redis_reply *reply, size_t limit, struct arena *arena,
                                   Bora__V1__ListAuditResponse *out, struct error *err) {
    out->has_more = reply->count > limit;
    out->entries = arena_alloc_array(arena, reply->count, sizeof *out->entries);
    for (size_t i = 0; out->entries != NULL && i < reply->count && i < limit; i++) {
        Bora__V1__AuditEntry *entry = convert_entry(&reply->items[i], arena);
        if (entry == NULL) return out_of_memory(err);
        out->entries[out->n_entries++] = entry;
    }
    return out->entries != NULL ? STATUS_OK : out_of_memory(err);
}

/** An organisation that was deleted has a trail and no record. */
static enum status find_trail(struct handling *handling, const char *id_or_null, char out[STORE_NAME_BYTES],
                              struct error *err) {
    struct organization organization;
    struct error missing = {0};
    struct redis_reply *reply = NULL;
    enum status status = handling_organization(handling, id_or_null, &organization, &missing);
    if (status == STATUS_OK) store_name(out, "audit", organization.id, NULL);
    if (status == STATUS_OK) return STATUS_OK;
    bool there = false, may_be_deleted = status == STATUS_NOT_FOUND && id_or_null != NULL &&
                                         uuid_is_valid(id_or_null) && handling->caller.role == KEY_ROLE_OPERATOR;
    if (may_be_deleted) {
        store_name(out, "audit", id_or_null, NULL);
        TRY(store_words(handling->service, &reply, err, WORDS("EXISTS", out)));
        there = reply->integer == 1;
        redis_reply_free(reply);
    }
    return there ? STATUS_OK : error_set(err, status, "%s", missing.message);
}

enum status list_audit(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                       struct error *err) {
    const Bora__V1__ListAuditRequest *request = message;
    size_t limit = PRESENT(request, limit) ? (size_t)request->limit : LIST_LIMIT_DEFAULT;
    char name[STORE_NAME_BYTES], count[24], from[80] = "+";
    TRY(find_trail(handling, PRESENT(request, organization_id) ? request->organization_id : NULL, name, err));
    if (PRESENT(request, before)) {
        if (!is_entry_id(request->before))
            return handling_refuse_field(handling, "before", -1, "Value error, no id of an entry");
        snprintf(from, sizeof from, "(%s", request->before);
    }
    Bora__V1__ListAuditResponse *out = arena_alloc(&handling->arena, sizeof *out);
    if (out == NULL) return out_of_memory(err);
    bora__v1__list_audit_response__init(out);
    snprintf(count, sizeof count, "%zu", limit + 1);
    struct redis_reply *reply = NULL;
    TRY(store_words(handling->service, &reply, err, WORDS("XREVRANGE", name, from, "-", "COUNT", count)));
    enum status status = convert_entries(reply, limit, &handling->arena, out, err);
    redis_reply_free(reply);
    TRY(status);
    *out_reply = &out->base;
    return STATUS_OK;
}
