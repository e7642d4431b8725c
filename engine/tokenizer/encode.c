/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Text through the stages of tokenizer_internal.h. */
#include "engine/tokenizer/tokenizer_internal.h"
#include "engine/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

/** One call. */
struct encoding {
    const struct tokenizer *tokenizer;
    struct token_list *out;
    struct bpe_scratch scratch;
    struct bytes buffers[2];  /* for the normaliser */
    struct bytes prefixed;    /* for a blank in front, and for marks */
    bool controls;            /* names of control tokens count where they are trusted */
    const uint8_t *untrusted; /* bits; NULL: none */
    bool begun;               /* something came before: the text is not at its very beginning */
};

static bool is_untrusted(const struct encoding *encoding, size_t begin, size_t end) {
    for (size_t i = begin; encoding->untrusted != NULL && i < end; i++) {
        if (encoding->untrusted[i / 8] >> i % 8 & 1) return true;
    }
    return false;
}

/* ---- pieces -------------------------------------------------------------------------------------------------------- */

static enum status encode_piece(struct encoding *encoding, struct bytes_view piece) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    if (tokenizer->model == MODEL_UNIGRAM) return unigram_encode(&tokenizer->unigram, piece, encoding->out);
    return bpe_encode(&tokenizer->bpe, piece, &encoding->scratch, encoding->out);
}

static enum status encode_split(struct encoding *encoding, int step, struct bytes_view text) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    if (step == tokenizer->split_count) return encode_piece(encoding, text);
    for (size_t at = 0; at < text.length;) {
        size_t length;
        bool dropped;
        TRY(split_next(&tokenizer->splits[step], text, at, &length, &dropped));
        if (!dropped) {
            struct bytes_view piece = {text.data + at, length};
            TRY(step + 1 == tokenizer->split_count ? encode_piece(encoding, piece)
                                                   : encode_split(encoding, step + 1, piece));
        }
        at += length;
    }
    return STATUS_OK;
}

/** `text` with its prefix and its marks, where the tokenizer has such; `first`: nothing came before it. */
static enum status add_prefix(struct encoding *encoding, bool first, struct bytes_view *text) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    bool prefix = tokenizer->prefix == PREFIX_SPACE_EACH || (tokenizer->prefix == PREFIX_SPACE_FIRST && first);
    bool marked = text->length >= 3 && memcmp(text->data, "\xE2\x96\x81", 3) == 0;
    if (prefix && tokenizer->prefix_only_if_missing && (text->data[0] == ' ' || (tokenizer->spaces_to_marks && marked)))
        prefix = false;
    if (!prefix && !tokenizer->spaces_to_marks) return STATUS_OK;
    struct bytes *out = &encoding->prefixed;
    bytes_reset(out);
    const char *space = tokenizer->spaces_to_marks ? "\xE2\x96\x81" : " ";
    if (prefix) (void)bytes_append_string(out, space);
    if (!tokenizer->spaces_to_marks) {
        (void)bytes_append(out, text->data, text->length);
    } else {
        for (size_t at = 0; at < text->length;) {
            const uint8_t *blank = memchr(text->data + at, ' ', text->length - at);
            size_t end = blank != NULL ? (size_t)(blank - text->data) : text->length;
            (void)bytes_append(out, text->data + at, end - at);
            if (blank != NULL) (void)bytes_append(out, space, 3);
            at = end + (blank != NULL);
        }
    }
    *text = bytes_view(out);
    return out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}

/* ---- added tokens -------------------------------------------------------------------------------------------------- */

struct match {
    int32_t id; /* -1: none */
    size_t begin, end;
};

static bool word_ends(struct bytes_view text, size_t at) { /* a letter or the like stands in front of `at` */
    size_t begin = at;
    uint32_t code_point;
    bool valid;
    if (at == 0) return false;
    do begin--;
    while (begin > 0 && at - begin < 4 && (text.data[begin] & 0xC0) == 0x80);
    (void)text_decode(text.data + begin, at - begin, &code_point, &valid);
    return valid && unicode_is_word(code_point);
}

static bool word_begins(struct bytes_view text, size_t at) {
    uint32_t code_point;
    bool valid;
    if (at >= text.length) return false;
    (void)text_decode(text.data + at, text.length - at, &code_point, &valid);
    return valid && unicode_is_word(code_point);
}

/** Take white space along, as the token asks; `from`: where text begins that no token has taken. */
static void widen(const struct token *token, struct bytes_view text, size_t from, struct match *match) {
    while (token->left_strip && match->begin > from) {
        size_t begin = match->begin, bytes;
        do begin--;
        while (begin > from && (text.data[begin] & 0xC0) == 0x80);
        if (!(unicode_class_at(text.data + begin, match->begin - begin, &bytes) & CLASS_SPACE)) break;
        match->begin = begin;
    }
    while (token->right_strip && match->end < text.length) {
        size_t bytes;
        if (!(unicode_class_at(text.data + match->end, text.length - match->end, &bytes) & CLASS_SPACE)) break;
        match->end += bytes;
    }
}

/** The first added token in `text` from `from` on. `user`: without control tokens, `all`: with them. `raw`: bytes of `text` have their bits in
 *  `untrusted`. */
static struct match next_added(const struct encoding *encoding, struct bytes_view text, size_t from,
                               const struct trie *user, const struct trie *all, bool raw) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    const struct trie *trie = encoding->controls ? all : user;
    struct match match = {.id = -1, .begin = text.length, .end = text.length};
    if (trie->count == 0) return match;
    for (size_t at = from; at < text.length; at++) {
        if (trie->root[text.data[at]] < 0) continue;
        struct bytes_view rest = bytes_view_of(text.data + at, text.length - at);
        size_t length;
        int32_t id = trie_longest(trie, rest, &length);
        if (id < 0) continue;
        if (tokenizer->tokens[id].type != TOKEN_USER_DEFINED && encoding->untrusted != NULL &&
            (!raw || is_untrusted(encoding, at, at + length))) {
            if (user->count == 0 || (id = trie_longest(user, rest, &length)) < 0) continue;
        }
        const struct token *token = &tokenizer->tokens[id];
        if (token->single_word && (word_ends(text, at) || word_begins(text, at + length))) {
            at += length - 1;
            continue;
        }
        match = (struct match){id, at, at + length};
        widen(token, text, from, &match);
        return match;
    }
    return match;
}

/* ---- the stages ---------------------------------------------------------------------------------------------------- */

/** Normalised text without added tokens. */
static enum status encode_prefixed(struct encoding *encoding, bool first, struct bytes_view text) {
    if (text.length == 0) return STATUS_OK;
    TRY(add_prefix(encoding, first, &text));
    return encode_split(encoding, 0, text);
}

static enum status normalize(struct encoding *encoding, struct bytes_view *text) {
    const struct normalizer *normalizer = &encoding->tokenizer->normalizer;
    if (!encoding->tokenizer->prefix_first_only || !encoding->begun)
        return normalizer_run(normalizer, *text, encoding->buffers, text);
    struct normalizer bare = *normalizer;
    bare.add_dummy_prefix = false;
    return normalizer_run(&bare, *text, encoding->buffers, text);
}

/** Raw text without added tokens. */
static enum status encode_plain(struct encoding *encoding, struct bytes_view text) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    bool first = !encoding->begun;
    if (text.length == 0) return STATUS_OK;
    if (!normalizer_is_empty(&tokenizer->normalizer)) TRY(normalize(encoding, &text));
    encoding->begun = true;
    if (tokenizer->model == MODEL_UNIGRAM && tokenizer->keeps_added) /* its scores make user-defined pieces win */
        return encode_prefixed(encoding, first, text);
    if (tokenizer->normalized_user.count == 0 && (!encoding->controls || tokenizer->normalized_all.count == 0))
        return encode_prefixed(encoding, first, text);
    for (size_t at = 0; at < text.length;) {
        struct match match =
            next_added(encoding, text, at, &tokenizer->normalized_user, &tokenizer->normalized_all, false);
        TRY(encode_prefixed(encoding, first && at == 0, bytes_view_of(text.data + at, match.begin - at)));
        if (match.id >= 0) TRY(token_list_append(encoding->out, match.id));
        at = match.end;
    }
    return STATUS_OK;
}

static enum status encode(struct encoding *encoding, struct bytes_view text) {
    const struct tokenizer *tokenizer = encoding->tokenizer;
    for (size_t at = 0; at < text.length;) {
        struct match match = next_added(encoding, text, at, &tokenizer->user, &tokenizer->all, true);
        TRY(encode_plain(encoding, bytes_view_of(text.data + at, match.begin - at)));
        if (match.id >= 0) {
            TRY(token_list_append(encoding->out, match.id));
            encoding->begun = true;
        }
        at = match.end;
    }
    return STATUS_OK;
}

static enum status run(const struct tokenizer *tokenizer, struct bytes_view text, bool controls,
                       const uint8_t *untrusted, struct token_list *out, struct error *err) {
    struct encoding encoding = {.tokenizer = tokenizer, .out = out, .controls = controls, .untrusted = untrusted};
    size_t before = out->count;
    for (int i = 0; i < 2; i++) bytes_init(&encoding.buffers[i], SIZE_MAX / 2);
    bytes_init(&encoding.prefixed, SIZE_MAX / 2);
    enum status status = encode(&encoding, text);
    for (int i = 0; i < 2; i++) bytes_deinit(&encoding.buffers[i]);
    bytes_deinit(&encoding.prefixed);
    bpe_scratch_deinit(&encoding.scratch);
    if (status == STATUS_OK) return STATUS_OK;
    out->count = before;
    if (status != STATUS_OUT_OF_RANGE) return error_set(err, status, "out of memory for the tokens of a text");
    return error_set(err, status, "the text does not fit into %zu tokens", out->max_count);
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, struct bytes_view text, struct token_list *out,
                             struct error *err) {
    return run(tokenizer, text, false, NULL, out, err);
}

enum status tokenizer_encode_template(const struct tokenizer *tokenizer, struct bytes_view text,
                                      const uint8_t *untrusted, struct token_list *out, struct error *err) {
    return run(tokenizer, text, true, untrusted, out, err);
}
