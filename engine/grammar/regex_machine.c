/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/regex_machine.h"

#include "base/text.h"
#include "engine/grammar/regex_mask.h"
#include "engine/grammar/utf8_steps.h"

#include <stdlib.h>
#include <string.h>

struct regex_machine {
    struct machine base;
    struct regex_pool *pool;
    regex language;
    struct regex_lengths lengths;
    struct regex_masks masks;
};

uint64_t regex_shortest_bytes(struct regex_pool *pool, regex value, struct bytes *out) {
    enum { CODE_POINT_BYTES = 4, WRITTEN_MAX = 1 << 14 };
    uint64_t length = regex_shortest(pool, value, NULL);
    if (length == REGEX_UNBOUNDED) return REGEX_NEVER;
    /* To write a long text only to measure it costs too much. */
    if (out == NULL && length > WRITTEN_MAX) return CODE_POINT_BYTES * length;
    struct bytes text;
    bytes_init(&text, CODE_POINT_BYTES * length + 1);
    uint64_t bytes = REGEX_NEVER;
    if (regex_shortest(pool, value, &text) != REGEX_UNBOUNDED && !text.failed) {
        bytes = text.length;
        if (out != NULL) (void)bytes_append(out, text.data, text.length);
    }
    bytes_deinit(&text);
    return bytes;
}

uint64_t regex_lengths_of(struct regex_lengths *lengths, struct regex_pool *pool, regex value) {
    struct regex_length *known = &lengths->entries[value % REGEX_LENGTHS];
    if (value == REGEX_NOTHING || value == REGEX_FAILED) return REGEX_NEVER;
    if (known->value == value) return known->bytes;
    uint64_t bytes = regex_shortest_bytes(pool, value, NULL);
    if (bytes != REGEX_NEVER) *known = (struct regex_length){value, bytes};
    return bytes;
}

/* Words of a state. */
enum { WORD_STATE, WORD_UNFINISHED };

static struct regex_machine *of(struct machine *machine) {
    return (struct regex_machine *)machine;
}

static void destroy(struct machine *machine) {
    regex_masks_deinit(&of(machine)->masks);
    regex_pool_destroy(of(machine)->pool);
    free(machine);
}

static enum machine_step start(struct machine *machine, struct frames *frames, struct machine_state *out) {
    (void)frames;
    *out = (struct machine_state){.word[WORD_STATE] = of(machine)->language};
    return MACHINE_LIVE;
}

static enum machine_step step(struct machine *machine, struct frames *frames, const struct machine_state *from,
                              uint8_t byte, struct machine_state *out) {
    (void)frames;
    struct regex_pool *pool = of(machine)->pool;
    regex state = (regex)from->word[WORD_STATE];
    uint32_t unfinished = (uint32_t)from->word[WORD_UNFINISHED], code_point, first, last;
    if (unfinished == 0 && byte < 0x80) {
        const regex *row = regex_row(pool, state); /* NULL: the budget */
        regex next = row == NULL ? REGEX_NOT_KNOWN : row[byte];
        if (next == REGEX_NOT_KNOWN) next = regex_step(pool, state, byte);
        if (next == REGEX_FAILED) return MACHINE_FAILED;
        if (next == REGEX_NOTHING) return MACHINE_DEAD;
        *out = (struct machine_state){.word[WORD_STATE] = next};
        return MACHINE_LIVE;
    }
    switch (utf8_step(&unfinished, byte, &code_point)) {
    case UTF8_INVALID:
        return MACHINE_DEAD;
    case UTF8_CODE_POINT:
        state = regex_step(pool, state, code_point);
        break;
    case UTF8_UNFINISHED:
        if (!utf8_range(unfinished, &first, &last) || !regex_live_in(pool, state, first, last)) return MACHINE_DEAD;
        break;
    }
    if (state == REGEX_FAILED) return MACHINE_FAILED;
    if (state == REGEX_NOTHING) return MACHINE_DEAD;
    *out = (struct machine_state){.word = {state, unfinished}};
    return MACHINE_LIVE;
}

static bool complete(struct machine *machine, const struct machine_state *state) {
    return state->word[WORD_UNFINISHED] == 0 && regex_accepts(of(machine)->pool, (regex)state->word[WORD_STATE]);
}

regex regex_finish_code_point(struct regex_pool *pool, regex state, uint32_t unfinished, uint8_t out_bytes[4],
                              uint32_t *out_count) {
    uint32_t first, last, to_come = unfinished >> 24 & 3;
    *out_count = 0;
    if (!utf8_range(unfinished, &first, &last) || !regex_live_in(pool, state, first, last)) return REGEX_NOTHING;
    while (first < last) {
        uint32_t middle = first + (last - first) / 2;
        if (regex_live_in(pool, state, first, middle))
            last = middle;
        else
            first = middle + 1;
    }
    uint8_t utf8[4];
    uint32_t length = (uint32_t)text_encode(first, utf8);
    *out_count = to_come;
    memcpy(out_bytes, utf8 + length - to_come, to_come);
    return regex_step(pool, state, first);
}

static uint64_t shortest(struct machine *machine, struct frames *frames, const struct machine_state *state,
                         uint64_t limit, struct bytes *out) {
    (void)frames;
    struct regex_pool *pool = of(machine)->pool;
    regex left = (regex)state->word[WORD_STATE];
    uint8_t finish[4];
    uint32_t finish_count = 0;
    if (state->word[WORD_UNFINISHED] != 0)
        left = regex_finish_code_point(pool, left, (uint32_t)state->word[WORD_UNFINISHED], finish, &finish_count);
    uint64_t bytes = regex_lengths_of(&of(machine)->lengths, pool, left);
    if (bytes == REGEX_NEVER || bytes + finish_count > limit) return limit + 1;
    if (out != NULL) {
        /* Failures show in the buffer's own flag. */
        (void)bytes_append(out, finish, finish_count);
        (void)regex_shortest_bytes(pool, left, out);
    }
    return bytes + finish_count;
}

static uint64_t signature(struct machine *machine, const struct machine_state *state) {
    (void)machine;
    /* Never 0: an expression that is alive is not REGEX_NOTHING. */
    return state->word[WORD_STATE] << 32 | state->word[WORD_UNFINISHED];
}

static bool fill(struct machine *machine, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask) {
    struct regex_machine *own = of(machine);
    return regex_mask(&own->masks, own->pool, walk->vocabulary, (regex)state->word[WORD_STATE],
                      (uint32_t)state->word[WORD_UNFINISHED], mask);
}

static const struct machine_operations OPERATIONS = {.destroy = destroy,
                                                     .start = start,
                                                     .step = step,
                                                     .complete = complete,
                                                     .shortest = shortest,
                                                     .signature = signature,
                                                     .fill = fill};

enum status regex_machine_create(struct regex_pool *pool, regex language, struct machine **out, struct error *err) {
    struct regex_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for a machine");
    machine->base.operations = &OPERATIONS;
    machine->pool = pool;
    machine->language = language;
    *out = &machine->base;
    return STATUS_OK;
}
