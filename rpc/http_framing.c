/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/http_framing.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/** Digits of a Content-Length; beyond 18 it is too large for any limit. */
enum { LENGTH_DIGITS_MAX = 18 };

static struct http_framing refuse(int status, const char *reason) {
    return (struct http_framing){.refuse_status = status, .reason = reason};
}

static bool method_known(const char *method) {
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(method, methods[i]) == 0) return true;
    }
    return false;
}

/** A name is a token; a value has no control characters but the tab. */
static bool field_well_formed(const struct http_field *field) {
    static const char others[] = "!#$%&'*+-.^_`|~"; /* of a token, besides letters and digits */
    if (field->name[0] == 0) return false;
    for (const char *at = field->name; *at != 0; at++) {
        bool plain = (*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z');
        if (!plain && strchr(others, *at) == NULL) return false;
    }
    for (const unsigned char *at = (const unsigned char *)field->value; *at != 0; at++) {
        if ((*at < 0x20 && *at != '\t') || *at == 0x7F) return false;
    }
    return true;
}

static struct http_framing check_length(const char *text, int64_t body_bytes_max) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] != 0) return refuse(400, "malformed Content-Length");
    int64_t length = 0;
    if (digits > LENGTH_DIGITS_MAX) return refuse(413, "request body too large");
    for (size_t i = 0; i < digits; i++) length = length * 10 + (text[i] - '0');
    if (length > body_bytes_max) return refuse(413, "request body too large");
    return (struct http_framing){.body_bytes = length};
}

struct http_framing http_framing_check(const char *method, int minor_version, const struct http_field *headers,
                                       int64_t body_bytes_max) {
    const char *length = NULL, *encoding = NULL, *coding = NULL;
    int hosts = 0, lengths = 0, encodings = 0, codings = 0, credentials = 0;
    for (const struct http_field *field = headers; field != NULL; field = field->next) {
        if (!field_well_formed(field)) return refuse(400, "malformed header field");
        if (strcasecmp(field->name, "Host") == 0) hosts++;
        if (strcasecmp(field->name, "Content-Length") == 0) lengths++, length = field->value;
        if (strcasecmp(field->name, "Transfer-Encoding") == 0) encodings++, encoding = field->value;
        if (strcasecmp(field->name, "Content-Encoding") == 0) codings++, coding = field->value;
        if (strcasecmp(field->name, "Authorization") == 0) credentials++;
    }
    if (hosts > 1 || (hosts == 0 && minor_version >= 1)) return refuse(400, "exactly one Host header is needed");
    if (lengths > 0 && encodings > 0) return refuse(400, "both Content-Length and Transfer-Encoding");
    if (lengths > 1) return refuse(400, "more than one Content-Length");
    if (encodings > 1 || (encodings == 1 && strcasecmp(encoding, "chunked") != 0))
        return refuse(400, "unknown Transfer-Encoding");
    if (encodings == 1 && minor_version < 1) return refuse(400, "Transfer-Encoding in HTTP/1.0");
    if (credentials > 1) return refuse(400, "more than one Authorization header");
    if (!method_known(method)) return refuse(501, "unknown method");
    if (codings > 1 || (codings == 1 && strcasecmp(coding, "identity") != 0))
        return refuse(415, "a request with Content-Encoding is not supported");
    if (encodings == 1) return (struct http_framing){.chunked = true, .body_bytes = -1};
    return length != NULL ? check_length(length, body_bytes_max) : (struct http_framing){0};
}

bool http_framing_target_valid(const char *target) {
    if (target == NULL || target[0] == 0 || strstr(target, "%00") != NULL) return false;
    for (const unsigned char *at = (const unsigned char *)target; *at != 0; at++) {
        if (*at <= 0x20 || *at == 0x7F) return false;
    }
    return true;
}
