/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The worker's settings: one table in settings.c gives flags, environment names, file keys and --help. */
#ifndef SERVICES_WORKER_SETTINGS_H
#define SERVICES_WORKER_SETTINGS_H

#include "base/settings.h"

struct worker_settings {
    char *models_file, *model; /* which section of the models file to serve */
    char *listen;              /* gRPC address */
    char *advertise;           /* address that gateways use; NULL: the listening one */
    char *metrics_listen;
    char *redis_address, *redis_password_file;
    char *worker_id, *region;
    char *device, *kernel_variant, *kv_type;
    int64_t threads, sequences_max, step_tokens_max, queue_max, rpc_threads;
    int64_t step_ns;
    bool speculation, jump_forward;
    int64_t kv_pool_bytes, grammars_bytes, message_bytes_max;
    int64_t heartbeat_ns, drain_ns, keepalive_ns, keepalive_timeout_ns;
    char *tls_certificate_file, *tls_key_file, *tls_ca_file;
    char *log_level, *log_format;
    bool check; /* read the settings and the models file, say what is wrong, and end */
    bool trial; /* with check: open the model too, and lay a question out */
};

enum status worker_settings_load(int argc, char **argv, struct worker_settings *out, enum settings_outcome *out_outcome,
                                 struct error *err);
void worker_settings_free(struct worker_settings *settings);

#endif
