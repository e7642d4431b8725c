/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"
#include "cli/commands.h"
#include "cli/print.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/** Whoever closed one of these must not find in its place the first file or connection that is opened: it is one that refuses what is done with it. */
static void fill_standard_files(void) {
    for (int file = STDIN_FILENO; file <= STDERR_FILENO; file++) {
        if (fcntl(file, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", file == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

static int run(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        help_print_overview(stderr, NULL);
        return EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help_print_overview(stdout, NULL);
        return EXIT_OK;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        printf("bora %s\n", BORA_VERSION);
        return EXIT_OK;
    }
    return commands_run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    struct error err = {0};
    fill_standard_files();
    if (process_forbid_dumps(&err) != STATUS_OK) return print_failure("%s", err.message);
    int result = run(argc, argv);
    if (print_flush() || result != EXIT_OK) return result;
    return print_failure("standard output: %s", strerror(errno));
}
