/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bora/v1/tenants.pb-c.h"
#include "services/keys/methods.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"
#include "services/keys/time_text.h"
#include "services/keys/usage_names.h"

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

/* --- which entries ------------------------------------------------------------------------------------------------ */

enum { PIECE = 500, LOOKED_AT_MAX = 10000, ID_BYTES = 48, PREFIX_BYTES = 64 };

/** What was asked for. NULL: any. */
struct filter {
    const char *actor, *action, *key;
    char newest[ID_BYTES], oldest[ID_BYTES]; /* as XREVRANGE takes them */
};

static struct bytes_view field_of(const struct redis_reply *entry, const char *name) {
    const struct redis_reply *fields = &entry->items[1];
    for (size_t i = 0; i + 1 < fields->count; i += 2) {
        if (bytes_view_equal_string(fields->items[i].string, name)) return fields->items[i + 1].string;
    }
    return (struct bytes_view){0};
}

/** "key" is all of "key.create", "key.update", ... */
static bool is_action(struct bytes_view action, const char *wanted) {
    size_t length = strlen(wanted);
    if (action.length < length || memcmp(action.data, wanted, length) != 0) return false;
    return action.length == length || action.data[length] == '.';
}

static bool fits(const struct filter *filter, const struct redis_reply *entry) {
    const struct bytes_view actor = field_of(entry, "actor");
    if (filter->actor != NULL && !bytes_view_equal_string(actor, filter->actor)) return false;
    if (filter->action != NULL && !is_action(field_of(entry, "action"), filter->action)) return false;
    return filter->key == NULL || bytes_view_equal_string(actor, filter->key) ||
           bytes_view_equal_string(field_of(entry, "target"), filter->key);
}

/** A key's prefix for its UUID; other words stay. */
static const char *prefix_of(struct arena *arena, const char *text) {
    char prefix[PREFIX_BYTES];
    return uuid_to_prefix(text, prefix) ? arena_copy(arena, prefix, strlen(prefix)) : text;
}

static enum status read_time(struct handling *handling, const char *field, const char *text, int64_t *out_ms) {
    int64_t seconds;
    bool is_date;
    if (!time_parse(text, &seconds, &is_date))
        return handling_refuse_field(handling, field, -1, "Value error, no date and no time");
    *out_ms = seconds * 1000;
    return STATUS_OK;
}

static enum status read_filter(struct handling *handling, const Bora__V1__ListAuditRequest *request, struct filter *out,
                               struct error *err) {
    int64_t from_ms = 0, to_ms = INT64_MAX;
    *out = (struct filter){.action = PRESENT(request, action) ? request->action : NULL, .newest = "+", .oldest = "-"};
    if (PRESENT(request, actor)) out->actor = prefix_of(&handling->arena, request->actor);
    if (PRESENT(request, key_id)) out->key = prefix_of(&handling->arena, request->key_id);
    if ((PRESENT(request, actor) && out->actor == NULL) || (PRESENT(request, key_id) && out->key == NULL))
        return out_of_memory(err);
    if (PRESENT(request, from)) {
        TRY(read_time(handling, "from", request->from, &from_ms));
        snprintf(out->oldest, sizeof out->oldest, "%" PRId64, from_ms);
    }
    if (PRESENT(request, to)) {
        TRY(read_time(handling, "to", request->to, &to_ms));
        snprintf(out->newest, sizeof out->newest, to_ms > 0 ? "(%" PRId64 "-0" : "0-0", to_ms); /* which no entry has */
    }
    if (!PRESENT(request, before)) return STATUS_OK;
    if (!is_entry_id(request->before))
        return handling_refuse_field(handling, "before", -1, "Value error, no id of an entry");
    if (strtoll(request->before, NULL, 10) < to_ms)
        snprintf(out->newest, sizeof out->newest, strcmp(request->before, "0-0") == 0 ? "%s" : "(%s", request->before);
    return STATUS_OK;
}

/* --- a page ------------------------------------------------------------------------------------------------------- */

struct page {
    struct handling *handling;
    const char *trail;
    struct filter filter;
    size_t limit, looked_at;
    char last[ID_BYTES]; /* that was looked at */
    bool ended;          /* there are no more */
    Bora__V1__ListAuditResponse *out;
};

/** As far as the page has room. */
static enum status take_entries(struct page *page, const struct redis_reply *reply, struct error *err) {
    for (size_t i = 0; i < reply->count; i++) {
        const struct redis_reply *entry = &reply->items[i];
        if (page->out->n_entries == page->limit) {
            page->out->has_more = page->out->has_more || fits(&page->filter, entry);
            if (page->out->has_more) return STATUS_OK;
            continue;
        }
        snprintf(page->last, sizeof page->last, "%s", (const char *)entry->items[0].string.data);
        if (!fits(&page->filter, entry)) continue;
        Bora__V1__AuditEntry *converted = convert_entry(entry, &page->handling->arena);
        if (converted == NULL) return out_of_memory(err);
        page->out->entries[page->out->n_entries++] = converted;
    }
    return STATUS_OK;
}

static enum status take_piece(struct page *page, struct error *err) {
    const struct filter *filter = &page->filter;
    bool any = filter->actor == NULL && filter->action == NULL && filter->key == NULL;
    size_t wanted = any ? page->limit + 1 : PIECE;
    char count[24], newest[ID_BYTES + 1];
    snprintf(count, sizeof count, "%zu", wanted);
    snprintf(newest, sizeof newest, "%s%s", page->last[0] != 0 ? "(" : "",
             page->last[0] != 0 ? page->last : filter->newest);
    struct redis_reply *reply = NULL;
    TRY(store_words(page->handling->service, &reply, err,
                    WORDS("XREVRANGE", page->trail, newest, filter->oldest, "COUNT", count)));
    enum status status = take_entries(page, reply, err);
    page->looked_at += reply->count;
    page->ended = reply->count < wanted;
    redis_reply_free(reply);
    return status;
}

static enum status fill_page(struct page *page, struct error *err) {
    struct arena *arena = &page->handling->arena;
    page->out->entries = arena_alloc_array(arena, page->limit, sizeof *page->out->entries);
    if (page->out->entries == NULL) return out_of_memory(err);
    while (!page->ended && !page->out->has_more && page->out->n_entries < page->limit &&
           page->looked_at < LOOKED_AT_MAX)
        TRY(take_piece(page, err));
    if (!page->ended) page->out->has_more = true;
    if (!page->out->has_more) return STATUS_OK;
    page->out->_next_before_case = BORA__V1__LIST_AUDIT_RESPONSE___NEXT_BEFORE_NEXT_BEFORE;
    page->out->next_before = arena_copy(arena, page->last, strlen(page->last));
    return page->out->next_before != NULL ? STATUS_OK : out_of_memory(err);
}

/** What the keys that did it are called. */
static enum status name_actors(struct page *page, const char *organization, struct error *err) {
    size_t count = page->out->n_entries;
    struct usage_name *names = arena_alloc_array(&page->handling->arena, count + 1, sizeof *names);
    if (names == NULL) return out_of_memory(err);
    for (size_t i = 0; i < count; i++)
        names[i] = (struct usage_name){page->out->entries[i]->actor, (const char **)&page->out->entries[i]->actor_name};
    TRY(usage_names_find(page->handling, "key", organization, names, count, err));
    for (size_t i = 0; i < count; i++) {
        Bora__V1__AuditEntry *entry = page->out->entries[i];
        if (entry->actor_name != NULL) entry->_actor_name_case = BORA__V1__AUDIT_ENTRY___ACTOR_NAME_ACTOR_NAME;
    }
    return STATUS_OK;
}

/** An organisation that was deleted has a trail and no record. */
static enum status find_trail(struct handling *handling, const char *id_or_null, char out[STORE_NAME_BYTES],
                              char out_organization[UUID_CHARACTERS + 1], struct error *err) {
    struct organization organization;
    struct error missing = {0};
    struct redis_reply *reply = NULL;
    enum status status = handling_organization(handling, id_or_null, &organization, &missing);
    if (status == STATUS_OK) {
        store_name(out, "audit", organization.id, NULL);
        snprintf(out_organization, UUID_CHARACTERS + 1, "%s", organization.id);
        return STATUS_OK;
    }
    bool there = false, may_be_deleted = status == STATUS_NOT_FOUND && id_or_null != NULL &&
                                         uuid_is_valid(id_or_null) && handling->caller.role == KEY_ROLE_OPERATOR;
    if (may_be_deleted) {
        store_name(out, "audit", id_or_null, NULL);
        TRY(store_words(handling->service, &reply, err, WORDS("EXISTS", out)));
        there = reply->integer == 1;
        snprintf(out_organization, UUID_CHARACTERS + 1, "%s", id_or_null);
        redis_reply_free(reply);
    }
    return there ? STATUS_OK : error_set(err, status, "%s", missing.message);
}

enum status list_audit(struct handling *handling, const void *message, ProtobufCMessage **out_reply,
                       struct error *err) {
    const Bora__V1__ListAuditRequest *request = message;
    char name[STORE_NAME_BYTES], organization[UUID_CHARACTERS + 1];
    struct page page = {.handling = handling,
                        .trail = name,
                        .limit = PRESENT(request, limit) ? (size_t)request->limit : LIST_LIMIT_DEFAULT};
    TRY(find_trail(handling, PRESENT(request, organization_id) ? request->organization_id : NULL, name, organization,
                   err));
    TRY(read_filter(handling, request, &page.filter, err));
    page.out = arena_alloc(&handling->arena, sizeof *page.out);
    if (page.out == NULL) return out_of_memory(err);
    bora__v1__list_audit_response__init(page.out);
    TRY(fill_page(&page, err));
    TRY(name_actors(&page, organization, err));
    *out_reply = &page.out->base;
    return STATUS_OK;
}
