/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A request's path, query and body -> one message: what stands in a URL is text, so numbers and booleans are read from it as JSON writes them. */
#include "rpc/transcode_plan.h"

#include "base/limits.h"
#include "base/text.h"

#include <string.h>

const struct transcode_parameter *transcode_outside(const struct transcode_run *run, const struct field_plan *field) {
    if (run->depth > 0) return NULL;
    for (size_t i = 0; i < run->outside_count; i++) {
        if (strcmp(run->outside[i].name, field->name) == 0) return &run->outside[i];
    }
    return NULL;
}

/** JSON's grammar of numbers, without blanks around. */
static bool is_number(struct bytes_view text) {
    enum json_kind kind;
    if (text.length == 0 || !json_is_valid(text, 0, &kind) || kind != JSON_KIND_NUMBER) return false;
    uint8_t first = text.data[0], last = text.data[text.length - 1];
    return (first == '-' || (first >= '0' && first <= '9')) && last >= '0' && last <= '9';
}

static bool read_number(struct transcode_run *run, const struct field_plan *field, struct bytes_view text, void *slot) {
    bool integer = transcode_is_integer(field->descriptor->type), fits = is_number(text);
    struct transcode_number number = {0};
    if (fits) {
        number = transcode_parse_number(run, text);
        fits = !integer || number.whole;
        number.whole = integer;
    }
    if (!fits) {
        transcode_fail(run, integer ? "int_parsing" : "float_parsing",
                       integer ? "Input should be a valid integer, unable to parse string as an integer"
                               : "Input should be a valid number, unable to parse string as a number",
                       transcode_input_string(run, text), NULL);
        return false;
    }
    if (!transcode_check_number(run, field, number)) return false;
    transcode_store_number(field->descriptor, number, slot);
    return true;
}

static bool read_boolean(struct transcode_run *run, struct bytes_view text, protobuf_c_boolean *slot) {
    *slot = bytes_view_equal_string(text, "true") || bytes_view_equal_string(text, "1");
    if (*slot || bytes_view_equal_string(text, "false") || bytes_view_equal_string(text, "0")) return true;
    transcode_fail(run, "bool_parsing", "Input should be a valid boolean, unable to interpret input",
                   transcode_input_string(run, text), NULL);
    return false;
}

bool transcode_read_text(struct transcode_run *run, const struct field_plan *field, const char *text, void *slot) {
    struct bytes_view view = bytes_view_string(text);
    if (field->descriptor->type == PROTOBUF_C_TYPE_BOOL) return read_boolean(run, view, slot);
    if (field->descriptor->type != PROTOBUF_C_TYPE_STRING) return read_number(run, field, view, slot);
    if (!text_is_utf8(view.data, view.length)) {
        transcode_fail(run, "string_unicode",
                       "Input should be a valid string, unable to parse raw data as a unicode string", NULL, NULL);
        return false;
    }
    if (!transcode_check_string(run, field, view)) return false;
    *(char **)slot = transcode_copy(run, view.data, view.length);
    return *(char **)slot != NULL;
}

/** Can it stand in a URL? */
static bool is_plain(const struct transcode_run *run, const struct field_plan *field) {
    return field != NULL && field->message == NULL && field->rules.json_text == JSON_TEXT_NONE &&
           !transcode_field_refused(run, field) && transcode_outside(run, field) == NULL;
}

static void read_one(struct transcode_run *run, const struct field_plan *field, const char *text,
                     ProtobufCMessage *message) {
    const ProtobufCFieldDescriptor *descriptor = field->descriptor;
    uint32_t *which = (descriptor->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0
                          ? (uint32_t *)((uint8_t *)message + descriptor->quantifier_offset)
                          : NULL;
    if (which != NULL && *which != 0)
        transcode_fail(run, "value_error", "Value error, only one member of this group may be given",
                       transcode_input_string(run, bytes_view_string(text)), NULL);
    else if (transcode_read_text(run, field, text, (uint8_t *)message + descriptor->offset) && which != NULL)
        *which = descriptor->id;
}

/** All values of a list's name, in the order of arrival. */
static void read_many(struct transcode_run *run, const struct field_plan *field, const struct transcode_call *call,
                      size_t given, ProtobufCMessage *message) {
    if (!transcode_check_items(run, field, given)) return;
    size_t bytes = transcode_slot_bytes(field->descriptor->type), index = 0;
    uint8_t *slots = transcode_alloc(run, given, bytes);
    for (size_t i = 0; slots != NULL && i < call->query_count; i++) {
        if (strcmp(call->query[i].name, field->name) != 0) continue;
        transcode_push_index(run, index);
        (void)transcode_read_text(run, field, call->query[i].value, slots + index * bytes);
        transcode_pop(run);
        index++;
    }
    *(void **)((uint8_t *)message + field->descriptor->offset) = slots;
    *(size_t *)((uint8_t *)message + field->descriptor->quantifier_offset) = given;
}

static void read_query_field(struct transcode_run *run, const struct field_plan *field,
                             const struct transcode_call *call, ProtobufCMessage *message) {
    const char *text = NULL;
    size_t given = 0;
    for (size_t i = 0; i < call->query_count; i++) {
        if (strcmp(call->query[i].name, field->name) != 0) continue;
        text = call->query[i].value;
        given++;
    }
    transcode_push_name(run, field->name);
    if (given == 0) {
        if (field->rules.required) transcode_fail(run, "missing", "Field required", NULL, NULL);
    } else if (field->repeated) {
        read_many(run, field, call, given, message);
    } else if (given > 1) {
        transcode_fail(run, "value_error", "Value error, this parameter may be given once", NULL, NULL);
    } else {
        read_one(run, field, text, message);
    }
    transcode_pop(run);
}

static void refuse_query(struct transcode_run *run, const struct transcode_parameter *parameter) {
    transcode_push_name(run, transcode_shown(run, bytes_view_string(parameter->name)));
    transcode_fail(run, "extra_forbidden", "Extra inputs are not permitted",
                   transcode_input_string(run, bytes_view_string(parameter->value)), NULL);
    transcode_pop(run);
}

/** `message` is NULL where the body says it all. */
static void read_query(struct transcode_run *run, const struct message_plan *plan, const struct transcode_call *call,
                       ProtobufCMessage *message) {
    run->root = "query";
    for (size_t i = 0; message != NULL && i < plan->fields_count && !run->exhausted; i++) {
        if (!plan->fields[i].rules.hidden && is_plain(run, &plan->fields[i]))
            read_query_field(run, &plan->fields[i], call, message);
    }
    for (size_t i = 0; i < call->query_count && run->errors->count < TRANSCODE_ERRORS_MAX; i++) {
        const struct field_plan *field = transcode_find_field(plan, bytes_view_string(call->query[i].name));
        if (message == NULL || !is_plain(run, field)) refuse_query(run, &call->query[i]);
    }
}

static void read_path(struct transcode_run *run, const struct message_plan *plan, const struct transcode_call *call,
                      ProtobufCMessage *message) {
    run->root = "path";
    for (size_t i = 0; message != NULL && i < call->path_count; i++) {
        const struct field_plan *field = transcode_find_field(plan, bytes_view_string(call->path[i].name));
        if (field == NULL) continue; /* the caller's own, of no message */
        transcode_push_name(run, field->name);
        read_one(run, field, call->path[i].value, message);
        transcode_pop(run);
    }
}

enum status transcode_read_call(const struct transcoder *transcoder, const struct transcode_options *options,
                                const ProtobufCMessageDescriptor *descriptor, const struct transcode_call *call,
                                struct arena *arena, ProtobufCMessage **out, struct transcode_errors *errors) {
    errors->count = 0;
    const struct message_plan *plan = transcode_find_plan(transcoder, descriptor);
    if (plan == NULL || plan->form != FORM_OBJECT) return STATUS_INTERNAL;
    struct transcode_run run = {.strict = options->strict,
                                .arena = arena,
                                .errors = errors,
                                .outside = call->path,
                                .outside_count = call->path_count};
    ProtobufCMessage *message =
        call->has_body ? transcode_read_json(&run, options, plan, call->body) : transcode_new_message(&run, plan);
    read_path(&run, plan, call, message);
    read_query(&run, plan, call, call->has_body ? NULL : message);
    if (run.exhausted) return STATUS_RESOURCE_EXHAUSTED;
    if (errors->count > 0) return STATUS_INVALID_ARGUMENT;
    *out = message;
    return STATUS_OK;
}
