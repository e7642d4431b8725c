# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# The HTTP/JSON half of rpc/.
bora_module(NAME rpc_transcode
  SOURCES protobuf_check.c batches.c transcode_plan.c transcode_rules.c transcode_read.c transcode_call.c transcode_check.c transcode_write.c csv.c
  DEPENDS base LINK PkgConfig::protobuf_c)
bora_module(NAME rpc_tls SOURCES tls.c DEPENDS base LINK PkgConfig::gnutls)
bora_module(NAME rpc_http
  SOURCES http_framing.c http_parse.c http_exchange.c http_connection.c http_handshakes.c http_tls.c http_peer.c http_server.c
  DEPENDS base rpc_tls LINK PkgConfig::gnutls Threads::Threads)
