/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside the CPU device. Drivers (cpu.c, matmul.c, attention.c) split work over threads; leaves do arithmetic on one row,
 * one block or one tile by one thread.
 *
 *     leaves.inc          all float leaves, written once over sixteen floats (vector_*.h); compiled per instruction set
 *     tile_avx2.c, tile_avx512.c     integer tiles over packed weights
 *     pack.c              model file's blocks -> packed weights
 *
 * The avx2 and avx512 variants give the same bits: the same operations on the same lanes in the same order, and integer
 * sums are exact. plain differs: it multiplies in f32 and does not fuse.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "base/threads.h"
#include "kernels/kernels.h"

enum {
    QUANT_BLOCK = 32, /* activations and packed weights are scaled in blocks of this many */
    PACK_ROWS = 16,   /* rows interleaved in a packed group */
    KV_BLOCK_TOKENS_MAX = 64,
    HEAD_DIM_MAX = 256,
};

/**
 * Packed weights: groups of sixteen rows; a group is K/32 blocks, each
 *
 *     f16 d[16]; [f16 m[16];] u8 q[]        w[row][k] = d[row] * q + m[row]
 *
 *   PACK_Q4: q is four vectors of 64 bytes; byte 4*row+j of vector i holds weight k = 4i+j low, k = 16+4i+j high (q unsigned, has m)
 *   PACK_Q8: q is eight vectors of 64 bytes; byte 4*row+j of vector i is weight k = 4i+j (q signed, no m)
 *
 * Rows past the last are zero.
 */
enum pack_kind { PACK_NONE, PACK_Q4, PACK_Q8 };

struct packed_q4 {
    uint16_t d[PACK_ROWS], m[PACK_ROWS];
    uint8_t q[4 * 64];
};
struct packed_q8 {
    uint16_t d[PACK_ROWS];
    int8_t q[8 * 64];
};

struct weights {
    struct tensor_view view; /* the file's own rows: embed reads them, and matmul where nothing is packed */
    enum pack_kind kind;
    void *packed;
};

/** Activations of a step, quantised: row t, block b: x = d * q; s = d * isum, isum = sum of the block's q. */
struct quantised {
    int8_t *q;     /* [T][K] */
    float *d, *s;  /* [T][K/32] */
    int32_t *isum; /* [T][K/32] */
};

struct attention_part;
struct attention_stack;

/** The functions of one instruction set. */
struct cpu_leaves {
    float (*dot)(const float *a, const float *b, int64_t count);
    void (*rmsnorm_row)(const float *x, const float *weight, float eps, int64_t width, float *y);
    void (*swiglu_row)(const float *gate, const float *up, int64_t width, float *y);
    void (*quantise_row)(const float *x, int64_t columns, int8_t *q, float *d, float *s, int32_t *isum);
    void (*load_f16)(const uint16_t *in, int64_t count, float *out); /* count a multiple of 16 */
    void (*store_f16)(const float *in, int64_t count, uint16_t *out);
    /** One head by a row of the table that kernels.h describes; y may be x. */
    void (*rope_head)(const float *x, const float *table, int rotary_dim, int head_dim, enum rope_style style,
                      float *y);
    /** See attention.h. */
    void (*kv_round)(const float *in, int count, enum kv_type type, void *out, float *scale);
    void (*attention_range)(const struct attention_stack *stack);
    void (*attention_merge)(struct attention_part *into, const struct attention_part *from, int head_dim);
    void (*attention_finish)(const struct attention_part *part, int head_dim, float *out);
    /** y[c][0..16) of `columns` activation rows c0.. for one packed group; NULL when the variant packs nothing. */
    void (*tile_q4)(const struct packed_q4 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                    int64_t rows, float *out);
    void (*tile_q8)(const struct packed_q8 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                    int64_t rows, float *out);
};

enum { TILE_ROWS_MAX = 8 }; /* activation rows that one call of a tile takes: 1..8; out is [rows][16] */

extern const struct cpu_leaves cpu_leaves_plain, cpu_leaves_avx2, cpu_leaves_avx512;
void tile_q4_avx2(const struct packed_q4 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                  int64_t rows, float *out);
void tile_q8_avx2(const struct packed_q8 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                  int64_t rows, float *out);
void tile_q4_avx512(const struct packed_q4 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                    int64_t rows, float *out);
void tile_q8_avx512(const struct packed_q8 *group, int64_t blocks, const struct quantised *x, int64_t first_row,
                    int64_t rows, float *out);

/** The kind that `type` is packed to. */
enum pack_kind pack_kind_of(enum tensor_type type);
size_t pack_bytes(enum pack_kind kind, int64_t rows, int64_t columns);
/** Pack the groups [first, last) of `view` into `packed` (zeroed by the caller). */
void pack_groups(const struct tensor_view *view, enum pack_kind kind, void *packed, int64_t first, int64_t last);

/** Scratch of one thread. */
struct cpu_scratch {
    float *row; /* [columns_max]: a dequantised weight row */
    struct attention_scratch *attention;
};

struct cpu {
    struct kernels kernels; /* first: a struct kernels pointer is a struct cpu pointer */
    struct kernels_options options;
    const struct cpu_leaves *leaves;
    struct thread_team *team;
    float *normalised;           /* [rows_max][columns_max] */
    struct quantised quantised;  /* the same extent */
    struct cpu_scratch *scratch; /* one per thread */
    struct attention_shared *attention;
};

/** Aligned to 64 bytes; for free(). NULL when there is no memory, or count * bytes is past any. */
void *cpu_allocate(size_t count, size_t bytes);

void cpu_matmul(struct kernels *kernels, const struct matmul *matmul);
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
