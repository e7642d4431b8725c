/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The limits of an organisation, a workspace or a key: over all models, and further ones for single models.
 *
 * In a Redis hash each is a field of its own, only where there is a limit: "tokens_per_minute", and with a model "tokens_per_minute:<model>". Money is kept
 * in nanos (10^-9 of the currency's unit).
 */
#ifndef SERVICES_KEYS_LIMIT_SET_H
#define SERVICES_KEYS_LIMIT_SET_H

#include "base/arena.h"
#include "base/limits.h"
#include "store/limits.h"
#include "store/redis.h"

struct model_limits {
    const char *model;
    struct limits_bounds bounds; /* at least one */
};
/** Strings and the list are lent, or in an arena. */
struct limit_set {
    struct limits_bounds all;
    struct model_limits *models; /* room for LIMIT_KEY_MODEL_LIMITS where it was read */
    size_t model_count;
};
#define LIMIT_SET_EMPTY ((struct limit_set){.all = LIMITS_UNLIMITED})

extern const char *const limit_names[LIMITS_KINDS]; /* as in keys.proto and in Redis */

bool limit_bounds_any(const struct limits_bounds *bounds);
bool limit_bounds_equal(const struct limits_bounds *a, const struct limits_bounds *b);
bool limit_sets_equal(const struct limit_set *a, const struct limit_set *b);
/** Each bound that is absent from `bounds` is taken from `defaults`. */
void limit_bounds_fill(struct limits_bounds *bounds, const struct limits_bounds *defaults);

/** A list of words for HSET that grows in an arena: field, value, field, value... One check of `failed` at the end. */
struct word_list {
    struct arena *arena;
    struct bytes_view *words;
    size_t count, capacity;
    bool failed; /* the arena is exhausted */
};
void word_list_add(struct word_list *list, const char *text); /* lent; NULL: failed */
void word_list_put(struct word_list *list, const char *field, const char *value);
void word_list_put_number(struct word_list *list, const char *field, int64_t value);
/** `prefix`: in front of each field's name. */
void word_list_put_bounds(struct word_list *list, const char *prefix, const struct limits_bounds *bounds,
                          const char *model_or_null);
void word_list_put_limits(struct word_list *list, const struct limit_set *limits);

/**
 * A field of a hash: true when it is a limit's ("<prefix><name>" or, with `models`, "<name>:<model>"), which was then read into `out`, or is malformed
 * (`*out_malformed`), or does not fit (an exhausted arena: `*out_malformed` too).
 */
bool limit_set_read_field(struct limit_set *out, const char *field, struct bytes_view value, struct arena *arena,
                          bool *out_malformed);
bool limit_bounds_read_field(struct limits_bounds *out, const char *prefix, const char *field, struct bytes_view value,
                             bool *out_malformed);
/** Models by name. */
void limit_set_sort(struct limit_set *set);

#endif
