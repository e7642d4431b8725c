# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_program(NAME bora-bench-rpc SOURCES ${CMAKE_CURRENT_LIST_DIR}/rpc_bench.c DEPENDS rpc_grpc base)
