/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Output for people and for scripts. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>
#include <stdio.h>

/** Text from elsewhere: control characters other than newline and tab become '?', so that a name or an answer cannot steer the terminal. */
void print_clean(FILE *file, const char *text);
/** Left-aligned in a column of `width` characters, cut when longer; one line. */
void print_column(FILE *file, const char *text, int width);
/** "2026-11-23 12:09" in local time; "-" for 0. */
void print_time(int64_t unix_seconds, char *out, size_t out_bytes);
/** One line of JSON on stdout. EXIT_OK or EXIT_FAILED. */
int print_json(const ProtobufCMessage *message);

#endif
