/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Patterns of tokenizer files that split.c does not know, by PCRE2: UTF-8, Unicode classes, bounded work. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/tokenizer/split.h"

#include <pcre2.h>
#include <stdlib.h>

enum {
    PATTERN_BYTES_MAX = 16 * 1024,
    MATCH_STEPS_MAX = 10 * 1000 * 1000, /* backtracking steps for one piece */
    DEPTH_MAX = 100 * 1000,
    HEAP_KIB_MAX = 64 * 1024,
};

struct split_regex {
    pcre2_code *code;
    pcre2_match_context *context;
};

enum status split_regex_compile(struct bytes_view pattern, struct split_regex **out, struct error *err) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    if (pattern.length > PATTERN_BYTES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "a split pattern has %zu bytes; the limit is %d", pattern.length,
                         PATTERN_BYTES_MAX);
    struct split_regex *regex = calloc(1, sizeof *regex);
    if (regex == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    regex->code = pcre2_compile(pattern.data, pattern.length, PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code,
                                &offset, NULL);
    regex->context = pcre2_match_context_create(NULL);
    if (regex->code == NULL || regex->context == NULL) {
        uint8_t reason[128] = "out of memory";
        if (regex->code == NULL) (void)pcre2_get_error_message(code, reason, sizeof reason);
        split_regex_destroy(regex);
        return error_set(err, STATUS_INVALID_ARGUMENT, "a split pattern does not compile: %s at its byte %zu",
                         (const char *)reason, (size_t)offset);
    }
    (void)pcre2_set_match_limit(regex->context, MATCH_STEPS_MAX);
    (void)pcre2_set_depth_limit(regex->context, DEPTH_MAX);
    (void)pcre2_set_heap_limit(regex->context, HEAP_KIB_MAX);
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* where it cannot, matching interprets */
    *out = regex;
    return STATUS_OK;
}

enum status split_regex_find(const struct split_regex *regex, struct bytes_view text, size_t from, size_t *out_begin,
                             size_t *out_end) {
    *out_begin = *out_end = text.length;
    if (from >= text.length) return STATUS_OK;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (data == NULL) return STATUS_RESOURCE_EXHAUSTED;
    int count = pcre2_match(regex->code, text.data, text.length, from, PCRE2_NOTEMPTY, data, regex->context);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
        count =
            pcre2_match(regex->code, text.data, text.length, from, PCRE2_NOTEMPTY | PCRE2_NO_JIT, data, regex->context);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
    bool odd = count >= 0 && (ends[0] < from || ends[0] >= ends[1] || ends[1] > text.length); /* \K can do that */
    if (count >= 0 && !odd) { /* 0: there are more groups than the one pair that is kept */
        *out_begin = ends[0];
        *out_end = ends[1];
    }
    pcre2_match_data_free(data);
    return (count >= 0 && !odd) || count == PCRE2_ERROR_NOMATCH ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}

void split_regex_destroy(struct split_regex *regex) {
    if (regex == NULL) return;
    pcre2_code_free(regex->code);
    pcre2_match_context_free(regex->context);
    free(regex);
}
