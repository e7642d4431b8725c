# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
# From text to tokens: model files, tokenizer, chat layout.
bora_test(NAME engine/weights_gguf SOURCES ${CMAKE_CURRENT_LIST_DIR}/weights_gguf_test.c DEPENDS engine_weights base test_support)
