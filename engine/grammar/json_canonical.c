/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_canonical.h"

#include "engine/grammar/intern.h"

enum { DEPTH_MAX = 10000 };

static void add_word(uint64_t hash[2], uint64_t word) {
    hash[0] = hash_mix(hash[0] * 0x9e3779b97f4a7c15u + word + 1);
    hash[1] = hash_mix((hash[1] ^ word) * 0xd1b54a32d192ed03u + 0x632be59bd9b4e019u);
}

static void add_text(uint64_t hash[2], struct bytes_view text) {
    add_word(hash, text.length);
    for (size_t i = 0; i < text.length; i++) add_word(hash, text.data[i]);
}

/** Exponents may have any number of digits: they are compared by what is left of them modulo two primes. */
static void add_exponent(uint64_t hash[2], struct bytes_view digits, int64_t shift) {
    static const uint64_t PRIMES[] = {2147483647u, 2147483629u};
    bool negative = digits.length > 0 && digits.data[0] == '-';
    for (size_t p = 0; p < 2; p++) {
        uint64_t prime = PRIMES[p], rest = 0;
        for (size_t i = 0; i < digits.length; i++)
            if (digits.data[i] != '-' && digits.data[i] != '+') rest = (rest * 10 + (digits.data[i] - '0')) % prime;
        if (negative) rest = (prime - rest) % prime;
        int64_t by = shift % (int64_t)prime;
        add_word(hash, (rest + (uint64_t)(by < 0 ? by + (int64_t)prime : by)) % prime);
    }
}

/** The digits from the first to the last that is not 0, and the exponent of the last. */
static void hash_number(struct bytes_view text, uint64_t out[2]) {
    size_t end = 0, point = SIZE_MAX, first = SIZE_MAX, last = 0;
    bool negative = text.length > 0 && text.data[0] == '-';
    for (; end < text.length && (text.data[end] | 0x20) != 'e'; end++) {
        if (text.data[end] == '.') point = end;
        if (text.data[end] < '1' || text.data[end] > '9') continue;
        if (first == SIZE_MAX) first = end;
        last = end;
    }
    if (first == SIZE_MAX) return; /* 0, whatever its sign and its exponent */
    add_word(out, 1 + negative);
    for (size_t i = first; i <= last; i++)
        if (i != point) add_word(out, text.data[i]);
    if (point == SIZE_MAX) point = end;
    int64_t shift = last < point ? (int64_t)(point - 1 - last) : -(int64_t)(last - point);
    struct bytes_view exponent = {text.data + end + 1, text.length > end ? text.length - end - 1 : 0};
    add_exponent(out, exponent, shift);
}

/** Members count in any order: their hashes are added up. */
static bool hash_members(const struct json_value *object, uint64_t out[2]) {
    uint64_t sum[2] = {0, 0};
    for (const struct json_value *member = object->first; member != NULL; member = member->next) {
        uint64_t of[2] = {5, 6}, value[2];
        if (!canonical_hash_of(member, value)) return false;
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

bool canonical_hash_of(const struct json_value *value, uint64_t out[2]) {
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
    case JSON_KIND_NUMBER:
        hash_number(value->text, out);
        return true;
    case JSON_KIND_ARRAY:
        for (const struct json_value *item = value->first; item != NULL; item = item->next) {
            uint64_t of[2];
            if (!canonical_hash_of(item, of)) return false;
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
    bool ok = read(json, &arena, &value) && canonical_hash_of(value, out);
    arena_deinit(&arena);
    return ok;
}

formula canonical_formula(struct schema *schema, struct bytes_view json) {
    struct json_problem problem;
    struct json_value *value; /* the formula lends from its texts, so it lives as long as the schema */
    if (json_read(json, DEPTH_MAX, INT64_MAX, &schema->arena, &value, &problem) != STATUS_OK) return FORMULA_NONE;
    return schema_make_constant(schema, 0, value);
}
