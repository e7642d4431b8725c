/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/settings.h"

#include <errno.h>
#include <unistd.h>

static enum status check_file(const char *prefix, const char *flag, const char *path, struct error *err) {
    if (path == NULL || access(path, R_OK) == 0) return STATUS_OK;
    return error_set_errno(err, STATUS_INVALID_ARGUMENT, errno, "--%s%s: cannot read %s", prefix, flag, path);
}

enum status settings_check_tls(const struct settings_tls *tls, struct error *err) {
    const char *prefix = tls->prefix;
    if (tls->certificate_file != NULL && tls->key_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "--%stls-certificate-file %s needs its key: --%stls-key-file",
                         prefix, tls->certificate_file, prefix);
    if (tls->key_file != NULL && tls->certificate_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--%stls-key-file %s needs its certificate: "
                         "--%stls-certificate-file",
                         prefix, tls->key_file, prefix);
    if (tls->ca_file != NULL && tls->certificate_file == NULL && !tls->client)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "--%stls-ca-file %s needs --%stls-certificate-file and --%stls-key-file", prefix, tls->ca_file,
                         prefix, prefix);
    TRY(check_file(prefix, "tls-certificate-file", tls->certificate_file, err));
    TRY(check_file(prefix, "tls-key-file", tls->key_file, err));
    return check_file(prefix, "tls-ca-file", tls->ca_file, err);
}
