/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include "cli/connection.h"
#include "cli/print.h"
#include "cli/suggest.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

enum { POSITIONALS_MAX = 8 };

const struct argument no_arguments[] = {{ARGUMENT_END, NULL, NULL, NULL, NULL}};

#define ASKING "Asking models"
#define TENANTS "Keys and tenants"
#define USAGE "Limits, usage and money"
#define TUNING "Files and fine-tuning"
#define RUNNING "The running platform"
#define LOCAL "Model files and grammars, without a gateway"
#define ITSELF "This program"
const struct command_noun command_nouns[] = {{ASKING, chat_commands},
                                             {ASKING, complete_commands},
                                             {ASKING, embed_commands},
                                             {ASKING, models_commands},
                                             {TENANTS, keys_commands},
                                             {TENANTS, workspaces_commands},
                                             {TENANTS, orgs_commands},
                                             {TENANTS, audit_commands},
                                             {USAGE, limits_commands},
                                             {USAGE, usage_commands},
                                             {USAGE, spend_commands},
                                             {USAGE, prices_commands},
                                             {TUNING, files_commands},
                                             {TUNING, jobs_commands},
                                             {RUNNING, status_commands},
                                             {RUNNING, whoami_commands},
                                             {RUNNING, workers_commands},
                                             {LOCAL, model_commands},
                                             {LOCAL, grammar_commands},
                                             {ITSELF, config_commands},
                                             {ITSELF, completion_commands},
                                             {ITSELF, help_commands},
                                             {NULL, NULL}};

/** What people write who are used to other tools. `model` is a noun of its own: model files. */
static const struct {
    const char *word, *noun;
} aliases[] = {{"key", "keys"},      {"workspace", "workspaces"}, {"org", "orgs"},   {"organizations", "orgs"},
               {"limit", "limits"},  {"price", "prices"},         {"file", "files"}, {"job", "jobs"},
               {"worker", "workers"}};

void command_words(const struct command *command, char first[COMMAND_NOUN_BYTES], const char **second) {
    size_t length = strcspn(command->usage.words, " ");
    snprintf(first, COMMAND_NOUN_BYTES, "%.*s", (int)length, command->usage.words);
    *second = command->usage.words + length + (command->usage.words[length] == ' ');
}

const char *commands_noun(const char *word) {
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (strcmp(aliases[i].word, word) == 0) return aliases[i].noun;
    }
    return word;
}

/** Other words for the same act, where a noun has only one of them. */
static const char *const verb_aliases[][2] = {
    {"get", "show"},  {"show", "get"},      {"view", "get"},   {"view", "show"},     {"describe", "get"},
    {"ls", "list"},   {"describe", "show"}, {"new", "create"}, {"add", "create"},    {"edit", "update"},
    {"rm", "delete"}, {"delete", "revoke"}, {"rm", "remove"},  {"delete", "remove"}, {"rm", "revoke"}};

/* --- which one --------------------------------------------------------------------------------------------------- */

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static const struct command *find_noun(const char *word) {
    char first[COMMAND_NOUN_BYTES];
    const char *second, *noun = commands_noun(word);
    for (const struct command_noun *at = command_nouns; at->commands != NULL; at++) {
        command_words(at->commands, first, &second);
        if (strcmp(first, noun) == 0) return at->commands;
    }
    return NULL;
}

static int unknown_verb(const struct command *commands, const char *word) {
    char first[COMMAND_NOUN_BYTES];
    const char *second, *nearest = NULL;
    size_t distance = suggest_distance(word);
    command_words(commands, first, &second);
    for (const struct command *at = commands; at->usage.words != NULL; at++)
        suggest_word(word, at->usage.words + strlen(first) + 1, &nearest, &distance);
    const struct command_usage noun = {first, "", "", 0, 0};
    if (nearest == NULL) return usage_error(&noun, "unknown command '%s %.64s'", first, word);
    return usage_error(&noun, "unknown command '%s %.64s'; did you mean '%s %s'?", first, word, first, nearest);
}

static const struct command *find_exactly(const struct command *commands, const char *verb) {
    char first[COMMAND_NOUN_BYTES];
    const char *known;
    for (const struct command *at = commands; at->usage.words != NULL; at++) {
        command_words(at, first, &known);
        if (strcmp(known, verb) == 0) return at;
    }
    return NULL;
}

static const struct command *find_verb(const struct command *commands, const char *verb) {
    const struct command *found = find_exactly(commands, verb);
    for (size_t i = 0; found == NULL && i < sizeof verb_aliases / sizeof *verb_aliases; i++) {
        if (strcmp(verb_aliases[i][0], verb) == 0) found = find_exactly(commands, verb_aliases[i][1]);
    }
    return found;
}

/** "list keys", as other tools have it; NULL when it is no such thing. */
static const struct command *turned_round(const char *verb, const char *noun) {
    const struct command *commands = noun != NULL ? find_noun(noun) : NULL;
    return commands != NULL ? find_verb(commands, verb) : NULL;
}

static int unknown_noun(const char *word, const char *next) {
    char first[COMMAND_NOUN_BYTES];
    const char *second, *nearest = NULL;
    static char meant[COMMAND_NOUN_BYTES];
    size_t distance = suggest_distance(word);
    for (const struct command_noun *at = command_nouns; at->commands != NULL; at++) {
        size_t before = distance;
        command_words(at->commands, first, &second);
        suggest_word(word, first, &nearest, &distance);
        if (distance < before) memcpy(meant, first, sizeof meant);
    }
    static const struct command_usage all = {"", "", "", 0, 0};
    const struct command *turned = turned_round(word, next);
    if (turned != NULL)
        return usage_error(&all, "unknown command '%.64s'; did you mean '%s'?", word, turned->usage.words);
    if (word[0] == '-') return usage_error(&all, "unknown option '%.64s' in front of a command", word);
    if (nearest == NULL) return usage_error(&all, "unknown command '%.64s'", word);
    return usage_error(&all, "unknown command '%.64s'; did you mean '%s'?", word, meant);
}

const struct command *commands_find(int argc, char **argv, int *out_used, int *out_exit) {
    const struct command *commands = find_noun(argv[0]), *standard = NULL;
    char first[COMMAND_NOUN_BYTES];
    const char *verb, *word = argc > 1 ? argv[1] : NULL;
    *out_used = 1;
    if (commands == NULL) {
        *out_exit = unknown_noun(argv[0], argc > 1 ? argv[1] : NULL);
        return NULL;
    }
    command_words(commands, first, &verb);
    if (verb[0] == 0) return commands;
    const struct command *found = word != NULL ? find_verb(commands, word) : NULL;
    if (found != NULL) {
        *out_used = 2;
        return found;
    }
    for (const struct command *at = commands; at->usage.words != NULL; at++) {
        if (at->is_default) standard = at;
    }
    if (word != NULL && is_help(word)) {
        help_print_overview(stdout, first);
        *out_exit = EXIT_OK;
    } else if (word != NULL && word[0] != '-') {
        *out_exit = unknown_verb(commands, word);
    } else if (standard != NULL) {
        return standard;
    } else {
        print_failure("'%s' needs one more word\n", first);
        help_print_overview(stderr, first);
        *out_exit = EXIT_USAGE;
    }
    return NULL;
}

/** How many words in front of the command are options that every command takes which connects, as kubectl and git have them there too. */
static int count_leading(int argc, char **argv) {
    int count = 0;
    while (count < argc && strncmp(argv[count], "--", 2) == 0) {
        const struct argument *option = connection_arguments;
        size_t length = strcspn(argv[count] + 2, "=");
        while (option->type != ARGUMENT_END &&
               (strlen(option->name) != length || memcmp(option->name, argv[count] + 2, length) != 0))
            option++;
        if (option->type == ARGUMENT_END) return count;
        count += option->type == ARGUMENT_FLAG || argv[count][2 + length] == '=' ? 1 : 2;
    }
    return count;
}

/** The options in front as if they stood behind the command's words. */
static int parse(const struct command *command, int leading, int used, int argc, char **argv, const char **words,
                 int *out_count) {
    int count = leading;
    char **options = calloc((size_t)argc + 1, sizeof *options);
    if (options == NULL) return print_failure("Out of memory.");
    memcpy(options, argv, (size_t)leading * sizeof *options);
    for (int i = leading + used; i < argc; i++) options[count++] = argv[i];
    int result =
        arguments_parse(&command->usage, command->arguments, command->connects ? connection_arguments : no_arguments,
                        count, options, words, out_count);
    free(options);
    return result;
}

int commands_run(int argc, char **argv) {
    const char *words[POSITIONALS_MAX] = {0};
    int used, exit_status, count = 0, leading = count_leading(argc, argv);
    static const struct command_usage all = {"", "", "", 0, 0};
    if (leading >= argc) return usage_error(&all, "no command behind '%.64s'", argv[leading > argc ? argc - 1 : 0]);
    if (is_help(argv[leading])) {
        help_print_overview(stdout, NULL);
        return EXIT_OK;
    }
    const struct command *command = commands_find(argc - leading, argv + leading, &used, &exit_status);
    if (command == NULL) return exit_status;
    int result = parse(command, leading, used, argc, argv, words, &count);
    if (result != GO_ON) return result;
    terminal_set_quiet(connection_options.quiet);
    return command->run(&command->usage, words, count);
}
