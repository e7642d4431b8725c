/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Names of organisations are one's at a time, whoever is late. */
#include "tests/unit/services/keys_ledger_fixture.h"

#include "services/keys/keys.h"
#include "services/keys/organization_names.h"

#define OTHER "7d9f0a52-0f4e-4b0e-8b8c-3a54f1f6a001"

struct names {
    struct ledger_fixture *fixture;
    struct keys_service service;
};

static struct names names_of(void **state) {
    struct ledger_fixture *fixture = *state;
    return (struct names){fixture, {.redis = fixture->stores.redis, .limits_redis = fixture->stores.limits}};
}

static enum status claim(struct names *names, const char *name, const char *id) {
    struct error err = {0};
    return organization_name_claim(&names->service, name, id, &names->fixture->arena, &err);
}

static void holder_of(struct names *names, const char *name, char out[ORGANIZATION_NAME_HOLDER_BYTES]) {
    struct error err = {0};
    assert_int_equal(organization_name_holder(&names->service, name, LEDGER_ORGANIZATION, out, &err), STATUS_OK);
}

/** And wait until it has been done: another one behind it was. */
static void release(struct names *names, const char *name, const char *holder) {
    char left[ORGANIZATION_NAME_HOLDER_BYTES] = "?";
    assert_int_equal(claim(names, "marker", LEDGER_ORGANIZATION), STATUS_OK);
    organization_name_release(&names->service, name, holder);
    organization_name_release(&names->service, "marker", LEDGER_ORGANIZATION);
    while (left[0] != 0) holder_of(names, "marker", left);
}

/** Renamed by one service, back by another, and only then the first one lets go of the old name, which is the new one again. */
static void test_a_late_release_takes_no_name_away(void **state) {
    struct names names = names_of(state);
    char first[ORGANIZATION_NAME_HOLDER_BYTES], second[ORGANIZATION_NAME_HOLDER_BYTES];
    assert_int_equal(claim(&names, "a", LEDGER_ORGANIZATION), STATUS_OK);
    assert_int_equal(claim(&names, "b", LEDGER_ORGANIZATION), STATUS_OK);
    holder_of(&names, "a", first);
    assert_int_equal(claim(&names, "a", LEDGER_ORGANIZATION), STATUS_OK);
    holder_of(&names, "b", second);
    release(&names, "b", second);
    release(&names, "a", first);
    assert_int_equal(claim(&names, "a", OTHER), STATUS_ALREADY_EXISTS);
    assert_int_equal(claim(&names, "b", OTHER), STATUS_OK);
    holder_of(&names, "b", first); /* another one's is nobody's to let go of */
    assert_string_equal(first, "");
}

static void test_one_that_is_gone_lets_go_by_its_id(void **state) {
    struct names names = names_of(state);
    assert_int_equal(claim(&names, "a", LEDGER_ORGANIZATION), STATUS_OK);
    release(&names, "a", OTHER);
    assert_int_equal(claim(&names, "a", OTHER), STATUS_ALREADY_EXISTS);
    release(&names, "a", LEDGER_ORGANIZATION);
    assert_int_equal(claim(&names, "a", OTHER), STATUS_OK);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, ledger_fixture_setup, ledger_fixture_teardown)
    const struct CMUnitTest tests[] = {TEST(test_a_late_release_takes_no_name_away),
                                       TEST(test_one_that_is_gone_lets_go_by_its_id)};
    return cmocka_run_group_tests_name("services/keys_organization_names", tests, NULL, NULL);
}
