/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Every order in which things can happen to the rules of limits, not only those that a simulation draws: calls that are sent, run, run late, run
 * twice or never run, answers that are lost, links that break, gateways and workers that die, leases that run out. The rules are those of
 * store/limits_*.lua cut down to what orders can break: one window that never passes, one kind of token, two tokens a request of which one is
 * optional, and a limit of three, so that what one request holds decides what the other gets. limits_model_test.c has all that is left out here.
 *
 * First one request is followed alone, with a gateway, a worker, their calls and their misfortunes. Of others it notices only what room they leave,
 * so its admission finds any room. That gives all states it can be in, and what leads from one to another. Then two such requests go through all
 * pairs of these states together, where an admission finds the room that the other one leaves.
 *
 * Each rule can be broken; then the search must find an order in which it shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WANTED = 2, LEAST = 1, LIMIT = 3 };

enum gateway { IDLE, ADMITTING, RUNNING, SETTLING, DONE, DEAD };
enum worker { NO_WORK, GENERATING, FINISHED, REPORTING, WORK_DONE, WORKER_DEAD };
enum lease { NO_LEASE, HELD, OPEN_END, LAST_WORD, GONE };

/** One request: its gateway, its worker, its calls under way, and what Redis knows of it. */
union side {
    struct {
        uint64_t exists : 1;                                       /* so that no state is all zero */
        uint64_t gateway : 3, word : 2, provisional : 1, told : 1; /* told: its settlement was answered */
        uint64_t worker : 3, generated : 2, received : 2;
        uint64_t admit : 1, checked : 1; /* checked: half an admission, where a broken rule makes it two calls */
        uint64_t charges : 2;            /* under way: of one token, of two */
        uint64_t settle : 1, settle_word : 2, settle_provisional : 1;
        uint64_t report : 1;
        uint64_t lease : 3, granted : 2, charged : 3, late : 3;
        uint64_t heard : 2; /* the most output that a call has named while it counted */
        uint64_t entries : 2, ledger : 3;
    };
    uint64_t code;
};

enum rule {
    NONE_BROKEN,
    HELD_IS_NOT_COUNTED,
    ADMISSION_IS_TWO_CALLS,
    SETTLED_LEASE_STAYS,
    NO_WORD_IS_LEFT_FOR_A_LATE_ADMISSION,
    CHARGES_ADD_UP,
    LATE_CHARGE_TAKES_BACK,
    CHARGE_REVIVES_A_LEASE,
    RUN_OUT_LEAVES_NO_RECORD,
    CORRECTION_REPEATS,
    RUN_OUT_KEEPS_WHAT_IS_HELD,
    PROVISIONAL_IS_FINAL,
    REPORT_COMES_ON_TOP,
    WORKER_FORGETS_WHAT_IT_FINISHED,
    GATEWAY_GIVES_UP_A_SETTLEMENT,
    RULES
};

static const char *const rule_names[RULES] = {"none",
                                              "held is not counted",
                                              "admission is two calls",
                                              "a settled lease stays",
                                              "no word is left for a late admission",
                                              "charges add up",
                                              "a late charge takes back",
                                              "a charge revives a lease",
                                              "a lease that ran out leaves no record",
                                              "a correction repeats",
                                              "a lease that ran out keeps what it held",
                                              "a provisional settlement is final",
                                              "a report comes on top",
                                              "a worker forgets what it finished",
                                              "a gateway gives up a settlement"};

/* --- one request: its states and what leads to them ----------------------------------------------------------------- */

enum { STATES_MAX = 1 << 14, TABLE = 4 * STATES_MAX, EDGES_MAX = 32 * STATES_MAX, ANY_ROOM = -1 };

struct edge {
    int to;
    int room; /* that others must leave for it */
};

struct search {
    enum rule broken;
    int count, edge_count;
    union side states[STATES_MAX];
    int first_edge[STATES_MAX + 1];
    struct edge edges[EDGES_MAX];
    int table[TABLE]; /* state + 1; open addressing */
    size_t pairs;
    const char *wrong;
};

static void reach_if(struct search *search, union side side, int room) {
    uint64_t hash = (side.code ^ side.code >> 29) * UINT64_C(0xd6e8feb86659fd93);
    size_t at = (hash >> 32) % TABLE;
    while (search->table[at] != 0 && search->states[search->table[at] - 1].code != side.code) at = (at + 1) % TABLE;
    if (search->table[at] == 0) {
        if (search->count == STATES_MAX) abort();
        search->states[search->count] = side;
        search->table[at] = ++search->count;
    }
    if (search->edge_count == EDGES_MAX) abort();
    search->edges[search->edge_count++] = (struct edge){search->table[at] - 1, room};
}

static void reach(struct search *search, union side side) {
    reach_if(search, side, ANY_ROOM);
}

/* --- the rules of Redis --------------------------------------------------------------------------------------------- */

static int held_by(const union side *side) {
    return side->lease == HELD && side->granted > side->charged ? side->granted - side->charged : 0;
}

/** Whether it was admitted. */
static bool run_admit(union side *side, int room) {
    if (side->lease != NO_LEASE || room < LEAST) return false;
    side->granted = room < WANTED ? LEAST : WANTED;
    side->lease = HELD;
    return true;
}

static void raise_charged(union side *side, unsigned output) {
    if (output > side->charged) side->charged = output;
}

static void note_heard(union side *side, unsigned output) {
    if ((side->lease == HELD || side->lease == OPEN_END) && output > side->heard) side->heard = output;
}

static void run_charge(const struct search *search, union side *side, unsigned output) {
    if (search->broken == CHARGE_REVIVES_A_LEASE && side->lease == GONE) side->lease = HELD;
    if (side->lease != HELD) return;
    note_heard(side, output);
    if (search->broken == CHARGES_ADD_UP)
        side->charged = side->charged + output > 7 ? 7 : side->charged + output;
    else if (search->broken == LATE_CHARGE_TAKES_BACK)
        side->charged = output;
    else
        raise_charged(side, output);
}

static void add_entry(union side *side) {
    if (side->entries < 3) side->entries++;
    side->ledger = side->charged;
}

static void run_settle(const struct search *search, union side *side, unsigned output, bool open_end) {
    note_heard(side, output);
    if (search->broken == PROVISIONAL_IS_FINAL) open_end = false;
    if (side->lease == HELD) {
        raise_charged(side, output);
        add_entry(side);
        if (search->broken != SETTLED_LEASE_STAYS) side->lease = open_end ? OPEN_END : GONE;
    } else if (side->lease == OPEN_END) {
        unsigned more = output > side->charged ? output - side->charged : 0;
        if (search->broken == REPORT_COMES_ON_TOP) more = output;
        if (side->charged + more > 7) more = 7 - side->charged;
        side->late += more;
        side->ledger += more;
        side->charged += more;
        if (search->broken == CORRECTION_REPEATS) side->charged -= more; /* the record still says what it said */
        if (!open_end && search->broken != CORRECTION_REPEATS) side->lease = LAST_WORD;
    } else if (side->lease == NO_LEASE && search->broken != NO_WORD_IS_LEFT_FOR_A_LATE_ADMISSION) {
        side->lease = LAST_WORD;
    }
}

static void run_out(const struct search *search, union side *side) {
    add_entry(side);
    if (search->broken == RUN_OUT_KEEPS_WHAT_IS_HELD)
        side->charged = side->granted;
    else
        side->lease = OPEN_END;
    if (search->broken == RUN_OUT_KEEPS_WHAT_IS_HELD || search->broken == RUN_OUT_LEAVES_NO_RECORD) side->lease = GONE;
}

/* --- what can happen next ------------------------------------------------------------------------------------------- */

static void move_admission(struct search *search, union side from) {
    union side to = from;
    if (from.gateway == IDLE) {
        to.gateway = ADMITTING;
        to.admit = 1;
        reach(search, to);
        return;
    }
    if (from.gateway == ADMITTING) { /* it has waited long enough */
        to.gateway = SETTLING;
        to.word = to.provisional = 0;
        reach(search, to);
    }
    if (!from.admit) return;
    to = from;
    to.admit = to.checked = 0;
    reach(search, to); /* lost on the way */
    if (search->broken == ADMISSION_IS_TWO_CALLS && !from.checked) {
        to.admit = to.checked = 1;
        reach_if(search, to, WANTED);
        return;
    }
    for (int room = from.checked ? WANTED : 0; room <= WANTED; room++) {
        to = from;
        to.admit = to.checked = 0;
        bool admitted = run_admit(&to, room);
        int needs = from.checked ? ANY_ROOM : room;
        reach_if(search, to, needs); /* and nobody hears of it */
        if (from.gateway != ADMITTING) continue;
        to.gateway = admitted ? RUNNING : DONE;
        to.worker = admitted ? GENERATING : NO_WORK;
        reach_if(search, to, needs);
    }
}

static void move_work(struct search *search, union side from) {
    union side to = from, *side = &to;
    if (side->worker == GENERATING && side->generated < side->granted) {
        side->generated++;
        reach(search, to);
        to = from;
    }
    if (side->worker >= GENERATING && side->worker <= REPORTING) {
        side->worker = WORKER_DEAD;
        reach(search, to);
        to = from;
    }
    if (side->gateway != RUNNING) return;
    if (side->received < side->generated && side->worker == GENERATING) {
        side->received = side->generated;
        reach(search, to);
        to = from;
    }
    if (side->received > 0 && !(side->charges & side->received)) {
        side->charges |= side->received; /* 1 and 2 are bits of their own */
        reach(search, to);
        to = from;
    }
    if (side->worker == GENERATING) { /* finished, or stopped because the client has left: the counts are exact */
        side->gateway = SETTLING;
        side->word = side->generated;
        side->worker = search->broken == WORKER_FORGETS_WHAT_IT_FINISHED ? WORK_DONE : FINISHED;
        reach(search, to);
        to = from;
    }
    /* The link breaks, for whatever reason. */
    side->gateway = SETTLING;
    side->word = side->received;
    side->provisional = 1;
    if (side->worker == GENERATING) side->worker = REPORTING;
    reach(search, to);
}

static void move_charges(struct search *search, union side from) {
    for (unsigned output = 1; output <= 2; output++) {
        union side to = from, *side = &to;
        if (!(side->charges & output)) continue;
        side->charges &= ~output;
        reach(search, to);
        run_charge(search, side, output);
        reach(search, to);
        if (search->broken != CHARGES_ADD_UP) continue;
        side->charges |= output; /* sent again, as its answer was lost */
        reach(search, to);
    }
}

static void hear_of_settlement(union side *side) {
    side->gateway = DONE;
    side->told = 1;
    if (side->worker == FINISHED) side->worker = WORK_DONE;
}

static void move_settlement(struct search *search, union side from) {
    union side to = from, *side = &to;
    if (side->gateway == SETTLING && !side->settle) {
        side->settle = 1;
        side->settle_word = side->word;
        side->settle_provisional = side->provisional;
        reach(search, to);
        to = from;
    }
    if (side->gateway == SETTLING && search->broken == GATEWAY_GIVES_UP_A_SETTLEMENT) {
        hear_of_settlement(side);
        reach(search, to);
        to = from;
    }
    if (!side->settle) return;
    side->settle = 0;
    reach(search, to); /* lost on the way */
    run_settle(search, side, side->settle_word, side->settle_provisional);
    reach(search, to); /* its answer is lost */
    if (side->gateway != SETTLING) return;
    hear_of_settlement(side);
    reach(search, to);
    side->settle = 1; /* it had been sent twice, and the other one is still under way */
    reach(search, to);
}

static void move_report(struct search *search, union side from) {
    union side to = from, *side = &to;
    if (side->worker == REPORTING && !side->report) {
        side->report = 1;
        reach(search, to);
        to = from;
    }
    if (!side->report) return;
    side->report = 0;
    reach(search, to);
    run_settle(search, side, side->generated, false);
    reach(search, to);
    if (side->worker != REPORTING) return;
    side->worker = WORK_DONE;
    reach(search, to);
    side->report = 1;
    reach(search, to);
}

static void move_misfortune(struct search *search, union side from) {
    union side to = from, *side = &to;
    if (side->gateway >= ADMITTING && side->gateway <= SETTLING) {
        side->gateway = DEAD;
        if (side->worker == GENERATING || side->worker == FINISHED) side->worker = REPORTING;
        reach(search, to);
        to = from;
    }
    if (side->lease == HELD) { /* twenty seconds can pass at any time */
        run_out(search, side);
        reach(search, to);
    }
}

/* --- what must be so ------------------------------------------------------------------------------------------------ */

static const char *what_is_wrong_always(const union side *side) {
    bool ended = side->lease == OPEN_END || side->lease == GONE || (side->lease == LAST_WORD && side->entries > 0);
    if (side->entries > 1) return "a request settles twice";
    if (side->lease == HELD && side->entries > 0) return "a request that was settled holds something";
    if (ended && side->entries != 1) return "a request ended without an entry";
    if (ended && side->ledger != side->charged) return "the ledger and the window differ";
    if (ended && side->ledger < side->heard) return "the ledger is less than what Redis was told";
    if (side->told && side->lease == HELD) return "a gateway was told that its lease is settled, and it is there";
    return NULL;
}

/** Where nothing can happen any more. */
static const char *what_is_wrong_at_the_end(const union side *side) {
    if (side->lease == HELD) return "something is held for ever";
    if (side->worker == WORK_DONE && side->ledger != side->generated) return "the ledger is not what was generated";
    if (side->worker == WORKER_DEAD && side->told && side->ledger < side->received)
        return "the ledger is less than what was received";
    if (side->worker != NO_WORK && side->entries != 1) return "work without an entry";
    return NULL;
}

static void follow_one(struct search *search) {
    reach(search, (union side){.exists = 1});
    search->edge_count = 0;
    for (int i = 0; i < search->count && search->wrong == NULL; i++) {
        union side side = search->states[i];
        search->first_edge[i] = search->edge_count;
        search->wrong = what_is_wrong_always(&side);
        move_admission(search, side);
        move_work(search, side);
        move_charges(search, side);
        move_settlement(search, side);
        move_report(search, side);
        move_misfortune(search, side);
        if (search->edge_count == search->first_edge[i] && search->wrong == NULL)
            search->wrong = what_is_wrong_at_the_end(&side);
    }
    search->first_edge[search->count] = search->edge_count;
}

/* --- two requests --------------------------------------------------------------------------------------------------- */

/** Pairs of states still to be looked at, and those that were seen. The two requests are alike: the smaller number stands first. */
struct pairs {
    uint64_t *seen;
    uint32_t *stack;
    size_t depth, capacity;
};

static void visit(struct search *search, struct pairs *pairs, int a, int b) {
    uint32_t low = (uint32_t)(a < b ? a : b), high = (uint32_t)(a < b ? b : a);
    uint32_t pair = high * STATES_MAX + low;
    if (pairs->seen[pair / 64] & UINT64_C(1) << pair % 64) return;
    pairs->seen[pair / 64] |= UINT64_C(1) << pair % 64;
    if (pairs->depth == pairs->capacity) {
        pairs->capacity = pairs->capacity * 2 + 1024;
        pairs->stack = realloc(pairs->stack, pairs->capacity * sizeof *pairs->stack);
    }
    pairs->stack[pairs->depth++] = pair;
    search->pairs++;
}

static int charged_in_time_and_held(const union side *side) {
    return side->charged - side->late + held_by(side);
}

/** What an admission finds beside this request; more than what is wanted is as good as that. */
static int room_beside(const struct search *search, const union side *other) {
    int room = LIMIT - other->charged - (search->broken == HELD_IS_NOT_COUNTED ? 0 : held_by(other));
    return room < 0 ? 0 : room > WANTED ? WANTED : room;
}

static void move_one_of_two(struct search *search, struct pairs *pairs, int one, int other) {
    int room = room_beside(search, &search->states[other]);
    for (int i = search->first_edge[one]; i < search->first_edge[one + 1]; i++) {
        const struct edge *edge = &search->edges[i];
        if (edge->room == ANY_ROOM || edge->room == room) visit(search, pairs, edge->to, other);
    }
}

static void follow_two(struct search *search) {
    struct pairs pairs = {.seen = calloc((size_t)STATES_MAX * STATES_MAX / 64, sizeof *pairs.seen)};
    visit(search, &pairs, 0, 0);
    while (pairs.depth > 0 && search->wrong == NULL) {
        uint32_t pair = pairs.stack[--pairs.depth];
        int one = (int)(pair / STATES_MAX), other = (int)(pair % STATES_MAX);
        if (charged_in_time_and_held(&search->states[one]) + charged_in_time_and_held(&search->states[other]) > LIMIT)
            search->wrong = "more than the limit";
        move_one_of_two(search, &pairs, one, other);
        move_one_of_two(search, &pairs, other, one);
    }
    free(pairs.seen);
    free(pairs.stack);
}

static const char *run_search(enum rule broken) {
    struct search *search = calloc(1, sizeof *search);
    search->broken = broken;
    follow_one(search);
    if (search->wrong == NULL) follow_two(search);
    const char *wrong = search->wrong;
    print_message("broken: %-40s %5d states, %8zu pairs: %s\n", rule_names[broken], search->count, search->pairs,
                  wrong != NULL ? wrong : "all is well");
    free(search);
    return wrong;
}

static void test_every_order_keeps_the_promises(void **state) {
    (void)state;
    assert_null(run_search(NONE_BROKEN));
}

static void test_every_broken_rule_shows_in_some_order(void **state) {
    (void)state;
    for (enum rule rule = NONE_BROKEN + 1; rule < RULES; rule++) assert_non_null(run_search(rule));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_order_keeps_the_promises),
        cmocka_unit_test(test_every_broken_rule_shows_in_some_order),
    };
    return cmocka_run_group_tests_name("store/limits_search", tests, NULL, NULL);
}
