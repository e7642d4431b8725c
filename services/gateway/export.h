/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Downloads over HTTP: usage as CSV, the ledger as CSV or JSON lines, however long it is.
 *
 *     page of the keys service ──> rows, written ──> reader keeps up ──> the next page, from the last one's last id on
 *                                                └─> it does not: wait for export_writable
 *
 * So no more than a page is held. A ledger that cannot be read to its end breaks the connection: the reader sees that something is missing, and may go on
 * with `after`.
 */
#ifndef SERVICES_GATEWAY_EXPORT_H
#define SERVICES_GATEWAY_EXPORT_H

#include "services/gateway/admin.h"

struct export;

/** True when `message` asks for a format other than JSON; then the request will be answered here. The request's transport is an exchange. */
bool export_start(struct request *request, const struct admin_method *method, const struct admin_route *route,
                  const struct admin_caller *caller, const ProtobufCMessage *message);
/** The reader caught up. */
void export_writable(struct export *export);

#endif
