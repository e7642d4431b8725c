/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* --help and --print-settings. */
#include "base/settings_internal.h"

#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN_MAX = 34, FLAG_BYTES = 160 };

/** "--port PORT", "--[no-]tls", "--log-format json|text". */
static void format_flag(const struct setting *setting, char out[FLAG_BYTES]) {
    const char *value = setting->type == SETTING_TYPE_CHOICE ? setting->choices : setting->value_name;
    if (setting->type == SETTING_TYPE_BOOL)
        snprintf(out, FLAG_BYTES, "--[no-]%s", setting->name);
    else
        snprintf(out, FLAG_BYTES, "--%s %s", setting->name, value);
}

/** The column at which help begins: behind the longest flag, but for those that are too long. */
static int help_column(const struct setting *table) {
    size_t column = 0;
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->type == SETTING_TYPE_REMOVED) continue;
        char flag[FLAG_BYTES];
        format_flag(table, flag);
        size_t length = strlen(flag);
        if (length > column && length <= HELP_COLUMN_MAX) column = length;
    }
    return (int)column;
}

static void print_flag(const char *flag, const char *help, int column) {
    if (strlen(flag) > (size_t)column)
        printf("  %s\n  %*s  %s\n", flag, column, "", help);
    else
        printf("  %-*s  %s\n", column, flag, help);
}

static void print_setting(const struct setting *setting, int column) {
    char flag[FLAG_BYTES], variable[SETTING_VARIABLE_BYTES], range[SETTING_RANGE_BYTES];
    format_flag(setting, flag);
    setting_variable(setting, variable);
    setting_format_range(setting, range);
    print_flag(flag, setting->help, column);
    printf("  %*s    %s", column, "", variable);
    if (setting->fallback != NULL) printf(", default %s", setting->fallback);
    if (range[0] != 0) printf(", %s", range);
    printf("\n");
}

void settings_print_help(const struct setting *table, const char *program, const char *summary) {
    int column = help_column(table);
    printf("%s %s: %s\n\nUsage: %s [--config FILE] [--NAME VALUE]...\n\n", program, BORA_VERSION, summary, program);
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->type != SETTING_TYPE_REMOVED) print_setting(table, column);
    }
    printf("\n");
    print_setting(settings_command_table, column); /* --config */
    print_flag("--print-settings", "print what would be used, and exit", column);
    print_flag("--version", "print the version, and exit", column);
    print_flag("--help", "print this, and exit", column);
    printf("\nLater wins: default, file, environment, flag. Durations: 250ms 5s 2m 1h 1d. Sizes: 4096 64k 8m 2g 1t.\n");
}

void settings_print_values(const struct setting *table, const void *settings_struct) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->type == SETTING_TYPE_REMOVED) continue;
        char number[SETTING_NUMBER_BYTES];
        const char *value = number;
        if (table->type == SETTING_TYPE_STRING || table->type == SETTING_TYPE_CHOICE) {
            value = *(char *const *)((const char *)settings_struct + table->offset);
            if (value == NULL) value = "";
            if (table->secret) value = *value != 0 ? "(set)" : "(not set)";
        } else {
            setting_format(table, settings_struct, number);
        }
        printf("%s =%s%s\n", table->name, *value != 0 ? " " : "", value);
    }
}
