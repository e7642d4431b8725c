/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Protobuf <-> JSON, driven by descriptors: no handler builds or reads JSON by hand.
 *
 * The forms (objects, tagged unions, values of several types, lists) and the rules (required, ranges, words, dialect)
 * are options on the .proto fields, described in proto/bora/v1/options.proto; this module reads them from the
 * serialised descriptors by number and knows no message of ours. Messages are protobuf-c's, found by full name.
 *
 * Reading is strict where the contract is: unknown fields, duplicate keys, wrong types, numbers out of range or not whole,
 * invalid UTF-8, lone surrogates, nesting past LIMIT_JSON_DEPTH and trailing bytes are errors. All errors of a body are
 * collected (at most TRANSCODE_ERRORS_MAX) with pydantic's type names, which Mistral's API shows:
 *   missing, extra_forbidden, string_type, int_type, int_from_float, float_type, bool_type, list_type, dict_type, model_attributes_type,
 *   greater_than, greater_than_equal, less_than_equal, string_too_short, string_too_long, too_short, too_long, literal_error,
 *   union_tag_not_found, union_tag_invalid, json_invalid
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
enum status transcoder_create(struct bytes_view descriptors, const ProtobufCMessageDescriptor *const *messages, size_t count,
                              struct transcoder **out, struct error *err);
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
    const char *input;   /* the refused value as JSON text, cut to TRANSCODE_INPUT_BYTES as a JSON string; NULL when absent */
    const char *context; /* JSON object text, or NULL */
};
struct transcode_errors {
    size_t count;
    struct transcode_error items[TRANSCODE_ERRORS_MAX];
};

struct transcode_options {
    bool strict;          /* the strict dialect: fields, members and words marked OpenAI are refused; maximum_strict applies */
    int64_t elements_max; /* JSON values in one body; 0: LIMIT_PROTO_ELEMENTS */
};

/** JSON text -> message of `descriptor`, in `arena`. On STATUS_INVALID_ARGUMENT `errors` says all (memory from the arena); STATUS_RESOURCE_EXHAUSTED
 *  when the arena's cap is reached. */
enum status transcode_read(const struct transcoder *transcoder, const struct transcode_options *options, const ProtobufCMessageDescriptor *descriptor,
                           struct bytes_view json, struct arena *arena, ProtobufCMessage **out, struct transcode_errors *errors);
/** The same checks (required, ranges, words, dialect, UTF-8) over a message that came by gRPC. */
enum status transcode_check(const struct transcoder *transcoder, const struct transcode_options *options, const ProtobufCMessage *message,
                            struct arena *arena, struct transcode_errors *errors);
/** Message -> compact JSON, appended. Fields in the order of their numbers; absent ones are left out unless `always`. Bytes with invalid UTF-8 in
 *  string fields are written as U+FFFD. */
enum status transcode_write(const struct transcoder *transcoder, const ProtobufCMessage *message, struct bytes *out);

/** Unpack untrusted protobuf bytes: depth, element budget and UTF-8 are checked first, memory is the arena's. */
enum status protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, struct bytes_view data, struct arena *arena, ProtobufCMessage **out, struct error *err);
/** Pack into `out` (appended). */
enum status protobuf_pack(const ProtobufCMessage *message, struct bytes *out);

#endif
