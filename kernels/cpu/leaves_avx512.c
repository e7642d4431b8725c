/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/vector_avx512.h"

#include "kernels/cpu/leaves.inc"

const struct cpu_leaves cpu_leaves_avx512 = {FLOAT_LEAVES, .tiles = tiles_avx512};
