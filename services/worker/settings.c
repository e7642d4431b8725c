/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/settings.h"

#include "base/limits.h"

#define S struct worker_settings
static const struct setting worker_settings_table[] = {
    SETTING_STRING(S, models_file, "models-file", "models.ini", "FILE", "describes the models that can be served"),
    SETTING_STRING(S, model, "model", NULL, "NAME", "which model of the file to serve (default: the first)"),
    SETTING_STRING(S, listen, "listen", "127.0.0.1:7011", "ADDRESS",
                   "gRPC address for gateways; port 0 picks a free one"),
    SETTING_STRING(S, advertise, "advertise", NULL, "ADDRESS",
                   "address that gateways use (default: the listening one)"),
    SETTING_STRING(S, metrics_listen, "metrics-listen", NULL, "ADDRESS",
                   "HTTP address of /metrics, /healthz and /readyz"),
    SETTING_STRING(S, redis_address, "redis", "127.0.0.1:7379", "ADDRESS",
                   "Redis, where workers announce themselves; of a cluster one server or several, with commas"),
    SETTING_STRING(S, redis_password_file, "redis-password-file", NULL, "FILE", "file that holds the Redis password"),
    SETTING_STRING(S, worker_id, "worker-id", NULL, "ID", "unique name of this worker (default: random)"),
    SETTING_STRING(S, region, "region", "local", "LABEL", "region label shown to gateways"),
    SETTING_CHOICE(S, device, "device", "cpu", "cpu", "where the model runs"),
    SETTING_CHOICE(S, kernel_variant, "kernel-variant", "auto", "auto|plain|avx2|avx512",
                   "instruction set of the CPU kernels"),
    SETTING_CHOICE(S, kv_type, "kv-type", "f16", "f32|f16|bf16|int8", "storage of the KV cache"),
    SETTING_INTEGER(S, threads, "threads", "0", 0, LIMIT_THREADS, "N", "compute threads; 0: all processors"),
    SETTING_INTEGER(S, sequences_max, "sequences-max", "32", 1, 256, "N", "sequences that advance together"),
    SETTING_INTEGER(S, step_tokens_max, "step-tokens-max", "256", 16, 8192, "N", "rows of one step"),
    SETTING_DURATION(
        S, step_ns, "step-time", "0s", 0, 60e9,
        "how long a step that also reads prompts may take; 0: 1.75 times a step that only generates, 3 for "
        "who has none in it"),
    SETTING_BOOL(S, speculation, "speculation", "true",
                 "guess tokens by prompt lookup where it pays; changes no output"),
    SETTING_BOOL(S, jump_forward, "jump-forward", "true",
                 "take text that a schema or grammar leaves no choice about without drawing its tokens"),
    SETTING_INTEGER(S, queue_max, "queue-max", "256", 0, 100000, "N", "requests that may wait; one more is refused"),
    SETTING_SIZE(S, kv_pool_bytes, "kv-pool", "0", 0, 1e15,
                 "memory of the KV cache; 0: chosen from the model and the machine"),
    SETTING_SIZE(S, grammars_bytes, "grammar-cache", "256m", 0, 1e15,
                 "memory of compiled grammars (response_format) that are kept for the next request"),
    SETTING_INTEGER(S, rpc_threads, "rpc-threads", "0", 0, 64, "N", "gRPC threads; 0: chosen from the machine"),
    SETTING_SIZE(S, message_bytes_max, "message-max", "8m", 65536, LIMIT_REQUEST_BODY_BYTES_MAX * 2.0,
                 "largest gRPC message"),
    SETTING_DURATION(S, heartbeat_ns, "heartbeat", "500ms", 50e6, 60e9,
                     "how often the worker announces itself; it is forgotten after three missed ones"),
    SETTING_DURATION(S, drain_ns, "drain", "30s", 0, 3600e9, "time that running requests get after SIGTERM"),
    SETTING_DURATION(S, keepalive_ns, "keepalive", "30s", 1e9, 7200e9, "ping idle connections this often"),
    SETTING_DURATION(S, keepalive_timeout_ns, "keepalive-timeout", "10s", 100e6, 600e9,
                     "drop a connection that does not answer a ping for this long"),
    SETTING_STRING(S, tls_certificate_file, "tls-certificate-file", NULL, "FILE", "PEM certificate; switches TLS on"),
    SETTING_STRING(S, tls_key_file, "tls-key-file", NULL, "FILE", "PEM key of the certificate"),
    SETTING_STRING(S, tls_ca_file, "tls-ca-file", NULL, "FILE", "PEM authorities; switches mutual TLS on"),
    SETTING_CHOICE(S, log_level, "log-level", "info", "debug|info|warn|error", "least level that is logged"),
    SETTING_CHOICE(S, log_format, "log-format", "json", "json|text", "form of a log line"),
    SETTING_BOOL(S, check, "check", "false", "only read the settings and the models file and say what is wrong"),
    SETTING_BOOL(S, trial, "trial", "false",
                 "with --check: also open the model as if to serve it, and lay a question out"),
    {0}};
#undef S

enum status worker_settings_load(int argc, char **argv, struct worker_settings *out, enum settings_outcome *out_outcome,
                                 struct error *err) {
    return settings_load(worker_settings_table, "bora-worker", "Serves one model to gateways over gRPC.", argc, argv,
                         out, out_outcome, err);
}

void worker_settings_free(struct worker_settings *settings) {
    settings_free(worker_settings_table, settings);
}
