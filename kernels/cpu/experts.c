/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixture of experts: choosing, multiplying, adding up (kernels.h). The units of work of all experts that have slots are shared out
 * together, so that threads meet as often as in one matmul, and each expert's weights pass once.
 */
#include "kernels/cpu/product.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- choosing ------------------------------------------------------------------------------------------------------- */

struct route_arguments {
    const struct routing *routing;
    struct routed *out;
};

/** The `used` largest logits, in ascending order of the experts. What is not a number is not larger than anything, so there are always as many
 *  experts as asked for. */
static void choose(const float *logits, int experts, int used, int32_t *chosen) {
    for (int count = 0; count < used; count++) {
        int best = -1, place = 0;
        for (int e = 0, taken = 0; e < experts; e++) {
            if (taken < count && chosen[taken] == e) {
                taken++;
                continue;
            }
            if (best < 0 || logits[e] > logits[best]) best = e, place = taken;
        }
        memmove(chosen + place + 1, chosen + place, (size_t)(count - place) * sizeof *chosen);
        chosen[place] = best;
    }
}

static void route_row(const struct rows_run *run, int64_t t) {
    const struct route_arguments *a = run->arguments;
    const struct routing *routing = a->routing;
    const float *logits = routing->logits + t * routing->experts;
    int32_t *chosen = a->out->slots + t * routing->used; /* experts, until all rows have theirs */
    float *weights = a->out->weights + t * routing->used, sum = 0, total = 0;
    choose(logits, routing->experts, routing->used, chosen);
    float largest = -INFINITY;
    for (int e = 0; e < routing->experts; e++) largest = logits[e] > largest ? logits[e] : largest;
    for (int e = 0; e < routing->experts && routing->score == ROUTING_SOFTMAX; e++) total += expf(logits[e] - largest);
    for (int j = 0; j < routing->used; j++) {
        float logit = logits[chosen[j]];
        weights[j] = routing->score == ROUTING_SOFTMAX ? expf(logit - largest) / total : 1 / (1 + expf(-logit));
        sum += weights[j];
    }
    float factor = routing->normalise ? routing->scale / sum : routing->scale;
    for (int j = 0; j < routing->used; j++) weights[j] *= factor;
}

void cpu_route(struct kernels *kernels, const struct routing *routing, struct routed *out) {
    int experts = routing->experts, used = routing->used;
    int64_t pairs = routing->rows * used;
    assert(used >= 1 && used <= experts);
    cpu_run_rows(kernels, routing->rows, route_row, &(struct route_arguments){routing, out});
    int32_t *first = out->first_slot;
    memset(first, 0, ((size_t)experts + 1) * sizeof *first);
    for (int64_t i = 0; i < pairs; i++) first[out->slots[i] + 1]++;
    for (int e = 0; e < experts; e++) first[e + 1] += first[e];
    for (int64_t i = 0; i < pairs; i++) { /* first[e] becomes the first slot of e + 1, and is moved back after */
        int32_t slot = first[out->slots[i]]++;
        out->slot_rows[slot] = (int32_t)(i / used);
        out->slots[i] = slot;
    }
    memmove(first + 1, first, (size_t)experts * sizeof *first);
    first[0] = 0;
    out->rows = routing->rows;
    out->experts = experts;
    out->used = used;
}

/* ---- multiplying ---------------------------------------------------------------------------------------------------- */

struct expert_run {
    struct cpu *cpu;
    const struct expert_matmul *matmul;
    struct product_input input;
    int64_t slots, groups; /* groups of one expert's weight rows */
    bool alone;            /* each thread prepares all rows for itself */
    bool single;           /* one row, which all its slots read */
    int64_t units, chunk;  /* a unit is a group of an expert that has slots */
};

struct expert_thread {
    const struct expert_run *run;
    struct product_rows rows;
    struct cpu_scratch *scratch;
    bool ready;
};

static void prepare_slots(const struct expert_run *run, const struct product_rows *rows, int64_t first, int64_t last) {
    const struct expert_matmul *matmul = run->matmul;
    for (int64_t s = first; s < last; s++)
        product_prepare(run->cpu, &run->input, rows, matmul->by_slot ? s : matmul->routed->slot_rows[s], s);
}

static void prepare_thread(void *context, int index, int size) {
    const struct expert_run *run = context;
    struct product_rows rows = product_rows_of(run->cpu, &run->input, run->alone, index);
    int64_t first, last;
    cpu_share(run->slots, index, size, &first, &last);
    prepare_slots(run, &rows, first, last);
}

/** Groups [first, last) of one expert times its slots. */
static void multiply_expert(const struct expert_thread *thread, int expert, int64_t first, int64_t last) {
    const struct expert_run *run = thread->run;
    const struct expert_matmul *matmul = run->matmul;
    int64_t begin = matmul->routed->first_slot[expert], end = matmul->routed->first_slot[expert + 1],
            N = matmul->weights[0]->view.rows;
    struct product product = {.weights = matmul->weights[expert],
                              .up = matmul->up != NULL ? matmul->up[expert] : NULL,
                              .activation = matmul->activation,
                              .y = matmul->y,
                              .y_stride = N};
    struct product_rows rows = thread->rows;
    if (run->single) { /* the only row stands for every slot */
        product.y += begin * N;
        begin = 0, end = 1;
    }
    for (int64_t t0 = begin; t0 < end; t0 += TILE_ROWS_MAX) {
        int64_t taken = end - t0 < TILE_ROWS_MAX ? end - t0 : TILE_ROWS_MAX;
        for (int64_t group = first; group < last; group++)
            product_multiply(run->cpu, &product, &rows, run->input.columns, group, t0, taken, thread->scratch);
    }
}

static void multiply_chunk(void *context, int64_t first, int64_t last) {
    struct expert_thread *thread = context;
    const struct expert_run *run = thread->run;
    const int32_t *slots = run->matmul->routed->first_slot;
    if (!thread->ready) prepare_slots(run, &thread->rows, 0, run->single ? 1 : run->slots);
    thread->ready = true;
    int64_t unit = 0; /* the first of expert e */
    for (int e = 0; e < run->matmul->routed->experts && unit < last; e++) {
        if (slots[e] == slots[e + 1]) continue;
        int64_t from = first > unit ? first - unit : 0, to = last - unit < run->groups ? last - unit : run->groups;
        if (from < to) multiply_expert(thread, e, from, to);
        unit += run->groups;
    }
}

static void multiply_thread(void *context, int index, int size) {
    const struct expert_run *run = context;
    struct expert_thread thread = {.run = run,
                                   .rows = product_rows_of(run->cpu, &run->input, run->alone, index),
                                   .scratch = &run->cpu->scratch[index],
                                   .ready = !run->alone};
    product_share(run->cpu, index, size, run->units, run->chunk, multiply_chunk, &thread);
}

void cpu_expert_matmul(struct kernels *kernels, const struct expert_matmul *matmul) {
    struct cpu *cpu = (struct cpu *)kernels;
    const struct routed *routed = matmul->routed;
    const struct weights *weights = matmul->weights[0], *up = matmul->up != NULL ? matmul->up[0] : NULL;
    struct expert_run run = {.cpu = cpu,
                             .matmul = matmul,
                             .input = {.x = matmul->x,
                                       .x_stride = matmul->x_stride,
                                       .norm_weight = matmul->norm_weight,
                                       .norm_eps = matmul->norm_eps,
                                       .columns = weights->view.columns},
                             .slots = routed->rows * routed->used,
                             .groups = pack_groups(weights->view.rows),
                             .single = routed->rows == 1 && !matmul->by_slot};
    assert(routed->rows <= cpu->options.rows_max && run.input.columns <= cpu->options.columns_max);
    assert(routed->used <= (cpu->options.experts_used_max > 1 ? cpu->options.experts_used_max : 1));
    assert(up == NULL || up->view.rows == weights->view.rows);
    for (int e = 0; e < routed->experts; e++) {
        run.input.quantise = run.input.quantise || product_quantises(matmul->weights[e]) ||
                             (up != NULL && product_quantises(matmul->up[e]));
        run.units += routed->first_slot[e] < routed->first_slot[e + 1] ? run.groups : 0;
    }
    if (run.slots == 0) return;
    run.input.move = !matmul->by_slot && !run.single;
    run.alone = run.single || run.slots <= ROWS_PREPARED_ALONE;
    run.chunk = product_chunk(cpu, run.units, (int64_t)weights->group_bytes * (up != NULL ? 2 : 1));
    product_share_begin(cpu);
    if (!run.alone && (matmul->norm_weight != NULL || run.input.quantise || run.input.move))
        thread_team_run(cpu->team, prepare_thread, &run);
    thread_team_run(cpu->team, multiply_thread, &run);
}

/* ---- adding up ------------------------------------------------------------------------------------------------------ */

struct combine_arguments {
    const struct routed *routed;
    const float *x;
    int64_t width;
    float *y;
};

static void combine_row(const struct rows_run *run, int64_t t) {
    const struct combine_arguments *a = run->arguments;
    for (int64_t i = t * a->routed->used; i < (t + 1) * a->routed->used; i++) {
        run->cpu->leaves->add_scaled_row(a->routed->weights[i], a->x + a->routed->slots[i] * a->width, a->width,
                                         a->y + t * a->width);
    }
}

void cpu_combine(struct kernels *kernels, const struct routed *routed, const float *x, int64_t width, float *y) {
    cpu_run_rows(kernels, routed->rows, combine_row, &(struct combine_arguments){routed, x, width, y});
}
