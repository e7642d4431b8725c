/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Do the books agree, and what to do when they do not: mend what can be counted anew, else give up what runs. */
#include "engine/scheduler/scheduler_internal.h"

#include <string.h>

/* ---- checking ------------------------------------------------------------------------------------------------------ */

/** Where its block table must lie. */
static const int32_t *table_of(const struct scheduler *scheduler, const struct sequence *sequence) {
    const struct beam_search *beams = sequence->beams;
    for (int i = 1; !sequence_leads(sequence) && i < beams->branch_count; i++) {
        if (beams->branches[i] == sequence) return beams->tables[i];
    }
    return scheduler->block_tables + (size_t)sequence->slot * (size_t)scheduler->table_blocks;
}

/** Can its numbers be true, and its block table be read? */
static bool is_sound(const struct scheduler *scheduler, const struct sequence *sequence) {
    if (sequence->slot < 0 || sequence->slot >= scheduler->options.sequences_max || sequence->tenant == NULL ||
        sequence->blocks != table_of(scheduler, sequence))
        return false;
    if (sequence->block_count < kv_cache_blocks_for(sequence->computed) ||
        sequence->block_count > kv_cache_blocks_for(sequence_limit(sequence)) ||
        sequence->computed >= sequence->token_count || sequence->recorded > sequence->computed)
        return false;
    for (int64_t b = 0; b < sequence->block_count; b++) {
        if (sequence->blocks[b] < 0 || sequence->blocks[b] >= kv_cache_block_count(scheduler->options.cache))
            return false;
    }
    return true;
}

static enum status check_sequences(const struct scheduler *scheduler, struct error *err) {
    for (int i = 0; i < scheduler->running_count; i++) {
        const struct sequence *sequence = scheduler->running[i];
        if (is_sound(scheduler, sequence)) continue;
        return error_set(err, STATUS_INTERNAL,
                         "a sequence of %lld tokens, %lld computed and %lld recorded, holds %lld blocks",
                         (long long)sequence->token_count, (long long)sequence->computed, (long long)sequence->recorded,
                         (long long)sequence->block_count);
    }
    return STATUS_OK;
}

/** Mark slots as used; false when one is already, or there is no such slot. */
static bool mark_slots(const struct scheduler *scheduler, const int *slots, int count) {
    for (int i = 0; i < count; i++) {
        if (slots[i] < 0 || slots[i] >= scheduler->options.sequences_max || scheduler->check_slots[slots[i]])
            return false;
        scheduler->check_slots[slots[i]] = true;
    }
    return true;
}

/** Mark the slots of those that run. */
static bool mark_used_slots(const struct scheduler *scheduler) {
    memset(scheduler->check_slots, 0, (size_t)scheduler->options.sequences_max * sizeof *scheduler->check_slots);
    for (int i = 0; i < scheduler->running_count; i++) {
        const struct sequence *sequence = scheduler->running[i];
        if (sequence_leads(sequence) && !mark_slots(scheduler, &sequence->slot, 1)) return false;
    }
    return true;
}

/** Every slot is somebody's or free, and one of these only. */
static enum status check_slots(const struct scheduler *scheduler, struct error *err) {
    bool sound = mark_used_slots(scheduler) && mark_slots(scheduler, scheduler->free_slots, scheduler->free_slot_count);
    for (int i = 0; sound && i < scheduler->options.sequences_max; i++) sound = scheduler->check_slots[i];
    return sound ? STATUS_OK
                 : error_set(err, STATUS_INTERNAL,
                             "%d sequences run and %d slots are free of %d, but not every slot once",
                             scheduler->running_count, scheduler->free_slot_count, scheduler->options.sequences_max);
}

struct tenant_books {
    int alive, running;
    int64_t blocks;
};

static struct tenant_books count_tenant(const struct scheduler *scheduler, const struct tenant *tenant) {
    struct tenant_books books = {0};
    for (const struct sequence *at = tenant->first; at != NULL; at = at->next) books.alive++;
    for (int i = 0; i < scheduler->running_count; i++) {
        const struct sequence *sequence = scheduler->running[i];
        if (sequence->tenant != tenant) continue;
        books.running += sequence_leads(sequence);
        books.alive += sequence_leads(sequence);
        books.blocks += sequence->block_count;
    }
    return books;
}

static enum status check_tenants(const struct scheduler *scheduler, struct error *err) {
    int alive = 0;
    for (const struct tenant *tenant = scheduler->queue.active.first; tenant != NULL; tenant = tenant->next) {
        struct tenant_books books = count_tenant(scheduler, tenant);
        alive += books.alive;
        if (books.alive == tenant->alive && books.running == tenant->running && books.blocks == tenant->blocks)
            continue;
        return error_set(err, STATUS_INTERNAL,
                         "a tenant has %d sequences, %d slots and %lld blocks; its books say %d, %d, %lld", books.alive,
                         books.running, (long long)books.blocks, tenant->alive, tenant->running,
                         (long long)tenant->blocks);
    }
    return alive == scheduler->alive
               ? STATUS_OK
               : error_set(err, STATUS_INTERNAL, "%d sequences are there; the books say %d", alive, scheduler->alive);
}

/** Count the tables that name each block. */
static void count_references(const struct scheduler *scheduler) {
    int32_t *references = scheduler->check_references;
    memset(references, 0, (size_t)kv_cache_block_count(scheduler->options.cache) * sizeof *references);
    for (int i = 0; i < scheduler->running_count; i++) {
        const struct sequence *sequence = scheduler->running[i];
        for (int64_t b = 0; b < sequence->block_count; b++) references[sequence->blocks[b]]++;
    }
}

enum status scheduler_check(const struct scheduler *scheduler, struct error *err) {
    TRY(kv_cache_check(scheduler->options.cache, err));
    TRY(queue_check(&scheduler->queue, err));
    TRY(check_sequences(scheduler, err));
    TRY(check_slots(scheduler, err));
    TRY(check_tenants(scheduler, err));
    const int32_t *references = scheduler->check_references;
    count_references(scheduler);
    for (int32_t b = 0; b < kv_cache_block_count(scheduler->options.cache); b++) {
        if (references[b] == kv_cache_references(scheduler->options.cache, b)) continue;
        return error_set(err, STATUS_INTERNAL, "KV block %d is in %d tables and has %d references", b, references[b],
                         kv_cache_references(scheduler->options.cache, b));
    }
    return STATUS_OK;
}

/* ---- mending ------------------------------------------------------------------------------------------------------- */

/** Tenants' books, and how many are alive. */
static void repair_tenants(struct scheduler *scheduler) {
    scheduler->alive = 0;
    for (struct tenant *tenant = scheduler->queue.active.first; tenant != NULL; tenant = tenant->next) {
        struct tenant_books books = count_tenant(scheduler, tenant);
        tenant->alive = books.alive;
        tenant->running = books.running;
        tenant->blocks = books.blocks;
        scheduler->alive += books.alive;
    }
}

static void repair_slots(struct scheduler *scheduler) {
    if (!mark_used_slots(scheduler)) return; /* two have one slot: that cannot be mended */
    scheduler->free_slot_count = 0;
    for (int i = scheduler->options.sequences_max - 1; i >= 0; i--) {
        if (!scheduler->check_slots[i]) scheduler->free_slots[scheduler->free_slot_count++] = i;
    }
}

static void repair_cache(struct scheduler *scheduler) {
    count_references(scheduler);
    kv_cache_repair(scheduler->options.cache, scheduler->check_references);
    for (int i = 0; i < scheduler->running_count; i++) {
        struct sequence *sequence = scheduler->running[i];
        sequence->prefix = sequence->root;
        sequence->recorded = 0;
        scheduler_record(scheduler, sequence);
    }
}

/** End all that run, whatever their books say, and begin with free slots and blocks. Those that wait stay. */
static void give_up(struct scheduler *scheduler, const char *message) {
    struct sequence **leaders = scheduler->planned;
    int count = 0, running = scheduler->running_count;
    for (int i = 0; i < running; i++) {
        struct sequence *sequence = scheduler->running[i];
        if (sequence->planned == UINT64_MAX) continue; /* it stood there twice */
        sequence->planned = UINT64_MAX;
        sequence->slot = -1;
        sequence->blocks = NULL;
        sequence->block_count = sequence->computed = sequence->recorded = 0;
        if (!sequence_leads(sequence) || sequence->tenant == NULL) continue;
        leaders[count++] = sequence;
    }
    repair_tenants(scheduler); /* they count those that are about to go */
    scheduler->running_count = scheduler->turn = 0;
    for (struct tenant *tenant = scheduler->queue.active.first; tenant != NULL; tenant = tenant->next)
        tenant->running = 0;
    repair_slots(scheduler);
    repair_cache(scheduler);
    scheduler->batch.rows = scheduler->batch.sequence_count = 0;
    for (int i = 0; i < count; i++) {
        queue_forget(&scheduler->queue, leaders[i]);
        scheduler->alive--;
        leaders[i]->owner->report(leaders[i], FINISH_ERROR, message);
    }
}

void scheduler_repair(struct scheduler *scheduler) {
    struct error err = {0};
    queue_repair(&scheduler->queue);
    if (check_sequences(scheduler, &err) == STATUS_OK) {
        repair_slots(scheduler);
        repair_tenants(scheduler);
        repair_cache(scheduler);
        if (scheduler_check(scheduler, &err) == STATUS_OK) return;
    }
    give_up(scheduler, "the engine lost track of its memory and started over");
}
