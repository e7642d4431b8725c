/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any text as a JSON Schema: it is declined with a sentence, or every state of random walks through it goes on by some byte or may end. */
#include "base/json.h"
#include "base/random.h"
#include "engine/grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

enum { WALKS = 3, STEPS = 80, TRIES = 24, DEPTH_MAX = 200 };

static const char LIKELY[] = "\"\"{}[],:0123456789abtfnrulsekx-.\\";

/** One byte on; false: there is none. *failed: the budget is spent. */
static bool go_on(struct grammar_session *session, struct grammar_state *state, uint64_t seed, uint64_t *position,
                  bool *failed) {
    struct error err = {0};
    for (int k = 0; k < TRIES + 256; k++) {
        uint64_t draw = k < TRIES ? random_philox(seed, (*position)++, 0) : 0;
        uint8_t byte = k < TRIES ? (uint8_t)LIKELY[(draw >> 8) % (sizeof LIKELY - 1)] : (uint8_t)(k - TRIES);
        bool accepted;
        *failed = grammar_accept_bytes(session, state, bytes_view_of(&byte, 1), &accepted, &err) != STATUS_OK;
        if (*failed || accepted) return !*failed;
    }
    return false;
}

static void walk(struct grammar *grammar, uint64_t seed) {
    struct grammar_session *session;
    struct grammar_state state;
    struct error err = {0};
    uint64_t position = 0;
    bool failed = false;
    if (grammar_session_create(grammar, &session, &err) != STATUS_OK) return;
    bool live = grammar_start(session, &state, &err) == STATUS_OK;
    for (int i = 0; i < STEPS && live; i++) {
        live = go_on(session, &state, seed, &position, &failed);
        if (!live && !failed && !grammar_complete(session, &state)) abort();
    }
    grammar_session_destroy(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct json_value *schema;
    struct json_problem wrong;
    arena_init(&arena, 16 << 20);
    if (json_read(bytes_view_of(data, size), DEPTH_MAX, 1 << 16, &arena, &schema, &wrong) == STATUS_OK) {
        struct grammar_options options = {
            .space = GRAMMAR_SPACE_COMPACT, .order = size % 2 == 0, .spelling = size / 2 % 2 == 0, .fuel = 100000};
        struct grammar_problem problem;
        struct grammar *grammar;
        if (grammar_compile_schema(NULL, schema, &options, &grammar, &problem) == STATUS_OK) {
            for (uint64_t seed = 0; seed < WALKS; seed++) walk(grammar, seed);
            grammar_unref(grammar);
        } else if (problem.reason[0] == '\0') {
            abort();
        }
    }
    arena_deinit(&arena);
    return 0;
}
