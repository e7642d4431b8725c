/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Texts that are and are not of each format. */
#include "engine/grammar/formats.h"

#include "tests/unit/engine/check.h"

static struct grammar_budget budget;
static struct regex_pool *pool;

static int setup(void **state) {
    (void)state;
    budget = (struct grammar_budget){.fuel = 50000000, .bytes = 256 << 20};
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

static void check_texts(const char *name, regex language, const char *const *texts, bool valid) {
    for (; *texts != NULL; texts++)
        if (regex_matches(pool, language, bytes_view_string(*texts)) != valid)
            fail_msg("%s: '%s' should be %s", name, *texts, valid ? "valid" : "invalid");
}

#define VALID(...)          \
    (const char *const[]) { \
        __VA_ARGS__, NULL   \
    }
#define INVALID(...)        \
    (const char *const[]) { \
        __VA_ARGS__, NULL   \
    }
static void check_format(const char *name, const char *const *valid, const char *const *invalid) {
    regex language = format(name);
    check_texts(name, language, valid, true);
    check_texts(name, language, invalid, false);
}

/* ---- times ---- */

static void test_date(void **state) {
    (void)state;
    check_format("date",
                 VALID("2024-02-29", "2000-02-29", "1600-02-29", "0000-02-29", "0004-02-29", "2023-02-28", "9999-12-31",
                       "0001-01-01", "2024-04-30", "2024-06-30", "2024-09-30", "2024-11-30", "2024-01-31",
                       "2024-12-31"),
                 INVALID("", "2023-02-29", "1900-02-29", "2100-02-29", "2024-02-30", "2024-04-31", "2024-06-31",
                         "2024-09-31", "2024-11-31", "2024-12-32", "2024-13-01", "2024-00-01", "2024-01-00",
                         "2024-1-01", "2024-01-1", "24-01-01", "02024-01-01", "2024/01/01", "20240101", "2024-W01-1",
                         "2024-001", "+2024-01-01", "-2024-01-01", " 2024-01-01", "2024-01-01 ", "2024-01-01\n",
                         "2024-01-01Z", "2024-01-01T00:00:00Z", "२०२४-01-01", "2024–01–01"));
}

static void test_time(void **state) {
    (void)state;
    check_format("time",
                 VALID("00:00:00Z", "23:59:59z", "12:30:45.1Z", "12:30:45.123456789012345678901234567890Z",
                       "12:30:45+00:00", "12:30:45-00:00", "12:30:45+23:59", "12:30:45.5-23:59", "23:59:60Z",
                       "23:59:60.25z", "23:59:60+00:00", "23:59:60-00:00", "18:59:60-05:00", "00:59:60+01:00",
                       "13:59:60.9+14:00", "11:59:60-12:00"),
                 INVALID("", "12:30:45", "12:30Z", "24:00:00Z", "12:60:00Z", "12:30:61Z", "12:30:60Z", "23:58:60Z",
                         "22:59:60Z", "23:59:60+01:00", "23:59:60-01:00", "00:59:60-01:00", "18:59:60+05:00",
                         "23:59:60.Z", "12:30:45.Z", "12:30:45,5Z", "1:30:45Z", "12:3:45Z", "12:30:4Z", "12:30:45+1:00",
                         "12:30:45+01", "12:30:45+0100", "12:30:45+24:00", "12:30:45+00:60", "12:30:45Z+00:00",
                         "12:30:45 Z", "12:30:45 UTC", "T12:30:45Z", "12:30:45Z\n", "１２:30:45Z", "12.30.45Z"));
}

static void test_date_time(void **state) {
    (void)state;
    check_format(
        "date-time",
        VALID("2024-02-29T12:30:45Z", "2024-02-29t12:30:45z", "1985-04-12T23:20:50.52Z", "1996-12-19T16:39:57-08:00",
              "1990-12-31T23:59:60Z", "1990-12-31T15:59:60-08:00", "1972-06-30T23:59:60.5+00:00",
              "1991-01-01T00:59:60+01:00", "1972-07-01T09:59:60+10:00", "2016-12-31T23:59:60-00:00"),
        INVALID("", "2024-02-29", "12:30:45Z", "2024-02-29 12:30:45Z", "2024-02-29T12:30:45", "2023-02-29T12:30:45Z",
                "2024-02-29T24:00:00Z", "1990-12-30T23:59:60Z", "1990-11-30T23:59:60Z", "1990-12-31T23:59:60+01:00",
                "1991-01-01T15:59:60-08:00", "1990-12-31T00:59:60+01:00", "1991-01-01T00:00:60+00:01",
                "1990-12-31T23:58:60Z", "1990-12-31T23:59:61Z", "2024-02-29T12:30Z", "2024-02-29T12:30:45+0100",
                "2024-060T12:30:45Z", "2024-02-29T12:30:45ZZ", "2024-02-29T12:30:45Z ", "2024-02-29TT12:30:45Z"));
}

static void test_duration(void **state) {
    (void)state;
    check_format("duration",
                 VALID("P1Y", "P1M", "P1D", "P1W", "PT1H", "PT1M", "PT1S", "P1Y2M3DT4H5M6S", "P0D", "P10Y10M", "PT36H",
                       "P1DT12H", "P1M2DT3M", "PT0S", "P123456W", "P4Y", "PT1H30M"),
                 INVALID("", "P", "PT", "P1", "1Y", "P1YT", "PT1", "P1H", "PT1D", "P1S", "PT1Y", "P2D1Y", "P1D2H",
                         "P1Y2D", "PT1H2S", "P1W1D", "P1Y1W", "PT1.5S", "P-1D", "-P1D", "P1.5D", "p1y", "P1Y ", "P1YY",
                         "P1Y1Y", "P１Y", "PT1S1M"));
}

/* ---- the net ---- */

static void test_hostname(void **state) {
    (void)state;
    check_format("hostname",
                 VALID("a", "A", "1", "example.com", "EXAMPLE.Com", "a-b", "a--b", "a1", "1a", "a.b.c.d.e", "ab-c--d.e",
                       "3com.com", "x-1.y-2", "abc", "abcd", "abcde", "a-c", "a-cd", "ab-d", "ab-de", "a--d", "a--de"),
                 INVALID("", ".", "a.", ".a", "a..b", "-a", "a-", "a-.b", "a.-b", "a_b", "a b", "a.b ", "ab--c",
                         "xn--a", "XN--9N2BP8Q", "a.xn--9n2bp8q", "é", "a.é",
                         "a\xEF\xBC\x8E"
                         "b",
                         "a,b", "a:80", "a/b", "a@b", "a\n", "ab--", "ab---c",
                         "\xE2\x84\xAA"
                         "elvin"));
}

static void test_idn_hostname(void **state) {
    (void)state;
    check_format("idn-hostname",
                 VALID("example.com", "EXAMPLE.com", "bücher.example", "straße", "παράδειγμα.δοκιμή",
                       "пример.испытание", "例え.テスト", "실례.테스트", "例子。测试", "a．b", "a｡b", "उदाहरण.परीक्षा",
                       "क्‍ष", "क्‌ष", "ตัวอย่าง", "ทดสอบ.th", "דוגמה.טעסט", "א׳ב", "א״ב", "مثال.إختبار",
                       "نامه‌ای.com", "ب٠ب", "ب۰", "۰0", "l·l", "col·lecció", "α͵β", "・ア", "ア・", "日・本",
                       "a-é", "é-a", "é1", "1é", "ß", "ς", "〇", "đa", "a.א", "א.b"),
                 INVALID("", ".", "é.", ".é", "é..a", "-é", "é-", "a--é", "éa--b", "É", "Bücher", "xn--bcher-kva",
                         "ab--c", "é_a", "é a",
                         "\xCC\x81"
                         "e",
                         "e\xCC\x81", "a·l", "l·a", "·l", "l·", "α͵", "͵", "α͵s", "A׳ב", "׳ב", "・", "def・abc", "・〆",
                         "ب٠۰", "क‍ष", "‍ष", "x‌y", "0.א", "a.0א", "0א", "aא", "אa", "א-", "ا٠0", "ـ", "〱",
                         "\xE3\x80\xAE실", "ﬁ", "\xE2\x84\xAA", "あ゙",
                         "\xE0\xA5\x8D"
                         "क",
                         "\xE0\xB9\x88ก", "กุ่ำ", "กุุ", "กุ่", "\xF0\x9F\x98\x80", "a\xE2\x80\x8D", "ىىىىىىىىىىىىىىىىى",
                         "한한한한한한한한한한한한", "é.a.b.c.d"));
}

static void test_email(void **state) {
    (void)state;
    check_format(
        "email",
        VALID("a@b", "joe.bloggs@example.com", "a+b@c.de", "!#$%&'*+-/=?^_`{|}~@a.b", "1@2", "a@xn--bcher-kva.example",
              "\"joe bloggs\"@a.b", "\"a@b\"@c", "\"a..b\"@c", "\"\\\"\"@c", "\"\\\\\"@c", "\"\"@c", "a@[127.0.0.1]",
              "a@[IPv6:::1]", "a@[ipv6:2001:db8::1]", "a@[IPv6:::ffff:1.2.3.4]", "a@b-c.d-e", "a@ab--c"),
        INVALID("", "a", "@", "a@", "@b", "a@b@c", ".a@b", "a.@b", "a..b@c", "a b@c", "a@b c", "a@-b", "a@b-", "a@b..c",
                "a@.b", "a@b.", "a@b_c", "a@[127.0.0.256]", "a@[127.0.0.1", "a@127.0.0.1]", "a@[::1]", "a@[IPv6:1]",
                "a@[x:y]", "\"a@b", "a\"@b", "\"a\"b@c", "\"\"\"@c", "\"\\\"@c", "a(b)@c", "a,b@c", "a;b@c", "<a@b>",
                "a@b\n", "é@b", "a@é", "Joe <joe@a.b>", "a\\@b", "\"\x01\"@c", "a@b, c@d"));
}

static void test_idn_email(void **state) {
    (void)state;
    check_format("idn-email",
                 VALID("a@b", "실례@실례.테스트", "δοκιμή@παράδειγμα.gr", "\"δ ο\"@b", "é.é@b", "a@bücher.example",
                       "é@a.b", "a@[127.0.0.1]", "a@xn--bcher-kva.example", "😀@b",
                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@b"),
                 INVALID("", "a", "é", "é@", "@é", "é..é@b", ".é@b", "é.@b", "é é@b", "a＠b", "a@é..b", "a@-é", "a@É",
                         "a@b@é", "a@é_b", "éééééééééééééééééé@b", "\"é@b"));
}

static void test_ipv4(void **state) {
    (void)state;
    check_format(
        "ipv4", VALID("0.0.0.0", "255.255.255.255", "1.2.3.4", "10.20.30.40", "192.168.100.199", "249.250.9.99"),
        INVALID("", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.1.1.256", "300.1.1.1", "01.2.3.4", "1.2.3.04",
                "00.0.0.0", "1..2.3", ".1.2.3.4", "1.2.3.4.", "1.2.3.4/8", "1.2.3.4:80", " 1.2.3.4", "1.2.3.4 ",
                "1.2.3.4\n", "0x1.2.3.4", "a.b.c.d", "-1.2.3.4", "+1.2.3.4", "1,2,3,4", "１.2.3.4", "2130706433"));
}

static void test_ipv6(void **state) {
    (void)state;
    check_format("ipv6",
                 VALID("::", "::1", "1::", "1::2", "1:2:3:4:5:6:7:8", "::2:3:4:5:6:7:8",
                       "1:2:3:4:5:6:7::", "1::3:4:5:6:7:8", "1:2::4:5:6:7:8", "1:2:3:4:5:6::8", "fe80::ABCD:ef01",
                       "::1.2.3.4", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5::1.2.3.4",
                       "::2:3:4:5:6:1.2.3.4", "1::1.2.3.4", "0:0:0:0:0:0:0:0", "0000::ffff", "1::3:4:5:6:1.2.3.4"),
                 INVALID("", ":", ":::", "1", "1:", ":1", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
                         "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1::2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "1::2::3",
                         "1:::2", "12345::", "::12345", "::g", "1:2:3:4:5:6:7:", ":2:3:4:5:6:7:8", "1.2.3.4", "::1.2.3",
                         "::1.2.3.256", "::01.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4",
                         "1:2:3:4:5:6::1.2.3.4", "::1.2.3.4:1", "1.2.3.4::", "[::1]", "::1%eth0", "::1/64", " ::1",
                         "::1\n", "1:2:3:4:5:6:7:８"));
}

static void test_uri(void **state) {
    (void)state;
    check_format("uri",
                 VALID("a:", "http://a", "http://", "HTTPS://Example.com:443/a/b;c=d?e=f/g?h#i/j?k", "mailto:a@b.c",
                       "urn:isbn:0451450523", "tel:+1-816-555-1212", "file:///etc/hosts", "http://u:p@h:1/",
                       "http://u:@h", "http://[::1]:80/", "http://[v1.a:b]/", "http://[V7f.~]/", "http://a:/",
                       "http://%41%2f", "http://1.2.3.4", "a+b-c.d:e", "a:/", "a:/b", "a:b//c", "http://a//b",
                       "data:,a%20b", "http://a?b", "http://a#b", "http://[1:2:3:4:5:6:7:8]", "a:?#",
                       "http://256.256.256.256/"),
                 INVALID("", "a", "/a", "//a", "?a", "#a", ":a", "1a:b", "-a:b", "a_b:c", "a b:c", "http://a b",
                         "http://a/b c", "http://a/%", "http://a/%a", "http://a/%ag", "http://a:b", "http://a:1:2",
                         "http://a@b@c", "http://[::1", "http://::1]", "http://[1]", "http://[::1]a",
                         "http://[::1%25eth0]", "http://[v.a]", "http://[vg.a]", "http://a/[b]", "http://a/{b}",
                         "http://a/<b>", "http://a/\"", "http://a/|", "http://a/\\b", "http://a/^", "http://a/`",
                         "http://a/é", "http://é", "http://a#b#c", "http://a\n", "a:b[", "http://a/b?[", "é:a"));
    check_format("uri-reference",
                 VALID("", "a:", "http://a/b?c#d", "//a/b", "//", "/a", "/", "a", "a/b", "a/b:c", "./a:b", "../a", "?a",
                       "#a", "?", "#", "a?b:c", "a#b:c", "@", "a@b", "//a:1", "//[::1]", "%41", ";a", "*"),
                 INVALID(":a", "1:a", "a b", "%", "%4", "a%zz", "\\a", "/a\"", "/[a]", "//a:b", "//a@b@c", "//[::1",
                         "##", "é", "{", "a|b", "a\n", "@:a"));
}

static void test_iri(void **state) {
    (void)state;
    check_format("iri",
                 VALID("http://a", "http://é/é?é#é", "http://é@é:1/", "http://例え.テスト/パス", "urn:é",
                       "http://[::1]/é", "http://a/\xF0\x90\x8C\x80", "http://a?\xEE\x80\x80",
                       "http://a?\xF3\xB0\x80\x80", "http://a/\xEF\xB7\xB0", "http://a/%C3%A9"),
                 INVALID("", "é", "/é", "é://a", "http://é é", "http://a/\xEE\x80\x80", "http://a#\xEE\x80\x80",
                         "http://a/\xE2\x80\x8E", "http://a/\xE2\x80\xAE", "http://a/\xEF\xB7\x90",
                         "http://a/\xEF\xBF\xBE", "http://a/\xC2\x80", "http://a/\xF0\x9F\xBF\xBE", "http://a/%é",
                         "http://é:é", "http://a/\\é", "http://é\n", "http://1:2:é"));
    check_format("iri-reference", VALID("", "é", "/é", "//é", "#é", "?é", "é/é:é", "http://é", "?\xEE\x80\x80"),
                 INVALID("é:é", "\\é", "#é\\", "/é é", "//é:é", "#\xEE\x80\x80", "{é}"));
}

/* ---- texts of programs ---- */

static void test_uri_template(void **state) {
    (void)state;
    check_format("uri-template",
                 VALID("", "a", "{a}", "{a,b}", "{+a}", "{#a}", "{.a}", "{/a}", "{;a}", "{?a}", "{&a}", "{a*}", "{a:1}",
                       "{a:9999}", "{a.b}", "{a_b}", "{1}", "{%41}", "{a%41b}", "{a:3,b*,c}", "http://a/{b}{?c,d}",
                       "a%20b", "é", "a'b", "a=b", "~", "[a]", "{a}{b}", "a!$&()*+,-./:;?@_"),
                 INVALID("{", "}", "{}", "{a", "a}", "{{a}}", "{a,}", "{,a}", "{a,,b}", "{a.}", "{.a.}", "{a..b}",
                         "{a b}", "{a-b}", "{a:0}", "{a:01}", "{a:10000}", "{a:}", "{a:b}", "{a*b}", "{a**}", "{a:1*}",
                         "{=a}", "{!a}", "{@a}", "{|a}", "{++a}", "{é}", "{a=b}", "a b", "a<b", "a>b", "a\"b", "a\\b",
                         "a^b", "a`b", "a|b", "%", "%4", "%zz", "{%4}", "\x7F", "a\n"));
}

static void test_uuid(void **state) {
    (void)state;
    check_format("uuid",
                 VALID("123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000",
                       "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "018f2F7a-0000-7abc-8000-ABCdef012345"),
                 INVALID("", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400",
                         "123e4567-e89b-12d3-a456-4266141740000", "123e4567-e89b-12d3-a4564-26614174000",
                         "123e4567-e89b-12d3-a456-42661417400g", "{123e4567-e89b-12d3-a456-426614174000}",
                         "urn:uuid:123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000\n",
                         "123e4567_e89b_12d3_a456_426614174000", "-123e4567-e89b-12d3-a456-42661417400"));
}

static void test_json_pointer(void **state) {
    (void)state;
    check_format("json-pointer",
                 VALID("", "/", "//", "/a", "/a/b", "/a//b", "/0", "/~0", "/~1", "/~01", "/a~1b~0c", "/é",
                       "/\xF0\x9F\x98\x80", "/ ", "/\n", "/\"", "/\\", "/%25", "/-"),
                 INVALID("a", "#", "#/a", "a/b", "/~", "/~2", "/a~", "/~~", "/~/", "/a/~a", "~0", " /a", "0"));
    check_format("relative-json-pointer",
                 VALID("0", "1", "10", "0#", "12#", "0/a", "1/a/b", "0/", "0//", "2/~0~1", "0/é"),
                 INVALID("", "#", "/a", "-1", "+1", "01", "00", "0##", "0#/a", "1a", "1 ", "0/~", "0/~2", "1.5",
                         "0-1/a", "1\n", "१"));
}

static void test_regular_expression(void **state) {
    (void)state;
    check_format(
        "regex",
        VALID("", "a", "a|b", "|", "a||b", "()", "(?:)", "(a)", "(?:a|b)*", "a+?", "a{2}", "a{2,}", "a{2,3}", "a{0,10}",
              "a{10,20}", "a{12,345}", "a{3,3}", "^a$", "\\bfoo\\B", "\\d+\\.\\d{2}", "[a-z]", "[^a-z]", "[]", "[^]",
              "[0-9A-Fa-f]", "[-a]", "[a-]", "[\\w.-]", "[\\]]", "[[]", "[\\-]", "[1-9]", "[a-f0-5_]", "(?=a)b",
              "(?!a)b", "(?<=a)b", "(?<!a)b", "x(?<year>\\d{4})-y", "\\u00e9", "\\x41", "\\cA", "\\p{L}", "\\P{Lu}+",
              "[\\p{N}]", "é+", "\\/", "/", "\\t\\n\\r\\f\\v", "-", ",", "((((((((a))))))))", "([abc])+\\s+$",
              "(a(b(c)d)e)*?", "^(?!.*foo)(?=.*\\d).{8,}$", ":", "=", "!", "<", ">", "\xF0\x9F\x98\x80"),
        INVALID("(", ")", "(a", "a)", "[", "]", "[a", "{", "}", "a{", "a{}", "a{2", "a{,2}", "a{3,2}", "a{20,10}", "*",
                "+a", "?", "a**", "a|*", "(*)", "^*", "\\", "a\\", "\\a", "\\q", "\\-", "\\1", "\\8", "\\x4", "\\xgg",
                "\\u004", "\\c", "\\c1", "\\p", "\\p{Foo}", "\\pL", "[z-a]", "[9-0]", "[b-a]", "[\\q]", "[a\\]", "(?a)",
                "(?P<n>a)", "(?<n>a)(?<n>b)", "(?<1>a)", "(?<>a)", "((?<n>a))", "(?#a)", "(?i)a", "(?", "(?:", "(?=a",
                "(?=a)*", "(?<=a)+", "^(abc]", "[\\d-z]", "\\k<a>", "a{1}{2}", "a+*", "\\Z", "\\A"));
}

static void test_base64(void **state) {
    (void)state;
    regex language;
    bool known;
    check_ok(content_encoding_regex(pool, bytes_view_string("base64"), &language, &known, &check_error));
    assert_true(known);
    check_texts("base64", language,
                VALID("", "AA==", "AAA=", "AAAA", "Zm9v", "Zm8=", "Zg==", "+/+/", "Zm9vYmFy", "//8=", "/w=="), true);
    check_texts("base64", language,
                INVALID("A", "AA", "AAA", "A===", "=", "====", "AA=", "AB==", "AAB=", "AAAA=", "AA==AA==", "Zm9v\n",
                        "Zm9 v", "Zm9v-_", "Zm9v%", "é", "AAAAA", "AA=A"),
                false);
    check_ok(content_encoding_regex(pool, bytes_view_string("BASE64"), &language, &known, &check_error));
    assert_true(known);
    assert_false(regex_matches(pool, language, bytes_view_string("A")));
    check_ok(content_encoding_regex(pool, bytes_view_string("quoted-printable"), &language, &known, &check_error));
    assert_false(known);
    assert_int_equal(language, REGEX_EVERYTHING);
}

static void test_unknown_names_are_annotations(void **state) {
    (void)state;
    const char *const names[] = {"",         "Date",  "DATE-TIME", "int32", "binary",
                                 "password", "date ", "dates",     "uri-",  "color"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        regex language = REGEX_NOTHING;
        bool known = true;
        check_ok(format_regex(pool, bytes_view_string(names[i]), &language, &known, &check_error));
        assert_false(known);
        assert_int_equal(language, REGEX_EVERYTHING);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_date),         TEST(test_time),
        TEST(test_date_time),    TEST(test_duration),
        TEST(test_hostname),     TEST(test_idn_hostname),
        TEST(test_email),        TEST(test_idn_email),
        TEST(test_ipv4),         TEST(test_ipv6),
        TEST(test_uri),          TEST(test_iri),
        TEST(test_uri_template), TEST(test_uuid),
        TEST(test_json_pointer), TEST(test_regular_expression),
        TEST(test_base64),       TEST(test_unknown_names_are_annotations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
