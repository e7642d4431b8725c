/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <string.h>

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        help_print_overview(stderr, NULL);
        return EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help_print_overview(stdout, NULL);
        return EXIT_OK;
    }
    if (strcmp(word, "--version") == 0) {
        printf("bora %s\n", BORA_VERSION);
        return EXIT_OK;
    }
    return commands_run(argc - 1, argv + 1);
}
