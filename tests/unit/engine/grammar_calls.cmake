# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_test(NAME engine/calls SOURCES ${CMAKE_CURRENT_LIST_DIR}/calls_test.c ${CMAKE_CURRENT_LIST_DIR}/calls_fixture.c DEPENDS engine_grammar engine_tokenizer base)
bora_test(NAME engine/calls_finish SOURCES ${CMAKE_CURRENT_LIST_DIR}/calls_finish_test.c ${CMAKE_CURRENT_LIST_DIR}/calls_fixture.c DEPENDS engine_grammar engine_tokenizer base)
bora_test(NAME engine/calls_layout SOURCES ${CMAKE_CURRENT_LIST_DIR}/calls_layout_test.c DEPENDS engine_grammar engine_chat engine_tokenizer engine_weights base test_support)
bora_test(NAME engine/calls_spelling SOURCES ${CMAKE_CURRENT_LIST_DIR}/calls_spelling_test.c ${CMAKE_CURRENT_LIST_DIR}/calls_fixture.c DEPENDS engine_grammar engine_tokenizer base)
