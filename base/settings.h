/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Settings: one table per service gives its flags, environment names, file keys, validation and --help.
 *
 *     struct worker_settings { char *models_file; int64_t port; bool tls; ... };
 *     static const struct setting table[] = {
 *         SETTING_STRING(struct worker_settings, models_file, "models-file", "models.ini", "FILE", "models that can be served"),
 *         SETTING_INTEGER(struct worker_settings, port, "port", 7011, 0, 65535, "PORT", "gRPC port; 0 picks a free one"),
 *         {0}};
 *     TRY(settings_load(table, "bora-worker", "one line of what it is", argc, argv, &settings, &outcome, &err));
 *
 * Name "models-file" is flag --models-file (or --models-file=V), environment BORA_MODELS_FILE, and key `models-file` in
 * the file given by --config or BORA_CONFIG (lines `name = value`, # comments). Later wins: default, file, environment, flag.
 * Boolean flags: --tls, --no-tls, --tls=true. Durations take a unit: 250ms, 5s, 2m; sizes: 4k, 64m, 2g (powers of 1024).
 * A word that begins with '-' and is no number is never a flag's value; write --name=-x.
 * One that was removed (SETTING_REMOVED) is taken with any value and does nothing; a line on standard error says so, wherever it was set: files and units of
 * an earlier version go on working.
 * An unknown flag or key is an error that names it and the nearest known name. Several services share an environment, so an unknown BORA_* variable is no
 * error; but one that is no service's, no client's and not of Kubernetes' making gets a line on standard error. An empty variable counts as not set.
 */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum setting_type {
    SETTING_TYPE_END,
    SETTING_TYPE_STRING,   /* char *, owned by the settings; NULL when the default is NULL */
    SETTING_TYPE_INTEGER,  /* int64_t */
    SETTING_TYPE_BOOL,     /* bool */
    SETTING_TYPE_DOUBLE,   /* double */
    SETTING_TYPE_DURATION, /* int64_t, nanoseconds; default written with a unit */
    SETTING_TYPE_SIZE,     /* int64_t, bytes; default written with a unit */
    SETTING_TYPE_CHOICE,   /* char *, one of `choices` ("a|b|c") */
    SETTING_TYPE_REMOVED,  /* no field: what was a setting of an earlier version */
};

struct setting {
    enum setting_type type;
    const char *name;     /* lower case with '-', at most 64 bytes */
    size_t offset;        /* in the service's struct */
    const char *fallback; /* default as text; NULL for no value: NULL, 0, false */
    double minimum, maximum;
    const char *choices;
    const char *value_name; /* for --help: "PORT" */
    const char *help;       /* one line */
    bool secret;            /* never printed, not even by --print-settings */
};

/* `help`: what came instead, or why nothing did; ends the sentence "... was removed and has no effect: " */
#define SETTING_REMOVED(name, help) \
    { SETTING_TYPE_REMOVED, name, 0, 0, 0, 0, 0, 0, help, false }
#define SETTING_STRING(S, field, name, fallback, value_name, help) \
    { SETTING_TYPE_STRING, name, offsetof(S, field), fallback, 0, 0, 0, value_name, help, false }
#define SETTING_SECRET(S, field, name, value_name, help) \
    { SETTING_TYPE_STRING, name, offsetof(S, field), 0, 0, 0, 0, value_name, help, true }
#define SETTING_INTEGER(S, field, name, fallback, minimum, maximum, value_name, help) \
    { SETTING_TYPE_INTEGER, name, offsetof(S, field), fallback, minimum, maximum, 0, value_name, help, false }
#define SETTING_DOUBLE(S, field, name, fallback, minimum, maximum, value_name, help) \
    { SETTING_TYPE_DOUBLE, name, offsetof(S, field), fallback, minimum, maximum, 0, value_name, help, false }
#define SETTING_BOOL(S, field, name, fallback, help) \
    { SETTING_TYPE_BOOL, name, offsetof(S, field), fallback, 0, 0, 0, 0, help, false }
/* minimum and maximum in nanoseconds */
#define SETTING_DURATION(S, field, name, fallback, minimum, maximum, help) \
    { SETTING_TYPE_DURATION, name, offsetof(S, field), fallback, minimum, maximum, 0, "DURATION", help, false }
/* minimum and maximum in bytes */
#define SETTING_SIZE(S, field, name, fallback, minimum, maximum, help) \
    { SETTING_TYPE_SIZE, name, offsetof(S, field), fallback, minimum, maximum, 0, "SIZE", help, false }
#define SETTING_CHOICE(S, field, name, fallback, choices, help) \
    { SETTING_TYPE_CHOICE, name, offsetof(S, field), fallback, 0, 0, choices, 0, help, false }

enum settings_outcome {
    SETTINGS_RUN,     /* go on */
    SETTINGS_PRINTED, /* --help, --version or --print-settings was answered on stdout: exit 0 */
};

/** Fill `out_struct` (zeroed by the caller). `summary` heads --help. On failure nothing is owned by the caller.
 *  The environment is read through getenv. `argv` is not changed; positional arguments are an error. */
enum status settings_load(const struct setting *table, const char *program, const char *summary, int argc, char **argv,
                          void *out_struct, enum settings_outcome *out_outcome, struct error *err);
/**
 * The PEM files of a server or a client: a certificate and its key go together, a server's authorities need both, and each that is named can be read.
 * Flags are --PREFIXtls-certificate-file and so on; INVALID_ARGUMENT says which flag is missing, or which file.
 */
struct settings_tls {
    const char *prefix; /* "" or "upstream-" */
    const char *certificate_file, *key_file, *ca_file;
    bool client; /* its authorities stand alone */
};
enum status settings_check_tls(const struct settings_tls *tls, struct error *err);
/** Free the strings. */
void settings_free(const struct setting *table, void *settings_struct);

/** A reader of `[section]` + `name = value` files, used by --config and by the models file. Values keep inner spaces; `#` or `;` starts a
 *  comment at line start or after white space. Calls `on_entry` in order; a non-OK return stops the reading and is returned.
 *  At most `max_bytes` are read. Errors name file and line. */
typedef enum status settings_entry_fn(void *context, const char *section, const char *name, const char *value, int line,
                                      struct error *err);
enum status settings_read_ini(const char *path, size_t max_bytes, settings_entry_fn *on_entry, void *context,
                              struct error *err);

enum status settings_parse_duration(const char *text, int64_t *out_ns, struct error *err);
enum status settings_parse_size(const char *text, int64_t *out_bytes, struct error *err);
/** Read a whole small file (a key, a certificate) into a NUL-terminated malloc'd string; trailing newline kept. */
enum status settings_read_file(const char *path, size_t max_bytes, char **out_text, size_t *out_length,
                               struct error *err);
/** A secret: the first line of a small file, without its end; malloc'd. NULL when `path` is. */
enum status settings_read_secret(const char *path, char **out, struct error *err);

#endif
