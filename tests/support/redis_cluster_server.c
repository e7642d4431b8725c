/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/redis_cluster_server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { COMMAND_BYTES = 1024, ANSWER_BYTES = 1 << 16, READY_ATTEMPTS = 6000 };

static void give_up(const char *what) {
    fprintf(stderr, "redis_cluster_server: %s\n", what);
    abort();
}

/** A port that was free a moment ago. */
static int free_port(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) != 0 || getsockname(fd, (struct sockaddr *)&name, &length) != 0)
        give_up("no port");
    close(fd);
    return ntohs(name.sin_port);
}

static const char *run(const char *command) {
    static char answer[ANSWER_BYTES];
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) give_up("no shell");
    size_t length = fread(answer, 1, sizeof answer - 1, pipe);
    pclose(pipe);
    while (length > 0 && answer[length - 1] == '\n') length--;
    answer[length] = 0;
    return answer;
}

const char *redis_cluster_server_ask(const struct redis_cluster_server *cluster, int server, const char *command) {
    const struct redis_server *asked = &cluster->servers[server];
    char whole[COMMAND_BYTES];
    snprintf(whole, sizeof whole, "%s%s%s redis-cli -p %d %s 2>&1", asked->password[0] != 0 ? "REDISCLI_AUTH='" : "",
             asked->password, asked->password[0] != 0 ? "'" : "", asked->port, command);
    return run(whole);
}

static bool all_are_ready(const struct redis_cluster_server *cluster) {
    for (int i = 0; i < cluster->count; i++) {
        if (strstr(redis_cluster_server_ask(cluster, i, "CLUSTER INFO"), "cluster_state:ok") == NULL) return false;
        bool replica = i >= REDIS_CLUSTER_PRIMARIES;
        if (replica && strstr(redis_cluster_server_ask(cluster, i, "INFO replication"), "link_status:up") == NULL)
            return false;
    }
    return true;
}

static void wait_until_ready(const struct redis_cluster_server *cluster) {
    for (int i = 0; i < READY_ATTEMPTS; i++) {
        if (all_are_ready(cluster)) return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    give_up("the cluster does not come up");
}

void redis_cluster_server_create(struct redis_cluster_server *cluster, bool with_replicas, const char *password) {
    char command[COMMAND_BYTES];
    int length = snprintf(command, sizeof command, "%s%s%s redis-cli --cluster create",
                          password != NULL ? "REDISCLI_AUTH='" : "", password != NULL ? password : "",
                          password != NULL ? "'" : "");
    *cluster =
        (struct redis_cluster_server){.count = with_replicas ? REDIS_CLUSTER_SERVERS_MAX : REDIS_CLUSTER_PRIMARIES};
    for (int i = 0; i < cluster->count; i++) {
        struct redis_server *server = &cluster->servers[i];
        *server = (struct redis_server){.port = free_port(), .cluster_port = free_port()};
        if (password != NULL) snprintf(server->password, sizeof server->password, "%s", password);
        redis_server_create_as(server);
        length += snprintf(command + length, sizeof command - (size_t)length, " 127.0.0.1:%d", server->port);
        if (i >= REDIS_CLUSTER_PRIMARIES) continue;
        size_t used = strlen(cluster->address);
        snprintf(cluster->address + used, sizeof cluster->address - used, "%s127.0.0.1:%d", i > 0 ? "," : "",
                 server->port);
    }
    snprintf(command + length, sizeof command - (size_t)length, " --cluster-replicas %d --cluster-yes 2>&1",
             with_replicas);
    const char *answer = run(command);
    if (strstr(answer, "All 16384 slots covered") == NULL) give_up(answer);
    wait_until_ready(cluster);
}

void redis_cluster_server_destroy(struct redis_cluster_server *cluster) {
    for (int i = 0; i < cluster->count; i++) redis_server_destroy(&cluster->servers[i]);
}

int redis_cluster_server_owner(const struct redis_cluster_server *cluster, int slot) {
    char command[] = "--csv CLUSTER SLOTS", *rest = NULL, *copy;
    int living = 0, owner = -1;
    while (living < cluster->count && cluster->servers[living].pid == 0) living++;
    if (living == cluster->count) return -1;
    copy = strdup(redis_cluster_server_ask(cluster, living, command));
    /* A range: its ends, and behind them "address",port of its primary. */
    int ends[2] = {-1, -1}, at = 0;
    for (char *word = strtok_r(copy, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        if (word[0] == '"') {
            char *port = strcmp(word, "\"127.0.0.1\"") == 0 ? strtok_r(NULL, ",", &rest) : NULL;
            for (int i = 0; port != NULL && at == 2 && ends[0] <= slot && slot <= ends[1] && i < cluster->count; i++) {
                if (cluster->servers[i].port == atoi(port) && cluster->servers[i].pid != 0) owner = i;
            }
            at = 0; /* those that follow are replicas, until there are two numbers again */
        } else if (at < 2) {
            ends[at++] = atoi(word);
        }
    }
    free(copy);
    return owner;
}

static void expect_ok(const char *answer) {
    if (strcmp(answer, "OK") != 0) give_up(answer);
}

static void set_slot(const struct redis_cluster_server *cluster, int server, int slot, const char *state, int other) {
    char id[64], command[COMMAND_BYTES];
    snprintf(id, sizeof id, "%s", redis_cluster_server_ask(cluster, other, "CLUSTER MYID"));
    snprintf(command, sizeof command, "CLUSTER SETSLOT %d %s %s", slot, state, id);
    expect_ok(redis_cluster_server_ask(cluster, server, command));
}

void redis_cluster_server_begin_move(const struct redis_cluster_server *cluster, int slot, int from, int to) {
    set_slot(cluster, to, slot, "IMPORTING", from);
    set_slot(cluster, from, slot, "MIGRATING", to);
}

void redis_cluster_server_move_keys(const struct redis_cluster_server *cluster, int slot, int from, int to) {
    const struct redis_server *target = &cluster->servers[to];
    char command[COMMAND_BYTES], list[COMMAND_BYTES], *rest = NULL;
    snprintf(command, sizeof command, "CLUSTER GETKEYSINSLOT %d 10", slot);
    for (;;) {
        snprintf(list, sizeof list, "%s", redis_cluster_server_ask(cluster, from, command));
        if (list[0] == 0) return;
        for (char *key = strtok_r(list, "\n", &rest); key != NULL; key = strtok_r(NULL, "\n", &rest)) {
            char move[COMMAND_BYTES];
            snprintf(move, sizeof move, "MIGRATE 127.0.0.1 %d '%s' 0 5000 %s%s%s", target->port, key,
                     target->password[0] != 0 ? "AUTH '" : "", target->password, target->password[0] != 0 ? "'" : "");
            const char *answer = redis_cluster_server_ask(cluster, from, move);
            if (strcmp(answer, "OK") != 0 && strcmp(answer, "NOKEY") != 0) give_up(answer);
        }
    }
}

void redis_cluster_server_end_move(const struct redis_cluster_server *cluster, int slot, int from, int to) {
    set_slot(cluster, to, slot, "NODE", to);
    set_slot(cluster, from, slot, "NODE", to);
}
