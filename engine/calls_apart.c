/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that may hold calls of tools:
 *
 *     id -> detokenizer -> call_reader --content--> text stream (stop strings) -> event
 *                                     `--calls, thoughts------------------------> event
 */
#include "engine/engine_internal.h"
#include "engine/grammar/calls.h"

#include <stdlib.h>

struct call_reading {
    struct call_reader *reader;
    struct grammar *grammar; /* referenced */
    uint64_t seed;
    struct bytes begun;   /* the text that the answer goes on with, as far as the grammar counts it in */
    struct bytes scratch; /* a token's text */
    size_t streamed;      /* bytes of the reader's content that the stream has */
    size_t
        begun_held; /* bytes of `begun` that the reader holds back: were they content after all, they have been told before */
    size_t made; /* calls that have been told of */
};

/** The reader, behind what was there before the answer. */
static enum status open_reader(struct call_reading *reading, uint64_t seed, struct error *err) {
    TRY(call_reader_create(reading->grammar, seed, &reading->reader, err));
    TRY(call_reader_push(reading->reader, bytes_view(&reading->begun), err));
    call_reader_clear(reading->reader);
    reading->streamed = 0;
    reading->begun_held = call_reader_held(reading->reader);
    return STATUS_OK;
}

/** Ids must differ from those of the turns before, whose seed may be the same: their prompts are others. */
static uint64_t seed_of(const struct generation_request *request) {
    uint64_t hash = 0xcbf29ce484222325 ^ request->sampling.seed; /* FNV-1a, 64 bits */
    for (size_t i = 0; i < request->prompt_count; i++) hash = (hash ^ (uint32_t)request->prompt[i]) * 0x100000001b3;
    return hash;
}

enum status call_reading_create(const struct generation_request *request, struct call_reading **out,
                                struct error *err) {
    *out = NULL;
    if (!request->calls) return STATUS_OK;
    struct call_reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    reading->grammar = grammar_ref(request->grammar);
    reading->seed = seed_of(request);
    bytes_init(&reading->begun, LIMIT_ANSWER_BYTES);
    bytes_init(&reading->scratch, LIMIT_ANSWER_BYTES);
    *out = reading;
    if (bytes_append(&reading->begun, request->begun.data, request->begun.length) != STATUS_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    return open_reader(reading, reading->seed, err);
}

void call_reading_destroy(struct call_reading *reading) {
    if (reading == NULL) return;
    call_reader_destroy(reading->reader);
    grammar_unref(reading->grammar);
    bytes_deinit(&reading->begun);
    bytes_deinit(&reading->scratch);
    free(reading);
}

/** What is new of the content goes to the stream. */
static enum status stream_content(struct call_reading *reading, struct text_stream *text) {
    const struct bytes *content = &call_reader_output(reading->reader)->content;
    size_t from = reading->streamed;
    if (content->length == from) return STATUS_OK;
    reading->streamed = content->length;
    size_t old = content->length - from < reading->begun_held ? content->length - from : reading->begun_held;
    reading->begun_held -= old;
    return text_stream_push_text(text, bytes_view_of(content->data + from + old, content->length - from - old));
}

enum status call_reading_push(struct call_reading *reading, struct text_stream *text, int32_t id) {
    struct error err = {0};
    const struct tokenizer *tokenizer = text->detokenizer.tokenizer;
    if (text->stopped) return STATUS_OK;
    if (tokenizer_is_control(tokenizer, id)) {
        TRY(call_reader_push_control(reading->reader, id, &err));
    } else {
        bytes_reset(&reading->scratch);
        TRY(detokenizer_push(&text->detokenizer, id, &reading->scratch));
        TRY(call_reader_push(reading->reader, bytes_view(&reading->scratch), &err));
    }
    return stream_content(reading, text);
}

enum status call_reading_finish(struct call_reading *reading, struct text_stream *text) {
    struct error err = {0};
    if (text->stopped) return STATUS_OK;
    bytes_reset(&reading->scratch);
    TRY(detokenizer_finish(&text->detokenizer, &reading->scratch));
    TRY(call_reader_push(reading->reader, bytes_view(&reading->scratch), &err));
    TRY(call_reader_finish(reading->reader, &err));
    return stream_content(reading, text);
}

enum status call_reading_restart(struct call_reading *reading, int answer) {
    struct error err = {0};
    call_reader_destroy(reading->reader);
    reading->reader = NULL;
    reading->made = 0;
    /* Calls of several answers have ids of their own. */
    return open_reader(reading, reading->seed ^ (uint64_t)answer << 56, &err);
}

void call_reading_tell(const struct call_reading *reading, struct generation_event *event) {
    const struct call_output *output = call_reader_output(reading->reader);
    event->calls = output->calls;
    /* The branches of a search are read when they have ended: they may hold more than a message. */
    size_t left = reading->made < LIMIT_TOOLS ? LIMIT_TOOLS - reading->made : 0;
    event->call_count = output->call_count < left ? output->call_count : left;
    event->thought = bytes_view(&output->thought);
}

void call_reading_told(struct call_reading *reading) {
    reading->made += call_reader_output(reading->reader)->call_count;
    call_reader_clear(reading->reader);
    reading->streamed = 0;
}

size_t call_reading_count(const struct call_reading *reading) {
    return reading->made + call_reader_output(reading->reader)->call_count;
}

bool call_reading_is_whole(const struct call_reading *reading, bool complete) {
    bool called = call_reading_count(reading) > 0 && !call_reader_output(reading->reader)->cut;
    return called || (complete && call_reader_in_value(reading->reader));
}

size_t call_reading_held(const struct call_reading *reading) {
    return call_reader_held(reading->reader);
}
