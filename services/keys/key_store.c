/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char key_create_lua[], key_list_lua[], key_revoke_lua[]; /* *.lua in this folder */

enum { NAME_BYTES = 64 };
#define LIST_NAME "bora:keys"
#define COUNTER_NAME "bora:keys:created"
#define RECORD_PREFIX "bora:key:{" /* store/limits.h knows it too */
#define RECORD_SUFFIX "}"

static struct redis_script create_script, list_script, revoke_script, mark_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&create_script, key_create_lua);
    redis_script_init(&list_script, key_list_lua);
    redis_script_init(&revoke_script, key_revoke_lua);
    redis_script_init(&mark_script, "redis.call('SETNX', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
}

static struct bytes_view record_name(const char *key_id, char out[NAME_BYTES]) {
    snprintf(out, NAME_BYTES, RECORD_PREFIX "%s" RECORD_SUFFIX, key_id);
    return bytes_view_string(out);
}

void key_store_create(struct redis_client *redis, const char *key_id, const struct bytes_view *words, size_t word_count,
                      redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    char name[NAME_BYTES];
    struct bytes_view keys[] = {record_name(key_id, name), bytes_view_string(LIST_NAME),
                                bytes_view_string(COUNTER_NAME)};
    struct bytes_view *arguments = calloc(word_count + 1, sizeof *arguments);
    if (arguments == NULL) {
        fn(context, STATUS_UNAVAILABLE, NULL, "out of memory");
        return;
    }
    arguments[0] = bytes_view_string(key_id);
    memcpy(arguments + 1, words, word_count * sizeof *words);
    redis_script_run(redis, &create_script, keys, 3, arguments, word_count + 1, fn, context);
    free(arguments);
}

void key_store_get(struct redis_client *redis, const char *key_id, redis_fn *fn, void *context) {
    char name[NAME_BYTES];
    struct bytes_view words[] = {bytes_view_string("HGETALL"), record_name(key_id, name)};
    redis_command(redis, words, 2, fn, context);
}

void key_store_revoke(struct redis_client *redis, const char *key_id, int64_t now, redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    char name[NAME_BYTES], time[NAME_BYTES];
    snprintf(time, sizeof time, "%" PRId64, now);
    struct bytes_view key = record_name(key_id, name), argument = bytes_view_string(time);
    redis_script_run(redis, &revoke_script, &key, 1, &argument, 1, fn, context);
}

void key_store_list(struct redis_client *redis, const char *after, int64_t limit, redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    char size[NAME_BYTES];
    snprintf(size, sizeof size, "%" PRId64, limit);
    struct bytes_view key = bytes_view_string(LIST_NAME);
    struct bytes_view arguments[] = {bytes_view_string(after), bytes_view_string(size),
                                     bytes_view_string(RECORD_PREFIX), bytes_view_string(RECORD_SUFFIX)};
    redis_script_run(redis, &list_script, &key, 1, arguments, 4, fn, context);
}

void key_store_mark_secret(struct redis_client *redis, const char *mark, redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    struct bytes_view key = bytes_view_string("bora:keys:secret_mark"), argument = bytes_view_string(mark);
    redis_script_run(redis, &mark_script, &key, 1, &argument, 1, fn, context);
}
