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

enum { FIELDS_MAX = 2000 };

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

#define ORGANIZATION "78c055c2-5f1b-4fab-8573-584a4936ac1b"
#define WORKSPACE "a7f00d6d-c39f-48fa-9d6d-c5882f0879db"

static struct model_limits sample_models[LIMIT_KEY_MODEL_LIMITS];

static struct key_record minimal(void) {
    struct key_record record = {.prefix = "abcdefghijkl",
                                .organization = ORGANIZATION,
                                .workspace = WORKSPACE,
                                .name = "",
                                .created_by = "operator",
                                .last = "wxyz",
                                .version = 1,
                                .created_at = 1,
                                .limits = {.all = LIMITS_UNLIMITED, .models = sample_models}};
    for (int i = 0; i < KEY_HASH_BYTES; i++) record.hash[i] = (uint8_t)i;
    return record;
}

static struct key_record sample(void) {
    static const char *models[] = {"small", "a:model/with \xe2\x82\xac"}, *endpoints[] = {"chat"};
    struct key_record record = minimal();
    record.name = "a \"quoted\" n\xc3\xa4me\nline\x01";
    record.user_id = "somebody";
    record.role = KEY_ROLE_ADMIN;
    record.version = 77;
    record.created_at = 1764000000;
    record.expires_at = 1800000000;
    record.revoked_at = 1764000001;
    record.previous_expires_at = 1764000002;
    record.last_used = 1764000060;
    record.disabled = record.limits_given = true;
    record.models = (struct name_list){models, 2};
    record.endpoints = (struct name_list){endpoints, 1};
    for (int i = 0; i < KEY_HASH_BYTES; i++) record.previous_hash[i] = (uint8_t)(255 - i);
    for (int kind = 0; kind < LIMITS_KINDS; kind++) record.limits.all.of[kind] = LIMITS_MAX - kind;
    sample_models[0] = (struct model_limits){"a:model/with \xe2\x82\xac", LIMITS_UNLIMITED};
    sample_models[0].bounds.of[LIMITS_REQUESTS_PER_MINUTE] = 0;
    sample_models[1] = (struct model_limits){"small", LIMITS_UNLIMITED};
    sample_models[1].bounds.of[LIMITS_SPEND_PER_MONTH] = LIMITS_SPEND_MAX;
    record.limits.model_count = 2;
    return record;
}

static void assert_records_equal(const struct key_record *a, const struct key_record *b) {
    assert_string_equal(a->prefix, b->prefix);
    assert_string_equal(a->organization, b->organization);
    assert_string_equal(a->workspace, b->workspace);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->created_by, b->created_by);
    assert_string_equal(a->user_id != NULL ? a->user_id : "-", b->user_id != NULL ? b->user_id : "-");
    assert_string_equal(a->last, b->last);
    assert_int_equal(a->role, b->role);
    assert_memory_equal(a->hash, b->hash, KEY_HASH_BYTES);
    assert_memory_equal(a->previous_hash, b->previous_hash, KEY_HASH_BYTES);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->created_at, b->created_at);
    assert_int_equal(a->expires_at, b->expires_at);
    assert_int_equal(a->revoked_at, b->revoked_at);
    assert_int_equal(a->previous_expires_at, b->previous_expires_at);
    assert_int_equal(a->last_used, b->last_used);
    assert_int_equal(a->disabled, b->disabled);
    assert_int_equal(a->limits_given, b->limits_given);
    assert_true(name_lists_equal(&a->models, &b->models));
    assert_true(name_lists_equal(&a->endpoints, &b->endpoints));
    assert_true(limit_sets_equal(&a->limits, &b->limits));
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
    if (key_record_read(record->organization, record->prefix, fields_of(&fields, all, count + extra_count), &arena,
                        &back, &err) != STATUS_OK)
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
    struct key_record record = minimal();
    round_trip(&record, NULL, 0);
}

static void test_sixty_four_models_with_all_limits_come_back(void **state) {
    (void)state;
    struct key_record record = sample();
    static char names[LIMIT_KEY_MODEL_LIMITS][16];
    for (size_t i = 0; i < LIMIT_KEY_MODEL_LIMITS; i++) {
        snprintf(names[i], sizeof names[0], "model-%02zu", i);
        sample_models[i].model = names[i];
        for (int kind = 0; kind < LIMITS_KINDS; kind++) sample_models[i].bounds.of[kind] = (int64_t)i * 100 + kind;
    }
    record.limits.model_count = LIMIT_KEY_MODEL_LIMITS;
    round_trip(&record, NULL, 0);
}

static void test_unknown_fields_are_ignored(void **state) {
    (void)state;
    struct key_record record = sample();
    struct bytes_view extra[] = {bytes_view_string("tokens_per_century"),
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
        {"spend_per_month", "-1"},
        {"role", "operator"},
        {"workspace", "short"},
        {"models", "a\n\nb"},
        {"previous_hash", "00"},
        {"version", "x"},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct bytes_view words[] = {bytes_view_string("created_at"),     bytes_view_string("1"),
                                     bytes_view_string("hash"),           bytes_view_string(HASH_HEX),
                                     bytes_view_string("workspace"),      bytes_view_string(WORKSPACE),
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
        assert_int_equal(key_record_read(ORGANIZATION, "abcdefghijkl", &fields.reply, &arena, &record, &err),
                         STATUS_DATA_LOSS);
        assert_non_null(strstr(err.message, "abcdefghijkl"));
        arena_deinit(&arena);
    }
}

static void test_missing_fields_are_data_loss(void **state) {
    (void)state;
    struct bytes_view words[] = {bytes_view_string("created_at"), bytes_view_string("1"),
                                 bytes_view_string("hash"),       bytes_view_string(HASH_HEX),
                                 bytes_view_string("workspace"),  bytes_view_string(WORKSPACE),
                                 bytes_view_string("last"),       bytes_view_string("wxyz")};
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
        assert_int_equal(
            key_record_read(ORGANIZATION, "abcdefghijkl", fields_of(&fields, kept, 6), &arena, &record, NULL),
            STATUS_DATA_LOSS);
        arena_deinit(&arena);
    }
}

static void test_the_sixty_fifth_model_is_data_loss(void **state) {
    (void)state;
    static char fields_text[LIMIT_KEY_MODEL_LIMITS + 1][48];
    struct bytes_view words[2 * (LIMIT_KEY_MODEL_LIMITS + 1)];
    for (size_t i = 0; i <= LIMIT_KEY_MODEL_LIMITS; i++) {
        snprintf(fields_text[i], sizeof fields_text[i], "tokens_per_minute:m%zu", i);
        words[2 * i] = bytes_view_string(fields_text[i]);
        words[2 * i + 1] = bytes_view_string("1");
    }
    struct arena arena;
    arena_init(&arena, 1 << 20);
    static struct fields fields;
    struct key_record record;
    assert_int_equal(key_record_read(ORGANIZATION, "abcdefghijkl",
                                     fields_of(&fields, words, sizeof words / sizeof *words), &arena, &record, NULL),
                     STATUS_DATA_LOSS);
    arena_deinit(&arena);
}

static void test_scopes_are_bound_to_those_of_the_maker(void **state) {
    (void)state;
    const char *ab[] = {"a", "b"}, *a[] = {"a"}, *c[] = {"c"};
    struct name_list all = {0}, one = {a, 1}, two = {ab, 2}, other = {c, 1};
    assert_true(name_list_within(&all, &all));
    assert_true(name_list_within(&one, &all));
    assert_true(name_list_within(&one, &two));
    assert_true(name_list_within(&two, &two));
    assert_false(name_list_within(&all, &one)); /* everything is more than one thing */
    assert_false(name_list_within(&two, &one));
    assert_false(name_list_within(&other, &two));
}

static void test_what_keeps_a_key_from_being_used(void **state) {
    (void)state;
    struct key_record record = minimal();
    assert_null(key_record_refusal(&record, 100));
    record.disabled = true;
    assert_string_equal(key_record_refusal(&record, 100), "the key is disabled");
    record.expires_at = 101;
    record.disabled = false;
    assert_null(key_record_refusal(&record, 100));
    assert_string_equal(key_record_refusal(&record, 101), "the key has expired");
    record.revoked_at = 1;
    assert_string_equal(key_record_refusal(&record, 101), "the key is revoked");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_comes_back_as_it_was_written),
        cmocka_unit_test(test_absent_things_stay_absent),
        cmocka_unit_test(test_sixty_four_models_with_all_limits_come_back),
        cmocka_unit_test(test_the_sixty_fifth_model_is_data_loss),
        cmocka_unit_test(test_scopes_are_bound_to_those_of_the_maker),
        cmocka_unit_test(test_what_keeps_a_key_from_being_used),
        cmocka_unit_test(test_unknown_fields_are_ignored),
        cmocka_unit_test(test_damaged_record_is_data_loss_and_named),
        cmocka_unit_test(test_missing_fields_are_data_loss),
    };
    return cmocka_run_group_tests_name("services/keys_key_record", tests, NULL, NULL);
}
