/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "services/keys/key_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void test_new_key_has_the_documented_form(void **state) {
    (void)state;
    struct key_text key, parsed;
    assert_int_equal(key_text_create(&key, NULL), STATUS_OK);
    assert_int_equal(strlen(key.whole), 61);
    assert_memory_equal(key.whole, "bora_", 5);
    assert_memory_equal(key.whole + 5, key.prefix, 12);
    assert_int_equal(key.whole[17], '_');
    assert_true(key_text_parse(key.whole, &parsed));
    assert_string_equal(parsed.prefix, key.prefix);
    assert_string_equal(parsed.whole, key.whole);
}

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

static void test_ten_thousand_keys_differ_in_prefix_and_secret(void **state) {
    (void)state;
    enum { KEYS = 10000 };
    static char ids[KEYS][KEY_PREFIX_CHARACTERS + 1], secrets[KEYS][KEY_SECRET_CHARACTERS + 1];
    bool seen[128] = {0};
    for (int i = 0; i < KEYS; i++) {
        struct key_text key;
        assert_int_equal(key_text_create(&key, NULL), STATUS_OK);
        memcpy(ids[i], key.prefix, sizeof ids[i]);
        memcpy(secrets[i], key.whole + 18, sizeof secrets[i]);
        for (const char *c = key.prefix; *c != 0; c++) seen[(unsigned char)*c] = true;
    }
    qsort(ids, KEYS, sizeof ids[0], compare);
    qsort(secrets, KEYS, sizeof secrets[0], compare);
    for (int i = 1; i < KEYS; i++) {
        assert_string_not_equal(ids[i - 1], ids[i]);
        assert_string_not_equal(secrets[i - 1], secrets[i]);
    }
    for (const char *c = "abcdefghijklmnopqrstuvwxyz0123456789"; *c != 0; c++) assert_true(seen[(unsigned char)*c]);
}

static void test_anything_else_is_no_key(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "bora_",
        "bora_abcdefghijkl",
        "bora_abcdefghijkl_",
        "bora_abcdefghijkl_0123456789012345678901234567890123456789ab",   /* one short */
        "bora_abcdefghijkl_0123456789012345678901234567890123456789abcd", /* one more */
        "borA_abcdefghijkl_0123456789012345678901234567890123456789abc",
        "bora_abcdefghijkL_0123456789012345678901234567890123456789abc",
        "bora_abcdefghij-l_0123456789012345678901234567890123456789abc",
        "bora_abcdefghijkl-0123456789012345678901234567890123456789abc",
        "bora_abcdefghijkl_0123456789012345678901234567890123456789ab_",
        "bora_abcdefghijkl_0123456789012345678901234567890123456789ab ",
        "bora_abcdefghijkl_0123456789012345678901234567890123456789a\xc3\xa9",
        "bora_abcdefghijk}_0123456789012345678901234567890123456789abc",
    };
    struct key_text key;
    assert_true(key_text_parse("bora_abcdefghijkl_0123456789012345678901234567890123456789abc", &key));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(key_text_parse(bad[i], &key));
}

static void test_hash_is_hmac_sha256(void **state) {
    (void)state;
    /* From another implementation: python3 -c 'import hmac; print(hmac.digest(bytes(range(32)), b"bora_test", "sha256").hex())' */
    uint8_t secret[KEY_HASH_SECRET_BYTES], hash[KEY_HASH_BYTES];
    char hex[2 * KEY_HASH_BYTES + 1];
    for (int i = 0; i < KEY_HASH_SECRET_BYTES; i++) secret[i] = (uint8_t)i;
    key_text_hash(secret, "bora_test", hash);
    bytes_to_hex(hash, sizeof hash, hex);
    assert_string_equal(hex, "fc3bd80a4bc78c41e7ef8fcbb29dc31e28be95e349721d6f3233a7ea4ff667a5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_key_has_the_documented_form),
        cmocka_unit_test(test_ten_thousand_keys_differ_in_prefix_and_secret),
        cmocka_unit_test(test_anything_else_is_no_key),
        cmocka_unit_test(test_hash_is_hmac_sha256),
    };
    return cmocka_run_group_tests_name("services/keys_key_text", tests, NULL, NULL);
}
