/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What `bora grammar check` and `bora grammar walk` share: a tokenizer, what to compile, JSON lines in and out.
 *
 *     {"id": anything, "schema": {...}, ...}\n  ->  compile  ->  the command's own part  ->  {"id": ..., "declined": ..., ...}\n
 *
 * Lines are answered in their order, each as soon as it is done. A malformed one is answered by {"id", "error", "declined"}, and the others go on.
 */
#ifndef CLI_GRAMMAR_LINES_H
#define CLI_GRAMMAR_LINES_H

#include "base/arena.h"
#include "base/json.h"
#include "cli/arguments.h"
#include "engine/grammar/grammar.h"
#include "engine/tokenizer/tokenizer.h"

enum {
    GRAMMAR_LINE_BYTES_MAX = 64 << 20,
    GRAMMAR_LINE_DEPTH_MAX = 4096, /* the reader calls itself */
    GRAMMAR_FILE_BYTES_MAX = 64 << 20,
    GRAMMAR_DOCUMENTS_MAX = 4096
};

/** The options of both commands; their rows of a table are GRAMMAR_ARGUMENTS(&arguments). */
struct grammar_arguments {
    const char *tokenizer, *regex, *grammar, *dialect, *space, *order, *spelling, *properties;
    bool as_served;
    struct argument_list documents;
    struct argument_integer threads, fuel;
};
#define GRAMMAR_ARGUMENTS(arguments)                                                                                   \
    {ARGUMENT_TEXT, "tokenizer", "FILE", "a .gguf, tokenizer.json, tekken.json, tokenizer.model, or a model's folder", \
     &(arguments)->tokenizer},                                                                                         \
        {ARGUMENT_TEXT, "regex", "PATTERN", "instead of schemas: all of a text matches it", &(arguments)->regex},      \
        {ARGUMENT_TEXT, "grammar", "FILE", "instead of schemas: a grammar, .gbnf or .lark", &(arguments)->grammar},    \
        {ARGUMENT_TEXT, "dialect", "NAME", "of --grammar: gbnf or lark (by its name)", &(arguments)->dialect},         \
        {ARGUMENT_TEXT, "space", "HOW", "in JSON: free, model (', ' and ': ') or compact (free)",                      \
         &(arguments)->space},                                                                                         \
        {ARGUMENT_TEXT, "order", "HOW", "of properties: any, or schema (any)", &(arguments)->order},                   \
        {ARGUMENT_TEXT, "spelling", "HOW", "of strings in JSON: any, or plain: no needless escapes (any)",             \
         &(arguments)->spelling},                                                                                      \
        {ARGUMENT_TEXT, "properties", "WHICH",                                                                         \
         "of objects: any that the schema allows, or listed: as generated (any)", &(arguments)->properties},           \
        {ARGUMENT_FLAG, "as-served", NULL,                                                                             \
         "as answers are generated: --space model --order schema --spelling plain --properties listed",                \
         &(arguments)->as_served},                                                                                     \
        {ARGUMENT_LIST, "documents", "DIR=URL", "DIR/a/b.json is known to \"$ref\" as URL/a/b.json (many)",            \
         &(arguments)->documents},                                                                                     \
        {ARGUMENT_INTEGER, "threads", "N", "only 1 there is: lines are measured one by one", &(arguments)->threads}, { \
        ARGUMENT_INTEGER, "limit-fuel", "N", "what compiling a line may cost (the engine's default)",                  \
            &(arguments)->fuel                                                                                         \
    }

struct grammar_run {
    struct tokenizer *tokenizer;
    struct grammar_vocabulary *vocabulary;
    size_t mask_words;
    uint32_t *mask; /* [mask_words] */
    int32_t *ends;  /* [end_count] the tokens that end a text */
    size_t end_count;
    struct grammar_options options;
    struct bytes_view regex, rules; /* data NULL: there is none */
    enum grammar_dialect dialect;
    struct bytes_view rules_file, *document_files; /* mapped */
    struct arena documents;
    size_t document_count;
};

/** Fails with EXIT_USAGE or EXIT_FAILED and a sentence on stderr; GO_ON. Close in every case. */
int grammar_run_open(struct grammar_run *run, const struct command_usage *usage,
                     const struct grammar_arguments *arguments);
void grammar_run_close(struct grammar_run *run);

/** A line that is to be answered. */
struct grammar_line {
    const struct json_value *value; /* the object */
    struct grammar *grammar;        /* NULL: declined, or nothing satisfies the schema */
    bool nothing;                   /* the latter: whatever the text, it is refused */
    int64_t compile_ns;
    struct arena *arena;
};
/**
 * Append the members of the answer that are the command's own, each with a comma in front. Also of declined lines. False: `err` says what is wrong with the
 * line, and what was appended is dropped.
 */
typedef bool (*grammar_line_answer)(struct grammar_run *run, const struct grammar_line *line, struct bytes *out,
                                    struct error *err, void *context);
/** All lines of standard input. EXIT_OK, or EXIT_FAILED when a line was malformed or the output cannot be written. */
int grammar_run_lines(struct grammar_run *run, grammar_line_answer answer, void *context);

/** True when the mask of `run` has the token. */
static inline bool grammar_run_bit(const struct grammar_run *run, int32_t token) {
    return (run->mask[token >> 5] >> (token & 31) & 1) != 0;
}
/** True when the mask of `run` has a token that ends a text (or, in a vocabulary without one, `complete`). */
bool grammar_run_may_end(const struct grammar_run *run, bool complete);

#endif
