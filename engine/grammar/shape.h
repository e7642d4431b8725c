/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Shapes: what a set of formulas leaves possible, kind by kind, ready for a machine to walk.
 *
 *     conjunction   a set of literals (a formula, or not that formula) that all hold of one value; interned
 *     shape         of a conjunction:  null / false / true: allowed or not
 *                                      string:  one regular language        (closed under and, or, not)
 *                                      number:  a union of number sets
 *                                      array:   a union of array forms      (a form is a plain conjunction of what arrays can be asked)
 *                                      object:  a union of object forms
 *
 * Choices (anyOf, oneOf, if, negations) become unions; forms that nothing satisfies are left out. So a value fits its conjunction exactly if it fits one form
 * whole, and a machine may carry all forms side by side and drop those that fail. Values within a form are conjunctions again, looked at when a value of
 * theirs begins: recursion costs nothing until it is entered.
 *
 * Not everything is multiplied out: that an object must violate a conjunction of assertions (the "not" in oneOf) stays one obligation with options.
 */
#ifndef ENGINE_GRAMMAR_SHAPE_H
#define ENGINE_GRAMMAR_SHAPE_H

#include "engine/grammar/schema.h"

typedef uint32_t conjunction;
enum { CONJUNCTION_TRUE, CONJUNCTION_FALSE };
#define CONJUNCTION_FAILED UINT32_MAX

enum {
    SHAPE_DEPTH_MAX =
        3200, /* of choices within choices, and of values within values (4 each), while they are measured */
    SHAPE_FORMS_MAX = 512,    /* of one kind in one shape; more: declined */
    OBJECT_SELECTORS_MAX = 64 /* regular languages of names in one form */
};
#define LENGTH_NEVER UINT32_MAX /* of a shortest text: there is none */

struct array_contains {
    conjunction what;
    uint32_t min, max; /* how many items from `from` on satisfy it */
    uint32_t from;
};
struct array_form {
    const conjunction *first; /* [first_count] of the first items */
    uint32_t first_count;
    conjunction others;
    uint32_t min, max;
    const struct array_contains *contains;
    uint32_t contains_count;
    bool unique;    /* no two items equal */
    bool duplicate; /* some two items equal */
    bool constant;  /* nothing but one value */
    uint32_t shortest;
};

struct object_extra { /* a property is asked for more than the assertions say */
    name_id name;
    conjunction value; /* CONJUNCTION_FALSE: it is not there */
};
enum option_kind { OPTION_NAME, OPTION_MATCH, OPTION_MISSING };
/** One way to meet an obligation: property `name`, or one whose name is in selector `selector`, has a value of `value`; or `name` is missing. */
struct object_option {
    enum option_kind kind;
    uint32_t selector;
    name_id name;
    conjunction value;
};
struct object_obligation {
    const struct object_option *options;
    uint32_t count;
};
struct object_dependent {
    name_id present;
    const name_id *required;
    uint32_t count;
};
struct object_form {
    uint32_t id;
    bool constant; /* nothing but one value */
    uint32_t min, max;
    const struct properties *const *properties; /* [properties_count] assertions, all hold */
    uint32_t properties_count;
    const struct object_extra *extra; /* [extra_count] */
    uint32_t extra_count;
    const name_id *required; /* [required_count] each once, in order */
    uint32_t required_count;
    const struct object_dependent *dependent;
    uint32_t dependent_count;
    const struct object_obligation *obligations; /* [obligation_count <= 64] */
    uint32_t obligation_count;
    const regex *selectors; /* [selector_count] languages that names are looked at for */
    uint32_t selector_count;
    uint32_t names_selector; /* the language that all names are in; UINT32_MAX: any */
    const name_id *order;    /* [order_count] all names that the form knows, in the order of the schema */
    uint32_t order_count;
    regex other_names; /* names of properties that the form does not know and allows; REGEX_NOT_KNOWN: not asked yet */
    regex cheapest_names; /* object_cheapest_other; REGEX_NOT_KNOWN: not asked yet */
    uint32_t cheapest;
    uint32_t shortest;
};

enum shape_part { SHAPE_SCALARS = 1, SHAPE_ARRAYS = 2, SHAPE_OBJECTS = 4 };
struct shape {
    uint32_t parts;     /* which are there */
    uint32_t constants; /* bits 1 << VALUE_NULL, VALUE_FALSE, VALUE_TRUE */
    regex string;
    const number_set *numbers;
    uint32_t number_count;
    struct array_form *const *arrays;
    uint32_t array_count;
    struct object_form *const *objects;
    uint32_t object_count;
    uint32_t shortest; /* bytes of a short text of it; LENGTH_NEVER */
    bool known;        /* `shortest` is final */
    bool busy;         /* is being measured: a value within itself */
};

struct shapes {
    struct schema *schema;
    struct intern conjunctions; /* words: literals (formula << 1 | negated), rising */
    struct shape **shapes;      /* [shape_capacity] by conjunction */
    uint32_t shape_capacity;
    struct intern leaves;              /* words: kind, then literals; of a form */
    struct object_form **object_forms; /* by id of `leaves` */
    uint32_t object_form_capacity;
    struct intern selections; /* words: form, bits of selectors; see object_other */
    struct memo named_values; /* form << 32 | name -> conjunction */
    struct memo other_values; /* id of selections -> conjunction */
    struct memo violations;   /* formula -> the formula of its negation */
    struct memo
        opposites; /* of several literals: conjunction -> its negation, which is asked for with each item of an array again */
    struct memo long_constants; /* of long lists: formula -> which constants */
    struct memo long_numbers;   /* of long lists: formula << 1 | negated -> 1: all numbers, 0: none */
    uint64_t busy_hits; /* how often a measurement met a shape that was being measured: "never" was then a guess */
    int depth;          /* of what is being measured */
    bool declined;      /* the schema's problem is filled; everything fails from now on */
    enum status status; /* why */
};

enum status shapes_create(struct schema *schema, struct shapes **out);
void shapes_destroy(struct shapes *shapes);

/* All of these return CONJUNCTION_FAILED or NULL when the budget is exhausted or something is declined (shapes->declined). */

conjunction conjunction_of(struct shapes *shapes, formula f);
conjunction conjunction_and(struct shapes *shapes, conjunction a, conjunction b);
/** `a` and `f`, or with `negated` `a` and not `f`. */
conjunction conjunction_with(struct shapes *shapes, conjunction a, formula f, bool negated);
/** A conjunction of one formula that says the opposite of `a` (which may have many literals). */
conjunction conjunction_not(struct shapes *shapes, conjunction a);

/** With the parts asked for. Stable. */
const struct shape *shape_of(struct shapes *shapes, conjunction c, uint32_t parts);
/** Bytes of a short text of it, LENGTH_NEVER when nothing satisfies it. An estimate from above; whether it is LENGTH_NEVER is exact but where shape_satisfy.c says. */
uint32_t shape_shortest(struct shapes *shapes, conjunction c);
/** The schema, which nothing satisfies, is declined with STATUS_FAILED_PRECONDITION: where it is that it asks for too much, as closely as can be told. */
enum status shapes_decline_nothing(struct shapes *shapes);
/** How many values satisfy it if below `limit`, else `limit`; arrays and objects count as many. */
uint64_t shape_count(struct shapes *shapes, conjunction c, uint64_t limit);
static inline bool shape_satisfiable(struct shapes *shapes, conjunction c) {
    return shape_shortest(shapes, c) != LENGTH_NEVER;
}

/** What a value at `index` must satisfy. */
static inline conjunction array_item(const struct array_form *form, uint32_t index) {
    return index < form->first_count ? form->first[index] : form->others;
}
/** How far an array has come. */
struct array_progress {
    uint32_t index;         /* of the next item */
    uint32_t max;           /* as many items can be there */
    const uint32_t *counts; /* how many items satisfied each contains */
    conjunction without;    /* what all further items must satisfy besides: that they are none of those seen */
};
/** What the next item must satisfy for the form to be completed; CONJUNCTION_FALSE: there is no further item. */
conjunction array_next(struct shapes *shapes, const struct array_form *form, const struct array_progress *progress);
/** As many items as an array of the form can have: up to the first that nothing satisfies. */
uint32_t array_items_possible(struct shapes *shapes, const struct array_form *form);
/** What the value of the property `name` must satisfy; CONJUNCTION_FALSE: it may not be there. */
conjunction object_named(struct shapes *shapes, struct object_form *form, name_id name);
/** The same for a name that the form does not know; bit i of `selected`: it is in selectors[i]. */
conjunction object_other(struct shapes *shapes, struct object_form *form, uint64_t selected);
/** Bit i: the text is in selectors[i]. */
uint64_t object_selected(struct shapes *shapes, const struct object_form *form, struct bytes_view name);
/** The language of names for object_other that allow a value. REGEX_FAILED. */
regex object_other_names(struct shapes *shapes, struct object_form *form);
/** Bytes of the shortest property of a name that the form does not know, about; and the names whose values are so short. LENGTH_NEVER: there is none. */
uint32_t object_cheapest_other(struct shapes *shapes, struct object_form *form, regex *out_names);
/** Of those the names whose value can satisfy `value`, too. */
regex object_other_names_with(struct shapes *shapes, struct object_form *form, conjunction value);

#endif
