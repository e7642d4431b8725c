/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The rules over a message that came by gRPC: the same errors at the same paths as the JSON that would give this message. */
#include "rpc/transcode_plan.h"

#include "base/limits.h"
#include "base/text.h"

static void check_message(struct transcode_run *run, const struct message_plan *plan, const ProtobufCMessage *message);

const struct field_plan *transcode_chosen_member(const struct message_plan *plan, const ProtobufCMessage *message) {
    uint32_t which = *(const uint32_t *)((const uint8_t *)message + plan->fields[0].descriptor->quantifier_offset);
    for (size_t i = 0; i < plan->fields_count; i++) {
        const struct field_plan *field = &plan->fields[i];
        if (field->descriptor->id != which) continue;
        const void *slot = (const uint8_t *)message + field->descriptor->offset;
        return field->message != NULL && *(ProtobufCMessage *const *)slot == NULL ? NULL : field;
    }
    return NULL;
}

static struct transcode_number load_number(ProtobufCType type, const void *slot) {
    struct transcode_number number = {.whole = true};
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        number.integer = *(const int32_t *)slot;
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        number.integer = *(const uint32_t *)slot;
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        number.integer = *(const uint64_t *)slot;
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        return (struct transcode_number){.real = *(const float *)slot};
    case PROTOBUF_C_TYPE_DOUBLE:
        return (struct transcode_number){.real = *(const double *)slot};
    default:
        number.integer = *(const int64_t *)slot;
        break;
    }
    return number;
}

static void check_json_text(struct transcode_run *run, const struct field_plan *field, struct bytes_view text) {
    struct json_value *value = NULL;
    struct json_problem problem;
    enum status status = json_read(text, LIMIT_JSON_DEPTH, LIMIT_PROTO_ELEMENTS, run->arena, &value, &problem);
    if (status == STATUS_RESOURCE_EXHAUSTED) run->exhausted = true;
    if (status == STATUS_INVALID_ARGUMENT) {
        transcode_fail(run, "json_invalid", transcode_text(run, "Invalid JSON: %s", problem.reason),
                       transcode_input_string(run, text), transcode_text(run, "{\"error\":\"%s\"}", problem.reason));
    }
    if (status != STATUS_OK) return;
    if ((transcode_field_kinds(field) >> value->kind & 1) == 0)
        transcode_fail_type(run, field, transcode_input_json(run, text));
    else
        (void)transcode_check_string(run, field, text);
}

static void check_string(struct transcode_run *run, const struct field_plan *field, const char *string) {
    struct bytes_view view = bytes_view_string(string);
    if (!text_is_utf8(view.data, view.length)) {
        transcode_fail(run, "string_unicode",
                       "Input should be a valid string, unable to parse raw data as a unicode string", NULL, NULL);
    } else if (field->rules.json_text != JSON_TEXT_NONE) {
        check_json_text(run, field, view);
    } else {
        (void)transcode_check_string(run, field, view);
    }
}

static void check_value(struct transcode_run *run, const struct field_plan *field, const void *slot) {
    switch (field->descriptor->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        check_message(run, field->message, *(const ProtobufCMessage *const *)slot);
        break;
    case PROTOBUF_C_TYPE_STRING:
        check_string(run, field, *(const char *const *)slot);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        break;
    default:
        (void)transcode_check_number(run, field, load_number(field->descriptor->type, slot));
        break;
    }
}

static void check_map_entry(struct transcode_run *run, const struct field_plan *field, const ProtobufCMessage *entry) {
    const struct field_plan *key = &field->message->fields[0];
    struct field_plan value = field->message->fields[1];
    value.rules = field->rules;
    const void *key_slot = (const uint8_t *)entry + key->descriptor->offset;
    if (key->descriptor->type == PROTOBUF_C_TYPE_STRING) {
        transcode_push_name(run, transcode_shown(run, bytes_view_string(*(const char *const *)key_slot)));
    } else {
        transcode_push_name(
            run, transcode_text(run, "%lld", (long long)load_number(key->descriptor->type, key_slot).integer));
    }
    check_value(run, &value, (const uint8_t *)entry + value.descriptor->offset);
    transcode_pop(run);
}

static void check_repeated(struct transcode_run *run, const struct field_plan *field, const ProtobufCMessage *message) {
    size_t count = *(const size_t *)((const uint8_t *)message + field->descriptor->quantifier_offset);
    const uint8_t *slots = *(const uint8_t *const *)((const uint8_t *)message + field->descriptor->offset);
    if (!transcode_check_items(run, field, count)) return;
    size_t bytes = transcode_slot_bytes(field->descriptor->type);
    for (size_t i = 0; i < count && !run->exhausted && run->errors->count < TRANSCODE_ERRORS_MAX; i++) {
        if (field->map) {
            check_map_entry(run, field, ((const ProtobufCMessage *const *)(const void *)slots)[i]);
            continue;
        }
        transcode_push_index(run, i);
        check_value(run, field, slots + i * bytes);
        transcode_pop(run);
    }
}

bool transcode_is_present(const struct field_plan *field, const ProtobufCMessage *message) {
    const ProtobufCFieldDescriptor *descriptor = field->descriptor;
    const void *slot = (const uint8_t *)message + descriptor->offset;
    if (field->repeated) return *(const size_t *)((const uint8_t *)message + descriptor->quantifier_offset) > 0;
    if ((descriptor->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const uint32_t *)((const uint8_t *)message + descriptor->quantifier_offset) != descriptor->id)
        return false;
    if (descriptor->type != PROTOBUF_C_TYPE_MESSAGE) return true;
    const ProtobufCMessage *inner = *(const ProtobufCMessage *const *)slot;
    /* A union in which nothing is set has no JSON but null. */
    return inner != NULL &&
           (field->message->form != FORM_VALUE || transcode_chosen_member(field->message, inner) != NULL);
}

/** A scalar without presence that was left at zero. */
static bool is_zero(const struct field_plan *field, const void *slot) {
    switch (field->descriptor->type) {
    case PROTOBUF_C_TYPE_STRING:
        return *(const char *const *)slot == NULL || (*(const char *const *)slot)[0] == 0;
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)slot == 0;
    default: {
        struct transcode_number number = load_number(field->descriptor->type, slot);
        return number.whole ? number.integer == 0 : number.real == 0;
    }
    }
}

/** FORM_OBJECT: the string that the tag's field holds; empty without one. */
static struct bytes_view tag_of(const struct message_plan *plan, const ProtobufCMessage *message) {
    const struct field_plan *field = plan->form == FORM_OBJECT && plan->tag[0] != 0
                                         ? transcode_find_field(plan, bytes_view_string(plan->tag))
                                         : NULL;
    if (field == NULL || !transcode_is_present(field, message)) return (struct bytes_view){0};
    return bytes_view_string(
        *(const char *const *)(const void *)((const uint8_t *)message + field->descriptor->offset));
}

static void check_fields(struct transcode_run *run, const struct message_plan *plan, const ProtobufCMessage *message) {
    const struct field_plan *tagged = transcode_required_by_tag(run, plan, tag_of(plan, message));
    for (size_t i = 0; i < plan->fields_count && !run->exhausted && run->errors->count < TRANSCODE_ERRORS_MAX; i++) {
        const struct field_plan *field = &plan->fields[i];
        const void *slot = (const uint8_t *)message + field->descriptor->offset;
        bool present = transcode_is_present(field, message),
             required = (field->rules.required && !field->rules.nullable) || field == tagged;
        if (field->rules.hidden) continue;
        transcode_push_name(run, field->name);
        if (field->repeated) {
            /* Absent and empty are one in protobuf: of an optional list only what is there is judged. */
            if (present && transcode_field_refused(run, field))
                transcode_fail(run, "extra_forbidden", "Extra inputs are not permitted", NULL, NULL);
            else if (present || required)
                check_repeated(run, field, message);
        } else if (!present) {
            if (required) transcode_fail(run, "missing", "Field required", NULL, NULL);
        } else if (field->presence || required || !is_zero(field, slot)) {
            if (transcode_field_refused(run, field))
                transcode_fail(run, "extra_forbidden", "Extra inputs are not permitted", NULL, NULL);
            else
                check_value(run, field, slot);
        }
        transcode_pop(run);
    }
}

static void check_message(struct transcode_run *run, const struct message_plan *plan, const ProtobufCMessage *message) {
    if (plan->form == FORM_LIST) {
        check_repeated(run, &plan->fields[0], message);
        return;
    }
    if (plan->form == FORM_OBJECT) {
        check_fields(run, plan, message);
        return;
    }
    const struct field_plan *member = transcode_chosen_member(plan, message);
    if (member == NULL && plan->form == FORM_VALUE) {
        transcode_fail(run, "missing", "Field required", NULL, NULL);
    } else if (member == NULL) {
        transcode_fail(run, "union_tag_not_found",
                       transcode_text(run, "Unable to extract tag using discriminator '%s'", plan->tag), NULL,
                       transcode_text(run, "{\"discriminator\":\"'%s'\"}", plan->tag));
    } else if (transcode_field_refused(run, member)) {
        if (plan->form == FORM_TAGGED)
            transcode_fail_tag(run, plan, bytes_view_string(member->name), NULL);
        else
            transcode_fail(run, "extra_forbidden", "Extra inputs are not permitted", NULL, NULL);
    } else {
        if (plan->form == FORM_TAGGED) transcode_push_name(run, member->name);
        check_value(run, member, (const uint8_t *)message + member->descriptor->offset);
        if (plan->form == FORM_TAGGED) transcode_pop(run);
    }
}

enum status transcode_check(const struct transcoder *transcoder, const struct transcode_options *options,
                            const ProtobufCMessage *message, struct arena *arena, struct transcode_errors *errors) {
    errors->count = 0;
    const struct message_plan *plan = transcode_find_plan(transcoder, message->descriptor);
    if (plan == NULL) return STATUS_INTERNAL;
    struct transcode_run run = {.strict = options->strict, .arena = arena, .errors = errors};
    check_message(&run, plan, message);
    if (run.exhausted) return STATUS_RESOURCE_EXHAUSTED;
    return errors->count > 0 ? STATUS_INVALID_ARGUMENT : STATUS_OK;
}
