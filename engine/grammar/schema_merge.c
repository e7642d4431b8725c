/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Formulas that say the same become one.
 *
 * Generated schemas repeat themselves: each place that takes a "filter" spells out the same oneOf again. Shapes are found by the formulas they come from, and
 * "f and not f" is seen at once only where both are the same f, so equal parts that are told apart multiply the work where alternatives meet.
 *
 * One pass goes through the nodes in the order they were made, which is children first but for references, whose targets count by their number. What was
 * merged may make more nodes equal, so there are a few passes. Two parts that are equal only by looking around a cycle stay two.
 */
#include "engine/grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PASSES_MAX = 4 };

struct merge {
    struct schema *schema;
    struct arena arena; /* of the index */
    struct intern index;
    formula *kept;     /* [node_count] whom a node became; itself */
    formula *first_of; /* [node_count] by id of the index: the first node that says it */
    uint32_t *words;
    uint32_t word_count, word_capacity;
    bool changed, failed;
};

static void push_word(struct merge *merge, uint32_t word) {
    if (merge->word_count == merge->word_capacity) {
        uint32_t capacity = merge->word_capacity == 0 ? 256 : merge->word_capacity * 2;
        uint32_t *bigger = realloc(merge->words, capacity * sizeof *bigger);
        if (bigger == NULL) {
            merge->failed = true;
            return;
        }
        merge->words = bigger;
        merge->word_capacity = capacity;
    }
    merge->words[merge->word_count++] = word;
}

/** Whom a child became. */
static formula kept_of(const struct merge *merge, formula f) {
    formula target = schema_follow(merge->schema, f);
    return target == FORMULA_NONE ? f : merge->kept[target];
}

static bool lists_formulas(enum formula_kind kind) {
    return kind == F_AND || kind == F_OR || kind == F_ONE_OF || kind == F_ITEMS;
}

static bool formula_in_a(enum formula_kind kind) {
    return kind == F_NOT || kind == F_ITEMS || kind == F_CONTAINS;
}

static bool formula_in_b(enum formula_kind kind) {
    return kind == F_NAMES;
}

static int compare_words(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/** Members of AND and OR once, those of OR and ONE_OF in whatever order; what AND lists is the order of properties, too. */
static void settle_members(struct merge *merge, enum formula_kind kind, uint32_t from) {
    uint32_t *members = merge->words + from, count = merge->word_count - from, used = 0;
    if (count > 1 && kind != F_AND) qsort(members, count, sizeof *members, compare_words);
    for (uint32_t i = 0; i < count; i++)
        if (kind == F_ONE_OF || used == 0 || members[used - 1] != members[i]) members[used++] = members[i];
    merge->word_count = from + used;
}

static void describe_properties(struct merge *merge, const struct properties *properties) {
    push_word(merge, properties->named_count);
    push_word(merge, properties->matched_count);
    push_word(merge, kept_of(merge, properties->others));
    push_word(merge, properties->others_said);
    for (uint32_t i = 0; i < properties->named_count; i++) {
        push_word(merge, properties->named[i].name);
        push_word(merge, kept_of(merge, properties->named[i].formula));
    }
    for (uint32_t i = 0; i < properties->matched_count; i++) {
        push_word(merge, properties->matched[i].names);
        push_word(merge, kept_of(merge, properties->matched[i].formula));
    }
}

/** All that a node says, its children by whom they became. Returns where its members begin. */
static uint32_t describe(struct merge *merge, const struct formula_node *node) {
    merge->word_count = 0;
    push_word(merge, node->kind);
    push_word(merge, formula_in_a(node->kind) ? kept_of(merge, node->a) : node->a);
    push_word(merge, formula_in_b(node->kind) ? kept_of(merge, node->b) : node->b);
    uint32_t members = merge->word_count;
    for (uint32_t i = 0; i < node->count; i++)
        push_word(merge, lists_formulas(node->kind) ? kept_of(merge, node->list[i]) : node->list[i]);
    if (!merge->failed && (node->kind == F_AND || node->kind == F_OR || node->kind == F_ONE_OF))
        settle_members(merge, node->kind, members);
    if (node->properties != NULL) describe_properties(merge, node->properties);
    return members;
}

static void merge_node(struct merge *merge, formula f) {
    struct schema *schema = merge->schema;
    const struct formula_node *node = &schema->nodes[f];
    formula out = f;
    if (node->kind == F_REF) return;
    uint32_t members = describe(merge, node);
    if (!budget_spend(&schema->budget, 1 + merge->word_count / 16)) merge->failed = true;
    if (merge->failed) return;
    if ((node->kind == F_AND || node->kind == F_OR) && merge->word_count == members + 1) {
        out = merge->words[members]; /* one thing said several times */
    } else {
        uint32_t known = merge->index.count, id = intern_put(&merge->index, merge->words, merge->word_count);
        if (id == INTERN_FAILED) {
            merge->failed = true;
            return;
        }
        if (id == known) merge->first_of[id] = f;
        out = merge->first_of[id];
    }
    if (merge->kept[f] != out) {
        merge->kept[f] = out;
        merge->changed = true;
    }
}

static bool merge_pass(struct merge *merge) {
    struct schema *schema = merge->schema;
    struct grammar_budget *budget = &schema->budget;
    arena_init(&merge->arena, budget->bytes > 0 ? (size_t)budget->bytes : 0);
    int64_t bytes = budget->bytes; /* the index goes when the pass is over */
    intern_init(&merge->index, &merge->arena, budget);
    merge->changed = false;
    for (formula f = 0; f < schema->node_count && !merge->failed; f++) merge_node(merge, f);
    intern_deinit(&merge->index);
    arena_deinit(&merge->arena);
    if (!merge->failed) budget->bytes = bytes;
    return !merge->failed;
}

/** Who becomes itself in the end. */
static formula settled(const struct merge *merge, formula f) {
    formula target = schema_follow(merge->schema, f);
    if (target == FORMULA_NONE) return f;
    for (int steps = 0; merge->kept[target] != target && steps < SCHEMA_DEPTH_MAX; steps++)
        target = merge->kept[target];
    return target;
}

static bool rewrite_properties(const struct merge *merge, struct formula_node *node) {
    struct properties *copy = arena_alloc(&merge->schema->arena, sizeof *copy);
    if (copy == NULL) return false;
    *copy = *node->properties; /* its arrays are written in place: nobody else has them */
    for (uint32_t i = 0; i < copy->named_count; i++) copy->named[i].formula = settled(merge, copy->named[i].formula);
    for (uint32_t i = 0; i < copy->matched_count; i++)
        copy->matched[i].formula = settled(merge, copy->matched[i].formula);
    copy->others = settled(merge, copy->others);
    node->properties = copy;
    return true;
}

static bool rewrite(const struct merge *merge, struct formula_node *node) {
    if (formula_in_a(node->kind)) node->a = settled(merge, node->a);
    if (formula_in_b(node->kind)) node->b = settled(merge, node->b);
    if (node->properties != NULL && !rewrite_properties(merge, node)) return false;
    if (!lists_formulas(node->kind) || node->count == 0) return true;
    uint32_t *list = arena_alloc_array(&merge->schema->arena, node->count, sizeof *list), used = 0;
    if (list == NULL || !budget_reserve(&merge->schema->budget, node->count * sizeof *list)) return false;
    bool once = node->kind == F_AND || node->kind == F_OR;
    for (uint32_t i = 0; i < node->count; i++) {
        formula member = settled(merge, node->list[i]);
        bool there = false;
        for (uint32_t j = 0; once && !there && j < used && j < 64; j++) there = list[j] == member;
        if (!there) list[used++] = member;
    }
    node->list = list;
    node->count = used;
    return true;
}

bool schema_merge(struct schema *schema) {
    struct merge merge = {.schema = schema};
    size_t bytes = (size_t)schema->node_count * sizeof *merge.kept;
    merge.kept = malloc(bytes);
    merge.first_of = malloc(bytes);
    bool ok = merge.kept != NULL && merge.first_of != NULL;
    for (formula f = 0; ok && f < schema->node_count; f++) merge.kept[f] = f;
    for (int pass = 0; ok && pass < PASSES_MAX; pass++) {
        ok = merge_pass(&merge);
        if (!merge.changed) break;
    }
    for (formula f = 0; ok && f < schema->node_count; f++)
        if (merge.kept[f] == f && schema->nodes[f].kind != F_REF) ok = rewrite(&merge, &schema->nodes[f]);
    if (ok) schema->root = settled(&merge, schema->root);
    free(merge.words);
    free(merge.kept);
    free(merge.first_of);
    return ok;
}
