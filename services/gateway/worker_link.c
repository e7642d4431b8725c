/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * A link's mutex guards its table, what waits to be sent, and the flags of its generations. Callbacks of a generation run without it, one at a
 * time: whoever sets `delivering` - the loop's thread or generation_continue's - also delivers what others bring meanwhile.
 */
#include "services/gateway/worker_link.h"

#include "base/clock.h"
#include "base/id_table.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/protobuf_wire.h"
#include "rpc/batches.h"
#include "rpc/grpc_stream.h"
#include "rpc/transcode.h"
#include "services/gateway/generation.h"
#include "services/gateway/settings.h"
#include "services/gateway/workers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    EVENT_ARENA_BYTES = 16 << 20, /* some ten times LIMIT_DELTA_BYTES, but for a call of a tool, which is whole */
    COMMAND_BYTES_MAX = LIMIT_REQUEST_BODY_BYTES_MAX - 1024,
    COMMANDS_BYTES_MAX = 2 * LIMIT_REQUEST_BODY_BYTES_MAX, /* that wait for one link */
    /* What a worker may send behind Hold is some 400 KiB, but for a beam search, which sends everything at once. */
    HELD_BYTES_MAX = 16 << 20,
};
static const int64_t STOP_NS = 2 * NS_PER_S, TICK_NS = 100 * (int64_t)NS_PER_MS;

struct worker_links {
    struct loop *loop;
    struct loop_member member; /* ends generations whose time is over */
    struct grpc_streams *streams;
    int64_t next_tick_ns;  /* the loop's alone */
    pthread_mutex_t mutex; /* guards what follows */
    struct worker_link *list;
};

struct worker_link {
    struct worker_links *links;
    struct worker_link *previous, *next; /* in the list; its mutex */
    struct grpc_stream *stream;          /* until the worker's reference is given back */
    atomic_int references;               /* the worker's, the stream's, and one of each generation */
    pthread_mutex_t mutex;               /* guards what follows */
    struct id_table table;
    uint64_t last_number;
    struct batches batches; /* the command that is being packed */
    int64_t earliest_ns;    /* no generation's time is over before */
    char address[];
};

/** An event that waits for its reader. */
struct held_event {
    struct held_event *next;
    size_t length;
    uint8_t data[];
};

struct generation {
    struct id_entry entry;    /* first: in the link's table; `entry.id` is its number */
    atomic_int references;    /* the starter's, the table's, and those of whoever delivers */
    struct worker_link *link; /* referenced */
    const struct generation_callbacks *callbacks;
    void *context;
    /* The link's mutex guards what follows. */
    int64_t deadline_ns;
    struct held_event *first, *last;
    size_t held_bytes;
    struct generation *next_due;
    bool held, delivering, stopped, over;
    bool told_hold;      /* the worker holds it, or is about to */
    bool due;            /* the next tick shall deliver what is held */
    enum status failure; /* not OK: `failed` is owed */
    char *failure_message;
};

/* ---- links --------------------------------------------------------------------------------------------------------- */

static void link_ref(struct worker_link *link) {
    atomic_fetch_add(&link->references, 1);
}

static void link_unref(struct worker_link *link) {
    struct worker_links *links = link->links;
    int references = atomic_load(&link->references);
    while (references > 1) {
        if (atomic_compare_exchange_weak(&link->references, &references, references - 1)) return;
    }
    /* The last one goes under the list's mutex, so that whoever walks along the list finds none that is being freed. */
    pthread_mutex_lock(&links->mutex);
    bool last = atomic_fetch_sub(&link->references, 1) == 1;
    if (last && link->next != NULL) link->next->previous = link->previous;
    if (last && link->previous != NULL) link->previous->next = link->next;
    if (last && link->previous == NULL) links->list = link->next;
    pthread_mutex_unlock(&links->mutex);
    if (!last) return;
    id_table_deinit(&link->table);
    batches_deinit(&link->batches);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}

static enum status send_locked(struct generation *generation, Bora__Internal__V1__LinkCommand *command) {
    struct worker_link *link = generation->link;
    if (generation->failure != STATUS_OK) return STATUS_CANCELLED; /* its stream may be gone */
    command->generation = generation->entry.id;
    TRY(batches_add(&link->batches, &command->base, COMMANDS_BYTES_MAX, NULL));
    enum status status = grpc_stream_write(link->stream, batches_first(&link->batches));
    batches_pop(&link->batches);
    return status;
}

/* ---- generations --------------------------------------------------------------------------------------------------- */

void generation_ref(struct generation *generation) {
    atomic_fetch_add(&generation->references, 1);
}

void generation_unref(struct generation *generation) {
    if (atomic_fetch_sub(&generation->references, 1) != 1) return;
    while (generation->first != NULL) {
        struct held_event *next = generation->first->next;
        free(generation->first);
        generation->first = next;
    }
    free(generation->failure_message);
    link_unref(generation->link);
    free(generation);
}

/** No more events: true when the table's reference is the caller's now. */
static bool leave_table_locked(struct generation *generation) {
    struct id_table *table = &generation->link->table;
    generation->over = true;
    if (id_table_find(table, generation->entry.id) != &generation->entry) return false;
    id_table_remove(table, generation->entry.id);
    return true;
}

static void set_deadline_locked(struct generation *generation, int64_t deadline_ns) {
    generation->deadline_ns = deadline_ns;
    if (deadline_ns < generation->link->earliest_ns) generation->link->earliest_ns = deadline_ns;
}

/** Say Stop. `abandoned`: nobody here listens any more. Without memory the deadline ends it. */
static void send_stop_locked(struct generation *generation, bool abandoned) {
    Bora__Internal__V1__LinkCommand command = BORA__INTERNAL__V1__LINK_COMMAND__INIT;
    Bora__Internal__V1__Stop stop = BORA__INTERNAL__V1__STOP__INIT;
    command.kind_case = BORA__INTERNAL__V1__LINK_COMMAND__KIND_STOP;
    command.stop = &stop;
    stop.abandoned = abandoned;
    (void)!send_locked(generation, &command);
}

static void stop_locked(struct generation *generation) {
    if (generation->stopped || generation->over) return;
    generation->stopped = true;
    generation->held = false;
    generation->due = generation->first != NULL; /* its end may be there already */
    set_deadline_locked(generation, generation->due ? 0 : clock_monotonic_ns(clock_system()) + STOP_NS);
    send_stop_locked(generation, false);
}

static void fail_locked(struct generation *generation, enum status status, const char *message) {
    if (generation->over || generation->failure != STATUS_OK) return;
    generation->failure = status;
    generation->failure_message = strdup(message);
}

/** Fail, of a worker that goes on: what it costs in the end is for the worker to say. */
static void give_up_locked(struct generation *generation, enum status status, const char *message) {
    if (generation->over || generation->failure != STATUS_OK) return;
    generation->stopped = true;
    generation->held = false;
    send_stop_locked(generation, true);
    fail_locked(generation, status, message);
}

/* ---- delivery ------------------------------------------------------------------------------------------------------ */

/** Keep an event until it can be delivered. */
static void keep_locked(struct generation *generation, struct bytes_view packed) {
    bool fits = generation->held_bytes + packed.length <= HELD_BYTES_MAX;
    struct held_event *event = fits ? malloc(sizeof *event + packed.length) : NULL;
    if (event == NULL) { /* a worker that does not hold what it shall hold, or no memory */
        give_up_locked(generation, STATUS_INTERNAL, "more waits for a slow reader than there is room for");
        return;
    }
    *event = (struct held_event){.length = packed.length};
    memcpy(event->data, packed.data, packed.length);
    generation->held_bytes += packed.length;
    if (generation->last != NULL)
        generation->last->next = event;
    else
        generation->first = event;
    generation->last = event;
}

static struct held_event *take_kept_locked(struct generation *generation) {
    struct held_event *event = generation->first;
    generation->first = event->next;
    if (generation->first == NULL) generation->last = NULL;
    generation->held_bytes -= event->length;
    return event;
}

/** Nothing comes behind the event that is delivered next. */
static void set_over(struct generation *generation) {
    pthread_mutex_lock(&generation->link->mutex);
    bool referenced = leave_table_locked(generation);
    pthread_mutex_unlock(&generation->link->mutex);
    if (referenced) generation_unref(generation); /* whoever delivers has another */
}

static void deliver_failed(struct generation *generation, const Bora__Internal__V1__Failed *failed) {
    bool known = failed->status > STATUS_OK && failed->status <= STATUS_UNAUTHENTICATED;
    struct generation_failure failure = {.status = known ? (enum status)failed->status : STATUS_UNKNOWN,
                                         .message = failed->message,
                                         .detail = failed->error};
    set_over(generation);
    generation->callbacks->failed(generation->context, &failure);
}

static void deliver_event(struct generation *generation, const Bora__Internal__V1__LinkEvent *event) {
    const struct generation_callbacks *callbacks = generation->callbacks;
    switch (event->kind_case) {
    case BORA__INTERNAL__V1__LINK_EVENT__KIND_PREPARED:
        callbacks->prepared(generation->context, event->prepared);
        break;
    case BORA__INTERNAL__V1__LINK_EVENT__KIND_DELTA:
        callbacks->delta(generation->context, event->delta);
        break;
    case BORA__INTERNAL__V1__LINK_EVENT__KIND_FINISHED:
        if (event->finished->last) set_over(generation);
        callbacks->finished(generation->context, event->finished, event->finished->last);
        break;
    case BORA__INTERNAL__V1__LINK_EVENT__KIND_FAILED:
        deliver_failed(generation, event->failed);
        break;
    default: /* of a later version */
        break;
    }
}

static void deliver_packed(struct generation *generation, struct bytes_view packed) {
    ProtobufCMessage *event = NULL;
    struct arena arena;
    arena_init(&arena, EVENT_ARENA_BYTES);
    if (protobuf_unpack(&bora__internal__v1__link_event__descriptor, packed, &arena, &event, NULL) == STATUS_OK) {
        deliver_event(generation, (const void *)event);
    } else {
        pthread_mutex_lock(&generation->link->mutex);
        give_up_locked(generation, STATUS_INTERNAL, "the worker's answer cannot be read");
        pthread_mutex_unlock(&generation->link->mutex);
    }
    arena_deinit(&arena);
}

/** The failure that is owed. The link's mutex is held, and given up meanwhile. */
static void deliver_failure_locked(struct generation *generation) {
    struct worker_link *link = generation->link;
    bool referenced = leave_table_locked(generation);
    pthread_mutex_unlock(&link->mutex);
    struct generation_failure failure = {.status = generation->failure,
                                         .message = generation->failure_message != NULL ? generation->failure_message
                                                                                        : "out of memory"};
    generation->callbacks->failed(generation->context, &failure);
    if (referenced) generation_unref(generation);
    pthread_mutex_lock(&link->mutex);
}

/** Deliver `packed` (may be empty), behind what was kept, and everything else that is owed. The caller holds a reference. */
static void deliver(struct generation *generation, struct bytes_view packed) {
    struct worker_link *link = generation->link;
    pthread_mutex_lock(&link->mutex);
    if (!generation->over && packed.length > 0 &&
        (generation->held || generation->delivering || generation->first != NULL)) {
        keep_locked(generation, packed);
        packed.length = 0;
    }
    if (generation->delivering) {
        pthread_mutex_unlock(&link->mutex);
        return;
    }
    generation->delivering = true;
    while (!generation->over) {
        struct held_event *kept = NULL;
        if (generation->failure != STATUS_OK) {
            deliver_failure_locked(generation);
            break;
        }
        if (packed.length == 0) {
            if (generation->held || generation->first == NULL) break;
            kept = take_kept_locked(generation);
            packed = bytes_view_of(kept->data, kept->length);
        }
        pthread_mutex_unlock(&link->mutex);
        deliver_packed(generation, packed);
        free(kept);
        packed.length = 0;
        pthread_mutex_lock(&link->mutex);
    }
    generation->delivering = false;
    pthread_mutex_unlock(&link->mutex);
}

/* ---- the stream ---------------------------------------------------------------------------------------------------- */

static uint64_t number_of(struct bytes_view packed) {
    struct wire_field field;
    while (wire_next(&packed, &field)) {
        if (field.number == 1 && field.type == WIRE_VARINT) return field.value;
    }
    return 0; /* which no generation has */
}

static void on_message(void *context, struct bytes_view message) {
    struct worker_link *link = context;
    struct bytes_view packed;
    while (batches_next(&message, &packed)) {
        pthread_mutex_lock(&link->mutex);
        struct generation *generation = (struct generation *)id_table_find(&link->table, number_of(packed));
        if (generation != NULL) generation_ref(generation);
        pthread_mutex_unlock(&link->mutex);
        if (generation == NULL) continue; /* it has ended for us */
        deliver(generation, packed);
        generation_unref(generation);
    }
    if (message.length > 0) grpc_stream_cancel(link->stream); /* malformed */
}

/** The stream has ended: whatever was on it has failed. */
static void on_finished(void *context, enum status status, const char *message) {
    (void)status;
    struct worker_link *link = context;
    pthread_mutex_lock(&link->mutex);
    struct id_entry *entry = id_table_take_all(&link->table);
    for (struct id_entry *other = entry; other != NULL; other = other->next)
        fail_locked((struct generation *)other, STATUS_UNAVAILABLE, *message != 0 ? message : "it ended");
    pthread_mutex_unlock(&link->mutex);
    for (struct id_entry *next; entry != NULL; entry = next) {
        next = entry->next;
        deliver((struct generation *)entry, (struct bytes_view){0});
        generation_unref((struct generation *)entry); /* the table's */
    }
}

static void on_lost(void *context, const char *reason) {
    const struct worker_link *link = context;
    log_warn("a worker cannot be reached", LOG_S("address", link->address), LOG_S("error", reason));
}

static void on_closed(void *context) {
    link_unref(context);
}

enum status worker_link_open(struct worker_links *links, const char *address, struct worker_link **out,
                             struct error *err) {
    static const struct grpc_stream_callbacks callbacks = {on_message, on_finished, on_lost, on_closed};
    struct worker_link *link = calloc(1, sizeof *link + strlen(address) + 1);
    if (link == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    strcpy(link->address, address);
    link->links = links;
    link->earliest_ns = INT64_MAX;
    atomic_init(&link->references, 2);
    pthread_mutex_init(&link->mutex, NULL);
    enum status status = grpc_stream_create(links->streams, address, "/bora.internal.v1.WorkerService/Link", &callbacks,
                                            link, &link->stream, err);
    if (status != STATUS_OK) {
        pthread_mutex_destroy(&link->mutex);
        free(link);
        return status;
    }
    pthread_mutex_lock(&links->mutex);
    link->next = links->list;
    if (link->next != NULL) link->next->previous = link;
    links->list = link;
    pthread_mutex_unlock(&links->mutex);
    *out = link;
    return STATUS_OK;
}

void worker_link_close(struct worker_link *link) {
    if (link == NULL) return;
    grpc_stream_close(link->stream);
    link_unref(link);
}

bool worker_link_ready(struct worker_link *link) {
    return grpc_stream_ready(link->stream);
}

/* ---- what the rest of the gateway calls ------------------------------------------------------------------------------ */

static enum status start_locked(struct generation *generation, const Bora__Internal__V1__Start *start) {
    struct worker_link *link = generation->link;
    Bora__Internal__V1__LinkCommand command = BORA__INTERNAL__V1__LINK_COMMAND__INIT;
    command.kind_case = BORA__INTERNAL__V1__LINK_COMMAND__KIND_START;
    command.start = (Bora__Internal__V1__Start *)start;
    TRY(id_table_add(&link->table, &generation->entry, ++link->last_number));
    enum status status = send_locked(generation, &command);
    if (status == STATUS_OK)
        generation_ref(generation); /* the table's */
    else
        id_table_remove(&link->table, generation->entry.id);
    return status;
}

enum status generation_start(struct worker *worker, const Bora__Internal__V1__Start *start, int64_t deadline_ns,
                             const struct generation_callbacks *callbacks, void *context, struct generation **out) {
    struct worker_link *link = worker->link;
    Bora__Internal__V1__Start timed = *start;
    int64_t left_ns = deadline_ns - clock_monotonic_ns(clock_system());
    timed.deadline_ms = deadline_ns == INT64_MAX ? 0 : left_ns > NS_PER_MS ? left_ns / NS_PER_MS : 1;
    if (protobuf_c_message_get_packed_size(&timed.base) > COMMAND_BYTES_MAX) return STATUS_RESOURCE_EXHAUSTED;
    struct generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL) return STATUS_RESOURCE_EXHAUSTED;
    atomic_init(&generation->references, 1);
    generation->link = link;
    link_ref(link);
    generation->callbacks = callbacks;
    generation->context = context;
    *out = generation;
    pthread_mutex_lock(&link->mutex);
    enum status status = start_locked(generation, &timed);
    set_deadline_locked(generation, deadline_ns);
    pthread_mutex_unlock(&link->mutex);
    if (status == STATUS_OK) return STATUS_OK;
    *out = NULL;
    generation_unref(generation);
    return status;
}

void generation_proceed(struct generation *generation, int64_t max_tokens) {
    Bora__Internal__V1__LinkCommand command = BORA__INTERNAL__V1__LINK_COMMAND__INIT;
    Bora__Internal__V1__Proceed proceed = BORA__INTERNAL__V1__PROCEED__INIT;
    command.kind_case = BORA__INTERNAL__V1__LINK_COMMAND__KIND_PROCEED;
    command.proceed = &proceed;
    proceed.max_tokens = max_tokens;
    pthread_mutex_lock(&generation->link->mutex);
    if (!generation->over && !generation->stopped) (void)!send_locked(generation, &command);
    pthread_mutex_unlock(&generation->link->mutex);
}

void generation_stop(struct generation *generation) {
    pthread_mutex_lock(&generation->link->mutex);
    stop_locked(generation);
    pthread_mutex_unlock(&generation->link->mutex);
}

void generation_hold(struct generation *generation) {
    Bora__Internal__V1__LinkCommand command = BORA__INTERNAL__V1__LINK_COMMAND__INIT;
    Bora__Internal__V1__Hold hold = BORA__INTERNAL__V1__HOLD__INIT;
    command.kind_case = BORA__INTERNAL__V1__LINK_COMMAND__KIND_HOLD;
    command.hold = &hold;
    pthread_mutex_lock(&generation->link->mutex);
    bool runs = !generation->stopped && !generation->over;
    if (runs) generation->held = true;
    if (runs && !generation->told_hold) generation->told_hold = send_locked(generation, &command) == STATUS_OK;
    pthread_mutex_unlock(&generation->link->mutex);
}

void generation_continue(struct generation *generation) {
    Bora__Internal__V1__LinkCommand command = BORA__INTERNAL__V1__LINK_COMMAND__INIT;
    Bora__Internal__V1__Continue next = BORA__INTERNAL__V1__CONTINUE__INIT;
    command.kind_case = BORA__INTERNAL__V1__LINK_COMMAND__KIND_CONTINUE_READING;
    command.continue_reading = &next;
    pthread_mutex_lock(&generation->link->mutex);
    generation->held = false;
    pthread_mutex_unlock(&generation->link->mutex);
    deliver(generation, (struct bytes_view){0});
    pthread_mutex_lock(&generation->link->mutex);
    /* The reader may have fallen behind again over what was kept. */
    bool goes_on = generation->told_hold && !generation->held && !generation->over && !generation->stopped;
    if (goes_on) generation->told_hold = send_locked(generation, &command) != STATUS_OK;
    pthread_mutex_unlock(&generation->link->mutex);
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

/** The generation's time is over. */
static void expire_locked(struct generation *generation) {
    if (generation->due) {
        generation->due = false;
        set_deadline_locked(generation, clock_monotonic_ns(clock_system()) + STOP_NS);
    } else if (!generation->stopped) { /* what it has cost is worth waiting for */
        stop_locked(generation);
    } else {
        give_up_locked(generation, STATUS_DEADLINE_EXCEEDED, "the worker does not stop");
    }
}

static void tick_link(struct worker_link *link, int64_t now_ns) {
    struct generation *due = NULL;
    pthread_mutex_lock(&link->mutex);
    if (link->earliest_ns > now_ns) {
        pthread_mutex_unlock(&link->mutex);
        return;
    }
    link->earliest_ns = INT64_MAX;
    for (size_t i = 0; i < link->table.bucket_count; i++) {
        for (struct id_entry *entry = link->table.buckets[i]; entry != NULL; entry = entry->next) {
            struct generation *generation = (struct generation *)entry;
            if (generation->deadline_ns <= now_ns) {
                expire_locked(generation);
                generation_ref(generation);
                generation->next_due = due;
                due = generation;
            }
            if (generation->deadline_ns < link->earliest_ns) link->earliest_ns = generation->deadline_ns;
        }
    }
    pthread_mutex_unlock(&link->mutex);
    for (struct generation *next; due != NULL; due = next) {
        next = due->next_due;
        deliver(due, (struct bytes_view){0});
        generation_unref(due);
    }
}

/** The link behind `link` in the list, or the first one, referenced; `link` is given back. */
static struct worker_link *next_link(struct worker_links *links, struct worker_link *link) {
    pthread_mutex_lock(&links->mutex);
    struct worker_link *next = link != NULL ? link->next : links->list;
    if (next != NULL) link_ref(next);
    pthread_mutex_unlock(&links->mutex);
    if (link != NULL) link_unref(link);
    return next;
}

static int64_t turn(void *context) {
    struct worker_links *links = context;
    int64_t now_ns = loop_now_ns(links->loop);
    if (now_ns < links->next_tick_ns) return links->next_tick_ns;
    links->next_tick_ns = now_ns + TICK_NS;
    for (struct worker_link *link = next_link(links, NULL); link != NULL; link = next_link(links, link))
        tick_link(link, now_ns);
    return links->next_tick_ns;
}

enum status worker_links_create(struct loop *loop, const struct gateway_settings *settings, struct worker_links **out,
                                struct error *err) {
    struct worker_links *links = calloc(1, sizeof *links);
    if (links == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    struct grpc_streams_options options = {.loop = loop,
                                           .use_tls = settings->upstream_tls,
                                           .tls = {settings->upstream_tls_certificate_file,
                                                   settings->upstream_tls_key_file, settings->upstream_tls_ca_file,
                                                   NULL},
                                           .keepalive_ns = settings->upstream_keepalive_ns,
                                           .keepalive_timeout_ns = settings->upstream_keepalive_timeout_ns,
                                           .message_bytes_max = LIMIT_REQUEST_BODY_BYTES_MAX,
                                           .waiting_bytes_max = COMMANDS_BYTES_MAX};
    enum status status = grpc_streams_create(&options, &links->streams, err);
    if (status != STATUS_OK) {
        free(links);
        return status;
    }
    links->loop = loop;
    pthread_mutex_init(&links->mutex, NULL);
    links->member = (struct loop_member){.context = links, .turn = turn};
    loop_join(loop, &links->member);
    *out = links;
    return STATUS_OK;
}

void worker_links_destroy(struct worker_links *links) {
    if (links == NULL) return;
    grpc_streams_destroy(links->streams);
    loop_leave(links->loop, &links->member);
    pthread_mutex_destroy(&links->mutex);
    free(links);
}
