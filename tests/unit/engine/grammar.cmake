# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# Tests of constrained decoding.
bora_test(NAME engine/grammar_earley_random SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_earley_random_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/grammar_rules SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_rules_test.c DEPENDS engine_grammar base LINK PkgConfig::jansson)
