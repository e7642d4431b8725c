/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Items that must differ from those that were there (uniqueItems): where few values are left, an item must not be begun that could only end as one of them.
 *
 *     scalars     "not this value"
 *     composites  out of a list of constants (an enum): "not this value"
 *                 else all that were seen as a tree, arrays by their items, objects by their properties in one order: a further value leaves the tree
 *                 somewhere. So there are as many forms as the tree has nodes, and what they say is exact
 */
#include "engine/grammar/json_internal.h"

#include "engine/grammar/json_canonical.h"

#include <stdlib.h>
#include <string.h>

enum {
    FEW_VALUES = 1000, /* values that may run out */
    SEEN_MAX = 64,     /* composites that are told apart; the array ends there, */
    PLACES_MAX = 200,  /* or with so many items, or properties, of theirs */
    NAMES_MAX = 32,
    SEEN_DEPTH_MAX = 1000
};

/** Some digit that makes it another number may follow. */
static bool digit_follows(struct number_pool *numbers, number_state state) {
    for (uint8_t digit = '1'; digit <= '9'; digit++) {
        number_state next = number_step(numbers, state, digit);
        if (next != NUMBER_DEAD && next != NUMBER_STATE_FAILED) return true;
    }
    return false;
}

/** What is begun as this number can become another one. */
static bool number_goes_on(struct json_machine *m, number_set set, struct bytes_view json) {
    struct number_pool *numbers = m->shapes->schema->numbers;
    number_state state = json_number_start(m, set);
    /* Another spelling of the same (5.0, 5e0, -0 for 0) may come to an end where this one does not. */
    if (m->options.spelling == GRAMMAR_SPELLING_ANY || !number_prints_digits(numbers, state)) return false;
    for (size_t i = 0; i < json.length && state != NUMBER_DEAD && state != NUMBER_STATE_FAILED; i++)
        state = number_step(numbers, state, json.data[i]);
    if (state == NUMBER_DEAD || state == NUMBER_STATE_FAILED) return false;
    if (digit_follows(numbers, state)) return true;
    number_state fraction = number_step(numbers, state, '.');
    return fraction != NUMBER_DEAD && fraction != NUMBER_STATE_FAILED && digit_follows(numbers, fraction);
}

/** Whatever is begun, in all of its spellings, can become another number: of the set of all numbers, without limits. */
static bool spelled_at_will(const struct json_machine *m, number_set set) {
    return set == NUMBER_ANY && m->options.spelling == GRAMMAR_SPELLING_ANY;
}

/** Where nothing but strings seen could come of what is begun. */
static bool string_runs_out(struct json_machine *m, regex language, struct bytes_view json) {
    struct regex_pool *pool = m->shapes->schema->regexes;
    struct arena arena;
    struct json_value *value;
    struct json_problem problem;
    if (language == REGEX_NOTHING || language == REGEX_EVERYTHING) return false;
    arena_init(&arena, (size_t)1 << 30);
    bool out = json_read(json, 0, 1, &arena, &value, &problem) != STATUS_OK ||
               regex_without(pool, language, value->string, FEW_VALUES) != language;
    arena_deinit(&arena);
    return out;
}

static bool numbers_run_out(struct json_machine *m, conjunction values, const struct shape *shape,
                            struct bytes_view json) {
    for (uint32_t i = 0; i < shape->number_count; i++)
        if (spelled_at_will(m, shape->numbers[i])) return false;
    if (shape->number_count == 0) return false;
    if (shape_count(m->shapes, values, FEW_VALUES) < FEW_VALUES) return true;
    for (uint32_t i = 0; i < shape->number_count; i++)
        if (number_goes_on(m, shape->numbers[i], json)) return false;
    return true;
}

/** An item of these values must be told that it is not the one seen, or it might be begun as one that could only end as that. */
static bool runs_out(struct json_machine *m, conjunction values, struct bytes_view json) {
    const struct shape *shape = shape_of(m->shapes, values, SHAPE_SCALARS | SHAPE_ARRAYS | SHAPE_OBJECTS);
    if (shape == NULL) return false;
    switch (json.data[0]) {
    case 'n':
    case 't':
    case 'f':
        return shape->constants != 0;
    case '"':
        return string_runs_out(m, shape->string, json);
    case '[':
    case '{':
        return shape_count(m->shapes, values, FEW_VALUES) < FEW_VALUES;
    default:
        return numbers_run_out(m, values, shape, json);
    }
}

formula seen_formula(struct json_machine *m, const struct seen_text *seen) {
    formula out;
    uint64_t key = seen->hash[0] & (UINT64_MAX >> 1);
    if (memo_get(&m->seen_formulas, key, &out)) return out;
    out = canonical_formula(m->shapes->schema, seen->text);
    return out != FORMULA_NONE && memo_put(&m->seen_formulas, key, out) ? out : FORMULA_NONE;
}

/* ---- trees ---- */

/** A value that was seen, or what is left of it. */
struct branch {
    const struct json_value *item; /* NULL: an array that has ended, a property that is missing */
    const struct json_value *of;   /* objects: all of it */
    uint64_t hash[2];
};
struct tree {
    struct schema *schema;
    enum value_kind kind;
    name_id names[NAMES_MAX]; /* [name_count] objects: in the order of the tree */
    uint32_t name_count;
    formula path[PLACES_MAX + 1]; /* what items or properties are up to here; FORMULA_NONE: the property is missing */
    formula ways[2 * PLACES_MAX + 4]; /* [way_count] out of the tree */
    uint32_t way_count;
    bool failed;
};

static formula make(struct tree *tree, struct formula_node node, const formula *list, uint32_t count) {
    uint32_t *copy = arena_alloc_array(&tree->schema->arena, count, sizeof *copy);
    if (copy == NULL || !budget_reserve(&tree->schema->budget, count * sizeof *copy)) return FORMULA_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] == FORMULA_NONE) return FORMULA_NONE;
        copy[i] = list[i];
    }
    node.list = copy;
    node.count = count;
    return schema_make(tree->schema, node);
}

/** A value of the tree's kind of which `count` more things are said. */
static void add_way(struct tree *tree, const formula *said, uint32_t count) {
    formula all[3] = {schema_make(tree->schema, (struct formula_node){.kind = F_TYPE, .a = 1u << tree->kind})};
    for (uint32_t i = 0; i < count; i++) all[i + 1] = said[i];
    formula out = make(tree, (struct formula_node){.kind = F_AND}, all, count + 1);
    tree->failed |= out == FORMULA_NONE || tree->way_count == sizeof tree->ways / sizeof *tree->ways;
    if (!tree->failed) tree->ways[tree->way_count++] = out;
}

/** An array whose first items are those of the path, of min to max items. */
static void leave_array(struct tree *tree, uint32_t depth, uint32_t min, uint32_t max) {
    formula said[2] = {make(tree, (struct formula_node){.kind = F_ITEMS, .a = FORMULA_TRUE}, tree->path, depth),
                       schema_make(tree->schema, (struct formula_node){.kind = F_ITEM_COUNT, .a = min, .b = max})};
    add_way(tree, said, 2);
}

/** An object whose first properties are those of the path. */
static void leave_object(struct tree *tree, uint32_t depth) {
    struct arena *arena = &tree->schema->arena;
    struct properties *properties = arena_alloc(arena, sizeof *properties);
    uint32_t required[NAMES_MAX] = {0}, count = 0;
    tree->failed |= properties == NULL || !budget_reserve(&tree->schema->budget, sizeof *properties + 20 * depth);
    if (tree->failed) return;
    properties->others = FORMULA_TRUE;
    properties->named = arena_alloc_array(arena, depth, sizeof *properties->named);
    properties->sorted = arena_alloc_array(arena, depth, sizeof *properties->sorted);
    tree->failed |= properties->named == NULL || properties->sorted == NULL;
    for (uint32_t i = 0; i < depth && !tree->failed; i++) {
        bool missing = tree->path[i] == FORMULA_NONE;
        properties->named[properties->named_count++] =
            (struct named_formula){tree->names[i], missing ? FORMULA_FALSE : tree->path[i]};
        if (!missing) required[count++] = tree->names[i];
    }
    if (tree->failed) return;
    properties_sort(properties);
    formula said[2] = {schema_make(tree->schema, (struct formula_node){.kind = F_PROPERTIES, .properties = properties}),
                       make(tree, (struct formula_node){.kind = F_REQUIRED}, required, count)};
    add_way(tree, said, count > 0 ? 2 : 1);
}

static int compare_branches(const void *a, const void *b) {
    const struct branch *x = a, *y = b;
    for (int i = 0; i < 2; i++)
        if (x->hash[i] != y->hash[i]) return x->hash[i] < y->hash[i] ? -1 : 1;
    return 0;
}

/** Those that go on at this depth, sorted; *out_ended: some do not. */
static uint32_t open_branches(struct tree *tree, struct branch *branches, uint32_t count, uint32_t depth,
                              bool *out_ended) {
    uint32_t open = 0;
    *out_ended = false;
    for (uint32_t i = 0; i < count; i++) {
        struct branch branch = branches[i];
        if (tree->kind == VALUE_OBJECT) {
            branch.item = branch.of->first;
            struct bytes_view name = schema_name_text(tree->schema, tree->names[depth]);
            while (branch.item != NULL && !bytes_view_equal(branch.item->name, name)) branch.item = branch.item->next;
        }
        *out_ended |= branch.item == NULL;
        if (branch.item != NULL) tree->failed |= !canonical_hash_of(branch.item, branch.hash);
        if (branch.item != NULL) {
            branches[i] = branches[open];
            branches[open++] = branch;
        }
    }
    if (open > 1) qsort(branches, open, sizeof *branches, compare_branches);
    return open;
}

static void leave_below(struct tree *tree, const struct branch *from, uint32_t count, uint32_t depth);

/** Below the branches that are equal at this depth. */
static void go_below(struct tree *tree, const struct branch *branches, uint32_t count, uint32_t depth) {
    struct branch below[SEEN_MAX];
    for (uint32_t i = 0; i < count; i++) {
        below[i] = branches[i];
        if (tree->kind == VALUE_ARRAY) below[i].item = branches[i].item->next;
    }
    if (!tree->failed) leave_below(tree, below, count, depth + 1);
}

/** All ways to leave the tree at or below a node. Depth is at most PLACES_MAX, or NAMES_MAX. */
static void leave_below(struct tree *tree, const struct branch *from, uint32_t count, uint32_t depth) {
    struct branch branches[SEEN_MAX];
    formula others[SEEN_MAX];
    uint32_t other_count = 0;
    bool object = tree->kind == VALUE_OBJECT, ended;
    if (object && depth == tree->name_count) return;
    memcpy(branches, from, count * sizeof *branches);
    uint32_t open = open_branches(tree, branches, count, depth, &ended);
    for (uint32_t i = 0, end; i < open && !tree->failed; i = end) {
        others[other_count] = tree->path[depth] = schema_make_constant(tree->schema, 0, branches[i].item);
        tree->failed |= others[other_count++] == FORMULA_NONE;
        for (end = i; end < open && compare_branches(&branches[end], &branches[i]) == 0;) end++;
        go_below(tree, branches + i, end - i, depth);
    }
    tree->path[depth] = FORMULA_NONE;
    if (object && ended) go_below(tree, branches + open, count - open, depth);
    if (!ended && object) leave_object(tree, depth + 1);
    if (!ended && !object) leave_array(tree, depth, depth, depth);
    formula any = make(tree, (struct formula_node){.kind = F_OR}, others, other_count);
    tree->path[depth] = schema_make(tree->schema, (struct formula_node){.kind = F_NOT, .a = any});
    tree->failed |= any == FORMULA_NONE || tree->path[depth] == FORMULA_NONE;
    if (tree->failed) return;
    if (object)
        leave_object(tree, depth + 1);
    else
        leave_array(tree, depth + 1, depth + 1, UINT32_MAX);
}

/** All names that objects of these values can have, as there are few of them. False: too many. */
static bool collect_names(struct json_machine *m, struct tree *tree, conjunction values) {
    const struct shape *shape = shape_of(m->shapes, values, SHAPE_OBJECTS);
    tree->failed |= shape == NULL;
    for (uint32_t i = 0; !tree->failed && i < shape->object_count; i++)
        for (uint32_t j = 0; j < shape->objects[i]->order_count; j++) {
            name_id name = shape->objects[i]->order[j];
            uint32_t n = 0;
            while (n < tree->name_count && tree->names[n] != name) n++;
            if (n == NAMES_MAX) return false;
            tree->names[n] = name;
            tree->name_count += n == tree->name_count;
        }
    return true;
}

/** The values of one kind that were seen. False: too many. */
static bool collect_seen(struct tree *tree, const struct seen_text *seen, struct branch *out, uint32_t *count) {
    struct schema *schema = tree->schema;
    uint32_t places = 0;
    for (; seen != NULL && !tree->failed; seen = seen->before) {
        struct json_value *value;
        struct json_problem problem;
        if (seen->text.data[0] != (tree->kind == VALUE_ARRAY ? '[' : '{')) continue;
        if (*count == SEEN_MAX) return false;
        tree->failed |= !budget_reserve(&schema->budget, 4 * seen->text.length) ||
                        json_read(seen->text, SEEN_DEPTH_MAX, INT64_MAX, &schema->arena, &value, &problem) != STATUS_OK;
        if (tree->failed) break;
        out[(*count)++] = (struct branch){.item = value->first, .of = value};
        places += value->count + 1;
        if (places > PLACES_MAX) return false;
    }
    return true;
}

/** None of the arrays, or objects, seen; CONJUNCTION_FALSE: they are too many to tell. */
static conjunction none_seen(struct json_machine *m, const struct array_form *form, const struct seen_text *seen,
                             uint32_t index, enum value_kind kind) {
    struct schema *schema = m->shapes->schema;
    struct branch branches[SEEN_MAX];
    uint32_t count = 0;
    conjunction out = CONJUNCTION_FAILED;
    struct tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL) return out;
    tree->schema = schema;
    tree->kind = kind;
    bool few = collect_seen(tree, seen, branches, &count);
    if (kind == VALUE_OBJECT) {
        few = few && collect_names(m, tree, form->others);
        for (uint32_t i = index; few && i < form->first_count; i++) few = collect_names(m, tree, form->first[i]);
    }
    if (!few && !tree->failed) {
        out = CONJUNCTION_FALSE;
    } else if (!tree->failed) {
        tree->ways[tree->way_count++] =
            schema_make(schema, (struct formula_node){.kind = F_TYPE, .a = VALUE_ALL & ~(1u << kind)});
        if (!tree->failed) leave_below(tree, branches, count, 0);
        formula all = make(tree, (struct formula_node){.kind = F_OR}, tree->ways, tree->way_count);
        if (!tree->failed && all != FORMULA_NONE) out = conjunction_of(m->shapes, all);
    }
    free(tree);
    return out;
}

bool seen_before(const struct seen_text *seen, const uint64_t hash[2]) {
    for (; seen != NULL; seen = seen->before)
        if (seen->hash[0] == hash[0] && seen->hash[1] == hash[1]) return true;
    return false;
}

bool seen_text_of(struct frames *frames, const struct frame *frame, const struct text_node *text,
                  struct seen_text *out) {
    out->text = text_between(frames, frame->start, text);
    while (out->text.length > 0 && strchr(" \t\r\n,", out->text.data[0]) != NULL) { /* since the value before */
        out->text.data++;
        out->text.length--;
    }
    return out->text.data != NULL && canonical_hash(out->text, out->hash);
}

bool seen_when_closed(struct frames *frames, const struct frame *frame, const struct text_node *text) {
    const struct frame *array = frame->parent;
    if (array->kind != FRAME_ARRAY || array->texts == NULL) return false;
    for (uint32_t i = 0; i < array->item_count; i++) {
        const struct joint_array *of = &array->joint->arrays[array->items[i].index];
        if (of->must && !of->form->unique) return false;
    }
    struct frames_mark before = frames_mark(frames);
    struct text_node close = {.before = text, .byte = frame->kind == FRAME_ARRAY ? ']' : '}'};
    struct seen_text closed;
    bool out = seen_text_of(frames, array, &close, &closed) && seen_before(array->texts, closed.hash);
    frames_drop(frames, before);
    return out;
}

/* ---- all of them ---- */

/** The arrays and objects that satisfy it are a list of constants. */
static bool listed(struct json_machine *m, conjunction values) {
    const struct shape *shape = shape_of(m->shapes, values, SHAPE_ARRAYS | SHAPE_OBJECTS);
    bool out = shape != NULL;
    for (uint32_t i = 0; out && i < shape->array_count; i++) out = shape->arrays[i]->constant;
    for (uint32_t i = 0; out && i < shape->object_count; i++) out = shape->objects[i]->constant;
    return out;
}

bool seen_exclude(struct json_machine *m, const struct array_form *form, const struct seen_text *seen, uint32_t index,
                  struct item *item) {
    enum { FIRST_LOOKED_AT = 64 };
    bool out = form->first_count > FIRST_LOOKED_AT || runs_out(m, form->others, seen->text);
    bool single = listed(m, form->others);
    for (uint32_t i = index; i < form->first_count && i < FIRST_LOOKED_AT; i++) {
        out = out || runs_out(m, form->first[i], seen->text);
        single = single && listed(m, form->first[i]);
    }
    if (!out) return true;
    bool composite = seen->text.data[0] == '[' || seen->text.data[0] == '{';
    if (composite && !single) {
        conjunction none = none_seen(m, form, seen, index, seen->text.data[0] == '[' ? VALUE_ARRAY : VALUE_OBJECT);
        conjunction *place = seen->text.data[0] == '[' ? &item->arrays_seen : &item->objects_seen;
        *place = none;
        return none != CONJUNCTION_FAILED;
    }
    formula f = seen_formula(m, seen);
    if (f == FORMULA_NONE && m->shapes->schema->beyond) return true; /* a number that nobody would begin again */
    item->without = conjunction_with(m->shapes, item->without, f, true);
    return item->without != CONJUNCTION_FAILED;
}
