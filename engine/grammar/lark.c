/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Lark's grammar language as lark-parser and llguidance read it; what is refused is in docs/design/grammar-rules.md.
 *
 * Rules are in lower case, terminals in upper case. What is ignored may stand behind every terminal that a rule uses and in front of all: the rule that stands for
 * it is written there, so that the rest of the engine knows nothing of it.
 */
#include "engine/grammar/rules.h"

#include "base/text.h"

#include <string.h>

struct lark {
    struct rules_cursor cursor;
    bool in_terminal;     /* what is read belongs to a terminal */
    uint32_t ignore;      /* the rule of what may be ignored, any number of it; RULES_NONE: nothing is */
    struct bytes scratch; /* the text or pattern that is being read */
};

static bool lower(uint8_t c) {
    return c >= 'a' && c <= 'z';
}
static bool upper(uint8_t c) {
    return c >= 'A' && c <= 'Z';
}
static bool digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static enum status unsupported(struct lark *lark, uint32_t at, const char *what) {
    return rules_fail(lark->cursor.rules, STATUS_UNIMPLEMENTED, at, "%s: not supported", what);
}

/* Blanks and comments; line ends only where an expression may go on behind them. */
static void skip_space(struct rules_cursor *cursor, bool lines) {
    for (;;) {
        uint8_t c = cursor_peek(cursor, 0);
        if (c == '#' || (c == '/' && cursor_peek(cursor, 1) == '/')) {
            while ((c = cursor_peek(cursor, 0)) != 0 && c != '\n') cursor->at++;
        } else if (c == ' ' || c == '\t' || c == '\f' || c == '\r' || (lines && c == '\n')) {
            cursor->at++;
        } else {
            return;
        }
    }
}

/* A rule's or terminal's name: _?[a-z][_a-z0-9]* or _?[A-Z][_A-Z0-9]*. Empty where none begins. */
static struct bytes_view read_name(struct rules_cursor *cursor, bool *out_terminal) {
    uint32_t start = cursor->at;
    uint32_t lead = cursor_peek(cursor, 0) == '_';
    uint8_t first = cursor_peek(cursor, lead);
    *out_terminal = upper(first);
    if (!lower(first) && !upper(first)) return (struct bytes_view){0};
    bool (*letter)(uint8_t) = *out_terminal ? upper : lower;
    cursor->at += lead;
    for (uint8_t c; letter(c = cursor_peek(cursor, 0)) || digit(c) || c == '_';) cursor->at++;
    return bytes_view_of(cursor->rules->text.data + start, cursor->at - start);
}

static enum status append(struct lark *lark, uint32_t code_point) {
    uint8_t utf8[4];
    if (bytes_append(&lark->scratch, utf8, text_encode(code_point, utf8)) != STATUS_OK)
        return rules_exhausted(lark->cursor.rules, lark->cursor.at);
    return STATUS_OK;
}

/* ---- texts and patterns ---- */

static enum status read_character(struct lark *lark, uint32_t *out) {
    struct rules_cursor *cursor = &lark->cursor;
    if (cursor_skip(cursor, "\\f")) {
        *out = '\f';
        return STATUS_OK;
    }
    if (cursor_skip(cursor, "\\")) return cursor_escape(cursor, "\\/\"", out);
    *out = cursor_code_point(cursor);
    return STATUS_OK;
}

/* The characters between quotation marks, into lark->scratch. */
static enum status read_quoted(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at++;
    bytes_reset(&lark->scratch);
    while (!cursor_skip(cursor, "\"")) {
        uint32_t code_point;
        uint8_t c = cursor_peek(cursor, 0);
        if (c == 0 || c == '\n')
            return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "the text has no end on its line");
        TRY(read_character(lark, &code_point));
        TRY(append(lark, code_point));
    }
    return STATUS_OK;
}

static enum status pattern_node(struct lark *lark, uint32_t at, struct bytes_view pattern, unsigned flags,
                                uint32_t *out_node) {
    struct rules *rules = lark->cursor.rules;
    struct error err = {0};
    regex value;
    enum status status = regex_parse(rules->pool, pattern, (enum regex_flags)(flags | REGEX_LENIENT), &value, &err);
    if (status == STATUS_RESOURCE_EXHAUSTED) return rules_exhausted(rules, at);
    if (status != STATUS_OK) return rules_fail(rules, status, at, "%s", err.message);
    return rules_terminal(rules, at, value, out_node);
}

/* The text in lark->scratch, in any case: as a pattern of which every character is one by number. */
static enum status any_case_node(struct lark *lark, uint32_t at, uint32_t *out_node) {
    struct bytes text = lark->scratch;
    bytes_init(&lark->scratch, 16 * (text.length + 1));
    for (size_t i = 0; i < text.length;) {
        uint32_t code_point;
        bool valid;
        i += text_decode(text.data + i, text.length - i, &code_point, &valid);
        /* A failure shows in the buffer's own flag. */
        (void)bytes_printf(&lark->scratch, "\\u{%X}", code_point);
    }
    enum status status = lark->scratch.failed
                             ? rules_exhausted(lark->cursor.rules, at)
                             : pattern_node(lark, at, bytes_view(&lark->scratch), REGEX_IGNORE_CASE, out_node);
    bytes_deinit(&text);
    return status;
}

/* "a".."z", behind the first text, which is in lark->scratch. */
static enum status read_range(struct lark *lark, uint32_t at, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    struct rules *rules = cursor->rules;
    uint32_t ends[2];
    for (int i = 0; i < 2; i++) {
        bool valid;
        const struct bytes *text = &lark->scratch;
        if (i == 1) {
            skip_space(cursor, false);
            if (cursor_peek(cursor, 0) != '"') return cursor_expected(cursor, "a text of one character");
            TRY(read_quoted(lark));
        }
        if (text->length == 0 || text_decode(text->data, text->length, &ends[i], &valid) != text->length)
            return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "the ends of a range are one character each");
    }
    if (ends[1] < ends[0]) return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "the range ends before it begins");
    struct regex_range range = {ends[0], ends[1]};
    return rules_terminal(rules, at, regex_class(rules->pool, &range, 1, false), out_node);
}

static enum status read_text(struct lark *lark, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at;
    TRY(read_quoted(lark));
    if (cursor_skip(cursor, "i")) return any_case_node(lark, at, out_node);
    struct rules_cursor ahead = *cursor;
    skip_space(&ahead, false);
    if (cursor_skip(&ahead, "..")) {
        *cursor = ahead;
        return read_range(lark, at, out_node);
    }
    return rules_literal(cursor->rules, at, bytes_view(&lark->scratch), out_node);
}

/* The flags behind a pattern. Names what is not supported of them. */
static enum status read_flags(struct lark *lark, unsigned *out_flags) {
    struct rules_cursor *cursor = &lark->cursor;
    *out_flags = 0;
    for (;; cursor->at++) {
        switch (cursor_peek(cursor, 0)) {
        case 'i':
            *out_flags |= REGEX_IGNORE_CASE;
            break;
        case 's':
            *out_flags |= REGEX_DOT_ALL;
            break;
        case 'u':
            break;
        case 'm':
            return unsupported(lark, cursor->at, "the flag m of a pattern");
        case 'l':
            return unsupported(lark, cursor->at, "the flag l of a pattern");
        case 'x':
            return unsupported(lark, cursor->at, "the flag x of a pattern");
        default:
            return STATUS_OK;
        }
    }
}

static enum status read_pattern(struct lark *lark, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at++, code_point;
    bytes_reset(&lark->scratch);
    while (!cursor_skip(cursor, "/")) {
        uint8_t c = cursor_peek(cursor, 0);
        if (c == 0 || c == '\n')
            return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "the pattern has no end on its line");
        if (cursor_skip(cursor, "\\U")) { /* Python's; ECMA writes \u{...} */
            TRY(cursor_hex(cursor, 8, &code_point));
            if (bytes_printf(&lark->scratch, "\\u{%X}", code_point) != STATUS_OK)
                return rules_exhausted(cursor->rules, at);
            continue;
        }
        if (cursor_skip(cursor, "\\")) {
            TRY(append(lark, '\\'));
            if (cursor_peek(cursor, 0) == 0 || cursor_peek(cursor, 0) == '\n') continue;
        }
        TRY(append(lark, cursor_code_point(cursor)));
    }
    unsigned flags;
    TRY(read_flags(lark, &flags));
    return pattern_node(lark, at, bytes_view(&lark->scratch), flags, out_node);
}

/* ---- expressions ---- */

/* A terminal in a rule: what is ignored may follow it. */
static enum status with_ignore(struct lark *lark, uint32_t at, uint32_t *node) {
    struct rules *rules = lark->cursor.rules;
    if (lark->in_terminal || lark->ignore == RULES_NONE) return STATUS_OK;
    uint32_t mark = rules->pending_count, ignore;
    TRY(rules_reference(rules, at, lark->ignore, &ignore));
    TRY(rules_push(rules, at, *node));
    TRY(rules_push(rules, at, ignore));
    return rules_gather(rules, at, RULES_CONCAT, mark, node);
}

static enum status read_expansions(struct lark *lark, bool nested, uint32_t *out_node);

static enum status read_brackets(struct lark *lark, const char *close, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    TRY(cursor_enter(cursor));
    uint32_t at = cursor->at++;
    TRY(read_expansions(lark, true, out_node));
    if (cursor_peek(cursor, 0) == 0)
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "the bracket is not closed");
    if (!cursor_skip(cursor, close)) return cursor_expected(cursor, *close == ')' ? "')'" : "']'");
    cursor->depth--;
    return *close == ')' ? STATUS_OK : rules_repeat(cursor->rules, at, *out_node, 0, 1, out_node);
}

static enum status read_reference(struct lark *lark, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    struct rules *rules = cursor->rules;
    uint32_t at = cursor->at, rule;
    bool terminal;
    struct bytes_view name = read_name(cursor, &terminal);
    uint8_t second = cursor_peek(cursor, 1);
    if (cursor_peek(cursor, 0) == '{' && !digit(second) && second != ',')
        return unsupported(lark, at, "a template's use");
    if (cursor_peek(cursor, 0) == ':' && cursor_peek(cursor, 1) == ':')
        return unsupported(lark, at, "a rule with parameters");
    if (!terminal && lark->in_terminal)
        return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "a terminal cannot be made of the rule %.*s",
                          name.length > 64 ? 64 : (int)name.length, (const char *)name.data);
    TRY(rules_named(rules, at, name, &rule));
    TRY(rules_reference(rules, at, rule, out_node));
    return terminal ? with_ignore(lark, at, out_node) : STATUS_OK;
}

/* *out_there is false, and nothing read, where no item begins. */
static enum status read_item(struct lark *lark, bool *out_there, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at;
    uint8_t c = cursor_peek(cursor, 0), second = cursor_peek(cursor, 1);
    *out_there = true;
    if (c == '"') {
        TRY(read_text(lark, out_node));
        return with_ignore(lark, at, out_node);
    }
    if (c == '/') {
        TRY(read_pattern(lark, out_node));
        return with_ignore(lark, at, out_node);
    }
    if (c == '(') return read_brackets(lark, ")", out_node);
    if (c == '[') return read_brackets(lark, "]", out_node);
    if (lower(c) || upper(c) || (c == '_' && (lower(second) || upper(second)))) return read_reference(lark, out_node);
    if (c == '<') return unsupported(lark, at, "a token literal (<...>)");
    if (c == '%') return unsupported(lark, at, "an inline grammar (%json, %lark, %regex)");
    if (c == '&') return unsupported(lark, at, "the operator &");
    if (c == '~') return unsupported(lark, at, "the operator ~ in front");
    *out_there = false;
    return STATUS_OK;
}

static enum status check_bounds(struct lark *lark, uint32_t at, uint32_t min, uint32_t max) {
    if (max >= min) return STATUS_OK;
    return rules_fail(lark->cursor.rules, STATUS_INVALID_ARGUMENT, at, "at least %u times and at most %u", min, max);
}

/* ~ n or ~ n..m, behind the ~. */
static enum status read_count(struct lark *lark, uint32_t *out_min, uint32_t *out_max) {
    struct rules_cursor *cursor = &lark->cursor;
    skip_space(cursor, false);
    uint32_t at = cursor->at;
    TRY(cursor_number(cursor, out_min));
    *out_max = *out_min;
    struct rules_cursor ahead = *cursor;
    skip_space(&ahead, false);
    if (cursor_skip(&ahead, "..")) {
        *cursor = ahead;
        skip_space(cursor, false);
        TRY(cursor_number(cursor, out_max));
    }
    return check_bounds(lark, at, *out_min, *out_max);
}

/* llguidance's {n}, {n,}, {,m} and {n,m}, behind the {. */
static enum status read_braces(struct lark *lark, uint32_t *out_min, uint32_t *out_max) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at;
    *out_min = 0;
    if (cursor_peek(cursor, 0) != ',') TRY(cursor_number(cursor, out_min));
    *out_max = *out_min;
    skip_space(cursor, false);
    if (cursor_skip(cursor, ",")) {
        *out_max = REGEX_UNBOUNDED;
        skip_space(cursor, false);
        if (digit(cursor_peek(cursor, 0))) TRY(cursor_number(cursor, out_max));
        skip_space(cursor, false);
    }
    if (!cursor_skip(cursor, "}")) return cursor_expected(cursor, "'}'");
    return check_bounds(lark, at, *out_min, *out_max);
}

static enum status read_repeats(struct lark *lark, bool nested, uint32_t *node) {
    struct rules_cursor *cursor = &lark->cursor;
    for (;;) {
        skip_space(cursor, nested);
        uint32_t at = cursor->at, min = 0, max = REGEX_UNBOUNDED;
        uint8_t second = cursor_peek(cursor, 1);
        if (cursor_skip(cursor, "?")) {
            max = 1;
        } else if (cursor_skip(cursor, "+")) {
            min = 1;
        } else if (cursor_peek(cursor, 0) == '~' && (digit(second) || second == ' ')) {
            cursor->at++;
            TRY(read_count(lark, &min, &max));
        } else if (cursor_peek(cursor, 0) == '{' && (digit(second) || second == ',')) {
            cursor->at++;
            TRY(read_braces(lark, &min, &max));
        } else if (!cursor_skip(cursor, "*")) {
            return STATUS_OK;
        }
        TRY(rules_repeat(cursor->rules, at, *node, min, max, node));
    }
}

/* Items in a row, and an alias behind them, which only names what a parse tree would hold. */
static enum status read_expansion(struct lark *lark, bool nested, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    struct rules *rules = cursor->rules;
    uint32_t at = cursor->at, mark = rules->pending_count, node;
    for (;;) {
        bool there;
        skip_space(cursor, nested);
        TRY(read_item(lark, &there, &node));
        if (!there) break;
        TRY(read_repeats(lark, nested, &node));
        TRY(rules_push(rules, at, node));
    }
    if (cursor_skip(cursor, "->")) {
        bool terminal;
        skip_space(cursor, nested);
        if (read_name(cursor, &terminal).length == 0) return cursor_expected(cursor, "the alias's name");
        skip_space(cursor, nested);
    }
    return rules_gather(rules, at, RULES_CONCAT, mark, out_node);
}

/* Alternatives; the next one may stand on a line of its own that begins with |. */
static enum status read_expansions(struct lark *lark, bool nested, uint32_t *out_node) {
    struct rules_cursor *cursor = &lark->cursor;
    struct rules *rules = cursor->rules;
    uint32_t at = cursor->at, mark = rules->pending_count, node;
    for (;;) {
        TRY(read_expansion(lark, nested, &node));
        TRY(rules_push(rules, at, node));
        struct rules_cursor ahead = *cursor;
        skip_space(&ahead, true);
        if (!cursor_skip(&ahead, "|")) return rules_gather(rules, at, RULES_OR, mark, out_node);
        *cursor = ahead;
    }
}

/* ---- statements ---- */

static enum status end_of_line(struct rules_cursor *cursor) {
    skip_space(cursor, false);
    uint8_t c = cursor_peek(cursor, 0);
    return c == 0 || c == '\n' ? STATUS_OK : cursor_expected(cursor, "the end of the line");
}

static enum status define(struct lark *lark, uint32_t at, struct bytes_view name, uint32_t first_node, uint32_t node) {
    struct rules *rules = lark->cursor.rules;
    uint32_t rule;
    TRY(rules_named(rules, at, name, &rule));
    if (rules->rules[rule].node != RULES_NONE)
        return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "%.*s is defined twice",
                          name.length > 64 ? 64 : (int)name.length, (const char *)name.data);
    rules_define(rules, rule, at, first_node, node);
    return STATUS_OK;
}

/* What stands between a rule's name and its colon. */
static enum status read_head(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at, priority;
    if (cursor_peek(cursor, 0) == '{') return unsupported(lark, at, "a template's definition");
    if (cursor_peek(cursor, 0) == '[') return unsupported(lark, at, "a rule's attributes");
    if (cursor_skip(cursor, ".")) { /* a priority chooses among parses, it changes no language */
        (void)cursor_skip(cursor, "-");
        TRY(cursor_number(cursor, &priority));
    }
    skip_space(cursor, false);
    if (cursor_peek(cursor, 0) == ':' && cursor_peek(cursor, 1) == ':')
        return unsupported(lark, at, "a rule with parameters");
    return cursor_skip(cursor, ":") ? STATUS_OK : cursor_expected(cursor, "':'");
}

static enum status read_rule(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    while (cursor_peek(cursor, 0) == '!' || cursor_peek(cursor, 0) == '?') cursor->at++;
    uint32_t at = cursor->at, first_node = cursor->rules->node_count, node;
    struct bytes_view name = read_name(cursor, &lark->in_terminal);
    if (name.length == 0) return cursor_expected(cursor, "a rule, a terminal or a directive");
    TRY(read_head(lark));
    TRY(read_expansions(lark, false, &node));
    TRY(end_of_line(cursor));
    return define(lark, at, name, first_node, node);
}

static enum status import_terminal(struct lark *lark, uint32_t at, struct bytes_view name, struct bytes_view as) {
    struct rules *rules = lark->cursor.rules;
    const char *pattern = lark_common_terminal(name);
    if (pattern == NULL)
        return rules_fail(rules, STATUS_UNIMPLEMENTED, at, "there is no %.*s in common",
                          name.length > 64 ? 64 : (int)name.length, (const char *)name.data);
    uint32_t first_node = rules->node_count, node;
    TRY(pattern_node(lark, at, bytes_view_string(pattern), 0, &node));
    return define(lark, at, as, first_node, node);
}

/* common (A, B), behind the bracket. */
static enum status import_list(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    do {
        bool terminal;
        skip_space(cursor, true);
        uint32_t at = cursor->at;
        struct bytes_view name = read_name(cursor, &terminal);
        if (name.length == 0) return cursor_expected(cursor, "a terminal's name");
        TRY(import_terminal(lark, at, name, name));
        skip_space(cursor, true);
    } while (cursor_skip(cursor, ","));
    return cursor_skip(cursor, ")") ? STATUS_OK : cursor_expected(cursor, "')'");
}

static enum status read_import(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    bool terminal;
    skip_space(cursor, false);
    uint32_t at = cursor->at;
    if (!bytes_view_equal_string(read_name(cursor, &terminal), "common"))
        return unsupported(lark, at, "an import from anything but common");
    skip_space(cursor, false);
    if (cursor_skip(cursor, "(")) return import_list(lark);
    if (!cursor_skip(cursor, ".")) return cursor_expected(cursor, "'.'");
    at = cursor->at;
    struct bytes_view name = read_name(cursor, &terminal), as = name;
    skip_space(cursor, false);
    if (cursor_skip(cursor, "->")) {
        skip_space(cursor, false);
        as = read_name(cursor, &terminal);
        if (as.length == 0 || !terminal) return cursor_expected(cursor, "a terminal's name");
    }
    return import_terminal(lark, at, name, as);
}

static enum status read_ignore(struct lark *lark, uint32_t at) {
    struct rules *rules = lark->cursor.rules;
    uint32_t first_node = rules->node_count, node, rule;
    lark->in_terminal = true;
    TRY(read_expansions(lark, false, &node));
    TRY(rules_unnamed(rules, at, &rule));
    rules_define(rules, rule, at, first_node, node);
    return STATUS_OK;
}

static enum status read_directive(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    uint32_t at = cursor->at;
    enum status status;
    if (cursor_skip(cursor, "%ignore")) {
        status = read_ignore(lark, at);
    } else if (cursor_skip(cursor, "%import")) {
        status = read_import(lark);
    } else if (cursor_skip(cursor, "%declare")) {
        status = unsupported(lark, at, "%declare");
    } else if (cursor_skip(cursor, "%override")) {
        status = unsupported(lark, at, "%override");
    } else if (cursor_skip(cursor, "%extend")) {
        status = unsupported(lark, at, "%extend");
    } else if (cursor_skip(cursor, "%llguidance")) {
        skip_space(cursor, false);
        status = cursor_skip(cursor, "{}") ? STATUS_OK : unsupported(lark, at, "options of %llguidance");
    } else {
        status = rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "there is no such directive");
    }
    TRY(status);
    return end_of_line(cursor);
}

/* The rule of what is ignored, any number of it: all unnamed rules but itself. */
static enum status define_ignore(struct lark *lark) {
    struct rules *rules = lark->cursor.rules;
    uint32_t first_node = rules->node_count, mark = rules->pending_count, node;
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        if (rules->rules[i].name.length > 0 || i == lark->ignore) continue;
        TRY(rules_reference(rules, rules->rules[i].at, i, &node));
        TRY(rules_push(rules, rules->rules[i].at, node));
    }
    /* The word was there, but in a comment or a text. */
    bool none = rules->pending_count == mark;
    TRY(rules_gather(rules, 0, none ? RULES_CONCAT : RULES_OR, mark, &node));
    if (!none) TRY(rules_repeat(rules, 0, node, 0, REGEX_UNBOUNDED, &node));
    rules_define(rules, lark->ignore, 0, first_node, node);
    return STATUS_OK;
}

/* start, with what is ignored in front. */
static enum status define_start(struct lark *lark) {
    struct rules *rules = lark->cursor.rules;
    uint32_t start = rules_find(rules, bytes_view_string("start"));
    if (start == RULES_NONE) return rules_fail(rules, STATUS_INVALID_ARGUMENT, 0, "there is no rule named start");
    rules->start = start;
    if (lark->ignore == RULES_NONE) return STATUS_OK;
    uint32_t at = rules->rules[start].at, first_node = rules->node_count, mark = rules->pending_count, node;
    TRY(rules_reference(rules, at, lark->ignore, &node));
    TRY(rules_push(rules, at, node));
    TRY(rules_reference(rules, at, start, &node));
    TRY(rules_push(rules, at, node));
    TRY(rules_gather(rules, at, RULES_CONCAT, mark, &node));
    TRY(rules_unnamed(rules, at, &rules->start));
    rules_define(rules, rules->start, at, first_node, node);
    return STATUS_OK;
}

static enum status read_all(struct lark *lark) {
    struct rules_cursor *cursor = &lark->cursor;
    struct rules *rules = cursor->rules;
    TRY(rules_check_text(rules));
    if (memmem(rules->text.data, rules->text.length, "%ignore", 7) != NULL) TRY(rules_unnamed(rules, 0, &lark->ignore));
    for (;;) {
        skip_space(cursor, true);
        if (cursor->at >= rules->text.length) break;
        TRY(cursor_peek(cursor, 0) == '%' ? read_directive(lark) : read_rule(lark));
    }
    if (lark->ignore != RULES_NONE) TRY(define_ignore(lark));
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        const struct rules_rule *rule = &rules->rules[i];
        if (rule->node == RULES_NONE)
            return rules_fail(rules, STATUS_INVALID_ARGUMENT, rule->at, "%.*s is not defined",
                              rule->name.length > 64 ? 64 : (int)rule->name.length, (const char *)rule->name.data);
    }
    return define_start(lark);
}

enum status lark_parse(struct rules *rules) {
    struct lark lark = {.cursor = {.rules = rules}, .ignore = RULES_NONE};
    bytes_init(&lark.scratch, 16 * (rules->text.length + 1));
    enum status status = read_all(&lark);
    bytes_deinit(&lark.scratch);
    return status;
}
