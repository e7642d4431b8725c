/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/batches.h"

#include "bora/internal/v1/worker.pb-c.h"
#include "rpc/transcode.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

/** An event of about `text_bytes`. */
static enum status add(struct batches *batches, uint64_t generation, size_t text_bytes, size_t max_bytes,
                       size_t *out_bytes) {
    Bora__Internal__V1__LinkEvent event = BORA__INTERNAL__V1__LINK_EVENT__INIT;
    Bora__Internal__V1__Delta delta = BORA__INTERNAL__V1__DELTA__INIT;
    uint8_t *text = calloc(1, text_bytes + 1);
    event.generation = generation;
    event.kind_case = BORA__INTERNAL__V1__LINK_EVENT__KIND_DELTA;
    event.delta = &delta;
    delta.text = (ProtobufCBinaryData){.data = text, .len = text_bytes};
    enum status status = batches_add(batches, &event.base, max_bytes, out_bytes);
    free(text);
    return status;
}

/** The elements of the oldest batch, which must be the events from `first` on; how many. Popped. */
static uint64_t take(struct batches *batches, uint64_t first) {
    struct bytes_view cursor = batches_first(batches), element;
    struct arena arena;
    uint64_t count = 0;
    arena_init(&arena, 64 << 20);
    /* The whole is one message too. */
    ProtobufCMessage *unpacked = NULL;
    assert_int_equal(protobuf_unpack(&bora__internal__v1__link_events__descriptor, cursor, &arena, &unpacked, NULL),
                     STATUS_OK);
    const Bora__Internal__V1__LinkEvents *events = (const void *)unpacked;
    while (batches_next(&cursor, &element)) {
        assert_int_equal(protobuf_unpack(&bora__internal__v1__link_event__descriptor, element, &arena, &unpacked, NULL),
                         STATUS_OK);
        assert_int_equal(((const Bora__Internal__V1__LinkEvent *)unpacked)->generation, first + count);
        count++;
    }
    assert_int_equal(cursor.length, 0);
    assert_int_equal(events->n_events, count);
    arena_deinit(&arena);
    batches_pop(batches);
    return count;
}

static void test_what_waits_goes_together(void **state) {
    (void)state;
    struct batches batches = {0};
    assert_int_equal(batches_first(&batches).length, 0);
    size_t bytes, sum = 0;
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(add(&batches, i, i * 100, SIZE_MAX, &bytes), STATUS_OK);
        sum += bytes;
    }
    assert_int_equal(batches.bytes, sum);
    assert_int_equal(batches_first(&batches).length, sum);
    assert_int_equal(take(&batches, 0), 5);
    assert_int_equal(batches.bytes, 0);
    assert_int_equal(add(&batches, 9, 1, SIZE_MAX, NULL), STATUS_OK);
    assert_int_equal(take(&batches, 9), 1);
    batches_deinit(&batches);
}

static void test_a_batch_is_bounded_but_for_one_large_element(void **state) {
    (void)state;
    enum { LARGE = 3 * BATCH_BYTES, SMALL = 1000, COUNT = 300 };
    struct batches batches = {0};
    assert_int_equal(add(&batches, 0, LARGE, SIZE_MAX, NULL), STATUS_OK);
    for (uint64_t i = 1; i < COUNT; i++) assert_int_equal(add(&batches, i, SMALL, SIZE_MAX, NULL), STATUS_OK);
    assert_int_equal(take(&batches, 0), 1);
    uint64_t next = 1;
    int count = 0;
    for (; batches_first(&batches).length > 0; count++) {
        assert_true(batches_first(&batches).length < BATCH_BYTES + 2 * SMALL);
        next += take(&batches, next);
    }
    assert_int_equal(next, COUNT);
    assert_in_range(count, COUNT * SMALL / BATCH_BYTES, COUNT * SMALL / BATCH_BYTES + 2);
    batches_deinit(&batches);
}

static void test_all_together_are_bounded(void **state) {
    (void)state;
    enum { MOST = 1000 };
    struct batches batches = {0};
    assert_int_equal(add(&batches, 0, 600, MOST, NULL), STATUS_OK);
    size_t before = batches.bytes;
    assert_int_equal(add(&batches, 1, 600, MOST, NULL), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(batches.bytes, before);
    assert_int_equal(add(&batches, 1, 300, MOST, NULL), STATUS_OK);
    assert_int_equal(take(&batches, 0), 2);
    assert_int_equal(add(&batches, 2, 600, MOST, NULL), STATUS_OK);
    batches_clear(&batches);
    assert_int_equal(batches.bytes, 0);
    assert_int_equal(batches_first(&batches).length, 0);
    batches_deinit(&batches);
}

static void test_malformed_bytes_show(void **state) {
    (void)state;
    static const uint8_t cut[] = {0x0a, 2, 8, 1, 0x0a, 9, 8};
    struct bytes_view cursor = bytes_view_of(cut, sizeof cut), element;
    assert_true(batches_next(&cursor, &element));
    assert_int_equal(element.length, 2);
    assert_false(batches_next(&cursor, &element));
    assert_int_not_equal(cursor.length, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_waits_goes_together),
        cmocka_unit_test(test_a_batch_is_bounded_but_for_one_large_element),
        cmocka_unit_test(test_all_together_are_bounded),
        cmocka_unit_test(test_malformed_bytes_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
