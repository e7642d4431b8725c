# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# The libraries that we link; docs/DEPENDENCIES.md has their versions and licences.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# pkg-config and CMake's own config of gRPC pull in the C++ library and 90 more; the C core needs two.
find_path(GRPC_INCLUDE grpc/grpc.h REQUIRED)
find_library(GRPC_LIBRARY grpc REQUIRED)
find_library(GPR_LIBRARY gpr REQUIRED)
add_library(grpc_c INTERFACE IMPORTED)
target_include_directories(grpc_c INTERFACE ${GRPC_INCLUDE})
target_link_libraries(grpc_c INTERFACE ${GRPC_LIBRARY} ${GPR_LIBRARY})

pkg_check_modules(protobuf_c REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(jansson REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(gnutls REQUIRED IMPORTED_TARGET gnutls)
pkg_check_modules(nghttp2 REQUIRED IMPORTED_TARGET libnghttp2)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(event REQUIRED IMPORTED_TARGET libevent libevent_pthreads)
pkg_check_modules(crypto REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(edit REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(gmp REQUIRED IMPORTED_TARGET gmp)
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)
