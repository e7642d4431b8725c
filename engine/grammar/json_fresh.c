/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_fresh.h"

#include <stdlib.h>

/** Without memory it is not avoided, and then refused. */
static void append(struct others *others, struct bytes_view text) {
    if (others->count == others->capacity) {
        uint32_t capacity = others->capacity == 0 ? 16 : 2 * others->capacity;
        struct bytes_view *texts = realloc(others->texts, capacity * sizeof *texts);
        if (texts == NULL) return;
        others->texts = texts;
        others->capacity = capacity;
    }
    others->texts[others->count++] = text;
}

void others_refused(struct others *others, struct bytes text) {
    others->refused[others->refused_count++] = text;
    append(others, bytes_view(&text));
}

void others_deinit(struct others *others) {
    for (uint32_t i = 0; i < others->refused_count; i++) bytes_deinit(&others->refused[i]);
    free(others->texts);
}

static void add(struct others *others, const uint8_t *data, size_t length) {
    if (others->count < OTHERS_SEEN_MAX) append(others, (struct bytes_view){data, length});
}

void others_strings(struct others *others, const struct seen_text *seen) {
    for (; seen != NULL; seen = seen->before)
        if (seen->text.data[0] == '"' && memchr(seen->text.data, '\\', seen->text.length) == NULL)
            add(others, seen->text.data + 1, seen->text.length - 2);
}

void others_numbers(struct others *others, const struct seen_text *seen) {
    for (; seen != NULL; seen = seen->before)
        if (seen->text.data[0] == '-' || (seen->text.data[0] >= '0' && seen->text.data[0] <= '9'))
            add(others, seen->text.data, seen->text.length);
}

void others_rests(struct others *others, const struct seen_text *seen, struct bytes_view begun) {
    for (; seen != NULL; seen = seen->before)
        if (bytes_view_begins(seen->text, begun))
            add(others, seen->text.data + begun.length, seen->text.length - begun.length);
}

/* ---- numbers: as regex_fresh.c does it, byte by byte ---- */

/** Where the best text so far leaves the tree of the others. */
struct exit {
    struct bytes_view along; /* so far on the way to one of them */
    uint8_t byte;            /* 0: it ends there */
    number_state behind;
    uint32_t length; /* UINT32_MAX: there is none yet */
};

static bool is_taken(const struct bytes_view *others, size_t count, struct bytes_view along, int byte) {
    for (size_t i = 0; i < count; i++)
        if (bytes_view_begins(others[i], along) &&
            byte == (others[i].length > along.length ? others[i].data[along.length] : 0))
            return true;
    return false;
}

static void leave_here(struct number_pool *pool, number_state state, const struct bytes_view *others, size_t count,
                       struct bytes_view along, struct exit *best) {
    uint32_t depth = (uint32_t)along.length;
    if (number_accepts(pool, state) && !is_taken(others, count, along, 0) && depth < best->length)
        *best = (struct exit){along, 0, state, depth};
    for (const char *byte = "0123456789-.eE"; *byte != '\0' && depth + 1 < best->length; byte++) {
        if (is_taken(others, count, along, *byte)) continue;
        number_state behind = number_step(pool, state, (uint8_t)*byte);
        uint32_t rest = number_shortest(pool, behind, NULL);
        if (rest != UINT32_MAX && depth + 1 + rest < best->length)
            *best = (struct exit){along, (uint8_t)*byte, behind, depth + 1 + rest};
    }
}

uint32_t number_shortest_but(struct number_pool *pool, number_state state, const struct bytes_view *others,
                             size_t count, struct bytes *out) {
    struct exit best = {.length = UINT32_MAX};
    if (count == 0) return number_shortest(pool, state, out);
    for (size_t i = 0; i < count; i++) {
        number_state at = state;
        for (size_t length = 0; length < best.length && at != NUMBER_DEAD && at != NUMBER_STATE_FAILED; length++) {
            bool before = false;
            for (size_t j = 0; j < i && !before; j++)
                before = bytes_view_begins(others[j], (struct bytes_view){others[i].data, length});
            if (!before) leave_here(pool, at, others, count, (struct bytes_view){others[i].data, length}, &best);
            if (length == others[i].length) break;
            at = number_step(pool, at, others[i].data[length]);
        }
    }
    if (best.length == UINT32_MAX || out == NULL) return best.length;
    bool ok = bytes_append(out, best.along.data, best.along.length) == STATUS_OK;
    if (ok && best.byte != 0)
        ok = bytes_append_byte(out, best.byte) == STATUS_OK && number_shortest(pool, best.behind, out) != UINT32_MAX;
    return ok ? best.length : UINT32_MAX;
}

/* ---- what has come of a string ---- */

/** The text up to `last` is `text`, from its quote on (names: without it). */
static bool is_same(const struct text_node *last, struct bytes_view text, size_t length) {
    for (; last != NULL && length > 0 && last->byte == text.data[length - 1]; last = last->before) length--;
    return length == 0 && last != NULL && last->byte == '"';
}

bool text_is_apart(const struct frame *frame, const struct text_node *text) {
    enum { MADE_UP = 1, LOOKED_AT = 1024 }; /* characters of those that are made up, for no more than some sixty */
    size_t length = 0;
    for (const struct text_node *node = text; node != NULL && node->byte != '"'; node = node->before)
        if (node->byte == '\\' || ++length == LOOKED_AT) return false;
    if (length <= MADE_UP) return false;
    for (const struct seen_text *seen = frame->texts; seen != NULL; seen = seen->before) {
        struct bytes_view inside = seen->text;
        if (frame->kind == FRAME_ARRAY && (inside.length < 2 || inside.data[0] != '"')) continue;
        if (frame->kind == FRAME_ARRAY) inside = (struct bytes_view){inside.data + 1, inside.length - 2};
        if (inside.length == length && is_same(text, inside, length)) return false;
    }
    return true;
}

/** What stands behind the quote. False: too long, or with escapes. */
static bool plain_text(const struct text_node *text, uint8_t *out, size_t capacity, struct bytes_view *out_text) {
    size_t at = capacity;
    for (; text != NULL && text->byte != '"'; text = text->before) {
        if (text->byte == '\\' || at == 0) return false;
        out[--at] = text->byte;
    }
    *out_text = (struct bytes_view){out + at, capacity - at};
    return true;
}

bool names_state(struct json_machine *m, const struct frame *frame, const struct text_node *text, uint32_t *out) {
    enum { TEXT_MAX = 256, SELECTORS_LOOKED_AT = 8 };
    uint8_t local[TEXT_MAX];
    struct bytes_view begun;
    uint32_t count = 0;
    *out = 0;
    for (uint32_t i = 0; i < frame->item_count; i++)
        count += frame->joint->objects[frame->items[i].index].form->selector_count;
    if (count == 0) return true;
    if (count > SELECTORS_LOOKED_AT || !plain_text(text, local, sizeof local, &begun)) return false;
    if (!budget_spend(&m->shapes->schema->budget, (int64_t)(count * begun.length) / 64)) return false;
    for (uint32_t i = 0; i < frame->item_count; i++) {
        const struct object_form *form = frame->joint->objects[frame->items[i].index].form;
        for (uint32_t s = 0; s < form->selector_count; s++)
            *out = (uint32_t)hash_mix(*out * 0x9e3779b97f4a7c15u +
                                      regex_walk(m->shapes->schema->regexes, form->selectors[s], begun));
    }
    return true;
}
