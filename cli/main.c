/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *word, *second; /* second: NULL for commands of one word */
    int (*run)(int argc, char **argv);
    const char *positionals, *help;
} commands[] = {
    {"chat", NULL, command_chat, "\"QUESTION\"", "ask a model and print its answer as it comes"},
    {"models", NULL, command_models, "", "list the models that can be asked now"},
    {"model", "inspect", command_model_inspect, "PATH", "say what a model file or folder is"},
    {"model", "convert", command_model_convert, "IN OUT", "write a model in another form, with other weight types"},
    {"model", "upcycle", command_model_upcycle, "DENSE OUT", "make a mixture of experts of a dense model"},
    {"grammar", "check", command_grammar_check, "--tokenizer FILE",
     "say which texts JSON Schemas admit, token by token"},
    {"grammar", "walk", command_grammar_walk, "--tokenizer FILE", "write random texts that JSON Schemas admit"},
    {"key", "create", command_key_create, "", "make an API key (admin)"},
    {"key", "list", command_key_list, "", "list API keys (admin)"},
    {"key", "revoke", command_key_revoke, "KEY_ID", "revoke an API key, everywhere at once (admin)"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/** All commands, or those that begin with `word`. */
static void print_overview(FILE *file, const char *word) {
    fprintf(file,
            "Usage: bora %s%sCOMMAND [options]\n\nA client of a Bora gateway, and a tool for model files and grammars. "
            "`bora "
            "%s%sCOMMAND --help` tells "
            "more.\n\nCommands:\n",
            word != NULL ? word : "", word != NULL ? " " : "", word != NULL ? word : "", word != NULL ? " " : "");
    for (int i = 0; i < COMMANDS; i++) {
        if (word != NULL && strcmp(word, commands[i].word) != 0) continue;
        char left[64];
        snprintf(left, sizeof left, "%s%s%s %s", commands[i].word, commands[i].second != NULL ? " " : "",
                 commands[i].second != NULL ? commands[i].second : "", commands[i].positionals);
        fprintf(file, "  %-24s %s\n", left, commands[i].help);
    }
    fprintf(file,
            "\nEnvironment: BORA_ADDRESS, the gateway's gRPC address (127.0.0.1:8081); BORA_API_KEY; BORA_ADMIN_KEY."
            "\nExit status: 0 done, 1 it failed, 2 it was called wrongly.\n");
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : NULL, *second = argc > 2 ? argv[2] : NULL;
    if (word != NULL && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)) {
        print_overview(stdout, NULL);
        return EXIT_OK;
    }
    if (word != NULL && strcmp(word, "--version") == 0) {
        printf("bora %s\n", BORA_VERSION);
        return EXIT_OK;
    }
    bool known = false;
    for (int i = 0; word != NULL && i < COMMANDS; i++) {
        if (strcmp(commands[i].word, word) != 0) continue;
        known = true;
        if (commands[i].second == NULL) return commands[i].run(argc - 2, argv + 2);
        if (second != NULL && strcmp(commands[i].second, second) == 0) return commands[i].run(argc - 3, argv + 3);
    }
    if (known && second != NULL && (strcmp(second, "--help") == 0 || strcmp(second, "-h") == 0)) {
        print_overview(stdout, word);
        return EXIT_OK;
    }
    if (known && second != NULL)
        fprintf(stderr, "bora: unknown command '%.64s %.64s'\n\n", word, second);
    else if (known)
        fprintf(stderr, "bora: '%.64s' needs one more word\n\n", word);
    else if (word != NULL && word[0] == '-')
        fprintf(stderr, "bora: options come behind the command: '%.64s'\n\n", word);
    else if (word != NULL)
        fprintf(stderr, "bora: unknown command '%.64s'\n\n", word);
    print_overview(stderr, known ? word : NULL);
    return EXIT_USAGE;
}
