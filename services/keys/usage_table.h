/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Rows of a report: what sums of hours or days ("<key prefix> <workspace> <model>" -> amounts, ledger.h) add up to, by interval and by what they are grouped by.
 */
#ifndef SERVICES_KEYS_USAGE_TABLE_H
#define SERVICES_KEYS_USAGE_TABLE_H

#include "base/arena.h"
#include "services/keys/ledger.h"
#include "services/keys/usage_range.h"

enum { USAGE_ROWS_MAX = 100000 };

/** NULL: of all. */
struct usage_filter {
    const char *key, *workspace, *model; /* a key's prefix */
};
struct usage_grouping {
    bool key, workspace, model;
};

struct usage_row {
    int64_t begin;
    const char *key, *workspace, *model; /* "" unless they are grouped by it */
    struct ledger_amounts amounts;
};

struct usage_table {
    struct usage_range range;
    struct usage_filter filter;
    struct usage_grouping grouping;
    struct arena *arena;
    size_t count, capacity;
    struct usage_row *rows;
    struct ledger_amounts total;
    uint32_t *slots; /* hash table of row numbers, from 1; capacity a power of two, at most half full */
    size_t slot_count;
};

/** Names are lent until the table is no longer used; all else is in the arena. */
enum status usage_table_init(struct usage_table *table, const struct usage_range *range,
                             const struct usage_filter *filter, const struct usage_grouping *grouping,
                             struct arena *arena, struct error *err);
/**
 * One field of the sums of the hour or day that begins at `time`.
 * Fails: OUT_OF_RANGE: more than USAGE_ROWS_MAX rows, or amounts that no longer fit; DATA_LOSS: the field is malformed; RESOURCE_EXHAUSTED: the arena.
 */
enum status usage_table_add(struct usage_table *table, int64_t time, struct bytes_view name, struct bytes_view amounts,
                            struct error *err);
/** Rows that add up to nothing go; the others are in order: by begin, key, workspace, model. */
void usage_table_finish(struct usage_table *table);

/** Add all of the organisation's sums in the table's range. Blocks. */
enum status usage_table_read(struct usage_table *table, struct redis_client *redis, const char *organization,
                             struct error *err);

#endif
