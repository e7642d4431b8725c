/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * JSON text (RFC 8259) read into a tree of lent values, and strings written.
 *
 * Untrusted input: nesting, the number of values and memory (the arena's cap) are bounded; invalid UTF-8, lone surrogates,
 * control characters in strings, trailing bytes and duplicate names of an object are errors. Every value keeps its source
 * text, so numbers never lose digits and a subtree can be kept as it was written.
 *
 * Why not a library: the packaged ones either allocate every node on the heap and lose number texts, or let
 * duplicate names and bad UTF-8 through (docs/design/http.md). The fuzzer compares this reader with jansson.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/bytes.h"

enum json_kind {
    JSON_KIND_NULL,
    JSON_KIND_BOOLEAN,
    JSON_KIND_NUMBER,
    JSON_KIND_STRING,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT
};

struct json_value {
    enum json_kind kind;
    bool boolean;
    bool
        terminated; /* `string` is in the arena with a NUL behind it (it had escapes), else it is a piece of the source */
    uint32_t count;           /* elements or members */
    struct bytes_view text;   /* the source text of this value */
    struct bytes_view string; /* JSON_KIND_STRING: decoded; may hold NUL bytes */
    struct bytes_view name;   /* a member's name, decoded */
    struct json_value *first; /* JSON_KIND_ARRAY, JSON_KIND_OBJECT: in the order of the source */
    struct json_value *next;  /* the next sibling */
};

/** What was wrong, and where. */
struct json_problem {
    const char *reason;                 /* a constant sentence without a full stop; NULL: the arena is exhausted */
    size_t offset;                      /* bytes into the source */
    const struct json_value *root;      /* duplicate name: the tree so far is whole, and ... */
    const struct json_value *duplicate; /* ... this member's name was there before */
};

/**
 * Read one JSON value that is all of `source` but blanks. The tree lends from `source` and the arena.
 *
 * depth_max   nested arrays and objects; a scalar has depth 0
 * values_max  values in the whole text
 * Fails: STATUS_INVALID_ARGUMENT with `problem` filled; STATUS_RESOURCE_EXHAUSTED when the arena's cap is reached.
 */
enum status json_read(struct bytes_view source, int depth_max, int64_t values_max, struct arena *arena,
                      struct json_value **out, struct json_problem *problem);

/**
 * As json_read, but what Python's json.loads takes: NaN, Infinity and -Infinity are numbers too, and of members with one name the
 * last one's value counts, at the place of the first. (Python takes lone surrogates as well; no UTF-8 could carry them on.)
 */
enum status json_read_python(struct bytes_view source, int depth_max, int64_t values_max, struct arena *arena,
                             struct json_value **out, struct json_problem *problem);

/** True when `source` is one well-formed JSON value (duplicate names are not looked for). Allocates nothing. */
bool json_is_valid(struct bytes_view source, int depth_max, enum json_kind *out_kind);

/** The member `name`; NULL when there is none, or `object` is NULL or no object. */
const struct json_value *json_member(const struct json_value *object, const char *name);
/** A whole number, also one written 8.0 or 1e6; false for anything else, NULL included. */
bool json_i64(const struct json_value *value, int64_t *out);
/** A finite number; false for anything else, NULL included. */
bool json_double(const struct json_value *value, double *out);
/** True when the value is the string `text`. */
bool json_is_string(const struct json_value *value, const char *text);

/** Append `text`, which is well-formed JSON, without the blanks between its tokens; stops after `bytes_max` bytes. False when it was cut. */
bool json_append_compact(struct bytes *out, struct bytes_view text, size_t bytes_max);

/** Append `string` quoted and escaped. Invalid UTF-8 becomes U+FFFD. */
enum status json_append_string(struct bytes *out, struct bytes_view string);

#endif
