/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The table of workers, without Redis and gRPC: the test is the registry, the links and the clock. */
#include "base/clock.h"
#include "rpc/transcode.h"
#include "services/gateway/gateway.h"
#include "services/gateway/worker_link.h"
#include "services/gateway/workers.h"
#include "store/registry.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the clock and the links --------------------------------------------------------------------------------------- */

/* Long past, so that the table's thread asks again at once; what it gets, and when, is the registry's business. */
static atomic_llong now_ns;
static int64_t read_now(void *context) {
    (void)context;
    return now_ns;
}
const struct clock *__wrap_clock_system(void);
const struct clock *__wrap_clock_system(void) {
    static const struct clock clock = {.monotonic_ns = read_now, .unix_ns = read_now};
    return &clock;
}

static atomic_int links_open;
static atomic_bool links_ready;
static atomic_bool asks_meanwhile; /* while a link is opened or closed, somebody asks the table */
static atomic_int answered, kept_waiting;
struct worker_link {
    int unused;
};
static void ask_meanwhile(void);
enum status worker_link_open(struct worker_links *links, const char *address, struct worker_link **out,
                             struct error *err) {
    (void)links, (void)address, (void)err;
    if (asks_meanwhile) ask_meanwhile();
    *out = calloc(1, sizeof **out);
    links_open++;
    return *out != NULL ? STATUS_OK : STATUS_RESOURCE_EXHAUSTED;
}
void worker_link_close(struct worker_link *link) {
    if (asks_meanwhile) ask_meanwhile();
    links_open -= link != NULL;
    free(link);
}
bool worker_link_ready(struct worker_link *link) {
    (void)link;
    return links_ready;
}

/* ---- the registry -------------------------------------------------------------------------------------------------- */

enum { ANNOUNCED_MAX = 8, PATIENCE_S = 10 };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int wanted, given; /* lists that the test wants to be taken, and that were */
    bool closing;
    enum status status;
    size_t count;
    struct bytes announced[ANNOUNCED_MAX];
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/** The table's thread: waits until the test has a list for it. */
void registry_list(struct redis_client *client, const char *group, redis_fn *fn, void *context) {
    (void)client;
    assert_string_equal(group, "worker");
    struct redis_reply items[ANNOUNCED_MAX] = {0};
    pthread_mutex_lock(&registry.mutex);
    while (registry.given == registry.wanted && !registry.closing)
        pthread_cond_wait(&registry.changed, &registry.mutex);
    for (size_t i = 0; i < registry.count; i++)
        items[i] = (struct redis_reply){.type = REDIS_STRING, .string = bytes_view(&registry.announced[i])};
    enum status status = registry.closing ? STATUS_UNAVAILABLE : registry.status;
    struct redis_reply reply = {.type = REDIS_ARRAY, .items = items, .count = registry.count};
    fn(context, status, status == STATUS_OK ? &reply : NULL, "");
    registry.given++;
    pthread_cond_broadcast(&registry.changed);
    pthread_mutex_unlock(&registry.mutex);
}

/** Let the table read the list once; when this returns, it has. */
static void refresh(enum status status) {
    pthread_mutex_lock(&registry.mutex);
    registry.status = status;
    registry.wanted = registry.given + 1;
    pthread_cond_broadcast(&registry.changed);
    while (registry.given != registry.wanted) pthread_cond_wait(&registry.changed, &registry.mutex);
    pthread_mutex_unlock(&registry.mutex);
}

static void clear_list(void) {
    for (size_t i = 0; i < registry.count; i++) bytes_deinit(&registry.announced[i]);
    registry.count = 0;
}

/** One worker of a list. */
struct announced {
    const char *id, *model, *alias, *tier, *capability; /* NULL: "m", none, "small", completion_chat */
    int running, waiting;
    bool draining;
    int64_t started_at, kv_tokens_used, prompt_tokens, completion_tokens;
};

static void announce(const struct announced *in) {
    Bora__Internal__V1__WorkerAnnouncement message = BORA__INTERNAL__V1__WORKER_ANNOUNCEMENT__INIT;
    Bora__Internal__V1__ModelDescription model = BORA__INTERNAL__V1__MODEL_DESCRIPTION__INIT;
    Bora__Internal__V1__Load load = BORA__INTERNAL__V1__LOAD__INIT;
    char *aliases[] = {(char *)in->alias};
    char *capabilities[] = {(char *)(in->capability != NULL ? in->capability : "completion_chat")};
    model.name = (char *)(in->model != NULL ? in->model : "m");
    model.aliases = aliases;
    model.n_aliases = in->alias != NULL;
    model.tier = (char *)(in->tier != NULL ? in->tier : "small");
    model.capabilities = capabilities;
    model.n_capabilities = 1;
    load.running = in->running;
    load.waiting = in->waiting;
    load.kv_tokens_used = in->kv_tokens_used;
    load.prompt_tokens = (uint64_t)in->prompt_tokens;
    load.completion_tokens = (uint64_t)in->completion_tokens;
    message.worker_id = message.address = (char *)in->id;
    message.model = &model;
    message.load = &load;
    message.draining = in->draining;
    message.started_at = in->started_at;
    struct bytes *out = &registry.announced[registry.count++];
    bytes_init(out, 1 << 16);
    check_ok(protobuf_pack(&message.base, out));
}

/** The list from now on, taken at once. */
static void set_list(const struct announced *list, size_t count) {
    clear_list();
    for (size_t i = 0; i < count; i++) announce(&list[i]);
    refresh(STATUS_OK);
}
#define SET_LIST(...)                                    \
    do {                                                 \
        const struct announced list_[] = {__VA_ARGS__};  \
        set_list(list_, sizeof list_ / sizeof list_[0]); \
    } while (0)

/* ---- the table ----------------------------------------------------------------------------------------------------- */

static struct gateway gateway;
static struct workers *table;

static void *ask(void *context) {
    struct worker *worker = NULL;
    if (workers_choose(table, "m", NULL, NULL, &worker) == WORKERS_CHOSEN) worker_unref(worker);
    return context;
}

/** Does a request get its answer? */
static void ask_meanwhile(void) {
    pthread_t thread;
    struct timespec until;
    asks_meanwhile = false; /* whoever asks opens and closes nothing of ours */
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    if (pthread_create(&thread, NULL, ask, NULL) == 0 && pthread_timedjoin_np(thread, NULL, &until) == 0)
        answered++;
    else
        kept_waiting++;
    asks_meanwhile = true;
}

static int setup(void **state) {
    (void)state;
    asks_meanwhile = false;
    answered = kept_waiting = 0;
    now_ns = NS_PER_S;
    links_ready = true;
    registry.closing = false;
    registry.wanted = registry.given;
    gateway.settings.discovery_ns = NS_PER_MS;
    return workers_create(&gateway, &table, NULL) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    pthread_mutex_lock(&registry.mutex);
    registry.closing = true;
    pthread_cond_broadcast(&registry.changed);
    pthread_mutex_unlock(&registry.mutex);
    workers_destroy(table);
    clear_list();
    return links_open == 0 ? 0 : -1;
}

/** Who is chosen for `name`, by id, or the outcome as a word. The worker is let go. */
static const char *chosen_but(const char *name, const struct worker *except) {
    static char id[32];
    struct worker *worker = NULL;
    switch (workers_choose(table, name, "completion_chat", except, &worker)) {
    case WORKERS_CHOSEN:
        snprintf(id, sizeof id, "%s", worker->announcement->worker_id);
        worker_unref(worker);
        return id;
    case WORKERS_UNKNOWN_MODEL:
        return "unknown";
    case WORKERS_NONE_LIVE:
        return "none live";
    case WORKERS_INCAPABLE:
        return "incapable";
    }
    return "?";
}
static const char *chosen(const char *name) {
    return chosen_but(name, NULL);
}

static struct worker *take(const char *name) {
    struct worker *worker = NULL;
    assert_int_equal(workers_choose(table, name, NULL, NULL, &worker), WORKERS_CHOSEN);
    return worker;
}

static void test_names_aliases_and_tiers_are_found(void **state) {
    (void)state;
    assert_string_equal(chosen("a"), "unknown");
    SET_LIST({.id = "1", .model = "a", .alias = "first", .tier = "large"}, {.id = "2", .model = "b", .tier = "code"});
    assert_string_equal(chosen("a"), "1");
    assert_string_equal(chosen("first"), "1");
    assert_string_equal(chosen("large"), "1");
    assert_string_equal(chosen("b"), "2");
    assert_string_equal(chosen("code"), "2");
    assert_string_equal(chosen("small"), "unknown");
    assert_string_equal(chosen(""), "unknown");
}

static void test_own_name_comes_before_alias_and_tier_however_busy(void **state) {
    (void)state;
    SET_LIST({.id = "alias", .model = "a", .alias = "x"}, {.id = "own", .model = "x", .running = 100, .waiting = 50},
             {.id = "tier", .model = "b", .tier = "x"});
    for (int i = 0; i < 6; i++) assert_string_equal(chosen("x"), "own");
}

static void test_least_busy_is_chosen_and_waiting_counts_double(void **state) {
    (void)state;
    SET_LIST({.id = "1", .running = 3}, {.id = "2", .waiting = 1}, {.id = "3", .running = 1, .waiting = 1});
    for (int i = 0; i < 6; i++) assert_string_equal(chosen("m"), "2");
}

static void test_what_was_just_sent_counts_before_it_is_announced(void **state) {
    (void)state;
    SET_LIST({.id = "1"}, {.id = "2", .running = 2});
    struct worker *first = take("m");
    assert_string_equal(first->announcement->worker_id, "1");
    atomic_store(&first->running, 3);
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("m"), "2");
    atomic_store(&first->running, 0);
    worker_unref(first);
}

static void test_equals_take_turns(void **state) {
    (void)state;
    SET_LIST({.id = "1"}, {.id = "2"}, {.id = "3"});
    int seen[4] = {0};
    for (int i = 0; i < 9; i++) seen[atoi(chosen("m"))]++;
    for (int i = 1; i <= 3; i++) assert_int_equal(seen[i], 3);
}

static void test_except_is_the_last_resort(void **state) {
    (void)state;
    SET_LIST({.id = "1"}, {.id = "2", .running = 500});
    struct worker *first = take("m");
    for (int i = 0; i < 4; i++) assert_string_equal(chosen_but("m", first), "2");
    SET_LIST({.id = "1"});
    links_ready = false;
    refresh(STATUS_OK);
    assert_string_equal(chosen_but("m", first), "1");
    worker_unref(first);
}

static void test_incapable_is_not_chosen(void **state) {
    (void)state;
    SET_LIST({.id = "fim", .model = "a", .tier = "code", .capability = "completion_fim"},
             {.id = "chat", .model = "b", .tier = "code", .running = 10});
    assert_string_equal(chosen("a"), "incapable");
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("code"), "chat");
    struct worker *worker = take("a"); /* for whoever asks for nothing */
    assert_string_equal(worker->announcement->worker_id, "fim");
    worker_unref(worker);
}

static void test_draining_is_not_chosen_nor_listed(void **state) {
    (void)state;
    SET_LIST({.id = "1"}, {.id = "2", .running = 9});
    assert_string_equal(chosen("m"), "1");
    SET_LIST({.id = "1", .draining = true}, {.id = "2", .running = 9});
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("m"), "2");
    SET_LIST({.id = "1", .draining = true});
    links_ready = false;
    refresh(STATUS_OK);
    struct worker *models[4];
    assert_string_equal(chosen("m"), "none live");
    assert_int_equal(workers_list_models(table, models, 4), 0);
}

static void test_suspect_waits_for_a_connection(void **state) {
    (void)state;
    SET_LIST({.id = "1"}, {.id = "2", .running = 500});
    struct worker *first = take("m");
    atomic_store(&first->suspect, true);
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("m"), "2");
    links_ready = false;
    refresh(STATUS_OK);
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("m"), "2");
    links_ready = true;
    refresh(STATUS_OK);
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("m"), "1");
    worker_unref(first);
}

static void test_missing_but_connected_lingers_five_seconds_behind_the_others(void **state) {
    (void)state;
    SET_LIST({.id = "1"}, {.id = "2", .running = 500});
    SET_LIST({.id = "2", .running = 500});
    assert_int_equal(workers_count(table), 2);
    for (int i = 0; i < 4; i++) assert_string_equal(chosen("m"), "2");
    SET_LIST();
    assert_int_equal(workers_count(table), 2);
    now_ns += 5 * NS_PER_S - 1;
    refresh(STATUS_OK);
    assert_int_equal(workers_count(table), 2);
    now_ns += 1;
    refresh(STATUS_OK);
    assert_int_equal(workers_count(table), 0);
    assert_string_equal(chosen("m"), "none live");
    now_ns += 3600 * NS_PER_S; /* an hour later the name is forgotten */
    assert_string_equal(chosen("m"), "unknown");
}

static void test_missing_and_not_connected_is_gone_at_once(void **state) {
    (void)state;
    SET_LIST({.id = "1"});
    links_ready = false;
    SET_LIST();
    assert_int_equal(workers_count(table), 0);
    assert_int_equal(links_open, 0);
}

static void test_announced_again_in_time_is_the_same_worker(void **state) {
    (void)state;
    SET_LIST({.id = "1"});
    struct worker *before = take("m"), *after;
    SET_LIST();
    now_ns += 4 * NS_PER_S;
    SET_LIST({.id = "1"});
    now_ns += 4 * NS_PER_S;
    SET_LIST(); /* counted anew */
    assert_int_equal(workers_count(table), 1);
    after = take("m");
    assert_ptr_equal(before, after);
    worker_unref(before);
    worker_unref(after);
}

static void test_restarted_worker_is_another_one(void **state) {
    (void)state;
    SET_LIST({.id = "1", .model = "ma", .started_at = 100});
    struct worker *before = take("ma");
    SET_LIST({.id = "1", .model = "mb", .started_at = 160}); /* the same id and address */
    assert_string_equal(chosen("ma"), "none live");
    assert_string_equal(chosen("mb"), "1");
    assert_int_equal(workers_count(table), 1);
    assert_string_equal(before->announcement->model->name, "ma"); /* lent as long as it is referenced */
    worker_unref(before);
}

static void test_new_description_within_a_second_is_another_one(void **state) {
    (void)state;
    SET_LIST({.id = "1", .model = "ma", .started_at = 100});
    SET_LIST({.id = "1", .model = "ma", .alias = "new", .started_at = 100});
    assert_string_equal(chosen("new"), "1");
    assert_int_equal(workers_count(table), 1);
    assert_int_equal(links_open, 1);
}

static void test_an_outage_keeps_the_table_but_not_its_freshness(void **state) {
    (void)state;
    assert_false(workers_are_fresh(table));
    SET_LIST({.id = "1"});
    assert_true(workers_are_fresh(table));
    now_ns += 5 * NS_PER_S;
    refresh(STATUS_UNAVAILABLE);
    assert_false(workers_are_fresh(table));
    assert_string_equal(chosen("m"), "1");
    refresh(STATUS_OK);
    assert_true(workers_are_fresh(table));
}

static void test_garbage_among_announcements_is_passed_over(void **state) {
    (void)state;
    clear_list();
    bytes_init(&registry.announced[0], 64);
    check_ok(bytes_append_string(&registry.announced[0], "\xff\xff\xff"));
    registry.count = 1;
    announce(&(struct announced){.id = "1"});
    refresh(STATUS_OK);
    assert_int_equal(workers_count(table), 1);
    assert_string_equal(chosen("m"), "1");
}

static void test_nobody_waits_while_links_are_opened_and_closed(void **state) {
    (void)state;
    SET_LIST({.id = "1"});
    asks_meanwhile = true;
    SET_LIST({.id = "1"}, {.id = "2"}, {.id = "3"});
    assert_int_equal(answered, 2);
    links_ready = false;
    SET_LIST({.id = "1"});
    asks_meanwhile = false;
    assert_int_equal(answered, 4);
    assert_int_equal(kept_waiting, 0);
}

static void test_what_moves_is_the_latest(void **state) {
    (void)state;
    SET_LIST({.id = "1", .running = 1});
    struct worker *worker = take("m");
    SET_LIST({.id = "1", .running = 2, .waiting = 3, .kv_tokens_used = 4, .prompt_tokens = 5, .completion_tokens = 6});
    assert_int_equal(worker->load.running, 2);
    assert_int_equal(worker->load.waiting, 3);
    assert_int_equal(worker->load.kv_tokens_used, 4);
    assert_int_equal(worker->load.prompt_tokens, 5);
    assert_int_equal(worker->load.completion_tokens, 6);
    worker_unref(worker);
}

static void test_models_are_listed_once_in_order(void **state) {
    (void)state;
    SET_LIST({.id = "1", .model = "b"}, {.id = "2", .model = "a"}, {.id = "3", .model = "b"});
    struct worker *models[4];
    assert_int_equal(workers_list_models(table, models, 4), 2);
    assert_string_equal(models[0]->announcement->model->name, "a");
    assert_string_equal(models[1]->announcement->model->name, "b");
    for (int i = 0; i < 2; i++) worker_unref(models[i]);
}

int main(void) {
#define TABLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TABLE_TEST(test_names_aliases_and_tiers_are_found),
        TABLE_TEST(test_own_name_comes_before_alias_and_tier_however_busy),
        TABLE_TEST(test_least_busy_is_chosen_and_waiting_counts_double),
        TABLE_TEST(test_what_was_just_sent_counts_before_it_is_announced),
        TABLE_TEST(test_equals_take_turns),
        TABLE_TEST(test_except_is_the_last_resort),
        TABLE_TEST(test_incapable_is_not_chosen),
        TABLE_TEST(test_draining_is_not_chosen_nor_listed),
        TABLE_TEST(test_suspect_waits_for_a_connection),
        TABLE_TEST(test_missing_but_connected_lingers_five_seconds_behind_the_others),
        TABLE_TEST(test_missing_and_not_connected_is_gone_at_once),
        TABLE_TEST(test_announced_again_in_time_is_the_same_worker),
        TABLE_TEST(test_restarted_worker_is_another_one),
        TABLE_TEST(test_new_description_within_a_second_is_another_one),
        TABLE_TEST(test_an_outage_keeps_the_table_but_not_its_freshness),
        TABLE_TEST(test_garbage_among_announcements_is_passed_over),
        TABLE_TEST(test_nobody_waits_while_links_are_opened_and_closed),
        TABLE_TEST(test_what_moves_is_the_latest),
        TABLE_TEST(test_models_are_listed_once_in_order),
    };
    return cmocka_run_group_tests_name("services/gateway_workers", tests, NULL, NULL);
}
