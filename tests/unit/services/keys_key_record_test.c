/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/key_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { FIELDS_MAX = 600 };

/** HGETALL's reply made of words, in reverse order of the pairs: Redis promises no order. */
struct fields {
    struct redis_reply reply, items[FIELDS_MAX];
};

static const struct redis_reply *fields_of(struct fields *fields, const struct bytes_view *words, size_t count) {
    assert_true(count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i += 2) {
        fields->items[i] = (struct redis_reply){.type = REDIS_STRING, .string = words[count - 2 - i]};
        fields->items[i + 1] = (struct redis_reply){.type = REDIS_STRING, .string = words[count - 1 - i]};
    }
    fields->reply = (struct redis_reply){.type = REDIS_ARRAY, .count = count, .items = fields->items};
    return &fields->reply;
}

#define HASH_HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static struct key_record sample(void) {
    struct key_record record = {.id = "abcdefghijkl",
                                .name = "a \"quoted\" n\xc3\xa4me\nline\x01",
                                .tenant = "acme",
                                .last = "wxyz",
                                .created_at = 1764000000,
                                .expires_at = 1800000000,
                                .revoked_at = 1764000001,
                                .limits = {60, 1000000000000}};
    for (int i = 0; i < KEY_HASH_BYTES; i++) record.hash[i] = (uint8_t)i;
    record.models[record.model_count++] = (struct key_model_limits){"a:model/with \xe2\x82\xac", {0, KEY_UNLIMITED}};
    record.models[record.model_count++] = (struct key_model_limits){"small", {KEY_UNLIMITED, 5}};
    return record;
}

static void assert_records_equal(const struct key_record *a, const struct key_record *b) {
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->tenant, b->tenant);
    assert_string_equal(a->last, b->last);
    assert_memory_equal(a->hash, b->hash, KEY_HASH_BYTES);
    assert_int_equal(a->created_at, b->created_at);
    assert_int_equal(a->expires_at, b->expires_at);
    assert_int_equal(a->revoked_at, b->revoked_at);
    assert_memory_equal(&a->limits, &b->limits, sizeof a->limits);
    assert_int_equal(a->model_count, b->model_count);
    for (size_t i = 0; i < a->model_count; i++) {
        assert_string_equal(a->models[i].model, b->models[i].model);
        assert_memory_equal(&a->models[i].limits, &b->models[i].limits, sizeof a->limits);
    }
}

static void round_trip(const struct key_record *record, const struct bytes_view *extra, size_t extra_count) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct bytes_view *words = NULL, all[FIELDS_MAX];
    size_t count = 0;
    assert_int_equal(key_record_write(record, &arena, &words, &count, NULL), STATUS_OK);
    memcpy(all, words, count * sizeof *words);
    if (extra_count > 0) memcpy(all + count, extra, extra_count * sizeof *extra);
    static struct fields fields;
    struct key_record back;
    struct error err = {0};
    if (key_record_read(record->id, fields_of(&fields, all, count + extra_count), &arena, &back, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_records_equal(record, &back);
    arena_deinit(&arena);
}

static void test_record_comes_back_as_it_was_written(void **state) {
    (void)state;
    struct key_record record = sample();
    round_trip(&record, NULL, 0);
}

static void test_absent_things_stay_absent(void **state) {
    (void)state;
    struct key_record record = {.id = "abcdefghijkl",
                                .name = "",
                                .tenant = "abcdefghijkl",
                                .last = "wxyz",
                                .created_at = 1,
                                .limits = {KEY_UNLIMITED, KEY_UNLIMITED}};
    round_trip(&record, NULL, 0);
}

static void test_sixty_four_models_come_back(void **state) {
    (void)state;
    struct key_record record = sample();
    static char names[LIMIT_KEY_MODEL_LIMITS][16];
    for (record.model_count = 0; record.model_count < LIMIT_KEY_MODEL_LIMITS; record.model_count++) {
        snprintf(names[record.model_count], sizeof names[0], "model-%02zu", record.model_count);
        record.models[record.model_count] =
            (struct key_model_limits){names[record.model_count], {(int64_t)record.model_count, 7}};
    }
    round_trip(&record, NULL, 0);
}

static void test_unknown_fields_are_ignored(void **state) {
    (void)state;
    struct key_record record = sample();
    struct bytes_view extra[] = {bytes_view_string("tokens_per_month"),
                                 bytes_view_string("any"),
                                 bytes_view_string("requests_per_minutes"),
                                 bytes_view_string("x"),
                                 bytes_view_string(""),
                                 bytes_view_of("\0\xff", 2)};
    round_trip(&record, extra, 6);
}

static void test_damaged_record_is_data_loss_and_named(void **state) {
    (void)state;
    static const struct {
        const char *field, *value;
    } damages[] = {
        {"created_at", "soon"},
        {"created_at", "-5"},
        {"created_at", "0"},
        {"expires_at", "1e9"},
        {"revoked_at", ""},
        {"hash", "00"},
        {"hash", "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"},
        {"last", "xyz"},
        {"requests_per_minute", "many"},
        {"tokens_per_minute:small", "99999999999999999999"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct bytes_view words[] = {bytes_view_string("created_at"),     bytes_view_string("1"),
                                     bytes_view_string("hash"),           bytes_view_string(HASH_HEX),
                                     bytes_view_string("tenant"),         bytes_view_string("t"),
                                     bytes_view_string("last"),           bytes_view_string("wxyz"),
                                     bytes_view_string(damages[i].field), bytes_view_string(damages[i].value)};
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct key_record record;
        struct error err = {0};
        static struct fields fields;
        fields_of(&fields, words, 10);
        /* the damaged field last, as if Redis listed it so: it must win over the good one */
        struct redis_reply first[2] = {fields.items[0], fields.items[1]};
        memmove(fields.items, fields.items + 2, 8 * sizeof *fields.items);
        memcpy(fields.items + 8, first, sizeof first);
        assert_int_equal(key_record_read("abcdefghijkl", &fields.reply, &arena, &record, &err), STATUS_DATA_LOSS);
        assert_non_null(strstr(err.message, "abcdefghijkl"));
        arena_deinit(&arena);
    }
}

static void test_missing_fields_are_data_loss(void **state) {
    (void)state;
    struct bytes_view words[] = {
        bytes_view_string("created_at"), bytes_view_string("1"), bytes_view_string("hash"), bytes_view_string(HASH_HEX),
        bytes_view_string("tenant"),     bytes_view_string("t"), bytes_view_string("last"), bytes_view_string("wxyz")};
    for (int left_out = 0; left_out < 4; left_out++) {
        struct bytes_view kept[6];
        for (int i = 0, to = 0; i < 4; i++) {
            if (i == left_out) continue;
            kept[to++] = words[2 * i];
            kept[to++] = words[2 * i + 1];
        }
        struct arena arena;
        arena_init(&arena, 1 << 20);
        static struct fields fields;
        struct key_record record;
        assert_int_equal(key_record_read("abcdefghijkl", fields_of(&fields, kept, 6), &arena, &record, NULL),
                         STATUS_DATA_LOSS);
        arena_deinit(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_comes_back_as_it_was_written),
        cmocka_unit_test(test_absent_things_stay_absent),
        cmocka_unit_test(test_sixty_four_models_come_back),
        cmocka_unit_test(test_unknown_fields_are_ignored),
        cmocka_unit_test(test_damaged_record_is_data_loss_and_named),
        cmocka_unit_test(test_missing_fields_are_data_loss),
    };
    return cmocka_run_group_tests_name("services/keys_key_record", tests, NULL, NULL);
}
