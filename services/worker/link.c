/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The Link call: commands find their generation, events wait together for the wire. */
#include "services/worker/link.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/protobuf_wire.h"
#include "rpc/batches.h"
#include "rpc/transcode.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMMAND_ARENA_BYTES_FACTOR = 4, /* an unpacked Start may take this many times the largest message */
    CHOKE_BYTES = 4 << 20,          /* of a whole link: whoever adds more than this is paused */
    WAITING_BYTES_MAX = 64 << 20,   /* a beam search gives all of its answers at once */
    LAST_EVENTS_BYTES = 16 << 20,   /* on top, for the ends of generations: LIMIT_LINK_GENERATIONS of a kilobyte */
    REPORTS_KEPT =
        4096, /* of generations that have ended: a gateway settles within milliseconds, or keeps what it has to settle */
};

static const int64_t REPORT_AGE_NS = 600 * NS_PER_S; /* what ended before was settled, or is kept by who settles it */

struct link {
    struct worker *worker;
    struct rpc_call *rpc;         /* referenced */
    atomic_int references;        /* the call's, and one of each generation */
    struct link *previous, *next; /* in the worker's list; its mutex */
    pthread_mutex_t mutex;        /* guards what follows */
    struct id_table table;
    struct batches batches;
    bool writing;                        /* the call has something that it has not handed over */
    bool over;                           /* the stream has ended, or was told to */
    uint64_t round;                      /* how often everything had been sent */
    struct answering *choked;            /* a list, each referenced */
    uint64_t accounted;                  /* how many have been kept */
    struct report reports[REPORTS_KEPT]; /* the latest, in a ring */
};

void link_ref(struct link *link) {
    atomic_fetch_add(&link->references, 1);
}

void link_unref(struct link *link) {
    if (atomic_fetch_sub(&link->references, 1) != 1) return;
    struct worker *worker = link->worker;
    pthread_mutex_lock(&worker->links_mutex);
    if (link->next != NULL) link->next->previous = link->previous;
    if (link->previous != NULL)
        link->previous->next = link->next;
    else
        worker->links = link->next;
    pthread_mutex_unlock(&worker->links_mutex);
    id_table_deinit(&link->table);
    batches_deinit(&link->batches);
    pthread_mutex_destroy(&link->mutex);
    rpc_call_unref(link->rpc);
    free(link);
}

struct worker *link_worker(struct link *link) {
    return link->worker;
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

/** One batch is on its way at a time: what comes meanwhile makes the next one. */
static void flush_locked(struct link *link) {
    if (link->writing || link->over || link->batches.first == NULL) return;
    link->writing = true;
    /* A call that is over says so by its end. One that lost a batch must not go on. */
    if (rpc_call_write(link->rpc, batches_first(&link->batches)) == STATUS_RESOURCE_EXHAUSTED)
        rpc_call_finish(link->rpc, STATUS_RESOURCE_EXHAUSTED, "no memory for events", (struct bytes_view){0});
    batches_pop(&link->batches);
}

/** Count what an event takes. True: the generation shall be paused. */
static bool chokes_locked(struct link *link, struct answering *answering, size_t bytes) {
    if (answering->waiting_round != link->round) answering->waiting_bytes = 0;
    answering->waiting_round = link->round;
    answering->waiting_bytes += bytes;
    bool chokes = answering->waiting_bytes > LIMIT_STREAM_PENDING_BYTES || link->batches.bytes > CHOKE_BYTES;
    if (!chokes || answering->listed) return chokes;
    answering_ref(answering);
    answering->listed = true;
    answering->next_choked = link->choked;
    link->choked = answering;
    return true;
}

enum link_sent link_send(struct answering *answering, Bora__Internal__V1__LinkEvent *event, bool last) {
    struct link *link = answering->link;
    enum link_sent sent = LINK_SENT;
    size_t bytes = 0;
    event->generation = answering->entry.id;
    pthread_mutex_lock(&link->mutex);
    if (!link->over) { /* else nobody hears it */
        size_t most = last ? WAITING_BYTES_MAX + LAST_EVENTS_BYTES : WAITING_BYTES_MAX;
        if (batches_add(&link->batches, &event->base, most, &bytes) != STATUS_OK)
            sent = LINK_FULL;
        else if (!last && chokes_locked(link, answering, bytes))
            sent = LINK_CHOKED;
        flush_locked(link);
    }
    pthread_mutex_unlock(&link->mutex);
    return sent;
}

/** An event of a generation that is not there. */
static void refuse(struct link *link, uint64_t number, enum status status, const char *message) {
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Failed failed = BORA__INTERNAL__V1__FAILED__INIT;
    event.generation = number;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_FAILED;
    event.failed = &failed;
    failed.status = (int32_t)status;
    failed.message = (char *)message;
    metric_add(link->worker->requests, 1, status_name(status));
    pthread_mutex_lock(&link->mutex);
    if (!link->over) (void)!batches_add(&link->batches, &event.base, WAITING_BYTES_MAX + LAST_EVENTS_BYTES, NULL);
    flush_locked(link);
    pthread_mutex_unlock(&link->mutex);
}

/** The list of choked ones, whose references go with it. */
static struct answering *take_choked_locked(struct link *link) {
    struct answering *choked = link->choked;
    link->choked = NULL;
    for (struct answering *answering = choked; answering != NULL; answering = answering->next_choked)
        answering->listed = false;
    return choked;
}

static void on_written(struct rpc_call *rpc) {
    struct link *link = rpc_call_state(rpc);
    if (link == NULL) return;
    struct answering *choked = NULL;
    pthread_mutex_lock(&link->mutex);
    link->writing = false;
    flush_locked(link);
    if (link->batches.first == NULL) {
        link->round++;
        choked = take_choked_locked(link);
    }
    pthread_mutex_unlock(&link->mutex);
    for (struct answering *next; choked != NULL; choked = next) {
        next = choked->next_choked;
        answering_unchoke(choked);
        answering_unref(choked);
    }
}

/* ---- beginning and end --------------------------------------------------------------------------------------------- */

static void on_start(struct rpc_call *rpc, void *service) {
    struct worker *worker = service;
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        rpc_call_finish(rpc, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return;
    }
    link->worker = worker;
    link->rpc = rpc;
    rpc_call_ref(rpc);
    atomic_init(&link->references, 1);
    pthread_mutex_init(&link->mutex, NULL);
    pthread_mutex_lock(&worker->links_mutex);
    link->next = worker->links;
    if (link->next != NULL) link->next->previous = link;
    worker->links = link;
    pthread_mutex_unlock(&worker->links_mutex);
    rpc_call_set_state(rpc, link);
}

void link_account(struct answering *answering) {
    struct link *link = answering->link;
    struct report *report = &answering->report;
    if (report->lease[0] == 0) return;
    report->generation = answering->entry.id;
    report->ended_ns = clock_monotonic_ns(clock_system());
    pthread_mutex_lock(&link->mutex);
    bool keeps = !link->over && !answering->abandoned;
    if (keeps) link->reports[link->accounted++ % REPORTS_KEPT] = *report;
    pthread_mutex_unlock(&link->mutex);
    if (!keeps) reports_send(link->worker->reports, report);
}

/** The gateway gave up a generation that had just ended: what it has cost, if that is still known. */
static void report_ended(struct link *link, uint64_t number) {
    struct report found = {.lease = ""};
    pthread_mutex_lock(&link->mutex);
    uint64_t first = link->accounted > REPORTS_KEPT ? link->accounted - REPORTS_KEPT : 0;
    for (uint64_t i = link->accounted; i > first && found.lease[0] == 0; i--) {
        const struct report *report = &link->reports[(i - 1) % REPORTS_KEPT];
        if (report->generation == number) found = *report;
    }
    pthread_mutex_unlock(&link->mutex);
    reports_send(link->worker->reports, &found);
}

/** The link ends: what its gateway may not have settled. Nothing is added any more. */
static void send_reports(struct link *link) {
    uint64_t first = link->accounted > REPORTS_KEPT ? link->accounted - REPORTS_KEPT : 0;
    int64_t since_ns = clock_monotonic_ns(clock_system()) - REPORT_AGE_NS;
    for (uint64_t i = first; i < link->accounted; i++) {
        const struct report *report = &link->reports[i % REPORTS_KEPT];
        if (report->ended_ns >= since_ns) reports_send(link->worker->reports, report);
    }
}

/** The stream ends: so do its generations, and nobody hears how. */
static void close_link(struct link *link, enum status status, const char *message) {
    pthread_mutex_lock(&link->mutex);
    bool first = !link->over;
    link->over = true;
    struct id_entry *entry = id_table_take_all(&link->table);
    struct answering *choked = take_choked_locked(link);
    batches_clear(&link->batches);
    pthread_mutex_unlock(&link->mutex);
    for (struct id_entry *next; entry != NULL; entry = next) {
        next = entry->next;
        answering_abandon((struct answering *)entry);
        answering_unref((struct answering *)entry);
    }
    for (struct answering *next; choked != NULL; choked = next) {
        next = choked->next_choked;
        answering_unref(choked);
    }
    if (!first) return;
    send_reports(link);
    rpc_call_finish(link->rpc, status, message, (struct bytes_view){0});
}

static void on_half_closed(struct rpc_call *rpc) {
    struct link *link = rpc_call_state(rpc);
    if (link != NULL) close_link(link, STATUS_OK, NULL);
}

static void on_cancelled(struct rpc_call *rpc) {
    struct link *link = rpc_call_state(rpc);
    if (link != NULL) close_link(link, STATUS_CANCELLED, "cancelled");
}

static void on_finished(struct rpc_call *rpc) {
    struct link *link = rpc_call_state(rpc);
    if (link == NULL) return;
    close_link(link, STATUS_OK, NULL);
    link_unref(link);
}

/** A link of a draining worker on which nothing is left to do: what waits is still sent. */
static void end_if_drained_locked(struct link *link) {
    if (link->over || link->table.count > 0 || !atomic_load(&link->worker->draining)) return;
    link->over = true;
    send_reports(link); /* whether the gateway settles what it hears now, nobody will know */
    for (; link->batches.first != NULL; batches_pop(&link->batches))
        (void)!rpc_call_write(link->rpc, batches_first(&link->batches));
    rpc_call_finish(link->rpc, STATUS_UNAVAILABLE, "the worker is draining", (struct bytes_view){0});
}

void link_remove(struct answering *answering) {
    struct link *link = answering->link;
    pthread_mutex_lock(&link->mutex);
    bool removed = id_table_find(&link->table, answering->entry.id) == &answering->entry;
    if (removed) id_table_remove(&link->table, answering->entry.id);
    end_if_drained_locked(link);
    pthread_mutex_unlock(&link->mutex);
    if (removed) answering_unref(answering);
}

void links_drain(struct worker *worker) {
    pthread_mutex_lock(&worker->links_mutex);
    for (struct link *link = worker->links; link != NULL; link = link->next) {
        pthread_mutex_lock(&link->mutex);
        end_if_drained_locked(link);
        pthread_mutex_unlock(&link->mutex);
    }
    pthread_mutex_unlock(&worker->links_mutex);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

/** The generation, referenced, or NULL. */
static struct answering *find(struct link *link, uint64_t number) {
    pthread_mutex_lock(&link->mutex);
    struct answering *answering = (struct answering *)id_table_find(&link->table, number);
    if (answering != NULL) answering_ref(answering);
    pthread_mutex_unlock(&link->mutex);
    return answering;
}

static void take_start(struct link *link, uint64_t number, struct arena *arena,
                       const Bora__Internal__V1__Start *start) {
    if (atomic_load(&link->worker->draining)) {
        refuse(link, number, STATUS_UNAVAILABLE, "the worker is draining");
        return;
    }
    struct answering *answering = answering_create(link, arena, start);
    enum status status = answering != NULL ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
    pthread_mutex_lock(&link->mutex);
    if (status == STATUS_OK && link->over) status = STATUS_CANCELLED;
    if (status == STATUS_OK && link->table.count >= LIMIT_LINK_GENERATIONS) status = STATUS_RESOURCE_EXHAUSTED;
    if (status == STATUS_OK) status = id_table_add(&link->table, &answering->entry, number);
    if (status == STATUS_OK) answering_ref(answering); /* the table's */
    pthread_mutex_unlock(&link->mutex);
    if (status == STATUS_OK) {
        answering_start(answering);
    } else if (status == STATUS_ALREADY_EXISTS) { /* whose events would be whose? */
        struct answering *other = find(link, number);
        if (other != NULL) answering_refuse(other, STATUS_FAILED_PRECONDITION, "its number was used twice");
        if (other != NULL) answering_unref(other);
    } else if (status == STATUS_RESOURCE_EXHAUSTED) {
        refuse(link, number, status, "too many generations on one link");
    }
    if (answering != NULL) answering_unref(answering);
}

static void take_for_running(struct link *link, const Bora__Internal__V1__LinkCommand *command) {
    struct answering *answering = find(link, command->generation);
    bool stops = command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_STOP;
    if (answering == NULL) { /* it has ended, which the gateway did not know yet */
        if (stops && command->stop->abandoned) report_ended(link, command->generation);
        return;
    }
    switch (command->kind_case) {
    case BORA__INTERNAL__V1__LINK_COMMAND__KIND_PROCEED:
        answering_proceed(answering, command->proceed->max_tokens);
        break;
    case BORA__INTERNAL__V1__LINK_COMMAND__KIND_STOP:
        answering_stop(answering, command->stop->abandoned);
        break;
    case BORA__INTERNAL__V1__LINK_COMMAND__KIND_HOLD:
    case BORA__INTERNAL__V1__LINK_COMMAND__KIND_CONTINUE_READING:
        answering_hold(answering, command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_HOLD);
        break;
    default:
        answering_refuse(answering, STATUS_UNIMPLEMENTED, "a command of a later version");
        break;
    }
    answering_unref(answering);
}

/** Of a command that is not unpacked. */
static uint64_t number_of(struct bytes_view packed) {
    struct wire_field field;
    while (wire_next(&packed, &field)) {
        if (field.number == 1 && field.type == WIRE_VARINT) return field.value;
    }
    return 0;
}

static void take_command(struct link *link, struct bytes_view packed) {
    size_t bytes_max = (size_t)link->worker->settings.message_bytes_max;
    ProtobufCMessage *unpacked = NULL;
    struct arena arena;
    struct error err = {0};
    arena_init(&arena, bytes_max * COMMAND_ARENA_BYTES_FACTOR);
    enum status status =
        packed.length <= bytes_max
            ? protobuf_unpack(&bora__internal__v1__link_command__descriptor, packed, &arena, &unpacked, &err)
            : error_set(&err, STATUS_INVALID_ARGUMENT, "the request takes more than %zu bytes", bytes_max);
    const Bora__Internal__V1__LinkCommand *command = (const void *)unpacked;
    if (status != STATUS_OK)
        refuse(link, number_of(packed), status, err.message);
    else if (command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_START)
        take_start(link, command->generation, &arena, command->start);
    else
        take_for_running(link, command);
    arena_deinit(&arena);
}

static void on_message(struct rpc_call *rpc, struct bytes_view message) {
    struct link *link = rpc_call_state(rpc);
    if (link == NULL) return;
    struct bytes_view command;
    while (batches_next(&message, &command)) take_command(link, command);
    if (message.length > 0) close_link(link, STATUS_INVALID_ARGUMENT, "malformed commands");
}

static void describe(struct rpc_call *rpc, struct bytes_view message) {
    (void)message;
    struct bytes packed;
    bytes_init(&packed, 1 << 20);
    enum status status = worker_announcement(rpc_call_service(rpc), &packed);
    if (status == STATUS_OK) status = rpc_call_write(rpc, bytes_view(&packed));
    rpc_call_finish(rpc, status, status == STATUS_OK ? NULL : "the announcement could not be packed",
                    (struct bytes_view){0});
    bytes_deinit(&packed);
}

const struct rpc_method worker_methods[] = {
    {.path = "/bora.internal.v1.WorkerService/Link",
     .start = on_start,
     .message = on_message,
     .half_closed = on_half_closed,
     .written = on_written,
     .cancelled = on_cancelled,
     .finished = on_finished},
    {.path = "/bora.internal.v1.WorkerService/Describe", .message = describe},
};
const size_t worker_method_count = sizeof worker_methods / sizeof worker_methods[0];
