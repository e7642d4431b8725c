/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Engine: one model on one device, from a conversation to streamed text, in one process, without a network.
 *
 *     engine_open ── loads weights, tokenizer, layout; sizes the KV pool; starts the step thread
 *     engine_tokenize ── messages -> prompt ids (any thread)
 *     engine_submit ── prompt ids + sampling -> struct generation; its events arrive on the step thread
 *     engine_cancel / engine_pause / engine_resume ── any thread, take effect within one step
 *
 * Inside, the step thread runs scheduler_step() again and again: choose rows (prefill chunks and decodes share one
 * budget), one forward pass, sample, emit. Nothing here knows protobuf or sockets.
 *
 * The random stream of a generation is keyed by (seed, position): nothing else decides a sample.
 *
 * After engine_open nothing is allocated but by engine_submit (one piece per generation, freed by engine_release). An
 * idle engine sleeps.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/bytes.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/status.h"
#include "engine/chat/chat.h"
#include "engine/sampler/sampler.h"
#include "engine/scheduler/finish.h"
#include "engine/tokenizer/tokenizer.h"

struct engine;
struct generation;
struct grammar;
struct call_made;

struct engine_options {
    const char *model_path; /* a GGUF file, or a folder: engine/weights/checkpoint.h */
    const char *layout;     /* of chat_layout_load_as; NULL: what the model's files show */
    const char *device;     /* "cpu" */
    const char *variant;    /* "auto", "plain", "avx2", "avx512" */
    int threads;            /* 0: all available */
    int64_t context_tokens; /* 0: the model file's; never above it */
    const char *kv_type;    /* "f32", "f16", "bf16" or "int8" */
    int64_t kv_pool_bytes;  /* 0: enough for `sequences_max` x context, at most a quarter of the machine's memory */
    int sequences_max;      /* generations that advance at a time, 1..256; a beam search is one */
    int step_tokens_max;    /* rows of one step */
    int queue_max; /* generations alive beyond sequences_max, then engine_submit refuses or somebody who waits is */
    int64_t
        step_ns; /* how long a step that carries decodes may take; 0: chosen, a small multiple of the decodes alone */
    bool speculation;        /* guess tokens by prompt lookup where it pays; changes no output */
    bool jump_forward;       /* take text that a grammar forces without drawing it, cut as the tokenizer cuts it */
    struct metrics *metrics; /* may be NULL; borrowed */
    /** The idle check found books that do not add up, and mended them: `message` says what. Step thread. May be NULL. */
    void (*on_fault)(void *context, const char *message);
    void *on_fault_context;
};

/** STATUS_NOT_FOUND, STATUS_INVALID_ARGUMENT (bad file), STATUS_UNIMPLEMENTED (architecture, type, variant), STATUS_RESOURCE_EXHAUSTED
 *  (memory; the message says needed and available). */
enum status engine_open(const struct engine_options *options, struct engine **out, struct error *err);
/** Cancels what runs (last events are delivered), joins the step thread, frees everything, handles that were not released too. No other
 *  thread may call in any more; callbacks may. */
void engine_close(struct engine *engine);

struct engine_description {
    const char *architecture; /* "llama" */
    const char *device, *variant, *layout;
    int64_t context_tokens;
    int64_t parameters;
    int32_t vocabulary;
    int64_t kv_pool_tokens; /* positions that fit in the pool */
    int sequences_max;
};
void engine_describe(const struct engine *engine, struct engine_description *out);

struct engine_load {
    int running, waiting; /* generations */
    int64_t kv_tokens_used, kv_tokens_total;
    uint64_t steps;                            /* steps done since start: tests watch it */
    uint64_t prompt_tokens, completion_tokens; /* since start */
    int64_t
        retry_after_ms; /* when somebody whom engine_submit refused for a full queue may find room: an estimate from how fast generations end and how many wait, another one at every call; 100 ms .. 1 min */
};
void engine_load(struct engine *engine, struct engine_load *out);

/** The prompt of a conversation. Tools of a model whose layout has no known way to call them are told in words. `out->max_count` bounds it. `window`: drop the oldest turns that do not fit (chat.h); NULL: none. Any thread. */
enum status engine_tokenize(const struct engine *engine, const struct chat_conversation *conversation,
                            struct chat_window *window, struct token_list *out, struct error *err);
/** Of engine_tokenize's prompts: chat_layout_bound. Any thread. */
bool engine_prompt_bound(const struct engine *engine, struct chat_prompt_bound *out);
const struct tokenizer *engine_tokenizer(const struct engine *engine);
/** How the model writes calls of tools: for call_format_create. */
enum chat_calls engine_calls(const struct engine *engine);

/**
 * What a step gave one generation. Text is final: valid UTF-8, and no part of a stop string. `ids` are the tokens sampled
 * since the last event (text may lag behind them). Lent until the callback returns.
 *
 * Every sampled token counts as a completion token: the end token too, which has no text, and those of a stop string.
 * (llama.cpp and vLLM count the same way.) When a generation ends by a stop string, what was held behind it is never sent; when
 * it ends by an end token or by length, held text is sent first.
 */
struct generation_event {
    struct bytes_view text;
    const int32_t *ids;
    size_t id_count;
    /* When asked for: of the tokens whose text is given out by this event or an earlier one, in order, each once. So they keep the
     * promise that the text keeps: nothing of a stop string, nothing of an end token. */
    const struct logprob_entry *logprobs;
    size_t logprob_count;
    enum finish_reason finish;                /* the last event of a generation has one; nothing follows it */
    int64_t prompt_tokens, completion_tokens; /* exact totals so far */
    int64_t cached_tokens;                    /* of the prompt, taken from the prefix cache */
    const struct call_made *calls;            /* engine/grammar/calls.h: whole ones, of requests with `calls` */
    size_t call_count;
    struct bytes_view thought; /* likewise; not part of the text */
    /* Likewise, in the last event: of the tokens whose log-probabilities no event has had, because they are of no text. */
    double other_logprob_sum;
    size_t other_logprob_count;
    int answer;        /* of a beam search: which, 0 the best; else 0 */
    const char *error; /* FINISH_ERROR, FINISH_REFUSED, FINISH_GRAMMAR */
};

/** Called on the step thread; must not block. It may call engine_cancel, engine_pause and engine_resume. */
typedef void generation_event_fn(void *context, const struct generation_event *event);

/**
 * Beam search: the `width` likeliest continuations are kept at every step, and the best that ended are the answers. They end as other
 * generations do - by an end token, a stop string or length - and count the same tokens. An answer's score is the sum of its
 * log-probabilities (sampler_likeliest) over its length to the power `length_penalty`.
 *
 * Under a grammar no two answers have the same text, cut into tokens in two ways, but where there are fewer texts than answers wanted: then those come again.
 *
 * Nothing is told before the search has ended; then, for each answer from the best on, one event with its whole text, ids and finish. The
 * generation ends with the event of the last one.
 */
struct beam_options {
    int width;   /* 0: no beam search; 1..LIMIT_BEAMS */
    int answers; /* 1..width; 0 means 1 */
    float length_penalty;
    bool early_stopping; /* end as soon as `width` answers have ended; else when no running one can beat them */
};

struct generation_request {
    const int32_t *prompt;         /* copied */
    size_t prompt_count;           /* >= 1 */
    int64_t max_tokens;            /* >= 0; 0 finishes at once with FINISH_LENGTH */
    struct sampling sampling;      /* pointers inside are copied */
    const struct bytes_view *stop; /* copied; at most LIMIT_STOP_STRINGS */
    size_t stop_count;
    const char *tenant; /* shares turns with its equals, and cached prompts with nobody else; may be ""; copied */
    int priority;       /* higher first inside a tenant */
    /**
     * What is generated is one of this grammar's texts, or the beginning of one when length or a stop string ends it. NULL: anything. The grammar's vocabulary is one
     * of this engine's tokenizer and lives until engine_close; the grammar itself is counted (grammar_ref). Log-probabilities stay those of the model itself.
     */
    struct grammar *grammar;
    /** The grammar is one of calls_compile: events tell calls and thoughts apart from the text. Stop strings are looked for in the text alone, so no call is cut by one;
     *  log-probabilities are those of the text and of thoughts. A beam search takes no stop strings then. */
    bool calls;
    struct bytes_view begun; /* the text behind which the answer goes on, which the grammar counts in */
    struct beam_options beam;
    generation_event_fn *on_event;
    void *context;
};

/** STATUS_FAILED_PRECONDITION when no text of the grammar begins with `begun`. STATUS_OUT_OF_RANGE when prompt_count + max_tokens passes the context; STATUS_RESOURCE_EXHAUSTED when the queue is full (engine_load says when
 *  there may be room again). A full queue has room for tenants that have less in it than others: then a generation of the tenant with the most ends with
 *  FINISH_REFUSED before it has begun, and nobody else notices; so may the new one when others come first. Both mean the same, and the same hint holds;
 *  STATUS_INVALID_ARGUMENT for a beam search that is wider than sequences_max or step_tokens_max;
 *  STATUS_INVALID_ARGUMENT names a sampling setting, stop string or prompt id that makes no sense. Events may arrive before this
 *  returns. The generation lives until engine_release, which must follow its last event. A generation that fills the context ends with
 *  FINISH_MODEL_LENGTH even when max_tokens would have ended it there as well. */
enum status engine_submit(struct engine *engine, const struct generation_request *request, struct generation **out,
                          struct error *err);
/** Idempotent. The last event (FINISH_CANCELLED) comes within one step. */
void engine_cancel(struct engine *engine, struct generation *generation);
/** A paused generation takes no part in steps (its reader is slow). It keeps its cache while nobody else needs the room. */
void engine_pause(struct engine *engine, struct generation *generation);
void engine_resume(struct engine *engine, struct generation *generation);
/** Give the handle back; call once, after the last event (inside it is allowed). */
void engine_release(struct engine *engine, struct generation *generation);

#endif
