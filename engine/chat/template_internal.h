/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The template's insides: tokens, the tree, a run. */
#ifndef ENGINE_CHAT_TEMPLATE_INTERNAL_H
#define ENGINE_CHAT_TEMPLATE_INTERNAL_H

#include "engine/chat/template.h"

#include <stdio.h>

enum {
    TEMPLATE_PARSE_DEPTH = 100, /* expressions and statements in each other */
    TEMPLATE_RUN_DEPTH = 400,   /* the same while running, macros called by macros included */
    TEMPLATE_ARGUMENTS_MAX = 16,
};

/* ---- tokens --------------------------------------------------------------------------------------------------------- */

enum token_kind {
    TOKEN_TEXT,
    TOKEN_PRINT_BEGIN,
    TOKEN_PRINT_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_REAL,
    TOKEN_OPERATOR, /* its characters in `text` */
    TOKEN_END,
};

struct template_token {
    enum token_kind kind;
    int line;
    struct bytes_view text; /* TOKEN_STRING: without escapes */
};

/** All tokens of a source, ended by TOKEN_END. */
enum status template_tokenize(struct bytes_view source, struct arena *arena, struct template_token **out,
                              struct error *err);

/* ---- the tree ------------------------------------------------------------------------------------------------------- */

enum node_kind {
    /* statements */
    NODE_TEXT,         /* name */
    NODE_PRINT,        /* a */
    NODE_FOR,          /* a: target, b: what, c: filter; body, otherwise */
    NODE_IF,           /* a; body, otherwise (an elif is a NODE_IF there) */
    NODE_SET,          /* a: target, b: value or NULL (then body; c: filters over NODE_BODY) */
    NODE_MACRO,        /* name; list: NODE_PARAMETER; body */
    NODE_FILTER_BLOCK, /* c: filters over NODE_BODY; body */
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_BLOCK,     /* body */
    NODE_PARAMETER, /* name, a: default */
    /* expressions */
    NODE_CONSTANT,  /* value */
    NODE_NAME,      /* name */
    NODE_LIST,      /* list */
    NODE_TUPLE,     /* list */
    NODE_DICT,      /* list: NODE_PAIR */
    NODE_PAIR,      /* a, b */
    NODE_ATTRIBUTE, /* a, name */
    NODE_SUBSCRIPT, /* a, b */
    NODE_SLICE,     /* a: from, b: to, c: step */
    NODE_CALL,      /* a; list: NODE_ARGUMENT */
    NODE_ARGUMENT,  /* name or NULL, a */
    NODE_FILTER,    /* name, a, list */
    NODE_TEST,      /* name, a, list */
    NODE_BODY,      /* the text of a set block, for its filters */
    NODE_NOT,       /* a */
    NODE_NEGATE,    /* a */
    NODE_AND,       /* a, b */
    NODE_OR,        /* a, b */
    NODE_COMPARE,   /* a; list: NODE_OPERAND */
    NODE_OPERAND,   /* name: == != < > <= >= in notin; a */
    NODE_BINARY,    /* name: + - * / // % ** ~; a, b */
    NODE_CONDITION, /* b if a else c */
};

struct template_node {
    enum node_kind kind;
    int line;
    const char *name; /* in the template's arena */
    struct template_node *a, *b, *c;
    struct template_node *list, *body, *otherwise; /* first of a chain by `next` */
    struct template_node *next;
    struct template_value value;
    bool is_elif; /* NODE_IF: `otherwise` is the NODE_IF of an elif */
};

struct template {
    struct arena arena;
    struct bytes_view source;
    struct template_node *body;
};

/** Is it known here? What the parser asks so that the rest is named at load. */
bool template_filter_exists(const char *name);
bool template_test_exists(const char *name);
bool template_method_exists(const char *name);
/** One that changes a list or dict in place: refused when it is called and not at load, as by the sandbox of transformers. */
bool template_method_changes(const char *name);
bool template_function_exists(const char *name);

/* ---- values --------------------------------------------------------------------------------------------------------- */

struct template_list {
    struct template_value *items;
    size_t count, capacity;
    bool tuple;
};

struct template_entry {
    struct template_value key, value;
};
struct template_dict {
    struct template_entry *entries;
    size_t count, capacity;
};

struct template_macro {
    const struct template_node *node;
    struct template_scope *scope; /* where it was defined */
};

struct template_loop {
    const struct template_list *items;
    size_t at;
};

struct template_scope {
    struct template_scope *parent;
    struct template_entry *variables; /* names as constants of the tree: compared as texts */
    size_t count, capacity;
};

/* ---- a run ---------------------------------------------------------------------------------------------------------- */

/** Text that grows in the arena, with whose it is. */
struct template_writer {
    struct template_run *run;
    uint8_t *data, *mask; /* mask NULL while all is of one kind */
    size_t length, capacity;
    uint8_t whose;
};

enum template_flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

struct template_run {
    const struct template *template;
    struct arena *arena;
    struct template_scope *scope;
    struct template_writer *out;            /* where statements print */
    size_t steps_left, output_left, macros; /* macros: defined so far */
    int depth, line;
    int64_t now;
    enum template_flow flow;
    struct template_value captured; /* for NODE_BODY */
    struct error *err;
};

struct template_arguments {
    struct template_value values[TEMPLATE_ARGUMENTS_MAX];
    const char *names[TEMPLATE_ARGUMENTS_MAX]; /* NULL: by position */
    size_t count;
};

/** An error at the line that runs. */
enum status template_fail(struct template_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Take `steps` of what the run may do. */
enum status template_spend(struct template_run *run, size_t steps);
enum status template_no_memory(struct template_run *run);
void *template_alloc(struct template_run *run, size_t count, size_t bytes); /* NULL when the arena is exhausted */

enum status template_write(struct template_writer *writer, struct template_string text);
enum status template_write_text(struct template_writer *writer, const char *text);
struct template_string template_written(const struct template_writer *writer);

struct template_string template_slice(struct template_string text, size_t from, size_t length);
struct template_value template_string_value(struct template_string text);
struct template_value template_integer(int64_t value);
bool template_string_is(struct template_string text, const char *word);
bool template_strings_equal(struct template_string a, struct template_string b);
/** Where `part` first is at or behind `from`; SIZE_MAX: nowhere. */
size_t template_find(struct template_string text, struct template_string part, size_t from);
size_t template_code_points(struct template_string text);
/** The byte where code point `index` begins. */
size_t template_code_point_offset(struct template_string text, size_t index);
/** The code point at byte `at`; returns its bytes. */
size_t template_code_point(struct template_string text, size_t at, uint32_t *out);
bool template_is_space(uint32_t code_point);
enum { TEMPLATE_STRIP_LEFT = 1, TEMPLATE_STRIP_RIGHT = 2 };
/** `characters` NULL: blanks. */
struct template_string template_strip(struct template_string text, const struct template_string *characters, int sides);
/** Every occurrence of `old`, `count` at most when it is not negative. */
enum status template_replace(struct template_run *run, struct template_string text, struct template_string old,
                             struct template_string new, int64_t count, struct template_string *out);
enum template_case { CASE_UPPER, CASE_LOWER, CASE_CAPITAL, CASE_TITLE, CASE_TITLE_FILTER };
enum status template_change_case(struct template_run *run, struct template_string text, enum template_case how,
                                 struct template_string *out);

bool template_truth(const struct template_value *value);
const char *template_kind_name(const struct template_value *value);
bool template_is_number(const struct template_value *value);
double template_real(const struct template_value *value);
enum status template_equal(struct template_run *run, const struct template_value *a, const struct template_value *b,
                           bool *out);
/** Below 0, 0, above 0. An error for what has no order. */
enum status template_compare(struct template_run *run, const struct template_value *a, const struct template_value *b,
                             int *out);
enum status template_contains(struct template_run *run, const struct template_value *container,
                              const struct template_value *item, bool *out);
/** str(value): as {{ }} prints it. */
enum status template_str(struct template_run *run, const struct template_value *value, struct template_string *out);
enum status template_write_repr(struct template_writer *writer, const struct template_value *value);
struct template_json_style {
    int64_t indent; /* -1: none */
    struct template_string indent_text, item_separator, key_separator;
    bool ensure_ascii, sort_keys;
};
enum status template_write_json(struct template_writer *writer, const struct template_value *value,
                                const struct template_json_style *style, int level);

enum status template_list_make(struct template_run *run, size_t capacity, struct template_list **out);
enum status template_list_append(struct template_run *run, struct template_list *list, struct template_value value);
/** What a loop over the value takes in turn: items, keys, characters. */
enum status template_iterate(struct template_run *run, const struct template_value *value,
                             const struct template_list **out);
/** The dict's value of a key, or NULL. */
enum status template_dict_find(struct template_run *run, const struct template_dict *dict,
                               const struct template_value *key, struct template_value **out);
enum status template_dict_put(struct template_run *run, struct template_dict *dict, struct template_value key,
                              struct template_value value);
/** value.name, as Jinja resolves it: methods before members. */
enum status template_attribute(struct template_run *run, const struct template_value *value, const char *name,
                               struct template_value *out);
/** value[key]: members before methods. */
enum status template_subscript(struct template_run *run, const struct template_value *value,
                               const struct template_value *key, struct template_value *out);

/** Argument `position` or of that name; NULL when it was not given. */
const struct template_value *template_argument(const struct template_arguments *arguments, size_t position,
                                               const char *name);
enum status template_text_argument(struct template_run *run, const struct template_arguments *arguments,
                                   size_t position, const char *name, struct template_string *out);

enum status template_filter(struct template_run *run, const char *name, const struct template_value *input,
                            const struct template_arguments *arguments, struct template_value *out);
enum status template_test(struct template_run *run, const char *name, const struct template_value *input,
                          const struct template_arguments *arguments, bool *out);
enum status template_call_method(struct template_run *run, const struct template_value *receiver, const char *name,
                                 const struct template_arguments *arguments, struct template_value *out);
enum status template_call_function(struct template_run *run, const char *name,
                                   const struct template_arguments *arguments, struct template_value *out);
enum status template_execute(struct template_run *run, const struct template_node *chain);

#endif
