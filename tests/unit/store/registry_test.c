/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/registry.h"
#include "tests/unit/store/redis_fixture.h"

struct listing {
    struct tally tally;
    size_t count;
    char values[8][32];
};

static void keep_values(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct listing *listing = context;
    listing->count = 0;
    for (size_t i = 0; status == STATUS_OK && i < reply->count && i < 8; i++) {
        memcpy(listing->values[i], reply->items[i].string.data, reply->items[i].string.length + 1);
        listing->count++;
    }
    tally_count(&listing->tally, status, reply, message);
}

static size_t list(struct redis_client *client, struct listing *listing) {
    *listing = (struct listing){.tally = TALLY_INIT};
    registry_list(client, "worker", keep_values, listing);
    tally_wait(&listing->tally, 1);
    assert_int_equal(listing->tally.by_status[STATUS_OK], 1);
    return listing->count;
}

static void announce(struct redis_client *client, const char *id, const char *value, int64_t ttl_ns) {
    struct tally tally = TALLY_INIT;
    registry_announce(client, "worker", id, bytes_view_string(value), ttl_ns, tally_count, &tally);
    tally_wait(&tally, 1);
    assert_int_equal(tally.by_status[STATUS_OK], 1);
}

static void test_members_are_listed_by_id_with_their_newest_value(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    struct listing listing;
    assert_int_equal(list(client, &listing), 0);
    announce(client, "b", "old", 60 * NS_PER_S);
    announce(client, "c", "third", 60 * NS_PER_S);
    announce(client, "a", "first", 60 * NS_PER_S);
    announce(client, "b", "second", 60 * NS_PER_S);
    assert_int_equal(list(client, &listing), 3);
    assert_string_equal(listing.values[0], "first");
    assert_string_equal(listing.values[1], "second");
    assert_string_equal(listing.values[2], "third");
}

static void test_removed_member_is_gone_at_once(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    announce(client, "a", "first", 60 * NS_PER_S);
    struct tally tally = TALLY_INIT;
    registry_remove(client, "worker", "a", tally_count, &tally);
    tally_wait(&tally, 1);
    struct listing listing;
    assert_int_equal(list(client, &listing), 0);
}

static void test_silent_member_is_forgotten_after_its_time_to_live(void **state) {
    struct redis_client *client = ((struct redis_fixture *)*state)->client;
    announce(client, "stays", "here", 60 * NS_PER_S);
    announce(client, "goes", "soon", 100 * NS_PER_MS);
    struct listing listing;
    int64_t until = clock_monotonic_ns(clock_system()) + 20 * NS_PER_S;
    while (list(client, &listing) != 1) assert_true(clock_monotonic_ns(clock_system()) < until);
    assert_string_equal(listing.values[0], "here");
}

int main(void) {
#define REDIS_TEST(name) cmocka_unit_test_setup_teardown(name, redis_fixture_setup, redis_fixture_teardown)
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_members_are_listed_by_id_with_their_newest_value),
        REDIS_TEST(test_removed_member_is_gone_at_once),
        REDIS_TEST(test_silent_member_is_forgotten_after_its_time_to_live),
    };
    return cmocka_run_group_tests_name("store/registry", tests, NULL, NULL);
}
