/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Values as text: as {{ }} prints them (Python's str), inside lists (repr), and as JSON (the filter tojson). */
#include "engine/chat/python_json.h"
#include "engine/chat/template_internal.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static struct template_string trusted(const char *text, size_t length) {
    return (struct template_string){.data = (const uint8_t *)text, .length = length};
}

/** A number, of which nothing is a user's text. */
static enum status write_number(struct template_writer *writer, const struct template_value *value) {
    char text[PYTHON_FLOAT_BYTES];
    if (value->kind == TEMPLATE_BIG) return template_write(writer, value->string);
    size_t length = value->kind == TEMPLATE_REAL ? python_float_repr(value->real, text)
                                                 : (size_t)snprintf(text, sizeof text, "%" PRId64, value->integer);
    return template_write(writer, trusted(text, length));
}

/** How a code point is written when it does not stand for itself; 0: it does. `style` is the function's own. */
typedef size_t escape_fn(uint32_t code_point, int style, char out[16]);

static enum status write_escaped(struct template_writer *writer, struct template_string text, escape_fn *escape_of,
                                 int style) {
    size_t from = 0, at = 0;
    while (at < text.length) {
        uint32_t code_point = text.data[at];
        char escape[16];
        size_t used = code_point < 0x80 ? 1 : template_code_point(text, at, &code_point);
        size_t length = escape_of(code_point, style, escape);
        if (length > 0) {
            TRY(template_write(writer, template_slice(text, from, at - from)));
            TRY(template_write(writer, trusted(escape, length)));
            from = at + used;
        }
        at += used;
    }
    return template_write(writer, template_slice(text, from, at - from));
}

/* ---- repr ----------------------------------------------------------------------------------------------------------- */

/** How repr writes the code point when it does not stand for itself. (Of what Python calls unprintable beyond Latin-1, blanks and controls only.) */
static size_t repr_escape(uint32_t code_point, int quote, char out[16]) {
    switch (code_point) {
    case '\\':
        return (size_t)snprintf(out, 16, "\\\\");
    case '\n':
        return (size_t)snprintf(out, 16, "\\n");
    case '\r':
        return (size_t)snprintf(out, 16, "\\r");
    case '\t':
        return (size_t)snprintf(out, 16, "\\t");
    }
    if (code_point == (uint32_t)quote) return (size_t)snprintf(out, 16, "\\%c", quote);
    if (code_point < 0x20 || (code_point >= 0x7F && code_point <= 0xA0) || code_point == 0xAD)
        return (size_t)snprintf(out, 16, "\\x%02" PRIx32, code_point);
    bool unseen = (code_point > 0x7F && template_is_space(code_point)) ||
                  (code_point >= 0x200B && code_point <= 0x200F) || (code_point >= 0x202A && code_point <= 0x202E) ||
                  (code_point >= 0x2060 && code_point <= 0x206F) || (code_point >= 0xE000 && code_point <= 0xF8FF) ||
                  code_point == 0xFEFF;
    if (unseen) return (size_t)snprintf(out, 16, "\\u%04" PRIx32, code_point);
    return 0;
}

static enum status write_quoted(struct template_writer *writer, struct template_string text) {
    bool single = memchr(text.data, '\'', text.length) != NULL, both = memchr(text.data, '"', text.length) != NULL;
    uint8_t quote = single && !both ? '"' : '\'';
    TRY(template_write(writer, trusted((const char *)&quote, 1)));
    TRY(write_escaped(writer, text, repr_escape, quote));
    return template_write(writer, trusted((const char *)&quote, 1));
}

static enum status write_repr_items(struct template_writer *writer, const struct template_value *value) {
    bool dict = value->kind == TEMPLATE_DICT;
    size_t count = dict ? value->dict->count : value->list->count;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) TRY(template_write_text(writer, ", "));
        if (dict) {
            TRY(template_write_repr(writer, &value->dict->entries[i].key));
            TRY(template_write_text(writer, ": "));
        }
        TRY(template_write_repr(writer, dict ? &value->dict->entries[i].value : &value->list->items[i]));
    }
    return STATUS_OK;
}

enum status template_write_repr(struct template_writer *writer, const struct template_value *value) {
    struct template_run *run = writer->run;
    TRY(template_spend(run, 1));
    switch (value->kind) {
    case TEMPLATE_UNDEFINED:
        return template_write_text(writer, "Undefined");
    case TEMPLATE_NONE:
        return template_write_text(writer, "None");
    case TEMPLATE_BOOLEAN:
        return template_write_text(writer, value->boolean ? "True" : "False");
    case TEMPLATE_INTEGER:
    case TEMPLATE_BIG:
    case TEMPLATE_REAL:
        return write_number(writer, value);
    case TEMPLATE_STRING:
        return write_quoted(writer, value->string);
    case TEMPLATE_LIST:
    case TEMPLATE_DICT: {
        bool tuple = value->kind == TEMPLATE_LIST && value->list->tuple;
        const char *brackets = value->kind == TEMPLATE_DICT ? "{}" : tuple ? "()" : "[]";
        if (run->depth >= TEMPLATE_RUN_DEPTH) return template_fail(run, "a value is nested too deeply to be printed");
        run->depth++;
        TRY(template_write(writer, trusted(brackets, 1)));
        TRY(write_repr_items(writer, value));
        if (tuple && value->list->count == 1) TRY(template_write_text(writer, ","));
        run->depth--;
        return template_write(writer, trusted(brackets + 1, 1));
    }
    default:
        return template_fail(run, "%s cannot be printed", template_kind_name(value));
    }
}

enum status template_str(struct template_run *run, const struct template_value *value, struct template_string *out) {
    if (value->kind == TEMPLATE_STRING) {
        *out = value->string;
        return STATUS_OK;
    }
    struct template_writer writer = {.run = run};
    if (value->kind != TEMPLATE_UNDEFINED) TRY(template_write_repr(&writer, value));
    *out = template_written(&writer);
    return STATUS_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------- */

static size_t json_escape(uint32_t code_point, int ascii, char out[16]) {
    static const char meanings[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
    const char *simple = code_point != 0 && code_point < 0x80 ? strchr(meanings, (int)code_point) : NULL;
    if (simple != NULL) return (size_t)snprintf(out, 16, "\\%c", names[simple - meanings]);
    if (code_point < 0x20 || (ascii && code_point > 0x7F && code_point < 0x10000))
        return (size_t)snprintf(out, 16, "\\u%04" PRIx32, code_point);
    if (!ascii || code_point < 0x10000) return 0;
    code_point -= 0x10000;
    return (size_t)snprintf(out, 16, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + (code_point >> 10),
                            0xDC00 + (code_point & 0x3FF));
}

static enum status write_json_string(struct template_writer *writer, struct template_string text, bool ascii) {
    TRY(template_write_text(writer, "\""));
    TRY(write_escaped(writer, text, json_escape, ascii));
    return template_write_text(writer, "\"");
}

static enum status write_line(struct template_writer *writer, const struct template_json_style *style, int level) {
    if (style->indent < 0) return STATUS_OK;
    TRY(template_write_text(writer, "\n"));
    for (int i = 0; i < level; i++) {
        if (style->indent_text.length > 0) TRY(template_write(writer, style->indent_text));
        for (int64_t j = 0; style->indent_text.length == 0 && j < style->indent; j++)
            TRY(template_write_text(writer, " "));
    }
    return STATUS_OK;
}

/** A key: numbers and words become texts, as in Python. */
static enum status write_key(struct template_writer *writer, const struct template_value *key,
                             const struct template_json_style *style) {
    if (key->kind == TEMPLATE_STRING) return write_json_string(writer, key->string, style->ensure_ascii);
    if (key->kind == TEMPLATE_LIST || key->kind == TEMPLATE_DICT || key->kind == TEMPLATE_UNDEFINED)
        return template_fail(writer->run, "%s cannot be a key of JSON", template_kind_name(key));
    TRY(template_write_text(writer, "\""));
    TRY(template_write_json(writer, key, style, 0));
    return template_write_text(writer, "\"");
}

/** The order of the entries when keys are sorted: a list of places. */
static enum status sorted_places(struct template_run *run, const struct template_dict *dict, bool sort, size_t **out) {
    size_t *places = template_alloc(run, dict->count + 1, sizeof *places);
    if (places == NULL) return template_no_memory(run);
    for (size_t i = 0; i < dict->count; i++) {
        size_t at = i;
        for (; sort && at > 0; at--) {
            int order = 0;
            TRY(template_compare(run, &dict->entries[places[at - 1]].key, &dict->entries[i].key, &order));
            if (order <= 0) break;
            places[at] = places[at - 1];
        }
        places[at] = i;
    }
    *out = places;
    return STATUS_OK;
}

static enum status write_json_items(struct template_writer *writer, const struct template_value *value,
                                    const struct template_json_style *style, int level) {
    bool dict = value->kind == TEMPLATE_DICT;
    size_t count = dict ? value->dict->count : value->list->count, *places = NULL;
    if (dict) TRY(sorted_places(writer->run, value->dict, style->sort_keys, &places));
    TRY(template_write_text(writer, dict ? "{" : "["));
    for (size_t i = 0; i < count; i++) {
        if (i > 0) TRY(template_write(writer, style->item_separator));
        TRY(write_line(writer, style, level + 1));
        if (dict) {
            TRY(write_key(writer, &value->dict->entries[places[i]].key, style));
            TRY(template_write(writer, style->key_separator));
        }
        TRY(template_write_json(writer, dict ? &value->dict->entries[places[i]].value : &value->list->items[i], style,
                                level + 1));
    }
    if (count > 0) TRY(write_line(writer, style, level));
    return template_write_text(writer, dict ? "}" : "]");
}

enum status template_write_json(struct template_writer *writer, const struct template_value *value,
                                const struct template_json_style *style, int level) {
    struct template_run *run = writer->run;
    TRY(template_spend(run, 1));
    switch (value->kind) {
    case TEMPLATE_NONE:
        return template_write_text(writer, "null");
    case TEMPLATE_BOOLEAN:
        return template_write_text(writer, value->boolean ? "true" : "false");
    case TEMPLATE_REAL:
        if (isnan(value->real)) return template_write_text(writer, "NaN");
        if (isinf(value->real)) return template_write_text(writer, value->real < 0 ? "-Infinity" : "Infinity");
        return write_number(writer, value);
    case TEMPLATE_INTEGER:
    case TEMPLATE_BIG:
        return write_number(writer, value);
    case TEMPLATE_STRING:
        return write_json_string(writer, value->string, style->ensure_ascii);
    case TEMPLATE_LIST:
    case TEMPLATE_DICT: {
        if (run->depth >= TEMPLATE_RUN_DEPTH) return template_fail(run, "a value is nested too deeply to be printed");
        run->depth++;
        enum status status = write_json_items(writer, value, style, level);
        run->depth--;
        return status;
    }
    default:
        return template_fail(run, "%s cannot be written as JSON",
                             value->kind == TEMPLATE_UNDEFINED && value->name != NULL ? value->name
                                                                                      : template_kind_name(value));
    }
}
