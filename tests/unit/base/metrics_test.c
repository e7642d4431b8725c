/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"
#include "base/text.h"
#include "tests/support/check.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct metrics *metrics;
static struct bytes page;

static int open_metrics(void **state) {
    (void)state;
    metrics = metrics_create();
    bytes_init(&page, 16 << 20);
    return metrics != NULL ? 0 : -1;
}

static int close_metrics(void **state) {
    (void)state;
    metrics_destroy(metrics);
    bytes_deinit(&page);
    return 0;
}

/** The page up to what the process itself adds. */
static const char *write_page(void) {
    bytes_reset(&page);
    check_ok(metrics_write(metrics, &page));
    char *process = strstr((char *)page.data, "# TYPE process_resident_memory_bytes");
    assert_non_null(process);
    *process = 0;
    return (const char *)page.data;
}

static void test_counter_is_written(void **state) {
    (void)state;
    struct metric *counter = metrics_counter(metrics, "bora_requests_total", "Requests by outcome.", "model", "status");
    metric_add(counter, 1, "small", "200");
    metric_add(counter, 2.5, "small", "200");
    metric_add(counter, 1, "small", "429");
    assert_true(metric_value(counter, "small", "200") == 3.5);
    assert_true(metric_value(counter, "large", "200") == 0);
    assert_string_equal(write_page(), "# HELP bora_requests_total Requests by outcome.\n"
                                      "# TYPE bora_requests_total counter\n"
                                      "bora_requests_total{model=\"small\",status=\"200\"} 3.5\n"
                                      "bora_requests_total{model=\"small\",status=\"429\"} 1\n");
}

static void test_metric_without_labels_shows_its_zero(void **state) {
    (void)state;
    struct metric *gauge = metrics_gauge(metrics, "queue_length", "Waiting.");
    assert_string_equal(write_page(), "# HELP queue_length Waiting.\n# TYPE queue_length gauge\nqueue_length 0\n");
    metric_set(gauge, 7);
    metric_add(gauge, -2);
    assert_true(metric_value(gauge) == 5);
    assert_non_null(strstr(write_page(), "\nqueue_length 5\n"));
}

static void test_counter_takes_no_negative_or_nan(void **state) {
    (void)state;
    struct metric *counter = metrics_counter(metrics, "a", "A.");
    metric_add(counter, 3);
    metric_add(counter, -1);
    metric_add(counter, NAN);
    assert_true(metric_value(counter) == 3);
}

static void test_histogram_is_cumulative(void **state) {
    (void)state;
    static const double bounds[] = {0.1, 1, 10, NAN};
    struct metric *histogram = metrics_histogram(metrics, "wait_seconds", "Waiting.", bounds, "tier");
    static const double values[] = {0.05, 0.1, 0.5, 1.5, 100, NAN}; /* a bound belongs to its bucket; NaN to none */
    for (int i = 0; i < 6; i++) metric_observe(histogram, values[i], "small");
    assert_true(metric_value(histogram, "small") == 5);
    assert_string_equal(write_page(), "# HELP wait_seconds Waiting.\n"
                                      "# TYPE wait_seconds histogram\n"
                                      "wait_seconds_bucket{tier=\"small\",le=\"0.1\"} 2\n"
                                      "wait_seconds_bucket{tier=\"small\",le=\"1\"} 3\n"
                                      "wait_seconds_bucket{tier=\"small\",le=\"10\"} 4\n"
                                      "wait_seconds_bucket{tier=\"small\",le=\"+Inf\"} 5\n"
                                      "wait_seconds_sum{tier=\"small\"} 102.15\n"
                                      "wait_seconds_count{tier=\"small\"} 5\n");
}

static void test_histogram_without_labels(void **state) {
    (void)state;
    struct metric *histogram = metrics_histogram(metrics, "h", "H.", METRICS_SECONDS);
    metric_observe(histogram, 0.3);
    const char *text = write_page();
    assert_non_null(strstr(text, "\nh_bucket{le=\"0.0005\"} 0\n"));
    assert_non_null(strstr(text, "\nh_bucket{le=\"0.25\"} 0\nh_bucket{le=\"0.5\"} 1\n"));
    assert_non_null(strstr(text, "\nh_bucket{le=\"60\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.3\nh_count 1\n"));
}

static void test_label_values_are_escaped(void **state) {
    (void)state;
    struct metric *counter = metrics_counter(metrics, "a", "A.", "b");
    metric_add(counter, 1, "x\"y\\z\nw");
    metric_add(counter, 1, "bad \xFF utf8");
    const char *text = write_page();
    assert_non_null(strstr(text, "\na{b=\"x\\\"y\\\\z\\nw\"} 1\n"));
    assert_non_null(strstr(text, "\na{b=\"bad \xEF\xBF\xBD utf8\"} 1\n"));
}

static void test_long_label_value_is_cut_between_code_points(void **state) {
    (void)state;
    char text[1001] = "a";
    for (int i = 0; i < 499; i++) memcpy(text + 1 + 2 * i, "\xC3\xA9", 2);
    struct metric *counter = metrics_counter(metrics, "a", "A.", "b");
    metric_add(counter, 1, text);
    text[500] = 'x'; /* behind what is kept: the same series */
    metric_add(counter, 1, text);
    assert_true(metric_value(counter, text) == 2);
    const char *written = write_page();
    assert_true(text_is_utf8(written, strlen(written)));
    const char *value = strstr(written, "a{b=\"");
    assert_int_equal(strcspn(value + 5, "\""), 127);
}

static void test_missing_labels_are_empty(void **state) {
    (void)state;
    struct metric *counter = metrics_counter(metrics, "a", "A.", "b", "c");
    metric_add(counter, 1, "x");
    metric_add(counter, 1, "x", "");
    metric_add(counter, 1);
    assert_true(metric_value(counter, "x") == 2);
    assert_non_null(strstr(write_page(), "a{b=\"x\",c=\"\"} 2\na{b=\"\",c=\"\"} 1\n"));
}

static void test_label_values_do_not_run_together(void **state) {
    (void)state;
    struct metric *counter = metrics_counter(metrics, "a", "A.", "b", "c");
    metric_add(counter, 1, "xy", "z");
    metric_add(counter, 1, "x", "yz");
    assert_true(metric_value(counter, "xy", "z") == 1);
    assert_true(metric_value(counter, "x", "yz") == 1);
}

static int count_lines(const char *text, const char *prefix) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, prefix)) != NULL; at++) count++;
    return count;
}

static void test_series_past_the_maximum_fall_together(void **state) {
    (void)state;
    struct metric *counter = metrics_counter(metrics, "a", "A.", "b", "c");
    enum { VALUES = 2000 };
    for (int i = 0; i < VALUES; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", i);
        metric_add(counter, 1, value, "x");
    }
    assert_int_equal(count_lines(write_page(), "\na{"), METRICS_SERIES_MAX);
    assert_true(metric_value(counter, "v0", "x") == 1);
    assert_true(metric_value(counter, "other", "other") == VALUES - (METRICS_SERIES_MAX - 1));
    metric_add(counter, 1, "v0", "x"); /* those that were first go on */
    assert_true(metric_value(counter, "v0", "x") == 2);
}

static void test_asking_again_gives_the_same_metric(void **state) {
    (void)state;
    struct metric *first = metrics_counter(metrics, "a", "A.", "b");
    assert_ptr_equal(metrics_counter(metrics, "a", "Another text.", "b"), first);
    assert_ptr_not_equal(metrics_counter(metrics, "a2", "A.", "b"), first);
}

static void test_metrics_stand_in_order_of_declaration(void **state) {
    (void)state;
    (void)metrics_gauge(metrics, "z", "Z.");
    (void)metrics_gauge(metrics, "a", "A.");
    const char *text = write_page();
    assert_true(strstr(text, "# TYPE z") < strstr(text, "# TYPE a"));
}

static void test_numbers_beyond_the_finite(void **state) {
    (void)state;
    struct metric *gauge = metrics_gauge(metrics, "a", "A.", "b");
    metric_set(gauge, INFINITY, "x");
    metric_set(gauge, -INFINITY, "y");
    metric_set(gauge, NAN, "z");
    const char *text = write_page();
    assert_non_null(strstr(text, "a{b=\"x\"} +Inf\n"));
    assert_non_null(strstr(text, "a{b=\"y\"} -Inf\n"));
    assert_non_null(strstr(text, "a{b=\"z\"} NaN\n"));
}

static void test_page_that_does_not_fit_is_resource_exhausted(void **state) {
    (void)state;
    (void)metrics_gauge(metrics, "a", "A.");
    struct bytes small;
    bytes_init(&small, 20);
    assert_int_equal(metrics_write(metrics, &small), STATUS_RESOURCE_EXHAUSTED);
    bytes_deinit(&small);
}

static void test_process_is_described(void **state) {
    (void)state;
    bytes_reset(&page);
    check_ok(metrics_write(metrics, &page));
    double memory = 0, descriptors = 0, more = 0, started = 0;
    const char *text = (const char *)page.data;
    assert_int_equal(
        sscanf(strstr(text, "\nprocess_resident_memory_bytes "), "\nprocess_resident_memory_bytes %lf", &memory), 1);
    assert_int_equal(sscanf(strstr(text, "\nprocess_open_fds "), "\nprocess_open_fds %lf", &descriptors), 1);
    assert_int_equal(
        sscanf(strstr(text, "\nprocess_start_time_seconds "), "\nprocess_start_time_seconds %lf", &started), 1);
    assert_true(memory > 100000 && descriptors >= 1 && started > 1.7e9);
    int extra = dup(1);
    bytes_reset(&page);
    check_ok(metrics_write(metrics, &page));
    assert_int_equal(sscanf(strstr((char *)page.data, "\nprocess_open_fds "), "\nprocess_open_fds %lf", &more), 1);
    close(extra);
    assert_true(more == descriptors + 1);
}

/** Whether `misuse` aborts, in a child process. */
static bool aborts(void (*misuse)(void)) {
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(2);
        misuse();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void use_empty_name(void) {
    (void)metrics_counter(metrics, "", "X.");
}
static void use_digit_first(void) {
    (void)metrics_counter(metrics, "1a", "X.");
}
static void use_dash(void) {
    (void)metrics_counter(metrics, "a-b", "X.");
}
static void use_label_with_colon(void) {
    (void)metrics_counter(metrics, "a", "X.", "b:c");
}
static void use_five_labels(void) {
    (void)metrics_counter(metrics, "a", "X.", "b", "c", "d", "e", "f");
}
static void use_lines_of_help(void) {
    (void)metrics_counter(metrics, "a", "X.\nb 1");
}
static void use_descending_bounds(void) {
    (void)metrics_histogram(metrics, "a", "X.", ((const double[]){2, 1, NAN}));
}
static void use_another_kind(void) {
    (void)metrics_counter(metrics, "a", "X.");
    (void)metrics_gauge(metrics, "a", "X.");
}
static void use_other_labels(void) {
    (void)metrics_counter(metrics, "a", "X.", "b");
    (void)metrics_counter(metrics, "a", "X.", "b", "c");
}
static void use_33_bounds(void) {
    double bounds[34];
    for (int i = 0; i < 33; i++) bounds[i] = i;
    bounds[33] = NAN;
    (void)metrics_histogram(metrics, "a", "X.", bounds);
}
static void use_nothing_wrong(void) {
    (void)metrics_counter(metrics, "a:b_1", "X.", "b", "c", "d", "e");
    (void)metrics_histogram(metrics, "h", "X.", METRICS_SECONDS);
}

static void test_errors_of_the_programmer_abort(void **state) {
    (void)state;
    static void (*const misuses[])(void) = {
        use_empty_name,    use_digit_first,       use_dash,         use_label_with_colon, use_five_labels,
        use_lines_of_help, use_descending_bounds, use_another_kind, use_other_labels,     use_33_bounds};
    assert_false(aborts(use_nothing_wrong));
    for (size_t i = 0; i < sizeof misuses / sizeof misuses[0]; i++) {
        if (!aborts(misuses[i])) fail_msg("misuse %zu did not abort", i);
    }
}

enum { WRITERS = 8, UPDATES = 5000, VALUES = 40 };

struct shared {
    struct metric *counter, *gauge, *histogram;
    atomic_bool stop;
};

static void *update(void *context) {
    struct shared *shared = context;
    for (int i = 0; i < UPDATES; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", i % VALUES);
        metric_add(shared->counter, 1, value, "x");
        metric_add(shared->gauge, i % 2 == 0 ? 1 : -1);
        metric_observe(shared->histogram, i % 3, value);
        (void)metrics_counter(metrics, "many", "Declared by all.", "a");
    }
    return NULL;
}

static void *write_pages(void *context) {
    struct shared *shared = context;
    struct bytes out;
    bytes_init(&out, 16 << 20);
    while (!atomic_load(&shared->stop)) {
        bytes_reset(&out);
        if (metrics_write(metrics, &out) != STATUS_OK) break;
    }
    bytes_deinit(&out);
    return NULL;
}

static void test_updates_of_many_threads_all_count(void **state) {
    (void)state;
    struct shared shared = {.counter = metrics_counter(metrics, "c", "C.", "a", "b"),
                            .gauge = metrics_gauge(metrics, "g", "G."),
                            .histogram = metrics_histogram(metrics, "h", "H.", ((const double[]){0, 1, NAN}), "a")};
    pthread_t threads[WRITERS], reader;
    assert_int_equal(pthread_create(&reader, NULL, write_pages, &shared), 0);
    for (int i = 0; i < WRITERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, update, &shared), 0);
    for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    atomic_store(&shared.stop, true);
    pthread_join(reader, NULL);
    double observed = 0;
    for (int i = 0; i < VALUES; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", i);
        assert_true(metric_value(shared.counter, value, "x") == WRITERS * UPDATES / VALUES);
        observed += metric_value(shared.histogram, value);
    }
    assert_true(observed == WRITERS * UPDATES);
    assert_true(metric_value(shared.gauge) == 0);
    assert_int_equal(count_lines(write_page(), "\nc{"), VALUES);
    assert_int_equal(count_lines(write_page(), "# TYPE many "), 1);
}

enum { RACERS = 2 };

struct race {
    struct metric *counter;
    atomic_int arrived;
};

/** Spins, so that all leave within nanoseconds of each other. */
static void line_up(struct race *race, int round) {
    atomic_fetch_add(&race->arrived, 1);
    while (atomic_load(&race->arrived) < RACERS * (round + 1)) sched_yield();
}

static void *add_new_series(void *context) {
    struct race *race = context;
    for (int i = 0; i < METRICS_SERIES_MAX - 1; i++) {
        char value[16];
        snprintf(value, sizeof value, "v%d", i);
        line_up(race, i);
        metric_add(race->counter, 1, value);
    }
    return NULL;
}

static void test_threads_that_need_the_same_new_series_make_one(void **state) {
    (void)state;
    struct race race = {.counter = metrics_counter(metrics, "c", "C.", "a")};
    pthread_t threads[RACERS];
    for (int i = 0; i < RACERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, add_new_series, &race), 0);
    for (int i = 0; i < RACERS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(count_lines(write_page(), "\nc{"), METRICS_SERIES_MAX - 1);
    assert_true(metric_value(race.counter, "other") == 0);
    assert_true(metric_value(race.counter, "v7") == RACERS);
}

static void *add_often(void *context) {
    struct race *race = context;
    line_up(race, 0);
    for (int i = 0; i < 500000; i++) metric_add(race->counter, 1);
    return NULL;
}

static void test_no_increment_is_lost(void **state) {
    (void)state;
    struct race race = {.counter = metrics_counter(metrics, "c", "C.")};
    pthread_t threads[RACERS];
    for (int i = 0; i < RACERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, add_often, &race), 0);
    for (int i = 0; i < RACERS; i++) pthread_join(threads[i], NULL);
    assert_true(metric_value(race.counter) == RACERS * 500000);
}

#define METRICS_TEST(test) cmocka_unit_test_setup_teardown(test, open_metrics, close_metrics)

int main(void) {
    const struct CMUnitTest tests[] = {
        METRICS_TEST(test_counter_is_written),
        METRICS_TEST(test_metric_without_labels_shows_its_zero),
        METRICS_TEST(test_counter_takes_no_negative_or_nan),
        METRICS_TEST(test_histogram_is_cumulative),
        METRICS_TEST(test_histogram_without_labels),
        METRICS_TEST(test_label_values_are_escaped),
        METRICS_TEST(test_long_label_value_is_cut_between_code_points),
        METRICS_TEST(test_missing_labels_are_empty),
        METRICS_TEST(test_label_values_do_not_run_together),
        METRICS_TEST(test_series_past_the_maximum_fall_together),
        METRICS_TEST(test_asking_again_gives_the_same_metric),
        METRICS_TEST(test_metrics_stand_in_order_of_declaration),
        METRICS_TEST(test_numbers_beyond_the_finite),
        METRICS_TEST(test_page_that_does_not_fit_is_resource_exhausted),
        METRICS_TEST(test_process_is_described),
        METRICS_TEST(test_errors_of_the_programmer_abort),
        METRICS_TEST(test_threads_that_need_the_same_new_series_make_one),
        METRICS_TEST(test_no_increment_is_lost),
        METRICS_TEST(test_updates_of_many_threads_all_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
