/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/key_changes.h"

#include "base/log.h"
#include "services/gateway/ahead.h"
#include "services/gateway/authenticate.h"
#include "services/gateway/chat.h"

#include <string.h>

enum { MESSAGE_BYTES_MAX = 2 + LIMITS_ID_BYTES };

/** False for what we do not understand: a newer keys service's, which may be about anything. */
static bool read_change(struct bytes_view message, enum key_change *out, char id[MESSAGE_BYTES_MAX + 1]) {
    if (message.length > MESSAGE_BYTES_MAX) return false;
    memcpy(id, message.data, message.length);
    id[message.length] = 0;
    if (strcmp(id, "prices") == 0) {
        *out = KEY_CHANGE_ALL;
        return true;
    }
    if (message.length < 3 || id[1] != ' ') return false;
    *out = id[0] == 'k' ? KEY_CHANGE_KEY : id[0] == 'w' ? KEY_CHANGE_WORKSPACE : KEY_CHANGE_ORGANIZATION;
    bool known = strchr("kwo", id[0]) != NULL;
    memmove(id, id + 2, message.length - 1);
    return known;
}

static void on_message(void *context, struct bytes_view message) {
    struct gateway *gateway = context;
    char id[MESSAGE_BYTES_MAX + 1] = "";
    enum key_change change = KEY_CHANGE_ALL;
    if (!read_change(message, &change, id)) change = KEY_CHANGE_ALL;
    key_cache_forget(gateway->key_cache, change, id);
    ahead_drop(gateway->ahead, change, id);
    if (strncmp((const char *)message.data, "prices", message.length) != 0) chats_end_of(gateway, change, id);
}

static void on_state(void *context, bool subscribed) {
    struct gateway *gateway = context;
    if (!subscribed) log_warn("changes of keys are not told: nothing is remembered until they are");
    key_cache_trust(gateway->key_cache, subscribed);
    if (!subscribed) ahead_drop(gateway->ahead, KEY_CHANGE_ALL, "");
    if (subscribed) chats_end_of(gateway, KEY_CHANGE_ALL, ""); /* what was missed */
}

enum status key_changes_follow(struct gateway *gateway, struct error *err) {
    return redis_subscribe(gateway->redis, "bora:changed", on_message, on_state, gateway, err);
}
