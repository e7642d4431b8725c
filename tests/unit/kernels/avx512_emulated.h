/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The AVX-512 instructions that kernels/cpu uses, each as two halves of AVX2, so that the sources of the variant avx512 run and are compared on
 * machines that lack it. Force-included before the source (-include). It shows what the code computes, not how fast. Semantics: Intel SDM.
 * An instruction that is missing here fails to compile.
 */
#ifndef TESTS_UNIT_KERNELS_AVX512_EMULATED_H
#define TESTS_UNIT_KERNELS_AVX512_EMULATED_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    __m256 low, high;
} emulated_ps;
typedef struct {
    __m256i low, high;
} emulated_i;

#define EMULATED static inline __attribute__((always_inline, unused))
#define PS2(name)                                                                         \
    EMULATED emulated_ps emulated_##name(emulated_ps a, emulated_ps b) {                  \
        return (emulated_ps){_mm256_##name(a.low, b.low), _mm256_##name(a.high, b.high)}; \
    }
#define I2(name, function)                                                     \
    EMULATED emulated_i emulated_##name(emulated_i a, emulated_i b) {          \
        return (emulated_i){function(a.low, b.low), function(a.high, b.high)}; \
    }

PS2(add_ps)
PS2(sub_ps)
PS2(mul_ps)
PS2(div_ps)
PS2(max_ps)
PS2(min_ps)
I2(add_epi32, _mm256_add_epi32)
I2(and_si512, _mm256_and_si256)
I2(or_si512, _mm256_or_si256)
I2(xor_si512, _mm256_xor_si256)
I2(madd_epi16, _mm256_madd_epi16)
I2(mullo_epi16, _mm256_mullo_epi16)
I2(mullo_epi32, _mm256_mullo_epi32)

EMULATED emulated_ps emulated_set1_ps(float x) {
    return (emulated_ps){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
EMULATED emulated_ps emulated_loadu_ps(const void *p) {
    return (emulated_ps){_mm256_loadu_ps((const float *)p), _mm256_loadu_ps((const float *)p + 8)};
}
EMULATED emulated_ps emulated_load_ps(const void *p) { /* aligned to 64, as the instruction demands */
    if ((uintptr_t)p % 64 != 0) __builtin_trap();
    return emulated_loadu_ps(p);
}
EMULATED void emulated_storeu_ps(void *p, emulated_ps a) {
    _mm256_storeu_ps((float *)p, a.low);
    _mm256_storeu_ps((float *)p + 8, a.high);
}
EMULATED void emulated_store_ps(void *p, emulated_ps a) {
    if ((uintptr_t)p % 64 != 0) __builtin_trap();
    emulated_storeu_ps(p, a);
}
EMULATED emulated_ps emulated_fmadd_ps(emulated_ps a, emulated_ps b, emulated_ps c) {
    return (emulated_ps){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
EMULATED emulated_ps emulated_abs_ps(emulated_ps a) {
    __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    return (emulated_ps){_mm256_and_ps(a.low, mask), _mm256_and_ps(a.high, mask)};
}
EMULATED emulated_ps emulated_castsi512_ps(emulated_i a) {
    return (emulated_ps){_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
}
EMULATED emulated_i emulated_castps_si512(emulated_ps a) {
    return (emulated_i){_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}
EMULATED emulated_ps emulated_cvtepi32_ps(emulated_i a) {
    return (emulated_ps){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}
EMULATED __m256 emulated_mask_mov_half(__m256 other, unsigned mask, __m256 a) {
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i chosen = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)mask), bits), bits);
    return _mm256_blendv_ps(other, a, _mm256_castsi256_ps(chosen));
}
EMULATED emulated_ps emulated_mask_mov_ps(emulated_ps other, unsigned short mask, emulated_ps a) {
    return (emulated_ps){emulated_mask_mov_half(other.low, mask, a.low),
                         emulated_mask_mov_half(other.high, mask >> 8, a.high)};
}
EMULATED emulated_i emulated_cvtps_epi32(emulated_ps a) {
    return (emulated_i){_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
}
EMULATED emulated_ps emulated_cvtph_ps(__m256i a) {
    return (emulated_ps){_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))};
}
EMULATED emulated_i emulated_cvtepi8_epi32(__m128i a) {
    return (emulated_i){_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8))};
}
EMULATED emulated_i emulated_cvtepu8_epi32(__m128i a) {
    return (emulated_i){_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8))};
}
EMULATED emulated_i emulated_cvtepu16_epi32(__m256i a) {
    return (emulated_i){_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
                        _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))};
}
EMULATED __m128i emulated_cvtsepi32_epi8(emulated_i a) {
    int32_t in[16];
    int8_t out[16];
    memcpy(in, &a, sizeof in);
    for (int i = 0; i < 16; i++) out[i] = (int8_t)(in[i] > 127 ? 127 : in[i] < -128 ? -128 : in[i]);
    return _mm_loadu_si128((const __m128i *)out);
}
EMULATED emulated_i emulated_setzero_si512(void) {
    return (emulated_i){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
EMULATED emulated_i emulated_set1_epi32(int x) {
    return (emulated_i){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
EMULATED emulated_i emulated_set1_epi16(short x) {
    return (emulated_i){_mm256_set1_epi16(x), _mm256_set1_epi16(x)};
}
EMULATED emulated_i emulated_set1_epi8(char x) {
    return (emulated_i){_mm256_set1_epi8(x), _mm256_set1_epi8(x)};
}
EMULATED emulated_i emulated_loadu_si512(const void *p) {
    return (emulated_i){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
EMULATED emulated_i emulated_slli_epi16(emulated_i a, int n) {
    return (emulated_i){_mm256_slli_epi16(a.low, n), _mm256_slli_epi16(a.high, n)};
}
EMULATED emulated_i emulated_srli_epi16(emulated_i a, int n) {
    return (emulated_i){_mm256_srli_epi16(a.low, n), _mm256_srli_epi16(a.high, n)};
}
EMULATED emulated_i emulated_srli_epi32(emulated_i a, int n) {
    return (emulated_i){_mm256_srli_epi32(a.low, n), _mm256_srli_epi32(a.high, n)};
}
EMULATED emulated_i emulated_slli_epi32(emulated_i a, int n) {
    return (emulated_i){_mm256_slli_epi32(a.low, n), _mm256_slli_epi32(a.high, n)};
}
/** sum[i] += the four products of unsigned bytes of a and signed bytes of b in lane i, without saturation on the way. */
EMULATED __m256i emulated_dpbusd_half(__m256i sum, __m256i a, __m256i b) {
    const __m256i byte = _mm256_set1_epi16(255);
    __m256i even = _mm256_madd_epi16(_mm256_and_si256(a, byte), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8)),
            odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
EMULATED emulated_i emulated_dpbusd_epi32(emulated_i sum, emulated_i a, emulated_i b) {
    return (emulated_i){emulated_dpbusd_half(sum.low, a.low, b.low), emulated_dpbusd_half(sum.high, a.high, b.high)};
}

#undef PS2
#undef I2

#define __m512 emulated_ps
#define __m512i emulated_i
#define _mm512_add_ps emulated_add_ps
#define _mm512_sub_ps emulated_sub_ps
#define _mm512_mul_ps emulated_mul_ps
#define _mm512_div_ps emulated_div_ps
#define _mm512_max_ps emulated_max_ps
#define _mm512_min_ps emulated_min_ps
#define _mm512_abs_ps emulated_abs_ps
#define _mm512_fmadd_ps emulated_fmadd_ps
#define _mm512_set1_ps emulated_set1_ps
#define _mm512_setzero_ps() emulated_set1_ps(0)
#define _mm512_loadu_ps emulated_loadu_ps
#define _mm512_load_ps emulated_load_ps
#define _mm512_storeu_ps emulated_storeu_ps
#define _mm512_store_ps emulated_store_ps
#define _mm512_castsi512_ps emulated_castsi512_ps
#define _mm512_castps_si512 emulated_castps_si512
#define _mm512_castps512_ps256(a) ((a).low)
#define _mm512_extractf32x8_ps(a, half) ((half) == 1 ? (a).high : (a).low)
#define _mm512_permute_ps(a, order) \
    ((emulated_ps){_mm256_permute_ps((a).low, order), _mm256_permute_ps((a).high, order)})
#define _mm512_roundscale_ps(a, how) ((emulated_ps){_mm256_round_ps((a).low, how), _mm256_round_ps((a).high, how)})
#define _mm512_cvtps_ph(a, how) \
    _mm256_inserti128_si256(_mm256_castsi128_si256(_mm256_cvtps_ph((a).low, how)), _mm256_cvtps_ph((a).high, how), 1)
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_mask_mov_ps emulated_mask_mov_ps
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#define _mm512_cvtph_ps emulated_cvtph_ps
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtsepi32_epi8 emulated_cvtsepi32_epi8
#define _mm512_setzero_si512 emulated_setzero_si512
#define _mm512_set1_epi32 emulated_set1_epi32
#define _mm512_set1_epi16 emulated_set1_epi16
#define _mm512_set1_epi8 emulated_set1_epi8
#define _mm512_loadu_si512 emulated_loadu_si512
#define _mm512_add_epi32 emulated_add_epi32
#define _mm512_and_si512 emulated_and_si512
#define _mm512_or_si512 emulated_or_si512
#define _mm512_xor_si512 emulated_xor_si512
#define _mm512_madd_epi16 emulated_madd_epi16
#define _mm512_mullo_epi16 emulated_mullo_epi16
#define _mm512_mullo_epi32 emulated_mullo_epi32
#define _mm512_slli_epi16 emulated_slli_epi16
#define _mm512_srli_epi16 emulated_srli_epi16
#define _mm512_slli_epi32 emulated_slli_epi32
#define _mm512_srli_epi32 emulated_srli_epi32
#define _mm512_dpbusd_epi32 emulated_dpbusd_epi32

#endif
