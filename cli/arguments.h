/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A command's words: options from a table (which also gives --help), and positional words. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

/** How the program ends. Numbers of a promise: docs/cli.md, and the manual, list them. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,         /* the service said no, or something else went wrong */
    EXIT_USAGE = 2,          /* called wrongly: nothing was sent */
    EXIT_NOT_AUTHORISED = 3, /* no key, a wrong one, or one that may not */
    EXIT_NOT_FOUND = 4,      /* no such thing, or nothing there that does it */
    EXIT_RATE_LIMITED = 5,
    EXIT_UNAVAILABLE = 6, /* nobody there, or no answer in time */
    EXIT_INTERRUPTED = 130,
    GO_ON = -1
};

enum argument_type {
    ARGUMENT_END,
    ARGUMENT_TEXT,     /* const char * */
    ARGUMENT_FLAG,     /* bool */
    ARGUMENT_INTEGER,  /* struct argument_integer */
    ARGUMENT_NUMBER,   /* struct argument_number */
    ARGUMENT_DURATION, /* struct argument_integer, nanoseconds; written 90s, 12h, 30d */
    ARGUMENT_LIST,     /* struct argument_list: may be given several times */
    ARGUMENT_COUNT,    /* struct argument_integer, 0 or more; written 2500, 20k, 1.5M, 2G (powers of 1000) */
    ARGUMENT_CHOICE,   /* const char *: one of the words of value_name, "csv|jsonl" */
};

struct argument_integer {
    bool given;
    int64_t value;
};
struct argument_number {
    bool given;
    double value;
};
enum { ARGUMENT_LIST_MAX = 64 };
struct argument_list {
    int count;
    const char *items[ARGUMENT_LIST_MAX];
};

struct argument {
    enum argument_type type;
    const char *name;       /* "max-tokens": --max-tokens N or --max-tokens=N */
    const char *value_name; /* "N"; NULL for flags. FILE, MODEL and KEY_ID are completed by shells */
    const char *help;       /* NULL: another spelling of an option, which is not told */
    void *target;
};

struct command_usage {
    const char *words;       /* "key revoke" */
    const char *positionals; /* "KEY_ID", or "" */
    const char *summary;     /* a sentence or more */
    int positional_min, positional_max;
};

/**
 * Fill the tables' targets from argv[0..argc), the words behind the command's own; "--" ends the options. `positionals` has room for
 * usage->positional_max. GO_ON, or how to end: EXIT_OK after --help, EXIT_USAGE after a sentence on stderr.
 */
int arguments_parse(const struct command_usage *usage, const struct argument *own, const struct argument *common,
                    int argc, char **argv, const char **positionals, int *out_count);
/** The name of `a` or `b` (either may be NULL) that `name` was probably meant to be, or NULL. */
const char *arguments_suggest(const struct argument *a, const struct argument *b, const char *name);
/** A sentence on stderr with a hint at --help; EXIT_USAGE. */
int usage_error(const struct command_usage *usage, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
