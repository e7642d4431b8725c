/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/config.h"

#include "cli/connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[128];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bora-config-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/bora/config", folder);
    setenv("XDG_CONFIG_HOME", folder, 1);
    static const char *const variables[] = {"BORA_PROFILE", "BORA_ADDRESS", "BORA_API_KEY", "BORA_MODEL"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char inner[128];
    unlink(path);
    snprintf(inner, sizeof inner, "%s/bora", folder);
    rmdir(inner);
    return rmdir(folder);
}

static void write_config(const char *text, mode_t mode) {
    char inner[128];
    snprintf(inner, sizeof inner, "%s/bora", folder);
    (void)!mkdir(inner, 0700);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_file(const char *text) {
    char buffer[4096];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    buffer[fread(buffer, 1, sizeof buffer - 1, file)] = 0;
    fclose(file);
    assert_string_equal(buffer, text);
}

static void set(const char *profile, enum config_name name, const char *value) {
    struct config config;
    struct error err = {0};
    assert_int_equal(config_load(profile, false, &config, &err), STATUS_OK);
    assert_int_equal(config_write(&config, name, value, &err), STATUS_OK);
    config_free(&config);
}

static void test_a_missing_file_is_an_empty_one(void **state) {
    (void)state;
    struct config config;
    assert_int_equal(config_load(NULL, true, &config, NULL), STATUS_OK);
    assert_false(config.exists);
    for (int i = 0; i < CONFIG_NAMES; i++) assert_null(config.values[i]);
    assert_string_equal(config.path, path);
    config_free(&config);
}

static void test_profiles_are_sections(void **state) {
    (void)state;
    struct config config;
    struct error err = {0};
    write_config("model = top\n[default]\naddress = a:1\n[work]\naddress = b:2\n", 0600);
    assert_int_equal(config_load(NULL, true, &config, &err), STATUS_OK);
    assert_string_equal(config.values[CONFIG_ADDRESS], "a:1");
    assert_string_equal(config.values[CONFIG_MODEL], "top"); /* before any section */
    config_free(&config);
    setenv("BORA_PROFILE", "work", 1);
    assert_int_equal(config_load(NULL, true, &config, &err), STATUS_OK);
    assert_string_equal(config.values[CONFIG_ADDRESS], "b:2");
    assert_null(config.values[CONFIG_MODEL]);
    config_free(&config);
    assert_int_equal(config_load("play", true, &config, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "[play]"));
    err = (struct error){0};
    assert_int_equal(config_load("a]b", true, &config, &err), STATUS_INVALID_ARGUMENT);
}

static void test_flag_then_environment_then_file(void **state) {
    (void)state;
    struct config config;
    const char *source;
    write_config("[default]\naddress = file:1\n", 0600);
    assert_int_equal(config_load(NULL, true, &config, NULL), STATUS_OK);
    assert_string_equal(connection_setting(&config, CONFIG_ADDRESS, NULL, &source), "file:1");
    assert_string_equal(source, path);
    setenv("BORA_ADDRESS", "environment:2", 1);
    assert_string_equal(connection_setting(&config, CONFIG_ADDRESS, NULL, &source), "environment:2");
    assert_string_equal(source, "BORA_ADDRESS");
    assert_string_equal(connection_setting(&config, CONFIG_ADDRESS, "flag:3", &source), "flag:3");
    setenv("BORA_ADDRESS", "", 1); /* an empty one counts as not set */
    assert_string_equal(connection_setting(&config, CONFIG_ADDRESS, NULL, &source), "file:1");
    assert_null(connection_setting(&config, CONFIG_MODEL, NULL, &source));
    config_free(&config);
}

static void test_unknown_settings_are_errors_with_their_line(void **state) {
    (void)state;
    struct config config;
    struct error err = {0};
    write_config("[default]\n\nadress = a:1\n", 0600);
    assert_int_equal(config_load(NULL, true, &config, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "config:3: unknown setting 'adress'; did you mean 'address'?"));
}

static void test_writing_keeps_everything_else(void **state) {
    (void)state;
    struct stat info;
    write_config("# mine\n[default]\naddress = a:1   # the lab\n\n[work]\nmodel = large", 0644);
    set(NULL, CONFIG_MODEL, "small");
    assert_file("# mine\n[default]\naddress = a:1   # the lab\nmodel = small\n\n[work]\nmodel = large\n");
    set("work", CONFIG_MODEL, "tiny");
    assert_file("# mine\n[default]\naddress = a:1   # the lab\nmodel = small\n\n[work]\nmodel = tiny\n");
    set(NULL, CONFIG_ADDRESS, NULL);
    assert_file("# mine\n[default]\nmodel = small\n\n[work]\nmodel = tiny\n");
    set("play", CONFIG_ADDRESS, "c:3");
    assert_file("# mine\n[default]\nmodel = small\n\n[work]\nmodel = tiny\n\n[play]\naddress = c:3\n");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600); /* whatever it was before */
}

static void test_a_new_file_is_for_its_owner_alone(void **state) {
    (void)state;
    struct stat info;
    set(NULL, CONFIG_API_KEY, "bora_x_y");
    assert_file("[default]\napi-key = bora_x_y\n");
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void test_a_link_stays_a_link(void **state) {
    (void)state;
    struct stat info;
    char real[160];
    write_config("", 0600);
    snprintf(real, sizeof real, "%s/real", folder);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink(real, path), 0);
    set(NULL, CONFIG_MODEL, "small");
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_file("[default]\nmodel = small\n");
    unlink(real);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_a_missing_file_is_an_empty_one),
        TEST(test_profiles_are_sections),
        TEST(test_flag_then_environment_then_file),
        TEST(test_unknown_settings_are_errors_with_their_line),
        TEST(test_writing_keeps_everything_else),
        TEST(test_a_new_file_is_for_its_owner_alone),
        TEST(test_a_link_stays_a_link),
    };
    return cmocka_run_group_tests_name("cli/config", tests, NULL, NULL);
}
