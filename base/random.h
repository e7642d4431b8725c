/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Random numbers of two kinds: secrets from the kernel, and a counter-based stream for sampling.
 *
 * The sampling stream is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the
 * number for (seed, position, lane) is a pure function of the three, so a sequence's draws depend on nothing else
 * that runs, and a stream can be resumed elsewhere.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/** `length` bytes of the kernel's generator (getrandom). */
enum status random_secret(void *out, size_t length, struct error *err);
/** `digits` random lower-case hex digits and a NUL; for request ids. Aborts never: falls back to the clock if the kernel refuses. */
void random_hex_id(char *out, size_t digits);
/** 64 bits of the same kind; for seeds. */
uint64_t random_number(void);

/** One block of Philox4x32-10; `out` may be `counter`. */
void random_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/** 64 bits for (seed, position, lane): the first half of the block with the seed as key, low word first, and the
 *  counter (position low, position high, lane, 0). */
uint64_t random_philox(uint64_t seed, uint64_t position, uint32_t lane);
/** Uniform in [0, 1) with 53 bits, from random_philox. */
double random_uniform(uint64_t seed, uint64_t position, uint32_t lane);

#endif
