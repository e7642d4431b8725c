/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The worker's side of a link (proto/bora/internal/v1/worker.proto), for well-behaved gateways only: no leases are reported. */
#include "base/id_table.h"
#include "base/limits.h"
#include "bench/null_stream.h"
#include "bench/null_worker.h"
#include "bora/internal/v1/worker.pb-c.h"
#include "rpc/batches.h"
#include "rpc/transcode.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIVE_MAX = 1000000 };

struct null_link {
    struct null_stream *stream; /* referenced */
    atomic_int references;      /* the stream's, and one of each generation */
    struct arena arena;         /* of the command that is being read */
    pthread_mutex_t mutex;      /* guards what follows; taken with an answer's mutex held, never the other way round */
    struct id_table table;
    struct batches batches; /* the event that is being packed */
    bool over;
    struct null_generation *full; /* that wait for room, each referenced */
};

struct null_generation {
    struct null_answer answer; /* first: found from it */
    struct id_entry entry;     /* in the link's table, under its mutex like what follows */
    bool listed;
    struct null_generation *next_full;
    struct null_link *link; /* referenced */
    atomic_int references;  /* the table's, and those of whoever may still come */
};

static struct null_generation *of_entry(struct id_entry *entry) {
    return entry == NULL ? NULL : (struct null_generation *)((char *)entry - offsetof(struct null_generation, entry));
}

static void link_unref(struct null_link *link) {
    if (atomic_fetch_sub(&link->references, 1) != 1) return;
    id_table_deinit(&link->table);
    batches_deinit(&link->batches);
    arena_deinit(&link->arena);
    pthread_mutex_destroy(&link->mutex);
    null_stream_unref(link->stream);
    free(link);
}

static void generation_ref(struct null_answer *answer) {
    atomic_fetch_add(&((struct null_generation *)answer)->references, 1);
}

static void generation_unref(struct null_answer *answer) {
    struct null_generation *generation = (struct null_generation *)answer;
    if (atomic_fetch_sub(&generation->references, 1) != 1) return;
    null_answer_deinit(answer);
    link_unref(generation->link);
    free(generation);
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

static void add_event_locked(struct null_generation *generation, Bora__Internal__V1__LinkEvent *event) {
    struct null_link *link = generation->link;
    event->generation = generation->entry.id;
    if (link->over || batches_add(&link->batches, &event->base, SIZE_MAX, NULL) != STATUS_OK) return;
    null_stream_write(link->stream, batches_first(&link->batches));
    batches_pop(&link->batches);
}

static void add_finished_locked(struct null_generation *generation, Bora__Internal__V1__Finished__Reason reason) {
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Finished finished = BORA__INTERNAL__V1__FINISHED__INIT;
    finished.reason = reason;
    finished.prompt_tokens = NULL_PROMPT_TOKENS;
    finished.completion_tokens = generation->answer.sent;
    finished.last = true;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_FINISHED;
    event.finished = &finished;
    add_event_locked(generation, &event);
}

/** Out of the table, whose reference goes: the last one only where nobody else has any. */
static bool remove_locked(struct null_generation *generation) {
    struct id_table *table = &generation->link->table;
    bool there = of_entry(id_table_find(table, generation->entry.id)) == generation;
    if (there) (void)id_table_remove(table, generation->entry.id);
    return there;
}

static bool send_tokens(struct null_answer *answer, int64_t tokens, bool last) {
    static int32_t ids[NULL_EVENT_TOKENS_MAX];
    struct null_generation *generation = (struct null_generation *)answer;
    struct null_link *link = generation->link;
    struct bytes_view text = null_answer_text(tokens);
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Delta delta = BORA__INTERNAL__V1__DELTA__INIT;
    delta.text = (ProtobufCBinaryData){text.length, (uint8_t *)text.data};
    delta.token_ids = ids;
    delta.n_token_ids = (size_t)tokens;
    delta.completion_tokens = answer->sent;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_DELTA;
    event.delta = &delta;
    pthread_mutex_lock(&link->mutex);
    add_event_locked(generation, &event);
    if (last) add_finished_locked(generation, BORA__INTERNAL__V1__FINISHED__REASON__REASON_LENGTH);
    bool full = !last && !link->over && null_stream_waiting_bytes(link->stream) > LIMIT_STREAM_PENDING_BYTES;
    if (full && !generation->listed) {
        generation_ref(answer);
        generation->listed = true;
        generation->next_full = link->full;
        link->full = generation;
    }
    bool removed = last && remove_locked(generation);
    pthread_mutex_unlock(&link->mutex);
    if (removed) atomic_fetch_sub(&generation->references, 1); /* whoever calls us has another */
    return !full;
}

static struct null_generation *take_full_locked(struct null_link *link) {
    struct null_generation *full = link->full;
    link->full = NULL;
    for (struct null_generation *generation = full; generation != NULL; generation = generation->next_full)
        generation->listed = false;
    return full;
}

static void on_room(struct null_stream *stream) {
    struct null_link *link = null_stream_state(stream);
    pthread_mutex_lock(&link->mutex);
    struct null_generation *full = take_full_locked(link);
    pthread_mutex_unlock(&link->mutex);
    for (struct null_generation *next; full != NULL; full = next) {
        next = full->next_full;
        null_answer_go(&full->answer);
        generation_unref(&full->answer);
    }
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static void start(struct null_link *link, uint64_t number, const Bora__Internal__V1__Start *asked) {
    bool given = asked->_max_tokens_case == BORA__INTERNAL__V1__START___MAX_TOKENS_MAX_TOKENS;
    struct null_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL) return;
    null_answer_init(&generation->answer, given ? asked->max_tokens : 0);
    generation->answer.send = send_tokens;
    generation->answer.ref = generation_ref;
    generation->answer.unref = generation_unref;
    generation->link = link;
    atomic_fetch_add(&link->references, 1);
    atomic_init(&generation->references, 1);
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Prepared prepared = BORA__INTERNAL__V1__PREPARED__INIT;
    prepared.prompt_tokens = NULL_PROMPT_TOKENS;
    prepared.max_tokens = generation->answer.tokens;
    prepared.context_tokens = NULL_CONTEXT_TOKENS;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_PREPARED;
    event.prepared = &prepared;
    prepared.goes_on = asked->proceed_prompt_tokens >= NULL_PROMPT_TOKENS;
    pthread_mutex_lock(&link->mutex);
    bool added = !link->over && id_table_add(&link->table, &generation->entry, number) == STATUS_OK;
    bool goes_on = added && prepared.goes_on;
    if (added) add_event_locked(generation, &event);
    if (goes_on) generation_ref(&generation->answer);
    pthread_mutex_unlock(&link->mutex);
    if (goes_on) null_answer_go(&generation->answer);
    if (goes_on || !added) generation_unref(&generation->answer);
}

static void stop(struct null_generation *generation) {
    if (!null_answer_end(&generation->answer)) return;
    struct null_link *link = generation->link;
    pthread_mutex_lock(&link->mutex);
    add_finished_locked(generation, BORA__INTERNAL__V1__FINISHED__REASON__REASON_CANCELLED);
    bool removed = remove_locked(generation);
    pthread_mutex_unlock(&link->mutex);
    if (removed) generation_unref(&generation->answer);
}

static void take_command(struct null_link *link, const Bora__Internal__V1__LinkCommand *command) {
    if (command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_START) {
        start(link, command->generation, command->start);
        return;
    }
    pthread_mutex_lock(&link->mutex);
    struct null_generation *generation = of_entry(id_table_find(&link->table, command->generation));
    if (generation != NULL) generation_ref(&generation->answer);
    pthread_mutex_unlock(&link->mutex);
    if (generation == NULL) return; /* it has ended, which the gateway did not know yet */
    if (command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_PROCEED)
        null_answer_go(&generation->answer);
    else if (command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_STOP)
        stop(generation);
    else
        null_answer_hold(&generation->answer, command->kind_case == BORA__INTERNAL__V1__LINK_COMMAND__KIND_HOLD);
    generation_unref(&generation->answer);
}

static void on_message(struct null_stream *stream, struct bytes_view message) {
    struct null_link *link = null_stream_state(stream);
    struct bytes_view packed;
    while (batches_next(&message, &packed)) {
        ProtobufCMessage *unpacked = NULL;
        struct error err = {0};
        arena_reset(&link->arena);
        if (protobuf_unpack(&bora__internal__v1__link_command__descriptor, packed, &link->arena, &unpacked, &err) ==
            STATUS_OK)
            take_command(link, (const void *)unpacked);
    }
}

/* ---- beginning and end --------------------------------------------------------------------------------------------- */

static void on_open(struct null_stream *stream) {
    struct null_link *link = calloc(1, sizeof *link);
    if (link == NULL) abort(); /* nothing is measured without memory */
    link->stream = stream;
    null_stream_ref(stream);
    atomic_init(&link->references, 1);
    pthread_mutex_init(&link->mutex, NULL);
    arena_init(&link->arena, 4 * (size_t)LIMIT_REQUEST_BODY_BYTES_MAX);
    null_stream_set_state(stream, link);
}

static void on_closed(struct null_stream *stream) {
    struct null_link *link = null_stream_state(stream);
    pthread_mutex_lock(&link->mutex);
    link->over = true;
    batches_clear(&link->batches);
    struct id_entry *entry = id_table_take_all(&link->table);
    struct null_generation *full = take_full_locked(link);
    pthread_mutex_unlock(&link->mutex);
    for (struct id_entry *next; entry != NULL; entry = next) {
        next = entry->next;
        (void)null_answer_end(&of_entry(entry)->answer);
        generation_unref(&of_entry(entry)->answer);
    }
    for (struct null_generation *next; full != NULL; full = next) {
        next = full->next_full;
        generation_unref(&full->answer);
    }
    link_unref(link);
}

enum status null_protocol_announcement(const struct null_settings *settings, const char *id, const char *address,
                                       struct bytes *out) {
    char *capabilities[] = {"completion_chat"};
    Bora__Internal__V1__ModelDescription model = BORA__INTERNAL__V1__MODEL_DESCRIPTION__INIT;
    model.name = settings->model;
    model.context_tokens = NULL_CONTEXT_TOKENS;
    model.capabilities = capabilities;
    model.n_capabilities = 1;
    Bora__Internal__V1__PromptBound bound = BORA__INTERNAL__V1__PROMPT_BOUND__INIT;
    bound.fixed_tokens = NULL_PROMPT_TOKENS;
    bound.byte_tokens = 1; /* as a worker of a model would say, though it costs nothing here */
    model.prompt_bound = &bound;
    Bora__Internal__V1__Load load = BORA__INTERNAL__V1__LOAD__INIT;
    load.sequences_max = load.alive_max = ALIVE_MAX;
    Bora__Internal__V1__WorkerAnnouncement message = BORA__INTERNAL__V1__WORKER_ANNOUNCEMENT__INIT;
    message.worker_id = (char *)id;
    message.address = (char *)address;
    message.model = &model;
    message.load = &load;
    message.device = "none";
    message.process_id = (int32_t)getpid();
    message.version = BORA_VERSION;
    message.rank_count = 1;
    return protobuf_pack(&message.base, out);
}

enum status null_protocol_listen(struct loop *loop, const char *address, int *out_port, struct error *err) {
    static const struct null_stream_callbacks callbacks = {on_open, on_message, on_room, on_closed};
    return null_streams_listen(loop, address, &callbacks, out_port, err);
}
