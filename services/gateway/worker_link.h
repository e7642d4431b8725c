/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The gateway's end of a Link call (proto/bora/internal/v1/worker.proto): all generations on one worker, over one stream that is opened when it is
 * first needed, and anew when it broke. generation.h is what the rest of the gateway sees of it.
 *
 * Events of a generation whose reader is slow wait here, bounded, until it goes on: its worker is told to hold it, but some are on their way.
 */
#ifndef SERVICES_GATEWAY_WORKER_LINK_H
#define SERVICES_GATEWAY_WORKER_LINK_H

#include "rpc/grpc_client.h"

/** What all links of a process share: the thread that ends generations whose time is over. */
struct worker_links;
enum status worker_links_create(struct worker_links **out, struct error *err);
/** After the last generation has ended and the last link was closed. NULL is nothing. */
void worker_links_destroy(struct worker_links *links);

struct worker_link;
/** `channel` is borrowed until worker_link_close. NULL without memory. */
struct worker_link *worker_link_create(struct worker_links *links, struct rpc_channel *channel);
/** No generation is on it any more; its call ends with the channel. NULL is nothing. */
void worker_link_close(struct worker_link *link);

#endif
