# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_test(NAME rpc/transcode_chat SOURCES transcode_chat_test.c DEPENDS rpc_transcode proto)
