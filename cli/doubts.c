/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/doubts.h"

#include "bora/v1/models.pb-c.h"
#include "bora/v1/usage.pb-c.h"
#include "cli/print.h"

#include <string.h>

/** NULL: they cannot be known. */
static const ProtobufCMessage *fetch(struct connection *connection, const char *method,
                                     const ProtobufCMessageDescriptor *descriptor) {
    Bora__V1__ListWorkersRequest nothing = BORA__V1__LIST_WORKERS_REQUEST__INIT; /* any message without fields */
    ProtobufCMessage *reply = NULL;
    bool quiet = connection->quiet;
    int retries = connection->retries_left;
    connection->quiet = true;
    connection->retries_left = 0;
    int result = connection_call(connection, method, &nothing.base, descriptor, &reply);
    connection->quiet = quiet;
    connection->retries_left = retries;
    return result == GO_ON ? reply : NULL;
}

static const Bora__V1__WorkerList *fetch_workers(struct connection *connection) {
    return (const void *)fetch(connection, "/bora.v1.ModelService/ListWorkers", &bora__v1__worker_list__descriptor);
}

static bool is_called(const Bora__V1__WorkerInfo *worker, const char *name) {
    if (strcmp(worker->model, name) == 0 || strcmp(worker->tier, name) == 0) return true;
    for (size_t i = 0; i < worker->n_aliases; i++) {
        if (strcmp(worker->aliases[i], name) == 0) return true;
    }
    return false;
}

static bool is_served(const Bora__V1__WorkerList *list, const char *name) {
    for (size_t i = 0; i < list->n_workers; i++) {
        if (is_called(list->workers[i], name)) return true;
    }
    return false;
}

/** Several workers may serve one model, which is told once. */
static bool is_told(const Bora__V1__WorkerList *list, size_t index) {
    for (size_t i = 0; i < index; i++) {
        if (strcmp(list->workers[i]->model, list->workers[index]->model) == 0) return true;
    }
    return false;
}

void doubt_models(struct connection *connection, char *const *names, size_t count, const char *so) {
    const Bora__V1__WorkerList *list = count > 0 ? fetch_workers(connection) : NULL;
    for (size_t i = 0; list != NULL && i < count; i++) {
        if (is_served(list, names[i])) continue;
        fputs("bora: warning: no model is served as '", stderr);
        print_line(stderr, names[i]);
        fprintf(stderr, "' now, %s; there are: %s", so, list->n_workers == 0 ? "none" : "");
        for (size_t j = 0; j < list->n_workers; j++) {
            if (is_told(list, j)) continue;
            fputs(j > 0 ? ", " : "", stderr);
            print_line(stderr, list->workers[j]->model);
        }
        fputs("\n", stderr);
    }
}

/* --- prices ------------------------------------------------------------------------------------------------------- */

static bool has_price(const Bora__V1__WorkerInfo *worker, const Bora__V1__Prices *prices) {
    for (size_t i = 0; i < prices->n_prices; i++) {
        if (is_called(worker, prices->prices[i]->model)) return true;
    }
    return false;
}

static const Bora__V1__Prices *fetch_prices(struct connection *connection) {
    return (const void *)fetch(connection, "/bora.v1.UsageService/GetPrices", &bora__v1__prices__descriptor);
}

const char *prices_currency(struct connection *connection) {
    const Bora__V1__Prices *prices = fetch_prices(connection);
    return prices == NULL ? "" : prices->currency;
}

void doubt_prices(struct connection *connection, const char *only_or_null) {
    const Bora__V1__Prices *prices = fetch_prices(connection);
    if (prices == NULL) return;
    if (prices->n_prices == 0) {
        fputs("bora: warning: there are no prices, so a limit on spend limits nothing yet: bora prices set\n", stderr);
        return;
    }
    const Bora__V1__WorkerList *list = fetch_workers(connection);
    const char *before = "bora: warning: no price is set for ";
    for (size_t i = 0; list != NULL && i < list->n_workers; i++) {
        const Bora__V1__WorkerInfo *worker = list->workers[i];
        bool bounded = only_or_null == NULL || is_called(worker, only_or_null);
        if (!bounded || is_told(list, i) || has_price(worker, prices)) continue;
        fputs(before, stderr);
        print_line(stderr, worker->model);
        before = ", ";
    }
    if (strcmp(before, ", ") == 0)
        fputs(", so answers count nothing against a limit on spend: bora prices set\n", stderr);
}

bool doubt_bounds_spend(const Bora__V1__Limits *limits) {
    return limits != NULL && limits->_spend_per_month_case == BORA__V1__LIMITS___SPEND_PER_MONTH_SPEND_PER_MONTH;
}
