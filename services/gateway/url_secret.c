/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/url_secret.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/** bora_<12>_<43> somewhere inside (proto/bora/v1/keys.proto); what follows it does not make it less of a key. */
static bool holds_key(const char *text) {
    static const char start[] = "bora_";
    enum { PREFIX_LENGTH = 12, SECRET_LENGTH = 43 };
    for (const char *at = strstr(text, start); at != NULL; at = strstr(at + 1, start)) {
        const char *prefix = at + sizeof start - 1;
        if (strnlen(prefix, PREFIX_LENGTH + 1 + SECRET_LENGTH) == PREFIX_LENGTH + 1 + SECRET_LENGTH &&
            prefix[PREFIX_LENGTH] == '_')
            return true;
    }
    return false;
}

const char *url_secret_find(const char *path, const struct http_field *queries) {
    static const char *const names[] = {"key",          "api_key", "api-key",       "apikey", "x-api-key",
                                        "access_token", "token",   "authorization", "bearer"};
    static const char refusal[] = "Keys do not belong into URLs, which end up in logs: send the header 'Authorization: "
                                  "Bearer KEY', and rotate a key that was sent so.";
    if (holds_key(path)) return refusal;
    for (const struct http_field *query = queries; query != NULL; query = query->next) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (strcasecmp(query->name, names[i]) == 0) return refusal;
        }
        if (holds_key(query->name) || holds_key(query->value)) return refusal;
    }
    return NULL;
}
