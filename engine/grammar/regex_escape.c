/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What stands behind a backslash, and classes in brackets. */
#include "engine/grammar/regex_pattern.h"

#include "base/text.h"

#include <string.h>

bool pattern_next(struct pattern *pattern, uint32_t *out_code_point) {
    if (pattern->at >= pattern->text.length)
        return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, pattern->at, "it ends too early");
    bool valid = true;
    size_t length =
        text_decode(pattern->text.data + pattern->at, pattern->text.length - pattern->at, out_code_point, &valid);
    if (!valid) return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, pattern->at, "it is not UTF-8");
    pattern->at += length;
    return true;
}

bool pattern_looking_at(const struct pattern *pattern, const char *text) {
    size_t length = strlen(text);
    return pattern->text.length - pattern->at >= length && memcmp(pattern->text.data + pattern->at, text, length) == 0;
}

bool pattern_add_range(struct pattern *pattern, uint32_t first, uint32_t last) {
    if (!regex_grow(pattern->pool, &pattern->ranges, &pattern->range_capacity, pattern->range_count + 1,
                    sizeof *pattern->ranges))
        return pattern_exhausted(pattern);
    pattern->ranges[pattern->range_count++] = (struct regex_range){first, last};
    return true;
}

static bool add_ranges(struct pattern *pattern, const struct regex_range *ranges, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!pattern_add_range(pattern, ranges[i].first, ranges[i].last)) return false;
    return true;
}

uint32_t pattern_take_set(struct pattern *pattern, bool inverted) {
    struct regex_pool *pool = pattern->pool;
    bool fold = (pattern->flags & REGEX_IGNORE_CASE) != 0;
    uint32_t set = regex_set_make(pool, pattern->ranges, pattern->range_count, inverted && !fold);
    if (fold) set = regex_set_fold(pool, set);
    return fold && inverted ? regex_set_not(pool, set) : set;
}

uint32_t pattern_dot(struct pattern *pattern) {
    static const struct regex_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    if ((pattern->flags & REGEX_DOT_ALL) != 0) return REGEX_SET_ANY;
    return regex_set_make(pattern->pool, line_ends, 3, true);
}

/* ---- \d \w \s and their opposites ---- */

static const struct regex_range digits[] = {{'0', '9'}};
static const struct regex_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct regex_range blanks[] = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                            {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                            {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

bool pattern_add_word(struct pattern *pattern) {
    if (!add_ranges(pattern, word, 4)) return false;
    if ((pattern->flags & REGEX_IGNORE_CASE) == 0) return true;
    return pattern_add_range(pattern, 0x17F, 0x17F) && pattern_add_range(pattern, 0x212A, 0x212A);
}

/** Replace the ranges from `base` on by what they leave. */
static bool invert_from(struct pattern *pattern, uint32_t base) {
    uint32_t set = regex_set_make(pattern->pool, pattern->ranges + base, pattern->range_count - base, true);
    if (set == REGEX_SET_FAILED) return pattern_exhausted(pattern);
    pattern->range_count = base;
    const struct regex_set *inverse = &pattern->pool->sets[set];
    return add_ranges(pattern, inverse->ranges, inverse->count);
}

static bool add_class_escape(struct pattern *pattern, uint32_t letter) {
    uint32_t base = pattern->range_count;
    bool ok = letter == 'd' || letter == 'D'   ? add_ranges(pattern, digits, 1)
              : letter == 'w' || letter == 'W' ? pattern_add_word(pattern)
                                               : add_ranges(pattern, blanks, sizeof blanks / sizeof blanks[0]);
    return ok && (letter >= 'a' || invert_from(pattern, base));
}

/** Behind \p or \P: {Name}, {Name=Value}. */
static bool add_property(struct pattern *pattern, bool inverted) {
    size_t start = pattern->at, end = start + 1;
    struct bytes_view name = {0}, value = {0};
    const uint8_t *text = pattern->text.data;
    if (start < pattern->text.length && text[start] == '{') {
        while (end < pattern->text.length && text[end] != '}') end++;
        if (end >= pattern->text.length) end = start + 1;
        name = bytes_view_of(text + start + 1, end - start - 1);
        pattern->at = end + 1;
    } else if ((pattern->flags & REGEX_LENIENT) != 0 && start < pattern->text.length) {
        name = bytes_view_of(text + start, 1);
        pattern->at = end;
    }
    const uint8_t *equals = name.length > 0 ? memchr(name.data, '=', name.length) : NULL;
    if (equals != NULL) {
        value = bytes_view_of(equals + 1, (size_t)(name.data + name.length - equals - 1));
        name.length = (size_t)(equals - name.data);
    }
    uint32_t base = pattern->range_count;
    bool missing = equals != NULL && (value.length == 0 || name.length == 0);
    enum property_result result = missing ? PROPERTY_UNKNOWN : pattern_add_property(pattern, name, value);
    if (result == PROPERTY_UNKNOWN)
        return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "no property of characters has that name");
    if (result == PROPERTY_FAILED) return pattern_exhausted(pattern);
    return !inverted || invert_from(pattern, base);
}

/* ---- numbers ---- */

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** Exactly `count` digits at `at`. */
static bool hex_at(const struct pattern *pattern, size_t at, int count, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < count; i++, at++) {
        int value = at < pattern->text.length ? hex_value(pattern->text.data[at]) : -1;
        if (value < 0) return false;
        *out = *out * 16 + (uint32_t)value;
    }
    return true;
}

/** Behind \u. A pair of surrogates is one character; a lone one is a character that no text has. */
static bool unicode_escape(struct pattern *pattern, uint32_t *out) {
    uint32_t low;
    if (pattern_looking_at(pattern, "{")) {
        size_t at = pattern->at + 1;
        *out = 0;
        for (; at < pattern->text.length && hex_value(pattern->text.data[at]) >= 0; at++) {
            if (*out <= REGEX_CODE_POINT_LAST) *out = *out * 16 + (uint32_t)hex_value(pattern->text.data[at]);
        }
        if (at == pattern->at + 1 || at >= pattern->text.length || pattern->text.data[at] != '}') return false;
        if (*out > REGEX_CODE_POINT_LAST) return false;
        pattern->at = at + 1;
        return true;
    }
    if (!hex_at(pattern, pattern->at, 4, out)) return false;
    pattern->at += 4;
    bool pair = *out >= 0xD800 && *out < 0xDC00 && pattern_looking_at(pattern, "\\u") &&
                hex_at(pattern, pattern->at + 2, 4, &low) && low >= 0xDC00 && low < 0xE000;
    if (pair) {
        *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
        pattern->at += 6;
    }
    return true;
}

/** Groups that capture, and whether one has a name: what \1 and \k mean depends on all of the pattern. */
static void count_captures(struct pattern *pattern) {
    bool in_class = false;
    pattern->capture_count = 0;
    for (size_t i = 0; i < pattern->text.length; i++) {
        uint8_t c = pattern->text.data[i];
        const uint8_t *next = pattern->text.data + i + 1;
        size_t left = pattern->text.length - i - 1;
        if (c == '\\')
            i++;
        else if (c == '[' || c == ']')
            in_class = c == '[';
        else if (c == '(' && !in_class) {
            bool named = left >= 3 && next[0] == '?' &&
                         ((next[1] == '<' && next[2] != '=' && next[2] != '!') || (next[1] == 'P' && next[2] == '<'));
            pattern->capture_count += left == 0 || next[0] != '?' || named;
            pattern->has_names |= named;
        }
    }
}

/** \1 to \9: a group's text, which is no regular language; else annex B's octal number, or the digit. */
static bool digit_escape(struct pattern *pattern, uint32_t first, bool in_class, uint32_t *out) {
    size_t start = pattern->at - 1;
    const uint8_t *text = pattern->text.data;
    if (pattern->capture_count < 0) count_captures(pattern);
    if (!in_class && first != '0') {
        int number = 0;
        for (size_t i = start; i < pattern->text.length && text[i] >= '0' && text[i] <= '9' && number < 100000; i++)
            number = number * 10 + (text[i] - '0');
        if (number <= pattern->capture_count)
            return pattern_fail(pattern, STATUS_UNIMPLEMENTED, start - 1, "a reference to a group's text");
    }
    *out = first;
    if (first >= '8') return true;
    *out = first - '0';
    for (int i = first <= '3' ? 2 : 1; i > 0 && pattern->at < pattern->text.length; i--) {
        uint8_t c = text[pattern->at];
        if (c < '0' || c > '7') break;
        *out = *out * 8 + (c - '0');
        pattern->at++;
    }
    return true;
}

/* ---- one escape ---- */

static struct escape failed(void) {
    return (struct escape){.kind = ESCAPE_FAILED};
}
static struct escape character(uint32_t code_point) {
    return (struct escape){.kind = ESCAPE_CHARACTER, .code_point = code_point};
}
static struct escape set_or_failed(bool ok) {
    return (struct escape){.kind = ok ? ESCAPE_SET : ESCAPE_FAILED};
}

static struct escape assertion(const struct pattern *pattern, enum pattern_kind kind, bool negative) {
    struct escape escape = {.kind = ESCAPE_NODE};
    escape.node = (struct pattern_node){
        .kind = (uint8_t)kind, .negative = negative, .asserts = true, .position = pattern->at - 2};
    return escape;
}

/** Spellings of other dialects. ESCAPE_FAILED: none of them. */
static struct escape lenient_escape(struct pattern *pattern, uint32_t letter, bool in_class) {
    switch (letter) {
    case 'A':
        return in_class ? failed() : assertion(pattern, PATTERN_START, false);
    case 'Z':
    case 'z':
        return in_class ? failed() : assertion(pattern, PATTERN_END, false);
    case 'h':
        return set_or_failed(pattern_add_range(pattern, ' ', ' ') && pattern_add_range(pattern, '\t', '\t'));
    case 'a':
        return character(7);
    case 'e':
        return character(0x1B);
    default:
        return failed();
    }
}

/** \cX; else annex B: a backslash. */
static struct escape control_escape(struct pattern *pattern) {
    uint8_t c = pattern->at < pattern->text.length ? pattern->text.data[pattern->at] : 0;
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
        pattern->at++;
        return character(c % 32);
    }
    pattern->at--;
    return character('\\');
}

static struct escape name_escape(struct pattern *pattern) {
    if (pattern->capture_count < 0) count_captures(pattern);
    if (!pattern->has_names) return character('k');
    const uint8_t *rest = pattern->text.data + pattern->at;
    size_t left = pattern->text.length - pattern->at;
    bool name = left > 2 && rest[0] == '<' && memchr(rest + 2, '>', left - 2) != NULL;
    pattern_fail(pattern, name ? STATUS_UNIMPLEMENTED : STATUS_INVALID_ARGUMENT, pattern->at - 2,
                 "a reference to a group's text");
    return failed();
}

struct escape pattern_escape(struct pattern *pattern, bool in_class) {
    uint32_t c, value = 0;
    if (!pattern_next(pattern, &c)) return failed();
    if (c >= '0' && c <= '9') return digit_escape(pattern, c, in_class, &value) ? character(value) : failed();
    switch (c) {
    case 'd':
    case 'D':
    case 'w':
    case 'W':
    case 's':
    case 'S':
        return set_or_failed(add_class_escape(pattern, c));
    case 'p':
    case 'P':
        return set_or_failed(add_property(pattern, c == 'P'));
    case 'b':
    case 'B':
        if (in_class) return character(c == 'b' ? '\b' : c);
        return assertion(pattern, PATTERN_WORD_EDGE, c == 'B');
    case 't':
        return character('\t');
    case 'n':
        return character('\n');
    case 'v':
        return character('\v');
    case 'f':
        return character('\f');
    case 'r':
        return character('\r');
    case 'c':
        return control_escape(pattern);
    case 'x':
        if (!hex_at(pattern, pattern->at, 2, &value)) return character(c);
        pattern->at += 2;
        return character(value);
    case 'u':
        return character(unicode_escape(pattern, &value) ? value : c);
    case 'k':
        return in_class ? character(c) : name_escape(pattern);
    default:
        break;
    }
    bool anchor = (pattern->flags & REGEX_ANCHORS) != 0 && (c == 'A' || c == 'Z' || c == 'z');
    if ((pattern->flags & REGEX_LENIENT) != 0 || anchor) {
        struct escape other = lenient_escape(pattern, c, in_class);
        if (other.kind != ESCAPE_FAILED) return other;
    }
    return character(c);
}

/* ---- classes ---- */

static bool add_posix(struct pattern *pattern, struct bytes_view name) {
    static const struct {
        const char *name;
        struct regex_range ranges[4];
    } classes[] = {
        {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
        {"digit", {{'0', '9'}}},
        {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
        {"upper", {{'A', 'Z'}}},
        {"lower", {{'a', 'z'}}},
        {"space", {{'\t', '\r'}, {' ', ' '}}},
        {"blank", {{'\t', '\t'}, {' ', ' '}}},
        {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
        {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
        {"cntrl", {{1, 31}, {127, 127}}},
        {"print", {{' ', '~'}}},
        {"graph", {{'!', '~'}}},
        {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (!bytes_view_equal_string(name, classes[i].name)) continue;
        for (int k = 0; k < 4 && classes[i].ranges[k].last != 0; k++)
            if (!pattern_add_range(pattern, classes[i].ranges[k].first, classes[i].ranges[k].last)) return false;
        return true;
    }
    return false;
}

/** "[:name:]" inside a class, leniently. */
static bool posix_class(struct pattern *pattern) {
    if ((pattern->flags & REGEX_LENIENT) == 0 || !pattern_looking_at(pattern, "[:")) return false;
    const uint8_t *start = pattern->text.data + pattern->at + 2;
    const uint8_t *end = memmem(start, pattern->text.length - pattern->at - 2, ":]", 2);
    if (end == NULL || !add_posix(pattern, bytes_view_of(start, (size_t)(end - start)))) return false;
    pattern->at = (size_t)(end - pattern->text.data) + 2;
    return true;
}

/** One member of a class: a character, or a set whose ranges are added. */
static enum escape_kind class_atom(struct pattern *pattern, uint32_t *out) {
    if (posix_class(pattern)) return ESCAPE_SET;
    if (!pattern_next(pattern, out)) return ESCAPE_FAILED;
    if (*out != '\\') return ESCAPE_CHARACTER;
    struct escape escape = pattern_escape(pattern, true);
    *out = escape.code_point;
    return escape.kind;
}

/** A member, or a range of two; beside a set a '-' is a character (annex B). */
static bool class_member(struct pattern *pattern) {
    uint32_t first, last;
    enum escape_kind kind = class_atom(pattern, &first);
    if (kind == ESCAPE_FAILED) return false;
    bool range = pattern_looking_at(pattern, "-") && !pattern_looking_at(pattern, "-]");
    if (!range) return kind == ESCAPE_SET || pattern_add_range(pattern, first, first);
    size_t start = pattern->at++;
    enum escape_kind other = class_atom(pattern, &last);
    if (other == ESCAPE_FAILED) return false;
    if (kind == ESCAPE_CHARACTER && other == ESCAPE_CHARACTER) {
        if (first > last)
            return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "a range of characters runs backwards");
        return pattern_add_range(pattern, first, last);
    }
    return (kind == ESCAPE_SET || pattern_add_range(pattern, first, first)) && pattern_add_range(pattern, '-', '-') &&
           (other == ESCAPE_SET || pattern_add_range(pattern, last, last));
}

uint32_t pattern_class(struct pattern *pattern) {
    size_t start = pattern->at - 1;
    pattern->range_count = 0;
    bool inverted = pattern_looking_at(pattern, "^");
    pattern->at += inverted;
    while (!pattern_looking_at(pattern, "]")) {
        if (pattern->at >= pattern->text.length) {
            pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "a class is not closed");
            return REGEX_SET_FAILED;
        }
        if (!budget_spend(pattern->pool->budget, 1)) {
            pattern_exhausted(pattern);
            return REGEX_SET_FAILED;
        }
        if (!class_member(pattern)) return REGEX_SET_FAILED;
    }
    pattern->at++;
    return pattern_take_set(pattern, inverted);
}
