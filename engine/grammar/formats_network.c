/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Names, addresses and identifiers of the net. */
#include "engine/grammar/formats_internal.h"

/* ---- IPv6 ---- */

enum { GROUPS = 8 };

struct groups {
    regex one, colon, ipv4;
};

/** Behind "::": none to `most` groups, an IPv4 address being two. Told from the right, so that each tail is made once. */
static void make_tails(struct regex_pool *pool, const struct groups *groups, regex tails[GROUPS]) {
    regex shorter = REGEX_NOTHING;
    for (int most = 0; most < GROUPS; most++) {
        regex some = REGEX_NOTHING;
        if (most > 0) {
            const regex next[] = {groups->colon, shorter};
            regex more = regex_or(pool, REGEX_EMPTY, format_sequence(pool, next, 2));
            some = regex_concat(pool, groups->one, more);
        }
        if (most > 1) some = regex_or(pool, some, groups->ipv4);
        tails[most] = regex_or(pool, REGEX_EMPTY, some);
        shorter = some;
    }
}

regex format_ipv6(struct regex_pool *pool) {
    const struct groups groups = {
        .one = format_pattern(pool, HEX "{1,4}"),
        .colon = format_pattern(pool, ":"),
        .ipv4 = format_pattern(pool, FORMAT_IPV4),
    };
    regex tails[GROUPS];
    make_tails(pool, &groups, tails);
    regex after = REGEX_EMPTY; /* behind `read` groups */
    for (int read = GROUPS - 1; read > 0; read--) {
        regex next = regex_concat(pool, groups.one, after);
        if (read == GROUPS - 2) next = regex_or(pool, next, groups.ipv4);
        regex gap = regex_concat(pool, groups.colon, tails[GROUPS - 1 - read]);
        after = regex_concat(pool, groups.colon, regex_or(pool, next, gap));
    }
    const regex leading_gap[] = {groups.colon, groups.colon, tails[GROUPS - 1]};
    return regex_or(pool, regex_concat(pool, groups.one, after), format_sequence(pool, leading_gap, 3));
}

/* ---- names ---- */

regex format_names(struct regex_pool *pool, regex label, regex dot, uint32_t most) {
    uint32_t more = most == REGEX_UNBOUNDED ? most : most - 1;
    return regex_concat(pool, label, regex_repeat(pool, regex_concat(pool, dot, label), 0, more));
}

regex format_hostname(struct regex_pool *pool) {
    regex names = format_names(pool, format_pattern(pool, LABEL("58")), format_pattern(pool, "\\."), REGEX_UNBOUNDED);
    return regex_and(pool, names, regex_length(pool, 1, 253));
}

/* ---- mail ---- */

#define MAIL_LABEL "[\\dA-Za-z](?:[\\dA-Za-z-]{0,61}[\\dA-Za-z])?"
enum { LOCAL_MAX = 64, DOMAIN_MAX = 254 - LOCAL_MAX - 1 };

/** Dot-string or quoted-string of characters up to `last`, at most `length` of them. */
static regex local_part(struct regex_pool *pool, uint32_t last, uint32_t length) {
    const struct regex_range ascii[] = {{'!', '!'}, {'#', '\''}, {'*', '+'}, {'-', '-'}, {'/', '9'},
                                        {'=', '='}, {'?', '?'},  {'A', 'Z'}, {'^', '~'}, {0x80, last}};
    const struct regex_range quoted[] = {{' ', '!'}, {'#', '['}, {']', '~'}, {0x80, last}};
    size_t without_last = last < 0x80;
    regex atom = regex_repeat(pool, regex_class(pool, ascii, sizeof ascii / sizeof ascii[0] - without_last, false), 1,
                              REGEX_UNBOUNDED);
    regex more = regex_concat(pool, format_pattern(pool, "\\."), atom);
    regex plain = regex_class(pool, quoted, sizeof quoted / sizeof quoted[0] - without_last, false);
    const regex string[] = {
        format_pattern(pool, "\""),
        regex_repeat(pool, regex_or(pool, plain, format_pattern(pool, "\\\\[ -~]")), 0, REGEX_UNBOUNDED),
        format_pattern(pool, "\""),
    };
    regex dotted = regex_concat(pool, atom, regex_repeat(pool, more, 0, REGEX_UNBOUNDED));
    return regex_and(pool, regex_or(pool, dotted, format_sequence(pool, string, 3)), regex_length(pool, 1, length));
}

/** ASCII domains and address literals. */
static regex mail_domain(struct regex_pool *pool) {
    const regex address[] = {
        format_pattern(pool, "\\["),
        regex_or(pool, format_pattern(pool, FORMAT_IPV4),
                 regex_concat(pool, format_pattern(pool, "[Ii][Pp][Vv]6:"), format_ipv6(pool))),
        format_pattern(pool, "\\]"),
    };
    regex names = format_names(pool, format_pattern(pool, MAIL_LABEL), format_pattern(pool, "\\."), REGEX_UNBOUNDED);
    return regex_or(pool, regex_and(pool, names, regex_length(pool, 1, DOMAIN_MAX)), format_sequence(pool, address, 3));
}

regex format_email(struct regex_pool *pool) {
    const regex parts[] = {local_part(pool, 0x7F, LOCAL_MAX), format_pattern(pool, "@"), mail_domain(pool)};
    return format_sequence(pool, parts, 3);
}

regex format_idn_email(struct regex_pool *pool) {
    /* 64 octets are 16 characters whatever they are */
    regex local = regex_or(pool, local_part(pool, 0x7F, LOCAL_MAX), local_part(pool, 0x10FFFF, LOCAL_MAX / 4));
    const regex parts[] = {local, format_pattern(pool, "@"),
                           regex_or(pool, mail_domain(pool), format_idn_hostname(pool))};
    return format_sequence(pool, parts, 3);
}

/* ---- identifiers ---- */

/* RFC 3986 appendix A; `ucs` and `private` are empty there, and ucschar and iprivate in RFC 3987. What the RFC tells by several forms of paths is
 * here: anything in the class may follow once the first characters have said which form it is. */
#define PLAIN "\\w.~!$&'()*+,;=\\-"
#define OF(class) "(?:[" class "]|" PERCENT ")"
#define QUERY(ucs, private) "(?:\\?" OF(PLAIN ":@/?" ucs private) "*)?(?:#" OF(PLAIN ":@/?" ucs) "*)?"
#define USER(ucs) "//(?:" OF(PLAIN ":" ucs) "*@)?"
#define REGISTERED(ucs) OF(PLAIN ucs) "*"
#define BEHIND_HOST(ucs) "(?::\\d*)?(?:/" OF(PLAIN ":@/" ucs) "*)?"
#define PATH(ucs) "/?(?:" OF(PLAIN ":@" ucs) OF(PLAIN ":@/" ucs) "*)?"
#define PATH_NO_SCHEME(ucs) \
    "(?:/(?:" OF(PLAIN ":@" ucs) OF(PLAIN ":@/" ucs) "*)?|" OF(PLAIN "@" ucs) "+(?:/" OF(PLAIN ":@/" ucs) "*)?)?"
#define FUTURE "[Vv]" HEX "+\\.[" PLAIN ":]+"

struct identifier {
    const char *user, *registered, *behind_host, *path, *path_no_scheme, *query;
};
#define IDENTIFIER(ucs, private) \
    { USER(ucs), REGISTERED(ucs), BEHIND_HOST(ucs), PATH(ucs), PATH_NO_SCHEME(ucs), QUERY(ucs, private) }
static const struct identifier ascii = IDENTIFIER("", ""), international = IDENTIFIER(UCS, UCS_PRIVATE);

static regex authority(struct regex_pool *pool, const struct identifier *identifier) {
    const regex literal[] = {
        format_pattern(pool, "\\["),
        regex_or(pool, format_ipv6(pool), format_pattern(pool, FUTURE)),
        format_pattern(pool, "\\]"),
    };
    const regex parts[] = {
        format_pattern(pool, identifier->user),
        regex_or(pool, format_pattern(pool, identifier->registered), format_sequence(pool, literal, 3)),
        format_pattern(pool, identifier->behind_host),
    };
    return format_sequence(pool, parts, 3);
}

static regex identifier_regex(struct regex_pool *pool, const struct identifier *identifier, bool relative) {
    regex scheme = format_pattern(pool, "[A-Za-z][\\dA-Za-z+.-]*:"), host = authority(pool, identifier);
    regex made = regex_concat(pool, scheme, regex_or(pool, host, format_pattern(pool, identifier->path)));
    if (relative) made = regex_or(pool, made, regex_or(pool, host, format_pattern(pool, identifier->path_no_scheme)));
    return regex_concat(pool, made, format_pattern(pool, identifier->query));
}

regex format_uri(struct regex_pool *pool) {
    return identifier_regex(pool, &ascii, false);
}
regex format_uri_reference(struct regex_pool *pool) {
    return identifier_regex(pool, &ascii, true);
}
regex format_iri(struct regex_pool *pool) {
    return identifier_regex(pool, &international, false);
}
regex format_iri_reference(struct regex_pool *pool) {
    return identifier_regex(pool, &international, true);
}
