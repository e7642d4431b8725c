/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/redis_internal.h"

#include <stdlib.h>
#include <string.h>

/* Both conversions put all nodes (and, in a copy, all strings) into one block: one allocation, one free. hiredis refuses
 * replies nested deeper than 7, so recursion is bounded. */

static size_t count_items(const redisReply *raw) {
    if (raw->type != REDIS_REPLY_ARRAY) return 0;
    size_t count = raw->elements;
    for (size_t i = 0; i < raw->elements; i++) count += count_items(raw->element[i]);
    return count;
}

static void convert(const redisReply *raw, struct redis_reply *out, struct redis_reply **free_items) {
    *out = (struct redis_reply){.type = REDIS_NIL};
    switch (raw->type) {
    case REDIS_REPLY_INTEGER:
        out->type = REDIS_INTEGER;
        out->integer = raw->integer;
        break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        out->type = raw->type == REDIS_REPLY_STRING   ? REDIS_STRING
                    : raw->type == REDIS_REPLY_STATUS ? REDIS_STATUS_REPLY
                                                      : REDIS_ERROR;
        out->string = bytes_view_of(raw->str, raw->len);
        break;
    case REDIS_REPLY_ARRAY: {
        struct redis_reply *items = *free_items;
        *free_items += raw->elements;
        for (size_t i = 0; i < raw->elements; i++) convert(raw->element[i], &items[i], free_items);
        out->type = REDIS_ARRAY;
        out->count = raw->elements;
        out->items = items;
        break;
    }
    default:
        break;
    }
}

bool redis_reply_convert(const redisReply *raw, struct redis_reply *out, struct redis_reply **out_block) {
    size_t count = count_items(raw);
    struct redis_reply *block = NULL;
    if (count > 0) {
        block = calloc(count, sizeof *block);
        if (block == NULL) return false;
    }
    struct redis_reply *free_items = block;
    convert(raw, out, &free_items);
    *out_block = block;
    return true;
}

static void measure(const struct redis_reply *reply, size_t *nodes, size_t *characters) {
    *nodes += 1;
    *characters += reply->string.length + 1;
    for (size_t i = 0; i < reply->count; i++) measure(&reply->items[i], nodes, characters);
}

static void copy(const struct redis_reply *from, struct redis_reply *to, struct redis_reply **free_nodes,
                 char **free_characters) {
    *to = *from;
    if (from->string.length > 0) memcpy(*free_characters, from->string.data, from->string.length);
    (*free_characters)[from->string.length] = 0;
    to->string.data = (const uint8_t *)*free_characters;
    *free_characters += from->string.length + 1;
    struct redis_reply *items = *free_nodes;
    *free_nodes += from->count;
    for (size_t i = 0; i < from->count; i++) copy(&from->items[i], &items[i], free_nodes, free_characters);
    to->items = items;
}

struct redis_reply *redis_reply_copy(const struct redis_reply *reply) {
    size_t nodes = 0, characters = 0;
    measure(reply, &nodes, &characters);
    struct redis_reply *block = malloc(nodes * sizeof *block + characters);
    if (block == NULL) return NULL;
    struct redis_reply *free_nodes = block + 1;
    char *free_characters = (char *)(block + nodes);
    copy(reply, block, &free_nodes, &free_characters);
    return block;
}

void redis_reply_free(struct redis_reply *reply) {
    free(reply);
}
