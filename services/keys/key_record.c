/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_record.h"

#include "services/keys/hash_reader.h"
#include "services/keys/out_of_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const role_names[] = {"service", "member", "admin", "operator"};

const char *key_role_name(enum key_role role) {
    return role_names[role];
}

bool key_role_parse(struct bytes_view name, enum key_role *out) {
    for (int role = KEY_ROLE_SERVICE; role < KEY_ROLE_OPERATOR; role++) {
        if (!bytes_view_equal_string(name, role_names[role])) continue;
        *out = (enum key_role)role;
        return true;
    }
    return false;
}

/* --- scopes ------------------------------------------------------------------------------------------------------- */

bool name_list_has(const struct name_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->names[i], name) == 0) return true;
    }
    return false;
}

bool name_list_within(const struct name_list *inner, const struct name_list *outer) {
    if (outer->count == 0) return true;
    for (size_t i = 0; i < inner->count; i++) {
        if (!name_list_has(outer, inner->names[i])) return false;
    }
    return inner->count > 0;
}

bool name_lists_equal(const struct name_list *a, const struct name_list *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->names[i], b->names[i]) != 0) return false;
    }
    return true;
}

static void put_names(struct word_list *words, const char *field, const struct name_list *list) {
    const char *lines = "";
    for (size_t i = 0; i < list->count && lines != NULL; i++)
        lines = arena_printf(words->arena, "%s%s%s", lines, i > 0 ? "\n" : "", list->names[i]);
    if (list->count > 0) word_list_put(words, field, lines);
}

/** Names in lines; no name is empty. */
static enum status read_names(const struct hash_reader *reader, const char *field, struct bytes_view value,
                              struct name_list *out) {
    const char *text = NULL;
    TRY(hash_read_text(reader, field, value, &text));
    size_t count = 1;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) count++;
    out->names = arena_alloc_array(reader->arena, count, sizeof *out->names);
    if (out->names == NULL) return hash_out_of_memory(reader);
    for (char *rest = (char *)text, *name; (name = strsep(&rest, "\n")) != NULL;) {
        if (name[0] == 0) return hash_malformed(reader, field);
        out->names[out->count++] = name;
    }
    return STATUS_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_hash(struct word_list *words, const char *field, const uint8_t hash[KEY_HASH_BYTES]) {
    char *hex = arena_alloc(words->arena, 2 * KEY_HASH_BYTES + 1);
    if (hex != NULL) bytes_to_hex(hash, KEY_HASH_BYTES, hex);
    word_list_put(words, field, hex);
}

enum status key_record_write(const struct key_record *record, struct arena *arena, struct bytes_view **out_words,
                             size_t *out_count, struct error *err) {
    struct word_list words = {.arena = arena};
    word_list_put_number(&words, "version", record->version);
    word_list_put_number(&words, "created_at", record->created_at);
    if (record->expires_at != 0) word_list_put_number(&words, "expires_at", record->expires_at);
    if (record->revoked_at != 0) word_list_put_number(&words, "revoked_at", record->revoked_at);
    word_list_put(&words, "name", record->name);
    word_list_put(&words, "workspace", record->workspace);
    word_list_put(&words, "role", key_role_name(record->role));
    word_list_put(&words, "created_by", record->created_by);
    if (record->user_id != NULL) word_list_put(&words, "user_id", record->user_id);
    put_hash(&words, "hash", record->hash);
    word_list_put(&words, "last", record->last);
    if (record->previous_expires_at != 0) {
        put_hash(&words, "previous_hash", record->previous_hash);
        word_list_put_number(&words, "previous_expires_at", record->previous_expires_at);
    }
    if (record->rotations != 0) word_list_put_number(&words, "rotations", record->rotations);
    if (record->disabled) word_list_put(&words, "disabled", "1");
    if (record->limits_given) word_list_put(&words, "limits_given", "1");
    put_names(&words, "models", &record->models);
    put_names(&words, "endpoints", &record->endpoints);
    if (record->last_used != 0) word_list_put_number(&words, "last_used", record->last_used);
    word_list_put_limits(&words, &record->limits);
    if (words.failed) return out_of_memory(err);
    *out_words = words.words;
    *out_count = words.count;
    return STATUS_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static enum status read_hash(const struct hash_reader *reader, const char *field, struct bytes_view value,
                             uint8_t out[KEY_HASH_BYTES]) {
    bool proper = value.length == 2 * KEY_HASH_BYTES && bytes_from_hex((const char *)value.data, value.length, out);
    return proper ? STATUS_OK : hash_malformed(reader, field);
}

/** Into an array of `length` characters and a NUL. */
static enum status read_exactly(const struct hash_reader *reader, const char *field, struct bytes_view value,
                                size_t length, char *out) {
    if (value.length != length || memchr(value.data, 0, length) != NULL) return hash_malformed(reader, field);
    memcpy(out, value.data, length);
    out[length] = 0;
    return STATUS_OK;
}

static enum status read_number_field(const struct hash_reader *reader, const char *field, struct bytes_view value,
                                     struct key_record *record, bool *out_known) {
    const struct {
        const char *name;
        int64_t *number;
    } numbers[] = {{"version", &record->version},       {"created_at", &record->created_at},
                   {"expires_at", &record->expires_at}, {"revoked_at", &record->revoked_at},
                   {"last_used", &record->last_used},   {"previous_expires_at", &record->previous_expires_at},
                   {"rotations", &record->rotations}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(field, numbers[i].name) != 0) continue;
        *out_known = true;
        return hash_read_number(reader, field, value, numbers[i].number);
    }
    return STATUS_OK;
}

static enum status read_field(void *context, const struct hash_reader *reader, const char *field,
                              struct bytes_view value) {
    struct key_record *record = context;
    bool known = false, malformed = false;
    TRY(read_number_field(reader, field, value, record, &known));
    if (known) return STATUS_OK;
    if (strcmp(field, "name") == 0) return hash_read_text(reader, field, value, &record->name);
    if (strcmp(field, "created_by") == 0) return hash_read_text(reader, field, value, &record->created_by);
    if (strcmp(field, "user_id") == 0) return hash_read_text(reader, field, value, &record->user_id);
    if (strcmp(field, "hash") == 0) return read_hash(reader, field, value, record->hash);
    if (strcmp(field, "previous_hash") == 0) return read_hash(reader, field, value, record->previous_hash);
    if (strcmp(field, "models") == 0) return read_names(reader, field, value, &record->models);
    if (strcmp(field, "endpoints") == 0) return read_names(reader, field, value, &record->endpoints);
    if (strcmp(field, "last") == 0) return read_exactly(reader, field, value, KEY_LAST_CHARACTERS, record->last);
    if (strcmp(field, "workspace") == 0) return read_exactly(reader, field, value, UUID_CHARACTERS, record->workspace);
    if (strcmp(field, "role") == 0)
        return key_role_parse(value, &record->role) ? STATUS_OK : hash_malformed(reader, field);
    if (strcmp(field, "disabled") == 0) record->disabled = true;
    if (strcmp(field, "limits_given") == 0) record->limits_given = true;
    limit_set_read_field(&record->limits, field, value, reader->arena, &malformed);
    return malformed ? hash_malformed(reader, field) : STATUS_OK;
}

enum status key_record_read(const char *organization, const char *prefix, const struct redis_reply *fields,
                            struct arena *arena, struct key_record *out, struct error *err) {
    static const uint8_t no_hash[KEY_HASH_BYTES];
    *out = (struct key_record){.name = "", .created_by = "", .limits = LIMIT_SET_EMPTY};
    struct hash_reader reader = {.what = "key", .id = prefix, .arena = arena, .err = err};
    if (!key_prefix_is_valid(prefix)) return error_set(err, STATUS_DATA_LOSS, "%.64s is no key's prefix", prefix);
    if (!uuid_is_valid(organization)) return hash_malformed(&reader, "organization");
    memcpy(out->prefix, prefix, sizeof out->prefix);
    memcpy(out->organization, organization, sizeof out->organization);
    TRY(hash_read(&reader, fields, read_field, out));
    if (out->created_at == 0) return hash_malformed(&reader, "created_at");
    if (memcmp(out->hash, no_hash, sizeof no_hash) == 0) return hash_malformed(&reader, "hash");
    if (out->workspace[0] == 0) return hash_malformed(&reader, "workspace");
    if (out->last[0] == 0) return hash_malformed(&reader, "last");
    limit_set_sort(&out->limits);
    return STATUS_OK;
}

void key_gate_name(const char *prefix, int64_t secret, char out[KEY_GATE_BYTES]) {
    if (secret == 0)
        snprintf(out, KEY_GATE_BYTES, "%s", prefix);
    else
        snprintf(out, KEY_GATE_BYTES, "%s.%" PRId64, prefix, secret);
}

const char *key_record_refusal(const struct key_record *record, int64_t now) {
    if (record->revoked_at != 0) return "the key is revoked";
    if (record->expires_at != 0 && record->expires_at <= now) return "the key has expired";
    return record->disabled ? "the key is disabled" : NULL;
}
