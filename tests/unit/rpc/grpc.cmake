# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
add_library(bora_test_grpc_fixture STATIC grpc_fixture.c)
target_link_libraries(bora_test_grpc_fixture PUBLIC bora_rpc_grpc bora_base)
# gRPC's library is not instrumented: without the option TSan takes its insides for races.
set(grpc_environment "TSAN_OPTIONS=ignore_noninstrumented_modules=1")
bora_test(NAME rpc/grpc SOURCES grpc_test.c DEPENDS test_grpc_fixture ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_life SOURCES grpc_life_test.c DEPENDS test_grpc_fixture test_process ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_standard SOURCES grpc_standard_test.c DEPENDS test_grpc_fixture ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_tls SOURCES grpc_tls_test.c tls_fixture.c DEPENDS test_grpc_fixture test_process ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_stream_tls SOURCES grpc_stream_tls_test.c grpc_stream_fixture.c tls_fixture.c DEPENDS test_grpc_fixture rpc_grpc_stream rpc_http ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_stream SOURCES grpc_stream_test.c grpc_stream_fixture.c DEPENDS test_grpc_fixture rpc_grpc_stream ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_stream_life SOURCES grpc_stream_life_test.c grpc_stream_fixture.c DEPENDS test_grpc_fixture rpc_grpc_stream ENVIRONMENT ${grpc_environment})
bora_test(NAME rpc/grpc_stream_turn SOURCES grpc_stream_turn_test.c grpc_stream_fixture.c DEPENDS test_grpc_fixture rpc_grpc_stream LINK -Wl,--wrap=clock_system ENVIRONMENT ${grpc_environment})
