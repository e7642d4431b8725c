/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The gateway's end of a Link call (proto/bora/internal/v1/worker.proto): all generations on one worker, over one stream (rpc/grpc_stream.h) that is opened
 * when it is first needed, and anew when it broke. generation.h is what the rest of the gateway sees of it.
 *
 * Events of a generation whose reader is slow wait here, bounded, until it goes on: its worker is told to hold it, but some are on their way.
 */
#ifndef SERVICES_GATEWAY_WORKER_LINK_H
#define SERVICES_GATEWAY_WORKER_LINK_H

#include "base/status.h"

#include <stdbool.h>

struct gateway_settings;
struct loop;

/** What all links of a process share. They live on `loop`, which outlives them. */
struct worker_links;
enum status worker_links_create(struct loop *loop, const struct gateway_settings *settings, struct worker_links **out,
                                struct error *err);
/** After the last link was closed; waits for the last generation. Not from the loop's thread. NULL is nothing. */
void worker_links_destroy(struct worker_links *links);

struct worker_link;
/** Begins to connect. */
enum status worker_link_open(struct worker_links *links, const char *address, struct worker_link **out,
                             struct error *err);
/** Nobody starts a generation on it any more. NULL is nothing. */
void worker_link_close(struct worker_link *link);
bool worker_link_ready(struct worker_link *link); /* connected now */

#endif
