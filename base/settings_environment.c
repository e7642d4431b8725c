/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Variables that look like ours and are nobody's: a mistyped one would otherwise change nothing, and nobody would know. */
#include "base/settings_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char PREFIX[] = "BORA_";

/* Of all services, which may share an environment; then of the clients, and of ./dev and the tests. */
static const char *const known[] = {
    "ADMIN_KEY",
    "ADMIN_KEY_FILE",
    "ADMIT_AHEAD",
    "ADVERTISE",
    "AUDIT_ENTRIES",
    "BODIES_MAX",
    "BODY_MAX",
    "CHECK",
    "CLIENT_THREADS",
    "CONFIG",
    "CONNECTIONS_MAX",
    "CONSOLE_DIR",
    "DEFAULT_REQUESTS_PER_MINUTE",
    "DEFAULT_TOKENS_PER_MINUTE",
    "DEVICE",
    "DIALECT",
    "DISCOVERY",
    "DRAIN",
    "DRAIN_DELAY",
    "GRAMMAR_CACHE",
    "GRPC_LISTEN",
    "HASH_SECRET_FILE",
    "HEADER_TIMEOUT",
    "HEARTBEAT",
    "HTTP_LISTEN",
    "IDLE_TIMEOUT",
    "JUMP_FORWARD",
    "KEEPALIVE",
    "KEEPALIVE_TIMEOUT",
    "KERNEL_VARIANT",
    "KEYS",
    "KEY_CACHE",
    "KV_POOL",
    "KV_TYPE",
    "LEDGER_RETENTION",
    "LIMITS_OUTAGE",
    "LINKS",
    "LISTEN",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MESSAGE_MAX",
    "METRICS_LISTEN",
    "MODEL",
    "MODELS_FILE",
    "OUTAGE_REQUESTS",
    "OUTAGE_TOKENS",
    "PEER_BODIES_MAX",
    "PEER_CONNECTIONS_MAX",
    "QUEUE_MAX",
    "REDIS",
    "REDIS_LIMITS",
    "REDIS_LIMITS_PASSWORD_FILE",
    "REDIS_PASSWORD_FILE",
    "REDIS_TIMEOUT",
    "REGION",
    "REQUEST_TIMEOUT",
    "RPC_THREADS",
    "SEQUENCES_MAX",
    "SERVICE_TOKEN",
    "SERVICE_TOKEN_FILE",
    "SPECULATION",
    "SPIN",
    "STEP_TIME",
    "STEP_TOKENS_MAX",
    "THREADS",
    "TLS_CA_FILE",
    "TLS_CERTIFICATE_FILE",
    "TLS_KEY_FILE",
    "TRIAL",
    "TRUSTED_PROXIES",
    "UPSTREAM_KEEPALIVE",
    "UPSTREAM_KEEPALIVE_TIMEOUT",
    "UPSTREAM_TLS",
    "UPSTREAM_TLS_CA_FILE",
    "UPSTREAM_TLS_CERTIFICATE_FILE",
    "UPSTREAM_TLS_KEY_FILE",
    "WORKER_ID",
    "ADDRESS",
    "API_KEY",
    "API_KEY_FILE",
    "BASE_URL",
    "PROFILE",
    "ARTIFACTS",
    "BUILD_DIR",
    "CACHE",
    "CALLER_FOLDER",
    "LIBLLAMA",
    "STATE",
    "VERSION",
};

static bool is_known(const char *name) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i], name) == 0) return true;
    }
    return strncmp(name, "TEST_", 5) == 0;
}

/** Is `text` at its end, or at a '_' ? */
static bool word_ends(const char *text) {
    return *text == 0 || *text == '_';
}

/** "_PORT_8080_TCP", "_PORT_8080_TCP_ADDR" and the like, at `port`, which begins with "_PORT_". */
static bool is_port_of_kubernetes(const char *port) {
    static const char *const protocols[] = {"TCP", "UDP", "SCTP"};
    const char *digits = port + strlen("_PORT_"), *rest = digits + strspn(digits, "0123456789");
    if (rest == digits || *rest != '_') return false;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        size_t length = strlen(protocols[i]);
        if (strncmp(rest + 1, protocols[i], length) == 0 && word_ends(rest + 1 + length)) return true;
    }
    return false;
}

/** What Kubernetes gives every container for a Service named bora or bora-…: BORA_SERVICE_HOST, BORA_SERVICE_PORT_HTTP, BORA_PORT=tcp://…,
 *  BORA_PORT_8080_TCP_ADDR, BORA_GATEWAY_PORT…  `name` is the whole one. */
static bool is_of_kubernetes(const char *name, const char *value) {
    const char *host = strstr(name, "_SERVICE_HOST"), *service_port = strstr(name, "_SERVICE_PORT"), *port;
    if (host != NULL && host[strlen("_SERVICE_HOST")] == 0) return true;
    if (service_port != NULL && word_ends(service_port + strlen("_SERVICE_PORT"))) return true;
    for (port = strstr(name, "_PORT"); port != NULL; port = strstr(port + 1, "_PORT")) {
        if (port[strlen("_PORT")] == 0 && strstr(value, "://") != NULL) return true;
        if (port[strlen("_PORT")] == '_' && is_port_of_kubernetes(port)) return true;
    }
    return false;
}

/** Names, never values: it may be a secret whose name was mistyped. */
static void warn(const struct setting *table, const char *name) {
    char plain[SETTING_NAME_BYTES + 1], suggestion[SETTING_VARIABLE_BYTES];
    size_t i = 0;
    for (; name[sizeof PREFIX - 1 + i] != 0 && i < SETTING_NAME_BYTES; i++) {
        char c = name[sizeof PREFIX - 1 + i];
        plain[i] = c == '_' ? '-' : (char)tolower((unsigned char)c);
    }
    plain[i] = 0;
    const struct setting *nearest = setting_nearest(table, plain);
    if (nearest != NULL) setting_variable(nearest, suggestion);
    fprintf(stderr, "%s: %.80s is in the environment and is no setting%s%s%s\n", program_invocation_short_name, name,
            nearest != NULL ? "; did you mean " : "", nearest != NULL ? suggestion : "", nearest != NULL ? "?" : "");
}

void settings_warn_of_variables(const struct setting *table) {
    for (char *const *entry = environ; entry != NULL && *entry != NULL; entry++) {
        char name[2 * SETTING_VARIABLE_BYTES];
        size_t length = strcspn(*entry, "=");
        if (strncmp(*entry, PREFIX, sizeof PREFIX - 1) != 0 || length >= sizeof name || (*entry)[length] == 0) continue;
        memcpy(name, *entry, length);
        name[length] = 0;
        if (is_known(name + sizeof PREFIX - 1) || setting_has_variable(table, name) ||
            is_of_kubernetes(name, *entry + length + 1))
            continue;
        warn(table, name);
    }
}
