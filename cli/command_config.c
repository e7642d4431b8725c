/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "base/json.h"
#include "base/settings.h"
#include "cli/commands.h"
#include "cli/config.h"
#include "cli/connection.h"
#include "cli/print.h"
#include "cli/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const struct argument arguments[] = {
    {ARGUMENT_TEXT, "profile", "NAME", "section of the file (BORA_PROFILE, default)", &connection_options.profile},
    {ARGUMENT_FLAG, "json", NULL, "for scripts", &connection_options.json},
    {ARGUMENT_END, NULL, NULL, NULL, NULL}};

static int fail(const struct error *err) {
    print_failure("%s", err->message);
    return EXIT_FAILED;
}

static int find_name(const struct command_usage *usage, const char *word, enum config_name *out) {
    const char *meant = config_suggest(word);
    *out = config_find(word);
    if (*out != CONFIG_NAMES) return GO_ON;
    if (meant != NULL) return usage_error(usage, "there is no setting '%.64s'; did you mean '%s'?", word, meant);
    return usage_error(usage, "there is no setting '%.64s'", word);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

static int run_path(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    struct config config;
    struct error err = {0};
    if (config_load(connection_options.profile, false, &config, &err) != STATUS_OK) return fail(&err);
    printf("%s\n", config.path);
    config_free(&config);
    return EXIT_OK;
}

/** What counts without a flag, and from where; a secret is not shown. */
static const char *shown_value(const struct config *config, enum config_name name, const char **out_source) {
    const char *value = connection_setting(config, name, NULL, out_source);
    if (value == NULL && name == CONFIG_ADDRESS) {
        *out_source = "the default";
        return CONNECTION_ADDRESS_DEFAULT;
    }
    return value != NULL && config_entries[name].secret ? "(set, not shown)" : value;
}

static int run_get(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    struct config config;
    struct error err = {0};
    const char *source;
    enum config_name name;
    int result = find_name(usage, words[0], &name);
    if (result != GO_ON) return result;
    if (config_load(connection_options.profile, true, &config, &err) != STATUS_OK) return fail(&err);
    const char *value = shown_value(&config, name, &source);
    if (value != NULL) printf("%s\n", value);
    config_free(&config);
    return value != NULL ? EXIT_OK : EXIT_NOT_FOUND;
}

static int list_json(const struct config *config) {
    struct bytes out;
    bytes_init(&out, 1 << 20);
    (void)!bytes_append_string(&out, "{\"path\":");
    (void)!json_append_string(&out, bytes_view_string(config->path));
    (void)!bytes_append_string(&out, ",\"profile\":");
    (void)!json_append_string(&out, bytes_view_string(config->profile));
    (void)!bytes_append_string(&out, ",\"settings\":{");
    for (int i = 0, written = 0; i < CONFIG_NAMES; i++) {
        const char *source, *value = shown_value(config, (enum config_name)i, &source);
        if (value == NULL) continue;
        (void)!bytes_printf(&out, "%s\"%s\":{\"value\":", written++ > 0 ? "," : "", config_entries[i].name);
        if (config_entries[i].secret)
            (void)!bytes_append_string(&out, "null");
        else
            (void)!json_append_string(&out, bytes_view_string(value));
        (void)!bytes_append_string(&out, ",\"from\":");
        (void)!json_append_string(&out, bytes_view_string(source));
        (void)!bytes_append_string(&out, "}");
    }
    (void)!bytes_append_string(&out, "}}");
    bool whole = !out.failed && puts((const char *)out.data) >= 0;
    bytes_deinit(&out);
    return whole ? EXIT_OK : EXIT_FAILED;
}

static int run_list(const struct command_usage *usage, const char *const *words, int count) {
    (void)usage, (void)words, (void)count;
    struct config config;
    struct error err = {0};
    int result = EXIT_OK;
    if (config_load(connection_options.profile, true, &config, &err) != STATUS_OK) return fail(&err);
    if (connection_options.json) {
        result = list_json(&config);
    } else {
        printf("profile %s, %s%s\n", config.profile, config.path, config.exists ? "" : " (not there)");
        for (int i = 0; i < CONFIG_NAMES; i++) {
            const char *source, *value = shown_value(&config, (enum config_name)i, &source);
            if (value != NULL)
                printf("%-21s %-32s (from %s)\n", config_entries[i].name, value,
                       strcmp(source, config.path) == 0 ? "the file" : source);
        }
    }
    config_free(&config);
    return result;
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

/* A terminal that shows nothing must not stay so when somebody ends the program, or puts it aside. */
static const int ends[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP};
enum { ENDS = sizeof ends / sizeof *ends };
static volatile sig_atomic_t ended_by;

static void on_end(int number) {
    ended_by = number;
}

/** Characters up to the line's end; how many, or -1 when a signal came first. */
static ssize_t read_line(char out[CONFIG_VALUE_BYTES]) {
    size_t length = 0;
    for (char c; length < CONFIG_VALUE_BYTES;) {
        ssize_t got = ended_by != 0 ? -1 : read(STDIN_FILENO, &c, 1);
        if (got < 0 && ended_by != 0) return -1;
        if (got != 1 || c == '\n') break;
        out[length++] = c;
    }
    return (ssize_t)length;
}

/** The same from a terminal, without showing what is typed. */
static ssize_t read_silently(const char *name, const struct termios *usual, char out[CONFIG_VALUE_BYTES]) {
    struct sigaction end = {.sa_handler = on_end}, before[ENDS];
    struct termios silent = *usual;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    ended_by = 0;
    for (int i = 0; i < ENDS; i++) sigaction(ends[i], &end, &before[i]);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent); /* before somebody sees that he may type */
    fprintf(stderr, "%s (not shown): ", name);
    ssize_t length = read_line(out);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, usual);
    fprintf(stderr, "\n");
    for (int i = 0; i < ENDS; i++) sigaction(ends[i], &before[i], NULL);
    if (length < 0) raise(ended_by); /* does not come back, but from SIGTSTP */
    return length;
}

/** A line of standard input. False when there is none, or it is too long. */
static bool read_secret(const char *name, char out[CONFIG_VALUE_BYTES]) {
    struct termios usual;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &usual) == 0;
    ssize_t length;
    do length = terminal ? read_silently(name, &usual, out) : read_line(out);
    while (length < 0);
    if (length == CONFIG_VALUE_BYTES) return false;
    if (length > 0 && out[length - 1] == '\r') length--;
    out[length] = 0;
    return length > 0;
}

/** What the file cannot hold, or makes no sense. */
static int check_value(const struct command_usage *usage, enum config_name name, const char *value) {
    struct error err = {0};
    int64_t ns;
    size_t length = strlen(value);
    if (length == 0 || length >= CONFIG_VALUE_BYTES)
        return usage_error(usage, "a value has from 1 to %d characters (bora config unset %s takes it away)",
                           CONFIG_VALUE_BYTES - 1, config_entries[name].name);
    for (size_t i = 0; i < length; i++) {
        bool comment = (value[i] == '#' || value[i] == ';') && (i == 0 || value[i - 1] == ' ');
        if ((unsigned char)value[i] < ' ' || comment || (value[i] == ' ' && (i == 0 || i + 1 == length)))
            return usage_error(usage, "a value of the file is one line, without spaces at its ends and ' #' inside");
    }
    if (config_entries[name].secret && value[strcspn(value, " \t")] != 0) return usage_error(usage, "that is no key");
    if (name == CONFIG_ADDRESS && !config_address_is_sound(value))
        return usage_error(usage, "address: '%.64s' is not HOST:PORT, a gateway's gRPC address", value);
    if (name == CONFIG_TLS && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return usage_error(usage, "tls: '%.64s' is neither true nor false", value);
    if (name == CONFIG_TIMEOUT && settings_parse_duration(value, &ns, &err) != STATUS_OK)
        return usage_error(usage, "timeout: %s", err.message);
    return GO_ON;
}

static int write_value(enum config_name name, const char *value) {
    struct config config;
    struct error err = {0};
    enum status status = config_load(connection_options.profile, false, &config, &err);
    if (status != STATUS_OK) return fail(&err);
    status = config_write(&config, name, value, &err);
    if (status == STATUS_OK)
        terminal_note("%s of [%s] is %s in %s.\n", config_entries[name].name, config.profile,
                      value != NULL ? "set" : "not set any more", config.path);
    config_free(&config);
    return status == STATUS_OK ? EXIT_OK : fail(&err);
}

static int run_set(const struct command_usage *usage, const char *const *words, int count) {
    char secret[CONFIG_VALUE_BYTES];
    enum config_name name;
    int result = find_name(usage, words[0], &name);
    if (result != GO_ON) return result;
    const char *value = count > 1 ? words[1] : NULL;
    if (config_entries[name].secret) {
        if (value != NULL)
            return usage_error(usage,
                               "a key does not belong into a command line, which others see: bora config set %s "
                               "asks for it, or reads it from standard input",
                               config_entries[name].name);
        if (!read_secret(config_entries[name].name, secret)) return usage_error(usage, "no key came");
        value = secret;
    }
    result = value == NULL ? usage_error(usage, "the value is missing") : check_value(usage, name, value);
    if (result == GO_ON) result = write_value(name, value);
    explicit_bzero(secret, sizeof secret);
    return result;
}

static int run_unset(const struct command_usage *usage, const char *const *words, int count) {
    (void)count;
    enum config_name name;
    int result = find_name(usage, words[0], &name);
    return result == GO_ON ? write_value(name, NULL) : result;
}

#define FILE_HELP                                                                                                     \
    "The file is ${XDG_CONFIG_HOME:-~/.config}/bora/config. Its sections are profiles, [default] the one that is "    \
    "used\n"                                                                                                          \
    "without --profile and BORA_PROFILE. A flag goes before the environment, that before the file. Settings: "        \
    "address,\n"                                                                                                      \
    "model, api-key, api-key-file, admin-key, admin-key-file, tls, tls-ca-file, tls-certificate-file, tls-key-file, " \
    "timeout."
#define ENTRY(verb, positionals, sentence, half, minimum, maximum, standard, function)                     \
    {                                                                                                      \
        .usage = {"config " verb, positionals, sentence "\n\n" FILE_HELP, minimum, maximum}, .help = half, \
        .arguments = arguments, .is_default = standard, .run = function                                    \
    }
const struct command config_commands[] = {
    ENTRY("list", "", "What counts when no flag is given, and where it comes from. Keys are not shown.",
          "what counts, and where it comes from", 0, 0, true, run_list),
    ENTRY("get", "SETTING", "One setting. Keys are not shown.", "one setting", 1, 1, false, run_get),
    ENTRY("set", "SETTING [VALUE]",
          "Write a setting into the file. The keys, api-key and admin-key, are asked for, or read from standard input.",
          "write one into the file", 1, 2, false, run_set),
    ENTRY("unset", "SETTING", "Take a setting out of the file.", "take one out", 1, 1, false, run_unset),
    ENTRY("path", "", "Where the file is.", "where the file is", 0, 0, false, run_path),
    {.usage = {NULL, NULL, NULL, 0, 0}}};
