/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/pack.h"

#include <string.h>

static const struct {
    size_t unit_bytes;
    int unit_columns;
} units[] = {
    [TENSOR_F32] = {4 * PACK_ROWS, 1},
    [TENSOR_F16] = {2 * PACK_ROWS, 1},
    [TENSOR_BF16] = {2 * PACK_ROWS, 1},
    [TENSOR_Q4_0] = {sizeof(struct packed_q4_0), QUANT_BLOCK},
    [TENSOR_Q4_1] = {sizeof(struct packed_q4_1), QUANT_BLOCK},
    [TENSOR_Q5_0] = {sizeof(struct packed_q5_0), QUANT_BLOCK},
    [TENSOR_Q5_1] = {sizeof(struct packed_q5_1), QUANT_BLOCK},
    [TENSOR_Q8_0] = {sizeof(struct packed_q8_0), QUANT_BLOCK},
    [TENSOR_Q4_K] = {sizeof(struct packed_q4_k), SUPER_BLOCK},
    [TENSOR_Q5_K] = {sizeof(struct packed_q5_k), SUPER_BLOCK},
    [TENSOR_Q6_K] = {sizeof(struct packed_q6_k), SUPER_BLOCK},
};

size_t pack_group_bytes(enum tensor_type type, int64_t columns) {
    if ((unsigned)type >= sizeof units / sizeof units[0] || units[type].unit_columns == 0) return 0;
    if (columns % units[type].unit_columns != 0) return 0;
    return (size_t)(columns / units[type].unit_columns) * units[type].unit_bytes;
}

/* ---- one block of one row into its lane ----------------------------------------------------------------------------- */

/** Bytes 4*lane .. 4*lane + 3 of `vectors` vectors of 64. */
static void put_lane(uint8_t *vectors, int count, int lane, const uint8_t *bytes) {
    for (int i = 0; i < count; i++) memcpy(vectors + 64 * i + 4 * lane, bytes + 4 * i, 4);
}

/** The fifth bits of a block, bit k of `bits`, into a `high` of 64 bytes. */
static void put_fifth_bits(uint8_t *high, int lane, uint32_t bits) {
    for (int j = 0; j < 4; j++) {
        uint8_t byte = 0;
        for (int i = 0; i < 8; i++) byte |= (uint8_t)((bits >> (4 * i + j) & 1) << i);
        high[4 * lane + j] = byte;
    }
}

static void pack_q4_0(const uint8_t *block, int lane, struct packed_q4_0 *out) {
    memcpy(&out->d[lane], block, 2);
    put_lane(out->q, 4, lane, block + 2); /* byte i of the file holds weights i and i + 16: the packed order */
}

static void pack_q4_1(const uint8_t *block, int lane, struct packed_q4_1 *out) {
    memcpy(&out->d[lane], block, 2);
    memcpy(&out->m[lane], block + 2, 2);
    put_lane(out->q, 4, lane, block + 4);
}

static void pack_q5_0(const uint8_t *block, int lane, struct packed_q5_0 *out) {
    uint32_t high;
    memcpy(&out->d[lane], block, 2);
    memcpy(&high, block + 2, 4);
    put_fifth_bits(out->high, lane, high);
    put_lane(out->q, 4, lane, block + 6);
}

static void pack_q5_1(const uint8_t *block, int lane, struct packed_q5_1 *out) {
    uint32_t high;
    memcpy(&out->d[lane], block, 2);
    memcpy(&out->m[lane], block + 2, 2);
    memcpy(&high, block + 4, 4);
    put_fifth_bits(out->high, lane, high);
    put_lane(out->q, 4, lane, block + 8);
}

static void pack_q8_0(const uint8_t *block, int lane, struct packed_q8_0 *out) {
    memcpy(&out->d[lane], block, 2);
    put_lane((uint8_t *)out->q, 8, lane, block + 2);
}

/** Part `index` of a K block keeps its 32 nibbles low (even) or high (odd) in 32 bytes. */
static void pack_k_nibbles(const uint8_t *nibbles, int index, int lane, uint8_t *q) {
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) {
        bytes[i] = index % 2 == 0 ? (uint8_t)((nibbles[i] & 15) | (nibbles[i + 16] & 15) << 4)
                                  : (uint8_t)(nibbles[i] >> 4 | (nibbles[i + 16] & 0xF0));
    }
    put_lane(q, 4, lane, bytes);
}

/** The eight 6-bit scales and minima of Q4_K and Q5_K, packed in 12 bytes. */
static void unpack_k_scales(const uint8_t *packed, uint8_t scales[8], uint8_t minima[8]) {
    for (int i = 0; i < 4; i++) {
        scales[i] = packed[i] & 63;
        minima[i] = packed[i + 4] & 63;
        scales[i + 4] = (uint8_t)((packed[i + 8] & 15) | (packed[i] >> 6) << 4);
        minima[i + 4] = (uint8_t)(packed[i + 8] >> 4 | (packed[i + 4] >> 6) << 4);
    }
}

static void pack_q4_k(const uint8_t *block, int lane, struct packed_q4_k *out) {
    uint8_t scales[8], minima[8];
    memcpy(&out->d[lane], block, 2);
    memcpy(&out->dmin[lane], block + 2, 2);
    unpack_k_scales(block + 4, scales, minima);
    for (int part = 0; part < 8; part++) {
        out->part[part].scale[lane] = scales[part];
        out->part[part].minimum[lane] = minima[part];
        pack_k_nibbles(block + 16 + part / 2 * 32, part, lane, out->part[part].q);
    }
}

static void pack_q5_k(const uint8_t *block, int lane, struct packed_q5_k *out) {
    uint8_t scales[8], minima[8];
    memcpy(&out->d[lane], block, 2);
    memcpy(&out->dmin[lane], block + 2, 2);
    unpack_k_scales(block + 4, scales, minima);
    for (int part = 0; part < 8; part++) {
        uint32_t bits = 0;
        for (int k = 0; k < 32; k++) bits |= (uint32_t)(block[16 + k] >> part & 1) << k;
        out->part[part].scale[lane] = scales[part];
        out->part[part].minimum[lane] = minima[part];
        pack_k_nibbles(block + 48 + part / 2 * 32, part, lane, out->part[part].q);
        put_fifth_bits(out->part[part].high, lane, bits);
    }
}

/** Each half of 128 weights: four parts of 32 from two runs of 32 low bytes (low nibbles: parts 0, 1; high: 2, 3) and two bits of 32 high bytes. */
static void pack_q6_k(const uint8_t *block, int lane, struct packed_q6_k *out) {
    memcpy(&out->d[lane], block + 208, 2);
    for (int part = 0; part < 8; part++) {
        const uint8_t *low = block + part / 4 * 64 + part % 2 * 32, *high = block + 128 + part / 4 * 32;
        const int8_t *scales = (const int8_t *)block + 192 + 2 * part;
        int shift = 2 * (part % 4);
        for (int half = 0; half < 2; half++) {
            uint8_t bytes[4] = {0};
            for (int k = 0; k < 16; k++) bytes[k % 4] |= (uint8_t)((high[16 * half + k] >> shift & 3) << 2 * (k / 4));
            memcpy(out->part[part].high + 64 * half + 4 * lane, bytes, 4);
            out->part[part].scale[half][lane] = scales[half];
        }
        pack_k_nibbles(low, part % 4 / 2, lane, out->part[part].q);
    }
}

static void pack_unit(enum tensor_type type, const uint8_t *block, int lane, void *unit) {
    switch (type) {
    case TENSOR_Q4_0:
        pack_q4_0(block, lane, unit);
        break;
    case TENSOR_Q4_1:
        pack_q4_1(block, lane, unit);
        break;
    case TENSOR_Q5_0:
        pack_q5_0(block, lane, unit);
        break;
    case TENSOR_Q5_1:
        pack_q5_1(block, lane, unit);
        break;
    case TENSOR_Q8_0:
        pack_q8_0(block, lane, unit);
        break;
    case TENSOR_Q4_K:
        pack_q4_k(block, lane, unit);
        break;
    case TENSOR_Q5_K:
        pack_q5_k(block, lane, unit);
        break;
    case TENSOR_Q6_K:
        pack_q6_k(block, lane, unit);
        break;
    default: /* one weight a unit: pack_row */
        break;
    }
}

/** One row of a group into its lane. */
static void pack_row(const struct tensor_view *view, const uint8_t *row, int lane, char *group) {
    size_t block_bytes = tensor_type_block_bytes(view->type), unit_bytes = units[view->type].unit_bytes;
    if (view->type == TENSOR_F32) {
        for (int64_t k = 0; k < view->columns; k++) memcpy(group + (k * PACK_ROWS + lane) * 4, row + 4 * k, 4);
    } else if (block_bytes == 2) {
        for (int64_t k = 0; k < view->columns; k++) memcpy(group + (k * PACK_ROWS + lane) * 2, row + 2 * k, 2);
    } else {
        int64_t blocks = view->columns / units[view->type].unit_columns;
        for (int64_t b = 0; b < blocks; b++)
            pack_unit(view->type, row + (size_t)b * block_bytes, lane, group + (size_t)b * unit_bytes);
    }
}

void pack(const struct tensor_view *view, void *packed, int64_t first, int64_t last) {
    size_t row_bytes = tensor_type_row_bytes(view->type, view->columns),
           group_bytes = pack_group_bytes(view->type, view->columns);
    for (int64_t group = first; group < last; group++) {
        char *out = (char *)packed + (size_t)group * group_bytes;
        if ((group + 1) * PACK_ROWS > view->rows) memset(out, 0, group_bytes);
        for (int lane = 0; lane < PACK_ROWS && group * PACK_ROWS + lane < view->rows; lane++)
            pack_row(view, (const uint8_t *)view->data + (size_t)(group * PACK_ROWS + lane) * row_bytes, lane, out);
    }
}
