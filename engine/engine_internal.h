/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Shared by engine.c (opening, closing, describing), generation.c (submitting and events) and step_thread.c. */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "engine/grammar/grammar.h"
#include "engine/kv_cache/kv_cache.h"
#include "engine/mask_ahead.h"
#include "engine/model/model.h"
#include "engine/scheduler/beam.h"
#include "engine/scheduler/scheduler.h"
#include "engine/text_stream/text_stream.h"
#include "engine/weights/checkpoint.h"
#include "kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>

struct engine_metrics {
    struct metric *running, *running_max, *waiting_max, *waiting, *kv_tokens_used, *kv_tokens_total, *prompt_tokens,
        *completion_tokens, *step_seconds, *step_rows, *cached_tokens, *draft_tokens, *draft_accepted, *forced_tokens,
        *preemptions, *repairs, *mask_seconds;
};

struct engine {
    struct checkpoint *checkpoint;
    struct model_config config;
    struct kernels *kernels;
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_layout *layout;
    struct kv_cache *cache;
    struct scheduler *scheduler; /* the step thread's, except for cancel, pause and resume */
    struct engine_description description;
    int alive_max, width_max; /* generations; branches of a search */
    void (*on_fault)(void *context, const char *message);
    void *on_fault_context;
    uint32_t *mask; /* [mask_words] of the draw that is being made; step thread */
    size_t mask_words;
    struct mask_ahead *ahead;
    int32_t *begins_as;        /* [vocabulary] constrain.c; NULL: every token as itself */
    uint32_t *mask_as_written; /* scratch, with begins_as */
    bool jump_forward;         /* as engine_options has it */
    bool checked;              /* the books, since the last step; step thread */
    bool has_metrics;
    struct engine_metrics metrics;
    struct scheduler_stats counted; /* what the counters already hold; step thread */

    pthread_t thread;
    bool thread_started;
    pthread_mutex_t mutex; /* guards all below; never held while an event is delivered */
    pthread_cond_t wake;
    bool closing;
    bool awake;                            /* something may be able to advance */
    struct generation *inbox, *inbox_last; /* submitted, not yet seen by the step thread */
    int inbox_count;
    int alive; /* submitted, last event not yet due: at most twice alive_max, the second half in the inbox */
    struct generation *all; /* every handle */
    struct engine_load load;
    int64_t end_gap_ns; /* as scheduler_stats has it */
    uint64_t hints;     /* given of when to come again */
};

/** Log-probabilities that wait for their text. */
struct held_logprobs {
    struct logprob_entry *entries;
    int64_t *ends;                /* where in the text each token ends */
    size_t count, capacity, told; /* `told` at the front were in the last event */
};

/** Where an answer, or a branch of a search, stands. Small and without pointers to what changes: a copy is a fork. Zeros: nothing has been generated. */
struct answer_state {
    struct text_state text; /* of searches with stop strings; the others have the stream itself */
    struct grammar_state grammar;
    int64_t length;    /* tokens under a grammar */
    uint64_t text_key; /* of the text under a grammar, however it is cut into tokens */
    bool begun;        /* some token has been generated: `grammar` counts */
};

/** A mask that is found before it is asked for. */
struct mask_foreseen {
    uint32_t *words;  /* [mask_words] */
    int64_t position; /* of the token it is for; 0: none yet */
    int64_t left;     /* tokens, for grammar_mask, whose answer `status` is */
    enum status status;
};

/** One malloc; the arrays behind it. */
struct generation {
    struct sequence sequence; /* first: the scheduler's pointer is ours */
    struct engine *engine;
    atomic_int references; /* the caller's, and the engine's until the last event has returned */
    struct generation *inbox_next;
    struct generation *previous, *next; /* in engine->all */
    bool ended;                         /* its last event is due; under the engine's mutex */
    generation_event_fn *on_event;
    void *context;
    struct text_stream text;
    int64_t reported;                /* tokens of the sequence that events have told of */
    struct held_logprobs *held;      /* when log-probabilities are wanted */
    int64_t text_given;              /* bytes that events have given out */
    struct grammar_session *grammar; /* NULL: anything may be generated */
    struct grammar_state start;      /* behind `begun` */
    struct answer_state answer;      /* of generations that are no search */
    struct generation *ahead_next;   /* mask_ahead.h */
    struct mask_foreseen foreseen;
    struct error grammar_error; /* that the grammar cost too much, and how; "": it has not */
    struct call_reading *calls; /* NULL: all that is generated is text */
    void *beam_memory;          /* of a beam search, or NULL */
    int answers;                /* that a beam search is to give */
};

/** Drop a reference; the last one frees. Takes the mutex. */
void generation_unref(struct generation *generation);
/** Hand a submitted generation to the scheduler. Step thread. */
void generation_enter(struct generation *generation);

/* constrain.c: what a generation may say. */
enum status constrain_open(struct engine *engine, struct error *err);
void constrain_close(struct engine *engine);
/** Take up the request's grammar, if it has one; checks `begun`. */
enum status constrain_init(struct generation *generation, const struct generation_request *request, struct error *err);
void constrain_deinit(struct generation *generation);
/** As sequence_owner has it. */
enum verdict constrain_ask(struct sequence *leader, const void *state, int64_t left, struct token_mask *out_mask,
                           const char **out_error);
/** As sequence_owner has it. */
void constrain_foresee(struct sequence *sequence, int64_t left);
/** As sequence_owner has it. */
int constrain_force(struct sequence *sequence, int most, int32_t *out);
/** As sequence_owner has it. */
int constrain_admit(struct sequence *sequence, const int32_t *guesses, int count);
/** As sequence_owner has it. */
uint64_t constrain_text_key(struct sequence *leader, const void *state, int32_t id);
/** `after` (may be `before`) is where the answer stands behind the token, which was in the mask. VERDICT_STOP: it may end here, and has no token left; VERDICT_ERROR: the
 *  grammar's budget. */
enum verdict constrain_push(struct generation *generation, const struct answer_state *before, int32_t id,
                            struct answer_state *after);

/* calls_apart.c */

/** Between tokens and text stream, of generations whose answers may hold calls. */
enum status call_reading_create(const struct generation_request *request, struct call_reading **out, struct error *err);
void call_reading_destroy(struct call_reading *reading);
/** A token, which is no end: its text goes to the stream as far as it is content. */
enum status call_reading_push(struct call_reading *reading, struct text_stream *text, int32_t id);
/** No more tokens come. The stream is yet to be finished. */
enum status call_reading_finish(struct call_reading *reading, struct text_stream *text);
/** Begin anew, for another answer of the same generation. */
enum status call_reading_restart(struct call_reading *reading, int answer);
/** Put calls and thoughts into the event, lent until the next call. */
void call_reading_tell(const struct call_reading *reading, struct generation_event *event);
void call_reading_told(struct call_reading *reading);
/** Whole calls of the answer so far. */
size_t call_reading_count(const struct call_reading *reading);
/** Behind call_reading_finish: there are calls, and none was cut; or content of a schema, and the grammar takes it for `complete`. */
bool call_reading_is_whole(const struct call_reading *reading, bool complete);
/** As call_reader_held. */
size_t call_reading_held(const struct call_reading *reading);

/** Bring engine->load up to date. Step thread. */
void engine_publish_load(struct engine *engine);
/** Something may be able to advance again. Any thread. */
void engine_wake(struct engine *engine);
/** The step thread; `context` is the engine. */
void *engine_step_thread(void *context);

#endif
