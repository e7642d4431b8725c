/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/** A pair of datagram sockets: one write is one message, so a line in two writes would come as two. */
static int sockets[2];

static int open_log(void **state) {
    (void)state;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets) != 0) return -1;
    log_configure("test", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, sockets[0]);
    return 0;
}

static int close_log(void **state) {
    (void)state;
    close(sockets[0]);
    close(sockets[1]);
    return 0;
}

/** The next line, without its line feed. */
static const char *next_line(void) {
    static char line[2 * LIMIT_LOG_LINE_BYTES];
    ssize_t length = recv(sockets[1], line, sizeof line - 1, MSG_DONTWAIT);
    assert_true(length > 0 && length <= LIMIT_LOG_LINE_BYTES);
    assert_ptr_equal(memchr(line, '\n', (size_t)length), line + length - 1); /* one line feed, at the end */
    line[length - 1] = 0;
    assert_int_equal(strlen(line), length - 1);
    return line;
}

static bool is_silent(void) {
    char byte;
    return recv(sockets[1], &byte, 1, MSG_DONTWAIT) < 0;
}

/** The next line as JSON, which jansson reads with duplicate names refused. */
static json_t *next_object(void) {
    json_error_t error;
    const char *line = next_line();
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL) fail_msg("%s: %s", error.text, line);
    return object;
}

static const char *text_of(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static void test_line_has_time_level_service_event_and_fields(void **state) {
    (void)state;
    log_info("request done", LOG_S("request_id", "abc"), LOG_I("status", 200), LOG_F("seconds", 0.125),
             LOG_B("cached", true));
    json_t *object = next_object();
    assert_int_equal(json_object_size(object), 8);
    assert_int_equal(strlen(text_of(object, "time")), strlen("2026-11-23T12:09:01.123456Z"));
    assert_string_equal(text_of(object, "level"), "info");
    assert_string_equal(text_of(object, "service"), "test");
    assert_string_equal(text_of(object, "event"), "request done");
    assert_string_equal(text_of(object, "request_id"), "abc");
    assert_int_equal(json_integer_value(json_object_get(object, "status")), 200);
    assert_true(json_real_value(json_object_get(object, "seconds")) == 0.125);
    assert_true(json_is_true(json_object_get(object, "cached")));
    json_decref(object);
}

static void test_event_without_fields(void **state) {
    (void)state;
    log_error("stopped");
    json_t *object = next_object();
    assert_int_equal(json_object_size(object), 4);
    assert_string_equal(text_of(object, "level"), "error");
    json_decref(object);
}

static void test_values_at_their_ends(void **state) {
    (void)state;
    log_warn("x", LOG_I("least", INT64_MIN), LOG_I("most", INT64_MAX), LOG_F("nan", __builtin_nan("")),
             LOG_F("big", 1e300), LOG_S("none", NULL), LOG_S("empty", ""), LOG_B("no", false));
    json_t *object = next_object();
    assert_true(json_integer_value(json_object_get(object, "least")) == INT64_MIN);
    assert_true(json_integer_value(json_object_get(object, "most")) == INT64_MAX);
    assert_true(json_is_null(json_object_get(object, "nan")));
    assert_true(json_is_null(json_object_get(object, "none")));
    assert_string_equal(text_of(object, "empty"), "");
    assert_true(json_is_false(json_object_get(object, "no")));
    json_decref(object);
}

static void test_every_character_reads_back(void **state) {
    (void)state;
    char text[128];
    for (int i = 1; i < 128; i++) text[i - 1] = (char)i;
    text[127] = 0;
    log_info(text, LOG_S("value", text), LOG_S("more", "\xF0\x9F\x98\x80 \xC3\xA9"));
    json_t *object = next_object();
    assert_string_equal(text_of(object, "event"), text);
    assert_string_equal(text_of(object, "value"), text);
    assert_string_equal(text_of(object, "more"), "\xF0\x9F\x98\x80 \xC3\xA9");
    json_decref(object);
}

static void test_invalid_utf8_becomes_the_replacement_character(void **state) {
    (void)state;
    log_info("x", LOG_S("value", "a\xFF"
                                 "b\xE2\x82"
                                 "c\xED\xA0\x80"));
    json_t *object = next_object();
    assert_string_equal(text_of(object, "value"), "a\xEF\xBF\xBD"
                                                  "b\xEF\xBF\xBD"
                                                  "c\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    json_decref(object);
}

/** A string of `length` copies of `unit`. */
static char *repeat(const char *unit, size_t length) {
    size_t width = strlen(unit);
    char *text = calloc(1, length * width + 1);
    for (size_t i = 0; i < length; i++) memcpy(text + i * width, unit, width);
    return text;
}

/** Of every length around the end of the line, and of characters that take 1 to 6 bytes there. */
static void test_long_value_is_cut_and_the_line_stays_json(void **state) {
    (void)state;
    static const char *const units[] = {"a",   "\"", "\n", "\x01", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                                        "\xFF"};
    for (size_t unit = 0; unit < sizeof units / sizeof units[0]; unit++) {
        for (size_t length = 500; length < 4200; length += length < 600 || length > 3900 ? 1 : 50) {
            char *text = repeat(units[unit], length);
            log_info("x", LOG_S("value", text), LOG_I("status", 7));
            json_t *object = next_object();
            const char *value = text_of(object, "value");
            if (*units[unit] != '\xFF') assert_memory_equal(value, text, strlen(value)); /* a prefix */
            assert_int_equal(json_integer_value(json_object_get(object, "status")), 7);
            json_decref(object);
            free(text);
        }
    }
}

static void test_long_last_value_fills_the_line(void **state) {
    (void)state;
    char *text = repeat("a", 9000);
    log_info("x", LOG_S("value", text));
    assert_int_equal(strlen(next_line()), LIMIT_LOG_LINE_BYTES - 1);
    free(text);
}

static void test_long_value_leaves_room_for_the_others(void **state) {
    (void)state;
    char *text = repeat("a", 9000);
    log_info(text, LOG_S("first", text), LOG_S("second", text),
             LOG_S("request_id", "0123456789abcdef0123456789abcdef"));
    json_t *object = next_object();
    assert_true(strlen(text_of(object, "event")) > 3000);
    assert_true(strlen(text_of(object, "first")) >= 32);
    assert_true(strlen(text_of(object, "second")) >= 32);
    assert_string_equal(text_of(object, "request_id"), "0123456789abcdef0123456789abcdef");
    json_decref(object);
    free(text);
}

static void test_too_many_fields_are_left_out_whole(void **state) {
    (void)state;
    enum { FIELDS = 400 };
    struct log_field fields[FIELDS + 1];
    char names[FIELDS][8], event[81] = "";
    for (int i = 0; i < FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "f%d", i);
        fields[i] = i % 2 == 0 ? LOG_S(names[i], "a value of some length that repeats") : LOG_I(names[i], i);
    }
    fields[FIELDS] = (struct log_field){LOG_FIELD_END, NULL, {0}};
    for (int length = 0; length < 80; length++) { /* so that the line is full at every place of a field */
        event[length] = 'e';
        log_write(LOG_LEVEL_INFO, event, fields);
        json_t *object = next_object();
        for (int i = 0; i < 20; i += 2) assert_string_equal(text_of(object, names[i]), fields[i].value.string);
        assert_int_equal(json_integer_value(json_object_get(object, "f19")), 19);
        assert_null(json_object_get(object, "f399"));
        json_decref(object);
    }
}

static void test_random_bytes_always_give_json(void **state) {
    (void)state;
    enum { ROUNDS = 300, SEED = 31 };
    for (uint64_t round = 0; round < ROUNDS; round++) {
        char text[3][2000];
        for (uint32_t which = 0; which < 3; which++) {
            size_t length = random_philox(SEED, round, which) % sizeof text[0];
            for (size_t i = 0; i < length; i++)
                text[which][i] = (char)(random_philox(SEED, round, (uint32_t)(10000 * which + i + 10)) | 1);
            text[which][length] = 0;
        }
        log_info(text[0], LOG_S("a", text[1]), LOG_S("b", text[2]), LOG_I("n", 1));
        json_decref(next_object());
    }
}

static void test_levels_below_the_least_are_silent(void **state) {
    (void)state;
    log_configure("test", LOG_LEVEL_WARN, LOG_FORMAT_JSON, sockets[0]);
    assert_false(log_enabled(LOG_LEVEL_INFO));
    assert_true(log_enabled(LOG_LEVEL_WARN));
    log_debug("x");
    log_info("x");
    assert_true(is_silent());
    log_warn("x");
    log_error("x");
    next_line();
    next_line();
    assert_true(is_silent());
}

static void test_level_names_are_parsed(void **state) {
    (void)state;
    enum log_level level = LOG_LEVEL_DEBUG;
    assert_true(log_level_parse("error", &level) && level == LOG_LEVEL_ERROR);
    assert_true(log_level_parse("warn", &level) && level == LOG_LEVEL_WARN);
    assert_true(log_level_parse("info", &level) && level == LOG_LEVEL_INFO);
    assert_true(log_level_parse("debug", &level) && level == LOG_LEVEL_DEBUG);
    level = LOG_LEVEL_WARN;
    assert_false(log_level_parse("", &level));
    assert_false(log_level_parse("INFO", &level));
    assert_false(log_level_parse("warning", &level));
    assert_int_equal(level, LOG_LEVEL_WARN);
}

static void test_text_form_is_for_people(void **state) {
    (void)state;
    log_configure("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sockets[0]);
    log_info("request done", LOG_S("id", "abc"), LOG_I("status", 200), LOG_S("path", "a b"), LOG_S("query", "x=1"),
             LOG_S("empty", ""), LOG_S("none", NULL), LOG_B("ok", true), LOG_F("seconds", 0.5));
    const char *line = next_line();
    assert_int_equal(line[strlen("2026-11-23T12:09:01.123456")], 'Z');
    assert_string_equal(
        line + strlen("2026-11-23T12:09:01.123456Z"),
        " info  request done id=abc status=200 path=\"a b\" query=\"x=1\" empty=\"\" none=null ok=true seconds=0.5");
}

static void test_text_form_stays_on_one_line(void **state) {
    (void)state;
    log_configure("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT, sockets[0]);
    char *text = repeat("\n\x1b\"", 3000);
    log_info("a\nb", LOG_S("value", text), LOG_S("last", "1"));
    const char *line = next_line();
    assert_non_null(strstr(line, "a\\nb value=\"\\n\\u001b\\\""));
    assert_string_equal(line + strlen(line) - strlen("\" last=1"), "\" last=1");
    free(text);
}

enum { WRITERS = 8, LINES = 200 };

static void *write_lines(void *context) {
    for (int i = 0; i < LINES; i++) log_info("from a thread", LOG_I("writer", (intptr_t)context), LOG_I("line", i));
    return NULL;
}

static void test_lines_of_many_threads_stay_whole(void **state) {
    (void)state;
    pthread_t threads[WRITERS];
    for (intptr_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, (void *)i), 0);
    int next[WRITERS] = {0};
    for (int i = 0; i < WRITERS * LINES; i++) {
        char line[LIMIT_LOG_LINE_BYTES];
        ssize_t length = recv(sockets[1], line, sizeof line, 0);
        assert_true(length > 0);
        json_t *object = json_loadb(line, (size_t)length, 0, NULL);
        assert_non_null(object);
        json_int_t writer = json_integer_value(json_object_get(object, "writer"));
        assert_true(writer >= 0 && writer < WRITERS);
        assert_int_equal(json_integer_value(json_object_get(object, "line")), next[writer]++);
        json_decref(object);
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
}

static void test_a_closed_descriptor_harms_nobody(void **state) {
    (void)state;
    log_configure("test", LOG_LEVEL_INFO, LOG_FORMAT_JSON, -1);
    log_info("x");
}

#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, open_log, close_log)

int main(void) {
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_line_has_time_level_service_event_and_fields),
        LOG_TEST(test_event_without_fields),
        LOG_TEST(test_values_at_their_ends),
        LOG_TEST(test_every_character_reads_back),
        LOG_TEST(test_invalid_utf8_becomes_the_replacement_character),
        LOG_TEST(test_long_value_is_cut_and_the_line_stays_json),
        LOG_TEST(test_long_last_value_fills_the_line),
        LOG_TEST(test_long_value_leaves_room_for_the_others),
        LOG_TEST(test_too_many_fields_are_left_out_whole),
        LOG_TEST(test_random_bytes_always_give_json),
        LOG_TEST(test_levels_below_the_least_are_silent),
        LOG_TEST(test_level_names_are_parsed),
        LOG_TEST(test_text_form_is_for_people),
        LOG_TEST(test_text_form_stays_on_one_line),
        LOG_TEST(test_lines_of_many_threads_stay_whole),
        LOG_TEST(test_a_closed_descriptor_harms_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
