/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * A hash table of things with a number of 64 bits, which hold their own links: adding and removing allocates nothing but the growing
 * array of buckets. Numbers are spread by their low bits, so they had better be counted up.
 *
 *     struct session { struct id_entry entry; ... };
 *     id_table_add(&table, &session->entry, number);
 *     struct session *found = (struct session *)id_table_find(&table, number);   // `entry` being the first member
 *
 * One thread at a time.
 */
#ifndef BASE_ID_TABLE_H
#define BASE_ID_TABLE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct id_entry {
    struct id_entry *next; /* in its bucket */
    uint64_t id;
};
struct id_table {
    struct id_entry **buckets;
    size_t bucket_count, count;
};

/** Also a zeroed table is one that is empty. */
void id_table_init(struct id_table *table);
/** Forgets the entries. */
void id_table_deinit(struct id_table *table);
/** STATUS_ALREADY_EXISTS, or STATUS_RESOURCE_EXHAUSTED without memory. */
enum status id_table_add(struct id_table *table, struct id_entry *entry, uint64_t id);
struct id_entry *id_table_find(const struct id_table *table, uint64_t id); /* NULL: none */
struct id_entry *id_table_remove(struct id_table *table, uint64_t id);     /* likewise */
/** Removes all of them: a list by `next`. */
struct id_entry *id_table_take_all(struct id_table *table);

#endif
