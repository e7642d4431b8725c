/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Lines "name:value" as header fields: whatever is let through says once, and unmistakably, where the request ends. */
#include "base/arena.h"
#include "rpc/http_framing.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    arena_init(&arena, 4 << 20);
    struct http_field *first = NULL, **tail = &first;
    char *text = arena_copy(&arena, data, size), *rest = text, *line;
    int lengths = 0, encodings = 0, hosts = 0;
    while (text != NULL && (line = strsep(&rest, "\n")) != NULL) {
        char *value = line, *name = strsep(&value, ":");
        struct http_field *field = arena_alloc(&arena, sizeof *field);
        if (field == NULL) break;
        *field = (struct http_field){.name = name, .value = value != NULL ? value : ""};
        lengths += strcasecmp(name, "content-length") == 0;
        encodings += strcasecmp(name, "transfer-encoding") == 0;
        hosts += strcasecmp(name, "host") == 0;
        *tail = field;
        tail = &field->next;
    }
    struct http_framing framing = http_framing_check("POST", 1, first, 1000);
    if (framing.refuse_status == 0) {
        must(hosts == 1 && lengths <= 1 && encodings <= 1 && lengths + encodings <= 1);
        must(framing.chunked == (encodings == 1) && framing.body_bytes == (encodings == 1 ? -1 : framing.body_bytes));
        must(lengths == 1 || framing.body_bytes <= 0);
        must(framing.body_bytes <= 1000);
    } else {
        must(framing.reason != NULL &&
             (framing.refuse_status == 400 || framing.refuse_status == 413 || framing.refuse_status == 415));
    }
    if (text != NULL) (void)http_framing_target_valid(text);
    arena_deinit(&arena);
    return 0;
}
