/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Jinja's lexer with trim_blocks and lstrip_blocks: the newline behind a block or comment goes, and so do blanks before one from the start of its
 * line; a '-' at either end of a tag strips all blanks there, a '+' none.
 */
#include "base/text.h"
#include "engine/chat/template_internal.h"

#include <string.h>

struct lexer {
    const uint8_t *at, *end;
    int line;
    bool line_starting; /* the tag before ended with a newline */
    struct arena *arena;
    struct template_token *tokens;
    size_t count, capacity;
    struct error *err;
};

static bool is_blank(uint8_t byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r') || (byte >= 0x1C && byte <= 0x1F);
}
static bool is_letter(uint8_t byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}
static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

static enum status add(struct lexer *lexer, enum token_kind kind, const uint8_t *data, size_t length) {
    if (lexer->count == lexer->capacity) {
        size_t capacity = lexer->capacity == 0 ? 256 : 2 * lexer->capacity;
        struct template_token *tokens = arena_alloc_array(lexer->arena, capacity, sizeof *tokens);
        if (tokens == NULL) return error_set(lexer->err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
        if (lexer->count > 0) memcpy(tokens, lexer->tokens, lexer->count * sizeof *tokens);
        lexer->tokens = tokens;
        lexer->capacity = capacity;
    }
    lexer->tokens[lexer->count++] =
        (struct template_token){.kind = kind, .line = lexer->line, .text = bytes_view_of(data, length)};
    return STATUS_OK;
}

static enum status fail(const struct lexer *lexer, const char *what) {
    return error_set(lexer->err, STATUS_INVALID_ARGUMENT, "template line %d: %s", lexer->line, what);
}

/** Forward to `to`, counting lines. */
static void advance(struct lexer *lexer, const uint8_t *to) {
    for (; lexer->at < to; lexer->at++) lexer->line += *lexer->at == '\n';
}

static bool looking_at(const struct lexer *lexer, const uint8_t *at, const char *word) {
    size_t length = strlen(word);
    return (size_t)(lexer->end - at) >= length && memcmp(at, word, length) == 0;
}

/** The text before a tag, less what the tag's sign and lstrip_blocks take. */
static size_t kept_before(const struct lexer *lexer, const uint8_t *tag, uint8_t sign, bool block) {
    size_t length = (size_t)(tag - lexer->at);
    if (sign == '-') {
        while (length > 0 && is_blank(lexer->at[length - 1])) length--;
        return length;
    }
    if (sign == '+' || !block) return length;
    size_t line = length;
    while (line > 0 && is_blank(lexer->at[line - 1]) && lexer->at[line - 1] != '\n') line--;
    bool whole = line > 0 ? lexer->at[line - 1] == '\n' : lexer->line_starting;
    return whole ? line : length;
}

/** Behind a tag's end: the newline that trim_blocks takes, or all blanks. */
static void skip_behind(struct lexer *lexer, const uint8_t *at, bool all, bool newline) {
    if (all) {
        while (at < lexer->end && is_blank(*at)) at++;
    } else if (newline && at < lexer->end && *at == '\n') {
        at++;
    }
    lexer->line_starting = at > lexer->at && at[-1] == '\n';
    advance(lexer, at);
}

static enum status lex_comment(struct lexer *lexer) {
    const uint8_t *close = memmem(lexer->at, (size_t)(lexer->end - lexer->at), "#}", 2);
    if (close == NULL) return fail(lexer, "a comment without an end");
    uint8_t sign = close > lexer->at ? close[-1] : 0;
    skip_behind(lexer, close + 2, sign == '-', sign != '+');
    return STATUS_OK;
}

/* ---- inside tags ---------------------------------------------------------------------------------------------------- */

static int hex_digits(const uint8_t *at, const uint8_t *end, int count, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < count; i++) {
        if (at + i >= end) return 0;
        uint8_t byte = at[i] | 0x20;
        if (!is_digit(at[i]) && (byte < 'a' || byte > 'f')) return 0;
        *out = *out * 16 + (uint32_t)(is_digit(at[i]) ? at[i] - '0' : byte - 'a' + 10);
    }
    return count;
}

/** An escape behind its backslash, as Python reads it; what it does not know stays. Returns what was used of the source. */
static size_t unescape(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t *out_length) {
    static const char names[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = *at != 0 ? strchr(names, *at) : NULL;
    *out_length = 1;
    if (simple != NULL) {
        *out = (uint8_t)meanings[simple - names];
        return 1;
    }
    if (*at == '\n') {
        *out_length = 0;
        return 1;
    }
    uint32_t code_point = 0;
    int digits = *at == 'x' ? 2 : *at == 'u' ? 4 : *at == 'U' ? 8 : 0;
    if (digits != 0 && hex_digits(at + 1, end, digits, &code_point) != 0) {
        *out_length = text_encode(code_point, out);
        if (*out_length != 0) return 1 + (size_t)digits;
    }
    if (*at >= '0' && *at <= '7') {
        size_t used = 0;
        for (; used < 3 && at + used < end && at[used] >= '0' && at[used] <= '7'; used++)
            code_point = code_point * 8 + (at[used] - '0');
        *out_length = text_encode(code_point, out);
        return used;
    }
    *out = '\\';
    return 0;
}

static enum status lex_string(struct lexer *lexer) {
    uint8_t quote = *lexer->at;
    const uint8_t *at = lexer->at + 1, *from = at;
    while (at < lexer->end && *at != quote) at += *at == '\\' && at + 1 < lexer->end ? 2 : 1;
    if (at >= lexer->end) return fail(lexer, "a text without its closing quote");
    uint8_t *text = arena_alloc(lexer->arena, (size_t)(at - from) + 8);
    size_t length = 0;
    if (text == NULL) return fail(lexer, "the chat template is too large");
    for (const uint8_t *byte = from; byte < at;) {
        if (*byte != '\\') {
            text[length++] = *byte++;
            continue;
        }
        size_t made = 0;
        byte += 1 + unescape(byte + 1, at, text + length, &made);
        length += made;
    }
    TRY(add(lexer, TOKEN_STRING, text, length));
    advance(lexer, at + 1);
    return STATUS_OK;
}

static enum status lex_number(struct lexer *lexer) {
    const uint8_t *at = lexer->at;
    bool real = false;
    while (at < lexer->end && (is_digit(*at) || *at == '_')) at++;
    if (at + 1 < lexer->end && *at == '.' && is_digit(at[1])) {
        real = true;
        for (at++; at < lexer->end && is_digit(*at);) at++;
    }
    if (at < lexer->end && (*at == 'e' || *at == 'E')) {
        const uint8_t *exponent = at + 1;
        if (exponent < lexer->end && (*exponent == '+' || *exponent == '-')) exponent++;
        if (exponent < lexer->end && is_digit(*exponent)) {
            real = true;
            for (at = exponent; at < lexer->end && is_digit(*at);) at++;
        }
    }
    char *copy = arena_alloc(lexer->arena, (size_t)(at - lexer->at) + 1);
    size_t length = 0;
    if (copy == NULL) return fail(lexer, "the chat template is too large");
    for (const uint8_t *byte = lexer->at; byte < at; byte++) {
        if (*byte != '_') copy[length++] = (char)*byte;
    }
    TRY(add(lexer, real ? TOKEN_REAL : TOKEN_INTEGER, (const uint8_t *)copy, length));
    advance(lexer, at);
    return STATUS_OK;
}

static enum status lex_operator(struct lexer *lexer, int *depth) {
    static const char *const operators[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<",
                                            ">",  "=",  ".",  ":",  "|",  ",",  ";", "(", ")", "[", "]", "{", "}"};
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!looking_at(lexer, lexer->at, operators[i])) continue;
        if (strchr("([{", operators[i][0]) != NULL) ++*depth;
        if (strchr(")]}", operators[i][0]) != NULL && --*depth < 0) return fail(lexer, "a bracket closes nothing");
        TRY(add(lexer, TOKEN_OPERATOR, lexer->at, strlen(operators[i])));
        advance(lexer, lexer->at + strlen(operators[i]));
        return STATUS_OK;
    }
    return fail(lexer, "an unexpected character");
}

/** From behind the opening to behind the closing brace. */
static enum status lex_tag(struct lexer *lexer, bool block) {
    const char *close = block ? "%}" : "}}";
    int depth = 0;
    for (;;) {
        while (lexer->at < lexer->end && is_blank(*lexer->at)) advance(lexer, lexer->at + 1);
        if (lexer->at >= lexer->end) return fail(lexer, block ? "a block without an end" : "a print without an end");
        uint8_t byte = *lexer->at;
        bool sign = byte == '-' || (byte == '+' && block);
        if (depth == 0 && (looking_at(lexer, lexer->at, close) || (sign && looking_at(lexer, lexer->at + 1, close)))) {
            TRY(add(lexer, block ? TOKEN_BLOCK_END : TOKEN_PRINT_END, lexer->at, 0));
            skip_behind(lexer, lexer->at + (sign ? 3 : 2), sign && byte == '-', block && !sign);
            return STATUS_OK;
        }
        if (is_letter(byte)) {
            const uint8_t *at = lexer->at;
            while (at < lexer->end && (is_letter(*at) || is_digit(*at))) at++;
            TRY(add(lexer, TOKEN_NAME, lexer->at, (size_t)(at - lexer->at)));
            advance(lexer, at);
        } else if (is_digit(byte)) {
            TRY(lex_number(lexer));
        } else if (byte == '"' || byte == '\'') {
            TRY(lex_string(lexer));
        } else {
            TRY(lex_operator(lexer, &depth));
        }
    }
}

/* ---- the text around them ------------------------------------------------------------------------------------------- */

/** Is this "{% raw %}", or "{% endraw %}"? Then its end. */
static const uint8_t *raw_tag(const struct lexer *lexer, const uint8_t *at, const char *word, uint8_t *out_sign) {
    at += 2;
    if (at < lexer->end && (*at == '-' || *at == '+')) at++;
    while (at < lexer->end && is_blank(*at)) at++;
    if (!looking_at(lexer, at, word)) return NULL;
    at += strlen(word);
    while (at < lexer->end && is_blank(*at)) at++;
    *out_sign = at < lexer->end && (*at == '-' || *at == '+') ? *at++ : 0;
    return looking_at(lexer, at, "%}") ? at + 2 : NULL;
}

static enum status lex_raw(struct lexer *lexer, const uint8_t *from) {
    uint8_t sign = 0;
    const uint8_t *behind = raw_tag(lexer, from, "raw", &sign);
    skip_behind(lexer, behind, sign == '-', false);
    for (const uint8_t *tag = lexer->at; tag + 1 < lexer->end; tag++) {
        if (!looking_at(lexer, tag, "{%")) continue;
        behind = raw_tag(lexer, tag, "endraw", &sign);
        if (behind == NULL) continue;
        size_t kept = kept_before(lexer, tag, tag[2], true);
        if (kept > 0) TRY(add(lexer, TOKEN_TEXT, lexer->at, kept));
        advance(lexer, behind);
        skip_behind(lexer, behind, sign == '-', sign != '+');
        return STATUS_OK;
    }
    return fail(lexer, "raw without endraw");
}

static const uint8_t *next_tag(const struct lexer *lexer) {
    for (const uint8_t *at = lexer->at; at + 1 < lexer->end; at++) {
        if (*at == '{' && (at[1] == '{' || at[1] == '%' || at[1] == '#')) return at;
    }
    return NULL;
}

static enum status lex_all(struct lexer *lexer) {
    for (;;) {
        const uint8_t *tag = next_tag(lexer);
        if (tag == NULL) {
            if (lexer->at < lexer->end) TRY(add(lexer, TOKEN_TEXT, lexer->at, (size_t)(lexer->end - lexer->at)));
            return add(lexer, TOKEN_END, lexer->end, 0);
        }
        uint8_t kind = tag[1], sign = tag + 2 < lexer->end ? tag[2] : 0, raw_sign = 0;
        bool signed_tag = sign == '-' || sign == '+';
        size_t kept = kept_before(lexer, tag, sign, kind != '{');
        if (kept > 0) TRY(add(lexer, TOKEN_TEXT, lexer->at, kept));
        if (kind == '%' && raw_tag(lexer, tag, "raw", &raw_sign) != NULL) {
            advance(lexer, tag);
            TRY(lex_raw(lexer, tag));
            continue;
        }
        advance(lexer, tag + 2 + (signed_tag && kind != '#' ? 1 : 0));
        if (kind == '#') {
            TRY(lex_comment(lexer));
            continue;
        }
        TRY(add(lexer, kind == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_PRINT_BEGIN, tag, 0));
        TRY(lex_tag(lexer, kind == '%'));
    }
}

enum status template_tokenize(struct bytes_view source, struct arena *arena, struct template_token **out,
                              struct error *err) {
    /* Newlines are "\n", and the last one does not count. */
    uint8_t *text = arena_alloc(arena, source.length + 1);
    if (text == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "the chat template is too large");
    size_t length = 0;
    for (size_t i = 0; i < source.length; i++) {
        if (source.data[i] == '\r') {
            text[length++] = '\n';
            if (i + 1 < source.length && source.data[i + 1] == '\n') i++;
        } else {
            text[length++] = source.data[i];
        }
    }
    if (length > 0 && text[length - 1] == '\n') length--;
    struct lexer lexer = {
        .at = text, .end = text + length, .line = 1, .line_starting = true, .arena = arena, .err = err};
    TRY(lex_all(&lexer));
    *out = lexer.tokens;
    return STATUS_OK;
}
