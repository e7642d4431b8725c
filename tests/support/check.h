/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** cmocka with what the tests share: a status that should be OK shows its message when it is not. */
#ifndef TESTS_SUPPORT_CHECK_H
#define TESTS_SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"

/** For calls that should succeed. Reset it after one that should not. */
[[maybe_unused]] static struct error check_error;

#define check_ok(expression)                                                                      \
    do {                                                                                          \
        enum status check_status_ = (expression);                                                 \
        if (check_status_ != STATUS_OK)                                                           \
            fail_msg("%s: %s: %s", #expression, status_name(check_status_), check_error.message); \
    } while (0)

/** The call fails with `status`, and its message names `word`. */
#define check_fails(expression, expected, word)                                                                    \
    do {                                                                                                           \
        check_error = (struct error){0};                                                                           \
        enum status check_status_ = (expression);                                                                  \
        if (check_status_ != (expected))                                                                           \
            fail_msg("%s: %s where %s is due: %s", #expression, status_name(check_status_), status_name(expected), \
                     check_error.message);                                                                         \
        if (strstr(check_error.message, (word)) == NULL)                                                           \
            fail_msg("%s: '%s' does not name '%s'", #expression, check_error.message, (word));                     \
        check_error = (struct error){0};                                                                           \
    } while (0)

#endif
