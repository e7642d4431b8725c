/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/tiny_model.h"

#include "base/random.h"
#include "kernels/float16.h"
#include "tests/support/gguf_builder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MERGES = TINY_VOCABULARY - 256 - 3 };

static const char *const merges[MERGES] = {"t h", "h e", "i n", "e r", "a n", "r e", "o n", "a t", "e n", "n d", "t i",
                                           "e s", "o r", "t e", "o f", "e d", "i s", "i t", "a l", "a r", "s t", "t o",
                                           "n t", "n g", "s e", "h a", "a s", "o u", "i o", "l e", "v e", "c o", "m e",
                                           "d e", "h i", "r i", "r o", "i c", "n e", "e a", "r a"};

struct writer {
    struct tiny_model_options options;
    struct gguf_builder builder;
    uint64_t random_at;
};

static bool same(const char *a, const char *b) {
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void key_number(struct writer *writer, const char *suffix, uint32_t value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", writer->options.architecture, suffix);
    if (same(key, writer->options.without_key) || same(key, writer->options.number_key)) return;
    gguf_builder_u32(&writer->builder, key, value);
}

static void key_float(struct writer *writer, const char *suffix, float value) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", writer->options.architecture, suffix);
    if (!same(key, writer->options.without_key)) gguf_builder_f32(&writer->builder, key, value);
}

static void write_metadata(struct writer *writer) {
    const struct tiny_model_options *options = &writer->options;
    if (!same("general.architecture", options->without_key))
        gguf_builder_string(&writer->builder, "general.architecture", options->architecture);
    key_number(writer, "block_count", (uint32_t)options->layers);
    key_number(writer, "embedding_length", (uint32_t)options->width);
    key_number(writer, "feed_forward_length", (uint32_t)options->feed_forward);
    key_number(writer, "attention.head_count", (uint32_t)options->heads);
    key_number(writer, "attention.head_count_kv", (uint32_t)options->kv_heads);
    key_number(writer, "context_length", (uint32_t)options->context);
    key_float(writer, "attention.layer_norm_rms_epsilon", 1e-5f);
    key_float(writer, "rope.freq_base", 10000);
    gguf_builder_tokenizer(&writer->builder, merges, MERGES);
    gguf_builder_string(&writer->builder, "tokenizer.chat_template",
                        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
                        "'<|im_end|>' + '\n'}}{% endfor %}"
                        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}");
    if (options->number_key != NULL) gguf_builder_u32(&writer->builder, options->number_key, options->number);
    if (options->string_key != NULL) gguf_builder_string(&writer->builder, options->string_key, options->string);
}

/** Uniform in [-1, 1). */
static float draw(struct writer *writer) {
    return (float)(2 * random_uniform(writer->options.seed, writer->random_at++, 7) - 1);
}

static void put(struct bytes *out, const void *data, size_t length) {
    if (bytes_append(out, data, length) != STATUS_OK) abort();
}

static void put_f16(struct bytes *out, float value) {
    uint16_t half = float_to_f16(value);
    put(out, &half, sizeof half);
}

/** `count` weights between -scale and scale. */
static void put_weights(struct writer *writer, enum tensor_type type, int64_t count, float scale, struct bytes *out) {
    for (int64_t i = 0; i < count; i += tensor_type_block(type)) {
        if (type == TENSOR_F32) {
            float value = scale * draw(writer);
            put(out, &value, sizeof value);
            continue;
        }
        float width = scale * (0.75f + 0.25f * draw(writer));
        put_f16(out, type == TENSOR_Q4_1 ? width * 2 / 15 : width / 128);
        if (type == TENSOR_Q4_1) put_f16(out, -width);
        for (int q = 0; q < (type == TENSOR_Q4_1 ? 16 : 32); q++) {
            uint8_t byte = (uint8_t)random_philox(writer->options.seed, writer->random_at++, 9);
            put(out, &byte, 1);
        }
    }
}

/** rows 0: a vector. */
static void tensor(struct writer *writer, const char *name, int64_t rows, int64_t columns) {
    const struct tiny_model_options *options = &writer->options;
    if (same(name, options->without_tensor)) return;
    bool vector = rows == 0, embedding = same(name, "token_embd.weight");
    if (same(name, options->wrong_rows)) {
        if (vector)
            columns++;
        else
            rows++;
    }
    enum tensor_type type = vector ? TENSOR_F32 : options->type;
    struct bytes data;
    bytes_init(&data, 64 << 20);
    put_weights(writer, type, vector ? columns : rows * columns,
                vector || embedding ? 1.0f : 2.5f / sqrtf((float)columns), &data);
    gguf_builder_tensor(&writer->builder, name, type, vector ? 1 : 2, (const int64_t[]){columns, rows}, data.data,
                        data.length);
    bytes_deinit(&data);
}

static void write_tensors(struct writer *writer) {
    const struct tiny_model_options *o = &writer->options;
    int64_t keys = (int64_t)o->width / o->heads * o->kv_heads;
    tensor(writer, "token_embd.weight", TINY_VOCABULARY, o->width);
    for (int i = 0; i < o->layers; i++) {
        const struct {
            const char *name;
            int64_t rows, columns;
        } tensors[] = {{"attn_norm", 0, o->width},
                       {"attn_q", o->width, o->width},
                       {"attn_k", keys, o->width},
                       {"attn_v", keys, o->width},
                       {"attn_output", o->width, o->width},
                       {"ffn_norm", 0, o->width},
                       {"ffn_gate", o->feed_forward, o->width},
                       {"ffn_up", o->feed_forward, o->width},
                       {"ffn_down", o->width, o->feed_forward}};
        for (size_t t = 0; t < sizeof tensors / sizeof tensors[0]; t++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, tensors[t].name);
            tensor(writer, name, tensors[t].rows, tensors[t].columns);
        }
    }
    tensor(writer, "output_norm.weight", 0, o->width);
    if (o->untied) tensor(writer, "output.weight", TINY_VOCABULARY, o->width);
    if (o->extra_tensor != NULL) tensor(writer, o->extra_tensor, 0, o->width);
}

static int given(int value, int fallback) {
    return value != 0 ? value : fallback;
}

uint8_t *tiny_model_build(const struct tiny_model_options *options, size_t *out_length) {
    struct writer writer = {.options = *options};
    struct tiny_model_options *o = &writer.options;
    o->layers = given(o->layers, 2), o->width = given(o->width, 64), o->heads = given(o->heads, 4),
    o->kv_heads = given(o->kv_heads, 2);
    o->feed_forward = given(o->feed_forward, 96), o->context = given(o->context, 256);
    if (o->architecture == NULL) o->architecture = "llama";
    gguf_builder_init(&writer.builder);
    write_metadata(&writer);
    write_tensors(&writer);
    return gguf_builder_finish(&writer.builder, out_length);
}

char *tiny_model_write(const struct tiny_model_options *options) {
    const char *folder = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/bora-tiny-XXXXXX", folder != NULL ? folder : "/tmp") < 0) abort();
    size_t length;
    uint8_t *file = tiny_model_build(options, &length);
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, file, length) != (ssize_t)length) abort();
    close(fd);
    free(file);
    return path;
}
