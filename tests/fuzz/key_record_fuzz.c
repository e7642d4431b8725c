/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A key's text, and a record as Redis gives it: the first line is taken for a key, the next two for an organisation's id and a
 * key's prefix, the others for field, value, field...
 * A record that can be read is written and read again, and must be the same.
 */
#include "services/keys/key_record.h"

#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 256, ARENA_BYTES = 1 << 20 };

static void check(bool holds) {
    if (!holds) abort();
}

static bool same_words(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void check_same(const struct key_record *a, const struct key_record *b) {
    check(same_words(a->name, b->name) && same_words(a->created_by, b->created_by) &&
          same_words(a->user_id, b->user_id));
    check(strcmp(a->prefix, b->prefix) == 0 && strcmp(a->organization, b->organization) == 0 &&
          strcmp(a->workspace, b->workspace) == 0 && memcmp(a->last, b->last, sizeof a->last) == 0);
    check(memcmp(a->hash, b->hash, sizeof a->hash) == 0 &&
          memcmp(a->previous_hash, b->previous_hash, sizeof a->previous_hash) == 0);
    check(a->created_at == b->created_at && a->expires_at == b->expires_at && a->revoked_at == b->revoked_at &&
          a->previous_expires_at == b->previous_expires_at && a->last_used == b->last_used && a->version == b->version);
    check(a->role == b->role && a->disabled == b->disabled && a->limits_given == b->limits_given);
    check(limit_sets_equal(&a->limits, &b->limits) && name_lists_equal(&a->models, &b->models) &&
          name_lists_equal(&a->endpoints, &b->endpoints));
}

static struct redis_reply strings(const struct bytes_view *words, size_t count, struct redis_reply *items) {
    for (size_t i = 0; i < count; i++) items[i] = (struct redis_reply){.type = REDIS_STRING, .string = words[i]};
    return (struct redis_reply){.type = REDIS_ARRAY, .count = count, .items = items};
}

static void read_and_write(const char *organization, const char *prefix, const struct bytes_view *words, size_t count) {
    struct redis_reply items[LINES_MAX + 2 * LIMITS_KINDS * (1 + LIMIT_KEY_MODEL_LIMITS) + 64];
    struct redis_reply reply = strings(words, count, items);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct key_record first, second;
    struct error err = {0};
    if (key_record_read(organization, prefix, &reply, &arena, &first, &err) == STATUS_OK) {
        struct bytes_view *written = NULL;
        size_t written_count = 0;
        check(key_record_write(&first, &arena, &written, &written_count, &err) == STATUS_OK);
        reply = strings(written, written_count, items);
        check(key_record_read(organization, prefix, &reply, &arena, &second, &err) == STATUS_OK);
        check_same(&first, &second);
    } else {
        check(err.message[0] != 0);
    }
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* Lines, each with a NUL behind it as Redis' strings have, and each in memory of its own. */
    char *lines[LINES_MAX];
    struct bytes_view views[LINES_MAX];
    size_t count = 0;
    for (size_t start = 0; start <= size && count < LINES_MAX; count++) {
        const uint8_t *newline = start < size ? memchr(data + start, '\n', size - start) : NULL;
        size_t length = newline != NULL ? (size_t)(newline - data) - start : size - start;
        lines[count] = calloc(1, length + 1);
        if (lines[count] == NULL) break;
        if (length > 0) memcpy(lines[count], data + start, length);
        views[count] = bytes_view_of(lines[count], length);
        start += length + 1;
    }
    struct key_text key;
    if (count > 0 && key_text_parse(lines[0], &key))
        check(strcmp(key.whole, lines[0]) == 0 && key_prefix_is_valid(key.prefix));
    if (count > 3) read_and_write(lines[1], lines[2], views + 3, count - 3);
    for (size_t i = 0; i < count; i++) free(lines[i]);
    return 0;
}
