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

/* Wider than the formats whose languages are tighter than their standards. */
#define ANY_CLOCK "\\d\\d:\\d\\d:\\d\\d(?:\\.\\d+)?(?:[Zz]|[+-]\\d\\d:\\d\\d)"
#define ANY_MAILBOX "[^]*@[^]*"
#define ANY_HOSTNAME "[-.0-9A-Za-z]*"
#define ANY_IDN_HOSTNAME "[^\\0-,/:-@\\[-`{-\\x7f]*"
#define ANY_TEMPLATE                                                                                  \
    "(?:[!#$&'(-;=?-\\[\\]_a-z~" UCS UCS_PRIVATE "]|" PERCENT "|\\{[+#./;?&=,!@|]?" TEMPLATE_VARIABLE \
    "(?:," TEMPLATE_VARIABLE ")*\\})*"
#define ANY_REGULAR_EXPRESSION "(?:[^*+?)][^]*)?"

static const struct format {
    const char *name;
    const char *pattern; /* or */
    regex (*make)(struct regex_pool *pool);
    const char *wider; /* than the standard; NULL: the language is exact */
} formats[] = {
    {"date", FORMAT_DATE, NULL, NULL},
    {"date-time", NULL, format_date_time, "\\d{4}-\\d\\d-\\d\\d[Tt ]" ANY_CLOCK},
    {"duration", DURATION, NULL, "[Pp][.,0-9A-Za-z]*"},
    {"email", NULL, format_email, ANY_MAILBOX},
    {"hostname", NULL, format_hostname, ANY_HOSTNAME},
    {"idn-email", NULL, format_idn_email, ANY_MAILBOX},
    {"idn-hostname", NULL, format_idn_hostname, ANY_IDN_HOSTNAME},
    {"ipv4", FORMAT_IPV4, NULL, NULL},
    {"ipv6", NULL, format_ipv6, NULL},
    {"iri", NULL, format_iri, NULL},
    {"iri-reference", NULL, format_iri_reference, NULL},
    {"json-pointer", POINTER, NULL, NULL},
    {"regex", NULL, format_regular_expression, ANY_REGULAR_EXPRESSION},
    {"relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" POINTER ")", NULL, NULL},
    {"time", NULL, format_time, ANY_CLOCK},
    {"uri", NULL, format_uri, NULL},
    {"uri-reference", NULL, format_uri_reference, NULL},
    {"uri-template", TEMPLATE, NULL, ANY_TEMPLATE},
    {"uuid", HEX "{8}(?:-" HEX "{4}){3}-" HEX "{12}", NULL, NULL},
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

static const struct format *find(struct bytes_view name) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (bytes_view_equal(name, bytes_view_string(formats[i].name))) return &formats[i];
    return NULL;
}

enum status format_regex(struct regex_pool *pool, struct bytes_view name, regex *out, bool *known, struct error *err) {
    const struct format *found = find(name);
    *known = found != NULL;
    if (found == NULL) return finish(REGEX_EVERYTHING, name, out, err);
    return finish(found->make != NULL ? found->make(pool) : format_pattern(pool, found->pattern), name, out, err);
}

enum status format_complement(struct regex_pool *pool, struct bytes_view name, regex language, regex *out,
                              struct error *err) {
    const struct format *found = find(name);
    if (found == NULL) return finish(REGEX_NOTHING, name, out, err);
    return finish(regex_not(pool, found->wider == NULL ? language : format_pattern(pool, found->wider)), name, out,
                  err);
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
