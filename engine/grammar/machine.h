/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What every grammar engine offers: a pushdown machine over bytes, whose states are small values that share persistent frames.
 *
 *     state = { scalar part by value, frame * }          frame -> frame -> frame -> root      (never changed once made)
 *
 * A copy of the struct is a fork and an older copy is a rollback, both O(1): frames are only ever added, to the generation's frames
 * (struct frames), and all freed with it. Walks that only look (masks) set a mark first and drop what they added.
 *
 * Every state that step gives is live: some text leads from it to a complete one. What cannot be decided within the budget is an error, not a guess.
 */
#ifndef ENGINE_GRAMMAR_MACHINE_H
#define ENGINE_GRAMMAR_MACHINE_H

#include "base/bytes.h"
#include "base/status.h"
#include "engine/grammar/budget.h"

#include <stdint.h>

/** Memory of one generation's frames: bump allocation in chunks, with marks. */
struct frames_chunk;
struct frames {
    struct frames_chunk *chunk; /* the one that is being filled */
    size_t used;                /* bytes of it */
    size_t bytes, bytes_max;    /* of all chunks */
    uint64_t taken;             /* bytes that were ever asked for, those that were dropped included */
};
struct frames_mark {
    struct frames_chunk *chunk;
    size_t used;
};
void frames_init(struct frames *frames, size_t bytes_max);
void frames_deinit(struct frames *frames);
/** 16-aligned, not zeroed; NULL when bytes_max or the machine's memory is reached. */
void *frames_alloc(struct frames *frames, size_t bytes);
struct frames_mark frames_mark(const struct frames *frames);
/** Forget everything since the mark; chunks are kept for reuse. */
void frames_drop(struct frames *frames, struct frames_mark mark);

/** By value. What the words mean is the engine's own; equal states may differ in bytes. */
struct machine_state {
    const void *frame;
    uint64_t word[5];
    uint64_t outer; /* of a machine that runs others (calls_machine.c): they neither read it nor keep it */
};

enum machine_step { MACHINE_DEAD, MACHINE_LIVE, MACHINE_FAILED /* budget or memory: the generation cannot go on */ };

/**
 * Tokens (of a mask; some may not be admitted) that stay inside a string: of whole characters that stand for themselves, and any. Behind any character of them the shortest rest
 * is at most so many bytes longer than from where the string stands; with 0 it is the same.
 */
struct string_inside {
    const uint32_t *whole, *any; /* bitsets over token ids; `any` may be NULL */
    uint64_t more, more_any;
    bool ends_alike; /* what comes behind the quote that ends the string is the same whatever they say */
    uint64_t but[4]; /* not of tokens that begin with these bytes: bit byte % 64 of word byte / 64 */
    int16_t
        stands_for; /* -1, or a byte: all this is so of the state behind it, and of the others behind any byte but these */
};

struct machine;
struct mask_walk;
struct grammar_vocabulary;
struct machine_operations {
    void (*destroy)(struct machine *machine);
    enum machine_step (*start)(struct machine *machine, struct frames *frames, struct machine_state *out);
    enum machine_step (*step)(struct machine *machine, struct frames *frames, const struct machine_state *from,
                              uint8_t byte, struct machine_state *out); /* out may be from */
    /** The text may end here. */
    bool (*complete)(struct machine *machine, const struct machine_state *state);
    /** Bytes of a short rest of text that makes it complete, no more than `limit` are looked for (limit + 1: longer); appends that rest to `out` unless NULL. */
    uint64_t (*shortest)(struct machine *machine, struct frames *frames, const struct machine_state *state,
                         uint64_t limit, struct bytes *out);
    /**
     * A number that is equal for states with the same future (masks are remembered under it), or 0 when the engine has none for this state.
     */
    uint64_t (*signature)(struct machine *machine, const struct machine_state *state);
    /** The whole mask (ends of text left out), by an engine that knows more than mask_walk. NULL: mask_walk does it. False: budget or memory. */
    bool (*fill)(struct machine *machine, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask);
    /** Control tokens, which no byte spells: go on by this one; MACHINE_DEAD: it may not come here. NULL: none ever may. */
    enum machine_step (*control)(struct machine *machine, struct frames *frames, const struct machine_state *from,
                                 int32_t token, struct machine_state *out); /* out may be from */
    /** Set the bits of the control tokens that may come. NULL where `control` is. */
    void (*controls)(struct machine *machine, const struct machine_state *state, uint32_t *mask);
    /** `controls` would set one. NULL where `control` is. */
    bool (*awaits_control)(struct machine *machine, const struct machine_state *state);
    /** About as many bytes as `shortest` says or more, found faster. NULL: ask `shortest`. UINT64_MAX: no rest is known. */
    uint64_t (*estimate)(struct machine *machine, struct frames *frames, const struct machine_state *state);
    /** By how many bytes one token may make the shortest rest longer, about. NULL: by few. */
    uint64_t (*leap)(struct machine *machine);
    /** The state is inside a string of any text, or of any up to some length. NULL: never. */
    bool (*inside)(struct machine *machine, const struct grammar_vocabulary *vocabulary,
                   const struct machine_state *state, struct string_inside *out);
    /**
     * The state without what does not matter to its shortest rest: those of states that are alike then are equal. NULL: all matters.
     */
    void (*alike)(struct machine *machine, const struct machine_state *state, struct machine_state *out);
    /** `byte` begins nothing but other spellings of what other bytes begin: forced text does without it. NULL: it never does. */
    bool (*respells)(struct machine *machine, struct frames *frames, const struct machine_state *state, uint8_t byte);
};

/** First member of every engine's struct. One thread at a time. */
struct machine {
    const struct machine_operations *operations;
};

#endif
