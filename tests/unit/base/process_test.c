/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_a_process_that_forbids_dumps_leaves_none(void **state) {
    (void)state;
    pid_t child = fork(); /* it holds for the process' life, so not in this one */
    assert_int_not_equal(child, -1);
    if (child == 0) {
        struct rlimit limit;
        bool forbidden = process_forbid_dumps(NULL) == STATUS_OK && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 &&
                         getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0;
        signal(SIGABRT, SIG_DFL);
        if (!forbidden) _exit(1);
        abort();
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_false(WCOREDUMP(status));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_process_that_forbids_dumps_leaves_none)};
    return cmocka_run_group_tests_name("base/process", tests, NULL, NULL);
}
