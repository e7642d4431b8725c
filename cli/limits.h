/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Limits as options and as words: one table for all commands that set or show them. */
#ifndef CLI_LIMITS_H
#define CLI_LIMITS_H

#include "base/arena.h"
#include "bora/v1/keys.pb-c.h"
#include "cli/arguments.h"

enum { LIMIT_KINDS = 9, LIMITS_TEXT_BYTES = 256 };

struct limit_kind {
    const char *option; /* "tokens-per-minute" */
    const char *field;  /* "tokens_per_minute" */
    const char *title;  /* "tokens / minute" */
    const char *unit;   /* "tok/min" */
    bool money;
};
extern const struct limit_kind limit_kinds[LIMIT_KINDS];

struct limit_options {
    const char *text[LIMIT_KINDS];
};
#define LIMIT_ARGUMENTS(options)                                                                                       \
    {ARGUMENT_TEXT, "requests-per-second", "N", "any second's requests", &(options)->text[0]},                         \
        {ARGUMENT_TEXT, "requests-per-minute", "N", "any 60 seconds' requests", &(options)->text[1]},                  \
        {ARGUMENT_TEXT, "tokens-per-minute", "N", "prompt and answer together", &(options)->text[2]},                  \
        {ARGUMENT_TEXT, "input-tokens-per-minute", "N", "of prompts", &(options)->text[3]},                            \
        {ARGUMENT_TEXT, "output-tokens-per-minute", "N", "of answers", &(options)->text[4]},                           \
        {ARGUMENT_TEXT, "tokens-per-day", "N", "of a day of the calendar, UTC", &(options)->text[5]},                  \
        {ARGUMENT_TEXT, "tokens-per-month", "N", "of a month of the calendar, UTC", &(options)->text[6]},              \
        {ARGUMENT_TEXT, "concurrent-streams", "N", "answers under way at once, streamed or not", &(options)->text[7]}, \
    {                                                                                                                  \
        ARGUMENT_TEXT, "spend-per-month", "AMOUNT", "in the currency of the prices", &(options)->text[8]               \
    }
/** What the options' help needs besides. */
#define LIMIT_HELP "A limit is a number, as 60, 20k or 1.5M; 0 lets nothing pass, none takes a limit away."

/** How many were given. */
int limits_given(const struct limit_options *options);
/** Put them into `limits` (initialised; what is not given stays). GO_ON, or EXIT_USAGE after a sentence. */
int limits_apply(const struct command_usage *usage, const struct limit_options *options, Bora__V1__Limits *limits);
/** "MODEL:tokens-per-minute=20k,requests-per-minute=none", or "MODEL:REQUESTS:TOKENS" of a minute, where an empty number is no limit. MODEL may hold ':'. */
int limits_parse_model(const struct command_usage *usage, const char *text, struct arena *arena,
                       Bora__V1__ModelLimits **out);
/** "tokens-per-minute=20k,requests-per-minute=60" into `limits` (initialised). GO_ON, or how to end after a sentence. */
int limits_parse_list(const struct command_usage *usage, const char *option, const char *text, struct arena *arena,
                      Bora__V1__Limits *limits);
/** All of a list of such texts. */
int limits_parse_models(const struct command_usage *usage, const struct argument_list *list, struct arena *arena,
                        Bora__V1__ModelLimits ***out);
/** "60 req/min, 20,000 tok/min", or "" for none. */
void limits_describe(const Bora__V1__Limits *limits, char out[LIMITS_TEXT_BYTES]);
/**
 * All that bounds a key, a workspace or an organization (a message that has `limits`), on one line of a list; "" for nothing:
 * "60 req/min, 1.5M tok/day; small: 4 streams; each key: 5 req/s; only models small, large; only for chat".
 */
void limits_summarise(const ProtobufCMessage *owner, char out[LIMITS_TEXT_BYTES]);

#endif
