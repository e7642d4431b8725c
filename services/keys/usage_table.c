/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/usage_table.h"

#include "services/keys/out_of_memory.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS_FIRST = 64, AMOUNTS_BYTES = 128 };

/** A field's name, taken apart. */
struct parts {
    struct bytes_view key, workspace, model;
};

static bool take_apart(struct bytes_view name, struct parts *out) {
    const uint8_t *end = name.data + name.length;
    const uint8_t *first = memchr(name.data, ' ', name.length);
    const uint8_t *second = first != NULL ? memchr(first + 1, ' ', (size_t)(end - first - 1)) : NULL;
    if (second == NULL) return false;
    out->key = bytes_view_of(name.data, (size_t)(first - name.data));
    out->workspace = bytes_view_of(first + 1, (size_t)(second - first - 1));
    out->model = bytes_view_of(second + 1, (size_t)(end - second - 1));
    return true;
}

/* --- the hash table ---------------------------------------------------------------------------------------------- */

static uint64_t hash_row(int64_t begin, const struct parts *parts) {
    uint64_t hash = bytes_hash(BYTES_HASH_START, bytes_view_of(&begin, sizeof begin));
    hash = bytes_hash(hash, parts->key);
    hash = bytes_hash(bytes_hash(hash, bytes_view_string(" ")), parts->workspace);
    return bytes_hash(bytes_hash(hash, bytes_view_string(" ")), parts->model);
}

static bool is_row(const struct usage_row *row, int64_t begin, const struct parts *parts) {
    return row->begin == begin && bytes_view_equal_string(parts->key, row->key) &&
           bytes_view_equal_string(parts->workspace, row->workspace) &&
           bytes_view_equal_string(parts->model, row->model);
}

/** The slot of the row, or the free one where it belongs. */
static uint32_t *find_slot(const struct usage_table *table, int64_t begin, const struct parts *parts) {
    size_t mask = table->slot_count - 1, at = hash_row(begin, parts) & mask;
    while (table->slots[at] != 0 && !is_row(&table->rows[table->slots[at] - 1], begin, parts)) at = (at + 1) & mask;
    return &table->slots[at];
}

static enum status grow(struct usage_table *table, size_t capacity, struct error *err) {
    struct usage_row *rows = arena_alloc_array(table->arena, capacity, sizeof *rows);
    uint32_t *slots = arena_alloc_array(table->arena, 2 * capacity, sizeof *slots);
    if (rows == NULL || slots == NULL) return too_much_memory(err);
    if (table->count > 0) memcpy(rows, table->rows, table->count * sizeof *rows);
    table->rows = rows;
    table->slots = slots;
    table->capacity = capacity;
    table->slot_count = 2 * capacity;
    for (size_t i = 0; i < table->count; i++) {
        const struct parts parts = {bytes_view_string(rows[i].key), bytes_view_string(rows[i].workspace),
                                    bytes_view_string(rows[i].model)};
        *find_slot(table, rows[i].begin, &parts) = (uint32_t)(i + 1);
    }
    return STATUS_OK;
}

enum status usage_table_init(struct usage_table *table, const struct usage_range *range,
                             const struct usage_filter *filter, const struct usage_grouping *grouping,
                             struct arena *arena, struct error *err) {
    *table = (struct usage_table){.range = *range, .filter = *filter, .grouping = *grouping, .arena = arena};
    return grow(table, ROWS_FIRST, err);
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

static bool passes(const struct usage_filter *filter, const struct parts *parts) {
    return (filter->key == NULL || bytes_view_equal_string(parts->key, filter->key)) &&
           (filter->workspace == NULL || bytes_view_equal_string(parts->workspace, filter->workspace)) &&
           (filter->model == NULL || bytes_view_equal_string(parts->model, filter->model));
}

static const char *copy_of(struct usage_table *table, struct bytes_view text) {
    return text.length == 0 ? "" : arena_copy(table->arena, text.data, text.length);
}

static enum status find_row(struct usage_table *table, int64_t begin, const struct parts *parts, struct usage_row **out,
                            struct error *err) {
    uint32_t *slot = find_slot(table, begin, parts);
    if (*slot == 0) {
        if (table->count == USAGE_ROWS_MAX)
            return error_set(err, STATUS_OUT_OF_RANGE,
                             "more than %d rows; ask for a shorter time, a longer interval or fewer groups",
                             USAGE_ROWS_MAX);
        if (table->count == table->capacity) {
            TRY(grow(table, 2 * table->capacity, err));
            slot = find_slot(table, begin, parts);
        }
        struct usage_row row = {
            begin, copy_of(table, parts->key), copy_of(table, parts->workspace), copy_of(table, parts->model), {0}};
        if (row.key == NULL || row.workspace == NULL || row.model == NULL) return too_much_memory(err);
        table->rows[table->count++] = row;
        *slot = (uint32_t)table->count;
    }
    *out = &table->rows[*slot - 1];
    return STATUS_OK;
}

enum status usage_table_add(struct usage_table *table, int64_t time, struct bytes_view name, struct bytes_view amounts,
                            struct error *err) {
    struct parts parts;
    struct ledger_amounts added;
    char text[AMOUNTS_BYTES];
    if (amounts.length >= sizeof text || !take_apart(name, &parts))
        return error_set(err, STATUS_DATA_LOSS, "the sums hold a malformed field");
    memcpy(text, amounts.data, amounts.length);
    text[amounts.length] = 0;
    if (!ledger_amounts_read(text, &added)) return error_set(err, STATUS_DATA_LOSS, "the sums hold a malformed field");
    if (!passes(&table->filter, &parts)) return STATUS_OK;
    if (!table->grouping.key) parts.key = bytes_view_string("");
    if (!table->grouping.workspace) parts.workspace = bytes_view_string("");
    if (!table->grouping.model) parts.model = bytes_view_string("");
    struct usage_row *row = NULL;
    TRY(find_row(table, usage_range_begin(&table->range, time), &parts, &row, err));
    if (!ledger_amounts_add(&row->amounts, &added) || !ledger_amounts_add(&table->total, &added))
        return error_set(err, STATUS_OUT_OF_RANGE, "the sums are too large; ask for a shorter time");
    return STATUS_OK;
}

static bool is_nothing(const struct ledger_amounts *amounts) {
    return amounts->requests == 0 && amounts->input == 0 && amounts->cached == 0 && amounts->output == 0 &&
           amounts->cost == 0;
}

static int compare_rows(const void *a, const void *b) {
    const struct usage_row *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    int order = strcmp(x->key, y->key);
    if (order == 0) order = strcmp(x->workspace, y->workspace);
    return order != 0 ? order : strcmp(x->model, y->model);
}

void usage_table_finish(struct usage_table *table) {
    size_t kept = 0;
    for (size_t i = 0; i < table->count; i++) {
        if (!is_nothing(&table->rows[i].amounts)) table->rows[kept++] = table->rows[i];
    }
    table->count = kept;
    qsort(table->rows, kept, sizeof *table->rows, compare_rows);
}

/* --- Redis ------------------------------------------------------------------------------------------------------- */

static enum status read_sums(struct usage_table *table, struct redis_client *redis, const char *organization,
                             int64_t time, struct error *err) {
    char name[LEDGER_NAME_BYTES];
    ledger_sums_name(organization, usage_range_kind(&table->range), time * 1000, name);
    struct redis_reply *reply = NULL;
    TRY(redis_callf(redis, &reply, err, "HGETALL %s", name));
    enum status status = STATUS_OK;
    for (size_t i = 0; i + 1 < reply->count && status == STATUS_OK; i += 2)
        status = usage_table_add(table, time, reply->items[i].string, reply->items[i + 1].string, err);
    redis_reply_free(reply);
    return status;
}

enum status usage_table_read(struct usage_table *table, struct redis_client *redis, const char *organization,
                             struct error *err) {
    int64_t step = usage_range_step(&table->range);
    for (int64_t time = table->range.from; time < table->range.to; time += step)
        TRY(read_sums(table, redis, organization, time, err));
    return STATUS_OK;
}
