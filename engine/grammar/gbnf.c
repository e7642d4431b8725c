/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* GBNF, the dialect of llama.cpp's grammars/README.md and parser; what differs is in docs/design/grammar-rules.md. */
#include "engine/grammar/growing.h"
#include "engine/grammar/rules.h"

#include "base/text.h"

struct gbnf {
    struct rules_cursor cursor;
    struct regex_range *ranges; /* of the class that is being read */
    uint32_t range_count, range_capacity;
    struct bytes literal; /* the text that is being read */
};

static bool name_byte(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Blanks and comments; line ends only where an expression may go on behind them. */
static void skip_space(struct rules_cursor *cursor, bool lines) {
    for (;;) {
        uint8_t c = cursor_peek(cursor, 0);
        if (c == '#') {
            while ((c = cursor_peek(cursor, 0)) != 0 && c != '\n' && c != '\r') cursor->at++;
        } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
            cursor->at++;
        } else {
            return;
        }
    }
}

static struct bytes_view read_name(struct rules_cursor *cursor) {
    uint32_t start = cursor->at;
    while (name_byte(cursor_peek(cursor, 0))) cursor->at++;
    return bytes_view_of(cursor->rules->text.data + start, cursor->at - start);
}

/* One character of a text or class, escapes read. */
static enum status read_character(struct rules_cursor *cursor, uint32_t *out) {
    /* llama.cpp has no way to write a class that begins with ^; this one is ours */
    if (cursor_skip(cursor, "\\")) return cursor_escape(cursor, "\\\"[]^-", out);
    if (cursor_peek(cursor, 0) == 0) return cursor_expected(cursor, "a character");
    *out = cursor_code_point(cursor);
    return STATUS_OK;
}

static enum status read_literal(struct gbnf *gbnf, uint32_t *out_node) {
    struct rules_cursor *cursor = &gbnf->cursor;
    uint32_t at = cursor->at++;
    bytes_reset(&gbnf->literal);
    while (!cursor_skip(cursor, "\"")) {
        uint32_t code_point;
        if (cursor_peek(cursor, 0) == 0)
            return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "the text has no end");
        TRY(read_character(cursor, &code_point));
        uint8_t utf8[4];
        if (bytes_append(&gbnf->literal, utf8, text_encode(code_point, utf8)) != STATUS_OK)
            return rules_exhausted(cursor->rules, at);
    }
    return rules_literal(cursor->rules, at, bytes_view(&gbnf->literal), out_node);
}

static enum status read_class(struct gbnf *gbnf, uint32_t *out_node) {
    struct rules_cursor *cursor = &gbnf->cursor;
    struct rules *rules = cursor->rules;
    uint32_t at = cursor->at++;
    bool inverted = cursor_skip(cursor, "^");
    gbnf->range_count = 0;
    while (!cursor_skip(cursor, "]")) {
        struct regex_range range;
        uint32_t range_at = cursor->at;
        if (cursor_peek(cursor, 0) == 0) return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "the class has no end");
        TRY(read_character(cursor, &range.first));
        range.last = range.first;
        if (cursor_peek(cursor, 0) == '-' && cursor_peek(cursor, 1) != ']') {
            cursor->at++;
            TRY(read_character(cursor, &range.last));
        }
        if (range.last < range.first)
            return rules_fail(rules, STATUS_INVALID_ARGUMENT, range_at, "the range ends before it begins");
        if (!growing_reserve(rules->budget, &gbnf->ranges, &gbnf->range_capacity, (uint64_t)gbnf->range_count + 1,
                             sizeof *gbnf->ranges))
            return rules_exhausted(rules, range_at);
        gbnf->ranges[gbnf->range_count++] = range;
    }
    if (gbnf->range_count == 0) return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "the class is empty");
    return rules_terminal(rules, at, regex_class(rules->pool, gbnf->ranges, gbnf->range_count, inverted), out_node);
}

static enum status read_alternatives(struct gbnf *gbnf, bool nested, uint32_t *out_node);

static enum status read_group(struct gbnf *gbnf, uint32_t *out_node) {
    struct rules_cursor *cursor = &gbnf->cursor;
    TRY(cursor_enter(cursor));
    uint32_t at = cursor->at++;
    skip_space(cursor, true);
    TRY(read_alternatives(gbnf, true, out_node));
    if (cursor_peek(cursor, 0) == 0)
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "the bracket is not closed");
    if (!cursor_skip(cursor, ")")) return cursor_expected(cursor, "')'");
    cursor->depth--;
    return STATUS_OK;
}

/* *out_there is false, and nothing read, where no item begins. */
static enum status read_item(struct gbnf *gbnf, bool *out_there, uint32_t *out_node) {
    struct rules_cursor *cursor = &gbnf->cursor;
    struct rules *rules = cursor->rules;
    uint32_t at = cursor->at, rule;
    uint8_t c = cursor_peek(cursor, 0);
    *out_there = true;
    if (c == '"') return read_literal(gbnf, out_node);
    if (c == '[') return read_class(gbnf, out_node);
    if (c == '(') return read_group(gbnf, out_node);
    if (c == '<' || c == '!')
        return rules_fail(rules, STATUS_UNIMPLEMENTED, at, "token literals (<...>, <[id]>) are not supported");
    if (c == '.') {
        cursor->at++;
        return rules_terminal(rules, at, regex_class(rules->pool, NULL, 0, true), out_node);
    }
    if (name_byte(c)) {
        TRY(rules_named(rules, at, read_name(cursor), &rule));
        return rules_reference(rules, at, rule, out_node);
    }
    *out_there = false;
    return STATUS_OK;
}

/* What stands between { and }: m, m, or m,n. */
static enum status read_bounds(struct rules_cursor *cursor, bool nested, uint32_t *out_min, uint32_t *out_max) {
    uint32_t at = cursor->at;
    skip_space(cursor, nested);
    TRY(cursor_number(cursor, out_min));
    *out_max = *out_min;
    skip_space(cursor, nested);
    if (cursor_skip(cursor, ",")) {
        *out_max = REGEX_UNBOUNDED;
        skip_space(cursor, nested);
        if (cursor_peek(cursor, 0) != '}') TRY(cursor_number(cursor, out_max));
        skip_space(cursor, nested);
    }
    if (!cursor_skip(cursor, "}")) return cursor_expected(cursor, "'}'");
    if (*out_max < *out_min)
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "at least %u times and at most %u", *out_min,
                          *out_max);
    return STATUS_OK;
}

/* Any number of * + ? {m,n} behind an item. */
static enum status read_repeats(struct gbnf *gbnf, bool nested, uint32_t *node) {
    struct rules_cursor *cursor = &gbnf->cursor;
    for (;;) {
        skip_space(cursor, nested);
        uint32_t at = cursor->at, min = 0, max = REGEX_UNBOUNDED;
        if (cursor_skip(cursor, "?")) {
            max = 1;
        } else if (cursor_skip(cursor, "+")) {
            min = 1;
        } else if (cursor_skip(cursor, "{")) {
            TRY(read_bounds(cursor, nested, &min, &max));
        } else if (!cursor_skip(cursor, "*")) {
            return STATUS_OK;
        }
        TRY(rules_repeat(cursor->rules, at, *node, min, max, node));
    }
}

static enum status read_sequence(struct gbnf *gbnf, bool nested, uint32_t *out_node) {
    struct rules *rules = gbnf->cursor.rules;
    uint32_t at = gbnf->cursor.at, mark = rules->pending_count, node;
    for (;;) {
        bool there;
        TRY(read_item(gbnf, &there, &node));
        if (!there) break;
        TRY(read_repeats(gbnf, nested, &node));
        TRY(rules_push(rules, at, node));
    }
    return rules_gather(rules, at, RULES_CONCAT, mark, out_node);
}

static enum status read_alternatives(struct gbnf *gbnf, bool nested, uint32_t *out_node) {
    struct rules *rules = gbnf->cursor.rules;
    uint32_t at = gbnf->cursor.at, mark = rules->pending_count, node;
    for (;;) {
        TRY(read_sequence(gbnf, nested, &node));
        TRY(rules_push(rules, at, node));
        /* llama.cpp wants the | on the line that it ends; others let it begin one. */
        struct rules_cursor ahead = gbnf->cursor;
        skip_space(&ahead, true);
        if (!cursor_skip(&ahead, "|")) return rules_gather(rules, at, RULES_OR, mark, out_node);
        skip_space(&ahead, true);
        gbnf->cursor = ahead;
    }
}

static enum status read_rule(struct gbnf *gbnf) {
    struct rules_cursor *cursor = &gbnf->cursor;
    struct rules *rules = cursor->rules;
    uint32_t at = cursor->at, rule, node, first_node = rules->node_count;
    struct bytes_view name = read_name(cursor);
    if (name.length == 0) return cursor_expected(cursor, "the name of a rule");
    TRY(rules_named(rules, at, name, &rule));
    if (rules->rules[rule].node != RULES_NONE)
        return rules_fail(rules, STATUS_INVALID_ARGUMENT, at, "the rule %.*s is defined twice",
                          name.length > 64 ? 64 : (int)name.length, (const char *)name.data);
    skip_space(cursor, false);
    if (!cursor_skip(cursor, "::=")) return cursor_expected(cursor, "'::='");
    skip_space(cursor, true);
    TRY(read_alternatives(gbnf, false, &node));
    uint8_t c = cursor_peek(cursor, 0);
    if (c != 0 && c != '\n' && c != '\r') return cursor_expected(cursor, "the end of the rule");
    rules_define(rules, rule, at, first_node, node);
    skip_space(cursor, true);
    return STATUS_OK;
}

enum status gbnf_parse(struct rules *rules) {
    struct gbnf gbnf = {.cursor = {.rules = rules}};
    bytes_init(&gbnf.literal, rules->text.length + 1);
    enum status status = rules_check_text(rules);
    skip_space(&gbnf.cursor, true);
    while (status == STATUS_OK && gbnf.cursor.at < rules->text.length) status = read_rule(&gbnf);
    bytes_deinit(&gbnf.literal);
    growing_free(rules->budget, gbnf.ranges, gbnf.range_capacity, sizeof *gbnf.ranges);
    TRY(status);
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        const struct rules_rule *rule = &rules->rules[i];
        if (rule->node == RULES_NONE)
            return rules_fail(rules, STATUS_INVALID_ARGUMENT, rule->at, "the rule %.*s is not defined",
                              rule->name.length > 64 ? 64 : (int)rule->name.length, (const char *)rule->name.data);
    }
    rules->start = rules_find(rules, bytes_view_string("root"));
    if (rules->start == RULES_NONE) return rules_fail(rules, STATUS_INVALID_ARGUMENT, 0, "there is no rule named root");
    return STATUS_OK;
}
