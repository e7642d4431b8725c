/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_canonical.h"

#include "engine/grammar/number.h"

enum { DEPTH_MAX = 10000 };

static uint64_t mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void add_word(uint64_t hash[2], uint64_t word) {
    hash[0] = mix(hash[0] * 0x9e3779b97f4a7c15u + word + 1);
    hash[1] = mix((hash[1] ^ word) * 0xd1b54a32d192ed03u + 0x632be59bd9b4e019u);
}

static void add_text(uint64_t hash[2], struct bytes_view text) {
    add_word(hash, text.length);
    for (size_t i = 0; i < text.length; i++) add_word(hash, text.data[i]);
}

static bool hash_value(const struct json_value *value, uint64_t out[2]);

/** Members count in any order: their hashes are added up. */
static bool hash_members(const struct json_value *object, uint64_t out[2]) {
    uint64_t sum[2] = {0, 0};
    for (const struct json_value *member = object->first; member != NULL; member = member->next) {
        uint64_t of[2] = {5, 6}, value[2];
        if (!hash_value(member, value)) return false;
        add_text(of, member->name);
        add_word(of, value[0]);
        add_word(of, value[1]);
        sum[0] += of[0];
        sum[1] += of[1];
    }
    add_word(out, sum[0]);
    add_word(out, sum[1]);
    return true;
}

static bool hash_value(const struct json_value *value, uint64_t out[2]) {
    out[0] = 1;
    out[1] = 2;
    add_word(out, value->kind);
    switch (value->kind) {
    case JSON_KIND_NULL:
        return true;
    case JSON_KIND_BOOLEAN:
        add_word(out, value->boolean);
        return true;
    case JSON_KIND_STRING:
        add_text(out, value->string);
        return true;
    case JSON_KIND_NUMBER: {
        struct bytes text;
        bytes_init(&text, value->text.length + 4096);
        bool ok = number_canonical(value->text, &text);
        if (ok) add_text(out, bytes_view(&text));
        bytes_deinit(&text);
        return ok;
    }
    case JSON_KIND_ARRAY:
        for (const struct json_value *item = value->first; item != NULL; item = item->next) {
            uint64_t of[2];
            if (!hash_value(item, of)) return false;
            add_word(out, of[0]);
            add_word(out, of[1]);
        }
        return true;
    default:
        return hash_members(value, out);
    }
}

static bool read(struct bytes_view json, struct arena *arena, struct json_value **out) {
    struct json_problem problem;
    arena_init(arena, (size_t)1 << 30);
    return json_read(json, DEPTH_MAX, INT64_MAX, arena, out, &problem) == STATUS_OK;
}

bool canonical_hash(struct bytes_view json, uint64_t out[2]) {
    struct arena arena;
    struct json_value *value;
    bool ok = read(json, &arena, &value) && hash_value(value, out);
    arena_deinit(&arena);
    return ok;
}

formula canonical_formula(struct schema *schema, struct bytes_view json) {
    struct json_problem problem;
    struct json_value *value; /* the formula lends from its texts, so it lives as long as the schema */
    if (json_read(json, DEPTH_MAX, INT64_MAX, &schema->arena, &value, &problem) != STATUS_OK) return FORMULA_NONE;
    return schema_make_constant(schema, 0, value);
}
