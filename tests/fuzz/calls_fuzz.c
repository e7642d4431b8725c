/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of calls: any bytes and control tokens, of a layout and a choice that the first two bytes say. Nothing is lost, whatever the chunks; what the grammar admits is
 * read as calls whose arguments are JSON.
 *
 *     0xff k    control token k % 13 (where the vocabulary has but nine, the others are plain: they are left out)
 *     0xfe      what came is given to the reader at once, and its output is looked at
 */
#include "tests/unit/engine/calls_fixture.h"

#include <stdlib.h>
#include <string.h>

#define MUST(condition)            \
    do {                           \
        if (!(condition)) abort(); \
    } while (0)

enum { LAYOUTS = 6, CHOICES = 5, CONTROLS = 13, CONTROL = 0xff, LOOK = 0xfe };
static const enum chat_calls layouts[LAYOUTS] = {CHAT_CALLS_LIST, CHAT_CALLS_ID,   CHAT_CALLS_ARGUMENTS,
                                                 CHAT_CALLS_TAGS, CHAT_CALLS_TAGS, CHAT_CALLS_PARAMETERS};

/** Compiled once: the fuzzer is about reading. */
static struct calls_fixture fixtures[LAYOUTS];
static struct grammar *grammars[LAYOUTS][CHOICES];

static struct grammar *grammar_of(int layout, int choice, struct calls_fixture **out) {
    struct calls_fixture *fixture = &fixtures[layout];
    struct call_problem problem;
    *out = fixture;
    if (fixture->format == NULL) MUST(calls_fixture_init(fixture, layouts[layout], layout == 4));
    if (grammars[layout][choice] != NULL) return grammars[layout][choice];
    bool with_content = choice == CHOICES - 1; /* a schema of the content, beside the tools */
    struct call_request request = {.tools = fixture->tools,
                                   .tool_count = FIXTURE_TOOLS,
                                   .choice = with_content ? CALL_CHOICE_AUTO : (enum call_choice)choice,
                                   .parallel = true};
    if (with_content) request.content = calls_fixture_json(fixture, "{\"type\": [\"object\", \"string\", \"number\"]}");
    MUST(calls_compile(fixture->format, &request, &grammars[layout][choice], &problem) == STATUS_OK);
    return grammars[layout][choice];
}

static void hear(struct call_reader *reader, struct bytes *content, struct bytes *thought, struct bytes *calls) {
    const struct call_output *output = call_reader_output(reader);
    (void)bytes_append(content, output->content.data, output->content.length);
    (void)bytes_append(thought, output->thought.data, output->thought.length);
    for (size_t i = 0; i < output->call_count; i++) {
        const struct call_made *call = &output->calls[i];
        MUST(strlen(call->id) == CALL_ID_BYTES && call->tool < FIXTURE_TOOLS && call->arguments.length >= 2);
        (void)bytes_append(calls, call->name.data, call->name.length);
        (void)bytes_append(calls, call->arguments.data, call->arguments.length);
        (void)bytes_append(calls, call->id, CALL_ID_BYTES);
    }
    call_reader_clear(reader);
}

/** Read `data`; `steps`: one byte at a time, looking each time. */
static void read_all(struct grammar *grammar, const struct tokenizer *tokenizer, const uint8_t *data, size_t size,
                     bool steps, struct bytes out[3], bool *cut) {
    struct error err = {0};
    struct call_reader *reader;
    MUST(call_reader_create(grammar, 1, &reader, &err) == STATUS_OK);
    for (int i = 0; i < 3; i++) bytes_init(&out[i], 16 << 20);
    for (size_t at = 0; at < size;) {
        size_t end = at;
        if (data[at] == CONTROL) {
            int32_t token = at + 1 < size ? data[at + 1] % CONTROLS : 0;
            if (tokenizer_is_control(tokenizer, token))
                MUST(call_reader_push_control(reader, token, &err) == STATUS_OK);
            at += 2;
            continue;
        }
        if (data[at] == LOOK) {
            hear(reader, &out[0], &out[1], &out[2]);
            at++;
            continue;
        }
        while (end < size && data[end] != CONTROL && data[end] != LOOK && (!steps || end == at)) end++;
        MUST(call_reader_push(reader, bytes_view_of(data + at, end - at), &err) == STATUS_OK);
        if (steps) hear(reader, &out[0], &out[1], &out[2]);
        at = end;
    }
    MUST(call_reader_finish(reader, &err) == STATUS_OK);
    *cut = call_reader_output(reader)->cut;
    hear(reader, &out[0], &out[1], &out[2]);
    call_reader_destroy(reader);
}

/** The grammar takes all of it, and it may end there. */
static bool admitted(struct grammar *grammar, const struct tokenizer *tokenizer, const uint8_t *data, size_t size) {
    struct error err = {0};
    struct grammar_session *session;
    struct grammar_state state;
    bool accepted = true;
    MUST(grammar_session_create(grammar, &session, &err) == STATUS_OK);
    MUST(grammar_start(session, &state, &err) == STATUS_OK);
    for (size_t at = 0; accepted && at < size; at++) {
        if (data[at] == LOOK) continue;
        if (data[at] == CONTROL) {
            int32_t token = ++at < size ? data[at] % CONTROLS : 0;
            if (!tokenizer_is_control(tokenizer, token)) continue;
            MUST(grammar_accept(session, &state, token, &accepted, &err) == STATUS_OK);
            accepted &= token != 2; /* the end of the text */
        } else {
            MUST(grammar_accept_bytes(session, &state, bytes_view_of(data + at, 1), &accepted, &err) == STATUS_OK);
        }
    }
    accepted = accepted && grammar_complete(session, &state);
    grammar_session_destroy(session);
    return accepted;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 4096) return 0;
    struct calls_fixture *fixture;
    int choice = data[1] % CHOICES;
    struct grammar *grammar = grammar_of(data[0] % LAYOUTS, choice, &fixture);
    struct bytes whole[3], steps[3];
    bool whole_cut, steps_cut;
    data += 2;
    size -= 2;
    read_all(grammar, fixture->tokenizer, data, size, false, whole, &whole_cut);
    read_all(grammar, fixture->tokenizer, data, size, true, steps, &steps_cut);
    MUST(whole_cut == steps_cut);
    for (int i = 0; i < 3; i++) MUST(bytes_view_equal(bytes_view(&whole[i]), bytes_view(&steps[i])));
    if (admitted(grammar, fixture->tokenizer, data, size)) {
        MUST(!whole_cut);
        MUST(choice < CALL_CHOICE_REQUIRED || choice == CHOICES - 1 || (whole[0].length == 0 && whole[2].length > 0));
        MUST(choice != CHOICES - 1 || (whole[0].length > 0) != (whole[2].length > 0));
        MUST(choice != CALL_CHOICE_NONE || whole[2].length == 0);
    }
    for (int i = 0; i < 3; i++) {
        bytes_deinit(&whole[i]);
        bytes_deinit(&steps[i]);
    }
    return 0;
}
