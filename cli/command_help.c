/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "cli/connection.h"
#include "cli/help.h"
#include "cli/terminal.h"

#include <string.h>

const struct help_entry help_exits[] = {
    {"0", "done"},
    {"1", "it failed: the service refused, or something else went wrong"},
    {"2", "it was called wrongly, or by a name of several things; nothing was done"},
    {"3", "not authorised: no key, a wrong one, or one that may not do this"},
    {"4", "not found, or nothing there that does it"},
    {"5", "a limit is reached; the time to wait is told, --retry N waits"},
    {"6", "nobody answers, or not in time"},
    {"130", "interrupted"},
    {NULL, NULL}};

const struct help_entry help_variables[] = {
    {"BORA_ADDRESS", "the gateway's gRPC address, HOST:PORT (" CONNECTION_ADDRESS_DEFAULT ")"},
    {"BORA_API_KEY", "the API key; or BORA_API_KEY_FILE, a file that holds it"},
    {"BORA_ADMIN_KEY", "the operator's key; or BORA_ADMIN_KEY_FILE"},
    {"BORA_MODEL", "what is asked without --model"},
    {"BORA_PROFILE", "section of the configuration file"},
    {"NO_COLOR", "when set, no colours"},
    {NULL, NULL}};

/* --- overviews --------------------------------------------------------------------------------------------------- */

/** "create, list, show" */
static void list_verbs(FILE *file, const struct command *commands) {
    char first[COMMAND_NOUN_BYTES];
    const char *verb;
    for (const struct command *at = commands; at->usage.words != NULL; at++) {
        command_words(at, first, &verb);
        fprintf(file, "%s%s", at > commands ? ", " : "", verb);
    }
}

static void print_nouns(FILE *file) {
    const char *group = "";
    for (const struct command_noun *noun = command_nouns; noun->commands != NULL; noun++) {
        char first[COMMAND_NOUN_BYTES];
        const char *verb;
        if (strcmp(group, noun->group) != 0)
            fprintf(file, "\n%s%s:%s\n", terminal_style(file, STYLE_BOLD), noun->group, terminal_plain(file));
        group = noun->group;
        command_words(noun->commands, first, &verb);
        fprintf(file, "  %-12s ", first);
        if (verb[0] != 0)
            list_verbs(file, noun->commands);
        else
            fputs(noun->commands->help, file);
        fputc('\n', file);
    }
}

static void print_entries(FILE *file, const char *title, const struct help_entry *entries, int width) {
    fprintf(file, "\n%s%s:%s\n", terminal_style(file, STYLE_BOLD), title, terminal_plain(file));
    for (; entries->name != NULL; entries++) fprintf(file, "  %-*s %s\n", width, entries->name, entries->text);
}

/** The commands of one noun. */
static void print_verbs(FILE *file, const char *noun) {
    fprintf(file, "Usage: bora %s COMMAND [options]\n\nCommands:\n", noun);
    for (const struct command_noun *at = command_nouns; at->commands != NULL; at++) {
        for (const struct command *command = at->commands; command->usage.words != NULL; command++) {
            char first[COMMAND_NOUN_BYTES], left[96];
            const char *verb;
            command_words(command, first, &verb);
            if (strcmp(first, noun) != 0) continue;
            snprintf(left, sizeof left, "%s %s", command->usage.words, command->usage.positionals);
            fprintf(file, "  %-28s %s%s\n", left, command->help, command->is_default ? " (the default)" : "");
        }
    }
    fprintf(file, "\n`bora %s COMMAND --help` tells more.\n", noun);
}

void help_print_overview(FILE *file, const char *noun) {
    if (noun != NULL) {
        print_verbs(file, noun);
        return;
    }
    fprintf(file, "Usage: bora COMMAND [options]\n\nA client of a Bora gateway, and a tool for model files and "
                  "grammars.\n`bora COMMAND --help` tells more, `bora help --man` writes the manual.\n");
    print_nouns(file);
    print_entries(file, "Environment", help_variables, 14);
    fprintf(file, "\nThe configuration file may hold the same: bora config --help.\n");
    print_entries(file, "Exit status", help_exits, 4);
}

/* --- the command ------------------------------------------------------------------------------------------------- */

static bool as_manual;
static const struct argument arguments[] = {
    {ARGUMENT_FLAG, "man", NULL, "write the whole manual, for man -l or mandoc", &as_manual},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static int run(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage;
    if (as_manual) {
        manual_print(stdout);
        return EXIT_OK;
    }
    if (count == 0) {
        help_print_overview(stdout, NULL);
        return EXIT_OK;
    }
    /* As if it were called with --help: one way to say it. */
    char *call[] = {(char *)words[0], (char *)(count > 1 ? words[1] : "--help"), (char *)"--help"};
    return commands_run(count > 1 ? 3 : 2, call);
}

const struct command help_commands[] = {
    {.usage = {"help", "[COMMAND...]", "Help with a command, or the list of all.", 0, 2},
     .help = "help with a command; --man: the manual",
     .arguments = arguments,
     .run = run},
    {.usage = {NULL, NULL, NULL, 0, 0}}};
