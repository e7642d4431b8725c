/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * bora-bench-kernels [THREADS [SECONDS]]: what the kernels of this machine do, per variant and storage type.
 *
 *   decode    one row of x times 64 MiB of weights that no cache holds: GB/s of the model file's bytes, beside the memory's own
 *             read bandwidth, which bounds it
 *   prefill   64 rows of x times a matrix of 1536 x 576: billions of products a second
 *   attention a layer of 9 heads of 64 over 3 key/value heads, per storage type of the cache: decode (one row a sequence) and prefill
 *             (the last rows of a prompt); billions of products a second, and for decode GB/s of the cache
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

enum {
    D = 576,
    F = 1536,
    ROWS = 64,
    HEADS = 9,
    KV_HEADS = 3,
    HEAD_DIM = 64,
    BLOCK_TOKENS = 32,
    CONTEXT = 8192,
    SEQUENCES = 8
};
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

struct attention_case {
    int64_t sequences, rows, context; /* rows of each sequence, that end at `context` */
};

/** Seconds of one layer's attention. */
static double time_attention(struct kernels *kernels, enum kv_type type, const struct attention_case *shape) {
    enum { BLOCKS = CONTEXT / BLOCK_TOKENS };
    struct kv_layer layer = {.type = type, .block_tokens = BLOCK_TOKENS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    layer.block_stride = kv_layer_bytes(&layer);
    size_t pool = (size_t)shape->sequences * BLOCKS * layer.block_stride;
    layer.base = must(aligned_alloc(64, pool));
    memset(layer.base, 0x11, pool); /* small numbers of any type */
    int32_t *blocks = must(calloc((size_t)shape->sequences * BLOCKS, sizeof *blocks));
    for (int i = 0; i < shape->sequences * BLOCKS; i++) blocks[i] = i;
    size_t width = HEADS * HEAD_DIM, rows = (size_t)(shape->sequences * shape->rows);
    float *q = make_floats(rows * width), *out = must(malloc(rows * width * sizeof *out));
    struct kv_sequence sequences[SEQUENCES];
    for (int64_t s = 0; s < shape->sequences; s++) {
        sequences[s] = (struct kv_sequence){.first_row = s * shape->rows,
                                            .row_count = shape->rows,
                                            .context = shape->context,
                                            .blocks = blocks + s * BLOCKS};
    }
    struct attention_run run = {kernels,
                                {.layer = &layer,
                                 .sequences = sequences,
                                 .sequence_count = shape->sequences,
                                 .q = q,
                                 .q_stride = (int64_t)width,
                                 .out = out,
                                 .out_stride = (int64_t)width,
                                 .heads = HEADS,
                                 .scale = 0.125f}};
    double seconds = best_of(run_attention, &run);
    free(layer.base);
    free(blocks);
    free(q);
    free(out);
    return seconds;
}

static void bench_attention(struct kernels *kernels) {
    static const struct attention_case cases[] = {{1, 1, 256},  {1, 1, 2048}, {1, 1, 8192},  {8, 1, 1024}, {8, 1, 8192},
                                                  {1, 8, 2048}, {1, 64, 512}, {1, 64, 2048}, {1, 64, 8192}};
    for (int type = KV_F32; type <= KV_INT8; type++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const struct attention_case *shape = &cases[i];
            struct kv_layer layer = {
                .type = (enum kv_type)type, .block_tokens = BLOCK_TOKENS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
            double seconds = time_attention(kernels, (enum kv_type)type, shape),
                   seen = (double)shape->context - (double)(shape->rows - 1) / 2, /* by a row, on average */
                products = (double)(shape->sequences * shape->rows) * seen * 2 * HEADS * HEAD_DIM,
                   bytes = (double)shape->sequences * (double)shape->context / BLOCK_TOKENS *
                           (double)kv_layer_bytes(&layer);
            printf("%-7s attention %-4s %lld x %2lld rows over %4lld: %7.1f us, %5.1f G products/s", kernels->variant,
                   kv_type_name((enum kv_type)type), (long long)shape->sequences, (long long)shape->rows,
                   (long long)shape->context, seconds * 1e6, products / seconds * 1e-9);
            if (shape->rows == 1) printf(", %5.1f GB/s", bytes / seconds * 1e-9);
            printf("\n");
        }
    }
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
    bench_attention(kernels);
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
