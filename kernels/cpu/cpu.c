/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The CPU device: variants, opening, and the small row-wise operations. */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/cpu_features.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };
static const int64_t SPIN_NS_DEFAULT = 50 * 1000;

void *cpu_allocate(size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total) || total > SIZE_MAX - ALIGNMENT) return NULL;
    return aligned_alloc(ALIGNMENT, (total + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

/* ---- weights ------------------------------------------------------------------------------------------------------- */

static bool cpu_supports(const struct kernels *kernels, enum tensor_type type) {
    return (void)kernels, tensor_type_block(type) != 0;
}

struct pack_run {
    const struct tensor_view *view;
    struct weights *weights;
};

static void pack_thread(void *context, int index, int size) {
    struct pack_run *run = context;
    int64_t first, last;
    cpu_share(pack_groups(run->view->rows), index, size, &first, &last);
    pack(run->view, run->weights->packed, first, last);
}

static enum status cpu_weights_create(struct kernels *kernels, const struct tensor_view *view, struct weights **out,
                                      struct error *err) {
    struct cpu *cpu = (struct cpu *)kernels;
    if (tensor_type_block(view->type) == 0)
        return error_set(err, STATUS_UNIMPLEMENTED, "weights of type %d are not known", (int)view->type);
    if (view->rows < 1 || view->columns < 1 || tensor_type_row_bytes(view->type, view->columns) == 0) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "weights of %lld x %lld do not fit blocks of %d (%s)",
                         (long long)view->rows, (long long)view->columns, tensor_type_block(view->type),
                         tensor_type_name(view->type));
    }
    if (view->columns > cpu->options.columns_max) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "weights of %lld columns, and the kernels were opened for %lld",
                         (long long)view->columns, (long long)cpu->options.columns_max);
    }
    struct weights *weights = calloc(1, sizeof *weights);
    if (weights == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    weights->view = *view;
    if (cpu->leaves->tiles != NULL) {
        weights->group_bytes = pack_group_bytes(view->type, view->columns);
        size_t bytes = (size_t)pack_groups(view->rows) * weights->group_bytes;
        weights->packed = slab_take(&cpu->slabs, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, &weights->slab);
        if (weights->packed == NULL) {
            free(weights);
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu bytes of packed weights", bytes);
        }
        struct pack_run run = {.view = view, .weights = weights};
        thread_team_run(cpu->team, pack_thread, &run);
    }
    *out = weights;
    return STATUS_OK;
}

static void cpu_weights_destroy(struct kernels *kernels, struct weights *weights) {
    if (weights == NULL) return;
    slab_give_back(&((struct cpu *)kernels)->slabs, weights->slab);
    free(weights);
}

/* ---- row-wise operations ------------------------------------------------------------------------------------------- */

static void rows_thread(void *context, int index, int size) {
    const struct rows_run *run = context;
    int64_t first, last;
    cpu_share(run->rows, index, size, &first, &last);
    for (int64_t t = first; t < last; t++) run->row(run, t);
}

void cpu_run_rows(struct kernels *kernels, int64_t rows, void (*row)(const struct rows_run *run, int64_t t),
                  const void *arguments) {
    struct rows_run run = {.cpu = (struct cpu *)kernels, .rows = rows, .row = row, .arguments = arguments};
    if (rows < 4)
        rows_thread(&run, 0, 1);
    else
        thread_team_run(run.cpu->team, rows_thread, &run);
}

struct embed_arguments {
    const struct tensor_view *view;
    const int32_t *ids;
    float scale, *y;
};

static void embed_row(const struct rows_run *run, int64_t t) {
    const struct embed_arguments *a = run->arguments;
    assert(a->ids[t] >= 0 && a->ids[t] < a->view->rows);
    const char *row =
        (const char *)a->view->data + (size_t)a->ids[t] * tensor_type_row_bytes(a->view->type, a->view->columns);
    float *y = a->y + t * a->view->columns;
    (void)!tensor_dequantise_row(a->view->type, row, a->view->columns, y);
    if (a->scale == 1.0f) return;
    for (int64_t i = 0; i < a->view->columns; i++) y[i] *= a->scale;
}

static void cpu_embed(struct kernels *kernels, const struct weights *weights, const int32_t *ids, int64_t rows,
                      float scale, float *y) {
    cpu_run_rows(kernels, rows, embed_row, &(struct embed_arguments){&weights->view, ids, scale, y});
}

struct rmsnorm_arguments {
    const float *x, *weight;
    float eps, *y;
    int64_t width;
    bool accumulate;
};

static void rmsnorm_row(const struct rows_run *run, int64_t t) {
    const struct rmsnorm_arguments *a = run->arguments;
    const struct cpu_leaves *leaves = run->cpu->leaves;
    (a->accumulate ? leaves->rmsnorm_add_row : leaves->rmsnorm_row)(a->x + t * a->width, a->weight, a->eps, a->width,
                                                                    a->y + t * a->width);
}

static void cpu_rmsnorm(struct kernels *kernels, const float *x, const float *weight, float eps, int64_t rows,
                        int64_t width, bool accumulate, float *y) {
    cpu_run_rows(kernels, rows, rmsnorm_row, &(struct rmsnorm_arguments){x, weight, eps, y, width, accumulate});
}

struct rope_arguments {
    const struct rope *rope;
    const int32_t *positions;
    float *table;
};

/** Angles are taken in double: at position 8,000 a float product would be off by 5e-4 radians. */
static void rope_table_row(const struct rows_run *run, int64_t t) {
    const struct rope_arguments *a = run->arguments;
    const struct rope *rope = a->rope;
    int pairs = rope->rotary_dim / 2, apart = rope->style == ROPE_HALVES ? pairs : 1,
        step = rope->style == ROPE_HALVES ? 1 : 2;
    float *cosines = a->table + 2 * t * rope->rotary_dim, *sines = cosines + rope->rotary_dim;
    for (int i = 0; i < pairs; i++) {
        double sine, cosine, angle = (double)a->positions[t] * (double)rope->inverse_frequency[i];
        sincos(angle, &sine, &cosine);
        int k = i * step;
        cosines[k] = cosines[k + apart] = (float)cosine * rope->magnitude;
        sines[k + apart] = (float)sine * rope->magnitude;
        sines[k] = -sines[k + apart];
    }
}

static void cpu_rope_table(struct kernels *kernels, const struct rope *rope, const int32_t *positions, int64_t rows,
                           float *table) {
    cpu_run_rows(kernels, rows, rope_table_row, &(struct rope_arguments){rope, positions, table});
}

struct gate_arguments {
    enum activation activation;
    const float *gate, *up;
    float *y;
    int64_t width;
};

static void gate_row(const struct rows_run *run, int64_t t) {
    const struct gate_arguments *a = run->arguments;
    int64_t at = t * a->width;
    run->cpu->leaves->gate_row(a->activation, a->gate + at, a->up + at, a->width, a->y + at);
}

static void cpu_gate(struct kernels *kernels, enum activation activation, const float *gate, const float *up,
                     int64_t rows, int64_t width, float *y) {
    cpu_run_rows(kernels, rows, gate_row, &(struct gate_arguments){activation, gate, up, y, width});
}

struct softcap_arguments {
    float cap, *x;
    int64_t width;
};

static void softcap_row(const struct rows_run *run, int64_t t) {
    const struct softcap_arguments *a = run->arguments;
    run->cpu->leaves->softcap_row(a->cap, a->width, a->x + t * a->width);
}

static void cpu_softcap(struct kernels *kernels, float cap, int64_t rows, int64_t width, float *x) {
    cpu_run_rows(kernels, rows, softcap_row, &(struct softcap_arguments){cap, x, width});
}

static void copy_heads_row(const struct rows_run *run, int64_t t) {
    const struct head_copy *copy = run->arguments;
    for (int h = 0; h < copy->heads; h++) {
        memcpy(copy->to + t * copy->to_stride + h * copy->to_head,
               copy->from + t * copy->from_stride + h * copy->from_head, (size_t)copy->width * sizeof *copy->to);
    }
}

static void cpu_copy_heads(struct kernels *kernels, const struct head_copy *copy) {
    cpu_run_rows(kernels, copy->rows, copy_heads_row, copy);
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static const struct kernels_operations cpu_operations = {.supports = cpu_supports,
                                                         .weights_create = cpu_weights_create,
                                                         .weights_destroy = cpu_weights_destroy,
                                                         .embed = cpu_embed,
                                                         .matmul = cpu_matmul,
                                                         .rmsnorm = cpu_rmsnorm,
                                                         .rope_table = cpu_rope_table,
                                                         .kv_store = cpu_kv_store,
                                                         .attention = cpu_attention,
                                                         .gate = cpu_gate,
                                                         .softcap = cpu_softcap,
                                                         .copy_heads = cpu_copy_heads,
                                                         .route = cpu_route,
                                                         .expert_matmul = cpu_expert_matmul,
                                                         .combine = cpu_combine};

static enum status choose_variant(const char *wanted, struct cpu *cpu, struct error *err) {
    static const struct {
        const char *name;
        const struct cpu_leaves *leaves;
    } variants[] = {{"plain", &cpu_leaves_plain}, {"avx2", &cpu_leaves_avx2}, {"avx512", &cpu_leaves_avx512}};
    if (wanted == NULL || strcmp(wanted, "auto") == 0) wanted = kernels_cpu_variants()[0];
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        if (strcmp(wanted, variants[i].name) != 0) continue;
        if (!cpu_variant_runs(wanted))
            return error_set(err, STATUS_UNIMPLEMENTED, "this processor cannot run the kernel variant %s: %s", wanted,
                             kernels_cpu_description());
        cpu->leaves = variants[i].leaves;
        cpu->kernels.variant = variants[i].name;
        return STATUS_OK;
    }
    return error_set(err, STATUS_NOT_FOUND, "no kernel variant '%.64s' (there are plain, avx2, avx512)", wanted);
}

static enum status allocate_scratch(struct cpu *cpu, struct error *err) {
    const struct kernels_options *options = &cpu->options;
    size_t rows = (size_t)options->rows_max, columns = (size_t)options->columns_max, extent,
           used = options->experts_used_max > 1 ? (size_t)options->experts_used_max : 1,
           blocks = columns / QUANT_BLOCK + 1, alone = ROWS_PREPARED_ALONE;
    if (__builtin_mul_overflow(rows, used, &rows) || __builtin_mul_overflow(rows, columns + QUANT_BLOCK, &extent))
        return error_set(err, STATUS_INVALID_ARGUMENT, "kernels: %zu rows of %zu do not fit any memory", rows, columns);
    cpu->normalised = cpu_allocate(rows * columns, sizeof(float));
    cpu->quantised = cpu_allocate(rows * blocks, sizeof *cpu->quantised);
    cpu->scratch = cpu_allocate((size_t)cpu->kernels.threads, sizeof *cpu->scratch); /* cache lines of their own */
    if (cpu->scratch != NULL) memset(cpu->scratch, 0, (size_t)cpu->kernels.threads * sizeof *cpu->scratch);
    cpu->attention = attention_shared_create(options);
    bool failed = cpu->normalised == NULL || cpu->quantised == NULL || cpu->scratch == NULL || cpu->attention == NULL;
    for (int i = 0; !failed && i < cpu->kernels.threads; i++) {
        struct cpu_scratch *scratch = &cpu->scratch[i];
        scratch->row = cpu_allocate(columns, sizeof(float));
        scratch->tiles = cpu_allocate(2 * TILE_ROWS_MAX * PACK_ROWS, sizeof(float));
        scratch->normalised = cpu_allocate(alone * columns, sizeof(float));
        scratch->quantised = cpu_allocate(alone * blocks, sizeof *scratch->quantised);
        scratch->attention = attention_scratch_create(options);
        failed = scratch->row == NULL || scratch->tiles == NULL || scratch->normalised == NULL ||
                 scratch->quantised == NULL || scratch->attention == NULL;
    }
    return failed ? error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for the kernels' scratch (%zu rows of %zu)",
                              rows, columns)
                  : STATUS_OK;
}

enum status kernels_open(const char *device, const struct kernels_options *options, struct kernels **out,
                         struct error *err) {
    if (strcmp(device, "cpu") != 0) return error_set(err, STATUS_NOT_FOUND, "no device '%.64s' (there is cpu)", device);
    if (options->rows_max < 1 || options->columns_max < 1 || options->heads_max < 1 || options->context_max < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "kernels: rows, columns, heads and context must be at least 1");
    struct cpu *cpu = calloc(1, sizeof *cpu);
    if (cpu == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = STATUS_OK;
    cpu->options = *options;
    cpu->kernels = (struct kernels){.operations = &cpu_operations,
                                    .device = "cpu",
                                    .threads = options->threads > 0 ? options->threads : threads_available()};
    TRY_CLEANUP(choose_variant(options->variant, cpu, err));
    TRY_CLEANUP(thread_team_create(cpu->kernels.threads, options->spin_ns < 0 ? SPIN_NS_DEFAULT : options->spin_ns,
                                   &cpu->team, err));
    TRY_CLEANUP(allocate_scratch(cpu, err));
    *out = &cpu->kernels;
    return STATUS_OK;
cleanup:
    kernels_close(&cpu->kernels);
    return status;
}

void kernels_close(struct kernels *kernels) {
    struct cpu *cpu = (struct cpu *)kernels;
    if (cpu == NULL) return;
    thread_team_destroy(cpu->team);
    for (int i = 0; cpu->scratch != NULL && i < cpu->kernels.threads; i++) {
        free(cpu->scratch[i].row);
        free(cpu->scratch[i].tiles);
        free(cpu->scratch[i].normalised);
        free(cpu->scratch[i].quantised);
        attention_scratch_destroy(cpu->scratch[i].attention);
    }
    free(cpu->scratch);
    attention_shared_destroy(cpu->attention);
    free(cpu->normalised);
    free(cpu->quantised);
    free(cpu);
}
