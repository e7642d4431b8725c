/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * /healthz, /readyz and /metrics, which ask for no key: where clients come in, and at --metrics-listen on a thread of its own. With that, clients are not
 * shown /metrics.
 */
#ifndef SERVICES_GATEWAY_STATUS_PAGE_H
#define SERVICES_GATEWAY_STATUS_PAGE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct gateway;
struct http_exchange;

struct status_page;
enum status status_page_open(struct gateway *gateway, struct status_page **out, struct error *err);
/** NULL is nothing. */
void status_page_close(struct status_page *page);
/** Its port at --metrics-listen; 0: it has none of its own. */
int status_page_port(const struct status_page *page);

/** Where clients come in: is there such a page, and then its answer to GET and HEAD. On the loop. */
bool status_page_has(const struct status_page *page, const char *path);
void status_page_respond(struct status_page *page, struct http_exchange *exchange);

#endif
