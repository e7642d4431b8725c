/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The shortest text that is none of some: it leaves the tree of those somewhere, and behind that place all is free. */
#include "engine/grammar/regex_internal.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/** Where the best text so far leaves the tree. */
struct exit {
    const struct bytes_view *along; /* on the way to this text, */
    size_t bytes;                   /* behind so many of its bytes, */
    uint32_t code_point;            /* by this character, UINT32_MAX: it ends there; */
    regex behind;                   /* from there on anything */
    uint32_t length;                /* characters in all; REGEX_UNBOUNDED: there is none yet */
};
struct fresh {
    struct regex_pool *pool;
    struct bytes_view *others; /* [count] in order, so that those that begin alike lie side by side */
    size_t count;
    struct exit best;
};

/** Both begin with the first bytes of `with`, which has as many. */
static bool begins_alike(struct bytes_view text, struct bytes_view with, size_t bytes) {
    return bytes_view_begins(text, (struct bytes_view){with.data, bytes});
}

/** One of the others goes on so; REGEX_CODE_POINT_LAST + 1: ends there. `along` is the first that begins so. */
static bool is_taken(const struct fresh *fresh, const struct bytes_view *along, size_t bytes, uint32_t code_point) {
    for (const struct bytes_view *at = along; at < fresh->others + fresh->count && begins_alike(*at, *along, bytes);
         at++) {
        struct bytes_view other = *at;
        uint32_t next = REGEX_CODE_POINT_LAST + 1;
        bool valid;
        if (other.length > bytes) (void)text_decode(other.data + bytes, other.length - bytes, &next, &valid);
        if (next == code_point) return true;
    }
    return false;
}

/** A character of the way that none of the others has here, letters and digits first; UINT32_MAX: none is known. */
static uint32_t free_character(const struct fresh *fresh, const struct bytes_view *along, size_t bytes,
                               const struct regex_way *way) {
    static const char FIRST[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if (!is_taken(fresh, along, bytes, way->code_point)) return way->code_point;
    for (const char *c = FIRST; *c != '\0'; c++)
        if (way->ascii[*c / 64] >> *c % 64 & 1 && !is_taken(fresh, along, bytes, (uint32_t)*c)) return (uint32_t)*c;
    for (uint32_t c = 0; c < 128; c++)
        if (way->ascii[c / 64] >> c % 64 & 1 && !is_taken(fresh, along, bytes, c)) return c;
    return UINT32_MAX;
}

/** Ways out of the tree at one of its nodes, `depth` characters down. False: the budget. */
static bool leave_here(struct fresh *fresh, regex state, const struct bytes_view *along, size_t bytes, uint32_t depth) {
    struct regex_pool *pool = fresh->pool;
    if (regex_accepts(pool, state) && !is_taken(fresh, along, bytes, REGEX_CODE_POINT_LAST + 1)) {
        fresh->best = (struct exit){along, bytes, UINT32_MAX, REGEX_EMPTY, depth};
        return true;
    }
    const struct regex_fan *fan = regex_fan(pool, state, true);
    if (fan == NULL || !budget_spend(pool->budget, 1 + fan->count / 8)) return false;
    for (uint32_t i = 0; i < fan->count && fresh->best.length > depth + 1; i++) {
        regex behind = regex_settle(pool, fan->ways[i].target);
        uint32_t length = regex_shortest(pool, behind, NULL);
        if (behind == REGEX_FAILED) return false;
        if (length == REGEX_UNBOUNDED || depth + 1 + length >= fresh->best.length) continue;
        uint32_t character = free_character(fresh, along, bytes, &fan->ways[i]);
        if (character != UINT32_MAX) fresh->best = (struct exit){along, bytes, character, behind, depth + 1 + length};
    }
    return true;
}

/** Nodes on the way to one of the others, but for those that were on the way to one before it. */
static bool leave_along(struct fresh *fresh, regex a, const struct bytes_view *along) {
    uint32_t depth = 0;
    for (size_t bytes = 0;; depth++) {
        bool before = along > fresh->others && begins_alike(along[-1], *along, bytes), valid;
        uint32_t code_point;
        if (depth >= fresh->best.length) return true;
        if (!before && !leave_here(fresh, a, along, bytes, depth)) return false;
        if (bytes == along->length) return true;
        bytes += text_decode(along->data + bytes, along->length - bytes, &code_point, &valid);
        a = valid ? regex_step(fresh->pool, a, code_point) : REGEX_NOTHING;
        if (a == REGEX_NOTHING) return true;
        if (a == REGEX_FAILED) return false;
    }
}

static int compare_texts(const void *a, const void *b) {
    return bytes_view_compare(*(const struct bytes_view *)a, *(const struct bytes_view *)b);
}

uint32_t regex_shortest_but(struct regex_pool *pool, regex a, const struct bytes_view *others, size_t count,
                            struct bytes *out) {
    struct fresh fresh = {.pool = pool, .count = count, .best = {.length = REGEX_UNBOUNDED}};
    const struct exit *best = &fresh.best;
    uint8_t encoded[4];
    if (count == 0 || a == REGEX_NOTHING || a == REGEX_FAILED) return regex_shortest(pool, a, out);
    if (!budget_spend(pool->budget, 1 + 2 * (int64_t)count)) return REGEX_UNBOUNDED;
    fresh.others = malloc(count * sizeof *fresh.others);
    if (fresh.others == NULL) return REGEX_UNBOUNDED;
    memcpy(fresh.others, others, count * sizeof *others);
    qsort(fresh.others, count, sizeof *fresh.others, compare_texts);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) ok = leave_along(&fresh, a, &fresh.others[i]);
    if (ok && best->length != REGEX_UNBOUNDED && out != NULL) {
        ok = bytes_append(out, best->along->data, best->bytes) == STATUS_OK;
        if (ok && best->code_point != UINT32_MAX)
            ok = bytes_append(out, encoded, text_encode(best->code_point, encoded)) == STATUS_OK &&
                 regex_shortest(pool, best->behind, out) != REGEX_UNBOUNDED;
    }
    free(fresh.others);
    return ok ? best->length : REGEX_UNBOUNDED;
}
