/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Does V8 agree? tests/golden/regex/goldens.json by tools/make_regex_goldens.mjs. With a file's name as argument it writes there texts that walks over the
 * patterns found, for V8 to judge. */
#include "engine/grammar/regex.h"

#include "base/text.h"
#include "tests/unit/engine/check.h"

#include <jansson.h>

enum { WALKS = 8, WALK_STEPS_MAX = 40 };

static json_t *goldens;

static struct bytes_view view_of(const json_t *string) {
    return bytes_view_of(json_string_value(string), json_string_length(string));
}

static enum status parse(struct regex_pool *pool, const json_t *golden, regex *out) {
    const char *flags = json_string_value(json_object_get(golden, "flags"));
    unsigned how = REGEX_SEARCH | (flags != NULL && strchr(flags, 'i') != NULL ? REGEX_IGNORE_CASE : 0);
    check_error = (struct error){0};
    return regex_parse(pool, view_of(json_object_get(golden, "pattern")), how, out, &check_error);
}

static int wrong_texts(struct regex_pool *pool, regex r, const json_t *golden, const char *list, bool expected) {
    int wrong = 0;
    size_t i;
    json_t *text;
    json_array_foreach(json_object_get(golden, list), i, text) {
        if (regex_matches(pool, r, view_of(text)) == expected) continue;
        char *shown = json_dumps(text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
        print_error("%s %s %s\n", json_string_value(json_object_get(golden, "pattern")),
                    expected ? "does not match" : "matches", shown);
        free(shown);
        wrong++;
    }
    return wrong;
}

/** Patterns that are no regular language, or that we refuse: no more than these. */
static bool may_be_refused(const char *pattern) {
    static const char *const refused[] = {"^(?!.*(.)\\1).*$", "^([a-z])\\1$", "(a)\\k<n>(?<n>b)"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (strcmp(pattern, refused[i]) == 0) return true;
    return false;
}

static int check_pattern(const json_t *golden) {
    const char *pattern = json_string_value(json_object_get(golden, "pattern"));
    struct grammar_budget budget = {.fuel = 1000000, .bytes = 64 << 20};
    struct regex_pool *pool;
    check_ok(regex_pool_create(&budget, &pool, &check_error));
    regex r = REGEX_NOTHING;
    enum status status = parse(pool, golden, &r);
    int wrong = 0;
    if (json_is_true(json_object_get(golden, "invalid"))) {
        wrong = status != STATUS_INVALID_ARGUMENT;
        if (wrong) print_error("%s is taken: %s\n", pattern, status_name(status));
    } else if (status == STATUS_UNIMPLEMENTED && may_be_refused(pattern)) {
        wrong = 0;
    } else if (status != STATUS_OK) {
        print_error("%s: %s: %s\n", pattern, status_name(status), check_error.message);
        wrong = 1;
    } else {
        wrong = wrong_texts(pool, r, golden, "match", true) + wrong_texts(pool, r, golden, "none", false);
    }
    if (budget_exhausted(&budget)) print_error("%s: the budget\n", pattern);
    regex_pool_destroy(pool);
    return wrong;
}

static void test_patterns_match_what_v8_matches(void **state) {
    (void)state;
    int wrong = 0;
    size_t i;
    json_t *golden;
    json_array_foreach(goldens, i, golden) wrong += check_pattern(golden);
    assert_true(json_array_size(goldens) > 350);
    assert_int_equal(wrong, 0);
}

/* ---- patterns made up ---- */

enum { RANDOM_TEXTS = 1 + 3 + 9 + 27 + 81 + 243, RANDOM_LENGTH_MAX = 5 };
static char random_texts[RANDOM_TEXTS][RANDOM_LENGTH_MAX + 1];

/** Every text out of "ab ", the shorter first, as the tool numbers them. */
static void list_random_texts(void) {
    int count = 1;
    for (int from = 0, length = 0; length < RANDOM_LENGTH_MAX; length++) {
        int to = count;
        for (int i = from; i < to; i++)
            for (const char *c = "ab "; *c != 0; c++) {
                memcpy(random_texts[count], random_texts[i], (size_t)length);
                random_texts[count++][length] = *c;
            }
        from = to;
    }
}

static int check_random(const char *pattern, const char *hex) {
    struct grammar_budget budget = {.fuel = 3000000, .bytes = 256 << 20};
    struct regex_pool *pool;
    regex r = REGEX_FAILED;
    int wrong = 0;
    check_ok(regex_pool_create(&budget, &pool, &check_error));
    check_ok(regex_parse(pool, bytes_view_string(pattern), REGEX_SEARCH, &r, &check_error));
    for (int i = 0; i < RANDOM_TEXTS; i++) {
        int digit = hex[i / 4] <= '9' ? hex[i / 4] - '0' : hex[i / 4] - 'a' + 10;
        bool expected = (digit >> (3 - i % 4) & 1) != 0;
        if (regex_matches(pool, r, bytes_view_string(random_texts[i])) == expected) continue;
        if (wrong++ == 0)
            print_error("%s %s '%s'\n", pattern, expected ? "does not match" : "matches", random_texts[i]);
    }
    regex_pool_destroy(pool);
    return wrong;
}

static void test_patterns_made_up_match_what_v8_matches(void **state) {
    (void)state;
    char line[512];
    int wrong = 0, count = 0;
    FILE *file = fopen(BORA_SOURCE_DIR "/tests/golden/regex/random.txt", "r");
    assert_non_null(file);
    list_random_texts();
    for (; fgets(line, sizeof line, file) != NULL; count++) {
        char *tab = strchr(line, '\t');
        assert_non_null(tab);
        *tab = 0;
        wrong += check_random(line, tab + 1);
    }
    fclose(file);
    assert_true(count >= 700);
    assert_int_equal(wrong, 0);
}

/* ---- texts for V8 ---- */

static uint32_t random_below(uint64_t *seed, uint32_t limit) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % limit;
}

/** Random live steps, then the shortest way to an end. */
static bool walk(struct regex_pool *pool, regex r, uint64_t *seed, struct bytes *out) {
    static const uint32_t others[] = {0xE9, 0x17F, 0x212A, 0x3B1, 0x4E2D, 0x1F432, 0x2028, 0xA0};
    uint32_t steps = random_below(seed, WALK_STEPS_MAX);
    uint8_t encoded[4];
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t c = random_below(seed, 136);
        c = c < 128 ? c : others[c - 128];
        regex next = regex_step(pool, r, c);
        for (uint32_t tries = 0; next == REGEX_NOTHING && tries < 128; tries++)
            next = regex_step(pool, r, c = (c + 1) % 128);
        if (next == REGEX_NOTHING) break;
        r = next;
        if (bytes_append(out, encoded, text_encode(c, encoded)) != STATUS_OK) return false;
    }
    return regex_shortest(pool, r, out) != REGEX_UNBOUNDED;
}

static json_t *walks_of(const json_t *golden) {
    json_t *texts = json_array();
    struct grammar_budget budget = {.fuel = 10000000, .bytes = 64 << 20};
    struct regex_pool *pool;
    check_ok(regex_pool_create(&budget, &pool, &check_error));
    regex r = REGEX_NOTHING;
    uint64_t seed = 1;
    struct bytes text;
    bytes_init(&text, 4096);
    if (parse(pool, golden, &r) == STATUS_OK && r != REGEX_NOTHING) {
        for (int i = 0; i < WALKS; i++) {
            bytes_reset(&text);
            if (walk(pool, r, &seed, &text))
                json_array_append_new(texts, json_stringn((const char *)text.data, text.length));
        }
    }
    bytes_deinit(&text);
    regex_pool_destroy(pool);
    return texts;
}

static int write_walks(const char *path) {
    json_t *all = json_object();
    size_t i;
    json_t *golden;
    json_array_foreach(goldens, i, golden) {
        char key[2048];
        if (json_is_true(json_object_get(golden, "invalid"))) continue;
        snprintf(key, sizeof key, "%s:%s", json_string_value(json_object_get(golden, "flags")),
                 json_string_value(json_object_get(golden, "pattern")));
        json_object_set_new(all, key, walks_of(golden));
    }
    int failed = json_dump_file(all, path, JSON_INDENT(0) | JSON_SORT_KEYS);
    json_decref(all);
    return failed;
}

int main(int argc, char **argv) {
    json_error_t error;
    goldens = json_load_file(BORA_SOURCE_DIR "/tests/golden/regex/goldens.json", JSON_ALLOW_NUL, &error);
    if (goldens == NULL) return 1;
    if (argc > 1) return write_walks(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_patterns_match_what_v8_matches),
                                       cmocka_unit_test(test_patterns_made_up_match_what_v8_matches)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(goldens);
    return failed;
}
