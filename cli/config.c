/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/config.h"

#include "base/bytes.h"
#include "base/settings.h"
#include "base/text.h"
#include "cli/suggest.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PROFILE "default"

const struct config_entry config_entries[CONFIG_NAMES] = {
    [CONFIG_ADDRESS] = {"address", "BORA_ADDRESS", "the gateway's gRPC address, HOST:PORT", false},
    [CONFIG_MODEL] = {"model", "BORA_MODEL", "model, alias or tier that is asked without --model", false},
    [CONFIG_API_KEY] = {"api-key", "BORA_API_KEY", "the API key itself", true},
    [CONFIG_API_KEY_FILE] = {"api-key-file", "BORA_API_KEY_FILE", "file that holds the API key", false},
    [CONFIG_ADMIN_KEY] = {"admin-key", "BORA_ADMIN_KEY", "the operator's key itself", true},
    [CONFIG_ADMIN_KEY_FILE] = {"admin-key-file", "BORA_ADMIN_KEY_FILE", "file that holds the operator's key", false},
    [CONFIG_TLS] = {"tls", NULL, "true: encrypted connection", false},
    [CONFIG_TLS_CA_FILE] = {"tls-ca-file", NULL, "trust these PEM authorities", false},
    [CONFIG_TLS_CERTIFICATE_FILE] = {"tls-certificate-file", NULL, "show this PEM certificate (mutual TLS)", false},
    [CONFIG_TLS_KEY_FILE] = {"tls-key-file", NULL, "the certificate's PEM key", false},
    [CONFIG_TIMEOUT] = {"timeout", NULL, "give up after this long, as 30s", false},
};

enum config_name config_find(const char *name) {
    int i = 0;
    while (i < CONFIG_NAMES && strcmp(config_entries[i].name, name) != 0) i++;
    return (enum config_name)i;
}

bool config_address_is_sound(const char *address) {
    enum { PORT_MAX = 65535 };
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (colon == NULL || colon == address || strstr(address, "://") != NULL) return false;
    size_t host = (size_t)(colon - address);
    bool bracketed = address[0] == '[' && address[host - 1] == ']';
    if (!bracketed && memchr(address, ':', host) != NULL) return false;
    return text_to_u64(colon + 1, &port) && port > 0 && port <= PORT_MAX;
}

const char *config_suggest(const char *name) {
    const char *nearest = NULL;
    size_t distance = suggest_distance(name);
    for (int i = 0; i < CONFIG_NAMES; i++) suggest_word(name, config_entries[i].name, &nearest, &distance);
    return nearest;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/** The file's path; false when there is neither XDG_CONFIG_HOME nor HOME, or it is too long. */
static bool find_path(char out[CONFIG_PATH_BYTES]) {
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int length = 0;
    if (base != NULL && base[0] == '/')
        length = snprintf(out, CONFIG_PATH_BYTES, "%s/bora/config", base);
    else if (home != NULL && home[0] != 0)
        length = snprintf(out, CONFIG_PATH_BYTES, "%s/.config/bora/config", home);
    return length > 0 && length < CONFIG_PATH_BYTES;
}

static enum status on_entry(void *context, const char *section, const char *name, const char *value, int line,
                            struct error *err) {
    struct config *config = context;
    enum config_name index = config_find(name);
    const char *meant = config_suggest(name);
    if (index == CONFIG_NAMES)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.100s:%d: unknown setting '%.64s'%s%s%s", config->path, line,
                         name, meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "",
                         meant != NULL ? "'?" : "");
    if (strcmp(section[0] != 0 ? section : DEFAULT_PROFILE, config->profile) != 0) return STATUS_OK;
    config->profile_found = true;
    free(config->values[index]);
    config->values[index] = value[0] != 0 ? strdup(value) : NULL;
    return STATUS_OK;
}

static void warn_of_readers(const struct config *config) {
    struct stat info;
    bool secret = config->values[CONFIG_API_KEY] != NULL || config->values[CONFIG_ADMIN_KEY] != NULL;
    if (secret && stat(config->path, &info) == 0 && (info.st_mode & 077) != 0)
        fprintf(stderr, "bora: warning: %s holds a key and others may read it (mode %04o): chmod 600 %s\n",
                config->path, (unsigned)(info.st_mode & 07777), config->path);
}

enum status config_load(const char *profile, bool must_exist, struct config *out, struct error *err) {
    *out = (struct config){0};
    const char *wanted = profile != NULL ? profile : getenv("BORA_PROFILE");
    bool asked = wanted != NULL && wanted[0] != 0;
    if (!asked) wanted = DEFAULT_PROFILE;
    size_t length = strlen(wanted);
    if (length > CONFIG_PROFILE_BYTES || strcspn(wanted, "[]\r\n#; ") != length)
        return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s' is no name for a profile", wanted);
    snprintf(out->profile, sizeof out->profile, "%s", wanted);
    bool found = find_path(out->path);
    out->exists = found && access(out->path, F_OK) == 0;
    if (out->exists) {
        enum status status = settings_read_ini(out->path, CONFIG_BYTES_MAX, on_entry, out, err);
        if (status != STATUS_OK) {
            config_free(out);
            return status;
        }
        warn_of_readers(out);
    }
    if (!must_exist || out->profile_found || !asked || strcmp(wanted, DEFAULT_PROFILE) == 0) return STATUS_OK;
    return error_set(err, STATUS_NOT_FOUND, "there is no profile [%s] in %.200s", out->profile,
                     found ? out->path : "any configuration file");
}

void config_free(struct config *config) {
    for (int i = 0; i < CONFIG_NAMES; i++) {
        if (config->values[i] != NULL && config_entries[i].secret)
            explicit_bzero(config->values[i], strlen(config->values[i]));
        free(config->values[i]);
        config->values[i] = NULL;
    }
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

/** A line of the file: the name of the section it opens, or of the setting it holds; else empty. */
static void read_line(const char *line, size_t length, char *section, char *name, size_t bytes) {
    size_t at = 0;
    section[0] = name[0] = 0;
    while (at < length && (line[at] == ' ' || line[at] == '\t')) at++;
    if (at == length || line[at] == '#' || line[at] == ';') return;
    if (line[at] == '[') {
        const char *end = memchr(line + at, ']', length - at);
        if (end != NULL) snprintf(section, bytes, "%.*s", (int)(end - line - (ptrdiff_t)at - 1), line + at + 1);
        return;
    }
    size_t word = at;
    while (word < length && strchr(" \t=", line[word]) == NULL) word++;
    snprintf(name, bytes, "%.*s", (int)(word - at), line + at);
}

/** `text` with the setting of the profile changed. A new one goes behind the last line that the profile has. */
static void edit(const struct config *config, const char *text, const char *setting, const char *value,
                 struct bytes *out) {
    enum { NAME_BYTES = 128 };
    char current[NAME_BYTES] = DEFAULT_PROFILE, section[NAME_BYTES], name[NAME_BYTES];
    size_t behind = 0; /* where a new setting goes, in `out`; 0: the profile is not there */
    bool written = value == NULL;
    for (const char *line = text, *next; *line != 0; line = next) {
        size_t length = strcspn(line, "\n");
        next = line + length + (line[length] == '\n');
        read_line(line, length, section, name, NAME_BYTES);
        if (section[0] != 0) snprintf(current, sizeof current, "%s", section);
        bool ours = strcmp(current, config->profile) == 0, same = ours && strcmp(name, setting) == 0;
        if (same && !written) (void)!bytes_printf(out, "%s = %s\n", setting, value);
        if (same) written = true;
        if (!same) (void)!bytes_printf(out, "%.*s\n", (int)length, line);
        if (ours && (section[0] != 0 || name[0] != 0)) behind = out->length;
    }
    if (written) return;
    char added[CONFIG_VALUE_BYTES + 2 * NAME_BYTES];
    if (behind == 0) {
        (void)!bytes_printf(out, "%s[%s]\n%s = %s\n", out->length > 0 ? "\n" : "", config->profile, setting, value);
        return;
    }
    int length = snprintf(added, sizeof added, "%s = %s\n", setting, value);
    if (bytes_append(out, added, (size_t)length) != STATUS_OK) return; /* makes the room; now to its place */
    memmove(out->data + behind + length, out->data + behind, out->length - (size_t)length - behind);
    memcpy(out->data + behind, added, (size_t)length);
}

/** The folders above the file; they may hold keys, so they are for their owner. */
static void make_folders(const char *path) {
    char copy[CONFIG_PATH_BYTES];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)!mkdir(copy, 0700); /* most are there; whether it worked, mkstemp says */
        *slash = '/';
    }
}

/** `path` may be a link to where somebody keeps such files: it stays one. */
static enum status replace_file(const char *path, const struct bytes *content, struct error *err) {
    char temporary[CONFIG_PATH_BYTES + 8], target[PATH_MAX];
    if (realpath(path, target) != NULL) path = target;
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.200s is too long", path);
    make_folders(path);
    int descriptor = mkstemp(temporary); /* mode 0600 */
    if (descriptor < 0) return error_set_errno(err, STATUS_INTERNAL, errno, "%.200s", path);
    bool whole = write(descriptor, content->data, content->length) == (ssize_t)content->length;
    whole = fsync(descriptor) == 0 && whole;
    whole = close(descriptor) == 0 && whole;
    if (whole && rename(temporary, path) == 0) return STATUS_OK;
    int problem = errno;
    unlink(temporary);
    return error_set_errno(err, STATUS_INTERNAL, problem, "%.200s", path);
}

enum status config_write(const struct config *config, enum config_name name, const char *value, struct error *err) {
    char *text = NULL;
    size_t length = 0;
    struct bytes out;
    if (config->path[0] == 0)
        return error_set(err, STATUS_FAILED_PRECONDITION, "neither HOME nor XDG_CONFIG_HOME says where the file is");
    if (config->exists) TRY(settings_read_file(config->path, CONFIG_BYTES_MAX, &text, &length, err));
    bytes_init(&out, CONFIG_BYTES_MAX);
    edit(config, text != NULL ? text : "", config_entries[name].name, value, &out);
    enum status status = out.failed
                             ? error_set(err, STATUS_RESOURCE_EXHAUSTED, "%.200s would be too large", config->path)
                             : replace_file(config->path, &out, err);
    if (text != NULL) explicit_bzero(text, length);
    free(text);
    if (out.data != NULL) explicit_bzero(out.data, out.capacity);
    bytes_deinit(&out);
    return status;
}
