/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * States of the Earley machine.
 *
 *     state = set of threads (scan_sets.h), complete or not, unfinished UTF-8, frame
 *     frame = slot -> origins         what the slots of the threads mean, and the closure that gave it
 *     origins = rows at which a rule may have begun
 *     row   = symbol -> who waits for it: (state behind the call, origin)
 *
 * Bytes inside terminals change the set only. Where terminals end, a closure is computed from what ended, and a frame and a row are made; where the same ended as
 * in the frame before (a letter of an identifier, a digit), that closure is taken again.
 */
#ifndef ENGINE_GRAMMAR_EARLEY_INTERNAL_H
#define ENGINE_GRAMMAR_EARLEY_INTERNAL_H

#include "engine/grammar/earley.h"
#include "engine/grammar/earley_tables.h"
#include "engine/grammar/regex_machine.h"
#include "engine/grammar/scan_sets.h"
#include "engine/grammar/state_masks.h"

struct earley_row;

/** Who waits: `state` goes on, in a rule that began at `origin` (NULL: before the text). */
struct earley_wait {
    uint32_t state;
    const struct earley_row *origin;
};
/** Those who wait for one symbol. */
struct earley_group {
    uint32_t symbol, first, count;
    uint32_t best;   /* the wait behind which the text ends soonest */
    uint64_t finish; /* in that many bytes */
    /* Where one waits, whose rule ends with that: the symbol that ends then, and where it began, as far up as this goes on. NULL: not so. */
    const struct earley_row *leo_row;
    uint32_t leo_symbol;
    /* A row where the symbol began, too, and ends whenever it ends here: an older one; NULL: none. */
    const struct earley_row *above;
};
struct earley_origins {
    uint64_t hash; /* equal for those that mean the same */
    uint32_t count;
    const struct earley_row *const *rows; /* by address */
};
struct earley_row {
    struct earley_origins single; /* of this row alone */
    const struct earley_row *itself;
    uint32_t group_count;
    struct earley_wait *waits;
    struct earley_group groups[]; /* by symbol */
};
struct earley_ended {
    uint32_t state;
    const struct earley_origins *origins;
};
struct earley_begun {
    regex terminal;
    uint32_t state; /* behind it */
    const struct earley_origins *origins;
};
/** What follows from terminals that ended at one place. */
struct earley_closure {
    bool complete;
    uint32_t ended_count, begun_count;
    const struct earley_ended *ended; /* by state */
    struct earley_begun *begun;       /* by terminal and state */
};

struct earley_frame {
    const struct earley_closure *closure;
    /* It was made of the threads `scanned` that went on, in terms of the slots of `previous`; all threads are `threads`, in terms of its own slots. */
    const struct earley_frame *previous;
    uint32_t scanned, threads;
    /* The sets that mean the same scanned threads, and the same ends, in its own slots, once they are known; 0: not yet. So a frame can be taken again. */
    uint32_t again_threads, again_ends;
    uint64_t hash;
    uint32_t slot_count;
    const struct earley_origins *slots[];
};

/* Words of a machine_state. */
enum { EARLEY_WORD_THREADS, EARLEY_WORD_COMPLETE, EARLEY_WORD_UNFINISHED };

/* A way on where terminals end, as one mask's walk found it. */
struct earley_passed {
    uint64_t walk; /* in which one */
    const struct earley_frame *frame, *to;
    uint32_t transition, to_threads;
};
enum { EARLEY_PASSED = 1 << 10 };
/* What is remembered of masks. */
struct earley_masks {
    struct state_masks known;
    struct free_texts of_sets, of_expressions;
    uint64_t walk;                /* how many there were */
    struct earley_passed *passed; /* [EARLEY_PASSED] by hash; NULL: not asked yet */
};

struct earley_item {
    uint32_t state;
    const struct earley_row *origin;
};
struct earley_waiting {
    uint32_t symbol, state;
    const struct earley_row *origin;
};
struct earley_thread {
    regex terminal;
    uint32_t state;
    const struct earley_row *origin;
};
/* earley_group.above of the row that is being made. */
struct earley_above {
    uint32_t symbol;
    const struct earley_row *row;
};

struct earley_machine {
    struct machine base;
    struct earley_masks masks;
    struct grammar_budget *budget;
    struct regex_pool *pool;
    struct earley_tables tables;
    struct scan_sets sets;
    /* What one closure works with. */
    struct earley_item *items;
    struct earley_waiting *waiting;
    struct earley_thread *threads;
    struct earley_ended *ended;
    struct scan_thread *slotted;
    const struct earley_row **rows;
    bool *covered; /* of them */
    struct earley_waiting *flat;
    struct earley_above *aboves;
    const struct earley_origins **slots;
    uint64_t *item_table; /* hash table: the closure's number << 32 | item */
    uint32_t *predicted;  /* the closure in which each symbol was predicted last */
    struct regex_lengths lengths;
    uint32_t item_count, waiting_count, thread_count, ended_count;
    uint32_t item_capacity, waiting_capacity, thread_capacity, ended_capacity, slotted_capacity, row_capacity,
        covered_capacity, flat_capacity, above_capacity, above_count;
    uint32_t slot_capacity, item_slots;
    uint32_t closures; /* so far */
    uint32_t visits;   /* of this step: it is given up at EARLEY_VISITS_MAX */
};

/**
 * Items and waits that one byte may cost: 2 to 5 ms. A step of more than EARLEY_VISITS_FREE (typical grammars have 10 to 100) is paid for by fuel. One mask may
 * cost EARLEY_MASK_VISITS_MAX of all steps together: 15 to 35 ms, typical are 1,000.
 */
enum {
    EARLEY_VISITS_MAX = 1 << 17,
    EARLEY_VISITS_FREE = 1 << 10,
    EARLEY_VISITS_OF_FUEL = 16,
    EARLEY_MASK_VISITS_MAX = 1 << 20
};
/** Stands for the row that is being made. */
extern const struct earley_row earley_self;
/** The origin NULL, alone. */
extern const struct earley_origins earley_outside;

/** The closure of `ended` (sorted by state). NULL: the budget, or the frames' memory. */
const struct earley_closure *earley_close(struct earley_machine *machine, struct frames *frames,
                                          const struct earley_ended *ended, uint32_t count);
/** The frame of `closure` together with the threads `scanned` of `previous`. NULL as above. */
const struct earley_frame *earley_make_frame(struct earley_machine *machine, struct frames *frames,
                                             const struct earley_closure *closure, const struct earley_frame *previous,
                                             uint32_t scanned);
bool earley_origins_equal(const struct earley_origins *a, const struct earley_origins *b);
/**
 * The set of the rows, `count` > 0, at which `symbol` began; they are sorted here. A row is left out where another one covers it: where the symbol's end there is its end
 * here as well. So in e ::= e "+" e, and in s ::= s s, sets stay small, however long the text is. NULL: the budget, or the frames' memory.
 */
const struct earley_origins *earley_make_origins(struct earley_machine *machine, struct frames *frames,
                                                 const struct earley_row **rows, uint32_t count, uint32_t symbol);
/** Both. NULL as above. */
const struct earley_origins *earley_join_origins(struct earley_machine *machine, struct frames *frames,
                                                 const struct earley_origins *a, const struct earley_origins *b,
                                                 uint32_t symbol);

/** The row of machine->waiting, whose symbols are all predicted. */
const struct earley_row *earley_make_row(struct earley_machine *machine, struct frames *frames);
/** Who waits for `symbol` at `row`; somebody does. */
const struct earley_group *earley_group(const struct earley_row *row, uint32_t symbol);

/**
 * A byte in a set of threads: MACHINE_LIVE with *unfinished (before: bytes of a character so far) not 0, and the set stays; or with the transition that the character
 * takes, which earley_go_on goes.
 */
enum machine_step earley_scan(struct earley_machine *machine, uint32_t set, uint8_t byte, uint32_t *unfinished,
                              uint32_t *out_code_point, uint32_t *out_transition);
enum machine_step earley_go_on(struct earley_machine *machine, struct frames *frames, const struct earley_frame *frame,
                               uint32_t transition, struct machine_state *out);
uint64_t earley_signature(struct machine *machine, const struct machine_state *state);
bool earley_mask(struct machine *machine, struct mask_walk *walk, const struct machine_state *state, uint32_t *mask);
void earley_masks_deinit(struct earley_masks *masks);

uint64_t earley_shortest(struct machine *machine, struct frames *frames, const struct machine_state *state,
                         uint64_t limit, struct bytes *out);

#endif
