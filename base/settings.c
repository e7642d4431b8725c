/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Where values come from: defaults, the file, the environment, the flags. */
#include "base/settings.h"

#include "base/settings_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 1 << 20, WHERE_BYTES = 120 };

const struct setting settings_command_table[] = {
    SETTING_STRING(struct settings_command, config, "config", NULL, "FILE",
                   "read settings from a file of `name = value` lines"),
    SETTING_BOOL(struct settings_command, print_settings, "print-settings", "false",
                 "print what would be used, and exit"),
    {SETTING_TYPE_END},
};

static const struct setting *find_setting(const struct setting *table, const char *name) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (strcmp(table->name, name) == 0) return table;
    }
    return NULL;
}

void setting_variable(const struct setting *setting, char out[SETTING_VARIABLE_BYTES]) {
    snprintf(out, SETTING_VARIABLE_BYTES, "BORA_%s", setting->name);
    for (; *out != 0; out++) *out = *out == '-' ? '_' : (char)toupper((unsigned char)*out);
}

/** Letters to add, drop or change to make `b` from `a` (Levenshtein); both at most SETTING_NAME_BYTES long. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[SETTING_NAME_BYTES + 1], m = strlen(a), n = strlen(b);
    if (m > SETTING_NAME_BYTES || n > SETTING_NAME_BYTES) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[n];
}

/** The known name that `name` was probably meant to be, when it is nearer than `*distance`; else `nearest`. */
static const struct setting *nearest_of(const struct setting *table, const char *name, const struct setting *nearest,
                                        size_t *distance) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->type == SETTING_TYPE_REMOVED) continue;
        size_t here = edit_distance(name, table->name);
        if (here >= *distance) continue;
        *distance = here;
        nearest = table;
    }
    return nearest;
}

/** A name of n letters may be off by n/2, rounded up and at most 3, for a suggestion. */
static size_t suggestion_distance(const char *name) {
    size_t half = (strlen(name) + 1) / 2;
    return (half > 3 ? 3 : half) + 1;
}

const struct setting *setting_nearest(const struct setting *table, const char *name) {
    size_t distance = suggestion_distance(name);
    return nearest_of(table, name, NULL, &distance);
}

bool setting_has_variable(const struct setting *table, const char *variable) {
    char own[SETTING_VARIABLE_BYTES];
    for (; table->type != SETTING_TYPE_END; table++) {
        setting_variable(table, own);
        if (strcmp(own, variable) == 0) return true;
    }
    return false;
}

static enum status unknown_flag(const struct setting *table, const char *name, struct error *err) {
    size_t distance = suggestion_distance(name);
    const struct setting *nearest = nearest_of(table, name, NULL, &distance);
    nearest = nearest_of(settings_command_table, name, nearest, &distance);
    if (nearest == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "unknown flag --%.64s (see --help)", name);
    return error_set(err, STATUS_INVALID_ARGUMENT, "unknown flag --%.64s; did you mean --%s?", name, nearest->name);
}

static enum status unknown_key(const struct setting *table, const char *name, const char *where, struct error *err) {
    const struct setting *nearest = setting_nearest(table, name);
    if (nearest == NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: unknown setting '%.64s'", where, name);
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: unknown setting '%.64s'; did you mean '%s'?", where, name,
                     nearest->name);
}

static enum status apply_defaults(const struct setting *table, void *out_struct, struct error *err) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->fallback != NULL) TRY(setting_set(table, out_struct, table->fallback, table->name, err));
    }
    return STATUS_OK;
}

struct file_context {
    const struct setting *table;
    void *out_struct;
    const char *path;
};

static enum status on_file_entry(void *context, const char *section, const char *name, const char *value, int line,
                                 struct error *err) {
    struct file_context *file = context;
    char where[WHERE_BYTES];
    snprintf(where, sizeof where, "%.100s:%d", file->path, line);
    if (*section != 0) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: a settings file has no [sections]", where);
    const struct setting *setting = find_setting(file->table, name);
    if (setting == NULL) return unknown_key(file->table, name, where, err);
    return setting_set(setting, file->out_struct, value, where, err);
}

static enum status apply_file(const struct setting *table, const char *path, void *out_struct, struct error *err) {
    struct file_context file = {.table = table, .out_struct = out_struct, .path = path};
    return settings_read_ini(path, CONFIG_BYTES_MAX, on_file_entry, &file, err);
}

static enum status apply_variable(const struct setting *setting, void *out_struct, struct error *err) {
    char variable[SETTING_VARIABLE_BYTES];
    setting_variable(setting, variable);
    const char *value = getenv(variable);
    if (value == NULL || *value == 0) return STATUS_OK;
    return setting_set(setting, out_struct, value, variable, err);
}

static enum status apply_environment(const struct setting *table, void *out_struct, struct error *err) {
    for (; table->type != SETTING_TYPE_END; table++) TRY(apply_variable(table, out_struct, err));
    return STATUS_OK;
}

/** One flag of the command line. */
struct flag {
    const struct setting *setting;
    bool is_command; /* of settings_command_table */
    const char *value;
};

/** The setting of a flag's name; `*out_negated` for --no-NAME of a boolean. NULL when unknown. */
static const struct setting *find_flag(const struct setting *table, const char *name, bool *out_is_command,
                                       bool *out_negated) {
    for (int negated = 0; negated < 2; negated++) {
        if (negated && strncmp(name, "no-", 3) != 0) break;
        const char *plain = negated ? name + 3 : name;
        const struct setting *setting = find_setting(table, plain);
        *out_is_command = setting == NULL;
        *out_negated = negated;
        if (setting == NULL) setting = find_setting(settings_command_table, plain);
        if (setting != NULL && (!negated || setting->type == SETTING_TYPE_BOOL)) return setting;
    }
    return NULL;
}

/** "-x" and "--x" are never taken for the value of the flag before them: that flag has lost its value. "-" and "-1" are. */
static bool can_be_value(const char *word) {
    return word[0] != '-' || word[1] == 0 || word[1] == '.' || isdigit((unsigned char)word[1]);
}

/** The flag at argv[*index], and *index moved behind it and its value. */
static enum status next_flag(const struct setting *table, int argc, char **argv, int *index, struct flag *out,
                             struct error *err) {
    const char *word = argv[*index];
    if (strncmp(word, "--", 2) != 0 || word[2] == 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "unexpected argument '%.64s' (see --help)", word);
    size_t length = strcspn(word + 2, "=");
    char name[SETTING_NAME_BYTES + 1];
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name), word + 2);
    bool negated = false;
    out->setting = length < sizeof name ? find_flag(table, name, &out->is_command, &negated) : NULL;
    if (out->setting == NULL) return unknown_flag(table, name, err);
    out->value = word[2 + length] == '=' ? word + 2 + length + 1 : NULL;
    if (negated && out->value != NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "--%s takes no value", name);
    ++*index;
    if (out->value != NULL) return STATUS_OK;
    if (out->setting->type == SETTING_TYPE_BOOL) {
        out->value = negated ? "false" : "true";
    } else if (*index < argc && can_be_value(argv[*index])) {
        out->value = argv[(*index)++];
    } else if (out->setting->type == SETTING_TYPE_REMOVED) { /* it may have needed none */
        out->value = "";
    } else {
        return error_set(err, STATUS_INVALID_ARGUMENT, "--%s needs a value (--%s=VALUE if it begins with -)", name,
                         name);
    }
    return STATUS_OK;
}

/** Apply either the flags of settings_command_table, or those of `table`. */
static enum status apply_flags(const struct setting *table, int argc, char **argv, bool commands, void *out_struct,
                               struct error *err) {
    for (int i = 1; i < argc;) {
        struct flag flag = {0};
        TRY(next_flag(table, argc, argv, &i, &flag, err));
        if (flag.is_command != commands) continue;
        char where[SETTING_VARIABLE_BYTES];
        snprintf(where, sizeof where, "--%s", flag.setting->name);
        TRY(setting_set(flag.setting, out_struct, flag.value, where, err));
    }
    return STATUS_OK;
}

static bool has_word(int argc, char **argv, const char *word) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], word) == 0) return true;
    }
    return false;
}

static enum status load(const struct setting *table, int argc, char **argv, struct settings_command *command,
                        void *out_struct, struct error *err) {
    TRY(apply_defaults(table, out_struct, err));
    TRY(apply_variable(settings_command_table, command, err)); /* BORA_CONFIG */
    TRY(apply_flags(table, argc, argv, true, command, err));
    if (command->config != NULL) TRY(apply_file(table, command->config, out_struct, err));
    TRY(apply_environment(table, out_struct, err));
    return apply_flags(table, argc, argv, false, out_struct, err);
}

enum status settings_load(const struct setting *table, const char *program, const char *summary, int argc, char **argv,
                          void *out_struct, enum settings_outcome *out_outcome, struct error *err) {
    if (has_word(argc, argv, "--help") || has_word(argc, argv, "-h")) {
        settings_print_help(table, program, summary);
        *out_outcome = SETTINGS_PRINTED;
        return STATUS_OK;
    }
    if (has_word(argc, argv, "--version")) {
        printf("%s %s\n", program, BORA_VERSION);
        *out_outcome = SETTINGS_PRINTED;
        return STATUS_OK;
    }
    struct settings_command command = {0};
    enum status status = load(table, argc, argv, &command, out_struct, err);
    if (status == STATUS_OK) settings_warn_of_variables(table);
    if (status == STATUS_OK) *out_outcome = command.print_settings ? SETTINGS_PRINTED : SETTINGS_RUN;
    if (status == STATUS_OK && command.print_settings) settings_print_values(table, out_struct);
    if (status != STATUS_OK || command.print_settings) settings_free(table, out_struct);
    settings_free(settings_command_table, &command);
    return status;
}

void settings_free(const struct setting *table, void *settings_struct) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->type != SETTING_TYPE_STRING && table->type != SETTING_TYPE_CHOICE) continue;
        char **field = (char **)((char *)settings_struct + table->offset);
        if (table->secret && *field != NULL) explicit_bzero(*field, strlen(*field));
        free(*field);
        *field = NULL;
    }
}
