/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* utf8proc decomposes and composes; its own ordering of marks is an insertion sort, which a text of nothing but marks makes quadratic. */
#include "engine/tokenizer/unicode_form.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { CLASSES = 256, SHORT_RUN = 32, DECOMPOSED_MAX = 32 /* of one character; U+FDFA has 18 */ };

struct characters {
    utf8proc_int32_t *data;
    size_t count, capacity;
};

static bool reserve(struct characters *characters, size_t more) {
    if (characters->capacity - characters->count >= more) return true;
    size_t capacity = 2 * characters->capacity + more;
    utf8proc_int32_t *data = realloc(characters->data, capacity * sizeof *data);
    if (data == NULL) return false;
    characters->data = data;
    characters->capacity = capacity;
    return true;
}

static int combining_class(utf8proc_int32_t character) {
    return utf8proc_get_property(character)->combining_class;
}

/** Stable, by insertion. */
static void order_short_run(utf8proc_int32_t *run, size_t count) {
    for (size_t i = 1; i < count; i++) {
        utf8proc_int32_t moving = run[i];
        int class = combining_class(moving);
        size_t at = i;
        for (; at > 0 && combining_class(run[at - 1]) > class; at--) run[at] = run[at - 1];
        run[at] = moving;
    }
}

/** Stable, by counting; `scratch` has room for `count`. */
static void order_long_run(utf8proc_int32_t *run, size_t count, utf8proc_int32_t *scratch) {
    size_t places[CLASSES + 1] = {0};
    for (size_t i = 0; i < count; i++) places[combining_class(run[i]) + 1]++;
    for (int class = 0; class < CLASSES; class ++) places[class + 1] += places[class];
    for (size_t i = 0; i < count; i++) scratch[places[combining_class(run[i])]++] = run[i];
    memcpy(run, scratch, count * sizeof *run);
}

/** Canonical ordering: every run of marks by their classes. */
static enum status order_marks(const struct characters *characters) {
    utf8proc_int32_t *scratch = NULL;
    for (size_t begin = 0, end; begin < characters->count; begin = end) {
        for (end = begin; end < characters->count && combining_class(characters->data[end]) != 0; end++)
            ;
        if (end - begin <= SHORT_RUN) {
            order_short_run(characters->data + begin, end - begin);
        } else {
            if (scratch == NULL) scratch = malloc(characters->count * sizeof *scratch);
            if (scratch == NULL) return STATUS_RESOURCE_EXHAUSTED;
            order_long_run(characters->data + begin, end - begin, scratch);
        }
        if (end == begin) end++;
    }
    free(scratch);
    return STATUS_OK;
}

static enum status decompose(struct bytes_view text, int options, struct characters *out) {
    int boundary = 0;
    for (size_t at = 0; at < text.length;) {
        uint32_t code_point;
        bool valid;
        at += text_decode(text.data + at, text.length - at, &code_point, &valid);
        if (!reserve(out, DECOMPOSED_MAX)) return STATUS_RESOURCE_EXHAUSTED;
        utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)code_point, out->data + out->count,
                                                         DECOMPOSED_MAX, (utf8proc_option_t)options, &boundary);
        if (count < 0 || count > DECOMPOSED_MAX) return STATUS_RESOURCE_EXHAUSTED;
        out->count += (size_t)count;
    }
    return STATUS_OK;
}

enum status unicode_form_append(enum unicode_form form, struct bytes_view text, struct bytes *out) {
    bool composed = form == UNICODE_NFC || form == UNICODE_NFKC, compatible = form >= UNICODE_NFKC;
    int options =
        UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0) | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    struct characters characters = {0};
    enum status status = STATUS_OK;
    TRY_CLEANUP(decompose(text, options, &characters));
    TRY_CLEANUP(order_marks(&characters));
    utf8proc_ssize_t count =
        utf8proc_normalize_utf32(characters.data, (utf8proc_ssize_t)characters.count, (utf8proc_option_t)options);
    if (count < 0) status = STATUS_RESOURCE_EXHAUSTED;
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        uint8_t encoded[4];
        TRY_CLEANUP(bytes_append(out, encoded, text_encode((uint32_t)characters.data[i], encoded)));
    }
cleanup:
    free(characters.data);
    return status;
}
