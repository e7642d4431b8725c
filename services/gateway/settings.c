/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/settings.h"

#include "base/limits.h"

#define S struct gateway_settings
static const struct setting gateway_settings_table[] = {
    SETTING_STRING(S, http_listen, "http-listen", "127.0.0.1:8080", "ADDRESS", "HTTP address; port 0 picks a free one"),
    SETTING_STRING(S, grpc_listen, "grpc-listen", "127.0.0.1:8081", "ADDRESS", "gRPC address"),
    SETTING_STRING(S, metrics_listen, "metrics-listen", NULL, "ADDRESS",
                   "HTTP address of /metrics, /healthz and /readyz, without TLS; default: --http-listen has them. With "
                   "it, clients "
                   "are not shown /metrics"),
    SETTING_STRING(S, redis_address, "redis", "127.0.0.1:7379", "ADDRESS",
                   "Redis of limits, leases and the list of workers (the keys service's --redis-limits); of a cluster "
                   "one server or several, with commas"),
    SETTING_STRING(S, redis_password_file, "redis-password-file", NULL, "FILE", "file that holds the Redis password"),
    SETTING_DURATION(S, redis_timeout_ns, "redis-timeout", "2s", 10e6, 60e9,
                     "longest wait for one answer of Redis; then --limits-outage decides"),
    SETTING_CHOICE(S, limits_outage, "limits-outage", "closed", "closed|local",
                   "while Redis does not answer: refuse requests (503), or let a small allowance of each key pass"),
    SETTING_INTEGER(S, outage_requests, "outage-requests", "10", 0, 1e9, "N",
                    "of --limits-outage local: requests of a key, in one outage, through this gateway"),
    SETTING_INTEGER(S, outage_tokens, "outage-tokens", "10000", 0, 1e12, "N",
                    "likewise: tokens, prompt and worst case"),
    SETTING_BOOL(S, admit_ahead, "admit-ahead", "true",
                 "admit the next requests of keys that ask often before they come, where three quarters of every limit "
                 "are left: they do not wait for Redis"),
    SETTING_STRING(S, keys_address, "keys", "127.0.0.1:7010", "ADDRESS", "gRPC address of the keys service"),
    SETTING_STRING(S, service_token_file, "service-token-file", NULL, "FILE",
                   "file with the token that the keys service wants from gateways"),
    SETTING_CHOICE(S, dialect, "dialect", "openai-mistral", "openai-mistral|mistral",
                   "which documents' fields are accepted; mistral refuses OpenAI's"),
    SETTING_SIZE(S, body_bytes_max, "body-max", "4m", 1024, LIMIT_REQUEST_BODY_BYTES_MAX, "largest request"),
    SETTING_SIZE(S, bodies_bytes_max, "bodies-max", "256m", 1024, 1e12,
                 "bodies of all HTTP requests together; more are refused (503)"),
    SETTING_SIZE(
        S, peer_bodies_bytes_max, "peer-bodies-max", "64m", 1024, 1e12,
        "those of one address; more are refused (503). Raise it behind a proxy, whose requests all come from one"),
    SETTING_INTEGER(S, peer_connections_max, "peer-connections-max", "1024", 1, 1000000, "N",
                    "HTTP connections of one address; further ones are closed. Raise it behind a proxy"),
    SETTING_STRING(S, trusted_proxies, "trusted-proxies", NULL, "NETWORKS",
                   "proxies in front, whose X-Forwarded-For is believed: 10.0.0.0/8,::1; the audit trail shows it"),
    SETTING_INTEGER(S, connections_max, "connections-max", "4096", 1, 1000000, "N", "HTTP connections at a time"),
    SETTING_INTEGER(S, client_threads, "client-threads", "1", 1, 16, "N",
                    "threads of gRPC, towards clients and the keys service"),
    SETTING_DURATION(S, spin_ns, "spin", "0s", 0, 10e6,
                     "stay awake for so long where the limits' Redis has an answer to give: sooner answers on machines "
                     "that are slow to wake up, for more processor time"),
    SETTING_DURATION(S, key_cache_ns, "key-cache", "30s", 0, 3600e9,
                     "how long a verified key is remembered; revocation is instant all the same"),
    SETTING_DURATION(S, discovery_ns, "discovery", "250ms", 20e6, 60e9, "how often the list of workers is read"),
    SETTING_DURATION(S, request_timeout_ns, "request-timeout", "10m", 1e9, 86400e9, "longest time of one request"),
    SETTING_DURATION(S, idle_timeout_ns, "idle-timeout", "75s", 1e9, 3600e9,
                     "HTTP connections that are silent this long are closed"),
    SETTING_DURATION(
        S, header_timeout_ns, "header-timeout", "10s", 100e6, 3600e9,
        "HTTP connections whose first request has not begun, or whose headers are not whole, by then are closed"),
    SETTING_DURATION(S, heartbeat_ns, "heartbeat", "10s", 0, 600e9,
                     "comment line in a stream that is silent this long; 0: none"),
    SETTING_DURATION(S, drain_ns, "drain", "30s", 0, 3600e9, "time that running requests get after SIGTERM"),
    SETTING_DURATION(S, upstream_keepalive_ns, "upstream-keepalive", "10s", 1e9, 7200e9,
                     "ping idle connections to workers and the keys service this often"),
    SETTING_DURATION(S, upstream_keepalive_timeout_ns, "upstream-keepalive-timeout", "5s", 100e6, 600e9,
                     "give a worker up that does not answer a ping for this long"),
    SETTING_DURATION(S, keepalive_ns, "keepalive", "30s", 1e9, 7200e9, "ping idle gRPC connections this often"),
    SETTING_DURATION(S, keepalive_timeout_ns, "keepalive-timeout", "10s", 100e6, 600e9,
                     "drop a connection that does not answer a ping for this long"),
    SETTING_STRING(S, tls_certificate_file, "tls-certificate-file", NULL, "FILE",
                   "PEM certificate; switches TLS on for HTTP and gRPC"),
    SETTING_STRING(S, tls_key_file, "tls-key-file", NULL, "FILE", "PEM key of the certificate"),
    SETTING_STRING(S, tls_ca_file, "tls-ca-file", NULL, "FILE",
                   "PEM authorities; clients must show a certificate of theirs"),
    SETTING_BOOL(S, upstream_tls, "upstream-tls", "false", "speak TLS to workers and the keys service"),
    SETTING_STRING(S, upstream_tls_ca_file, "upstream-tls-ca-file", NULL, "FILE",
                   "PEM authorities of workers and keys"),
    SETTING_STRING(S, upstream_tls_certificate_file, "upstream-tls-certificate-file", NULL, "FILE",
                   "PEM certificate shown to them"),
    SETTING_STRING(S, upstream_tls_key_file, "upstream-tls-key-file", NULL, "FILE", "PEM key of that certificate"),
    SETTING_STRING(S, console_dir, "console-dir", NULL, "FOLDER",
                   "files of the web console; default: those beside the program; off: no console"),
    SETTING_CHOICE(S, log_level, "log-level", "info", "debug|info|warn|error", "least level that is logged"),
    SETTING_CHOICE(S, log_format, "log-format", "json", "json|text", "form of a log line"),
    SETTING_REMOVED("links", "there is one stream to each worker, which carries all generations"),
    SETTING_REMOVED("rpc-threads", "client-threads are for clients, too"),
    {0}};
#undef S

enum status gateway_settings_load(int argc, char **argv, struct gateway_settings *out,
                                  enum settings_outcome *out_outcome, struct error *err) {
    return settings_load(gateway_settings_table, "bora-gateway",
                         "The public face: HTTP and gRPC, keys, limits, routing.", argc, argv, out, out_outcome, err);
}

void gateway_settings_free(struct gateway_settings *settings) {
    settings_free(gateway_settings_table, settings);
}
