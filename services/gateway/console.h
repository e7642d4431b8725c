/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The web console: the files of console/, read once and answered from memory, without a key. They hold no data; the browser brings the key along
 * when the pages call the interface (docs/console.md).
 *
 * Only what the table in console.c lists is ever read or answered, so no path of a request reaches the file system. Each answer has an ETag, is
 * asked for anew every time (no-cache), and says what its page may do: run scripts and styles of this origin only, speak to this origin only,
 * send no form, stand in no frame.
 */
#ifndef SERVICES_GATEWAY_CONSOLE_H
#define SERVICES_GATEWAY_CONSOLE_H

#include "base/status.h"
#include "rpc/http_server.h"

#include <stdbool.h>

struct console;

/**
 * Read the files of `folder`. NULL or "": the console folder beside the program, installed (../share/bora/console) or in its source tree
 * (../../../console); *out is NULL and the status OK when there is none. "off": none.
 *
 * Fails: STATUS_NOT_FOUND and the like when a named folder lacks a file, STATUS_RESOURCE_EXHAUSTED for a file that is too large.
 */
enum status console_open(const char *folder, struct console **out, struct error *err);
void console_close(struct console *console); /* NULL is fine */

/** Answer GET or HEAD of "/" (browsers only), "/console" and what is below. False: it is nothing of ours. `console` may be NULL: always false.
 *  Reads only; any thread may call it. */
bool console_respond(const struct console *console, struct http_exchange *exchange);

#endif
