/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Pre-tokeniser rules: how text is cut into pieces before merging. Pieces are found one after the other, without copying.
 *
 * The patterns of the known families are written out by hand; they are recognised by their exact text:
 *   SPLIT_GPT2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *   SPLIT_SMOLLM  every number character (\p{N}) is a piece of its own; the text between two of them is cut by GPT-2's
 *                 pattern as if nothing stood around it
 *   SPLIT_LLAMA3  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 *   SPLIT_QWEN2   the same with \p{N} for \p{N}{1,3}
 *   SPLIT_TEKKEN  [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?
 *                 [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * Any other pattern goes through PCRE2 (split_regex.c). A step may be followed by others, each within the pieces of the one before.
 *
 * Character classes are Unicode's. A byte that is not valid UTF-8 counts as a symbol.
 * Source: Radford et al., GPT-2 (encoder.py); the tokenizer files of the families; Hugging Face tokenizers, pre_tokenizers.
 */
#ifndef ENGINE_TOKENIZER_SPLIT_H
#define ENGINE_TOKENIZER_SPLIT_H

#include "base/bytes.h"

enum split_rule {
    SPLIT_NONE, /* all of it is one piece */
    SPLIT_GPT2,
    SPLIT_SMOLLM,
    SPLIT_LLAMA3,
    SPLIT_QWEN2,
    SPLIT_TEKKEN,
    SPLIT_DIGITS,            /* runs of numbers, and what stands between them */
    SPLIT_INDIVIDUAL_DIGITS, /* every number, and what stands between them */
    SPLIT_BEFORE_MARK,       /* before every U+2581 */
    SPLIT_LITERAL,           /* `literal` matches */
    SPLIT_REGEX,             /* `regex` matches */
};

/** What becomes of a match and of the gap in front of it; as Hugging Face names it. */
enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
};

struct split_regex; /* split_regex.c */

struct split_step {
    enum split_rule rule;
    enum split_behavior behavior;
    bool unicode_contractions; /* LLAMA3, QWEN2: 's also with U+017F, which is an s when case does not matter */
    bool invert;               /* SPLIT_REGEX, SPLIT_LITERAL: gaps are matches */
    struct split_regex *regex;
    uint8_t *literal;
    size_t literal_length;
};
void split_step_deinit(struct split_step *step);

/** The step for `pattern` (a regular expression as Hugging Face or tekken files have it). STATUS_INVALID_ARGUMENT: it does not compile. */
enum status split_step_of_pattern(struct bytes_view pattern, struct split_step *out, struct error *err);

/** The length of the first piece of `text` behind its first `from` bytes, which patterns may look back at; > 0 unless nothing is there.
 *  `*out_dropped`: it is no part of the result. STATUS_RESOURCE_EXHAUSTED: a pattern needs too many steps for this text. */
enum status split_next(const struct split_step *step, struct bytes_view text, size_t from, size_t *out_length,
                       bool *out_dropped);

/** split_regex.c: the first match at or behind `from`; `*out_begin` == `*out_end` == text.length when there is none. Empty matches do not count. */
enum status split_regex_compile(struct bytes_view pattern, struct split_regex **out, struct error *err);
enum status split_regex_find(const struct split_regex *regex, struct bytes_view text, size_t from, size_t *out_begin,
                             size_t *out_end);
void split_regex_destroy(struct split_regex *regex);

#endif
