/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/settings.h"
#include "tests/unit/base/temporary_file.h"

#include <errno.h>

struct example {
    char *models_file, *advertise, *password, *log_level;
    int64_t port, timeout_ns, body_bytes;
    double ratio;
    bool tls, cache;
};

static const struct setting table[] = {
    SETTING_STRING(struct example, models_file, "models-file", "models.ini", "FILE", "models that can be served"),
    SETTING_STRING(struct example, advertise, "advertise", NULL, "ADDRESS", "address that others use"),
    SETTING_SECRET(struct example, password, "password", "WORD", "what opens the door"),
    SETTING_INTEGER(struct example, port, "port", "7011", 0, 65535, "PORT", "gRPC port; 0 picks a free one"),
    SETTING_DURATION(struct example, timeout_ns, "timeout", "1500ms", 1e6, 3600e9, "how long to wait"),
    SETTING_SIZE(struct example, body_bytes, "body-max", "4m", 1024, 67108864, "largest request"),
    SETTING_DOUBLE(struct example, ratio, "ratio", "0.25", 0, 1, "R", "part that is kept"),
    SETTING_BOOL(struct example, tls, "tls", "false", "speak TLS"),
    SETTING_BOOL(struct example, cache, "cache", "true", "remember answers"),
    SETTING_CHOICE(struct example, log_level, "log-level", "info", "debug|info|warn", "least level that is logged"),
    SETTING_REMOVED("outmoded", "there is nothing to set any more"),
    {SETTING_TYPE_END},
};

static struct example settings;
static enum settings_outcome outcome;
static struct error err;

enum { WORDS_MAX = 16 };

/** Load with the given words behind the program's name. */
static enum status load_words(const char *const *words) {
    char *argv[WORDS_MAX + 2] = {(char *)"example"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) argv[argc] = (char *)words[argc - 1];
    settings = (struct example){0};
    outcome = (enum settings_outcome) - 1;
    err = (struct error){0};
    return settings_load(table, "bora-example", "Shows what can be set.", argc, argv, &settings, &outcome, &err);
}

#define load(...) load_words((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

#define load_ok(...)                                                     \
    do {                                                                 \
        if (load(__VA_ARGS__) != STATUS_OK) fail_msg("%s", err.message); \
        assert_int_equal(outcome, SETTINGS_RUN);                         \
    } while (0)

/** Refused with this very message, and nothing is left to free (the leak checker sees to that). */
#define load_refused(message_, ...)                                   \
    do {                                                              \
        assert_int_equal(load(__VA_ARGS__), STATUS_INVALID_ARGUMENT); \
        assert_string_equal(err.message, message_);                   \
        assert_null(settings.models_file);                            \
    } while (0)

static int clear_environment(void **state) {
    (void)state;
    return clearenv();
}

static int release(void **state) {
    (void)state;
    settings_free(table, &settings);
    return 0;
}

static void test_defaults(void **state) {
    (void)state;
    load_ok();
    assert_string_equal(settings.models_file, "models.ini");
    assert_null(settings.advertise);
    assert_null(settings.password);
    assert_int_equal(settings.port, 7011);
    assert_int_equal(settings.timeout_ns, 1500000000);
    assert_int_equal(settings.body_bytes, 4 << 20);
    assert_true(settings.ratio == 0.25);
    assert_false(settings.tls);
    assert_true(settings.cache);
    assert_string_equal(settings.log_level, "info");
}

static void test_flags_of_both_forms(void **state) {
    (void)state;
    load_ok("--models-file", "a b", "--advertise=x=y", "--port=0", "--timeout", "2m", "--body-max", "64k",
            "--ratio=1e-3", "--tls", "--no-cache", "--log-level", "warn");
    assert_string_equal(settings.models_file, "a b");
    assert_string_equal(settings.advertise, "x=y");
    assert_int_equal(settings.port, 0);
    assert_int_equal(settings.timeout_ns, 120 * INT64_C(1000000000));
    assert_int_equal(settings.body_bytes, 65536);
    assert_true(settings.ratio == 0.001);
    assert_true(settings.tls);
    assert_false(settings.cache);
    assert_string_equal(settings.log_level, "warn");
}

static void test_boolean_words(void **state) {
    (void)state;
    static const char *const yes[] = {"--tls=true", "--tls=YES", "--tls=on", "--tls=1"}, *const no[] = {"--cache=false",
                                                                                                        "--cache=no",
                                                                                                        "--cache=Off",
                                                                                                        "--cache=0"};
    for (int i = 0; i < 4; i++) {
        load_ok(yes[i], no[i]);
        assert_true(settings.tls);
        assert_false(settings.cache);
        settings_free(table, &settings);
    }
    load_refused("--tls: '2' is neither true nor false", "--tls=2");
    load_refused("--tls: '' is neither true nor false", "--tls=");
    load_refused("unexpected argument 'true' (see --help)", "--tls", "true");
}

static void test_last_flag_wins(void **state) {
    (void)state;
    load_ok("--port", "1", "--port=2", "--tls", "--no-tls", "--models-file", "a", "--models-file", "b");
    assert_int_equal(settings.port, 2);
    assert_false(settings.tls);
    assert_string_equal(settings.models_file, "b");
}

static void test_flag_beats_environment_beats_file_beats_default(void **state) {
    (void)state;
    static const char text[] = "port = 1 # comment\nratio = 0.5\nmodels-file = from file\n";
    char path[TEMPORARY_PATH_BYTES];
    temporary_file(text, sizeof text - 1, path);
    setenv("BORA_RATIO", "0.75", 1);
    setenv("BORA_MODELS_FILE", "from environment", 1);
    load_ok("--models-file=from flag", "--config", path);
    assert_int_equal(settings.port, 1);
    assert_true(settings.ratio == 0.75);
    assert_string_equal(settings.models_file, "from flag");
    assert_int_equal(settings.body_bytes, 4 << 20);
    unlink(path);
}

static void test_empty_variable_counts_as_unset(void **state) {
    (void)state;
    setenv("BORA_PORT", "", 1);
    setenv("BORA_CONFIG", "", 1);
    setenv("BORA_ADVERTISE", "", 1);
    load_ok();
    assert_int_equal(settings.port, 7011);
    assert_null(settings.advertise);
}

static void test_unknown_variable_is_no_error(void **state) {
    (void)state;
    setenv("BORA_OF_ANOTHER_SERVICE", "x", 1);
    setenv("BORA_PRINT_SETTINGS", "true", 1); /* only a flag */
    setenv("BORA_VERSION", "7", 1);
    load_ok();
}

static void test_config_comes_from_the_environment_too(void **state) {
    (void)state;
    char path[TEMPORARY_PATH_BYTES], other[TEMPORARY_PATH_BYTES];
    temporary_file("port = 5\n", 9, path);
    temporary_file("port = 6\n", 9, other);
    setenv("BORA_CONFIG", path, 1);
    load_ok();
    assert_int_equal(settings.port, 5);
    settings_free(table, &settings);
    char flag[TEMPORARY_PATH_BYTES + 16];
    snprintf(flag, sizeof flag, "--config=%s", other);
    load_ok(flag);
    assert_int_equal(settings.port, 6);
    unlink(path);
    unlink(other);
}

static void test_missing_config_is_not_found(void **state) {
    (void)state;
    assert_int_equal(load("--config", "/nonexistent"), STATUS_NOT_FOUND);
    assert_string_equal(err.message, "cannot open /nonexistent: No such file or directory");
    assert_null(settings.models_file);
}

/** Refused with a message that begins with the file's name and `message_`. */
static void check_config_refused(const char *text, const char *expected) {
    char path[TEMPORARY_PATH_BYTES];
    temporary_file(text, strlen(text), path);
    assert_int_equal(load("--config", path), STATUS_INVALID_ARGUMENT);
    unlink(path);
    assert_memory_equal(err.message, path, strlen(path));
    assert_string_equal(err.message + strlen(path), expected);
    assert_null(settings.models_file);
}

static void test_errors_of_a_config_name_file_and_line(void **state) {
    (void)state;
    check_config_refused("port = 1\n\nprot = 2\n", ":3: unknown setting 'prot'; did you mean 'port'?");
    check_config_refused("quite-another = 2\n", ":1: unknown setting 'quite-another'");
    check_config_refused("port = 65536\n", ":1: '65536' is not a whole number in 0..65535");
    check_config_refused("[section]\nport = 1\n", ":2: a settings file has no [sections]");
    check_config_refused("port 1\n", ":1: 'port 1' is not `name = value`");
    check_config_refused("config = other\n", ":1: unknown setting 'config'");
}

static void test_unknown_flag_suggests_the_nearest(void **state) {
    (void)state;
    load_refused("unknown flag --prot; did you mean --port?", "--prot", "1");
    load_refused("unknown flag --models_file; did you mean --models-file?", "--models_file=x");
    load_refused("unknown flag --confg; did you mean --config?", "--confg=x");
    load_refused("unknown flag --print-setings; did you mean --print-settings?", "--print-setings");
    load_refused("unknown flag --xyz (see --help)", "--xyz");
    load_refused("unknown flag --no-port; did you mean --port?", "--no-port"); /* not a boolean */
    load_refused("unknown flag --tsl; did you mean --tls?", "--tsl");
}

static void test_very_long_flag_is_unknown_and_its_value_is_not_shown(void **state) {
    (void)state;
    char flag[200] = "--";
    memset(flag + 2, 'a', 100);
    strcpy(flag + 102, "=secret");
    assert_int_equal(load(flag), STATUS_INVALID_ARGUMENT);
    assert_null(strstr(err.message, "secret"));
    assert_non_null(strstr(err.message, "unknown flag --aaaa"));
}

static void test_flag_without_value(void **state) {
    (void)state;
    load_refused("--port needs a value (--port=VALUE if it begins with -)", "--port");
    load_refused("--advertise needs a value (--advertise=VALUE if it begins with -)", "--advertise", "--tls");
    load_refused("--config needs a value (--config=VALUE if it begins with -)", "--config");
    load_refused("--no-tls takes no value", "--no-tls=true");
    load_ok("--advertise=--tls");
    assert_string_equal(settings.advertise, "--tls");
    assert_false(settings.tls);
}

static void test_negative_numbers_and_a_dash_are_values(void **state) {
    (void)state;
    load_refused("--port: '-1' is not a whole number in 0..65535", "--port", "-1");
    load_refused("--ratio: '-.5' is not a number in 0..1", "--ratio", "-.5");
    load_ok("--advertise", "-");
    assert_string_equal(settings.advertise, "-");
}

static void test_positional_argument_is_refused(void **state) {
    (void)state;
    load_refused("unexpected argument 'serve' (see --help)", "serve");
    load_refused("unexpected argument '-p' (see --help)", "-p");
    load_refused("unexpected argument '--' (see --help)", "--");
    load_refused("unexpected argument '' (see --help)", "");
}

static void test_errors_name_flag_value_and_range(void **state) {
    (void)state;
    load_refused("--port: '70000' is not a whole number in 0..65535", "--port", "70000");
    load_refused("--port: 'x' is not a whole number in 0..65535", "--port=x");
    load_refused("--port: '' is not a whole number in 0..65535", "--port=");
    load_refused("--port: '1.5' is not a whole number in 0..65535", "--port=1.5");
    load_refused("--port: '99999999999999999999' is not a whole number in 0..65535", "--port=99999999999999999999");
    load_refused("--ratio: '1.01' is not a number in 0..1", "--ratio=1.01");
    load_refused("--ratio: 'nan' is not a number in 0..1", "--ratio=nan");
    load_refused("--timeout: '5' is not a duration such as 250ms, 5s, 2m, 1h or 30d in 1ms..1h", "--timeout=5");
    load_refused("--timeout: '2h' is not a duration such as 250ms, 5s, 2m, 1h or 30d in 1ms..1h", "--timeout=2h");
    load_refused("--timeout: '0' is not a duration such as 250ms, 5s, 2m, 1h or 30d in 1ms..1h", "--timeout=0");
    load_refused("--body-max: '1023' is not a size such as 4096, 64k, 8m or 2g in 1k..64m", "--body-max=1023");
    load_refused("--body-max: '65m' is not a size such as 4096, 64k, 8m or 2g in 1k..64m", "--body-max=65m");
    load_refused("--log-level: 'loud' is none of debug|info|warn", "--log-level=loud");
    load_refused("--log-level: 'debug|info' is none of debug|info|warn", "--log-level=debug|info");
    load_refused("--log-level: '' is none of debug|info|warn", "--log-level=");
    setenv("BORA_PORT", "70000", 1);
    load_refused("BORA_PORT: '70000' is not a whole number in 0..65535");
}

static void test_both_ends_of_a_range_are_allowed(void **state) {
    (void)state;
    load_ok("--port=65535", "--timeout=1ms", "--body-max=1024", "--ratio=1");
    settings_free(table, &settings);
    load_ok("--port=0", "--timeout=60m", "--body-max=64m", "--ratio=0");
}

static void check_duration(const char *text, int64_t expected) {
    int64_t value = -1;
    check_ok(settings_parse_duration(text, &value, &check_error));
    assert_int_equal(value, expected);
}

static void test_durations(void **state) {
    (void)state;
    check_duration("0", 0);
    check_duration("7ns", 7);
    check_duration("7us", 7000);
    check_duration("250ms", 250000000);
    check_duration("1.5s", 1500000000);
    check_duration("1.001s", 1001000000); /* 1000999999.99 as a product of doubles */
    check_duration("2M", INT64_C(120000000000));
    check_duration("1h", INT64_C(3600000000000));
    check_duration("106751d", INT64_C(106751) * 86400 * 1000000000);
    int64_t value = -1;
    static const char *const bad[] = {
        "",     "s", "5", "-5s", "5 s", "5x", "5ss", " 5s", "1e3s", "1.2.3s", ".s", "106752d", "99999999999999999999s",
        "1h30m"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_fails(settings_parse_duration(bad[i], &value, &check_error), STATUS_INVALID_ARGUMENT, bad[i]);
    assert_int_equal(value, -1);
}

static void check_size(const char *text, int64_t expected) {
    int64_t value = -1;
    check_ok(settings_parse_size(text, &value, &check_error));
    assert_int_equal(value, expected);
}

static void test_sizes(void **state) {
    (void)state;
    check_size("0", 0);
    check_size("4096", 4096);
    check_size("64k", 65536);
    check_size("1.5M", 1572864);
    check_size("2g", INT64_C(2) << 30);
    check_size("3t", INT64_C(3) << 40);
    check_size("9007199254740993", INT64_C(9007199254740993)); /* not a double */
    int64_t value = -1;
    static const char *const bad[] = {"", "k", "-1", "1 k", "1kb", "0x10", "8388608t", "9223372036854775808"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_fails(settings_parse_size(bad[i], &value, &check_error), STATUS_INVALID_ARGUMENT, bad[i]);
    assert_int_equal(value, -1);
}

/** What settings_load prints on stdout with the given words. */
static char printed[16384];

/** Load, and keep what comes out of `fd`. */
static enum status load_printing(const char *const *words, int fd) {
    char path[TEMPORARY_PATH_BYTES];
    temporary_file("", 0, path);
    fflush(stdout);
    int saved = dup(fd);
    FILE *file = fopen(path, "w+");
    dup2(fileno(file), fd);
    enum status status = load_words(words);
    fflush(stdout);
    dup2(saved, fd);
    close(saved);
    rewind(file);
    printed[fread(printed, 1, sizeof printed - 1, file)] = 0;
    fclose(file);
    unlink(path);
    return status;
}

static void print_words(const char *const *words) {
    enum status status = load_printing(words, 1);
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(outcome, SETTINGS_PRINTED);
    assert_null(settings.models_file);
}

#define print(...) print_words((const char *const[]){__VA_ARGS__, NULL})

/** It loads, and what `warned` says, behind the program's name, is all that is said. */
static void check_warned(const char *const *words, const char *warned) {
    char expected[256];
    snprintf(expected, sizeof expected, "%s: %s", program_invocation_short_name, warned);
    if (load_printing(words, 2) != STATUS_OK) fail_msg("%s", err.message);
    assert_string_equal(printed, expected);
    assert_int_equal(settings.port, 5);
    settings_free(table, &settings);
}

static void test_what_was_removed_is_told_and_does_nothing(void **state) {
    (void)state;
#define REMOVED "'outmoded' was removed and has no effect: there is nothing to set any more\n"
    check_warned((const char *const[]){"--outmoded", "7", "--port=5", NULL}, "--outmoded: " REMOVED);
    check_warned((const char *const[]){"--outmoded=", "--port=5", NULL}, "--outmoded: " REMOVED);
    check_warned((const char *const[]){"--outmoded", "--port=5", NULL}, "--outmoded: " REMOVED);
    char path[TEMPORARY_PATH_BYTES], expected[200];
    temporary_file("outmoded = 3\nport = 5\n", 22, path);
    snprintf(expected, sizeof expected, "%s:1: " REMOVED, path);
    check_warned((const char *const[]){"--config", path, NULL}, expected);
    unlink(path);
    setenv("BORA_OUTMODED", "3", 1);
    check_warned((const char *const[]){"--port=5", NULL}, "BORA_OUTMODED: " REMOVED);
    unsetenv("BORA_OUTMODED");
    load_refused("unknown flag --outmodet (see --help)", "--outmodet=3"); /* it is no name to suggest */
}

/** Which may be a secret's: its value is not said. */
static void test_a_variable_that_is_nobodys_is_told(void **state) {
    (void)state;
    setenv("BORA_PROT", "hunter2", 1);
    check_warned((const char *const[]){"--port=5", NULL},
                 "BORA_PROT is in the environment and is no setting; did you mean BORA_PORT?\n");
    unsetenv("BORA_PROT");
    setenv("BORA_FROBNICATE", "1", 1);
    check_warned((const char *const[]){"--port=5", NULL}, "BORA_FROBNICATE is in the environment and is no setting\n");
    unsetenv("BORA_FROBNICATE");
}

static void test_version_is_one_line(void **state) {
    (void)state;
    print("--version");
    assert_string_equal(printed, "bora-example " BORA_VERSION "\n");
}

static void test_help_shows_everything(void **state) {
    (void)state;
    static const char *const expected =
        "bora-example " BORA_VERSION ": Shows what can be set.\n"
        "\n"
        "Usage: bora-example [--config FILE] [--NAME VALUE]...\n"
        "\n"
        "  --models-file FILE           models that can be served\n"
        "                                 BORA_MODELS_FILE, default models.ini\n"
        "  --advertise ADDRESS          address that others use\n"
        "                                 BORA_ADVERTISE\n"
        "  --password WORD              what opens the door\n"
        "                                 BORA_PASSWORD\n"
        "  --port PORT                  gRPC port; 0 picks a free one\n"
        "                                 BORA_PORT, default 7011, 0..65535\n"
        "  --timeout DURATION           how long to wait\n"
        "                                 BORA_TIMEOUT, default 1500ms, 1ms..1h\n"
        "  --body-max SIZE              largest request\n"
        "                                 BORA_BODY_MAX, default 4m, 1k..64m\n"
        "  --ratio R                    part that is kept\n"
        "                                 BORA_RATIO, default 0.25, 0..1\n"
        "  --[no-]tls                   speak TLS\n"
        "                                 BORA_TLS, default false\n"
        "  --[no-]cache                 remember answers\n"
        "                                 BORA_CACHE, default true\n"
        "  --log-level debug|info|warn  least level that is logged\n"
        "                                 BORA_LOG_LEVEL, default info\n"
        "\n"
        "  --config FILE                read settings from a file of `name = value` lines\n"
        "                                 BORA_CONFIG\n"
        "  --print-settings             print what would be used, and exit\n"
        "  --version                    print the version, and exit\n"
        "  --help                       print this, and exit\n"
        "\n"
        "Later wins: default, file, environment, flag. Durations: 250ms 5s 2m 1h 1d. Sizes: 4096 64k 8m 2g 1t.\n";
    print("--help");
    assert_string_equal(printed, expected);
    print("--port=nonsense", "-h", "--unknown");
    assert_string_equal(printed, expected);
}

static void test_print_settings_shows_what_is_used(void **state) {
    (void)state;
    setenv("BORA_TIMEOUT", "90s", 1);
    setenv("BORA_PASSWORD", "hunter2", 1);
    print("--print-settings", "--ratio=0.1", "--tls", "--body-max=1572864", "--port=12345");
    assert_string_equal(
        printed,
        "models-file = models.ini\nadvertise =\npassword = (set)\nport = 12345\ntimeout = 90s\nbody-max = 1536k\n"
        "ratio = 0.1\ntls = true\ncache = true\nlog-level = info\n");
    unsetenv("BORA_PASSWORD");
    print("--print-settings");
    assert_non_null(strstr(printed, "password = (not set)\n"));
}

/** What --print-settings writes is a --config file that gives the same settings, to the last bit. */
static void test_printed_settings_read_back(void **state) {
    (void)state;
    print("--print-settings", "--timeout=1234567891ns", "--body-max=1234567", "--ratio=0.3333333333333333", "--port=1",
          "--no-cache");
    char *password = strstr(printed, "password = (not set)\n");
    memset(password, ' ', strlen("password = (not set)"));
    char path[TEMPORARY_PATH_BYTES];
    temporary_file(printed, strlen(printed), path);
    load_ok("--config", path);
    unlink(path);
    assert_int_equal(settings.timeout_ns, 1234567891);
    assert_int_equal(settings.body_bytes, 1234567);
    assert_true(settings.ratio == 1.0 / 3);
    assert_int_equal(settings.port, 1);
    assert_false(settings.cache);
}

static void test_bad_settings_are_not_printed(void **state) {
    (void)state;
    load_refused("--port: 'x' is not a whole number in 0..65535", "--print-settings", "--port=x");
}

#define SETTINGS_TEST(test) cmocka_unit_test_setup_teardown(test, clear_environment, release)

int main(void) {
    const struct CMUnitTest tests[] = {
        SETTINGS_TEST(test_defaults),
        SETTINGS_TEST(test_flags_of_both_forms),
        SETTINGS_TEST(test_boolean_words),
        SETTINGS_TEST(test_last_flag_wins),
        SETTINGS_TEST(test_flag_beats_environment_beats_file_beats_default),
        SETTINGS_TEST(test_empty_variable_counts_as_unset),
        SETTINGS_TEST(test_unknown_variable_is_no_error),
        SETTINGS_TEST(test_config_comes_from_the_environment_too),
        SETTINGS_TEST(test_missing_config_is_not_found),
        SETTINGS_TEST(test_errors_of_a_config_name_file_and_line),
        SETTINGS_TEST(test_unknown_flag_suggests_the_nearest),
        SETTINGS_TEST(test_very_long_flag_is_unknown_and_its_value_is_not_shown),
        SETTINGS_TEST(test_flag_without_value),
        SETTINGS_TEST(test_negative_numbers_and_a_dash_are_values),
        SETTINGS_TEST(test_positional_argument_is_refused),
        SETTINGS_TEST(test_errors_name_flag_value_and_range),
        SETTINGS_TEST(test_both_ends_of_a_range_are_allowed),
        SETTINGS_TEST(test_durations),
        SETTINGS_TEST(test_sizes),
        SETTINGS_TEST(test_what_was_removed_is_told_and_does_nothing),
        SETTINGS_TEST(test_a_variable_that_is_nobodys_is_told),
        SETTINGS_TEST(test_version_is_one_line),
        SETTINGS_TEST(test_help_shows_everything),
        SETTINGS_TEST(test_print_settings_shows_what_is_used),
        SETTINGS_TEST(test_printed_settings_read_back),
        SETTINGS_TEST(test_bad_settings_are_not_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
