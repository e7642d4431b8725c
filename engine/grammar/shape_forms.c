/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Choices multiplied out: a conjunction of formulas to a union of forms, each a conjunction of leaves about one kind of value.
 *
 *     expand({A or B, C or D, E})  =  {A, C, E}, {A, D, E}, {B, C, E}, {B, D, E}     without those that nothing satisfies
 *
 * What is trivially true or false for this kind never becomes a choice. After the second choice a form in the making that nothing satisfies is
 * given up at once, so choices that exclude each other (a "type" member that each branch fixes) multiply to few forms, not to all.
 */
#include "engine/grammar/shape_internal.h"

#include "engine/grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

enum { LEAVES_MAX = 2048, TRIVIAL_DEPTH = 16 };

struct pending {
    uint32_t literal;
    const struct pending *next;
};

struct expansion {
    struct shapes *shapes;
    enum value_kind kind;
    uint32_t origin;
    uint32_t leaves[LEAVES_MAX];
    uint32_t leaf_count;
    int choices;
    uint32_t constant; /* all of the array or object, where a choice said so (schema_constant); CONSTANT_NONE */
    void *forms[SHAPE_FORMS_MAX];
    uint32_t form_count;
};

enum truth { FALSE_, TRUE_, UNKNOWN_ };

static enum truth truth_not(enum truth t) {
    return t == UNKNOWN_ ? t : t == TRUE_ ? FALSE_ : TRUE_;
}

static bool is_leaf_of(enum formula_kind kind, enum value_kind value) {
    switch (kind) {
    case F_ITEMS:
    case F_ITEM_COUNT:
    case F_CONTAINS:
    case F_UNIQUE:
        return value == VALUE_ARRAY;
    case F_PROPERTIES:
    case F_REQUIRED:
    case F_PROPERTY_COUNT:
    case F_NAMES:
    case F_DEPENDENT:
        return value == VALUE_OBJECT;
    default:
        return false;
    }
}

/** What a formula is for every value of the kind, as far as a short look tells. */
static enum truth trivial(const struct shapes *shapes, formula f, enum value_kind kind, int depth) {
    f = schema_follow(shapes->schema, f);
    if (f == FORMULA_NONE || depth > TRIVIAL_DEPTH) return UNKNOWN_;
    const struct formula_node *node = schema_node(shapes->schema, f);
    enum truth out, of;
    uint32_t yes = 0, unknown = 0;
    switch (node->kind) {
    case F_TRUE:
        return TRUE_;
    case F_FALSE:
        return FALSE_;
    case F_TYPE:
        return node->a >> kind & 1 ? TRUE_ : FALSE_;
    case F_NOT:
        return truth_not(trivial(shapes, node->a, kind, depth + 1));
    case F_AND:
    case F_OR: {
        enum truth dominant = node->kind == F_AND ? FALSE_ : TRUE_;
        out = truth_not(dominant);
        for (uint32_t i = 0; i < node->count; i++) {
            of = trivial(shapes, node->list[i], kind, depth + 1);
            if (of == dominant) return dominant;
            if (of == UNKNOWN_) out = UNKNOWN_;
        }
        return out;
    }
    case F_ONE_OF:
        for (uint32_t i = 0; i < node->count; i++) {
            of = trivial(shapes, node->list[i], kind, depth + 1);
            yes += of == TRUE_;
            unknown += of == UNKNOWN_;
        }
        return yes > 1 ? FALSE_ : unknown > 0 ? UNKNOWN_ : yes == 1 ? TRUE_ : FALSE_;
    default:
        return is_leaf_of(node->kind, kind) ? UNKNOWN_ : TRUE_;
    }
}

static enum truth trivial_literal(const struct shapes *shapes, uint32_t literal, enum value_kind kind) {
    enum truth t = trivial(shapes, literal_formula(literal), kind, 0);
    return literal_negated(literal) ? truth_not(t) : t;
}

static bool build(struct expansion *expansion, void **out) {
    struct shapes *shapes = expansion->shapes;
    if (expansion->kind == VALUE_ARRAY)
        return build_array_form(shapes, expansion->leaves, expansion->leaf_count, (struct array_form **)out);
    return build_object_form(shapes, expansion->leaves, expansion->leaf_count, (struct object_form **)out);
}

/** True when nothing satisfies the form; false also when that is not certain while something is being measured. */
static bool impossible(struct expansion *expansion, void *form) {
    struct shapes *shapes = expansion->shapes;
    if (form == NULL) return true;
    uint64_t busy_hits = shapes->busy_hits;
    uint32_t length = expansion->kind == VALUE_ARRAY ? measure_array(shapes, form) : measure_object(shapes, form);
    return length == LENGTH_NEVER && busy_hits == shapes->busy_hits && !shapes->declined;
}

static bool expand(struct expansion *expansion, const struct pending *pending);

static bool emit(struct expansion *expansion) {
    void *form;
    if (!build(expansion, &form)) return false;
    if (impossible(expansion, form)) return true;
    if (expansion->constant != CONSTANT_NONE) {
        if (expansion->kind == VALUE_ARRAY)
            ((struct array_form *)form)->constant = true;
        else
            ((struct object_form *)form)->constant = true;
    }
    for (uint32_t i = 0; i < expansion->form_count; i++)
        if (expansion->forms[i] == form) return true;
    if (expansion->form_count == SHAPE_FORMS_MAX)
        return shapes_decline(expansion->shapes, expansion->origin, "anyOf", "too many combinations of alternatives");
    expansion->forms[expansion->form_count++] = form;
    return true;
}

/** Go on with one choice taken: `first` literals, then what was pending. */
static bool choose(struct expansion *expansion, const uint32_t *first, uint32_t count, const struct pending *pending) {
    struct pending local[16], *chain = count <= 16 ? local : malloc(count * sizeof *chain);
    if (chain == NULL) return shapes_exhausted(expansion->shapes, expansion->origin);
    for (uint32_t i = 0; i < count; i++) chain[i] = (struct pending){first[i], i + 1 < count ? &chain[i + 1] : pending};
    uint32_t leaf_count = expansion->leaf_count;
    expansion->choices++;
    bool ok = expand(expansion, count > 0 ? chain : pending);
    expansion->choices--;
    expansion->leaf_count = leaf_count;
    if (chain != local) free(chain);
    return ok;
}

/** At least one of the literals holds. */
static bool expand_or(struct expansion *expansion, const uint32_t *literals, uint32_t count,
                      const struct pending *pending) {
    struct shapes *shapes = expansion->shapes;
    uint32_t open = 0;
    for (uint32_t i = 0; i < count; i++) {
        enum truth t = trivial_literal(shapes, literals[i], expansion->kind);
        if (t == TRUE_) return expand(expansion, pending);
        open += t == UNKNOWN_;
    }
    if (open == 0) return true;
    if (open > 1 && expansion->choices > 0) { /* is what was chosen so far possible at all? */
        void *form;
        if (!build(expansion, &form)) return false;
        if (impossible(expansion, form)) return true;
    }
    for (uint32_t i = 0; i < count; i++)
        if (trivial_literal(shapes, literals[i], expansion->kind) == UNKNOWN_ &&
            !choose(expansion, &literals[i], 1, pending))
            return false;
    return true;
}

static uint32_t *literals_of(struct expansion *expansion, const struct formula_node *node, bool negated) {
    uint32_t *out = malloc((node->count + 1) * sizeof *out);
    if (out == NULL) shapes_exhausted(expansion->shapes, node->origin);
    for (uint32_t i = 0; out != NULL && i < node->count; i++) out[i] = node->list[i] << 1 | negated;
    return out;
}

/** Assertions about objects whose violation is an option of one obligation, not a choice. */
static bool is_simple(const struct shapes *shapes, formula f) {
    f = schema_follow(shapes->schema, f);
    if (f == FORMULA_NONE) return false;
    enum formula_kind kind = schema_node(shapes->schema, f)->kind;
    return kind == F_PROPERTIES || kind == F_REQUIRED || kind == F_NAMES;
}

/** Not all of the node's formulas hold. */
static bool expand_not_and(struct expansion *expansion, formula f, const struct pending *pending) {
    struct shapes *shapes = expansion->shapes;
    struct formula_node node = *schema_node(shapes->schema, f);
    uint32_t *literals = literals_of(expansion, &node, true), count = 0, simple = 0;
    if (literals == NULL) return false;
    bool ok = true;
    for (uint32_t i = 0; i < node.count; i++) {
        enum truth t = trivial_literal(shapes, literals[i], expansion->kind);
        if (t == TRUE_) {
            ok = expand(expansion, pending);
            goto cleanup;
        }
        if (t == FALSE_) continue;
        bool is = expansion->kind == VALUE_OBJECT && is_simple(shapes, node.list[i]);
        simple += is;
        literals[count++] = literals[i];
    }
    if (simple > 1) { /* one leaf for all of them; build_object_form looks at the simple ones only */
        uint32_t kept = 0;
        for (uint32_t i = 0; i < count; i++)
            if (!is_simple(shapes, literal_formula(literals[i]))) literals[kept++] = literals[i];
        if (expansion->leaf_count == LEAVES_MAX) {
            ok = shapes_decline(shapes, node.origin, "not", "too many assertions");
            goto cleanup;
        }
        uint32_t leaf_count = expansion->leaf_count;
        expansion->leaves[expansion->leaf_count++] = f << 1 | 1;
        expansion->choices += kept > 0;
        ok = expand(expansion, pending);
        expansion->choices -= kept > 0;
        expansion->leaf_count = leaf_count;
        count = kept;
        if (count == 0) goto cleanup;
        for (uint32_t i = 0; ok && i < count; i++) ok = choose(expansion, &literals[i], 1, pending);
        goto cleanup;
    }
    ok = expand_or(expansion, literals, count, pending);
cleanup:
    free(literals);
    return ok;
}

/* ---- alternatives that exclude each other ---- */

/** The formula within a conjunction that says what the property `name` must be; FORMULA_NONE. */
static formula says_of(const struct shapes *shapes, formula f, name_id name) {
    f = schema_follow(shapes->schema, f);
    if (f == FORMULA_NONE) return f;
    const struct formula_node *node = schema_node(shapes->schema, f);
    if (node->kind == F_PROPERTIES) return properties_named(node->properties, name);
    for (uint32_t i = 0; node->kind == F_AND && i < node->count; i++) {
        formula part = schema_follow(shapes->schema, node->list[i]);
        if (part == FORMULA_NONE || schema_node(shapes->schema, part)->kind != F_PROPERTIES) continue;
        formula out = properties_named(schema_node(shapes->schema, part)->properties, name);
        if (out != FORMULA_NONE) return out;
    }
    return FORMULA_NONE;
}

/** No value satisfies both, by what they say about scalars alone. */
static bool scalars_exclude(struct shapes *shapes, formula a, formula b) {
    struct schema *schema = shapes->schema;
    for (int kind = VALUE_ARRAY; kind <= VALUE_OBJECT; kind++)
        if (trivial(shapes, a, (enum value_kind)kind, 0) != FALSE_ &&
            trivial(shapes, b, (enum value_kind)kind, 0) != FALSE_)
            return false;
    conjunction of[2] = {conjunction_of(shapes, a), conjunction_of(shapes, b)};
    const struct shape *x = shape_of(shapes, of[0], SHAPE_SCALARS);
    const struct shape *y = x == NULL ? NULL : shape_of(shapes, of[1], SHAPE_SCALARS);
    if (y == NULL || (x->constants & y->constants) != 0) return false;
    if (of[0] == CONJUNCTION_FALSE || of[1] == CONJUNCTION_FALSE) return true;
    if (regex_and(schema->regexes, x->string, y->string) != REGEX_NOTHING) return false;
    for (uint32_t i = 0; i < x->number_count; i++)
        for (uint32_t j = 0; j < y->number_count; j++)
            if (number_and(schema->numbers, x->numbers[i], y->numbers[j]) != NUMBER_NONE) return false;
    return true;
}

/** One of them requires a property of which they say what excludes each other: the usual discriminator. */
static bool discriminated(struct shapes *shapes, formula a, formula b) {
    const struct formula_node node = *schema_node(shapes->schema, schema_follow(shapes->schema, a));
    for (uint32_t i = 0; node.kind == F_AND && i < node.count; i++) {
        formula part = schema_follow(shapes->schema, node.list[i]);
        if (part == FORMULA_NONE) continue;
        const struct formula_node required = *schema_node(shapes->schema, part);
        for (uint32_t j = 0; required.kind == F_REQUIRED && j < required.count && j < 8; j++) {
            formula x = says_of(shapes, a, required.list[j]);
            formula y = x == FORMULA_NONE ? x : says_of(shapes, b, required.list[j]);
            if (y != FORMULA_NONE && scalars_exclude(shapes, x, y)) return true;
        }
    }
    return false;
}

/** No value of this kind satisfies both. */
static bool disjoint(struct expansion *expansion, formula a, formula b) {
    struct shapes *shapes = expansion->shapes;
    if (expansion->kind == VALUE_OBJECT && (discriminated(shapes, a, b) || discriminated(shapes, b, a))) return true;
    conjunction both = conjunction_with(shapes, conjunction_of(shapes, a), b, false);
    if (both == CONJUNCTION_FALSE) return true;
    if (both == CONJUNCTION_FAILED) return false;
    if (both < shapes->shape_capacity && shapes->shapes[both] != NULL && shapes->shapes[both]->busy) return false;
    uint64_t busy_hits = shapes->busy_hits;
    const struct shape *shape = shape_of(shapes, both, expansion->kind == VALUE_ARRAY ? SHAPE_ARRAYS : SHAPE_OBJECTS);
    if (shape == NULL || busy_hits != shapes->busy_hits) return false;
    return (expansion->kind == VALUE_ARRAY ? shape->array_count : shape->object_count) == 0;
}

/** Exactly one: each in turn, and not the others but those that it excludes anyway. */
static bool expand_one_of(struct expansion *expansion, formula f, const struct pending *pending) {
    struct shapes *shapes = expansion->shapes;
    struct formula_node node = *schema_node(shapes->schema, f);
    uint32_t *literals = malloc((node.count + 1) * sizeof *literals);
    if (literals == NULL) return shapes_exhausted(shapes, node.origin);
    bool ok = true;
    for (uint32_t i = 0; ok && i < node.count; i++) {
        if (trivial(shapes, node.list[i], expansion->kind, 0) == FALSE_) continue;
        uint32_t count = 0;
        bool possible = true;
        literals[count++] = node.list[i] << 1;
        for (uint32_t j = 0; j < node.count && possible; j++) {
            if (j == i) continue;
            enum truth other = trivial(shapes, node.list[j], expansion->kind, 0);
            possible = other != TRUE_;
            if (other == UNKNOWN_ && !disjoint(expansion, node.list[i], node.list[j]))
                literals[count++] = node.list[j] << 1 | 1;
        }
        if (shapes->declined)
            ok = false;
        else if (possible)
            ok = choose(expansion, literals, count, pending);
    }
    free(literals);
    return ok;
}

/** None of them, or two. */
static bool expand_not_one_of(struct expansion *expansion, formula f, const struct pending *pending) {
    struct formula_node node = *schema_node(expansion->shapes->schema, f);
    uint32_t *none = literals_of(expansion, &node, true);
    if (none == NULL) return false;
    bool ok = choose(expansion, none, node.count, pending);
    free(none);
    for (uint32_t i = 0; i < node.count; i++)
        for (uint32_t j = i + 1; ok && j < node.count; j++) {
            uint32_t two[2] = {node.list[i] << 1, node.list[j] << 1};
            ok = choose(expansion, two, 2, pending);
        }
    return ok;
}

/* ---- negated assertions ---- */

static formula make_or(struct shapes *shapes, uint32_t origin, const formula *list, uint32_t count) {
    uint32_t *copy = arena_alloc_array(&shapes->schema->arena, count, sizeof *copy);
    if (copy == NULL) return FORMULA_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] == FORMULA_NONE) return FORMULA_NONE;
        copy[i] = list[i];
    }
    return schema_make(shapes->schema,
                       (struct formula_node){.kind = F_OR, .origin = origin, .list = copy, .count = count});
}

static formula make_not(struct shapes *shapes, uint32_t origin, formula f) {
    return schema_make(shapes->schema, (struct formula_node){.kind = F_NOT, .origin = origin, .a = f});
}

/** Item `index` is there and does not satisfy its formula. */
static formula wrong_item(struct shapes *shapes, const struct formula_node *node, uint32_t index) {
    struct schema *schema = shapes->schema;
    uint32_t *items = arena_alloc_array(&schema->arena, index + 1, sizeof *items);
    uint32_t *both = arena_alloc_array(&schema->arena, 2, sizeof *both);
    if (items == NULL || both == NULL) return FORMULA_NONE;
    for (uint32_t i = 0; i < index; i++) items[i] = FORMULA_TRUE;
    items[index] = make_not(shapes, node->origin, node->list[index]);
    both[0] = schema_make(
        schema, (struct formula_node){.kind = F_ITEM_COUNT, .origin = node->origin, .a = index + 1, .b = UINT32_MAX});
    both[1] = schema_make(
        schema, (struct formula_node){
                    .kind = F_ITEMS, .origin = node->origin, .a = FORMULA_TRUE, .list = items, .count = index + 1});
    if (items[index] == FORMULA_NONE || both[0] == FORMULA_NONE || both[1] == FORMULA_NONE) return FORMULA_NONE;
    return schema_make(schema, (struct formula_node){.kind = F_AND, .origin = node->origin, .list = both, .count = 2});
}

static formula make_contains(struct shapes *shapes, uint32_t origin, formula what, uint32_t from, uint32_t min,
                             uint32_t max) {
    uint32_t *counts = arena_alloc_array(&shapes->schema->arena, 2, sizeof *counts);
    if (counts == NULL || what == FORMULA_NONE) return FORMULA_NONE;
    counts[0] = min;
    counts[1] = max;
    return schema_make(
        shapes->schema,
        (struct formula_node){.kind = F_CONTAINS, .origin = origin, .a = what, .b = from, .list = counts, .count = 2});
}

static formula violation_of_items(struct shapes *shapes, const struct formula_node *node) {
    formula *list = malloc((node->count + 1) * sizeof *list);
    if (list == NULL) return FORMULA_NONE;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->count; i++) list[count++] = wrong_item(shapes, node, i);
    list[count++] =
        make_contains(shapes, node->origin, make_not(shapes, node->origin, node->a), node->count, 1, UINT32_MAX);
    formula out = make_or(shapes, node->origin, list, count);
    free(list);
    return out;
}

/** A range of counts that is not min..max. */
static formula violation_of_count(struct shapes *shapes, const struct formula_node *node) {
    struct schema *schema = shapes->schema;
    formula list[2];
    uint32_t count = 0;
    if (node->kind == F_CONTAINS) {
        if (node->list[0] > 0)
            list[count++] = make_contains(shapes, node->origin, node->a, node->b, 0, node->list[0] - 1);
        if (node->list[1] < UINT32_MAX)
            list[count++] = make_contains(shapes, node->origin, node->a, node->b, node->list[1] + 1, UINT32_MAX);
    } else {
        struct formula_node other = {.kind = node->kind, .origin = node->origin};
        if (node->a > 0) {
            other.b = node->a - 1;
            list[count++] = schema_make(schema, other);
        }
        if (node->b < UINT32_MAX) {
            other.a = node->b + 1;
            other.b = UINT32_MAX;
            list[count++] = schema_make(schema, other);
        }
    }
    return count == 0 ? FORMULA_FALSE : make_or(shapes, node->origin, list, count);
}

/** The property is there, and one that it asks for is not. */
static formula violation_of_dependent(struct shapes *shapes, const struct formula_node *node) {
    struct schema *schema = shapes->schema;
    uint32_t *both = arena_alloc_array(&schema->arena, 2, sizeof *both);
    if (both == NULL) return FORMULA_NONE;
    formula required = schema_make(
        schema,
        (struct formula_node){.kind = F_REQUIRED, .origin = node->origin, .list = node->list, .count = node->count});
    both[0] = schema_make_required(schema, node->origin, node->a);
    both[1] = make_not(shapes, node->origin, required);
    if (required == FORMULA_NONE || both[0] == FORMULA_NONE || both[1] == FORMULA_NONE) return FORMULA_NONE;
    return schema_make(schema, (struct formula_node){.kind = F_AND, .origin = node->origin, .list = both, .count = 2});
}

/** What "not" of an assertion means, as a formula; made once. */
static formula violation_of(struct shapes *shapes, formula f) {
    uint32_t out;
    if (memo_get(&shapes->violations, f, &out)) return out;
    struct formula_node node = *schema_node(shapes->schema, f);
    switch (node.kind) {
    case F_ITEMS:
        out = violation_of_items(shapes, &node);
        break;
    case F_DEPENDENT:
        out = violation_of_dependent(shapes, &node);
        break;
    default:
        out = violation_of_count(shapes, &node);
        break;
    }
    if (out != FORMULA_NONE && !memo_put(&shapes->violations, f, out)) return FORMULA_NONE;
    return out;
}

/** What a literal is, now that the value is known to be a constant. */
static enum truth by_constant(const struct expansion *expansion, uint32_t literal) {
    if (expansion->constant == CONSTANT_NONE) return UNKNOWN_;
    const struct schema *schema = expansion->shapes->schema;
    uint32_t id = schema_constant(schema, schema_follow(schema, literal_formula(literal)));
    if (id == CONSTANT_NONE) return UNKNOWN_;
    return (id == expansion->constant) != literal_negated(literal) ? TRUE_ : FALSE_;
}

static bool expand_literal(struct expansion *expansion, uint32_t literal, const struct pending *pending);

/** A literal; if it says which constant the value is, the rest is looked at knowing it. */
static bool expand_knowing(struct expansion *expansion, uint32_t literal, const struct pending *pending) {
    const struct schema *schema = expansion->shapes->schema;
    uint32_t id = literal_negated(literal) ? CONSTANT_NONE
                                           : schema_constant(schema, schema_follow(schema, literal_formula(literal)));
    if (id == CONSTANT_NONE) return expand_literal(expansion, literal, pending);
    expansion->constant = id; /* none was known: by_constant would have said what the literal is */
    bool ok = expand_literal(expansion, literal, pending);
    expansion->constant = CONSTANT_NONE;
    return ok;
}

static bool expand_literal(struct expansion *expansion, uint32_t literal, const struct pending *pending) {
    struct shapes *shapes = expansion->shapes;
    formula f = schema_follow(shapes->schema, literal_formula(literal));
    bool negated = literal_negated(literal);
    if (f == FORMULA_NONE)
        return shapes_decline(shapes, expansion->origin, "$ref", "references that name only each other say nothing");
    struct formula_node node = *schema_node(shapes->schema, f);
    switch (node.kind) {
    case F_NOT: {
        struct pending inner = {node.a << 1 | !negated, pending};
        return expand(expansion, &inner);
    }
    case F_AND:
    case F_OR: {
        if (negated && node.kind == F_AND) return expand_not_and(expansion, f, pending);
        uint32_t *literals = literals_of(expansion, &node, negated);
        if (literals == NULL) return false;
        bool ok;
        if (node.kind == F_OR && !negated) {
            ok = expand_or(expansion, literals, node.count, pending);
        } else {
            expansion->choices--; /* choose() counts one: all of them is no choice */
            ok = choose(expansion, literals, node.count, pending);
            expansion->choices++;
        }
        free(literals);
        return ok;
    }
    case F_ONE_OF:
        return negated ? expand_not_one_of(expansion, f, pending) : expand_one_of(expansion, f, pending);
    default:
        break;
    }
    if (negated && !is_simple(shapes, f) && node.kind != F_UNIQUE) {
        formula violation = violation_of(shapes, f);
        struct pending inner = {violation << 1, pending};
        return violation == FORMULA_NONE ? shapes_exhausted(shapes, node.origin) : expand(expansion, &inner);
    }
    if (expansion->leaf_count == LEAVES_MAX) return shapes_decline(shapes, node.origin, "allOf", "too many assertions");
    uint32_t leaf_count = expansion->leaf_count;
    expansion->leaves[expansion->leaf_count++] = f << 1 | negated;
    bool ok = expand(expansion, pending);
    expansion->leaf_count = leaf_count;
    return ok;
}

static bool expand_pending(struct expansion *expansion, const struct pending *pending) {
    struct shapes *shapes = expansion->shapes;
    while (pending != NULL) {
        enum truth t = by_constant(expansion, pending->literal);
        if (t == UNKNOWN_) t = trivial_literal(shapes, pending->literal, expansion->kind);
        if (t == FALSE_) return true;
        if (t == UNKNOWN_) return expand_knowing(expansion, pending->literal, pending->next);
        pending = pending->next;
    }
    return emit(expansion);
}

static bool expand(struct expansion *expansion, const struct pending *pending) {
    struct shapes *shapes = expansion->shapes;
    if (shapes->declined) return false;
    if (!budget_spend(&shapes->schema->budget, 1)) return shapes_exhausted(shapes, expansion->origin);
    if (shapes->depth >= SHAPE_DEPTH_MAX)
        return shapes_decline(shapes, expansion->origin, "anyOf", "alternatives are nested too deeply");
    shapes->depth++;
    bool ok = expand_pending(expansion, pending);
    shapes->depth--;
    return ok;
}

/** Plain assertions first, what is excluded last: choices are then looked at knowing as much as possible. */
enum { CHOICE_NONE, CHOICE_OF, CHOICE_AGAINST, CHOICES };
static int choice_of(const struct shapes *shapes, uint32_t literal) {
    enum formula_kind kind = schema_node(shapes->schema, literal_formula(literal))->kind;
    if (kind == F_ONE_OF || (kind == F_OR && !literal_negated(literal))) return CHOICE_OF;
    return kind == F_AND && literal_negated(literal) ? CHOICE_AGAINST : CHOICE_NONE;
}

static void **expand_all(struct shapes *shapes, conjunction c, enum value_kind kind, uint32_t *out_count) {
    struct intern_item item = intern_get(&shapes->conjunctions, c);
    struct expansion *expansion = calloc(1, sizeof *expansion);
    struct pending *chain = malloc((item.count + 1) * sizeof *chain);
    void **out = NULL;
    if (expansion == NULL || chain == NULL) {
        shapes_exhausted(shapes, 0);
        goto cleanup;
    }
    expansion->shapes = shapes;
    expansion->kind = kind;
    uint32_t count = 0;
    expansion->constant = CONSTANT_NONE;
    for (int choice = CHOICE_NONE; choice < CHOICES; choice++)
        for (uint32_t i = 0; i < item.count; i++)
            if (choice_of(shapes, item.words[i]) == choice) chain[count++].literal = item.words[i];
    for (uint32_t i = 0; i < count; i++) chain[i].next = i + 1 < count ? &chain[i + 1] : NULL;
    if (count > 0) expansion->origin = schema_node(shapes->schema, literal_formula(chain[count - 1].literal))->origin;
    if (!expand(expansion, count > 0 ? chain : NULL)) goto cleanup;
    out = arena_alloc_array(&shapes->schema->arena, expansion->form_count + 1, sizeof *out);
    if (out == NULL) {
        shapes_exhausted(shapes, expansion->origin);
        goto cleanup;
    }
    memcpy(out, expansion->forms, expansion->form_count * sizeof *out);
    *out_count = expansion->form_count;
cleanup:
    free(chain);
    free(expansion);
    return out;
}

bool expand_arrays(struct shapes *shapes, conjunction c, struct shape *shape) {
    shape->arrays = (struct array_form *const *)expand_all(shapes, c, VALUE_ARRAY, &shape->array_count);
    return shape->arrays != NULL;
}

bool expand_objects(struct shapes *shapes, conjunction c, struct shape *shape) {
    shape->objects = (struct object_form *const *)expand_all(shapes, c, VALUE_OBJECT, &shape->object_count);
    return shape->objects != NULL;
}
