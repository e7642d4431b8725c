/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/limit_set.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_FIRST = 32 };

const char *const limit_names[LIMITS_KINDS] = {
    [LIMITS_REQUESTS_PER_SECOND] = "requests_per_second",  [LIMITS_REQUESTS_PER_MINUTE] = "requests_per_minute",
    [LIMITS_INPUT_PER_MINUTE] = "input_tokens_per_minute", [LIMITS_OUTPUT_PER_MINUTE] = "output_tokens_per_minute",
    [LIMITS_TOKENS_PER_MINUTE] = "tokens_per_minute",      [LIMITS_TOKENS_PER_DAY] = "tokens_per_day",
    [LIMITS_TOKENS_PER_MONTH] = "tokens_per_month",        [LIMITS_STREAMS] = "concurrent_streams",
    [LIMITS_SPEND_PER_MONTH] = "spend_per_month",
};

/* --- bounds ------------------------------------------------------------------------------------------------------- */

bool limit_bounds_any(const struct limits_bounds *bounds) {
    return !limit_bounds_equal(bounds, &LIMITS_UNLIMITED);
}

bool limit_bounds_equal(const struct limits_bounds *a, const struct limits_bounds *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

bool limit_sets_equal(const struct limit_set *a, const struct limit_set *b) {
    if (!limit_bounds_equal(&a->all, &b->all) || a->model_count != b->model_count) return false;
    for (size_t i = 0; i < a->model_count; i++) {
        if (strcmp(a->models[i].model, b->models[i].model) != 0 ||
            !limit_bounds_equal(&a->models[i].bounds, &b->models[i].bounds))
            return false;
    }
    return true;
}

void limit_bounds_fill(struct limits_bounds *bounds, const struct limits_bounds *defaults) {
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        if (bounds->of[kind] == LIMITS_ABSENT) bounds->of[kind] = defaults->of[kind];
    }
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

void word_list_add(struct word_list *list, const char *text) {
    if (list->count == list->capacity && !list->failed) {
        size_t capacity = list->capacity == 0 ? WORDS_FIRST : 2 * list->capacity;
        struct bytes_view *words = arena_alloc_array(list->arena, capacity, sizeof *words);
        if (words != NULL && list->count > 0) memcpy(words, list->words, list->count * sizeof *words);
        if (words != NULL) list->words = words, list->capacity = capacity;
        list->failed = words == NULL;
    }
    list->failed = list->failed || text == NULL;
    if (!list->failed) list->words[list->count++] = bytes_view_string(text);
}

void word_list_put(struct word_list *list, const char *field, const char *value) {
    word_list_add(list, field);
    word_list_add(list, value);
}

void word_list_put_number(struct word_list *list, const char *field, int64_t value) {
    word_list_put(list, field, arena_printf(list->arena, "%" PRId64, value));
}

void word_list_put_bounds(struct word_list *list, const char *prefix, const struct limits_bounds *bounds,
                          const char *model_or_null) {
    const char *model = model_or_null != NULL ? model_or_null : "", *colon = model_or_null != NULL ? ":" : "";
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        if (bounds->of[kind] != LIMITS_ABSENT)
            word_list_put_number(list, arena_printf(list->arena, "%s%s%s%s", prefix, limit_names[kind], colon, model),
                                 bounds->of[kind]);
    }
}

void word_list_put_limits(struct word_list *list, const struct limit_set *limits) {
    word_list_put_bounds(list, "", &limits->all, NULL);
    for (size_t i = 0; i < limits->model_count; i++)
        word_list_put_bounds(list, "", &limits->models[i].bounds, limits->models[i].model);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/** The kind whose name `field` begins with, up to its end or a colon; -1: none. */
static int find_kind(const char *field) {
    size_t length = strcspn(field, ":");
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        if (strlen(limit_names[kind]) == length && memcmp(field, limit_names[kind], length) == 0) return kind;
    }
    return -1;
}

static bool read_bound(struct bytes_view value, int64_t *out) {
    /* Redis' strings are NUL-terminated; a NUL inside cuts the number, and the lengths differ. */
    const char *text = (const char *)value.data;
    return strlen(text) == value.length && text_to_i64(text, out) && *out >= 0;
}

bool limit_bounds_read_field(struct limits_bounds *out, const char *prefix, const char *field, struct bytes_view value,
                             bool *out_malformed) {
    size_t length = strlen(prefix);
    if (strncmp(field, prefix, length) != 0 || strchr(field, ':') != NULL) return false;
    int kind = find_kind(field + length);
    if (kind < 0) return false;
    *out_malformed = !read_bound(value, &out->of[kind]);
    return true;
}

static struct model_limits *find_model(struct limit_set *set, const char *model, struct arena *arena) {
    if (set->models == NULL) set->models = arena_alloc_array(arena, LIMIT_KEY_MODEL_LIMITS, sizeof *set->models);
    if (set->models == NULL) return NULL;
    for (size_t i = 0; i < set->model_count; i++) {
        if (strcmp(set->models[i].model, model) == 0) return &set->models[i];
    }
    if (set->model_count == LIMIT_KEY_MODEL_LIMITS) return NULL;
    const char *copy = arena_copy(arena, model, strlen(model));
    if (copy == NULL) return NULL;
    set->models[set->model_count] = (struct model_limits){copy, LIMITS_UNLIMITED};
    return &set->models[set->model_count++];
}

bool limit_set_read_field(struct limit_set *out, const char *field, struct bytes_view value, struct arena *arena,
                          bool *out_malformed) {
    if (limit_bounds_read_field(&out->all, "", field, value, out_malformed)) return true;
    const char *colon = strchr(field, ':');
    int kind = colon != NULL ? find_kind(field) : -1;
    if (kind < 0) return false;
    struct model_limits *model = find_model(out, colon + 1, arena);
    *out_malformed = model == NULL || !read_bound(value, &model->bounds.of[kind]);
    return true;
}

static int compare_models(const void *a, const void *b) {
    return strcmp(((const struct model_limits *)a)->model, ((const struct model_limits *)b)->model);
}

void limit_set_sort(struct limit_set *set) {
    if (set->model_count > 1) qsort(set->models, set->model_count, sizeof *set->models, compare_models);
}
