/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Pages of keys: prefixes by age in pieces of BATCH_MAX, then what is asked of each, all in flight at once. No script: none would let Redis serve others
 * while it reads ten thousand records. */
#include "services/keys/batch.h"
#include "services/keys/handling.h"
#include "services/keys/key_store.h"
#include "services/keys/store_names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/** One prefix of a piece, on its way. */
struct slot {
    char prefix[KEY_PREFIX_CHARACTERS + 1];
    bool fits;
    struct listing *listing;
    struct key_record *record;
};
struct listing {
    struct keys_service *service;
    const char *organization;
    const struct key_filter *filter;
    struct arena *arena;
    struct batch batch;
    struct slot slots[BATCH_MAX];
    size_t count;
};

static enum status wait_for_batch(struct listing *listing, struct error *err) {
    bool of_store = false;
    struct error cause = {0};
    enum status status = batch_wait(&listing->batch, &of_store, &cause);
    if (status == STATUS_OK) return STATUS_OK;
    return of_store ? store_failure(status, cause.message, err) : error_set(err, status, "%s", cause.message);
}

/** The next prefixes from `first` on. */
static enum status take_prefixes(struct listing *listing, int64_t first, struct error *err) {
    char name[STORE_NAME_BYTES], from[24], to[24];
    store_name(name, "keys", listing->organization, NULL);
    snprintf(from, sizeof from, "%" PRId64, first);
    snprintf(to, sizeof to, "%" PRId64, first + BATCH_MAX - 1);
    struct redis_reply *reply = NULL;
    TRY(store_words(listing->service, &reply, err, WORDS("ZRANGE", name, from, to)));
    listing->count = 0;
    for (size_t i = 0; i < reply->count && i < BATCH_MAX; i++) {
        struct slot *slot = &listing->slots[listing->count++];
        *slot = (struct slot){.listing = listing, .fits = true};
        snprintf(slot->prefix, sizeof slot->prefix, "%s", (const char *)reply->items[i].string.data);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

/* --- what fits ---------------------------------------------------------------------------------------------------- */

static enum status judge(void *context, const struct redis_reply *reply, struct error *err) {
    (void)err;
    struct slot *slot = context;
    const struct key_filter *filter = slot->listing->filter;
    slot->fits = reply->count == 3 && reply->items[2].type == REDIS_STRING;
    if (!slot->fits) return STATUS_OK;
    const char *name = (const char *)reply->items[0].string.data, *last = (const char *)reply->items[1].string.data;
    if (filter->workspace != NULL) slot->fits = bytes_view_equal_string(reply->items[2].string, filter->workspace);
    if (slot->fits && filter->name != NULL)
        slot->fits =
            (name != NULL && strstr(name, filter->name) != NULL) || (last != NULL && strcmp(last, filter->name) == 0);
    return STATUS_OK;
}

static enum status apply_filter(struct listing *listing, struct error *err) {
    if (listing->filter->name == NULL && listing->filter->workspace == NULL) return STATUS_OK;
    for (size_t i = 0; i < listing->count; i++)
        redis_commandf(listing->service->redis, batch_answer, batch_expect(&listing->batch, judge, &listing->slots[i]),
                       "HMGET bora:key:{%s}:%s name last workspace", listing->organization, listing->slots[i].prefix);
    return wait_for_batch(listing, err);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static enum status read_record(void *context, const struct redis_reply *reply, struct error *err) {
    struct slot *slot = context;
    struct listing *listing = slot->listing;
    return key_record_read(listing->organization, slot->prefix, reply, listing->arena, slot->record, err);
}

/** Of what fits, as far as the page has room. */
static enum status take_records(struct listing *listing, struct key_page *page, struct error *err) {
    for (size_t i = 0; i < listing->count && page->count <= page->limit; i++) {
        struct slot *slot = &listing->slots[i];
        if (!slot->fits) continue;
        if (page->skip > 0) {
            page->skip--;
            continue;
        }
        slot->record = &page->records[page->count++];
        redis_commandf(listing->service->redis, batch_answer, batch_expect(&listing->batch, read_record, slot),
                       "HGETALL bora:key:{%s}:%s", listing->organization, slot->prefix);
    }
    return wait_for_batch(listing, err);
}

static enum status find_first(struct keys_service *service, const char *organization, const char *after,
                              int64_t *out_first, struct error *err) {
    char name[STORE_NAME_BYTES];
    *out_first = 0;
    if (after == NULL) return STATUS_OK;
    store_name(name, "keys", organization, NULL);
    struct redis_reply *reply = NULL;
    TRY(store_words(service, &reply, err, WORDS("ZRANK", name, after)));
    bool known = reply->type == REDIS_INTEGER;
    *out_first = reply->integer + 1;
    redis_reply_free(reply);
    return known ? STATUS_OK : error_set(err, STATUS_INVALID_ARGUMENT, "no such key");
}

/** Without a filter what is left out need not be looked at. */
static enum status skip_unseen(struct listing *listing, struct key_page *page, int64_t *first, struct error *err) {
    if (page->skip == 0 || listing->filter->name != NULL || listing->filter->workspace != NULL) return STATUS_OK;
    char name[STORE_NAME_BYTES];
    store_name(name, "keys", listing->organization, NULL);
    struct redis_reply *reply = NULL;
    TRY(store_words(listing->service, &reply, err, WORDS("ZCARD", name)));
    int64_t there = reply->integer - *first, skipped = page->skip < there ? page->skip : there;
    redis_reply_free(reply);
    *first += skipped;
    page->skip -= skipped;
    return STATUS_OK;
}

enum status key_list(struct keys_service *service, const char *organization, const char *after_or_null,
                     const struct key_filter *filter, struct arena *arena, struct key_page *page, struct error *err) {
    int64_t first = 0;
    TRY(find_first(service, organization, after_or_null, &first, err));
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    listing->service = service;
    listing->organization = organization;
    listing->filter = filter;
    listing->arena = arena;
    batch_init(&listing->batch);
    enum status status = skip_unseen(listing, page, &first, err);
    while (status == STATUS_OK && page->count <= page->limit) {
        status = take_prefixes(listing, first, err);
        if (status != STATUS_OK || listing->count == 0) break;
        status = apply_filter(listing, err);
        if (status == STATUS_OK) status = take_records(listing, page, err);
        first += (int64_t)listing->count;
    }
    batch_deinit(&listing->batch);
    free(listing);
    return status;
}
