/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"

#include "base/settings.h"
#include "base/text.h"
#include "cli/print.h"
#include "cli/suggest.h"
#include "cli/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int usage_error(const struct command_usage *usage, const char *format, ...) {
    va_list values;
    va_start(values, format);
    print_failure_values(format, values);
    va_end(values);
    fprintf(stderr, "Try: bora %s%s--help\n", usage->words, usage->words[0] != 0 ? " " : "");
    return EXIT_USAGE;
}

/* --- help -------------------------------------------------------------------------------------------------------- */

static void print_table(const struct argument *table) {
    for (; table->type != ARGUMENT_END; table++) {
        if (table->help == NULL) continue;
        char left[96];
        snprintf(left, sizeof left, "--%s%s%s", table->name, table->value_name != NULL ? " " : "",
                 table->value_name != NULL ? table->value_name : "");
        if (strlen(left) > 32)
            printf("  %s\n  %-32s %s\n", left, "", table->help);
        else
            printf("  %-32s %s\n", left, table->help);
    }
}

static int print_help(const struct command_usage *usage, const struct argument *own, const struct argument *common) {
    printf("Usage: bora %s%s%s [options]\n\n%s\n\nOptions:\n", usage->words, usage->positionals[0] != 0 ? " " : "",
           usage->positionals, usage->summary);
    print_table(own);
    printf("  %-32s %s\n", "--help", "show this");
    if (common->type != ARGUMENT_END) printf("\nOptions of every command that asks a gateway:\n");
    print_table(common);
    return EXIT_OK;
}

static const struct argument *find(const struct argument *table, const char *name, size_t length) {
    for (; table->type != ARGUMENT_END; table++) {
        if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
    }
    return NULL;
}

/* --- what was meant ---------------------------------------------------------------------------------------------- */

static void suggest_in(const struct argument *table, const char *name, const char **nearest, size_t *distance) {
    for (; table != NULL && table->type != ARGUMENT_END; table++) {
        if (table->help != NULL) suggest_word(name, table->name, nearest, distance);
    }
}

/** What other programs call an option of ours, which no spelling is near. */
static const char *other_word(const struct argument *table, const char *name) {
    static const char *const words[][2] = {{"per", "interval"}, {"every", "interval"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i][0], name) == 0 && table != NULL && find(table, words[i][1], strlen(words[i][1])) != NULL)
            return words[i][1];
    }
    return NULL;
}

const char *arguments_suggest(const struct argument *a, const struct argument *b, const char *name) {
    const char *nearest = other_word(a, name);
    if (nearest != NULL) return nearest;
    size_t distance = suggest_distance(name);
    suggest_in(a, name, &nearest, &distance);
    suggest_in(b, name, &nearest, &distance);
    return nearest;
}

/* --- one option -------------------------------------------------------------------------------------------------- */

static bool is_digits(const char *text) {
    return text[0] != 0 && text[strspn(text, "0123456789")] == 0;
}

static int store(const struct command_usage *usage, const struct argument *argument, const char *value) {
    struct argument_integer *integer = argument->target;
    struct argument_number *number = argument->target;
    struct argument_list *list = argument->target;
    struct error err = {0};
    switch (argument->type) {
    case ARGUMENT_TEXT:
        *(const char **)argument->target = value;
        break;
    case ARGUMENT_INTEGER:
        if (!text_to_i64(value, &integer->value))
            return usage_error(usage, "--%s: '%.64s' is %s", argument->name, value,
                               is_digits(value + (value[0] == '-')) ? "out of range" : "not a whole number");
        integer->given = true;
        break;
    case ARGUMENT_NUMBER:
        if (!text_to_double(value, &number->value))
            return usage_error(usage, "--%s: '%.64s' is not a number", argument->name, value);
        number->given = true;
        break;
    case ARGUMENT_DURATION:
        if (settings_parse_duration(value, &integer->value, &err) != STATUS_OK)
            return usage_error(usage, "--%s: %s", argument->name, err.message);
        integer->given = true;
        break;
    case ARGUMENT_COUNT:
        if (!value_parse_count(value, &integer->value))
            return usage_error(usage, "--%s: '%.64s' is not a number of 0 or more, as 2500, 20k, 1.5M", argument->name,
                               value);
        integer->given = true;
        break;
    case ARGUMENT_CHOICE:
        if (!value_is_choice(argument->value_name, value))
            return usage_error(usage, "--%s: '%.64s' is not one of %s", argument->name, value, argument->value_name);
        *(const char **)argument->target = value;
        break;
    case ARGUMENT_LIST:
        if (list->count == ARGUMENT_LIST_MAX)
            return usage_error(usage, "--%s is given more than %d times", argument->name, ARGUMENT_LIST_MAX);
        list->items[list->count++] = value;
        break;
    default:
        *(bool *)argument->target = true;
        break;
    }
    return GO_ON;
}

static int unknown_option(const struct command_usage *usage, const struct argument *own, const struct argument *common,
                          const char *name, size_t length) {
    enum { SHOWN = 64 };
    char word[SHOWN + 1];
    snprintf(word, sizeof word, "%.*s", (int)(length < SHOWN ? length : SHOWN), name);
    const char *meant = arguments_suggest(own, common, word);
    if (meant == NULL) return usage_error(usage, "unknown option --%s", word);
    return usage_error(usage, "unknown option --%s; did you mean --%s?", word, meant);
}

/** `word` is "--name" or "--name=value"; `next` may be its value. */
static int take_option(const struct command_usage *usage, const struct argument *own, const struct argument *common,
                       const char *word, const char *next, int *used) {
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct argument *argument = find(own, name, length);
    if (argument == NULL) argument = find(common, name, length);
    if (argument == NULL) return unknown_option(usage, own, common, name, length);
    if (argument->type == ARGUMENT_FLAG)
        return equals != NULL ? usage_error(usage, "--%s takes no value", argument->name)
                              : store(usage, argument, NULL);
    if (equals != NULL) return store(usage, argument, equals + 1);
    if (next == NULL) return usage_error(usage, "--%s needs %s", argument->name, argument->value_name);
    *used = 2;
    return store(usage, argument, next);
}

int arguments_parse(const struct command_usage *usage, const struct argument *own, const struct argument *common,
                    int argc, char **argv, const char **positionals, int *out_count) {
    bool options_ended = false;
    int count = 0;
    for (int i = 0; i < argc;) {
        const char *word = argv[i];
        int used = 1;
        if (!options_ended && strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (!options_ended && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            return print_help(usage, own, common);
        } else if (!options_ended && strncmp(word, "--", 2) == 0) {
            int result = take_option(usage, own, common, word, i + 1 < argc ? argv[i + 1] : NULL, &used);
            if (result != GO_ON) return result;
        } else if (!options_ended && word[0] == '-' && word[1] != 0) {
            return usage_error(usage, "unknown option %.64s", word);
        } else if (count == usage->positional_max) {
            return usage_error(usage,
                               usage->positional_max == 0 ? "unexpected word '%.64s'"
                                                          : "one word too many: '%.64s' (quote it?)",
                               word);
        } else {
            positionals[count++] = word;
        }
        i += used;
    }
    if (count < usage->positional_min) return usage_error(usage, "%s is missing", usage->positionals);
    *out_count = count;
    return GO_ON;
}
