/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/process.h"
#include "proto/descriptors.h"
#include "services/keys/changes.h"
#include "services/keys/keys.h"
#include "services/keys/ledger_keeper.h"
#include "services/keys/limit_seed.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/status_page.h"

#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ADDRESS_BYTES = 160, JOB_THREADS = 8, JOBS_MAX = 1024 };

static enum status prepare(struct keys_service *service, struct error *err) {
    enum status status = keys_secrets_load(&service->settings, &service->secrets, err);
    keys_settings_forget_secrets(&service->settings);
    TRY(status);
    if (service->secrets.hash_secret_created)
        log_info("a new hash secret was made; keep a copy", LOG_S("file", service->settings.hash_secret_file));
    if (service->secrets.hash_secret_exposed)
        log_warn("others can read the hash secret; chmod 600 is enough for us",
                 LOG_S("file", service->settings.hash_secret_file));
    service->metrics = metrics_create();
    snprintf(service->audit_kept, sizeof service->audit_kept, "%lld", (long long)service->settings.audit_entries);
    if (service->metrics == NULL) return out_of_memory(err);
    service->requests = metrics_counter(service->metrics, "bora_keys_requests_total", "Calls by method and status.",
                                        "method", "status");
    service->ready = metrics_gauge(service->metrics, "bora_keys_ready", "1 while keys can be made and verified.");
    TRY(job_pool_create(JOB_THREADS, JOBS_MAX, "keys-jobs", &service->jobs, err));
    return keys_transcoder_create(&service->transcoder, err);
}

static enum status open_server(struct keys_service *service, struct error *err) {
    const struct keys_settings *settings = &service->settings;
    struct rpc_server_options options = {
        .address = settings->listen,
        .threads = (int)settings->rpc_threads,
        .message_bytes_max = settings->message_bytes_max,
        .keepalive_ns = settings->keepalive_ns,
        .keepalive_timeout_ns = settings->keepalive_timeout_ns,
        .tls = {settings->tls_certificate_file, settings->tls_key_file, settings->tls_ca_file, NULL},
        .descriptors = bytes_view_of(proto_descriptors, proto_descriptors_length)};
    TRY(rpc_server_create(&options, &service->server, err));
    TRY(rpc_server_add(service->server, keys_methods, keys_method_count, service, err));
    TRY(rpc_server_add(service->server, place_methods, place_method_count, service, err));
    TRY(rpc_server_add(service->server, usage_methods, usage_method_count, service, err));
    keys_set_health(service, false);
    return STATUS_OK;
}

static enum status open_client(struct keys_service *service, const char *address, const char *password_file,
                               void (*on_connection)(void *context, bool connected), struct redis_client **out,
                               struct error *err) {
    char *password = NULL;
    TRY(settings_read_secret(password_file, &password, err));
    struct redis_options options = {.address = address,
                                    .password = password,
                                    .timeout_ns = service->settings.redis_timeout_ns,
                                    .on_connection = on_connection,
                                    .context = service};
    enum status status = redis_client_create(&options, out, err);
    if (password != NULL) OPENSSL_cleanse(password, strlen(password));
    free(password);
    return status;
}

/** After the server: the connection's callback sets its health. */
static enum status open_redis(struct keys_service *service, struct error *err) {
    const struct keys_settings *settings = &service->settings;
    const char *limits_address = settings->redis_limits_address,
               *limits_password = settings->redis_limits_password_file;
    TRY(keeper_start(changes_keep, service, &service->changes, err));
    TRY(keeper_start(limit_seeds_keep, service, &service->seeds, err));
    TRY(open_client(service, limits_address != NULL ? limits_address : settings->redis_address,
                    limits_password != NULL ? limits_password : settings->redis_password_file,
                    keys_on_limits_connection, &service->limits_redis, err));
    return open_client(service, settings->redis_address, settings->redis_password_file, keys_on_connection,
                       &service->redis, err);
}

static enum status keep_ledger(struct keys_service *service, struct error *err) {
    const struct ledger_keeper_options options = {.stores = {service->redis, service->limits_redis},
                                                  .retention_ns = service->settings.ledger_retention_ns,
                                                  .metrics = service->metrics};
    return ledger_keeper_create(&options, &service->ledger, err);
}

static void log_serving(const struct keys_service *service, const struct http_server *status_page) {
    const char *listen = service->settings.listen, *colon = strrchr(listen, ':');
    char address[ADDRESS_BYTES];
    if (colon == NULL || strncmp(listen, "unix:", 5) == 0)
        snprintf(address, sizeof address, "%s", listen);
    else
        snprintf(address, sizeof address, "%.*s:%d", (int)(colon - listen), listen, rpc_server_port(service->server));
    log_info("serving", LOG_S("address", address), LOG_I("pid", getpid()),
             status_page != NULL ? LOG_I("metrics_port", http_server_port(status_page))
                                 : (struct log_field){LOG_FIELD_END, NULL, {0}});
}

/** Redis may come later; but whoever mistyped its address should read why nothing works. */
static void report_missing_redis(struct keys_service *service) {
    struct error reason = {0};
    if (redis_client_wait(service->redis, NS_PER_S, &reason) != STATUS_OK)
        keys_log_redis("not ready yet", service->settings.redis_address, service->redis);
    if (redis_client_wait(service->limits_redis, NS_PER_S, &reason) != STATUS_OK)
        keys_log_redis("the limits' Redis cannot be reached", keys_limits_address(service), service->limits_redis);
}

/** SIGHUP: certificates have been renewed. What cannot be used changes nothing. */
static void reread_tls(struct keys_service *service) {
    struct error err = {0};
    if (service->settings.tls_certificate_file == NULL)
        log_info("SIGHUP changes nothing: there are no TLS files to read again");
    else if (rpc_server_reread_tls(service->server, &err) == STATUS_OK)
        log_info("SIGHUP: the TLS files were read again", LOG_S("certificate", service->settings.tls_certificate_file));
    else
        log_error("SIGHUP: the TLS files cannot be used, and those of before go on", LOG_S("error", err.message));
}

/** Wait for SIGTERM or SIGINT, which main has blocked in every thread. */
static void wait_for_signal(struct keys_service *service, const sigset_t *signals) {
    int number = 0;
    while (sigwait(signals, &number) != 0 || number == SIGHUP) {
        if (number == SIGHUP) reread_tls(service);
        number = 0;
    }
    log_info("stopping", LOG_S("signal", number == SIGTERM ? "SIGTERM" : "SIGINT"));
}

static enum status serve(struct keys_service *service, const sigset_t *signals, struct error *err) {
    struct http_server *status_page = NULL;
    enum status status = STATUS_OK;
    TRY_CLEANUP(prepare(service, err));
    TRY_CLEANUP(open_server(service, err));
    TRY_CLEANUP(open_redis(service, err));
    TRY_CLEANUP(keep_ledger(service, err));
    TRY_CLEANUP(rpc_server_start(service->server, err));
    TRY_CLEANUP(status_page_open(service, &status_page, err));
    log_serving(service, status_page);
    report_missing_redis(service);

    wait_for_signal(service, signals);
    atomic_store(&service->draining, true);
    keys_set_health(service, false);
cleanup:
    if (service->server != NULL) rpc_server_stop(service->server, service->settings.drain_ns);
    if (status_page != NULL) {
        http_server_stop(status_page, NS_PER_S);
        http_server_destroy(status_page);
    }
    ledger_keeper_destroy(service->ledger);
    if (service->jobs != NULL) job_pool_destroy(service->jobs);
    keeper_stop(service->changes);
    keeper_stop(service->seeds);
    if (service->redis != NULL) redis_client_destroy(service->redis);
    if (service->limits_redis != NULL) redis_client_destroy(service->limits_redis);
    keeper_destroy(service->changes);
    keeper_destroy(service->seeds);
    if (service->server != NULL) rpc_server_destroy(service->server);
    if (service->transcoder != NULL) transcoder_destroy(service->transcoder);
    if (service->metrics != NULL) metrics_destroy(service->metrics);
    return status;
}

int main(int argc, char **argv) {
    static struct keys_service service;
    struct error err = {0};
    enum settings_outcome outcome = SETTINGS_RUN;
    if (process_forbid_dumps(&err) != STATUS_OK ||
        keys_settings_load(argc, argv, &service.settings, &outcome, &err) != STATUS_OK) {
        fprintf(stderr, "bora-keys: %s\n", err.message);
        return 2;
    }
    if (outcome == SETTINGS_PRINTED) return 0;
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(service.settings.log_level, &level);
    log_configure("keys", level, strcmp(service.settings.log_format, "text") == 0 ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON,
                  STDERR_FILENO);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    enum status status = serve(&service, &signals, &err);
    if (status != STATUS_OK)
        log_error("keys failed", LOG_S("status", status_name(status)), LOG_S("error", err.message));
    else
        log_info("stopped");
    keys_settings_free(&service.settings);
    return status == STATUS_OK ? 0 : 1;
}
