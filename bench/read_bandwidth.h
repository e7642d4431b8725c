/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * How fast memory can be read: what bounds the decode of one stream, which reads every weight once a token.
 */
#ifndef BENCH_READ_BANDWIDTH_H
#define BENCH_READ_BANDWIDTH_H

/** Bytes a second that `threads` threads together read from 128 MiB that no cache holds; the fastest pass within `seconds`. Ends the program
 *  when memory or threads are refused. */
double read_bandwidth(int threads, double seconds);

#endif
