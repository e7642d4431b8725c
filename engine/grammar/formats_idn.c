/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Internationalized host names, from below: what is here is valid by RFC 5890 to 5893, much that is valid is not here.
 *
 * Characters: the letters and digits of a few scripts, all PVALID. RFC 5892's contextual ones occur inside of small units that hold the context: "l" MIDDLE DOT "l".
 * NFC: marks that compose with what is before them are left out, those that reorder (Thai) are in order.
 * Bidi: a name with letters written from the right (Hebrew, Arabic) has only such labels, and ASCII ones that begin with a letter.
 *
 * Length: the A-label ("xn--" and Punycode) has at most 63 octets. RFC 3492's delta of a character takes at most 1, 2, 3, 4, 5, 6 digits when it is at most
 * 0, 35, 1265, 29104, 289877, 2915916, whatever the bias, and the deltas of n characters sum up to at most (last - 0x80 + 1) * (n + 1). So
 *     11 characters to U+D7A3 take at most 11 * 5 + 2 digits, and
 *     16 of one small alphabet at most 4 + 15 * 3 + 2: a delta leads there, those inside of it are small.
 * So no label has more than 61 octets, and a name of four no more than 247 (253 may be). */
#include "engine/grammar/formats_internal.h"

enum { LABEL_MAX = 11, ALPHABET_LABEL_MAX = 16, LABELS_MAX = 4 };

/* ---- from the left ---- */

#define ASCII "a-z\\d"
/* Small letters of Latin-1 and Latin Extended-A but those with a compatibility mapping. */
#define LATIN                                                                                                     \
    "\\u00df-\\u00f6\\u00f8-\\u00ff\\u0101\\u0103\\u0105\\u0107\\u0109\\u010b\\u010d\\u010f\\u0111\\u0113\\u0115" \
    "\\u0117\\u0119\\u011b\\u011d\\u011f\\u0121\\u0123\\u0125\\u0127\\u0129\\u012b\\u012d\\u012f\\u0131\\u0135"   \
    "\\u0137\\u0138\\u013a\\u013c\\u013e\\u0142\\u0144\\u0146\\u0148\\u014b\\u014d\\u014f\\u0151\\u0153\\u0155"   \
    "\\u0157\\u0159\\u015b\\u015d\\u015f\\u0161\\u0163\\u0165\\u0167\\u0169\\u016b\\u016d\\u016f\\u0171\\u0173"   \
    "\\u0175\\u0177\\u017a\\u017c\\u017e"
#define GREEK "\\u0390\\u03ac-\\u03ce"
#define CYRILLIC "\\u0430-\\u045f"
#define OTHERS "\\u0561-\\u0586\\u06f0-\\u06f9\\u0f0b\\u10d0-\\u10fa"
#define KANA_AND_HAN "\\u3005\\u3007\\u3041-\\u3096\\u30a1-\\u30fa\\u3400-\\u4db5\\u4e00-\\u9fef"
#define EAST_ASIAN KANA_AND_HAN "\\u3006\\u309d\\u309e\\u30fc-\\u30fe\\uac00-\\ud7a3"

#define MIDDLE_DOT "l(?:\\u00b7l)+"
#define KERAIA "\\u0375[" GREEK "]"
#define KATAKANA_DOT "\\u30fb[" KANA_AND_HAN "]\\u30fb?|[" KANA_AND_HAN "]\\u30fb"
/* A virama may be followed by a joiner. */
#define DEVANAGARI                                                                               \
    "[\\u0904-\\u0928\\u092a-\\u0930\\u0932\\u0933\\u0935-\\u0939\\u093d\\u0950\\u0966-\\u096f]" \
    "(?:[\\u0901-\\u0903\\u093e-\\u094c]|\\u094d[\\u200c\\u200d]?)*"
/* A letter, a vowel above, one below (class 103), a tone (class 107), and what stands on top: no mark begins a label. */
#define THAI                                                                                                           \
    "[\\u0e01-\\u0e30\\u0e32\\u0e40-\\u0e46\\u0e50-\\u0e59][\\u0e31\\u0e34-\\u0e37\\u0e47]?[\\u0e38\\u0e39]?[\\u0e48-" \
    "\\u0e4b]?"                                                                                                        \
    "[\\u0e4c-\\u0e4e]?"

#define MIXED \
    "[" ASCII LATIN GREEK CYRILLIC OTHERS EAST_ASIAN "]|" MIDDLE_DOT "|" KERAIA "|" KATAKANA_DOT "|" DEVANAGARI "|" THAI

/* ---- from the right ---- */

#define HEBREW "[\\u05d0-\\u05ea][\\u05f3\\u05f4]*"
/* Letters that join on both sides, and those that join on the right only. */
#define ARABIC_DUAL                                        \
    "\\u0626\\u0628\\u062a-\\u062e\\u0633-\\u063f\\u0641-" \
    "\\u0647\\u0649\\u064a\\u067e\\u0686\\u06a9\\u06af\\u06be\\u06c1\\u06cc"
#define ARABIC_RIGHT "\\u0622-\\u0625\\u0627\\u0629\\u062f-\\u0632\\u0648\\u0691\\u0698\\u06ba\\u06d2\\u06fd\\u06fe"
#define ARABIC \
    "[" ARABIC_DUAL ARABIC_RIGHT "]|[" ARABIC_DUAL "](?:\\u200c[" ARABIC_DUAL "])*\\u200c[" ARABIC_DUAL ARABIC_RIGHT "]"
#define DOT "[.\\u3002\\uff0e\\uff61]"

/** `first`, then units with at most one hyphen between: none at an end, no two. At most `length` characters. */
static regex label(struct regex_pool *pool, regex first, regex unit, uint32_t length) {
    regex more = regex_concat(pool, format_pattern(pool, "-?"), unit);
    return regex_and(pool, regex_concat(pool, first, regex_repeat(pool, more, 0, REGEX_UNBOUNDED)),
                     regex_length(pool, 1, length));
}
static regex left_label(struct regex_pool *pool, const char *unit, uint32_t length) {
    regex made = format_pattern(pool, unit);
    return label(pool, made, made, length);
}
/** A letter first, and digits of one kind. */
static regex right_label(struct regex_pool *pool, regex letter, const char *digit) {
    return label(pool, letter, regex_or(pool, letter, format_pattern(pool, digit)), ALPHABET_LABEL_MAX);
}

static regex any_of(struct regex_pool *pool, const regex *choices, size_t count) {
    regex made = REGEX_NOTHING;
    for (size_t i = 0; i < count; i++) made = regex_or(pool, made, choices[i]);
    return made;
}

regex format_idn_hostname(struct regex_pool *pool) {
    regex arabic = format_pattern(pool, ARABIC), dot = format_pattern(pool, DOT);
    const regex left[] = {
        format_pattern(pool, LABEL("56")),
        left_label(pool, MIXED, LABEL_MAX),
        left_label(pool, "[" ASCII LATIN "]|" MIDDLE_DOT, ALPHABET_LABEL_MAX),
        left_label(pool, "[" ASCII GREEK "]", ALPHABET_LABEL_MAX),
        left_label(pool, "[" ASCII CYRILLIC "]", ALPHABET_LABEL_MAX),
    };
    const regex right[] = {
        format_pattern(pool, "[A-Za-z]" LABEL_AFTER("56")),
        right_label(pool, format_pattern(pool, HEBREW), "\\d"),
        right_label(pool, arabic, "[\\d\\u06f0-\\u06f9]"),
        right_label(pool, arabic, "[\\u0660-\\u0669]"),
    };
    regex from_left = format_names(pool, any_of(pool, left, sizeof left / sizeof left[0]), dot, LABELS_MAX);
    regex from_right = format_names(pool, any_of(pool, right, sizeof right / sizeof right[0]), dot, LABELS_MAX);
    return regex_or(pool, regex_or(pool, from_left, from_right), format_hostname(pool));
}
