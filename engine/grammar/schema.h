/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * JSON Schema as formulas: a graph of small nodes, of which each says one thing about a value.
 *
 *     {"type": ["object", "null"], "required": ["a"], "properties": {"a": {"minimum": 0}}}
 *       AND( TYPE object|null,  REQUIRED a,  PROPERTIES a: NUMBER >= 0,  others: TRUE )
 *
 * Every assertion about one kind of value holds for all values of other kinds, as in the standard. References point to the node they name, so that
 * graphs may have cycles (through F_REF only). Draft 7's keywords and their later spellings all end here; nothing behind this header knows a keyword.
 *
 * Memory: all in one arena, freed with the schema. One thread at a time.
 * Source: draft-handrews-json-schema-01 and -validation-01 (draft 7); 2019-09 and 2020-12 where they have a keyword that draft 7 has not.
 */
#ifndef ENGINE_GRAMMAR_SCHEMA_H
#define ENGINE_GRAMMAR_SCHEMA_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/intern.h"
#include "engine/grammar/number.h"
#include "engine/grammar/regex.h"

enum value_kind { VALUE_NULL, VALUE_FALSE, VALUE_TRUE, VALUE_NUMBER, VALUE_STRING, VALUE_ARRAY, VALUE_OBJECT };
enum { VALUE_KINDS = 7, VALUE_ALL = (1 << VALUE_KINDS) - 1 };

typedef uint32_t formula;
enum { FORMULA_TRUE, FORMULA_FALSE };
#define FORMULA_NONE UINT32_MAX

/** The text of a property's name, once. */
typedef uint32_t name_id;

enum formula_kind {
    F_TRUE,
    F_FALSE,
    F_AND,    /* list: formulas, all hold */
    F_OR,     /* list: formulas, one holds or more */
    F_ONE_OF, /* list: formulas, exactly one holds */
    F_NOT,    /* a: formula */
    F_REF,    /* a: formula */
    F_TYPE,   /* a: bits 1 << enum value_kind; the value is one of these */
    F_NUMBER, /* a: number_set, b: its complement */
    F_STRING, /* a: regex, b: what is certainly not meant (less than its complement where `a` is tighter than what it stands for); REGEX_NOT_KNOWN: its complement */
    F_ITEMS,  /* list: formulas of the first items, a: of the others */
    F_ITEM_COUNT,     /* a: min, b: max (UINT32_MAX: none) */
    F_CONTAINS,       /* a: formula; list: {min, max} of how many items from b on satisfy it */
    F_UNIQUE,         /* no two items are equal */
    F_PROPERTIES,     /* properties: what the value of each must satisfy */
    F_REQUIRED,       /* list: names that are there */
    F_PROPERTY_COUNT, /* a: min, b: max */
    F_NAMES,          /* a: regex; every name is in it; b: the formula that says so of strings */
    F_DEPENDENT       /* a: name, list: names that are there if it is */
};

struct named_formula {
    name_id name;
    formula formula;
};
struct matched_formula {
    regex names;
    formula formula;
};
struct properties {
    struct named_formula *named; /* [named_count] in the order of the schema */
    uint32_t *sorted;            /* [named_count] indices into `named` by name_id */
    uint32_t named_count;
    struct matched_formula *matched; /* [matched_count] patternProperties */
    uint32_t matched_count;
    formula others;   /* for names that are neither named nor matched */
    bool others_said; /* the schema says something of those, if only that they may be there */
};

struct formula_node {
    enum formula_kind kind;
    uint32_t origin; /* index into `origins`: where a problem with it is told */
    uint32_t a, b;
    const uint32_t *list;
    uint32_t count;
    const struct properties *properties;
};

/** Another document that "$ref" may name by its address. */
struct schema_document {
    struct bytes_view address;       /* "http://json-schema.org/draft-07/schema", without a fragment */
    const struct json_value *schema; /* lent until schema_destroy */
};

struct schema_origin {
    uint32_t above;            /* the origin that this step starts from; UINT32_MAX: the root */
    struct bytes_view keyword; /* a step: a member's name, or an index as text */
};

struct schema {
    struct arena arena;
    struct grammar_budget budget;
    struct regex_pool *regexes;
    struct number_pool *numbers;
    struct grammar_problem *problem;

    struct formula_node *nodes;
    uint32_t node_count, node_capacity;
    struct schema_origin *origins;
    uint32_t origin_count, origin_capacity;
    struct intern names;           /* words: length in bytes, then the bytes */
    bool beyond;                   /* a number was met that is beyond what is supported */
    struct memo built;             /* address of a json_value -> formula */
    struct memo constants;         /* formula of an array or object that is all of it -> index into constant_values */
    struct intern constant_values; /* words: what is equal for equal values (json_canonical.h) */
    struct memo strings;           /* formula << 1 | negated -> regex, of long lists */
    formula root;

    struct schema_registry *registry; /* addresses and anchors (schema_reference.c) */
};

/** Read a schema. Fails as grammar_compile_schema; `problem` is borrowed and filled. */
enum status schema_create(const struct json_value *text, const struct schema_document *documents, size_t document_count,
                          int64_t fuel, int64_t bytes, struct grammar_problem *problem, struct schema **out);
void schema_destroy(struct schema *schema);

static inline const struct formula_node *schema_node(const struct schema *schema, formula f) {
    return &schema->nodes[f];
}
/** F_REFs followed to what they name; FORMULA_NONE for references that only name each other. */
formula schema_follow(const struct schema *schema, formula f);
/** Formulas made later; all return FORMULA_NONE when the budget is exhausted. */
formula schema_make(struct schema *schema, struct formula_node node);
formula schema_make_required(struct schema *schema, uint32_t origin, name_id name);
/** A language whose complement is exact. */
formula schema_make_string(struct schema *schema, uint32_t origin, regex language);
/** A set of numbers and its complement. FORMULA_NONE also when they are beyond what is supported (schema->beyond). */
formula schema_make_number(struct schema *schema, uint32_t origin, number_set set, number_set complement);
/** Equal to this scalar (null, a boolean, a number, a string) or composite. */
formula schema_make_constant(struct schema *schema, uint32_t origin, const struct json_value *value);
/** Which array or object a formula is; the same number for equal ones. CONSTANT_NONE: it is no constant, or it is not known that it is. */
#define CONSTANT_NONE UINT32_MAX
uint32_t schema_constant(const struct schema *schema, formula f);

/** The strings that satisfy a formula, or with `negated` those that do not; never too many. REGEX_FAILED: exhausted, or nested too deeply. */
regex schema_strings(struct schema *schema, formula f, bool negated);

name_id schema_name(struct schema *schema, struct bytes_view text);
struct bytes_view schema_name_text(const struct schema *schema, name_id name);
/** Fill `sorted` from `named`. */
void properties_sort(struct properties *properties);
/** What `properties` asks of a property of that name, if it names it; FORMULA_NONE. */
formula properties_named(const struct properties *properties, name_id name);

/** Fill the problem for a place, and return `status`. */
enum status schema_decline(struct schema *schema, enum status status, uint32_t origin, const char *keyword,
                           const char *format, ...) __attribute__((format(printf, 5, 6)));
/** The same for "costs more than is allowed". */
enum status schema_too_costly(struct schema *schema, uint32_t origin, const char *keyword);

#endif
