/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu.h"
#include "kernels/float16.h"

#include <string.h>

enum pack_kind pack_kind_of(enum tensor_type type) {
    switch (type) {
    case TENSOR_Q4_0:
    case TENSOR_Q4_1:
        return PACK_Q4;
    case TENSOR_Q8_0:
        return PACK_Q8;
    default:
        return PACK_NONE;
    }
}

size_t pack_bytes(enum pack_kind kind, int64_t rows, int64_t columns) {
    size_t groups = (size_t)((rows + PACK_ROWS - 1) / PACK_ROWS), blocks = (size_t)(columns / QUANT_BLOCK);
    return groups * blocks * (kind == PACK_Q4 ? sizeof(struct packed_q4) : sizeof(struct packed_q8));
}

/** One block of one row into its lane. Nibbles of the file: byte i holds weights i (low) and i+16 (high), which is the packed order too. */
static void pack_q4_block(enum tensor_type type, const uint8_t *block, int lane, struct packed_q4 *out) {
    memcpy(&out->d[lane], block, 2);
    const uint8_t *q = block + 2;
    if (type == TENSOR_Q4_1) {
        memcpy(&out->m[lane], block + 2, 2);
        q = block + 4;
    } else { /* d * (q - 8) = d * q + (-8 d); a power of two: exact unless -8 d overflows, which no file's scale comes near */
        out->m[lane] = float_to_f16(-8.0f * float_from_f16(out->d[lane]));
    }
    for (int i = 0; i < 4; i++) memcpy(out->q + 64 * i + 4 * lane, q + 4 * i, 4);
}

static void pack_q8_block(const uint8_t *block, int lane, struct packed_q8 *out) {
    memcpy(&out->d[lane], block, 2);
    for (int i = 0; i < 8; i++) memcpy(out->q + 64 * i + 4 * lane, block + 2 + 4 * i, 4);
}

void pack_groups(const struct tensor_view *view, enum pack_kind kind, void *packed, int64_t first, int64_t last) {
    size_t row_bytes = tensor_type_row_bytes(view->type, view->columns),
           block_bytes = tensor_type_block_bytes(view->type);
    int64_t blocks = view->columns / QUANT_BLOCK;
    for (int64_t row = first * PACK_ROWS; row < last * PACK_ROWS && row < view->rows; row++) {
        const uint8_t *in = (const uint8_t *)view->data + (size_t)row * row_bytes;
        for (int64_t b = 0; b < blocks; b++, in += block_bytes) {
            int64_t at = row / PACK_ROWS * blocks + b;
            int lane = (int)(row % PACK_ROWS);
            if (kind == PACK_Q4)
                pack_q4_block(view->type, in, lane, (struct packed_q4 *)packed + at);
            else
                pack_q8_block(in, lane, (struct packed_q8 *)packed + at);
        }
    }
}
