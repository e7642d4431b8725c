/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "engine/model/model.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"

#include <stdio.h>
#include <string.h>

/** "<architecture>.<name>" as a whole number in [minimum, maximum]; `fallback` < 0: it must be there. */
static enum status read_number(const struct gguf *gguf, const char *architecture, const char *name, int64_t minimum,
                               int64_t maximum, int64_t fallback, int64_t *out, struct error *err) {
    char key[128];
    uint64_t value;
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    if (!gguf_has(gguf, key) && fallback >= 0) {
        *out = fallback;
        return STATUS_OK;
    }
    if (!gguf_u64(gguf, key, &value))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is missing or not a whole number", gguf_path(gguf), key);
    if (value < (uint64_t)minimum || value > (uint64_t)maximum) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is %llu, not in %lld..%lld", gguf_path(gguf), key,
                         (unsigned long long)value, (long long)minimum, (long long)maximum);
    }
    *out = (int64_t)value;
    return STATUS_OK;
}

static enum status read_double(const struct gguf *gguf, const char *architecture, const char *name, double minimum,
                               double maximum, double fallback, double *out, struct error *err) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", architecture, name);
    *out = fallback;
    if (!gguf_has(gguf, key) && fallback > 0) return STATUS_OK;
    if (!gguf_f64(gguf, key, out) || !(*out >= minimum && *out <= maximum))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is missing or not in %g..%g", gguf_path(gguf), key,
                         minimum, maximum);
    return STATUS_OK;
}

static enum status read_heads(const struct gguf *gguf, struct model_config *config, struct error *err) {
    const char *a = config->architecture;
    int64_t heads, kv_heads, head_dim, rotary;
    TRY(read_number(gguf, a, "attention.head_count", 1, 1024, -1, &heads, err));
    TRY(read_number(gguf, a, "attention.head_count_kv", 1, heads, heads, &kv_heads, err));
    TRY(read_number(gguf, a, "attention.key_length", 16, 256, config->width / heads, &head_dim, err));
    TRY(read_number(gguf, a, "rope.dimension_count", 2, head_dim, head_dim, &rotary, err));
    if (heads % kv_heads != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %lld query heads are no multiple of %lld key heads",
                         gguf_path(gguf), (long long)heads, (long long)kv_heads);
    if (head_dim % 16 != 0 || head_dim < 16 || head_dim > 256 || rotary % 2 != 0)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "%s: heads of %lld (rotary %lld) are not supported (multiples of 16 up to 256)",
                         gguf_path(gguf), (long long)head_dim, (long long)rotary);
    config->heads = (int)heads;
    config->kv_heads = (int)kv_heads;
    config->head_dim = (int)head_dim;
    config->rotary_dim = (int)rotary;
    return STATUS_OK;
}

/** What would change the numbers and is not built yet must not be passed over in silence. */
static enum status refuse_unknown(const struct gguf *gguf, const char *architecture, struct error *err) {
    static const char *const refused[] = {"rope.scaling.type",        "rope.scaling.factor", "expert_count",
                                          "attention.sliding_window", "logit_scale",         "residual_scale",
                                          "embedding_scale",          "attention.scale"};
    char key[128];
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        snprintf(key, sizeof key, "%s.%s", architecture, refused[i]);
        struct bytes_view word;
        double number;
        bool neutral = (gguf_string(gguf, key, &word) && bytes_view_equal_string(word, "none")) ||
                       (gguf_f64(gguf, key, &number) && number == 0);
        if (gguf_has(gguf, key) && !neutral)
            return error_set(err, STATUS_UNIMPLEMENTED, "%s: %s is not supported yet", gguf_path(gguf), key);
    }
    if (gguf_tensor(gguf, "rope_freqs.weight") != NULL)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: rope_freqs.weight (RoPE scaling) is not supported yet",
                         gguf_path(gguf));
    return STATUS_OK;
}

int64_t model_config_columns_max(const struct model_config *config) {
    int64_t columns = config->width, attended = (int64_t)config->heads * config->head_dim;
    if (columns < attended) columns = attended;
    return columns < config->feed_forward ? config->feed_forward : columns;
}

enum status model_config_read(const struct checkpoint *checkpoint, struct model_config *out, struct error *err) {
    const struct gguf *gguf = checkpoint_gguf(checkpoint);
    if (gguf == NULL)
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: configs are read from GGUF only", checkpoint_path(checkpoint));
    struct model_config config = {.rope_style = ROPE_INTERLEAVED};
    struct bytes_view architecture;
    if (!gguf_string(gguf, "general.architecture", &architecture))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s does not say its architecture", gguf_path(gguf));
    if (!bytes_view_equal_string(architecture, "llama")) {
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: the architecture '%.*s' is not supported yet (there is llama)",
                         gguf_path(gguf), (int)(architecture.length < 32 ? architecture.length : 32),
                         (const char *)architecture.data);
    }
    memcpy(config.architecture, architecture.data, architecture.length);
    const char *a = config.architecture;
    int64_t layers, vocabulary;
    double eps;
    struct gguf_array tokens = {0};
    TRY(read_number(gguf, a, "block_count", 1, LIMIT_LAYERS, -1, &layers, err));
    TRY(read_number(gguf, a, "embedding_length", 16, 1 << 20, -1, &config.width, err));
    TRY(read_number(gguf, a, "feed_forward_length", 16, 1 << 22, -1, &config.feed_forward, err));
    TRY(read_number(gguf, a, "context_length", 16, LIMIT_CONTEXT_TOKENS, -1, &config.context_tokens, err));
    TRY(read_heads(gguf, &config, err));
    TRY(read_double(gguf, a, "attention.layer_norm_rms_epsilon", 1e-12, 1e-1, -1, &eps, err));
    TRY(read_double(gguf, a, "rope.freq_base", 1, 1e12, 10000, &config.rope_base, err));
    gguf_array(gguf, "tokenizer.ggml.tokens", &tokens);
    TRY(read_number(gguf, a, "vocab_size", 1, LIMIT_VOCABULARY, tokens.count, &vocabulary, err));
    TRY(refuse_unknown(gguf, a, err));
    config.layers = (int)layers;
    config.vocabulary = (int32_t)vocabulary;
    config.norm_eps = (float)eps;
    config.tied_embeddings = gguf_tensor(gguf, "output.weight") == NULL;
    config.parameters = checkpoint_parameters(checkpoint);
    *out = config;
    return STATUS_OK;
}
