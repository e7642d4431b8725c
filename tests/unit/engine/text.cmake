# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
# From text to tokens: model files, tokenizer, chat layout.
bora_test(NAME engine/weights_gguf SOURCES ${CMAKE_CURRENT_LIST_DIR}/weights_gguf_test.c DEPENDS engine_weights base test_support)
bora_test(NAME engine/weights_safetensors SOURCES ${CMAKE_CURRENT_LIST_DIR}/weights_safetensors_test.c DEPENDS engine_weights base test_support)
bora_test(NAME engine/weights_checkpoint SOURCES ${CMAKE_CURRENT_LIST_DIR}/weights_checkpoint_test.c DEPENDS engine_weights base test_support)
bora_test(NAME engine/split SOURCES ${CMAKE_CURRENT_LIST_DIR}/split_test.c DEPENDS engine_tokenizer base)
bora_test(NAME engine/normalizer SOURCES ${CMAKE_CURRENT_LIST_DIR}/normalizer_test.c DEPENDS engine_tokenizer base)
bora_test(NAME engine/unigram SOURCES ${CMAKE_CURRENT_LIST_DIR}/unigram_test.c DEPENDS engine_tokenizer base)
bora_test(NAME engine/bpe SOURCES ${CMAKE_CURRENT_LIST_DIR}/bpe_test.c DEPENDS engine_tokenizer base)
bora_test(NAME engine/tokenizer_load SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_load_test.c DEPENDS engine_tokenizer engine_weights base test_support)
bora_test(NAME engine/detokenizer SOURCES ${CMAKE_CURRENT_LIST_DIR}/detokenizer_test.c DEPENDS engine_tokenizer engine_weights base test_support)
bora_test(NAME engine/tokenizer SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_test.c DEPENDS engine_tokenizer engine_weights base test_support
  LINK PkgConfig::jansson)
bora_test(NAME engine/chat SOURCES ${CMAKE_CURRENT_LIST_DIR}/chat_test.c DEPENDS engine_chat engine_tokenizer engine_weights base test_support
  LINK PkgConfig::jansson)
bora_test(NAME engine/mistral_layout SOURCES ${CMAKE_CURRENT_LIST_DIR}/mistral_layout_test.c DEPENDS engine_chat engine_tokenizer engine_weights base test_support test_conversation
  LINK PkgConfig::jansson)
bora_test(NAME engine/python_json SOURCES ${CMAKE_CURRENT_LIST_DIR}/python_json_test.c DEPENDS engine_chat base)
bora_test(NAME engine/template SOURCES ${CMAKE_CURRENT_LIST_DIR}/template_test.c DEPENDS engine_chat base LINK PkgConfig::jansson)
bora_test(NAME engine/template_layout SOURCES ${CMAKE_CURRENT_LIST_DIR}/template_layout_test.c DEPENDS engine_chat engine_tokenizer engine_weights base test_support test_conversation
  LINK PkgConfig::jansson)
bora_test(NAME engine/chat_folder SOURCES ${CMAKE_CURRENT_LIST_DIR}/chat_folder_test.c DEPENDS engine_chat engine_tokenizer engine_weights base test_support)
bora_test(NAME engine/tokenizer_kinds SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_kinds_test.c DEPENDS engine_tokenizer engine_weights base test_support
  LINK PkgConfig::jansson)
bora_test(NAME engine/tokenizer_bound SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_bound_test.c ${CMAKE_CURRENT_LIST_DIR}/bound_fixture.c
  DEPENDS engine_tokenizer engine_weights base test_support LINK PkgConfig::utf8proc)
bora_test(NAME engine/prompt_bound SOURCES ${CMAKE_CURRENT_LIST_DIR}/prompt_bound_test.c ${CMAKE_CURRENT_LIST_DIR}/bound_fixture.c
  DEPENDS engine_chat engine_tokenizer engine_weights base test_support)
