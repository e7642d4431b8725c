/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What becomes of words on their way (store/settlements.h), in every order: gathered, merged, packed into one call, carried by an admission, refused with
 * it, lost with a connection and said again. limits_search_test.c has what the words do to a lease; here it is who hears what when.
 *
 *     gateway 0   answers A and X, of one organisation, run here; what is said of them is gathered, or not
 *     gateway 1   has nothing to say
 *     client      hears the end of A, and may ask for B, at either gateway; at any time before, too
 *     Redis       looks which connections have something for it, takes what they have, in any order of the connections, and answers when it is through
 *
 * A and X hold two tokens each and turn out to have used one; B needs two, and the limit is five: B passes once A or X is settled. Who has
 * heard the end of A must pass with B at gateway 0, and also at gateway 1 where A is not gathered, unless a connection broke meanwhile.
 *
 * Each rule can be broken; then the search must find an order in which it shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { A, X, ANSWERS };
enum { HELD_EACH = 2, USED_EACH = 1, NEEDED = 2, LIMIT = 5 };

/** What a call says: a charge and a settlement of each answer, in this order, and then an admission. */
enum { CHARGE_A = 1, SETTLE_A = 2, CHARGE_X = 4, SETTLE_X = 8, WORDS = 15, ADMIT = 16 };
static unsigned charge_of(int answer) {
    return answer == A ? CHARGE_A : CHARGE_X;
}
static unsigned settlement_of(int answer) {
    return answer == A ? SETTLE_A : SETTLE_X;
}

enum asking { NOT_ASKED, ON_ITS_WAY, DENIED_AT_FIRST, ON_ITS_WAY_AGAIN, ADMITTED, DENIED, FAILED };
enum result { UNKNOWN, DONE, REFUSED };
enum { CALLS_MAX = 8 };

struct call {
    uint8_t says, result;
};

struct state {
    /* Chosen at the beginning. */
    uint8_t gathers_a;    /* there is plenty of room, as far as gateway 0 knows */
    uint8_t x_unreadable; /* its lease: each call that names it is refused */
    /* Gateway 0. */
    uint8_t charged[ANSWERS], ended[ANSWERS]; /* said so */
    uint8_t gathered, waiting, again;         /* words; the latter two while Redis is away, older ones first */
    uint8_t away, broke;
    struct call calls[CALLS_MAX];             /* not answered, oldest first */
    uint8_t call_count, run_count, due_count; /* of which Redis has run so many, and takes so many in this turn */
    /* Gateway 1. */
    uint8_t there, there_due, there_run, there_denied; /* B's admission */
    /* Redis. */
    uint8_t used[ANSWERS], gone[ANSWERS], entries[ANSWERS];
    uint8_t b_holds;
    /* The client. */
    uint8_t heard, asking, at_gateway_0, asked_after_hearing;
};

enum rule {
    NONE_BROKEN,
    END_IS_HEARD_BEFORE_IT_IS_SENT,
    ALL_IS_GATHERED,
    A_DENIAL_IS_FINAL,
    A_GATHERED_CHARGE_HOLDS_ITS_SETTLEMENT_BACK,
    A_REFUSED_ADMISSION_LOSES_WHAT_IT_CARRIED,
    ONE_REFUSED_WORD_TAKES_OTHERS_WITH_IT,
    WHAT_IS_LOST_IS_NOT_SAID_AGAIN,
    A_SETTLEMENT_COUNTS_AGAIN,
    RULES
};
static const char *const rule_names[RULES] = {"none",
                                              "the end is heard before it is sent",
                                              "all is gathered",
                                              "a denial is final",
                                              "a gathered charge holds its settlement back",
                                              "a refused admission loses what it carried",
                                              "one refused word takes others with it",
                                              "what is lost is not said again",
                                              "a settlement counts again"};

/* --- the search ------------------------------------------------------------------------------------------------------- */

enum { STATES_MAX = 1 << 21, TABLE = 4 * STATES_MAX };

struct search {
    enum rule broken;
    size_t count, edges;
    struct state *states;
    uint32_t *table; /* state + 1; open addressing */
    const char *wrong;
};

static void reach(struct search *search, const struct state *state) {
    search->edges++;
    uint64_t hash = 1469598103934665603u;
    const uint8_t *bytes = (const uint8_t *)state;
    for (size_t i = 0; i < sizeof *state; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    size_t at = (hash ^ hash >> 29) % TABLE;
    while (search->table[at] != 0 && memcmp(&search->states[search->table[at] - 1], state, sizeof *state) != 0)
        at = (at + 1) % TABLE;
    if (search->table[at] != 0) return;
    if (search->count == STATES_MAX) abort();
    search->states[search->count] = *state;
    search->table[at] = (uint32_t)++search->count;
}

/* --- gateway 0 --------------------------------------------------------------------------------------------------------- */

static void send_call(struct state *state, unsigned says) {
    if (state->call_count == CALLS_MAX) abort();
    state->calls[state->call_count++] = (struct call){.says = (uint8_t)says};
}

static void send_gathered(struct state *state) {
    if (state->gathered != 0) send_call(state, state->gathered);
    state->gathered = 0;
}

/** A settlement takes the place of a charge that waits. */
static unsigned merged(unsigned words, unsigned word) {
    for (int answer = 0; answer < ANSWERS; answer++)
        if (word == settlement_of(answer)) words &= ~charge_of(answer);
    return words | word;
}

static void say(const struct search *search, struct state *state, unsigned word, bool gathers) {
    if (state->away) {
        state->waiting = (uint8_t)merged(state->waiting, word);
        return;
    }
    unsigned before = state->gathered;
    state->gathered = (uint8_t)merged(before, word);
    bool replaced = (state->gathered | before) != state->gathered;
    if (search->broken == A_GATHERED_CHARGE_HOLDS_ITS_SETTLEMENT_BACK && replaced) return;
    if (!gathers && search->broken != ALL_IS_GATHERED) send_gathered(state);
}

static void move_answers(struct search *search, const struct state *from) {
    for (int answer = 0; answer < ANSWERS; answer++) {
        if (from->ended[answer]) continue;
        struct state to = *from;
        if (!to.charged[answer]) {
            to.charged[answer] = 1;
            say(search, &to, charge_of(answer), true);
            reach(search, &to);
            to = *from;
        }
        to.ended[answer] = 1;
        say(search, &to, settlement_of(answer), answer == X || from->gathers_a);
        reach(search, &to);
    }
    if (from->gathered != 0) { /* they have waited for 5 ms, or there were others */
        struct state to = *from;
        send_gathered(&to);
        reach(search, &to);
    }
    if (from->away && from->call_count == 0 && (from->again | from->waiting) != 0) {
        struct state to = *from;
        if (search->broken == WHAT_IS_LOST_IS_NOT_SAID_AGAIN) to.again = 0;
        if ((to.again | to.waiting) != 0) send_call(&to, to.again | to.waiting);
        to.again = to.waiting = 0;
        reach(search, &to);
    }
}

/** Each alone. */
static void send_apart(struct state *state, unsigned words) {
    for (unsigned word = 1; word <= WORDS; word *= 2)
        if (words & word) send_call(state, word);
}

/** Redis has refused it: the admission, or a word. */
static void take_refusal(const struct search *search, struct state *state, unsigned says) {
    unsigned words = says & WORDS;
    bool is_one = (words & (words - 1)) == 0;
    if (says & ADMIT) {
        state->asking = FAILED;
        if (words != 0 && search->broken != A_REFUSED_ADMISSION_LOSES_WHAT_IT_CARRIED) send_call(state, words);
    } else if (!is_one && search->broken != ONE_REFUSED_WORD_TAKES_OTHERS_WITH_IT) {
        send_apart(state, words);
    }
}

/** The answers of a turn. */
static void take_answers(const struct search *search, struct state *state) {
    while (state->run_count > 0) {
        struct call call = state->calls[0];
        memmove(state->calls, state->calls + 1, sizeof state->calls - sizeof *state->calls);
        state->calls[CALLS_MAX - 1] = (struct call){0};
        state->run_count--;
        state->call_count--;
        if (call.result == REFUSED) take_refusal(search, state, call.says);
    }
    if (state->away && state->call_count == 0 && (state->again | state->waiting) == 0) state->away = 0;
    if (state->asking == DENIED_AT_FIRST && state->at_gateway_0) {
        state->asking = ON_ITS_WAY_AGAIN;
        send_call(state, ADMIT);
    }
}

/** Gateway 0's connection is lost, with all that was under way, whether it had run or not. */
static void move_break(struct search *search, const struct state *from) {
    if (from->broke || from->call_count == 0) return;
    struct state to = *from;
    to.broke = to.away = 1;
    for (int i = 0; i < to.call_count; i++) {
        to.again |= to.calls[i].says & WORDS;
        if (to.calls[i].says & ADMIT) to.asking = FAILED;
        to.calls[i] = (struct call){0};
    }
    to.waiting |= to.gathered;
    to.gathered = to.call_count = to.run_count = to.due_count = 0;
    reach(search, &to);
}

/* --- Redis ------------------------------------------------------------------------------------------------------------- */

static int taken(const struct state *state) {
    int sum = state->b_holds ? NEEDED : 0;
    for (int answer = 0; answer < ANSWERS; answer++) sum += state->gone[answer] ? state->used[answer] : HELD_EACH;
    return sum;
}

static void run_word(const struct search *search, struct state *state, unsigned word) {
    for (int answer = 0; answer < ANSWERS; answer++) {
        bool counts = !state->gone[answer] || search->broken == A_SETTLEMENT_COUNTS_AGAIN;
        if (word != settlement_of(answer) || !counts) continue;
        state->used[answer] = USED_EACH;
        state->gone[answer] = 1;
        if (state->entries[answer] < 2) state->entries[answer]++;
    }
}

/** Whether B passes. */
static bool run_admission(struct state *state) {
    state->b_holds = taken(state) + NEEDED <= LIMIT;
    return state->b_holds;
}

static enum asking looked(const struct search *search, const struct state *state, bool passes) {
    if (passes) return ADMITTED;
    bool first = state->asking == ON_ITS_WAY && search->broken != A_DENIAL_IS_FINAL;
    return first ? DENIED_AT_FIRST : DENIED;
}

static void run_call(const struct search *search, struct state *state) {
    struct call *call = &state->calls[state->run_count++];
    state->due_count--;
    call->result = state->x_unreadable && (call->says & (CHARGE_X | SETTLE_X)) ? REFUSED : DONE;
    if (call->result == REFUSED) return;
    for (unsigned word = 1; word <= WORDS; word *= 2)
        if (call->says & word) run_word(search, state, word);
    if (call->says & ADMIT) state->asking = (uint8_t)looked(search, state, run_admission(state));
}

static void move_redis(struct search *search, const struct state *from) {
    struct state to = *from;
    if (from->due_count == 0 && !from->there_due) { /* through with a turn, if there was one */
        take_answers(search, &to);
        if (to.there_run) {
            to.there = to.there_run = 0;
            if (to.asking == DENIED_AT_FIRST) to.asking = ON_ITS_WAY_AGAIN, to.there = 1;
        }
        if (memcmp(&to, from, sizeof to) != 0) {
            reach(search, &to);
            return;
        }
        to.due_count = to.call_count;
        to.there_due = to.there;
        if (memcmp(&to, from, sizeof to) != 0) reach(search, &to);
        return;
    }
    if (from->due_count > 0) {
        run_call(search, &to);
        reach(search, &to);
        to = *from;
    }
    if (from->there_due) {
        to.there_due = 0;
        to.there_run = 1;
        to.asking = (uint8_t)looked(search, &to, run_admission(&to));
        reach(search, &to);
    }
}

/* --- the client --------------------------------------------------------------------------------------------------------- */

static void move_client(struct search *search, const struct state *from) {
    struct state to = *from;
    bool may_hear = from->ended[A] || search->broken == END_IS_HEARD_BEFORE_IT_IS_SENT;
    if (!from->heard && may_hear) {
        to.heard = 1;
        reach(search, &to);
        to = *from;
    }
    if (from->asking != NOT_ASKED) return;
    to.asking = ON_ITS_WAY;
    to.asked_after_hearing = from->heard;
    to.there = 1;
    reach(search, &to);
    to.there = 0;
    to.at_gateway_0 = 1;
    send_call(&to, ADMIT | to.gathered);
    to.gathered = 0;
    reach(search, &to);
}

/* --- what must be so ---------------------------------------------------------------------------------------------------- */

static const char *what_is_wrong_always(const struct state *state) {
    if (taken(state) > LIMIT) return "more than the limit";
    for (int answer = 0; answer < ANSWERS; answer++)
        if (state->entries[answer] > 1) return "an answer settles twice";
    bool finds = state->at_gateway_0 || !state->gathers_a;
    if (state->asking == DENIED && state->asked_after_hearing && finds && !state->broke && !state->x_unreadable)
        return "who has heard the end of an answer does not find its room";
    return NULL;
}

/** Where nothing can happen any more. */
static const char *what_is_wrong_at_the_end(const struct state *state) {
    if (state->entries[A] != 1 || !state->gone[A]) return "an answer is not settled";
    if (!state->x_unreadable && state->entries[X] != 1) return "another answer is not settled";
    if ((state->gathered | state->waiting | state->again) != 0) return "something waits for ever";
    if (state->asking < ADMITTED) return "a request is never answered";
    return NULL;
}

static const char *run_search(enum rule broken) {
    struct search search = {.broken = broken,
                            .states = malloc(STATES_MAX * sizeof(struct state)),
                            .table = calloc(TABLE, sizeof(uint32_t))};
    for (uint8_t choice = 0; choice < 4; choice++) {
        struct state first = {0};
        first.gathers_a = choice & 1;
        first.x_unreadable = choice >> 1;
        reach(&search, &first);
    }
    for (size_t i = 0; i < search.count && search.wrong == NULL; i++) {
        struct state state = search.states[i];
        size_t edges = search.edges;
        search.wrong = what_is_wrong_always(&state);
        move_answers(&search, &state);
        move_break(&search, &state);
        move_redis(&search, &state);
        move_client(&search, &state);
        if (search.edges == edges && search.wrong == NULL) search.wrong = what_is_wrong_at_the_end(&state);
    }
    print_message("broken: %-45s %7zu states: %s\n", rule_names[broken], search.count,
                  search.wrong != NULL ? search.wrong : "all is well");
    free(search.states);
    free(search.table);
    return search.wrong;
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
    return cmocka_run_group_tests_name("store/limits_ways", tests, NULL, NULL);
}
