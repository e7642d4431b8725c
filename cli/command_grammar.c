/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "cli/grammar_check.h"
#include "cli/grammar_lines.h"
#include "cli/grammar_walk.h"

static struct grammar_arguments arguments;

/* ---- check --------------------------------------------------------------------------------------------------------- */

static struct grammar_check_options checking;
static const struct argument check_arguments[] = {
    GRAMMAR_ARGUMENTS(&arguments),
    {ARGUMENT_FLAG, "tokens", NULL, "write \"tokens\" too: the ids of each instance", &checking.tokens},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static int run_check(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    struct grammar_run run;
    int result = grammar_run_open(&run, usage, &arguments);
    if (result == GO_ON) result = grammar_check_lines(&run, &checking);
    grammar_run_close(&run);
    return result;
}

/* ---- walk ---------------------------------------------------------------------------------------------------------- */

static struct {
    struct argument_integer seed, walks, tokens, probes;
} walking = {.walks = {.value = 8}, .tokens = {.value = 64}};
static const struct argument walk_arguments[] = {
    GRAMMAR_ARGUMENTS(&arguments),
    {ARGUMENT_INTEGER, "seed", "N", "of the draws (0)", &walking.seed},
    {ARGUMENT_INTEGER, "count", "N", "walks of each line (8)", &walking.walks},
    {ARGUMENT_INTEGER, "tokens-max", "N", "a walk has from 1 to N tokens to end in, drawn too (64)", &walking.tokens},
    {ARGUMENT_INTEGER, "probes", "N", "tokens of each state that mask and acceptance are compared of (0)",
     &walking.probes},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static int run_walk(const struct command_usage *usage, const char *const *words, int count) {
    (void)words, (void)count;
    enum { COUNT_MAX = 1000000, TOKENS_MAX = 1 << 20, PROBES_MAX = 1 << 20 };
    int64_t walks = walking.walks.value, tokens = walking.tokens.value, probes = walking.probes.value;
    if (walks < 1 || walks > COUNT_MAX) return usage_error(usage, "--count: from 1 to %d", COUNT_MAX);
    if (tokens < 1 || tokens > TOKENS_MAX) return usage_error(usage, "--tokens-max: from 1 to %d", TOKENS_MAX);
    if (probes < 0 || probes > PROBES_MAX) return usage_error(usage, "--probes: from 0 to %d", PROBES_MAX);
    const struct grammar_walk_options options = {(uint64_t)walking.seed.value, (size_t)walks, (size_t)tokens,
                                                 (size_t)probes};
    struct grammar_run run;
    int result = grammar_run_open(&run, usage, &arguments);
    if (result == GO_ON) result = grammar_walk_lines(&run, &options);
    grammar_run_close(&run);
    return result;
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

const struct command grammar_commands[] = {
    {.usage = {"grammar check", "",
               "Which texts a grammar admits, token by token through the masks, as if a model had written them.\n"
               "Standard input has a JSON object a line, and each is answered by one, in order:\n\n"
               "  {\"id\": 1, \"schema\": {\"type\": \"integer\"}, \"instances\": [\"12\", \"1.5\"]}\n"
               "  {\"id\": 1, \"declined\": null, \"accepted\": [true, false], \"compile_us\": 41.0, \"mask_us\": "
               "[[9.1], [8.7, "
               "1.2]]}\n\n"
               "declined       null, or {\"keyword\", \"pointer\", \"reason\"}: it cannot be enforced, and "
               "\"accepted\" is empty\n"
               "accepted       for each instance: every token had its bit in the mask, and the text may end behind the "
               "last\n"
               "mask_us        for each instance: the time of each token's mask, up to the first that is refused\n"
               "refused        only where an instance was: for each null, or {\"token\", \"byte\", \"reason\"}: the "
               "first that "
               "does not\n"
               "               fit, and what may come there\n"
               "unsatisfiable  only where no value satisfies the schema: why; \"declined\" is null, every instance is "
               "refused\n"
               "errors         only where a mask failed or disagreed with what is accepted: [{\"instance\", "
               "\"message\"}]\n\n"
               "Instances are cut into the model's tokens; where those are not the text, byte for byte (a "
               "SentencePiece model\n"
               "puts a blank in front), into those it has behind a line feed, else into the longest pieces; a byte "
               "that no piece\n"
               "has goes by itself. Each line is compiled anew. A malformed line is answered by {\"id\", \"error\", "
               "\"declined\"},\n"
               "and the exit status is 1 then. With --regex or --grammar a line needs no schema.",
               0, 0},
     .help = "say which texts JSON Schemas admit, token by token",
     .arguments = check_arguments,
     .run = run_check},
    {.usage =
         {"grammar walk", "",
          "Random texts of a grammar, written by drawing tokens from its masks: what a model could do. For tests.\n"
          "Standard input has {\"id\", \"schema\"} a line, and each is answered by one, in order:\n\n"
          "  {\"id\": 1, \"declined\": null, \"walks\": [{\"text\": \"12\", \"complete\": true}], \"probes\": 640, "
          "\"disagreements\": 0}\n\n"
          "complete       the text ended where the mask allowed it; false: \"error\" says how the grammar failed, or "
          "it "
          "takes\n"
          "               thousands of tokens\n"
          "dead_end       only where a mask was empty\n"
          "probes         (state, token) pairs of which the mask's bit and the token's acceptance were compared",
          0, 0},
     .help = "write random texts that JSON Schemas admit",
     .arguments = walk_arguments,
     .run = run_walk},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
