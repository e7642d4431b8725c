/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* In place of kernels/cpu/cpu_features.c: avx512 is emulated (avx512_emulated.h) and compared with avx2. */
#include "kernels/cpu/cpu_features.h"
#include "kernels/kernels.h"

#include <string.h>

const char *const *kernels_cpu_variants(void) {
    static const char *const names[] = {"avx512", "avx2", NULL}, *const none[] = {NULL};
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? names : none;
}

const char *kernels_cpu_description(void) {
    return "avx512 emulated with AVX2";
}

bool cpu_variant_runs(const char *variant) {
    return strcmp(variant, "avx512") == 0 || strcmp(variant, "avx2") == 0;
}
