# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# The gRPC half of rpc/. The standard services' own descriptors (proto/grpc/, gRPC's files as they are) are embedded for reflection.
set(standard_files grpc/health/v1/health.proto grpc/reflection/v1/reflection.proto grpc/reflection/v1alpha/reflection.proto)
list(TRANSFORM standard_files PREPEND ${CMAKE_CURRENT_LIST_DIR}/proto/ OUTPUT_VARIABLE standard_paths)
set(standard_set ${CMAKE_CURRENT_BINARY_DIR}/grpc_standard_protos)
add_custom_command(OUTPUT ${standard_set}.c DEPENDS ${standard_paths} ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake
  COMMAND ${PROTOC} -I ${CMAKE_CURRENT_LIST_DIR}/proto --include_imports --descriptor_set_out=${standard_set}.pb ${standard_files}
  COMMAND ${CMAKE_COMMAND} -DINPUT=${standard_set}.pb -DOUTPUT=${standard_set}.c -DNAME=grpc_standard_protos -P ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake)
bora_module(NAME rpc_grpc
  SOURCES grpc_common.c grpc_server.c grpc_client.c grpc_acceptor.c grpc_health.c grpc_reflection.c ${standard_set}.c
  DEPENDS base rpc_tls LINK grpc_c)
bora_module(NAME rpc_grpc_stream
  SOURCES grpc_stream.c grpc_stream_http2.c
  DEPENDS base rpc_tls LINK PkgConfig::nghttp2 Threads::Threads)
