/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** IEEE 754 binary16 and bfloat16 in plain C; rounding to nearest even, NaN stays NaN. */
#ifndef KERNELS_FLOAT16_H
#define KERNELS_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/** Without branches, so that compilers make vectors of it: an exact multiplication moves the exponent, of subnormal halves too. */
static inline float float_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = (uint32_t)(half & 0x7FFF) << 13;
    uint32_t bits = float_to_bits(float_from_bits(magnitude) * 0x1p112f);
    uint32_t beyond = magnitude >= 0x0F800000 ? 0x7F800000 : 0; /* infinity and NaN keep their fraction */
    return float_from_bits(sign | bits | beyond);
}

static inline uint16_t float_to_f16(float value) {
    uint32_t bits = float_to_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00);  /* NaN */
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* rounds to infinity */
    if (magnitude < 0x38800000) {                                  /* subnormal in f16: let the adder round at 2^-24 */
        float shifted = float_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(shifted) - 0x3F000000));
    }
    uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

/** Without branches, as above. */
static inline uint16_t float_to_bf16(float value) {
    uint32_t bits = float_to_bits(value), rounded = bits + 0x7FFF + (bits >> 16 & 1);
    return (uint16_t)(((bits & 0x7FFFFFFF) > 0x7F800000 ? bits | 0x400000 : rounded) >> 16);
}

static inline float float_from_bf16(uint16_t brain) {
    return float_from_bits((uint32_t)brain << 16);
}

#endif
