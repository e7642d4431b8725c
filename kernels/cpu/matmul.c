/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Matmul driver: rows of x are normalised and quantised, then the weight rows of all outputs are shared out together.
 */
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <string.h>

enum { ROWS_WORTH_SHARING = 4 };

struct matmul_run {
    struct cpu *cpu;
    const struct matmul *matmul;
    int64_t columns;
    bool quantise;  /* some output has packed weights */
    const float *x; /* what float paths multiply: the input or its normalised copy */
    int64_t x_stride;
};

static void prepare_rows(const struct matmul_run *run, int64_t first, int64_t last) {
    struct cpu *cpu = run->cpu;
    const struct matmul *matmul = run->matmul;
    int64_t blocks = run->columns / QUANT_BLOCK;
    for (int64_t t = first; t < last; t++) {
        const float *x = matmul->x + t * matmul->x_stride;
        if (matmul->norm_weight != NULL) {
            float *normalised = cpu->normalised + t * run->columns;
            cpu->leaves->rmsnorm_row(x, matmul->norm_weight, matmul->norm_eps, run->columns, normalised);
            x = normalised;
        }
        if (run->quantise) {
            const struct quantised *q = &cpu->quantised;
            cpu->leaves->quantise_row(x, run->columns, q->q + t * run->columns, q->d + t * blocks, q->s + t * blocks,
                                      q->isum + t * blocks);
        }
    }
}

static void store_value(const struct matmul_output *output, int64_t t, int64_t n, float value) {
    float *y = output->y + t * output->y_stride + n;
    if (output->bias != NULL) value += output->bias[n];
    *y = output->accumulate ? *y + value : value;
}

/** Groups [first, last) of packed weights times every row of x. */
static void multiply_packed(const struct matmul_run *run, const struct matmul_output *output, int64_t first,
                            int64_t last) {
    const struct weights *weights = output->weights;
    const struct cpu_leaves *leaves = run->cpu->leaves;
    int64_t blocks = run->columns / QUANT_BLOCK, rows = run->matmul->rows;
    float tile[TILE_ROWS_MAX * PACK_ROWS];
    for (int64_t group = first; group < last; group++) {
        int64_t n0 = group * PACK_ROWS,
                count = weights->view.rows - n0 < PACK_ROWS ? weights->view.rows - n0 : PACK_ROWS;
        for (int64_t t0 = 0; t0 < rows; t0 += TILE_ROWS_MAX) {
            int64_t taken = rows - t0 < TILE_ROWS_MAX ? rows - t0 : TILE_ROWS_MAX;
            if (weights->kind == PACK_Q4)
                leaves->tile_q4((const struct packed_q4 *)weights->packed + group * blocks, blocks,
                                &run->cpu->quantised, t0, taken, tile);
            else
                leaves->tile_q8((const struct packed_q8 *)weights->packed + group * blocks, blocks,
                                &run->cpu->quantised, t0, taken, tile);
            for (int64_t t = 0; t < taken; t++) {
                for (int64_t n = 0; n < count; n++) store_value(output, t0 + t, n0 + n, tile[t * PACK_ROWS + n]);
            }
        }
    }
}

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

/** Rows [first, last) of unpacked weights, as f32, times every row of x. */
static void multiply_rows(const struct matmul_run *run, const struct matmul_output *output, int64_t first, int64_t last,
                          float *scratch) {
    const struct tensor_view *view = &output->weights->view;
    size_t row_bytes = tensor_type_row_bytes(view->type, view->columns);
    for (int64_t n = first; n < last; n++) {
        const void *row = (const char *)view->data + (size_t)n * row_bytes;
        const float *w = float_row(run->cpu, view, row, scratch);
        for (int64_t t = 0; t < run->matmul->rows; t++)
            store_value(output, t, n, run->cpu->leaves->dot(w, run->x + t * run->x_stride, run->columns));
    }
}

/** The work of an output in units of sixteen rows, packed or not. */
static int64_t group_count(const struct matmul_output *output) {
    return (output->weights->view.rows + PACK_ROWS - 1) / PACK_ROWS;
}

static void multiply_share(const struct matmul_run *run, int64_t first, int64_t last, float *scratch) {
    int64_t begin = 0;
    for (int i = 0; i < run->matmul->output_count; i++) {
        const struct matmul_output *output = &run->matmul->outputs[i];
        int64_t count = group_count(output), from = first > begin ? first - begin : 0,
                to = last - begin < count ? last - begin : count;
        if (from < to && output->weights->kind != PACK_NONE) {
            multiply_packed(run, output, from, to);
        } else if (from < to) {
            int64_t rows = output->weights->view.rows;
            multiply_rows(run, output, from * PACK_ROWS, to * PACK_ROWS < rows ? to * PACK_ROWS : rows, scratch);
        }
        begin += count;
    }
}

static void prepare_thread(void *context, int index, int size) {
    const struct matmul_run *run = context;
    int64_t first, last;
    cpu_share(run->matmul->rows, index, size, &first, &last);
    prepare_rows(run, first, last);
}

static void multiply_thread(void *context, int index, int size) {
    const struct matmul_run *run = context;
    int64_t first, last, groups = 0;
    for (int i = 0; i < run->matmul->output_count; i++) groups += group_count(&run->matmul->outputs[i]);
    cpu_share(groups, index, size, &first, &last);
    multiply_share(run, first, last, run->cpu->scratch[index].row);
}

void cpu_matmul(struct kernels *kernels, const struct matmul *matmul) {
    struct cpu *cpu = (struct cpu *)kernels;
    struct matmul_run run = {.cpu = cpu,
                             .matmul = matmul,
                             .columns = matmul->outputs[0].weights->view.columns,
                             .x = matmul->x,
                             .x_stride = matmul->x_stride};
    assert(matmul->rows <= cpu->options.rows_max && run.columns <= cpu->options.columns_max);
    assert(matmul->output_count >= 1 && matmul->output_count <= MATMUL_OUTPUTS_MAX);
    for (int i = 0; i < matmul->output_count; i++) {
        assert(matmul->outputs[i].weights->view.columns == run.columns);
        run.quantise = run.quantise || matmul->outputs[i].weights->kind != PACK_NONE;
    }
    if (matmul->rows == 0) return;
    if (matmul->norm_weight != NULL) {
        run.x = cpu->normalised;
        run.x_stride = run.columns;
    }
    /* A few rows are prepared faster by one thread than by a meeting of all. */
    if (matmul->norm_weight != NULL || run.quantise) {
        if (matmul->rows < ROWS_WORTH_SHARING)
            prepare_rows(&run, 0, matmul->rows);
        else
            thread_team_run(cpu->team, prepare_thread, &run);
    }
    thread_team_run(cpu->team, multiply_thread, &run);
}
