/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What the tests of the kernels share: a loop over the variants, seeded numbers, and weights made of random blocks. */
#ifndef TESTS_UNIT_KERNELS_FIXTURE_H
#define TESTS_UNIT_KERNELS_FIXTURE_H

#include "kernels/kernels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { FIXTURE_ROWS_MAX = 128, FIXTURE_COLUMNS_MAX = 2048, FIXTURE_HEADS_MAX = 32 };

/** Half the distance between 1 and the next float: no single f32 operation is off by a larger part. */
static const double F32_HALF_ULP = 0x1p-24;

/** Say which variants run here and which the machine lacks; a cmocka group setup. */
int fixture_announce(void **state);

/** Open `variant`; fails the test when that does not work. */
struct kernels *fixture_open(const char *variant, int threads);

/** Seeded numbers; every test starts its own. */
struct fixture_random {
    uint64_t seed, position;
};
double fixture_uniform(struct fixture_random *random);                 /* [0, 1) */
int fixture_integer(struct fixture_random *random, int low, int high); /* [low, high] */
float fixture_normal(struct fixture_random *random);                   /* mean 0, deviation 1 */
float *fixture_normals(struct fixture_random *random, int64_t count);
/** Memory that lasts until the test frees it with test_free; aligned as malloc does. */
float *fixture_floats(int64_t count, float value);

/** Random blocks of `type`, with scales around 0.01: whatever bits a file may hold, NaN and infinity apart. Owned by the caller (test_free). */
struct tensor_view fixture_tensor(struct fixture_random *random, enum tensor_type type, int64_t rows, int64_t columns);
/** The weights in float64 [rows][columns], from the format's definition, written again here. `out_span` (or NULL) takes for each weight what its
 *  parts, d * q and the minimum, may reach before they cancel: |w| + 2 |minimum|. */
void fixture_dequantise(const struct tensor_view *view, double *out, double *out_span);

/** For every variant of the machine: `for_each_variant(name)`. */
#define for_each_variant(name) \
    for (const char *const *name##_at = kernels_cpu_variants(), *name = *name##_at; name != NULL; name = *++name##_at)

#endif
