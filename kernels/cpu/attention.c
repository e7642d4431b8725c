/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention driver: cuts a step into pieces that threads take one by one. attention.h says what is computed.
 *
 *     unit    (sequence, chunk of its rows, key/value head): one stack
 *     piece   some consecutive ranges of a unit
 *
 * Most units are one piece, whose thread merges range after range. When there are fewer units than threads could use - few
 * sequences with long contexts - units are split into several pieces; each writes the parts of its ranges down, and whoever
 * finishes a unit's last piece merges them all.
 */
#include "kernels/cpu/attention.h"

#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_PER_THREAD = 8, SPLIT_ROWS = 8, SERIAL_PRODUCTS = 1 << 16 };
static const size_t PARTS_MAX = 1 << 17;
static const float LOG2_E = 1.44269504f;

/** Of one thread. */
struct attention_scratch {
    float *q, *scores, *converted, *accumulators; /* accumulators: [2][rows][hd], of `running` and of `part` */
    int *begin, *end;
    struct attention_part *running, *part;
};

/** How one sequence of the step is cut. */
struct sequence_plan {
    int64_t first_piece;
    int64_t chunk_rows, chunks; /* of tokens */
    int64_t first_range, ranges;
    int64_t pieces;  /* of each unit */
    int64_t part_at; /* its first part in `parts`: [head][range][stacked row]; split sequences have one chunk */
    int64_t unit_at; /* its first counter in `left`: [head] */
};

/** What pieces of one unit leave for each other. */
struct attention_shared {
    struct sequence_plan *plans; /* [rows_max] */
    struct attention_part *parts;
    float *accumulators; /* [parts_max][HEAD_DIM_MAX], but packed */
    atomic_int *left;    /* [parts_max] pieces of a unit that are not finished */
    int64_t parts_max;
};

struct attention_run {
    struct cpu *cpu;
    const struct attention *attention;
    atomic_llong next; /* piece to take */
    int64_t pieces;
};

/* ---- planning ------------------------------------------------------------------------------------------------------ */

static int64_t minimum(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/** The first position that row `row` of a sequence (counted in its part of the step) sees. */
static int64_t first_position(const struct attention *attention, const struct kv_sequence *sequence, int64_t row) {
    int64_t position = sequence->context - sequence->row_count + row;
    return attention->window > 0 && position >= attention->window ? position - attention->window + 1 : 0;
}

static int64_t ranges_until(int64_t position) {
    return (position + ATTENTION_RANGE - 1) / ATTENTION_RANGE;
}

/** Cut every sequence into chunks; returns the work in ranges of rows. */
static int64_t plan_chunks(const struct attention *attention, struct sequence_plan *plans) {
    int64_t group = attention->heads / attention->layer->kv_heads, work = 0,
            chunk_rows = group < ATTENTION_STACK_ROWS ? ATTENTION_STACK_ROWS / group : 1;
    for (int64_t s = 0; s < attention->sequence_count; s++) {
        const struct kv_sequence *sequence = &attention->sequences[s];
        int64_t first = first_position(attention, sequence, 0) / ATTENTION_RANGE;
        plans[s] = (struct sequence_plan){.chunk_rows = chunk_rows,
                                          .chunks = (sequence->row_count + chunk_rows - 1) / chunk_rows,
                                          .first_range = first,
                                          .ranges = ranges_until(sequence->context) - first,
                                          .pieces = 1};
        work += sequence->row_count * plans[s].ranges * attention->layer->kv_heads;
    }
    return work;
}

/** Split sequences of one chunk whose units are more than their share of the work, and number the pieces. */
static int64_t plan_pieces(const struct attention_run *run, int64_t work) {
    const struct attention *attention = run->attention;
    struct attention_shared *shared = run->cpu->attention;
    int64_t heads = attention->layer->kv_heads, group = attention->heads / heads, threads = run->cpu->kernels.threads,
            pieces = 0, parts = 0, units = 0;
    for (int64_t s = 0; s < attention->sequence_count; s++) {
        struct sequence_plan *plan = &shared->plans[s];
        int64_t rows = attention->sequences[s].row_count, parts_wanted = heads * plan->ranges * rows * group,
                wanted = rows * plan->ranges * threads * PIECES_PER_THREAD / (work > 0 ? work : 1);
        bool splits = threads > 1 && plan->chunks == 1 && plan->ranges > 1 && wanted > 1 &&
                      parts + parts_wanted <= shared->parts_max;
        if (splits) {
            plan->pieces = minimum(wanted, plan->ranges);
            plan->part_at = parts;
            plan->unit_at = units;
            for (int64_t i = 0; i < heads; i++) atomic_init(&shared->left[units + i], (int)plan->pieces);
            parts += parts_wanted;
            units += heads;
        }
        plan->first_piece = pieces;
        pieces += plan->chunks * heads * plan->pieces;
    }
    return pieces;
}

/* ---- a piece ------------------------------------------------------------------------------------------------------- */

struct piece {
    const struct kv_sequence *sequence;
    const struct sequence_plan *plan;
    int head;                        /* of keys and values */
    int64_t first_row, row_count;    /* tokens, counted in the sequence's part of the step */
    int64_t first_range, last_range; /* [first, last) */
};

/** The heads are outermost, so that threads walk the same keys at the same time. */
static struct piece piece_at(const struct attention_run *run, int64_t number) {
    const struct attention *attention = run->attention;
    int64_t low = 0, high = attention->sequence_count - 1;
    const struct sequence_plan *plans = run->cpu->attention->plans;
    while (low < high) { /* the last sequence that begins at `number` or before */
        int64_t middle = (low + high + 1) / 2;
        if (plans[middle].first_piece <= number)
            low = middle;
        else
            high = middle - 1;
    }
    const struct sequence_plan *plan = &plans[low];
    const struct kv_sequence *sequence = &attention->sequences[low];
    int64_t inside = number - plan->first_piece, part = inside % plan->pieces,
            chunk = inside / plan->pieces % plan->chunks;
    struct piece piece = {.sequence = sequence,
                          .plan = plan,
                          .head = (int)(inside / plan->pieces / plan->chunks),
                          .first_row = chunk * plan->chunk_rows,
                          .first_range = plan->first_range + plan->ranges * part / plan->pieces,
                          .last_range = plan->first_range + plan->ranges * (part + 1) / plan->pieces};
    piece.row_count = minimum(plan->chunk_rows, sequence->row_count - piece.first_row);
    if (plan->chunks > 1) { /* what the chunk's own rows see */
        piece.first_range = first_position(attention, sequence, piece.first_row) / ATTENTION_RANGE;
        piece.last_range = ranges_until(sequence->context - sequence->row_count + piece.first_row + piece.row_count);
    }
    return piece;
}

/** Number of floats from a query row to its place in `q` or `out`. */
static int64_t row_offset(const struct attention *attention, const struct piece *piece, int row, int64_t stride) {
    int group = attention->heads / attention->layer->kv_heads;
    return (piece->sequence->first_row + piece->first_row + row / group) * stride +
           (int64_t)(piece->head * group + row % group) * attention->layer->head_dim;
}

/** The stack's queries side by side, scaled such that scores are powers of two. */
static void gather_queries(const struct attention_run *run, const struct piece *piece, int rows, float *out) {
    const struct attention *attention = run->attention;
    int head_dim = attention->layer->head_dim;
    for (int r = 0; r < rows; r++)
        run->cpu->leaves->scale_row(attention->q + row_offset(attention, piece, r, attention->q_stride),
                                    attention->scale * LOG2_E, head_dim, out + r * head_dim);
}

/** What each row of the stack sees of a range, and the range's blocks. */
static void aim(const struct attention *attention, const struct piece *piece, int64_t range,
                struct attention_stack *stack, int *begin, int *end) {
    int group = attention->heads / attention->layer->kv_heads;
    int64_t base = range * ATTENTION_RANGE, context = piece->sequence->context,
            start = context - piece->sequence->row_count + piece->first_row;
    for (int r = 0; r < stack->rows; r++) {
        int64_t from = first_position(attention, piece->sequence, piece->first_row + r / group) - base,
                to = start + r / group + 1 - base;
        begin[r] = (int)(from < 0 ? 0 : minimum(from, ATTENTION_RANGE));
        end[r] = (int)(to < 0 ? 0 : minimum(to, ATTENTION_RANGE));
    }
    int tokens = stack->block_tokens;
    int64_t first = first_position(attention, piece->sequence, piece->first_row);
    for (int i = 0; i < ATTENTION_RANGE / tokens && base + i * tokens < context; i++) {
        if (base + (i + 1) * tokens > first) /* blocks before the window may have been given back */
            stack->blocks[i] = kv_head_at(attention->layer, piece->sequence->blocks[base / tokens + i], piece->head);
    }
}

static void finish_rows(const struct attention_run *run, const struct piece *piece, int rows,
                        const struct attention_part *parts) {
    const struct attention *attention = run->attention;
    for (int r = 0; r < rows; r++) {
        run->cpu->leaves->attention_finish(&parts[r], attention->layer->head_dim,
                                           attention->out + row_offset(attention, piece, r, attention->out_stride));
    }
}

/** The parts of one range of a split unit, [row]. */
static struct attention_part *range_parts(const struct attention_run *run, const struct piece *piece, int rows,
                                          int64_t range) {
    const struct attention_shared *shared = run->cpu->attention;
    const struct sequence_plan *plan = piece->plan;
    int64_t at = plan->part_at + (piece->head * plan->ranges + range - plan->first_range) * rows;
    int head_dim = run->attention->layer->head_dim;
    for (int r = 0; r < rows; r++) shared->parts[at + r].accumulator = shared->accumulators + (at + r) * head_dim;
    return shared->parts + at;
}

/** The last piece of a split unit is done: merge its parts in the order of their ranges. */
static void merge_unit(const struct attention_run *run, const struct piece *piece, int rows) {
    const struct sequence_plan *plan = piece->plan;
    struct attention_part *parts = range_parts(run, piece, rows, plan->first_range);
    for (int64_t range = plan->first_range + 1; range < plan->first_range + plan->ranges; range++) {
        const struct attention_part *next = range_parts(run, piece, rows, range);
        for (int r = 0; r < rows; r++)
            run->cpu->leaves->attention_merge(&parts[r], &next[r], run->attention->layer->head_dim);
    }
    finish_rows(run, piece, rows, parts);
}

static void run_piece(const struct attention_run *run, const struct piece *piece, struct attention_scratch *scratch) {
    const struct attention *attention = run->attention;
    const struct kv_layer *layer = attention->layer;
    struct attention_shared *shared = run->cpu->attention;
    int rows = (int)piece->row_count * (attention->heads / layer->kv_heads);
    bool split = piece->plan->pieces > 1;
    struct attention_stack stack = {.type = layer->type,
                                    .block_tokens = layer->block_tokens,
                                    .head_dim = layer->head_dim,
                                    .rows = rows,
                                    .q = scratch->q,
                                    .softcap = attention->softcap * LOG2_E,
                                    .begin = scratch->begin,
                                    .end = scratch->end,
                                    .scores = scratch->scores,
                                    .converted = scratch->converted};
    gather_queries(run, piece, rows, scratch->q);
    for (int64_t range = piece->first_range; range < piece->last_range; range++) {
        bool first = range == piece->first_range;
        aim(attention, piece, range, &stack, scratch->begin, scratch->end);
        stack.parts = split ? range_parts(run, piece, rows, range) : first ? scratch->running : scratch->part;
        run->cpu->leaves->attention_range(&stack);
        for (int r = 0; r < rows && !split && !first; r++)
            run->cpu->leaves->attention_merge(&scratch->running[r], &scratch->part[r], layer->head_dim);
    }
    if (!split)
        finish_rows(run, piece, rows, scratch->running);
    else if (atomic_fetch_sub(&shared->left[piece->plan->unit_at + piece->head], 1) == 1)
        merge_unit(run, piece, rows);
}

static void attention_thread(void *context, int index, int size) {
    (void)size;
    struct attention_run *run = context;
    for (int64_t number; (number = atomic_fetch_add(&run->next, 1)) < run->pieces;) {
        struct piece piece = piece_at(run, number);
        run_piece(run, &piece, run->cpu->scratch[index].attention);
    }
}

void cpu_attention(struct kernels *kernels, const struct attention *attention) {
    struct cpu *cpu = (struct cpu *)kernels;
    const struct kv_layer *layer = attention->layer;
    assert(layer->block_tokens % 32 == 0 && layer->block_tokens <= KV_BLOCK_TOKENS_MAX && layer->head_dim % 16 == 0 &&
           layer->head_dim <= HEAD_DIM_MAX);
    assert(attention->heads <= cpu->options.heads_max && attention->heads % layer->kv_heads == 0);
    assert(attention->sequence_count <= cpu->options.rows_max);
    struct attention_run run = {.cpu = cpu, .attention = attention};
    int64_t work = plan_chunks(attention, cpu->attention->plans);
    run.pieces = plan_pieces(&run, work);
    int64_t products = 0;
    for (int64_t s = 0; s < attention->sequence_count; s++)
        products +=
            attention->sequences[s].row_count * attention->sequences[s].context * attention->heads * layer->head_dim;
    if (run.pieces <= 1 || products < SERIAL_PRODUCTS) /* shorter than a meeting of threads */
        attention_thread(&run, 0, 1);
    else
        thread_team_run(cpu->team, attention_thread, &run);
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

struct attention_scratch *attention_scratch_create(const struct kernels_options *options) {
    size_t rows = options->heads_max > ATTENTION_STACK_ROWS ? (size_t)options->heads_max : ATTENTION_STACK_ROWS;
    struct attention_scratch *scratch = calloc(1, sizeof *scratch);
    if (scratch == NULL) return NULL;
    *scratch =
        (struct attention_scratch){.q = cpu_allocate(rows * HEAD_DIM_MAX, sizeof(float)),
                                   .scores = cpu_allocate(rows * ATTENTION_RANGE, sizeof(float)),
                                   .converted = cpu_allocate((size_t)HEAD_DIM_MAX * ATTENTION_CONVERTED, sizeof(float)),
                                   .accumulators = cpu_allocate(2 * rows * HEAD_DIM_MAX, sizeof(float)),
                                   .begin = calloc(rows, sizeof(int)),
                                   .end = calloc(rows, sizeof(int)),
                                   .running = calloc(rows, sizeof *scratch->running),
                                   .part = calloc(rows, sizeof *scratch->part)};
    if (scratch->q == NULL || scratch->scores == NULL || scratch->converted == NULL || scratch->accumulators == NULL ||
        scratch->begin == NULL || scratch->end == NULL || scratch->running == NULL || scratch->part == NULL) {
        attention_scratch_destroy(scratch);
        return NULL;
    }
    for (size_t r = 0; r < rows; r++) {
        scratch->running[r].accumulator = scratch->accumulators + r * HEAD_DIM_MAX;
        scratch->part[r].accumulator = scratch->accumulators + (rows + r) * HEAD_DIM_MAX;
    }
    return scratch;
}

void attention_scratch_destroy(struct attention_scratch *scratch) {
    if (scratch == NULL) return;
    free(scratch->q);
    free(scratch->scores);
    free(scratch->converted);
    free(scratch->accumulators);
    free(scratch->begin);
    free(scratch->end);
    free(scratch->running);
    free(scratch->part);
    free(scratch);
}

/** Room to split SPLIT_ROWS token rows of the longest context, or more of shorter ones; what finds no room is not split. Memory that is
 *  never written is never there. */
struct attention_shared *attention_shared_create(const struct kernels_options *options) {
    struct attention_shared *shared = calloc(1, sizeof *shared);
    if (shared == NULL) return NULL;
    size_t parts = (size_t)SPLIT_ROWS * (size_t)options->heads_max * (size_t)ranges_until(options->context_max);
    if (parts > PARTS_MAX) parts = PARTS_MAX;
    shared->parts_max = (int64_t)parts;
    shared->plans = calloc((size_t)options->rows_max, sizeof *shared->plans);
    shared->parts = calloc(parts, sizeof *shared->parts);
    shared->accumulators = cpu_allocate(parts, HEAD_DIM_MAX * sizeof(float));
    shared->left = calloc(parts, sizeof *shared->left);
    if (shared->plans == NULL || shared->parts == NULL || shared->accumulators == NULL || shared->left == NULL) {
        attention_shared_destroy(shared);
        return NULL;
    }
    return shared;
}

void attention_shared_destroy(struct attention_shared *shared) {
    if (shared == NULL) return;
    free(shared->plans);
    free(shared->parts);
    free(shared->accumulators);
    free(shared->left);
    free(shared);
}
