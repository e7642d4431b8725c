/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* Up to here duplicate names are found by comparing all pairs; beyond, by sorting. */
enum { DUPLICATE_PAIRS_MAX = 12 };

/** The reader's place in the text. Without an arena nothing is built: that is the check of json_is_valid. */
struct reader {
    const uint8_t *start, *at, *end;
    struct arena *arena;
    int depth_left;
    int64_t values_left;
    bool python;                        /* as Python's json module reads */
    const struct json_value *duplicate; /* the first one found; reading goes on, so that the tree is whole */
    struct json_problem *problem;
};

static enum status malformed(struct reader *reader, const char *reason) {
    reader->problem->reason = reason;
    reader->problem->offset = (size_t)(reader->at - reader->start);
    return STATUS_INVALID_ARGUMENT;
}

static void skip_blanks(struct reader *reader) {
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

static bool take(struct reader *reader, uint8_t byte) {
    if (reader->at >= reader->end || *reader->at != byte) return false;
    reader->at++;
    return true;
}

static enum status read_word(struct reader *reader, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0)
        return malformed(reader, "expecting a value");
    reader->at += length;
    return STATUS_OK;
}

static bool take_digits(struct reader *reader) {
    const uint8_t *before = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') reader->at++;
    return reader->at > before;
}

static enum status read_number(struct reader *reader) {
    if (reader->python && reader->at < reader->end && *reader->at == 'N') return read_word(reader, "NaN");
    take(reader, '-');
    if (reader->python && reader->at < reader->end && *reader->at == 'I') return read_word(reader, "Infinity");
    if (!take(reader, '0') && !take_digits(reader)) return malformed(reader, "expecting a digit");
    if (take(reader, '.') && !take_digits(reader)) return malformed(reader, "expecting a digit");
    if (take(reader, 'e') || take(reader, 'E')) {
        if (!take(reader, '+')) take(reader, '-');
        if (!take_digits(reader)) return malformed(reader, "expecting a digit");
    }
    return STATUS_OK;
}

/** The four hexadecimal digits behind \u. */
static enum status read_code_unit(struct reader *reader, uint32_t *out) {
    uint8_t unit[2];
    if (reader->end - reader->at < 4 || !bytes_from_hex((const char *)reader->at, 4, unit))
        return malformed(reader, "expecting four hexadecimal digits");
    reader->at += 4;
    *out = (uint32_t)unit[0] << 8 | unit[1];
    return STATUS_OK;
}

/** Behind the backslash: the code point that the escape stands for. */
static enum status read_escape(struct reader *reader, uint32_t *out) {
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint8_t letter = reader->at < reader->end ? *reader->at : 0;
    const char *simple = letter != 0 ? strchr(names, letter) : NULL;
    if (simple != NULL) {
        reader->at++;
        *out = (uint8_t)meanings[simple - names];
        return STATUS_OK;
    }
    if (letter != 'u') return malformed(reader, "unknown escape in a string");
    reader->at++;
    TRY(read_code_unit(reader, out));
    if (*out < 0xD800 || *out > 0xDFFF) return STATUS_OK;
    uint32_t low = 0;
    if (*out > 0xDBFF || reader->end - reader->at < 2 || reader->at[0] != '\\' || reader->at[1] != 'u')
        return malformed(reader, "lone surrogate in a string");
    reader->at += 2;
    TRY(read_code_unit(reader, &low));
    if (low < 0xDC00 || low > 0xDFFF) return malformed(reader, "lone surrogate in a string");
    *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    return STATUS_OK;
}

/** To the closing quote (`at` stays on it): is there an escape, is everything well-formed? */
static enum status scan_string(struct reader *reader, bool *out_escaped) {
    const uint8_t *from = reader->at;
    bool ascii = true;
    *out_escaped = false;
    for (;; reader->at++) {
        if (reader->at >= reader->end) return malformed(reader, "unterminated string");
        uint8_t byte = *reader->at;
        if (byte == '"') break;
        if (byte < 0x20) return malformed(reader, "control character in a string");
        ascii &= byte < 0x80;
        if (byte == '\\') {
            *out_escaped = true;
            if (++reader->at >= reader->end) return malformed(reader, "unterminated string");
        }
    }
    if (ascii || text_is_utf8(from, (size_t)(reader->at - from))) return STATUS_OK;
    reader->at = from;
    return malformed(reader, "invalid UTF-8 in a string");
}

/** Check the escapes of [at, close) and, when `out` is given, decode them into it; a decoded string is never longer than its source. */
static enum status decode_string(struct reader *reader, const uint8_t *close, uint8_t *out, size_t *out_length) {
    size_t length = 0;
    while (reader->at < close) {
        const uint8_t *escape = memchr(reader->at, '\\', (size_t)(close - reader->at));
        size_t plain = (size_t)((escape != NULL ? escape : close) - reader->at);
        if (out != NULL) memcpy(out + length, reader->at, plain);
        length += plain;
        reader->at += plain;
        if (escape == NULL) break;
        reader->at++;
        uint32_t code_point = 0;
        TRY(read_escape(reader, &code_point));
        uint8_t encoded[4];
        size_t bytes = text_encode(code_point, encoded);
        if (out != NULL) memcpy(out + length, encoded, bytes);
        length += bytes;
    }
    *out_length = length;
    return STATUS_OK;
}

/** A string whose opening quote is next. */
static enum status read_string(struct reader *reader, struct bytes_view *out, bool *out_terminated) {
    if (!take(reader, '"')) return malformed(reader, "expecting a name in double quotes");
    const uint8_t *open = reader->at;
    bool escaped = false;
    TRY(scan_string(reader, &escaped));
    const uint8_t *close = reader->at;
    *out_terminated = escaped && reader->arena != NULL;
    *out = bytes_view_of(open, (size_t)(close - open));
    if (escaped) {
        uint8_t *decoded = NULL;
        if (reader->arena != NULL && (decoded = arena_alloc(reader->arena, out->length + 1)) == NULL)
            return STATUS_RESOURCE_EXHAUSTED;
        reader->at = open;
        TRY(decode_string(reader, close, decoded, &out->length));
        if (decoded != NULL) out->data = decoded;
    }
    reader->at = close + 1;
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    const struct json_value *x = *(const struct json_value *const *)a, *y = *(const struct json_value *const *)b;
    if (x->name.length != y->name.length) return x->name.length < y->name.length ? -1 : 1;
    int order = x->name.length != 0 ? memcmp(x->name.data, y->name.data, x->name.length) : 0;
    if (order != 0) return order;
    return x->text.data < y->text.data ? -1 : 1; /* so that the later of two is the duplicate */
}

/** Remember the first member whose name an earlier sibling has. */
static enum status find_duplicate(struct reader *reader, const struct json_value *object) {
    if (reader->duplicate != NULL) return STATUS_OK;
    if (object->count <= DUPLICATE_PAIRS_MAX) {
        for (const struct json_value *later = object->first; later != NULL; later = later->next) {
            for (const struct json_value *earlier = object->first; earlier != later; earlier = earlier->next) {
                if (bytes_view_equal(earlier->name, later->name)) {
                    reader->duplicate = later;
                    return STATUS_OK;
                }
            }
        }
        return STATUS_OK;
    }
    const struct json_value **sorted = arena_alloc_array(reader->arena, object->count, sizeof *sorted);
    if (sorted == NULL) return STATUS_RESOURCE_EXHAUSTED;
    size_t count = 0;
    for (const struct json_value *member = object->first; member != NULL; member = member->next)
        sorted[count++] = member;
    qsort(sorted, count, sizeof *sorted, compare_names);
    for (size_t i = 1; i < count && reader->duplicate == NULL; i++) {
        if (bytes_view_equal(sorted[i - 1]->name, sorted[i]->name)) reader->duplicate = sorted[i];
    }
    return STATUS_OK;
}

/** Of members with one name the last one's value counts, and stands where the first stood. */
static enum status merge_duplicates(struct reader *reader, struct json_value *object) {
    if (object->count < 2) return STATUS_OK;
    struct json_value **sorted = arena_alloc_array(reader->arena, object->count, sizeof *sorted);
    if (sorted == NULL) return STATUS_RESOURCE_EXHAUSTED;
    size_t count = 0;
    for (struct json_value *member = object->first; member != NULL; member = member->next) sorted[count++] = member;
    qsort(sorted, count, sizeof *sorted, compare_names);
    for (size_t i = 0, first = 0; i < count; i++) {
        if (!bytes_view_equal(sorted[first]->name, sorted[i]->name)) first = i;
        if (first == i) continue;
        struct json_value *next = sorted[first]->next;
        *sorted[first] = *sorted[i];
        sorted[first]->next = next;
        sorted[i]->text.data = NULL; /* marks it as gone */
    }
    struct json_value **link = &object->first;
    for (struct json_value *member = object->first; member != NULL; member = member->next) {
        if (member->text.data == NULL) {
            object->count--;
            continue;
        }
        *link = member;
        link = &member->next;
    }
    *link = NULL;
    return STATUS_OK;
}

static enum status read_value(struct reader *reader, struct json_value **out);

/** One element, or one member with its name. */
static enum status read_child(struct reader *reader, bool in_object, struct json_value **out) {
    struct bytes_view name = {0};
    bool terminated;
    if (in_object) {
        TRY(read_string(reader, &name, &terminated));
        skip_blanks(reader);
        if (!take(reader, ':')) return malformed(reader, "expecting ':'");
        skip_blanks(reader);
    }
    TRY(read_value(reader, out));
    if (*out != NULL) (*out)->name = name;
    return STATUS_OK;
}

/** Behind the opening bracket. */
static enum status read_container(struct reader *reader, struct json_value *container, bool is_object) {
    uint8_t close = is_object ? '}' : ']';
    if (reader->depth_left-- == 0) return malformed(reader, "nested too deeply");
    skip_blanks(reader);
    struct json_value **tail = container != NULL ? &container->first : NULL;
    if (!take(reader, close)) {
        for (;;) {
            struct json_value *child = NULL;
            TRY(read_child(reader, is_object, &child));
            if (container != NULL) {
                *tail = child;
                tail = &child->next;
                container->count++;
            }
            skip_blanks(reader);
            if (take(reader, close)) break;
            if (!take(reader, ','))
                return malformed(reader, is_object ? "expecting ',' or '}'" : "expecting ',' or ']'");
            skip_blanks(reader);
        }
    }
    reader->depth_left++;
    if (!is_object || container == NULL) return STATUS_OK;
    return reader->python ? merge_duplicates(reader, container) : find_duplicate(reader, container);
}

static enum json_kind kind_of(uint8_t first, bool python) {
    switch (first) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 't':
    case 'f':
        return JSON_KIND_BOOLEAN;
    case '-':
        return JSON_KIND_NUMBER;
    case 'N':
    case 'I':
        return python ? JSON_KIND_NUMBER : JSON_KIND_NULL;
    default:
        return first >= '0' && first <= '9' ? JSON_KIND_NUMBER : JSON_KIND_NULL;
    }
}

static enum status read_value(struct reader *reader, struct json_value **out) {
    if (reader->at >= reader->end) return malformed(reader, "expecting a value");
    if (reader->values_left-- <= 0) return malformed(reader, "too many values");
    const uint8_t *from = reader->at;
    struct json_value *value = NULL;
    if (reader->arena != NULL && (value = arena_alloc(reader->arena, sizeof *value)) == NULL)
        return STATUS_RESOURCE_EXHAUSTED;
    struct bytes_view string = {0};
    bool terminated = false;
    enum json_kind kind = kind_of(*from, reader->python);
    switch (kind) {
    case JSON_KIND_OBJECT:
    case JSON_KIND_ARRAY:
        reader->at++;
        TRY(read_container(reader, value, kind == JSON_KIND_OBJECT));
        break;
    case JSON_KIND_STRING:
        TRY(read_string(reader, &string, &terminated));
        break;
    case JSON_KIND_NUMBER:
        TRY(read_number(reader));
        break;
    case JSON_KIND_BOOLEAN:
        TRY(read_word(reader, *from == 't' ? "true" : "false"));
        break;
    case JSON_KIND_NULL:
        TRY(read_word(reader, "null"));
        break;
    }
    if (value != NULL) {
        value->kind = kind;
        value->boolean = *from == 't';
        value->terminated = terminated;
        value->string = string;
        value->text = bytes_view_of(from, (size_t)(reader->at - from));
    }
    *out = value;
    return STATUS_OK;
}

static enum status read_whole(struct reader *reader, struct json_value **out) {
    skip_blanks(reader);
    TRY(read_value(reader, out));
    skip_blanks(reader);
    return reader->at == reader->end ? STATUS_OK : malformed(reader, "something behind the value");
}

static struct reader reader_of(struct bytes_view source, int depth_max, int64_t values_max,
                               struct json_problem *problem) {
    const uint8_t *start = source.length != 0 ? source.data : (const uint8_t *)"";
    return (struct reader){.start = start,
                           .at = start,
                           .end = start + source.length,
                           .depth_left = depth_max,
                           .values_left = values_max,
                           .problem = problem};
}

enum status json_read(struct bytes_view source, int depth_max, int64_t values_max, struct arena *arena,
                      struct json_value **out, struct json_problem *problem) {
    *problem = (struct json_problem){0};
    struct reader reader = reader_of(source, depth_max, values_max, problem);
    reader.arena = arena;
    struct json_value *root = NULL;
    TRY(read_whole(&reader, &root));
    if (reader.duplicate != NULL) {
        reader.at = reader.duplicate->text.data;
        problem->root = root;
        problem->duplicate = reader.duplicate;
        return malformed(&reader, "duplicate name");
    }
    *out = root;
    return STATUS_OK;
}

enum status json_read_python(struct bytes_view source, int depth_max, int64_t values_max, struct arena *arena,
                             struct json_value **out, struct json_problem *problem) {
    *problem = (struct json_problem){0};
    struct reader reader = reader_of(source, depth_max, values_max, problem);
    reader.arena = arena;
    reader.python = true;
    return read_whole(&reader, out);
}

bool json_is_valid(struct bytes_view source, int depth_max, enum json_kind *out_kind) {
    struct json_problem problem;
    struct reader reader = reader_of(source, depth_max, INT64_MAX, &problem);
    skip_blanks(&reader);
    *out_kind = reader.at < reader.end ? kind_of(*reader.at, false) : JSON_KIND_NULL;
    struct json_value *none;
    return read_whole(&reader, &none) == STATUS_OK;
}

const struct json_value *json_member(const struct json_value *object, const char *name) {
    if (object == NULL || object->kind != JSON_KIND_OBJECT) return NULL;
    for (const struct json_value *member = object->first; member != NULL; member = member->next) {
        if (bytes_view_equal_string(member->name, name)) return member;
    }
    return NULL;
}

bool json_double(const struct json_value *value, double *out) {
    enum { NUMBER_BYTES_MAX = 63 };
    char text[NUMBER_BYTES_MAX + 1];
    if (value == NULL || value->kind != JSON_KIND_NUMBER || value->text.length > NUMBER_BYTES_MAX) return false;
    memcpy(text, value->text.data, value->text.length);
    text[value->text.length] = 0;
    return text_to_double(text, out);
}

bool json_i64(const struct json_value *value, int64_t *out) {
    enum { DIGITS_MAX = 20 };
    char text[DIGITS_MAX + 1];
    double real;
    if (!json_double(value, &real)) return false;
    if (value->text.length <= DIGITS_MAX) {
        memcpy(text, value->text.data, value->text.length);
        text[value->text.length] = 0;
        if (text_to_i64(text, out)) return true;
    }
    if (!(real >= -0x1p53 && real <= 0x1p53) || real != (double)(int64_t)real) return false;
    *out = (int64_t)real;
    return true;
}

bool json_is_string(const struct json_value *value, const char *text) {
    return value != NULL && value->kind == JSON_KIND_STRING && bytes_view_equal_string(value->string, text);
}

bool json_append_compact(struct bytes *out, struct bytes_view text, size_t bytes_max) {
    const uint8_t *at = text.data, *end = at + text.length;
    size_t left = bytes_max;
    bool in_string = false;
    while (at < end) {
        /* One run without blanks, or up to the end of a string. */
        const uint8_t *from = at;
        for (; at < end; at++) {
            if (in_string && *at == '\\')
                at++; /* well-formed: something follows */
            else if (*at == '"')
                in_string = !in_string;
            else if (!in_string && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
                break;
        }
        size_t run = (size_t)(at - from);
        if (run > left) {
            (void)bytes_append(out, from, left);
            return false;
        }
        (void)bytes_append(out, from, run);
        left -= run;
        if (at < end) at++;
    }
    return true;
}

/** Bytes that stand for themselves inside a JSON string: not '"', '\\', controls, or anything beyond ASCII. */
static size_t plain_prefix(const uint8_t *data, size_t length) {
    size_t i = 0;
    while (i + 8 <= length) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        /* The high bit of a byte is set when that byte is zero (quote, slash), below 0x20, or not ASCII; a borrow can only give a false alarm. */
        if ((((quote - ones) | (slash - ones) | (word - ones * 0x20) | word) & high) != 0) break;
        i += 8;
    }
    while (i < length && data[i] >= 0x20 && data[i] < 0x80 && data[i] != '"' && data[i] != '\\') i++;
    return i;
}

static void append_escape(struct bytes *out, uint8_t byte) {
    static const char meanings[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
    const char *simple = byte != 0 ? strchr(meanings, byte) : NULL;
    if (simple != NULL) {
        (void)bytes_append(out, (const char[]){'\\', names[simple - meanings]}, 2);
        return;
    }
    static const char digits[] = "0123456789abcdef";
    (void)bytes_append(out, (const char[]){'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]}, 6);
}

enum status json_append_string(struct bytes *out, struct bytes_view string) {
    (void)bytes_append_byte(out, '"');
    const uint8_t *at = string.length != 0 ? string.data : (const uint8_t *)"", *end = at + string.length;
    while (at < end) {
        size_t plain = plain_prefix(at, (size_t)(end - at));
        if (plain > 0) (void)bytes_append(out, at, plain);
        at += plain;
        if (at >= end) break;
        if (*at < 0x80) {
            append_escape(out, *at++);
            continue;
        }
        uint32_t code_point;
        bool valid;
        size_t used = text_decode(at, (size_t)(end - at), &code_point, &valid);
        if (valid)
            (void)bytes_append(out, at, used);
        else
            (void)bytes_append_string(out, "\xEF\xBF\xBD");
        at += used;
    }
    return bytes_append_byte(out, '"');
}
