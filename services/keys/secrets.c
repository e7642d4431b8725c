/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/secrets.h"

#include "base/bytes.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_FILE_BYTES_MAX = 4096, SECRET_CHARACTERS_MIN = 16, PATH_BYTES = 4096 };

/* --- the hash secret's file -------------------------------------------------------------------------------------- */

static enum status sync_folder_of(const char *path, struct error *err) {
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else
        slash[slash == folder ? 1 : 0] = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int reason = errno;
    if (fd >= 0) close(fd);
    return synced ? STATUS_OK
                  : error_set_errno(err, STATUS_UNAVAILABLE, reason, "cannot sync the folder of %.64s", path);
}

static enum status write_new_secret(int fd, const char *path, struct error *err) {
    uint8_t secret[KEY_HASH_SECRET_BYTES];
    char text[2 * KEY_HASH_SECRET_BYTES + 2];
    TRY(random_secret(secret, sizeof secret, err));
    bytes_to_hex(secret, sizeof secret, text);
    text[sizeof text - 2] = '\n';
    bool written = write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1 && fsync(fd) == 0;
    int reason = errno;
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(text, sizeof text);
    return written ? STATUS_OK
                   : error_set_errno(err, STATUS_UNAVAILABLE, reason, "cannot write the hash secret %.64s", path);
}

/** A whole file appears under the name, or none: it is written under another name and linked. */
static enum status create_secret_file(const char *path, bool *out_created, struct error *err) {
    char temporary[PATH_BYTES];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the hash secret's path is too long");
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) return error_set_errno(err, STATUS_UNAVAILABLE, errno, "cannot make the hash secret %.64s", path);
    enum status status = write_new_secret(fd, path, err);
    close(fd);
    if (status == STATUS_OK && link(temporary, path) == 0)
        *out_created = true;
    else if (status == STATUS_OK && errno != EEXIST)
        status = error_set_errno(err, STATUS_UNAVAILABLE, errno, "cannot make the hash secret %.64s", path);
    unlink(temporary);
    if (status == STATUS_OK) status = sync_folder_of(path, err);
    return status;
}

enum status hash_secret_load(const char *path, struct keys_secrets *out, struct error *err) {
    bool created = false;
    if (access(path, F_OK) != 0 && errno == ENOENT) TRY(create_secret_file(path, &created, err));
    char *text = NULL;
    size_t length = 0;
    TRY(settings_read_file(path, SECRET_FILE_BYTES_MAX, &text, &length, err));
    size_t digits = strcspn(text, "\r\n");
    bool proper = digits == 2 * KEY_HASH_SECRET_BYTES && digits + strspn(text + digits, "\r\n") == length &&
                  bytes_from_hex(text, digits, out->hash_secret);
    OPENSSL_cleanse(text, length);
    free(text);
    if (!proper)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%.64s is no hash secret: it must hold 64 hexadecimal digits",
                         path);
    struct stat info;
    out->hash_secret_created = created;
    out->hash_secret_exposed = stat(path, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
    return STATUS_OK;
}

/* --- whom to listen to ------------------------------------------------------------------------------------------- */

/** The secret's keyed hash, from the text itself or from the file. */
static enum status load_credential(const struct keys_secrets *secrets, const char *what, const char *text,
                                   const char *path, uint8_t out[KEY_HASH_BYTES], struct error *err) {
    char *from_file = NULL;
    if (text == NULL && path == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "no %s: give --%s-file", what, what);
    if (text == NULL) {
        size_t length = 0;
        TRY(settings_read_file(path, SECRET_FILE_BYTES_MAX, &from_file, &length, err));
        from_file[strcspn(from_file, "\r\n")] = 0;
        text = from_file;
    }
    size_t length = strlen(text);
    if (length >= SECRET_CHARACTERS_MIN) key_text_hash(secrets->hash_secret, text, out);
    if (from_file != NULL) OPENSSL_cleanse(from_file, length);
    free(from_file);
    return length >= SECRET_CHARACTERS_MIN
               ? STATUS_OK
               : error_set(err, STATUS_INVALID_ARGUMENT, "the %s is shorter than %d characters", what,
                           SECRET_CHARACTERS_MIN);
}

enum status keys_secrets_load(const struct keys_settings *settings, struct keys_secrets *out, struct error *err) {
    if (settings->hash_secret_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "no hash secret: give --hash-secret-file");
    TRY(hash_secret_load(settings->hash_secret_file, out, err));
    TRY(load_credential(out, "admin-key", settings->admin_key, settings->admin_key_file, out->admin_hash, err));
    TRY(load_credential(out, "service-token", settings->service_token, settings->service_token_file, out->service_hash,
                        err));
    if (bytes_equal_constant_time(out->admin_hash, out->service_hash, KEY_HASH_BYTES))
        return error_set(err, STATUS_INVALID_ARGUMENT, "the admin key and the service token are the same");
    return STATUS_OK;
}

const char *keys_secrets_bearer(const char *authorization) {
    static const char scheme[] = "Bearer ";
    bool proper = authorization != NULL && strncasecmp(authorization, scheme, sizeof scheme - 1) == 0;
    return proper ? authorization + sizeof scheme - 1 : "";
}

bool keys_secrets_match(const struct keys_secrets *secrets, const uint8_t hash[KEY_HASH_BYTES],
                        const char *authorization) {
    uint8_t shown[KEY_HASH_BYTES];
    const char *bearer = keys_secrets_bearer(authorization);
    if (bearer[0] == 0) return false;
    key_text_hash(secrets->hash_secret, bearer, shown);
    return bytes_equal_constant_time(shown, hash, KEY_HASH_BYTES);
}

void keys_secrets_mark(const struct keys_secrets *secrets, char out_hex[2 * KEY_HASH_BYTES + 1]) {
    uint8_t mark[KEY_HASH_BYTES];
    key_text_hash(secrets->hash_secret, "bora: mark of the hash secret", mark);
    bytes_to_hex(mark, sizeof mark, out_hex);
}
