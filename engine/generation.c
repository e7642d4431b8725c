/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Generations: copied in by engine_submit, told of by events, freed when caller and engine have both let go. */
#include "base/limits.h"
#include "base/text.h"
#include "engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- checking and copying ------------------------------------------------------------------------------------------ */

static enum status check_beam(const struct engine *engine, const struct beam_options *beam, struct error *err) {
    if (beam->width == 0) return STATUS_OK;
    if (beam->width < 0 || beam->width > LIMIT_BEAMS || beam->answers < 0 || beam->answers > beam->width ||
        !isfinite(beam->length_penalty)) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "a beam search of width %d for %d answers, length penalty %g",
                         beam->width, beam->answers, (double)beam->length_penalty);
    }
    if (beam->width > engine->width_max) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "a beam search of width %d; this engine advances %d sequences",
                         beam->width, engine->width_max);
    }
    return STATUS_OK;
}

static enum status check_request(const struct engine *engine, const struct generation_request *request,
                                 struct error *err) {
    int64_t context = engine->description.context_tokens;
    if (request->prompt_count < 1 || request->max_tokens < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a generation needs a prompt and max_tokens of at least 0");
    if (request->prompt_count > (uint64_t)context || request->max_tokens > context - (int64_t)request->prompt_count) {
        return error_set(err, STATUS_OUT_OF_RANGE,
                         "a prompt of %zu tokens and max_tokens %lld pass the context of %lld tokens",
                         request->prompt_count, (long long)request->max_tokens, (long long)context);
    }
    for (size_t i = 0; i < request->prompt_count; i++) {
        if (request->prompt[i] >= 0 && request->prompt[i] < engine->config.vocabulary) continue;
        return error_set(err, STATUS_INVALID_ARGUMENT, "prompt token %zu is %d; the vocabulary has %d", i,
                         request->prompt[i], engine->config.vocabulary);
    }
    if (request->stop_count > LIMIT_STOP_STRINGS)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu stop strings; at most %d", request->stop_count,
                         LIMIT_STOP_STRINGS);
    for (size_t i = 0; i < request->stop_count; i++) {
        const struct bytes_view *stop = &request->stop[i];
        if (stop->length >= 1 && stop->length <= LIMIT_STOP_STRING_BYTES && text_is_utf8(stop->data, stop->length))
            continue;
        return error_set(err, STATUS_INVALID_ARGUMENT, "stop string %zu is not 1..%d bytes of UTF-8", i,
                         LIMIT_STOP_STRING_BYTES);
    }
    TRY(check_beam(engine, &request->beam, err));
    if (request->calls && (request->grammar == NULL || (request->beam.width > 0 && request->stop_count > 0)))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         request->grammar == NULL ? "calls need a grammar of calls"
                                                  : "a beam search whose answers may hold calls takes no stop strings");
    return sampling_check(&request->sampling, engine->config.vocabulary, err);
}

/** Who shares turns with whom. Equal hashes of different names would only share them. */
static uint64_t tenant_key(const char *name) {
    return bytes_hash(BYTES_HASH_START, bytes_view_string(name));
}

/** One piece of memory: [generation][stop views][logit biases][tokens][stop bytes][salt] */
static struct generation *copy_request(const struct generation_request *request) {
    size_t tokens = (request->prompt_count + (size_t)request->max_tokens) * sizeof(int32_t), stop_bytes = 0;
    size_t salt_bytes = request->tenant != NULL ? strlen(request->tenant) : 0;
    size_t views = request->stop_count * sizeof *request->stop,
           biases = request->sampling.logit_bias_count * sizeof *request->sampling.logit_bias;
    for (size_t i = 0; i < request->stop_count; i++) stop_bytes += request->stop[i].length;
    struct generation *generation = malloc(sizeof *generation + views + biases + tokens + stop_bytes + salt_bytes);
    if (generation == NULL) return NULL;
    struct bytes_view *stop = (struct bytes_view *)(generation + 1);
    struct logit_bias *bias = (struct logit_bias *)((char *)stop + views);
    int32_t *ids = (int32_t *)((char *)bias + biases);
    uint8_t *text = (uint8_t *)ids + tokens;
    *generation = (struct generation){.on_event = request->on_event, .context = request->context};
    sequence_init(&generation->sequence);
    memcpy(ids, request->prompt, request->prompt_count * sizeof *ids);
    if (biases > 0) memcpy(bias, request->sampling.logit_bias, biases);
    for (size_t i = 0; i < request->stop_count; i++) {
        memcpy(text, request->stop[i].data, request->stop[i].length);
        stop[i] = bytes_view_of(text, request->stop[i].length);
        text += request->stop[i].length;
    }
    memcpy(text, request->tenant != NULL ? request->tenant : "", salt_bytes);
    generation->sequence.salt = text;
    generation->sequence.salt_bytes = salt_bytes;
    generation->sequence.tokens = ids;
    generation->sequence.prompt_count = (int64_t)request->prompt_count;
    generation->sequence.max_tokens = request->max_tokens;
    generation->sequence.sampling = request->sampling;
    generation->sequence.sampling.logit_bias = bias;
    generation->sequence.tenant_key = tenant_key(request->tenant);
    generation->sequence.priority = request->priority;
    generation->text.stop = stop; /* for text_stream_init */
    return generation;
}

/** Memory for a beam search; none when it is not one. */
static enum status add_beams(const struct engine *engine, const struct generation_request *request,
                             struct generation *generation, struct error *err) {
    const struct beam_options *beam = &request->beam;
    if (beam->width == 0) return STATUS_OK;
    int64_t limit = (int64_t)request->prompt_count + request->max_tokens;
    struct beam_settings settings = {
        .width = beam->width,
        .length_penalty = (double)beam->length_penalty,
        .early_stopping = beam->early_stopping,
        .state_bytes = request->stop_count > 0 || request->grammar != NULL ? sizeof(struct answer_state) : 0};
    generation->beam_memory = malloc(beam_search_bytes(&settings, limit, engine->description.context_tokens));
    if (generation->beam_memory == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    generation->answers = beam->answers > 0 ? beam->answers : 1;
    beam_search_init(generation->beam_memory, &settings, &generation->sequence, engine->description.context_tokens);
    return STATUS_OK;
}

/* ---- events, on the step thread ------------------------------------------------------------------------------------ */

static void held_destroy(struct held_logprobs *held) {
    if (held == NULL) return;
    free(held->entries);
    free(held->ends);
    free(held);
}

/** Room for what one step gives and what a stop string may hold back, so that steps allocate only when tokens without text come on top. */
static struct held_logprobs *held_create(const struct generation_request *request) {
    enum { MORE = 16 /* of a character that is not whole */ };
    struct held_logprobs *held = calloc(1, sizeof *held);
    if (held == NULL) return NULL;
    held->capacity = DRAFT_TOKENS_MAX + MORE;
    for (size_t i = 0; i < request->stop_count; i++) {
        if (held->capacity < request->stop[i].length + DRAFT_TOKENS_MAX + MORE)
            held->capacity = request->stop[i].length + DRAFT_TOKENS_MAX + MORE;
    }
    held->entries = malloc(held->capacity * sizeof *held->entries);
    held->ends = malloc(held->capacity * sizeof *held->ends);
    if (held->entries != NULL && held->ends != NULL) return held;
    held_destroy(held);
    return NULL;
}

/** Keep a token's log-probabilities until its text, which ends at `end`, is given out. */
static bool hold_logprobs(struct held_logprobs *held, const struct logprob_entry *entry, int64_t end) {
    if (held->count == held->capacity) {
        size_t capacity = 2 * held->capacity;
        struct logprob_entry *entries = realloc(held->entries, capacity * sizeof *entries);
        if (entries != NULL) held->entries = entries;
        int64_t *ends = realloc(held->ends, capacity * sizeof *ends);
        if (ends != NULL) held->ends = ends;
        if (entries == NULL || ends == NULL) return false;
        held->capacity = capacity;
    }
    held->entries[held->count] = *entry;
    held->ends[held->count++] = end;
    return true;
}

/** Put those whose text ends at `given` or before into the event. */
static void tell_logprobs(struct held_logprobs *held, int64_t given, struct generation_event *event) {
    while (held->told < held->count && held->ends[held->told] <= given) held->told++;
    event->logprobs = held->told > 0 ? held->entries : NULL;
    event->logprob_count = held->told;
}

/** What is left of them at the end of an answer with calls. */
static void sum_others(const struct held_logprobs *held, struct generation_event *event) {
    for (size_t i = held->told; i < held->count; i++)
        event->other_logprob_sum += (double)held->entries[i].chosen.logprob;
    event->other_logprob_count = held->count - held->told;
}

static void drop_told(struct held_logprobs *held) {
    held->count -= held->told;
    memmove(held->entries, held->entries + held->told, held->count * sizeof *held->entries);
    memmove(held->ends, held->ends + held->told, held->count * sizeof *held->ends);
    held->told = 0;
}

static enum status push_token(struct generation *generation, int32_t id) {
    return generation->calls != NULL ? call_reading_push(generation->calls, &generation->text, id)
                                     : text_stream_push(&generation->text, id);
}

static enum status finish_text(struct generation *generation) {
    if (generation->calls != NULL) TRY(call_reading_finish(generation->calls, &generation->text));
    return text_stream_finish(&generation->text);
}

/** A message holds so many calls: an answer of more could not be a part of the conversation. What would close a list of them nobody sees. */
static bool has_called_enough(const struct generation *generation) {
    return generation->calls != NULL && call_reading_count(generation->calls) >= LIMIT_TOOLS;
}

static enum verdict accept(struct sequence *sequence, int32_t id, const struct logprob_entry *logprobs) {
    struct generation *generation = (struct generation *)sequence;
    if (tokenizer_is_end(generation->engine->tokenizer, id)) return VERDICT_STOP;
    if (push_token(generation, id) != STATUS_OK) return VERDICT_ERROR;
    enum verdict verdict = constrain_push(generation, &generation->answer, id, &generation->answer);
    if (verdict == VERDICT_ERROR) return verdict;
    /* Bytes that are no whole character yet have no text, but will. */
    int64_t end = generation->text_given + (int64_t)generation->text.text.length +
                  (generation->text.detokenizer.pending_length > 0);
    if (generation->calls != NULL) end += (int64_t)call_reading_held(generation->calls);
    if (logprobs != NULL && !generation->text.stopped && !hold_logprobs(generation->held, logprobs, end))
        return VERDICT_ERROR;
    return generation->text.stopped || has_called_enough(generation) ? VERDICT_STOP : verdict;
}

/** A branch ends where a generation would. The stream, which a search needs for its answers only, takes up the branch's text where that stands. */
static enum verdict extend(struct sequence *leader, const void *before, int32_t id, void *after) {
    struct generation *generation = (struct generation *)leader;
    struct text_stream *text = &generation->text;
    const struct answer_state *branch = before;
    struct answer_state *longer = after;
    if (tokenizer_is_end(generation->engine->tokenizer, id)) return VERDICT_STOP;
    if (text->stop_count == 0 && generation->grammar == NULL) return VERDICT_GO_ON;
    if (text->stop_count > 0) {
        if (text_stream_restore(text, &branch->text) != STATUS_OK || text_stream_push(text, id) != STATUS_OK)
            return VERDICT_ERROR;
        if (text->stopped) return VERDICT_STOP;
        text_stream_save(text, &longer->text);
    }
    return constrain_push(generation, branch, id, longer);
}

/** An answer that ends with a whole call where there was no room for more has said what it had to: it is used like one that ended by itself. */
static enum finish_reason finish_of_calls(const struct generation *generation, enum finish_reason finish) {
    if ((finish != FINISH_LENGTH && finish != FINISH_MODEL_LENGTH) || generation->calls == NULL) return finish;
    const struct answer_state *answer = &generation->answer;
    bool complete = answer->begun && grammar_complete(generation->grammar, &answer->grammar);
    return call_reading_is_whole(generation->calls, complete) ? FINISH_STOP : finish;
}

/** Before the last event: whoever hears it finds the slot free. */
static void count_end(struct generation *generation) {
    struct engine *engine = generation->engine;
    engine_publish_load(engine);
    pthread_mutex_lock(&engine->mutex);
    engine->alive--;
    generation->ended = true;
    pthread_mutex_unlock(&engine->mutex);
}

/** The text of answer `number`, without the stop string that it ends with. */
static enum status write_answer(struct generation *generation, const struct hypothesis *answer, int number) {
    text_stream_reset(&generation->text);
    if (generation->calls != NULL) TRY(call_reading_restart(generation->calls, number));
    for (int64_t i = generation->sequence.prompt_count; i < answer->count; i++) {
        if (!tokenizer_is_end(generation->engine->tokenizer, answer->tokens[i]))
            TRY(push_token(generation, answer->tokens[i]));
    }
    return finish_text(generation);
}

/** Whose fault an error is: of a grammar that costs too much, the request's. */
static enum finish_reason blame_grammar(const struct generation *generation, enum finish_reason finish,
                                        const char **error) {
    if (finish != FINISH_ERROR || generation->grammar_error.message[0] == 0) return finish;
    *error = generation->grammar_error.message;
    return FINISH_GRAMMAR;
}

/** A search has ended: an event for each answer. */
static void report_answers(struct generation *generation, enum finish_reason finish, const char *error) {
    const struct beam_search *beams = generation->sequence.beams;
    static const struct hypothesis nothing = {.finish = FINISH_LENGTH};
    int64_t prompt = generation->sequence.prompt_count;
    finish = blame_grammar(generation, finish, &error);
    bool failed = finish_is_failure(finish);
    count_end(generation);
    for (int i = 0; i < generation->answers; i++) {
        /* A grammar may have fewer texts than answers are wanted: then they come again. */
        bool found = !failed && beams->finished_count > 0;
        const struct hypothesis *answer = found ? &beams->finished[i % beams->finished_count] : &nothing;
        struct generation_event event = {.text = bytes_view_string(""),
                                         .ids = generation->sequence.tokens,
                                         .finish = failed ? finish : answer->finish,
                                         .prompt_tokens = prompt,
                                         .cached_tokens = generation->sequence.cached_tokens,
                                         .answer = i,
                                         .error = error};
        if (found) {
            event.ids = answer->tokens + prompt;
            event.id_count = (size_t)(answer->count - prompt);
            event.completion_tokens = answer->count - prompt;
            if (write_answer(generation, answer, i) != STATUS_OK) {
                failed = true;
                event = (struct generation_event){
                    .finish = FINISH_ERROR, .prompt_tokens = prompt, .answer = i, .error = "out of memory"};
            }
            event.text = text_stream_final(&generation->text);
            event.finish = finish_of_calls(generation, event.finish);
            if (generation->calls != NULL && !failed) call_reading_tell(generation->calls, &event);
        }
        generation->on_event(generation->context, &event);
        if (failed) break;
    }
    generation_unref(generation);
}

static void report(struct sequence *sequence, enum finish_reason finish, const char *error) {
    struct generation *generation = (struct generation *)sequence;
    if (sequence->beams != NULL) {
        report_answers(generation, finish, error);
        return;
    }
    int64_t told = generation->reported > 0 ? generation->reported : sequence->prompt_count;
    if (finish != FINISH_NONE && !finish_is_failure(finish) && finish_text(generation) != STATUS_OK) {
        finish = FINISH_ERROR;
        error = "out of memory";
    }
    finish = blame_grammar(generation, finish_of_calls(generation, finish), &error);
    struct generation_event event = {.text = text_stream_final(&generation->text),
                                     .ids = sequence->tokens + told,
                                     .id_count = (size_t)(sequence->token_count - told),
                                     .finish = finish,
                                     .prompt_tokens = sequence->prompt_count,
                                     .completion_tokens = sequence->token_count - sequence->prompt_count,
                                     .cached_tokens = sequence->cached_tokens,
                                     .error = error};
    int64_t given = generation->text_given + (int64_t)event.text.length;
    if (generation->held != NULL) tell_logprobs(generation->held, given, &event);
    if (generation->calls != NULL) call_reading_tell(generation->calls, &event);
    if (generation->calls != NULL && generation->held != NULL && finish != FINISH_NONE)
        sum_others(generation->held, &event);
    generation->reported = sequence->token_count;
    if (finish != FINISH_NONE) count_end(generation);
    generation->on_event(generation->context, &event);
    text_stream_consume(&generation->text);
    if (generation->calls != NULL) call_reading_told(generation->calls);
    generation->text_given = given;
    if (generation->held != NULL && generation->held->told > 0) drop_told(generation->held);
    if (finish != FINISH_NONE) generation_unref(generation);
}

static const struct sequence_owner owner = {.accept = accept, .report = report, .extend = extend},
                                   constrained_owner = {.accept = accept,
                                                        .report = report,
                                                        .extend = extend,
                                                        .constrain = constrain_ask,
                                                        .text_key = constrain_text_key,
                                                        .force = constrain_force,
                                                        .admit = constrain_admit,
                                                        .foresee = constrain_foresee};

void generation_enter(struct generation *generation) {
    struct error err = {0};
    enum status status = scheduler_submit(generation->engine->scheduler, &generation->sequence, &err);
    if (status == STATUS_OK) return;
    generation->sequence.token_count = generation->sequence.prompt_count;
    report(&generation->sequence, status == STATUS_RESOURCE_EXHAUSTED ? FINISH_REFUSED : FINISH_ERROR, err.message);
}

static void generation_free(struct generation *generation) {
    text_stream_deinit(&generation->text);
    constrain_deinit(generation);
    call_reading_destroy(generation->calls);
    free(generation->beam_memory);
    held_destroy(generation->held);
    free(generation);
}

/* ---- handles, any thread ------------------------------------------------------------------------------------------- */

/** May it go to the scheduler? It decides who has a place in a full house, but whose tenant has half of it already has no claim to more
 *  (queue.h, ROOM): it need not wait for the step's end to be told. The mutex is held. */
static bool may_enter(const struct engine *engine, const struct generation *generation) {
    if (engine->alive < engine->alive_max) return true;
    if (engine->alive >= 2 * engine->alive_max) return false;
    int of_tenant = 0;
    for (const struct generation *other = engine->all; other != NULL; other = other->next)
        of_tenant += !other->ended && other->sequence.tenant_key == generation->sequence.tenant_key;
    return 2 * of_tenant < engine->alive_max;
}

/** Put it into the inbox and the list of all. `*out` is set first: events may come at once. */
static enum status enter_inbox(struct engine *engine, struct generation *generation, struct generation **out,
                               struct error *err) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&engine->mutex);
    if (engine->closing) {
        status = error_set(err, STATUS_UNAVAILABLE, "the engine is closing");
    } else if (!may_enter(engine, generation)) {
        status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "the engine's queue is full: %d generations run or wait",
                           engine->alive);
    } else {
        *out = generation;
        engine->alive++;
        generation->next = engine->all;
        if (engine->all != NULL) engine->all->previous = generation;
        engine->all = generation;
        if (engine->inbox_last != NULL)
            engine->inbox_last->inbox_next = generation;
        else
            engine->inbox = generation;
        engine->inbox_last = generation;
        engine->inbox_count++;
        pthread_cond_signal(&engine->wake);
    }
    pthread_mutex_unlock(&engine->mutex);
    return status;
}

enum status engine_submit(struct engine *engine, const struct generation_request *request, struct generation **out,
                          struct error *err) {
    TRY(check_request(engine, request, err));
    struct generation *generation = copy_request(request);
    if (generation == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    generation->engine = engine;
    generation->sequence.owner = request->grammar != NULL ? &constrained_owner : &owner;
    atomic_init(&generation->references, 2);
    enum status status =
        text_stream_init(&generation->text, engine->tokenizer, generation->text.stop, request->stop_count, err);
    if (status == STATUS_OK) text_stream_continue(&generation->text, request->prompt[request->prompt_count - 1]);
    if (status == STATUS_OK) status = constrain_init(generation, request, err);
    if (status == STATUS_OK) status = call_reading_create(request, &generation->calls, err);
    if (status == STATUS_OK && request->sampling.top_logprobs >= 0) {
        generation->held = held_create(request);
        if (generation->held == NULL) status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    if (status == STATUS_OK) status = add_beams(engine, request, generation, err);
    if (status == STATUS_OK) status = enter_inbox(engine, generation, out, err);
    if (status != STATUS_OK) generation_free(generation);
    return status;
}

void engine_cancel(struct engine *engine, struct generation *generation) {
    scheduler_cancel(engine->scheduler, &generation->sequence);
    engine_wake(engine);
}

void engine_pause(struct engine *engine, struct generation *generation) {
    scheduler_pause(engine->scheduler, &generation->sequence);
    engine_wake(engine); /* somebody may be waiting for its place */
}

void engine_resume(struct engine *engine, struct generation *generation) {
    scheduler_resume(engine->scheduler, &generation->sequence);
    engine_wake(engine);
}

void generation_unref(struct generation *generation) {
    if (atomic_fetch_sub(&generation->references, 1) != 1) return;
    struct engine *engine = generation->engine;
    pthread_mutex_lock(&engine->mutex);
    if (generation->previous != NULL)
        generation->previous->next = generation->next;
    else
        engine->all = generation->next;
    if (generation->next != NULL) generation->next->previous = generation->previous;
    pthread_mutex_unlock(&engine->mutex);
    generation_free(generation);
}

void engine_release(struct engine *engine, struct generation *generation) {
    (void)engine;
    generation_unref(generation);
}
