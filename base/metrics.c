/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOUNDS_MAX = 32, BOUND_BYTES = 40, METRICS_MAX = 256, LABEL_VALUE_BYTES = 128, LABELS_BYTES_MAX = 1 << 16 };
static const double INTEGER_MAX = 9007199254740992.0; /* below, a double holds every integer */

const double METRICS_SECONDS[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                  0.5,    1,     2.5,    5,     10,   30,    60,   NAN};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/** One combination of label values. Never freed before the metrics are. */
struct series {
    char labels[METRICS_LABELS_MAX][LABEL_VALUE_BYTES];
    char *text;                                    /* of the labels, as they are written: a="b",c="d" */
    _Atomic double value;                          /* counter, gauge; histogram: sum */
    atomic_uint_least64_t buckets[BOUNDS_MAX + 1]; /* not cumulative; the last one is above every bound */
};

struct metric {
    enum metric_kind kind;
    char *name, *help;
    int label_count, bound_count;
    char *label_names[METRICS_LABELS_MAX];
    double bounds[BOUNDS_MAX];
    char bound_texts[BOUNDS_MAX + 1][BOUND_BYTES]; /* with the one above all of them: "+Inf" */
    pthread_mutex_t mutex;                         /* for adding a series */
    /* Entries below `series_count` never change, so that readers need no lock. */
    struct series *series[METRICS_SERIES_MAX];
    uint64_t hashes[METRICS_SERIES_MAX];
    atomic_int series_count;
};

struct metrics {
    pthread_mutex_t mutex;
    struct metric *list[METRICS_MAX];
    int count;
    double started;
};

struct metrics *metrics_create(void) {
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL) return NULL;
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->started = (double)clock_unix_ns(clock_system()) / 1e9;
    return metrics;
}

static void metric_destroy(struct metric *metric) {
    for (int i = 0; i < metric->series_count; i++) {
        free(metric->series[i]->text);
        free(metric->series[i]);
    }
    for (int i = 0; i < metric->label_count; i++) free(metric->label_names[i]);
    free(metric->name);
    free(metric->help);
    pthread_mutex_destroy(&metric->mutex);
    free(metric);
}

void metrics_destroy(struct metrics *metrics) {
    if (metrics == NULL) return;
    for (int i = 0; i < metrics->count; i++) metric_destroy(metrics->list[i]);
    pthread_mutex_destroy(&metrics->mutex);
    free(metrics);
}

static void write_number(struct bytes *out, double value) {
    char number[40];
    if (value == floor(value) && fabs(value) < INTEGER_MAX) {
        (void)!bytes_append_decimal(out, (int64_t)value); /* nearly all are, and it is thirty times as fast */
        return;
    }
    if (isnan(value))
        strcpy(number, "NaN");
    else if (isinf(value))
        strcpy(number, value > 0 ? "+Inf" : "-Inf");
    else
        text_from_double(value, number);
    (void)!bytes_append_string(out, number);
}

/** `text` with what the format escapes, and U+FFFD for what is not UTF-8. */
static void write_escaped(struct bytes *out, const char *text) {
    size_t length = strlen(text);
    for (size_t at = 0, used; at < length; at += used) {
        uint32_t code_point;
        bool valid;
        used = text_decode((const uint8_t *)text + at, length - at, &code_point, &valid);
        if (!valid)
            (void)!bytes_append_string(out, "\xEF\xBF\xBD");
        else if (code_point == '\n')
            (void)!bytes_append_string(out, "\\n");
        else if (code_point == '\\')
            (void)!bytes_append_string(out, "\\\\");
        else if (code_point == '"')
            (void)!bytes_append_string(out, "\\\"");
        else
            (void)!bytes_append(out, text + at, used);
    }
}

/** The label values of one update, missing ones "", each cut to what a series keeps. */
struct label_values {
    struct bytes_view value[METRICS_LABELS_MAX];
    uint64_t hash;
};

static struct label_values read_values(const struct metric *metric, const char *const *values) {
    struct label_values out = {.hash = UINT64_C(0xcbf29ce484222325)}; /* FNV-1a */
    for (int i = 0; i < metric->label_count; i++) {
        const char *text = *values != NULL ? *values++ : "";
        size_t length = text_truncate(text, strnlen(text, LABEL_VALUE_BYTES), LABEL_VALUE_BYTES - 1);
        out.value[i] = bytes_view_of(text, length);
        for (size_t at = 0; at <= length; at++) { /* and a separator that no value holds */
            out.hash = (out.hash ^ (at < length ? (uint8_t)text[at] : 0)) * UINT64_C(0x100000001b3);
        }
    }
    return out;
}

static struct series *find_series(const struct metric *metric, const struct label_values *values) {
    int count = atomic_load_explicit(&metric->series_count, memory_order_acquire);
    for (int i = 0; i < count; i++) {
        if (metric->hashes[i] != values->hash) continue;
        bool equal = true;
        for (int label = 0; label < metric->label_count && equal; label++) {
            equal = bytes_view_equal_string(values->value[label], metric->series[i]->labels[label]);
        }
        if (equal) return metric->series[i];
    }
    return NULL;
}

/** NULL without memory. */
static char *write_labels(const struct metric *metric, const struct series *series) {
    struct bytes text;
    bytes_init(&text, LABELS_BYTES_MAX);
    for (int i = 0; i < metric->label_count; i++) {
        (void)!bytes_printf(&text, "%s%s=\"", i > 0 ? "," : "", metric->label_names[i]);
        write_escaped(&text, series->labels[i]);
        (void)!bytes_append_byte(&text, '"');
    }
    if (!text.failed) return (char *)bytes_take(&text, NULL);
    bytes_deinit(&text);
    return NULL;
}

/** Under the metric's lock. */
static struct series *add_series(struct metric *metric, const struct label_values *values) {
    int count = atomic_load(&metric->series_count);
    struct series *series = calloc(1, sizeof *series);
    if (series == NULL) return NULL;
    for (int i = 0; i < metric->label_count; i++) {
        memcpy(series->labels[i], values->value[i].data, values->value[i].length);
    }
    series->text = write_labels(metric, series);
    if (series->text == NULL) {
        free(series);
        return NULL;
    }
    metric->series[count] = series;
    metric->hashes[count] = values->hash;
    atomic_store_explicit(&metric->series_count, count + 1, memory_order_release);
    return series;
}

/** The series of these label values, added when new; past the maximum, the one that collects the rest. NULL without memory. */
static struct series *get_series(struct metric *metric, const char *const *label_values) {
    static const char *const other[METRICS_LABELS_MAX + 1] = {"other", "other", "other", "other", NULL};
    struct label_values values = read_values(metric, label_values);
    struct series *series = find_series(metric, &values);
    if (series != NULL) return series;
    if (atomic_load(&metric->series_count) >= METRICS_SERIES_MAX - 1) { /* the last place is kept for it */
        values = read_values(metric, other);
        series = find_series(metric, &values);
        if (series != NULL) return series;
    }
    pthread_mutex_lock(&metric->mutex);
    series = find_series(metric, &values);
    if (series == NULL && atomic_load(&metric->series_count) >= METRICS_SERIES_MAX - 1) {
        values = read_values(metric, other);
        series = find_series(metric, &values);
    }
    if (series == NULL) series = add_series(metric, &values);
    pthread_mutex_unlock(&metric->mutex);
    return series;
}

static bool name_is_valid(const char *name, bool colon_allowed) {
    if (!isalpha((unsigned char)name[0]) && name[0] != '_') return false;
    for (const char *c = name; *c != 0; c++) {
        if (!isalnum((unsigned char)*c) && *c != '_' && !(colon_allowed && *c == ':')) return false;
    }
    return true;
}

_Noreturn static void misuse(const char *what, const char *name) {
    fprintf(stderr, "metrics: %s: %s\n", what, name);
    abort();
}

static char *copy_text(const char *text) {
    char *copy = strdup(text);
    if (copy == NULL) misuse("out of memory", text);
    return copy;
}

static void set_labels(struct metric *metric, const char *const *labels) {
    for (; labels[metric->label_count] != NULL; metric->label_count++) {
        const char *label = labels[metric->label_count];
        if (metric->label_count == METRICS_LABELS_MAX) misuse("too many labels", metric->name);
        if (!name_is_valid(label, false)) misuse("not a label name", label);
        metric->label_names[metric->label_count] = copy_text(label);
    }
}

static void write_bound(double bound, char out[BOUND_BYTES]) {
    struct bytes text;
    bytes_init(&text, BOUND_BYTES - 1);
    write_number(&text, bound);
    if (text.failed) misuse("a bound cannot be written", "");
    strcpy(out, (const char *)text.data);
    bytes_deinit(&text);
}

static void set_bounds(struct metric *metric, const double *bounds) {
    for (; bounds != NULL && !isnan(bounds[metric->bound_count]); metric->bound_count++) {
        int at = metric->bound_count;
        if (at == BOUNDS_MAX) misuse("too many bounds", metric->name);
        if (at > 0 && !(bounds[at] > bounds[at - 1])) misuse("bounds do not ascend", metric->name);
        metric->bounds[at] = bounds[at];
        write_bound(bounds[at], metric->bound_texts[at]);
    }
    write_bound(INFINITY, metric->bound_texts[metric->bound_count]);
}

static struct metric *create_metric(enum metric_kind kind, const char *name, const char *help,
                                    const char *const *labels, const double *bounds) {
    struct metric *metric = calloc(1, sizeof *metric);
    if (metric == NULL) misuse("out of memory", name);
    metric->kind = kind;
    metric->name = copy_text(name);
    metric->help = copy_text(help);
    pthread_mutex_init(&metric->mutex, NULL);
    set_labels(metric, labels);
    set_bounds(metric, bounds);
    if (strchr(help, '\n') != NULL) misuse("help of several lines", name);
    if (metric->label_count == 0) get_series(metric, labels); /* shows its 0 from the start */
    return metric;
}

static bool has_labels(const struct metric *metric, const char *const *labels) {
    int count = 0;
    for (; labels[count] != NULL; count++) {
        if (count == metric->label_count || strcmp(labels[count], metric->label_names[count]) != 0) return false;
    }
    return count == metric->label_count;
}

static struct metric *declare(struct metrics *metrics, enum metric_kind kind, const char *name, const char *help,
                              const char *const *labels, const double *bounds) {
    if (!name_is_valid(name, true)) misuse("not a metric name", name);
    struct metric *found = NULL;
    pthread_mutex_lock(&metrics->mutex);
    for (int i = 0; i < metrics->count && found == NULL; i++) {
        if (strcmp(metrics->list[i]->name, name) == 0) found = metrics->list[i];
    }
    if (found == NULL) {
        if (metrics->count == METRICS_MAX) misuse("too many metrics", name);
        found = metrics->list[metrics->count++] = create_metric(kind, name, help, labels, bounds);
    }
    pthread_mutex_unlock(&metrics->mutex);
    if (found->kind != kind || !has_labels(found, labels))
        misuse("declared twice with different kinds or labels", name);
    return found;
}

struct metric *metrics_counter_(struct metrics *metrics, const char *name, const char *help,
                                const char *const *labels) {
    return declare(metrics, METRIC_COUNTER, name, help, labels, NULL);
}

struct metric *metrics_gauge_(struct metrics *metrics, const char *name, const char *help, const char *const *labels) {
    return declare(metrics, METRIC_GAUGE, name, help, labels, NULL);
}

struct metric *metrics_histogram_(struct metrics *metrics, const char *name, const char *help, const double *bounds,
                                  const char *const *labels) {
    return declare(metrics, METRIC_HISTOGRAM, name, help, labels, bounds);
}

static void atomic_add_double(_Atomic double *target, double value) {
    double old = atomic_load_explicit(target, memory_order_relaxed);
    while (
        !atomic_compare_exchange_weak_explicit(target, &old, old + value, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void metric_add_(struct metric *metric, double value, const char *const *values) {
    assert(metric->kind != METRIC_HISTOGRAM);
    if (isnan(value) || (metric->kind == METRIC_COUNTER && value < 0)) return;
    struct series *series = get_series(metric, values);
    if (series != NULL) atomic_add_double(&series->value, value);
}

void metric_set_(struct metric *metric, double value, const char *const *values) {
    assert(metric->kind == METRIC_GAUGE);
    struct series *series = get_series(metric, values);
    if (series != NULL) atomic_store_explicit(&series->value, value, memory_order_relaxed);
}

void metric_observe_(struct metric *metric, double value, const char *const *values) {
    assert(metric->kind == METRIC_HISTOGRAM);
    if (isnan(value)) return; /* it would make the sum NaN for ever */
    struct series *series = get_series(metric, values);
    if (series == NULL) return;
    int bucket = 0;
    while (bucket < metric->bound_count && value > metric->bounds[bucket]) bucket++;
    atomic_fetch_add_explicit(&series->buckets[bucket], 1, memory_order_relaxed);
    atomic_add_double(&series->value, value);
}

static uint64_t observation_count(const struct metric *metric, const struct series *series) {
    uint64_t count = 0;
    for (int i = 0; i <= metric->bound_count; i++) count += atomic_load(&series->buckets[i]);
    return count;
}

double metric_value_(struct metric *metric, const char *const *values) {
    struct label_values wanted = read_values(metric, values);
    const struct series *series = find_series(metric, &wanted);
    if (series == NULL) return 0;
    return metric->kind == METRIC_HISTOGRAM ? (double)observation_count(metric, series) : atomic_load(&series->value);
}

/** name_suffix{labels,le="bound"} value */
static void write_sample(struct bytes *out, const struct metric *metric, const struct series *series,
                         const char *suffix, const char *bound, double value) {
    (void)!bytes_append_string(out, metric->name);
    (void)!bytes_append_string(out, suffix);
    if (metric->label_count > 0 || bound != NULL) (void)!bytes_append_byte(out, '{');
    (void)!bytes_append_string(out, series->text);
    if (bound != NULL) {
        (void)!bytes_append_string(out, metric->label_count > 0 ? ",le=\"" : "le=\"");
        (void)!bytes_append_string(out, bound);
        (void)!bytes_append_byte(out, '"');
    }
    if (metric->label_count > 0 || bound != NULL) (void)!bytes_append_byte(out, '}');
    (void)!bytes_append_byte(out, ' ');
    write_number(out, value);
    (void)!bytes_append_byte(out, '\n');
}

static void write_histogram(struct bytes *out, const struct metric *metric, const struct series *series) {
    uint64_t below = 0;
    for (int i = 0; i <= metric->bound_count; i++) {
        below += atomic_load(&series->buckets[i]);
        write_sample(out, metric, series, "_bucket", metric->bound_texts[i], (double)below);
    }
    write_sample(out, metric, series, "_sum", NULL, atomic_load(&series->value));
    write_sample(out, metric, series, "_count", NULL, (double)below);
}

static void write_metric(struct bytes *out, const struct metric *metric) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    (void)!bytes_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                        kinds[metric->kind]);
    int count = atomic_load_explicit(&metric->series_count, memory_order_acquire);
    for (int i = 0; i < count; i++) {
        const struct series *series = metric->series[i];
        if (metric->kind == METRIC_HISTOGRAM)
            write_histogram(out, metric, series);
        else
            write_sample(out, metric, series, "", NULL, atomic_load(&series->value));
    }
}

static long resident_pages(void) {
    long pages = 0, size = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) return 0;
    if (fscanf(file, "%ld %ld", &size, &pages) != 2) pages = 0;
    fclose(file);
    return pages;
}

static long open_descriptors(void) {
    struct stat facts; /* Linux 6.2 and later count them there; before, each is to be looked at */
    if (stat("/proc/self/fd", &facts) == 0 && facts.st_size > 0) return facts.st_size;
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) return 0;
    long count = -3; /* ".", ".." and the folder's own */
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

static void write_process(const struct metrics *metrics, struct bytes *out) {
    (void)!bytes_printf(out, "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %ld\n",
                        resident_pages() * sysconf(_SC_PAGESIZE));
    (void)!bytes_printf(out, "# TYPE process_open_fds gauge\nprocess_open_fds %ld\n", open_descriptors());
    (void)!bytes_append_string(out, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds ");
    write_number(out, metrics->started);
    (void)!bytes_append_byte(out, '\n');
}

enum status metrics_write(struct metrics *metrics, struct bytes *out) {
    pthread_mutex_lock(&metrics->mutex);
    int count = metrics->count;
    pthread_mutex_unlock(&metrics->mutex);
    for (int i = 0; i < count; i++) write_metric(out, metrics->list[i]);
    write_process(metrics, out);
    return out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}
