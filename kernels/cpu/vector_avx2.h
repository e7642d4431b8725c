/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Sixteen floats as two AVX2 registers; see vector_plain.h. */
#ifndef KERNELS_CPU_VECTOR_H
#define KERNELS_CPU_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

typedef struct {
    __m256 low, high;
} f32x16;

#define BOTH(function, a, b) ((f32x16){function((a).low, (b).low), function((a).high, (b).high)})

#define TILE_VECTORS(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1)

static inline f32x16 v_set1(float x) {
    return (f32x16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline f32x16 v_load(const float *p) {
    return (f32x16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void v_store(float *p, f32x16 a) {
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
static inline f32x16 v_add(f32x16 a, f32x16 b) {
    return BOTH(_mm256_add_ps, a, b);
}
static inline f32x16 v_sub(f32x16 a, f32x16 b) {
    return BOTH(_mm256_sub_ps, a, b);
}
static inline f32x16 v_mul(f32x16 a, f32x16 b) {
    return BOTH(_mm256_mul_ps, a, b);
}
static inline f32x16 v_div(f32x16 a, f32x16 b) {
    return BOTH(_mm256_div_ps, a, b);
}
static inline f32x16 v_max(f32x16 a, f32x16 b) {
    return BOTH(_mm256_max_ps, a, b);
}
static inline f32x16 v_min(f32x16 a, f32x16 b) {
    return BOTH(_mm256_min_ps, a, b);
}
static inline f32x16 v_abs(f32x16 a) {
    __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
    return (f32x16){_mm256_and_ps(a.low, mask), _mm256_and_ps(a.high, mask)};
}
static inline f32x16 v_madd(f32x16 a, f32x16 b, f32x16 c) {
    return (f32x16){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline f32x16 v_round(f32x16 a) {
    return (f32x16){_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                    _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline __m256 v_exp2i_half(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline f32x16 v_exp2i(f32x16 n) {
    return (f32x16){v_exp2i_half(n.low), v_exp2i_half(n.high)};
}
static inline __m256 v_times_exp2i_half(__m256 p, __m256 n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
static inline f32x16 v_times_exp2i(f32x16 p, f32x16 n) {
    return BOTH(v_times_exp2i_half, p, n);
}
static inline __m256 v_between_half(__m256 a, __m256i lanes, int first, int last, float other) {
    __m256i outside = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(first), lanes),
                                      _mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(last - 1)));
    return _mm256_blendv_ps(a, _mm256_set1_ps(other), _mm256_castsi256_ps(outside));
}
static inline f32x16 v_between(f32x16 a, int first, int last, float other) {
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), eight = _mm256_set1_epi32(8);
    return (f32x16){v_between_half(a.low, low, first, last, other),
                    v_between_half(a.high, _mm256_add_epi32(low, eight), first, last, other)};
}
static inline f32x16 v_load_f16(const uint16_t *p) {
    return (f32x16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
static inline void v_store_f16(uint16_t *p, f32x16 a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline f32x16 v_load_bf16(const uint16_t *p) {
    __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)),
            high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)));
    return (f32x16){_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}
static inline f32x16 v_load_i8(const int8_t *p) {
    return (f32x16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p))),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8))))};
}
static inline f32x16 v_swap_pairs(f32x16 a) {
    return (f32x16){_mm256_permute_ps(a.low, 0xB1), _mm256_permute_ps(a.high, 0xB1)};
}
static inline void v_store_i8(int8_t *p, f32x16 a) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
}
static inline float v_sum(f32x16 a) {
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline float v_max_lane(f32x16 a) {
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
#undef BOTH

#endif
