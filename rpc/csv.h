/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Messages as rows of CSV (RFC 4180): a line of names, then a line per message, each ended by CR LF.
 *
 * Columns are the message's scalar and string fields, in the order of their numbers, under their JSON names; hidden, repeated and message fields have
 * none. Numbers and booleans are written as in JSON, doubles without exponents, absent fields are empty, texts that hold a comma, a quote or the end of a line are quoted.
 *
 * A text that a spreadsheet would take for a formula (first character '=', '+', '-', '@', tab or CR) gets a "'" in front: names and models are
 * chosen by people, and whoever opens the file must not run what they wrote. Numbers stay numbers.
 */
#ifndef RPC_CSV_H
#define RPC_CSV_H

#include "rpc/transcode.h"

/** Both append. STATUS_INTERNAL when the transcoder does not know the message; STATUS_RESOURCE_EXHAUSTED when the buffer's maximum is reached. */
enum status csv_write_names(const struct transcoder *transcoder, const ProtobufCMessageDescriptor *descriptor,
                            struct bytes *out);
enum status csv_write_row(const struct transcoder *transcoder, const ProtobufCMessage *message, struct bytes *out);

#endif
