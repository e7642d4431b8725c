/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* All subscriptions of a client share one more connection: a subscribed connection takes no ordinary commands. */
#include "base/clock.h"
#include "store/redis_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>

/* A quiet channel and a dead peer look alike, so now and then we subscribe again, which Redis answers and which changes nothing.
 * (PING would do as well, but hiredis 0.14 does not recognise its answer on a subscribed connection.) */
static const struct timeval PROBE_EVERY = {.tv_sec = 2};

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static void set_state(struct redis_subscription *subscription, bool subscribed) {
    if (subscription->subscribed == subscribed) return;
    subscription->subscribed = subscribed;
    if (subscription->on_state != NULL) subscription->on_state(subscription->context, subscribed);
}

static void on_push(redisAsyncContext *context, void *raw, void *privdata) {
    struct redis_client *client = privdata;
    const redisReply *reply = raw;
    if (reply == NULL) {
        redis_connection_ended(&client->subscriber, context);
        return;
    }
    client->subscriber_heard_ns = now_ns();
    if (reply->type == REDIS_REPLY_ERROR) {
        redis_connection_drop(&client->subscriber, reply->str);
        return;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3 || reply->element[1]->type != REDIS_REPLY_STRING)
        return;
    bool subscribed = strcasecmp(reply->element[0]->str, "subscribe") == 0,
         message = strcasecmp(reply->element[0]->str, "message") == 0;
    const char *channel = reply->element[1]->str;
    for (struct redis_subscription *subscription = client->subscriptions; subscription != NULL;
         subscription = subscription->next) {
        if (strcmp(subscription->channel, channel) != 0) continue;
        if (subscribed)
            set_state(subscription, true);
        else if (message)
            subscription->on_message(subscription->context,
                                     bytes_view_of(reply->element[2]->str, reply->element[2]->len));
    }
}

static void subscribe(struct redis_client *client, const struct redis_subscription *subscription) {
    if (client->subscriber.up)
        redisAsyncCommand(client->subscriber.context, on_push, client, "SUBSCRIBE %s", subscription->channel);
}

static void on_up(void *owner) {
    struct redis_client *client = owner;
    client->subscriber_heard_ns = client->probe_sent_ns = now_ns();
    for (struct redis_subscription *subscription = client->subscriptions; subscription != NULL;
         subscription = subscription->next)
        subscribe(client, subscription);
}

static void on_down(void *owner) {
    struct redis_client *client = owner;
    for (struct redis_subscription *subscription = client->subscriptions; subscription != NULL;
         subscription = subscription->next)
        set_state(subscription, false);
}

static void on_refused(void *owner) {
    (void)owner;
}

static void on_probe(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct redis_client *client = argument;
    if (!client->subscriber.up) return;
    if (client->subscriber_heard_ns < client->probe_sent_ns) {
        redis_connection_drop(&client->subscriber, "it stopped answering");
        return;
    }
    client->probe_sent_ns = now_ns();
    subscribe(client, client->subscriptions);
}

static bool open_subscriber(struct redis_client *client) {
    client->subscriber.owner = client;
    client->subscriber.on_up = on_up;
    client->subscriber.on_down = on_down;
    client->subscriber.on_refused = on_refused;
    client->probe_timer = event_new(client->base, -1, EV_PERSIST, on_probe, client);
    return client->probe_timer != NULL && event_add(client->probe_timer, &PROBE_EVERY) == 0 &&
           redis_connection_init(&client->subscriber, client->base, client->first.connection.target, NULL) == STATUS_OK;
}

void redis_subscriptions_adopt(struct redis_client *client, struct redis_subscription *list) {
    bool first = client->subscriptions == NULL;
    while (list != NULL) {
        struct redis_subscription *subscription = list;
        list = list->next;
        subscription->next = client->subscriptions;
        client->subscriptions = subscription;
        subscribe(client, subscription);
    }
    if (first && open_subscriber(client)) redis_connection_start(&client->subscriber);
}

static void free_list(struct redis_subscription *list) {
    while (list != NULL) {
        struct redis_subscription *subscription = list;
        list = list->next;
        free(subscription->channel);
        free(subscription);
    }
}

void redis_subscriptions_deinit(struct redis_client *client) {
    redis_connection_deinit(&client->subscriber);
    if (client->probe_timer != NULL) event_free(client->probe_timer);
    free_list(client->subscriptions);
    client->subscriptions = NULL;
    client->probe_timer = NULL;
}

enum status redis_subscribe(struct redis_client *client, const char *channel,
                            void (*on_message)(void *context, struct bytes_view message),
                            void (*on_state)(void *context, bool subscribed), void *context, struct error *err) {
    struct redis_subscription *subscription = calloc(1, sizeof *subscription);
    char *name = strdup(channel);
    if (subscription == NULL || name == NULL) {
        free(subscription);
        free(name);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    *subscription = (struct redis_subscription){
        .channel = name, .on_message = on_message, .on_state = on_state, .context = context};
    pthread_mutex_lock(&client->mutex);
    subscription->next = client->new_subscriptions;
    client->new_subscriptions = subscription;
    pthread_mutex_unlock(&client->mutex);
    eventfd_write(client->wake_fd, 1);
    return STATUS_OK;
}
