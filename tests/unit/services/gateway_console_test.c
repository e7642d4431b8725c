/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* The console's files as answers; the test is the HTTP server. */
#include "services/gateway/console.h"

#include "base/bytes.h"
#include "tests/support/check.h"

#include <ftw.h>
#include <unistd.h>

static const char folder[] = BORA_SOURCE_DIR "/console";

/* ---- the HTTP server ----------------------------------------------------------------------------------------------- */

enum { HEADERS_MAX = 16, TEXT_BYTES = 1 << 20 };
struct http_exchange {
    const char *path, *accept, *if_none_match;
    int status, headers;
    char names[HEADERS_MAX][64], values[HEADERS_MAX][512], type[64];
    size_t length;
    char body[TEXT_BYTES];
};
static struct http_exchange exchange;

const char *http_exchange_path(const struct http_exchange *x) {
    return x->path;
}
const char *http_exchange_header(const struct http_exchange *x, const char *name) {
    return strcmp(name, "accept") == 0 ? x->accept : strcmp(name, "if-none-match") == 0 ? x->if_none_match : NULL;
}
void http_exchange_add_header(struct http_exchange *x, const char *name, const char *value) {
    assert_in_range(x->headers, 0, HEADERS_MAX - 1);
    snprintf(x->names[x->headers], sizeof x->names[0], "%s", name);
    snprintf(x->values[x->headers++], sizeof x->values[0], "%s", value);
}
void http_exchange_respond(struct http_exchange *x, int http_status, const char *content_type, struct bytes_view body) {
    x->status = http_status;
    snprintf(x->type, sizeof x->type, "%s", content_type == NULL ? "" : content_type);
    assert_true(body.length < TEXT_BYTES);
    x->length = body.length;
    if (body.length > 0) memcpy(x->body, body.data, body.length);
}

static const char *header(const char *name) {
    for (int i = 0; i < exchange.headers; i++) {
        if (strcmp(exchange.names[i], name) == 0) return exchange.values[i];
    }
    return "";
}

static bool ask(const struct console *console, const char *path, const char *accept, const char *if_none_match) {
    memset(&exchange, 0, sizeof exchange);
    exchange = (struct http_exchange){.path = path, .accept = accept, .if_none_match = if_none_match};
    return console_respond(console, &exchange);
}

static struct console *opened(void) {
    struct console *console = NULL;
    check_ok(console_open(folder, &console, &check_error));
    assert_non_null(console);
    return console;
}

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void test_index_has_policy_type_and_tag(void **state) {
    (void)state;
    struct console *console = opened();
    assert_true(ask(console, "/console/", NULL, NULL));
    assert_int_equal(exchange.status, 200);
    assert_string_equal(exchange.type, "text/html; charset=utf-8");
    assert_non_null(strstr(exchange.body, "<!doctype html>"));
    assert_string_equal(header("x-content-type-options"), "nosniff");
    assert_string_equal(header("referrer-policy"), "no-referrer");
    assert_string_equal(header("cross-origin-opener-policy"), "same-origin");
    assert_string_equal(header("cache-control"), "no-cache");
    assert_non_null(strstr(header("content-security-policy"), "default-src 'none'"));
    assert_non_null(strstr(header("content-security-policy"), "frame-ancestors 'none'"));
    assert_null(strstr(header("content-security-policy"), "unsafe"));
    console_close(console);
}

static void test_known_tag_is_not_sent_again(void **state) {
    (void)state;
    struct console *console = opened();
    char tags[128];
    assert_true(ask(console, "/console/js/main.js", NULL, NULL));
    assert_string_equal(exchange.type, "text/javascript; charset=utf-8");
    snprintf(tags, sizeof tags, "\"0\", W/%s", header("etag"));
    assert_true(ask(console, "/console/js/main.js", NULL, tags));
    assert_int_equal(exchange.status, 304);
    assert_int_equal(exchange.length, 0);
    assert_true(ask(console, "/console/js/main.js", NULL, "\"0\""));
    assert_int_equal(exchange.status, 200);
    console_close(console);
}

static void test_root_leads_browsers_there_and_others_nowhere(void **state) {
    (void)state;
    struct console *console = opened();
    assert_true(ask(console, "/", "text/html,application/xhtml+xml", NULL));
    assert_int_equal(exchange.status, 302);
    assert_string_equal(header("location"), "/console/");
    assert_true(ask(console, "/console", NULL, NULL));
    assert_int_equal(exchange.status, 302);
    assert_false(ask(console, "/", "*/*", NULL));
    assert_false(ask(console, "/", NULL, NULL));
    console_close(console);
}

static void test_what_is_not_listed_is_nothing_of_ours(void **state) {
    (void)state;
    static const char *const paths[] = {"/console/../README.md",    "/console/js", "/console//index.html",
                                        "/console/js/main.js/",     "/consoles/",  "/v1/chat/completions",
                                        "/console/js/../index.html"};
    struct console *console = opened();
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) assert_false(ask(console, paths[i], "text/html", NULL));
    assert_false(ask(NULL, "/console/", "text/html", NULL));
    console_close(console);
}

static const struct console *walked;
static int files_seen;
static int see_file(const char *path, const struct stat *about, int kind, struct FTW *where) {
    (void)about, (void)where;
    if (kind != FTW_F) return 0;
    char asked[512];
    snprintf(asked, sizeof asked, "/console%s", path + strlen(folder));
    if (!ask(walked, asked, NULL, NULL)) fail_msg("%s is in console/ and not in the table of console.c", asked);
    files_seen++;
    return 0;
}

static void test_every_file_of_the_folder_is_served(void **state) {
    (void)state;
    struct console *console = opened();
    walked = console;
    files_seen = 0;
    assert_int_equal(nftw(folder, see_file, 8, FTW_PHYS), 0);
    assert_true(files_seen > 10);
    console_close(console);
}

static void test_folder_that_lacks_a_file_is_an_error_and_off_is_none(void **state) {
    (void)state;
    char empty[] = "/tmp/bora-console-XXXXXX";
    struct console *console = NULL;
    assert_non_null(mkdtemp(empty));
    assert_int_not_equal(console_open(empty, &console, &check_error), STATUS_OK);
    assert_non_null(strstr(check_error.message, "index.html"));
    assert_null(console);
    rmdir(empty);
    memset(&check_error, 0, sizeof check_error);
    check_ok(console_open("off", &console, &check_error));
    assert_null(console);
}

/** The test's binary lies in build/<preset>/tests as programs do in build/<preset>/bin, unless the build folder is somewhere else. */
static void test_default_is_the_folder_of_the_source_tree(void **state) {
    (void)state;
    static const char builds[] = BORA_SOURCE_DIR "/build/";
    char program[4096] = "";
    struct console *console = NULL;
    assert_true(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    if (strncmp(program, builds, sizeof builds - 1) != 0) skip();
    check_ok(console_open(NULL, &console, &check_error));
    assert_true(ask(console, "/console/", NULL, NULL));
    console_close(console);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_has_policy_type_and_tag),
        cmocka_unit_test(test_known_tag_is_not_sent_again),
        cmocka_unit_test(test_root_leads_browsers_there_and_others_nowhere),
        cmocka_unit_test(test_what_is_not_listed_is_nothing_of_ours),
        cmocka_unit_test(test_every_file_of_the_folder_is_served),
        cmocka_unit_test(test_folder_that_lacks_a_file_is_an_error_and_off_is_none),
        cmocka_unit_test(test_default_is_the_folder_of_the_source_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
