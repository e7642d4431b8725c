/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Who is believed about where a request came from? */
#include "services/gateway/client_address.h"

#include "tests/support/check.h"

#include <string.h>

static void expect(const char *proxies, const char *peer, const char *forwarded, const char *expected) {
    struct trusted_proxies trusted;
    struct error err = {0};
    char got[CLIENT_ADDRESS_BYTES];
    if (trusted_proxies_parse(proxies, &trusted, &err) != STATUS_OK) fail_msg("%s", err.message);
    client_address(&trusted, peer, forwarded, got);
    if (strcmp(got, expected) != 0)
        fail_msg("%s from %s through '%s' is %s instead of %s", forwarded, peer, proxies, got, expected);
}

static void test_nobody_is_believed_unless_named(void **state) {
    (void)state;
    expect(NULL, "127.0.0.1", "6.6.6.6", "127.0.0.1");
    expect("", "127.0.0.1", "6.6.6.6", "127.0.0.1");
    expect("10.0.0.0/8", "127.0.0.1", "6.6.6.6", "127.0.0.1");
    expect("10.0.0.0/8", "11.0.0.1", "6.6.6.6", "11.0.0.1");
    expect("10.0.0.0/8", "10.255.0.1", NULL, "10.255.0.1");
    expect("10.0.0.0/8", "10.255.0.1", "", "10.255.0.1");
}

static void test_a_proxy_says_whom_it_heard(void **state) {
    (void)state;
    expect("10.0.0.0/8", "10.1.2.3", "6.6.6.6", "6.6.6.6");
    expect("10.0.0.0/8", "10.1.2.3", " 6.6.6.6 ", "6.6.6.6");
    expect("10.0.0.0/8", "::ffff:10.1.2.3", "6.6.6.6", "6.6.6.6");
    expect("10.0.0.0/8", "10.1.2.3", "6.6.6.6:1234", "6.6.6.6");
    expect("::1,fd00::/8", "fd12::7", "[2001:DB8::1]:443", "2001:db8::1");
    expect("::1", "::1", "2001:db8::1", "2001:db8::1");
    expect("0.0.0.0/0", "9.9.9.9", "1.2.3.4", "1.2.3.4");
}

static void test_what_the_client_made_up_is_not_believed(void **state) {
    (void)state;
    expect("10.0.0.0/8", "10.1.2.3", "127.0.0.1, 6.6.6.6", "6.6.6.6");
    expect("10.0.0.0/8", "10.1.2.3", "127.0.0.1,6.6.6.6,10.7.7.7", "6.6.6.6"); /* two proxies of ours */
    expect("10.0.0.0/8", "10.1.2.3", "10.9.9.9, 6.6.6.6", "6.6.6.6");
    expect("10.0.0.0/8", "10.1.2.3", "10.9.9.9", "10.9.9.9"); /* inside the house */
    expect("10.0.0.0/8", "10.1.2.3", "6.6.6.6, unknown", "10.1.2.3");
    expect("10.0.0.0/8", "10.1.2.3", "6.6.6.6,", "10.1.2.3");
    expect("10.0.0.0/8", "10.1.2.3", "6.6.6.6, <script>", "10.1.2.3");
    expect("10.0.0.0/8", "10.1.2.3", "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24", "10.1.2.3");
    expect("10.0.0.0/8", "unix", "6.6.6.6", "unix");
}

static void test_networks_that_are_none(void **state) {
    (void)state;
    static const char *const bad[] = {"ten",       "10.0.0.0/33", "10.0.0/8",          "::1/129", "10.0.0.0/-1",
                                      "10.0.0.0/", ",10.0.0.0/8", "10.0.0.1 10.0.0.2", "1/2/3"};
    struct trusted_proxies trusted;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        enum status status = trusted_proxies_parse(bad[i], &trusted, &err);
        if (status != STATUS_INVALID_ARGUMENT) fail_msg("%s is taken", bad[i]);
    }
    char many[TRUSTED_PROXIES_MAX * 8 + 16] = "";
    for (int i = 0; i <= TRUSTED_PROXIES_MAX; i++) strcat(many, i == 0 ? "1.1.1.1" : ",1.1.1.1");
    struct error err = {0};
    assert_int_equal(trusted_proxies_parse(many, &trusted, &err), STATUS_INVALID_ARGUMENT);
    assert_string_equal(err.message, "trusted-proxies: more than 64 networks");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_believed_unless_named),
        cmocka_unit_test(test_a_proxy_says_whom_it_heard),
        cmocka_unit_test(test_what_the_client_made_up_is_not_believed),
        cmocka_unit_test(test_networks_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
