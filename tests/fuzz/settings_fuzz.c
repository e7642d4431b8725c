/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A file as settings_read_ini and --config see it. Entries are trimmed and numbered in order; settings that are
 * accepted lie in their ranges and, written out, read back the same. */
#include "base/settings_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition) abort();
}

struct all_types {
    char *text, *word;
    int64_t number, wait_ns, bytes;
    double ratio;
    bool yes;
};

static const struct setting table[] = {
    SETTING_STRING(struct all_types, text, "text", NULL, "TEXT", "any text"),
    SETTING_CHOICE(struct all_types, word, "word", "one", "one|two|three", "one of three"),
    SETTING_INTEGER(struct all_types, number, "number", "0", -1e18, 1e18, "N", "a whole number"),
    SETTING_DURATION(struct all_types, wait_ns, "wait", "1s", 0, 9e18, "a duration"),
    SETTING_SIZE(struct all_types, bytes, "bytes", "1k", 0, 9e18, "a size"),
    SETTING_DOUBLE(struct all_types, ratio, "ratio", "0.5", -1e300, 1e300, "R", "a number"),
    SETTING_BOOL(struct all_types, yes, "yes", "false", "true or false"),
    {SETTING_TYPE_END},
};

static bool is_blank(char c) {
    return strchr(" \t\r\n\v\f", c) != NULL;
}

static void must_be_trimmed(const char *text) {
    size_t length = strlen(text);
    must(length == 0 || (!is_blank(text[0]) && !is_blank(text[length - 1])));
    must(strchr(text, '\n') == NULL);
}

static enum status check_entry(void *context, const char *section, const char *name, const char *value, int line,
                               struct error *err) {
    (void)err;
    must_be_trimmed(section);
    must_be_trimmed(name);
    must_be_trimmed(value);
    must(*name != 0 && strlen(section) < 256);
    must(line > *(int *)context);
    *(int *)context = line;
    return STATUS_OK;
}

static void check_value(const struct setting *setting, const struct all_types *settings) {
    char text[SETTING_NUMBER_BYTES], again[SETTING_NUMBER_BYTES];
    struct all_types copy = {0};
    struct error err = {0};
    if (setting->type == SETTING_TYPE_STRING || setting->type == SETTING_TYPE_CHOICE) return;
    setting_format(setting, settings, text);
    must(setting_set(setting, &copy, text, "again", &err) == STATUS_OK);
    setting_format(setting, &copy, again);
    must(strcmp(text, again) == 0);
    size_t bytes = setting->type == SETTING_TYPE_BOOL ? sizeof(bool) : sizeof(int64_t);
    must(memcmp((const char *)settings + setting->offset, (const char *)&copy + setting->offset, bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    clearenv();
    int fd = memfd_create("settings", 0);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int line = 0;
    struct error err = {0};
    enum status status = settings_read_ini(path, 1 << 20, check_entry, &line, &err);
    must((status == STATUS_OK) == (err.message[0] == 0));

    char *argv[] = {(char *)"fuzz", (char *)"--config", path};
    struct all_types settings = {0};
    enum settings_outcome outcome;
    err = (struct error){0};
    status = settings_load(table, "fuzz", "-", 3, argv, &settings, &outcome, &err);
    must((status == STATUS_OK) == (err.message[0] == 0));
    if (status == STATUS_OK) {
        for (const struct setting *setting = table; setting->type != SETTING_TYPE_END; setting++)
            check_value(setting, &settings);
    }
    settings_free(table, &settings);
    close(fd);
    return 0;
}
