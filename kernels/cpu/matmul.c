/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Matmul driver. Rows of x are prepared (normalised, rounded to 8 bits where packed weights want that), then the weight rows of all
 * outputs are shared out together in units of sixteen: a region of neighbouring units for each thread, which it takes chunk by chunk.
 * Who is done helps in the others' regions, so that a thread that memory or another process holds up does not hold up the rest. A chunk's
 * weights stay in the second cache while all rows of x pass by, TILE_ROWS_MAX at a time, so that weights are unpacked rarely. (Those rows need
 * not stay in the first cache: a tile reads them in order, 24 are faster than 8 even with 5,632 columns.)
 */
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

enum { CHUNK_BYTES = 160 * 1024, CHUNKS_PER_THREAD = 8 };

struct matmul_run {
    struct cpu *cpu;
    const struct matmul *matmul;
    int64_t columns;
    bool quantise; /* some output's tiles read 8-bit rows */
    bool alone;    /* each thread prepares all rows for itself */
    int64_t units; /* of work: groups of weight rows, or pairs of them (swiglu) */
    int64_t chunk; /* units taken at a time */
};

/** What tiles read: prepared by this thread or by all. */
struct prepared {
    const float *x;
    int64_t x_stride;
    float *normalised;                 /* [T][K] */
    struct quantised_block *quantised; /* [T][K / QUANT_BLOCK] */
};

static bool is_float(enum tensor_type type) {
    return tensor_type_block(type) == 1;
}

static bool reads_quantised(const struct weights *weights) {
    return weights->packed != NULL && !is_float(weights->view.type);
}

/* ---- preparing x ---------------------------------------------------------------------------------------------------- */

static struct prepared prepared_of(const struct matmul_run *run, const struct cpu_scratch *scratch) {
    const struct matmul *matmul = run->matmul;
    struct prepared prepared = {.x = matmul->x,
                                .x_stride = matmul->x_stride,
                                .normalised = run->alone ? scratch->normalised : run->cpu->normalised,
                                .quantised = run->alone ? scratch->quantised : run->cpu->quantised};
    if (matmul->norm_weight != NULL) {
        prepared.x = prepared.normalised;
        prepared.x_stride = run->columns;
    }
    return prepared;
}

static void prepare_rows(const struct matmul_run *run, const struct prepared *prepared, int64_t first, int64_t last) {
    const struct matmul *matmul = run->matmul;
    const struct cpu_leaves *leaves = run->cpu->leaves;
    for (int64_t t = first; t < last; t++) {
        if (matmul->norm_weight != NULL)
            leaves->rmsnorm_row(matmul->x + t * matmul->x_stride, matmul->norm_weight, matmul->norm_eps, run->columns,
                                prepared->normalised + t * run->columns);
        if (run->quantise)
            leaves->quantise_row(prepared->x + t * prepared->x_stride, run->columns,
                                 prepared->quantised + t * (run->columns / QUANT_BLOCK));
    }
}

static void prepare_thread(void *context, int index, int size) {
    const struct matmul_run *run = context;
    struct prepared prepared = prepared_of(run, &run->cpu->scratch[index]);
    int64_t first, last;
    cpu_share(run->matmul->rows, index, size, &first, &last);
    prepare_rows(run, &prepared, first, last);
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
static void multiply_rows(const struct matmul_run *run, const struct weights *weights, int64_t group,
                          const struct tile *tile, float *scratch) {
    const struct tensor_view *view = &weights->view;
    size_t row_bytes = tensor_type_row_bytes(view->type, view->columns);
    for (int64_t lane = 0, n = group * PACK_ROWS; lane < PACK_ROWS && n < view->rows; lane++, n++) {
        const float *w = float_row(run->cpu, view, (const char *)view->data + (size_t)n * row_bytes, scratch);
        for (int64_t t = 0; t < tile->rows; t++)
            tile->out[t * PACK_ROWS + lane] = run->cpu->leaves->dot(w, tile->x + t * tile->x_stride, run->columns);
    }
}

/** Rows [t0, t0 + rows) of x times one group; out [rows][PACK_ROWS]. */
static void multiply_group(const struct matmul_run *run, const struct prepared *prepared, const struct weights *weights,
                           int64_t group, int64_t t0, int64_t rows, struct cpu_scratch *scratch, float *out) {
    struct tile tile = {.group = (const char *)weights->packed + (size_t)group * weights->group_bytes,
                        .columns = run->columns,
                        .q = prepared->quantised + t0 * (run->columns / QUANT_BLOCK),
                        .x = prepared->x + t0 * prepared->x_stride,
                        .x_stride = prepared->x_stride,
                        .rows = rows,
                        .out = out};
    if (weights->packed != NULL)
        run->cpu->leaves->tiles[weights->view.type](&tile);
    else
        multiply_rows(run, weights, group, &tile, scratch->row);
}

static void store_tile(const struct matmul_run *run, const struct matmul_output *output, int64_t group, int64_t t0,
                       int64_t rows, const float *tile) {
    int64_t n0 = group * PACK_ROWS, left = output->weights->view.rows - n0;
    const float *bias = output->bias != NULL ? output->bias + n0 : NULL;
    run->cpu->leaves->store_tile(tile, rows, left < PACK_ROWS ? (int)left : PACK_ROWS, bias, output->accumulate,
                                 output->y + t0 * output->y_stride + n0, output->y_stride);
}

/** The unit of a swiglu: the same group of both outputs. */
static void multiply_pair(const struct matmul_run *run, const struct prepared *prepared, int64_t group, int64_t t0,
                          int64_t rows, struct cpu_scratch *scratch) {
    const struct matmul_output *gate = &run->matmul->outputs[0], *up = &run->matmul->outputs[1];
    float *gates = scratch->tiles, *ups = scratch->tiles + TILE_ROWS_MAX * PACK_ROWS;
    multiply_group(run, prepared, gate->weights, group, t0, rows, scratch, gates);
    multiply_group(run, prepared, up->weights, group, t0, rows, scratch, ups);
    run->cpu->leaves->swiglu_row(gates, ups, rows * PACK_ROWS, gates);
    store_tile(run, gate, group, t0, rows, gates);
}

static void multiply_unit(const struct matmul_run *run, const struct prepared *prepared, int64_t unit, int64_t t0,
                          int64_t rows, struct cpu_scratch *scratch) {
    if (run->matmul->swiglu) {
        multiply_pair(run, prepared, unit, t0, rows, scratch);
        return;
    }
    const struct matmul_output *output = run->matmul->outputs;
    for (int64_t groups; unit >= (groups = pack_groups(output->weights->view.rows)); output++) unit -= groups;
    multiply_group(run, prepared, output->weights, unit, t0, rows, scratch, scratch->tiles);
    store_tile(run, output, unit, t0, rows, scratch->tiles);
}

/** Units [first, last) times all rows of x. */
static void multiply_chunk(const struct matmul_run *run, const struct prepared *prepared, int64_t first, int64_t last,
                           struct cpu_scratch *scratch) {
    int64_t rows = run->matmul->rows;
    for (int64_t t0 = 0; t0 < rows; t0 += TILE_ROWS_MAX) {
        int64_t taken = rows - t0 < TILE_ROWS_MAX ? rows - t0 : TILE_ROWS_MAX;
        for (int64_t unit = first; unit < last; unit++) multiply_unit(run, prepared, unit, t0, taken, scratch);
    }
}

static void multiply_thread(void *context, int index, int size) {
    const struct matmul_run *run = context;
    struct cpu_scratch *scratch = &run->cpu->scratch[index];
    struct prepared prepared = prepared_of(run, scratch);
    bool ready = !run->alone;
    for (int i = 0; i < size; i++) { /* its own region, then those after it */
        int region = (index + i) % size;
        int64_t begin, end, taken;
        cpu_share(run->units, region, size, &begin, &end);
        atomic_llong *next = &run->cpu->scratch[region].next;
        while (atomic_load_explicit(next, memory_order_relaxed) < end - begin &&
               (taken = atomic_fetch_add(next, run->chunk)) < end - begin) {
            if (!ready) prepare_rows(run, &prepared, 0, run->matmul->rows);
            ready = true;
            int64_t first = begin + taken, last = first + run->chunk < end ? first + run->chunk : end;
            multiply_chunk(run, &prepared, first, last, scratch);
        }
    }
}

/** Large enough that taking one costs nothing, small enough to share well and to lie in the second cache. */
static int64_t chunk_of(const struct matmul_run *run, int threads) {
    int64_t bytes = 0, most = run->units / ((int64_t)threads * CHUNKS_PER_THREAD);
    for (int i = 0; i < (run->matmul->swiglu ? 2 : 1); i++)
        bytes += (int64_t)run->matmul->outputs[i].weights->group_bytes;
    if (bytes > 0 && most > CHUNK_BYTES / bytes) most = CHUNK_BYTES / bytes;
    return threads == 1 && run->matmul->rows <= TILE_ROWS_MAX ? run->units : most > 1 ? most : 1;
}

void cpu_matmul(struct kernels *kernels, const struct matmul *matmul) {
    struct cpu *cpu = (struct cpu *)kernels;
    struct matmul_run run = {.cpu = cpu, .matmul = matmul, .columns = matmul->outputs[0].weights->view.columns};
    assert(matmul->rows <= cpu->options.rows_max && run.columns <= cpu->options.columns_max);
    assert(matmul->output_count >= 1 && matmul->output_count <= MATMUL_OUTPUTS_MAX);
    assert(!matmul->swiglu || (matmul->output_count == 2 &&
                               matmul->outputs[0].weights->view.rows == matmul->outputs[1].weights->view.rows));
    for (int i = 0; i < matmul->output_count; i++) {
        assert(matmul->outputs[i].weights->view.columns == run.columns);
        run.quantise = run.quantise || reads_quantised(matmul->outputs[i].weights);
        if (i == 0 || !matmul->swiglu) run.units += pack_groups(matmul->outputs[i].weights->view.rows);
    }
    if (matmul->rows == 0) return;
    run.chunk = chunk_of(&run, cpu->kernels.threads);
    for (int i = 0; i < cpu->kernels.threads; i++)
        atomic_store_explicit(&cpu->scratch[i].next, 0, memory_order_relaxed);
    run.alone = matmul->rows <= ROWS_PREPARED_ALONE;
    if (!run.alone && (matmul->norm_weight != NULL || run.quantise)) thread_team_run(cpu->team, prepare_thread, &run);
    thread_team_run(cpu->team, multiply_thread, &run);
}
