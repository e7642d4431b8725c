/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/ledger_batch.h"

#include "base/text.h"
#include "services/keys/out_of_memory.h"
#include "store/limits.h"

#include <inttypes.h>
#include <string.h>

enum { UNREADABLE_BYTES_MAX = 4096, NUMBER_BYTES_MAX = 20, SECONDS_PER_HOUR = 3600, SECONDS_PER_DAY = 24 * 3600 };
/* Of one entry: input and output may cost 10^15 nanos each (store/limits_common.lua). Sums of a batch stay far from the end of 64 bits. */
#define AMOUNT_MAX INT64_C(4000000000000000)
/* Until the year 9999. */
#define TIME_MS_MAX INT64_C(253402300799999)

/* The ledger's fields. Entries of the outbox that have them already, as earlier versions wrote (store/limits.h), stay as they are. */
enum field {
    REQUEST,
    LEASE,
    KEY,
    WORKSPACE,
    MODEL,
    ENDPOINT,
    INPUT,
    CACHED,
    OUTPUT,
    COST,
    KIND,
    REQUESTS,
    TIME,
    BEGAN,
    FIELDS
};
static const char field_letters[FIELDS + 1] = "rlkwmeiconsqtb";

struct entry {
    bool readable;
    struct bytes_view unreadable; /* as text */
    int64_t time_ms;
    struct bytes_view fields[FIELDS];
    struct ledger_amounts amounts;
};

/** What the batch adds to one field of a hash of sums. */
struct group {
    struct group *next;
    struct bytes_view name; /* "<key prefix> <workspace> <model>" */
    uint64_t hash;
    struct ledger_amounts amounts;
};
struct sums {
    struct sums *next;
    char kind; /* 'h', 'd' */
    int64_t begin_s;
    size_t group_count;
    struct group *groups;
};

struct ledger_batch {
    const char *organization;
    struct arena *arena;
    size_t entry_count, unreadable_count;
    struct entry *entries;
    struct bytes_view last_id;
    int64_t oldest_ms;
    size_t sums_count, group_count;
    struct sums *sums;
};

/* --- reading entries --------------------------------------------------------------------------------------------- */

static bool read_number(struct bytes_view text, int64_t minimum, int64_t maximum, int64_t *out) {
    char digits[NUMBER_BYTES_MAX + 1];
    if (text.length == 0 || text.length > NUMBER_BYTES_MAX) return false;
    memcpy(digits, text.data, text.length);
    digits[text.length] = 0;
    return strlen(digits) == text.length && text_to_i64(digits, out) && *out >= minimum && *out <= maximum;
}

/** The names of sums are split at blanks; only a model, which comes last, may hold one. */
static bool is_id(struct bytes_view text) {
    return text.length > 0 && text.length <= LIMITS_ID_BYTES && memchr(text.data, ' ', text.length) == NULL &&
           memchr(text.data, 0, text.length) == NULL;
}

static bool has_ids(const struct entry *entry) {
    struct bytes_view model = entry->fields[MODEL];
    return is_id(entry->fields[KEY]) && is_id(entry->fields[WORKSPACE]) && model.length <= LIMIT_MODEL_NAME_BYTES &&
           memchr(model.data, 0, model.length) == NULL;
}

static bool read_fields(const struct redis_reply *words, struct entry *out) {
    bool seen[FIELDS] = {false};
    for (size_t i = 0; i + 1 < words->count; i += 2) {
        struct bytes_view name = words->items[i].string;
        const char *letter = name.length == 1 ? memchr(field_letters, name.data[0], FIELDS) : NULL;
        if (letter == NULL) continue; /* a newer gateway's */
        out->fields[letter - field_letters] = words->items[i + 1].string;
        seen[letter - field_letters] = true;
    }
    for (int i = 0; i < FIELDS; i++) {
        if (!seen[i]) return false;
    }
    struct ledger_amounts *amounts = &out->amounts;
    int64_t began_ms;
    return has_ids(out) && read_number(out->fields[TIME], 0, TIME_MS_MAX, &out->time_ms) &&
           read_number(out->fields[BEGAN], 0, TIME_MS_MAX, &began_ms) &&
           read_number(out->fields[REQUESTS], 0, 1, &amounts->requests) &&
           read_number(out->fields[INPUT], -AMOUNT_MAX, AMOUNT_MAX, &amounts->input) &&
           read_number(out->fields[CACHED], -AMOUNT_MAX, AMOUNT_MAX, &amounts->cached) &&
           read_number(out->fields[OUTPUT], -AMOUNT_MAX, AMOUNT_MAX, &amounts->output) &&
           read_number(out->fields[COST], -AMOUNT_MAX, AMOUNT_MAX, &amounts->cost);
}

static bool put_field(struct arena *arena, struct entry *out, enum field field, int64_t number, int64_t minimum,
                      int64_t maximum) {
    const char *text = arena_printf(arena, "%" PRId64, number);
    out->fields[field] = bytes_view_string(text);
    return text != NULL && number >= minimum && number <= maximum;
}

static bool read_packed(struct bytes_view packed, struct arena *arena, struct entry *out) {
    static const char *const kinds[] = {"settled", "expired", "correction"};
    struct limits_entry entry;
    if (!limits_read_entry(packed, &entry)) return false;
    out->fields[REQUEST] = entry.request;
    out->fields[LEASE] = entry.lease;
    out->fields[KEY] = entry.key;
    out->fields[WORKSPACE] = entry.workspace;
    out->fields[MODEL] = entry.model;
    out->fields[ENDPOINT] = entry.endpoint;
    out->fields[KIND] = bytes_view_string(kinds[entry.kind]);
    out->time_ms = entry.time_ms;
    out->amounts = (struct ledger_amounts){entry.requests, entry.input, entry.cached, entry.output, entry.nanos};
    return has_ids(out) && put_field(arena, out, TIME, entry.time_ms, 0, TIME_MS_MAX) &&
           put_field(arena, out, BEGAN, entry.began_ms, 0, TIME_MS_MAX) &&
           put_field(arena, out, REQUESTS, entry.requests, 0, 1) &&
           put_field(arena, out, INPUT, entry.input, -AMOUNT_MAX, AMOUNT_MAX) &&
           put_field(arena, out, CACHED, entry.cached, -AMOUNT_MAX, AMOUNT_MAX) &&
           put_field(arena, out, OUTPUT, entry.output, -AMOUNT_MAX, AMOUNT_MAX) &&
           put_field(arena, out, COST, entry.nanos, -AMOUNT_MAX, AMOUNT_MAX);
}

static bool read_entry(const struct redis_reply *words, struct arena *arena, struct entry *out) {
    if (words->type != REDIS_ARRAY) return false;
    if (words->count == 2 && bytes_view_equal_string(words->items[0].string, "p"))
        return read_packed(words->items[1].string, arena, out);
    return read_fields(words, out);
}

/** "field=value field=value": for a person to look into. */
static enum status keep_as_text(struct ledger_batch *batch, const struct redis_reply *words, struct entry *out,
                                struct error *err) {
    struct bytes text;
    bytes_init(&text, UNREADABLE_BYTES_MAX);
    for (size_t i = 0; words->type == REDIS_ARRAY && i < words->count; i++) {
        struct bytes_view word = words->items[i].string;
        if (bytes_append(&text, word.data, word.length) != STATUS_OK ||
            bytes_append_byte(&text, i % 2 == 0 ? '=' : ' ') != STATUS_OK)
            break;
    }
    char *copy = arena_copy(batch->arena, text.data, text.length);
    out->unreadable = bytes_view_of(copy, text.length);
    bytes_deinit(&text);
    batch->unreadable_count++;
    return copy != NULL ? STATUS_OK : out_of_memory(err);
}

/* --- summing ----------------------------------------------------------------------------------------------------- */

static struct sums *find_sums(struct ledger_batch *batch, char kind, int64_t begin_s) {
    struct sums *sums = batch->sums;
    while (sums != NULL && (sums->kind != kind || sums->begin_s != begin_s)) sums = sums->next;
    if (sums != NULL) return sums;
    sums = arena_alloc(batch->arena, sizeof *sums);
    if (sums == NULL) return NULL;
    *sums = (struct sums){.next = batch->sums, .kind = kind, .begin_s = begin_s};
    batch->sums = sums;
    batch->sums_count++;
    return sums;
}

static struct group *find_group(struct ledger_batch *batch, struct sums *sums, struct bytes_view name) {
    uint64_t hash = bytes_hash(BYTES_HASH_START, name);
    struct group *group = sums->groups;
    while (group != NULL && (group->hash != hash || !bytes_view_equal(group->name, name))) group = group->next;
    if (group != NULL) return group;
    group = arena_alloc(batch->arena, sizeof *group);
    if (group == NULL) return NULL;
    *group = (struct group){.next = sums->groups, .name = name, .hash = hash};
    sums->groups = group;
    sums->group_count++;
    batch->group_count++;
    return group;
}

static enum status sum_entry(struct ledger_batch *batch, const struct entry *entry, struct error *err) {
    const struct bytes_view *fields = entry->fields;
    const char *name = arena_printf(batch->arena, "%.*s %.*s %.*s", (int)fields[KEY].length, fields[KEY].data,
                                    (int)fields[WORKSPACE].length, fields[WORKSPACE].data, (int)fields[MODEL].length,
                                    fields[MODEL].data);
    if (name == NULL) return out_of_memory(err);
    int64_t seconds = entry->time_ms / 1000;
    for (int i = 0; i < 2; i++) {
        int64_t length_s = i == 0 ? SECONDS_PER_HOUR : SECONDS_PER_DAY;
        struct sums *sums = find_sums(batch, i == 0 ? 'h' : 'd', seconds / length_s * length_s);
        struct group *group = sums != NULL ? find_group(batch, sums, bytes_view_string(name)) : NULL;
        if (group == NULL) return out_of_memory(err);
        if (!ledger_amounts_add(&group->amounts, &entry->amounts))
            return error_set(err, STATUS_INTERNAL, "the sums of a batch do not fit");
    }
    return STATUS_OK;
}

enum status ledger_batch_create(const char *organization, const struct redis_reply *entries, struct arena *arena,
                                struct ledger_batch **out, struct error *err) {
    struct ledger_batch *batch = arena_alloc(arena, sizeof *batch);
    if (batch == NULL) return out_of_memory(err);
    *batch = (struct ledger_batch){.organization = organization, .arena = arena, .entry_count = entries->count};
    batch->entries = arena_alloc_array(arena, entries->count, sizeof *batch->entries);
    if (batch->entries == NULL) return out_of_memory(err);
    for (size_t i = 0; i < entries->count; i++) {
        const struct redis_reply *item = &entries->items[i];
        struct entry *entry = &batch->entries[i];
        if (item->type != REDIS_ARRAY || item->count != 2)
            return error_set(err, STATUS_DATA_LOSS, "the outbox gave a strange entry");
        batch->last_id = item->items[0].string;
        entry->readable = read_entry(&item->items[1], arena, entry);
        if (!entry->readable) {
            TRY(keep_as_text(batch, &item->items[1], entry, err));
            continue;
        }
        if (batch->oldest_ms == 0 || entry->time_ms < batch->oldest_ms) batch->oldest_ms = entry->time_ms;
        TRY(sum_entry(batch, entry, err));
    }
    *out = batch;
    return STATUS_OK;
}

size_t ledger_batch_unreadable(const struct ledger_batch *batch) {
    return batch->unreadable_count;
}

int64_t ledger_batch_oldest_ms(const struct ledger_batch *batch) {
    return batch->oldest_ms;
}

/* --- the script's words ------------------------------------------------------------------------------------------ */

struct writer {
    struct arena *arena;
    struct bytes_view *words;
    size_t count;
    bool failed;
};

static void put(struct writer *writer, struct bytes_view word) {
    writer->words[writer->count++] = word;
}

static void put_number(struct writer *writer, int64_t number) {
    const char *text = arena_printf(writer->arena, "%" PRId64, number);
    writer->failed = writer->failed || text == NULL;
    put(writer, bytes_view_string(text));
}

static void put_sums(struct writer *writer, const struct sums *sums) {
    int64_t kept_days = sums->kind == 'h' ? LEDGER_HOURS_DAYS + 1 : LEDGER_DAYS_DAYS + 1;
    put_number(writer, sums->begin_s + kept_days * SECONDS_PER_DAY);
    put_number(writer, (int64_t)sums->group_count);
    for (const struct group *group = sums->groups; group != NULL; group = group->next) {
        put(writer, group->name);
        put_number(writer, group->amounts.requests);
        put_number(writer, group->amounts.input);
        put_number(writer, group->amounts.cached);
        put_number(writer, group->amounts.output);
        put_number(writer, group->amounts.cost);
    }
}

static void put_entry(struct writer *writer, const struct entry *entry) {
    put_number(writer, entry->time_ms);
    for (int i = 0; i < FIELDS; i++) {
        put(writer, bytes_view_of(&field_letters[i], 1));
        put(writer, entry->fields[i]);
    }
}

static void put_arguments(struct writer *writer, const struct ledger_batch *batch,
                          const struct ledger_position *position) {
    put(writer, bytes_view_string(position->epoch));
    put(writer, bytes_view_string(position->id));
    put(writer, batch->last_id);
    put_number(writer, (int64_t)batch->sums_count);
    for (const struct sums *sums = batch->sums; sums != NULL; sums = sums->next) put_sums(writer, sums);
    put_number(writer, (int64_t)batch->unreadable_count);
    for (size_t i = 0; i < batch->entry_count; i++) {
        if (!batch->entries[i].readable) put(writer, batch->entries[i].unreadable);
    }
    for (size_t i = 0; i < batch->entry_count; i++) {
        if (batch->entries[i].readable) put_entry(writer, &batch->entries[i]);
    }
}

enum status ledger_batch_write(const struct ledger_batch *batch, const struct ledger_position *position,
                               const struct bytes_view *first_keys, size_t first_key_count,
                               struct bytes_view **out_keys, size_t *out_key_count, struct bytes_view **out_arguments,
                               size_t *out_argument_count, struct error *err) {
    enum { FIRST = 4, SUMS_WORDS = 2, GROUP_WORDS = 6, COUNT = 1, ENTRY_WORDS = 1 + 2 * FIELDS };
    size_t most = FIRST + SUMS_WORDS * batch->sums_count + GROUP_WORDS * batch->group_count + COUNT +
                  ENTRY_WORDS * batch->entry_count;
    struct bytes_view *keys = arena_alloc_array(batch->arena, first_key_count + batch->sums_count, sizeof *keys);
    struct writer writer = {.arena = batch->arena,
                            .words = arena_alloc_array(batch->arena, most, sizeof *writer.words)};
    if (keys == NULL || writer.words == NULL) return out_of_memory(err);
    memcpy(keys, first_keys, first_key_count * sizeof *keys);
    size_t key_count = first_key_count;
    for (const struct sums *sums = batch->sums; sums != NULL; sums = sums->next) {
        char *name = arena_alloc(batch->arena, LEDGER_NAME_BYTES);
        if (name == NULL) return out_of_memory(err);
        ledger_sums_name(batch->organization, sums->kind, sums->begin_s * 1000, name);
        keys[key_count++] = bytes_view_string(name);
    }
    put_arguments(&writer, batch, position);
    if (writer.failed) return out_of_memory(err);
    *out_keys = keys;
    *out_key_count = key_count;
    *out_arguments = writer.words;
    *out_argument_count = writer.count;
    return STATUS_OK;
}
