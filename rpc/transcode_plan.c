/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Builds the plans: every message reachable from the given ones, with its options out of the serialised descriptors. */
#include "rpc/transcode_plan.h"

#include "base/protobuf_wire.h"

#include <stdlib.h>
#include <string.h>

enum { PLAN_BYTES_MAX = 16 * 1024 * 1024, OPTION_FIELD_RULES = 50601, OPTION_MESSAGE_RULES = 50602, NESTING_MAX = 16 };

/** A DescriptorProto inside the set, by its full name. */
struct source_message {
    const char *name;
    struct bytes_view descriptor;
    struct source_message *next;
};
struct builder {
    struct transcoder *transcoder;
    struct source_message *sources;
    struct error *err;
};

static enum status out_of_memory(struct builder *builder) {
    return error_set(builder->err, STATUS_RESOURCE_EXHAUSTED, "transcoder: no memory for the descriptors");
}
static enum status malformed(struct builder *builder) {
    return error_set(builder->err, STATUS_INVALID_ARGUMENT, "transcoder: the descriptor set is malformed");
}

/** The last bytes field `number` of a serialised message; empty when absent. */
static struct bytes_view find_bytes(struct bytes_view message, uint32_t number) {
    struct bytes_view found = {0};
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == number && field.type == WIRE_BYTES) found = field.bytes;
    }
    return found;
}
static uint64_t find_varint(struct bytes_view message, uint32_t number) {
    uint64_t found = 0;
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == number && field.type == WIRE_VARINT) found = field.value;
    }
    return found;
}

/** Add a DescriptorProto and those nested in it. */
static enum status add_source(struct builder *builder, struct bytes_view scope, struct bytes_view descriptor,
                              int nesting) {
    if (nesting == NESTING_MAX) return malformed(builder);
    struct arena *arena = &builder->transcoder->arena;
    struct bytes_view name = find_bytes(descriptor, 1);
    struct source_message *source = arena_alloc(arena, sizeof *source);
    if (source == NULL) return out_of_memory(builder);
    source->name = arena_printf(arena, "%.*s%s%.*s", (int)scope.length, (const char *)scope.data,
                                scope.length != 0 ? "." : "", (int)name.length, (const char *)name.data);
    if (source->name == NULL) return out_of_memory(builder);
    source->descriptor = descriptor;
    source->next = builder->sources;
    builder->sources = source;
    struct wire_field field;
    while (wire_next(&descriptor, &field)) {
        if (field.number == 3 && field.type == WIRE_BYTES)
            TRY(add_source(builder, bytes_view_string(source->name), field.bytes, nesting + 1));
    }
    return descriptor.length == 0 ? STATUS_OK : malformed(builder);
}

static enum status add_sources(struct builder *builder, struct bytes_view set) {
    struct wire_field file, part;
    while (wire_next(&set, &file)) {
        if (file.number != 1 || file.type != WIRE_BYTES) continue;
        struct bytes_view rest = file.bytes, package = find_bytes(file.bytes, 2);
        while (wire_next(&rest, &part)) {
            if (part.number == 4 && part.type == WIRE_BYTES) TRY(add_source(builder, package, part.bytes, 0));
        }
        if (rest.length != 0) return malformed(builder);
    }
    return set.length == 0 ? STATUS_OK : malformed(builder);
}

static void set_number(struct optional_number *out, const struct wire_field *field) {
    out->given = true;
    memcpy(&out->value, &field->value, sizeof out->value);
}

static void read_count(struct field_rules *rules, const struct wire_field *field) {
    struct optional_count *out = field->number == 7    ? &rules->min_bytes
                                 : field->number == 8  ? &rules->max_bytes
                                 : field->number == 9  ? &rules->min_items
                                 : field->number == 10 ? &rules->max_items
                                 : field->number == 22 ? &rules->max_characters
                                                       : NULL;
    if (out != NULL) *out = (struct optional_count){.given = true, .value = (uint32_t)field->value};
}

/** The words of both lists: numbers 11 and 12 of FieldRules. */
static enum status read_words(struct builder *builder, struct bytes_view options, struct field_rules *rules) {
    struct wire_field field;
    for (struct bytes_view rest = options; wire_next(&rest, &field);) {
        rules->words_count += field.number == 11;
        rules->words_openai_count += field.number == 12;
    }
    rules->words = arena_alloc_array(&builder->transcoder->arena, rules->words_count + rules->words_openai_count + 1,
                                     sizeof *rules->words);
    if (rules->words == NULL) return out_of_memory(builder);
    size_t at = 0, at_openai = rules->words_count;
    for (struct bytes_view rest = options; wire_next(&rest, &field);) {
        if (field.number != 11 && field.number != 12) continue;
        const char *word = arena_copy(&builder->transcoder->arena, field.bytes.data, field.bytes.length);
        if (word == NULL) return out_of_memory(builder);
        rules->words[field.number == 11 ? at++ : at_openai++] = word;
    }
    return STATUS_OK;
}

static enum status read_field_rules(struct builder *builder, struct bytes_view options, struct field_plan *plan) {
    struct field_rules *rules = &plan->rules;
    TRY(read_words(builder, options, rules));
    struct wire_field field;
    while (wire_next(&options, &field)) {
        switch (field.number) {
        case 1:
            rules->required = field.value != 0;
            break;
        case 2:
            rules->nullable = field.value != 0;
            break;
        case 3:
            set_number(&rules->minimum, &field);
            break;
        case 4:
            set_number(&rules->exclusive_minimum, &field);
            break;
        case 5:
            set_number(&rules->maximum, &field);
            break;
        case 6:
            set_number(&rules->maximum_strict, &field);
            break;
        case 13:
            rules->dialect = (enum dialect)field.value;
            break;
        case 14:
            rules->always = field.value != 0;
            break;
        case 15:
            rules->json_text = (enum json_text)field.value;
            break;
        case 16:
            plan->name = arena_copy(&builder->transcoder->arena, field.bytes.data, field.bytes.length);
            if (plan->name == NULL) return out_of_memory(builder);
            break;
        case 17:
            rules->hidden = field.value != 0;
            break;
        case 18:
            rules->empty_as_null = field.value != 0;
            break;
        case 19:
            set_number(&rules->exclusive_minimum_strict, &field);
            break;
        case 20:
            rules->identifier = field.value != 0;
            break;
        case 21:
            rules->one_line = field.value != 0;
            break;
        default: /* 11 and 12 are read already */
            read_count(rules, &field);
            break;
        }
    }
    return options.length == 0 ? STATUS_OK : malformed(builder);
}

/** The FieldDescriptorProto of a number in a DescriptorProto. */
static struct bytes_view find_field_source(struct bytes_view message, uint32_t number) {
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == 2 && field.type == WIRE_BYTES && find_varint(field.bytes, 3) == number) return field.bytes;
    }
    return (struct bytes_view){0};
}

static const struct source_message *find_source(const struct builder *builder, const char *name) {
    const struct source_message *source = builder->sources;
    while (source != NULL && strcmp(source->name, name) != 0) source = source->next;
    return source;
}

static enum status build_message(struct builder *builder, const ProtobufCMessageDescriptor *descriptor,
                                 struct message_plan **out);

static enum status build_field(struct builder *builder, const struct message_plan *owner, struct bytes_view source,
                               const ProtobufCFieldDescriptor *descriptor, struct field_plan *plan) {
    plan->descriptor = descriptor;
    plan->name = descriptor->name;
    plan->repeated = descriptor->label == PROTOBUF_C_LABEL_REPEATED;
    plan->presence = !plan->repeated && ((descriptor->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 ||
                                         descriptor->type == PROTOBUF_C_TYPE_MESSAGE);
    struct bytes_view field_source = find_field_source(source, descriptor->id);
    if (field_source.length == 0) {
        return error_set(builder->err, STATUS_INVALID_ARGUMENT, "transcoder: the descriptor set has no field %u of %s",
                         descriptor->id, owner->descriptor->name);
    }
    TRY(read_field_rules(builder, find_bytes(find_bytes(field_source, 8), OPTION_FIELD_RULES), plan));
    plan->name_length = strlen(plan->name);
    if (plan->rules.hidden) return STATUS_OK;
    if (descriptor->type == PROTOBUF_C_TYPE_BYTES || descriptor->type == PROTOBUF_C_TYPE_ENUM ||
        descriptor->label == PROTOBUF_C_LABEL_OPTIONAL || descriptor->label == PROTOBUF_C_LABEL_REQUIRED) {
        return error_set(builder->err, STATUS_INVALID_ARGUMENT,
                         "transcoder: %s.%s has no JSON form here (bytes, enum or proto2)", owner->descriptor->name,
                         descriptor->name);
    }
    if (descriptor->type != PROTOBUF_C_TYPE_MESSAGE) return STATUS_OK;
    const ProtobufCMessageDescriptor *type = descriptor->descriptor;
    const struct source_message *type_source = find_source(builder, type->name);
    plan->map = plan->repeated && type_source != NULL && find_varint(find_bytes(type_source->descriptor, 7), 7) != 0;
    struct message_plan *message = NULL;
    TRY(build_message(builder, type, &message));
    plan->message = message;
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    const struct field_plan *x = *(const struct field_plan *const *)a, *y = *(const struct field_plan *const *)b;
    if (x->name_length != y->name_length) return x->name_length < y->name_length ? -1 : 1;
    return memcmp(x->name, y->name, x->name_length);
}

static enum status index_names(struct builder *builder, struct message_plan *plan) {
    plan->by_name = arena_alloc_array(&builder->transcoder->arena, plan->fields_count, sizeof *plan->by_name);
    if (plan->by_name == NULL) return out_of_memory(builder);
    for (size_t i = 0; i < plan->fields_count; i++) {
        if (!plan->fields[i].rules.hidden) plan->by_name[plan->by_name_count++] = &plan->fields[i];
    }
    qsort(plan->by_name, plan->by_name_count, sizeof *plan->by_name, compare_names);
    return STATUS_OK;
}

/** A form asks something of the fields. */
static enum status check_form(struct builder *builder, const struct message_plan *plan) {
    bool one_oneof = plan->fields_count > 0, messages = true;
    for (size_t i = 0; i < plan->fields_count; i++) {
        const ProtobufCFieldDescriptor *field = plan->fields[i].descriptor;
        one_oneof &= (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
                     field->quantifier_offset == plan->fields[0].descriptor->quantifier_offset;
        messages &= field->type == PROTOBUF_C_TYPE_MESSAGE && plan->fields[i].message->form == FORM_OBJECT;
    }
    bool fits =
        plan->form == FORM_OBJECT || (plan->form == FORM_TAGGED && one_oneof && messages && plan->tag[0] != 0) ||
        (plan->form == FORM_VALUE && one_oneof) ||
        (plan->form == FORM_LIST && plan->fields_count == 1 && plan->fields[0].repeated && !plan->fields[0].map);
    if (fits) return STATUS_OK;
    return error_set(builder->err, STATUS_INVALID_ARGUMENT, "transcoder: the fields of %s do not fit its JSON form %d",
                     plan->descriptor->name, (int)plan->form);
}

/** Number 4 of MessageRules. */
static enum status read_elsewhere(struct builder *builder, struct bytes_view rules, struct message_plan *plan) {
    struct arena *arena = &builder->transcoder->arena;
    struct wire_field field;
    size_t count = 0;
    for (struct bytes_view rest = rules; wire_next(&rest, &field);) count += field.number == 4;
    plan->elsewhere = arena_alloc_array(arena, count, sizeof *plan->elsewhere);
    if (plan->elsewhere == NULL) return out_of_memory(builder);
    for (struct bytes_view rest = rules; wire_next(&rest, &field);) {
        if (field.number != 4 || field.type != WIRE_BYTES) continue;
        struct bytes_view name = find_bytes(field.bytes, 1), instead = find_bytes(field.bytes, 2);
        struct elsewhere *entry = &plan->elsewhere[plan->elsewhere_count++];
        entry->name = arena_copy(arena, name.data, name.length);
        entry->instead = arena_copy(arena, instead.data, instead.length);
        if (entry->name == NULL || entry->instead == NULL) return out_of_memory(builder);
    }
    return STATUS_OK;
}

static size_t slot_of(const ProtobufCMessageDescriptor *descriptor) {
    return (size_t)((uint64_t)(uintptr_t)descriptor * UINT64_C(0x9e3779b97f4a7c15) >> 40) % TRANSCODE_PLAN_SLOTS;
}

static enum status build_message(struct builder *builder, const ProtobufCMessageDescriptor *descriptor,
                                 struct message_plan **out) {
    struct arena *arena = &builder->transcoder->arena;
    struct message_plan *plan = (struct message_plan *)transcode_find_plan(builder->transcoder, descriptor);
    *out = plan;
    if (plan != NULL) return STATUS_OK;
    const struct source_message *source = find_source(builder, descriptor->name);
    if (source == NULL)
        return error_set(builder->err, STATUS_INVALID_ARGUMENT, "transcoder: the descriptor set has no message %s",
                         descriptor->name);
    plan = arena_alloc(arena, sizeof *plan);
    if (plan == NULL) return out_of_memory(builder);
    plan->descriptor = descriptor;
    plan->next = builder->transcoder->plans;
    builder->transcoder->plans = plan;
    for (size_t i = 0, at = slot_of(descriptor); i < TRANSCODE_PLAN_PROBES; i++, at = (at + 1) % TRANSCODE_PLAN_SLOTS) {
        if (builder->transcoder->slots[at] != NULL) continue;
        builder->transcoder->slots[at] = plan;
        break;
    }
    struct bytes_view rules = find_bytes(find_bytes(source->descriptor, 7), OPTION_MESSAGE_RULES);
    struct bytes_view tag = find_bytes(rules, 2), tag_default = find_bytes(rules, 3);
    plan->form = (enum json_form)find_varint(rules, 1);
    plan->tag = arena_copy(arena, tag.data, tag.length);
    plan->tag_default = arena_copy(arena, tag_default.data, tag_default.length);
    plan->fields_count = descriptor->n_fields;
    plan->fields = arena_alloc_array(arena, plan->fields_count, sizeof *plan->fields);
    if (plan->tag == NULL || plan->tag_default == NULL || plan->fields == NULL) return out_of_memory(builder);
    for (size_t i = 0; i < plan->fields_count; i++)
        TRY(build_field(builder, plan, source->descriptor, &descriptor->fields[i], &plan->fields[i]));
    TRY(index_names(builder, plan));
    TRY(read_elsewhere(builder, rules, plan));
    *out = plan;
    return STATUS_OK;
}

/** Which JSON kinds fit a message. A FORM_VALUE message that contains itself without a bracket between has no answer. */
static enum status find_kinds(struct builder *builder, struct message_plan *plan, int nesting) {
    if (plan->kinds_known) return STATUS_OK;
    if (nesting == NESTING_MAX)
        return error_set(builder->err, STATUS_INVALID_ARGUMENT, "transcoder: the JSON value of %s contains itself",
                         plan->descriptor->name);
    plan->kinds = plan->form == FORM_LIST ? 1u << JSON_KIND_ARRAY : 1u << JSON_KIND_OBJECT;
    if (plan->form == FORM_VALUE) {
        plan->kinds = 0;
        for (size_t i = 0; i < plan->fields_count; i++) {
            if (plan->fields[i].message != NULL)
                TRY(find_kinds(builder, (struct message_plan *)plan->fields[i].message, nesting + 1));
            uint32_t kinds = transcode_field_kinds(&plan->fields[i]);
            if ((plan->kinds & kinds) != 0) {
                return error_set(builder->err, STATUS_INVALID_ARGUMENT,
                                 "transcoder: two members of %s take the same JSON type", plan->descriptor->name);
            }
            plan->kinds |= kinds;
        }
    }
    plan->kinds_known = true;
    return STATUS_OK;
}

uint32_t transcode_field_kinds(const struct field_plan *field) {
    if (field->map) return 1u << JSON_KIND_OBJECT;
    if (field->descriptor->type == PROTOBUF_C_TYPE_MESSAGE) return field->message->kinds;
    if (field->descriptor->type == PROTOBUF_C_TYPE_BOOL) return 1u << JSON_KIND_BOOLEAN;
    if (field->descriptor->type != PROTOBUF_C_TYPE_STRING) return 1u << JSON_KIND_NUMBER;
    switch (field->rules.json_text) {
    case JSON_TEXT_NONE:
        return 1u << JSON_KIND_STRING;
    case JSON_TEXT_OBJECT:
        return 1u << JSON_KIND_OBJECT;
    case JSON_TEXT_ARRAY:
        return 1u << JSON_KIND_ARRAY;
    case JSON_TEXT_ANY:
        return 1u << JSON_KIND_NULL | 1u << JSON_KIND_BOOLEAN | 1u << JSON_KIND_NUMBER | 1u << JSON_KIND_STRING |
               1u << JSON_KIND_ARRAY | 1u << JSON_KIND_OBJECT;
    }
    return 0;
}

const struct message_plan *transcode_find_plan(const struct transcoder *transcoder,
                                               const ProtobufCMessageDescriptor *descriptor) {
    for (size_t i = 0, at = slot_of(descriptor); i < TRANSCODE_PLAN_PROBES; i++, at = (at + 1) % TRANSCODE_PLAN_SLOTS) {
        if (transcoder->slots[at] == NULL) break;
        if (transcoder->slots[at]->descriptor == descriptor) return transcoder->slots[at];
    }
    const struct message_plan *plan = transcoder->plans;
    while (plan != NULL && plan->descriptor != descriptor) plan = plan->next;
    return plan;
}

const struct field_plan *transcode_find_field(const struct message_plan *plan, struct bytes_view name) {
    size_t low = 0, high = plan->by_name_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct field_plan *field = plan->by_name[middle];
        int order = field->name_length != name.length ? (field->name_length < name.length ? -1 : 1)
                                                      : memcmp(field->name, name.data, name.length);
        if (order == 0) return field;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

enum status transcoder_create(struct bytes_view descriptors, const ProtobufCMessageDescriptor *const *messages,
                              size_t count, struct transcoder **out, struct error *err) {
    struct transcoder *transcoder = calloc(1, sizeof *transcoder);
    if (transcoder == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "transcoder: no memory");
    arena_init(&transcoder->arena, PLAN_BYTES_MAX);
    struct builder builder = {.transcoder = transcoder, .err = err};
    enum status status;
    TRY_CLEANUP(add_sources(&builder, descriptors));
    for (size_t i = 0; i < count; i++) {
        struct message_plan *plan;
        TRY_CLEANUP(build_message(&builder, messages[i], &plan));
    }
    for (struct message_plan *plan = transcoder->plans; plan != NULL; plan = plan->next) {
        TRY_CLEANUP(check_form(&builder, plan));
        TRY_CLEANUP(find_kinds(&builder, plan, 0));
    }
    *out = transcoder;
    return STATUS_OK;
cleanup:
    transcoder_destroy(transcoder);
    return status;
}

void transcoder_destroy(struct transcoder *transcoder) {
    if (transcoder == NULL) return;
    arena_deinit(&transcoder->arena);
    free(transcoder);
}
