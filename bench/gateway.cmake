# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# What bench/gateway.py runs: a worker that computes nothing, and clients.
bora_program(NAME bora-bench-null
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/null_worker.c ${CMAKE_CURRENT_LIST_DIR}/null_answer.c ${CMAKE_CURRENT_LIST_DIR}/null_protocol.c ${CMAKE_CURRENT_LIST_DIR}/null_stream.c ${CMAKE_CURRENT_LIST_DIR}/null_http.c
  DEPENDS rpc_http rpc_transcode store proto base LINK PkgConfig::nghttp2)
bora_program(NAME bora-bench-load SOURCES ${CMAKE_CURRENT_LIST_DIR}/gateway_load.c ${CMAKE_CURRENT_LIST_DIR}/load_http.c DEPENDS base LINK m)
bora_program(NAME bora-bench-hold SOURCES ${CMAKE_CURRENT_LIST_DIR}/gateway_hold.c ${CMAKE_CURRENT_LIST_DIR}/load_http.c DEPENDS base)
