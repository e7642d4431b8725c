/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ENGINE_CHECK_H
#define TESTS_UNIT_ENGINE_CHECK_H

#include "tests/support/check.h"

#endif
