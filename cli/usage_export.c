/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/usage_export.h"

#include "base/json.h"
#include "base/limits.h"
#include "bora/v1/usage.pb-c.h"
#include "cli/connection.h"
#include "cli/fields.h"
#include "cli/keys.h"
#include "cli/places.h"
#include "cli/print.h"
#include "cli/table.h"
#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 5000, PAGE_BYTES_MAX = 64 << 20, LINE_BYTES_MAX = 8192, PATH_BYTES_MAX = 4096, ID_BYTES_MAX = 64 };

static struct {
    const char *from, *to, *key, *model, *organization, *format;
    bool resume, force;
} options;
const struct argument usage_export_arguments[] = {
    {ARGUMENT_TEXT, "from", "DATE", "answers that ended from this on: 2026-11-30, 2026-11, 7d (the ledger's beginning)",
     &options.from},
    {ARGUMENT_TEXT, "to", "DATE", "up to this, without it (now)", &options.to},
    {ARGUMENT_TEXT, "key", "KEY_ID", "of this key", &options.key},
    {ARGUMENT_TEXT, "model", "MODEL", "of this model", &options.model},
    {ARGUMENT_TEXT, "organization", "ORGANIZATION", "of this organization (operator)", &options.organization},
    {ARGUMENT_CHOICE, "format", "csv|jsonl", "by FILE's name (csv)", &options.format},
    {ARGUMENT_FLAG, "resume", NULL, "go on behind the last line of FILE.partial", &options.resume},
    {ARGUMENT_FLAG, "force", NULL, "replace FILE, and begin anew", &options.force},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

struct export {
    const char *path;
    char partial[PATH_BYTES_MAX];
    bool csv, to_stdout, titled;
    FILE *file;
    char last[ID_BYTES_MAX + 1]; /* id of the last entry that was written; "": none */
    int64_t written, expected;   /* entries; `expected` 0: not known */
    struct progress progress;
};

/* --- the file ------------------------------------------------------------------------------------------------------ */

static int fail(const char *path) {
    print_failure("%s: %s", path, strerror(errno));
    return EXIT_FAILED;
}

/** The entry's id out of a line: CSV's first cell (which never needs quotes), or JSON's "id". */
static bool read_id(const struct export *export, const char *line, size_t length, char out[ID_BYTES_MAX + 1]) {
    struct bytes_view id = {(const uint8_t *)line, length};
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct json_value *value = NULL;
    struct json_problem problem;
    if (export->csv) {
        const char *comma = memchr(line, ',', length);
        id.length = comma != NULL ? (size_t)(comma - line) : 0;
    } else {
        bool read = json_read(id, LIMIT_JSON_DEPTH, LINE_BYTES_MAX, &arena, &value, &problem) == STATUS_OK;
        const struct json_value *member = read ? json_member(value, "id") : NULL;
        id = member != NULL ? member->string : (struct bytes_view){0};
    }
    bool good = id.length > 0 && id.length <= ID_BYTES_MAX;
    if (good) snprintf(out, ID_BYTES_MAX + 1, "%.*s", (int)id.length, (const char *)id.data);
    arena_deinit(&arena);
    if (good && export->csv && strcmp(out, "id") == 0) out[0] = 0; /* the titles */
    return good;
}

/** Cut half a line off the end, and find the last entry. */
static int find_end(const struct command_usage *usage, struct export *export) {
    char tail[2 * LINE_BYTES_MAX];
    if (fseeko(export->file, 0, SEEK_END) != 0) return fail(export->partial);
    off_t size = ftello(export->file), start = size > (off_t)sizeof tail ? size - (off_t)sizeof tail : 0;
    if (fseeko(export->file, start, SEEK_SET) != 0) return fail(export->partial);
    size_t length = fread(tail, 1, (size_t)(size - start), export->file), end = length;
    while (end > 0 && tail[end - 1] != '\n') end--;
    size_t line = end > 0 ? end - 1 : 0;
    while (line > 0 && tail[line - 1] != '\n') line--;
    if (end > 0 && !read_id(export, tail + line, end - 1 - line, export->last))
        return usage_error(usage, "%s does not end as this export would: begin anew with --force", export->partial);
    export->titled = end > 0;
    off_t kept = start + (off_t)end;
    if (ftruncate(fileno(export->file), kept) != 0 || fseeko(export->file, kept, SEEK_SET) != 0)
        return fail(export->partial);
    return GO_ON;
}

static int open_file(const struct command_usage *usage, struct export *export) {
    struct stat info;
    if (export->to_stdout) {
        export->file = stdout;
        return options.resume ? usage_error(usage, "--resume needs a FILE") : GO_ON;
    }
    if (snprintf(export->partial, PATH_BYTES_MAX, "%s.partial", export->path) >= PATH_BYTES_MAX)
        return usage_error(usage, "FILE is too long");
    bool there = stat(export->path, &info) == 0;
    if (there && S_ISDIR(info.st_mode)) return usage_error(usage, "%s is a folder: name a file in it", export->path);
    if (there && !options.force) return usage_error(usage, "%s is there already; --force replaces it", export->path);
    bool partial = stat(export->partial, &info) == 0;
    if (partial && !options.resume && !options.force)
        return usage_error(usage, "%s is there: --resume goes on with it, --force begins anew", export->partial);
    bool going_on = partial && options.resume;
    /* Who was asked what is a company's own matter: nobody else reads it. */
    int descriptor = open(export->partial, O_RDWR | O_CREAT | O_CLOEXEC | (going_on ? 0 : O_TRUNC), 0600);
    export->file = descriptor >= 0 ? fdopen(descriptor, "r+") : NULL;
    if (export->file == NULL) return fail(export->partial);
    return going_on ? find_end(usage, export) : GO_ON;
}

/** On success FILE is there, on failure what was written so far. */
static int close_file(struct export *export, int result) {
    if (export->file == NULL) return result;
    bool whole = fflush(export->file) == 0 && ferror(export->file) == 0;
    if (export->to_stdout) return whole || result != GO_ON ? result : fail("standard output");
    whole = fsync(fileno(export->file)) == 0 && whole;
    whole = fclose(export->file) == 0 && whole;
    if (result == GO_ON && (!whole || rename(export->partial, export->path) != 0)) return fail(export->path);
    if (result == EXIT_USAGE) return result;       /* the file is none of ours */
    if (result != GO_ON && export->last[0] == 0) { /* nothing to go on from */
        unlink(export->partial);
        return result;
    }
    if (result != GO_ON) terminal_note("%s has what came so far; go on with --resume.\n", export->partial);
    return result;
}

/* --- the pages ----------------------------------------------------------------------------------------------------- */

static void show_progress(struct export *export) {
    char what[96];
    double share = export->expected > 0 ? (double)export->written / (double)export->expected : -1;
    snprintf(what, sizeof what, "%" PRId64 " entries", export->written);
    progress_show(&export->progress, share, what);
}

static int write_page(struct export *export, const Bora__V1__ListLedgerResponse *page) {
    struct bytes out;
    struct error err = {0};
    enum status status = STATUS_OK;
    bytes_init(&out, PAGE_BYTES_MAX);
    if (export->csv && !export->titled) status = print_csv_names_to(&bora__v1__ledger_entry__descriptor, &out, &err);
    for (size_t i = 0; i < page->n_entries && status == STATUS_OK; i++) {
        const ProtobufCMessage *entry = &page->entries[i]->base;
        status = export->csv ? print_csv_to(entry, &out, &err) : print_json_to(entry, &out, &err);
        if (!export->csv && status == STATUS_OK) status = bytes_append_byte(&out, '\n');
    }
    bool whole = status == STATUS_OK;
    bool written = whole && (out.length == 0 || fwrite(out.data, 1, out.length, export->file) == out.length) &&
                   fflush(export->file) == 0;
    bytes_deinit(&out);
    if (!whole) print_failure("a page is too large to write");
    if (whole && !written) return fail(export->to_stdout ? "standard output" : export->partial);
    if (!written) return EXIT_FAILED;
    export->titled = true;
    export->written += (int64_t)page->n_entries;
    if (page->n_entries > 0) snprintf(export->last, sizeof export->last, "%s", page->entries[page->n_entries - 1]->id);
    return GO_ON;
}

/**
 * Where the page behind this one begins: what it says itself, else, of a service that tells only that there is more, its last entry. GO_ON with
 * `after` "" at the end.
 */
static int find_next(const struct export *export, const Bora__V1__ListLedgerResponse *page,
                     char after[ID_BYTES_MAX + 1]) {
    const char *told = page->_next_after_case != 0 ? page->next_after : "";
    const char *next = told[0] != 0 ? told : page->n_entries > 0 ? export->last : "";
    bool more = told[0] != 0 || page->has_more;
    if (more && (next[0] == 0 || strcmp(next, after) == 0))
        return print_failure("there is more behind %s, but the service does not say where it goes on",
                             export->last[0] != 0 ? export->last : "the beginning");
    snprintf(after, ID_BYTES_MAX + 1, "%s", more ? next : "");
    return GO_ON;
}

static int write_pages(struct connection *connection, struct export *export, Bora__V1__ListLedgerRequest *request) {
    char after[sizeof export->last];
    memcpy(after, export->last, sizeof after);
    do {
        ProtobufCMessage *reply = NULL;
        arena_reset(&connection->arena);
        field_set_integer(&request->base, "limit", PAGE);
        if (after[0] != 0) field_set_text(&request->base, "after", after);
        int result = connection_call(connection, "/bora.v1.UsageService/ListLedger", &request->base,
                                     &bora__v1__list_ledger_response__descriptor, &reply);
        if (result != GO_ON) return result;
        const Bora__V1__ListLedgerResponse *page = (const Bora__V1__ListLedgerResponse *)reply;
        result = write_page(export, page);
        if (result != GO_ON) return result;
        show_progress(export);
        result = find_next(export, page, after);
        if (result != GO_ON) return result;
    } while (after[0] != 0);
    return GO_ON;
}

/** How many entries there will be, for the bar: sums are kept by key and model too. Only an estimate, corrections are entries and no requests. */
static void estimate(struct connection *connection, struct export *export, const Bora__V1__ListLedgerRequest *ledger) {
    Bora__V1__GetUsageRequest request = BORA__V1__GET_USAGE_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    if (!export->progress.shown || ledger->_from_case == 0 || export->last[0] != 0) return;
    field_set_text(&request.base, "interval", "all");
    field_set_text(&request.base, "from", ledger->from);
    if (ledger->_to_case != 0) field_set_text(&request.base, "to", ledger->to);
    field_set_text(&request.base, "key_id", options.key);
    field_set_text(&request.base, "model", options.model);
    field_set_text(&request.base, "organization_id", options.organization);
    connection->quiet = true;
    if (connection_call(connection, "/bora.v1.UsageService/GetUsage", &request.base,
                        &bora__v1__usage_report__descriptor, &reply) == GO_ON) {
        const Bora__V1__UsageReport *report = (const Bora__V1__UsageReport *)reply;
        export->expected = report->total != NULL ? report->total->requests : 0;
    }
    connection->quiet = false;
}

/** ".csv", ".jsonl", ".ndjson", or any that promises neither. */
static int find_format(const struct command_usage *usage, struct export *export) {
    const char *dot = strrchr(export->path, '.');
    bool lines = dot != NULL && (strcmp(dot, ".jsonl") == 0 || strcmp(dot, ".ndjson") == 0);
    export->csv = options.format != NULL ? strcmp(options.format, "csv") == 0 : !lines && !connection_options.json;
    if (export->csv && options.format == NULL && dot != NULL && strcmp(dot, ".json") == 0)
        return usage_error(usage,
                           "%s: an export is no JSON document: name a FILE.jsonl (a line of JSON for each entry) or "
                           "FILE.csv, or give --format",
                           export->path);
    return GO_ON;
}

int usage_export_run(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    Bora__V1__ListLedgerRequest request = BORA__V1__LIST_LEDGER_REQUEST__INIT;
    struct export export = {.path = words[0], .to_stdout = strcmp(words[0], "-") == 0};
    char from[VALUE_TIME_BYTES], to[VALUE_TIME_BYTES], organization[ID_BYTES_MAX + 1];
    struct connection connection;
    int result = options.key != NULL ? keys_check_id(usage, options.key) : GO_ON;
    if (result == GO_ON) result = find_format(usage, &export);
    if (result == GO_ON) result = usage_set_date(usage, "from", options.from, from, &request.base);
    if (result == GO_ON) result = usage_set_date(usage, "to", options.to, to, &request.base);
    field_set_text(&request.base, "key_id", options.key);
    field_set_text(&request.base, "model", options.model);
    if (result == GO_ON) result = connection_open(CREDENTIAL_ADMIN, &connection);
    if (result != GO_ON) return result;
    if (options.key == NULL && options.organization == NULL) places_tell_default(&connection);
    result = places_find(&connection, PLACE_ORGANIZATION, options.organization, NULL, &options.organization);
    if (options.organization != NULL) { /* what was found lies in the arena, which each page begins anew */
        snprintf(organization, sizeof organization, "%s", options.organization);
        options.organization = organization;
    }
    field_set_text(&request.base, "organization_id", options.organization);
    if (result == GO_ON) result = open_file(usage, &export);
    if (result == GO_ON) {
        progress_init(&export.progress);
        estimate(&connection, &export, &request);
        result = write_pages(&connection, &export, &request);
        progress_end(&export.progress);
    }
    result = close_file(&export, result);
    connection_close(&connection);
    if (result != GO_ON) return result;
    if (!export.to_stdout) terminal_note("Wrote %s: %" PRId64 " entries.\n", export.path, export.written);
    return EXIT_OK;
}
