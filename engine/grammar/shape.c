/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/shape_internal.h"

#include "engine/grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

bool shapes_exhausted(struct shapes *shapes, uint32_t origin) {
    if (!shapes->declined) shapes->status = schema_too_costly(shapes->schema, origin, "");
    shapes->declined = true;
    return false;
}

bool shapes_decline(struct shapes *shapes, uint32_t origin, const char *keyword, const char *reason) {
    if (!shapes->declined)
        shapes->status = schema_decline(shapes->schema, STATUS_UNIMPLEMENTED, origin, keyword, "%s", reason);
    shapes->declined = true;
    return false;
}

/* ---- conjunctions ---- */

enum { LITERALS_MAX = 1 << 16 };

/** Literals that are being collected. */
struct literals {
    struct shapes *shapes;
    uint32_t local[64], *words;
    uint32_t count, capacity;
    bool false_; /* something in it is never true */
    bool failed;
};

static void literals_init(struct literals *literals, struct shapes *shapes) {
    literals->shapes = shapes;
    literals->words = literals->local;
    literals->capacity = sizeof literals->local / sizeof *literals->local;
    literals->count = 0;
    literals->false_ = literals->failed = false;
}

static void literals_deinit(struct literals *literals) {
    if (literals->words != literals->local) free(literals->words);
}

static void push(struct literals *literals, uint32_t literal) {
    if (literals->count == literals->capacity) {
        uint32_t *bigger = literals->capacity >= LITERALS_MAX ? NULL : malloc(2 * literals->capacity * sizeof *bigger);
        if (bigger == NULL) {
            literals->failed = true;
            return;
        }
        memcpy(bigger, literals->words, literals->count * sizeof *bigger);
        literals_deinit(literals);
        literals->words = bigger;
        literals->capacity *= 2;
    }
    literals->words[literals->count++] = literal;
}

/** Take nested conjunctions apart. */
static void flatten(struct literals *literals, formula f, bool negated, int depth) {
    struct schema *schema = literals->shapes->schema;
    if (literals->failed || !budget_spend(&schema->budget, 1)) {
        literals->failed = true;
        return;
    }
    f = schema_follow(schema, f);
    if (f == FORMULA_NONE || depth > 2 * SCHEMA_DEPTH_MAX) {
        shapes_decline(literals->shapes, 0, "$ref", "references that name only each other say nothing");
        literals->failed = true;
        return;
    }
    const struct formula_node *node = schema_node(schema, f);
    switch (node->kind) {
    case F_TRUE:
        literals->false_ |= negated;
        return;
    case F_FALSE:
        literals->false_ |= !negated;
        return;
    case F_NOT:
        flatten(literals, node->a, !negated, depth + 1);
        return;
    case F_AND:
    case F_OR:
        if ((node->kind == F_AND) == negated && node->count != 1) break;
        for (uint32_t i = 0; i < node->count; i++) flatten(literals, node->list[i], negated, depth + 1);
        return;
    default:
        break;
    }
    push(literals, f << 1 | negated);
}

static int compare_words(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static conjunction finish(struct literals *literals) {
    struct shapes *shapes = literals->shapes;
    conjunction out = CONJUNCTION_FALSE;
    uint32_t count = 0, *words = literals->words;
    if (literals->failed) {
        shapes_exhausted(shapes, 0);
        out = CONJUNCTION_FAILED;
        goto cleanup;
    }
    if (literals->false_) goto cleanup;
    if (literals->count > 1) qsort(words, literals->count, sizeof *words, compare_words);
    for (uint32_t i = 0; i < literals->count; i++) {
        if (count > 0 && words[count - 1] == words[i]) continue;
        if (count > 0 && words[count - 1] >> 1 == words[i] >> 1) goto cleanup; /* f and not f */
        words[count++] = words[i];
    }
    out = intern_put(&shapes->conjunctions, words, count);
    if (out == INTERN_FAILED) shapes_exhausted(shapes, 0);
cleanup:
    literals_deinit(literals);
    return out;
}

static void push_all(struct literals *literals, conjunction c) {
    struct intern_item item = intern_get(&literals->shapes->conjunctions, c);
    for (uint32_t i = 0; i < item.count; i++) push(literals, item.words[i]);
}

conjunction conjunction_of(struct shapes *shapes, formula f) {
    return conjunction_with(shapes, CONJUNCTION_TRUE, f, false);
}

conjunction conjunction_with(struct shapes *shapes, conjunction a, formula f, bool negated) {
    if (shapes->declined || a == CONJUNCTION_FAILED || f == FORMULA_NONE) return CONJUNCTION_FAILED;
    if (a == CONJUNCTION_FALSE) return a;
    struct literals literals;
    literals_init(&literals, shapes);
    push_all(&literals, a);
    flatten(&literals, f, negated, 0);
    return finish(&literals);
}

conjunction conjunction_and(struct shapes *shapes, conjunction a, conjunction b) {
    if (shapes->declined || a == CONJUNCTION_FAILED || b == CONJUNCTION_FAILED) return CONJUNCTION_FAILED;
    if (a == b || b == CONJUNCTION_TRUE || a == CONJUNCTION_FALSE) return a;
    if (a == CONJUNCTION_TRUE || b == CONJUNCTION_FALSE) return b;
    struct literals literals;
    literals_init(&literals, shapes);
    push_all(&literals, a);
    push_all(&literals, b);
    return finish(&literals);
}

conjunction conjunction_not(struct shapes *shapes, conjunction a) {
    if (shapes->declined || a == CONJUNCTION_FAILED) return CONJUNCTION_FAILED;
    if (a == CONJUNCTION_TRUE) return CONJUNCTION_FALSE;
    if (a == CONJUNCTION_FALSE) return CONJUNCTION_TRUE;
    struct schema *schema = shapes->schema;
    struct intern_item item = intern_get(&shapes->conjunctions, a);
    if (item.count == 1)
        return conjunction_with(shapes, CONJUNCTION_TRUE, literal_formula(item.words[0]),
                                !literal_negated(item.words[0]));
    conjunction out;
    if (memo_get(&shapes->opposites, a, &out)) return out;
    uint32_t *list = arena_alloc_array(&schema->arena, item.count, sizeof *list);
    if (list == NULL) return CONJUNCTION_FAILED;
    uint32_t origin = schema_node(schema, literal_formula(item.words[0]))->origin;
    for (uint32_t i = 0; i < item.count; i++) {
        list[i] = literal_formula(item.words[i]);
        if (literal_negated(item.words[i]))
            list[i] = schema_make(schema, (struct formula_node){.kind = F_NOT, .origin = origin, .a = list[i]});
    }
    formula all =
        schema_make(schema, (struct formula_node){.kind = F_AND, .origin = origin, .list = list, .count = item.count});
    out = conjunction_with(shapes, CONJUNCTION_TRUE, all, true);
    if (out != CONJUNCTION_FAILED && !memo_put(&shapes->opposites, a, out)) shapes_exhausted(shapes, 0);
    return out;
}

/* ---- scalars ---- */

enum { CONSTANT_KINDS = 1 << VALUE_NULL | 1 << VALUE_FALSE | 1 << VALUE_TRUE };

enum { LIST_LONG = 8 }; /* what long lists are is remembered: other branches of a choice ask for them again */

static uint32_t constants_of(struct shapes *shapes, formula f, int depth);

static uint32_t constants_of_list(struct shapes *shapes, const struct formula_node *node, int depth) {
    uint32_t all = CONSTANT_KINDS, any = 0, one = 0, none = CONSTANT_KINDS;
    for (uint32_t i = 0; i < node->count; i++) {
        uint32_t of = constants_of(shapes, node->list[i], depth);
        all &= of;
        any |= of;
        one = (one & ~of) | (none & of);
        none &= ~of;
    }
    return node->kind == F_AND ? all : node->kind == F_OR ? any : one;
}

/** Which of null, false and true satisfy a formula. */
static uint32_t constants_of(struct shapes *shapes, formula f, int depth) {
    f = schema_follow(shapes->schema, f);
    if (f == FORMULA_NONE || depth > 2 * SCHEMA_DEPTH_MAX || !budget_spend(&shapes->schema->budget, 1)) {
        shapes_exhausted(shapes, 0);
        return 0;
    }
    const struct formula_node *node = schema_node(shapes->schema, f);
    uint32_t out;
    switch (node->kind) {
    case F_FALSE:
        return 0;
    case F_TYPE:
        return node->a & CONSTANT_KINDS;
    case F_NOT:
        return ~constants_of(shapes, node->a, depth + 1) & CONSTANT_KINDS;
    case F_AND:
    case F_OR:
    case F_ONE_OF:
        if (node->count >= LIST_LONG && memo_get(&shapes->long_constants, f, &out)) return out;
        out = constants_of_list(shapes, node, depth + 1);
        if (node->count >= LIST_LONG && !memo_put(&shapes->long_constants, f, out)) shapes_exhausted(shapes, 0);
        return out;
    default:
        return CONSTANT_KINDS;
    }
}

/** A union of number sets. */
struct number_union {
    number_set *sets;
    uint32_t count, capacity;
    bool failed;
};

static void union_add(struct number_union *u, number_set set) {
    if (set == NUMBER_NONE || u->failed) return;
    if (set == NUMBER_FAILED) {
        u->failed = true;
        return;
    }
    for (uint32_t i = 0; i < u->count; i++)
        if (u->sets[i] == set || u->sets[i] == NUMBER_ANY) return;
    if (set == NUMBER_ANY) u->count = 0;
    if (u->count == u->capacity) {
        uint32_t capacity = u->capacity == 0 ? 8 : u->capacity * 2;
        number_set *sets = capacity > SHAPE_FORMS_MAX * 4 ? NULL : realloc(u->sets, capacity * sizeof *sets);
        if (sets == NULL) {
            u->failed = true;
            return;
        }
        u->sets = sets;
        u->capacity = capacity;
    }
    u->sets[u->count++] = set;
}

static struct number_union numbers_of(struct shapes *shapes, formula f, bool negated, int depth);

static struct number_union union_and(struct shapes *shapes, struct number_union a, struct number_union b) {
    struct number_union out = {.failed = a.failed || b.failed};
    for (uint32_t i = 0; i < a.count && !out.failed; i++)
        for (uint32_t j = 0; j < b.count && !out.failed; j++)
            union_add(&out, number_and(shapes->schema->numbers, a.sets[i], b.sets[j]));
    free(a.sets);
    free(b.sets);
    return out;
}

static struct number_union union_or(struct number_union a, struct number_union b) {
    for (uint32_t i = 0; i < b.count; i++) union_add(&a, b.sets[i]);
    a.failed |= b.failed;
    free(b.sets);
    return a;
}

static struct number_union union_copy(const struct number_union *a) {
    struct number_union out = {.failed = a->failed};
    for (uint32_t i = 0; i < a->count; i++) union_add(&out, a->sets[i]);
    return out;
}

/** Numbers that satisfy exactly one of the formulas, or with `negated` none or several. */
static struct number_union numbers_of_one(struct shapes *shapes, const struct formula_node *node, bool negated,
                                          int depth) {
    struct number_union none = {0}, one = {0}, more = {0};
    union_add(&none, NUMBER_ANY);
    for (uint32_t i = 0; i < node->count; i++) {
        struct number_union yes = numbers_of(shapes, node->list[i], false, depth);
        struct number_union no = numbers_of(shapes, node->list[i], true, depth);
        more = union_or(more, union_and(shapes, union_copy(&one), union_copy(&yes)));
        one = union_or(union_and(shapes, one, union_copy(&no)), union_and(shapes, union_copy(&none), yes));
        none = union_and(shapes, none, no);
    }
    if (!negated) {
        free(none.sets);
        free(more.sets);
        one.failed |= none.failed;
        return one;
    }
    free(one.sets);
    more.failed |= one.failed;
    return union_or(none, more);
}

/** Of all, or of any. */
static struct number_union numbers_of_list(struct shapes *shapes, formula f, bool negated, int depth) {
    const struct formula_node *node = schema_node(shapes->schema, f);
    struct number_union out = {0};
    uint64_t key = (uint64_t)f << 1 | negated;
    bool all = (node->kind == F_AND) != negated, is_long = node->count >= LIST_LONG;
    uint32_t any_number;
    if (is_long && memo_get(&shapes->long_numbers, key, &any_number)) {
        union_add(&out, any_number ? NUMBER_ANY : NUMBER_NONE);
        return out;
    }
    if (all) union_add(&out, NUMBER_ANY);
    for (uint32_t i = 0; i < node->count; i++) {
        struct number_union own = numbers_of(shapes, node->list[i], negated, depth);
        out = all ? union_and(shapes, out, own) : union_or(out, own);
    }
    bool plain = !out.failed && (out.count == 0 || (out.count == 1 && out.sets[0] == NUMBER_ANY));
    if (is_long && plain && !memo_put(&shapes->long_numbers, key, out.count)) out.failed = true;
    return out;
}

static struct number_union numbers_of(struct shapes *shapes, formula f, bool negated, int depth) {
    struct number_union out = {0};
    f = schema_follow(shapes->schema, f);
    if (f == FORMULA_NONE || depth > 2 * SCHEMA_DEPTH_MAX || !budget_spend(&shapes->schema->budget, 1)) {
        out.failed = true;
        return out;
    }
    const struct formula_node *node = schema_node(shapes->schema, f);
    switch (node->kind) {
    case F_FALSE:
        union_add(&out, negated ? NUMBER_ANY : NUMBER_NONE);
        return out;
    case F_TYPE:
        union_add(&out, (node->a >> VALUE_NUMBER & 1) != negated ? NUMBER_ANY : NUMBER_NONE);
        return out;
    case F_NUMBER:
        union_add(&out, negated ? node->b : node->a);
        return out;
    case F_NOT:
        return numbers_of(shapes, node->a, !negated, depth + 1);
    case F_AND:
    case F_OR:
        return numbers_of_list(shapes, f, negated, depth + 1);
    case F_ONE_OF:
        return numbers_of_one(shapes, node, negated, depth + 1);
    default:
        union_add(&out, negated ? NUMBER_NONE : NUMBER_ANY);
        return out;
    }
}

static bool build_scalars(struct shapes *shapes, conjunction c, struct shape *shape) {
    struct schema *schema = shapes->schema;
    struct intern_item item = intern_get(&shapes->conjunctions, c);
    uint32_t origin = item.count > 0 ? schema_node(schema, literal_formula(item.words[0]))->origin : 0;
    shape->constants = CONSTANT_KINDS;
    shape->string = REGEX_EVERYTHING;
    struct number_union numbers = {0};
    union_add(&numbers, NUMBER_ANY);
    for (uint32_t i = 0; i < item.count; i++) {
        formula f = literal_formula(item.words[i]);
        bool negated = literal_negated(item.words[i]);
        uint32_t constants = constants_of(shapes, f, 0);
        shape->constants &= negated ? ~constants : constants;
        if (shape->string != REGEX_NOTHING) {
            regex r = schema_strings(schema, f, negated);
            shape->string = regex_and(schema->regexes, shape->string, r);
        }
        if (numbers.count > 0) numbers = union_and(shapes, numbers, numbers_of(shapes, f, negated, 0));
    }
    number_set *sets = arena_alloc_array(&schema->arena, numbers.count, sizeof *sets);
    bool ok = !numbers.failed && sets != NULL && shape->string != REGEX_FAILED && !budget_exhausted(&schema->budget);
    if (ok && numbers.count > 0) memcpy(sets, numbers.sets, numbers.count * sizeof *sets);
    shape->numbers = sets;
    shape->number_count = numbers.count;
    free(numbers.sets);
    if (ok || budget_exhausted(&schema->budget) || sets == NULL) return ok || shapes_exhausted(shapes, origin);
    return shape->string == REGEX_FAILED
               ? shapes_decline(shapes, origin, "pattern", "the patterns together are nested too deeply")
               : shapes_decline(shapes, origin, "multipleOf", "the numbers together are beyond what is supported");
}

/* ---- shapes ---- */

static struct shape *shape_slot(struct shapes *shapes, conjunction c) {
    if (c >= shapes->shape_capacity) {
        uint32_t capacity = shapes->shape_capacity == 0 ? 64 : shapes->shape_capacity;
        while (capacity <= c) capacity *= 2;
        struct shape **slots = realloc(shapes->shapes, capacity * sizeof *slots);
        if (slots == NULL || !budget_reserve(&shapes->schema->budget, capacity * sizeof *slots / 2)) return NULL;
        memset(slots + shapes->shape_capacity, 0, (capacity - shapes->shape_capacity) * sizeof *slots);
        shapes->shapes = slots;
        shapes->shape_capacity = capacity;
    }
    if (shapes->shapes[c] == NULL && budget_reserve(&shapes->schema->budget, sizeof(struct shape)))
        shapes->shapes[c] = arena_alloc(&shapes->schema->arena, sizeof(struct shape));
    return shapes->shapes[c];
}

const struct shape *shape_of(struct shapes *shapes, conjunction c, uint32_t parts) {
    if (shapes->declined || c == CONJUNCTION_FAILED) return NULL;
    struct shape *shape = shape_slot(shapes, c);
    if (shape == NULL) {
        shapes_exhausted(shapes, 0);
        return NULL;
    }
    uint32_t wanted = parts & ~shape->parts;
    if (wanted == 0) return shape;
    if (c != CONJUNCTION_FALSE) {
        bool was_busy = shape->busy;
        shape->busy = true; /* who measures a value within this one does not come back here */
        bool ok = !(wanted & SHAPE_SCALARS) || build_scalars(shapes, c, shape);
        ok = ok && (!(wanted & SHAPE_ARRAYS) || expand_arrays(shapes, c, shape));
        ok = ok && (!(wanted & SHAPE_OBJECTS) || expand_objects(shapes, c, shape));
        shape->busy = was_busy;
        if (!ok) return NULL;
    }
    shape->parts |= wanted;
    return shape;
}

static uint32_t min_length(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint32_t measure_scalars(struct shapes *shapes, const struct shape *shape) {
    struct schema *schema = shapes->schema;
    uint32_t out = LENGTH_NEVER;
    if (shape->constants & (1 << VALUE_NULL | 1 << VALUE_TRUE))
        out = 4;
    else if (shape->constants != 0)
        out = 5;
    if (shape->string != REGEX_NOTHING)
        out = min_length(out, length_add(2, regex_shortest(schema->regexes, shape->string, NULL)));
    for (uint32_t i = 0; i < shape->number_count && out > 1; i++)
        out = min_length(out, number_shortest(schema->numbers, number_start(schema->numbers, shape->numbers[i]), NULL));
    return out;
}

uint32_t shape_shortest(struct shapes *shapes, conjunction c) {
    if (c == CONJUNCTION_FALSE) return LENGTH_NEVER;
    const struct shape *found = shape_of(shapes, c, SHAPE_SCALARS);
    if (found == NULL) return LENGTH_NEVER;
    struct shape *shape = shapes->shapes[c];
    if (shape->known) return shape->shortest;
    if (shape->busy) { /* a shortest text has no text of the same conjunction within itself */
        shapes->busy_hits++;
        return LENGTH_NEVER;
    }
    if (!budget_spend(&shapes->schema->budget, 1)) {
        shapes_exhausted(shapes, 0);
        return LENGTH_NEVER;
    }
    if (shapes->depth >= SHAPE_DEPTH_MAX) {
        shapes_decline(shapes, 0, "$ref", "values are nested too deeply");
        return LENGTH_NEVER;
    }
    uint64_t busy_hits = shapes->busy_hits;
    uint32_t out = measure_scalars(shapes, shape);
    shape->busy = true;
    shapes->depth += 4;
    if (out > 2) {
        found = shape_of(shapes, c, SHAPE_ARRAYS | SHAPE_OBJECTS);
        for (uint32_t i = 0; found != NULL && i < shape->array_count; i++)
            out = min_length(out, measure_array(shapes, shape->arrays[i]));
        for (uint32_t i = 0; found != NULL && i < shape->object_count; i++)
            out = min_length(out, measure_object(shapes, shape->objects[i]));
    }
    shapes->depth -= 4;
    shape->busy = false;
    /* "never" that leans on something above that was busy may be wrong for another way in, so it is not kept */
    if (out != LENGTH_NEVER || (busy_hits == shapes->busy_hits && !shapes->declined)) {
        shape->shortest = out;
        shape->known = true;
    }
    return out;
}

/* ---- life ---- */

enum status shapes_create(struct schema *schema, struct shapes **out) {
    struct shapes *shapes = calloc(1, sizeof *shapes);
    if (shapes == NULL) return schema_too_costly(schema, 0, "");
    shapes->schema = schema;
    intern_init(&shapes->conjunctions, &schema->arena, &schema->budget);
    intern_init(&shapes->leaves, &schema->arena, &schema->budget);
    intern_init(&shapes->selections, &schema->arena, &schema->budget);
    memo_init(&shapes->named_values, &schema->budget);
    memo_init(&shapes->other_values, &schema->budget);
    memo_init(&shapes->violations, &schema->budget);
    memo_init(&shapes->opposites, &schema->budget);
    memo_init(&shapes->long_constants, &schema->budget);
    memo_init(&shapes->long_numbers, &schema->budget);
    uint32_t never = FORMULA_FALSE << 1;
    if (intern_put(&shapes->conjunctions, NULL, 0) != CONJUNCTION_TRUE ||
        intern_put(&shapes->conjunctions, &never, 1) != CONJUNCTION_FALSE) {
        shapes_destroy(shapes);
        return schema_too_costly(schema, 0, "");
    }
    *out = shapes;
    return STATUS_OK;
}

void shapes_destroy(struct shapes *shapes) {
    if (shapes == NULL) return;
    intern_deinit(&shapes->conjunctions);
    intern_deinit(&shapes->leaves);
    intern_deinit(&shapes->selections);
    memo_deinit(&shapes->named_values);
    memo_deinit(&shapes->other_values);
    memo_deinit(&shapes->violations);
    memo_deinit(&shapes->opposites);
    memo_deinit(&shapes->long_constants);
    memo_deinit(&shapes->long_numbers);
    free(shapes->shapes);
    free(shapes->object_forms);
    free(shapes);
}
