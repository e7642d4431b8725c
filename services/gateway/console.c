/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/console.h"

#include "base/bytes.h"
#include "base/settings.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONSOLE_FILE_BYTES_MAX = 1 << 20, ETAG_BYTES = 32 };

static const char prefix[] = "/console/";
static const char *const files[] = {
    "index.html",
    "favicon.svg",
    "style/base.css",
    "style/parts.css",
    "style/pages.css",
    "js/theme.js",
    "js/main.js",
    "js/api.js",
    "js/chart.js",
    "js/dialog.js",
    "js/dom.js",
    "js/form.js",
    "js/format.js",
    "js/icons.js",
    "js/session.js",
    "js/widgets.js",
    "js/pages/audit.js",
    "js/pages/jobs.js",
    "js/pages/key.js",
    "js/pages/key_form.js",
    "js/pages/keys.js",
    "js/pages/limit_levels.js",
    "js/pages/limits.js",
    "js/pages/live_models.js",
    "js/pages/models.js",
    "js/pages/organizations.js",
    "js/pages/overview.js",
    "js/pages/playground.js",
    "js/pages/playground_code.js",
    "js/pages/playground_key.js",
    "js/pages/playground_settings.js",
    "js/pages/playground_turn.js",
    "js/pages/settings.js",
    "js/pages/sign_in.js",
    "js/pages/usage.js",
    "js/pages/usage_parts.js",
    "js/pages/workspaces.js",
    "vendor/chart.min.js",
    "vendor/chart.LICENSE.txt",
};
enum { FILES = sizeof files / sizeof files[0] };

/* `img-src data:` is for the arrow of drop-down lists in style/parts.css. Setting an element's style from a script of ours is allowed by the
 * standard whatever style-src says; style attributes in markup are not, and there are none. */
static const char *const headers[][2] = {
    {"content-security-policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                                "connect-src 'self'; font-src 'self'; base-uri 'none'; "
                                "form-action 'none'; frame-ancestors 'none'"},
    {"x-content-type-options", "nosniff"},
    {"referrer-policy", "no-referrer"},
    {"cross-origin-opener-policy", "same-origin"},
    {"cross-origin-resource-policy", "same-origin"},
    {"permissions-policy",
     "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=(), clipboard-write=(self)"},
    {"cache-control", "no-cache"},
};

struct console_file {
    char *text;
    size_t length;
    char etag[ETAG_BYTES];
};
struct console {
    struct console_file files[FILES];
};

static const char *content_type(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"}};
    const char *suffix = strrchr(name, '.');
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (suffix != NULL && strcmp(suffix, types[i][0]) == 0) return types[i][1];
    }
    return "text/plain; charset=utf-8";
}

static enum status read_files(const char *folder, struct console *console, struct error *err) {
    char path[PATH_MAX];
    for (size_t i = 0; i < FILES; i++) {
        struct console_file *file = &console->files[i];
        int length = snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        if (length < 0 || (size_t)length >= sizeof path)
            return error_set(err, STATUS_INVALID_ARGUMENT, "--console-dir: the folder's name is too long");
        TRY(settings_read_file(path, CONSOLE_FILE_BYTES_MAX, &file->text, &file->length, err));
        snprintf(file->etag, sizeof file->etag, "\"%016" PRIx64 "\"",
                 bytes_hash(BYTES_HASH_START, bytes_view_of(file->text, file->length)));
    }
    return STATUS_OK;
}

/** The console's folder beside the program; false: there is none. */
static bool find_folder(char folder[PATH_MAX]) {
    static const char *const places[] = {"../share/bora/console", "../../../console"};
    char program[PATH_MAX], path[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return false;
    program[length] = 0;
    char *slash = strrchr(program, '/');
    if (slash == NULL) return false;
    *slash = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", program, places[i], files[0]);
        if (access(path, R_OK) != 0) continue;
        int written = snprintf(folder, PATH_MAX, "%s/%s", program, places[i]);
        return written > 0 && written < PATH_MAX;
    }
    return false;
}

enum status console_open(const char *folder, struct console **out, struct error *err) {
    char found[PATH_MAX];
    *out = NULL;
    if (folder != NULL && strcmp(folder, "off") == 0) return STATUS_OK;
    if (folder == NULL || folder[0] == 0) {
        if (!find_folder(found)) return STATUS_OK;
        folder = found;
    }
    struct console *console = calloc(1, sizeof *console);
    if (console == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = read_files(folder, console, err);
    if (status == STATUS_OK)
        *out = console;
    else
        console_close(console);
    return status;
}

void console_close(struct console *console) {
    if (console == NULL) return;
    for (size_t i = 0; i < FILES; i++) free(console->files[i].text);
    free(console);
}

static void add_headers(struct http_exchange *exchange) {
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        http_exchange_add_header(exchange, headers[i][0], headers[i][1]);
}

static void redirect(struct http_exchange *exchange) {
    add_headers(exchange);
    http_exchange_add_header(exchange, "location", prefix);
    http_exchange_respond(exchange, 302, NULL, bytes_view_string(NULL));
}

static void respond_file(const struct console_file *file, const char *name, struct http_exchange *exchange) {
    const char *known = http_exchange_header(exchange, "if-none-match");
    bool same = known != NULL && strstr(known, file->etag) != NULL; /* a list of tags, weak ones too */
    add_headers(exchange);
    http_exchange_add_header(exchange, "etag", file->etag);
    if (same)
        http_exchange_respond(exchange, 304, NULL, bytes_view_string(NULL));
    else
        http_exchange_respond(exchange, 200, content_type(name), bytes_view_of(file->text, file->length));
}

bool console_respond(const struct console *console, struct http_exchange *exchange) {
    const char *path = http_exchange_path(exchange), *accept = http_exchange_header(exchange, "accept");
    if (console == NULL) return false;
    bool browser = accept != NULL && strstr(accept, "text/html") != NULL;
    if (strcmp(path, "/console") == 0 || (browser && strcmp(path, "/") == 0)) {
        redirect(exchange);
        return true;
    }
    if (strncmp(path, prefix, sizeof prefix - 1) != 0) return false;
    const char *name = path[sizeof prefix - 1] == 0 ? files[0] : path + sizeof prefix - 1;
    for (size_t i = 0; i < FILES; i++) {
        if (strcmp(name, files[i]) != 0) continue;
        respond_file(&console->files[i], files[i], exchange);
        return true;
    }
    return false;
}
