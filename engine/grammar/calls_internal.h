/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by calls_*.c.
 *
 * A request's calls are a program: a graph of nodes, each of which says what may come next. Where a program stands is two numbers, its node and the tool whose call
 * it is in (or how much of a trigger the text has so far), which travel in machine_state.outer around the state of the tool's own machine.
 */
#ifndef ENGINE_GRAMMAR_CALLS_INTERNAL_H
#define ENGINE_GRAMMAR_CALLS_INTERNAL_H

#include "base/arena.h"
#include "engine/grammar/calls.h"
#include "engine/grammar/grammar_internal.h"
#include "engine/grammar/mask.h"
#include "engine/grammar/schema.h"

#include <pthread.h>

/* ---- calls_tokens.c ---- */

/** A trie of the tokens of a bitset, all of which are in the vocabulary's. False without memory; deinit in both cases. */
bool trie_select(const struct grammar_vocabulary *vocabulary, const uint32_t *tokens, struct token_trie *out);

/**
 * Tokens that run past the end of a JSON value: with so many closing brackets before their last byte that a value with that many arrays and objects open may
 * end in them. The value's machine does not know what comes behind it, so these are looked at byte by byte.
 */
enum { CLOSERS_MAX = 4 };
struct closing_tokens {
    uint32_t *tokens[CLOSERS_MAX]; /* [k] bitset: k + 1 closing brackets or more */
    struct token_trie tries[CLOSERS_MAX];
};
bool closing_tokens_init(struct closing_tokens *closing, const struct grammar_vocabulary *vocabulary);
void closing_tokens_deinit(struct closing_tokens *closing);

/* ---- calls_text.c ---- */

enum { TEXT_STATES_MAX = 64, TEXT_TRIGGERS_MAX = 2, TEXT_TRIGGERED = 0x80 };
/** A text that ends free text. */
struct text_trigger {
    const char *text;
    bool at_start; /* only as the first thing of the text */
};
/** Free text up to a trigger, as an automaton; its masks do not depend on what follows, so all requests share them. */
struct text_automaton {
    struct text_trigger triggers[TEXT_TRIGGERS_MAX];
    uint32_t trigger_count;
    uint32_t state_count, start, go_on; /* go_on: nothing of a trigger so far, and not at the start */
    struct text_state {
        const char *text; /* the beginning of a trigger that the text ends with */
        uint8_t length;
        bool at_start;
    } states[TEXT_STATES_MAX];
    uint8_t next[TEXT_STATES_MAX][256]; /* a state, or TEXT_TRIGGERED | index of the trigger */
    pthread_mutex_t lock;
    struct text_mask {
        uint32_t *stay;          /* bitset: tokens after which the text is still free */
        struct token_trie other; /* tokens in which a trigger ends */
    } * masks[TEXT_STATES_MAX];  /* NULL: not asked for yet */
};
/** Triggers are constants, and none stands within another. False: more states than there is room for, or no lock. */
bool text_automaton_init(struct text_automaton *text, const struct text_trigger *triggers, uint32_t count);
void text_automaton_deinit(struct text_automaton *text);
/** NULL without memory. Any thread. */
const struct text_mask *text_automaton_mask(struct text_automaton *text, const struct grammar_vocabulary *vocabulary,
                                            uint32_t state);

/* ---- calls_tools.c ---- */

/** A schema that was compiled, shared by requests. */
struct tool_machine {
    struct tool_machine *next; /* in its bucket */
    struct bytes key;          /* options and schema, as compact text */
    struct arena arena;        /* the schema as a tree, which the machine lends from */
    uint64_t hash, used;       /* used: when last */
    int references;            /* of programs; under the cache's lock */
    size_t idle_bytes;         /* while there are none: what it holds */
    int64_t fuel;              /* what compiling it cost */
    pthread_mutex_t lock;      /* the machine's: one thread at a time */
    struct machine *machine;
    struct grammar_budget *budget;
    struct grammar_problem later; /* where the machine writes what it meets after compiling */
    int64_t bytes_max;            /* what it may build, */
    int64_t bytes_left;           /* and what was left of it when it was compiled */
};
/* What nobody uses right now is kept up to this. */
enum tool_use { TOOL_ARGUMENTS, TOOL_CONTENT /* any value; there is a schema */ };
enum { TOOL_BUCKETS = 1024, TOOL_IDLE_MAX = 2048, TOOL_IDLE_BYTES_MAX = 256 << 20 };
struct tool_cache {
    pthread_mutex_t lock;
    const struct grammar_vocabulary *vocabulary;
    struct tool_machine *buckets[TOOL_BUCKETS];
    uint64_t clock;
    size_t idle_count, idle_bytes;
};
bool tool_cache_init(struct tool_cache *cache, const struct grammar_vocabulary *vocabulary);
void tool_cache_deinit(struct tool_cache *cache);
/**
 * Found, or compiled with at most *fuel, of which is taken what compiling costs, found or not: a request costs the same whatever came before it.
 * Give it back.
 */
enum status tool_cache_take(struct tool_cache *cache, const struct call_tool *tool, enum tool_use use,
                            const struct grammar_options *options, int64_t *fuel, struct tool_machine **out,
                            struct grammar_problem *problem);
void tool_cache_give_back(struct tool_cache *cache, struct tool_machine *tool);

/* ---- the format ---- */

/** A mark as a control token, as text, or either; none: control < 0 and text NULL. */
struct call_mark {
    int32_t control;
    const char *text;
};
struct call_format {
    const struct grammar_vocabulary *vocabulary;
    enum chat_calls layout;
    struct call_mark open, close, call_id, arguments, think, think_end;
    bool marks_blank; /* texts begin with a blank that is not theirs (SentencePiece) */
    struct text_automaton content, thought;
    struct closing_tokens closing;
    struct tool_cache tools;
};

/* ---- calls_program.c ---- */

enum call_node_kind {
    CALL_BYTES, /* one of the edges' bytes */
    CALL_TEXT,  /* free text up to a trigger */
    CALL_VALUE  /* the arguments of the tool */
};
struct call_edge {
    uint32_t sibling;  /* + 1 */
    uint32_t to, tool; /* tool + 1: whose call it is from here on; 0: as before */
    uint8_t first, last;
};
struct call_control {
    uint32_t sibling;
    uint32_t to, tool;
    int32_t token;
};
struct call_node {
    enum call_node_kind kind;
    bool complete;                     /* the text may end here */
    bool call_end;                     /* a call is whole here */
    bool is_id;                        /* the byte that leads away is of the call's id */
    bool thought;                      /* CALL_TEXT: of the thought automaton, else of content */
    bool last;                         /* CALL_VALUE: it is content, with which the text ends */
    bool go_on;                        /* CALL_TEXT: not at the beginning of the answer */
    uint32_t edges, controls;          /* + 1 */
    uint32_t after[TEXT_TRIGGERS_MAX]; /* CALL_TEXT: behind each trigger; CALL_VALUE: [0]. 0: there is no way on */
    uint32_t otherwise; /* CALL_BYTES: the CALL_VALUE of content, for all bytes without an edge; 0: none */
    uint32_t distance;  /* bytes and control tokens to a complete text, about */
};
enum { CALL_NOWHERE }; /* node 0: where nothing leads */

struct calls {
    struct machine machine;
    struct call_format *format;
    struct grammar_budget budget;
    struct arena arena;
    struct bytes_view *names;    /* [tool_count] */
    struct tool_machine **tools; /* [tool_count + 1] the last: of content; NULL: there is none */
    size_t tool_count;
    uint32_t start;
    struct call_node *nodes;
    struct call_edge *edges;
    struct call_control *controls;
    uint32_t node_count, node_capacity, edge_count, edge_capacity, control_count, control_capacity;
    bool failed; /* memory */
};

uint32_t call_node_add(struct calls *calls, enum call_node_kind kind);
void call_edge_add(struct calls *calls, uint32_t from, uint8_t first, uint8_t last, uint32_t to, uint32_t tool);
void call_control_add(struct calls *calls, uint32_t from, int32_t token, uint32_t to, uint32_t tool);
/** The node behind `text`; shares what is there already. */
uint32_t call_text_add(struct calls *calls, uint32_t from, struct bytes_view text);
/** `text` from `from` to `to`. */
void call_link(struct calls *calls, uint32_t from, const char *text, uint32_t to);
/** A mark, as a control token and as text. */
void call_link_mark(struct calls *calls, uint32_t from, struct call_mark mark, uint32_t to);
/** How far each node is from the end. False: one has no way there. */
bool call_measure(struct calls *calls);
static inline const struct call_edge *call_edge_of(const struct calls *calls, const struct call_node *node,
                                                   uint8_t byte) {
    for (uint32_t e = node->edges; e != 0; e = calls->edges[e - 1].sibling)
        if (byte >= calls->edges[e - 1].first && byte <= calls->edges[e - 1].last) return &calls->edges[e - 1];
    return NULL;
}
static inline const struct call_control *call_control_of(const struct calls *calls, const struct call_node *node,
                                                         int32_t token) {
    for (uint32_t c = node->controls; c != 0; c = calls->controls[c - 1].sibling)
        if (calls->controls[c - 1].token == token) return &calls->controls[c - 1];
    return NULL;
}
static inline struct text_automaton *call_automaton(const struct calls *calls, const struct call_node *node) {
    return node->thought ? &calls->format->thought : &calls->format->content;
}

/* ---- calls_layout.c ---- */

/** All nodes of a request; names and tools are there. */
void call_layout_build(struct calls *calls, const struct call_request *request);

/* ---- calls_machine.c ---- */

extern const struct machine_operations calls_operations;

#endif
