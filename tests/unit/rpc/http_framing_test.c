/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which headers leave no doubt where the request ends. */
#include "rpc/http_framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct framing_case {
    const char *method;
    int minor_version;
    const char *fields[8]; /* name, value, ... */
    int status;
    const char *reason;
    int64_t body_bytes;
};

#define HOST "Host", "h"

static const struct framing_case cases[] = {
    {"GET", 1, {HOST}, 0, NULL, 0},
    {"GET", 0, {0}, 0, NULL, 0},
    {"POST", 1, {HOST, "content-length", "5"}, 0, NULL, 5},
    {"POST", 1, {HOST, "Content-Length", "0"}, 0, NULL, 0},
    {"POST", 1, {HOST, "Content-Length", "0005"}, 0, NULL, 5},
    {"POST", 1, {HOST, "Content-Length", "1000"}, 0, NULL, 1000},
    {"POST", 1, {HOST, "transfer-encoding", "Chunked"}, 0, NULL, -1},
    {"DELETE", 1, {HOST, "X-Some_thing.else", "a\tb \x80"}, 0, NULL, 0},
    {"GET", 1, {0}, 400, "exactly one Host header is needed", 0},
    {"GET", 1, {HOST, HOST}, 400, "exactly one Host header is needed", 0},
    {"POST",
     1,
     {HOST, "Content-Length", "5", "Transfer-Encoding", "chunked"},
     400,
     "both Content-Length and Transfer-Encoding",
     0},
    {"POST", 1, {HOST, "Content-Length", "5", "Content-Length", "5"}, 400, "more than one Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", "5,5"}, 400, "malformed Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", "+5"}, 400, "malformed Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", "-5"}, 400, "malformed Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", "0x5"}, 400, "malformed Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", "5 "}, 400, "malformed Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", ""}, 400, "malformed Content-Length", 0},
    {"POST", 1, {HOST, "Content-Length", "1001"}, 413, "request body too large", 0},
    {"POST", 1, {HOST, "Content-Length", "18446744073709551617"}, 413, "request body too large", 0},
    {"POST", 1, {HOST, "Transfer-Encoding", "gzip, chunked"}, 400, "unknown Transfer-Encoding", 0},
    {"POST", 1, {HOST, "Transfer-Encoding", "identity"}, 400, "unknown Transfer-Encoding", 0},
    {"POST",
     1,
     {HOST, "Transfer-Encoding",
      "\x0b"
      "chunked"},
     400,
     "malformed header field",
     0},
    {"POST",
     1,
     {HOST, "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"},
     400,
     "unknown Transfer-Encoding",
     0},
    {"POST", 0, {"Transfer-Encoding", "chunked"}, 400, "Transfer-Encoding in HTTP/1.0", 0},
    {"POST", 1, {HOST, "Content-Length ", "5"}, 400, "malformed header field", 0},
    {"POST", 1, {HOST, "", "5"}, 400, "malformed header field", 0},
    {"POST", 1, {HOST, "X-Y", "a\rb"}, 400, "malformed header field", 0},
    {"POST", 1, {HOST, "X(Y)", "a"}, 400, "malformed header field", 0},
    {"POST",
     1,
     {HOST, "Authorization", "Bearer a", "authorization", "Bearer a"},
     400,
     "more than one Authorization header",
     0},
    {"POST", 1, {HOST, "Authorization", "Bearer a", "Content-Encoding", "Identity"}, 0, NULL, 0},
    {"POST", 1, {HOST, "Content-Encoding", "gzip"}, 415, "a request with Content-Encoding is not supported", 0},
    {"POST",
     1,
     {HOST, "Content-Encoding", "identity", "Content-Encoding", "identity"},
     415,
     "a request with Content-Encoding is not supported",
     0},
    {"BREW", 1, {HOST}, 501, "unknown method", 0},
    {"get", 1, {HOST}, 501, "unknown method", 0},
    {"CONNECT", 1, {HOST}, 501, "unknown method", 0},
};

static void test_every_case(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_field fields[4] = {0};
        size_t count = 0;
        for (; count < 4 && cases[i].fields[2 * count] != NULL; count++) {
            fields[count] =
                (struct http_field){.name = cases[i].fields[2 * count], .value = cases[i].fields[2 * count + 1]};
            if (count > 0) fields[count - 1].next = &fields[count];
        }
        struct http_framing got =
            http_framing_check(cases[i].method, cases[i].minor_version, count > 0 ? fields : NULL, 1000);
        if (got.refuse_status != cases[i].status)
            fail_msg("case %zu: %d %s", i, got.refuse_status, got.reason != NULL ? got.reason : "");
        if (cases[i].reason != NULL)
            assert_string_equal(got.reason, cases[i].reason);
        else
            assert_int_equal(got.body_bytes, cases[i].body_bytes);
        assert_int_equal(got.chunked, cases[i].body_bytes == -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
