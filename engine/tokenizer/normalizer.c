/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/normalizer.h"

#include "base/text.h"
#include "engine/tokenizer/unicode.h"
#include "engine/tokenizer/unicode_form.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char mark[] = "\xE2\x96\x81";

void normalizer_deinit(struct normalizer *normalizer) {
    for (int i = 0; i < normalizer->step_count; i++) {
        free(normalizer->steps[i].from);
        free(normalizer->steps[i].to);
    }
    free(normalizer->charsmap);
    free(normalizer->replacements);
    *normalizer = (struct normalizer){0};
}

static uint8_t *copy_of(struct bytes_view bytes) {
    uint8_t *copy = malloc(bytes.length + 1);
    if (copy != NULL && bytes.length > 0) memcpy(copy, bytes.data, bytes.length);
    return copy;
}

enum status normalizer_add(struct normalizer *normalizer, enum normalizer_kind kind, struct bytes_view from,
                           struct bytes_view to) {
    if (normalizer->step_count == NORMALIZER_STEPS_MAX) return STATUS_RESOURCE_EXHAUSTED;
    struct normalizer_step step = {kind, copy_of(from), copy_of(to), from.length, to.length};
    if (step.from == NULL || step.to == NULL) {
        free(step.from);
        free(step.to);
        return STATUS_RESOURCE_EXHAUSTED;
    }
    normalizer->steps[normalizer->step_count++] = step;
    return STATUS_OK;
}

/* ---- Unicode's forms ----------------------------------------------------------------------------------------------- */

/** The bytes at the start of `text` that no form changes, whatever stands behind them: ASCII, but for the last character, which a mark may
 *  follow. */
static size_t plain_prefix(struct bytes_view text, bool composed) {
    uint8_t end = composed ? 0xCC : 0x80; /* below U+0300 nothing decomposes in NFC but by what follows it */
    size_t at = 0, last = 0;
    while (at < text.length && text.data[at] < end) {
        if ((text.data[at] & 0xC0) != 0x80) last = at;
        at++;
    }
    return at == text.length ? at : last;
}

static enum status run_form(struct bytes_view text, enum unicode_form form, struct bytes *out) {
    size_t plain = plain_prefix(text, form == UNICODE_NFC);
    TRY(bytes_append(out, text.data, plain));
    for (size_t begin = plain, at = plain; at < text.length || begin < at;) {
        uint32_t code_point;
        bool valid = false;
        size_t used = at < text.length ? text_decode(text.data + at, text.length - at, &code_point, &valid) : 0;
        if (valid) {
            at += used;
            continue;
        }
        if (at > begin) TRY(unicode_form_append(form, bytes_view_of(text.data + begin, at - begin), out));
        TRY(bytes_append(out, text.data + at, used)); /* what is no UTF-8 stays */
        begin = at += used;
    }
    return STATUS_OK;
}

static enum status run_lowercase(struct bytes_view text, struct bytes *out) {
    for (size_t at = 0; at < text.length;) {
        uint32_t code_point;
        uint8_t encoded[4];
        bool valid;
        size_t used = text_decode(text.data + at, text.length - at, &code_point, &valid);
        if (!valid)
            TRY(bytes_append(out, text.data + at, used));
        else if (code_point == 0x130) /* the one letter that becomes two characters */
            TRY(bytes_append(out, "i\xCC\x87", 3));
        else
            TRY(bytes_append(out, encoded,
                             text_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)code_point), encoded)));
        at += used;
    }
    return STATUS_OK;
}

/* ---- strings ------------------------------------------------------------------------------------------------------- */

static enum status run_replace(const struct normalizer_step *step, struct bytes_view text, struct bytes *out) {
    for (size_t at = 0; at < text.length;) {
        const uint8_t *found =
            step->from_length > 0 ? memmem(text.data + at, text.length - at, step->from, step->from_length) : NULL;
        size_t end = found != NULL ? (size_t)(found - text.data) : text.length;
        TRY(bytes_append(out, text.data + at, end - at));
        if (found != NULL) TRY(bytes_append(out, step->to, step->to_length));
        at = found != NULL ? end + step->from_length : end;
    }
    return STATUS_OK;
}

static struct bytes_view strip_left(struct bytes_view text) {
    size_t used;
    while (text.length > 0 && (unicode_class_at(text.data, text.length, &used) & CLASS_SPACE)) {
        text.data += used;
        text.length -= used;
    }
    return text;
}

static struct bytes_view strip_right(struct bytes_view text) {
    while (text.length > 0) {
        size_t begin = text.length, used;
        do begin--;
        while (begin > 0 && text.length - begin < 4 && (text.data[begin] & 0xC0) == 0x80);
        if (!(unicode_class_at(text.data + begin, text.length - begin, &used) & CLASS_SPACE)) break;
        text.length = begin;
    }
    return text;
}

/* ---- SentencePiece ------------------------------------------------------------------------------------------------- */

enum status normalizer_set_charsmap(struct normalizer *normalizer, struct bytes_view blob, struct error *err) {
    uint32_t table_bytes;
    if (blob.length == 0) return STATUS_OK;
    if (blob.length < 4 || (memcpy(&table_bytes, blob.data, 4), table_bytes >= blob.length - 4) || table_bytes < 4 ||
        table_bytes % 4 != 0 || blob.data[blob.length - 1] != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the normaliser's table of %zu bytes is damaged", blob.length);
    normalizer->charsmap = malloc(table_bytes);
    normalizer->charsmap_units = table_bytes / 4;
    normalizer->replacement_bytes = blob.length - 4 - table_bytes;
    normalizer->replacements = copy_of(bytes_view_of(blob.data + 4 + table_bytes, normalizer->replacement_bytes));
    if (normalizer->charsmap == NULL || normalizer->replacements == NULL)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memcpy(normalizer->charsmap, blob.data + 4, table_bytes);
    return STATUS_OK;
}

static uint32_t unit_offset(uint32_t unit) {
    return (unit >> 10) << ((unit & UINT32_C(1) << 9) >> 6);
}

/** The longest string of the table at the start of `text`: its length (0: none) and what replaces it. */
static size_t find_replacement(const struct normalizer *normalizer, struct bytes_view text, struct bytes_view *out) {
    size_t longest = 0;
    if (normalizer->charsmap == NULL) return 0;
    uint32_t node = unit_offset(normalizer->charsmap[0]), unit;
    for (size_t i = 0; i < text.length && text.data[i] != 0; i++) {
        node ^= text.data[i];
        if (node >= normalizer->charsmap_units) break;
        unit = normalizer->charsmap[node];
        if ((unit & (UINT32_C(1) << 31 | 0xFF)) != text.data[i]) break;
        node ^= unit_offset(unit);
        if (node >= normalizer->charsmap_units) break;
        if ((unit >> 8 & 1) == 0) continue;
        uint32_t value = normalizer->charsmap[node] & (UINT32_MAX >> 1);
        if (value >= normalizer->replacement_bytes) break;
        longest = i + 1;
        *out = bytes_view_string((const char *)normalizer->replacements + value);
    }
    return longest;
}

/** What the start of `text` (not empty) becomes; returns how many bytes of it that is. */
static size_t normalize_prefix(const struct normalizer *normalizer, struct bytes_view text, struct bytes_view *out) {
    size_t length;
    uint32_t code_point;
    bool valid;
    if (normalizer->keep != NULL && normalizer->keep->count > 0 && trie_longest(normalizer->keep, text, &length) >= 0) {
        *out = bytes_view_of(text.data, length);
        return length;
    }
    if ((length = find_replacement(normalizer, text, out)) > 0) return length;
    length = text_decode(text.data, text.length, &code_point, &valid);
    *out = valid ? bytes_view_of(text.data, length) : bytes_view_string("\xEF\xBF\xBD");
    return valid ? length : 1;
}

void normalizer_prepare(struct normalizer *normalizer) {
    for (int byte = 0; byte < 256; byte++) {
        bool kept = normalizer->keep != NULL && normalizer->keep->count > 0 && normalizer->keep->root[byte] >= 0;
        bool inert = byte != ' ' && !kept;
        if (inert && normalizer->charsmap != NULL) {
            uint32_t node = unit_offset(normalizer->charsmap[0]) ^ (uint32_t)byte;
            inert = byte != 0 && node < normalizer->charsmap_units &&
                    (normalizer->charsmap[node] & (UINT32_C(1) << 31 | 0xFF)) != (uint32_t)byte;
        }
        normalizer->inert[byte] = inert;
    }
}

/** The bytes at the start of `text` that stay as they are: valid characters that nothing touches. */
static size_t inert_prefix(const struct normalizer *normalizer, struct bytes_view text) {
    size_t at = 0;
    while (at < text.length && normalizer->inert[text.data[at]]) {
        uint32_t code_point;
        bool valid = true;
        size_t used = 1;
        if (text.data[at] >= 0x80) used = text_decode(text.data + at, text.length - at, &code_point, &valid);
        if (!valid) break;
        at += used;
    }
    return at;
}

static bool ends_with(const struct bytes *out, const char *end) {
    size_t length = strlen(end);
    return out->length >= length && memcmp(out->data + out->length - length, end, length) == 0;
}

static enum status append_spaced(struct bytes *out, struct bytes_view text, const char *space) {
    for (size_t at = 0; at < text.length;) {
        const uint8_t *blank = memchr(text.data + at, ' ', text.length - at);
        size_t end = blank != NULL ? (size_t)(blank - text.data) : text.length;
        TRY(bytes_append(out, text.data + at, end - at));
        if (blank != NULL) TRY(bytes_append_string(out, space));
        at = end + (blank != NULL);
    }
    return STATUS_OK;
}

static enum status run_sentencepiece(const struct normalizer *normalizer, struct bytes_view text, struct bytes *out) {
    const char *space = normalizer->escape_whitespaces ? mark : " ";
    bool squeeze = normalizer->remove_extra_whitespaces;
    struct bytes_view piece;
    while (squeeze && text.length > 0) {
        size_t used = normalize_prefix(normalizer, text, &piece);
        if (!bytes_view_equal_string(piece, " ")) break;
        text = bytes_view_of(text.data + used, text.length - used);
    }
    if (text.length == 0) return STATUS_OK;
    if (normalizer->add_dummy_prefix && !normalizer->whitespace_as_suffix) TRY(bytes_append_string(out, space));
    bool after_space = squeeze;
    while (text.length > 0) {
        size_t used = inert_prefix(normalizer, text);
        if (used > 0) {
            TRY(bytes_append(out, text.data, used));
            after_space = false;
            text = bytes_view_of(text.data + used, text.length - used);
            continue;
        }
        used = normalize_prefix(normalizer, text, &piece);
        while (after_space && piece.length > 0 && piece.data[0] == ' ')
            piece = bytes_view_of(piece.data + 1, piece.length - 1);
        if (piece.length > 0) {
            TRY(append_spaced(out, piece, space));
            after_space = squeeze && piece.data[piece.length - 1] == ' ';
        }
        text = bytes_view_of(text.data + used, text.length - used);
    }
    while (squeeze && ends_with(out, space)) out->length -= strlen(space);
    if (normalizer->add_dummy_prefix && normalizer->whitespace_as_suffix) TRY(bytes_append_string(out, space));
    return STATUS_OK;
}

/** GGUF's "t5" as llama.cpp reads it: blanks are written in front of the word that follows them. */
static enum status run_like_llama(const struct normalizer *normalizer, struct bytes_view text, struct bytes *out) {
    const char *space = normalizer->escape_whitespaces ? mark : " ";
    bool prepend = normalizer->add_dummy_prefix && !normalizer->whitespace_as_suffix, prepended = false,
         in_word = false;
    while (text.length > 0) {
        struct bytes_view piece;
        size_t used = normalize_prefix(normalizer, text, &piece);
        for (size_t i = 0; i < piece.length; i++) {
            if (piece.data[i] == ' ') {
                in_word = false;
                if (!normalizer->remove_extra_whitespaces) TRY(bytes_append_string(out, space));
                continue;
            }
            if (!in_word && ((prepend && !prepended) || normalizer->remove_extra_whitespaces)) {
                TRY(bytes_append_string(out, space));
                prepended = true;
            }
            in_word = true;
            TRY(bytes_append_byte(out, piece.data[i]));
        }
        text = bytes_view_of(text.data + used, text.length - used);
    }
    if (normalizer->add_dummy_prefix && normalizer->whitespace_as_suffix) TRY(bytes_append_string(out, space));
    return STATUS_OK;
}

/* ---- all steps ----------------------------------------------------------------------------------------------------- */

static enum status run_step(const struct normalizer *normalizer, const struct normalizer_step *step,
                            struct bytes_view text, struct bytes *out) {
    switch (step->kind) {
    case NORMALIZE_NFC:
        return run_form(text, UNICODE_NFC, out);
    case NORMALIZE_NFD:
        return run_form(text, UNICODE_NFD, out);
    case NORMALIZE_NFKC:
        return run_form(text, UNICODE_NFKC, out);
    case NORMALIZE_NFKD:
        return run_form(text, UNICODE_NFKD, out);
    case NORMALIZE_LOWERCASE:
        return run_lowercase(text, out);
    case NORMALIZE_PREPEND:
        if (text.length > 0) TRY(bytes_append(out, step->to, step->to_length));
        return bytes_append(out, text.data, text.length);
    case NORMALIZE_REPLACE:
        return run_replace(step, text, out);
    case NORMALIZE_SENTENCEPIECE:
        return normalizer->merge_spaces_like_llama ? run_like_llama(normalizer, text, out)
                                                   : run_sentencepiece(normalizer, text, out);
    case NORMALIZE_STRIP_LEFT:
    case NORMALIZE_STRIP_RIGHT:
        break;
    }
    return STATUS_OK;
}

/** True when the step leaves `text` as it is, seen without work. */
static bool changes_nothing(const struct normalizer_step *step, struct bytes_view text) {
    bool composed = step->kind == NORMALIZE_NFC;
    return step->kind <= NORMALIZE_NFKD && plain_prefix(text, composed) == text.length;
}

enum status normalizer_run(const struct normalizer *normalizer, struct bytes_view text, struct bytes buffers[2],
                           struct bytes_view *out) {
    int turn = 0;
    for (int i = 0; i < normalizer->step_count; i++) {
        const struct normalizer_step *step = &normalizer->steps[i];
        if (step->kind == NORMALIZE_STRIP_LEFT || step->kind == NORMALIZE_STRIP_RIGHT) {
            text = step->kind == NORMALIZE_STRIP_LEFT ? strip_left(text) : strip_right(text);
            continue;
        }
        if (changes_nothing(step, text)) continue;
        bytes_reset(&buffers[turn]);
        TRY(run_step(normalizer, step, text, &buffers[turn]));
        text = bytes_view(&buffers[turn]);
        turn ^= 1;
    }
    *out = text;
    return STATUS_OK;
}
