/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A command's words: options from a table (which also gives --help), and positional words. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

/** How the program ends. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, GO_ON = -1 };

enum argument_type {
    ARGUMENT_END,
    ARGUMENT_TEXT,     /* const char * */
    ARGUMENT_FLAG,     /* bool */
    ARGUMENT_INTEGER,  /* struct argument_integer */
    ARGUMENT_NUMBER,   /* struct argument_number */
    ARGUMENT_DURATION, /* struct argument_integer, nanoseconds; written 90s, 12h, 30d */
    ARGUMENT_LIST,     /* struct argument_list: may be given several times */
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
    const char *value_name; /* "N"; NULL for flags */
    const char *help;
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
/** A sentence on stderr with a hint at --help; EXIT_USAGE. */
int usage_error(const struct command_usage *usage, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
