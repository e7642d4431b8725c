/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/prices.h"

#include "base/text.h"
#include "bora/v1/usage.pb-c.h"
#include "services/keys/changes.h"
#include "services/keys/currency.h"
#include "services/keys/money.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/prices_trail.h"
#include "services/keys/usage_methods.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

extern const char prices_set_lua[]; /* prices_set.lua */

enum { SET_ATTEMPTS = 5, NUMBER_BYTES = 32 };

static struct redis_script set_script;
static pthread_once_t script_once = PTHREAD_ONCE_INIT;

static void init_script(void) {
    redis_script_init(&set_script, prices_set_lua);
}

/* --- what the store has ------------------------------------------------------------------------------------------ */

struct listed_price {
    const char *model, *text; /* as in Redis */
};
/** By model; strings in an arena. */
struct price_list {
    const char *currency; /* "": never set */
    size_t count;
    struct listed_price *items;
};

static int compare_models(const void *a, const void *b) {
    return strcmp(((const struct listed_price *)a)->model, ((const struct listed_price *)b)->model);
}

static enum status read_currency(struct handling *handling, const char **out, struct error *err) {
    struct redis_reply *reply = NULL;
    TRY(store_words(handling->service, &reply, err, WORDS("GET", prices_currency_name(handling->service))));
    *out = reply->type == REDIS_STRING ? arena_copy(&handling->arena, reply->string.data, reply->string.length) : "";
    redis_reply_free(reply);
    return *out != NULL ? STATUS_OK : out_of_memory(err);
}

static const char *currency_or_default(const char *currency) {
    return currency[0] != 0 ? currency : PRICES_CURRENCY_DEFAULT;
}

enum status prices_currency(struct handling *handling, const char **out, struct error *err) {
    TRY(read_currency(handling, out, err));
    *out = currency_or_default(*out);
    return STATUS_OK;
}

static enum status copy_prices(const struct redis_reply *reply, struct arena *arena, struct price_list *out,
                               struct error *err) {
    out->count = reply->count / 2;
    out->items = arena_alloc_array(arena, out->count, sizeof *out->items);
    if (out->items == NULL) return out_of_memory(err);
    for (size_t i = 0; i < out->count; i++) {
        struct bytes_view model = reply->items[2 * i].string, text = reply->items[2 * i + 1].string;
        out->items[i] = (struct listed_price){arena_copy(arena, model.data, model.length),
                                              arena_copy(arena, text.data, text.length)};
        if (out->items[i].model == NULL || out->items[i].text == NULL) return out_of_memory(err);
    }
    qsort(out->items, out->count, sizeof *out->items, compare_models);
    return STATUS_OK;
}

static enum status read_list(struct handling *handling, struct price_list *out, struct error *err) {
    TRY(read_currency(handling, &out->currency, err));
    struct redis_reply *reply = NULL;
    TRY(store_words(handling->service, &reply, err, WORDS("HGETALL", PRICES_NAME)));
    enum status status = copy_prices(reply, &handling->arena, out, err);
    redis_reply_free(reply);
    return status;
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

static enum status fill_price(const struct listed_price *item, Bora__V1__ModelPrice *out, struct error *err) {
    struct price price;
    if (!price_read(bytes_view_string(item->text), &price))
        return error_set(err, STATUS_DATA_LOSS, "the price of %.64s is malformed", item->model);
    bora__v1__model_price__init(out);
    out->model = (char *)item->model;
    out->input_per_million = money_units(price.input);
    out->output_per_million = money_units(price.output);
    if (price.cached_input != PRICE_ABSENT) {
        out->_cached_input_per_million_case = BORA__V1__MODEL_PRICE___CACHED_INPUT_PER_MILLION_CACHED_INPUT_PER_MILLION;
        out->cached_input_per_million = money_units(price.cached_input);
    }
    return STATUS_OK;
}

static enum status make_reply(const struct price_list *list, struct arena *arena, ProtobufCMessage **out,
                              struct error *err) {
    Bora__V1__Prices *reply = arena_alloc(arena, sizeof *reply);
    Bora__V1__ModelPrice *prices = arena_alloc_array(arena, list->count, sizeof *prices);
    Bora__V1__ModelPrice **pointers = arena_alloc_array(arena, list->count, sizeof *pointers);
    if (reply == NULL || prices == NULL || pointers == NULL) return out_of_memory(err);
    bora__v1__prices__init(reply);
    reply->currency = (char *)currency_or_default(list->currency);
    reply->prices = pointers;
    for (size_t i = 0; i < list->count; i++) {
        TRY(fill_price(&list->items[i], &prices[i], err));
        pointers[reply->n_prices++] = &prices[i];
    }
    *out = &reply->base;
    return STATUS_OK;
}

enum status prices_get(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    (void)message;
    struct price_list list;
    TRY(read_list(handling, &list, err));
    return make_reply(&list, &handling->arena, out, err);
}

static enum status read_request(struct handling *handling, const Bora__V1__SetPricesRequest *request,
                                struct price_list *out, struct error *err) {
    struct arena *arena = &handling->arena;
    for (const char *at = request->currency; *at != 0; at++) {
        if (*at < 'A' || *at > 'Z')
            return handling_refuse_field(handling, "currency", -1, "Value error, three capital letters (ISO 4217)");
    }
    *out = (struct price_list){.currency = request->currency, .count = request->n_prices};
    out->items = arena_alloc_array(arena, out->count, sizeof *out->items);
    if (out->items == NULL) return out_of_memory(err);
    for (size_t i = 0; i < out->count; i++) {
        const Bora__V1__ModelPrice *asked = request->prices[i];
        char text[PRICE_TEXT_BYTES];
        const struct price price = {
            money_nanos(asked->input_per_million), money_nanos(asked->output_per_million),
            PRESENT(asked, cached_input_per_million) ? money_nanos(asked->cached_input_per_million) : PRICE_ABSENT};
        for (size_t j = 0; j < i; j++) {
            if (strcmp(out->items[j].model, asked->model) == 0)
                return handling_refuse_field(handling, "prices", (int64_t)i, "Value error, the model is listed twice");
        }
        price_write(&price, text);
        out->items[i] = (struct listed_price){asked->model, arena_copy(arena, text, strlen(text))};
        if (out->items[i].text == NULL) return out_of_memory(err);
    }
    qsort(out->items, out->count, sizeof *out->items, compare_models);
    return STATUS_OK;
}

/* --- the currency ------------------------------------------------------------------------------------------------- */

static enum status require_currency(struct handling *handling, const struct price_list *before,
                                    const struct price_list *after, struct error *err) {
    static const char *const reasons[] = {
        [CURRENCY_UNDER_WAY] = "Value error, answers are under way that may be charged in %s: try again when they have "
                               "ended",
        [CURRENCY_CHARGED] = "Value error, usage has been charged in %s: the currency cannot be changed any more"};
    const char *old = currency_or_default(before->currency);
    enum currency_use use = CURRENCY_UNUSED;
    if (strcmp(old, after->currency) == 0) return STATUS_OK;
    TRY(currency_find_use(handling, before->count > 0 || before->currency[0] != 0, &use, err));
    if (use == CURRENCY_UNUSED) return STATUS_OK;
    const char *message = arena_printf(&handling->arena, reasons[use], old);
    return message != NULL ? handling_refuse_field(handling, "currency", -1, message) : out_of_memory(err);
}

/* --- setting ----------------------------------------------------------------------------------------------------- */

/** NULL when the arena is exhausted. */
static const char *units_text(struct arena *arena, int64_t nanos) {
    char text[NUMBER_BYTES];
    return arena_copy(arena, text, text_from_double(money_units(nanos), text));
}

/** {"input_per_million": 0.5, ...} for the audit trail; null without a price. */
static const char *json_of(struct arena *arena, const char *text) {
    struct price price;
    if (text == NULL) return "null";
    if (!price_read(bytes_view_string(text), &price)) return NULL;
    const char *input = units_text(arena, price.input), *output = units_text(arena, price.output),
               *cached = units_text(arena, price.cached_input);
    if (input == NULL || output == NULL || cached == NULL) return NULL;
    if (price.cached_input == PRICE_ABSENT)
        return arena_printf(arena, "{\"input_per_million\":%s,\"output_per_million\":%s}", input, output);
    return arena_printf(arena, "{\"input_per_million\":%s,\"output_per_million\":%s,\"cached_input_per_million\":%s}",
                        input, output, cached);
}

/** What differs, model by model: both lists are in order. */
static const char *detail_of(const struct price_list *before, const struct price_list *after, struct arena *arena) {
    struct audit_detail detail;
    audit_detail_begin(&detail, arena);
    if (strcmp(before->currency, after->currency) != 0)
        audit_detail_add(&detail, "currency",
                         before->currency[0] != 0 ? audit_json_text(arena, before->currency) : "null",
                         audit_json_text(arena, after->currency));
    for (size_t i = 0, j = 0; i < before->count || j < after->count;) {
        int order = i == before->count  ? 1
                    : j == after->count ? -1
                                        : compare_models(&before->items[i], &after->items[j]);
        const struct listed_price *old = order <= 0 ? &before->items[i++] : NULL,
                                  *new = order >= 0 ? &after->items[j++] : NULL;
        const char *was = old != NULL ? old->text : NULL, *is = new != NULL ? new->text : NULL;
        if (was == NULL || is == NULL || strcmp(was, is) != 0)
            audit_detail_add(&detail, old != NULL ? old->model : new->model, json_of(arena, was), json_of(arena, is));
    }
    return audit_detail_end(&detail);
}

static void put_prices(struct word_list *words, const struct price_list *list) {
    char count[PRICE_TEXT_BYTES];
    snprintf(count, sizeof count, "%zu", list->count);
    word_list_add(words, arena_copy(words->arena, count, strlen(count)));
    for (size_t i = 0; i < list->count; i++) word_list_put(words, list->items[i].model, list->items[i].text);
}

/** `*out_done` false: somebody else was faster. The trail is the first organisation's, which is the one that the operator sees unless another is named. */
static enum status try_to_set(struct handling *handling, const struct price_list *after, bool *out_done,
                              struct error *err) {
    struct arena *arena = &handling->arena;
    struct price_list before;
    struct organization organization;
    struct bytes_view trail_words[AUDIT_WORDS];
    char trail[STORE_NAME_BYTES];
    TRY(read_list(handling, &before, err));
    TRY(require_currency(handling, &before, after, err));
    TRY(handling_organization(handling, NULL, &organization, err));
    const struct audit_entry entry = {"price.update", "prices", "prices", detail_of(&before, after, arena)};
    if (entry.detail == NULL) return out_of_memory(err);
    handling_audit_words(handling, &entry, trail_words);
    struct word_list words = {.arena = arena};
    word_list_add(&words, before.currency);
    put_prices(&words, &before);
    word_list_add(&words, after->currency);
    for (int i = 0; i < AUDIT_WORDS; i++) word_list_add(&words, (const char *)trail_words[i].data);
    put_prices(&words, after);
    if (words.failed) return out_of_memory(err);
    const struct bytes_view keys[] = {bytes_view_string(PRICES_NAME),
                                      bytes_view_string(prices_currency_name(handling->service)),
                                      prices_trail_name(handling->service, organization.id, trail)};
    struct redis_reply *reply = NULL;
    TRY(store_script(handling->service, &set_script, keys, 3, words.words, words.count, &reply, err));
    *out_done = reply->integer == 1;
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status prices_set(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    pthread_once(&script_once, init_script);
    struct price_list list;
    bool done = false;
    TRY(read_request(handling, message, &list, err));
    for (int i = 0; i < SET_ATTEMPTS && !done; i++) TRY(try_to_set(handling, &list, &done, err));
    if (!done) return error_set(err, STATUS_ABORTED, "the prices are being changed by others; try again");
    struct error later = {0};
    if (prices_trail_bring(handling->service, &later) != STATUS_OK) keeper_wake(handling->service->changes);
    TRY(changes_publish(handling->service, "prices", err));
    return make_reply(&list, &handling->arena, out, err);
}
