/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The small real model that tests use: SmolLM2-135M-Instruct, Q4_1. `./dev test` fetches it before it runs them.
 * $BORA_TEST_MODEL, else ${BORA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bora}/models/SmolLM2-135M-Instruct.Q4_1.gguf.
 */
#ifndef TESTS_SUPPORT_TEST_MODEL_H
#define TESTS_SUPPORT_TEST_MODEL_H

/** Its path, until the process ends. When there is no such file the test program says so and exits with 1: a test without the model has failed. */
const char *test_model_path(void);

#endif
