/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Packed weights: what the vector variants multiply. One family for all types: sixteen rows are interleaved in a group, so that one
 * load brings the same few k of neighbouring rows. A group is its units one after another, ascending in k; a unit holds
 *
 *     quantised types   16 rows x 32 k (256 k in the K types), scales first. Weight bytes lie in vectors of 64: byte 4*row + j of vector i
 *                       (0..7) is weight k = 4i + j. Four bits: vector i (0..3) carries vector i low and vector i + 4 high.
 *     F32, F16, BF16    16 rows x 1 k
 *
 * Nothing is rounded: a packed weight is exactly the file's. Rows past the last are zero.
 *
 *     Q4_0  d * (q - 8)      Q4_1  d * q + m       Q5_0  d * (q - 16)     Q5_1  d * q + m      Q8_0  d * q
 *     Q4_K, Q5_K  (d * scale) * q - (dmin * minimum)        Q6_K  d * scale * (q - 32), a scale for each 16 k
 */
#ifndef KERNELS_CPU_PACK_H
#define KERNELS_CPU_PACK_H

#include "kernels/kernels.h"

enum {
    PACK_ROWS = 16,   /* rows interleaved in a group */
    QUANT_BLOCK = 32, /* activations and packed weights are scaled in blocks of this many */
    SUPER_BLOCK = 256 /* k of a unit of the K types */
};

struct packed_q4_0 {
    uint16_t d[PACK_ROWS];
    uint8_t q[256];
};
struct packed_q4_1 {
    uint16_t d[PACK_ROWS], m[PACK_ROWS];
    uint8_t q[256];
};
/** `high`: bit i of byte 4*row + j is the fifth bit of weight k = 4i + j. */
struct packed_q5_0 {
    uint16_t d[PACK_ROWS];
    uint8_t q[256], high[64];
};
struct packed_q5_1 {
    uint16_t d[PACK_ROWS], m[PACK_ROWS];
    uint8_t q[256], high[64];
};
struct packed_q8_0 {
    uint16_t d[PACK_ROWS];
    int8_t q[512];
};
struct packed_q4_k {
    uint16_t d[PACK_ROWS], dmin[PACK_ROWS];
    struct {
        uint8_t scale[PACK_ROWS], minimum[PACK_ROWS];
        uint8_t q[256];
    } part[SUPER_BLOCK / QUANT_BLOCK];
};
struct packed_q5_k {
    uint16_t d[PACK_ROWS], dmin[PACK_ROWS];
    struct {
        uint8_t scale[PACK_ROWS], minimum[PACK_ROWS];
        uint8_t q[256], high[64];
    } part[SUPER_BLOCK / QUANT_BLOCK];
};
/** `high`: bits 2(i % 4), 2(i % 4) + 1 of byte 64(i / 4) + 4*row + j are the upper bits of weight k = 4i + j. */
struct packed_q6_k {
    uint16_t d[PACK_ROWS];
    struct {
        int8_t scale[2][PACK_ROWS]; /* of the first 16 k, of the second */
        uint8_t q[256], high[128];
    } part[SUPER_BLOCK / QUANT_BLOCK];
};

/** Bytes of one group of `columns` k; 0 when the type is unknown or `columns` is not whole units. */
size_t pack_group_bytes(enum tensor_type type, int64_t columns);

/** Groups of `rows` rows. */
static inline int64_t pack_groups(int64_t rows) {
    return (rows + PACK_ROWS - 1) / PACK_ROWS;
}

/** Pack the groups [first, last) of `view` to their places behind `packed`, the first byte of group 0. */
void pack(const struct tensor_view *view, void *packed, int64_t first, int64_t last);

#endif
