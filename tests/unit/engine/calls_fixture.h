/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Hand-made vocabularies with the control tokens of the layouts, and tools: for the tests, the fuzzer and the measurement of calls. */
#ifndef TESTS_UNIT_ENGINE_CALLS_FIXTURE_H
#define TESTS_UNIT_ENGINE_CALLS_FIXTURE_H

#include "base/arena.h"
#include "engine/grammar/calls.h"
#include "engine/tokenizer/tokenizer.h"

enum { FIXTURE_TOOLS = 5 };
struct calls_fixture {
    struct tokenizer *tokenizer;
    struct grammar_vocabulary *vocabulary;
    struct call_format *format;
    struct arena arena;
    struct call_tool tools[FIXTURE_TOOLS];
    const char *schemas[FIXTURE_TOOLS]; /* NULL: none */
};

/** `tags_are_control`: <tool_call> and <think> with their ends are control tokens, else plain ones that are also spelled by others. False: it went wrong. */
bool calls_fixture_init(struct calls_fixture *fixture, enum chat_calls layout, bool tags_are_control);
void calls_fixture_deinit(struct calls_fixture *fixture);
/** A schema's text, in the fixture's arena. */
const struct json_value *calls_fixture_json(struct calls_fixture *fixture, const char *text);

#endif
