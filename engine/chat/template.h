/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Template: a chat template, which is a Jinja program, run in a sandbox.
 *
 *     source ── lexer ──> tokens ── parser ──> tree        template_parse, once a model
 *     tree + variables ── evaluator ──> text               template_render, once a prompt
 *
 * The language is what chat templates use of Jinja 3.1, as transformers sets it up (trim_blocks, lstrip_blocks, loop controls, tojson without
 * HTML escapes; `generation` blocks are their body):
 *
 *     statements   for/else (loop.*, filtered, unpacking), if/elif/else, set (tuples, namespaces, blocks), macro, filter, break, continue, raw
 *     expressions  literals, lists, tuples, dicts, attributes, subscripts, slices, calls, filters, tests, and/or/not, in, comparisons, + - * / // % **, ~, x if c else y
 *     functions    range namespace dict raise_exception strftime_now
 *     filters      abs batch capitalize count d default dictsort escape first float indent int items join last length list lower map max min reject
 *                  rejectattr replace reverse round safe select selectattr sort string sum title tojson trim unique upper
 *     tests        boolean callable defined divisibleby eq equalto even false float ge gt in integer iterable le lower lt mapping ne none number odd
 *                  sequence string true undefined upper
 *     methods      of texts: capitalize count endswith find index isalnum isalpha isdigit isspace join lower lstrip removeprefix removesuffix replace
 *                  rfind rsplit rstrip split splitlines startswith strip title upper; of dicts: copy get items keys values; of lists: count index
 *
 * What else a template uses is named when it is parsed. There is nothing to call that could change what is outside.
 *
 * Whose text. Every byte of every text is the template's (0) or a user's (a number that the caller chose), and keeps that through all operations,
 * so the output says of every byte where it came from. Upper and lower case are those of ASCII; other letters stay as they are.
 *
 * Bounds: nesting, steps, bytes of output and memory have maxima; a template that passes one ends with an error. Read-only after parse: any thread.
 */
#ifndef ENGINE_CHAT_TEMPLATE_H
#define ENGINE_CHAT_TEMPLATE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/json.h"

struct template;

/** STATUS_INVALID_ARGUMENT a syntax error, STATUS_UNIMPLEMENTED something of Jinja that is not known here: "template line 12: filter 'xmlattr' is
 *  not supported". `source` is copied. */
enum status template_parse(struct bytes_view source, struct template **out, struct error *err);
void template_destroy(struct template *template);
/** Does the program use this word, as a name, an attribute or a text? For what a template supports ("tools", "tool_calls"). */
bool template_mentions(const struct template *template, const char *word);

struct template_list;
struct template_dict;
struct template_macro;
struct template_loop;

enum template_kind {
    TEMPLATE_UNDEFINED,
    TEMPLATE_NONE,
    TEMPLATE_BOOLEAN,
    TEMPLATE_INTEGER,
    TEMPLATE_BIG, /* an integer beyond 64 bits, of JSON: can be written again, no more; its digits are `string` */
    TEMPLATE_REAL,
    TEMPLATE_STRING,
    TEMPLATE_LIST, /* a tuple too */
    TEMPLATE_DICT,
    TEMPLATE_NAMESPACE,
    TEMPLATE_LOOP,
    TEMPLATE_MACRO,
    TEMPLATE_METHOD,   /* of `list`, `dict` or `string`; `name` */
    TEMPLATE_FUNCTION, /* by `name` */
};

struct template_string {
    const uint8_t *data;
    size_t length;
    const uint8_t *mask; /* a byte for each byte: whose it is. NULL: `whose` says it of all */
    uint8_t whose;       /* 0: the template's; else a user's, by the caller's number */
};

struct template_value {
    enum template_kind kind;
    bool boolean;
    const char *name; /* TEMPLATE_UNDEFINED: of what was not there; TEMPLATE_METHOD, TEMPLATE_FUNCTION */
    union {
        int64_t integer;
        double real;
        struct template_string string;
        struct template_list *list;
        struct template_dict *dict;
        struct template_macro *macro;
        struct template_loop *loop;
        struct template_value *receiver;
    };
};

/* ---- values of the caller. All of them live in an arena; NULL or an undefined value when it is exhausted (out_failed is set) ------------------ */

struct template_builder {
    struct arena *arena;
    bool failed;
};
struct template_value template_text(struct bytes_view text, uint8_t whose);
struct template_value template_boolean(bool value);
struct template_list *template_list_new(struct template_builder *builder, size_t count);
void template_list_set(struct template_list *list, size_t at, struct template_value value);
struct template_value template_list_value(struct template_list *list);
struct template_dict *template_dict_new(struct template_builder *builder, size_t capacity);
/** `name` is trusted and lent. Not more than the capacity. */
void template_dict_set(struct template_dict *dict, const char *name, struct template_value value);
struct template_value template_dict_value(struct template_dict *dict);
/** A user's JSON. */
struct template_value template_json(struct template_builder *builder, const struct json_value *json, uint8_t whose);

/* ---- rendering --------------------------------------------------------------------------------------------------------------------------------- */

struct template_limits {
    size_t steps, output_bytes;
};

struct template_output {
    struct bytes_view text;
    const uint8_t *mask; /* a byte for each byte: whose it is */
};

/** Run it with `variables`. Output and all that is made on the way live in `arena`, whose cap bounds it. `now`: for strftime_now, seconds.
 *  STATUS_INVALID_ARGUMENT: the template's own objection (raise_exception, its words), an error in it, or a bound was passed. */
enum status template_render(const struct template *template, const struct template_dict *variables,
                            struct template_limits limits, int64_t now, struct arena *arena,
                            struct template_output *out, struct error *err);

#endif
