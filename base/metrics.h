/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Metrics in the Prometheus text format 0.0.4. Metrics are declared at start; updating one is an atomic add.
 *
 *     struct metric *requests = metrics_counter(m, "bora_requests_total", "Requests by outcome.", "model", "status");
 *     metric_add(requests, 1, "small", "200");
 *
 * A labelled metric holds at most `METRICS_SERIES_MAX` label combinations; further ones fall into the series whose
 * labels all read "other", so that input cannot grow memory. A metric without labels is shown from the start. Any thread.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/bytes.h"
#include "base/status.h"

enum { METRICS_SERIES_MAX = 512, METRICS_LABELS_MAX = 4 };

struct metrics;
struct metric;

struct metrics *metrics_create(void); /* NULL only when memory is out */
void metrics_destroy(struct metrics *metrics);

/** Up to METRICS_LABELS_MAX label names, ended by NULL (the macros add it). `help` is one line. Asking again for a name
 *  gives the same metric. Aborts on an invalid name, or the same name with another kind or labels: a programmer's error. */
struct metric *metrics_counter_(struct metrics *metrics, const char *name, const char *help, const char *const *labels);
struct metric *metrics_gauge_(struct metrics *metrics, const char *name, const char *help, const char *const *labels);
/** `bounds`: ascending upper bounds, ended by NAN, copied; at most 32. */
struct metric *metrics_histogram_(struct metrics *metrics, const char *name, const char *help, const double *bounds,
                                  const char *const *labels);
#define METRICS_LIST_(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) 0})
#define metrics_counter(m, name, help, ...) metrics_counter_(m, name, help, METRICS_LIST_(__VA_ARGS__))
#define metrics_gauge(m, name, help, ...) metrics_gauge_(m, name, help, METRICS_LIST_(__VA_ARGS__))
#define metrics_histogram(m, name, help, bounds, ...) \
    metrics_histogram_(m, name, help, bounds, METRICS_LIST_(__VA_ARGS__))
/** Seconds, 0.5 ms to 60 s. */
extern const double METRICS_SECONDS[];

/** Counter: value >= 0 (a negative one is dropped). Gauge: any. Label values in the order of the names; missing ones
 *  read "", long ones are cut to 127 bytes. */
void metric_add_(struct metric *metric, double value, const char *const *values);
/** Gauge only. */
void metric_set_(struct metric *metric, double value, const char *const *values);
/** Histogram only; NaN is dropped. */
void metric_observe_(struct metric *metric, double value, const char *const *values);
#define metric_add(metric, value, ...) metric_add_(metric, value, METRICS_LIST_(__VA_ARGS__))
#define metric_set(metric, value, ...) metric_set_(metric, value, METRICS_LIST_(__VA_ARGS__))
#define metric_observe(metric, value, ...) metric_observe_(metric, value, METRICS_LIST_(__VA_ARGS__))
/** Current value (histogram: count); for tests and load reports. */
double metric_value_(struct metric *metric, const char *const *values);
#define metric_value(metric, ...) metric_value_(metric, METRICS_LIST_(__VA_ARGS__))

/** Append everything, in order of declaration. Also process_resident_memory_bytes, process_open_fds, process_start_time_seconds. */
enum status metrics_write(struct metrics *metrics, struct bytes *out);

#endif
