/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A key's text, and a record as Redis gives it: the first line is taken for a key, the second for a key id, the others for field, value, field...
 * A record that can be read is written and read again, and must be the same.
 */
#include "services/keys/key_record.h"

#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 256, ARENA_BYTES = 1 << 20 };

static void check(bool holds) {
    if (!holds) abort();
}

static bool same_limits(const struct key_limits *a, const struct key_limits *b) {
    return a->requests_per_minute == b->requests_per_minute && a->tokens_per_minute == b->tokens_per_minute;
}

static void check_same(const struct key_record *a, const struct key_record *b) {
    check(strcmp(a->name, b->name) == 0 && strcmp(a->tenant, b->tenant) == 0 &&
          memcmp(a->last, b->last, sizeof a->last) == 0);
    check(memcmp(a->hash, b->hash, sizeof a->hash) == 0 && a->created_at == b->created_at &&
          a->expires_at == b->expires_at && a->revoked_at == b->revoked_at);
    check(same_limits(&a->limits, &b->limits) && a->model_count == b->model_count);
    for (size_t i = 0; i < a->model_count; i++)
        check(strcmp(a->models[i].model, b->models[i].model) == 0 &&
              same_limits(&a->models[i].limits, &b->models[i].limits));
}

static struct redis_reply strings(const struct bytes_view *words, size_t count, struct redis_reply *items) {
    for (size_t i = 0; i < count; i++) items[i] = (struct redis_reply){.type = REDIS_STRING, .string = words[i]};
    return (struct redis_reply){.type = REDIS_ARRAY, .count = count, .items = items};
}

static void read_and_write(const char *key_id, const struct bytes_view *words, size_t count) {
    struct redis_reply items[LINES_MAX + 64 * 4];
    struct redis_reply reply = strings(words, count, items);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct key_record first, second;
    struct error err = {0};
    if (key_record_read(key_id, &reply, &arena, &first, &err) == STATUS_OK) {
        struct bytes_view *written = NULL;
        size_t written_count = 0;
        check(key_record_write(&first, &arena, &written, &written_count, &err) == STATUS_OK);
        reply = strings(written, written_count, items);
        check(key_record_read(key_id, &reply, &arena, &second, &err) == STATUS_OK);
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
    if (count > 0 && key_text_parse(lines[0], &key)) check(strcmp(key.whole, lines[0]) == 0 && key_id_is_valid(key.id));
    if (count > 2) read_and_write(lines[1], views + 2, count - 2);
    for (size_t i = 0; i < count; i++) free(lines[i]);
    return 0;
}
