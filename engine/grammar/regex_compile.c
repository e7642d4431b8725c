/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* From tree to expression, back to front: a node is compiled before the expression of the rest of the text, so that what looks ahead is an intersection with
 * that rest:   (?=A) rest = A.* & rest      (?!A) rest = ~(A.*) & rest      $ rest = rest & empty      */
#include "engine/grammar/regex_pattern.h"

#include "base/text.h"

#include <stdlib.h>

/* ---- without assertions ---- */

/** The only character of a set, or UINT32_MAX. */
static uint32_t single_character(const struct pattern *pattern, const struct pattern_node *node) {
    if (node->kind != PATTERN_SET) return UINT32_MAX;
    const struct regex_set *set = &pattern->pool->sets[node->set];
    return set->count == 1 && set->ranges[0].first == set->ranges[0].last ? set->ranges[0].first : UINT32_MAX;
}

/** True when `id` is one text; appends it. */
static bool append_literal(const struct pattern *pattern, uint32_t id, struct bytes *out) {
    const struct pattern_node *node = &pattern->nodes[id];
    uint8_t encoded[4];
    uint32_t count = node->kind == PATTERN_SEQUENCE ? node->count : 1;
    size_t before = out->length;
    for (uint32_t i = 0; i < count; i++) {
        const struct pattern_node *child =
            node->kind == PATTERN_SEQUENCE ? &pattern->nodes[pattern->links[node->child + i]] : node;
        uint32_t c = single_character(pattern, child);
        if (c != UINT32_MAX && bytes_append(out, encoded, text_encode(c, encoded)) == STATUS_OK) continue;
        out->length = before;
        return false;
    }
    return true;
}

/** Alternatives that are plain texts become one trie; the others are joined with it. */
static regex direct_alternatives(struct pattern *pattern, const struct pattern_node *node) {
    struct regex_pool *pool = pattern->pool;
    struct bytes text;
    bytes_init(&text, 4 * pattern->text.length + 16);
    size_t *ends = malloc(node->count * sizeof *ends);
    struct bytes_view *texts = calloc(node->count, sizeof *texts);
    uint32_t base = pool->scratch_count, count = 0;
    bool ok = ends != NULL && texts != NULL;
    for (uint32_t i = 0; i < node->count && ok; i++) {
        uint32_t child = pattern->links[node->child + i];
        if (append_literal(pattern, child, &text))
            ends[count++] = text.length;
        else
            ok = regex_push_or(pool, pattern_direct(pattern, child));
    }
    for (uint32_t i = 0; i < count && ok; i++) {
        size_t start = i > 0 ? ends[i - 1] : 0;
        if (text.data != NULL) texts[i] = bytes_view_of(text.data + start, ends[i] - start);
    }
    regex made = REGEX_FAILED;
    if (ok && regex_push_or(pool, regex_literals(pool, texts, count))) made = regex_or_from(pool, base);
    pool->scratch_count = base;
    free(ends);
    free(texts);
    bytes_deinit(&text);
    return made;
}

regex pattern_direct(struct pattern *pattern, uint32_t id) {
    struct pattern_node node = pattern->nodes[id];
    struct regex_pool *pool = pattern->pool;
    switch (node.kind) {
    case PATTERN_SET:
        return regex_make_class(pool, node.set);
    case PATTERN_SEQUENCE: {
        regex all = REGEX_EMPTY;
        for (uint32_t i = node.count; i > 0 && all != REGEX_FAILED; i--)
            all = regex_make_concat(pool, pattern_direct(pattern, pattern->links[node.child + i - 1]), all);
        return all;
    }
    case PATTERN_ALTERNATIVES:
        return direct_alternatives(pattern, &node);
    default:
        return regex_make_repeat(pool, pattern_direct(pattern, node.child), node.min, node.max);
    }
}

/* ---- with what follows ---- */

static bool compile(struct pattern *pattern, uint32_t id, const struct family *rest, struct family *out);

static bool complete(const struct pattern *pattern, const struct family *family) {
    for (uint32_t i = 0; i < pattern->contexts; i++)
        if (family->by[i] == REGEX_FAILED) return false;
    return true;
}

static struct family uniform(regex r) {
    struct family family;
    for (int i = 0; i < CONTEXTS_MAX; i++) family.by[i] = r;
    return family;
}

static bool compile_alternatives(struct pattern *pattern, const struct pattern_node *node, const struct family *rest,
                                 struct family *out) {
    struct family all = uniform(REGEX_NOTHING), one;
    for (uint32_t i = 0; i < node->count; i++) {
        if (!compile(pattern, pattern->links[node->child + i], rest, &one)) return false;
        for (uint32_t k = 0; k < pattern->contexts; k++) all.by[k] = regex_make_or(pattern->pool, all.by[k], one.by[k]);
        if (!complete(pattern, &all)) return false;
    }
    *out = all;
    return true;
}

static bool compile_ahead(struct pattern *pattern, const struct pattern_node *node, const struct family *rest,
                          struct family *out) {
    struct family everything = uniform(REGEX_EVERYTHING), ahead;
    if (!compile(pattern, node->child, &everything, &ahead)) return false;
    for (uint32_t i = 0; i < pattern->contexts; i++) {
        regex condition = node->negative ? regex_make_not(pattern->pool, ahead.by[i]) : ahead.by[i];
        out->by[i] = regex_make_and(pattern->pool, condition, rest->by[i]);
    }
    return complete(pattern, out);
}

static bool compile_word_edge(struct pattern *pattern, const struct pattern_node *node, const struct family *rest,
                              struct family *out) {
    struct regex_pool *pool = pattern->pool;
    regex word = regex_make_concat(pool, regex_make_class(pool, pattern->word_set), REGEX_EVERYTHING);
    regex other = regex_make_not(pool, word);
    for (uint32_t i = 0; i < pattern->contexts; i++) {
        bool after_word =
            i > 0 && regex_set_has(&pool->sets[pattern->word_set], pool->sets[pattern->blocks[i]].ranges[0].first);
        out->by[i] = regex_make_and(pool, after_word != node->negative ? other : word, rest->by[i]);
    }
    return complete(pattern, out);
}

/** Where a body looks around, its turns are written out; without an upper bound the rest is a loop that is named in its own definition. */
static bool compile_loop(struct pattern *pattern, const struct pattern_node *node, const struct family *rest,
                         struct family *out) {
    struct regex_pool *pool = pattern->pool;
    struct family loop = {0}, turn;
    if (++pattern->loops > REGEX_LOOPS_MAX)
        return pattern_fail(pattern, STATUS_UNIMPLEMENTED, node->position, "too many repeats that look around");
    for (uint32_t i = 0; i < pattern->contexts; i++) {
        uint8_t nullable = regex_has(pool, rest->by[i], REGEX_NULLABLE) ? REGEX_NULLABLE | REGEX_LIVE : 0;
        loop.by[i] = regex_append(pool, &(struct regex_node){.kind = REGEX_KIND_LOOP,
                                                             .flags = nullable | REGEX_RECURSIVE,
                                                             .depth = 1,
                                                             .length_min = nullable ? 0 : 1,
                                                             .length_max = REGEX_UNBOUNDED});
    }
    if (!complete(pattern, &loop) || !compile(pattern, node->child, &loop, &turn)) return false;
    for (uint32_t i = 0; i < pattern->contexts; i++) {
        regex definition = regex_make_or(pool, rest->by[i], turn.by[i]);
        if (definition == REGEX_FAILED || regex_node(pool, definition)->depth > REGEX_LOOP_DEPTH_MAX) return false;
        regex_node(pool, loop.by[i])->of = definition;
    }
    *out = loop;
    return true;
}

static bool compile_repeat(struct pattern *pattern, const struct pattern_node *node, const struct family *rest,
                           struct family *out) {
    struct pattern_node child = pattern->nodes[node->child];
    uint32_t optional = node->max == REGEX_UNBOUNDED ? 0 : node->max - node->min, min = node->min;
    *out = *rest;
    if (child.kind == PATTERN_AHEAD) /* repeated it says the same again */
        return min == 0 || compile(pattern, node->child, rest, out);
    if (min > PATTERN_UNROLLED_MAX || optional > PATTERN_UNROLLED_MAX)
        return pattern_fail(pattern, STATUS_UNIMPLEMENTED, node->position,
                            "a look-around inside so high a count of repeats");
    if (node->max == REGEX_UNBOUNDED && !compile_loop(pattern, node, rest, out)) return false;
    for (; optional > 0; optional--) {
        struct family turn;
        if (!compile(pattern, node->child, out, &turn)) return false;
        for (uint32_t i = 0; i < pattern->contexts; i++)
            out->by[i] = regex_make_or(pattern->pool, rest->by[i], turn.by[i]);
        if (!complete(pattern, out)) return false;
    }
    for (; min > 0; min--)
        if (!compile(pattern, node->child, out, out)) return false;
    return true;
}

static bool compile_assertion(struct pattern *pattern, const struct pattern_node *node, const struct family *rest,
                              struct family *out) {
    if (node->kind == PATTERN_BEHIND && !behind_is_single(pattern, node->child))
        return pattern_fail(pattern, STATUS_UNIMPLEMENTED, node->position,
                            "a look-behind of more than a character inside a group");
    for (uint32_t i = 0; i < pattern->contexts; i++) {
        bool holds = node->kind == PATTERN_START ? i == 0 : true;
        if (node->kind == PATTERN_BEHIND) holds = behind_holds(pattern, node->child, i) != node->negative;
        regex here = rest->by[i];
        if (node->kind == PATTERN_END) here = regex_make_and(pattern->pool, here, REGEX_EMPTY);
        out->by[i] = holds ? here : REGEX_NOTHING;
    }
    return complete(pattern, out);
}

/** `out` may be `rest`. False with pattern->status set, or the budget exhausted. */
static bool compile(struct pattern *pattern, uint32_t id, const struct family *rest_in, struct family *out) {
    struct pattern_node node = pattern->nodes[id];
    struct family rest = *rest_in;
    if (!budget_spend(pattern->pool->budget, 1)) return false;
    if (!node.asserts) {
        regex direct = pattern_direct(pattern, id);
        for (uint32_t i = 0; i < pattern->contexts; i++) out->by[i] = context_join(pattern, direct, &rest, i);
        return complete(pattern, out);
    }
    switch (node.kind) {
    case PATTERN_SEQUENCE:
        *out = rest;
        for (uint32_t i = node.count; i > 0; i--)
            if (!compile(pattern, pattern->links[node.child + i - 1], out, out)) return false;
        return true;
    case PATTERN_ALTERNATIVES:
        return compile_alternatives(pattern, &node, &rest, out);
    case PATTERN_REPEAT:
        return compile_repeat(pattern, &node, &rest, out);
    case PATTERN_AHEAD:
        return compile_ahead(pattern, &node, &rest, out);
    case PATTERN_WORD_EDGE:
        return compile_word_edge(pattern, &node, &rest, out);
    default:
        return compile_assertion(pattern, &node, &rest, out);
    }
}

/* ---- the whole ---- */

/** The texts before a place that end as a look-behind's body says. */
static regex behind_texts(struct pattern *pattern, uint32_t id) {
    struct pattern_node node = pattern->nodes[id];
    struct regex_pool *pool = pattern->pool;
    if (!node.asserts) return regex_make_concat(pool, REGEX_EVERYTHING, pattern_direct(pattern, id));
    if (node.kind == PATTERN_START) return REGEX_EMPTY;
    regex all = node.kind == PATTERN_ALTERNATIVES ? REGEX_NOTHING : REGEX_EMPTY;
    bool anchored = node.kind == PATTERN_SEQUENCE && pattern->nodes[pattern->links[node.child]].kind == PATTERN_START;
    if (node.kind != PATTERN_ALTERNATIVES && !anchored) {
        pattern_fail(pattern, STATUS_UNIMPLEMENTED, node.position, "an assertion inside a look-behind");
        return REGEX_FAILED;
    }
    for (uint32_t i = node.count; i > 0 && all != REGEX_FAILED; i--) {
        uint32_t child = pattern->links[node.child + i - 1];
        if (node.kind == PATTERN_ALTERNATIVES) {
            regex one = behind_texts(pattern, child);
            all = one == REGEX_FAILED ? one : regex_make_or(pool, all, one);
        } else if (i > 1 && pattern->nodes[child].asserts) {
            pattern_fail(pattern, STATUS_UNIMPLEMENTED, node.position, "an assertion inside a look-behind");
            return REGEX_FAILED;
        } else if (i > 1) {
            all = regex_make_concat(pool, pattern_direct(pattern, child), all);
        }
    }
    return all;
}

/** All that may stand before child `end` of a sequence whose look-behinds ask for more than a character. */
static regex before_child(struct pattern *pattern, const struct pattern_node *node, uint32_t end) {
    struct regex_pool *pool = pattern->pool;
    regex before = (pattern->flags & REGEX_SEARCH) != 0 ? REGEX_EVERYTHING : REGEX_EMPTY;
    for (uint32_t i = 0; i < end && before != REGEX_FAILED; i++) {
        uint32_t id = pattern->links[node->child + i];
        struct pattern_node child = pattern->nodes[id];
        if (!child.asserts) {
            before = regex_make_concat(pool, before, pattern_direct(pattern, id));
        } else if (child.kind == PATTERN_START) {
            before = regex_make_and(pool, before, REGEX_EMPTY);
        } else if (child.kind == PATTERN_BEHIND) {
            regex texts = behind_texts(pattern, child.child);
            before = regex_make_and(pool, before, child.negative ? regex_make_not(pool, texts) : texts);
        } else {
            pattern_fail(pattern, STATUS_UNIMPLEMENTED, child.position,
                         "an assertion before a look-behind of more than a character");
            return REGEX_FAILED;
        }
    }
    return before;
}

/** Children of a sequence up to the last look-behind that asks for more than a character. */
static uint32_t last_long_behind(const struct pattern *pattern, const struct pattern_node *node) {
    for (uint32_t i = node->count; i > 0; i--) {
        const struct pattern_node *child = &pattern->nodes[pattern->links[node->child + i - 1]];
        if (child->kind == PATTERN_BEHIND && !behind_is_single(pattern, child->child)) return i;
    }
    return 0;
}

static regex compile_whole(struct pattern *pattern, uint32_t id) {
    struct regex_pool *pool = pattern->pool;
    struct pattern_node node = pattern->nodes[id];
    bool search = (pattern->flags & REGEX_SEARCH) != 0;
    if (node.kind == PATTERN_ALTERNATIVES && node.asserts) {
        regex all = REGEX_NOTHING;
        for (uint32_t i = 0; i < node.count && all != REGEX_FAILED; i++) {
            regex one = compile_whole(pattern, pattern->links[node.child + i]);
            all = one == REGEX_FAILED ? one : regex_make_or(pool, all, one);
        }
        return all;
    }
    struct family rest = uniform(search ? REGEX_EVERYTHING : REGEX_EMPTY);
    uint32_t cut = node.kind == PATTERN_SEQUENCE ? last_long_behind(pattern, &node) : 0;
    regex before = search ? REGEX_EVERYTHING : REGEX_EMPTY;
    if (cut > 0) {
        before = before_child(pattern, &node, cut);
        for (uint32_t i = node.count; i > cut; i--)
            if (!compile(pattern, pattern->links[node.child + i - 1], &rest, &rest)) return REGEX_FAILED;
    } else if (node.kind == PATTERN_BEHIND && !behind_is_single(pattern, node.child)) {
        regex texts = behind_texts(pattern, node.child);
        before = regex_make_and(pool, before, node.negative ? regex_make_not(pool, texts) : texts);
    } else if (!compile(pattern, id, &rest, &rest)) {
        return REGEX_FAILED;
    }
    return context_join(pattern, before, &rest, 0);
}

regex pattern_compile(struct pattern *pattern, uint32_t root) {
    if (!contexts_find(pattern)) return REGEX_FAILED;
    return compile_whole(pattern, root);
}
