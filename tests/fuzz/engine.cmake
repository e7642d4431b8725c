# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
bora_fuzzer(NAME gguf SOURCES ${CMAKE_CURRENT_LIST_DIR}/gguf_fuzz.c DEPENDS engine_weights base)
bora_fuzzer(NAME safetensors SOURCES ${CMAKE_CURRENT_LIST_DIR}/safetensors_fuzz.c DEPENDS engine_weights base)
bora_fuzzer(NAME checkpoint SOURCES ${CMAKE_CURRENT_LIST_DIR}/checkpoint_fuzz.c DEPENDS engine_weights base)
bora_fuzzer(NAME convert_vocabulary SOURCES ${CMAKE_CURRENT_LIST_DIR}/convert_vocabulary_fuzz.c DEPENDS engine_convert base)
bora_fuzzer(NAME tokenizer SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_fuzz.c DEPENDS engine_tokenizer engine_weights base test_support)
bora_fuzzer(NAME vocabulary SOURCES ${CMAKE_CURRENT_LIST_DIR}/vocabulary_fuzz.c DEPENDS engine_chat engine_tokenizer engine_weights base)
bora_fuzzer(NAME chat SOURCES ${CMAKE_CURRENT_LIST_DIR}/chat_fuzz.c DEPENDS engine_chat engine_tokenizer engine_weights base test_support)
bora_fuzzer(NAME model SOURCES ${CMAKE_CURRENT_LIST_DIR}/model_fuzz.c DEPENDS engine_model engine_weights base)
bora_fuzzer(NAME model_config SOURCES ${CMAKE_CURRENT_LIST_DIR}/model_config_fuzz.c DEPENDS engine_model engine_weights base)
bora_fuzzer(NAME tokenizer_file SOURCES ${CMAKE_CURRENT_LIST_DIR}/tokenizer_file_fuzz.c DEPENDS engine_tokenizer engine_weights base)
bora_fuzzer(NAME template SOURCES ${CMAKE_CURRENT_LIST_DIR}/template_fuzz.c DEPENDS engine_chat base)
bora_fuzzer(NAME mistral SOURCES ${CMAKE_CURRENT_LIST_DIR}/mistral_fuzz.c DEPENDS engine_chat engine_tokenizer engine_weights base test_support)
