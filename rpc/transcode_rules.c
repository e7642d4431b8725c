/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The errors of a run, worded as pydantic words them, and the rules of single values; JSON and gRPC requests share them. */
#include "rpc/transcode_plan.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void transcode_push_name(struct transcode_run *run, const char *name) {
    if (run->depth < TRANSCODE_PATH_MAX) run->path[run->depth] = (struct transcode_step){.name = name};
    run->depth++;
}
void transcode_push_index(struct transcode_run *run, size_t index) {
    if (run->depth < TRANSCODE_PATH_MAX) run->path[run->depth] = (struct transcode_step){.index = (int64_t)index};
    run->depth++;
}
void transcode_pop(struct transcode_run *run) {
    run->depth--;
}

void *transcode_alloc(struct transcode_run *run, size_t count, size_t bytes) {
    void *out = arena_alloc_array(run->arena, count, bytes);
    run->exhausted |= out == NULL;
    return out;
}

char *transcode_copy(struct transcode_run *run, const void *data, size_t length) {
    char *out = arena_copy(run->arena, data, length);
    run->exhausted |= out == NULL;
    return out;
}

const char *transcode_text(struct transcode_run *run, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *out = length >= 0 ? transcode_alloc(run, (size_t)length + 1, 1) : NULL;
    if (out == NULL) return "";
    va_start(arguments, format);
    vsnprintf(out, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return out;
}

void transcode_fail(struct transcode_run *run, const char *type, const char *message, const char *input,
                    const char *context) {
    if (run->errors->count == TRANSCODE_ERRORS_MAX) return;
    size_t length = run->depth < TRANSCODE_PATH_MAX ? run->depth : TRANSCODE_PATH_MAX;
    struct transcode_step *path = transcode_alloc(run, length, sizeof *path);
    if (path == NULL) return;
    if (length > 0) memcpy(path, run->path, length * sizeof *path);
    run->errors->items[run->errors->count++] = (struct transcode_error){.type = type,
                                                                        .message = message,
                                                                        .path_length = length,
                                                                        .path = path,
                                                                        .root = run->root,
                                                                        .input = input,
                                                                        .context = context};
}

/** Quote at most TRANSCODE_INPUT_BYTES of `string`, with an ellipsis when it was longer. */
const char *transcode_input_string(struct transcode_run *run, struct bytes_view string) {
    size_t kept = string.length <= TRANSCODE_INPUT_BYTES
                      ? string.length
                      : text_truncate((const char *)string.data, string.length, TRANSCODE_INPUT_BYTES);
    struct bytes cut, quoted;
    bytes_init(&cut, TRANSCODE_INPUT_BYTES + 8);
    bytes_init(&quoted, 6 * (TRANSCODE_INPUT_BYTES + 8));
    (void)bytes_append(&cut, string.data, kept);
    if (kept < string.length) (void)bytes_append_string(&cut, "\xE2\x80\xA6");
    (void)json_append_string(&quoted, bytes_view(&cut));
    const char *out = transcode_copy(run, quoted.data, quoted.length);
    bytes_deinit(&cut);
    bytes_deinit(&quoted);
    return out;
}

const char *transcode_input_json(struct transcode_run *run, struct bytes_view text) {
    struct bytes compact;
    bytes_init(&compact, TRANSCODE_INPUT_BYTES + 1);
    bool whole =
        json_append_compact(&compact, text, TRANSCODE_INPUT_BYTES + 1) && compact.length <= TRANSCODE_INPUT_BYTES;
    const char *out =
        whole ? transcode_copy(run, compact.data, compact.length) : transcode_input_string(run, bytes_view(&compact));
    bytes_deinit(&compact);
    return out;
}

const char *transcode_shown(struct transcode_run *run, struct bytes_view string) {
    size_t length = string.length <= TRANSCODE_INPUT_BYTES
                        ? string.length
                        : text_truncate((const char *)string.data, string.length, TRANSCODE_INPUT_BYTES);
    char *out = transcode_copy(run, string.data, length);
    if (out == NULL) return "";
    for (size_t i = 0; i < length; i++) {
        if (out[i] == 0) out[i] = '?';
    }
    return out;
}

bool transcode_field_refused(const struct transcode_run *run, const struct field_plan *field) {
    return run->strict && (field->rules.dialect == DIALECT_OPENAI || field->rules.dialect == DIALECT_EXTENSION);
}

bool transcode_is_integer(ProtobufCType type) {
    return type != PROTOBUF_C_TYPE_DOUBLE && type != PROTOBUF_C_TYPE_FLOAT && type != PROTOBUF_C_TYPE_BOOL &&
           type != PROTOBUF_C_TYPE_STRING && type != PROTOBUF_C_TYPE_BYTES && type != PROTOBUF_C_TYPE_MESSAGE;
}

/** "'a', 'b' or 'c'" of the words this run accepts. */
static const char *expected_words(struct transcode_run *run, const struct field_rules *rules) {
    char text[900];
    size_t length = 0, count = rules->words_count + (run->strict ? 0 : rules->words_openai_count);
    text[0] = 0;
    for (size_t i = 0; i < count && length + 1 < sizeof text; i++) {
        const char *before = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        int added = snprintf(text + length, sizeof text - length, "%s'%s'", before, rules->words[i]);
        length += added > 0 ? (size_t)added : 0;
    }
    return transcode_text(run, "%s", text);
}

/** {"name":"text"} */
static const char *context_of(struct transcode_run *run, const char *name, const char *text) {
    const char *quoted = transcode_input_string(run, bytes_view_string(text));
    return transcode_text(run, "{\"%s\":%s}", name, quoted != NULL ? quoted : "\"\"");
}

void transcode_fail_word(struct transcode_run *run, const struct field_plan *field, const char *input) {
    const char *expected = expected_words(run, &field->rules);
    transcode_fail(run, "literal_error", transcode_text(run, "Input should be %s", expected), input,
                   context_of(run, "expected", expected));
}

static bool word_known(const struct transcode_run *run, const struct field_rules *rules, struct bytes_view string) {
    size_t count = rules->words_count + (run->strict ? 0 : rules->words_openai_count);
    for (size_t i = 0; i < count; i++) {
        if (bytes_view_equal_string(string, rules->words[i])) return true;
    }
    return false;
}

static size_t count_characters(struct bytes_view string) {
    size_t count = 0;
    for (size_t i = 0; i < string.length; i++) count += (string.data[i] & 0xC0) != 0x80;
    return count;
}

static void fail_too_long(struct transcode_run *run, const struct field_plan *field, uint32_t most,
                          struct bytes_view string) {
    const char *context = transcode_text(run, "{\"max_length\":%u}", most);
    const char *plural = most == 1 ? "" : "s";
    if (field->rules.json_text != JSON_TEXT_NONE) {
        transcode_fail(run, "too_long", transcode_text(run, "JSON text should have at most %u byte%s", most, plural),
                       NULL, context);
        return;
    }
    /* Most limits are in bytes; pydantic's sentence says characters, which is true unless the text is within the limit when counted so. */
    const char *unit = count_characters(string) > most ? "character" : "UTF-8 byte";
    transcode_fail(run, "string_too_long",
                   transcode_text(run, "String should have at most %u %s%s", most, unit, plural),
                   transcode_input_string(run, string), context);
}

static bool is_identifier(struct bytes_view string) {
    for (size_t i = 0; i < string.length; i++) {
        uint8_t c = string.data[i];
        bool fits = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
        if (!fits) return false;
    }
    return true;
}

/** The first character that may not stand in a line among others. */
static bool find_break(struct bytes_view string, uint32_t *out_character) {
    for (size_t at = 0; at < string.length;) {
        bool valid;
        at += text_decode(string.data + at, string.length - at, out_character, &valid);
        if (text_breaks_line(*out_character)) return true;
    }
    return false;
}

const struct field_plan *transcode_required_by_tag(const struct transcode_run *run, const struct message_plan *plan,
                                                   struct bytes_view chosen) {
    if (plan->form != FORM_OBJECT || plan->tag[0] == 0) return NULL;
    const struct field_plan *field =
        transcode_find_field(plan, chosen.length != 0 ? chosen : bytes_view_string(plan->tag_default));
    return field != NULL && !transcode_field_refused(run, field) ? field : NULL;
}

bool transcode_check_string(struct transcode_run *run, const struct field_plan *field, struct bytes_view string) {
    const struct field_rules *rules = &field->rules;
    if (string.length != 0 && memchr(string.data, 0, string.length) != NULL) {
        transcode_fail(run, "string_unicode", "Input should be a string without NUL characters",
                       transcode_input_string(run, string), NULL);
        return false;
    }
    if (rules->words_count + rules->words_openai_count > 0 && !word_known(run, rules, string)) {
        transcode_fail_word(run, field, transcode_input_string(run, string));
        return false;
    }
    if (rules->min_bytes.given && string.length < rules->min_bytes.value) {
        uint32_t least = rules->min_bytes.value;
        transcode_fail(run, "string_too_short",
                       transcode_text(run, "String should have at least %u character%s", least, least == 1 ? "" : "s"),
                       transcode_input_string(run, string), transcode_text(run, "{\"min_length\":%u}", least));
        return false;
    }
    if (rules->max_bytes.given && string.length > rules->max_bytes.value) {
        fail_too_long(run, field, rules->max_bytes.value, string);
        return false;
    }
    if (rules->max_characters.given && count_characters(string) > rules->max_characters.value) {
        fail_too_long(run, field, rules->max_characters.value, string);
        return false;
    }
    uint32_t character;
    if (rules->one_line && find_break(string, &character)) {
        transcode_fail(run, "value_error",
                       transcode_text(run, "Value error, should be one line of text without U+%04X", character),
                       transcode_input_string(run, string), NULL);
        return false;
    }
    if (rules->identifier && !is_identifier(string)) {
        transcode_fail(run, "string_pattern_mismatch", "String should match pattern '^[a-zA-Z0-9_-]*$'",
                       transcode_input_string(run, string), "{\"pattern\":\"^[a-zA-Z0-9_-]*$\"}");
        return false;
    }
    return true;
}

static const char *input_number(struct transcode_run *run, struct transcode_number number) {
    if (number.text.length != 0) return transcode_input_json(run, number.text);
    char text[48];
    if (!number.whole)
        text_from_double(number.real, text);
    else
        snprintf(text, sizeof text, "%s%" PRIu64, number.integer < 0 ? "-" : "",
                 (uint64_t)(number.integer < 0 ? -number.integer : number.integer));
    return transcode_text(run, "%s", text);
}

/** One broken bound: `relation` is "greater than or equal to", `key` is "ge". */
static bool out_of_range(struct transcode_run *run, struct transcode_number number, const char *type,
                         const char *relation, const char *key, const char *bound) {
    transcode_fail(run, type, transcode_text(run, "Input should be %s %s", relation, bound), input_number(run, number),
                   transcode_text(run, "{\"%s\":%s}", key, bound));
    return false;
}

static bool bound_broken(struct transcode_number number, double bound, bool upper, bool exclusive) {
    /* long double holds every 64-bit integer and every double exactly. */
    long double value = number.whole ? (long double)number.integer : (long double)number.real;
    if (upper) return value > (long double)bound;
    return exclusive ? value <= (long double)bound : value < (long double)bound;
}

/** What the C type holds; only integers can be outside, and doubles that a float cannot hold. */
static bool check_type_range(struct transcode_run *run, ProtobufCType type, struct transcode_number number) {
    __int128 low = INT64_MIN, high = INT64_MAX;
    const char *low_text = "-9223372036854775808", *high_text = "9223372036854775807";
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        low = INT32_MIN, high = INT32_MAX, low_text = "-2147483648", high_text = "2147483647";
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        low = 0, high = UINT32_MAX, low_text = "0", high_text = "4294967295";
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        low = 0, high = UINT64_MAX, low_text = "0", high_text = "18446744073709551615";
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        if (isfinite((float)number.real)) return true;
        transcode_fail(run, "finite_number", "Input should be a finite number", input_number(run, number), NULL);
        return false;
    case PROTOBUF_C_TYPE_DOUBLE:
        if (isfinite(number.real)) return true;
        transcode_fail(run, "finite_number", "Input should be a finite number", NULL, NULL);
        return false;
    default:
        break;
    }
    if (number.integer < low)
        return out_of_range(run, number, "greater_than_equal", "greater than or equal to", "ge", low_text);
    if (number.integer > high)
        return out_of_range(run, number, "less_than_equal", "less than or equal to", "le", high_text);
    return true;
}

/** 0, 1.5, 1000000000000: as a person writes it. */
static const char *bound_text(double bound, char out[32]) {
    if (fabs(bound) < 1e15 && bound == trunc(bound))
        snprintf(out, 32, "%.0f", bound);
    else
        text_from_double(bound, out);
    return out;
}

bool transcode_check_number(struct transcode_run *run, const struct field_plan *field, struct transcode_number number) {
    const struct field_rules *rules = &field->rules;
    struct optional_number maximum =
                               run->strict && rules->maximum_strict.given ? rules->maximum_strict : rules->maximum,
                           above = run->strict && rules->exclusive_minimum_strict.given
                                       ? rules->exclusive_minimum_strict
                                       : rules->exclusive_minimum;
    bool finite = number.whole || isfinite(number.real);
    char bound[32];
    if (finite && rules->minimum.given && bound_broken(number, rules->minimum.value, false, false)) {
        return out_of_range(run, number, "greater_than_equal", "greater than or equal to", "ge",
                            bound_text(rules->minimum.value, bound));
    }
    if (finite && above.given && bound_broken(number, above.value, false, true))
        return out_of_range(run, number, "greater_than", "greater than", "gt", bound_text(above.value, bound));
    if (finite && maximum.given && bound_broken(number, maximum.value, true, false)) {
        return out_of_range(run, number, "less_than_equal", "less than or equal to", "le",
                            bound_text(maximum.value, bound));
    }
    return check_type_range(run, field->descriptor->type, number);
}

bool transcode_check_items(struct transcode_run *run, const struct field_plan *field, size_t count) {
    const struct field_rules *rules = &field->rules;
    const char *kind = field->map ? "Dictionary" : "List";
    bool too_few = rules->min_items.given && count < rules->min_items.value,
         too_many = rules->max_items.given && count > rules->max_items.value;
    if (!too_few && !too_many) return true;
    uint32_t bound = too_few ? rules->min_items.value : rules->max_items.value;
    const char *message = transcode_text(run, "%s should have at %s %u item%s after validation, not %zu", kind,
                                         too_few ? "least" : "most", bound, bound == 1 ? "" : "s", count);
    const char *context = transcode_text(run, "{\"field_type\":\"%s\",\"%s\":%u,\"actual_length\":%zu}", kind,
                                         too_few ? "min_length" : "max_length", bound, count);
    transcode_fail(run, too_few ? "too_short" : "too_long", message, NULL, context);
    return false;
}

void transcode_fail_message_type(struct transcode_run *run, const struct message_plan *plan, const char *input) {
    if (plan->form == FORM_LIST) {
        transcode_fail(run, "list_type", "Input should be a valid list", input, NULL);
    } else if (plan->form == FORM_VALUE) {
        /* One error for each type that would do, as pydantic reports a union, but without a step for the member. */
        for (size_t i = 0; i < plan->fields_count; i++) {
            if (!transcode_field_refused(run, &plan->fields[i])) transcode_fail_type(run, &plan->fields[i], input);
        }
    } else {
        transcode_fail(run, "model_attributes_type",
                       "Input should be a valid dictionary or object to extract fields from", input, NULL);
    }
}

void transcode_fail_type(struct transcode_run *run, const struct field_plan *field, const char *input) {
    ProtobufCType type = field->descriptor->type;
    enum json_text json_text = field->rules.json_text;
    if (field->map)
        transcode_fail(run, "dict_type", "Input should be a valid dictionary", input, NULL);
    else if (type == PROTOBUF_C_TYPE_MESSAGE)
        transcode_fail_message_type(run, field->message, input);
    else if (type == PROTOBUF_C_TYPE_BOOL)
        transcode_fail(run, "bool_type", "Input should be a valid boolean", input, NULL);
    else if (type == PROTOBUF_C_TYPE_STRING && json_text == JSON_TEXT_OBJECT)
        transcode_fail(run, "dict_type", "Input should be a valid dictionary", input, NULL);
    else if (type == PROTOBUF_C_TYPE_STRING && json_text == JSON_TEXT_ARRAY)
        transcode_fail(run, "list_type", "Input should be a valid list", input, NULL);
    else if (type == PROTOBUF_C_TYPE_STRING && field->rules.words_count > 0)
        transcode_fail_word(run, field, input);
    else if (type == PROTOBUF_C_TYPE_STRING)
        transcode_fail(run, "string_type", "Input should be a valid string", input, NULL);
    else if (transcode_is_integer(type))
        transcode_fail(run, "int_type", "Input should be a valid integer", input, NULL);
    else
        transcode_fail(run, "float_type", "Input should be a valid number", input, NULL);
}

void transcode_fail_tag(struct transcode_run *run, const struct message_plan *plan, struct bytes_view tag,
                        const char *input) {
    char expected[900];
    size_t length = 0;
    expected[0] = 0;
    for (size_t i = 0; i < plan->fields_count && length + 1 < sizeof expected; i++) {
        const struct field_plan *field = &plan->fields[i];
        if (field->rules.hidden || transcode_field_refused(run, field)) continue;
        int added =
            snprintf(expected + length, sizeof expected - length, "%s'%s'", length == 0 ? "" : ", ", field->name);
        length += added > 0 ? (size_t)added : 0;
    }
    const char *shown = transcode_shown(run, tag), *quoted = transcode_input_string(run, tag);
    const char *message = transcode_text(
        run, "Input tag '%s' found using '%s' does not match any of the expected tags: %s", shown, plan->tag, expected);
    const char *context = transcode_text(run, "{\"discriminator\":\"'%s'\",\"tag\":%s,\"expected_tags\":\"%s\"}",
                                         plan->tag, quoted != NULL ? quoted : "\"\"", expected);
    transcode_fail(run, "union_tag_invalid", message, input, context);
}
