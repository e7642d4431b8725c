/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The gateway's settings: one table in settings.c gives flags, environment names, file keys and --help. */
#ifndef SERVICES_GATEWAY_SETTINGS_H
#define SERVICES_GATEWAY_SETTINGS_H

#include "base/settings.h"

struct gateway_settings {
    char *http_listen, *grpc_listen, *metrics_listen;
    char *redis_address, *redis_password_file;
    int64_t redis_timeout_ns;
    char *limits_outage;
    int64_t outage_requests, outage_tokens;
    char *keys_address, *service_token_file, *trusted_proxies;
    char *dialect;
    int64_t body_bytes_max, bodies_bytes_max, peer_bodies_bytes_max, peer_connections_max, connections_max,
        client_threads;
    bool admit_ahead;
    int64_t key_cache_ns, spin_ns, discovery_ns, request_timeout_ns, idle_timeout_ns, header_timeout_ns, heartbeat_ns,
        drain_ns;
    int64_t keepalive_ns, upstream_keepalive_ns, upstream_keepalive_timeout_ns, keepalive_timeout_ns;
    char *tls_certificate_file, *tls_key_file, *tls_ca_file;
    char *upstream_tls_ca_file, *upstream_tls_certificate_file, *upstream_tls_key_file;
    bool upstream_tls;
    char *console_dir;
    char *log_level, *log_format;
};

enum status gateway_settings_load(int argc, char **argv, struct gateway_settings *out,
                                  enum settings_outcome *out_outcome, struct error *err);
void gateway_settings_free(struct gateway_settings *settings);

#endif
