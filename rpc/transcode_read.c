/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON -> message: the tree of base/json.h is laid over the plans, field by field in the order of their numbers. */
#include "rpc/transcode_plan.h"

#include "base/limits.h"
#include "base/text.h"

#include <math.h>
#include <string.h>

static ProtobufCMessage *read_message(struct transcode_run *run, const struct message_plan *plan,
                                      const struct json_value *value);

static bool kind_fits(uint32_t kinds, const struct json_value *value) {
    return (kinds >> value->kind & 1) != 0;
}

static const char *input_of(struct transcode_run *run, const struct json_value *value) {
    return transcode_input_json(run, value->text);
}

ProtobufCMessage *transcode_new_message(struct transcode_run *run, const struct message_plan *plan) {
    ProtobufCMessage *message = transcode_alloc(run, 1, plan->descriptor->sizeof_message);
    if (message != NULL) protobuf_c_message_init(plan->descriptor, message);
    return message;
}

/** The number as written: exactly when whole, 3.0 and 1e2 included; what no type can hold keeps only its size. */
struct transcode_number transcode_parse_number(struct transcode_run *run, struct bytes_view text) {
    struct transcode_number number = {.whole = true, .text = text};
    const uint8_t *digits = text.data + (text.data[0] == '-');
    bool negative = digits != text.data;
    size_t count = text.length - negative, plain = 0;
    while (plain < count && digits[plain] >= '0' && digits[plain] <= '9') plain++;
    if (plain == count && count <= 36) {
        for (size_t i = 0; i < count; i++) number.integer = number.integer * 10 + (digits[i] - '0');
        if (negative) number.integer = -number.integer;
        number.real = (double)number.integer;
        return number;
    }
    const char *copy = transcode_copy(run, text.data, text.length);
    if (copy == NULL) return number;
    if (!text_to_double(copy, &number.real)) number.real = negative ? -INFINITY : INFINITY;
    number.whole = number.real == trunc(number.real); /* also infinite */
    if (fabs(number.real) < 1e37)
        number.integer = number.whole ? (__int128)number.real : 0;
    else
        number.integer = negative ? -((__int128)1 << 120) : (__int128)1 << 120;
    return number;
}

void transcode_store_number(const ProtobufCFieldDescriptor *field, struct transcode_number number, void *slot) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        *(int32_t *)slot = (int32_t)number.integer;
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)slot = (uint32_t)number.integer;
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(uint64_t *)slot = (uint64_t)number.integer;
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)slot = (float)number.real;
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)slot = number.real;
        break;
    default:
        *(int64_t *)slot = (int64_t)number.integer;
        break;
    }
}

static bool read_number(struct transcode_run *run, const struct field_plan *field, const struct json_value *value,
                        void *slot) {
    struct transcode_number number = transcode_parse_number(run, value->text);
    if (transcode_is_integer(field->descriptor->type) && !number.whole) {
        transcode_fail(run, "int_from_float", "Input should be a valid integer, got a number with a fractional part",
                       input_of(run, value), NULL);
        return false;
    }
    number.whole = transcode_is_integer(field->descriptor->type);
    if (!transcode_check_number(run, field, number)) return false;
    transcode_store_number(field->descriptor, number, slot);
    return true;
}

/** The value as compact JSON text. */
static bool read_json_text(struct transcode_run *run, const struct field_plan *field, const struct json_value *value,
                           char **slot) {
    uint8_t *memory = transcode_alloc(run, value->text.length + 1, 1);
    if (memory == NULL) return false;
    struct bytes compact = {.data = memory,
                            .capacity = value->text.length + 1,
                            .max_bytes = value->text.length}; /* large enough: never grows */
    (void)json_append_compact(&compact, value->text, value->text.length);
    *slot = (char *)memory;
    return transcode_check_string(run, field, bytes_view(&compact));
}

static bool read_string(struct transcode_run *run, const struct field_plan *field, const struct json_value *value,
                        char **slot) {
    if (!transcode_check_string(run, field, value->string)) return false;
    *slot =
        value->terminated ? (char *)value->string.data : transcode_copy(run, value->string.data, value->string.length);
    return *slot != NULL;
}

/** One value of the field's type into `slot`; false when an error was added. */
static bool read_value(struct transcode_run *run, const struct field_plan *field, const struct json_value *value,
                       void *slot) {
    if (field->descriptor->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage *message = read_message(run, field->message, value);
        *(ProtobufCMessage **)slot = message;
        return message != NULL;
    }
    if (!kind_fits(transcode_field_kinds(field), value)) {
        transcode_fail_type(run, field, input_of(run, value));
        return false;
    }
    if (field->descriptor->type == PROTOBUF_C_TYPE_BOOL) {
        *(protobuf_c_boolean *)slot = value->boolean;
        return true;
    }
    if (field->descriptor->type != PROTOBUF_C_TYPE_STRING) return read_number(run, field, value, slot);
    if (field->rules.json_text != JSON_TEXT_NONE) return read_json_text(run, field, value, slot);
    return read_string(run, field, value, slot);
}

size_t transcode_slot_bytes(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 4;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    default:
        return 8;
    }
}

static void read_list(struct transcode_run *run, const struct field_plan *field, const struct json_value *list,
                      ProtobufCMessage *message) {
    if (!transcode_check_items(run, field, list->count)) return;
    size_t bytes = transcode_slot_bytes(field->descriptor->type), index = 0;
    uint8_t *slots = transcode_alloc(run, list->count, bytes);
    if (slots == NULL) return;
    for (const struct json_value *item = list->first; item != NULL && !run->exhausted; item = item->next, index++) {
        transcode_push_index(run, index);
        (void)read_value(run, field, item, slots + index * bytes);
        transcode_pop(run);
    }
    *(void **)((uint8_t *)message + field->descriptor->offset) = slots;
    *(size_t *)((uint8_t *)message + field->descriptor->quantifier_offset) = list->count;
}

/** A map's key: the text itself, or the integer it spells canonically (so "1" and "01" cannot both be there). */
static bool read_key(struct transcode_run *run, const struct field_plan *key, const struct json_value *member,
                     ProtobufCMessage *entry) {
    void *slot = (uint8_t *)entry + key->descriptor->offset;
    bool fits = false;
    transcode_push_name(run, "[key]");
    if (key->descriptor->type == PROTOBUF_C_TYPE_STRING) {
        fits = transcode_check_string(run, key, member->name);
        if (fits) *(char **)slot = transcode_copy(run, member->name.data, member->name.length);
    } else {
        const struct bytes_view name = member->name;
        size_t sign = name.length > 0 && name.data[0] == '-';
        bool canonical = name.length > sign && name.length <= 20 && (name.data[sign] != '0' || name.length == 1);
        for (size_t i = sign; i < name.length; i++) canonical &= name.data[i] >= '0' && name.data[i] <= '9';
        if (!canonical) {
            transcode_fail(run, "int_parsing", "Input should be a valid integer, unable to parse string as an integer",
                           transcode_input_string(run, name), NULL);
        } else {
            struct transcode_number number = transcode_parse_number(run, name);
            fits = transcode_check_number(run, key, number);
            if (fits) transcode_store_number(key->descriptor, number, slot);
        }
    }
    transcode_pop(run);
    return fits;
}

static void read_map(struct transcode_run *run, const struct field_plan *field, const struct json_value *object,
                     ProtobufCMessage *message) {
    if (!transcode_check_items(run, field, object->count)) return;
    const struct field_plan *key = &field->message->fields[0];
    struct field_plan value = field->message->fields[1];
    value.rules = field->rules; /* what the map's options say holds for its values */
    ProtobufCMessage **entries = transcode_alloc(run, object->count, sizeof *entries);
    size_t index = 0;
    for (const struct json_value *member = object->first; member != NULL && !run->exhausted; member = member->next) {
        ProtobufCMessage *entry = transcode_new_message(run, field->message);
        if (entries == NULL || entry == NULL) return;
        entries[index++] = entry;
        transcode_push_name(run, transcode_shown(run, member->name));
        if (read_key(run, key, member, entry))
            (void)read_value(run, &value, member, (uint8_t *)entry + value.descriptor->offset);
        transcode_pop(run);
    }
    *(void **)((uint8_t *)message + field->descriptor->offset) = entries;
    *(size_t *)((uint8_t *)message + field->descriptor->quantifier_offset) = object->count;
}

/** A field whose name is in the object. */
static void read_field(struct transcode_run *run, const struct field_plan *field, const struct json_value *value,
                       ProtobufCMessage *message) {
    const ProtobufCFieldDescriptor *descriptor = field->descriptor;
    if (value->kind == JSON_KIND_NULL && field->rules.nullable) return;
    if (field->map) {
        if (value->kind == JSON_KIND_OBJECT)
            read_map(run, field, value, message);
        else
            transcode_fail_type(run, field, input_of(run, value));
        return;
    }
    if (field->repeated) {
        if (value->kind == JSON_KIND_ARRAY)
            read_list(run, field, value, message);
        else
            transcode_fail(run, "list_type", "Input should be a valid list", input_of(run, value), NULL);
        return;
    }
    uint32_t *which = NULL;
    if ((descriptor->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        which = (uint32_t *)((uint8_t *)message + descriptor->quantifier_offset);
        if (*which != 0) {
            transcode_fail(run, "value_error", "Value error, only one member of this group may be given",
                           input_of(run, value), NULL);
            return;
        }
    }
    if (read_value(run, field, value, (uint8_t *)message + descriptor->offset) && which != NULL)
        *which = descriptor->id;
}

static void fail_missing(struct transcode_run *run, const char *name, const struct json_value *object) {
    transcode_push_name(run, name);
    transcode_fail(run, "missing", "Field required", input_of(run, object), NULL);
    transcode_pop(run);
}

/** FORM_OBJECT: the string that the tag's field holds; empty without one. */
static struct bytes_view tag_of(const struct message_plan *plan, const struct json_value *const *members) {
    const struct field_plan *field = plan->form == FORM_OBJECT && plan->tag[0] != 0
                                         ? transcode_find_field(plan, bytes_view_string(plan->tag))
                                         : NULL;
    const struct json_value *member = field != NULL ? members[field - plan->fields] : NULL;
    return member != NULL && member->kind == JSON_KIND_STRING ? member->string : (struct bytes_view){0};
}

/** A name that is none of the fields'. */
static void fail_unknown(struct transcode_run *run, const struct message_plan *plan, const struct json_value *member) {
    const char *message = "Extra inputs are not permitted";
    for (size_t i = 0; i < plan->elsewhere_count && !run->strict; i++)
        if (bytes_view_equal_string(member->name, plan->elsewhere[i].name))
            message = transcode_text(run, "%s; send %s", message, plan->elsewhere[i].instead);
    transcode_push_name(run, transcode_shown(run, member->name));
    transcode_fail(run, "extra_forbidden", message, input_of(run, member), NULL);
    transcode_pop(run);
}

/** The field that the body may give under this name, or NULL. */
static const struct field_plan *find_given(const struct transcode_run *run, const struct message_plan *plan,
                                           struct bytes_view name) {
    const struct field_plan *field = transcode_find_field(plan, name);
    bool may = field != NULL && !transcode_field_refused(run, field) && transcode_outside(run, field) == NULL;
    return may ? field : NULL;
}

/** The members of `object` into the fields of `message`; `tag` is a name that belongs to the union around it, or empty. */
static void read_fields(struct transcode_run *run, const struct message_plan *plan, const struct json_value *object,
                        struct bytes_view tag, ProtobufCMessage *message) {
    const struct json_value **members = transcode_alloc(run, plan->fields_count, sizeof *members);
    if (members == NULL) return;
    size_t unknown = 0;
    for (const struct json_value *member = object->first; member != NULL; member = member->next) {
        const struct field_plan *field = find_given(run, plan, member->name);
        if (field != NULL)
            members[field - plan->fields] = member;
        else
            unknown += tag.length == 0 || !bytes_view_equal(member->name, tag);
    }
    const struct field_plan *tagged = transcode_required_by_tag(run, plan, tag_of(plan, members));
    for (size_t i = 0; i < plan->fields_count && !run->exhausted; i++) {
        const struct field_plan *field = &plan->fields[i];
        if (members[i] == NULL || (field == tagged && members[i]->kind == JSON_KIND_NULL)) {
            if ((field->rules.required || field == tagged) && !field->rules.hidden &&
                transcode_outside(run, field) == NULL)
                fail_missing(run, field->name, object);
            continue;
        }
        transcode_push_name(run, field->name);
        read_field(run, field, members[i], message);
        transcode_pop(run);
    }
    for (const struct json_value *member = object->first;
         member != NULL && unknown > 0 && run->errors->count < TRANSCODE_ERRORS_MAX; member = member->next) {
        if (find_given(run, plan, member->name) != NULL || (tag.length != 0 && bytes_view_equal(member->name, tag)))
            continue;
        unknown--;
        fail_unknown(run, plan, member);
    }
}

static ProtobufCMessage *read_tagged(struct transcode_run *run, const struct message_plan *plan,
                                     const struct json_value *object) {
    const struct bytes_view tag_name = bytes_view_string(plan->tag);
    const struct json_value *tag = object->first;
    while (tag != NULL && !bytes_view_equal(tag->name, tag_name)) tag = tag->next;
    if (tag == NULL && plan->tag_default[0] == 0) {
        transcode_fail(run, "union_tag_not_found",
                       transcode_text(run, "Unable to extract tag using discriminator '%s'", plan->tag),
                       input_of(run, object), transcode_text(run, "{\"discriminator\":\"'%s'\"}", plan->tag));
        return NULL;
    }
    struct bytes_view chosen = tag == NULL                     ? bytes_view_string(plan->tag_default)
                               : tag->kind == JSON_KIND_STRING ? tag->string
                                                               : tag->text;
    const struct field_plan *field =
        tag == NULL || tag->kind == JSON_KIND_STRING ? transcode_find_field(plan, chosen) : NULL;
    if (field == NULL || transcode_field_refused(run, field)) {
        transcode_fail_tag(run, plan, chosen, input_of(run, object));
        return NULL;
    }
    ProtobufCMessage *message = transcode_new_message(run, plan), *member = transcode_new_message(run, field->message);
    if (message == NULL || member == NULL) return NULL;
    transcode_push_name(run, field->name);
    read_fields(run, field->message, object, tag_name, member);
    transcode_pop(run);
    *(uint32_t *)((uint8_t *)message + field->descriptor->quantifier_offset) = field->descriptor->id;
    *(ProtobufCMessage **)((uint8_t *)message + field->descriptor->offset) = member;
    return message;
}

/** The member that takes this JSON type; check_form made sure that there is one at most. */
static ProtobufCMessage *read_union(struct transcode_run *run, const struct message_plan *plan,
                                    const struct json_value *value) {
    for (size_t i = 0; i < plan->fields_count; i++) {
        const struct field_plan *field = &plan->fields[i];
        if (field->rules.hidden || transcode_field_refused(run, field) ||
            !kind_fits(transcode_field_kinds(field), value))
            continue;
        ProtobufCMessage *message = transcode_new_message(run, plan);
        if (message == NULL || !read_value(run, field, value, (uint8_t *)message + field->descriptor->offset))
            return NULL;
        *(uint32_t *)((uint8_t *)message + field->descriptor->quantifier_offset) = field->descriptor->id;
        return message;
    }
    transcode_fail_message_type(run, plan, input_of(run, value));
    return NULL;
}

/** NULL when an error was added or the arena is exhausted. A message may come back although errors were added inside it. */
static ProtobufCMessage *read_message(struct transcode_run *run, const struct message_plan *plan,
                                      const struct json_value *value) {
    if (plan->form == FORM_VALUE) return read_union(run, plan, value);
    if (!kind_fits(plan->kinds, value)) {
        transcode_fail_message_type(run, plan, input_of(run, value));
        return NULL;
    }
    if (plan->form == FORM_TAGGED) return read_tagged(run, plan, value);
    ProtobufCMessage *message = transcode_new_message(run, plan);
    if (message == NULL) return NULL;
    if (plan->form == FORM_LIST)
        read_list(run, &plan->fields[0], value, message);
    else
        read_fields(run, plan, value, (struct bytes_view){0}, message);
    return message;
}

/** The path of a member deep in the tree: at each level go where its text lies. */
static void push_path_to(struct transcode_run *run, const struct json_value *from, const struct json_value *to) {
    while (from != to) {
        size_t index = 0;
        const struct json_value *child = from->first;
        while (child != to && child->text.data + child->text.length <= to->text.data) child = child->next, index++;
        if (from->kind == JSON_KIND_OBJECT)
            transcode_push_name(run, transcode_shown(run, child->name));
        else
            transcode_push_index(run, index);
        from = child;
    }
}

static void fail_malformed(struct transcode_run *run, const struct json_problem *problem) {
    if (problem->duplicate != NULL)
        push_path_to(run, problem->root, problem->duplicate);
    else
        transcode_push_index(run, problem->offset);
    transcode_fail(run, "json_invalid", transcode_text(run, "JSON decode error: %s", problem->reason), NULL,
                   transcode_text(run, "{\"error\":\"%s\"}", problem->reason));
    run->depth = 0; /* malformed is the whole body, wherever it shows */
}

ProtobufCMessage *transcode_read_json(struct transcode_run *run, const struct transcode_options *options,
                                      const struct message_plan *plan, struct bytes_view json) {
    struct json_value *root = NULL;
    struct json_problem problem;
    if (json.length == 0) {
        transcode_fail(run, "missing", "Field required", NULL, NULL);
        return NULL;
    }
    enum status status =
        json_read(json, LIMIT_JSON_DEPTH, options->elements_max > 0 ? options->elements_max : LIMIT_PROTO_ELEMENTS,
                  run->arena, &root, &problem);
    if (status == STATUS_OK) return read_message(run, plan, root);
    if (status == STATUS_INVALID_ARGUMENT)
        fail_malformed(run, &problem);
    else
        run->exhausted = true;
    return NULL;
}

enum status transcode_read(const struct transcoder *transcoder, const struct transcode_options *options,
                           const ProtobufCMessageDescriptor *descriptor, struct bytes_view json, struct arena *arena,
                           ProtobufCMessage **out, struct transcode_errors *errors) {
    errors->count = 0;
    const struct message_plan *plan = transcode_find_plan(transcoder, descriptor);
    if (plan == NULL) return STATUS_INTERNAL;
    struct transcode_run run = {.strict = options->strict, .arena = arena, .errors = errors};
    ProtobufCMessage *message = transcode_read_json(&run, options, plan, json);
    if (run.exhausted) return STATUS_RESOURCE_EXHAUSTED;
    if (errors->count > 0) return STATUS_INVALID_ARGUMENT;
    *out = message;
    return STATUS_OK;
}
