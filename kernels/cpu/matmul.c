/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Matmul driver. Rows of x are prepared (normalised, rounded to 8 bits where packed weights want that), then the weight rows of all
 * outputs are shared out together in units of sixteen, chunk by chunk (product.h). A chunk's weights stay in the second cache while all rows of x
 * pass by, TILE_ROWS_MAX at a time, so that weights are unpacked rarely. (Those rows need not stay in the first cache: a tile reads them in
 * order, 24 are faster than 8 even with 5,632 columns.)
 */
#include "kernels/cpu/product.h"

#include <assert.h>

struct matmul_run {
    struct cpu *cpu;
    const struct matmul *matmul;
    struct product_input input;
    struct product products[MATMUL_OUTPUTS_MAX];
    bool alone;    /* each thread prepares all rows for itself */
    int64_t units; /* of work: groups of weight rows, or pairs of them (gated) */
    int64_t chunk; /* units taken at a time */
};

/** What one thread does. */
struct matmul_thread {
    const struct matmul_run *run;
    struct product_rows rows;
    struct cpu_scratch *scratch;
    bool ready; /* its rows are */
};

static void prepare_rows(const struct matmul_run *run, const struct product_rows *rows, int64_t first, int64_t last) {
    for (int64_t t = first; t < last; t++) product_prepare(run->cpu, &run->input, rows, t, t);
}

static void prepare_thread(void *context, int index, int size) {
    const struct matmul_run *run = context;
    struct product_rows rows = product_rows_of(run->cpu, &run->input, run->alone, index);
    int64_t first, last;
    cpu_share(run->matmul->rows, index, size, &first, &last);
    prepare_rows(run, &rows, first, last);
}

/** Units [first, last) times all rows of x. */
static void multiply_chunk(void *context, int64_t first, int64_t last) {
    struct matmul_thread *thread = context;
    const struct matmul_run *run = thread->run;
    int64_t rows = run->matmul->rows;
    if (!thread->ready) prepare_rows(run, &thread->rows, 0, rows);
    thread->ready = true;
    for (int64_t t0 = 0; t0 < rows; t0 += TILE_ROWS_MAX) {
        int64_t taken = rows - t0 < TILE_ROWS_MAX ? rows - t0 : TILE_ROWS_MAX;
        for (int64_t unit = first; unit < last; unit++) {
            const struct product *product = run->products;
            int64_t group = unit;
            for (int64_t groups; group >= (groups = pack_groups(product->weights->view.rows)); product++)
                group -= groups;
            product_multiply(run->cpu, product, &thread->rows, run->input.columns, group, t0, taken, thread->scratch);
        }
    }
}

static void multiply_thread(void *context, int index, int size) {
    const struct matmul_run *run = context;
    struct matmul_thread thread = {.run = run,
                                   .rows = product_rows_of(run->cpu, &run->input, run->alone, index),
                                   .scratch = &run->cpu->scratch[index],
                                   .ready = !run->alone};
    product_share(run->cpu, index, size, run->units, run->chunk, multiply_chunk, &thread);
}

static int64_t chunk_of(const struct matmul_run *run) {
    const struct matmul *matmul = run->matmul;
    if (run->cpu->kernels.threads == 1 && matmul->rows <= TILE_ROWS_MAX) return run->units;
    int64_t bytes = 0;
    for (int i = 0; i < (matmul->gated ? 2 : 1); i++) bytes += (int64_t)matmul->outputs[i].weights->group_bytes;
    return product_chunk(run->cpu, run->units, bytes);
}

void cpu_matmul(struct kernels *kernels, const struct matmul *matmul) {
    struct cpu *cpu = (struct cpu *)kernels;
    struct matmul_run run = {.cpu = cpu,
                             .matmul = matmul,
                             .input = {.x = matmul->x,
                                       .x_stride = matmul->x_stride,
                                       .norm_weight = matmul->norm_weight,
                                       .norm_eps = matmul->norm_eps,
                                       .columns = matmul->outputs[0].weights->view.columns},
                             .alone = matmul->rows <= ROWS_PREPARED_ALONE};
    assert(matmul->rows <= cpu->options.rows_max && run.input.columns <= cpu->options.columns_max);
    assert(matmul->output_count >= 1 && matmul->output_count <= MATMUL_OUTPUTS_MAX);
    assert(!matmul->gated || (matmul->output_count == 2 &&
                              matmul->outputs[0].weights->view.rows == matmul->outputs[1].weights->view.rows));
    for (int i = 0; i < matmul->output_count; i++) {
        const struct matmul_output *output = &matmul->outputs[i];
        assert(output->weights->view.columns == run.input.columns);
        run.input.quantise = run.input.quantise || product_quantises(output->weights);
        if (i == 0 || !matmul->gated) run.units += pack_groups(output->weights->view.rows);
        run.products[i] = (struct product){.weights = output->weights,
                                           .bias = output->bias,
                                           .accumulate = output->accumulate,
                                           .y = output->y,
                                           .y_stride = output->y_stride};
    }
    if (matmul->gated) {
        run.products[0].up = matmul->outputs[1].weights;
        run.products[0].activation = matmul->activation;
    }
    if (matmul->rows == 0) return;
    run.chunk = chunk_of(&run);
    product_share_begin(cpu);
    if (!run.alone && (matmul->norm_weight != NULL || run.input.quantise))
        thread_team_run(cpu->team, prepare_thread, &run);
    thread_team_run(cpu->team, multiply_thread, &run);
}
