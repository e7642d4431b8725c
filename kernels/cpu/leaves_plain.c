/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/vector_plain.h"

#include "kernels/cpu/leaves.inc"

const struct cpu_leaves cpu_leaves_plain = {FLOAT_LEAVES};
