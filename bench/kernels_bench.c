/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-kernels [THREADS [SECONDS]]: what the kernels of this machine do, per variant and storage type.
 *
 *   decode    one row of x times 64 MiB of weights that no cache holds: GB/s of the model file's bytes, beside the memory's own
 *             read bandwidth, which bounds it
 *   prefill   64 rows of x times a matrix of 1536 x 576: billions of products a second
 *   attention one row of 9 heads over 2,048 positions; 64 rows over 512
 *
 * Each figure is the best of repeated runs within SECONDS (default 0.3), because neighbours on a machine only ever slow a run down.
 */
#include "base/clock.h"
#include "base/threads.h"
#include "bench/read_bandwidth.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 576, F = 1536, ROWS = 64, HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64, BLOCK_TOKENS = 32, CONTEXT = 2048 };
static const size_t DECODE_BYTES = 64u << 20;

static double bench_seconds = 0.3;

/** Seconds of the fastest run of `run`. */
static double best_of(void (*run)(void *context), void *context) {
    int64_t until = clock_monotonic_ns(clock_system()) + (int64_t)(bench_seconds * 1e9), best = INT64_MAX;
    run(context);
    do {
        int64_t begin = clock_monotonic_ns(clock_system());
        run(context);
        int64_t taken = clock_monotonic_ns(clock_system()) - begin;
        if (taken < best) best = taken;
    } while (clock_monotonic_ns(clock_system()) < until);
    return (double)best * 1e-9;
}

static void *must(void *memory) {
    if (memory != NULL) return memory;
    fprintf(stderr, "bora-bench-kernels: out of memory\n");
    exit(1);
}

/** Scales near 0.01 and any bits elsewhere, so that no product overflows. */
static struct tensor_view make_tensor(enum tensor_type type, int64_t rows, int64_t columns) {
    size_t bytes = (size_t)rows * tensor_type_row_bytes(type, columns), block = tensor_type_block_bytes(type);
    uint8_t *data = must(malloc(bytes));
    for (size_t at = 0; at < bytes; at++) {
        size_t place = at % block;
        bool scale = place < 2 || (type == TENSOR_Q4_1 && place < 4);
        data[at] = tensor_type_block(type) == 1 || scale ? 0x21 : (uint8_t)(at * 2654435761u >> 13);
    }
    return (struct tensor_view){.data = data, .type = type, .rows = rows, .columns = columns};
}

static float *make_floats(size_t count) {
    float *out = must(malloc(count * sizeof *out));
    for (size_t i = 0; i < count; i++) out[i] = (float)(i * 40503u % 1000) / 500 - 1;
    return out;
}

/* ---- operations -------------------------------------------------------------------------------------------------------- */

struct matmul_run {
    struct kernels *kernels;
    struct matmul matmul;
};

static void run_matmul(void *context) {
    struct matmul_run *run = context;
    run->kernels->operations->matmul(run->kernels, &run->matmul);
}

/** Seconds of one matmul of `rows` rows with `weight_rows` x `columns` weights. */
static double time_matmul(struct kernels *kernels, enum tensor_type type, int64_t weight_rows, int64_t columns,
                          int64_t rows) {
    struct tensor_view view = make_tensor(type, weight_rows, columns);
    struct weights *weights;
    struct error err = {0};
    if (kernels->operations->weights_create(kernels, &view, &weights, &err) != STATUS_OK) {
        fprintf(stderr, "bora-bench-kernels: %s\n", err.message);
        exit(1);
    }
    float *x = make_floats((size_t)(rows * columns)), *y = must(malloc((size_t)(rows * weight_rows) * sizeof *y));
    struct matmul_run run = {kernels,
                             {.x = x,
                              .x_stride = columns,
                              .rows = rows,
                              .output_count = 1,
                              .outputs = {{.weights = weights, .y = y, .y_stride = weight_rows}}}};
    double seconds = best_of(run_matmul, &run);
    kernels->operations->weights_destroy(kernels, weights);
    free(x);
    free(y);
    free((void *)view.data);
    return seconds;
}

struct attention_run {
    struct kernels *kernels;
    struct attention attention;
};

static void run_attention(void *context) {
    struct attention_run *run = context;
    run->kernels->operations->attention(run->kernels, &run->attention);
}

/** Seconds of one layer's attention: `rows` rows that end at `context`. */
static double time_attention(struct kernels *kernels, int64_t rows, int64_t context) {
    enum { BLOCKS = CONTEXT / BLOCK_TOKENS };
    struct kv_layer layer = {.type = KV_F16, .block_tokens = BLOCK_TOKENS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    layer.block_stride = kv_layer_bytes(&layer);
    layer.base = must(aligned_alloc(64, BLOCKS * layer.block_stride));
    memset(layer.base, 0, BLOCKS * layer.block_stride);
    int32_t blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) blocks[i] = i;
    float *q = make_floats((size_t)rows * HEADS * HEAD_DIM),
          *out = must(malloc((size_t)rows * HEADS * HEAD_DIM * sizeof *out));
    struct kv_sequence sequence = {.first_row = 0, .row_count = rows, .context = context, .blocks = blocks};
    struct attention_run run = {kernels,
                                {.layer = &layer,
                                 .sequences = &sequence,
                                 .sequence_count = 1,
                                 .q = q,
                                 .q_stride = HEADS * HEAD_DIM,
                                 .out = out,
                                 .out_stride = HEADS * HEAD_DIM,
                                 .heads = HEADS,
                                 .scale = 0.125f}};
    double seconds = best_of(run_attention, &run);
    free(layer.base);
    free(q);
    free(out);
    return seconds;
}

static void bench_variant(const char *variant, int threads) {
    static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16,
                                             TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q8_0};
    struct kernels_options options = {.variant = variant,
                                      .threads = threads,
                                      .spin_ns = -1,
                                      .rows_max = ROWS,
                                      .columns_max = F,
                                      .context_max = CONTEXT,
                                      .heads_max = HEADS};
    struct kernels *kernels;
    struct error err = {0};
    if (kernels_open("cpu", &options, &kernels, &err) != STATUS_OK) {
        fprintf(stderr, "bora-bench-kernels: %s\n", err.message);
        exit(1);
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t row_bytes = tensor_type_row_bytes(types[i], F);
        int64_t decode_rows = (int64_t)(DECODE_BYTES / row_bytes);
        double decode = time_matmul(kernels, types[i], decode_rows, F, 1),
               prefill = time_matmul(kernels, types[i], F, D, ROWS);
        printf("%-7s %-5s decode %6.1f GB/s   prefill %6.1f G products/s\n", variant, tensor_type_name(types[i]),
               (double)decode_rows * (double)row_bytes / decode * 1e-9, (double)F * D * ROWS / prefill * 1e-9);
    }
    printf("%-7s attention (a layer, 9 heads): one row over %d positions %.1f us, %d rows over 512 %.1f us\n", variant,
           CONTEXT, time_attention(kernels, 1, CONTEXT) * 1e6, ROWS, time_attention(kernels, ROWS, 512) * 1e6);
    kernels_close(kernels);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : threads_available();
    if (argc > 2) bench_seconds = atof(argv[2]);
    if (argc > 3 || threads < 1 || threads > 256 || !(bench_seconds > 0)) {
        fprintf(stderr, "usage: bora-bench-kernels [THREADS [SECONDS]]\n");
        return 2;
    }
    printf("%s\n%d threads; memory reads %.1f GB/s\n", kernels_cpu_description(), threads,
           read_bandwidth(threads, bench_seconds) * 1e-9);
    for (const char *const *variant = kernels_cpu_variants(); *variant != NULL; variant++)
        bench_variant(*variant, threads);
    return 0;
}
