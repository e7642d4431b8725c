/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/earley.h"

#include "engine/grammar/earley_internal.h"
#include "engine/grammar/growing.h"
#include "engine/grammar/regex_machine.h"
#include "engine/grammar/utf8_steps.h"

static struct earley_machine *of(struct machine *machine) {
    return (struct earley_machine *)machine;
}

static void destroy(struct machine *base) {
    struct earley_machine *machine = of(base);
    scan_sets_deinit(&machine->sets);
    earley_tables_deinit(&machine->tables);
    earley_masks_deinit(&machine->masks);
    regex_pool_destroy(machine->pool);
    free(machine->items);
    free(machine->waiting);
    free(machine->threads);
    free(machine->ended);
    free(machine->slotted);
    free(machine->rows);
    free(machine->covered);
    free(machine->flat);
    free(machine->aboves);
    free(machine->slots);
    free(machine->item_table);
    free(machine->predicted);
    free(machine);
}

static void set_state(struct machine_state *state, const struct earley_frame *frame) {
    *state = (struct machine_state){.frame = frame, .word = {frame->threads, frame->closure->complete}};
}

static bool pay_visits(struct earley_machine *machine) {
    return machine->visits <= EARLEY_VISITS_FREE ||
           budget_spend(machine->budget, machine->visits / EARLEY_VISITS_OF_FUEL);
}

/* It was the budget, the frames' memory, or too many visits. */
static enum machine_step give_up(struct earley_machine *machine) {
    if (machine->visits > EARLEY_VISITS_MAX) machine->budget->ambiguous = true;
    return MACHINE_FAILED;
}

static enum machine_step start(struct machine *base, struct frames *frames, struct machine_state *out) {
    struct earley_machine *machine = of(base);
    struct earley_ended ended = {machine->tables.start, &earley_outside};
    machine->visits = 0;
    const struct earley_closure *closure = earley_close(machine, frames, &ended, 1);
    const struct earley_frame *frame = closure == NULL ? NULL : earley_make_frame(machine, frames, closure, NULL, 0);
    if (frame == NULL || !pay_visits(machine)) return give_up(machine);
    set_state(out, frame);
    return MACHINE_LIVE;
}

/* The ends as states and what their slots mean, into machine->ended; the ends of one state joined. Returns how many; UINT32_MAX: the budget. */
static uint32_t read_ends(struct earley_machine *machine, struct frames *frames, const struct earley_frame *frame,
                          uint32_t set) {
    uint32_t count, kept = 0;
    const struct scan_end *ends = scan_set_ends(&machine->sets, set, &count);
    if (!growing_reserve(machine->budget, &machine->ended, &machine->ended_capacity, count, sizeof *machine->ended))
        return UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct earley_origins *origins = frame->slots[ends[i].slot];
        if (kept > 0 && machine->ended[kept - 1].state == ends[i].state) {
            origins = earley_join_origins(machine, frames, machine->ended[kept - 1].origins, origins,
                                          machine->tables.states[ends[i].state].owner);
            if (origins == NULL) return UINT32_MAX;
            machine->ended[kept - 1].origins = origins;
        } else {
            machine->ended[kept++] = (struct earley_ended){ends[i].state, origins};
        }
    }
    return kept;
}

static bool same_ends(const struct earley_machine *machine, uint32_t count, const struct earley_closure *closure) {
    if (count != closure->ended_count) return false;
    for (uint32_t i = 0; i < count; i++)
        if (machine->ended[i].state != closure->ended[i].state ||
            !earley_origins_equal(machine->ended[i].origins, closure->ended[i].origins))
            return false;
    return true;
}

/* Do the threads `set` of `frame` mean what it was made of? */
static bool same_scanned(const struct earley_machine *machine, const struct earley_frame *frame, uint32_t set) {
    uint32_t count, made_count;
    const struct scan_thread *threads = scan_set_threads(&machine->sets, set, &count);
    const struct scan_thread *made = scan_set_threads(&machine->sets, frame->scanned, &made_count);
    if (count != made_count) return false;
    for (uint32_t i = 0; i < count; i++)
        if (threads[i].left != made[i].left || threads[i].state != made[i].state ||
            !earley_origins_equal(frame->slots[threads[i].slot], frame->previous->slots[made[i].slot]))
            return false;
    return true;
}

/* Terminals end: the frame is the same where the same ended as when it was made, and the same goes on. */
static enum machine_step end_terminals(struct earley_machine *machine, struct frames *frames,
                                       struct earley_frame *frame, struct scan_transition transition,
                                       struct machine_state *out) {
    const struct earley_closure *closure = frame->closure;
    const struct earley_frame *made = frame;
    machine->visits = 0;
    if (frame->again_ends != transition.ends) {
        uint32_t count = read_ends(machine, frames, frame, transition.ends);
        if (count == UINT32_MAX) return MACHINE_FAILED;
        if (same_ends(machine, count, closure))
            frame->again_ends = transition.ends;
        else
            closure = earley_close(machine, frames, machine->ended, count);
        if (closure == NULL) return give_up(machine);
    }
    if (closure == frame->closure && frame->again_threads != transition.threads &&
        same_scanned(machine, frame, transition.threads))
        frame->again_threads = transition.threads;
    if (closure != frame->closure || frame->again_threads != transition.threads) {
        made = earley_make_frame(machine, frames, closure, frame, transition.threads);
        if (made == NULL || !pay_visits(machine)) return give_up(machine);
    }
    set_state(out, made);
    return MACHINE_LIVE;
}

enum machine_step earley_scan(struct earley_machine *machine, uint32_t set, uint8_t byte, uint32_t *unfinished,
                              uint32_t *out_code_point, uint32_t *out_transition) {
    struct scan_sets *sets = &machine->sets;
    uint32_t transition = SCAN_UNKNOWN, first, last;
    bool failed = false;
    *out_code_point = byte;
    if (*unfinished == 0 && byte < 0x80) {
        if (sets->sets[set].ascii != NULL) transition = sets->sets[set].ascii[byte];
    } else {
        switch (utf8_step(unfinished, byte, out_code_point)) {
        case UTF8_INVALID:
            return MACHINE_DEAD;
        case UTF8_CODE_POINT:
            break;
        case UTF8_UNFINISHED:
            if (utf8_range(*unfinished, &first, &last) &&
                scan_sets_live_in(sets, set, *unfinished, first, last, &failed))
                return MACHINE_LIVE;
            return failed ? MACHINE_FAILED : MACHINE_DEAD;
        }
    }
    if (transition == SCAN_UNKNOWN) transition = scan_sets_step(sets, set, *out_code_point);
    if (transition == SCAN_UNKNOWN) return MACHINE_FAILED;
    *out_transition = transition;
    return transition == SCAN_DEAD ? MACHINE_DEAD : MACHINE_LIVE;
}

enum machine_step earley_go_on(struct earley_machine *machine, struct frames *frames, const struct earley_frame *frame,
                               uint32_t transition, struct machine_state *out) {
    struct scan_transition it = machine->sets.transitions[transition];
    /* A frame remembers what it would be taken again for: the only thing in it that changes, and it means nothing else. */
    if (it.ends != 0) return end_terminals(machine, frames, (struct earley_frame *)(uintptr_t)frame, it, out);
    *out = (struct machine_state){.frame = frame, .word = {it.threads}};
    return MACHINE_LIVE;
}

static enum machine_step step(struct machine *base, struct frames *frames, const struct machine_state *from,
                              uint8_t byte, struct machine_state *out) {
    uint32_t set = (uint32_t)from->word[EARLEY_WORD_THREADS], code_point, transition;
    uint32_t unfinished = (uint32_t)from->word[EARLEY_WORD_UNFINISHED];
    enum machine_step scanned = earley_scan(of(base), set, byte, &unfinished, &code_point, &transition);
    if (scanned != MACHINE_LIVE) return scanned;
    if (unfinished == 0) return earley_go_on(of(base), frames, from->frame, transition, out);
    *out = (struct machine_state){.frame = from->frame, .word = {set, 0, unfinished}};
    return MACHINE_LIVE;
}

static bool complete(struct machine *base, const struct machine_state *state) {
    (void)base;
    return state->word[EARLEY_WORD_COMPLETE] != 0;
}

uint64_t earley_signature(struct machine *base, const struct machine_state *state) {
    (void)base;
    const struct earley_frame *frame = state->frame;
    uint64_t hash = scan_mix(frame->hash, state->word[EARLEY_WORD_THREADS] << 1 | state->word[EARLEY_WORD_COMPLETE]);
    hash = scan_mix(hash, state->word[EARLEY_WORD_UNFINISHED]);
    return hash == 0 ? 1 : hash;
}

static const struct machine_operations OPERATIONS = {.destroy = destroy,
                                                     .start = start,
                                                     .step = step,
                                                     .complete = complete,
                                                     .shortest = earley_shortest,
                                                     .signature = earley_signature,
                                                     .fill = earley_mask};

/* ---- creating ---- */

/* What begins with too much at once is refused now and not by the first generation. */
static enum status try_start(struct rules *rules, struct earley_machine *machine) {
    struct frames frames;
    struct machine_state state;
    frames_init(&frames, (size_t)EARLEY_VISITS_MAX * 256);
    enum machine_step step = start(&machine->base, &frames, &state);
    frames_deinit(&frames);
    if (step == MACHINE_LIVE) return STATUS_OK;
    return rules_fail(rules, STATUS_RESOURCE_EXHAUSTED, rules->rules[rules->start].at,
                      "the start rule may begin in too many ways");
}

/* The machine of rules that are not regular as a whole. */
static enum status make_machine(struct rules *rules, struct rules_regular *regular, struct machine **out) {
    struct earley_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL) return rules_exhausted(rules, 0);
    machine->base.operations = &OPERATIONS;
    machine->budget = rules->budget;
    enum status status;
    TRY_CLEANUP(earley_tables_build(rules, regular, &machine->tables));
    machine->predicted = calloc(machine->tables.symbol_count, sizeof *machine->predicted);
    if (machine->predicted == NULL || !scan_sets_init(&machine->sets, rules->pool, rules->budget))
        status = rules_exhausted(rules, 0);
    else
        status = try_start(rules, machine);
cleanup:
    if (status != STATUS_OK) {
        destroy(&machine->base);
        return status;
    }
    machine->pool = rules->pool; /* from here on it is the machine's */
    *out = &machine->base;
    return STATUS_OK;
}

static enum status build(struct rules *rules, struct machine **out) {
    struct rules_regular regular;
    struct error err = {0};
    enum status status;
    TRY_CLEANUP(rules_regular_find(rules, &regular));
    regex whole = regular.rules[rules->start];
    if (whole == REGULAR_NOT) {
        status = make_machine(rules, &regular, out);
    } else if (whole == REGEX_NOTHING) {
        status = rules_fail(rules, STATUS_FAILED_PRECONDITION, rules->rules[rules->start].at,
                            "no text fits: the start rule is empty");
    } else {
        status = regex_machine_create(rules->pool, whole, out, &err);
        if (status != STATUS_OK) (void)rules_exhausted(rules, 0);
    }
cleanup:
    rules_regular_deinit(rules, &regular);
    return status;
}

enum status earley_machine_create(struct grammar_budget *budget, struct bytes_view text, enum grammar_dialect dialect,
                                  struct machine **out, struct grammar_problem *problem) {
    struct regex_pool *pool = NULL;
    struct rules rules;
    struct error err = {0};
    rules_init(&rules, NULL, budget, text, problem);
    enum status status = regex_pool_create(budget, &pool, &err);
    if (status != STATUS_OK) return rules_exhausted(&rules, 0);
    rules.pool = pool;
    status = dialect == GRAMMAR_GBNF ? gbnf_parse(&rules) : lark_parse(&rules);
    if (status == STATUS_OK) status = build(&rules, out);
    if (status != STATUS_OK) regex_pool_destroy(pool);
    rules_deinit(&rules);
    return status;
}
