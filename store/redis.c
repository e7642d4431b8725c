/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/redis.h"

#include "base/clock.h"
#include "store/redis_internal.h"

#include <arpa/inet.h>
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
static enum status status_of_reply(const struct redis_command *command, const struct redis_reply *reply) {
    if (strstr((const char *)reply->string.data, FUNCTION_MISSING) != NULL) return command->client->load_status;
    return status_of_error(reply->string);
}

static void on_loaded(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    struct redis_client *client = context;
    client->load_status = status == STATUS_OK ? STATUS_INTERNAL : status;
}

static void answer_with_reply(struct redis_command *command, const redisReply *raw) {
    struct redis_reply reply, *block = NULL;
    if (!redis_reply_convert(raw, &reply, &block)) {
        answer(command, STATUS_RESOURCE_EXHAUSTED, NULL, "out of memory");
        return;
    }
    if (reply.type == REDIS_ERROR)
        answer(command, status_of_reply(command, &reply), &reply, (const char *)reply.string.data);
    else
        answer(command, STATUS_OK, &reply, "");
    free(block);
}

/* --- replies and time-outs: the loop's thread ------------------------------------------------------------------- */

/** Send it and let it wait for its reply. The mutex is held. */
static enum status send_locked(struct redis_client *client, struct redis_command *command) {
    command->sent_ns = now_ns();
    enum status status = redis_pipe_send_locked(client, command);
    if (status == STATUS_OK) TAILQ_INSERT_TAIL(&client->waiting, command, link);
    return status;
}

static bool lacks_code(const struct redis_command *command, const redisReply *reply) {
    if (reply->type != REDIS_REPLY_ERROR) return false;
    return (command->script != NULL && strncmp(reply->str, "NOSCRIPT", 8) == 0) ||
           (command->library != NULL && strstr(reply->str, FUNCTION_MISSING) != NULL);
}

static enum status send_load_locked(struct redis_client *client, const struct redis_command *command) {
    struct redis_command *load = redis_command_load(command->library, on_loaded, client);
    if (load == NULL) return STATUS_RESOURCE_EXHAUSTED;
    load->client = client;
    load->deadline_ns = command->deadline_ns;
    atomic_fetch_add(&client->command_count, 1);
    enum status status = send_locked(client, load);
    if (status == STATUS_OK) return STATUS_OK;
    atomic_fetch_sub(&client->command_count, 1);
    redis_command_free(load);
    return status;
}

/** It did not run, so sending it again, with its code, is no repetition. It keeps its deadline. */
static void send_with_code(struct redis_client *client, struct redis_command *command) {
    enum status status = STATUS_OK;
    if (command->script != NULL && !redis_command_use_source(command)) status = STATUS_RESOURCE_EXHAUSTED;
    pthread_mutex_lock(&client->mutex);
    if (status == STATUS_OK && command->library != NULL) status = send_load_locked(client, command);
    command->library = NULL;
    if (status == STATUS_OK) status = send_locked(client, command);
    pthread_mutex_unlock(&client->mutex);
    if (status == STATUS_OK) return;
    answer(command, status, NULL, "the script could not be sent");
    redis_command_free(command);
}

bool redis_take_reply(struct redis_client *client, const redisReply *raw) {
    client->last_reply_ns = now_ns();
    pthread_mutex_lock(&client->mutex);
    struct redis_command *command = TAILQ_FIRST(&client->waiting);
    if (command != NULL) TAILQ_REMOVE(&client->waiting, command, link);
    pthread_mutex_unlock(&client->mutex);
    if (command == NULL) return false;
    if (!command->timed_out && lacks_code(command, raw)) {
        send_with_code(client, command);
        return true;
    }
    if (!command->timed_out) answer_with_reply(command, raw);
    redis_command_free(command);
    return true;
}

/** The next one that is too late. It keeps its place: its reply may still come. */
static struct redis_command *take_late(struct redis_client *client, int64_t now) {
    struct redis_command *late = NULL;
    pthread_mutex_lock(&client->mutex);
    TAILQ_FOREACH(late, &client->waiting, link) {
        if (!late->timed_out) break;
    }
    if (late != NULL && late->deadline_ns > now) late = NULL;
    if (late != NULL) late->timed_out = true;
    pthread_mutex_unlock(&client->mutex);
    return late;
}

/** Fail what is too late. A server that has said nothing since the late command was sent hangs: drop the connection. */
static void on_timeout(evutil_socket_t fd, short events, void *argument) {
    (void)fd, (void)events;
    struct redis_client *client = argument;
    bool silent = false;
    /* A loop that was busy elsewhere has not heard what lies in the socket. */
    if (client->loop != NULL) redis_pipe_read(client);
    int64_t now = now_ns();
    for (struct redis_command *late; (late = take_late(client, now)) != NULL;) {
        silent = silent || client->last_reply_ns < late->sent_ns;
        answer(late, STATUS_DEADLINE_EXCEEDED, NULL, "Redis did not answer in time");
    }
    if (silent) redis_connection_drop(&client->connection, "it stopped answering");
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
    redis_pipe_wait_for_room(client);
    if (subscriptions != NULL) redis_subscriptions_adopt(client, subscriptions);
    if (stopping) event_base_loopbreak(client->base);
}

/* --- the state of the connection -------------------------------------------------------------------------------- */

static void publish_state(struct redis_client *client, bool connected) {
    pthread_mutex_lock(&client->mutex);
    snprintf(client->reason, sizeof client->reason, "%s", client->connection.reason);
    atomic_store(&client->connected, connected);
    pthread_cond_broadcast(&client->changed);
    pthread_mutex_unlock(&client->mutex);
}

/** Nothing that was sent will be answered any more. */
static void fail_waiting(struct redis_client *client) {
    struct redis_commands lost = TAILQ_HEAD_INITIALIZER(lost);
    pthread_mutex_lock(&client->mutex);
    TAILQ_CONCAT(&lost, &client->waiting, link);
    bool closing = client->stopping;
    pthread_mutex_unlock(&client->mutex);
    for (struct redis_command *command; (command = TAILQ_FIRST(&lost)) != NULL;) {
        TAILQ_REMOVE(&lost, command, link);
        if (!command->timed_out) fail_unconnected(command, closing, client->connection.reason);
        redis_command_free(command);
    }
}

static void on_up(void *owner) {
    struct redis_client *client = owner;
    if (!redis_pipe_open(client)) {
        redis_connection_drop(&client->connection, "out of memory");
        return;
    }
    int64_t step_ns = client->target.timeout_ns / TIMEOUT_STEPS;
    step_ns = step_ns > TIMEOUT_STEP_MAX_NS ? TIMEOUT_STEP_MAX_NS : step_ns < NS_PER_MS ? NS_PER_MS : step_ns;
    struct timeval step = {.tv_usec = step_ns / NS_PER_US};
    evtimer_add(client->timeout_timer, &step);
    publish_state(client, true);
    if (client->on_connection != NULL) client->on_connection(client->context, true);
}

static void on_down(void *owner) {
    struct redis_client *client = owner;
    event_del(client->timeout_timer);
    redis_pipe_close(client);
    publish_state(client, false);
    fail_waiting(client);
    if (client->on_connection != NULL) client->on_connection(client->context, false);
}

static void on_refused(void *owner) {
    publish_state(owner, false);
}

/* --- any thread ------------------------------------------------------------------------------------------------- */

void redis_submit(struct redis_client *client, struct redis_command *command) {
    command->client = client;
    command->deadline_ns = now_ns() + client->target.timeout_ns;
    char reason[REDIS_REASON_BYTES] = "too many commands wait for it";
    int count = atomic_fetch_add(&client->command_count, 1);
    pthread_mutex_lock(&client->mutex);
    bool connected = atomic_load(&client->connected), closing = client->stopping;
    bool accepted = connected && !closing && count < COMMANDS_MAX && send_locked(client, command) == STATUS_OK;
    if (!connected) memcpy(reason, client->reason, sizeof reason);
    pthread_mutex_unlock(&client->mutex);
    if (accepted) return; /* and perhaps answered and freed already */
    fail_unconnected(command, closing, reason);
    redis_command_free(command);
}

bool redis_client_connected(const struct redis_client *client) {
    return atomic_load(&client->connected);
}

void redis_client_reason(struct redis_client *client, char *out, size_t bytes) {
    pthread_mutex_lock(&client->mutex);
    snprintf(out, bytes, "%s", atomic_load(&client->connected) ? "" : client->reason);
    pthread_mutex_unlock(&client->mutex);
}

void redis_client_flush(struct redis_client *client) {
    if (client->loop != NULL) redis_pipe_flush(client);
}

enum status redis_client_wait(struct redis_client *client, int64_t timeout_ns, struct error *err) {
    int64_t until = now_ns() + timeout_ns;
    struct timespec deadline = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
    int waited = 0;
    pthread_mutex_lock(&client->mutex);
    while (!atomic_load(&client->connected) && waited == 0)
        waited = pthread_cond_timedwait(&client->changed, &client->mutex, &deadline);
    enum status status = STATUS_OK;
    if (!atomic_load(&client->connected))
        status = error_set(err, STATUS_UNAVAILABLE, "Redis cannot be reached: %s", client->reason);
    pthread_mutex_unlock(&client->mutex);
    return status;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

/** End what was begun; on the client's thread. */
static void end(struct redis_client *client) {
    redis_subscriptions_deinit(client);
    redis_connection_deinit(&client->connection); /* cancels what was sent */
}

static void *client_main(void *argument) {
    struct redis_client *client = argument;
    pthread_setname_np(pthread_self(), "redis");
    redis_connection_start(&client->connection);
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
    if (!client->begun) redis_connection_start(&client->connection);
    client->begun = true;
    redis_pipe_flush(client);
    int64_t every_ns = atomic_load(&client->connected) ? PUMP_NS : PUMP_UNCONNECTED_NS;
    pthread_mutex_lock(&client->mutex);
    bool stopping = client->stopping;
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
    pthread_mutex_lock(&client->mutex);
    bool pending = client->pipe.fd >= 0 && client->pipe.unsent.length > 0 && !client->pipe.blocked;
    pthread_mutex_unlock(&client->mutex);
    return pending;
}

/** A script takes less time than falling asleep and waking up. */
static bool loop_awaits(void *argument) {
    struct redis_client *client = argument;
    return atomic_load(&client->command_count) > 0 && atomic_load(&client->connected);
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
    client->connection.owner = client;
    client->connection.on_up = on_up;
    client->connection.on_down = on_down;
    client->connection.on_refused = on_refused;
    return redis_connection_init(&client->connection, client->base, &client->target, err);
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
    if (client->connection.timer != NULL) event_free(client->connection.timer);
    if (client->base != NULL) event_base_free(client->base);
    if (client->wake_fd >= 0) close(client->wake_fd);
    pthread_cond_destroy(&client->changed);
    pthread_mutex_destroy(&client->mutex);
    redis_target_deinit(&client->target);
    free(client);
}

/** hiredis waits for names to be looked up, which a shared loop must not. */
static bool is_found_at_once(const struct redis_target *target) {
    uint8_t address[16];
    return target->unix_path != NULL || inet_pton(AF_INET, target->host, address) == 1 ||
           inet_pton(AF_INET6, target->host, address) == 1;
}

enum status redis_client_create(const struct redis_options *options, struct redis_client **out, struct error *err) {
    struct redis_client *client = calloc(1, sizeof *client);
    if (client == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    client->wake_fd = -1;
    client->on_connection = options->on_connection;
    client->context = options->context;
    client->pipe.fd = -1;
    client->load_status = STATUS_INTERNAL;
    TAILQ_INIT(&client->waiting);
    pthread_mutex_init(&client->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&client->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    snprintf(client->reason, sizeof client->reason, "not connected yet");

    enum status status = STATUS_OK;
    TRY_CLEANUP(redis_target_init(&client->target, options->address, options->password, err));
    client->target.database = options->database;
    client->target.timeout_ns = options->timeout_ns > 0 ? options->timeout_ns : TIMEOUT_DEFAULT_NS;
    TRY_CLEANUP(open_loop(client, err));
    *out = client; /* before the thread starts: its callbacks may want it */
    client->loop = is_found_at_once(&client->target) ? options->loop : NULL;
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
