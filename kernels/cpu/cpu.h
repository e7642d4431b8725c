/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside the CPU device. Drivers (cpu.c, matmul.c, experts.c, attention.c) split work over threads; leaves do arithmetic on one row,
 * one block or one tile by one thread.
 *
 *     leaves.inc          all float leaves, written once over sixteen floats (vector_*.h); compiled per instruction set
 *     tile_avx2.c, tile_avx512.c     tiles over packed weights (tile.h; what they have in common: tile_walks.inc)
 *     pack.c              model file's blocks -> packed weights (pack.h)
 *
 * The avx2 and avx512 variants give the same bits: the same operations on the same lanes in the same order, and integer
 * sums are exact. plain differs: it multiplies in f32 and does not fuse.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "base/threads.h"
#include "kernels/cpu/tile.h"
#include "kernels/kernels.h"

#include <stdatomic.h>

enum {
    KV_BLOCK_TOKENS_MAX = 64,
    HEAD_DIM_MAX = 256,
    ROWS_PREPARED_ALONE = 8 /* so few rows of x each thread prepares for itself: that is shorter than a meeting */
};

struct weights {
    struct tensor_view view; /* the file's own rows: embed reads them, and matmul where nothing is packed */
    void *packed;            /* pack.h; NULL where the variant packs nothing */
    size_t group_bytes;
    struct slab *slab; /* that `packed` lies in */
};

struct attention_part;
struct attention_stack;

/** The functions of one instruction set. */
struct cpu_leaves {
    float (*dot)(const float *a, const float *b, int64_t count);
    void (*rmsnorm_row)(const float *x, const float *weight, float eps, int64_t width, float *y);
    void (*rmsnorm_add_row)(const float *x, const float *weight, float eps, int64_t width, float *y); /* y += */
    void (*gate_row)(enum activation activation, const float *gate, const float *up, int64_t width, float *y);
    void (*softcap_row)(float cap, int64_t width, float *x);
    void (*add_scaled_row)(float factor, const float *x, int64_t width, float *y);      /* y += factor * x */
    void (*quantise_row)(const float *x, int64_t columns, struct quantised_block *out); /* whole blocks */
    void (*load_f16)(const uint16_t *in, int64_t count, float *out);                    /* count a multiple of 16 */
    void (*store_f16)(const float *in, int64_t count, uint16_t *out);
    /** y[t][0..count) = tile[t][0..count) [+ bias] [+ y], count <= PACK_ROWS; rows of y at y_stride. */
    void (*store_tile)(const float *tile, int64_t rows, int count, const float *bias, bool accumulate, float *y,
                       int64_t y_stride);
    /** One head by a row of the table that kernels.h describes; y may be x. */
    void (*rope_head)(const float *x, const float *table, int rotary_dim, int head_dim, enum rope_style style,
                      float *y);
    /** y = x * factor; count a multiple of 16. */
    void (*scale_row)(const float *x, float factor, int count, float *y);
    /** See attention.h. */
    void (*kv_round)(const float *in, int count, enum kv_type type, void *out, float *scale);
    void (*attention_range)(const struct attention_stack *stack);
    void (*attention_merge)(struct attention_part *into, const struct attention_part *from, int head_dim);
    void (*attention_finish)(const struct attention_part *part, int head_dim, float *out);
    tile_fn *const *tiles; /* by type; NULL: this variant packs nothing */
};

extern const struct cpu_leaves cpu_leaves_plain, cpu_leaves_avx2, cpu_leaves_avx512;

/** Memory of packed weights, in large pieces so that the system can map it with large pages. */
struct slab;
/** `bytes` (a multiple of 64) aligned to 64; NULL when there is no memory. The slab that they lie in goes to `out`. */
void *slab_take(struct slab **slabs, size_t bytes, struct slab **out);
/** One piece of it is no longer used; a slab without pieces is returned to the system. */
void slab_give_back(struct slab **slabs, struct slab *slab);

/** Scratch of one thread. */
struct cpu_scratch {
    _Alignas(64) atomic_llong next;    /* matmul: what was taken of this thread's region */
    float *row;                        /* [columns_max]: a dequantised weight row */
    float *tiles;                      /* [2][TILE_ROWS_MAX][PACK_ROWS] */
    float *normalised;                 /* [ROWS_PREPARED_ALONE][columns_max] */
    struct quantised_block *quantised; /* the same extent */
    struct attention_scratch *attention;
};

struct cpu {
    struct kernels kernels; /* first: a struct kernels pointer is a struct cpu pointer */
    struct kernels_options options;
    const struct cpu_leaves *leaves;
    struct thread_team *team;
    float *normalised;                 /* [slots: rows_max * experts_used_max, at least rows_max][columns_max] */
    struct quantised_block *quantised; /* the same extent */
    struct cpu_scratch *scratch;       /* one per thread */
    struct slab *slabs;                /* of packed weights */
    struct attention_shared *attention;
};

/** Aligned to 64 bytes; for free(). NULL when there is no memory, or count * bytes is past any. */
void *cpu_allocate(size_t count, size_t bytes);

void cpu_matmul(struct kernels *kernels, const struct matmul *matmul);
void cpu_route(struct kernels *kernels, const struct routing *routing, struct routed *out);
void cpu_expert_matmul(struct kernels *kernels, const struct expert_matmul *matmul);
void cpu_combine(struct kernels *kernels, const struct routed *routed, const float *x, int64_t width, float *y);

/** One call of a row-wise operation. */
struct rows_run {
    struct cpu *cpu;
    int64_t rows;
    void (*row)(const struct rows_run *run, int64_t t);
    const void *arguments;
};
/** Call `row` for every t in [0, rows), spread over the team when that is worth a meeting. */
void cpu_run_rows(struct kernels *kernels, int64_t rows, void (*row)(const struct rows_run *run, int64_t t),
                  const void *arguments);
void cpu_kv_store(struct kernels *kernels, const struct kv_store *store);
void cpu_attention(struct kernels *kernels, const struct attention *attention);

/** Memory of attention: of a thread, and of all threads together. NULL when there is none. */
struct attention_scratch *attention_scratch_create(const struct kernels_options *options);
void attention_scratch_destroy(struct attention_scratch *scratch);
struct attention_shared *attention_shared_create(const struct kernels_options *options);
void attention_shared_destroy(struct attention_shared *shared);

/** The part [first, last) of `count` items that falls to thread `index` of `size`. */
static inline void cpu_share(int64_t count, int index, int size, int64_t *first, int64_t *last) {
    *first = count * index / size;
    *last = count * (index + 1) / size;
}

#endif
