/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* utf8proc decomposes and composes; its own ordering of marks is an insertion sort, which a text of nothing but marks makes quadratic. */
#include "engine/tokenizer/unicode_form.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { CLASSES = 256, SHORT_RUN = 32, DECOMPOSED_MAX = 32 /* of one character; U+FDFA has 18 */ };

/** What utf8proc's tables (Unicode 15) would reorder, decompose or compose and Unicode 9 does not know. */
static bool is_newer(utf8proc_int32_t character) {
    static const struct {
        utf8proc_int32_t first, last;
    } newer[] = {{0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
                 {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
                 {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x10785},
                 {0x10787, 0x107B0}, {0x107B2, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
                 {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E},
                 {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
                 {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
                 {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E030, 0x1E06D},
                 {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
                 {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
    if (character < newer[0].first) return false;
    size_t low = 0, high = sizeof newer / sizeof newer[0];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (character > newer[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof newer / sizeof newer[0] && character >= newer[low].first;
}

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
    return is_newer(character) ? 0 : utf8proc_get_property(character)->combining_class;
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
        if (is_newer((utf8proc_int32_t)code_point)) {
            out->data[out->count++] = (utf8proc_int32_t)code_point;
            continue;
        }
        utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)code_point, out->data + out->count,
                                                         DECOMPOSED_MAX, (utf8proc_option_t)options, &boundary);
        if (count < 0 || count > DECOMPOSED_MAX) return STATUS_RESOURCE_EXHAUSTED;
        out->count += (size_t)count;
    }
    return STATUS_OK;
}

/** Compose, where `options` ask for it, what stands between newer characters: with those nothing composes, nor over them. */
static enum status append_composed(const struct characters *characters, int options, struct bytes *out) {
    for (size_t begin = 0, end; begin < characters->count; begin = end) {
        utf8proc_int32_t *run = characters->data + begin;
        for (end = begin + 1; end < characters->count && !is_newer(*run) && !is_newer(characters->data[end]);) end++;
        utf8proc_ssize_t count =
            utf8proc_normalize_utf32(run, (utf8proc_ssize_t)(end - begin), (utf8proc_option_t)options);
        if (count < 0) return STATUS_RESOURCE_EXHAUSTED;
        for (utf8proc_ssize_t i = 0; i < count; i++) {
            uint8_t encoded[4];
            TRY(bytes_append(out, encoded, text_encode((uint32_t)run[i], encoded)));
        }
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
    TRY_CLEANUP(append_composed(&characters, options, out));
cleanup:
    free(characters.data);
    return status;
}
