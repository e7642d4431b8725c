/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts of which every byte knows whether a user wrote it. Nearly all are wholly the one or the other, so a mask is made only where both meet. */
#include "base/text.h"
#include "engine/chat/template_internal.h"

#include <string.h>

struct template_value template_string_value(struct template_string text) {
    return (struct template_value){.kind = TEMPLATE_STRING, .string = text};
}

struct template_value template_text(struct bytes_view text, uint8_t whose) {
    return template_string_value((struct template_string){
        .data = text.length > 0 ? text.data : (const uint8_t *)"", .length = text.length, .whose = whose});
}

struct template_string template_slice(struct template_string text, size_t from, size_t length) {
    return (struct template_string){.data = text.data + from,
                                    .length = length,
                                    .mask = text.mask != NULL ? text.mask + from : NULL,
                                    .whose = text.whose};
}

bool template_string_is(struct template_string text, const char *word) {
    return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

bool template_strings_equal(struct template_string a, struct template_string b) {
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

size_t template_find(struct template_string text, struct template_string part, size_t from) {
    if (from > text.length) return SIZE_MAX;
    if (part.length == 0) return from;
    const uint8_t *found = memmem(text.data + from, text.length - from, part.data, part.length);
    return found != NULL ? (size_t)(found - text.data) : SIZE_MAX;
}

/* ---- code points ---------------------------------------------------------------------------------------------------- */

size_t template_code_point(struct template_string text, size_t at, uint32_t *out) {
    bool valid;
    return text_decode(text.data + at, text.length - at, out, &valid);
}

size_t template_code_points(struct template_string text) {
    size_t count = 0;
    for (size_t at = 0; at < text.length; count++) {
        uint32_t code_point;
        at += text.data[at] < 0x80 ? 1 : template_code_point(text, at, &code_point);
    }
    return count;
}

size_t template_code_point_offset(struct template_string text, size_t index) {
    size_t at = 0;
    for (; index > 0 && at < text.length; index--) {
        uint32_t code_point;
        at += text.data[at] < 0x80 ? 1 : template_code_point(text, at, &code_point);
    }
    return at;
}

/** str.isspace() */
bool template_is_space(uint32_t c) {
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_stripped(uint32_t code_point, const struct template_string *characters) {
    if (characters == NULL) return template_is_space(code_point);
    for (size_t at = 0; at < characters->length;) {
        uint32_t other;
        at += template_code_point(*characters, at, &other);
        if (other == code_point) return true;
    }
    return false;
}

struct template_string template_strip(struct template_string text, const struct template_string *characters,
                                      int sides) {
    uint32_t code_point;
    while ((sides & TEMPLATE_STRIP_LEFT) != 0 && text.length > 0) {
        size_t used = template_code_point(text, 0, &code_point);
        if (!is_stripped(code_point, characters)) break;
        text = template_slice(text, used, text.length - used);
    }
    while ((sides & TEMPLATE_STRIP_RIGHT) != 0 && text.length > 0) {
        size_t last = text.length - 1;
        while (last > 0 && text.length - last < 4 && (text.data[last] & 0xC0) == 0x80) last--;
        template_code_point(text, last, &code_point);
        if (!is_stripped(code_point, characters)) break;
        text = template_slice(text, 0, last);
    }
    return text;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static enum status grow(struct template_writer *writer, size_t extra) {
    struct template_run *run = writer->run;
    if (extra > run->output_left) return template_fail(run, "it makes a text that is too long");
    run->output_left -= extra;
    if (writer->length + extra <= writer->capacity) return STATUS_OK;
    size_t capacity = writer->capacity == 0 ? 64 : 2 * writer->capacity;
    while (capacity < writer->length + extra) capacity *= 2;
    uint8_t *data = template_alloc(run, capacity, 1), *mask = NULL;
    if (data == NULL) return template_no_memory(run);
    if (writer->mask != NULL) {
        mask = template_alloc(run, capacity, 1);
        if (mask == NULL) return template_no_memory(run);
        memcpy(mask, writer->mask, writer->length);
        writer->mask = mask;
    }
    if (writer->length > 0) memcpy(data, writer->data, writer->length);
    writer->data = data;
    writer->capacity = capacity;
    return STATUS_OK;
}

enum status template_write(struct template_writer *writer, struct template_string text) {
    if (text.length == 0) return STATUS_OK;
    TRY(template_spend(writer->run, 1 + text.length / 16));
    TRY(grow(writer, text.length));
    bool uniform = text.mask == NULL;
    if (writer->length == 0 && uniform) writer->whose = text.whose;
    if (writer->mask == NULL && (!uniform || writer->whose != text.whose)) {
        writer->mask = template_alloc(writer->run, writer->capacity, 1);
        if (writer->mask == NULL) return template_no_memory(writer->run);
        memset(writer->mask, writer->whose, writer->length);
    }
    memcpy(writer->data + writer->length, text.data, text.length);
    if (writer->mask != NULL && uniform) memset(writer->mask + writer->length, text.whose, text.length);
    if (writer->mask != NULL && !uniform) memcpy(writer->mask + writer->length, text.mask, text.length);
    writer->length += text.length;
    return STATUS_OK;
}

enum status template_write_text(struct template_writer *writer, const char *text) {
    return template_write(writer, (struct template_string){.data = (const uint8_t *)text, .length = strlen(text)});
}

struct template_string template_written(const struct template_writer *writer) {
    return (struct template_string){.data = writer->length > 0 ? writer->data : (const uint8_t *)"",
                                    .length = writer->length,
                                    .mask = writer->mask,
                                    .whose = writer->whose};
}

/* ---- changing ------------------------------------------------------------------------------------------------------- */

enum status template_replace(struct template_run *run, struct template_string text, struct template_string old,
                             struct template_string new, int64_t count, struct template_string *out) {
    struct template_writer writer = {.run = run};
    size_t at = 0;
    while (count != 0) {
        size_t found;
        if (old.length == 0) { /* Python puts it before every character and at the end */
            TRY(template_write(&writer, new));
            if (count > 0) count--;
            if (at >= text.length) break;
            uint32_t code_point;
            size_t used = template_code_point(text, at, &code_point);
            TRY(template_write(&writer, template_slice(text, at, used)));
            at += used;
            continue;
        }
        found = template_find(text, old, at);
        if (found == SIZE_MAX) break;
        TRY(template_write(&writer, template_slice(text, at, found - at)));
        TRY(template_write(&writer, new));
        TRY(template_spend(run, 1 + (found - at) / 16));
        at = found + old.length;
        if (count > 0) count--;
    }
    if (at == 0 && writer.length == 0) {
        *out = text;
        return STATUS_OK;
    }
    TRY(template_write(&writer, template_slice(text, at, text.length - at)));
    *out = template_written(&writer);
    return STATUS_OK;
}

static bool is_letter(uint8_t byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/** Does a capital stand here in a title? Python's title() begins words behind everything that is no letter, Jinja's filter behind these only. */
static bool begins_word(const uint8_t *data, size_t at, enum template_case how) {
    if (at == 0) return true;
    if (how == CASE_TITLE) return data[at - 1] < 0x80 && !is_letter(data[at - 1]);
    return how == CASE_TITLE_FILTER && (strchr("-({[<", data[at - 1]) != NULL || template_is_space(data[at - 1]));
}

enum status template_change_case(struct template_run *run, struct template_string text, enum template_case how,
                                 struct template_string *out) {
    TRY(template_spend(run, 1 + text.length / 16));
    uint8_t *data = template_alloc(run, text.length + 1, 1);
    if (data == NULL) return template_no_memory(run);
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = text.data[i];
        bool upper = how == CASE_UPPER || (how != CASE_LOWER && begins_word(text.data, i, how));
        if (is_letter(byte)) byte = upper ? byte & ~0x20 : byte | 0x20;
        data[i] = byte;
    }
    *out = text;
    out->data = data;
    return STATUS_OK;
}
