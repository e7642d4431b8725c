/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What stands before a place: ^, \b and look-behind ask for it. One character back is enough for nearly all of them, so the characters are cut into blocks that
 * none of a pattern's assertions tells apart, and the rest of a text is compiled once for each block. */
#include "engine/grammar/regex_pattern.h"

/* ---- finding the contexts ---- */

/** Every block is cut into what is in `set` and what is not. */
static bool cut_blocks(struct pattern *pattern, uint32_t set) {
    struct regex_pool *pool = pattern->pool;
    for (uint32_t i = 1, end = pattern->contexts; i < end; i++) {
        uint32_t in = regex_set_and(pool, pattern->blocks[i], set);
        uint32_t out = regex_set_and(pool, pattern->blocks[i], regex_set_not(pool, set));
        if (in == REGEX_SET_FAILED || out == REGEX_SET_FAILED) return pattern_exhausted(pattern);
        if (pool->sets[in].count == 0 || pool->sets[out].count == 0) continue;
        if (pattern->contexts == CONTEXTS_MAX)
            return pattern_fail(pattern, STATUS_UNIMPLEMENTED, 0, "its look-behinds tell too many characters apart");
        pattern->blocks[i] = in;
        pattern->blocks[pattern->contexts++] = out;
    }
    return true;
}

bool behind_is_single(const struct pattern *pattern, uint32_t id) {
    const struct pattern_node *node = &pattern->nodes[id];
    if (node->kind == PATTERN_SET || node->kind == PATTERN_START) return true;
    if (node->kind != PATTERN_ALTERNATIVES) return false;
    for (uint32_t i = 0; i < node->count; i++)
        if (!behind_is_single(pattern, pattern->links[node->child + i])) return false;
    return true;
}

static bool cut_for_behind(struct pattern *pattern, uint32_t id) {
    struct pattern_node node = pattern->nodes[id];
    if (node.kind == PATTERN_SET) return cut_blocks(pattern, node.set);
    if (node.kind != PATTERN_ALTERNATIVES) return true;
    for (uint32_t i = 0; i < node.count; i++)
        if (!cut_for_behind(pattern, pattern->links[node.child + i])) return false;
    return true;
}

static bool make_word_set(struct pattern *pattern) {
    if (pattern->word_set != REGEX_SET_FAILED) return true;
    pattern->range_count = 0;
    if (!pattern_add_word(pattern)) return false;
    pattern->word_set = regex_set_make(pattern->pool, pattern->ranges, pattern->range_count, false);
    return pattern->word_set != REGEX_SET_FAILED || pattern_exhausted(pattern);
}

bool contexts_find(struct pattern *pattern) {
    bool back = false;
    for (uint32_t i = 0; i < pattern->node_count && !back; i++) {
        uint8_t kind = pattern->nodes[i].kind;
        back = kind == PATTERN_START || kind == PATTERN_WORD_EDGE || kind == PATTERN_BEHIND;
    }
    pattern->contexts = back ? 2 : 1;
    pattern->blocks[1] = REGEX_SET_ANY;
    for (uint32_t i = 0; i < pattern->node_count && back; i++) {
        struct pattern_node node = pattern->nodes[i];
        if (node.kind == PATTERN_WORD_EDGE && !(make_word_set(pattern) && cut_blocks(pattern, pattern->word_set)))
            return false;
        if (node.kind == PATTERN_BEHIND && behind_is_single(pattern, node.child) &&
            !cut_for_behind(pattern, node.child))
            return false;
    }
    return true;
}

bool behind_holds(const struct pattern *pattern, uint32_t id, uint32_t context) {
    const struct pattern_node *node = &pattern->nodes[id];
    if (node->kind == PATTERN_START) return context == 0;
    if (node->kind == PATTERN_SET) {
        if (context == 0) return false;
        const struct regex_set *block = &pattern->pool->sets[pattern->blocks[context]];
        return regex_set_has(&pattern->pool->sets[node->set], block->ranges[0].first);
    }
    for (uint32_t i = 0; i < node->count; i++)
        if (behind_holds(pattern, pattern->links[node->child + i], context)) return true;
    return false;
}

/* ---- joining ---- */

static regex ends_in(struct regex_pool *pool, regex r, uint32_t set, int depth);

/** A chain's texts end where its tail does, or before a tail that is empty. */
static regex concat_ends_in(struct regex_pool *pool, const struct regex_node *node, uint32_t set, int depth) {
    regex in_tail = regex_make_concat(pool, node->head, ends_in(pool, node->tail, set, depth + 1));
    if (!regex_has(pool, node->tail, REGEX_NULLABLE) || in_tail == REGEX_FAILED) return in_tail;
    regex in_head = ends_in(pool, node->head, set, depth + 1);
    return in_head == REGEX_FAILED ? in_head : regex_make_or(pool, in_tail, in_head);
}

/** Its texts that end in a character of `set`. */
static regex ends_in(struct regex_pool *pool, regex r, uint32_t set, int depth) {
    struct regex_node node = *regex_node(pool, r);
    if (set == REGEX_SET_FAILED) return REGEX_FAILED;
    switch (depth < 100 ? node.kind : REGEX_KIND_AND) {
    case REGEX_KIND_NOTHING:
    case REGEX_KIND_EMPTY:
        return REGEX_NOTHING;
    case REGEX_KIND_CLASS:
        return regex_make_class(pool, regex_set_and(pool, node.set, set));
    case REGEX_KIND_CONCAT:
        return concat_ends_in(pool, &node, set, depth);
    case REGEX_KIND_REPEAT: {
        regex before = regex_make_repeat(pool, node.body, node.min > 0 ? node.min - 1 : 0,
                                         node.max == REGEX_UNBOUNDED ? node.max : node.max - 1);
        return regex_make_concat(pool, before, ends_in(pool, node.body, set, depth + 1));
    }
    case REGEX_KIND_OR: {
        regex all = REGEX_NOTHING;
        for (uint32_t i = 0; i < node.count && all != REGEX_FAILED; i++) {
            regex one = ends_in(pool, node.children[i], set, depth + 1);
            all = one == REGEX_FAILED ? one : regex_make_or(pool, all, one);
        }
        return all;
    }
    default:
        return regex_make_and(pool, r, regex_make_concat(pool, REGEX_EVERYTHING, regex_make_class(pool, set)));
    }
}

regex context_join(struct pattern *pattern, regex first, const struct family *rest, uint32_t before) {
    struct regex_pool *pool = pattern->pool;
    if (first == REGEX_FAILED || first == REGEX_NOTHING) return first;
    bool uniform = true, nullable = regex_has(pool, first, REGEX_NULLABLE);
    for (uint32_t i = 2; i < pattern->contexts; i++) uniform = uniform && rest->by[i] == rest->by[1];
    uint32_t after = pattern->contexts > 1 ? 1 : 0;
    if (uniform && (!nullable || rest->by[before] == rest->by[after]))
        return regex_make_concat(pool, first, rest->by[after]);
    regex all = nullable ? rest->by[before] : REGEX_NOTHING;
    for (uint32_t i = 1; i < pattern->contexts && all != REGEX_FAILED; i++) {
        uint32_t set = pattern->blocks[i];
        bool done = false;
        for (uint32_t k = 1; k < pattern->contexts; k++) {
            if (k == i || rest->by[k] != rest->by[i]) continue;
            done = done || k < i;
            set = regex_set_or(pool, set, pattern->blocks[k]);
        }
        if (done || rest->by[i] == REGEX_NOTHING) continue;
        regex one = regex_make_concat(pool, ends_in(pool, first, set, 0), rest->by[i]);
        all = one == REGEX_FAILED ? one : regex_make_or(pool, all, one);
    }
    return all;
}
