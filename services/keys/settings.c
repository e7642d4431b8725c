/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/settings.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

#define S struct keys_settings
static const struct setting keys_settings_table[] = {
    SETTING_STRING(S, listen, "listen", "127.0.0.1:7010", "ADDRESS", "gRPC address; port 0 picks a free one"),
    SETTING_STRING(S, metrics_listen, "metrics-listen", NULL, "ADDRESS",
                   "HTTP address of /metrics, /healthz and /readyz"),
    SETTING_STRING(S, redis_address, "redis", "127.0.0.1:7379", "ADDRESS",
                   "Redis, where keys are kept; of a cluster one server or several, with commas"),
    SETTING_STRING(S, redis_password_file, "redis-password-file", NULL, "FILE", "file that holds the Redis password"),
    SETTING_STRING(S, redis_limits_address, "redis-limits", NULL, "ADDRESS",
                   "Redis of limits, where gates are shut and gateways are told of changes; default: as --redis"),
    SETTING_STRING(S, redis_limits_password_file, "redis-limits-password-file", NULL, "FILE",
                   "file that holds its password; default: as --redis-password-file"),
    SETTING_DURATION(S, redis_timeout_ns, "redis-timeout", "1s", 10e6, 60e9, "longest wait for one answer of Redis"),
    SETTING_STRING(S, hash_secret_file, "hash-secret-file", NULL, "FILE",
                   "secret that keys are hashed with; made when missing; without it all keys are lost"),
    SETTING_SECRET(S, admin_key, "admin-key", "KEY",
                   "the operator's key: may do everything; better given by file or environment"),
    SETTING_STRING(S, admin_key_file, "admin-key-file", NULL, "FILE", "file that holds the admin key"),
    SETTING_SECRET(S, service_token, "service-token", "TOKEN",
                   "gateways show it to verify keys; better given by file or environment"),
    SETTING_STRING(S, service_token_file, "service-token-file", NULL, "FILE", "file that holds the service token"),
    SETTING_INTEGER(S, default_requests_per_minute, "default-requests-per-minute", "-1", -1, 1e9, "N",
                    "limit of keys made without limits, where their workspace has none for keys; -1: none"),
    SETTING_INTEGER(S, default_tokens_per_minute, "default-tokens-per-minute", "-1", -1, 1e12, "N",
                    "limit of keys made without limits, where their workspace has none for keys; -1: none"),
    SETTING_INTEGER(S, audit_entries, "audit-entries", "1000000", 1000, 1e9, "N",
                    "entries of its audit trail that an organisation keeps, about"),
    SETTING_DURATION(S, ledger_retention_ns, "ledger-retention", "400d", 0, 36500 * 86400e9,
                     "time that entries of the ledger are kept; 0: for ever. Their sums are kept for five years"),
    SETTING_INTEGER(S, rpc_threads, "rpc-threads", "0", 0, 64, "N", "gRPC threads; 0: chosen from the machine"),
    SETTING_SIZE(S, message_bytes_max, "message-max", "256k", 4096, LIMIT_REQUEST_BODY_BYTES_MAX,
                 "largest gRPC message"),
    SETTING_DURATION(S, drain_ns, "drain", "10s", 0, 3600e9, "time that running requests get after SIGTERM"),
    SETTING_DURATION(S, keepalive_ns, "keepalive", "30s", 1e9, 7200e9, "ping idle connections this often"),
    SETTING_DURATION(S, keepalive_timeout_ns, "keepalive-timeout", "10s", 100e6, 600e9,
                     "drop a connection that does not answer a ping for this long"),
    SETTING_STRING(S, tls_certificate_file, "tls-certificate-file", NULL, "FILE", "PEM certificate; switches TLS on"),
    SETTING_STRING(S, tls_key_file, "tls-key-file", NULL, "FILE", "PEM key of the certificate"),
    SETTING_STRING(S, tls_ca_file, "tls-ca-file", NULL, "FILE", "PEM authorities; switches mutual TLS on"),
    SETTING_CHOICE(S, log_level, "log-level", "info", "debug|info|warn|error", "least level that is logged"),
    SETTING_CHOICE(S, log_format, "log-format", "json", "json|text", "form of a log line"),
    {0}};
#undef S

enum status keys_settings_load(int argc, char **argv, struct keys_settings *out, enum settings_outcome *out_outcome,
                               struct error *err) {
    return settings_load(keys_settings_table, "bora-keys",
                         "Keeps organisations, workspaces and API keys, and what was used.", argc, argv, out,
                         out_outcome, err);
}

static void forget(char **secret) {
    if (*secret != NULL) explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

void keys_settings_forget_secrets(struct keys_settings *settings) {
    forget(&settings->admin_key);
    forget(&settings->service_token);
}

void keys_settings_free(struct keys_settings *settings) {
    settings_free(keys_settings_table, settings);
}
