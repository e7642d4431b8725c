# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# The HTTP/JSON half of rpc/.
bora_module(NAME rpc_transcode
  SOURCES json.c protobuf_check.c transcode_plan.c transcode_rules.c transcode_read.c transcode_check.c transcode_write.c
  DEPENDS base LINK PkgConfig::protobuf_c)
