/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Grammars: which tokens may come next, so that what is generated always fits.
 *
 *     vocabulary (once a model)  +  schema | regex | GBNF | Lark        (once a request, or found in the cache)
 *              |                           |
 *              |                     grammar_compile_*  -> struct grammar      shared by requests, built lazily, capped
 *              '-------------.------------'
 *                    grammar_state (by value; a copy is a fork)
 *                      grammar_mask     -> bitset over token ids
 *                      grammar_accept   token by token
 *                      grammar_forced   what must come next, as text
 *
 * A compiled grammar either admits exactly the texts it describes (possibly fewer where its documentation says so, never more), or is declined with the place
 * and the reason before any token is spent. There are no dead ends: every token in a mask can be followed by others to a complete text.
 *
 * Engines: JSON Schema (json_machine.h), a deterministic stack machine; Earley over automata (earley.h) for user grammars; a plain automaton for a regex.
 * Threads: a grammar may be used by one thread at a time (struct grammar has a lock that grammar_mask, _accept and _forced take); a vocabulary by any number.
 */
#ifndef ENGINE_GRAMMAR_GRAMMAR_H
#define ENGINE_GRAMMAR_GRAMMAR_H

#include "base/bytes.h"
#include "base/status.h"
#include "engine/grammar/machine.h"

struct json_value;
struct tokenizer;
struct grammar;
struct grammar_vocabulary;

/* ---- vocabulary ---- */

/** The tokenizer's pieces as a trie in depth-first order, with the slices that masks are made of. Borrows the tokenizer. Takes 5 to 150 ms. */
enum status grammar_vocabulary_create(const struct tokenizer *tokenizer, struct grammar_vocabulary **out,
                                      struct error *err);
void grammar_vocabulary_destroy(struct grammar_vocabulary *vocabulary);
/** 32-bit words of a mask: (V + 31) / 32. */
size_t grammar_mask_words(const struct grammar_vocabulary *vocabulary);
/** No token is in the mask. */
bool grammar_mask_is_empty(const uint32_t *words, size_t count);

/* ---- compiling ---- */

/** Between the tokens of JSON. */
enum grammar_space {
    GRAMMAR_SPACE_MODEL,   /* ", " and ": ", nothing else: what models write and json.dumps does. The default */
    GRAMMAR_SPACE_COMPACT, /* none */
    GRAMMAR_SPACE_FREE     /* blank, tab, CR, LF, at most `space_max` of them in one place */
};
enum grammar_order {
    GRAMMAR_ORDER_SCHEMA, /* properties as the schema lists them, then those it does not name. The default */
    GRAMMAR_ORDER_ANY
};

/** Of strings in JSON, names included, and numbers. Either way every string can be written. */
enum grammar_spelling {
    GRAMMAR_SPELLING_PLAIN, /* each character in one way: itself, \" \\ \b \f \n \r \t, \u00XX in lower case for other control characters. Where the
                               vocabulary has no token for some byte, \uXXXX for what it might be unable to write.
                               Numbers as number_start_printed has them: 2, not 2.0 or 2e0, where only whole ones fit, and within 64 bits or a double
                               where the schema leaves the choice. The default */
    GRAMMAR_SPELLING_ANY /* in all of JSON's: "a" is "\u0061". To check texts */
};

struct schema_document;

struct grammar_options {
    enum grammar_space space;
    enum grammar_order order;
    enum grammar_spelling spelling;
    /** Objects whose schema lists properties and says nothing of others may have others all the same, as the standard has it. Default: they have only those, for models, small
     *  ones above all, make up names where they may; "additionalProperties": true lets them. Everything that is written fits the schema either way. To check texts: true. */
    bool any_properties;
    uint32_t space_max;                      /* GRAMMAR_SPACE_FREE: 0 = 16 */
    const struct schema_document *documents; /* [document_count] that "$ref" may name besides the schema itself */
    size_t document_count;
    int64_t fuel;  /* of compiling; 0 = the default, about a second's worth on a slow machine */
    int64_t bytes; /* of everything the grammar ever builds; 0 = the default */
};

/** Why a grammar was declined. */
struct grammar_problem {
    char
        keyword[32]; /* JSON Schema: the keyword that cannot be enforced, or is malformed; others: "regex", "grammar" */
    char pointer
        [256]; /* JSON Schema: where, as a JSON pointer ("/properties/a/pattern"), cut if longer; others: "line:column" */
    char reason[256]; /* one sentence */
};

/**
 * JSON Schema draft 7 and the spellings of 2019-09 and 2020-12 that mean the same (docs/design/grammar.md has the table). `schema` is an object or a boolean.
 * Fails: STATUS_INVALID_ARGUMENT malformed; STATUS_UNIMPLEMENTED well-formed, and not enforceable; STATUS_FAILED_PRECONDITION nothing satisfies it;
 * STATUS_RESOURCE_EXHAUSTED it costs more than the options allow. `problem` is filled in each case.
 */
enum status grammar_compile_schema(const struct grammar_vocabulary *vocabulary, const struct json_value *schema,
                                   const struct grammar_options *options, struct grammar **out,
                                   struct grammar_problem *problem);
/** All of the text is matched (anchors are not needed); ECMA-262's syntax, and what regex.h calls lenient. */
enum status grammar_compile_regex(const struct grammar_vocabulary *vocabulary, struct bytes_view pattern,
                                  const struct grammar_options *options, struct grammar **out,
                                  struct grammar_problem *problem);
enum grammar_dialect { GRAMMAR_GBNF, GRAMMAR_LARK };
/** The rule `root` (GBNF) or `start` (Lark) is all of the text. */
enum status grammar_compile_rules(const struct grammar_vocabulary *vocabulary, struct bytes_view text,
                                  enum grammar_dialect dialect, const struct grammar_options *options,
                                  struct grammar **out, struct grammar_problem *problem);
/** A compiled grammar is counted: requests share one. */
struct grammar *grammar_ref(struct grammar *grammar);
void grammar_unref(struct grammar *grammar);

/* ---- generating ---- */

/** One generation's memory: every state of it lends its frames from here. */
struct grammar_session;
enum status grammar_session_create(struct grammar *grammar, struct grammar_session **out, struct error *err);
void grammar_session_destroy(struct grammar_session *session);
/** Its states are of several answers that go on side by side: nothing is concluded from one mask for the next. */
void grammar_session_branches(struct grammar_session *session);

/** Where a sequence stands; copy it to fork or to be able to go back. */
struct grammar_state {
    struct machine_state machine;
    uint64_t length; /* bytes so far */
};
enum status grammar_start(struct grammar_session *session, struct grammar_state *out, struct error *err);

/**
 * The tokens that may come next: bit id % 32 of out[id / 32]. Ends of text are set when the text may end here; other control tokens never are.
 *
 * tokens_left  how many tokens may still come, the next one included and ends of text not counted; only tokens are admitted after which the text can still become
 *              complete in what is left then. A short rest of text is looked for and cut into tokens: never fewer than are needed, so that when this says
 *              STATUS_OK with n, and is asked again behind each token with one less, it goes on saying so and the text is complete within n tokens, whichever are
 *              drawn. 0: only ends of text. SIZE_MAX: do not look. Where n is far above what is needed nothing is looked at (about a microsecond);
 *              a single token that makes the shortest rest longer by more than the schema's longest values and names do is not foreseen there.
 *
 * Fails: STATUS_RESOURCE_EXHAUSTED (the grammar's budget); STATUS_OUT_OF_RANGE: it cannot become complete in tokens_left, the mask is then as with SIZE_MAX.
 */
enum status grammar_mask(struct grammar_session *session, const struct grammar_state *state, size_t tokens_left,
                         uint32_t *out, struct error *err);
/** Tokens of a short rest of the text, ends of text not counted: with as many left grammar_mask says STATUS_OK. SIZE_MAX: no rest is known. */
size_t grammar_tokens_needed(struct grammar_session *session, const struct grammar_state *state);
/** The tokens may come one after another, and behind them grammar_mask says STATUS_OK with what is then left of `tokens_left`. False where that is not known. Leaves nothing
 *  behind. */
bool grammar_may_take(struct grammar_session *session, const struct grammar_state *state, const int32_t *tokens,
                      size_t count, size_t tokens_left);
/** Go on by one token. *out_accepted is false, and the state as it was, when the token's bit would not be set. */
enum status grammar_accept(struct grammar_session *session, struct grammar_state *state, int32_t token,
                           bool *out_accepted, struct error *err);
/** The same for bytes. */
enum status grammar_accept_bytes(struct grammar_session *session, struct grammar_state *state, struct bytes_view text,
                                 bool *out_accepted, struct error *err);
/** How many of the tokens, from the first on, may come one after another. Leaves nothing behind. */
size_t grammar_count_accepted(struct grammar_session *session, const struct grammar_state *state, const int32_t *tokens,
                              size_t count);
/** True when the text may end here. */
bool grammar_complete(struct grammar_session *session, const struct grammar_state *state);
/** Append to `out` the bytes that must come next: as long as exactly one byte can follow (escapes of GRAMMAR_SPELLING_ANY that only spell the same otherwise do not count) and the
 *  text may not end. At most `bytes_max`, and what little fuel finds. */
enum status grammar_forced(struct grammar_session *session, const struct grammar_state *state, size_t bytes_max,
                           struct bytes *out, struct error *err);
/**
 * The forced bytes as tokens, canonical: `recent` (the tokens so far, at least the last four; where they were cut in another way, fewer of them; the last 16 are looked at) and what is forced are
 * encoded together, and tokens are taken only as far as no longer token, allowed here, could begin earlier. *out_count of at most `count_max`; 0 when nothing is certain.
 */
enum status grammar_forced_tokens(struct grammar_session *session, const struct grammar_state *state,
                                  const int32_t *recent, size_t recent_count, int32_t *out, size_t count_max,
                                  size_t *out_count, struct error *err);

#endif
