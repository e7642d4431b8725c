/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/bound_fixture.h"

#include "base/random.h"
#include "base/text.h"
#include "engine/tokenizer/tokenizer_internal.h"
#include "tests/support/test_model.h"
#include "tests/unit/engine/check.h"

#include <glob.h>
#include <stdlib.h>

/* ---- tokenizers ---------------------------------------------------------------------------------------------------- */

#define ADDED(name, normalized) \
    "{\"id\": 300, \"content\": \"" name "\", \"special\": false, \"normalized\": " #normalized "}"
#define SEQUENCE(steps) "{\"type\": \"Sequence\", \"normalizers\": [" steps "]}"
#define MARKS "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xE2\x96\x81\"}"

static const struct {
    const char *name, *added, *normalizer, *pre_tokenizer;
    bool has_mark; /* U+2581 is a token */
    bool byte_level;
} handmade[] = {
    {"bytes", "", "null", "null", true, false},
    {"bytes-no-marks", "", "null", "null", false, false}, /* NO_MARKS */
    {"nfc", "", "{\"type\": \"NFC\"}", "null", true, false},
    {"nfd", "", "{\"type\": \"NFD\"}", "null", true, false},
    {"nfkc", "", "{\"type\": \"NFKC\"}", "null", true, false},
    {"nfkd-lower", "", SEQUENCE("{\"type\": \"NFKD\"}, {\"type\": \"Lowercase\"}, {\"type\": \"Strip\"}"), "null", true,
     false},
    {"lower", "", "{\"type\": \"Lowercase\"}", "null", true, false},
    {"replace", "", "{\"type\": \"Replace\", \"pattern\": {\"String\": \"aa\"}, \"content\": \"bcdef\"}", "null", true,
     false},
    {"prepend-marks", ADDED("~", false), SEQUENCE("{\"type\": \"Prepend\", \"prepend\": \"\xE2\x96\x81\"}, " MARKS),
     "null", true, false},
    {"prepend-no-marks", ADDED("~", false), SEQUENCE("{\"type\": \"Prepend\", \"prepend\": \"\xE2\x96\x81\"}, " MARKS),
     "null", false, false},
    {"prepend-long-name", ADDED("~~", false),
     SEQUENCE("{\"type\": \"Prepend\", \"prepend\": \"\xE2\x96\x81\"}, " MARKS), "null", true, false},
    {"metaspace-always", ADDED("~", true), "null",
     "{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": \"always\"}", true, false},
    {"metaspace-first", ADDED("~", true), "null",
     "{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": \"first\"}", true, false},
    {"metaspace-no-marks", ADDED("~", true), "null",
     "{\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", \"prepend_scheme\": \"always\"}", false, false},
    {"byte-level-prefix", ADDED("~", false), "null", "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", false,
     true},
    {"byte-level-prefix-nfc", ADDED("~", true), "{\"type\": \"NFC\"}",
     "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", false, true},
};
enum { HANDMADE = sizeof handmade / sizeof handmade[0], NO_MARKS = 1 };

/** 256 tokens of a byte each: as <0x00>, or in GPT-2's disguise. */
static void append_vocabulary(struct bytes *out, bool byte_level, bool has_mark) {
    char name[32];
    int id = 0;
    for (uint32_t character = 1; byte_level && character < 512; character++) {
        uint8_t encoded[5] = {0};
        if (tokenizer_disguised_byte(character) < 0) continue;
        (void)text_encode(character, encoded);
        bool escaped = character == '"' || character == '\\';
        snprintf(name, sizeof name, "%s\"%s%s\":", id > 0 ? "," : "", escaped ? "\\" : "", (const char *)encoded);
        (void)bytes_append_string(out, name);
        snprintf(name, sizeof name, "%d", id++);
        (void)bytes_append_string(out, name);
    }
    for (; !byte_level && id < 256; id++) {
        snprintf(name, sizeof name, "%s\"<0x%02X>\":%d", id > 0 ? "," : "", (unsigned)id, id);
        (void)bytes_append_string(out, name);
    }
    if (has_mark) (void)bytes_append_string(out, ",\"\xE2\x96\x81\":256");
}

static struct tokenizer *make(size_t index) {
    struct tokenizer *made = NULL;
    struct bytes json;
    bytes_init(&json, 1 << 20);
    (void)bytes_append_string(&json, "{\"added_tokens\": [");
    (void)bytes_append_string(&json, handmade[index].added);
    (void)bytes_append_string(&json, "], \"normalizer\": ");
    (void)bytes_append_string(&json, handmade[index].normalizer);
    (void)bytes_append_string(&json, ", \"pre_tokenizer\": ");
    (void)bytes_append_string(&json, handmade[index].pre_tokenizer);
    (void)bytes_append_string(&json,
                              ", \"model\": {\"type\": \"BPE\", \"byte_fallback\": true, \"merges\": [], \"vocab\": {");
    append_vocabulary(&json, handmade[index].byte_level, handmade[index].has_mark);
    check_ok(bytes_append_string(&json, "}}}"));
    check_ok(tokenizer_load_json(bytes_view(&json), handmade[index].name, &made, &check_error));
    bytes_deinit(&json);
    return made;
}

/** SentencePiece's normaliser before a vocabulary that lacks U+2581, which becomes three tokens then. */
static struct tokenizer *make_sentencepiece_without_marks(void) {
    struct tokenizer *made = make(NO_MARKS);
    struct normalizer *normalizer = &made->normalizer;
    struct bytes_view none = {0};
    normalizer->add_dummy_prefix = normalizer->escape_whitespaces = true;
    check_ok(normalizer_add(normalizer, NORMALIZE_SENTENCEPIECE, none, none));
    normalizer_prepare(normalizer);
    return made;
}

static void take(struct bound_tokenizer *out, size_t *count, const char *name, struct tokenizer *tokenizer) {
    assert_in_range(*count, 0, BOUND_TOKENIZERS_MAX - 1);
    snprintf(out[*count].name, sizeof out[*count].name, "%s", name);
    out[(*count)++].tokenizer = tokenizer;
}

/** SentencePiece's normaliser without its table of replacements, the flags each way. */
static void make_without_table(const char *file, struct bound_tokenizer *out, size_t *count) {
    static const struct {
        const char *name;
        bool dummy, squeeze, suffix, escape;
    } flags[] = {{"dummy", true, false, false, true},
                 {"suffix", true, false, true, true},
                 {"squeeze", false, true, false, true},
                 {"squeeze-suffix", true, true, true, true},
                 {"plain", true, false, false, false}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        char path[256], name[64];
        struct tokenizer *tokenizer = NULL;
        snprintf(path, sizeof path, "%s/tests/golden/tokenizers/%s", BORA_SOURCE_DIR, file);
        snprintf(name, sizeof name, "%s-%s", file, flags[i].name);
        check_ok(tokenizer_load_path(path, &tokenizer, &check_error));
        struct normalizer *normalizer = &tokenizer->normalizer;
        free(normalizer->charsmap);
        normalizer->charsmap = NULL;
        normalizer->add_dummy_prefix = flags[i].dummy;
        normalizer->remove_extra_whitespaces = flags[i].squeeze;
        normalizer->whitespace_as_suffix = flags[i].suffix;
        normalizer->escape_whitespaces = flags[i].escape;
        tokenizer->prefix_first_only = i == 0;
        normalizer_prepare(normalizer);
        take(out, count, name, tokenizer);
    }
}

size_t bound_tokenizers_load(struct bound_tokenizer out[BOUND_TOKENIZERS_MAX]) {
    static const char *const patterns[] = {"*.gguf", "*.model", "*[!s].json", "*[!e]s.json"}; /* not cases.json */
    struct tokenizer *tokenizer = NULL;
    size_t count = 0;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        char pattern[256];
        glob_t found;
        snprintf(pattern, sizeof pattern, "%s/tests/golden/tokenizers/%s", BORA_SOURCE_DIR, patterns[i]);
        if (glob(pattern, 0, NULL, &found) != 0) continue;
        for (size_t j = 0; j < found.gl_pathc; j++) {
            check_ok(tokenizer_load_path(found.gl_pathv[j], &tokenizer, &check_error));
            take(out, &count, strrchr(found.gl_pathv[j], '/') + 1, tokenizer);
        }
        globfree(&found);
    }
    assert_in_range(count, 20, BOUND_TOKENIZERS_MAX);
    check_ok(tokenizer_load_path(test_model_path(), &tokenizer, &check_error));
    take(out, &count, "model", tokenizer);
    make_without_table("sp-bpe-user.model", out, &count);
    make_without_table("sp-unigram.model", out, &count);
    make_without_table("gguf-unigram.gguf", out, &count);
    take(out, &count, "sentencepiece-no-marks", make_sentencepiece_without_marks());
    for (size_t i = 0; i < HANDMADE; i++) take(out, &count, handmade[i].name, make(i));
    return count;
}

void bound_tokenizers_destroy(struct bound_tokenizer *tokenizers, size_t count) {
    for (size_t i = 0; i < count; i++) tokenizer_destroy(tokenizers[i].tokenizer);
}

/* ---- texts --------------------------------------------------------------------------------------------------------- */

uint32_t bound_draw(struct bound_random *random, uint32_t below) {
    return (uint32_t)(random_philox(random->seed, random->position++, 0) % below);
}

static void append_character(struct bytes *out, uint32_t character) {
    uint8_t encoded[4];
    (void)bytes_append(out, encoded, text_encode(character, encoded)); /* nothing of a surrogate */
}

/** Characters that normalising or lower case makes longer, that combine, and marks. */
static const uint32_t growing[] = {0xFDFA,  0x1D160, 0x390,  0x3B0,  0x130,  0x23A,  0x23E,  0x2126, 0xAC01,
                                   0xFB2C,  0x344,   0x1F71, 0x2581, 0x958,  0x1E9E, 0xFDFB, 0x3316, 0x33A8,
                                   0x1D15E, 0x1D1BF, 0xFB4F, 0x212B, 0x1F82, 0xD7A3, 0x149,  0x2A74, 0x1F240};
enum { GROWING = sizeof growing / sizeof growing[0] };

static const char *const strings[] = {"word",
                                      "The quick brown fox",
                                      "don't",
                                      "12345",
                                      "3.14",
                                      "<|im_start|>",
                                      "<|im_end|>",
                                      "[INST]",
                                      "[/INST]",
                                      "</s>",
                                      "<s>",
                                      "<start_of_turn>",
                                      "<|eot_id|>",
                                      "~",
                                      "~~",
                                      "~a",
                                      " ~",
                                      "aa",
                                      "\n\n",
                                      "\t",
                                      "\r\n",
                                      "\xC2\xA0",
                                      "\xE3\x80\x80",
                                      "\xE2\x96\x81",
                                      "\\u0000",
                                      "{\"a\": 1}",
                                      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80",
                                      "\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA",
                                      "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82",
                                      "\xE6\xBC\xA2\xE5\xAD\x97"};
enum { STRINGS = sizeof strings / sizeof strings[0] };

static void append_name(struct bound_random *random, const struct tokenizer *tokenizer, struct bytes *out) {
    struct bytes_view name =
        tokenizer_name(tokenizer, (int32_t)bound_draw(random, (uint32_t)tokenizer_vocabulary(tokenizer)));
    if (text_is_utf8(name.data, name.length)) (void)bytes_append(out, name.data, name.length);
}

static void append_marks(struct bound_random *random, struct bytes *out) {
    append_character(out, "aeioun "[bound_draw(random, 7)]);
    for (uint32_t count = 1 + bound_draw(random, 8); count > 0; count--)
        append_character(out, 0x300 + bound_draw(random, 0x70));
}

static void append_fragment(struct bound_random *random, uint32_t kind, const struct tokenizer *tokenizer,
                            struct bytes *out) {
    switch (kind) {
    case 0:
        append_character(out, ' ');
        return;
    case 1:
        (void)bytes_append_string(out, strings[bound_draw(random, STRINGS)]);
        return;
    case 2: /* any plane */
        append_character(out, bound_draw(random, 0x110000));
        return;
    case 3:
        append_character(out, bound_draw(random, 0x3000));
        return;
    case 4:
        append_character(out, growing[bound_draw(random, GROWING)]);
        return;
    case 5:
        append_marks(random, out);
        return;
    case 6:
        append_name(random, tokenizer, out);
        return;
    default:
        append_character(out, bound_draw(random, 0x80)); /* NUL too */
        return;
    }
}

enum { KINDS = 8 };

void bound_text_append(struct bound_random *random, const struct tokenizer *tokenizer, struct bytes *out) {
    uint32_t shape = bound_draw(random, 8), only = bound_draw(random, KINDS), fragments = bound_draw(random, 12);
    if (shape == 0) return;
    if (shape == 1) { /* one character or string again and again, which is where a stage that grows does it always */
        struct bound_random again = *random;
        for (fragments *= 6; fragments > 0; fragments--) {
            again = *random;
            append_fragment(&again, only, tokenizer, out);
        }
        *random = again;
        return;
    }
    if (shape == 2) fragments *= 8;
    for (; fragments > 0; fragments--)
        append_fragment(random, shape == 3 ? only : bound_draw(random, KINDS), tokenizer, out);
}
