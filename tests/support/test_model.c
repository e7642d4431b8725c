/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/test_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != 0 ? value : NULL;
}

const char *test_model_path(void) {
    static char path[4096];
    const char *given = environment("BORA_TEST_MODEL"), *cache = environment("BORA_CACHE"),
               *xdg = environment("XDG_CACHE_HOME");
    const char *home = environment("HOME") != NULL ? environment("HOME") : "";
    static const char file[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (given != NULL)
        snprintf(path, sizeof path, "%s", given);
    else if (cache != NULL)
        snprintf(path, sizeof path, "%s/%s", cache, file);
    else if (xdg != NULL)
        snprintf(path, sizeof path, "%s/bora/%s", xdg, file);
    else
        snprintf(path, sizeof path, "%s/.cache/bora/%s", home, file);
    if (access(path, R_OK) == 0) return path;
    fprintf(stderr, "FAILED: the test model %s is not there; `./dev test` fetches it, or set BORA_TEST_MODEL\n", path);
    exit(1);
}
