/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Formats against arithmetic: every date of 400 years, every leap second, addresses that inet_pton reads, A-labels by Punycode, all last bits of base64;
 * and what formats cost. */
#include "engine/grammar/formats.h"

#include "base/text.h"
#include "tests/unit/engine/check.h"

#include <arpa/inet.h>

static const char *const names[] = {
    "date", "date-time", "duration",      "email",         "hostname",     "idn-email", "idn-hostname",
    "ipv4", "ipv6",      "iri",           "iri-reference", "json-pointer", "regex",     "relative-json-pointer",
    "time", "uri",       "uri-reference", "uri-template",  "uuid",
};
enum { NAMES = sizeof names / sizeof names[0], FUEL = 50000000 };

static struct grammar_budget budget;
static struct regex_pool *pool;

static int setup(void **state) {
    (void)state;
    budget = (struct grammar_budget){.fuel = FUEL, .bytes = 256 << 20};
    return regex_pool_create(&budget, &pool, &check_error) != STATUS_OK;
}
static int teardown(void **state) {
    (void)state;
    regex_pool_destroy(pool);
    return 0;
}

static regex format(const char *name) {
    regex made = REGEX_FAILED;
    bool known = false;
    check_ok(format_regex(pool, bytes_view_string(name), &made, &known, &check_error));
    assert_true(known);
    return made;
}

static uint64_t seed;
static uint32_t below(uint32_t limit) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % limit;
}

static void check_text(regex language, const char *text, bool valid) {
    if (regex_matches(pool, language, bytes_view_string(text)) != valid)
        fail_msg("'%s' should be %s", text, valid ? "valid" : "invalid");
}

/* ---- times ---- */

static int days_of(int year, int month) {
    static const int days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month < 1 || month > 12 ? 0 : days[month] + (month == 2 && leap);
}

static void test_every_date_of_400_years(void **state) {
    (void)state;
    regex date = format("date");
    for (int year = 1600; year < 2000; year++)
        for (int month = 0; month <= 13; month++)
            for (int day = 0; day <= 32; day++) {
                char text[40];
                snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
                check_text(date, text, day >= 1 && day <= days_of(year, month));
            }
}

static void test_every_leap_day(void **state) {
    (void)state;
    regex date = format("date");
    for (int year = 0; year <= 9999; year++) {
        char text[40];
        snprintf(text, sizeof text, "%04d-02-29", year);
        check_text(date, text, days_of(year, 2) == 29);
    }
}

/** A second 60 is valid exactly where the offset is a whole hour from -12 to +14 and it is 23:59 in UTC. */
static void test_every_leap_second(void **state) {
    (void)state;
    regex time = format("time"), date_time = format("date-time");
    for (int offset = -23 * 60 - 59; offset <= 23 * 60 + 59; offset += offset % 15 == 0 ? 1 : 7)
        for (int local = 0; local < 24 * 60; local += local % 30 == 28 ? 1 : 29) {
            char text[64];
            int size = offset < 0 ? -offset : offset;
            bool valid = (local - offset + 24 * 60) % (24 * 60) == 24 * 60 - 1 && offset % 60 == 0 &&
                         offset >= -12 * 60 && offset <= 14 * 60;
            const char *day = local - offset >= 0 ? "2016-12-31" : "2017-01-01";
            snprintf(text, sizeof text, "%sT%02d:%02d:60%c%02d:%02d", day, local / 60, local % 60,
                     offset < 0 ? '-' : '+', size / 60, size % 60);
            check_text(time, text + 11, valid);
            check_text(date_time, text, valid);
            memcpy(text, "2016-08-31", 10);
            check_text(date_time, text, false);
            memcpy(text + 17, "59", 2);
            check_text(date_time, text, true);
        }
}

/* ---- addresses ---- */

static void random_address(char *text, size_t room, bool six) {
    static const char *const pieces[] = {":",   ":",   "::", "0", "1",  "ff", "abcd", "12",
                                         "255", "256", ".",  ".", "10", "7",  "00",   "g"};
    size_t length = 0, count = 1 + below(six ? 17 : 8), forms = sizeof pieces / sizeof pieces[0];
    for (size_t i = 0; i < count; i++) {
        const char *piece = pieces[below((uint32_t)forms)];
        /* mostly numbers and separators in turn */
        if (below(8) != 0)
            piece = i % 2 == below(20) / 19 ? pieces[3 + below(6)] : six && (i < 9 || below(3) == 0) ? ":" : ".";
        if (length + strlen(piece) + 1 > room) break;
        length += (size_t)snprintf(text + length, room - length, "%s", piece);
    }
}

static void test_addresses_are_those_of_inet_pton(void **state) {
    (void)state;
    seed = 1;
    regex four = format("ipv4"), six = format("ipv6");
    int valid_four = 0, valid_six = 0;
    for (int i = 0; i < 60000; i++) {
        char text[128] = "";
        struct in6_addr address;
        random_address(text, sizeof text, i % 2 == 0);
        bool is_four = inet_pton(AF_INET, text, &address) == 1, is_six = inet_pton(AF_INET6, text, &address) == 1;
        valid_four += is_four;
        valid_six += is_six;
        check_text(four, text, is_four);
        check_text(six, text, is_six);
    }
    assert_true(valid_four > 100);
    assert_true(valid_six > 100);
}

/* ---- names ---- */

static char *repeated(char *text, char c, size_t count) {
    memset(text, c, count);
    text[count] = 0;
    return text + count;
}

static void test_lengths_of_names(void **state) {
    (void)state;
    char text[400];
    const char *const hosts[] = {"hostname", "idn-hostname"};
    for (size_t i = 0; i < 2; i++) {
        regex host = format(hosts[i]);
        for (size_t length = 1; length < 70; length++) {
            repeated(text, 'a', length);
            check_text(host, text, length <= 63);
            memcpy(repeated(text, 'a', length), ".b", 3);
            check_text(host, text, length <= 63);
        }
        for (size_t last = 55; last <= 63; last++) {
            char *end = text;
            for (int label = 0; label < 3; label++) end = repeated(end, 'a', 63), *end++ = '.';
            repeated(end, 'b', last);
            check_text(host, text, 3 * 64 + last <= 253);
        }
    }
    regex mail = format("email");
    for (size_t length = 1; length < 70; length++) {
        memcpy(repeated(text, 'a', length), "@b", 3);
        check_text(mail, text, length <= 64);
        text[0] = 'a', text[1] = '@';
        repeated(text + 2, 'b', length);
        check_text(mail, text, length <= 63);
    }
}

/** Octets of RFC 3492's encoding. */
static size_t punycode_length(const uint32_t *text, size_t count) {
    size_t basic = 0, octets;
    for (size_t i = 0; i < count; i++) basic += text[i] < 128;
    octets = basic + (basic > 0);
    uint64_t n = 128, delta = 0, bias = 72, done = basic;
    for (bool first = true; done < count; delta++, n++) {
        uint64_t next = UINT32_MAX;
        for (size_t i = 0; i < count; i++)
            if (text[i] >= n && text[i] < next) next = text[i];
        delta += (next - n) * (done + 1);
        n = next;
        for (size_t i = 0; i < count; i++) {
            delta += text[i] < n;
            if (text[i] != n) continue;
            octets++;
            for (uint64_t q = delta, k = 36;; k += 36, octets++) {
                uint64_t t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
                if (q < t) break;
                q = (q - t) / (36 - t);
            }
            done++;
            delta = first ? delta / 700 : delta / 2;
            delta += delta / done;
            uint64_t k = 0;
            for (; delta > 455; k += 36) delta /= 35;
            bias = k + 36 * delta / (delta + 38);
            first = false;
            delta = 0;
        }
    }
    return octets;
}

/** Labels as long as the format lets them be, of letters that lie far apart. */
static void test_a_labels_are_short_enough(void **state) {
    (void)state;
    static const uint32_t far[] = {'a',    '0',   0xDF,  0x17E, 0x3B1, 0x3CE,  0x430,  0x45F,  0x561,  0x6F0,
                                   0x905,  0x939, 0xE01, 0xE59, 0xF0B, 0x10FA, 0x3042, 0x4E00, 0x9FEF, 0xAC00,
                                   0xD7A3, 0x5D0, 0x5EA, 0x622, 0x6FE, 0x200C, 0x628,  0x6CC};
    seed = 2;
    regex host = format("idn-hostname");
    size_t longest = 0;
    assert_int_equal(punycode_length((const uint32_t[]){'b', 0xFC, 'c', 'h', 'e', 'r'}, 6), strlen("bcher-kva"));
    assert_int_equal(punycode_length((const uint32_t[]){0x3C0, 0x3B1, 0x3C1, 0x3AC}, 4), strlen("hxaj8bf"));
    for (int round = 0; round < 20000; round++) {
        uint32_t text[80];
        size_t count = 0;
        regex at = host;
        uint32_t from = below(28), spread = 1 + below(28);
        for (int tries = 0; tries < 60 && count < 80; tries++) {
            uint32_t c = far[(from + below(spread)) % 28] + (below(3) == 0   ? below(20)
                                                             : below(5) == 0 ? below(0x2000)
                                                                             : 0);
            regex next = regex_step(pool, at, c);
            if (next == REGEX_NOTHING) continue;
            assert_int_not_equal(next, REGEX_FAILED);
            at = next;
            text[count++] = c;
        }
        bool ascii = true;
        for (size_t i = 0; i < count; i++) ascii = ascii && text[i] < 128;
        if (ascii || !regex_accepts(pool, at)) continue;
        size_t octets = 4 + punycode_length(text, count);
        if (octets > longest) longest = octets;
        if (octets > 61) fail_msg("round %d: %zu characters make an A-label of %zu octets", round, count, octets);
    }
    assert_true(longest > 40);
}

/* ---- base64 ---- */

static void test_every_tail_of_base64(void **state) {
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    regex language;
    bool known;
    check_ok(content_encoding_regex(pool, bytes_view_string("base64"), &language, &known, &check_error));
    for (int a = 0; a < 64; a++)
        for (int b = 0; b < 64; b++) {
            check_text(language, (const char[]){'A', '/', '+', 'z', digits[a], digits[b], '=', '=', 0}, b % 16 == 0);
            check_text(language, (const char[]){'0', digits[a], digits[b], '=', 0}, b % 4 == 0);
            check_text(language, (const char[]){digits[b], '9', '8', digits[a], 0}, true);
        }
}

/* ---- all of them ---- */

static void test_shortest_texts_are_in_the_format(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        regex language = format(names[i]);
        struct bytes text;
        bytes_init(&text, 1000);
        uint32_t length = regex_shortest(pool, language, &text);
        assert_int_not_equal(length, REGEX_UNBOUNDED);
        assert_true(regex_matches(pool, language, bytes_view(&text)));
        assert_true(length == 0 || regex_and(pool, language, regex_length(pool, 0, length - 1)) == REGEX_NOTHING);
        bytes_deinit(&text);
    }
}

/** What a schema pays for a format that it names: fuel of about 0.1 us. */
static void test_formats_cost_little(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        assert_int_equal(teardown(NULL), 0);
        assert_int_equal(setup(NULL), 0);
        format(names[i]);
        int64_t fuel = FUEL - budget.fuel;
        if (fuel > 1500) fail_msg("%s costs %lld", names[i], (long long)fuel);
    }
}

static void test_a_short_budget_is_resource_exhausted(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        enum status status = STATUS_RESOURCE_EXHAUSTED;
        for (int64_t fuel = 0; status != STATUS_OK; fuel += 1 + fuel / 16) {
            regex language = REGEX_NOTHING;
            bool known;
            check_error = (struct error){0};
            struct regex_pool *poor = NULL;
            struct grammar_budget little = {.fuel = FUEL, .bytes = 256 << 20};
            check_ok(regex_pool_create(&little, &poor, &check_error));
            little.fuel = fuel;
            status = format_regex(poor, bytes_view_string(names[i]), &language, &known, &check_error);
            regex_pool_destroy(poor);
            assert_true(known);
            if (status == STATUS_OK) break;
            assert_int_equal(status, STATUS_RESOURCE_EXHAUSTED);
            assert_non_null(strstr(check_error.message, names[i]));
            assert_int_equal(language, REGEX_NOTHING);
            assert_true(fuel < 10000);
        }
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_date_of_400_years), TEST(test_every_leap_day),
        TEST(test_every_leap_second),       TEST(test_addresses_are_those_of_inet_pton),
        TEST(test_lengths_of_names),        TEST(test_a_labels_are_short_enough),
        TEST(test_every_tail_of_base64),    TEST(test_shortest_texts_are_in_the_format),
        TEST(test_formats_cost_little),     TEST(test_a_short_budget_is_resource_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
