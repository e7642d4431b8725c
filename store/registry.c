/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/registry.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>

enum { REGISTRY_KEY_BYTES = 256 };

/* A member long dead is dropped from the set by whoever announces next, so the set stays as large as the house. */
static const char announce_source[] = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
                                      "redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])\n"
                                      "redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])\n"
                                      "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60000)\n"
                                      "return 1\n";

static const char list_source[] = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
                                  "local ids = redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')\n"
                                  "table.sort(ids)\n"
                                  "local values = {}\n"
                                  "for _, id in ipairs(ids) do\n"
                                  "  local value = redis.call('GET', ARGV[1] .. id)\n"
                                  "  if value then values[#values + 1] = value end\n"
                                  "end\n"
                                  "return values\n";

/** In a cluster a member's name has the slot of its set's. */
static void write_names(const struct redis_client *client, const char *group, char set[REGISTRY_KEY_BYTES],
                        char prefix[REGISTRY_KEY_BYTES]) {
    snprintf(set, REGISTRY_KEY_BYTES, "bora:%ss", group);
    snprintf(prefix, REGISTRY_KEY_BYTES, redis_client_in_cluster(client) ? "{bora:%ss}:" : "bora:%s:", group);
}

static struct redis_script announce_script, list_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&announce_script, announce_source);
    redis_script_init(&list_script, list_source);
}

void registry_announce(struct redis_client *client, const char *group, const char *id, struct bytes_view value,
                       int64_t ttl_ns, redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    char set[REGISTRY_KEY_BYTES], prefix[REGISTRY_KEY_BYTES], key[2 * REGISTRY_KEY_BYTES], ttl[32];
    write_names(client, group, set, prefix);
    snprintf(key, sizeof key, "%s%s", prefix, id);
    snprintf(ttl, sizeof ttl, "%lld", (long long)(ttl_ns / NS_PER_MS));
    struct bytes_view keys[] = {bytes_view_string(set), bytes_view_string(key)};
    struct bytes_view arguments[] = {bytes_view_string(id), value, bytes_view_string(ttl)};
    redis_script_run(client, &announce_script, keys, 2, arguments, 3, fn, context);
}

void registry_remove(struct redis_client *client, const char *group, const char *id, redis_fn *fn, void *context) {
    char set[REGISTRY_KEY_BYTES];
    snprintf(set, sizeof set, "bora:%ss", group);
    struct bytes_view arguments[] = {bytes_view_string("ZREM"), bytes_view_string(set), bytes_view_string(id)};
    redis_command(client, arguments, 3, fn, context);
}

void registry_list(struct redis_client *client, const char *group, redis_fn *fn, void *context) {
    pthread_once(&scripts_once, init_scripts);
    char set[REGISTRY_KEY_BYTES], prefix[REGISTRY_KEY_BYTES];
    write_names(client, group, set, prefix);
    struct bytes_view keys[] = {bytes_view_string(set)};
    struct bytes_view arguments[] = {bytes_view_string(prefix)};
    redis_script_run(client, &list_script, keys, 1, arguments, 1, fn, context);
}
