# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
add_subdirectory(${CMAKE_CURRENT_LIST_DIR}/text_stream)
bora_module(NAME engine SOURCES engine.c generation.c calls_apart.c constrain.c mask_ahead.c step_thread.c
  DEPENDS base kernels engine_weights engine_tokenizer engine_chat engine_grammar engine_kv_cache engine_sampler engine_model engine_scheduler engine_text_stream
  LINK Threads::Threads m)
bora_program(NAME bora-generate SOURCES ${PROJECT_SOURCE_DIR}/tools/bora_generate.c DEPENDS engine)
bora_program(NAME bora-tokenize SOURCES ${PROJECT_SOURCE_DIR}/tools/bora_tokenize.c DEPENDS engine_tokenizer engine_weights base)
