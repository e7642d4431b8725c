/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What a command prints of a reply: JSON with --json, ids with --quiet, else for people. And lists of several pages as one. */
#ifndef CLI_RESULT_H
#define CLI_RESULT_H

#include "cli/connection.h"
#include "cli/table.h"

/** How a list goes on: from the last item's id, or by how many there were. */
struct result_list {
    const char *method; /* "/bora.v1.KeyService/ListKeys" */
    const ProtobufCMessageDescriptor *reply;
    const char *items;  /* field of the reply: "keys" */
    const char *cursor; /* field of the request: "after", "before"; "offset" counts */
    const char
        *next; /* field of the reply that says what the cursor is set to, where pages may have few items; or NULL */
    const char *id; /* field of an item: what the cursor is set to, and what --quiet prints */
    const char *
        word; /* field of an item: what people type for it; with `about`, a field that says more, for result_print_words */
    const char *about;
    int page, most; /* items asked for at once, and in all; `most` 0: all that fit into RESULT_ITEMS_MAX */
};
enum { RESULT_ITEMS_MAX = 100000 };

/** All pages in one reply (in the connection's arena). GO_ON, or how to end after a sentence. */
int result_fetch(struct connection *connection, const struct result_list *list, ProtobufCMessage *request,
                 ProtobufCMessage **out);
/** Prints the reply. The program's exit status. */
int result_print_list(const struct result_list *list, const ProtobufCMessage *reply, const struct table_column *columns,
                      int count, const char *nothing);
/** For scripts and completion: "word<tab>about" a line, or JSON. Whose word is no other's, and can be typed; of others the id stands for it. */
int result_print_words(const struct result_list *list, const ProtobufCMessage *reply);
/** One thing, as `name  value` lines; `id` is what --quiet prints. */
int result_print_one(const ProtobufCMessage *reply, const struct table_column *columns, int count, const char *id);
/** Behind it, a line for each of its limits of one model. */
void result_print_model_limits(const ProtobufCMessage *reply);
/** A change: JSON, or the sentence, which is a note where `id` is the result. */
int result_print_done(const ProtobufCMessage *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
