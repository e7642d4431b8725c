/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/product.h"

#include <stdatomic.h>
#include <string.h>

enum { CHUNK_BYTES = 160 * 1024, CHUNKS_PER_THREAD = 8 };

/* ---- rows of x ------------------------------------------------------------------------------------------------------ */

bool product_quantises(const struct weights *weights) {
    return weights->packed != NULL && tensor_type_block(weights->view.type) != 1;
}

struct product_rows product_rows_of(const struct cpu *cpu, const struct product_input *input, bool alone, int thread) {
    const struct cpu_scratch *scratch = &cpu->scratch[thread];
    struct product_rows rows = {.x = input->x,
                                .x_stride = input->x_stride,
                                .normalised = alone ? scratch->normalised : cpu->normalised,
                                .quantised = alone ? scratch->quantised : cpu->quantised};
    if (input->norm_weight != NULL || input->move) {
        rows.x = rows.normalised;
        rows.x_stride = input->columns;
    }
    return rows;
}

void product_prepare(const struct cpu *cpu, const struct product_input *input, const struct product_rows *rows,
                     int64_t from, int64_t to) {
    const float *x = input->x + from * input->x_stride;
    float *normalised = rows->normalised + to * input->columns;
    if (input->norm_weight != NULL) {
        cpu->leaves->rmsnorm_row(x, input->norm_weight, input->norm_eps, input->columns, normalised);
        x = normalised;
    } else if (input->move) {
        memcpy(normalised, x, (size_t)input->columns * sizeof *x);
    }
    if (input->quantise)
        cpu->leaves->quantise_row(x, input->columns, rows->quantised + to * (input->columns / QUANT_BLOCK));
}

/* ---- tiles ---------------------------------------------------------------------------------------------------------- */

/** A row of the file as f32: in place, or written to `scratch`. */
static const float *float_row(const struct cpu *cpu, const struct tensor_view *view, const void *row, float *scratch) {
    if (view->type == TENSOR_F32) return row;
    int64_t columns = view->columns, vectors = 0;
    if (view->type == TENSOR_F16) { /* the processor converts sixteen at once, to the same bits */
        vectors = columns / 16 * 16;
        cpu->leaves->load_f16(row, vectors, scratch);
    }
    const char *rest = (const char *)row + tensor_type_row_bytes(view->type, vectors);
    (void)!tensor_dequantise_row(view->type, rest, columns - vectors, scratch + vectors);
    return scratch;
}

/** A tile of weights that are not packed, in plain f32. */
static void multiply_rows(const struct cpu *cpu, const struct weights *weights, int64_t group, const struct tile *tile,
                          float *scratch) {
    const struct tensor_view *view = &weights->view;
    size_t row_bytes = tensor_type_row_bytes(view->type, view->columns);
    for (int64_t lane = 0, n = group * PACK_ROWS; lane < PACK_ROWS && n < view->rows; lane++, n++) {
        const float *w = float_row(cpu, view, (const char *)view->data + (size_t)n * row_bytes, scratch);
        for (int64_t t = 0; t < tile->rows; t++)
            tile->out[t * PACK_ROWS + lane] = cpu->leaves->dot(w, tile->x + t * tile->x_stride, tile->columns);
    }
}

/** Rows [t0, t0 + count) of x times one group; out [count][PACK_ROWS]. */
static void multiply_group(const struct cpu *cpu, const struct weights *weights, const struct product_rows *rows,
                           int64_t columns, int64_t group, int64_t t0, int64_t count, struct cpu_scratch *scratch,
                           float *out) {
    struct tile tile = {.columns = columns,
                        .q = rows->quantised + t0 * (columns / QUANT_BLOCK),
                        .x = rows->x + t0 * rows->x_stride,
                        .x_stride = rows->x_stride,
                        .rows = count,
                        .out = out};
    if (weights->packed != NULL) {
        tile.group = (const char *)weights->packed + (size_t)group * weights->group_bytes;
        cpu->leaves->tiles[weights->view.type](&tile);
    } else {
        multiply_rows(cpu, weights, group, &tile, scratch->row);
    }
}

void product_multiply(struct cpu *cpu, const struct product *product, const struct product_rows *rows, int64_t columns,
                      int64_t group, int64_t t0, int64_t count, struct cpu_scratch *scratch) {
    float *tile = scratch->tiles, *ups = scratch->tiles + TILE_ROWS_MAX * PACK_ROWS;
    multiply_group(cpu, product->weights, rows, columns, group, t0, count, scratch, tile);
    if (product->up != NULL) {
        multiply_group(cpu, product->up, rows, columns, group, t0, count, scratch, ups);
        cpu->leaves->gate_row(product->activation, tile, ups, count * PACK_ROWS, tile);
    }
    int64_t n0 = group * PACK_ROWS, left = product->weights->view.rows - n0;
    const float *bias = product->bias != NULL ? product->bias + n0 : NULL;
    cpu->leaves->store_tile(tile, count, left < PACK_ROWS ? (int)left : PACK_ROWS, bias, product->accumulate,
                            product->y + t0 * product->y_stride + n0, product->y_stride);
}

/* ---- sharing -------------------------------------------------------------------------------------------------------- */

int64_t product_chunk(const struct cpu *cpu, int64_t units, int64_t bytes) {
    int64_t most = units / ((int64_t)cpu->kernels.threads * CHUNKS_PER_THREAD);
    if (bytes > 0 && most > CHUNK_BYTES / bytes) most = CHUNK_BYTES / bytes;
    return most > 1 ? most : 1;
}

void product_share_begin(struct cpu *cpu) {
    for (int i = 0; i < cpu->kernels.threads; i++)
        atomic_store_explicit(&cpu->scratch[i].next, 0, memory_order_relaxed);
}

void product_share(struct cpu *cpu, int thread, int size, int64_t units, int64_t chunk,
                   void (*run)(void *context, int64_t first, int64_t last), void *context) {
    for (int i = 0; i < size; i++) { /* its own region, then those after it */
        int region = (thread + i) % size;
        int64_t begin, end, taken;
        cpu_share(units, region, size, &begin, &end);
        atomic_llong *next = &cpu->scratch[region].next;
        while (atomic_load_explicit(next, memory_order_relaxed) < end - begin &&
               (taken = atomic_fetch_add(next, chunk)) < end - begin) {
            int64_t first = begin + taken;
            run(context, first, first + chunk < end ? first + chunk : end);
        }
    }
}
