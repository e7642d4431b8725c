/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* GetUsage: sums of hours or days, added up. */
#include "services/keys/usage_methods.h"

#include "base/clock.h"
#include "bora/v1/usage.pb-c.h"
#include "services/keys/money.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/prices.h"
#include "services/keys/time_text.h"
#include "services/keys/usage_names.h"
#include "services/keys/usage_scope.h"

#include <string.h>

/* --- names ------------------------------------------------------------------------------------------------------- */

/** One row, and what its key and workspace are called. */
struct named_row {
    const struct usage_row *row;
    const char *key_name, *workspace_name;
};

static enum status name_rows(struct handling *handling, const struct usage_table *table, const char *organization,
                             struct named_row *rows, struct error *err) {
    size_t count = table->count;
    struct usage_name *names = arena_alloc_array(&handling->arena, count, sizeof *names);
    if (names == NULL) return too_much_memory(err);
    for (size_t i = 0; i < count; i++) rows[i] = (struct named_row){.row = &table->rows[i]};
    if (table->grouping.key) {
        for (size_t i = 0; i < count; i++) names[i] = (struct usage_name){rows[i].row->key, &rows[i].key_name};
        TRY(usage_names_find(handling, "key", organization, names, count, err));
    }
    if (table->grouping.workspace) {
        for (size_t i = 0; i < count; i++)
            names[i] = (struct usage_name){rows[i].row->workspace, &rows[i].workspace_name};
        TRY(usage_names_find(handling, "ws", organization, names, count, err));
    }
    return STATUS_OK;
}

/* --- the report -------------------------------------------------------------------------------------------------- */

static const char *time_of(struct arena *arena, int64_t time) {
    char text[TIME_TEXT_BYTES];
    time_format(time, text);
    return arena_copy(arena, text, strlen(text));
}

static void fill_amounts(const struct ledger_amounts *amounts, Bora__V1__UsageRow *out) {
    out->requests = amounts->requests;
    out->input_tokens = amounts->input;
    out->cached_tokens = amounts->cached;
    out->output_tokens = amounts->output;
    out->cost = money_units(amounts->cost);
}

#define SET(message, Message, field, FIELD, value)                              \
    do {                                                                        \
        (message)->_##field##_case = BORA__V1__##Message##___##FIELD##_##FIELD; \
        (message)->field = (char *)(value);                                     \
    } while (0)

static const char *id_of_key(struct arena *arena, const char *prefix) {
    char id[UUID_CHARACTERS + 1];
    if (!key_prefix_is_valid(prefix)) return prefix; /* nobody's; shown as it is */
    uuid_of_prefix(prefix, id);
    return arena_copy(arena, id, UUID_CHARACTERS);
}

static bool fill_row(const struct named_row *row, const struct usage_table *table, struct arena *arena,
                     Bora__V1__UsageRow *out) {
    bora__v1__usage_row__init(out);
    fill_amounts(&row->row->amounts, out);
    out->start = (char *)time_of(arena, row->row->begin);
    bool ok = out->start != NULL;
    if (table->grouping.key) {
        SET(out, USAGE_ROW, key_id, KEY_ID, id_of_key(arena, row->row->key));
        SET(out, USAGE_ROW, key_prefix, KEY_PREFIX, row->row->key);
        if (row->key_name != NULL) SET(out, USAGE_ROW, key_name, KEY_NAME, row->key_name);
        ok = ok && out->key_id != NULL;
    }
    if (table->grouping.workspace) {
        SET(out, USAGE_ROW, workspace_id, WORKSPACE_ID, row->row->workspace);
        if (row->workspace_name != NULL) SET(out, USAGE_ROW, workspace_name, WORKSPACE_NAME, row->workspace_name);
    }
    if (table->grouping.model) SET(out, USAGE_ROW, model, MODEL, row->row->model);
    return ok;
}

static enum status fill_report(struct handling *handling, const struct usage_table *table, const char *organization,
                               Bora__V1__UsageReport *out, struct error *err) {
    struct arena *arena = &handling->arena;
    struct named_row *named = arena_alloc_array(arena, table->count, sizeof *named);
    Bora__V1__UsageRow *rows = arena_alloc_array(arena, table->count + 1, sizeof *rows);
    out->rows = arena_alloc_array(arena, table->count, sizeof *out->rows);
    if (named == NULL || rows == NULL || out->rows == NULL) return too_much_memory(err);
    TRY(name_rows(handling, table, organization, named, err));
    for (size_t i = 0; i < table->count; i++) {
        if (!fill_row(&named[i], table, arena, &rows[i])) return too_much_memory(err);
        if (out->currency[0] != 0) SET(&rows[i], USAGE_ROW, currency, CURRENCY, out->currency);
        out->rows[out->n_rows++] = &rows[i];
    }
    out->total = &rows[table->count];
    bora__v1__usage_row__init(out->total);
    fill_amounts(&table->total, out->total);
    out->from = (char *)time_of(arena, table->range.from);
    out->to = (char *)time_of(arena, table->range.to);
    out->total->start = out->from;
    out->interval = (char *)usage_interval_name(table->range.interval);
    return out->from != NULL && out->to != NULL ? STATUS_OK : too_much_memory(err);
}

static struct usage_grouping grouping_of(const Bora__V1__GetUsageRequest *request) {
    struct usage_grouping grouping = {false, false, false};
    for (size_t i = 0; i < request->n_group_by; i++) {
        grouping.key = grouping.key || strcmp(request->group_by[i], "key") == 0;
        grouping.workspace = grouping.workspace || strcmp(request->group_by[i], "workspace") == 0;
        grouping.model = grouping.model || strcmp(request->group_by[i], "model") == 0;
    }
    return grouping;
}

static enum status read_range(struct handling *handling, const Bora__V1__GetUsageRequest *request,
                              struct usage_range *out) {
    const struct usage_asked asked = {OPTIONAL(request, from), OPTIONAL(request, to), OPTIONAL(request, interval),
                                      PRESENT(request, year) ? request->year : 0,
                                      PRESENT(request, month) ? request->month : 0};
    const char *field = NULL, *message = NULL;
    int64_t now = clock_unix_ns(clock_system()) / NS_PER_S;
    if (usage_range_read(&asked, now, out, &field, &message)) return STATUS_OK;
    return handling_refuse_field(handling, field, -1, message);
}

enum status usage_get(struct handling *handling, const void *message, ProtobufCMessage **out, struct error *err) {
    const Bora__V1__GetUsageRequest *request = message;
    const struct usage_wanted wanted = {OPTIONAL(request, organization_id), OPTIONAL(request, workspace_id),
                                        OPTIONAL(request, key_id), OPTIONAL(request, model)};
    const struct usage_grouping grouping = grouping_of(request);
    struct usage_range range;
    struct usage_scope scope;
    struct usage_table table;
    TRY(read_range(handling, request, &range));
    TRY(usage_scope_find(handling, &wanted, &scope, err));
    TRY(usage_table_init(&table, &range, &scope.filter, &grouping, &handling->arena, err));
    struct error cause = {0};
    enum status status = usage_table_read(&table, handling->service->redis, scope.organization, &cause);
    if (status == STATUS_OUT_OF_RANGE)
        return handling_refuse_field(handling, "group_by", -1,
                                     arena_printf(&handling->arena, "Value error, %s", cause.message));
    if (status == STATUS_RESOURCE_EXHAUSTED || status == STATUS_DATA_LOSS)
        return error_set(err, status, "%s", cause.message);
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    usage_table_finish(&table);
    Bora__V1__UsageReport *report = arena_alloc(&handling->arena, sizeof *report);
    if (report == NULL) return too_much_memory(err);
    bora__v1__usage_report__init(report);
    TRY(prices_currency(handling, (const char **)&report->currency, err));
    TRY(fill_report(handling, &table, scope.organization, report, err));
    *out = &report->base;
    return STATUS_OK;
}
