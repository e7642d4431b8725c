/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/formats.h"

#include "engine/grammar/formats_internal.h"

#include <string.h>

/* Anything may follow the first slash, slashes included, but for a tilde that escapes nothing. */
#define POINTER "(?:/(?:[^~]|~[01])*)?"

/* Each unit may be followed by the next smaller one only. */
#define DURATION_TIME "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
#define DURATION_DATE "(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)"
#define DURATION "P(?:" DURATION_DATE "(?:" DURATION_TIME ")?|" DURATION_TIME "|\\d+W)"

#define TEMPLATE_NAME_PART "(?:\\w|" PERCENT ")"
#define TEMPLATE_VARIABLE TEMPLATE_NAME_PART "(?:\\.?" TEMPLATE_NAME_PART ")*(?::[1-9]\\d{0,3}|\\*)?"
#define TEMPLATE                                                                                 \
    "(?:[!#$&'(-;=?-\\[\\]_a-z~" UCS UCS_PRIVATE "]|" PERCENT "|\\{[+#./;?&]?" TEMPLATE_VARIABLE \
    "(?:," TEMPLATE_VARIABLE ")*\\})*"

/* The last characters carry 4 or 2 bits that are no part of a byte and must be zero. */
#define BASE64 "[\\dA-Za-z+/]"
#define BASE64_TEXT "(?:" BASE64 "{4})*(?:" BASE64 "(?:[AQgw]=|" BASE64 "[AEIMQUYcgkosw048])=)?"

static const struct format {
    const char *name;
    const char *pattern; /* or */
    regex (*make)(struct regex_pool *pool);
} formats[] = {
    {"date", FORMAT_DATE, NULL},
    {"date-time", NULL, format_date_time},
    {"duration", DURATION, NULL},
    {"email", NULL, format_email},
    {"hostname", NULL, format_hostname},
    {"idn-email", NULL, format_idn_email},
    {"idn-hostname", NULL, format_idn_hostname},
    {"ipv4", FORMAT_IPV4, NULL},
    {"ipv6", NULL, format_ipv6},
    {"iri", NULL, format_iri},
    {"iri-reference", NULL, format_iri_reference},
    {"json-pointer", POINTER, NULL},
    {"regex", NULL, format_regular_expression},
    {"relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" POINTER ")", NULL},
    {"time", NULL, format_time},
    {"uri", NULL, format_uri},
    {"uri-reference", NULL, format_uri_reference},
    {"uri-template", TEMPLATE, NULL},
    {"uuid", HEX "{8}(?:-" HEX "{4}){3}-" HEX "{12}", NULL},
};

regex format_pattern(struct regex_pool *pool, const char *pattern) {
    regex made;
    struct error ignored = {0}; /* our own patterns are valid: only the budget can be short */
    return regex_parse(pool, bytes_view_string(pattern), 0, &made, &ignored) == STATUS_OK ? made : REGEX_FAILED;
}

regex format_sequence(struct regex_pool *pool, const regex *parts, size_t count) {
    regex made = REGEX_EMPTY;
    while (count > 0) made = regex_concat(pool, parts[--count], made);
    return made;
}

static enum status finish(regex made, struct bytes_view name, regex *out, struct error *err) {
    if (made == REGEX_FAILED)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the format '%.*s' costs more than the grammar's budget",
                         (int)name.length, (const char *)name.data);
    *out = made;
    return STATUS_OK;
}

enum status format_regex(struct regex_pool *pool, struct bytes_view name, regex *out, bool *known, struct error *err) {
    const struct format *found = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0] && found == NULL; i++)
        if (bytes_view_equal(name, bytes_view_string(formats[i].name))) found = &formats[i];
    *known = found != NULL;
    if (found == NULL) return finish(REGEX_EVERYTHING, name, out, err);
    return finish(found->make != NULL ? found->make(pool) : format_pattern(pool, found->pattern), name, out, err);
}

static bool equal_in_any_case(struct bytes_view name, const char *lower) {
    if (name.length != strlen(lower)) return false;
    for (size_t i = 0; i < name.length; i++) {
        uint8_t c = name.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != (uint8_t)lower[i]) return false;
    }
    return true;
}

enum status content_encoding_regex(struct regex_pool *pool, struct bytes_view name, regex *out, bool *known,
                                   struct error *err) {
    *known = equal_in_any_case(name, "base64");
    return finish(*known ? format_pattern(pool, BASE64_TEXT) : REGEX_EVERYTHING, name, out, err);
}
