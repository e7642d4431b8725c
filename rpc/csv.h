/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Rows of CSV (RFC 4180) out of messages: a column for each scalar field, in the order of numbers, absent ones empty. Text that a spreadsheet would take for a
 *  formula gets a quote in front. */
#ifndef RPC_CSV_H
#define RPC_CSV_H

#include "base/bytes.h"

#include <protobuf-c/protobuf-c.h>

enum status csv_write_header(const ProtobufCMessageDescriptor *descriptor, struct bytes *out);
enum status csv_write_row(const ProtobufCMessage *message, struct bytes *out);

#endif
