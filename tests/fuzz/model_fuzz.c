/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A hostile model file up to its first logits: whatever model_config_read and model_load accept must also run. Every variant of this
 * machine, for packing reads the blocks in its own way. */
#include "engine/model/model.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 5, COLUMNS_MAX = 1024, VARIANTS_MAX = 4, EXPERTS_USED_MAX = 8, FILE_BYTES_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kernels *kernels_of(int index, const char *variant) {
    static struct kernels *opened[VARIANTS_MAX];
    struct kernels_options options = {.variant = variant,
                                      .threads = 1,
                                      .rows_max = ROWS,
                                      .columns_max = COLUMNS_MAX,
                                      .context_max = 64,
                                      .heads_max = 64,
                                      .experts_used_max = EXPERTS_USED_MAX};
    if (opened[index] == NULL && kernels_open("cpu", &options, &opened[index], NULL) != STATUS_OK) abort();
    return opened[index];
}

static void run(struct model *model, const struct model_config *config) {
    struct kv_cache *cache = NULL;
    struct kv_cache_options options = {.layers = config->layers,
                                       .kv_heads = config->kv_heads,
                                       .head_dim = config->head_dim,
                                       .type = KV_F16,
                                       .block_count = 1};
    float *logits = malloc((size_t)config->vocabulary * sizeof *logits);
    if (logits == NULL || kv_cache_create(&options, &cache, NULL) != STATUS_OK) abort();
    const int32_t ids[ROWS] = {0, config->vocabulary - 1, config->vocabulary / 2, 1 % config->vocabulary, 0},
                  positions[ROWS] = {0, 1, 2, 3, 4}, block = 0, row = ROWS - 1;
    struct kv_sequence sequence = {.row_count = ROWS, .context = ROWS, .blocks = &block};
    model_forward(model, cache,
                  &(struct model_batch){.rows = ROWS,
                                        .ids = ids,
                                        .positions = positions,
                                        .sequences = &sequence,
                                        .sequence_count = 1,
                                        .logit_rows = &row,
                                        .logit_count = 1,
                                        .logits = logits});
    kv_cache_destroy(cache);
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > FILE_BYTES_MAX) return 0;
    struct gguf *gguf = NULL;
    struct checkpoint *checkpoint = NULL;
    static struct model_config config;
    struct error err = {0};
    uint8_t *copy = aligned_alloc(64, (size + 64) / 64 * 64);
    if (copy == NULL) return 0;
    memcpy(copy, data, size);
    bool fits = gguf_open_memory(copy, size, "fuzz", &gguf, &err) == STATUS_OK &&
                checkpoint_of_gguf(gguf, &checkpoint, &err) == STATUS_OK &&
                model_config_read(checkpoint, &config, &err) == STATUS_OK &&
                model_config_columns_max(&config) <= COLUMNS_MAX && config.heads <= 64 &&
                config.experts_used <= EXPERTS_USED_MAX;
    const char *const *variants = kernels_cpu_variants();
    for (int i = 0; fits && variants[i] != NULL && i < VARIANTS_MAX; i++) {
        struct model *model = NULL;
        err = (struct error){0};
        enum status status = model_load(checkpoint, &config, kernels_of(i, variants[i]), ROWS, 1, &model, &err);
        if (status == STATUS_OK)
            run(model, &config);
        else if (err.message[0] == 0)
            abort(); /* a refusal says why */
        model_destroy(model);
    }
    checkpoint_close(checkpoint);
    gguf_close(gguf);
    free(copy);
    return 0;
}
