/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "services/keys/secrets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[128];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/bora-test-secrets-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/hash-secret", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void write_file(const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_missing_secret_is_made_for_the_owner_only_and_kept(void **state) {
    (void)state;
    struct keys_secrets first = {0}, second = {0};
    struct error err = {0};
    assert_int_equal(hash_secret_load(path, &first, &err), STATUS_OK);
    assert_true(first.hash_secret_created);
    assert_false(first.hash_secret_exposed);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(info.st_size, 65);
    assert_int_equal(hash_secret_load(path, &second, &err), STATUS_OK);
    assert_false(second.hash_secret_created);
    assert_memory_equal(first.hash_secret, second.hash_secret, KEY_HASH_SECRET_BYTES);
    const uint8_t nothing[KEY_HASH_SECRET_BYTES] = {0};
    assert_memory_not_equal(first.hash_secret, nothing, sizeof nothing);
}

static void *load(void *out) {
    return hash_secret_load(path, out, NULL) == STATUS_OK ? NULL : out;
}

static void test_many_that_start_together_agree_on_one_secret(void **state) {
    (void)state;
    enum { STARTERS = 16 };
    static struct keys_secrets secrets[STARTERS];
    pthread_t threads[STARTERS];
    for (int i = 0; i < STARTERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, load, &secrets[i]), 0);
    int created = 0;
    for (int i = 0; i < STARTERS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
        created += secrets[i].hash_secret_created;
        assert_memory_equal(secrets[i].hash_secret, secrets[0].hash_secret, KEY_HASH_SECRET_BYTES);
    }
    assert_int_equal(created, 1);
}

static void test_file_that_is_no_secret_is_refused_and_left_alone(void **state) {
    (void)state;
    static const char *const bad[] = {"", "\n", "abc",
                                      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g\n",
                                      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\nmore"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file(bad[i]);
        struct keys_secrets secrets;
        struct error err = {0};
        assert_int_equal(hash_secret_load(path, &secrets, &err), STATUS_INVALID_ARGUMENT);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, strlen(bad[i]));
    }
}

static void test_readable_secret_is_pointed_out(void **state) {
    (void)state;
    write_file("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    chmod(path, 0644);
    struct keys_secrets secrets = {0};
    assert_int_equal(hash_secret_load(path, &secrets, NULL), STATUS_OK);
    assert_true(secrets.hash_secret_exposed);
}

static void test_folder_that_is_not_there_is_one_clear_line(void **state) {
    (void)state;
    struct keys_secrets secrets;
    struct error err = {0};
    assert_int_not_equal(hash_secret_load("/tmp/bora-no-such-folder/secret", &secrets, &err), STATUS_OK);
    assert_non_null(strstr(err.message, "/tmp/bora-no-such-folder/secret"));
}

static void test_only_the_whole_bearer_text_matches(void **state) {
    (void)state;
    struct keys_secrets secrets = {.hash_secret = {1, 2, 3}};
    key_text_hash(secrets.hash_secret, "a long enough admin key", secrets.admin_hash);
    assert_true(keys_secrets_match(&secrets, secrets.admin_hash, "Bearer a long enough admin key"));
    assert_true(keys_secrets_match(&secrets, secrets.admin_hash, "bearer a long enough admin key"));
    static const char *const wrong[] = {"",
                                        "Bearer",
                                        "Bearer ",
                                        "Bearer a long enough admin ke",
                                        "Bearer a long enough admin keyy",
                                        "Bearer A long enough admin key",
                                        "a long enough admin key",
                                        "Basic a long enough admin key",
                                        "Bearer  a long enough admin key"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(keys_secrets_match(&secrets, secrets.admin_hash, wrong[i]));
    assert_false(keys_secrets_match(&secrets, secrets.admin_hash, NULL));
}

static void test_admin_key_and_service_token_are_needed_long_and_different(void **state) {
    (void)state;
    struct keys_settings settings = {.hash_secret_file = path};
    struct keys_secrets secrets;
    struct error err = {0};
    assert_int_equal(keys_secrets_load(&settings, &secrets, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "admin-key"));
    settings.admin_key = "0123456789abcdef";
    settings.service_token = "0123456789abcde"; /* one character short */
    err = (struct error){0};
    assert_int_equal(keys_secrets_load(&settings, &secrets, &err), STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "service-token"));
    assert_null(strstr(err.message, settings.service_token));
    settings.service_token = settings.admin_key;
    assert_int_equal(keys_secrets_load(&settings, &secrets, NULL), STATUS_INVALID_ARGUMENT);
    settings.service_token = "fedcba9876543210";
    assert_int_equal(keys_secrets_load(&settings, &secrets, NULL), STATUS_OK);
}

int main(void) {
#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(test_missing_secret_is_made_for_the_owner_only_and_kept),
        FOLDER_TEST(test_many_that_start_together_agree_on_one_secret),
        FOLDER_TEST(test_file_that_is_no_secret_is_refused_and_left_alone),
        FOLDER_TEST(test_readable_secret_is_pointed_out),
        FOLDER_TEST(test_folder_that_is_not_there_is_one_clear_line),
        FOLDER_TEST(test_only_the_whole_bearer_text_matches),
        FOLDER_TEST(test_admin_key_and_service_token_are_needed_long_and_different),
    };
    return cmocka_run_group_tests_name("services/keys_secrets", tests, NULL, NULL);
}
