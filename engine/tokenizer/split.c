/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/split.h"

#include "engine/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

/** Class and length of the character at `at`; 0 and 0 behind the last. */
static inline uint8_t look(struct bytes_view text, size_t at, size_t *out_length) {
    if (at >= text.length) {
        *out_length = 0;
        return 0;
    }
    return unicode_class_at(text.data + at, text.length - at, out_length);
}

/** From `at` as far as characters are of one of `classes`. */
static inline size_t run_end(struct bytes_view text, size_t at, uint8_t classes) {
    while (at < text.length) {
        while (at < text.length && text.data[at] < 0x80) {
            if ((unicode_table[text.data[at]] & classes) == 0) return at;
            at++;
        }
        size_t length;
        if (at >= text.length || (look(text, at, &length) & classes) == 0) return at;
        at += length;
    }
    return at;
}

/** Length of 's 't 'm 'd 're 've 'll at the start of `text`, or 0. */
static size_t contraction(struct bytes_view text) {
    static const char *const endings[] = {"s", "t", "m", "d", "re", "ve", "ll"};
    if (text.length < 2 || text.data[0] != '\'') return 0;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t length = strlen(endings[i]);
        if (text.length > length && memcmp(text.data + 1, endings[i], length) == 0) return 1 + length;
    }
    return 0;
}

/** The same in either case; `unicode`: U+017F is an s. */
static size_t contraction_of_any_case(struct bytes_view text, bool unicode) {
    if (text.length < 2 || text.data[0] != '\'') return 0;
    uint8_t first = text.data[1] | 0x20, second = text.length > 2 ? text.data[2] | 0x20 : 0;
    if (text.data[1] < 0x80) {
        if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
        bool two =
            (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
        return two && text.data[2] < 0x80 ? 3 : 0;
    }
    return unicode && text.length > 2 && text.data[1] == 0xC5 && text.data[2] == 0xBF ? 3 : 0;
}

/** White space before `stop` characters of another kind: all of it at the end or in front of `closing`, else all but the last
 *  character, which stands alone or leads the next piece. */
static size_t space_piece(struct bytes_view text, uint8_t closing) {
    size_t at = 0, last = 0, length;
    uint8_t class;
    while ((class = look(text, at, &length)) & CLASS_SPACE) {
        last = at;
        at += length;
    }
    return length == 0 || (class & closing) != 0 || last == 0 ? at : last;
}

static size_t gpt2_piece(struct bytes_view text, uint8_t closing) {
    size_t length, start = 0;
    size_t short_form = contraction(text);
    if (short_form != 0) return short_form;
    uint8_t class = look(text, 0, &length);
    if (text.data[0] == ' ') { /* one blank may lead letters, numbers or symbols */
        uint8_t behind = look(text, 1, &length);
        if (length > 0 && (behind & closing) == 0) {
            class = behind;
            start = 1;
        }
    }
    if (class & CLASS_LETTER) return run_end(text, start, CLASS_LETTER);
    if (class & CLASS_NUMBER) return run_end(text, start, CLASS_NUMBER);
    if (class & CLASS_SYMBOL) return run_end(text, start, CLASS_SYMBOL);
    return space_piece(text, closing);
}

static size_t smollm_piece(struct bytes_view text) {
    size_t length;
    return look(text, 0, &length) & CLASS_NUMBER ? length : gpt2_piece(text, CLASS_NUMBER);
}

/** " ?[^\s\p{L}\p{N}]+[\r\n]*" (`slash`: "[\r\n/]*"), then "\s*[\r\n]+|\s+(?!\S)|\s+". */
static size_t symbols_or_spaces(struct bytes_view text, uint8_t class, bool slash) {
    size_t length, start = 0;
    if (text.data[0] == ' ' && text.length > 1 && (look(text, 1, &length) & CLASS_SYMBOL)) {
        class = CLASS_SYMBOL;
        start = 1;
    }
    if (class & CLASS_SYMBOL) {
        size_t end = run_end(text, start, CLASS_SYMBOL);
        while (end < text.length &&
               (text.data[end] == '\r' || text.data[end] == '\n' || (slash && text.data[end] == '/')))
            end++;
        return end;
    }
    size_t at = 0, last = 0, behind_newline = 0;
    while ((class = look(text, at, &length)) & CLASS_SPACE) {
        last = at;
        at += length;
        if (class & CLASS_NEWLINE) behind_newline = at;
    }
    if (behind_newline > 0) return behind_newline;
    return length == 0 || last == 0 ? at : last;
}

static size_t llama3_piece(struct bytes_view text, size_t digits_max, bool unicode) {
    size_t length, behind;
    size_t short_form = contraction_of_any_case(text, unicode);
    if (short_form != 0) return short_form;
    uint8_t class = look(text, 0, &length);
    if (class & CLASS_LETTER) return run_end(text, length, CLASS_LETTER);
    if (class & CLASS_NUMBER) {
        size_t end = length;
        for (size_t i = 1; i < digits_max && (look(text, end, &behind) & CLASS_NUMBER); i++) end += behind;
        return end;
    }
    if (!(class & CLASS_NEWLINE) && (look(text, length, &behind) & CLASS_LETTER))
        return run_end(text, length + behind, CLASS_LETTER);
    return symbols_or_spaces(text, class, false);
}

/** Where "[upper]*[lower]+" ends that begins at `at`; 0: it does not match. `*out_run`: where the run of [upper] ends. */
static size_t upper_lower_end(struct bytes_view text, size_t at, size_t *out_run) {
    size_t length, behind_both = 0;
    uint8_t class;
    while ((class = look(text, at, &length)) & CLASS_UPPER) {
        at += length;
        if (class & CLASS_LOWER) behind_both = at;
    }
    *out_run = at;
    return class & CLASS_LOWER ? run_end(text, at, CLASS_LOWER) : behind_both;
}

static size_t tekken_piece(struct bytes_view text) {
    size_t length, end, run_with = 0, run_without;
    uint8_t class = look(text, 0, &length);
    if (class & CLASS_NUMBER) return length;
    bool may_lead = !(class & (CLASS_LETTER | CLASS_NEWLINE));
    if (may_lead && (end = upper_lower_end(text, length, &run_with)) > 0) return end;
    if ((end = upper_lower_end(text, 0, &run_without)) > 0) return end;
    if (may_lead && run_with > length) return run_with;
    if (run_without > 0) return run_without;
    return symbols_or_spaces(text, class, true);
}

static size_t digits_piece(struct bytes_view text, bool individual) {
    size_t length;
    if (look(text, 0, &length) & CLASS_NUMBER) return individual ? length : run_end(text, 0, CLASS_NUMBER);
    return run_end(text, 0, (uint8_t)~CLASS_NUMBER);
}

static size_t marked_piece(struct bytes_view text) {
    const uint8_t *next = text.length > 3 ? memmem(text.data + 1, text.length - 1, "\xE2\x96\x81", 3) : NULL;
    return next != NULL ? (size_t)(next - text.data) : text.length;
}

/* ---- patterns with a behaviour ------------------------------------------------------------------------------------- */

/** The first match at or behind `from`, both ends counted from the start of `text`; at its end when there is none. */
static enum status find_plain(const struct split_step *step, struct bytes_view text, size_t from, size_t *out_begin,
                              size_t *out_end) {
    if (step->rule == SPLIT_REGEX) return split_regex_find(step->regex, text, from, out_begin, out_end);
    const uint8_t *found =
        from < text.length ? memmem(text.data + from, text.length - from, step->literal, step->literal_length) : NULL;
    *out_begin = found != NULL ? (size_t)(found - text.data) : text.length;
    *out_end = found != NULL ? *out_begin + step->literal_length : text.length;
    return STATUS_OK;
}

static enum status find_match(const struct split_step *step, struct bytes_view text, size_t from, size_t *out_begin,
                              size_t *out_end) {
    TRY(find_plain(step, text, from, out_begin, out_end));
    if (!step->invert) return STATUS_OK;
    /* Gaps are matches: one begins here, or behind the matches that stand here. */
    size_t begin = *out_begin, end = *out_end, gap = from;
    while (begin == gap && end > begin) {
        gap = end;
        TRY(find_plain(step, text, gap, &begin, &end));
    }
    *out_begin = gap;
    *out_end = begin;
    return STATUS_OK;
}

static enum status matched_piece(const struct split_step *step, struct bytes_view text, size_t from, size_t *out_length,
                                 bool *out_dropped) {
    size_t begin, end, next_begin, next_end, stop;
    TRY(find_match(step, text, from, &begin, &end));
    stop = begin > from ? begin : end;
    if (begin < text.length) {
        switch (step->behavior) {
        case SPLIT_ISOLATED:
            break;
        case SPLIT_REMOVED:
            *out_dropped = begin == from;
            break;
        case SPLIT_MERGED_WITH_PREVIOUS:
            stop = end;
            break;
        case SPLIT_MERGED_WITH_NEXT:
            if (begin > from) break;
            TRY(find_match(step, text, end, &next_begin, &next_end));
            if (next_begin > end) stop = next_begin;
            break;
        case SPLIT_CONTIGUOUS:
            while (begin == from && stop < text.length) {
                TRY(find_match(step, text, stop, &next_begin, &next_end));
                if (next_begin > stop || next_end == next_begin) break;
                stop = next_end;
            }
            break;
        }
    }
    *out_length = stop - from;
    return STATUS_OK;
}

enum status split_next(const struct split_step *step, struct bytes_view whole, size_t from, size_t *out_length,
                       bool *out_dropped) {
    struct bytes_view text = {whole.data + from, whole.length - from};
    *out_dropped = false;
    *out_length = text.length;
    if (text.length == 0) return STATUS_OK;
    switch (step->rule) {
    case SPLIT_NONE:
        return STATUS_OK;
    case SPLIT_GPT2:
        *out_length = gpt2_piece(text, 0);
        return STATUS_OK;
    case SPLIT_SMOLLM:
        *out_length = smollm_piece(text);
        return STATUS_OK;
    case SPLIT_LLAMA3:
    case SPLIT_QWEN2:
        *out_length = llama3_piece(text, step->rule == SPLIT_LLAMA3 ? 3 : 1, step->unicode_contractions);
        return STATUS_OK;
    case SPLIT_TEKKEN:
        *out_length = tekken_piece(text);
        return STATUS_OK;
    case SPLIT_DIGITS:
    case SPLIT_INDIVIDUAL_DIGITS:
        *out_length = digits_piece(text, step->rule == SPLIT_INDIVIDUAL_DIGITS);
        return STATUS_OK;
    case SPLIT_BEFORE_MARK:
        *out_length = marked_piece(text);
        return STATUS_OK;
    case SPLIT_LITERAL:
    case SPLIT_REGEX:
        return matched_piece(step, whole, from, out_length, out_dropped);
    }
    return STATUS_OK;
}

/* ---- patterns ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *pattern;
    enum split_rule rule;
    bool unicode_contractions;
} known_patterns[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", SPLIT_GPT2, false},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     SPLIT_LLAMA3, true},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     SPLIT_QWEN2, true},
    {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     SPLIT_LLAMA3, false},
    {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     SPLIT_QWEN2, false},
    {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?["
     "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     SPLIT_TEKKEN, false},
};

enum status split_step_of_pattern(struct bytes_view pattern, struct split_step *out, struct error *err) {
    *out = (struct split_step){.rule = SPLIT_REGEX};
    for (size_t i = 0; i < sizeof known_patterns / sizeof known_patterns[0]; i++) {
        if (!bytes_view_equal_string(pattern, known_patterns[i].pattern)) continue;
        out->rule = known_patterns[i].rule;
        out->unicode_contractions = known_patterns[i].unicode_contractions;
        return STATUS_OK;
    }
    return split_regex_compile(pattern, &out->regex, err);
}

void split_step_deinit(struct split_step *step) {
    split_regex_destroy(step->regex);
    free(step->literal);
    *step = (struct split_step){0};
}
