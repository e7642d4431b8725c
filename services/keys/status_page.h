/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** For whoever runs the service, over HTTP: /metrics (Prometheus), /healthz (the process lives), /readyz (keys can be made and verified). */
#ifndef SERVICES_KEYS_STATUS_PAGE_H
#define SERVICES_KEYS_STATUS_PAGE_H

#include "base/clock.h"
#include "rpc/http_server.h"
#include "services/keys/keys.h"

/** Leaves `*out` alone when the settings name no address. Closed with http_server_stop and http_server_destroy. */
enum status status_page_open(struct keys_service *service, struct http_server **out, struct error *err);

#endif
