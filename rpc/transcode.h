/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Protobuf <-> JSON, driven by descriptors: no handler builds or reads JSON by hand.
 *
 * The forms (objects, tagged unions, values of several types, lists) and the rules (required, ranges, words, dialect)
 * are options on the .proto fields, described in proto/bora/v1/options.proto; this module reads them from the
 * serialised descriptors by number and knows no message of ours. Messages are protobuf-c's, found by full name.
 *
 * Reading is strict where the contract is: unknown fields, duplicate names, wrong types, numbers out of range or not whole,
 * invalid UTF-8, lone surrogates, nesting past LIMIT_JSON_DEPTH and trailing bytes are errors. 3.0 is a whole number; numbers in
 * strings and booleans are not numbers. NUL characters are refused in string fields (protobuf-c's strings end at one), and stay
 * escaped inside json_text fields, which keep the order of names and the digits of numbers as they were written.
 *
 * All errors of a body are collected (at most TRANSCODE_ERRORS_MAX) in pydantic's words, which Mistral's API shows: of each
 * object first its fields in the order of their numbers, then unknown names as they come. Types:
 *   missing, extra_forbidden, string_type, int_type, int_from_float, int_parsing, float_type, finite_number, bool_type, list_type, dict_type,
 *   model_attributes_type, greater_than, greater_than_equal, less_than_equal, string_too_short, string_too_long, string_pattern_mismatch, string_unicode, too_short,
 *   too_long, literal_error, union_tag_not_found, union_tag_invalid, value_error (two members of one oneof; a text that is to be one line and is not), json_invalid
 * Of an unknown name that other servers have the message of extra_forbidden says what to send instead (`elsewhere` in options.proto; not in strict mode).
 * Paths: a tagged union adds its tag (messages, 0, user, name), a union of types adds nothing and gives one error for each type that
 * would have done, a map's key is a step with "[key]" behind it when the key itself is wrong. json_invalid has the offset in bytes as its
 * path, or, for a duplicate name, the path of the second one. An empty body is "missing" with an empty path.
 *
 * Memory: messages come from an arena (capped); nothing is freed singly. The registry is read-only after load: any thread.
 */
#ifndef RPC_TRANSCODE_H
#define RPC_TRANSCODE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

#include <protobuf-c/protobuf-c.h>

enum { TRANSCODE_ERRORS_MAX = 32, TRANSCODE_PATH_MAX = 48, TRANSCODE_INPUT_BYTES = 200 };

struct transcoder;

/** `descriptors`: serialised FileDescriptorSet, borrowed. `messages`: the protobuf-c descriptors of the messages to be read or
 *  written, with everything they contain found from there. STATUS_INVALID_ARGUMENT names what does not fit. */
enum status transcoder_create(struct bytes_view descriptors, const ProtobufCMessageDescriptor *const *messages,
                              size_t count, struct transcoder **out, struct error *err);
void transcoder_destroy(struct transcoder *transcoder);

struct transcode_step {
    const char *name; /* NULL: an index */
    int64_t index;
};
struct transcode_error {
    const char *type;    /* "greater_than_equal" */
    const char *message; /* "Input should be greater than or equal to 0" */
    size_t path_length;
    const struct transcode_step *path; /* without the leading "body" */
    const char *root;                  /* what leads instead of "body": "query", "path"; NULL: "body" */
    const char
        *input; /* the refused value as JSON text, cut to TRANSCODE_INPUT_BYTES as a JSON string; NULL when absent */
    const char *context; /* JSON object text, or NULL */
};
struct transcode_errors {
    size_t count;
    struct transcode_error items[TRANSCODE_ERRORS_MAX];
};

struct transcode_options {
    bool
        strict; /* the strict dialect: fields, members and words marked OpenAI or extension are refused; maximum_strict applies */
    int64_t elements_max; /* JSON values in one body; 0: LIMIT_PROTO_ELEMENTS */
};

/** JSON text -> message of `descriptor`, in `arena`. On STATUS_INVALID_ARGUMENT `errors` says all (memory from the arena); STATUS_RESOURCE_EXHAUSTED
 *  when the arena's cap is reached. */
enum status transcode_read(const struct transcoder *transcoder, const struct transcode_options *options,
                           const ProtobufCMessageDescriptor *descriptor, struct bytes_view json, struct arena *arena,
                           ProtobufCMessage **out, struct transcode_errors *errors);
/** What an HTTP request says beside its body: a segment of its path, a parameter of its query; decoded. */
struct transcode_parameter {
    const char *name, *value;
};
struct transcode_call {
    const struct transcode_parameter *path; /* fields of strings; no longer the body's or the query's to give */
    size_t path_count;
    const struct transcode_parameter *query; /* in the order of arrival */
    size_t query_count;
    bool has_body; /* the other fields are `body`'s, and the query may hold nothing; else they are the query's */
    struct bytes_view body;
};
/** As transcode_read, from all of a request. `descriptor` is of FORM_OBJECT. In a query fields of numbers, booleans and strings can be given, and lists of them
 *  by repeating the name; numbers and booleans as JSON writes them ("int_parsing", "float_parsing", "bool_parsing" otherwise). A name that
 *  is not a list's and comes twice is a value_error. Paths begin with "query" and "path" (`root`). */
enum status transcode_read_call(const struct transcoder *transcoder, const struct transcode_options *options,
                                const ProtobufCMessageDescriptor *descriptor, const struct transcode_call *call,
                                struct arena *arena, ProtobufCMessage **out, struct transcode_errors *errors);
/** The same checks (required, ranges, words, dialect, UTF-8, json_text) over a message that came by gRPC, with the paths that its JSON would
 *  have. Protobuf cannot tell an absent list or plain scalar from an empty one: those count as absent unless `required`. Unknown
 *  fields are not looked at, as is protobuf's custom. */
enum status transcode_check(const struct transcoder *transcoder, const struct transcode_options *options,
                            const ProtobufCMessage *message, struct arena *arena, struct transcode_errors *errors);
/** Message -> compact JSON, appended. Fields in the order of their numbers; absent ones are left out unless `always`; scalars without presence are
 *  always there. Invalid UTF-8 in string fields is written as U+FFFD, a json_text that is not JSON as null. */
enum status transcode_write(const struct transcoder *transcoder, const ProtobufCMessage *message, struct bytes *out);

/** Unpack untrusted protobuf bytes: depth, number of fields, UTF-8 and NULs in strings are checked first, memory is the arena's.
 *  STATUS_INVALID_ARGUMENT, or STATUS_RESOURCE_EXHAUSTED when the arena's cap is reached. */
enum status protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes_view data, struct arena *arena,
                            ProtobufCMessage **out, struct error *err);
/** The same of what a service of ours sends, which may be longer: `elements_max` fields instead of LIMIT_PROTO_ELEMENTS. */
enum status protobuf_unpack_long(const ProtobufCMessageDescriptor *descriptor, struct bytes_view data,
                                 int64_t elements_max, struct arena *arena, ProtobufCMessage **out, struct error *err);
/** Pack into `out` (appended). STATUS_RESOURCE_EXHAUSTED when its maximum is reached. */
enum status protobuf_pack(const ProtobufCMessage *message, struct bytes *out);

#endif
