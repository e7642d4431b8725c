/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The table of commands: the one source of what is run, helped with, completed by shells, and written into the manual.
 *
 *     const struct command audit_commands[] = {
 *         {.usage = {"audit", "", "What was done ...", 0, 0}, .help = "who changed what", .arguments = arguments, .connects = true, .run = run},
 *         {0}};
 *
 * A command's options have their targets in its file, as a process runs one command. It is run when its words have been parsed.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/arguments.h"

#include <stdio.h>

enum { COMMAND_NOUN_BYTES = 32 };

struct command {
    struct command_usage usage; /* its words: one, or two, "keys create" */
    const char *help;           /* half a line */
    const struct argument *arguments;
    bool connects;   /* takes connection_arguments too */
    bool is_default; /* of two words: the first alone means this one */
    /** The positional words that were given; gives the program's exit status. */
    int (*run)(const struct command_usage *usage, const char *const *words, int count);
};

/** The commands of one first word. */
struct command_noun {
    const char *group;              /* "Keys and tenants": nouns of one stand together */
    const struct command *commands; /* ends with one without words */
};
extern const struct command_noun command_nouns[]; /* ends with one without commands */

/** Options of a command that has none of its own, or does not connect. */
extern const struct argument no_arguments[];

/** The first word of a command, and what may follow it: "keys" and "create" or "". */
void command_words(const struct command *command, char first[COMMAND_NOUN_BYTES], const char **second);
/** The noun that another spelling stands for ("key" is "keys"), else the word itself. */
const char *commands_noun(const char *word);
/** The command that begins argv[0..argc), and how many words it takes. NULL after a sentence on stderr (or, `--help` of a noun, on stdout): `*out_exit`. */
const struct command *commands_find(int argc, char **argv, int *out_used, int *out_exit);
int commands_run(int argc, char **argv);

/** All commands, or those of one noun. */
void help_print_overview(FILE *file, const char *noun);
/** What --help says. */
int help_print_command(const struct command *command);

extern const struct command chat_commands[], complete_commands[], embed_commands[], models_commands[];
extern const struct command keys_commands[], workspaces_commands[], orgs_commands[], audit_commands[];
extern const struct command limits_commands[], usage_commands[], spend_commands[], prices_commands[];
extern const struct command files_commands[], jobs_commands[];
extern const struct command status_commands[], whoami_commands[], workers_commands[];
extern const struct command model_commands[], grammar_commands[];
extern const struct command config_commands[], completion_commands[], help_commands[];

#endif
