/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/number_fixture.h"

#include <string.h>

enum { LIST_MAX = 64 };

static number_set listed(struct number_pool *pool, struct bytes_view text, bool one_of) {
    struct bytes_view items[LIST_MAX];
    size_t count = 0, from = 0;
    for (size_t i = 0; i <= text.length && count < LIST_MAX; i++) {
        if (i < text.length && text.data[i] != ',') continue;
        items[count++] = bytes_view_of(text.data + from, i - from);
        from = i + 1;
    }
    return one_of ? number_one_of(pool, items, count) : number_none_of(pool, items, count);
}

static number_set rule(struct number_pool *pool, struct bytes_view text) {
    if (text.length < 2) return NUMBER_FAILED;
    bool open = text.data[1] != '=';
    struct bytes_view bound = bytes_view_of(text.data + (open ? 1 : 2), text.length - (open ? 1 : 2));
    struct bytes_view rest = bytes_view_of(text.data + 1, text.length - 1);
    switch (text.data[0]) {
    case '>':
        return number_at_least(pool, bound, open);
    case '<':
        return number_at_most(pool, bound, open);
    case '*':
        return number_multiple_of(pool, rest);
    case '~':
        return number_not_multiple_of(pool, rest);
    case '!':
        return listed(pool, rest, false);
    case '=':
        return listed(pool, rest, true);
    default:
        return NUMBER_FAILED;
    }
}

number_set number_rules(struct number_pool *pool, const char *rules) {
    number_set set = NUMBER_ANY;
    while (*rules != 0) {
        size_t length = strcspn(rules, " \n");
        if (length != 0) set = number_and(pool, set, rule(pool, bytes_view_of(rules, length)));
        rules += length;
        rules += strspn(rules, " \n");
    }
    return set;
}

number_state number_walk(struct number_pool *pool, number_state state, const char *text) {
    for (; *text != 0; text++) state = number_step(pool, state, (uint8_t)*text);
    return state;
}
