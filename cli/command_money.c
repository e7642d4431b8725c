/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Budgets and prices. */
#include "base/text.h"
#include "bora/v1/usage.pb-c.h"
#include "cli/commands.h"
#include "cli/doubts.h"
#include "cli/fields.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/terminal.h"
#include "cli/values.h"

#include <string.h>

#define SERVICE "/bora.v1.UsageService/"
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* --- spend --------------------------------------------------------------------------------------------------------- */

static const char *workspace, *organization;
static const struct argument spend_arguments[] = {
    {ARGUMENT_TEXT, "workspace", "WORKSPACE", "of this workspace, by name or id (the organization's)", &workspace},
    {ARGUMENT_TEXT, "organization", "ORGANIZATION", "of this organization (operator)", &organization},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static void print_spend(const Bora__V1__SpendLimit *limit) {
    enum { BAR = 30 };
    char spent[VALUE_COUNT_BYTES], most[VALUE_COUNT_BYTES], bar[BAR + 1];
    bool limited = limit->_spend_per_month_case != 0;
    value_format_money(limit->spent, spent);
    printf("Spent this month: %s ", spent);
    print_line(stdout, limit->currency);
    if (limited) {
        value_format_money(limit->spend_per_month, most);
        double share = limit->spend_per_month > 0 ? limit->spent / limit->spend_per_month : 1;
        terminal_bar(share, BAR, bar);
        printf(" of %s", most);
        if (terminal_width(stdout) > 0) printf("  [%s]", bar);
        printf(" %.0f %%\n", 100 * share);
    } else {
        printf(" (no limit)\n");
    }
}

static int ask_spend(const char *method, ProtobufCMessage *request) {
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    if (workspace == NULL && organization == NULL) places_tell_default(&connection);
    result = places_find_both(&connection, &workspace, &organization);
    field_set_text(request, "workspace_id", workspace);
    field_set_text(request, "organization_id", organization);
    if (result == GO_ON)
        result = connection_call(&connection, method, request, &bora__v1__spend_limit__descriptor, &reply);
    if (result == GO_ON && connection_options.json) {
        result = print_json(reply);
    } else if (result == GO_ON) {
        print_spend((const Bora__V1__SpendLimit *)reply);
        if (((const Bora__V1__SpendLimit *)reply)->_spend_per_month_case != 0 && !connection_options.quiet)
            doubt_prices(&connection, NULL);
        result = EXIT_OK;
    }
    connection_close(&connection);
    return result;
}

static int run_spend(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    Bora__V1__GetSpendLimitRequest request = BORA__V1__GET_SPEND_LIMIT_REQUEST__INIT;
    return ask_spend(SERVICE "GetSpendLimit", &request.base);
}

static int run_spend_set(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    Bora__V1__SetSpendLimitRequest request = BORA__V1__SET_SPEND_LIMIT_REQUEST__INIT;
    double amount = 0;
    bool none = strcmp(words[0], "none") == 0;
    if (!none && (!text_to_double(words[0], &amount) || amount < 0))
        return usage_error(usage, "'%.64s' is no amount of 0 or more, nor none", words[0]);
    if (!none) field_set_number(&request.base, "spend_per_month", amount);
    return ask_spend(SERVICE "SetSpendLimit", &request.base);
}

const struct command spend_commands[] = {
    {.usage =
         {"spend show", "",
          "What was spent this month of the calendar (UTC), with the worst case of answers under way, and its limit.",
          0, 0},
     .help = "what was spent this month, and what may be",
     .arguments = spend_arguments,
     .connects = true,
     .is_default = true,
     .run = run_spend},
    {.usage = {"spend set", "AMOUNT",
               "Limit what may be spent in a month of the calendar, in the prices' currency; none takes "
               "the limit away.",
               1, 1},
     .help = "limit what may be spent in a month",
     .arguments = spend_arguments,
     .connects = true,
     .run = run_spend_set},
    {.usage = {NULL, NULL, NULL, 0, 0}}};

/* --- prices -------------------------------------------------------------------------------------------------------- */

static struct {
    const char *currency;
    struct argument_number input, output, cached;
} price;
static const struct argument price_arguments[] = {
    {ARGUMENT_NUMBER, "input", "AMOUNT", "for a million tokens of prompts", &price.input},
    {ARGUMENT_NUMBER, "output", "AMOUNT", "for a million tokens of answers", &price.output},
    {ARGUMENT_NUMBER, "cached-input", "AMOUNT", "for a million tokens of prompts that were cached (--input)",
     &price.cached},
    {ARGUMENT_TEXT, "currency", "CODE", "of all prices: EUR", &price.currency},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};
static const struct table_column price_columns[] = {{"MODEL", "model", CELL_TEXT, 40},
                                                    {"INPUT / 1M", "input_per_million", CELL_MONEY, 0},
                                                    {"CACHED / 1M", "cached_input_per_million", CELL_MONEY, 0},
                                                    {"OUTPUT / 1M", "output_per_million", CELL_MONEY, 0}};

static int print_prices(const ProtobufCMessage *reply) {
    const Bora__V1__Prices *prices = (const Bora__V1__Prices *)reply;
    if (connection_options.json) return print_json(reply);
    if (prices->n_prices == 0) {
        terminal_note("There are no prices.\n");
        return EXIT_OK;
    }
    table_print(stdout, price_columns, COUNT(price_columns), (ProtobufCMessage *const *)prices->prices,
                prices->n_prices);
    terminal_note("In %.8s.\n", prices->currency);
    return EXIT_OK;
}

static int fetch_prices(struct connection *connection, Bora__V1__Prices **out) {
    Bora__V1__GetPricesRequest request = BORA__V1__GET_PRICES_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    int result = connection_call(connection, SERVICE "GetPrices", &request.base, &bora__v1__prices__descriptor, &reply);
    *out = (Bora__V1__Prices *)reply;
    return result;
}

static int run_prices(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    struct connection connection;
    Bora__V1__Prices *prices = NULL;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = fetch_prices(&connection, &prices);
    if (result == GO_ON) result = print_prices(&prices->base);
    connection_close(&connection);
    return result;
}

/** The price of `model` among those there are, made when it is missing; NULL when there is no memory. */
static Bora__V1__ModelPrice *find_price(struct arena *arena, Bora__V1__Prices *prices, const char *model) {
    for (size_t i = 0; i < prices->n_prices; i++) {
        if (strcmp(prices->prices[i]->model, model) == 0) return prices->prices[i];
    }
    Bora__V1__ModelPrice **list = arena_alloc_array(arena, prices->n_prices + 1, sizeof *list);
    Bora__V1__ModelPrice *added = arena_alloc(arena, sizeof *added);
    if (list == NULL || added == NULL) return NULL;
    bora__v1__model_price__init(added);
    added->model = (char *)model;
    if (prices->n_prices > 0) memcpy(list, prices->prices, prices->n_prices * sizeof *list);
    list[prices->n_prices++] = added;
    prices->prices = list;
    return added;
}

/** `model` gets what was given; NULL: only the currency changes. */
static int change_price(const struct command_usage *usage, struct arena *arena, Bora__V1__Prices *prices,
                        const char *model) {
    size_t before = prices->n_prices;
    Bora__V1__ModelPrice *found = find_price(arena, prices, model);
    if (found == NULL) return EXIT_FAILED;
    if (prices->n_prices > before && !(price.input.given && price.output.given))
        return usage_error(usage, "%.64s has no price yet: give --input and --output", model);
    if (price.input.given) found->input_per_million = price.input.value;
    if (price.output.given) found->output_per_million = price.output.value;
    if (price.cached.given) field_set_number(&found->base, "cached_input_per_million", price.cached.value);
    return GO_ON;
}

static int remove_price(Bora__V1__Prices *prices, const char *model) {
    for (size_t i = 0; i < prices->n_prices; i++) {
        if (strcmp(prices->prices[i]->model, model) != 0) continue;
        prices->prices[i] = prices->prices[--prices->n_prices];
        return GO_ON;
    }
    print_failure("%.64s has no price", model);
    return EXIT_NOT_FOUND;
}

/** All prices are written anew, so those that stay are fetched first. */
static int write_prices(const struct command_usage *usage, const char *model, bool remove) {
    struct connection connection;
    Bora__V1__Prices *prices = NULL;
    ProtobufCMessage *reply = NULL;
    Bora__V1__SetPricesRequest request = BORA__V1__SET_PRICES_REQUEST__INIT;
    int result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = fetch_prices(&connection, &prices);
    if (result == GO_ON)
        result = remove ? remove_price(prices, model) : change_price(usage, &connection.arena, prices, model);
    if (result == GO_ON) {
        request.currency = price.currency != NULL ? (char *)price.currency : prices->currency;
        request.prices = prices->prices;
        request.n_prices = prices->n_prices;
        if (request.currency[0] == 0)
            result = usage_error(usage, "there are no prices yet: give --currency, as EUR");
        else
            result =
                connection_call(&connection, SERVICE "SetPrices", &request.base, &bora__v1__prices__descriptor, &reply);
    }
    if (result == GO_ON) {
        result = print_prices(reply);
        if (!remove)
            doubt_models(&connection, (char *const[]){(char *)model}, 1, "so this price counts for nothing yet");
    }
    connection_close(&connection);
    return result;
}

static int run_prices_set(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    const struct argument_number *const amounts[] = {&price.input, &price.output, &price.cached};
    bool any = price.currency != NULL;
    for (int i = 0; i < COUNT(amounts); i++) {
        if (amounts[i]->given && amounts[i]->value < 0) return usage_error(usage, "a price is 0 or more");
        any = any || amounts[i]->given;
    }
    if (!any) return usage_error(usage, "give --input and --output");
    return write_prices(usage, words[0], false);
}

static int run_prices_remove(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    return write_prices(usage, words[0], true);
}

const struct command prices_commands[] = {
    {.usage = {"prices show", "", "What a million tokens cost, by model, alias or tier.", 0, 0},
     .help = "what tokens cost",
     .arguments = no_arguments,
     .connects = true,
     .is_default = true,
     .run = run_prices},
    {.usage =
         {"prices set", "MODEL",
          "Set the price of a model, alias or tier (operator); other prices, and what is not given, stay. Answers\n"
          "that are under way keep the price they began with.",
          1, 1},
     .help = "set a model's price (operator)",
     .arguments = price_arguments,
     .connects = true,
     .run = run_prices_set},
    {.usage = {"prices remove", "MODEL", "Take a model's price away (operator).", 1, 1},
     .help = "take it away (operator)",
     .arguments = no_arguments,
     .connects = true,
     .run = run_prices_remove},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
