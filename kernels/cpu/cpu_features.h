/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What the processor and the system can run (CPUID, and XGETBV through the compiler's run-time). */
#ifndef KERNELS_CPU_CPU_FEATURES_H
#define KERNELS_CPU_CPU_FEATURES_H

#include <stdbool.h>

bool cpu_variant_runs(const char *variant);

#endif
