# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_program(NAME bora-bench-base SOURCES ${CMAKE_CURRENT_LIST_DIR}/base_bench.c DEPENDS base)
