/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/vector_avx2.h"

#include "kernels/cpu/leaves.inc"

const struct cpu_leaves cpu_leaves_avx2 = {FLOAT_LEAVES, .tiles = tiles_avx2};
