/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Masks are shortcuts of one rule: a token's bit is set when grammar_accept takes it. Every bit, in the states of random walks. */
#include "base/json.h"
#include "base/random.h"
#include "engine/grammar/grammar_internal.h"

#include "tests/unit/engine/check.h"

enum { PIECE_MAX = 9, PIECES_MAX = 4096, WALKS = 3, WALK_TOKENS = 40, WANT_STATES = 3000 };

/** All that is up to PIECE_MAX bytes long in these is a token. */
static const char *const TEXTS[] = {
    "{\"name\": \"ab\xC3\xA9\", \"b\": [1, -2.50, true], \"x/y\":null}, \"",
    "[\"abc\",\"ab\",\"a\\\"b\", \"\\u00e9\\n\", {\"id\":\"x-1\"}],[{},[]]]}}",
    "\xE2\x80\xA8\xE2\x80\x9C\xF0\x9F\x98\x80\xE4\xB8\xAD\xE6\x96\x87 \xC2\xA0_.:/a-z0 9Af",
    "  \n\n  {\n \"name\":\t[ 12e3 , false ] }\n\n",
    "\"}, {\"type\": \"a\", \"b/c\": \"\\/\"}",
    "2024-02-29T12:30:00Z https://a.b/c?d=e#f",
    "\"\\u0000\\u001F\\u001f\\u00e9\", \"\\\\\\b\\u000a\\u0061\\/\": \"",
    "\\ud83d\\uDE00\", \"\\uD900\\udc00\"]",
};

static const char *const SCHEMAS[] = {
    "true",
    "{\"type\":\"object\"}",
    "{\"type\":\"string\"}",
    "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":9},\"uniqueItems\":true}",
    "{\"type\":\"array\",\"items\":{\"type\":[\"number\",\"array\",\"boolean\"]},\"uniqueItems\":true,\"minItems\":2}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"b\":{\"type\":\"array\"},\"x/"
    "y\":{},\"n\xC3\xA9\":{}},"
    "\"additionalProperties\":false}",
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"na\":{},\"b\":{\"type\":\"array\"},\"x/"
    "y\":{}},"
    "\"required\":[\"name\"],\"additionalProperties\":{\"type\":\"integer\"}}",
    "{\"type\":\"object\",\"properties\":{\"a\\\"b\":{\"type\":\"number\"},\"ab\":false,\"id\":{\"enum\":[\"x-1\","
    "\"\xC3\xA9\"]}}}",
    "{\"type\":\"object\",\"patternProperties\":{\"^[a-b]\":{\"type\":\"string\"},\"c$\":{\"maxLength\":3}}}",
    "{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[a-z_]{1,4}$\"},\"minProperties\":1,\"maxProperties\":3}",
    "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}"
    "}",
    "{\"type\":\"string\",\"pattern\":\"^a.+:b.+c.+$\"}",
    "{\"type\":\"string\",\"pattern\":\"^.+:.*\\\\d.+$\",\"maxLength\":20}",
    "{\"type\":\"string\",\"pattern\":\"^[^\\\\s]+$\"}",
    "{\"type\":\"string\",\"pattern\":\"^[^\\\\n/]*$\",\"minLength\":3}",
    "{\"type\":\"string\",\"pattern\":\"^[a-z0-9-]{1,40}$\"}",
    "{\"type\":\"string\",\"pattern\":\"^\\\\p{L}+( \\\\p{L}+)*$\"}",
    "{\"type\":\"string\",\"minLength\":4,\"maxLength\":40}",
    "{\"type\":\"string\",\"format\":\"date-time\"}",
    "{\"type\":\"string\",\"format\":\"uri\"}",
    "{\"type\":\"string\",\"not\":{\"enum\":[\"abc\",\"ab\"]},\"maxLength\":12}",
    "{\"enum\":[\"\\u0000a\\n\",\"a\\\"\\\\\",\"/\\ud83d\\ude00\",\"\\ud900\\udc00\",\"\\u001f\"]}",
    "{\"type\":\"object\",\"properties\":{\"\\\\\\b/\":{\"pattern\":\"^[^a-z]*$\"},\"\\u0000\":{\"maxLength\":1}}}",
    "{\"enum\":[\"abc\",\"ab\",12,-2.5,null,[1,2],{\"name\":\"\xE4\xB8\xAD\"}]}",
    "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"multipleOf\":0.5,\"minimum\":-3,\"maximum\":120}}",
    "{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"}],\"contains\":{\"const\":\"ab\"},\"maxItems\":3}",
    "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"type\":{\"const\":\"a\"},\"b\":{\"type\":\"string\"}},"
    "\"required\":[\"type\"]},"
    "{\"type\":\"object\",\"properties\":{\"type\":{\"const\":\"b\"},\"b\":{\"type\":\"number\"}},\"required\":["
    "\"type\",\"b\"]}]}",
    "{\"oneOf\":[{\"type\":\"string\",\"maxLength\":6},{\"type\":\"string\",\"pattern\":\"a\"},{\"type\":\"integer\"}]"
    "}",
};

/* ---- a vocabulary ---- */

struct pieces {
    struct bytes_view list[PIECES_MAX];
    size_t count;
};

static void add_piece(struct pieces *pieces, struct bytes_view piece) {
    for (size_t i = 0; i < pieces->count; i++)
        if (bytes_view_equal(pieces->list[i], piece)) return;
    assert_true(pieces->count < PIECES_MAX);
    pieces->list[pieces->count++] = piece;
}

static void append(struct bytes *out, const char *text) {
    check_ok(bytes_append(out, text, strlen(text)));
}

static void append_token(struct bytes *out, size_t rank, struct bytes_view piece) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char entry[128], base64[4 * (PIECE_MAX / 3 + 2)] = {0};
    for (size_t i = 0, at = 0; i < piece.length; i += 3, at += 4) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < piece.length ? piece.data[i + k] : 0);
        for (size_t k = 0; k < 4; k++) base64[at + k] = i + k > piece.length ? '=' : DIGITS[bits >> (18 - 6 * k) & 63];
    }
    snprintf(entry, sizeof entry, "%s{\"rank\":%zu,\"token_bytes\":\"%s\"}", rank == 0 ? "" : ",", rank, base64);
    append(out, entry);
}

static struct tokenizer *make_tokenizer(void) {
    static struct pieces pieces;
    static uint8_t bytes[256];
    struct tokenizer *tokenizer;
    struct bytes json;
    char config[160];
    pieces.count = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
        add_piece(&pieces, bytes_view_of(&bytes[i], 1));
    }
    for (size_t t = 0; t < sizeof TEXTS / sizeof *TEXTS; t++)
        for (size_t from = 0; TEXTS[t][from] != '\0'; from++)
            for (size_t length = 2; length <= PIECE_MAX && from + length <= strlen(TEXTS[t]); length++)
                add_piece(&pieces, bytes_view_of(TEXTS[t] + from, length));
    bytes_init(&json, 1 << 22);
    snprintf(config, sizeof config,
             "{\"config\":{\"pattern\":\".+\",\"default_vocab_size\":%zu,\"default_num_special_tokens\":3},\"vocab\":[",
             pieces.count + 3);
    append(&json, config);
    for (size_t i = 0; i < pieces.count; i++) append_token(&json, i, pieces.list[i]);
    append(&json, "]}");
    check_ok(tokenizer_load_tekken(bytes_view(&json), "pieces", &tokenizer, &check_error));
    bytes_deinit(&json);
    return tokenizer;
}

/* ---- walks ---- */

struct walk {
    const struct tokenizer *tokenizer;
    const char *schema;
    struct grammar_session *session;
    struct grammar_state state;
    struct bytes text;
    uint32_t *mask;
    size_t states, set;
    bool plain; /* no needless escapes */
};

static bool bit_of(const struct walk *walk, int32_t token) {
    return walk->mask[token / 32] >> token % 32 & 1;
}

static void check_bit(struct walk *walk, int32_t token) {
    struct grammar_state copy = walk->state;
    struct frames_mark before = frames_mark(&walk->session->frames);
    bool accepted;
    check_ok(grammar_accept(walk->session, &copy, token, &accepted, &check_error));
    frames_drop(&walk->session->frames, before);
    walk->set += accepted;
    if (accepted != bit_of(walk, token)) {
        struct bytes_view piece = tokenizer_piece(walk->tokenizer, token);
        fail_msg("'%.*s' is %s after '%.*s' under %s", (int)piece.length, (const char *)piece.data,
                 accepted ? "accepted, but not set," : "set, but not accepted,", (int)walk->text.length,
                 (const char *)walk->text.data, walk->schema);
    }
}

static uint64_t below(uint64_t *draws, uint64_t count) {
    return random_philox(7, (*draws)++, 0) % count;
}

/** A token of the mask: of a few the longest, so that walks come far, or the shortest. */
static int32_t choose(const struct walk *walk, uint64_t *draws) {
    int32_t best = -1, count = tokenizer_vocabulary(walk->tokenizer);
    bool longest = below(draws, 3) > 0;
    size_t best_length = 0;
    for (int tries = 0, found = 0; tries < 20000 && found < 3; tries++) {
        int32_t token = (int32_t)below(draws, (uint64_t)count);
        if (!bit_of(walk, token) || tokenizer_is_end(walk->tokenizer, token)) continue;
        size_t length = tokenizer_piece(walk->tokenizer, token).length;
        if (best < 0 || (longest ? length > best_length : length < best_length)) {
            best = token;
            best_length = length;
        }
        found++;
    }
    return best;
}

/** No character but those that need it is escaped, as far as the text goes; each in the one way. */
static bool is_plain(struct bytes_view text) {
    static const char *const SPELLED[] = {"\\\"", "\\\\", "\\b", "\\f", "\\n", "\\r", "\\t"};
    for (size_t i = 0; i < text.length;) {
        char spelled[8];
        size_t left = text.length - i, length = text.data[i] != '\\';
        for (size_t k = 0; length == 0 && k < sizeof SPELLED / sizeof *SPELLED; k++)
            if (memcmp(text.data + i, SPELLED[k], left < 2 ? left : 2) == 0) length = 2;
        for (uint32_t c = 0; length == 0 && c < 0x20; c++) {
            snprintf(spelled, sizeof spelled, "\\u%04x", (unsigned)c);
            if (strchr("\b\f\n\r\t", (int)c) != NULL && c != 0) continue;
            if (memcmp(text.data + i, spelled, left < 6 ? left : 6) == 0) length = 6;
        }
        if (length == 0) return false;
        i += length;
    }
    return true;
}

static void walk_once(struct walk *walk, struct grammar *grammar, uint64_t *draws) {
    check_ok(grammar_session_create(grammar, &walk->session, &check_error));
    check_ok(grammar_start(walk->session, &walk->state, &check_error));
    bytes_init(&walk->text, 1 << 20);
    for (int step = 0; step < WALK_TOKENS; step++) {
        bool accepted;
        check_ok(grammar_mask(walk->session, &walk->state, SIZE_MAX, walk->mask, &check_error));
        for (int32_t token = 0; token < tokenizer_vocabulary(walk->tokenizer); token++) check_bit(walk, token);
        walk->states++;
        int32_t token = choose(walk, draws);
        if (token < 0) break;
        struct bytes_view piece = tokenizer_piece(walk->tokenizer, token);
        check_ok(grammar_accept(walk->session, &walk->state, token, &accepted, &check_error));
        check_ok(bytes_append(&walk->text, piece.data, piece.length));
        if (walk->plain && !is_plain(bytes_view(&walk->text)))
            fail_msg("'%.*s' is admitted under %s", (int)walk->text.length, (const char *)walk->text.data,
                     walk->schema);
    }
    bytes_deinit(&walk->text);
    grammar_session_destroy(walk->session);
}

static void check_masks(enum grammar_spelling spelling) {
    struct tokenizer *tokenizer = make_tokenizer();
    struct grammar_vocabulary *vocabulary;
    uint64_t draws = 0;
    check_ok(grammar_vocabulary_create(tokenizer, &vocabulary, &check_error));
    struct walk walk = {.tokenizer = tokenizer, .mask = calloc(grammar_mask_words(vocabulary), sizeof(uint32_t))};
    walk.plain = spelling == GRAMMAR_SPELLING_PLAIN;
    assert_non_null(walk.mask);
    for (size_t i = 0; i < 2 * (sizeof SCHEMAS / sizeof *SCHEMAS); i++) {
        struct grammar_options options = {.space = i % 2 == 0 ? GRAMMAR_SPACE_FREE : GRAMMAR_SPACE_MODEL,
                                          .order = i % 4 < 2 ? GRAMMAR_ORDER_ANY : GRAMMAR_ORDER_SCHEMA,
                                          .spelling = spelling};
        struct arena arena;
        struct json_value *schema;
        struct json_problem problem;
        struct grammar *grammar;
        struct grammar_problem why;
        arena_init(&arena, 1 << 20);
        walk.schema = SCHEMAS[i / 2];
        check_ok(json_read(bytes_view_string(walk.schema), 100, 1000, &arena, &schema, &problem));
        enum status status = grammar_compile_schema(vocabulary, schema, &options, &grammar, &why);
        if (status != STATUS_OK) fail_msg("%s: %s", walk.schema, why.reason);
        for (int n = 0; n < WALKS; n++) walk_once(&walk, grammar, &draws);
        grammar_unref(grammar);
        arena_deinit(&arena);
    }
    assert_true(walk.states > WANT_STATES);
    free(walk.mask);
    grammar_vocabulary_destroy(vocabulary);
    tokenizer_destroy(tokenizer);
}

static void test_masks_are_what_is_accepted(void **state) {
    (void)state;
    check_masks(GRAMMAR_SPELLING_PLAIN);
}

static void test_masks_are_what_is_accepted_in_any_spelling(void **state) {
    (void)state;
    check_masks(GRAMMAR_SPELLING_ANY);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_masks_are_what_is_accepted),
                                       cmocka_unit_test(test_masks_are_what_is_accepted_in_any_spelling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
