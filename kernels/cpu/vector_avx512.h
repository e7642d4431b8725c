/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Sixteen floats as one AVX-512 register; see vector_plain.h. Every operation gives the bits of vector_avx2.h. */
#ifndef KERNELS_CPU_VECTOR_H
#define KERNELS_CPU_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 f32x16;

#define TILE_VECTORS(rows) 4

static inline f32x16 v_set1(float x) {
    return _mm512_set1_ps(x);
}
static inline f32x16 v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, f32x16 a) {
    _mm512_storeu_ps(p, a);
}
static inline f32x16 v_add(f32x16 a, f32x16 b) {
    return _mm512_add_ps(a, b);
}
static inline f32x16 v_sub(f32x16 a, f32x16 b) {
    return _mm512_sub_ps(a, b);
}
static inline f32x16 v_mul(f32x16 a, f32x16 b) {
    return _mm512_mul_ps(a, b);
}
static inline f32x16 v_div(f32x16 a, f32x16 b) {
    return _mm512_div_ps(a, b);
}
static inline f32x16 v_max(f32x16 a, f32x16 b) {
    return _mm512_max_ps(a, b);
}
static inline f32x16 v_min(f32x16 a, f32x16 b) {
    return _mm512_min_ps(a, b);
}
static inline f32x16 v_abs(f32x16 a) {
    return _mm512_abs_ps(a);
}
static inline f32x16 v_madd(f32x16 a, f32x16 b, f32x16 c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline f32x16 v_round(f32x16 a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline f32x16 v_exp2i(f32x16 n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
static inline f32x16 v_times_exp2i(f32x16 p, f32x16 n) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}
static inline f32x16 v_between(f32x16 a, int first, int last, float other) {
    unsigned until = last >= 16  ? 0xFFFF
                     : last <= 0 ? 0
                                 : (1u << last) - 1,
             before = first >= 16  ? 0xFFFF
                      : first <= 0 ? 0
                                   : (1u << first) - 1;
    return _mm512_mask_mov_ps(_mm512_set1_ps(other), (__mmask16)(until & ~before), a);
}
static inline f32x16 v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void v_store_f16(uint16_t *p, f32x16 a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline f32x16 v_load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline f32x16 v_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline f32x16 v_swap_pairs(f32x16 a) {
    return _mm512_permute_ps(a, 0xB1);
}
static inline void v_store_i8(int8_t *p, f32x16 a) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
}
static inline float v_sum(f32x16 a) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline float v_max_lane(f32x16 a) {
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#endif
