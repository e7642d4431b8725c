# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
foreach(question IN ITEMS number number_golden)
  bora_test(NAME engine/${question} SOURCES ${CMAKE_CURRENT_LIST_DIR}/${question}_test.c ${CMAKE_CURRENT_LIST_DIR}/number_fixture.c DEPENDS engine_grammar base)
endforeach()
