# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# Tests of constrained decoding.
bora_test(NAME engine/grammar_earley_random SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_earley_random_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/grammar_mask SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_mask_test.c DEPENDS engine_grammar engine_tokenizer base)
bora_test(NAME engine/grammar_mask_rules SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_mask_rules_test.c DEPENDS engine_grammar engine_tokenizer base)
bora_test(NAME engine/grammar_utf8 SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_utf8_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/json_machine SOURCES ${CMAKE_CURRENT_LIST_DIR}/json_machine_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/grammar_finish SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_finish_test.c DEPENDS engine_grammar engine_tokenizer base TIMEOUT 400)
bora_test(NAME engine/grammar_rules SOURCES ${CMAKE_CURRENT_LIST_DIR}/grammar_rules_test.c DEPENDS engine_grammar base LINK PkgConfig::jansson)
# What a generation may write: regular languages, numbers, machines, masks.
bora_test(NAME engine/formats SOURCES ${CMAKE_CURRENT_LIST_DIR}/formats_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/formats_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/formats_golden_test.c DEPENDS engine_grammar base LINK PkgConfig::jansson)
bora_test(NAME engine/formats_rules SOURCES ${CMAKE_CURRENT_LIST_DIR}/formats_rules_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/regex SOURCES ${CMAKE_CURRENT_LIST_DIR}/regex_test.c DEPENDS engine_grammar base)
bora_test(NAME engine/regex_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/regex_golden_test.c DEPENDS engine_grammar base LINK PkgConfig::jansson)
bora_test(NAME engine/regex_pattern SOURCES ${CMAKE_CURRENT_LIST_DIR}/regex_pattern_test.c DEPENDS engine_grammar base)
