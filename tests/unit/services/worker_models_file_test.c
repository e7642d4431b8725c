/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The models file: what is read, and that each mistake is one sentence with file and line. */
#include "services/worker/models_file.h"

#include "tests/unit/base/temporary_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char path[TEMPORARY_PATH_BYTES];

static enum status load(const char *text, const char *name, struct model_entry *out, struct error *err) {
    temporary_file(text, strlen(text), path);
    enum status status = models_file_load(path, name, out, err);
    unlink(path);
    return status;
}

static const char both[] =
    "# ours\n[first]\npath = a.gguf\n\n[second]\npath = /b.gguf\naliases = x, y  z\ntier = code\n"
    "context = 160\ncapabilities = completion_chat, completion_fim\ntemperature = 0.7\ntruncation = auto\n"
    "description = b, of course\nsource = pypi:b==1\nsha256 = 00\n";

static void test_a_section_is_read(void **state) {
    (void)state;
    struct model_entry entry = {0};
    struct error err = {0};
    assert_int_equal(load(both, "second", &entry, &err), STATUS_OK);
    assert_string_equal(entry.name, "second");
    assert_string_equal(entry.path, "/b.gguf");
    assert_string_equal(entry.tier, "code");
    assert_string_equal(entry.description, "b, of course");
    assert_int_equal(entry.alias_count, 3);
    assert_string_equal(entry.aliases[2], "z");
    assert_int_equal(entry.capability_count, 3);
    assert_string_equal(entry.capabilities[1], "completion_fim");
    assert_string_equal(entry.capabilities[2], "function_calling"); /* comes along with completion_chat */
    assert_int_equal(entry.context_tokens, 160);
    assert_true(entry.temperature == 0.7);
    assert_true(entry.truncates);
    model_entry_deinit(&entry);
}

static void test_without_a_name_it_is_the_first_with_defaults(void **state) {
    (void)state;
    struct model_entry entry = {0};
    struct error err = {0};
    assert_int_equal(load(both, NULL, &entry, &err), STATUS_OK);
    assert_string_equal(entry.name, "first");
    assert_string_equal(entry.path, "/tmp/a.gguf"); /* beside the file */
    assert_string_equal(entry.tier, "small");
    assert_int_equal(entry.alias_count, 0);
    assert_int_equal(entry.context_tokens, 0);
    assert_true(isnan(entry.temperature));
    assert_false(entry.truncates);
    model_entry_deinit(&entry);
}

static void test_the_cache_folder_is_found(void **state) {
    (void)state;
    static const char text[] = "[m]\npath = {cache}/models/m.gguf\n";
    static const char *const expected[] = {"/somewhere/models/m.gguf", "/xdg/bora/models/m.gguf",
                                           "/home/me/.cache/bora/models/m.gguf"};
    setenv("BORA_CACHE", "/somewhere", 1);
    setenv("XDG_CACHE_HOME", "/xdg", 1);
    setenv("HOME", "/home/me", 1);
    for (int i = 0; i < 3; i++) {
        struct model_entry entry = {0};
        struct error err = {0};
        assert_int_equal(load(text, NULL, &entry, &err), STATUS_OK);
        assert_string_equal(entry.path, expected[i]);
        model_entry_deinit(&entry);
        unsetenv(i == 0 ? "BORA_CACHE" : "XDG_CACHE_HOME");
    }
}

static void test_a_tilde_is_the_home_folder(void **state) {
    (void)state;
    struct model_entry entry = {0};
    struct error err = {0};
    setenv("HOME", "/home/me", 1);
    assert_int_equal(load("[m]\npath = ~/models/m.gguf\n[n]\npath = ~x/n.gguf\n", NULL, &entry, &err), STATUS_OK);
    assert_string_equal(entry.path, "/home/me/models/m.gguf");
    model_entry_deinit(&entry);
    assert_int_equal(load("[n]\npath = ~x/n.gguf\n", NULL, &entry, &err), STATUS_OK);
    assert_string_equal(entry.path, "/tmp/~x/n.gguf"); /* a name like any other */
    model_entry_deinit(&entry);
}

static void test_mistakes_are_named_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        int line; /* 0: none */
    } mistakes[] = {
        {"", "describes no model", 0},
        {"path = a\n", "before any [model name]", 1},
        {"[m]\naliases = a\n", "model m has no path", 0},
        {"[m]\npath = a\n[n]\ntier = small\n", "model n has no path", 0}, /* also of a model that is not asked for */
        {"[m]\npath = a\npath = b\n", "path given twice", 3},
        {"[m]\npath = a\naliases = x\naliases = y\n", "aliases given twice", 4},
        {"[m]\npath = a\n[n]\npath = b\n[m]\ntier = code\n", "model m stands there twice", 6},
        {"[a b]\npath = a\n", "'a b' is not a model name", 2},
        {"[m]\npath = a\naliases = x, y!\n", "'y!' is not a model name", 3},
        {"[m]\npath = a\ntier = huge\n", "tier 'huge' is none of small", 3},
        {"[m]\npath = a\ncontext = 15\n", "context '15' is not 16..", 3},
        {"[m]\npath = a\ncontext = 8k\n", "context '8k'", 3},
        {"[m]\npath = a\ntemperature = 2.1\n", "temperature '2.1' is not 0..2", 3},
        {"[m]\npath = a\ntemperature = nan\n", "temperature 'nan' is not 0..2", 3},
        {"[m]\npath = a\ntruncation = yes\n", "truncation 'yes' is neither auto nor disabled", 3},
        {"[m]\npath = a\ncapabilities = telepathy\n", "unknown capability 'telepathy'", 3},
        {"[m]\npath = a\ncolour = blue\n", "unknown key 'colour' (known: path", 3},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct model_entry entry = {0};
        struct error err = {0};
        char place[TEMPORARY_PATH_BYTES + 16];
        if (load(mistakes[i].text, NULL, &entry, &err) == STATUS_OK) fail_msg("%s", mistakes[i].text);
        snprintf(place, sizeof place, mistakes[i].line != 0 ? "%s:%d: " : "%s", path, mistakes[i].line);
        if (strstr(err.message, mistakes[i].says) == NULL || strstr(err.message, place) == NULL)
            fail_msg("%s\n says: %s", mistakes[i].text, err.message);
        assert_null(entry.name);
    }
}

static void test_a_name_that_is_not_there_lists_those_that_are(void **state) {
    (void)state;
    struct model_entry entry = {0};
    struct error err = {0};
    assert_int_equal(load(both, "third", &entry, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "no model 'third' (it has: first, second)"));
}

static void test_more_aliases_than_allowed(void **state) {
    (void)state;
    char text[2000] = "[m]\npath = a\naliases =";
    struct model_entry entry = {0};
    struct error err = {0};
    for (int i = 0; i < LIMIT_MODEL_ALIASES; i++) snprintf(text + strlen(text), sizeof text - strlen(text), " a%d", i);
    assert_int_equal(load(text, NULL, &entry, &err), STATUS_OK);
    assert_int_equal(entry.alias_count, LIMIT_MODEL_ALIASES);
    model_entry_deinit(&entry);
    snprintf(text + strlen(text), sizeof text - strlen(text), " more");
    assert_int_equal(load(text, NULL, &entry, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, ":3: more than 32 aliases"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_section_is_read),
        cmocka_unit_test(test_without_a_name_it_is_the_first_with_defaults),
        cmocka_unit_test(test_the_cache_folder_is_found),
        cmocka_unit_test(test_a_tilde_is_the_home_folder),
        cmocka_unit_test(test_mistakes_are_named_with_their_line),
        cmocka_unit_test(test_a_name_that_is_not_there_lists_those_that_are),
        cmocka_unit_test(test_more_aliases_than_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
