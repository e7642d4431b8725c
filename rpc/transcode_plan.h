/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside the transcoder: what it knows of each message before the first request, and the state of one run.
 *
 *     descriptors (options)  +  protobuf-c descriptors (offsets)   ->   message_plan -> field_plan -> message_plan ...
 *
 * Plans are built once, by transcode_plan.c, live in the transcoder's arena and never change.
 */
#ifndef RPC_TRANSCODE_PLAN_H
#define RPC_TRANSCODE_PLAN_H

#include "base/json.h"
#include "rpc/transcode.h"

/* Numbers of proto/bora/v1/options.proto. */
enum dialect { DIALECT_ANY = 0, DIALECT_MISTRAL = 1, DIALECT_OPENAI = 2, DIALECT_EXTENSION = 3 };
enum json_text { JSON_TEXT_NONE = 0, JSON_TEXT_ANY = 1, JSON_TEXT_OBJECT = 2, JSON_TEXT_ARRAY = 3 };
enum json_form { FORM_OBJECT = 0, FORM_TAGGED = 1, FORM_VALUE = 2, FORM_LIST = 3 };

struct optional_number {
    bool given;
    double value;
};
struct optional_count {
    bool given;
    uint32_t value;
};

struct field_rules {
    bool required, nullable, always, empty_as_null, hidden, identifier, one_line;
    struct optional_number minimum, exclusive_minimum, maximum, maximum_strict, exclusive_minimum_strict;
    struct optional_count min_bytes, max_bytes, max_characters, min_items, max_items;
    const char **words; /* words_count of them are anyone's, then words_openai_count more are OpenAI's */
    size_t words_count, words_openai_count;
    enum dialect dialect;
    enum json_text json_text;
};

struct field_plan {
    const ProtobufCFieldDescriptor *descriptor;
    const char *name; /* in JSON */
    size_t name_length;
    struct field_rules rules;
    const struct message_plan *message; /* of a message field; of a map: its entry */
    bool repeated, map;
    bool presence; /* absent can be told from zero: messages and oneof members */
};

/** Another server's name, and what to send here. */
struct elsewhere {
    const char *name, *instead;
};

struct message_plan {
    const ProtobufCMessageDescriptor *descriptor;
    enum json_form form;
    const char *tag, *tag_default; /* FORM_TAGGED, FORM_OBJECT; "" for none */
    uint32_t kinds;                /* bit per enum json_kind that a JSON value of this message may have */
    bool kinds_known;
    size_t fields_count;
    struct field_plan *fields;         /* by number */
    const struct field_plan **by_name; /* by (length, bytes) of `name`; without hidden ones */
    size_t by_name_count;
    struct elsewhere *elsewhere;
    size_t elsewhere_count;
    struct message_plan *next; /* of the transcoder's list */
};

enum { TRANSCODE_PLAN_SLOTS = 1024, TRANSCODE_PLAN_PROBES = 8 };

struct transcoder {
    struct arena arena;
    struct message_plan *plans;
    /* The same by their descriptors' addresses, most of them: an answer asks for a plan several times, and there are more than a hundred. */
    struct message_plan *slots[TRANSCODE_PLAN_SLOTS];
};

const struct message_plan *transcode_find_plan(const struct transcoder *transcoder,
                                               const ProtobufCMessageDescriptor *descriptor);
const struct field_plan *transcode_find_field(const struct message_plan *plan, struct bytes_view name);
/** Bits of the JSON kinds that one value of the field may have; 0 for none. */
uint32_t transcode_field_kinds(const struct field_plan *field);

/** Bytes of one value in a C array. */
size_t transcode_slot_bytes(ProtobufCType type);
/** The member of the message's one oneof that is set (FORM_TAGGED, FORM_VALUE); NULL when none is. */
const struct field_plan *transcode_chosen_member(const struct message_plan *plan, const ProtobufCMessage *message);
/** Would the field be in the message's JSON? Scalars without presence always are; an empty list is not. */
bool transcode_is_present(const struct field_plan *field, const ProtobufCMessage *message);

/** One value, at `slot`, as JSON. */
void transcode_write_value(struct bytes *out, const struct field_plan *field, const void *slot, int depth);

/** One read or check. */
struct transcode_run {
    bool strict;
    struct arena *arena;
    struct transcode_errors *errors;
    bool exhausted;                            /* the arena's cap was reached: nothing else counts */
    const char *root;                          /* of the errors' paths */
    const struct transcode_parameter *outside; /* fields of the root that are given outside the body */
    size_t outside_count;
    size_t depth; /* of the path; steps beyond TRANSCODE_PATH_MAX are counted, not kept */
    struct transcode_step path[TRANSCODE_PATH_MAX];
};

void transcode_push_name(struct transcode_run *run, const char *name);
void transcode_push_index(struct transcode_run *run, size_t index);
void transcode_pop(struct transcode_run *run);
/** arena_alloc that sets run->exhausted. */
void *transcode_alloc(struct transcode_run *run, size_t count, size_t bytes);
char *transcode_copy(struct transcode_run *run, const void *data, size_t length);
/** arena_printf that sets run->exhausted and gives "" then. */
const char *transcode_text(struct transcode_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** The parameter that gives this field of the root outside the body; NULL for none, and for every field further down. */
const struct transcode_parameter *transcode_outside(const struct transcode_run *run, const struct field_plan *field);
/** Check and store one value that came as text. False when an error was added, at the current path. */
bool transcode_read_text(struct transcode_run *run, const struct field_plan *field, const char *text, void *slot);
/** The whole of `json` as a message, errors in the run. NULL when it is malformed, of the wrong type, or the arena is exhausted. */
ProtobufCMessage *transcode_read_json(struct transcode_run *run, const struct transcode_options *options,
                                      const struct message_plan *plan, struct bytes_view json);
ProtobufCMessage *transcode_new_message(struct transcode_run *run, const struct message_plan *plan);

/** Add an error at the current path. `input` and `context` may be NULL. */
void transcode_fail(struct transcode_run *run, const char *type, const char *message, const char *input,
                    const char *context);
/** The `input` of an error: JSON text, cut as transcode.h says. */
const char *transcode_input_json(struct transcode_run *run, struct bytes_view text);
const char *transcode_input_string(struct transcode_run *run, struct bytes_view string);
/** `string` as a C string to show: NULs replaced, cut. */
const char *transcode_shown(struct transcode_run *run, struct bytes_view string);

/** A number of any field's type: whole ones exactly, others as double. */
struct transcode_number {
    bool whole; /* `integer` counts */
    __int128 integer;
    double real;
    struct bytes_view text; /* as the client wrote it; empty when it did not come as text */
};

bool transcode_field_refused(const struct transcode_run *run, const struct field_plan *field); /* by its dialect */
/** JSON's number as it was written. */
struct transcode_number transcode_parse_number(struct transcode_run *run, struct bytes_view text);
void transcode_store_number(const ProtobufCFieldDescriptor *field, struct transcode_number number, void *slot);
bool transcode_is_integer(ProtobufCType type);
/* The rules of a value; each adds its error and returns false when broken. */
bool transcode_check_string(struct transcode_run *run, const struct field_plan *field, struct bytes_view string);
bool transcode_check_number(struct transcode_run *run, const struct field_plan *field, struct transcode_number number);
bool transcode_check_items(struct transcode_run *run, const struct field_plan *field, size_t count);
/** FORM_OBJECT with a tag: the field that this case requires, or NULL. `chosen` is the tag's value, empty when it is absent. */
const struct field_plan *transcode_required_by_tag(const struct transcode_run *run, const struct message_plan *plan,
                                                   struct bytes_view chosen);
void transcode_fail_word(struct transcode_run *run, const struct field_plan *field, const char *input);
/** "Input should be a valid integer" and its like, for a value of the wrong JSON type. */
void transcode_fail_type(struct transcode_run *run, const struct field_plan *field, const char *input);
void transcode_fail_message_type(struct transcode_run *run, const struct message_plan *plan, const char *input);
void transcode_fail_tag(struct transcode_run *run, const struct message_plan *plan, struct bytes_view tag,
                        const char *input);

#endif
