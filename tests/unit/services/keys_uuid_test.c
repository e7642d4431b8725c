/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_text.h"
#include "services/keys/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <string.h>

static void assert_goes_and_comes(const char *prefix) {
    char id[UUID_CHARACTERS + 1], back[KEY_PREFIX_CHARACTERS + 1];
    uuid_of_prefix(prefix, id);
    assert_true(uuid_is_valid(id));
    assert_int_equal(id[14], '8');           /* version */
    assert_non_null(strchr("89ab", id[19])); /* variant */
    assert_true(uuid_to_prefix(id, back));
    assert_string_equal(back, prefix);
    for (char *c = id; *c != 0; c++) *c = (char)toupper((unsigned char)*c);
    assert_true(uuid_to_prefix(id, back));
    assert_string_equal(back, prefix);
}

static void test_every_prefix_has_an_id_and_comes_back(void **state) {
    (void)state;
    /* The ends, and some in between. */
    static const char *const edges[] = {"aaaaaaaaaaaa", "999999999999", "aaaaaaaaaaab", "8zzzzzzzzzzz",
                                        "900000000000", "9aaaaaaaaaaa", "99aaaaaaaaaa", "baaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) assert_goes_and_comes(edges[i]);
    for (int i = 0; i < 20000; i++) {
        struct key_text key;
        assert_int_equal(key_text_create(&key, NULL), STATUS_OK);
        assert_goes_and_comes(key.prefix);
    }
}

static void test_numbers_above_62_bits_keep_their_bit(void **state) {
    (void)state;
    char low[UUID_CHARACTERS + 1], high[UUID_CHARACTERS + 1];
    /* 36^12 - 1 has the 63rd bit, 0 has not: the last bit of the third group. */
    uuid_of_prefix("aaaaaaaaaaaa", low);
    uuid_of_prefix("999999999999", high);
    assert_non_null(strchr("02468ace", low[17]));
    assert_non_null(strchr("13579bdf", high[17]));
}

static void test_anything_else_is_no_keys_id(void **state) {
    (void)state;
    char id[UUID_CHARACTERS + 1], out[KEY_PREFIX_CHARACTERS + 1], changed[UUID_CHARACTERS + 1];
    uuid_of_prefix("k3v9x0q2m7ab", id);
    for (int i = 0; i < UUID_CHARACTERS; i++) { /* each digit mistyped */
        memcpy(changed, id, sizeof changed);
        changed[i] = changed[i] == '-' ? '0' : changed[i] == '3' ? '4' : '3';
        assert_false(uuid_to_prefix(changed, out));
    }
    static const char *const others[] = {"",
                                         "k3v9x0q2m7ab",
                                         "00000000-0000-0000-0000-000000000000",
                                         "ffffffff-ffff-8fff-bfff-ffffffffffff",
                                         "g0000000-0000-8000-8000-000000000000",
                                         "00000000-0000-8000-8000-0000000000000",
                                         "00000000_0000_8000_8000_000000000000",
                                         "-0000000-0000-8000-8000-000000000000",
                                         "0x000000-0000-8000-8000-000000000000"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(uuid_to_prefix(others[i], out));
}

static void test_random_ones_are_of_version_4_and_differ(void **state) {
    (void)state;
    char a[UUID_CHARACTERS + 1], b[UUID_CHARACTERS + 1], out[KEY_PREFIX_CHARACTERS + 1];
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(uuid_random(a, NULL), STATUS_OK);
        assert_int_equal(uuid_random(b, NULL), STATUS_OK);
        assert_true(uuid_is_valid(a));
        assert_int_equal(a[14], '4');
        assert_non_null(strchr("89ab", a[19]));
        assert_string_not_equal(a, b);
        assert_false(uuid_to_prefix(a, out)); /* no key's */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_prefix_has_an_id_and_comes_back),
        cmocka_unit_test(test_numbers_above_62_bits_keep_their_bit),
        cmocka_unit_test(test_anything_else_is_no_keys_id),
        cmocka_unit_test(test_random_ones_are_of_version_4_and_differ),
    };
    return cmocka_run_group_tests_name("services/keys_uuid", tests, NULL, NULL);
}
