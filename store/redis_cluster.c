/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Who has which slots is asked of the first node, every two seconds and when anything says that it has changed; a server that has lost the others does not
 * know (cluster_state), and then the first node becomes another one. Primaries are nodes of their own. Everything is the loop's thread's but what ends in
 * "locked". */
#include "base/clock.h"
#include "base/text.h"
#include "store/redis_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum { IMMEDIATE_REDIRECTS = 2, HOST_BYTES = 256, UNSURE_MAX = 3 };
static const int64_t TICK_NS = 100 * (int64_t)NS_PER_MS, HELD_TICK_NS = 5 * (int64_t)NS_PER_MS;
static const int64_t ASK_EVERY_NS = 2 * (int64_t)NS_PER_S, ASK_AGAIN_NS = 100 * (int64_t)NS_PER_MS;
static const int64_t UNUSED_KEPT_NS = 10 * (int64_t)NS_PER_S;

struct redis_cluster {
    /* under the mutex */
    struct redis_node *owners[REDIS_SLOTS]; /* NULL: nobody is known to have it */
    bool covered;                           /* all slots have an owner */
    struct redis_commands held;             /* will be sent again */
    /* the loop's */
    struct event *timer;
    bool stale, asking;
    int unsure;   /* servers in a row that have said that the cluster is down, or have lost it */
    bool is_sure; /* the first node sees the others */
    int64_t asked_ns;
};

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

static void arm(struct redis_cluster *cluster, int64_t delay_ns) {
    struct timeval delay = {.tv_usec = delay_ns / NS_PER_US};
    evtimer_add(cluster->timer, &delay);
}

/* --- nodes -------------------------------------------------------------------------------------------------------- */

/** Where a node is: as the others call it, and the address, which may be known beside a name. */
struct place {
    char host[HOST_BYTES], address[HOST_BYTES];
    int port;
};

static void write_name(const struct place *place, char out[REDIS_NODE_NAME_BYTES]) {
    snprintf(out, REDIS_NODE_NAME_BYTES, "%s:%d", place->host, place->port);
}

static struct redis_node *find_node(struct redis_client *client, const struct place *place) {
    char name[REDIS_NODE_NAME_BYTES];
    struct redis_node *node;
    if (place->port == 0) return &client->first; /* a single one, that is reached by a socket alone */
    write_name(place, name);
    TAILQ_FOREACH(node, &client->nodes, link) {
        if (!node->closed && strcmp(node->name, name) == 0) return node;
    }
    return NULL;
}

/** It connects from now on. NULL: memory is out, or a name would have to be looked up, which a shared loop must not wait for. */
static struct redis_node *add_node(struct redis_client *client, const struct place *place) {
    const struct redis_target *given = &client->seeds[0];
    struct redis_node *node = calloc(1, sizeof *node);
    char address[HOST_BYTES + 16];
    bool has_colons = strchr(place->address, ':') != NULL;
    if (node == NULL) return NULL;
    snprintf(address, sizeof address, has_colons ? "[%s]:%d" : "%s:%d", place->address, place->port);
    if (redis_target_init(&node->target, address, given->password, NULL) == STATUS_OK) {
        node->target.timeout_ns = client->timeout_ns;
        write_name(place, node->name);
        node->used_ns = now_ns();
        bool may = client->loop == NULL || redis_target_is_found_at_once(&node->target);
        if (may && redis_node_init(node, client, &node->target, NULL) == STATUS_OK) {
            pthread_mutex_lock(&client->mutex);
            TAILQ_INSERT_TAIL(&client->nodes, node, link);
            pthread_mutex_unlock(&client->mutex);
            redis_connection_start(&node->connection);
            return node;
        }
        redis_target_deinit(&node->target);
    }
    free(node);
    return NULL;
}

static void close_node(struct redis_node *node) {
    struct redis_client *client = node->client;
    if (client->first.connection.target == &node->target) client->first.connection.target = &client->seeds[0];
    if (client->subscriber.target == &node->target) client->subscriber.target = &client->seeds[0];
    redis_connection_deinit(&node->connection);
    node->closed = true;
}

/** Its loop may still have an event for it in the turn in which it was closed. */
static void free_node(struct redis_node *node) {
    pthread_mutex_lock(&node->client->mutex);
    TAILQ_REMOVE(&node->client->nodes, node, link);
    pthread_mutex_unlock(&node->client->mutex);
    redis_target_deinit(&node->target);
    free(node);
}

static void drop_unused(struct redis_client *client) {
    int64_t now = now_ns();
    for (struct redis_node *node = TAILQ_FIRST(&client->nodes), *next; node != NULL; node = next) {
        next = TAILQ_NEXT(node, link);
        if (node->closed)
            free_node(node);
        else if (node != &client->first && !node->is_primary && TAILQ_EMPTY(&node->waiting) &&
                 now - node->used_ns > UNUSED_KEPT_NS)
            close_node(node);
    }
}

/** The addresses that were given, then the primaries', for ever. */
static void turn_to_next_address(struct redis_client *client) {
    size_t place = client->seed_count;
    struct redis_node *node;
    if (++client->turn >= client->seed_count) {
        TAILQ_FOREACH(node, &client->nodes, link) {
            if (!node->is_primary || node == &client->first || place++ != client->turn) continue;
            client->first.connection.target = &node->target;
            return;
        }
        client->turn = 0;
    }
    client->first.connection.target = &client->seeds[client->turn];
}

/* --- who has what ------------------------------------------------------------------------------------------------- */

/** The host of the server that was asked, which need not know how it is reached. */
static void use_own_host(const struct redis_node *node, char out[HOST_BYTES]) {
    const char *host = node->connection.target->host;
    snprintf(out, HOST_BYTES, "%s", host != NULL ? host : "127.0.0.1");
}

/** {host, port, id, {name, value...}}: of each server of a range. */
static bool read_place(const struct redis_node *asked, const struct redis_reply *server, struct place *out) {
    if (server->type != REDIS_ARRAY || server->count < 2 || server->items[1].type != REDIS_INTEGER) return false;
    const struct bytes_view host = server->items[0].string;
    bool unknown = server->items[0].type != REDIS_STRING || host.length == 0 || bytes_view_equal_string(host, "?");
    if (unknown)
        use_own_host(asked, out->host);
    else
        snprintf(out->host, sizeof out->host, "%.*s", (int)host.length, (const char *)host.data);
    out->port = (int)server->items[1].integer;
    snprintf(out->address, sizeof out->address, "%s", out->host);
    const struct redis_reply *more = server->count > 3 ? &server->items[3] : NULL;
    for (size_t i = 0; more != NULL && i + 1 < more->count; i += 2) {
        if (!unknown && bytes_view_equal_string(more->items[i].string, "ip") && more->items[i + 1].string.length > 0)
            snprintf(out->address, sizeof out->address, "%s", (const char *)more->items[i + 1].string.data);
    }
    return true;
}

/** {first slot, last slot, primary, replicas...} */
static bool read_range(const struct redis_node *asked, const struct redis_reply *range, int *first, int *last,
                       struct place *out) {
    if (range->type != REDIS_ARRAY || range->count < 3 || !read_place(asked, &range->items[2], out)) return false;
    *first = (int)range->items[0].integer;
    *last = (int)range->items[1].integer;
    return *first >= 0 && *first <= *last && *last < REDIS_SLOTS;
}

static void set_owners_locked(struct redis_client *client, const struct redis_reply *reply) {
    struct redis_cluster *cluster = client->cluster;
    struct redis_node *node;
    bool moved = false;
    int count = 0, first, last;
    struct place place;
    TAILQ_FOREACH(node, &client->nodes, link) node->is_primary = false;
    for (size_t i = 0; i < reply->count; i++) {
        if (!read_range(&client->first, &reply->items[i], &first, &last, &place)) continue;
        node = find_node(client, &place);
        if (node == NULL) continue; /* it is asked for again */
        node->is_primary = true;
        node->used_ns = now_ns();
        for (int slot = first; slot <= last; slot++) {
            moved = moved || cluster->owners[slot] != node;
            cluster->owners[slot] = node;
            count++;
        }
    }
    for (int slot = 0; slot < REDIS_SLOTS; slot++) {
        if (cluster->owners[slot] != NULL && !cluster->owners[slot]->is_primary) cluster->owners[slot] = NULL;
    }
    cluster->covered = count == REDIS_SLOTS;
    if (moved) atomic_fetch_add(&client->generation, 1);
}

static void on_slots(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct redis_client *client = context;
    struct redis_cluster *cluster = client->cluster;
    cluster->asking = false;
    if (status != STATUS_OK || reply->type != REDIS_ARRAY) {
        if (status != STATUS_UNAVAILABLE && status != STATUS_CANCELLED) redis_publish_state(client, message);
        return;
    }
    cluster->unsure = cluster->is_sure ? 0 : cluster->unsure + 1;
    if (!cluster->is_sure) {
        redis_connection_drop(&client->first.connection, "the cluster is down, or that server has lost it");
        return;
    }
    cluster->stale = false;
    for (size_t i = 0; i < reply->count; i++) {
        struct place place;
        int first, last;
        if (!read_range(&client->first, &reply->items[i], &first, &last, &place)) continue;
        if (find_node(client, &place) == NULL && add_node(client, &place) == NULL) cluster->stale = true;
    }
    pthread_mutex_lock(&client->mutex);
    set_owners_locked(client, reply);
    pthread_mutex_unlock(&client->mutex);
    redis_publish_state(client, NULL);
}

static void on_info(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)message;
    struct redis_client *client = context;
    client->cluster->is_sure = status == STATUS_OK && reply->type == REDIS_STRING &&
                               strstr((const char *)reply->string.data, "cluster_state:ok") != NULL;
}

static void ask(struct redis_client *client) {
    struct redis_cluster *cluster = client->cluster;
    int64_t since_ns = now_ns() - cluster->asked_ns;
    if (cluster->asking || client->first.pipe.fd < 0 || since_ns < (cluster->stale ? ASK_AGAIN_NS : ASK_EVERY_NS))
        return;
    cluster->asked_ns = now_ns();
    cluster->asking = true;
    redis_commandf(client, on_info, client, "CLUSTER INFO");
    redis_commandf(client, on_slots, client, "CLUSTER SLOTS");
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void hold_locked(struct redis_client *client, struct redis_command *command) {
    TAILQ_INSERT_TAIL(&client->cluster->held, command, link);
}

enum status redis_cluster_send_locked(struct redis_client *client, struct redis_command *command) {
    struct bytes_view key;
    struct redis_node *node = redis_slot_key(command->wire, command->wire_length, &key)
                                  ? client->cluster->owners[redis_slot_of(key)]
                                  : &client->first;
    if (node == NULL) return STATUS_UNAVAILABLE;
    if (node->pipe.fd >= 0) return redis_send_locked(node, command);
    if (node == &client->first || node->tried) return STATUS_UNAVAILABLE;
    hold_locked(client, command);
    eventfd_write(client->wake_fd, 1);
    return STATUS_OK;
}

bool redis_cluster_holds_locked(const struct redis_client *client) {
    return client->cluster != NULL && !TAILQ_EMPTY(&client->cluster->held);
}

void redis_cluster_wake(struct redis_client *client) {
    if (client->cluster != NULL) arm(client->cluster, HELD_TICK_NS);
}

/** Those whose time is over have never been run. */
static void send_held(struct redis_client *client) {
    struct redis_commands held = TAILQ_HEAD_INITIALIZER(held), failed = TAILQ_HEAD_INITIALIZER(failed);
    int64_t now = now_ns();
    pthread_mutex_lock(&client->mutex);
    bool closing = client->stopping;
    TAILQ_CONCAT(&held, &client->cluster->held, link);
    for (struct redis_command *command; (command = TAILQ_FIRST(&held)) != NULL;) {
        TAILQ_REMOVE(&held, command, link);
        bool sent = !closing && command->deadline_ns > now && redis_cluster_send_locked(client, command) == STATUS_OK;
        if (!sent) TAILQ_INSERT_TAIL(&failed, command, link);
    }
    pthread_mutex_unlock(&client->mutex);
    for (struct redis_command *command; (command = TAILQ_FIRST(&failed)) != NULL;) {
        TAILQ_REMOVE(&failed, command, link);
        redis_fail(command, closing, "the slot is moving, or nobody has it");
    }
}

/** "MOVED 3999 127.0.0.1:6381" or "ASK ..."; without a host it is that of whoever says so. */
static bool read_redirect(const struct redis_node *from, const char *text, int *slot, struct place *out) {
    char word[8];
    char where[HOST_BYTES + 16];
    int64_t port;
    if (sscanf(text, "%7s %d %271s", word, slot, where) != 3 || *slot < 0 || *slot >= REDIS_SLOTS) return false;
    char *colon = strrchr(where, ':');
    if (colon == NULL || !text_to_i64(colon + 1, &port) || port < 1 || port > 65535) return false;
    *colon = 0;
    if (where[0] != 0)
        snprintf(out->host, sizeof out->host, "%.*s", HOST_BYTES - 1, where);
    else
        use_own_host(from, out->host);
    memcpy(out->address, out->host, sizeof out->address);
    out->port = (int)port;
    return true;
}

/** Sent there at once, if that can be, a few times; then again and again, a little later. */
static void redirect(struct redis_client *client, struct redis_command *command, struct redis_node *to, bool asks) {
    enum status status = STATUS_UNAVAILABLE;
    const struct bytes_view asking = bytes_view_string("ASKING");
    pthread_mutex_lock(&client->mutex);
    if (to != NULL && to->pipe.fd >= 0 && command->redirects++ < IMMEDIATE_REDIRECTS)
        status = asks ? redis_send_behind_locked(to, redis_command_create(&asking, 1, NULL, NULL), command)
                      : redis_send_locked(to, command);
    if (status != STATUS_OK) {
        command->redirects = 0;
        hold_locked(client, command);
    }
    pthread_mutex_unlock(&client->mutex);
    if (status != STATUS_OK) arm(client->cluster, HELD_TICK_NS);
}

bool redis_cluster_take_error(struct redis_node *node, struct redis_command *command, const redisReply *error) {
    struct redis_client *client = node->client;
    struct redis_cluster *cluster = client->cluster;
    bool moved = strncmp(error->str, "MOVED ", 6) == 0, asks = strncmp(error->str, "ASK ", 4) == 0;
    struct place place;
    int slot = 0;
    if (cluster == NULL) return false;
    if (strncmp(error->str, "CLUSTERDOWN", 11) == 0) cluster->stale = true;
    if (strncmp(error->str, "TRYAGAIN", 8) == 0) {
        redirect(client, command, NULL, false);
        return true;
    }
    if ((!moved && !asks) || !read_redirect(node, error->str, &slot, &place)) return false;
    struct redis_node *to = find_node(client, &place);
    if (to == NULL) to = add_node(client, &place);
    if (to != NULL) to->used_ns = now_ns();
    if (moved) cluster->stale = true;
    if (moved && to != NULL) {
        pthread_mutex_lock(&client->mutex);
        if (cluster->owners[slot] != to) atomic_fetch_add(&client->generation, 1);
        cluster->owners[slot] = to;
        to->is_primary = true;
        pthread_mutex_unlock(&client->mutex);
    }
    redirect(client, command, to, asks);
    return true;
}

/* --- states ------------------------------------------------------------------------------------------------------- */

void redis_cluster_node_changed(struct redis_node *node, bool is_up) {
    struct redis_client *client = node->client;
    struct redis_cluster *cluster = client->cluster;
    pthread_mutex_lock(&client->mutex);
    node->tried = true;
    pthread_mutex_unlock(&client->mutex);
    if (node == &client->first && !is_up) turn_to_next_address(client);
    if (cluster == NULL) return;
    cluster->stale = cluster->stale || !is_up || node == &client->first;
    arm(cluster, HELD_TICK_NS);
}

void redis_cluster_state_locked(const struct redis_client *client, bool *out_any, bool *out_whole) {
    struct redis_node *node;
    const bool is_down = client->cluster->unsure >= UNSURE_MAX;
    *out_any = false;
    *out_whole = client->cluster->covered && !is_down;
    TAILQ_FOREACH(node, &client->nodes, link) {
        if (!node->is_primary) continue;
        *out_any = *out_any || (node->pipe.fd >= 0 && !is_down);
        *out_whole = *out_whole && node->pipe.fd >= 0;
    }
}

/** Messages are published to the primary that has the channel's slot; whoever listens there hears them from nobody else. */
static void follow_channel(struct redis_client *client) {
    if (client->subscriptions == NULL) return;
    const struct redis_node *owner =
        client->cluster->owners[redis_slot_of(bytes_view_string(client->subscriptions->channel))];
    if (owner == NULL || client->subscriber.target == owner->connection.target) return;
    client->subscriber.target = owner->connection.target;
    redis_connection_drop(&client->subscriber, "the channel's slot has moved");
}

static void on_tick(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct redis_client *client = argument;
    send_held(client);
    ask(client);
    drop_unused(client);
    follow_channel(client);
    pthread_mutex_lock(&client->mutex);
    bool soon = !client->whole || redis_cluster_holds_locked(client);
    pthread_mutex_unlock(&client->mutex);
    arm(client->cluster, soon ? HELD_TICK_NS : TICK_NS);
}

bool redis_cluster_open(struct redis_client *client) {
    struct redis_cluster *cluster = calloc(1, sizeof *cluster);
    if (cluster == NULL || (cluster->timer = evtimer_new(client->base, on_tick, client)) == NULL) {
        free(cluster);
        return false;
    }
    TAILQ_INIT(&cluster->held);
    pthread_mutex_lock(&client->mutex);
    client->cluster = cluster;
    pthread_mutex_unlock(&client->mutex);
    atomic_store(&client->in_cluster, true);
    return true;
}

void redis_cluster_close(struct redis_client *client) {
    if (client->cluster == NULL) return;
    event_del(client->cluster->timer);
    struct redis_node *node;
    TAILQ_FOREACH(node, &client->nodes, link) {
        if (node != &client->first && !node->closed) close_node(node);
    }
    event_del(client->cluster->timer); /* closing has set it anew */
    send_held(client);
}

void redis_cluster_free(struct redis_client *client) {
    if (client->cluster == NULL) return;
    for (struct redis_node *node; (node = TAILQ_NEXT(&client->first, link)) != NULL;) free_node(node);
    event_free(client->cluster->timer);
    free(client->cluster);
}
