/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Number sets from short rules, for tests, the fuzzer and the golden file (tools/make_number_goldens.py has the rules). */
#ifndef TESTS_UNIT_ENGINE_NUMBER_FIXTURE_H
#define TESTS_UNIT_ENGINE_NUMBER_FIXTURE_H

#include "engine/grammar/number.h"

/** Rules with a space between them: ">=0 <10 *0.5 ~2 !1,2 =1,2". */
number_set number_rules(struct number_pool *pool, const char *rules);
/** After the whole text. */
number_state number_walk(struct number_pool *pool, number_state state, const char *text);

#endif
