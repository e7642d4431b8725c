/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/rules.h"

#include "base/text.h"
#include "engine/grammar/growing.h"

#include <stdarg.h>
#include <stdio.h>

void rules_init(struct rules *rules, struct regex_pool *pool, struct grammar_budget *budget, struct bytes_view text,
                struct grammar_problem *problem) {
    *rules = (struct rules){.text = text, .budget = budget, .pool = pool, .problem = problem, .start = RULES_NONE};
}

void rules_deinit(struct rules *rules) {
    growing_free(rules->budget, rules->nodes, rules->node_capacity, sizeof *rules->nodes);
    growing_free(rules->budget, rules->children, rules->child_capacity, sizeof *rules->children);
    growing_free(rules->budget, rules->texts, rules->text_capacity, 1);
    growing_free(rules->budget, rules->rules, rules->rule_capacity, sizeof *rules->rules);
    growing_free(rules->budget, rules->names, rules->name_capacity, sizeof *rules->names);
    growing_free(rules->budget, rules->pending, rules->pending_capacity, sizeof *rules->pending);
}

/* ---- messages ---- */

enum status rules_fail(struct rules *rules, enum status status, uint32_t at, const char *format, ...) {
    uint32_t line = 1, column = 1;
    for (uint32_t i = 0; i < at && i < rules->text.length; i++) {
        uint8_t byte = rules->text.data[i];
        if (byte == '\n') {
            line++;
            column = 1;
        } else if ((byte & 0xC0) != 0x80) {
            column++;
        }
    }
    struct grammar_problem *problem = rules->problem;
    *problem = (struct grammar_problem){.keyword = "grammar"};
    snprintf(problem->pointer, sizeof problem->pointer, "%u:%u", line, column);
    struct error err = {0};
    char reason[sizeof problem->reason];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    /* error_set makes a line of it that is valid UTF-8, whatever was quoted. */
    status = error_set(&err, status, "%s", reason);
    snprintf(problem->reason, sizeof problem->reason, "%s", err.message);
    return status;
}

enum status rules_exhausted(struct rules *rules, uint32_t at) {
    return rules_fail(rules, STATUS_RESOURCE_EXHAUSTED, at, "the grammar costs more than its budget");
}

/* ---- nodes ---- */

static enum status add(struct rules *rules, struct rules_node node, uint32_t *out_node) {
    if (!budget_spend(rules->budget, 1) || !growing_reserve(rules->budget, &rules->nodes, &rules->node_capacity,
                                                            (uint64_t)rules->node_count + 1, sizeof *rules->nodes))
        return rules_exhausted(rules, node.at);
    *out_node = rules->node_count;
    rules->nodes[rules->node_count++] = node;
    return STATUS_OK;
}

enum status rules_terminal(struct rules *rules, uint32_t at, regex value, uint32_t *out_node) {
    if (value == REGEX_FAILED) return rules_exhausted(rules, at);
    return add(rules, (struct rules_node){.kind = RULES_TERMINAL, .at = at, .value = value}, out_node);
}

enum status rules_literal(struct rules *rules, uint32_t at, struct bytes_view text, uint32_t *out_node) {
    /* One more, so that an empty text has an address, too. */
    uint64_t needed = (uint64_t)rules->text_count + text.length + 1;
    if (!growing_reserve(rules->budget, &rules->texts, &rules->text_capacity, needed, 1))
        return rules_exhausted(rules, at);
    uint32_t first = rules->text_count;
    if (text.length > 0) memcpy(rules->texts + first, text.data, text.length);
    rules->text_count += (uint32_t)text.length;
    return add(rules,
               (struct rules_node){.kind = RULES_LITERAL, .at = at, .first = first, .count = (uint32_t)text.length},
               out_node);
}

enum status rules_reference(struct rules *rules, uint32_t at, uint32_t rule, uint32_t *out_node) {
    return add(rules, (struct rules_node){.kind = RULES_REFERENCE, .at = at, .value = rule}, out_node);
}

enum status rules_repeat(struct rules *rules, uint32_t at, uint32_t node, uint32_t min, uint32_t max,
                         uint32_t *out_node) {
    return add(rules, (struct rules_node){.kind = RULES_REPEAT, .at = at, .value = node, .min = min, .max = max},
               out_node);
}

enum status rules_push(struct rules *rules, uint32_t at, uint32_t node) {
    if (!growing_reserve(rules->budget, &rules->pending, &rules->pending_capacity, (uint64_t)rules->pending_count + 1,
                         sizeof *rules->pending))
        return rules_exhausted(rules, at);
    rules->pending[rules->pending_count++] = node;
    return STATUS_OK;
}

enum status rules_gather(struct rules *rules, uint32_t at, enum rules_kind kind, uint32_t mark, uint32_t *out_node) {
    uint32_t count = rules->pending_count - mark, first = rules->child_count;
    if (count == 1) {
        rules->pending_count = mark;
        *out_node = rules->pending[mark];
        return STATUS_OK;
    }
    if (!growing_reserve(rules->budget, &rules->children, &rules->child_capacity, (uint64_t)first + count + 1,
                         sizeof *rules->children)) /* one more, as above */
        return rules_exhausted(rules, at);
    if (count > 0) memcpy(rules->children + first, rules->pending + mark, count * sizeof *rules->children);
    rules->child_count += count;
    rules->pending_count = mark;
    return add(rules, (struct rules_node){.kind = kind, .at = at, .first = first, .count = count}, out_node);
}

/* ---- names ---- */

static uint32_t name_hash(struct bytes_view name) {
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < name.length; i++) hash = (hash ^ name.data[i]) * 16777619U;
    return hash ^ (hash >> 15);
}

/* The place in the table where the name is, or belongs. Names that were chosen to meet in one place pay for it. */
static uint32_t name_slot(const struct rules *rules, struct bytes_view name) {
    enum { PROBES_OF_FUEL = 8 };
    uint32_t slot = name_hash(name) & (rules->name_capacity - 1), probes = 0;
    for (; rules->names[slot] != 0 && !bytes_view_equal(rules->rules[rules->names[slot] - 1].name, name); probes++)
        slot = (slot + 1) & (rules->name_capacity - 1);
    (void)budget_spend(rules->budget, probes / PROBES_OF_FUEL); /* seen by whoever spends next */
    return slot;
}

uint32_t rules_find(const struct rules *rules, struct bytes_view name) {
    return rules->name_capacity == 0 ? RULES_NONE : rules->names[name_slot(rules, name)] - 1;
}

static bool names_grow(struct rules *rules) {
    uint32_t capacity = rules->name_capacity == 0 ? 32 : 2 * rules->name_capacity;
    if (capacity == 0 || !budget_reserve(rules->budget, capacity * sizeof *rules->names)) return false;
    uint32_t *names = calloc(capacity, sizeof *names);
    if (names == NULL) return false;
    growing_free(rules->budget, rules->names, rules->name_capacity, sizeof *rules->names);
    rules->names = names;
    rules->name_capacity = capacity;
    for (uint32_t i = 0; i < rules->rule_count; i++)
        if (rules->rules[i].name.length > 0) names[name_slot(rules, rules->rules[i].name)] = i + 1;
    return true;
}

static enum status add_rule(struct rules *rules, uint32_t at, struct bytes_view name) {
    if (!budget_spend(rules->budget, 1) || !growing_reserve(rules->budget, &rules->rules, &rules->rule_capacity,
                                                            (uint64_t)rules->rule_count + 1, sizeof *rules->rules))
        return rules_exhausted(rules, at);
    rules->rules[rules->rule_count++] = (struct rules_rule){.name = name, .at = at, .node = RULES_NONE};
    return STATUS_OK;
}

enum status rules_unnamed(struct rules *rules, uint32_t at, uint32_t *out_rule) {
    *out_rule = rules->rule_count;
    return add_rule(rules, at, (struct bytes_view){0});
}

enum status rules_named(struct rules *rules, uint32_t at, struct bytes_view name, uint32_t *out_rule) {
    if (2 * ((uint64_t)rules->rule_count + 1) > rules->name_capacity && !names_grow(rules))
        return rules_exhausted(rules, at);
    uint32_t slot = name_slot(rules, name);
    if (rules->names[slot] == 0) {
        TRY(add_rule(rules, at, name));
        rules->names[slot] = rules->rule_count;
    }
    *out_rule = rules->names[slot] - 1;
    return STATUS_OK;
}

void rules_define(struct rules *rules, uint32_t rule, uint32_t at, uint32_t first_node, uint32_t node) {
    rules->rules[rule].at = at;
    rules->rules[rule].first_node = first_node;
    rules->rules[rule].node = node;
}

/* ---- the cursor ---- */

enum status rules_check_text(struct rules *rules) {
    struct bytes_view text = rules->text;
    if (text.length > INT32_MAX) return rules_fail(rules, STATUS_INVALID_ARGUMENT, 0, "the grammar is too long");
    for (size_t i = 0; i < text.length;) {
        uint32_t code_point;
        bool valid;
        size_t bytes = text_decode(text.data + i, text.length - i, &code_point, &valid);
        if (!valid || code_point == 0)
            return rules_fail(rules, STATUS_INVALID_ARGUMENT, (uint32_t)i, "the grammar is not UTF-8 text");
        i += bytes;
    }
    return STATUS_OK;
}

uint8_t cursor_peek(const struct rules_cursor *cursor, uint32_t ahead) {
    size_t at = (size_t)cursor->at + ahead;
    return at < cursor->rules->text.length ? cursor->rules->text.data[at] : 0;
}

bool cursor_skip(struct rules_cursor *cursor, const char *text) {
    uint32_t length = 0;
    for (; text[length] != 0; length++)
        if (cursor_peek(cursor, length) != (uint8_t)text[length]) return false;
    cursor->at += length;
    return true;
}

uint32_t cursor_code_point(struct rules_cursor *cursor) {
    struct bytes_view text = cursor->rules->text;
    uint32_t code_point = 0;
    bool valid;
    if (cursor->at < text.length)
        cursor->at += (uint32_t)text_decode(text.data + cursor->at, text.length - cursor->at, &code_point, &valid);
    return code_point;
}

enum status cursor_hex(struct rules_cursor *cursor, uint32_t digits, uint32_t *out) {
    uint32_t value = 0, at = cursor->at;
    for (uint32_t i = 0; i < digits; i++, cursor->at++) {
        uint8_t c = cursor_peek(cursor, 0);
        uint32_t digit = c >= '0' && c <= '9'   ? c - (uint32_t)'0'
                         : c >= 'a' && c <= 'f' ? c - (uint32_t)'a' + 10
                         : c >= 'A' && c <= 'F' ? c - (uint32_t)'A' + 10
                                                : 16;
        if (digit == 16) return cursor_expected(cursor, "a hex digit");
        value = value << 4 | digit;
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "U+%04X is no Unicode scalar value", value);
    *out = value;
    return STATUS_OK;
}

enum status cursor_escape(struct rules_cursor *cursor, const char *themselves, uint32_t *out) {
    uint8_t c = cursor_peek(cursor, 0);
    uint32_t at = cursor->at - 1;
    cursor->at++;
    switch (c) {
    case 'x':
        return cursor_hex(cursor, 2, out);
    case 'u':
        return cursor_hex(cursor, 4, out);
    case 'U':
        return cursor_hex(cursor, 8, out);
    case 'n':
        *out = '\n';
        return STATUS_OK;
    case 'r':
        *out = '\r';
        return STATUS_OK;
    case 't':
        *out = '\t';
        return STATUS_OK;
    default:
        break;
    }
    if (c == 0 || strchr(themselves, c) == NULL)
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at,
                          "there is no such escape (the dialects differ in what it would mean)");
    *out = c;
    return STATUS_OK;
}

enum status cursor_number(struct rules_cursor *cursor, uint32_t *out) {
    uint64_t value = 0;
    uint32_t at = cursor->at;
    for (uint8_t c; (c = cursor_peek(cursor, 0)) >= '0' && c <= '9'; cursor->at++) {
        value = value * 10 + (uint64_t)(c - '0');
        if (value >= UINT32_MAX)
            return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, at, "the number is too large");
    }
    if (cursor->at == at) return cursor_expected(cursor, "a number");
    *out = (uint32_t)value;
    return STATUS_OK;
}

enum status cursor_expected(struct rules_cursor *cursor, const char *what) {
    struct bytes_view text = cursor->rules->text;
    if (cursor->at >= text.length)
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, cursor->at, "%s is expected, not the end", what);
    if (text.data[cursor->at] == '\n' || text.data[cursor->at] == '\r')
        return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, cursor->at, "%s is expected, not the end of the line",
                          what);
    struct rules_cursor end = *cursor;
    cursor_code_point(&end);
    return rules_fail(cursor->rules, STATUS_INVALID_ARGUMENT, cursor->at, "%s is expected, not '%.*s'", what,
                      (int)(end.at - cursor->at), (const char *)text.data + cursor->at);
}

enum status cursor_enter(struct rules_cursor *cursor) {
    if (++cursor->depth > RULES_DEPTH_MAX)
        return rules_fail(cursor->rules, STATUS_RESOURCE_EXHAUSTED, cursor->at,
                          "more than %d brackets inside each other", RULES_DEPTH_MAX);
    return STATUS_OK;
}
