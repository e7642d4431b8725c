/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/redis.h"

#include "base/clock.h"
#include "store/redis_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FUNCTION_MISSING "Function not found"
/* Commands between submission and callback. A server that is slower than its clients for long shows as refusals, not as memory. */
enum { COMMANDS_MAX = 65536, TIMEOUT_STEPS = 16 /* how often one command's time is looked at */ };
static const int64_t TIMEOUT_STEP_MAX_NS = 20 * (int64_t)NS_PER_MS;
static const int64_t TIMEOUT_DEFAULT_NS = 500 * (int64_t)NS_PER_MS;

static int64_t now_ns(void) {
    return clock_monotonic_ns(clock_system());
}

/* --- the end of a command --------------------------------------------------------------------------------------- */

static void answer(struct redis_command *command, enum status status, const struct redis_reply *reply,
                   const char *message) {
    atomic_fetch_sub(&command->client->command_count, 1);
    if (command->fn != NULL) command->fn(command->context, status, reply, message);
}

/** There is no connection (any more), or there will soon be none. */
static void fail_unconnected(struct redis_command *command, bool closing, const char *reason) {
    char message[REDIS_REASON_BYTES + 64];
    snprintf(message, sizeof message, "Redis cannot be reached: %s", reason);
    if (closing)
        answer(command, STATUS_CANCELLED, NULL, "the Redis client is closing");
    else
        answer(command, STATUS_UNAVAILABLE, NULL, message);
}

void redis_fail(struct redis_command *command, bool closing, const char *reason) {
    fail_unconnected(command, closing, reason);
    redis_command_free(command);
}

/** Errors that pass (the server loads, fails over, is full or busy) are UNAVAILABLE; anything else is our own mistake. */
static enum status status_of_error(struct bytes_view text) {
    static const char *const passing[] = {"LOADING",  "BUSY",    "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN",
                                          "READONLY", "MISCONF", "NOREPLICAS", "OOM"};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        size_t length = strlen(passing[i]);
        if (text.length > length && memcmp(text.data, passing[i], length) == 0 && text.data[length] == ' ')
            return STATUS_UNAVAILABLE;
    }
    return STATUS_INTERNAL;
}

/** A function that is still not there has been loaded in vain: that is why. */
static enum status status_of_reply(const struct redis_node *node, const struct redis_reply *reply) {
    if (strstr((const char *)reply->string.data, FUNCTION_MISSING) != NULL) return node->load_status;
    return status_of_error(reply->string);
}

static void on_loaded(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    struct redis_node *node = context;
    node->load_status = status == STATUS_OK ? STATUS_INTERNAL : status;
}

static void answer_with_reply(struct redis_node *node, struct redis_command *command, const redisReply *raw) {
    struct redis_reply reply, *block = NULL;
    if (!redis_reply_convert(raw, &reply, &block)) {
        answer(command, STATUS_RESOURCE_EXHAUSTED, NULL, "out of memory");
        return;
    }
    if (reply.type == REDIS_ERROR)
        answer(command, status_of_reply(node, &reply), &reply, (const char *)reply.string.data);
    else
        answer(command, STATUS_OK, &reply, "");
    free(block);
}

/* --- replies and time-outs: the loop's thread ------------------------------------------------------------------- */

enum status redis_send_locked(struct redis_node *node, struct redis_command *command) {
    command->sent_ns = now_ns();
    enum status status = redis_pipe_send_locked(node, command);
    if (status == STATUS_OK) TAILQ_INSERT_TAIL(&node->waiting, command, link);
    return status;
}

enum status redis_send_behind_locked(struct redis_node *node, struct redis_command *ahead,
                                     struct redis_command *command) {
    if (ahead == NULL) return STATUS_RESOURCE_EXHAUSTED;
    ahead->client = node->client;
    ahead->deadline_ns = command->deadline_ns;
    atomic_fetch_add(&node->client->command_count, 1);
    enum status status = redis_send_locked(node, ahead);
    if (status == STATUS_OK) return redis_send_locked(node, command);
    atomic_fetch_sub(&node->client->command_count, 1);
    redis_command_free(ahead);
    return status;
}

static bool lacks_code(const struct redis_command *command, const redisReply *reply) {
    if (reply->type != REDIS_REPLY_ERROR) return false;
    return (command->script != NULL && strncmp(reply->str, "NOSCRIPT", 8) == 0) ||
           (command->library != NULL && strstr(reply->str, FUNCTION_MISSING) != NULL);
}

/** It did not run, so sending it again, with its code, is no repetition. It keeps its deadline. */
static void send_with_code(struct redis_node *node, struct redis_command *command) {
    struct redis_client *client = node->client;
    const struct redis_library *library = command->library;
    enum status status = STATUS_OK;
    if (command->script != NULL && !redis_command_use_source(command)) status = STATUS_RESOURCE_EXHAUSTED;
    pthread_mutex_lock(&client->mutex);
    command->library = NULL;
    if (status == STATUS_OK && library != NULL)
        status = redis_send_behind_locked(node, redis_command_load(library, client->cluster != NULL, on_loaded, node),
                                          command);
    else if (status == STATUS_OK)
        status = redis_send_locked(node, command);
    pthread_mutex_unlock(&client->mutex);
    if (status == STATUS_OK) return;
    answer(command, status, NULL, "the script could not be sent");
    redis_command_free(command);
}

bool redis_take_reply(struct redis_node *node, const redisReply *raw) {
    struct redis_client *client = node->client;
    node->last_reply_ns = now_ns();
    pthread_mutex_lock(&client->mutex);
    struct redis_command *command = TAILQ_FIRST(&node->waiting);
    if (command != NULL) TAILQ_REMOVE(&node->waiting, command, link);
    pthread_mutex_unlock(&client->mutex);
    if (command == NULL) return false;
    if (!command->timed_out && lacks_code(command, raw)) {
        send_with_code(node, command);
        return true;
    }
    if (raw->type == REDIS_REPLY_ERROR && !command->timed_out && redis_cluster_take_error(node, command, raw))
        return true;
    if (!command->timed_out) answer_with_reply(node, command, raw);
    redis_command_free(command);
    return true;
}

/** The next one that is too late. It keeps its place: its reply may still come. */
static struct redis_command *take_late(struct redis_node *node, int64_t now) {
    struct redis_command *late = NULL;
    pthread_mutex_lock(&node->client->mutex);
    TAILQ_FOREACH(late, &node->waiting, link) {
        if (!late->timed_out) break;
    }
    if (late != NULL && late->deadline_ns > now) late = NULL;
    if (late != NULL) late->timed_out = true;
    pthread_mutex_unlock(&node->client->mutex);
    return late;
}

/** Fail what is too late. A server that has said nothing since the late command was sent hangs: drop the connection. */
static void fail_late(struct redis_node *node) {
    bool silent = false;
    /* A loop that was busy elsewhere has not heard what lies in the socket. */
    if (node->client->loop != NULL) redis_pipe_read(node);
    int64_t now = now_ns();
    for (struct redis_command *late; (late = take_late(node, now)) != NULL;) {
        silent = silent || node->last_reply_ns < late->sent_ns;
        answer(late, STATUS_DEADLINE_EXCEEDED, NULL, "Redis did not answer in time");
    }
    if (silent) redis_connection_drop(&node->connection, "it stopped answering");
}

static void on_timeout(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct redis_client *client = argument;
    struct redis_node *node;
    TAILQ_FOREACH(node, &client->nodes, link) fail_late(node);
}

static void on_wake(evutil_socket_t fd, short events, void *argument) {
    (void)events;
    struct redis_client *client = argument;
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN) return;
    pthread_mutex_lock(&client->mutex);
    struct redis_subscription *subscriptions = client->new_subscriptions;
    client->new_subscriptions = NULL;
    bool stopping = client->stopping;
    pthread_mutex_unlock(&client->mutex);
    struct redis_node *node;
    TAILQ_FOREACH(node, &client->nodes, link) redis_pipe_wait_for_room(node);
    redis_cluster_wake(client);
    if (subscriptions != NULL) redis_subscriptions_adopt(client, subscriptions);
    if (stopping) event_base_loopbreak(client->base);
}

/* --- the state of the connection -------------------------------------------------------------------------------- */

/** True: all that is needed is there now, or is not any more. */
static bool set_state(struct redis_client *client, const char *reason) {
    bool any = client->first.pipe.fd >= 0, whole = any;
    pthread_mutex_lock(&client->mutex);
    if (client->cluster != NULL) redis_cluster_state_locked(client, &any, &whole);
    bool changes = whole != client->whole;
    if (reason != NULL) snprintf(client->reason, sizeof client->reason, "%s", reason);
    atomic_store(&client->connected, any);
    client->whole = whole;
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->mutex);
    return changes;
}

static void tell_owner(struct redis_client *client) {
    if (client->on_connection != NULL) client->on_connection(client->context, client->whole);
}

void redis_publish_state(struct redis_client *client, const char *reason) {
    if (set_state(client, reason)) tell_owner(client);
}

/** Nothing that was sent will be answered any more. */
static void fail_waiting(struct redis_node *node) {
    struct redis_client *client = node->client;
    struct redis_commands lost = TAILQ_HEAD_INITIALIZER(lost);
    pthread_mutex_lock(&client->mutex);
    TAILQ_CONCAT(&lost, &node->waiting, link);
    bool closing = client->stopping;
    pthread_mutex_unlock(&client->mutex);
    for (struct redis_command *command; (command = TAILQ_FIRST(&lost)) != NULL;) {
        TAILQ_REMOVE(&lost, command, link);
        if (!command->timed_out) fail_unconnected(command, closing, node->connection.reason);
        redis_command_free(command);
    }
}

/** Why such a server will not do; NULL: it will. */
static const char *what_is_wrong(struct redis_node *node) {
    struct redis_client *client = node->client;
    bool in_cluster = node->connection.in_cluster;
    if (!in_cluster && client->cluster != NULL) return "the server is not one of the cluster any more";
    if (!in_cluster && client->seed_count > 1) return "several addresses are given, and this server is not a cluster's";
    if (in_cluster && client->cluster == NULL && !redis_cluster_open(client)) return "out of memory";
    return redis_pipe_open(node) ? NULL : "out of memory";
}

/** Of a cluster's nodes with the one that it is about. */
static void write_reason(const struct redis_node *node, char out[REDIS_REASON_BYTES]) {
    if (node->name[0] != 0)
        snprintf(out, REDIS_REASON_BYTES, "%.80s: %.70s", node->name, node->connection.reason);
    else
        snprintf(out, REDIS_REASON_BYTES, "%s", node->connection.reason);
}

static void on_up(void *owner) {
    struct redis_node *node = owner;
    struct redis_client *client = node->client;
    const char *wrong = what_is_wrong(node);
    if (wrong != NULL) {
        redis_connection_drop(&node->connection, wrong);
        return;
    }
    int64_t step_ns = client->timeout_ns / TIMEOUT_STEPS;
    step_ns = step_ns > TIMEOUT_STEP_MAX_NS ? TIMEOUT_STEP_MAX_NS : step_ns < NS_PER_MS ? NS_PER_MS : step_ns;
    struct timeval step = {.tv_usec = step_ns / NS_PER_US};
    if (evtimer_pending(client->timeout_timer, NULL) == 0) evtimer_add(client->timeout_timer, &step);
    atomic_fetch_add(&client->generation, 1);
    redis_cluster_node_changed(node, true);
    redis_publish_state(client, NULL);
}

static void on_down(void *owner) {
    struct redis_node *node = owner;
    struct redis_client *client = node->client;
    if (client->cluster == NULL) event_del(client->timeout_timer);
    redis_pipe_close(node);
    redis_cluster_node_changed(node, false);
    char reason[REDIS_REASON_BYTES];
    write_reason(node, reason);
    bool changes = set_state(client, reason);
    fail_waiting(node);
    if (changes) tell_owner(client);
}

static void on_refused(void *owner) {
    struct redis_node *node = owner;
    char reason[REDIS_REASON_BYTES];
    redis_cluster_node_changed(node, false);
    write_reason(node, reason);
    redis_publish_state(node->client, reason);
}

/* --- any thread ------------------------------------------------------------------------------------------------- */

void redis_submit(struct redis_client *client, struct redis_command *command) {
    command->client = client;
    command->deadline_ns = now_ns() + client->timeout_ns;
    char reason[REDIS_REASON_BYTES] = "too many commands wait for it";
    int count = atomic_fetch_add(&client->command_count, 1);
    pthread_mutex_lock(&client->mutex);
    bool connected = atomic_load(&client->connected), closing = client->stopping;
    enum status status = STATUS_RESOURCE_EXHAUSTED;
    if (closing || count >= COMMANDS_MAX)
        ;
    else if (client->cluster != NULL)
        status = redis_cluster_send_locked(client, command);
    else
        status = connected ? redis_send_locked(&client->first, command) : STATUS_UNAVAILABLE;
    if (status == STATUS_UNAVAILABLE) memcpy(reason, client->reason, sizeof reason);
    pthread_mutex_unlock(&client->mutex);
    if (status != STATUS_OK) redis_fail(command, closing, reason); /* else it may be answered and freed already */
}

bool redis_client_connected(const struct redis_client *client) {
    return atomic_load(&client->connected);
}

void redis_client_reason(struct redis_client *client, char *out, size_t bytes) {
    pthread_mutex_lock(&client->mutex);
    snprintf(out, bytes, "%s", client->whole ? "" : client->reason);
    pthread_mutex_unlock(&client->mutex);
}

bool redis_client_in_cluster(const struct redis_client *client) {
    return atomic_load(&client->in_cluster);
}

int64_t redis_client_generation(const struct redis_client *client) {
    return atomic_load(&client->generation);
}

static void flush_locked(struct redis_client *client) {
    struct redis_node *node;
    TAILQ_FOREACH(node, &client->nodes, link) redis_pipe_flush_locked(node);
}

void redis_client_flush(struct redis_client *client) {
    if (client->loop == NULL) return;
    pthread_mutex_lock(&client->mutex);
    flush_locked(client);
    pthread_mutex_unlock(&client->mutex);
}

enum status redis_client_wait(struct redis_client *client, int64_t timeout_ns, struct error *err) {
    int64_t until = now_ns() + timeout_ns;
    struct timespec deadline = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    int waited = 0;
    pthread_mutex_lock(&client->mutex);
    while (!client->whole && waited == 0) waited = pthread_cond_timedwait(&client->changed, &client->mutex, &deadline);
    enum status status = STATUS_OK;
    if (!client->whole) status = error_set(err, STATUS_UNAVAILABLE, "Redis cannot be reached: %s", client->reason);
    pthread_mutex_unlock(&client->mutex);
    return status;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

/** End what was begun; on the client's thread. */
static void end(struct redis_client *client) {
    redis_subscriptions_deinit(client);
    redis_cluster_close(client);
    redis_connection_deinit(&client->first.connection); /* cancels what was sent */
}

static void *client_main(void *argument) {
    struct redis_client *client = argument;
    pthread_setname_np(pthread_self(), "redis");
    redis_connection_start(&client->first.connection);
    event_base_loop(client->base, EVLOOP_NO_EXIT_ON_EMPTY);
    end(client);
    return NULL;
}

/* On a shared loop libevent sees neither commands nor replies: it connects, and looks at the clock. */
static const int64_t PUMP_NS = 20 * (int64_t)NS_PER_MS, PUMP_UNCONNECTED_NS = 2 * (int64_t)NS_PER_MS;

static int64_t loop_turn(void *argument) {
    struct redis_client *client = argument;
    int64_t now = loop_now_ns(client->loop);
    if (client->ended) return INT64_MAX;
    if (!client->begun) redis_connection_start(&client->first.connection);
    client->begun = true;
    pthread_mutex_lock(&client->mutex);
    flush_locked(client);
    bool stopping = client->stopping;
    int64_t every_ns = client->whole && !redis_cluster_holds_locked(client) ? PUMP_NS : PUMP_UNCONNECTED_NS;
    pthread_mutex_unlock(&client->mutex);
    if (stopping) {
        end(client);
        pthread_mutex_lock(&client->mutex);
        client->ended = true;
        pthread_cond_broadcast(&client->changed);
        pthread_mutex_unlock(&client->mutex);
        return INT64_MAX;
    }
    if (now - client->pumped_ns >= every_ns) {
        client->pumped_ns = now;
        event_base_loop(client->base, EVLOOP_NONBLOCK);
    }
    return client->pumped_ns + every_ns;
}

/** What was gathered behind this client's turn goes in the next one. */
static bool loop_pending(void *argument) {
    struct redis_client *client = argument;
    bool pending = false;
    struct redis_node *node;
    pthread_mutex_lock(&client->mutex);
    TAILQ_FOREACH(node, &client->nodes, link)
    pending = pending || (node->pipe.fd >= 0 && node->pipe.unsent.length > 0 && !node->pipe.blocked);
    pthread_mutex_unlock(&client->mutex);
    return pending;
}

/** A script takes less time than falling asleep and waking up. */
static bool loop_awaits(void *argument) {
    struct redis_client *client = argument;
    return atomic_load(&client->command_count) > 0 && atomic_load(&client->connected);
}

enum status redis_node_init(struct redis_node *node, struct redis_client *client, const struct redis_target *target,
                            struct error *err) {
    node->client = client;
    node->pipe.fd = -1;
    node->load_status = STATUS_INTERNAL;
    TAILQ_INIT(&node->waiting);
    node->connection.owner = node;
    node->connection.on_up = on_up;
    node->connection.on_down = on_down;
    node->connection.on_refused = on_refused;
    return redis_connection_init(&node->connection, client->base, target, err);
}

static enum status open_loop(struct redis_client *client, struct error *err) {
    client->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (client->wake_fd < 0) return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, errno, "no eventfd for Redis");
    client->base = event_base_new();
    if (client->base == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no event loop for Redis");
    client->wake_event = event_new(client->base, client->wake_fd, EV_READ | EV_PERSIST, on_wake, client);
    client->timeout_timer = event_new(client->base, -1, EV_PERSIST, on_timeout, client);
    if (client->wake_event == NULL || client->timeout_timer == NULL || event_add(client->wake_event, NULL) != 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    TAILQ_INSERT_TAIL(&client->nodes, &client->first, link);
    return redis_node_init(&client->first, client, &client->seeds[0], err);
}

/** The thread takes no signals: they are the program's, and a write to a closed socket must not kill it. */
static enum status start_thread(struct redis_client *client, struct error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&client->thread, NULL, client_main, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result == 0 ? STATUS_OK : error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, result, "no thread for Redis");
}

static void free_client(struct redis_client *client) {
    if (client->timeout_timer != NULL) event_free(client->timeout_timer);
    if (client->wake_event != NULL) event_free(client->wake_event);
    if (client->first.connection.timer != NULL) event_free(client->first.connection.timer);
    redis_cluster_free(client);
    if (client->base != NULL) event_base_free(client->base);
    if (client->wake_fd >= 0) close(client->wake_fd);
    pthread_cond_destroy(&client->changed);
    pthread_mutex_destroy(&client->mutex);
    for (size_t i = 0; i < client->seed_count; i++) redis_target_deinit(&client->seeds[i]);
    free(client->seeds);
    free(client);
}

/** hiredis waits for names to be looked up, which a shared loop must not. */
static bool are_found_at_once(const struct redis_client *client) {
    bool all = true;
    for (size_t i = 0; i < client->seed_count; i++) all = all && redis_target_is_found_at_once(&client->seeds[i]);
    return all;
}

/** "host:port,host:port": one after the other. */
static enum status read_seeds(struct redis_client *client, const struct redis_options *options, struct error *err) {
    enum { SEEDS_MAX = 16 };
    client->seeds = calloc(SEEDS_MAX, sizeof *client->seeds);
    char *addresses = strdup(options->address), *at = addresses, *rest = NULL;
    enum status status = STATUS_OK;
    if (client->seeds == NULL || addresses == NULL) status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (at = addresses; status == STATUS_OK && at != NULL; at = rest) {
        rest = strchr(at, ',');
        if (rest != NULL) *rest++ = 0;
        if (client->seed_count == SEEDS_MAX)
            status = error_set(err, STATUS_INVALID_ARGUMENT, "more than %d addresses of Redis", SEEDS_MAX);
        else
            status = redis_target_init(&client->seeds[client->seed_count], at, options->password, err);
        if (status != STATUS_OK) break;
        client->seeds[client->seed_count].database = options->database;
        client->seeds[client->seed_count++].timeout_ns = client->timeout_ns;
    }
    free(addresses);
    return status;
}

enum status redis_client_create(const struct redis_options *options, struct redis_client **out, struct error *err) {
    struct redis_client *client = calloc(1, sizeof *client);
    if (client == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    client->wake_fd = -1;
    client->on_connection = options->on_connection;
    client->context = options->context;
    client->timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : TIMEOUT_DEFAULT_NS;
    TAILQ_INIT(&client->nodes);
    pthread_mutex_init(&client->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&client->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    snprintf(client->reason, sizeof client->reason, "not connected yet");

    enum status status = STATUS_OK;
    TRY_CLEANUP(read_seeds(client, options, err));
    TRY_CLEANUP(open_loop(client, err));
    *out = client; /* before the thread starts: its callbacks may want it */
    client->loop = are_found_at_once(client) ? options->loop : NULL;
    client->member =
        (struct loop_member){.context = client, .pending = loop_pending, .awaits = loop_awaits, .turn = loop_turn};
    if (client->loop != NULL)
        loop_join(client->loop, &client->member);
    else
        TRY_CLEANUP(start_thread(client, err));
    return STATUS_OK;
cleanup:
    *out = NULL;
    free_client(client);
    return status;
}

void redis_client_destroy(struct redis_client *client) {
    if (client == NULL) return;
    pthread_mutex_lock(&client->mutex);
    client->stopping = true;
    pthread_mutex_unlock(&client->mutex);
    if (client->loop == NULL) {
        eventfd_write(client->wake_fd, 1);
        pthread_join(client->thread, NULL);
    } else {
        loop_wake(client->loop);
        pthread_mutex_lock(&client->mutex);
        while (!client->ended) pthread_cond_wait(&client->changed, &client->mutex);
        pthread_mutex_unlock(&client->mutex);
        loop_leave(client->loop, &client->member);
    }
    free_client(client);
}
