/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Storage types: sizes, and what their bits mean. Block layouts: ggml's published formats (ggml-common.h, gguf.md). */
#include "kernels/float16.h"
#include "kernels/kernels.h"

#include <string.h>

struct type_facts {
    const char *name;
    int block;
    size_t bytes;
};

static const struct type_facts *facts_of(enum tensor_type type) {
    static const struct type_facts facts[] = {
        [TENSOR_F32] = {"F32", 1, 4},       [TENSOR_F16] = {"F16", 1, 2},       [TENSOR_Q4_0] = {"Q4_0", 32, 18},
        [TENSOR_Q4_1] = {"Q4_1", 32, 20},   [TENSOR_Q5_0] = {"Q5_0", 32, 22},   [TENSOR_Q5_1] = {"Q5_1", 32, 24},
        [TENSOR_Q8_0] = {"Q8_0", 32, 34},   [TENSOR_Q4_K] = {"Q4_K", 256, 144}, [TENSOR_Q5_K] = {"Q5_K", 256, 176},
        [TENSOR_Q6_K] = {"Q6_K", 256, 210}, [TENSOR_BF16] = {"BF16", 1, 2},
    };
    if ((unsigned)type >= sizeof facts / sizeof facts[0] || facts[type].name == NULL) return NULL;
    return &facts[type];
}

const char *tensor_type_name(enum tensor_type type) {
    const struct type_facts *facts = facts_of(type);
    return facts != NULL ? facts->name : NULL;
}

int tensor_type_block(enum tensor_type type) {
    const struct type_facts *facts = facts_of(type);
    return facts != NULL ? facts->block : 0;
}

size_t tensor_type_block_bytes(enum tensor_type type) {
    const struct type_facts *facts = facts_of(type);
    return facts != NULL ? facts->bytes : 0;
}

size_t tensor_type_row_bytes(enum tensor_type type, int64_t columns) {
    const struct type_facts *facts = facts_of(type);
    size_t bytes;
    if (facts == NULL || columns < 0 || columns % facts->block != 0) return 0;
    return __builtin_mul_overflow((size_t)(columns / facts->block), facts->bytes, &bytes) ? 0 : bytes;
}

static float f16_at(const uint8_t *at) {
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return float_from_f16(bits);
}

/** {f16 d; [f16 m;] u8 q[16]}: w = d * (q - 8), or d * q + m. */
static void block_q4(const uint8_t *block, bool has_minimum, float *out) {
    float d = f16_at(block), m = has_minimum ? f16_at(block + 2) : 0;
    const uint8_t *q = block + (has_minimum ? 4 : 2);
    int shift = has_minimum ? 0 : 8;
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((q[i] & 15) - shift) + m;
        out[i + 16] = d * (float)((q[i] >> 4) - shift) + m;
    }
}

/** As Q4 with a fifth bit per weight in u32 h. */
static void block_q5(const uint8_t *block, bool has_minimum, float *out) {
    float d = f16_at(block), m = has_minimum ? f16_at(block + 2) : 0;
    uint32_t high;
    memcpy(&high, block + (has_minimum ? 4 : 2), sizeof high);
    const uint8_t *q = block + (has_minimum ? 8 : 6);
    int shift = has_minimum ? 0 : 16;
    for (int i = 0; i < 16; i++) {
        int low = (q[i] & 15) | (int)(high >> i & 1) << 4, upper = q[i] >> 4 | (int)(high >> (i + 16) & 1) << 4;
        out[i] = d * (float)(low - shift) + m;
        out[i + 16] = d * (float)(upper - shift) + m;
    }
}

static void block_q8_0(const uint8_t *block, float *out) {
    float d = f16_at(block);
    for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)block[2 + i];
}

/** The eight 6-bit scales and minima of Q4_K and Q5_K, packed in 12 bytes. */
static void k_scales(const uint8_t *packed, int index, int *out_scale, int *out_minimum) {
    if (index < 4) {
        *out_scale = packed[index] & 63;
        *out_minimum = packed[index + 4] & 63;
    } else {
        *out_scale = (packed[index + 4] & 15) | (packed[index - 4] >> 6) << 4;
        *out_minimum = packed[index + 4] >> 4 | (packed[index] >> 6) << 4;
    }
}

/** {f16 d, dmin; u8 scales[12]; [u8 h[32];] u8 q[128]}: w = d * scale * q - dmin * minimum, in eight groups of 32. */
static void block_q45_k(const uint8_t *block, bool five_bits, float *out) {
    float d = f16_at(block), dmin = f16_at(block + 2);
    const uint8_t *scales = block + 4, *high = block + 16, *q = block + (five_bits ? 48 : 16);
    for (int group = 0; group < 8; group++) {
        int scale, minimum;
        k_scales(scales, group, &scale, &minimum);
        const uint8_t *nibbles = q + group / 2 * 32;
        for (int i = 0; i < 32; i++) {
            int value = group % 2 == 0 ? nibbles[i] & 15 : nibbles[i] >> 4;
            if (five_bits) value |= (high[i] >> group & 1) << 4;
            out[group * 32 + i] = d * (float)scale * (float)value - dmin * (float)minimum;
        }
    }
}

/** {u8 low[128]; u8 high[64]; i8 scales[16]; f16 d}: w = d * scale * (q - 32), scales over groups of 16. */
static void block_q6_k(const uint8_t *block, float *out) {
    float d = f16_at(block + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = block + half * 64, *high = block + 128 + half * 32;
        const int8_t *scales = (const int8_t *)block + 192 + half * 8;
        for (int i = 0; i < 32; i++) {
            int values[4] = {(low[i] & 15) | (high[i] & 3) << 4, (low[i + 32] & 15) | (high[i] >> 2 & 3) << 4,
                             low[i] >> 4 | (high[i] >> 4 & 3) << 4, low[i + 32] >> 4 | (high[i] >> 6 & 3) << 4};
            for (int part = 0; part < 4; part++) {
                out[half * 128 + part * 32 + i] = d * (float)scales[part * 2 + i / 16] * (float)(values[part] - 32);
            }
        }
    }
}

static void row_16_bits(const uint8_t *row, bool brain, int64_t columns, float *out) {
    for (int64_t k = 0; k < columns; k++) {
        uint16_t bits;
        memcpy(&bits, row + 2 * k, sizeof bits);
        out[k] = brain ? float_from_bf16(bits) : float_from_f16(bits);
    }
}

enum status tensor_dequantise_row(enum tensor_type type, const void *row, int64_t columns, float *out) {
    const struct type_facts *facts = facts_of(type);
    if (facts == NULL || columns < 0 || columns % facts->block != 0) return STATUS_INVALID_ARGUMENT;
    if (facts->block == 1) {
        if (type == TENSOR_F32)
            memcpy(out, row, (size_t)columns * sizeof *out);
        else
            row_16_bits(row, type == TENSOR_BF16, columns, out);
        return STATUS_OK;
    }
    const uint8_t *at = row;
    for (int64_t k = 0; k < columns; k += facts->block, at += facts->bytes, out += facts->block) {
        switch (type) {
        case TENSOR_Q4_0:
            block_q4(at, false, out);
            break;
        case TENSOR_Q4_1:
            block_q4(at, true, out);
            break;
        case TENSOR_Q5_0:
            block_q5(at, false, out);
            break;
        case TENSOR_Q5_1:
            block_q5(at, true, out);
            break;
        case TENSOR_Q8_0:
            block_q8_0(at, out);
            break;
        case TENSOR_Q4_K:
            block_q45_k(at, false, out);
            break;
        case TENSOR_Q5_K:
            block_q45_k(at, true, out);
            break;
        case TENSOR_Q6_K:
            block_q6_k(at, out);
            break;
        default:
            break; /* one weight a block: above */
        }
    }
    return STATUS_OK;
}
