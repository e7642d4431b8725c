# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_test(NAME rpc/transcode_chat SOURCES transcode_chat_test.c DEPENDS rpc_transcode proto)
bora_test(NAME rpc/transcode_check SOURCES transcode_check_test.c DEPENDS rpc_transcode proto)
bora_test(NAME rpc/protobuf_check SOURCES protobuf_check_test.c DEPENDS rpc_transcode proto)
bora_test(NAME rpc/batches SOURCES batches_test.c DEPENDS rpc_transcode proto)

# Messages with every form and rule, generated as proto/ is; instead of bora_proto, whose descriptors have the same symbol.
set(forms_out ${CMAKE_CURRENT_BINARY_DIR}/generated)
set(forms_sources ${forms_out}/transcode_forms.pb-c.c ${forms_out}/descriptors.c)
add_custom_command(OUTPUT ${forms_sources}
  DEPENDS ${CMAKE_CURRENT_LIST_DIR}/transcode_forms.proto ${PROJECT_SOURCE_DIR}/proto/bora/v1/options.proto ${PROJECT_SOURCE_DIR}/tools/generate_proto.sh
  COMMAND ${PROJECT_SOURCE_DIR}/tools/generate_proto.sh ${CMAKE_CURRENT_LIST_DIR}:${PROJECT_SOURCE_DIR}/proto ${forms_out} transcode_forms.proto bora/v1/options.proto
  COMMENT "protobuf-c from tests/unit/rpc/transcode_forms.proto")
set_source_files_properties(${forms_sources} PROPERTIES COMPILE_OPTIONS "-w")
add_library(bora_test_transcode_forms STATIC ${forms_sources})
target_include_directories(bora_test_transcode_forms SYSTEM PUBLIC ${forms_out})
target_link_libraries(bora_test_transcode_forms PUBLIC bora_rpc_transcode)
bora_test(NAME rpc/transcode_forms SOURCES transcode_forms_test.c DEPENDS test_transcode_forms)
bora_test(NAME rpc/transcode_call SOURCES transcode_call_test.c DEPENDS test_transcode_forms)
bora_test(NAME rpc/csv SOURCES csv_test.c DEPENDS test_transcode_forms)

bora_test(NAME rpc/http_framing SOURCES http_framing_test.c DEPENDS rpc_http)
bora_test(NAME rpc/http_parse SOURCES http_parse_test.c DEPENDS rpc_http)
bora_test(NAME rpc/http_request SOURCES http_request_test.c DEPENDS rpc_http)
bora_test(NAME rpc/http_stream SOURCES http_stream_test.c DEPENDS rpc_http)
bora_test(NAME rpc/http_life SOURCES http_life_test.c DEPENDS rpc_http)
bora_test(NAME rpc/http_tls SOURCES http_tls_test.c DEPENDS rpc_http LINK PkgConfig::gnutls ENVIRONMENT "TSAN_OPTIONS=ignore_noninstrumented_modules=1") # GnuTLS is not instrumented
