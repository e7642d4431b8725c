/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/export.h"

#include "bora/v1/usage.pb-c.h"
#include "rpc/csv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    PAGE_ENTRIES = 1000,
    TEXT_BYTES_MAX = 64 << 20,
    ENTRY_ID_BYTES = 64, /* as ListLedgerRequest.after takes */
    FILE_NAME_BYTES = 64,
};
static const char csv_type[] = "text/csv; charset=utf-8";
static const char json_lines_type[] = "application/jsonl";

struct export {
    struct request *request; /* in whose arena this lies; each call on its way holds a reference */
    const struct admin_method *method;
    const struct admin_route *route;
    struct admin_caller caller;
    Bora__V1__ListLedgerRequest page; /* what is asked for next */
    char after[ENTRY_ID_BYTES + 1];
    int64_t left; /* entries that are still wanted; -1: all */
    bool csv, started;
    bool waiting; /* for the reader; guarded by the request's mutex */
};

/** "2026-11-01" in front of `text`? */
static bool has_date(const char *text) {
    static const char form[] = "0000-00-00";
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] == '0' ? !isdigit((unsigned char)text[i]) : text[i] != form[i]) return false;
    }
    return true;
}

/** Begin the answer: a file, named after what is in it. `from` and `to` may be NULL. */
static void add_file_name(struct request *request, const char *what, const char *from, const char *to,
                          const char *ending) {
    char header[FILE_NAME_BYTES + 64], dates[32] = "";
    if (from != NULL && has_date(from)) snprintf(dates, sizeof dates, "-%.10s", from);
    if (to != NULL && has_date(to)) snprintf(dates + strlen(dates), sizeof dates - strlen(dates), "-%.10s", to);
    snprintf(header, sizeof header, "attachment; filename=\"bora-%s%s.%s\"", what, dates, ending);
    http_exchange_add_header(request->transport, "content-disposition", header);
}

/** False when somebody has answered before. */
static bool take_answer(struct request *request) {
    pthread_mutex_lock(&request->mutex);
    bool first = !request->answered;
    request->answered = true;
    if (first) request->http_status = 200;
    pthread_mutex_unlock(&request->mutex);
    return first;
}

/* ---- usage: one answer --------------------------------------------------------------------------------------------- */

static enum status write_usage(const struct transcoder *transcoder, const Bora__V1__UsageReport *report,
                               struct bytes *out) {
    TRY(csv_write_names(transcoder, &bora__v1__usage_row__descriptor, out));
    for (size_t i = 0; i < report->n_rows; i++) TRY(csv_write_row(transcoder, &report->rows[i]->base, out));
    return STATUS_OK;
}

static void answer_usage(struct request *request, const Bora__V1__UsageReport *report) {
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    if (write_usage(request->gateway->transcoder, report, &text) != STATUS_OK) {
        struct api_error error = admin_error_unreadable();
        request_fail(request, &error);
    } else if (take_answer(request)) {
        add_file_name(request, "usage", report->from, report->to, "csv");
        http_exchange_respond(request->transport, 200, csv_type, bytes_view(&text));
    }
    bytes_deinit(&text);
}

static void on_usage(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct export *export = context;
    struct request *request = export->request;
    ProtobufCMessage *message = NULL;
    struct api_error error;
    struct arena arena;
    arena_init(&arena, ADMIN_ARENA_BYTES);
    if (result->status != STATUS_OK) {
        error = admin_error(request, export->route, result);
        request_fail(request, &error);
    } else if (!admin_read(export->method, reply, &arena, &message, &error)) {
        request_fail(request, &error);
    } else {
        answer_usage(request, (const void *)message);
    }
    arena_deinit(&arena);
    request_unref(request);
}

static void start_usage(struct export *export, const ProtobufCMessage *message) {
    struct request *request = export->request;
    request_ref(request);
    if (admin_ask(request, export->method, &export->caller, message, on_usage, export)) return;
    struct api_error error = admin_error_unreachable();
    request_fail(request, &error);
    request_unref(request);
}

/* ---- the ledger: page by page -------------------------------------------------------------------------------------- */

/** Tell the client before the first row; after it, break the connection. */
static void fail(struct export *export, const struct api_error *error) {
    if (export->started)
        http_exchange_abort(export->request->transport);
    else
        request_fail(export->request, error);
}

static enum status write_page(struct export *export, const Bora__V1__ListLedgerResponse *page, struct bytes *out) {
    const struct transcoder *transcoder = export->request->gateway->transcoder;
    if (export->csv && !export->started) TRY(csv_write_names(transcoder, &bora__v1__ledger_entry__descriptor, out));
    for (size_t i = 0; i < page->n_entries; i++) {
        if (export->csv) {
            TRY(csv_write_row(transcoder, &page->entries[i]->base, out));
        } else {
            TRY(transcode_write(transcoder, &page->entries[i]->base, out));
            TRY(bytes_append_byte(out, '\n'));
        }
    }
    return STATUS_OK;
}

/** False when nobody reads any more. */
static bool send_page(struct export *export, const struct bytes *text) {
    struct http_exchange *exchange = export->request->transport;
    if (!export->started) {
        if (!take_answer(export->request)) return false;
        export->started = true;
        add_file_name(export->request, "ledger",
                      export->page._from_case == BORA__V1__LIST_LEDGER_REQUEST___FROM_FROM ? export->page.from : NULL,
                      export->page._to_case == BORA__V1__LIST_LEDGER_REQUEST___TO_TO ? export->page.to : NULL,
                      export->csv ? "csv" : "jsonl");
        http_exchange_start(exchange, 200, export->csv ? csv_type : json_lines_type);
    }
    return text->length == 0 || http_exchange_write(exchange, bytes_view(text)) == STATUS_OK;
}

static void ask_page(struct export *export);

/** Go on at once, or when the reader has caught up. */
static void go_on(struct export *export) {
    struct request *request = export->request;
    pthread_mutex_lock(&request->mutex);
    export->waiting = true;
    pthread_mutex_unlock(&request->mutex);
    /* Looked at afterwards: a reader that caught up before anybody waited for it will not say so again. */
    if (http_exchange_pending_bytes(request->transport) <= LIMIT_STREAM_PENDING_BYTES) export_writable(export);
}

/**
 * Where the page behind this one begins: what it says itself, else, of a keys service that tells only that there is more, its last entry; "" at the
 * end. False when there is more, and nothing says where.
 */
static bool find_next(struct export *export, const Bora__V1__ListLedgerResponse *page) {
    const char *told = page->_next_after_case != 0 ? page->next_after : "";
    const char *last = page->n_entries > 0 ? page->entries[page->n_entries - 1]->id : "";
    const char *next = told[0] != 0 ? told : page->has_more ? last : "";
    if (next[0] == 0 ? page->has_more : strcmp(next, export->after) == 0) return false;
    snprintf(export->after, sizeof export->after, "%s", next);
    return true;
}

/** The page is written; what comes next? */
static void take_page(struct export *export, const Bora__V1__ListLedgerResponse *page) {
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    bool written = write_page(export, page, &text) == STATUS_OK && find_next(export, page);
    bool sent = written && send_page(export, &text);
    bytes_deinit(&text);
    if (export->left >= 0)
        export->left -= (int64_t)page->n_entries < export->left ? (int64_t)page->n_entries : export->left;
    if (!written) {
        struct api_error error = admin_error_unreadable();
        fail(export, &error);
    } else if (sent && export->after[0] != 0 && export->left != 0) {
        go_on(export);
    } else if (sent) {
        http_exchange_end(export->request->transport);
    }
}

static void on_page(void *context, const struct rpc_result *result, struct bytes_view reply) {
    struct export *export = context;
    struct request *request = export->request;
    struct arena arena;
    ProtobufCMessage *message = NULL;
    struct api_error error;
    arena_init(&arena, ADMIN_ARENA_BYTES);
    if (result->status != STATUS_OK) {
        error = admin_error(request, export->route, result);
        fail(export, &error);
    } else if (!admin_read(export->method, reply, &arena, &message, &error)) {
        fail(export, &error);
    } else {
        take_page(export, (const void *)message);
    }
    arena_deinit(&arena);
    request_unref(request);
}

static void ask_page(struct export *export) {
    struct request *request = export->request;
    pthread_mutex_lock(&request->mutex);
    bool closed = request->closed;
    pthread_mutex_unlock(&request->mutex);
    if (closed) return;
    if (export->after[0] != 0) {
        export->page._after_case = BORA__V1__LIST_LEDGER_REQUEST___AFTER_AFTER;
        export->page.after = export->after;
    }
    export->page._limit_case = BORA__V1__LIST_LEDGER_REQUEST___LIMIT_LIMIT;
    export->page.limit = export->left >= 0 && export->left < PAGE_ENTRIES ? (int32_t) export->left : PAGE_ENTRIES;
    request_ref(request);
    if (admin_ask(request, export->method, &export->caller, &export->page.base, on_page, export)) return;
    struct api_error error = admin_error_unreachable();
    fail(export, &error);
    request_unref(request);
}

void export_writable(struct export *export) {
    struct request *request = export->request;
    pthread_mutex_lock(&request->mutex);
    bool waiting = export->waiting;
    export->waiting = false;
    pthread_mutex_unlock(&request->mutex);
    if (waiting) ask_page(export);
}

static void start_ledger(struct export *export, const Bora__V1__ListLedgerRequest *message) {
    struct request *request = export->request;
    export->csv = strcmp(message->format, "csv") == 0;
    export->page = *message; /* strings stay in the request's arena */
    export->page._format_case = BORA__V1__LIST_LEDGER_REQUEST___FORMAT__NOT_SET;
    export->left = message->_limit_case == BORA__V1__LIST_LEDGER_REQUEST___LIMIT_LIMIT ? message->limit : -1;
    pthread_mutex_lock(&request->mutex);
    request->export = export;
    pthread_mutex_unlock(&request->mutex);
    ask_page(export);
}

bool export_start(struct request *request, const struct admin_method *method, const struct admin_route *route,
                  const struct admin_caller *caller, const ProtobufCMessage *message) {
    const Bora__V1__GetUsageRequest *usage = (const void *)message;
    const Bora__V1__ListLedgerRequest *ledger = (const void *)message;
    bool wanted =
        (route->exports == ADMIN_EXPORT_USAGE && usage->_format_case == BORA__V1__GET_USAGE_REQUEST___FORMAT_FORMAT &&
         strcmp(usage->format, "json") != 0) ||
        (route->exports == ADMIN_EXPORT_LEDGER &&
         ledger->_format_case == BORA__V1__LIST_LEDGER_REQUEST___FORMAT_FORMAT && strcmp(ledger->format, "json") != 0);
    if (!wanted) return false;
    struct export *export = arena_alloc(&request->arena, sizeof *export);
    if (export == NULL) {
        struct api_error error = api_error_unavailable("Out of memory.");
        request_fail(request, &error);
        return true;
    }
    *export = (struct export){.request = request, .method = method, .route = route, .caller = *caller};
    if (route->exports == ADMIN_EXPORT_USAGE)
        start_usage(export, message);
    else
        start_ledger(export, ledger);
    return true;
}
