/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/shape_internal.h"

#include <stdlib.h>
#include <string.h>

/** A form in the making. */
struct building {
    struct shapes *shapes;
    struct object_form *form;
    struct object_extra *extra;
    const struct properties **properties;
    name_id *required, *order;
    struct object_dependent *dependent;
    struct object_obligation *obligations;
    regex *selectors;
    regex names; /* what all names are in */
    uint32_t required_capacity, order_capacity;
    struct memo required_names; /* name -> 1 */
};

/* ---- names ---- */

static bool push_name(struct building *b, name_id **list, uint32_t *count, uint32_t *capacity, name_id name) {
    if (*count == *capacity) {
        uint32_t bigger = *capacity == 0 ? 16 : *capacity * 2;
        name_id *copy = arena_alloc_array(&b->shapes->schema->arena, bigger, sizeof *copy);
        if (copy == NULL) return shapes_exhausted(b->shapes, 0);
        if (*count > 0) memcpy(copy, *list, *count * sizeof *copy);
        *list = copy;
        *capacity = bigger;
    }
    (*list)[(*count)++] = name;
    return true;
}

static bool holds(const name_id *list, uint32_t count, name_id name) {
    for (uint32_t i = 0; i < count; i++)
        if (list[i] == name) return true;
    return false;
}

/** A few names are looked through, many are looked up. */
enum { NAMES_LOOKED_THROUGH = 32 };

static bool is_required(const struct building *b, name_id name) {
    uint32_t there;
    if (b->form->required_count <= NAMES_LOOKED_THROUGH) return holds(b->required, b->form->required_count, name);
    return memo_get(&b->required_names, name, &there);
}

static bool require(struct building *b, name_id name) {
    if (is_required(b, name)) return true;
    if (!push_name(b, &b->required, &b->form->required_count, &b->required_capacity, name)) return false;
    uint32_t count = b->form->required_count, first = count == NAMES_LOOKED_THROUGH + 1 ? 0 : count - 1;
    for (uint32_t i = first; count > NAMES_LOOKED_THROUGH && i < count; i++)
        if (!memo_put(&b->required_names, b->required[i], 1)) return shapes_exhausted(b->shapes, 0);
    return true;
}

/** The index of a language of names among the form's selectors; UINT32_MAX: too many, or exhausted. */
static uint32_t selector_of(struct building *b, regex r) {
    for (uint32_t i = 0; i < b->form->selector_count; i++)
        if (b->selectors[i] == r) return i;
    if (r == REGEX_FAILED)
        shapes_exhausted(b->shapes, 0);
    else if (b->form->selector_count == OBJECT_SELECTORS_MAX)
        shapes_decline(b->shapes, 0, "patternProperties", "too many patterns apply to one object");
    else {
        b->selectors[b->form->selector_count] = r;
        return b->form->selector_count++;
    }
    return UINT32_MAX;
}

static bool add_extra(struct building *b, name_id name, conjunction value) {
    if (value == CONJUNCTION_FAILED) return shapes_exhausted(b->shapes, 0);
    b->extra[b->form->extra_count++] = (struct object_extra){name, value};
    return true;
}

/* ---- obligations ---- */

struct options {
    struct object_option *list;
    uint32_t count, capacity;
};

static bool push_option(struct building *b, struct options *options, struct object_option option) {
    if (option.value == CONJUNCTION_FALSE && option.kind != OPTION_MISSING) return true;
    if (option.value == CONJUNCTION_FAILED || (option.kind == OPTION_MATCH && option.selector == UINT32_MAX))
        return shapes_exhausted(b->shapes, 0);
    if (options->count == options->capacity) {
        uint32_t capacity = options->capacity == 0 ? 8 : options->capacity * 2;
        struct object_option *list = arena_alloc_array(&b->shapes->schema->arena, capacity, sizeof *list);
        if (list == NULL) return shapes_exhausted(b->shapes, 0);
        if (options->count > 0) memcpy(list, options->list, options->count * sizeof *list);
        options->list = list;
        options->capacity = capacity;
    }
    options->list[options->count++] = option;
    return true;
}

/** Names that the assertion neither lists nor matches. */
static regex unlisted(struct shapes *shapes, const struct properties *properties) {
    struct schema *schema = shapes->schema;
    struct bytes_view *texts = malloc((properties->named_count + 1) * sizeof *texts);
    if (texts == NULL) return REGEX_FAILED;
    for (uint32_t i = 0; i < properties->named_count; i++)
        texts[i] = schema_name_text(schema, properties->named[i].name);
    regex r = properties->named_count == 0
                  ? REGEX_EVERYTHING
                  : regex_not(schema->regexes, regex_literals(schema->regexes, texts, properties->named_count));
    for (uint32_t i = 0; i < properties->matched_count; i++)
        r = regex_and(schema->regexes, r, regex_not(schema->regexes, properties->matched[i].names));
    free(texts);
    return r;
}

/** The ways to violate an assertion. */
static bool add_options(struct building *b, struct options *options, formula f) {
    struct shapes *shapes = b->shapes;
    struct formula_node node = *schema_node(shapes->schema, f);
    struct object_option option = {0};
    if (node.kind == F_REQUIRED) {
        option.kind = OPTION_MISSING;
        for (uint32_t i = 0; i < node.count; i++) {
            option.name = node.list[i];
            if (!push_option(b, options, option)) return false;
        }
        return true;
    }
    option.kind = OPTION_MATCH;
    if (node.kind == F_NAMES) {
        option.value = CONJUNCTION_TRUE;
        option.selector = selector_of(b, schema_strings(shapes->schema, node.b, true));
        return push_option(b, options, option);
    }
    const struct properties *properties = node.properties;
    for (uint32_t i = 0; i < properties->named_count; i++) {
        struct object_option named = {.kind = OPTION_NAME, .name = properties->named[i].name};
        named.value = conjunction_with(shapes, CONJUNCTION_TRUE, properties->named[i].formula, true);
        if (!push_option(b, options, named)) return false;
    }
    for (uint32_t i = 0; i < properties->matched_count; i++) {
        option.value = conjunction_with(shapes, CONJUNCTION_TRUE, properties->matched[i].formula, true);
        if (option.value == CONJUNCTION_FALSE) continue;
        option.selector = selector_of(b, properties->matched[i].names);
        if (!push_option(b, options, option)) return false;
    }
    option.value = conjunction_with(shapes, CONJUNCTION_TRUE, properties->others, true);
    if (option.value == CONJUNCTION_FALSE) return true;
    regex r = unlisted(shapes, properties);
    if (r == REGEX_NOTHING) return true;
    option.selector = selector_of(b, r);
    return push_option(b, options, option);
}

static bool add_obligation(struct building *b, uint32_t literal, bool *impossible) {
    struct shapes *shapes = b->shapes;
    formula f = literal_formula(literal);
    struct formula_node node = *schema_node(shapes->schema, f);
    struct options options = {0};
    if (node.kind != F_AND) {
        if (!add_options(b, &options, f)) return false;
    } else {
        for (uint32_t i = 0; i < node.count; i++) {
            formula child = schema_follow(shapes->schema, node.list[i]);
            enum formula_kind kind = schema_node(shapes->schema, child)->kind;
            bool simple = kind == F_PROPERTIES || kind == F_REQUIRED || kind == F_NAMES;
            if (simple && !add_options(b, &options, child)) return false;
        }
    }
    *impossible |= options.count == 0;
    if (options.count == 1 && options.list[0].kind == OPTION_NAME) /* the only way is as good as an assertion */
        return require(b, options.list[0].name) && add_extra(b, options.list[0].name, options.list[0].value);
    if (options.count == 1 && options.list[0].kind == OPTION_MISSING)
        return add_extra(b, options.list[0].name, CONJUNCTION_FALSE);
    if (b->form->obligation_count == 64)
        return shapes_decline(shapes, node.origin, "not", "too many negations apply to one object");
    b->obligations[b->form->obligation_count++] = (struct object_obligation){options.list, options.count};
    return true;
}

/* ---- the form ---- */

static bool add_leaf(struct building *b, uint32_t literal, bool *impossible) {
    struct schema *schema = b->shapes->schema;
    struct object_form *form = b->form;
    struct formula_node node = *schema_node(schema, literal_formula(literal));
    if (literal_negated(literal)) return add_obligation(b, literal, impossible);
    switch (node.kind) {
    case F_PROPERTIES:
        b->properties[form->properties_count++] = node.properties;
        return true;
    case F_REQUIRED:
        for (uint32_t i = 0; i < node.count; i++)
            if (!require(b, node.list[i])) return false;
        return true;
    case F_PROPERTY_COUNT:
        if (node.a > form->min) form->min = node.a;
        if (node.b < form->max) form->max = node.b;
        return true;
    case F_NAMES:
        b->names = regex_and(schema->regexes, b->names, node.a);
        return b->names != REGEX_FAILED || shapes_exhausted(b->shapes, node.origin);
    case F_DEPENDENT:
        b->dependent[form->dependent_count++] = (struct object_dependent){node.a, node.list, node.count};
        return true;
    default:
        return true;
    }
}

/** All names that the form says something about: properties as listed, then what is required or asked for besides. */
static bool collect_order(struct building *b) {
    struct object_form *form = b->form;
    struct memo seen;
    memo_init(&seen, &b->shapes->schema->budget);
    bool ok = true;
    uint32_t ignored;
#define ADD_NAME(name)                                                   \
    if (ok && !memo_get(&seen, name, &ignored))                          \
    ok = (memo_put(&seen, name, 1) || shapes_exhausted(b->shapes, 0)) && \
         push_name(b, &b->order, &form->order_count, &b->order_capacity, name)
    for (uint32_t i = 0; i < form->properties_count; i++)
        for (uint32_t j = 0; j < b->properties[i]->named_count; j++) {
            ADD_NAME(b->properties[i]->named[j].name);
        }
    for (uint32_t i = 0; i < form->required_count; i++) {
        ADD_NAME(b->required[i]);
    }
    for (uint32_t i = 0; i < form->extra_count; i++) {
        ADD_NAME(b->extra[i].name);
    }
    for (uint32_t i = 0; i < form->dependent_count; i++) {
        ADD_NAME(b->dependent[i].present);
        for (uint32_t j = 0; j < b->dependent[i].count; j++) {
            ADD_NAME(b->dependent[i].required[j]);
        }
    }
    for (uint32_t i = 0; i < form->obligation_count; i++)
        for (uint32_t j = 0; j < b->obligations[i].count; j++)
            if (b->obligations[i].options[j].kind != OPTION_MATCH) {
                ADD_NAME(b->obligations[i].options[j].name);
            }
#undef ADD_NAME
    memo_deinit(&seen);
    return ok;
}

static bool collect_selectors(struct building *b) {
    struct object_form *form = b->form;
    for (uint32_t i = 0; i < form->properties_count; i++)
        for (uint32_t j = 0; j < b->properties[i]->matched_count; j++)
            if (selector_of(b, b->properties[i]->matched[j].names) == UINT32_MAX) return false;
    form->names_selector = UINT32_MAX;
    if (b->names != REGEX_EVERYTHING) {
        form->names_selector = selector_of(b, b->names);
        if (form->names_selector == UINT32_MAX) return false;
    }
    return true;
}

static struct object_form **form_slot(struct shapes *shapes, uint32_t id) {
    if (id >= shapes->object_form_capacity) {
        uint32_t capacity = shapes->object_form_capacity == 0 ? 64 : shapes->object_form_capacity;
        while (capacity <= id) capacity *= 2;
        struct object_form **forms = realloc(shapes->object_forms, capacity * sizeof *forms);
        if (forms == NULL || !budget_reserve(&shapes->schema->budget, capacity * sizeof *forms / 2)) return NULL;
        memset(forms + shapes->object_form_capacity, 0, (capacity - shapes->object_form_capacity) * sizeof *forms);
        shapes->object_forms = forms;
        shapes->object_form_capacity = capacity;
    }
    return &shapes->object_forms[id];
}

static int compare_words(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/** Equal leaves are one form. */
static uint32_t form_id(struct shapes *shapes, const uint32_t *leaves, uint32_t count) {
    uint32_t *sorted = malloc((count + 1) * sizeof *sorted), kept = 0;
    if (sorted == NULL) return INTERN_FAILED;
    if (count > 0) memcpy(sorted, leaves, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_words);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || sorted[i] != sorted[kept - 1]) sorted[kept++] = sorted[i];
    uint32_t id = intern_put(&shapes->leaves, sorted, kept);
    free(sorted);
    return id;
}

static uint32_t extras_needed(const uint32_t *leaves, uint32_t count) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < count; i++) out += literal_negated(leaves[i]);
    return out;
}

bool build_object_form(struct shapes *shapes, const uint32_t *leaves, uint32_t count, struct object_form **out) {
    struct schema *schema = shapes->schema;
    *out = NULL;
    uint32_t id = form_id(shapes, leaves, count);
    struct object_form **slot = id == INTERN_FAILED ? NULL : form_slot(shapes, id);
    if (slot == NULL || !budget_spend(&schema->budget, 1)) return shapes_exhausted(shapes, 0);
    if (*slot != NULL) {
        *out = (*slot)->id == UINT32_MAX ? NULL : *slot;
        return true;
    }
    struct arena *arena = &schema->arena;
    struct building b = {.shapes = shapes, .names = REGEX_EVERYTHING};
    memo_init(&b.required_names, &schema->budget);
    b.form = arena_alloc(arena, sizeof *b.form);
    b.properties = arena_alloc_array(arena, count, sizeof *b.properties);
    b.dependent = arena_alloc_array(arena, count, sizeof *b.dependent);
    uint32_t negated = extras_needed(leaves, count);
    b.extra = arena_alloc_array(arena, negated, sizeof *b.extra);
    b.obligations = arena_alloc_array(arena, negated < 64 ? negated : 64, sizeof *b.obligations);
    b.selectors = arena_alloc_array(arena, OBJECT_SELECTORS_MAX, sizeof *b.selectors);
    if (b.form == NULL || b.properties == NULL || b.dependent == NULL || b.extra == NULL || b.obligations == NULL ||
        b.selectors == NULL || !budget_reserve(&schema->budget, sizeof *b.form + 300))
        return shapes_exhausted(shapes, 0);
    struct object_form *form = b.form;
    form->max = UINT32_MAX;
    bool impossible = false;
    bool ok = true;
    for (uint32_t i = 0; i < count && ok; i++) ok = add_leaf(&b, leaves[i], &impossible);
    memo_deinit(&b.required_names);
    if (!ok) return false;
    if (!collect_selectors(&b) || !collect_order(&b)) return false;
    form->id = impossible || form->min > form->max ? UINT32_MAX : id;
    form->properties = b.properties;
    form->extra = b.extra;
    form->required = b.required;
    form->dependent = b.dependent;
    form->obligations = b.obligations;
    form->selectors = b.selectors;
    form->order = b.order;
    form->other_names = REGEX_NOT_KNOWN;
    form->cheapest_names = REGEX_NOT_KNOWN;
    slot = form_slot(shapes, id);
    *slot = form;
    if (form->id != UINT32_MAX) *out = form;
    return true;
}

/* ---- values ---- */

uint64_t object_selected(struct shapes *shapes, const struct object_form *form, struct bytes_view name) {
    uint64_t out = 0;
    for (uint32_t i = 0; i < form->selector_count; i++)
        out |= (uint64_t)regex_matches(shapes->schema->regexes, form->selectors[i], name) << i;
    return out;
}

static uint32_t selector_index(const struct object_form *form, regex r) {
    uint32_t i = 0;
    while (form->selectors[i] != r) i++;
    return i;
}

/** What the assertions ask of a property. */
static conjunction asked(struct shapes *shapes, const struct object_form *form, name_id name, uint64_t selected) {
    conjunction out = CONJUNCTION_TRUE;
    if (form->names_selector != UINT32_MAX && !(selected >> form->names_selector & 1)) return CONJUNCTION_FALSE;
    for (uint32_t i = 0; i < form->properties_count && out != CONJUNCTION_FALSE; i++) {
        const struct properties *properties = form->properties[i];
        formula named = name == FORMULA_NONE ? FORMULA_NONE : properties_named(properties, name);
        bool found = named != FORMULA_NONE;
        if (found) out = conjunction_with(shapes, out, named, false);
        for (uint32_t j = 0; j < properties->matched_count; j++) {
            if (!(selected >> selector_index(form, properties->matched[j].names) & 1)) continue;
            found = true;
            out = conjunction_with(shapes, out, properties->matched[j].formula, false);
        }
        if (!found) out = conjunction_with(shapes, out, properties->others, false);
    }
    for (uint32_t i = 0; i < form->extra_count; i++)
        if (form->extra[i].name == name) out = conjunction_and(shapes, out, form->extra[i].value);
    return out;
}

conjunction object_named(struct shapes *shapes, struct object_form *form, name_id name) {
    uint64_t key = (uint64_t)form->id << 32 | name;
    conjunction out;
    if (memo_get(&shapes->named_values, key, &out)) return out;
    uint64_t selected =
        form->selector_count == 0 ? 0 : object_selected(shapes, form, schema_name_text(shapes->schema, name));
    out = asked(shapes, form, name, selected);
    if (out != CONJUNCTION_FAILED && !memo_put(&shapes->named_values, key, out)) {
        shapes_exhausted(shapes, 0);
        return CONJUNCTION_FAILED;
    }
    return out;
}

conjunction object_other(struct shapes *shapes, struct object_form *form, uint64_t selected) {
    uint32_t words[3] = {form->id, (uint32_t)selected, (uint32_t)(selected >> 32)};
    uint32_t key = intern_put(&shapes->selections, words, 3);
    conjunction out;
    if (key != INTERN_FAILED && memo_get(&shapes->other_values, key, &out)) return out;
    out = key == INTERN_FAILED ? CONJUNCTION_FAILED : asked(shapes, form, FORMULA_NONE, selected);
    if (out == CONJUNCTION_FAILED || !memo_put(&shapes->other_values, key, out)) {
        shapes_exhausted(shapes, 0);
        return CONJUNCTION_FAILED;
    }
    return out;
}

/** Patterns in all their combinations up to this many, else each alone. */
enum { COMBINED_PATTERNS_MAX = 5 };

/** The names that the form knows. */
static regex known_names(struct shapes *shapes, const struct object_form *form) {
    struct bytes_view *texts = malloc((form->order_count + 1) * sizeof *texts);
    if (texts == NULL) return REGEX_FAILED;
    for (uint32_t i = 0; i < form->order_count; i++) texts[i] = schema_name_text(shapes->schema, form->order[i]);
    regex out =
        form->order_count == 0 ? REGEX_NOTHING : regex_literals(shapes->schema->regexes, texts, form->order_count);
    free(texts);
    return out;
}

/** Combinations of patterns, one of them after the other. */
struct combinations {
    uint32_t patterns, index[OBJECT_SELECTORS_MAX]; /* [patterns] selectors */
    uint64_t count;
    bool combined; /* all of them; else none, and each alone */
};

static struct combinations combinations_of(const struct object_form *form) {
    struct combinations out = {0};
    for (uint32_t i = 0; i < form->selector_count; i++)
        if (i != form->names_selector) out.index[out.patterns++] = i;
    out.combined = out.patterns <= COMBINED_PATTERNS_MAX;
    out.count = out.combined ? 1ull << out.patterns : out.patterns + 1;
    return out;
}

/** What the values of names of combination c must satisfy. */
static conjunction value_of_combination(struct shapes *shapes, struct object_form *form, const struct combinations *all,
                                        uint64_t c, uint64_t *out_set) {
    uint64_t set = all->combined ? c : c == 0 ? 0 : 1ull << (c - 1);
    uint64_t selected = form->names_selector == UINT32_MAX ? 0 : 1ull << form->names_selector;
    for (uint32_t i = 0; i < all->patterns; i++)
        if (set >> i & 1) selected |= 1ull << all->index[i];
    *out_set = set;
    return object_other(shapes, form, selected);
}

static regex names_of_combination(struct regex_pool *pool, const struct object_form *form,
                                  const struct combinations *all, uint64_t set) {
    regex names = REGEX_EVERYTHING;
    for (uint32_t i = 0; i < all->patterns && names != REGEX_NOTHING; i++) {
        regex r = form->selectors[all->index[i]];
        names = regex_and(pool, names, set >> i & 1 ? r : regex_not(pool, r));
    }
    return names;
}

/** Those that may be names at all, and that the form does not know. */
static regex names_left(struct shapes *shapes, const struct object_form *form, regex names) {
    struct regex_pool *pool = shapes->schema->regexes;
    if (form->names_selector != UINT32_MAX) names = regex_and(pool, names, form->selectors[form->names_selector]);
    if (names != REGEX_NOTHING && names != REGEX_EVERYTHING && form->order_count > 0)
        names = regex_and(pool, names, regex_not(pool, known_names(shapes, form)));
    return names;
}

/** Names that the form does not know and whose value can satisfy `value`, too. */
regex object_other_names_with(struct shapes *shapes, struct object_form *form, conjunction value) {
    struct regex_pool *pool = shapes->schema->regexes;
    struct combinations combinations = combinations_of(form);
    bool all = combinations.combined; /* every combination allows a value */
    regex out = REGEX_NOTHING;
    for (uint64_t c = 0; c < combinations.count; c++) {
        uint64_t set;
        conjunction own = value_of_combination(shapes, form, &combinations, c, &set);
        if (!shape_satisfiable(shapes, conjunction_and(shapes, own, value))) {
            all = false;
            continue;
        }
        out = regex_or(pool, out, names_of_combination(pool, form, &combinations, set));
    }
    return names_left(shapes, form, all ? REGEX_EVERYTHING : out);
}

uint32_t object_cheapest_other(struct shapes *shapes, struct object_form *form, regex *out_names) {
    uint64_t busy_hits = shapes->busy_hits;
    struct combinations combinations = combinations_of(form);
    uint32_t best = LENGTH_NEVER;
    *out_names = form->cheapest_names;
    if (form->cheapest_names != REGEX_NOT_KNOWN) return form->cheapest;
    *out_names = REGEX_NOTHING;
    for (uint64_t c = 0; c < combinations.count; c++) {
        uint64_t set;
        uint32_t length = shape_shortest(shapes, value_of_combination(shapes, form, &combinations, c, &set));
        if (length >= best) continue;
        regex names = names_of_combination(shapes->schema->regexes, form, &combinations, set);
        names = names_left(shapes, form, names);
        uint32_t letters = regex_shortest(shapes->schema->regexes, names, NULL);
        if (letters == REGEX_UNBOUNDED || length_add(letters, length) >= best) continue;
        best = length_add(letters, length);
        *out_names = names;
    }
    best = length_add(best, 6);
    if (busy_hits != shapes->busy_hits || shapes->declined) return best;
    form->cheapest_names = *out_names;
    form->cheapest = best;
    return best;
}

regex object_other_names(struct shapes *shapes, struct object_form *form) {
    if (form->other_names != REGEX_NOT_KNOWN) return form->other_names;
    uint64_t busy_hits = shapes->busy_hits;
    regex out = object_other_names_with(shapes, form, CONJUNCTION_TRUE);
    if (out == REGEX_FAILED)
        shapes_exhausted(shapes, 0);
    else if (busy_hits == shapes->busy_hits)
        form->other_names = out;
    return out;
}

/* ---- measuring ---- */

/** The names that must be there: required, and what they ask for in turn. False: exhausted. */
static bool close_required(struct shapes *shapes, const struct object_form *form, const name_id **out,
                           uint32_t *count) {
    struct building b = {.shapes = shapes};
    name_id *list = NULL;
    uint32_t capacity = 0;
    *out = form->required;
    *count = form->required_count;
    if (form->dependent_count == 0) return true; /* a form may be measured often: it must not take memory each time */
    *count = 0;
    for (uint32_t i = 0; i < form->required_count; i++)
        if (!push_name(&b, &list, count, &capacity, form->required[i])) return false;
    for (bool more = form->dependent_count > 0; more;) {
        more = false;
        for (uint32_t i = 0; i < form->dependent_count; i++) {
            const struct object_dependent *dependent = &form->dependent[i];
            if (!holds(list, *count, dependent->present)) continue;
            for (uint32_t j = 0; j < dependent->count; j++) {
                if (holds(list, *count, dependent->required[j])) continue;
                if (!push_name(&b, &list, count, &capacity, dependent->required[j])) return false;
                more = true;
            }
        }
    }
    *out = list;
    return true;
}

/** Bytes that a property costs: quotes, colon, comma and blanks. */
static uint32_t property_length(struct shapes *shapes, name_id name, conjunction value) {
    return length_add((uint32_t)schema_name_text(shapes->schema, name).length + 6, shape_shortest(shapes, value));
}

/** The bytes that meeting one option costs beyond what is required; LENGTH_NEVER: it cannot be met. */
static uint32_t measure_option(struct shapes *shapes, struct object_form *form, const struct object_option *option,
                               const name_id *required, uint32_t required_count) {
    struct regex_pool *pool = shapes->schema->regexes;
    bool full = required_count >= form->max;
    if (option->kind == OPTION_MISSING) return holds(required, required_count, option->name) ? LENGTH_NEVER : 0;
    if (option->kind == OPTION_NAME) {
        bool there = holds(required, required_count, option->name);
        conjunction value = conjunction_and(shapes, object_named(shapes, form, option->name), option->value);
        uint32_t length = property_length(shapes, option->name, value);
        return length == LENGTH_NEVER || (full && !there) ? LENGTH_NEVER : there ? 0 : length;
    }
    for (uint32_t i = 0; i < form->order_count; i++) {
        struct bytes_view text = schema_name_text(shapes->schema, form->order[i]);
        if (!regex_matches(pool, form->selectors[option->selector], text)) continue;
        bool there = holds(required, required_count, form->order[i]);
        conjunction value = conjunction_and(shapes, object_named(shapes, form, form->order[i]), option->value);
        uint32_t length = property_length(shapes, form->order[i], value);
        if (length != LENGTH_NEVER && (there || !full)) return there ? 0 : length;
    }
    if (full) return LENGTH_NEVER;
    /* a name that the form does not know: a few are tried, the shortest first */
    regex names = regex_and(pool, object_other_names(shapes, form), form->selectors[option->selector]);
    for (int tries = 0; tries < 4 && names != REGEX_NOTHING && names != REGEX_FAILED; tries++) {
        struct bytes text;
        bytes_init(&text, 1 << 16);
        uint32_t letters = regex_shortest(pool, names, &text);
        uint64_t selected = object_selected(shapes, form, bytes_view(&text));
        conjunction value = conjunction_and(shapes, object_other(shapes, form, selected), option->value);
        uint32_t length =
            letters == REGEX_UNBOUNDED ? LENGTH_NEVER : length_add(letters + 6, shape_shortest(shapes, value));
        regex next = regex_and(pool, names, regex_not(pool, regex_literal(pool, bytes_view(&text))));
        bytes_deinit(&text);
        if (length != LENGTH_NEVER) return length;
        names = next;
    }
    return LENGTH_NEVER;
}

/** The bytes of `wanted` more properties beyond those required; LENGTH_NEVER: there are not so many. */
static uint32_t measure_more(struct shapes *shapes, struct object_form *form, uint32_t wanted, const name_id *required,
                             uint32_t required_count) {
    uint32_t out = 0;
    for (uint32_t i = 0; i < form->order_count && wanted > 0; i++) {
        if (holds(required, required_count, form->order[i])) continue;
        uint32_t length = property_length(shapes, form->order[i], object_named(shapes, form, form->order[i]));
        if (length == LENGTH_NEVER) continue;
        out = length_add(out, length);
        wanted--;
    }
    if (wanted == 0) return out;
    regex others = object_other_names(shapes, form);
    if (others == REGEX_FAILED || regex_count(shapes->schema->regexes, others, wanted) < wanted) return LENGTH_NEVER;
    regex names;
    uint32_t each = object_cheapest_other(shapes, form, &names);
    if (each == LENGTH_NEVER) each = 16;    /* a few of a kind are told apart later */
    uint64_t all = (uint64_t)wanted * each; /* names differ, so this is a guess; what counts is that it can be done */
    return length_add(out, all > LENGTH_NEVER / 2 ? LENGTH_NEVER / 2 : (uint32_t)all);
}

uint32_t measure_object(struct shapes *shapes, struct object_form *form) {
    const name_id *required;
    uint32_t count, out = 2;
    if (!close_required(shapes, form, &required, &count)) return LENGTH_NEVER;
    if (count > form->max || !budget_spend(&shapes->schema->budget, 1 + count)) return LENGTH_NEVER;
    for (uint32_t i = 0; i < count && out != LENGTH_NEVER; i++)
        out = length_add(out, property_length(shapes, required[i], object_named(shapes, form, required[i])));
    for (uint32_t i = 0; i < form->obligation_count && out != LENGTH_NEVER; i++) {
        uint32_t best = LENGTH_NEVER;
        for (uint32_t j = 0; j < form->obligations[i].count && best > 0; j++) {
            uint32_t length = measure_option(shapes, form, &form->obligations[i].options[j], required, count);
            if (length < best) best = length;
        }
        out = length_add(out, best);
    }
    if (out == LENGTH_NEVER || count >= form->min) return out;
    return length_add(out, measure_more(shapes, form, form->min - count, required, count));
}
