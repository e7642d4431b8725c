/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/limit_seed.h"

#include "base/clock.h"
#include "services/keys/usage_table.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

bool limit_bounds_look_back(const struct limits_bounds *bounds) {
    return bounds->of[LIMITS_TOKENS_PER_DAY] != LIMITS_ABSENT || bounds->of[LIMITS_TOKENS_PER_MONTH] != LIMITS_ABSENT ||
           bounds->of[LIMITS_SPEND_PER_MONTH] != LIMITS_ABSENT;
}

static bool looks_back(const struct limit_set *limits) {
    bool back = limit_bounds_look_back(&limits->all);
    for (size_t i = 0; i < limits->model_count; i++) back = back || limit_bounds_look_back(&limits->models[i].bounds);
    return back;
}

/* --- the ledger's sums -------------------------------------------------------------------------------------------- */

/** Of this month, or today: a row for each of what is grouped, in order, and the total. */
static enum status read_sums(struct handling *handling, const char *organization, bool today,
                             const struct usage_filter *filter, const struct usage_grouping *grouping,
                             struct usage_table *table, struct error *err) {
    char from[] = "YYYY-MM-DD";
    time_t seconds = (time_t)(clock_unix_ns(clock_system()) / NS_PER_S);
    struct tm parts;
    strftime(from, sizeof from, "%Y-%m-%d", gmtime_r(&seconds, &parts));
    const struct usage_asked asked = {.interval = "all", .from = today ? from : NULL};
    const char *field = NULL, *message = NULL;
    struct usage_range range;
    struct error cause = {0};
    if (!usage_range_read(&asked, seconds, &range, &field, &message))
        return error_set(err, STATUS_INTERNAL, "the time cannot be told: %s", message);
    TRY(usage_table_init(table, &range, filter, grouping, &handling->arena, err));
    enum status status = usage_table_read(table, handling->service->redis, organization, &cause);
    if (status != STATUS_OK) return store_failure(status, cause.message, err);
    usage_table_finish(table);
    return STATUS_OK;
}

struct past {
    int64_t day_tokens, month_tokens, month_spend;
};

static int64_t tokens_of(const struct ledger_amounts *amounts) {
    int64_t tokens = amounts->input + amounts->output;
    return tokens > 0 ? tokens : 0;
}

static struct past past_of(const struct ledger_amounts *day, const struct ledger_amounts *month) {
    return (struct past){tokens_of(day), tokens_of(month), month->cost > 0 ? month->cost : 0};
}

/** The row with that name of a key or model, or nothing. Both tables have one kind of name, and are in its order: `*at` goes on from the last name. */
static struct ledger_amounts find_amounts(const struct usage_table *table, const struct usage_row *like, size_t *at) {
    for (; *at < table->count; ++*at) {
        int order = strcmp(table->rows[*at].key, like->key);
        if (order == 0) order = strcmp(table->rows[*at].model, like->model);
        if (order == 0) return table->rows[*at].amounts;
        if (order > 0) break;
    }
    return (struct ledger_amounts){0};
}

/* --- seeding ------------------------------------------------------------------------------------------------------ */

enum {
    AT_ONCE = 256
}; /* a client refuses what is more than it can keep, and a workspace may have more keys than that */

struct seeding {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int under_way;
    enum status status;
    struct error cause;
};

static void on_seeded(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply;
    struct seeding *seeding = context;
    pthread_mutex_lock(&seeding->mutex);
    if (status != STATUS_OK && seeding->status == STATUS_OK)
        seeding->status = error_set(&seeding->cause, status, "%s", message);
    seeding->under_way--;
    pthread_cond_signal(&seeding->changed);
    pthread_mutex_unlock(&seeding->mutex);
}

static void seed(struct handling *handling, struct seeding *seeding, const char *organization, const char *scope,
                 const char *model, struct past past) {
    pthread_mutex_lock(&seeding->mutex);
    while (seeding->under_way == AT_ONCE) pthread_cond_wait(&seeding->changed, &seeding->mutex);
    seeding->under_way++;
    pthread_mutex_unlock(&seeding->mutex);
    limits_seed(handling->service->limits_redis, organization, scope, model, past.day_tokens, past.month_tokens,
                past.month_spend, on_seeded, seeding);
}

static enum status wait_for(struct seeding *seeding, struct error *err) {
    pthread_mutex_lock(&seeding->mutex);
    while (seeding->under_way > 0) pthread_cond_wait(&seeding->changed, &seeding->mutex);
    pthread_mutex_unlock(&seeding->mutex);
    pthread_mutex_destroy(&seeding->mutex);
    pthread_cond_destroy(&seeding->changed);
    return seeding->status == STATUS_OK ? STATUS_OK : store_failure(seeding->status, seeding->cause.message, err);
}

/** A model that is limited by its own name. */
static const struct limits_bounds *bounds_of(const struct limit_set *limits, const char *model) {
    for (size_t i = 0; i < limits->model_count; i++) {
        if (strcmp(limits->models[i].model, model) == 0 && limit_bounds_look_back(&limits->models[i].bounds))
            return &limits->models[i].bounds;
    }
    return NULL;
}

enum status limit_seed_scope(struct handling *handling, const char *organization, const char *workspace_or_null,
                             const char *prefix_or_null, const struct limit_set *limits, struct error *err) {
    struct seeding seeding = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const struct usage_filter filter = {.key = prefix_or_null, .workspace = workspace_or_null};
    const struct usage_grouping grouping = {.model = true};
    char scope[LIMITS_SCOPE_BYTES + 1] = "o";
    struct usage_table month, day;
    if (!looks_back(limits)) return STATUS_OK;
    TRY(read_sums(handling, organization, false, &filter, &grouping, &month, err));
    TRY(read_sums(handling, organization, true, &filter, &grouping, &day, err));
    if (prefix_or_null != NULL)
        snprintf(scope, sizeof scope, "k:%s", prefix_or_null);
    else if (workspace_or_null != NULL)
        snprintf(scope, sizeof scope, "w:%s", workspace_or_null);
    if (limit_bounds_look_back(&limits->all))
        seed(handling, &seeding, organization, scope, NULL, past_of(&day.total, &month.total));
    for (size_t i = 0, at = 0; i < month.count; i++) {
        struct ledger_amounts of_day = find_amounts(&day, &month.rows[i], &at);
        if (bounds_of(limits, month.rows[i].model) != NULL)
            seed(handling, &seeding, organization, scope, month.rows[i].model,
                 past_of(&of_day, &month.rows[i].amounts));
    }
    return wait_for(&seeding, err);
}

enum status limit_seed_keys(struct handling *handling, const char *organization, const char *workspace,
                            const struct limits_bounds *bounds, struct error *err) {
    struct seeding seeding = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const struct usage_filter filter = {.workspace = workspace};
    const struct usage_grouping grouping = {.key = true};
    struct usage_table month, day;
    if (!limit_bounds_look_back(bounds)) return STATUS_OK;
    TRY(read_sums(handling, organization, false, &filter, &grouping, &month, err));
    TRY(read_sums(handling, organization, true, &filter, &grouping, &day, err));
    for (size_t i = 0, at = 0; i < month.count; i++) {
        char scope[LIMITS_SCOPE_BYTES + 1];
        struct ledger_amounts of_day = find_amounts(&day, &month.rows[i], &at);
        snprintf(scope, sizeof scope, "k:%.12s", month.rows[i].key);
        seed(handling, &seeding, organization, scope, NULL, past_of(&of_day, &month.rows[i].amounts));
    }
    return wait_for(&seeding, err);
}
