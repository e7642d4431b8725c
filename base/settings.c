/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/settings.h"

#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 1 << 20, NAME_BYTES_MAX = 64 };

/* ---- one value ----------------------------------------------------------------------------------------------------- */

struct unit {
    const char *name;
    double factor;
};

static bool parse_with_unit(const char *text, const struct unit *units, double *out) {
    size_t digits = strspn(text, "0123456789.");
    char number[32];
    if (digits == 0 || digits >= sizeof number) return false;
    memcpy(number, text, digits);
    number[digits] = 0;
    double value;
    if (!text_to_double(number, &value)) return false;
    for (; units->name != NULL; units++) {
        if (strcasecmp(text + digits, units->name) == 0) {
            *out = value * units->factor;
            return *out < 9e18;
        }
    }
    return false;
}

enum status settings_parse_duration(const char *text, int64_t *out_ns, struct error *err) {
    static const struct unit units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {NULL, 0}};
    double value;
    if (strcmp(text, "0") == 0) value = 0;
    else if (!parse_with_unit(text, units, &value)) return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is not a duration such as 250ms, 5s, 2m or 1h", text);
    *out_ns = (int64_t)value;
    return STATUS_OK;
}

enum status settings_parse_size(const char *text, int64_t *out_bytes, struct error *err) {
    static const struct unit units[] = {{"", 1}, {"k", 1024}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 0x1p40}, {NULL, 0}};
    double value;
    if (!parse_with_unit(text, units, &value)) return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is not a size such as 4096, 64k, 8m or 2g", text);
    *out_bytes = (int64_t)value;
    return STATUS_OK;
}

static void set_string(char **field, const char *value) {
    free(*field);
    *field = strdup(value);
}

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *at = choices; at != NULL && *at != 0;) {
        size_t word = strcspn(at, "|");
        if (word == length && memcmp(at, value, length) == 0) return true;
        at += word + (at[word] == '|');
    }
    return false;
}

static bool parse_bool(const char *value, bool *out) {
    static const char *const yes[] = {"true", "yes", "on", "1", NULL}, *const no[] = {"false", "no", "off", "0", NULL};
    for (int i = 0; yes[i] != NULL; i++) {
        if (strcasecmp(value, yes[i]) == 0) return *out = true;
        if (strcasecmp(value, no[i]) == 0) return !(*out = false);
    }
    return false;
}

/** A number in the words of its type, for messages and --help. */
static void describe_number(enum setting_type type, double value, char *out, size_t size) {
    if (type == SETTING_TYPE_DURATION) {
        if (value >= 1e9) snprintf(out, size, "%gs", value / 1e9);
        else snprintf(out, size, "%gms", value / 1e6);
    } else if (type == SETTING_TYPE_SIZE && value >= 1 << 30) snprintf(out, size, "%gg", value / (1 << 30));
    else if (type == SETTING_TYPE_SIZE && value >= 1 << 20) snprintf(out, size, "%gm", value / (1 << 20));
    else snprintf(out, size, "%.15g", value);
}

static enum status check_range(const struct setting *setting, double value, const char *text, const char *where, struct error *err) {
    if (value >= setting->minimum && value <= setting->maximum) return STATUS_OK;
    char low[32], high[32];
    describe_number(setting->type, setting->minimum, low, sizeof low);
    describe_number(setting->type, setting->maximum, high, sizeof high);
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %.64s is not in %s..%s", where, text, low, high);
}

/** Parse `text` into the field. `where` names the flag, variable or file line in the message. */
static enum status set_value(const struct setting *setting, void *out_struct, const char *text, const char *where, struct error *err) {
    void *field = (char *)out_struct + setting->offset;
    struct error inner = {0};
    int64_t integer = 0;
    double number = 0;
    switch (setting->type) {
    case SETTING_TYPE_STRING: set_string(field, text); return STATUS_OK;
    case SETTING_TYPE_CHOICE:
        if (!is_choice(setting->choices, text)) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is none of %s", where, text, setting->choices);
        set_string(field, text);
        return STATUS_OK;
    case SETTING_TYPE_BOOL:
        if (!parse_bool(text, field)) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is neither true nor false", where, text);
        return STATUS_OK;
    case SETTING_TYPE_INTEGER:
        if (!text_to_i64(text, &integer)) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is not a whole number", where, text);
        break;
    case SETTING_TYPE_DOUBLE:
        if (!text_to_double(text, &number)) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%.64s' is not a number", where, text);
        TRY(check_range(setting, number, text, where, err));
        *(double *)field = number;
        return STATUS_OK;
    case SETTING_TYPE_DURATION:
        if (settings_parse_duration(text, &integer, &inner) != STATUS_OK) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s", where, inner.message);
        break;
    case SETTING_TYPE_SIZE:
        if (settings_parse_size(text, &integer, &inner) != STATUS_OK) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s", where, inner.message);
        break;
    case SETTING_TYPE_END: return STATUS_INTERNAL;
    }
    TRY(check_range(setting, (double)integer, text, where, err));
    *(int64_t *)field = integer;
    return STATUS_OK;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

static const struct setting *find_setting(const struct setting *table, const char *name) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (strcmp(table->name, name) == 0) return table;
    }
    return NULL;
}

static size_t edit_distance(const char *a, const char *b) {
    size_t row[NAME_BYTES_MAX + 1], m = strlen(a), n = strlen(b);
    if (m > NAME_BYTES_MAX || n > NAME_BYTES_MAX) return SIZE_MAX;
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

static enum status unknown_name(const struct setting *table, const char *name, const char *where, struct error *err) {
    const char *nearest = NULL;
    size_t best = 4;
    for (; table->type != SETTING_TYPE_END; table++) {
        size_t distance = edit_distance(name, table->name);
        if (distance < best) {
            best = distance;
            nearest = table->name;
        }
    }
    if (nearest != NULL) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: unknown setting '%.64s'; did you mean '%s'?", where, name, nearest);
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: unknown setting '%.64s' (see --help)", where, name);
}

static void environment_name(const char *name, char *out) {
    out += sprintf(out, "BORA_");
    for (; *name != 0; name++) *out++ = *name == '-' ? '_' : (char)toupper((unsigned char)*name);
    *out = 0;
}

/* ---- sources: default, file, environment, flags -------------------------------------------------------------------- */

static enum status apply_defaults(const struct setting *table, void *out_struct, struct error *err) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->fallback != NULL) TRY(set_value(table, out_struct, table->fallback, table->name, err));
    }
    return STATUS_OK;
}

struct file_context {
    const struct setting *table;
    void *out_struct;
    const char *path;
};

static enum status on_file_entry(void *context, const char *section, const char *name, const char *value, int line, struct error *err) {
    struct file_context *file = context;
    char where[160];
    snprintf(where, sizeof where, "%.120s:%d", file->path, line);
    if (*section != 0) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: a settings file has no [sections]", where);
    const struct setting *setting = find_setting(file->table, name);
    if (setting == NULL) return unknown_name(file->table, name, where, err);
    return set_value(setting, file->out_struct, value, where, err);
}

static enum status apply_environment(const struct setting *table, void *out_struct, struct error *err) {
    for (; table->type != SETTING_TYPE_END; table++) {
        char variable[NAME_BYTES_MAX + 8];
        environment_name(table->name, variable);
        const char *value = getenv(variable);
        if (value != NULL && *value != 0) TRY(set_value(table, out_struct, value, variable, err));
    }
    return STATUS_OK;
}

/** One flag at argv[*index]: its setting, its value (from "=" or the next word), and *index moved behind it. */
static enum status read_flag(const struct setting *table, int argc, char **argv, int *index, const struct setting **out_setting, const char **out_value, struct error *err) {
    const char *word = argv[*index];
    if (strncmp(word, "--", 2) != 0 || word[2] == 0) return error_set(err, STATUS_INVALID_ARGUMENT, "unexpected argument '%.64s' (see --help)", word);
    const char *equals = strchr(word, '=');
    char name[NAME_BYTES_MAX + 1];
    size_t length = equals != NULL ? (size_t)(equals - word - 2) : strlen(word + 2);
    if (length > NAME_BYTES_MAX) return error_set(err, STATUS_INVALID_ARGUMENT, "unknown flag '%.64s'", word);
    memcpy(name, word + 2, length);
    name[length] = 0;
    const struct setting *setting = find_setting(table, name);
    bool negated = setting == NULL && strncmp(name, "no-", 3) == 0 && (setting = find_setting(table, name + 3)) != NULL && setting->type == SETTING_TYPE_BOOL;
    if (setting == NULL || (strncmp(name, "no-", 3) == 0 && !negated && find_setting(table, name) == NULL)) return unknown_name(table, name, "command line", err);
    ++*index;
    *out_setting = setting;
    if (equals != NULL) *out_value = equals + 1;
    else if (setting->type == SETTING_TYPE_BOOL) *out_value = negated ? "false" : "true";
    else if (*index < argc) *out_value = argv[(*index)++];
    else return error_set(err, STATUS_INVALID_ARGUMENT, "--%s needs a value", name);
    return STATUS_OK;
}

static enum status apply_flags(const struct setting *table, int argc, char **argv, void *out_struct, struct error *err) {
    for (int i = 1; i < argc;) {
        if (strcmp(argv[i], "--config") == 0) {
            i += 2;
            continue;
        }
        if (strncmp(argv[i], "--config=", 9) == 0 || strcmp(argv[i], "--print-settings") == 0) {
            i++;
            continue;
        }
        const struct setting *setting = NULL;
        const char *value = NULL;
        TRY(read_flag(table, argc, argv, &i, &setting, &value, err));
        char where[NAME_BYTES_MAX + 8];
        snprintf(where, sizeof where, "--%s", setting->name);
        TRY(set_value(setting, out_struct, value, where, err));
    }
    return STATUS_OK;
}

/* ---- --help and --print-settings ----------------------------------------------------------------------------------- */

static void print_help(const struct setting *table, const char *program, const char *summary) {
    printf("%s %s: %s\n\nUsage: %s [--config FILE] [--NAME VALUE]...\n\n", program, BORA_VERSION, summary, program);
    for (; table->type != SETTING_TYPE_END; table++) {
        char flag[128], variable[NAME_BYTES_MAX + 8], low[32], high[32];
        snprintf(flag, sizeof flag, "--%s%s%s", table->name, table->type == SETTING_TYPE_BOOL ? "" : " ",
                 table->type == SETTING_TYPE_BOOL ? "" : table->choices != NULL ? table->choices : table->value_name);
        environment_name(table->name, variable);
        printf("  %-34s %s", flag, table->help);
        if (table->maximum > table->minimum) {
            describe_number(table->type, table->minimum, low, sizeof low);
            describe_number(table->type, table->maximum, high, sizeof high);
            printf(" (%s..%s)", low, high);
        }
        if (table->fallback != NULL) printf(" [%s]", table->fallback);
        printf("\n  %-34s %s\n", "", variable);
    }
    printf("\n  %-34s %s\n  %-34s %s\n  %-34s %s\n", "--config FILE", "read settings from a file of `name = value` lines", "--print-settings", "print what would be used, and exit",
           "--help, --version", "");
    printf("\nLater wins: default, file, environment, flag. Durations: 250ms 5s 2m 1h. Sizes: 64k 8m 2g.\n");
}

static void print_settings(const struct setting *table, const void *settings) {
    for (; table->type != SETTING_TYPE_END; table++) {
        const void *field = (const char *)settings + table->offset;
        printf("%s = ", table->name);
        switch (table->type) {
        case SETTING_TYPE_STRING:
        case SETTING_TYPE_CHOICE: {
            const char *text = *(char *const *)field;
            printf("%s\n", table->secret ? (text != NULL ? "(set)" : "(not set)") : text != NULL ? text : "");
            break;
        }
        case SETTING_TYPE_BOOL: printf("%s\n", *(const bool *)field ? "true" : "false"); break;
        case SETTING_TYPE_DOUBLE: printf("%g\n", *(const double *)field); break;
        case SETTING_TYPE_DURATION: printf("%gms\n", (double)*(const int64_t *)field / 1e6); break;
        default: printf("%lld\n", (long long)*(const int64_t *)field); break;
        }
    }
}

static bool has_flag(int argc, char **argv, const char *flag) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], flag) == 0) return true;
    }
    return false;
}

static enum status config_path(int argc, char **argv, const char **out, struct error *err) {
    *out = getenv("BORA_CONFIG");
    if (*out != NULL && **out == 0) *out = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) *out = argv[i] + 9;
        if (strcmp(argv[i], "--config") != 0) continue;
        if (i + 1 == argc) return error_set(err, STATUS_INVALID_ARGUMENT, "--config needs a value");
        *out = argv[i + 1];
    }
    return STATUS_OK;
}

static enum status load(const struct setting *table, int argc, char **argv, void *out_struct, struct error *err) {
    const char *config = NULL;
    TRY(apply_defaults(table, out_struct, err));
    TRY(config_path(argc, argv, &config, err));
    if (config != NULL) {
        struct file_context file = {.table = table, .out_struct = out_struct, .path = config};
        TRY(settings_read_ini(config, CONFIG_BYTES_MAX, on_file_entry, &file, err));
    }
    TRY(apply_environment(table, out_struct, err));
    return apply_flags(table, argc, argv, out_struct, err);
}

enum status settings_load(const struct setting *table, const char *program, const char *summary, int argc, char **argv, void *out_struct,
                          enum settings_outcome *out_outcome, struct error *err) {
    *out_outcome = SETTINGS_PRINTED;
    if (has_flag(argc, argv, "--help") || has_flag(argc, argv, "-h")) {
        print_help(table, program, summary);
        return STATUS_OK;
    }
    if (has_flag(argc, argv, "--version")) {
        printf("%s %s\n", program, BORA_VERSION);
        return STATUS_OK;
    }
    enum status status = load(table, argc, argv, out_struct, err);
    if (status != STATUS_OK) {
        settings_free(table, out_struct);
        return status;
    }
    if (has_flag(argc, argv, "--print-settings")) {
        print_settings(table, out_struct);
        settings_free(table, out_struct);
        return STATUS_OK;
    }
    *out_outcome = SETTINGS_RUN;
    return STATUS_OK;
}

void settings_free(const struct setting *table, void *settings_struct) {
    for (; table->type != SETTING_TYPE_END; table++) {
        if (table->type != SETTING_TYPE_STRING && table->type != SETTING_TYPE_CHOICE) continue;
        char **field = (char **)((char *)settings_struct + table->offset);
        free(*field);
        *field = NULL;
    }
}
