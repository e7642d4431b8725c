/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include "base/clock.h"
#include "base/text.h"

#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BOUNDS_MAX = 32, METRICS_MAX = 256, LABEL_VALUE_BYTES = 128 };

const double METRICS_SECONDS[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, NAN};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/** One combination of label values. Never freed before the metrics are. */
struct series {
    char labels[METRICS_LABELS_MAX][LABEL_VALUE_BYTES];
    _Atomic double value; /* counter, gauge; histogram: sum */
    atomic_uint_least64_t count;
    atomic_uint_least64_t buckets[BOUNDS_MAX + 1]; /* not cumulative */
};

struct metric {
    enum metric_kind kind;
    char *name, *help;
    int label_count, bound_count;
    char *label_names[METRICS_LABELS_MAX];
    double bounds[BOUNDS_MAX];
    pthread_mutex_t mutex; /* for adding a series */
    _Atomic(struct series *) series[METRICS_SERIES_MAX];
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
    for (int i = 0; i < atomic_load(&metric->series_count); i++) free(atomic_load(&metric->series[i]));
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

static bool name_is_valid(const char *name) {
    if (!isalpha((unsigned char)name[0]) && name[0] != '_') return false;
    for (const char *c = name; *c != 0; c++) {
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != ':') return false;
    }
    return true;
}

_Noreturn static void misuse(const char *what, const char *name) {
    fprintf(stderr, "metrics: %s: %s\n", what, name);
    abort();
}

static struct metric *declare(struct metrics *metrics, enum metric_kind kind, const char *name, const char *help, const char *const *labels) {
    if (!name_is_valid(name)) misuse("not a metric name", name);
    struct metric *found = NULL;
    pthread_mutex_lock(&metrics->mutex);
    for (int i = 0; i < metrics->count && found == NULL; i++) {
        if (strcmp(metrics->list[i]->name, name) == 0) found = metrics->list[i];
    }
    if (found == NULL) {
        found = calloc(1, sizeof *found);
        if (metrics->count == METRICS_MAX || found == NULL) misuse("too many metrics", name);
        found->kind = kind;
        found->name = strdup(name);
        found->help = strdup(help);
        pthread_mutex_init(&found->mutex, NULL);
        for (; labels[found->label_count] != NULL; found->label_count++) {
            if (found->label_count == METRICS_LABELS_MAX || !name_is_valid(labels[found->label_count])) misuse("bad labels", name);
            found->label_names[found->label_count] = strdup(labels[found->label_count]);
        }
        metrics->list[metrics->count++] = found;
    }
    pthread_mutex_unlock(&metrics->mutex);
    if (found->kind != kind) misuse("declared twice with different kinds", name);
    return found;
}

struct metric *metrics_counter_(struct metrics *metrics, const char *name, const char *help, const char *const *labels) {
    return declare(metrics, METRIC_COUNTER, name, help, labels);
}

struct metric *metrics_gauge_(struct metrics *metrics, const char *name, const char *help, const char *const *labels) {
    return declare(metrics, METRIC_GAUGE, name, help, labels);
}

struct metric *metrics_histogram_(struct metrics *metrics, const char *name, const char *help, const double *bounds, const char *const *labels) {
    struct metric *metric = declare(metrics, METRIC_HISTOGRAM, name, help, labels);
    if (metric->bound_count == 0) {
        while (!isnan(bounds[metric->bound_count])) {
            if (metric->bound_count == BOUNDS_MAX) misuse("too many bounds", name);
            metric->bounds[metric->bound_count] = bounds[metric->bound_count];
            metric->bound_count++;
        }
    }
    return metric;
}

static bool series_is(const struct metric *metric, const struct series *series, const char *const *values) {
    bool ended = false;
    for (int i = 0; i < metric->label_count; i++) {
        ended = ended || values[i] == NULL;
        if (strncmp(series->labels[i], ended ? "" : values[i], LABEL_VALUE_BYTES - 1) != 0) return false;
    }
    return true;
}

static struct series *find_series(const struct metric *metric, const char *const *values, int from) {
    int count = atomic_load(&metric->series_count);
    for (int i = from; i < count; i++) {
        struct series *series = atomic_load(&metric->series[i]);
        if (series_is(metric, series, values)) return series;
    }
    return NULL;
}

/** The series of these label values, added when new; past the maximum, the one that collects the rest. NULL without memory. */
static struct series *get_series(struct metric *metric, const char *const *values) {
    static const char *const other[METRICS_LABELS_MAX + 1] = {"other", "other", "other", "other", NULL};
    struct series *series = find_series(metric, values, 0);
    if (series != NULL) return series;
    pthread_mutex_lock(&metric->mutex);
    series = find_series(metric, values, 0);
    int count = atomic_load(&metric->series_count);
    if (series == NULL && count >= METRICS_SERIES_MAX - 1) {
        values = other;
        series = find_series(metric, values, 0);
    }
    if (series == NULL && (series = calloc(1, sizeof *series)) != NULL) {
        for (int i = 0; i < metric->label_count && values[i] != NULL; i++) snprintf(series->labels[i], LABEL_VALUE_BYTES, "%s", values[i]);
        atomic_store(&metric->series[count], series);
        atomic_store(&metric->series_count, count + 1);
    }
    pthread_mutex_unlock(&metric->mutex);
    return series;
}

static void atomic_add_double(_Atomic double *target, double value) {
    double old = atomic_load_explicit(target, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(target, &old, old + value, memory_order_relaxed, memory_order_relaxed)) {}
}

void metric_add_(struct metric *metric, double value, const char *const *values) {
    struct series *series = get_series(metric, values);
    if (series != NULL) atomic_add_double(&series->value, value);
}

void metric_set_(struct metric *metric, double value, const char *const *values) {
    struct series *series = get_series(metric, values);
    if (series != NULL) atomic_store_explicit(&series->value, value, memory_order_relaxed);
}

void metric_observe_(struct metric *metric, double value, const char *const *values) {
    struct series *series = get_series(metric, values);
    if (series == NULL) return;
    int bucket = 0;
    while (bucket < metric->bound_count && value > metric->bounds[bucket]) bucket++;
    atomic_fetch_add_explicit(&series->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&series->count, 1, memory_order_relaxed);
    atomic_add_double(&series->value, value);
}

double metric_value_(struct metric *metric, const char *const *values) {
    struct series *series = find_series(metric, values, 0);
    if (series == NULL) return 0;
    return metric->kind == METRIC_HISTOGRAM ? (double)atomic_load(&series->count) : atomic_load(&series->value);
}

/* ---- text ---------------------------------------------------------------------------------------------------------- */

static void write_number(struct bytes *out, double value) {
    char number[40];
    if (isnan(value)) strcpy(number, "NaN");
    else if (isinf(value)) strcpy(number, value > 0 ? "+Inf" : "-Inf");
    else text_from_double(value, number);
    (void)!bytes_append_string(out, number);
}

static void write_label_value(struct bytes *out, const char *value) {
    for (; *value != 0; value++) {
        if (*value == '\\' || *value == '"') (void)!bytes_append_byte(out, '\\');
        if (*value == '\n') (void)!bytes_append(out, "\\n", 2);
        else (void)!bytes_append_byte(out, (uint8_t)*value);
    }
}

/** name_suffix{labels,le="bound"} value */
static void write_sample(struct bytes *out, const struct metric *metric, const struct series *series, const char *suffix, const double *bound, double value) {
    (void)!bytes_printf(out, "%s%s", metric->name, suffix);
    if (metric->label_count > 0 || bound != NULL) (void)!bytes_append_byte(out, '{');
    for (int i = 0; i < metric->label_count; i++) {
        (void)!bytes_printf(out, "%s%s=\"", i > 0 ? "," : "", metric->label_names[i]);
        write_label_value(out, series->labels[i]);
        (void)!bytes_append_byte(out, '"');
    }
    if (bound != NULL) {
        (void)!bytes_printf(out, "%sle=\"", metric->label_count > 0 ? "," : "");
        write_number(out, *bound);
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
        double bound = i < metric->bound_count ? metric->bounds[i] : INFINITY;
        write_sample(out, metric, series, "_bucket", &bound, (double)below);
    }
    write_sample(out, metric, series, "_sum", NULL, atomic_load(&series->value));
    write_sample(out, metric, series, "_count", NULL, (double)below);
}

static void write_metric(struct bytes *out, const struct metric *metric) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    (void)!bytes_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name, kinds[metric->kind]);
    for (int i = 0; i < atomic_load(&metric->series_count); i++) {
        const struct series *series = atomic_load(&metric->series[i]);
        if (metric->kind == METRIC_HISTOGRAM) write_histogram(out, metric, series);
        else write_sample(out, metric, series, "", NULL, atomic_load(&series->value));
    }
}

static void write_process(struct metrics *metrics, struct bytes *out) {
    long pages = 0, ignored = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%ld %ld", &ignored, &pages) != 2) pages = 0;
        fclose(file);
    }
    int descriptors = -3; /* ".", ".." and the folder's own */
    DIR *folder = opendir("/proc/self/fd");
    if (folder != NULL) {
        while (readdir(folder) != NULL) descriptors++;
        closedir(folder);
    }
    (void)!bytes_printf(out, "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %ld\n", pages * sysconf(_SC_PAGESIZE));
    (void)!bytes_printf(out, "# TYPE process_open_fds gauge\nprocess_open_fds %d\n", descriptors);
    (void)!bytes_printf(out, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n", metrics->started);
}

enum status metrics_write(struct metrics *metrics, struct bytes *out) {
    pthread_mutex_lock(&metrics->mutex);
    int count = metrics->count;
    pthread_mutex_unlock(&metrics->mutex);
    for (int i = 0; i < count; i++) write_metric(out, metrics->list[i]);
    write_process(metrics, out);
    return out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}
