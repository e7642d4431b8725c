/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Is a key in a URL seen? */
#include "services/gateway/url_secret.h"

#include "tests/support/check.h"

#define KEY "bora_0123456789ab_0123456789012345678901234567890123456789012"

static bool refused(const char *path, const char *name, const char *value) {
    struct http_field second = {.name = name, .value = value}, first = {.name = "limit", .value = "1", .next = &second};
    return url_secret_find(path, name != NULL ? &first : NULL) != NULL;
}

static void test_names_of_keys(void **state) {
    (void)state;
    static const char *const names[] = {"key",    "api_key",      "API_KEY",      "api-key",
                                        "apikey", "access_token", "Authorization"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) assert_true(refused("/v1/models", names[i], ""));
    assert_false(refused("/v1/models", "key_id", "x"));
    assert_false(refused("/v1/models", "group_by", "key"));
    assert_false(refused("/v1/models", "monkey", "x"));
}

static void test_keys_wherever_they_stand(void **state) {
    (void)state;
    assert_true(refused("/v1/admin/api-keys", "name", KEY));
    assert_true(refused("/v1/admin/api-keys", "name", "Bearer " KEY " "));
    assert_true(refused("/v1/admin/api-keys", KEY, ""));
    assert_true(refused("/v1/admin/api-keys/" KEY, NULL, NULL));
    assert_true(refused("/v1/admin/api-keys/" KEY "/rotate", NULL, NULL));
    assert_true(refused("/bora_x/" KEY, NULL, NULL));
}

static void test_public_parts_are_no_secret(void **state) {
    (void)state;
    assert_false(refused("/v1/admin/api-keys/0123456789ab", NULL, NULL));
    assert_false(refused("/v1/admin/api-keys/bora_0123456789ab", NULL, NULL));
    assert_false(refused("/v1/admin/api-keys", "name", "bora_0123456789ab_...abcd"));
    assert_false(refused("/v1/admin/api-keys", "name", "bora_"));
    assert_false(refused("/", NULL, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_keys),
        cmocka_unit_test(test_keys_wherever_they_stand),
        cmocka_unit_test(test_public_parts_are_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
