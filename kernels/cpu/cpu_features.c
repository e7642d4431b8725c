/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/cpu_features.h"

#include "kernels/kernels.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char *variants[4];
static char description[256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_brand(char brand[49]) {
    unsigned words[12] = {0};
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    memcpy(brand, words, 48);
    brand[48] = 0;
}

/** clang 14 knows no name for it. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static void probe(void) {
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vnni");
    int count = 0;
    if (avx512) variants[count++] = "avx512";
    if (avx2) variants[count++] = "avx2";
    variants[count] = "plain";
    char brand[49];
    read_brand(brand);
    snprintf(description, sizeof description, "%s (%s%s%s%s)", brand, avx2 ? "avx2 fma f16c" : "no avx2",
             __builtin_cpu_supports("avx512f") ? " avx512f" : "",
             __builtin_cpu_supports("avx512vnni") ? " avx512_vnni" : "",
             __builtin_cpu_supports("avx512bf16") ? " avx512_bf16" : "");
}

const char *const *kernels_cpu_variants(void) {
    pthread_once(&once, probe);
    return variants;
}

const char *kernels_cpu_description(void) {
    pthread_once(&once, probe);
    return description;
}

bool cpu_variant_runs(const char *variant) {
    for (const char *const *at = kernels_cpu_variants(); *at != NULL; at++) {
        if (strcmp(*at, variant) == 0) return true;
    }
    return false;
}
