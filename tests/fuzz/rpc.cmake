# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_fuzzer(NAME transcode SOURCES transcode_fuzz.c DEPENDS rpc_transcode proto LINK PkgConfig::jansson)
bora_fuzzer(NAME transcode_call SOURCES transcode_call_fuzz.c DEPENDS rpc_transcode proto)
bora_fuzzer(NAME protobuf_unpack SOURCES protobuf_unpack_fuzz.c DEPENDS rpc_transcode proto)
bora_fuzzer(NAME grpc SOURCES grpc_fuzz.c DEPENDS rpc_grpc)
bora_fuzzer(NAME http_framing SOURCES http_framing_fuzz.c DEPENDS rpc_http)
bora_fuzzer(NAME http_parse SOURCES http_parse_fuzz.c DEPENDS rpc_http)
bora_fuzzer(NAME grpc_stream SOURCES grpc_stream_fuzz.c DEPENDS rpc_grpc_stream)
