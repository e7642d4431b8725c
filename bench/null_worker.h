/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The two faces of the null worker (bench/null_worker.c). */
#ifndef BENCH_NULL_WORKER_H
#define BENCH_NULL_WORKER_H

#include "base/loop.h"
#include "bench/null_answer.h"
#include "rpc/http_server.h"

/** bora.internal.v1.WorkerService/Link on "host:port". */
enum status null_protocol_listen(struct loop *loop, const char *address, int *out_port, struct error *err);
/** What stands in Redis while it lives, packed, appended to `out`. */
enum status null_protocol_announcement(const struct null_settings *settings, const char *id, const char *address,
                                       struct bytes *out);

/** OpenAI's /v1/chat/completions, whole and streamed, and /healthz. */
enum status null_http_open(struct loop *loop, const struct null_settings *settings, struct http_server **out,
                           struct error *err);

#endif
