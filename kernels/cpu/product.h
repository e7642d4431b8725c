/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What matmul.c and experts.c have in common: rows of x made ready for tiles, one group of weights (or a gate's and its up's) times some of
 * them, and how threads take their share.
 */
#ifndef KERNELS_CPU_PRODUCT_H
#define KERNELS_CPU_PRODUCT_H

#include "kernels/cpu/cpu.h"

/** How rows of x become what tiles read. */
struct product_input {
    const float *x; /* row t at x + t * x_stride */
    int64_t x_stride;
    const float *norm_weight; /* RMSNorm first; or NULL */
    float norm_eps;
    int64_t columns; /* K */
    bool quantise;   /* some weights' tiles read 8-bit rows */
    bool move;       /* rows change their places, so they are copied even if nothing normalises them */
};

/** Rows that are ready. */
struct product_rows {
    const float *x;
    int64_t x_stride;
    float *normalised;                 /* [T][K] */
    struct quantised_block *quantised; /* [T][K / QUANT_BLOCK] */
};

/** Where the rows of `input` will lie once they are ready: in this thread's own memory (`alone`) or in all threads'. */
struct product_rows product_rows_of(const struct cpu *cpu, const struct product_input *input, bool alone, int thread);
/** Make row `from` of the input ready, as number `to`. */
void product_prepare(const struct cpu *cpu, const struct product_input *input, const struct product_rows *rows,
                     int64_t from, int64_t to);
/** Whether tiles of these weights read 8-bit rows. */
bool product_quantises(const struct weights *weights);

struct product {
    const struct weights *weights, *up; /* up: y = activation(W x) * (U x); or NULL */
    enum activation activation;
    const float *bias; /* or NULL */
    bool accumulate;
    float *y; /* row t at y + t * y_stride */
    int64_t y_stride;
};

/** Group `group` times rows [t0, t0 + count), count <= TILE_ROWS_MAX. */
void product_multiply(struct cpu *cpu, const struct product *product, const struct product_rows *rows, int64_t columns,
                      int64_t group, int64_t t0, int64_t count, struct cpu_scratch *scratch);

/** Units at a time when there are `units` of `bytes` of weights each: large enough that taking some costs nothing, small enough to share well and
 *  to lie in the second cache. */
int64_t product_chunk(const struct cpu *cpu, int64_t units, int64_t bytes);

/**
 * Units [0, units) are shared out: a region of neighbours for each thread, which it takes `chunk` by `chunk`. Who is done helps in the others'
 * regions, so that a thread that memory or another process holds up does not hold up the rest. Called by every thread, after one has called
 * product_share_begin; `run` does units [first, last).
 */
void product_share_begin(struct cpu *cpu);
void product_share(struct cpu *cpu, int thread, int size, int64_t units, int64_t chunk,
                   void (*run)(void *context, int64_t first, int64_t last), void *context);

#endif
