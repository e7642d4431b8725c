/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The keys service's settings: one table in settings.c gives flags, environment names, file keys and --help. */
#ifndef SERVICES_KEYS_SETTINGS_H
#define SERVICES_KEYS_SETTINGS_H

#include "base/settings.h"

struct keys_settings {
    char *listen; /* gRPC address */
    char *metrics_listen;
    char *redis_address, *redis_password_file;
    char *redis_limits_address, *redis_limits_password_file; /* NULL: as --redis */
    int64_t redis_timeout_ns;
    char *hash_secret_file;
    char *admin_key, *admin_key_file;
    char *service_token, *service_token_file;
    int64_t default_requests_per_minute, default_tokens_per_minute; /* -1: unlimited */
    int64_t audit_entries;
    int64_t ledger_retention_ns;
    int64_t rpc_threads, message_bytes_max;
    int64_t drain_ns, keepalive_ns, keepalive_timeout_ns;
    char *tls_certificate_file, *tls_key_file, *tls_ca_file;
    char *log_level, *log_format;
};

enum status keys_settings_load(int argc, char **argv, struct keys_settings *out, enum settings_outcome *out_outcome,
                               struct error *err);
/** Wipe the secrets that came as text: their hashes are enough (secrets.h). */
void keys_settings_forget_secrets(struct keys_settings *settings);
void keys_settings_free(struct keys_settings *settings);

#endif
