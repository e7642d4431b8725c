# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# The gRPC half of rpc/.
bora_module(NAME rpc_grpc
  SOURCES grpc_common.c grpc_server.c grpc_client.c grpc_acceptor.c grpc_health.c grpc_reflection.c
  DEPENDS base LINK grpc_c)
