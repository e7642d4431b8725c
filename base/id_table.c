/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/id_table.h"

#include <stdlib.h>

enum { BUCKETS_MIN = 16 };

void id_table_init(struct id_table *table) {
    *table = (struct id_table){0};
}

void id_table_deinit(struct id_table *table) {
    free(table->buckets);
    *table = (struct id_table){0};
}

/** Where the entry of `id` hangs, or would. There are buckets. */
static struct id_entry **place_of(const struct id_table *table, uint64_t id) {
    struct id_entry **place = &table->buckets[id & (table->bucket_count - 1)];
    while (*place != NULL && (*place)->id != id) place = &(*place)->next;
    return place;
}

static enum status grow(struct id_table *table) {
    size_t count = table->bucket_count > 0 ? 2 * table->bucket_count : BUCKETS_MIN;
    struct id_table grown = {.buckets = calloc(count, sizeof(struct id_entry *)), .bucket_count = count};
    if (grown.buckets == NULL) return STATUS_RESOURCE_EXHAUSTED;
    grown.count = table->count;
    for (struct id_entry *entry = id_table_take_all(table), *next; entry != NULL; entry = next) {
        next = entry->next;
        struct id_entry **place = place_of(&grown, entry->id);
        entry->next = NULL;
        *place = entry;
    }
    free(table->buckets);
    *table = grown;
    return STATUS_OK;
}

enum status id_table_add(struct id_table *table, struct id_entry *entry, uint64_t id) {
    /* A full table without memory for a larger one gets longer chains. */
    if (table->count >= table->bucket_count && grow(table) != STATUS_OK && table->bucket_count == 0)
        return STATUS_RESOURCE_EXHAUSTED;
    struct id_entry **place = place_of(table, id);
    if (*place != NULL) return STATUS_ALREADY_EXISTS;
    *entry = (struct id_entry){.id = id};
    *place = entry;
    table->count++;
    return STATUS_OK;
}

struct id_entry *id_table_find(const struct id_table *table, uint64_t id) {
    return table->count > 0 ? *place_of(table, id) : NULL;
}

struct id_entry *id_table_remove(struct id_table *table, uint64_t id) {
    if (table->count == 0) return NULL;
    struct id_entry **place = place_of(table, id), *entry = *place;
    if (entry == NULL) return NULL;
    *place = entry->next;
    entry->next = NULL;
    table->count--;
    return entry;
}

struct id_entry *id_table_take_all(struct id_table *table) {
    struct id_entry *all = NULL;
    for (size_t i = 0; i < table->bucket_count; i++) {
        for (struct id_entry *entry = table->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = all;
            all = entry;
        }
        table->buckets[i] = NULL;
    }
    table->count = 0;
    return all;
}
