/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Pages of keys, in pieces: the prefixes of those that fit, then their records, all in flight at once. No script reads a whole list, and Redis serves others
 * in between. */
#include "services/keys/batch.h"
#include "services/keys/handling.h"
#include "services/keys/key_store.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const char key_match_lua[]; /* in this folder */

enum { PIECE = 250 };
_Static_assert((int)PIECE <= (int)BATCH_MAX, "a piece is one batch");

static struct redis_script match_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&match_script, key_match_lua);
}

/** One key of a piece, on its way. */
struct slot {
    char prefix[KEY_PREFIX_CHARACTERS + 1];
    struct listing *listing;
    struct key_record *record;
};
struct listing {
    struct keys_service *service;
    const char *organization;
    const struct key_filter *filter;
    struct arena *arena;
    struct batch batch;
    struct slot slots[PIECE];
    size_t count, seen; /* that fit, and that there were in the piece */
};

static bool has_filter(const struct listing *listing) {
    return listing->filter->name != NULL || listing->filter->workspace != NULL;
}

/** Of a text that may be the beginning of a key's prefix, or its UUID: what its prefix begins with, else "". Fewer characters than of a key's end would find
 *  keys that nobody meant. */
static const char *prefix_of(const char *text, char out[KEY_PREFIX_CHARACTERS + 1]) {
    out[0] = 0;
    if (text == NULL) return out;
    size_t length = strlen(text);
    if (length == UUID_CHARACTERS && uuid_to_prefix(text, out)) return out;
    out[0] = 0;
    if (length >= KEY_LAST_CHARACTERS && length <= KEY_PREFIX_CHARACTERS) memcpy(out, text, length + 1);
    return out;
}

/** The piece from `first` on. */
static enum status take_prefixes(struct listing *listing, int64_t first, struct error *err) {
    char list[STORE_NAME_BYTES], record[STORE_NAME_BYTES], from[24], to[24], prefix[KEY_PREFIX_CHARACTERS + 1];
    const struct key_filter *filter = listing->filter;
    snprintf(from, sizeof from, "%" PRId64, first);
    snprintf(to, sizeof to, "%" PRId64, first + PIECE - 1);
    struct bytes_view key = store_name(list, "keys", listing->organization, NULL);
    struct bytes_view arguments[] = {bytes_view_string(from),
                                     bytes_view_string(to),
                                     store_name(record, "key", listing->organization, ""),
                                     bytes_view_string(filter->workspace),
                                     bytes_view_string(filter->name),
                                     bytes_view_string(prefix_of(filter->name, prefix))};
    struct redis_reply *reply = NULL;
    if (has_filter(listing))
        TRY(store_script(listing->service, &match_script, &key, 1, arguments, 6, &reply, err));
    else
        TRY(store_words(listing->service, &reply, err, WORDS("ZRANGE", list, from, to)));
    size_t ahead = has_filter(listing) ? 1 : 0;
    listing->seen = ahead == 1 ? (size_t)reply->items[0].integer : reply->count;
    listing->count = 0;
    for (size_t i = ahead; i < reply->count && listing->count < PIECE; i++) {
        struct slot *slot = &listing->slots[listing->count++];
        *slot = (struct slot){.listing = listing};
        snprintf(slot->prefix, sizeof slot->prefix, "%s", (const char *)reply->items[i].string.data);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

static enum status read_record(void *context, const struct redis_reply *reply, struct error *err) {
    struct slot *slot = context;
    struct listing *listing = slot->listing;
    return key_record_read(listing->organization, slot->prefix, reply, listing->arena, slot->record, err);
}

/** As far as the page has room. */
static enum status take_records(struct listing *listing, struct key_page *page, struct error *err) {
    for (size_t i = 0; i < listing->count && page->count <= page->limit; i++) {
        struct slot *slot = &listing->slots[i];
        if (page->skip > 0) {
            page->skip--;
            continue;
        }
        slot->record = &page->records[page->count++];
        redis_commandf(listing->service->redis, batch_answer, batch_expect(&listing->batch, read_record, slot),
                       "HGETALL bora:key:{%s}:%s", listing->organization, slot->prefix);
    }
    bool of_store = false;
    struct error cause = {0};
    enum status status = batch_wait(&listing->batch, &of_store, &cause);
    if (status == STATUS_OK) return STATUS_OK;
    return of_store ? store_failure(status, cause.message, err) : error_set(err, status, "%s", cause.message);
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
    if (page->skip == 0 || has_filter(listing)) return STATUS_OK;
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
    pthread_once(&scripts_once, init_scripts);
    TRY(find_first(service, organization, after_or_null, &first, err));
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL) return out_of_memory(err);
    listing->service = service;
    listing->organization = organization;
    listing->filter = filter;
    listing->arena = arena;
    batch_init(&listing->batch);
    enum status status = skip_unseen(listing, page, &first, err);
    while (status == STATUS_OK && page->count <= page->limit) {
        status = take_prefixes(listing, first, err);
        if (status != STATUS_OK || listing->seen == 0) break;
        status = take_records(listing, page, err);
        first += (int64_t)listing->seen;
    }
    batch_deinit(&listing->batch);
    free(listing);
    return status;
}
