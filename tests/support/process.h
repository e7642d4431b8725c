/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** A program under test: started, watched through what it writes, stopped. It dies with its test. */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct test_process {
    pid_t pid;       /* 0: not running */
    char output[64]; /* file with all that it wrote, both streams; removed by test_process_stop */
};

/** `arguments[0]` is the program; NULL-ended. */
void test_process_start(struct test_process *process, const char *const *arguments);
/** Wait until a whole line contains `text`, and copy that line. False when the process ends first or `seconds` pass. */
bool test_process_wait_for(struct test_process *process, const char *text, int seconds, char *out_line,
                           size_t line_bytes);
/** All output so far, NUL-terminated, malloc'd. */
char *test_process_output(const struct test_process *process);
/** Wait for its end; the exit status, or 128 + signal; -1 after `seconds`. */
int test_process_wait(struct test_process *process, int seconds);
/** Send the signal, wait as above, kill if that takes too long, remove the output. */
int test_process_stop(struct test_process *process, int signal_number, int seconds);

#endif
