/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/reports.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/settlements.h"

#include <stdlib.h>
#include <string.h>

static const int64_t LAST_REPORTS_NS = 5 * (int64_t)NS_PER_S;

struct reports {
    struct redis_client *redis;
    struct settlements *settlements;
};

void report_begin(struct report *report, const Bora__Internal__V1__Start *start) {
    const uint8_t *text = start->lease.data, *slash = text != NULL ? memchr(text, '/', start->lease.len) : NULL;
    *report = (struct report){.answer = start->answer};
    if (slash == NULL) return;
    size_t organization = (size_t)(slash - text), lease = start->lease.len - organization - 1;
    if (organization == 0 || organization > LIMITS_ID_BYTES || lease != LIMITS_LEASE_ID_BYTES) return;
    memcpy(report->organization, text, organization);
    memcpy(report->lease, slash + 1, lease);
}

enum status reports_create(const struct worker_settings *settings, struct reports **out, struct error *err) {
    char *password = NULL;
    struct reports *reports = calloc(1, sizeof *reports);
    if (reports == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = settings_read_secret(settings->redis_password_file, &password, err);
    struct redis_options options = {.address = settings->redis_address, .password = password};
    if (status == STATUS_OK) status = redis_client_create(&options, &reports->redis, err);
    free(password);
    if (status == STATUS_OK) status = settlements_create(reports->redis, &reports->settlements, err);
    if (status != STATUS_OK) {
        redis_client_destroy(reports->redis);
        free(reports);
        return status;
    }
    *out = reports;
    return STATUS_OK;
}

void reports_destroy(struct reports *reports) {
    if (reports == NULL) return;
    int64_t lost = settlements_destroy(reports->settlements, LAST_REPORTS_NS);
    if (lost > 0) log_warn("reports were not taken by Redis", LOG_I("count", lost));
    redis_client_destroy(reports->redis);
    free(reports);
}

void reports_send(struct reports *reports, const struct report *report) {
    if (report->lease[0] == 0) return;
    settlements_report(reports->settlements, report->organization, report->lease, report->answer, &report->usage);
}
