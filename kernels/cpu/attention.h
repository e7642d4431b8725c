/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside attention on the CPU.
 *
 * RANGES. Positions are cut into ranges of 256: [0, 256), [256, 512), ... whoever asks. What a query row sees of one range is one
 * small softmax; scores are counted in units of log 2, so that e^score is 2^score,
 *
 *     part = { maximum m, sum s = sum_j 2^(score_j - m), accumulator a = sum_j 2^(score_j - m) V_j }      j ascending
 *
 * and a row's parts are merged in ascending order of their ranges. Both are the same arithmetic whether one thread walks all ranges
 * or several threads share them, however long the step is, and whoever stands beside the row: that is batch invariance.
 *
 * STACKS. The query heads of a group, times tokens of the same sequence, are stacked: all these rows read the same keys and values.
 * A leaf call takes a stack over a range. Rows go in tiles of 6, 4, 3, 2 or 1 whose sums stay in registers:
 *
 *     scores of a tile x 32 keys      sum over hd in ascending order of q[r][k] * keys[k][j]
 *     accumulators of a tile x hd     sum over the keys in ascending order of weight[r][j] * values[j][k]
 *
 * Every sum has one accumulator, so that a tile's height changes no bit. f16, bf16 and int8 become f32 in registers, or, when more
 * than two tiles read it, once in `converted`; both are exact.
 *
 * A row never multiplies a position that it may not see, not even by zero: what lies there may be stale, or NaN.
 */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/kv_layout.h"

enum {
    ATTENTION_RANGE = 256,     /* positions; a multiple of every block_tokens */
    ATTENTION_STACK_ROWS = 96, /* a stack has this many rows at most, or one token's group if that is more */
    ATTENTION_CONVERTED = 64   /* positions converted at a time */
};

/** One row's softmax over some positions. Nothing seen: sum is 0 and the rest is not read. */
struct attention_part {
    float maximum, sum;
    float *accumulator; /* [hd] */
};

/** What one leaf call works on. */
struct attention_stack {
    enum kv_type type;
    int block_tokens, head_dim, rows;
    const float *q;                              /* [rows][hd], times scale / log 2 */
    float softcap;                               /* / log 2 as scores are; 0: none */
    const int *begin, *end;                      /* [rows] the positions a row sees, counted from the range's first */
    struct kv_head blocks[ATTENTION_RANGE / 32]; /* of the range; the ones that nobody sees are not read */
    float *scores;                               /* [rows][ATTENTION_RANGE] scratch */
    float *converted;                            /* [ATTENTION_CONVERTED * hd] scratch */
    struct attention_part *parts;                /* [rows] out */
};

/** Rows of the next tile of a stack that has `left` rows to go: no tile of one row when that can be avoided. */
static inline int attention_tile_rows(int left) {
    static const int rows[] = {0, 1, 2, 3, 4, 3, 6, 4, 4};
    return left < 9 ? rows[left] : 6;
}

#endif
