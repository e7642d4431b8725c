/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Patterns of ECMA-262 section 22.2.1 (and annex B where only that reads them) as trees. */
#include "engine/grammar/regex_pattern.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { NODE_NONE = UINT32_MAX };

bool pattern_fail(struct pattern *pattern, enum status status, size_t position, const char *what) {
    if (pattern->status == STATUS_OK)
        pattern->status = error_set(pattern->err, status, "the pattern '%.*s' at byte %zu: %s",
                                    (int)(pattern->text.length < 64 ? pattern->text.length : 64),
                                    pattern->text.length > 0 ? (const char *)pattern->text.data : "", position, what);
    return false;
}

bool pattern_exhausted(struct pattern *pattern) {
    bool budget = budget_exhausted(pattern->pool->budget);
    return pattern_fail(pattern, STATUS_RESOURCE_EXHAUSTED, pattern->at,
                        budget ? "it costs more than the grammar's budget" : "it is nested too deeply, or too large");
}

static uint32_t add_node(struct pattern *pattern, const struct pattern_node *node) {
    struct regex_pool *pool = pattern->pool;
    if (!budget_spend(pool->budget, 1) ||
        !regex_grow(pool, &pattern->nodes, &pattern->node_capacity, pattern->node_count + 1, sizeof *pattern->nodes)) {
        pattern_exhausted(pattern);
        return NODE_NONE;
    }
    pattern->nodes[pattern->node_count] = *node;
    return pattern->node_count++;
}

static bool push(struct pattern *pattern, uint32_t node) {
    if (node == NODE_NONE) return false;
    if (!regex_grow(pattern->pool, &pattern->stack, &pattern->stack_capacity, pattern->stack_count + 1,
                    sizeof *pattern->stack))
        return pattern_exhausted(pattern);
    pattern->stack[pattern->stack_count++] = node;
    return true;
}

/** The nodes above `base` on the stack become children; a single one stays itself. */
static uint32_t gather(struct pattern *pattern, enum pattern_kind kind, uint32_t base) {
    uint32_t count = pattern->stack_count - base;
    pattern->stack_count = base;
    if (count == 1) return pattern->stack[base];
    struct pattern_node node = {.kind = (uint8_t)kind, .child = pattern->link_count, .count = count};
    node.position = pattern->at;
    if (!regex_grow(pattern->pool, &pattern->links, &pattern->link_capacity, pattern->link_count + count,
                    sizeof *pattern->links)) {
        pattern_exhausted(pattern);
        return NODE_NONE;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t child = pattern->stack[base + i];
        node.asserts = node.asserts || pattern->nodes[child].asserts;
        pattern->links[pattern->link_count++] = child;
    }
    return add_node(pattern, &node);
}

static uint32_t parse_alternatives(struct pattern *pattern);

/* ---- groups ---- */

/** Behind "(?<": a name and '>'. */
static bool skip_name(struct pattern *pattern) {
    size_t start = pattern->at;
    uint32_t c = 0;
    while (pattern->at < pattern->text.length) {
        if (!pattern_next(pattern, &c)) return false;
        if (c == '>') break;
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c >= 128;
        bool digit = c >= '0' && c <= '9' && pattern->at > start + 1;
        if (!word && !digit) return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "a group's name is not one");
    }
    if (c != '>' || pattern->at == start + 1)
        return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "a group's name does not end");
    return true;
}

/** "(?ims-ims:" or, leniently, "(?ims)". False when it is none; *out_closed when it has no body. */
static bool parse_modifiers(struct pattern *pattern, bool *out_closed) {
    size_t start = pattern->at;
    unsigned flags = pattern->flags;
    bool off = false;
    for (; pattern->at < pattern->text.length; pattern->at++) {
        uint8_t c = pattern->text.data[pattern->at];
        unsigned flag = c == 'i' ? REGEX_IGNORE_CASE : c == 's' ? REGEX_DOT_ALL : 0;
        if (c == '-' && !off)
            off = true;
        else if (flag != 0)
            flags = off ? flags & ~flag : flags | flag;
        else if (c == 'm')
            return pattern_fail(pattern, STATUS_UNIMPLEMENTED, start, "the modifier m");
        else
            break;
    }
    *out_closed = pattern_looking_at(pattern, ")");
    bool body = pattern_looking_at(pattern, ":") && pattern->at > start;
    if (!body && !(*out_closed && (pattern->flags & REGEX_LENIENT) != 0 && pattern->at > start))
        return pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "no group begins so");
    pattern->at++;
    pattern->flags = flags;
    return true;
}

/** Behind "(?". Sets the kind of look-around, or SEQUENCE for a plain group. */
static bool parse_group_kind(struct pattern *pattern, struct pattern_node *node, bool *out_closed) {
    static const struct {
        const char *text;
        uint8_t kind;
        bool negative, named, lenient;
    } kinds[] = {
        {"=", PATTERN_AHEAD, false, false, false},   {"!", PATTERN_AHEAD, true, false, false},
        {"<=", PATTERN_BEHIND, false, false, false}, {"<!", PATTERN_BEHIND, true, false, false},
        {"<", PATTERN_SEQUENCE, false, true, false}, {":", PATTERN_SEQUENCE, false, false, false},
        {"P<", PATTERN_SEQUENCE, false, true, true}, {">", PATTERN_SEQUENCE, false, false, true},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!pattern_looking_at(pattern, kinds[i].text)) continue;
        if (kinds[i].lenient && (pattern->flags & REGEX_LENIENT) == 0) continue;
        pattern->at += strlen(kinds[i].text);
        node->kind = kinds[i].kind;
        node->negative = kinds[i].negative;
        return !kinds[i].named || skip_name(pattern);
    }
    return parse_modifiers(pattern, out_closed);
}

/** Behind '('. */
static uint32_t parse_group(struct pattern *pattern, bool *out_quantifiable) {
    size_t start = pattern->at - 1;
    struct pattern_node node = {.kind = PATTERN_SEQUENCE, .position = start, .asserts = true};
    unsigned flags = pattern->flags;
    bool closed = false;
    if (pattern_looking_at(pattern, "?")) {
        pattern->at++;
        if (!parse_group_kind(pattern, &node, &closed)) return NODE_NONE;
        /* "(?i)": for the rest of the group around it */
        if (closed) {
            *out_quantifiable = false;
            return gather(pattern, PATTERN_SEQUENCE, pattern->stack_count);
        }
    }
    if (++pattern->group_depth > PATTERN_GROUPS_MAX) {
        pattern_fail(pattern, STATUS_RESOURCE_EXHAUSTED, start, "groups are nested more than 200 deep");
        return NODE_NONE;
    }
    node.child = parse_alternatives(pattern);
    pattern->group_depth--;
    if (node.child == NODE_NONE) return NODE_NONE;
    if (!pattern_looking_at(pattern, ")")) {
        pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "a group is not closed");
        return NODE_NONE;
    }
    pattern->at++;
    pattern->flags = flags;
    if (node.kind == PATTERN_SEQUENCE) return node.child;
    *out_quantifiable = node.kind == PATTERN_AHEAD;
    return add_node(pattern, &node);
}

/* ---- atoms ---- */

static uint32_t add_set(struct pattern *pattern, uint32_t set) {
    if (set == REGEX_SET_FAILED) {
        if (pattern->status == STATUS_OK) pattern_exhausted(pattern);
        return NODE_NONE;
    }
    return add_node(pattern, &(struct pattern_node){.kind = PATTERN_SET, .set = set, .position = pattern->at});
}

static uint32_t add_character(struct pattern *pattern, uint32_t code_point) {
    pattern->range_count = 0;
    if (!pattern_add_range(pattern, code_point, code_point)) return NODE_NONE;
    return add_set(pattern, pattern_take_set(pattern, false));
}

static uint32_t add_assertion(struct pattern *pattern, enum pattern_kind kind) {
    return add_node(pattern,
                    &(struct pattern_node){.kind = (uint8_t)kind, .asserts = true, .position = pattern->at - 1});
}

static uint32_t parse_escape(struct pattern *pattern, bool *out_quantifiable) {
    pattern->range_count = 0;
    struct escape escape = pattern_escape(pattern, false);
    switch (escape.kind) {
    case ESCAPE_CHARACTER:
        return add_character(pattern, escape.code_point);
    case ESCAPE_SET:
        return add_set(pattern, pattern_take_set(pattern, false));
    case ESCAPE_NODE:
        *out_quantifiable = false;
        return add_node(pattern, &escape.node);
    default:
        return NODE_NONE;
    }
}

static bool is_quantifier(const struct pattern *pattern, size_t at);

static uint32_t parse_atom(struct pattern *pattern, bool *out_quantifiable) {
    size_t start = pattern->at;
    if (is_quantifier(pattern, start)) {
        pattern_fail(pattern, STATUS_INVALID_ARGUMENT, start, "there is nothing to repeat");
        return NODE_NONE;
    }
    uint32_t c;
    if (!pattern_next(pattern, &c)) return NODE_NONE;
    switch (c) {
    case '(':
        return parse_group(pattern, out_quantifiable);
    case '[':
        return add_set(pattern, pattern_class(pattern));
    case '\\':
        return parse_escape(pattern, out_quantifiable);
    case '.':
        return add_set(pattern, pattern_dot(pattern));
    case '^':
    case '$':
        *out_quantifiable = false;
        return add_assertion(pattern, c == '^' ? PATTERN_START : PATTERN_END);
    default:
        return add_character(pattern, c);
    }
}

/* ---- repeats ---- */

/** Digits at `*at`, saturating. False without any. */
static bool parse_count(const struct pattern *pattern, size_t *at, uint32_t *out) {
    uint64_t value = 0;
    size_t start = *at;
    for (; *at < pattern->text.length; ++*at) {
        uint8_t c = pattern->text.data[*at];
        if (c < '0' || c > '9') break;
        value = value * 10 + (c - '0');
        if (value > REGEX_UNBOUNDED) value = REGEX_UNBOUNDED;
    }
    *out = (uint32_t)value;
    return *at > start;
}

static bool byte_is(const struct pattern *pattern, size_t at, char c) {
    return at < pattern->text.length && pattern->text.data[at] == (uint8_t)c;
}

/** {n} {n,} {n,m} at `at`; else the brace is a character. Returns its bytes, 0 for none. */
static size_t parse_braces(const struct pattern *pattern, size_t at, uint32_t *min, uint32_t *max) {
    size_t start = at;
    if (!byte_is(pattern, at++, '{') || !parse_count(pattern, &at, min)) return 0;
    *max = *min;
    if (byte_is(pattern, at, ',')) {
        at++;
        if (!parse_count(pattern, &at, max)) *max = REGEX_UNBOUNDED;
    }
    return byte_is(pattern, at, '}') ? at + 1 - start : 0;
}

static size_t parse_quantifier(const struct pattern *pattern, size_t at, uint32_t *min, uint32_t *max) {
    *max = REGEX_UNBOUNDED;
    *min = byte_is(pattern, at, '+');
    if (byte_is(pattern, at, '*') || byte_is(pattern, at, '+')) return 1;
    if (byte_is(pattern, at, '?')) {
        *max = 1;
        return 1;
    }
    return parse_braces(pattern, at, min, max);
}

static bool is_quantifier(const struct pattern *pattern, size_t at) {
    uint32_t min, max;
    return parse_quantifier(pattern, at, &min, &max) > 0;
}

/** The quantifier behind an atom, if there is one. */
static uint32_t parse_repeat(struct pattern *pattern, uint32_t atom, bool quantifiable) {
    struct pattern_node node = {.kind = PATTERN_REPEAT, .child = atom, .position = pattern->at};
    size_t length = parse_quantifier(pattern, pattern->at, &node.min, &node.max);
    if (length == 0 || atom == NODE_NONE) return atom;
    if (!quantifiable) {
        pattern_fail(pattern, STATUS_INVALID_ARGUMENT, pattern->at, "there is nothing to repeat");
        return NODE_NONE;
    }
    if (node.min > node.max) {
        pattern_fail(pattern, STATUS_INVALID_ARGUMENT, pattern->at, "a repeat's least is above its most");
        return NODE_NONE;
    }
    pattern->at += length;
    bool possessive = (pattern->flags & REGEX_LENIENT) != 0 && byte_is(pattern, pattern->at, '+');
    if (byte_is(pattern, pattern->at, '?') || possessive) pattern->at++; /* lazy: the same texts */
    if (node.min == REGEX_UNBOUNDED) node.min--;
    node.asserts = pattern->nodes[atom].asserts;
    return add_node(pattern, &node);
}

/* ---- sequences and alternatives ---- */

static uint32_t parse_sequence(struct pattern *pattern) {
    uint32_t base = pattern->stack_count;
    while (pattern->at < pattern->text.length && !byte_is(pattern, pattern->at, '|') &&
           !byte_is(pattern, pattern->at, ')')) {
        bool quantifiable = true;
        uint32_t atom = parse_atom(pattern, &quantifiable);
        if (!push(pattern, parse_repeat(pattern, atom, quantifiable))) return NODE_NONE;
    }
    return gather(pattern, PATTERN_SEQUENCE, base);
}

static uint32_t parse_alternatives(struct pattern *pattern) {
    uint32_t base = pattern->stack_count;
    unsigned flags = pattern->flags;
    for (;;) {
        if (!push(pattern, parse_sequence(pattern))) return NODE_NONE;
        if (!byte_is(pattern, pattern->at, '|')) break;
        pattern->at++;
    }
    pattern->flags = flags;
    return gather(pattern, PATTERN_ALTERNATIVES, base);
}

uint32_t pattern_parse(struct pattern *pattern) {
    uint32_t root = parse_alternatives(pattern);
    if (root != NODE_NONE && pattern->at < pattern->text.length) {
        pattern_fail(pattern, STATUS_INVALID_ARGUMENT, pattern->at, "a parenthesis closes nothing");
        return NODE_NONE;
    }
    return root;
}

static void release(struct pattern *pattern) {
    pattern->pool->budget->bytes +=
        (int64_t)(pattern->node_capacity * sizeof *pattern->nodes + pattern->link_capacity * sizeof *pattern->links +
                  pattern->stack_capacity * sizeof *pattern->stack + pattern->range_capacity * sizeof *pattern->ranges);
    free(pattern->nodes);
    free(pattern->links);
    free(pattern->stack);
    free(pattern->ranges);
}

enum status regex_parse(struct regex_pool *pool, struct bytes_view text, enum regex_flags flags, regex *out,
                        struct error *err) {
    struct pattern pattern = {.pool = pool, .text = text, .flags = flags, .err = err, .capture_count = -1};
    pattern.word_set = REGEX_SET_FAILED;
    uint32_t root = pattern_parse(&pattern);
    regex made = REGEX_FAILED;
    if (root != NODE_NONE) {
        pattern.flags = flags;
        made = pattern_compile(&pattern, root);
        if (made != REGEX_FAILED) made = regex_settle(pool, made);
        if (made == REGEX_FAILED && pattern.status == STATUS_OK) pattern_exhausted(&pattern);
    }
    release(&pattern);
    if (pattern.status != STATUS_OK) return pattern.status;
    *out = made;
    return STATUS_OK;
}
