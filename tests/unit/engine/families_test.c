/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Every family against transformers: tests/golden/tiny holds tiny random models and the logits it computed (tools/make_tiny_models.py). Whole
 * prompts, prompts in chunks and decode steps, all variants; each peculiarity of a family switched off must be seen; and batch invariance.
 */
#include "base/arena.h"
#include "base/json.h"
#include "base/text.h"
#include "engine/kv_cache/kv_cache.h"
#include "engine/model/model.h"
#include "engine/weights/checkpoint.h"
#include "tests/unit/engine/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 64, ROWS_MAX = 128, SEQUENCES_MAX = 5, BLOCKS = 2 * SEQUENCES_MAX, ENCODED_MAX = 1024 };

/** |difference| <= BOUND * max(1, |logit|): f32 sums of at most 96 terms over six layers err by 1e-5 at most; transformers' own differ as much
 *  between one pass and two. */
static const double BOUND = 2e-4;
/** A peculiarity that is switched off moves some logit by more than this. */
static const double SEEN = 1e-2;

static const char *const FAMILIES[] = {"llama3",
                                       "llama_linear",
                                       "mistral",
                                       "mistral_native",
                                       "nemo",
                                       "ministral",
                                       "ministral_native",
                                       "ministral3",
                                       "ministral3_native",
                                       "mixtral",
                                       "mixtral_native",
                                       "qwen2",
                                       "qwen3",
                                       "qwen2_moe",
                                       "qwen3_moe",
                                       "gemma2",
                                       "gemma3",
                                       "smollm3",
                                       "mistral4"};
enum { FAMILY_COUNT = sizeof FAMILIES / sizeof FAMILIES[0] };

/* ---- goldens ----------------------------------------------------------------------------------------------------------- */

struct golden {
    char folder[512];
    int32_t tokens[TOKENS_MAX];
    int64_t count, prompt, vocabulary;
    float *logits; /* [count][vocabulary] */
};

static char *read_file(const char *folder, const char *name, size_t *out_length) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("%s is not there", path);
    fseek(file, 0, SEEK_END);
    *out_length = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*out_length + 1);
    assert_int_equal(fread(text, 1, *out_length, file), *out_length);
    fclose(file);
    return text;
}

static const struct json_value *member(const struct json_value *object, const char *name) {
    for (const struct json_value *value = object->first; value != NULL; value = value->next) {
        if (bytes_view_equal_string(value->name, name)) return value;
    }
    fail_msg("golden.json has no %s", name);
    return NULL;
}

static int64_t integer(const struct json_value *value) {
    return strtoll((const char *)value->text.data, NULL, 10);
}

static struct golden golden_read(const char *family) {
    struct golden golden = {0};
    size_t length, bytes;
    struct arena arena;
    struct json_value *root;
    struct json_problem problem;
    snprintf(golden.folder, sizeof golden.folder, "%s/tests/golden/tiny/%s", BORA_SOURCE_DIR, family);
    char *text = read_file(golden.folder, "golden.json", &length);
    arena_init(&arena, 1 << 20);
    check_ok(json_read(bytes_view_of(text, length), 4, 1000, &arena, &root, &problem));
    golden.prompt = integer(member(root, "prompt"));
    golden.vocabulary = integer(member(root, "vocabulary"));
    for (const struct json_value *id = member(root, "tokens")->first; id != NULL; id = id->next)
        golden.tokens[golden.count++] = (int32_t)integer(id);
    const struct json_value *name = member(root, "logits");
    char folder[600];
    snprintf(folder, sizeof folder, "%s/tests/golden/tiny/%.*s", BORA_SOURCE_DIR, (int)name->string.length,
             (const char *)name->string.data);
    golden.logits = (float *)read_file(folder, "logits.f32", &bytes);
    assert_int_equal(bytes, (size_t)(golden.count * golden.vocabulary) * sizeof(float));
    assert_true(golden.prompt >= 24 && golden.count == golden.prompt + 16);
    arena_deinit(&arena);
    free(text);
    return golden;
}

/* ---- weights in another type --------------------------------------------------------------------------------------------- */

/** While it is set, matrices are handed to the kernels in this type instead of the file's, where their rows are whole blocks of it. */
static struct {
    bool on;
    enum tensor_type type;
    struct kernels_operations operations;
    enum status (*create)(struct kernels *kernels, const struct tensor_view *view, struct weights **out,
                          struct error *err);
    void *memory[ENCODED_MAX];
    int count;
} encoding;

static enum status create_encoded(struct kernels *kernels, const struct tensor_view *view, struct weights **out,
                                  struct error *err) {
    size_t row = tensor_type_row_bytes(encoding.type, view->columns),
           from = tensor_type_row_bytes(view->type, view->columns);
    if (row == 0 || view->rows < 16) return encoding.create(kernels, view, out, err); /* routers stay as they are */
    float *floats = malloc((size_t)view->columns * sizeof *floats);
    char *data = malloc((size_t)view->rows * row);
    assert_true(encoding.count < ENCODED_MAX);
    encoding.memory[encoding.count++] = data;
    for (int64_t n = 0; n < view->rows; n++) {
        TRY(tensor_dequantise_row(view->type, (const char *)view->data + (size_t)n * from, view->columns, floats));
        TRY(tensor_quantise_row(encoding.type, floats, view->columns, data + (size_t)n * row));
    }
    free(floats);
    struct tensor_view encoded = *view;
    encoded.type = encoding.type;
    encoded.data = data;
    return encoding.create(kernels, &encoded, out, err);
}

/* ---- models ------------------------------------------------------------------------------------------------------------ */

struct fixture {
    struct checkpoint *checkpoint;
    struct model_config config;
    struct kernels *kernels;
    struct model *model;
    struct kv_cache *cache;
};

typedef bool change_fn(struct model_config *config);

/** `change` (or NULL) edits the config first; false: it does not concern this model, and nothing is opened. */
static bool fixture_open(struct fixture *fixture, const struct golden *golden, const char *variant, int threads,
                         change_fn *change) {
    *fixture = (struct fixture){0};
    check_ok(checkpoint_open(golden->folder, &fixture->checkpoint, &check_error));
    check_ok(model_config_read(fixture->checkpoint, &fixture->config, &check_error));
    if (change != NULL && !change(&fixture->config)) {
        checkpoint_close(fixture->checkpoint);
        return false;
    }
    struct kernels_options options = {.variant = variant,
                                      .threads = threads,
                                      .rows_max = ROWS_MAX,
                                      .columns_max = model_config_columns_max(&fixture->config),
                                      .context_max = TOKENS_MAX,
                                      .heads_max = fixture->config.heads,
                                      .experts_used_max = fixture->config.experts_used};
    check_ok(kernels_open("cpu", &options, &fixture->kernels, &check_error));
    if (encoding.on) {
        encoding.operations = *fixture->kernels->operations;
        encoding.create = encoding.operations.weights_create;
        encoding.operations.weights_create = create_encoded;
        fixture->kernels->operations = &encoding.operations;
    }
    check_ok(model_load(fixture->checkpoint, &fixture->config, fixture->kernels, ROWS_MAX, ROWS_MAX, &fixture->model,
                        &check_error));
    struct kv_cache_options cache = {.layers = fixture->config.layers,
                                     .kv_heads = fixture->config.kv_heads,
                                     .head_dim = fixture->config.head_dim,
                                     .type = KV_F32,
                                     .block_count = BLOCKS};
    check_ok(kv_cache_create(&cache, &fixture->cache, &check_error));
    assert_int_equal(fixture->config.vocabulary, golden->vocabulary);
    return true;
}

static void fixture_close(struct fixture *fixture) {
    kv_cache_destroy(fixture->cache);
    model_destroy(fixture->model);
    kernels_close(fixture->kernels);
    checkpoint_close(fixture->checkpoint);
    while (encoding.count > 0) free(encoding.memory[--encoding.count]);
}

/** Tokens [first, first + count) of the golden, as sequence `sequence`. */
struct part {
    int sequence;
    int64_t first, count;
};

/** One step; logits of all rows. */
static void step(struct fixture *fixture, const struct golden *golden, const struct part *parts, int part_count,
                 float *logits) {
    int32_t ids[ROWS_MAX], positions[ROWS_MAX], rows_wanted[ROWS_MAX], blocks[SEQUENCES_MAX][2];
    struct kv_sequence sequences[SEQUENCES_MAX];
    int64_t rows = 0;
    for (int p = 0; p < part_count; p++) {
        blocks[p][0] = 2 * parts[p].sequence + 1, blocks[p][1] = 2 * parts[p].sequence;
        sequences[p] = (struct kv_sequence){.first_row = rows,
                                            .row_count = parts[p].count,
                                            .context = parts[p].first + parts[p].count,
                                            .blocks = blocks[p]};
        for (int64_t i = 0; i < parts[p].count; i++, rows++) {
            ids[rows] = golden->tokens[parts[p].first + i];
            positions[rows] = (int32_t)(parts[p].first + i);
            rows_wanted[rows] = (int32_t)rows;
        }
    }
    struct model_batch batch = {.rows = rows,
                                .ids = ids,
                                .positions = positions,
                                .sequences = sequences,
                                .sequence_count = part_count,
                                .logit_rows = rows_wanted,
                                .logit_count = rows,
                                .logits = logits};
    assert_true(model_forward(fixture->model, fixture->cache, &batch));
}

/** The prompt in pieces of `chunk`, then token by token. */
static void run(struct fixture *fixture, const struct golden *golden, int64_t chunk, float *logits) {
    for (int64_t at = 0, count; at < golden->count; at += count) {
        count = at >= golden->prompt ? 1 : chunk < golden->prompt - at ? chunk : golden->prompt - at;
        step(fixture, golden, &(struct part){.first = at, .count = count}, 1, logits + at * golden->vocabulary);
    }
}

static float *new_logits(const struct golden *golden, int64_t rows) {
    return calloc((size_t)(rows * golden->vocabulary), sizeof(float));
}

/** Largest difference to transformers, relative to logits above 1. */
static double worst(const struct golden *golden, const float *logits) {
    double largest = 0;
    for (int64_t i = 0; i < golden->count * golden->vocabulary; i++) {
        double difference = fabs((double)logits[i] - golden->logits[i]) / fmax(1, fabs((double)golden->logits[i]));
        if (!(difference <= largest)) largest = difference; /* a NaN is seen */
    }
    return largest;
}

/* ---- the same numbers as transformers ---------------------------------------------------------------------------------- */

static void test_logits_are_those_of_transformers(void **state) {
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        struct golden golden = golden_read(FAMILIES[f]);
        float *logits = new_logits(&golden, golden.count);
        for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
            struct fixture fixture;
            fixture_open(&fixture, &golden, *variant, 2, NULL);
            run(&fixture, &golden, golden.prompt, logits);
            double difference = worst(&golden, logits);
            printf("%-18s %-6s %.1e\n", FAMILIES[f], *variant, difference);
            if (!(difference <= BOUND)) fail_msg("%s, %s: logits differ by %g", FAMILIES[f], *variant, difference);
            fixture_close(&fixture);
        }
        free(logits);
        free(golden.logits);
    }
}

/* ---- what is switched off is seen -------------------------------------------------------------------------------------- */

static bool without_windows(struct model_config *config) {
    bool had = false;
    for (int i = 0; i < config->layers; i++) {
        had = had || config->layer[i].window != 0;
        config->layer[i].window = 0;
    }
    return had;
}
static bool windows_one_longer(struct model_config *config) {
    bool had = false;
    for (int i = 0; i < config->layers; i++) {
        had = had || config->layer[i].window != 0;
        if (config->layer[i].window != 0) config->layer[i].window++;
    }
    return had;
}
static bool without_scaling(struct model_config *config) {
    bool had = config->ropes[MODEL_ROPE_GLOBAL].scaling != ROPE_SCALING_NONE;
    for (int i = 0; i < MODEL_ROPE_COUNT; i++) config->ropes[i].scaling = ROPE_SCALING_NONE;
    return had;
}
static bool without_magnitude(struct model_config *config) {
    bool had = config->ropes[MODEL_ROPE_GLOBAL].magnitude != 1;
    for (int i = 0; i < MODEL_ROPE_COUNT; i++) config->ropes[i].magnitude = 1;
    return had;
}
static bool local_rope_as_global(struct model_config *config) {
    bool had = config->ropes[MODEL_ROPE_LOCAL].base != config->ropes[MODEL_ROPE_GLOBAL].base;
    for (int i = 0; i < config->layers; i++) {
        if (config->layer[i].rope == MODEL_ROPE_LOCAL) config->layer[i].rope = MODEL_ROPE_GLOBAL;
    }
    return had && strcmp(config->architecture, "gemma3") == 0;
}
static bool other_rope_style(struct model_config *config) {
    config->rope_style = config->rope_style == ROPE_HALVES ? ROPE_INTERLEAVED : ROPE_HALVES;
    return true;
}
static bool rotation_everywhere(struct model_config *config) {
    bool had = false;
    for (int i = 0; i < config->layers; i++) {
        had = had || config->layer[i].rope == MODEL_ROPE_NONE;
        config->layer[i].rope = MODEL_ROPE_GLOBAL;
    }
    return had;
}
static bool without_temperature(struct model_config *config) {
    bool had = config->temperature_beta != 0;
    config->temperature_beta = 0;
    return had;
}
static bool without_attention_cap(struct model_config *config) {
    bool had = config->attention_softcap != 0;
    config->attention_softcap = 0;
    return had;
}
static bool without_output_cap(struct model_config *config) {
    bool had = config->output_softcap != 0;
    config->output_softcap = 0;
    return had;
}
static bool usual_attention_scale(struct model_config *config) {
    float usual = 1 / sqrtf((float)config->head_dim);
    bool had = fabsf(config->attention_scale - usual) > 1e-3f;
    config->attention_scale = usual;
    return had;
}
static bool without_embedding_scale(struct model_config *config) {
    bool had = config->embedding_scale != 1;
    config->embedding_scale = 1;
    return had;
}
static bool without_norm_offset(struct model_config *config) {
    bool had = config->norm_offset != 0;
    config->norm_offset = 0;
    return had;
}
static bool silu_for_gelu(struct model_config *config) {
    bool had = config->activation != ACTIVATION_SILU;
    config->activation = ACTIVATION_SILU;
    return had;
}
static bool other_expert_sum(struct model_config *config) {
    config->normalise_experts = !config->normalise_experts;
    return config->experts > 0;
}
static bool without_expert_scale(struct model_config *config) {
    bool had = config->expert_scale != 1;
    config->expert_scale = 1;
    return had;
}
static bool one_expert_less(struct model_config *config) {
    config->experts_used--;
    return config->experts > 0;
}

static const struct {
    const char *name;
    change_fn *change;
    int families; /* that it concerns: so that none is forgotten by its reader */
} CHANGES[] = {{"windows", without_windows, 7},
               {"the windows' length", windows_one_longer, 7},
               {"RoPE scaling", without_scaling, 7},
               {"YaRN's magnitude", without_magnitude, 1},
               {"the local RoPE", local_rope_as_global, 1},
               {"the style of RoPE", other_rope_style, FAMILY_COUNT},
               {"layers without rotation", rotation_everywhere, 1},
               {"attention scaling by position", without_temperature, 3},
               {"the attention's cap", without_attention_cap, 1},
               {"the logits' cap", without_output_cap, 1},
               {"the attention's scale", usual_attention_scale, 3},
               {"the embedding's scale", without_embedding_scale, 2},
               {"the norms' offset", without_norm_offset, 2},
               {"GELU", silu_for_gelu, 2},
               {"the experts' normalisation", other_expert_sum, 5},
               {"the experts' scale", without_expert_scale, 1},
               {"the number of experts", one_expert_less, 5}};

static void test_each_peculiarity_switched_off_is_seen(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof CHANGES / sizeof CHANGES[0]; c++) {
        int families = 0;
        for (int f = 0; f < FAMILY_COUNT; f++) {
            struct golden golden = golden_read(FAMILIES[f]);
            struct fixture fixture;
            if (fixture_open(&fixture, &golden, "auto", 1, CHANGES[c].change)) {
                float *logits = new_logits(&golden, golden.count);
                run(&fixture, &golden, golden.prompt, logits);
                double difference = worst(&golden, logits);
                if (!(difference > SEEN))
                    fail_msg("%s without %s differs by %g only", FAMILIES[f], CHANGES[c].name, difference);
                families++;
                free(logits);
                fixture_close(&fixture);
            }
            free(golden.logits);
        }
        if (families != CHANGES[c].families)
            fail_msg("%d families have %s, not %d", families, CHANGES[c].name, CHANGES[c].families);
    }
}

/* ---- the same bits, however the work is cut ---------------------------------------------------------------------------- */

static void test_cut_prompts_and_threads_change_no_bit(void **state) {
    (void)state;
    static const int64_t chunks[] = {1, 5, 16};
    for (int f = 0; f < FAMILY_COUNT; f++) {
        struct golden golden = golden_read(FAMILIES[f]);
        for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
            float *whole = new_logits(&golden, golden.count), *cut = new_logits(&golden, golden.count);
            struct fixture fixture;
            fixture_open(&fixture, &golden, *variant, 1, NULL);
            run(&fixture, &golden, golden.prompt, whole);
            fixture_close(&fixture);
            for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
                fixture_open(&fixture, &golden, *variant, 1 + (int)c, NULL);
                run(&fixture, &golden, chunks[c], cut);
                if (memcmp(cut, whole, (size_t)(golden.count * golden.vocabulary) * sizeof *cut) != 0)
                    fail_msg("%s, %s: chunks of %lld give other bits", FAMILIES[f], *variant, (long long)chunks[c]);
                fixture_close(&fixture);
            }
            free(whole);
            free(cut);
        }
        free(golden.logits);
    }
}

/** Five sequences of the same text, each somewhere else in it, some with a piece of prompt and some with one token: what stands beside a row, and
 *  goes to the same experts, does not matter. */
static void test_others_in_the_batch_change_no_bit(void **state) {
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        struct golden golden = golden_read(FAMILIES[f]);
        for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
            int64_t V = golden.vocabulary, at[SEQUENCES_MAX] = {0};
            float *alone = new_logits(&golden, golden.count), *mixed = new_logits(&golden, ROWS_MAX);
            struct fixture fixture;
            fixture_open(&fixture, &golden, *variant, 2, NULL);
            run(&fixture, &golden, golden.prompt, alone);
            for (int steps = 0, part_count = 1; part_count > 0; steps++) {
                struct part parts[SEQUENCES_MAX];
                part_count = 0;
                for (int s = 0; s < SEQUENCES_MAX; s++) {
                    int64_t count = (steps + s) % 3 == 0 ? 1 : 3 + 4 * s, left = golden.count - at[s];
                    if (count > left) count = left;
                    if (count > 0) parts[part_count++] = (struct part){.sequence = s, .first = at[s], .count = count};
                }
                if (part_count == 0) break;
                step(&fixture, &golden, parts, part_count, mixed);
                const float *row = mixed;
                for (int p = 0; p < part_count; row += parts[p++].count * V) {
                    if (memcmp(row, alone + parts[p].first * V, (size_t)(parts[p].count * V) * sizeof *row) != 0)
                        fail_msg("%s, %s: other bits beside others", FAMILIES[f], *variant);
                    at[parts[p].sequence] += parts[p].count;
                }
            }
            fixture_close(&fixture);
            free(alone);
            free(mixed);
        }
        free(golden.logits);
    }
}

/* ---- other types of weights -------------------------------------------------------------------------------------------- */

/** Root of the mean square of the difference over that of the logits themselves. */
static double relative(const struct golden *golden, const float *logits) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < golden->count * golden->vocabulary; i++) {
        difference += pow((double)logits[i] - golden->logits[i], 2);
        size += pow(golden->logits[i], 2);
    }
    return sqrt(difference / size);
}

/** The files are bf16; f32 holds the same. f16 loses three bits of exponent and nothing of these weights but the smallest. The rest: a rounding error of each
 *  weight of 1/(127 sqrt(12)) and 1/(7 sqrt(12)) of its block's largest, through up to six layers whose scores are spread wide on purpose; and
 *  activations of 8 bits. Bounds are about twice what the worst family shows. */
static void test_other_types_of_weights_stay_near(void **state) {
    (void)state;
    static const struct {
        enum tensor_type type;
        double bound;
    } types[] = {{TENSOR_F32, 2e-5}, {TENSOR_F16, 2e-5}, {TENSOR_BF16, 2e-5}, {TENSOR_Q8_0, 0.3}, {TENSOR_Q4_0, 1.0}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        double largest = 0;
        const char *where = "";
        for (int f = 0; f < FAMILY_COUNT; f++) {
            struct golden golden = golden_read(FAMILIES[f]);
            float *logits = new_logits(&golden, golden.count);
            for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++) {
                struct fixture fixture;
                encoding.on = true;
                encoding.type = types[i].type;
                fixture_open(&fixture, &golden, *variant, 1, NULL);
                run(&fixture, &golden, golden.prompt, logits);
                fixture_close(&fixture);
                encoding.on = false;
                double difference = relative(&golden, logits);
                if (!(difference <= types[i].bound))
                    fail_msg("%s in %s, %s: logits differ by %.3g of their size", FAMILIES[f],
                             tensor_type_name(types[i].type), *variant, difference);
                if (difference > largest) largest = difference, where = FAMILIES[f];
            }
            free(logits);
            free(golden.logits);
        }
        printf("%-5s at most %.2e (%s), bound %.0e\n", tensor_type_name(types[i].type), largest, where, types[i].bound);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits_are_those_of_transformers),
        cmocka_unit_test(test_each_peculiarity_switched_off_is_seen),
        cmocka_unit_test(test_cut_prompts_and_threads_change_no_bit),
        cmocka_unit_test(test_others_in_the_batch_change_no_bit),
        cmocka_unit_test(test_other_types_of_weights_stay_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
