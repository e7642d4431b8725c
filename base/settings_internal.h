/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * What the files of base/settings share: one value (settings_value.c), what is printed (settings_print.c), variables that are nobody's
 * (settings_environment.c).
 */
#ifndef BASE_SETTINGS_INTERNAL_H
#define BASE_SETTINGS_INTERNAL_H

#include "base/settings.h"

enum {
    SETTING_NAME_BYTES = 64,
    SETTING_VARIABLE_BYTES = SETTING_NAME_BYTES + 8,
    SETTING_RANGE_BYTES = 80,
    SETTING_NUMBER_BYTES = 32
};

/** The flags that every service has besides its own. */
struct settings_command {
    char *config;
    bool print_settings;
};
extern const struct setting settings_command_table[];

/** Parse `text` into the field. `where` names the flag, variable or file line in the message. */
enum status setting_set(const struct setting *setting, void *out_struct, const char *text, const char *where,
                        struct error *err);
/** The field's value, in a form that setting_set reads back. Not for strings. */
void setting_format(const struct setting *setting, const void *settings_struct, char out[SETTING_NUMBER_BYTES]);
/** "0..65535", "250ms..1h"; "" for a type without a range. */
void setting_format_range(const struct setting *setting, char out[SETTING_RANGE_BYTES]);
/** "models-file" -> "BORA_MODELS_FILE". */
void setting_variable(const struct setting *setting, char out[SETTING_VARIABLE_BYTES]);

/** The setting that `name` ("htpp-listen") was probably meant to be; NULL when none is near. */
const struct setting *setting_nearest(const struct setting *table, const char *name);
/** Is `variable` ("BORA_PORT") one of the table's, in use or removed? */
bool setting_has_variable(const struct setting *table, const char *variable);
/** One line on standard error for each BORA_* variable that is no setting of any service, no client's, and none that Kubernetes makes for a Service. */
void settings_warn_of_variables(const struct setting *table);

void settings_print_help(const struct setting *table, const char *program, const char *summary);
void settings_print_values(const struct setting *table, const void *settings_struct);

#endif
