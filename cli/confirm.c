/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/confirm.h"

#include "cli/arguments.h"
#include "cli/print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

bool confirm_given;

bool confirm_asks(void) {
    return !confirm_given && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int confirm(const char *question, ...) {
    enum { SENTENCE_BYTES = 1024, ANSWER_BYTES = 64 };
    char sentence[SENTENCE_BYTES], answer[ANSWER_BYTES];
    if (!confirm_asks()) return GO_ON;
    va_list values;
    va_start(values, question);
    vsnprintf(sentence, sizeof sentence, question, values);
    va_end(values);
    print_masked(stderr, sentence);
    fputs(" [y/N] ", stderr);
    fflush(stderr);
    bool came = fgets(answer, sizeof answer, stdin) != NULL;
    if (!came) fputs("\n", stderr);
    answer[came ? strcspn(answer, "\r\n") : 0] = 0;
    if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0) return GO_ON;
    return print_failure("nothing was changed");
}
