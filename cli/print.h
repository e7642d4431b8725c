/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Output for people and for scripts. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include "base/bytes.h"

#include <protobuf-c/protobuf-c.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

/** Text from elsewhere: control characters other than newline and tab become '?', so that a name or an answer cannot steer the terminal. */
void print_clean(FILE *file, const char *text);
/** What is shown in a line among others, as names are: nothing that breaks it (text_breaks_line) comes through. */
void print_line(FILE *file, const char *text);
/** print_clean, with the secrets of whatever looks like one of our keys left out: what somebody typed in the wrong place, repeated to him or by a service,
 *  may end in a log. */
void print_masked(FILE *file, const char *text);
/** "bora: " and the sentence, masked, on a line of stderr. EXIT_FAILED, for those who want it. */
int print_failure_values(const char *format, va_list values) __attribute__((format(printf, 1, 0)));
int print_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** print_line into `out`; cut where `out` ends, never inside a character. */
void print_clean_to(const char *text, char *out, size_t out_bytes);
/** Whether all that was written to stdout has come to where it goes; errno where it has not. */
bool print_flush(void);
/** Columns that a terminal needs for it. */
int print_width(const char *text);
/** As the HTTP interface writes it, appended, without a line end. One thread at a time. */
enum status print_json_to(const ProtobufCMessage *message, struct bytes *out, struct error *err);
/** A line of CSV as the HTTP interface writes it (rpc/csv.h) but for its end, which is \n as everywhere here: the columns' names, or a message. */
enum status print_csv_names_to(const ProtobufCMessageDescriptor *descriptor, struct bytes *out, struct error *err);
enum status print_csv_to(const ProtobufCMessage *message, struct bytes *out, struct error *err);
/** The names and a line for each of `rows`, all of that descriptor, on stdout. EXIT_OK or EXIT_FAILED. */
int print_csv(const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage *const *rows, size_t count);
/** One line of JSON on stdout. EXIT_OK or EXIT_FAILED. */
int print_json(const ProtobufCMessage *message);

#endif
