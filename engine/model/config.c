/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/config.h"

#include "base/limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Far above any dense model known; products of two of these fit 64 bits with room to spare. */
enum { DIMENSION_MAX = 1 << 20, HEADS_MAX = 4096, HEAD_DIM_MAX = 256, HEAD_DIM_STEP = 16 };

struct reader {
    const struct gguf *gguf;
    const char *architecture;
    struct error *err;
};

static void key_of(const struct reader *reader, const char *suffix, char out[96]) {
    snprintf(out, 96, "%s.%s", reader->architecture, suffix);
}

static enum status missing(const struct reader *reader, const char *key) {
    return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: '%s' is missing or is not a number", gguf_path(reader->gguf), key);
}

/** An integer in [1, maximum]; `fallback` when the key is absent, unless that is 0. */
static enum status read_count(const struct reader *reader, const char *suffix, uint64_t maximum, uint64_t fallback, int64_t *out) {
    char key[96];
    uint64_t value = fallback;
    key_of(reader, suffix, key);
    bool there = gguf_has(reader->gguf, key);
    if (there ? !gguf_u64(reader->gguf, key, &value) : fallback == 0) return missing(reader, key);
    if (value < 1 || value > maximum) {
        return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: '%s' is %llu; it must be 1..%llu", gguf_path(reader->gguf), key,
                         (unsigned long long)value, (unsigned long long)maximum);
    }
    *out = (int64_t)value;
    return STATUS_OK;
}

/** A positive finite number; `fallback` when the key is absent, unless that is 0. */
static enum status read_number(const struct reader *reader, const char *suffix, double maximum, double fallback, float *out) {
    char key[96];
    double value = fallback;
    key_of(reader, suffix, key);
    bool there = gguf_has(reader->gguf, key);
    if (there ? !gguf_f64(reader->gguf, key, &value) : fallback == 0) return missing(reader, key);
    if (!(value > 0) || !(value <= maximum)) {
        return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: '%s' is %g; it must be above 0 and at most %g", gguf_path(reader->gguf), key, value, maximum);
    }
    *out = (float)value;
    return STATUS_OK;
}

static enum status read_architecture(const struct gguf *gguf, struct model_config *config, struct error *err) {
    struct bytes_view name;
    if (!gguf_string(gguf, "general.architecture", &name)) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: 'general.architecture' is missing: not a language model", gguf_path(gguf));
    }
    if (!bytes_view_equal_string(name, "llama")) {
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: architecture '%.*s' is not supported (there is llama)", gguf_path(gguf),
                         name.length < 32 ? (int)name.length : 32, (const char *)name.data);
    }
    snprintf(config->architecture, sizeof config->architecture, "llama");
    return STATUS_OK;
}

/** What would change the arithmetic is refused, not ignored. */
static enum status refuse_unsupported(const struct reader *reader) {
    static const char *const counts[] = {"expert_count", "attention.sliding_window", "attention.layer_indices"};
    char key[96];
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uint64_t value = 1; /* what is there but is no integer is refused too */
        key_of(reader, counts[i], key);
        if (!gguf_has(reader->gguf, key) || (gguf_u64(reader->gguf, key, &value) && value == 0)) continue;
        return error_set(reader->err, STATUS_UNIMPLEMENTED, "%s: '%s' is set; this is not supported", gguf_path(reader->gguf), key);
    }
    struct bytes_view kind;
    key_of(reader, "rope.scaling.type", key);
    if (gguf_has(reader->gguf, key) && !(gguf_string(reader->gguf, key, &kind) && bytes_view_equal_string(kind, "none"))) {
        return error_set(reader->err, STATUS_UNIMPLEMENTED, "%s: '%s' is set; rope scaling is not supported", gguf_path(reader->gguf), key);
    }
    double scale = 1;
    key_of(reader, "rope.scale_linear", key); /* the older way to write it */
    if (gguf_has(reader->gguf, key) && !(gguf_f64(reader->gguf, key, &scale) && scale == 1)) {
        return error_set(reader->err, STATUS_UNIMPLEMENTED, "%s: '%s' is %g; rope scaling is not supported", gguf_path(reader->gguf), key, scale);
    }
    return STATUS_OK;
}

static enum status read_attention(const struct reader *reader, struct model_config *config) {
    int64_t heads, kv_heads, head_dim, value_dim, rotary;
    TRY(read_count(reader, "attention.head_count", HEADS_MAX, 0, &heads));
    TRY(read_count(reader, "attention.head_count_kv", HEADS_MAX, (uint64_t)heads, &kv_heads));
    if (heads % kv_heads != 0) {
        return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: %lld query heads cannot share %lld key/value heads evenly", gguf_path(reader->gguf),
                         (long long)heads, (long long)kv_heads);
    }
    if (!gguf_has(reader->gguf, "llama.attention.key_length") && config->width % heads != 0) {
        return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: a width of %d cannot be cut into %lld heads", gguf_path(reader->gguf), config->width, (long long)heads);
    }
    TRY(read_count(reader, "attention.key_length", DIMENSION_MAX, (uint64_t)(config->width / heads), &head_dim));
    TRY(read_count(reader, "attention.value_length", DIMENSION_MAX, (uint64_t)head_dim, &value_dim));
    TRY(read_count(reader, "rope.dimension_count", (uint64_t)head_dim, (uint64_t)head_dim, &rotary));
    if (head_dim > HEAD_DIM_MAX || head_dim % HEAD_DIM_STEP != 0 || value_dim != head_dim || rotary % 2 != 0) {
        return error_set(reader->err, STATUS_UNIMPLEMENTED, "%s: heads of %lld keys, %lld values and %lld rotary dimensions are not supported (multiples of %d up to %d)",
                         gguf_path(reader->gguf), (long long)head_dim, (long long)value_dim, (long long)rotary, HEAD_DIM_STEP, HEAD_DIM_MAX);
    }
    config->heads = (int)heads;
    config->kv_heads = (int)kv_heads;
    config->head_dim = (int)head_dim;
    config->rotary_dim = (int)rotary;
    config->attention_scale = 1.0f / sqrtf((float)head_dim);
    config->rope_style = ROPE_INTERLEAVED; /* GGUF's llama converter permutes Hugging Face weights to this */
    return read_number(reader, "rope.freq_base", 1e12, 10000, &config->rope_base);
}

/** The vocabulary is what the embedding says; gguf_matrix checks everything else about it. */
static enum status read_vocabulary(const struct reader *reader, struct model_config *config) {
    const struct gguf_tensor *embedding = gguf_tensor(reader->gguf, "token_embd.weight");
    if (embedding == NULL) return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: tensor 'token_embd.weight' is missing", gguf_path(reader->gguf));
    int64_t rows = embedding->dimension_count == 2 ? embedding->dimensions[1] : 0, stated;
    if (rows < 1 || rows > LIMIT_VOCABULARY) {
        return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: 'token_embd.weight' has %lld rows; a vocabulary has 1..%d", gguf_path(reader->gguf),
                         (long long)rows, LIMIT_VOCABULARY);
    }
    TRY(read_count(reader, "vocab_size", LIMIT_VOCABULARY, (uint64_t)rows, &stated));
    if (stated != rows) {
        return error_set(reader->err, STATUS_INVALID_ARGUMENT, "%s: '%s.vocab_size' is %lld but 'token_embd.weight' has %lld rows", gguf_path(reader->gguf),
                         reader->architecture, (long long)stated, (long long)rows);
    }
    config->vocabulary = (int32_t)rows;
    return STATUS_OK;
}

enum status model_config_read(const struct gguf *gguf, struct model_config *out, struct error *err) {
    struct model_config config = {0};
    TRY(read_architecture(gguf, &config, err));
    struct reader reader = {.gguf = gguf, .architecture = config.architecture, .err = err};
    TRY(refuse_unsupported(&reader));
    int64_t layers, width, feed_forward;
    TRY(read_count(&reader, "block_count", LIMIT_LAYERS, 0, &layers));
    TRY(read_count(&reader, "embedding_length", DIMENSION_MAX, 0, &width));
    TRY(read_count(&reader, "feed_forward_length", DIMENSION_MAX, 0, &feed_forward));
    TRY(read_count(&reader, "context_length", LIMIT_CONTEXT_TOKENS, 0, &config.context_tokens));
    TRY(read_number(&reader, "attention.layer_norm_rms_epsilon", 1, 0, &config.norm_eps));
    config.layers = (int)layers;
    config.width = (int)width;
    config.feed_forward = (int)feed_forward;
    TRY(read_attention(&reader, &config));
    TRY(read_vocabulary(&reader, &config));
    *out = config;
    return STATUS_OK;
}

int64_t model_config_columns_max(const struct model_config *config) {
    int64_t columns = config->width, attention = (int64_t)config->heads * config->head_dim;
    if (columns < attention) columns = attention;
    return columns < config->feed_forward ? config->feed_forward : columns;
}
