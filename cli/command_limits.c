/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "bora/v1/tenants.pb-c.h"
#include "bora/v1/usage.pb-c.h"
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/doubts.h"
#include "cli/fields.h"
#include "cli/keys.h"
#include "cli/limits.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/result.h"
#include "cli/terminal.h"
#include "cli/values.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define KEYS "/bora.v1.KeyService/"
#define TENANTS "/bora.v1.TenantService/"

/** Whose limits. */
static struct { const char *key, *workspace, *organization; } whose;
#define WHOSE_ARGUMENTS                                                                                      \
    {ARGUMENT_TEXT, "key", "KEY_ID", "of a key", &whose.key},                                                \
        {ARGUMENT_TEXT, "workspace", "WORKSPACE", "of a workspace, by name or id", &whose.workspace}, {      \
        ARGUMENT_TEXT, "organization", "ORGANIZATION", "of an organization; with --workspace where that is", \
            &whose.organization                                                                              \
    }

/** An organization beside a workspace says only where that is. */
static int whose_count(void) {
    return (whose.key != NULL) + (whose.workspace != NULL || whose.organization != NULL);
}

static int find_whose(struct connection *connection) {
    int result = places_find_both(connection, &whose.workspace, &whose.organization);
    if (whose.workspace != NULL) whose.organization = NULL;
    return result;
}

/* --- show ---------------------------------------------------------------------------------------------------------- */

static double number_of(const struct field_value *value) {
    return value->kind == FIELD_NUMBER ? value->number : value->kind == FIELD_INTEGER ? (double)value->integer : 0;
}

static void format(const struct field_value *value, char out[VALUE_COUNT_BYTES]) {
    if (value->kind == FIELD_NUMBER)
        value_format_money(value->number, out);
    else
        value_format_count(value->integer, out); /* 0 where nothing was used */
}

static enum style style_of(double share) {
    return share >= 1 ? STYLE_BAD : share >= 0.8 ? STYLE_DOUBTFUL : STYLE_GOOD;
}

/** What is left, where the line has room for it and the gateway says it. */
static void print_remaining(const struct limit_kind *kind, const Bora__V1__RateLimitLevel *level, int room) {
    enum { LEFT = 22 }; /* "  999,999,999,999 left" */
    char text[VALUE_COUNT_BYTES];
    if (level->remaining == NULL || room < LEFT) return;
    const struct field_value value = field_get(&level->remaining->base, kind->field);
    if (value.kind == FIELD_ABSENT) return;
    format(&value, text);
    printf("  %s left", text);
}

/** `currency`: of limits on spend, or "". */
static void print_limit(const struct limit_kind *kind, const Bora__V1__RateLimitLevel *level, const char *currency,
                        int title_width) {
    enum { BAR = 20, NUMBER = 15 };
    const struct field_value limit = field_get(&level->limits->base, kind->field);
    struct field_value used = {.kind = FIELD_ABSENT};
    char limit_text[VALUE_COUNT_BYTES + 8], used_text[VALUE_COUNT_BYTES], bar[BAR + 1];
    if (limit.kind == FIELD_ABSENT) return;
    format(&limit, limit_text);
    if (kind->money && currency[0] != 0) {
        size_t length = strlen(limit_text);
        snprintf(limit_text + length, sizeof limit_text - length, " %.3s", currency);
    }
    if (level->used == NULL) { /* which is not this key's to see */
        printf("  %-*s  %*s    %s\n", title_width, kind->title, NUMBER, "", limit_text);
        return;
    }
    used = field_get(&level->used->base, kind->field);
    format(&used, used_text);
    double share = number_of(&limit) > 0 ? number_of(&used) / number_of(&limit) : 1;
    printf("  %-*s  %*s of %-*s", title_width, kind->title, NUMBER, used_text, NUMBER, limit_text);
    int width = terminal_width(stdout), room = width > 0 ? width - (title_width + 2 * NUMBER + 16) : INT_MAX;
    if (width > 0 && room >= BAR) { /* all of the line */
        terminal_bar(share, BAR, bar);
        printf(" %s%s%s", terminal_style(stdout, style_of(share)), bar, terminal_plain(stdout));
        room -= BAR;
    }
    printf(" %3.0f %%", 100 * share);
    print_remaining(kind, level, room);
    printf("\n");
}

/** When the calendar's limits count from nothing again: what is said of minutes and seconds comes back as they pass. */
static void print_end(const Bora__V1__RateLimit *limits, const char *ending, const char *sentence, const char *at) {
    char text[VALUE_TIME_BYTES];
    int64_t seconds;
    bool any = false;
    for (size_t i = 0; i < limits->n_levels; i++) {
        for (int j = 0; j < LIMIT_KINDS && limits->levels[i]->limits != NULL; j++)
            any = any || (strstr(limit_kinds[j].field, ending) != NULL &&
                          field_get(&limits->levels[i]->limits->base, limit_kinds[j].field).kind != FIELD_ABSENT);
    }
    if (!any || !value_parse_time(at, &seconds)) return;
    value_format_time(seconds, text);
    printf("%s %s.\n", sentence, text);
}

/** "key demo (k-1), model small:" and a line for each of its limits. */
static void print_level(const Bora__V1__RateLimitLevel *level, const char *currency) {
    int width = 0;
    fputs(terminal_style(stdout, STYLE_BOLD), stdout);
    print_line(stdout, level->scope);
    putchar(' ');
    print_line(stdout, level->name[0] != 0 ? level->name : level->id);
    if (level->_model_case == BORA__V1__RATE_LIMIT_LEVEL___MODEL_MODEL) {
        fputs(", model ", stdout);
        print_line(stdout, level->model);
    }
    printf("%s\n", terminal_plain(stdout));
    for (int i = 0; i < LIMIT_KINDS; i++) {
        int here = (int)strlen(limit_kinds[i].title);
        if (level->limits != NULL && field_get(&level->limits->base, limit_kinds[i].field).kind != FIELD_ABSENT &&
            here > width)
            width = here;
    }
    for (int i = 0; level->limits != NULL && i < LIMIT_KINDS; i++) print_limit(&limit_kinds[i], level, currency, width);
}

static void print_levels(struct connection *connection, const Bora__V1__RateLimit *limits) {
    const char *currency = "";
    for (size_t i = 0; i < limits->n_levels; i++) {
        if (currency[0] == 0 && doubt_bounds_spend(limits->levels[i]->limits)) currency = prices_currency(connection);
        print_level(limits->levels[i], currency);
    }
    if (limits->n_levels == 0) terminal_note("There are no limits.\n");
}

static void doubt_levels(struct connection *connection, const Bora__V1__RateLimit *limits) {
    const char *model = NULL;
    int count = 0;
    for (size_t i = 0; i < limits->n_levels; i++) {
        const Bora__V1__RateLimitLevel *level = limits->levels[i];
        if (!doubt_bounds_spend(level->limits)) continue;
        count++;
        model = level->_model_case == BORA__V1__RATE_LIMIT_LEVEL___MODEL_MODEL ? level->model : NULL;
    }
    if (count > 0) doubt_prices(connection, count == 1 ? model : NULL);
}

static int run_show(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    Bora__V1__GetRateLimitRequest request = BORA__V1__GET_RATE_LIMIT_REQUEST__INIT;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = whose.key != NULL ? keys_check_id(usage, whose.key) : GO_ON;
    if (result == GO_ON && whose_count() > 1)
        result = usage_error(usage, "--key excludes --workspace and --organization");
    if (result != GO_ON) return result;
    /* One's own limits are those of one's API key; others' are an administrator's matter. */
    result = connection_open(whose_count() == 0 ? CREDENTIAL_ANY : CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = find_whose(&connection);
    field_set_text(&request.base, "key_id", whose.key);
    field_set_text(&request.base, "workspace_id", whose.workspace);
    field_set_text(&request.base, "organization_id", whose.organization);
    if (result == GO_ON)
        result = connection_call(&connection, "/bora.v1.UsageService/GetRateLimit", &request.base,
                                 &bora__v1__rate_limit__descriptor, &reply);
    if (whose.key != NULL) (void)keys_explain(result);
    if (result == EXIT_FAILED && whose_count() == 0)
        terminal_note("  give --key KEY_ID, --workspace WORKSPACE or --organization ORGANIZATION\n");
    if (result == GO_ON && connection_options.json) {
        result = print_json(reply);
    } else if (result == GO_ON) {
        const Bora__V1__RateLimit *limits = (const Bora__V1__RateLimit *)reply;
        print_levels(&connection, limits);
        print_end(limits, "_per_day", "The day's limits begin anew at", field_text(reply, "day_resets_at"));
        print_end(limits, "_per_month", "The month's limits begin anew at", field_text(reply, "month_resets_at"));
        if (!connection_options.quiet) doubt_levels(&connection, limits);
        result = EXIT_OK;
    }
    connection_close(&connection);
    return result;
}

/* --- set ----------------------------------------------------------------------------------------------------------- */

static struct {
    const char *model;
    bool each_key, clear;
    struct limit_options limits;
} setting;

/** What is to be changed: methods and messages of a key, a workspace or an organization. */
struct target {
    const char *id_field, *id, *get, *update;
    const ProtobufCMessageDescriptor *get_request, *update_request, *reply;
};

static struct target find_target(void) {
    if (whose.key != NULL)
        return (struct target){"key_id",
                               whose.key,
                               KEYS "GetKey",
                               KEYS "UpdateKey",
                               &bora__v1__get_key_request__descriptor,
                               &bora__v1__update_key_request__descriptor,
                               &bora__v1__api_key__descriptor};
    if (whose.workspace != NULL)
        return (struct target){"workspace_id",
                               whose.workspace,
                               TENANTS "GetWorkspace",
                               TENANTS "UpdateWorkspace",
                               &bora__v1__get_workspace_request__descriptor,
                               &bora__v1__update_workspace_request__descriptor,
                               &bora__v1__workspace__descriptor};
    return (struct target){"organization_id",
                           whose.organization,
                           TENANTS "GetOrganization",
                           TENANTS "UpdateOrganization",
                           &bora__v1__get_organization_request__descriptor,
                           &bora__v1__update_organization_request__descriptor,
                           &bora__v1__organization__descriptor};
}

/** All limits of models with those of `setting.model` changed; a model without any is left out. GO_ON, or how to end after a sentence. */
static int change_model(const struct command_usage *usage, struct arena *arena, const ProtobufCMessage *before,
                        Bora__V1__ModelLimitsList *out) {
    const struct field_value list = field_get(before, "model_limits");
    Bora__V1__ModelLimits *changed = arena_alloc(arena, sizeof *changed);
    Bora__V1__Limits *limits = arena_alloc(arena, sizeof *limits);
    out->items = arena_alloc_array(arena, list.count + 1, sizeof *out->items);
    if (changed == NULL || limits == NULL || out->items == NULL) return EXIT_FAILED;
    bora__v1__limits__init(limits);
    bora__v1__model_limits__init(changed);
    changed->model = (char *)setting.model;
    changed->limits = limits;
    for (size_t i = 0; i < list.count; i++) {
        Bora__V1__ModelLimits *item = list.items[i];
        if (strcmp(item->model, setting.model) != 0)
            out->items[out->n_items++] = item;
        else if (!setting.clear && item->limits != NULL)
            *limits = *item->limits;
    }
    int result = limits_apply(usage, &setting.limits, limits);
    char text[LIMITS_TEXT_BYTES];
    limits_describe(limits, text);
    if (text[0] != 0) out->items[out->n_items++] = changed;
    return result;
}

/** The request of the change: what stays is sent too, as limits are replaced as a whole. */
static int fill_update(const struct command_usage *usage, struct arena *arena, const ProtobufCMessage *before,
                       ProtobufCMessage *update) {
    const char *field = setting.each_key ? "key_limits" : "limits";
    if (setting.model != NULL) {
        Bora__V1__ModelLimitsList *list = arena_alloc(arena, sizeof *list);
        if (list == NULL) return EXIT_FAILED;
        bora__v1__model_limits_list__init(list);
        field_set_message(update, "model_limits", &list->base);
        return change_model(usage, arena, before, list);
    }
    Bora__V1__Limits *limits = arena_alloc(arena, sizeof *limits);
    if (limits == NULL) return EXIT_FAILED;
    const struct field_value now = field_get(before, field);
    bora__v1__limits__init(limits);
    if (now.kind == FIELD_MESSAGE && !setting.clear) *limits = *(const Bora__V1__Limits *)now.message;
    field_set_message(update, field, &limits->base);
    return limits_apply(usage, &setting.limits, limits);
}

static int change(const struct command_usage *usage, const struct target *target, struct connection *connection,
                  ProtobufCMessage **out) {
    struct arena *arena = &connection->arena;
    ProtobufCMessage *get = arena_alloc(arena, target->get_request->sizeof_message), *before = NULL;
    ProtobufCMessage *update = arena_alloc(arena, target->update_request->sizeof_message);
    if (get == NULL || update == NULL) return EXIT_FAILED;
    field_message_init(target->get_request, get, target->get_request->sizeof_message);
    field_message_init(target->update_request, update, target->update_request->sizeof_message);
    field_set_text(get, target->id_field, target->id);
    field_set_text(update, target->id_field, target->id);
    int result = connection_call(connection, target->get, get, target->reply, &before);
    if (result == GO_ON) result = fill_update(usage, arena, before, update);
    if (result == GO_ON) result = connection_call(connection, target->update, update, target->reply, out);
    return result;
}

/** "Limits of key abc for model small now: ", the name in the words of the reply. */
static void print_scope(const ProtobufCMessage *reply) {
    printf("Limits of %s%s ", setting.each_key ? "each key of " : "",
           whose.key != NULL         ? "key"
           : whose.workspace != NULL ? "workspace"
                                     : "organization");
    print_line(stdout, field_text(reply, whose.key != NULL ? "prefix" : "name"));
    if (setting.model != NULL) {
        fputs(" for model ", stdout);
        print_line(stdout, setting.model);
    }
    fputs(" now: ", stdout);
}

/** What was set; and where that is for all models, what there is besides for some. */
static void print_changed(const ProtobufCMessage *reply) {
    char text[LIMITS_TEXT_BYTES];
    const Bora__V1__Limits *limits = NULL;
    if (connection_options.quiet) return;
    if (setting.model == NULL) {
        limits = (const Bora__V1__Limits *)field_get(reply, setting.each_key ? "key_limits" : "limits").message;
    } else {
        const struct field_value models = field_get(reply, "model_limits");
        for (size_t i = 0; i < models.count; i++) {
            const Bora__V1__ModelLimits *item = models.items[i];
            if (strcmp(item->model, setting.model) == 0) limits = item->limits;
        }
    }
    limits_describe(limits, text);
    print_scope(reply);
    printf("%s\n", text[0] != 0 ? text : "none");
    if (setting.model == NULL && !setting.each_key) result_print_model_limits(reply);
}

static void doubt_changed(struct connection *connection) {
    Bora__V1__Limits given = BORA__V1__LIMITS__INIT;
    (void)limits_apply(NULL, &setting.limits, &given); /* they were understood before */
    if (setting.model != NULL && limits_given(&setting.limits) > 0)
        doubt_models(connection, (char *const[]){(char *)setting.model}, 1, "so this limit limits nothing yet");
    if (doubt_bounds_spend(&given)) doubt_prices(connection, setting.model);
}

static int check_set(const struct command_usage *usage) {
    Bora__V1__Limits ignored = BORA__V1__LIMITS__INIT;
    if (whose_count() != 1) return usage_error(usage, "give --key, --workspace or --organization");
    if (setting.each_key && (whose.workspace == NULL || setting.model != NULL))
        return usage_error(usage, "--each-key is of --workspace, without --model");
    if (setting.model != NULL && setting.model[0] == 0) return usage_error(usage, "--model is empty");
    if (limits_given(&setting.limits) == 0 && !setting.clear) return usage_error(usage, "no limit was given");
    int result = whose.key != NULL ? keys_check_id(usage, whose.key) : GO_ON;
    return result == GO_ON ? limits_apply(usage, &setting.limits, &ignored) : result;
}

static int run_set(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    struct connection connection;
    ProtobufCMessage *reply = NULL;
    int result = check_set(usage);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    result = find_whose(&connection);
    const struct target target = find_target();
    if (result == GO_ON) result = change(usage, &target, &connection, &reply);
    if (whose.key != NULL) (void)keys_explain(result);
    if (result == GO_ON) {
        if (!connection_options.json) print_changed(reply);
        result = connection_options.json ? print_json(reply) : EXIT_OK;
        doubt_changed(&connection);
    }
    connection_close(&connection);
    return result;
}

static const struct argument show_arguments[] = {WHOSE_ARGUMENTS, {ARGUMENT_END, NULL, NULL, NULL, NULL}};
static const struct argument set_arguments[] = {
    WHOSE_ARGUMENTS,
    {ARGUMENT_TEXT, "model", "MODEL", "for this model, alias or tier, besides those over all models", &setting.model},
    {ARGUMENT_FLAG, "each-key", NULL, "of a workspace: what each of its keys has that says nothing itself",
     &setting.each_key},
    {ARGUMENT_FLAG, "clear", NULL, "take away first what is there", &setting.clear},
    LIMIT_ARGUMENTS(&setting.limits),
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

const struct command limits_commands[] = {
    {.usage =
         {"limits show", "",
          "The limits that count, of the organization, the workspace and the key, what counts against them now, with\n"
          "the worst case of answers under way, and what is left. Without an option those of the API key itself.",
          0, 0},
     .help = "what may be used, and what is left of it now",
     .arguments = show_arguments,
     .connects = true,
     .is_default = true,
     .run = run_show},
    {.usage = {"limits set", "",
               "Change limits of a key, a workspace (of all its keys together) or an organization; what is not given "
               "stays.\n" LIMIT_HELP,
               0, 0},
     .help = "change limits of a key, workspace or organization",
     .arguments = set_arguments,
     .connects = true,
     .run = run_set},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
