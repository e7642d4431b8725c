# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
#
# Tests of the decoder: KV cache, model, sampler, text stream, scheduler and the engine around them.
bora_test(NAME engine/kv_cache SOURCES ${CMAKE_CURRENT_LIST_DIR}/kv_cache_test.c DEPENDS engine_kv_cache base
  LINK PkgConfig::crypto -Wl,--wrap=EVP_DigestFinal_ex)
bora_test(NAME engine/sampler SOURCES ${CMAKE_CURRENT_LIST_DIR}/sampler_test.c DEPENDS engine_sampler base LINK m)
bora_test(NAME engine/sampler_reference SOURCES ${CMAKE_CURRENT_LIST_DIR}/sampler_reference_test.c DEPENDS engine_sampler base LINK m)
bora_test(NAME engine/text_stream SOURCES ${CMAKE_CURRENT_LIST_DIR}/text_stream_test.c DEPENDS engine_text_stream engine_weights test_tiny_model base)
foreach(question IN ITEMS scheduler scheduler_memory scheduler_time scheduler_beam scheduler_search scheduler_simulation)
  bora_test(NAME engine/${question} SOURCES ${CMAKE_CURRENT_LIST_DIR}/${question}_test.c ${CMAKE_CURRENT_LIST_DIR}/scheduler_fixture.c
    DEPENDS engine_scheduler base LINK m)
endforeach()
bora_test(NAME engine/model SOURCES ${CMAKE_CURRENT_LIST_DIR}/model_test.c DEPENDS engine_model engine_weights test_tiny_model base LINK m)
foreach(question IN ITEMS engine engine_beam engine_calls engine_grammar engine_books engine_invariance)
  bora_test(NAME engine/${question} SOURCES ${CMAKE_CURRENT_LIST_DIR}/${question}_test.c ${CMAKE_CURRENT_LIST_DIR}/engine_fixture.c
    DEPENDS engine test_tiny_model base LINK m TIMEOUT 600)
endforeach()
# The real model against llama.cpp's answers, one run per kernel variant; a variant that the processor lacks is skipped.
foreach(variant IN ITEMS plain avx2 avx512)
  bora_test(NAME engine/golden_${variant} SOURCES ${CMAKE_CURRENT_LIST_DIR}/golden_test.c DEPENDS engine test_support base
    LINK PkgConfig::jansson m ARGS ${variant} LABELS model TIMEOUT 600)
endforeach()
bora_test(NAME engine/families SOURCES ${CMAKE_CURRENT_LIST_DIR}/families_test.c DEPENDS engine_model engine_weights test_support base LINK m TIMEOUT 300)
bora_test(NAME engine/convert_vocabulary SOURCES ${CMAKE_CURRENT_LIST_DIR}/convert_vocabulary_test.c DEPENDS engine_convert engine_tokenizer engine_weights test_support base)
bora_test(NAME engine/convert SOURCES ${CMAKE_CURRENT_LIST_DIR}/convert_test.c
  DEPENDS engine_convert engine_model engine_kv_cache engine_weights test_support base LINK m)
bora_test(NAME engine/model_config SOURCES ${CMAKE_CURRENT_LIST_DIR}/model_config_test.c DEPENDS engine_model engine_weights test_tiny_model base LINK m)
# Gemma 3 270M against llama.cpp's answers; skipped where the file is not (`./dev up --tiers` fetches it).
foreach(variant IN ITEMS plain avx2 avx512)
  bora_test(NAME engine/golden_gemma_${variant} SOURCES ${CMAKE_CURRENT_LIST_DIR}/golden_gemma_test.c DEPENDS engine_model engine_weights test_support base
    LINK PkgConfig::jansson m ARGS ${variant} LABELS model TIMEOUT 600)
endforeach()
