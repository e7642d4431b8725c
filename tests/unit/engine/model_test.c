/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The forward pass on tiny random models: against a plain double-precision one, and against itself cut and mixed in every way. */
#include "base/random.h"
#include "engine/model/model.h"
#include "engine/model/perplexity.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/gguf.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/engine/check.h"

#include <math.h>

enum { ROWS_MAX = 64, LOGITS_MAX = 64, SEQUENCES = 32, TABLE = 2, BLOCKS = SEQUENCES * TABLE, V = TINY_VOCABULARY };

struct fixture {
    uint8_t *file;
    struct gguf *gguf;
    struct checkpoint *checkpoint;
    struct model_config config;
    struct kernels *kernels;
    struct model *model;
    struct kv_cache *cache;
};

static enum status try_open(struct fixture *fixture, const struct tiny_model_options *options, const char *variant,
                            int threads, enum kv_type type) {
    size_t length;
    *fixture = (struct fixture){.file = tiny_model_build(options, &length)};
    TRY(gguf_open_memory(fixture->file, length, "tiny", &fixture->gguf, &check_error));
    TRY(checkpoint_of_gguf(fixture->gguf, &fixture->checkpoint, &check_error));
    TRY(model_config_read(fixture->checkpoint, &fixture->config, &check_error));
    struct kernels_options kernels = {.variant = variant,
                                      .threads = threads,
                                      .spin_ns = 0,
                                      .rows_max = ROWS_MAX,
                                      .columns_max = 256,
                                      .context_max = 256,
                                      .heads_max = 8};
    TRY(kernels_open("cpu", &kernels, &fixture->kernels, &check_error));
    TRY(model_load(fixture->checkpoint, &fixture->config, fixture->kernels, ROWS_MAX, LOGITS_MAX, &fixture->model,
                   &check_error));
    struct kv_cache_options cache = {.layers = fixture->config.layers,
                                     .kv_heads = fixture->config.kv_heads,
                                     .head_dim = fixture->config.head_dim,
                                     .type = type,
                                     .block_count = BLOCKS};
    return kv_cache_create(&cache, &fixture->cache, &check_error);
}

static void teardown(struct fixture *fixture) {
    kv_cache_destroy(fixture->cache);
    model_destroy(fixture->model);
    if (fixture->kernels != NULL) kernels_close(fixture->kernels);
    checkpoint_close(fixture->checkpoint);
    gguf_close(fixture->gguf);
    free(fixture->file);
}

static void setup(struct fixture *fixture, const struct tiny_model_options *options, const char *variant, int threads,
                  enum kv_type type) {
    check_ok(try_open(fixture, options, variant, threads, type));
}

static int32_t id_at(int sequence, int64_t position) {
    return (int32_t)(random_philox(77, (uint64_t)position, (uint32_t)sequence) % V);
}

static bool is_over(void *context) {
    int *left = context;
    return (*left)-- == 0;
}

/** Sequences that grow step by step; sequence s has the blocks 2 s and 2 s + 1, backwards. */
struct part {
    int sequence;
    int64_t first, count; /* positions */
};

/** One step over `parts`; logits of all rows into `logits` [rows][V]. It is given up before layer `layers`, if that is not negative. */
static bool step_before(struct fixture *fixture, const struct part *parts, int part_count, float *logits, int layers) {
    int32_t ids[ROWS_MAX], positions[ROWS_MAX], logit_rows[ROWS_MAX], blocks[SEQUENCES][TABLE];
    struct kv_sequence sequences[SEQUENCES];
    int64_t rows = 0;
    for (int p = 0; p < part_count; p++) {
        for (int b = 0; b < TABLE; b++) blocks[p][b] = TABLE * parts[p].sequence + TABLE - 1 - b;
        sequences[p] = (struct kv_sequence){.first_row = rows,
                                            .row_count = parts[p].count,
                                            .context = parts[p].first + parts[p].count,
                                            .blocks = blocks[p]};
        for (int64_t i = 0; i < parts[p].count; i++, rows++) {
            ids[rows] = id_at(parts[p].sequence, parts[p].first + i);
            positions[rows] = (int32_t)(parts[p].first + i);
            logit_rows[rows] = (int32_t)rows;
        }
    }
    struct model_batch batch = {.rows = rows,
                                .ids = ids,
                                .positions = positions,
                                .sequences = sequences,
                                .sequence_count = part_count,
                                .logit_rows = logit_rows,
                                .logit_count = rows,
                                .logits = logits,
                                .abandoned = layers >= 0 ? is_over : NULL,
                                .abandoned_context = &layers};
    return model_forward(fixture->model, fixture->cache, &batch);
}

static void step(struct fixture *fixture, const struct part *parts, int part_count, float *logits) {
    assert_true(step_before(fixture, parts, part_count, logits, -1));
}

static float *new_logits(int64_t rows) {
    return calloc((size_t)rows * V, sizeof(float));
}

/* ---- a second forward pass, in double and without any cleverness ----------------------------------------------------- */

static double weight(const struct gguf_tensor *tensor, int64_t row, int64_t column) {
    return ((const float *)tensor->data)[row * tensor->dimensions[0] + column];
}

/** layer < 0: `name` is the whole name. */
static const struct gguf_tensor *tensor_of(const struct gguf *gguf, const char *name, int layer) {
    char full[64];
    if (layer < 0) return gguf_tensor(gguf, name);
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    return gguf_tensor(gguf, full);
}

static void multiply(const struct gguf *gguf, const char *name, int layer, const double *x, double *y) {
    const struct gguf_tensor *tensor = tensor_of(gguf, name, layer);
    for (int64_t n = 0; n < tensor->dimensions[1]; n++) {
        y[n] = 0;
        for (int64_t k = 0; k < tensor->dimensions[0]; k++) y[n] += weight(tensor, n, k) * x[k];
    }
}

static void normalise(const struct gguf *gguf, const char *name, int layer, const double *x, int width, double *y) {
    const struct gguf_tensor *tensor = tensor_of(gguf, name, layer);
    double square = 0;
    for (int i = 0; i < width; i++) square += x[i] * x[i];
    for (int i = 0; i < width; i++) y[i] = weight(tensor, 0, i) * x[i] / sqrt(square / width + 1e-5);
}

static void turn(double *x, int heads, int head_dim, int64_t position) {
    for (int h = 0; h < heads; h++) {
        for (int i = 0; i < head_dim; i += 2) {
            double angle = (double)position * pow(10000, -(double)i / head_dim), a = x[h * head_dim + i],
                   b = x[h * head_dim + i + 1];
            x[h * head_dim + i] = a * cos(angle) - b * sin(angle);
            x[h * head_dim + i + 1] = a * sin(angle) + b * cos(angle);
        }
    }
}

enum { LAYERS = 2, D = 64, H = 4, G = 2, HD = 16, F = 96, LENGTH = 40 };

static void reference(const struct gguf *gguf, int sequence, double logits[LENGTH][V]) {
    static double keys[LAYERS][LENGTH][G * HD], values[LAYERS][LENGTH][G * HD];
    const struct gguf_tensor *output = gguf_tensor(gguf, "output.weight");
    for (int64_t t = 0; t < LENGTH; t++) {
        double x[D], y[D], q[H * HD], attended[H * HD], gate[F], up[F];
        for (int i = 0; i < D; i++) x[i] = weight(gguf_tensor(gguf, "token_embd.weight"), id_at(sequence, t), i);
        for (int l = 0; l < LAYERS; l++) {
            normalise(gguf, "attn_norm.weight", l, x, D, y);
            multiply(gguf, "attn_q.weight", l, y, q);
            multiply(gguf, "attn_k.weight", l, y, keys[l][t]);
            multiply(gguf, "attn_v.weight", l, y, values[l][t]);
            turn(q, H, HD, t);
            turn(keys[l][t], G, HD, t);
            for (int h = 0; h < H; h++) {
                double p[LENGTH], sum = 0;
                for (int64_t j = 0; j <= t; j++) {
                    double score = 0;
                    for (int i = 0; i < HD; i++) score += q[h * HD + i] * keys[l][j][h / (H / G) * HD + i];
                    sum += p[j] = exp(score / sqrt(HD));
                }
                for (int i = 0; i < HD; i++) {
                    attended[h * HD + i] = 0;
                    for (int64_t j = 0; j <= t; j++)
                        attended[h * HD + i] += p[j] / sum * values[l][j][h / (H / G) * HD + i];
                }
            }
            multiply(gguf, "attn_output.weight", l, attended, y);
            for (int i = 0; i < D; i++) x[i] += y[i];
            normalise(gguf, "ffn_norm.weight", l, x, D, y);
            multiply(gguf, "ffn_gate.weight", l, y, gate);
            multiply(gguf, "ffn_up.weight", l, y, up);
            for (int i = 0; i < F; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            multiply(gguf, "ffn_down.weight", l, gate, y);
            for (int i = 0; i < D; i++) x[i] += y[i];
        }
        normalise(gguf, "output_norm.weight", -1, x, D, y);
        multiply(gguf, output != NULL ? "output.weight" : "token_embd.weight", -1, y, logits[t]);
    }
}

/** f32 sums of at most 96 terms over two layers: 1e-4 of the largest logit is a hundred times what rounding gives. */
static void test_plain_agrees_with_double_precision(void **state) {
    (void)state;
    for (int untied = 0; untied < 2; untied++) {
        struct fixture fixture;
        static double expected[LENGTH][V];
        setup(&fixture, &(struct tiny_model_options){.untied = untied, .seed = 4}, "plain", 1, KV_F32);
        float *logits = new_logits(LENGTH);
        step(&fixture, &(struct part){.count = LENGTH}, 1, logits);
        reference(fixture.gguf, 0, expected);
        double largest = 0, worst = 0;
        for (int t = 0; t < LENGTH; t++) {
            for (int i = 0; i < V; i++) {
                largest = fmax(largest, fabs(expected[t][i]));
                worst = fmax(worst, fabs(expected[t][i] - logits[t * V + i]));
            }
        }
        assert_true(largest > 1);
        assert_true(worst < 1e-4 * largest);
        free(logits);
        teardown(&fixture);
    }
}

/* ---- the same bits, however the work is cut ---------------------------------------------------------------------------- */

/** Call `test` for every variant of this machine, weight type, and thread count. */
static void for_all(void (*test)(const char *variant, enum tensor_type type, int threads)) {
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_Q4_1, TENSOR_Q8_0};
    for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
        for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
            for (int threads = 1; threads <= 3; threads++) test(*variant, types[t], threads);
        }
    }
}

/** The whole prompt in one step on one thread. */
static float *whole(const char *variant, enum tensor_type type, int sequence, int64_t length) {
    struct fixture fixture;
    setup(&fixture, &(struct tiny_model_options){.type = type, .seed = 9}, variant, 1, KV_F16);
    float *logits = new_logits(length);
    step(&fixture, &(struct part){.sequence = sequence, .count = length}, 1, logits);
    teardown(&fixture);
    return logits;
}

static void chunks_equal_whole(const char *variant, enum tensor_type type, int threads) {
    static const int64_t cuts[] = {1, 2, 7, 16, 5, 1, 1, 20}; /* 53 */
    struct fixture fixture;
    setup(&fixture, &(struct tiny_model_options){.type = type, .seed = 9}, variant, threads, KV_F16);
    float *expected = whole(variant, type, 3, 53), *logits = new_logits(53);
    int64_t at = 0;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; at += cuts[i++]) {
        step(&fixture, &(struct part){.sequence = 3, .first = at, .count = cuts[i]}, 1, logits + at * V);
    }
    assert_memory_equal(logits, expected, 53 * V * sizeof *logits);
    free(logits);
    free(expected);
    teardown(&fixture);
}

static void test_chunked_prompt_equals_whole_prompt(void **state) {
    (void)state;
    for_all(chunks_equal_whole);
}

/** Another mixture every step: some wait, some decode, some take a few rows, each from where it is, in another order. 0: all are done. */
static int draw_parts(int steps, const int64_t *at, const int64_t *length, struct part *parts) {
    int part_count = 0, left = -1;
    int64_t rows = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        int s = (i * 5 + steps * 11) % SEQUENCES;
        uint64_t random = random_philox(4, (uint64_t)steps, (uint32_t)s);
        int64_t count = random % 3 == 0 ? 0 : random % 3 == 1 ? 1 : 1 + (int64_t)(random / 3 % 6);
        if (at[s] < length[s]) left = s;
        if (count > length[s] - at[s]) count = length[s] - at[s];
        if (count > ROWS_MAX - rows) count = ROWS_MAX - rows;
        if (count == 0) continue;
        parts[part_count++] = (struct part){.sequence = s, .first = at[s], .count = count};
        rows += count;
    }
    if (part_count == 0 && left >= 0)
        parts[part_count++] = (struct part){.sequence = left, .first = at[left], .count = 1};
    return part_count;
}

static void batch_equals_alone(const char *variant, enum tensor_type type, int threads) {
    struct fixture fixture;
    float *expected[SEQUENCES], *logits = new_logits(ROWS_MAX);
    int64_t length[SEQUENCES], at[SEQUENCES] = {0};
    setup(&fixture, &(struct tiny_model_options){.type = type, .seed = 9}, variant, 1, KV_F16);
    for (int s = 0; s < SEQUENCES; s++) {
        length[s] = 10 + (int64_t)(random_philox(3, (uint64_t)s, 0) % 30);
        expected[s] = new_logits(length[s]);
        step(&fixture, &(struct part){.sequence = s, .count = length[s]}, 1, expected[s]);
    }
    teardown(&fixture);
    setup(&fixture, &(struct tiny_model_options){.type = type, .seed = 9}, variant, threads, KV_F16);
    struct part parts[SEQUENCES];
    for (int steps = 0, part_count; (part_count = draw_parts(steps, at, length, parts)) > 0; steps++) {
        step(&fixture, parts, part_count, logits);
        int64_t row = 0;
        for (int p = 0; p < part_count; row += parts[p++].count) {
            int s = parts[p].sequence;
            assert_memory_equal(logits + row * V, expected[s] + at[s] * V, (size_t)parts[p].count * V * sizeof *logits);
            at[s] += parts[p].count;
        }
    }
    for (int s = 0; s < SEQUENCES; s++) {
        assert_int_equal(at[s], length[s]);
        free(expected[s]);
    }
    free(logits);
    teardown(&fixture);
}

static void test_mixed_batches_of_32_equal_one_by_one(void **state) {
    (void)state;
    for_all(batch_equals_alone);
}

/** A step that was given up after any layer leaves nothing behind: run again it gives the same bits. */
static void abandoned_leaves_nothing(const char *variant, enum tensor_type type, int threads) {
    struct tiny_model_options options = {.type = type, .seed = 9, .layers = 3};
    struct fixture fixture;
    float *expected = new_logits(40), *logits = new_logits(40);
    setup(&fixture, &options, variant, 1, KV_F16);
    step(&fixture, &(struct part){.count = 40}, 1, expected);
    teardown(&fixture);
    setup(&fixture, &options, variant, threads, KV_F16);
    for (int layer = 0; layer < 3; layer++) {
        step(&fixture, &(struct part){.count = 25}, 1, logits);
        assert_false(step_before(&fixture,
                                 (const struct part[]){{.first = 25, .count = 15}, {.sequence = 1, .count = 9}}, 2,
                                 logits + 25 * V, layer));
        step(&fixture, &(struct part){.first = 25, .count = 15}, 1, logits + 25 * V);
        assert_memory_equal(logits, expected, 40 * V * sizeof *logits);
    }
    free(logits);
    free(expected);
    teardown(&fixture);
}

static void test_step_that_was_given_up_leaves_nothing(void **state) {
    (void)state;
    for_all(abandoned_leaves_nothing);
}

/** What lies in unused slots and in blocks of others must not matter, be it NaN. */
static void poison_does_not_matter(const char *variant, enum tensor_type type, int threads) {
    struct fixture fixture;
    setup(&fixture, &(struct tiny_model_options){.type = type, .seed = 9}, variant, threads, KV_F16);
    struct kv_layer first = kv_cache_layer(fixture.cache, 0);
    memset(first.base, 0x7E, BLOCKS * first.block_stride);
    float *expected = whole(variant, type, 5, 37), *logits = new_logits(37);
    step(&fixture, &(struct part){.sequence = 5, .first = 0, .count = 36}, 1, logits);
    step(&fixture, &(struct part){.sequence = 5, .first = 36, .count = 1}, 1, logits + 36 * V);
    assert_memory_equal(logits, expected, 37 * V * sizeof *logits);
    free(logits);
    free(expected);
    teardown(&fixture);
}

static void test_nan_in_unused_slots_does_not_matter(void **state) {
    (void)state;
    for_all(poison_does_not_matter);
}

static void test_only_chosen_rows_give_logits(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, &(struct tiny_model_options){.seed = 9}, "plain", 1, KV_F16);
    float *expected = whole("plain", TENSOR_F32, 0, 10), *logits = new_logits(3);
    int32_t ids[10], positions[10], blocks[1] = {4};
    for (int i = 0; i < 10; i++) ids[i] = id_at(0, i), positions[i] = i;
    struct kv_sequence sequence = {.row_count = 10, .context = 10, .blocks = blocks};
    struct model_batch batch = {.rows = 10,
                                .ids = ids,
                                .positions = positions,
                                .sequences = &sequence,
                                .sequence_count = 1,
                                .logit_rows = (const int32_t[]){2, 9},
                                .logit_count = 2,
                                .logits = logits};
    logits[2 * V] = 1234;
    model_forward(fixture.model, fixture.cache, &batch);
    assert_memory_equal(logits, expected + 2 * V, V * sizeof *logits);
    assert_memory_equal(logits + V, expected + 9 * V, V * sizeof *logits);
    assert_float_equal(logits[2 * V], 1234, 0);
    batch.logit_count = 0; /* none wanted: only keys and values */
    batch.logits = NULL;
    model_forward(fixture.model, fixture.cache, &batch);
    free(logits);
    free(expected);
    teardown(&fixture);
}

static void test_perplexity_scores_each_token(void **state) {
    (void)state;
    struct fixture fixture;
    setup(&fixture, &(struct tiny_model_options){.seed = 9}, "plain", 1, KV_F16);
    float *logits = whole("plain", TENSOR_F32, 0, 50);
    int32_t ids[50];
    double scores[50];
    for (int i = 0; i < 50; i++) ids[i] = id_at(0, i);
    check_ok(perplexity_score(fixture.model, fixture.cache, 16, ids, 50, scores, &check_error));
    for (int i = 1; i < 50; i++) {
        double sum = 0;
        for (int v = 0; v < V; v++) sum += exp(logits[(i - 1) * V + v]);
        assert_float_equal(scores[i], logits[(i - 1) * V + ids[i]] - log(sum), 1e-5);
    }
    assert_int_equal(kv_cache_used(fixture.cache), 0);
    assert_int_equal(kv_cache_free(fixture.cache), BLOCKS);
    ids[7] = V;
    check_fails(perplexity_score(fixture.model, fixture.cache, 16, ids, 50, scores, &check_error),
                STATUS_INVALID_ARGUMENT, "token 7");
    free(logits);
    teardown(&fixture);
}

/** ln p of every token behind the first seven. */
static void predictions(const struct predictor *predictor, double out[V]) {
    int32_t ids[8];
    double scores[8];
    for (int i = 0; i < 7; i++) ids[i] = id_at(0, i);
    for (ids[7] = 0; ids[7] < V; ids[7]++) {
        check_ok(perplexity_score(predictor->model, predictor->cache, 16, ids, 8, scores, &check_error));
        out[ids[7]] = scores[7];
    }
}

/** Against itself a model diverges by nothing; against another by the definition. */
static void test_divergence_is_the_definition(void **state) {
    (void)state;
    struct fixture one, other;
    setup(&one, &(struct tiny_model_options){.seed = 9}, "plain", 1, KV_F16);
    setup(&other, &(struct tiny_model_options){.seed = 10}, "plain", 1, KV_F16);
    struct predictor model = {one.model, one.cache}, reference = {other.model, other.cache};
    int32_t ids[50];
    double alone[50], scores[50], divergences[50], p[V], q[V], want = 0;
    for (int i = 0; i < 50; i++) ids[i] = id_at(0, i);
    check_ok(perplexity_score(one.model, one.cache, 16, ids, 50, alone, &check_error));
    check_ok(perplexity_compare(&model, &reference, 16, ids, 50, scores, divergences, &check_error));
    assert_memory_equal(scores, alone, sizeof scores);
    assert_int_equal(kv_cache_used(one.cache) + kv_cache_used(other.cache), 0);
    predictions(&model, p);
    predictions(&reference, q);
    for (int v = 0; v < V; v++) want += exp(q[v]) * (q[v] - p[v]);
    assert_true(want > 1e-4);
    assert_float_equal(divergences[7], want, 1e-6);
    check_ok(perplexity_compare(&model, &model, 16, ids, 50, scores, divergences, &check_error));
    for (int i = 0; i < 50; i++) assert_true(divergences[i] == 0);
    teardown(&one);
    teardown(&other);
}

/* ---- files that are refused ------------------------------------------------------------------------------------------ */

static void refused(struct tiny_model_options options, enum status status, const char *word) {
    struct fixture fixture;
    check_fails(try_open(&fixture, &options, "plain", 1, KV_F16), status, word);
    assert_null(fixture.model);
    teardown(&fixture);
}

static void test_other_architecture_is_unimplemented(void **state) {
    (void)state;
    refused((struct tiny_model_options){.architecture = "gemma"}, STATUS_UNIMPLEMENTED, "gemma");
    refused((struct tiny_model_options){.without_key = "general.architecture"}, STATUS_INVALID_ARGUMENT,
            "architecture");
}

static void test_missing_keys_are_named(void **state) {
    (void)state;
    static const char *const keys[] = {"llama.block_count",          "llama.embedding_length",
                                       "llama.feed_forward_length",  "llama.context_length",
                                       "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        refused((struct tiny_model_options){.without_key = keys[i]}, STATUS_INVALID_ARGUMENT, keys[i]);
}

static void test_impossible_numbers_are_named(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
    } bad[] = {{"llama.block_count", 0},
               {"llama.block_count", 100000},
               {"llama.embedding_length", 0},
               {"llama.embedding_length", UINT32_MAX},
               {"llama.feed_forward_length", UINT32_MAX},
               {"llama.context_length", 0},
               {"llama.context_length", UINT32_MAX},
               {"llama.attention.head_count", 0},
               {"llama.attention.head_count", UINT32_MAX},
               {"llama.attention.head_count_kv", 5},
               {"llama.rope.dimension_count", 4096},
               {"llama.vocab_size", UINT32_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused((struct tiny_model_options){.number_key = bad[i].key, .number = bad[i].value}, STATUS_INVALID_ARGUMENT,
                bad[i].key);
    refused((struct tiny_model_options){.number_key = "llama.attention.head_count_kv", .number = 3},
            STATUS_INVALID_ARGUMENT, "heads");
}

/** Metadata and tensors that contradict each other: the tensor is named. */
static void test_contradictions_name_the_tensor(void **state) {
    (void)state;
    refused((struct tiny_model_options){.number_key = "llama.vocab_size", .number = 400}, STATUS_INVALID_ARGUMENT,
            "token_embd.weight");
    refused((struct tiny_model_options){.number_key = "llama.embedding_length", .number = 128}, STATUS_INVALID_ARGUMENT,
            "token_embd.weight");
    refused((struct tiny_model_options){.number_key = "llama.feed_forward_length", .number = 128},
            STATUS_INVALID_ARGUMENT, "ffn_");
    refused((struct tiny_model_options){.number_key = "llama.block_count", .number = 3}, STATUS_NOT_FOUND, "blk.2.");
    refused((struct tiny_model_options){.number_key = "llama.block_count", .number = 1}, STATUS_UNIMPLEMENTED,
            "blk.1.");
}

static void test_missing_and_misshapen_tensors_are_named(void **state) {
    (void)state;
    static const char *const names[] = {"token_embd.weight",     "blk.0.attn_norm.weight", "blk.1.attn_q.weight",
                                        "blk.0.attn_k.weight",   "blk.0.attn_v.weight",    "blk.1.attn_output.weight",
                                        "blk.1.ffn_norm.weight", "blk.0.ffn_gate.weight",  "blk.0.ffn_up.weight",
                                        "blk.1.ffn_down.weight", "output_norm.weight"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        refused((struct tiny_model_options){.without_tensor = names[i]}, STATUS_NOT_FOUND, names[i]);
        refused((struct tiny_model_options){.wrong_rows = names[i]}, STATUS_INVALID_ARGUMENT, names[i]);
    }
    refused((struct tiny_model_options){.untied = true, .wrong_rows = "output.weight"}, STATUS_INVALID_ARGUMENT,
            "output.weight");
}

static void test_what_would_change_the_sum_is_refused(void **state) {
    (void)state;
    refused((struct tiny_model_options){.extra_tensor = "rope_freqs.weight"}, STATUS_INVALID_ARGUMENT, "rope_freqs");
    refused((struct tiny_model_options){.extra_tensor = "blk.0.ffn_up.bias"}, STATUS_UNIMPLEMENTED, "ffn_up.bias");
    refused((struct tiny_model_options){.extra_tensor = "blk.0.attn_q_norm.weight"}, STATUS_UNIMPLEMENTED,
            "attn_q_norm.weight");
    refused((struct tiny_model_options){.number_key = "llama.expert_count", .number = 8}, STATUS_INVALID_ARGUMENT,
            "expert_used_count");
    refused((struct tiny_model_options){.number_key = "llama.expert_group_count", .number = 8}, STATUS_UNIMPLEMENTED,
            "expert_group_count");
    refused((struct tiny_model_options){.number_key = "llama.attention.kv_lora_rank", .number = 64},
            STATUS_UNIMPLEMENTED, "kv_lora_rank");
    refused((struct tiny_model_options){.number_key = "llama.attn_logit_softcapping", .number = 50},
            STATUS_UNIMPLEMENTED, "attn_logit_softcapping");
    refused((struct tiny_model_options){.string_key = "llama.rope.scaling.type", .string = "longrope"},
            STATUS_UNIMPLEMENTED, "rope.scaling.type");
}

static void test_neutral_settings_are_accepted(void **state) {
    (void)state;
    struct fixture fixture;
    setup(
        &fixture,
        &(struct tiny_model_options){
            .string_key = "llama.rope.scaling.type", .string = "none", .number_key = "llama.expert_count", .number = 0},
        "plain", 1, KV_F16);
    teardown(&fixture);
}

static void test_odd_heads_are_unimplemented(void **state) {
    (void)state;
    refused((struct tiny_model_options){.width = 96, .heads = 4, .kv_heads = 4}, STATUS_UNIMPLEMENTED, "heads of 24");
    refused((struct tiny_model_options){.number_key = "llama.rope.dimension_count", .number = 7}, STATUS_UNIMPLEMENTED,
            "rotary 7");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_agrees_with_double_precision),
        cmocka_unit_test(test_chunked_prompt_equals_whole_prompt),
        cmocka_unit_test(test_mixed_batches_of_32_equal_one_by_one),
        cmocka_unit_test(test_step_that_was_given_up_leaves_nothing),
        cmocka_unit_test(test_nan_in_unused_slots_does_not_matter),
        cmocka_unit_test(test_only_chosen_rows_give_logits),
        cmocka_unit_test(test_perplexity_scores_each_token),
        cmocka_unit_test(test_divergence_is_the_definition),
        cmocka_unit_test(test_other_architecture_is_unimplemented),
        cmocka_unit_test(test_missing_keys_are_named),
        cmocka_unit_test(test_impossible_numbers_are_named),
        cmocka_unit_test(test_contradictions_name_the_tensor),
        cmocka_unit_test(test_missing_and_misshapen_tensors_are_named),
        cmocka_unit_test(test_what_would_change_the_sum_is_refused),
        cmocka_unit_test(test_neutral_settings_are_accepted),
        cmocka_unit_test(test_odd_heads_are_unimplemented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
