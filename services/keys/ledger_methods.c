/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* ListLedger: entries as they are, in pages. */
#include "services/keys/usage_methods.h"

#include "base/clock.h"
#include "base/text.h"
#include "bora/v1/usage.pb-c.h"
#include "services/keys/money.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/prices.h"
#include "services/keys/time_text.h"
#include "services/keys/usage_names.h"
#include "services/keys/usage_scope.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A call looks at no more than that: a tenth of a second. */
enum { ENTRIES_SEEN_MAX = 50000 };
enum { LIMIT_DEFAULT = 1000, CHUNK = 1000, TIME_BYTES = 32, MS_PER_S = 1000 };

#define ID_MS_MAX UINT64_C(253402300799999) /* of the year 9999 */

/** A page that is being filled. */
struct page {
    struct handling *handling;
    struct usage_filter filter;
    size_t limit;
    Bora__V1__ListLedgerResponse *response; /* room for `limit` entries */
    char start[LEDGER_ID_BYTES + 2];        /* where XRANGE goes on: "(" and an id, or an id */
    char taken[LEDGER_ID_BYTES + 1]; /* the last entry that was added or passed over: what the next page comes after */
    char end[LEDGER_ID_BYTES + 2];
};

/* --- what is asked ----------------------------------------------------------------------------------------------- */

/** "<ms>-<sequence>" */
static bool read_id(const char *text, uint64_t *out_ms, uint64_t *out_sequence) {
    char ms[LEDGER_ID_BYTES + 1];
    const char *dash = strchr(text, '-');
    if (dash == NULL || strlen(text) > LEDGER_ID_BYTES) return false;
    snprintf(ms, sizeof ms, "%.*s", (int)(dash - text), text);
    return text_to_u64(ms, out_ms) && *out_ms <= ID_MS_MAX && text_to_u64(dash + 1, out_sequence);
}

static enum status read_time(struct handling *handling, const char *field, const char *text, int64_t *out_ms) {
    bool is_date = false;
    if (!time_parse(text, out_ms, &is_date))
        return handling_refuse_field(handling, field, -1, "Value error, no RFC 3339 date or date-time");
    *out_ms *= MS_PER_S;
    return STATUS_OK;
}

static enum status read_bounds(struct page *page, const Bora__V1__ListLedgerRequest *request) {
    int64_t from_ms = 0, to_ms = 0;
    uint64_t after_ms = 0, after_sequence = 0;
    snprintf(page->start, sizeof page->start, "-");
    snprintf(page->end, sizeof page->end, "+");
    if (PRESENT(request, from)) {
        TRY(read_time(page->handling, "from", request->from, &from_ms));
        snprintf(page->start, sizeof page->start, "%" PRId64, from_ms);
    }
    if (PRESENT(request, to)) {
        TRY(read_time(page->handling, "to", request->to, &to_ms));
        /* Nothing is from 1970, and Redis refuses what excludes its first id. */
        snprintf(page->end, sizeof page->end, "(%" PRId64 "-0", to_ms > 0 ? to_ms : 1);
    }
    if (PRESENT(request, after)) {
        if (!read_id(request->after, &after_ms, &after_sequence))
            return handling_refuse_field(page->handling, "after", -1, "Value error, no id of an entry");
        if (after_ms >= (uint64_t)from_ms) snprintf(page->start, sizeof page->start, "(%s", request->after);
    }
    page->limit = PRESENT(request, limit) ? (size_t)request->limit : LIMIT_DEFAULT;
    return STATUS_OK;
}

/* --- entries ----------------------------------------------------------------------------------------------------- */

static struct bytes_view word_of(const struct redis_reply *words, char letter) {
    for (size_t i = 0; i + 1 < words->count; i += 2) {
        const struct bytes_view name = words->items[i].string;
        if (name.length == 1 && name.data[0] == (uint8_t)letter) return words->items[i + 1].string;
    }
    return (struct bytes_view){0};
}

static bool passes(const struct usage_filter *filter, const struct redis_reply *words) {
    return (filter->key == NULL || bytes_view_equal_string(word_of(words, 'k'), filter->key)) &&
           (filter->workspace == NULL || bytes_view_equal_string(word_of(words, 'w'), filter->workspace)) &&
           (filter->model == NULL || bytes_view_equal_string(word_of(words, 'm'), filter->model));
}

/** The keeper lets nothing else in; Redis' strings have a NUL behind them. */
static int64_t number_of(const struct redis_reply *words, char letter) {
    int64_t value = 0;
    struct bytes_view text = word_of(words, letter);
    return text.length > 0 && text_to_i64((const char *)text.data, &value) ? value : 0;
}

static char *text_of(struct arena *arena, const struct redis_reply *words, char letter) {
    struct bytes_view text = word_of(words, letter);
    return arena_copy(arena, text.data, text.length);
}

static char *id_of_key(struct arena *arena, const char *prefix) {
    char id[UUID_CHARACTERS + 1];
    if (prefix == NULL || !key_prefix_is_valid(prefix)) return (char *)prefix; /* nobody's; shown as it is */
    uuid_of_prefix(prefix, id);
    return arena_copy(arena, id, UUID_CHARACTERS);
}

static enum status add_entry(struct page *page, const struct redis_reply *item, struct error *err) {
    struct arena *arena = &page->handling->arena;
    const struct redis_reply *words = &item->items[1];
    Bora__V1__LedgerEntry *entry = arena_alloc(arena, sizeof *entry);
    char time[TIME_BYTES];
    if (entry == NULL) return too_much_memory(err);
    bora__v1__ledger_entry__init(entry);
    clock_format_rfc3339(number_of(words, 't') * NS_PER_MS, time);
    entry->id = arena_copy(arena, item->items[0].string.data, item->items[0].string.length);
    entry->time = arena_copy(arena, time, strlen(time));
    clock_format_rfc3339(number_of(words, 'b') * NS_PER_MS, time);
    entry->started = arena_copy(arena, time, strlen(time));
    entry->request_id = text_of(arena, words, 'r');
    entry->key_prefix = text_of(arena, words, 'k');
    entry->key_id = id_of_key(arena, entry->key_prefix);
    entry->workspace_id = text_of(arena, words, 'w');
    entry->model = text_of(arena, words, 'm');
    entry->kind = text_of(arena, words, 's');
    entry->endpoint = text_of(arena, words, 'e');
    entry->input_tokens = number_of(words, 'i');
    entry->cached_tokens = number_of(words, 'c');
    entry->output_tokens = number_of(words, 'o');
    entry->cost = money_units(number_of(words, 'n'));
    if (page->response->currency[0] != 0) {
        entry->_currency_case = BORA__V1__LEDGER_ENTRY___CURRENCY_CURRENCY;
        entry->currency = page->response->currency;
    }
    if (entry->id == NULL || entry->time == NULL || entry->started == NULL || entry->request_id == NULL ||
        entry->key_id == NULL || entry->workspace_id == NULL || entry->model == NULL || entry->kind == NULL ||
        entry->endpoint == NULL)
        return too_much_memory(err);
    page->response->entries[page->response->n_entries++] = entry;
    return STATUS_OK;
}

/** What of one chunk passes, until the page is full and one more shows that there is more. */
static enum status add_chunk(struct page *page, const struct redis_reply *chunk, struct error *err) {
    for (size_t i = 0; i < chunk->count && !page->response->has_more; i++) {
        const struct redis_reply *item = &chunk->items[i];
        if (item->type != REDIS_ARRAY || item->count != 2)
            return error_set(err, STATUS_DATA_LOSS, "the ledger gave a strange entry");
        snprintf(page->start, sizeof page->start, "(%.*s", LEDGER_ID_BYTES, (const char *)item->items[0].string.data);
        bool fits = passes(&page->filter, &item->items[1]);
        page->response->has_more = fits && page->response->n_entries == page->limit;
        if (page->response->has_more) break;
        if (fits) TRY(add_entry(page, item, err));
        snprintf(page->taken, sizeof page->taken, "%s", page->start + 1);
    }
    return STATUS_OK;
}

static enum status fill_page(struct page *page, const char *organization, struct error *err) {
    char name[LEDGER_NAME_BYTES], count[LEDGER_ID_BYTES];
    ledger_name(organization, name);
    snprintf(count, sizeof count, "%d", CHUNK);
    size_t came = CHUNK, seen = 0;
    while (came == CHUNK && !page->response->has_more) {
        if (seen >= ENTRIES_SEEN_MAX) {
            page->response->has_more = true;
            break;
        }
        struct redis_reply *reply = NULL;
        if (rpc_call_cancelled(page->handling->call)) return error_set(err, STATUS_CANCELLED, "the client has left");
        TRY(store_words(page->handling->service, &reply, err,
                        WORDS("XRANGE", name, page->start, page->end, "COUNT", count)));
        enum status status = add_chunk(page, reply, err);
        came = reply->count;
        seen += came;
        redis_reply_free(reply);
        TRY(status);
    }
    if (!page->response->has_more) return STATUS_OK;
    page->response->_next_after_case = BORA__V1__LIST_LEDGER_RESPONSE___NEXT_AFTER_NEXT_AFTER;
    page->response->next_after = arena_copy(&page->handling->arena, page->taken, strlen(page->taken));
    return page->response->next_after != NULL ? STATUS_OK : too_much_memory(err);
}

/** What keys and workspaces are called now. */
static enum status name_entries(struct page *page, const char *organization, struct error *err) {
    Bora__V1__LedgerEntry **entries = page->response->entries;
    size_t count = page->response->n_entries;
    struct usage_name *names = arena_alloc_array(&page->handling->arena, count, sizeof *names);
    if (names == NULL) return too_much_memory(err);
    for (size_t i = 0; i < count; i++)
        names[i] = (struct usage_name){entries[i]->key_prefix, (const char **)&entries[i]->key_name};
    TRY(usage_names_find(page->handling, "key", organization, names, count, err));
    for (size_t i = 0; i < count; i++)
        names[i] = (struct usage_name){entries[i]->workspace_id, (const char **)&entries[i]->workspace_name};
    TRY(usage_names_find(page->handling, "ws", organization, names, count, err));
    for (size_t i = 0; i < count; i++) {
        Bora__V1__LedgerEntry *entry = entries[i];
        if (entry->key_name != NULL) entry->_key_name_case = BORA__V1__LEDGER_ENTRY___KEY_NAME_KEY_NAME;
        if (entry->workspace_name != NULL)
            entry->_workspace_name_case = BORA__V1__LEDGER_ENTRY___WORKSPACE_NAME_WORKSPACE_NAME;
    }
    return STATUS_OK;
}

enum status ledger_list(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    const Bora__V1__ListLedgerRequest *request = message;
    const struct usage_wanted wanted = {OPTIONAL(request, organization_id), NULL, OPTIONAL(request, key_id),
                                        OPTIONAL(request, model)};
    struct page page = {.handling = handling};
    struct usage_scope scope;
    TRY(read_bounds(&page, request));
    TRY(usage_scope_find(handling, &wanted, &scope, err));
    page.filter = scope.filter;
    page.response = arena_alloc(&handling->arena, sizeof *page.response);
    if (page.response == NULL) return too_much_memory(err);
    bora__v1__list_ledger_response__init(page.response);
    page.response->entries = arena_alloc_array(&handling->arena, page.limit, sizeof *page.response->entries);
    if (page.response->entries == NULL) return too_much_memory(err);
    TRY(prices_currency(handling, (const char **)&page.response->currency, err));
    TRY(fill_page(&page, scope.organization, err));
    TRY(name_entries(&page, scope.organization, err));
    *out = &page.response->base;
    return STATUS_OK;
}
