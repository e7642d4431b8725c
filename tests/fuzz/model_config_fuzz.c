/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A hostile config.json (first byte 'h') or params.json (anything else) behind its first byte: it is refused with a sentence, or gives a config
 * whose numbers are in their ranges and whose rotary frequencies can be computed. */
#include "base/json.h"
#include "engine/model/model.h"
#include "engine/weights/checkpoint_internal.h"

#include <stdlib.h>

enum { TEXT_BYTES_MAX = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct model_config *config) {
    float frequencies[128];
    bool fits = config->layers >= 1 && config->layers <= LIMIT_LAYERS && config->width >= 16 && config->heads >= 1 &&
                config->kv_heads >= 1 && config->heads % config->kv_heads == 0 && config->head_dim % 16 == 0 &&
                config->head_dim <= 256 && config->rotary_dim <= config->head_dim && config->vocabulary >= 1 &&
                config->norm_eps > 0 && config->attention_scale > 0 && config->experts_used <= config->experts &&
                model_config_columns_max(config) >= config->width;
    for (int i = 0; i < config->layers; i++)
        fits = fits && config->layer[i].window >= 0 && (!config->layer[i].experts || config->experts_used >= 1);
    if (!fits) abort();
    for (int r = 0; r < MODEL_ROPE_COUNT; r++)
        model_rope_frequencies(&config->ropes[r], config->rotary_dim, frequencies);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model_config config;
    if (size < 1 || size > TEXT_BYTES_MAX) return 0;
    struct checkpoint checkpoint = {.form = data[0] == 'h' ? CHECKPOINT_HUGGING_FACE : CHECKPOINT_MISTRAL,
                                    .path = (char *)"fuzz"};
    struct json_problem problem;
    struct error err = {0};
    arena_init(&checkpoint.arena, 16 << 20);
    if (json_read(bytes_view_of(data + 1, size - 1), 32, 100000, &checkpoint.arena, &checkpoint.config, &problem) ==
        STATUS_OK) {
        if (model_config_read(&checkpoint, &config, &err) == STATUS_OK)
            check(&config);
        else if (err.message[0] == 0)
            abort(); /* a refusal says why */
    }
    arena_deinit(&checkpoint.arena);
    return 0;
}
