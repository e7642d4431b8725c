/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The configuration file, ${XDG_CONFIG_HOME:-~/.config}/bora/config:
 *
 *     [default]                        the profile that is used without --profile and BORA_PROFILE
 *     address = 127.0.0.1:8081
 *     api-key-file = ~/.config/bora/key
 *
 *     [operator]
 *     admin-key-file = /etc/bora/admin-key
 *
 * A setting stands in a flag, else in the environment, else in the profile. Names that are not known are errors, with the line and what may have been
 * meant. Whoever else may read a file that holds a key is warned about.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include "base/status.h"

#include <stdbool.h>

enum config_name {
    CONFIG_ADDRESS,
    CONFIG_MODEL,
    CONFIG_API_KEY,
    CONFIG_API_KEY_FILE,
    CONFIG_ADMIN_KEY,
    CONFIG_ADMIN_KEY_FILE,
    CONFIG_TLS,
    CONFIG_TLS_CA_FILE,
    CONFIG_TLS_CERTIFICATE_FILE,
    CONFIG_TLS_KEY_FILE,
    CONFIG_TIMEOUT,
    CONFIG_NAMES
};
enum { CONFIG_BYTES_MAX = 64 << 10, CONFIG_VALUE_BYTES = 1024, CONFIG_PATH_BYTES = 4096, CONFIG_PROFILE_BYTES = 64 };

struct config_entry {
    const char *name;     /* "api-key-file" */
    const char *variable; /* "BORA_API_KEY_FILE"; NULL: none */
    const char *help;
    bool secret;
};
extern const struct config_entry config_entries[CONFIG_NAMES];

struct config {
    char path[CONFIG_PATH_BYTES];
    char profile[CONFIG_PROFILE_BYTES + 1];
    bool exists, profile_found;
    char *values[CONFIG_NAMES]; /* NULL: not set */
};

/** Read `profile` of the file; a missing file is an empty one, a missing profile is an error when it was asked for (`profile` not NULL, or BORA_PROFILE).
 *  `must_exist` false: that is no error, it is about to be written. */
enum status config_load(const char *profile, bool must_exist, struct config *out, struct error *err);
void config_free(struct config *config);
/** Index of a name, or CONFIG_NAMES. */
enum config_name config_find(const char *name);
/** HOST:PORT, as 127.0.0.1:8081, bora.example.com:443 or [::1]:8081. */
bool config_address_is_sound(const char *address);
/** The nearest known name, or NULL. */
const char *config_suggest(const char *name);

/** Set (or, with NULL, remove) one value of the profile and leave everything else of the file, comments too, as it is. The file is replaced whole, mode 0600. */
enum status config_write(const struct config *config, enum config_name name, const char *value, struct error *err);

#endif
