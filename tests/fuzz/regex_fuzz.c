/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Any pattern, within its budget: it ends in an error with words, or in a language all of whose states are live: from wherever a walk comes there is a way to a text that
 * the language has. The first byte is flags, the second steers the walk; a byte 0xFF parts two patterns, of which the second is taken away from the first. */
#include "engine/grammar/regex.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { FUEL = 200000, BYTES = 32 << 20, STEPS = 24, TEXT_MAX = 1 << 20 };

static struct grammar_budget budget;

static regex parse(struct regex_pool *pool, struct bytes_view pattern, uint8_t flags) {
    struct error err = {0};
    regex r = REGEX_FAILED;
    enum status status = regex_parse(pool, pattern, flags & 15, &r, &err);
    if (status == STATUS_OK) return r;
    if (err.message[0] == 0 || r != REGEX_FAILED) abort();
    if (status != STATUS_INVALID_ARGUMENT && status != STATUS_UNIMPLEMENTED && status != STATUS_RESOURCE_EXHAUSTED)
        abort();
    return REGEX_FAILED;
}

/** What was walked and the shortest way on are a text of the language. */
static void check_way_out(struct regex_pool *pool, regex whole, regex state, struct bytes *text) {
    size_t length = text->length;
    uint32_t least = regex_shortest(pool, state, NULL);
    if (budget_exhausted(&budget)) return;
    if (least == REGEX_UNBOUNDED) abort();
    if (least > TEXT_MAX / 8) return;
    uint32_t rest = regex_shortest(pool, state, text);
    if (budget_exhausted(&budget)) return;
    if (rest != least || text->failed) abort();
    bool matches = regex_matches(pool, whole, bytes_view(text));
    if (!matches && !budget_exhausted(&budget)) abort();
    text->length = length;
}

static void walk(struct regex_pool *pool, regex r, uint32_t seed) {
    static const uint32_t others[] = {0xE9, 0x17F, 0x3B1, 0x4E2D, 0x1F432, 0x2028};
    struct bytes text;
    bytes_init(&text, TEXT_MAX);
    regex state = r;
    for (int i = 0; i < STEPS && state != REGEX_NOTHING; i++) {
        uint8_t encoded[4];
        check_way_out(pool, r, state, &text);
        uint32_t c = 0;
        regex next = REGEX_NOTHING;
        for (uint32_t tries = 0; next == REGEX_NOTHING && tries < 134; tries++) {
            seed = seed * 1664525 + 1013904223;
            c = (seed >> 8) % 134;
            c = c < 128 ? c : others[c - 128];
            next = regex_step(pool, state, c);
        }
        if (next == REGEX_FAILED || budget_exhausted(&budget)) break;
        if (next != REGEX_NOTHING) (void)bytes_append(&text, encoded, text_encode(c, encoded));
        state = next;
    }
    bytes_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    const uint8_t *pattern = data + 2, *end = memchr(pattern, 0xFF, size - 2);
    struct bytes_view first = bytes_view_of(pattern, end != NULL ? (size_t)(end - pattern) : size - 2), second = {0};
    if (end != NULL) second = bytes_view_of(end + 1, (size_t)(data + size - end - 1));
    budget = (struct grammar_budget){.fuel = FUEL, .bytes = BYTES};
    struct regex_pool *pool = NULL;
    struct error err = {0};
    if (regex_pool_create(&budget, &pool, &err) != STATUS_OK) return 0;
    regex r = parse(pool, first, data[0]);
    if (r != REGEX_FAILED && end != NULL) r = regex_and(pool, r, regex_not(pool, parse(pool, second, data[0])));
    if (r != REGEX_FAILED) {
        walk(pool, r, data[1]);
        (void)regex_count(pool, r, 1000);
    }
    regex_pool_destroy(pool);
    return 0;
}
