/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/redis_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_ATTEMPTS = 2000, ATTEMPT_MS = 5 };

static void give_up(const char *what) {
    fprintf(stderr, "redis_server: %s: %s\n", what, strerror(errno));
    abort();
}

/* Accepting is not enough: while the server loads its file it accepts and refuses commands. */
static bool answers(const struct redis_server *server) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", server->address + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) give_up("socket");
    char reply[64] = {0};
    const char ping[] = "PING\r\n";
    bool ok = connect(fd, (struct sockaddr *)&name, sizeof name) == 0 &&
              send(fd, ping, sizeof ping - 1, MSG_NOSIGNAL) > 0 && read(fd, reply, sizeof reply - 1) > 0 &&
              (strncmp(reply, "+PONG", 5) == 0 || strncmp(reply, "-NOAUTH", 7) == 0);
    close(fd);
    return ok;
}

static void run_server(const struct redis_server *server) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const char *socket_path = server->address + strlen("unix:");
    char cluster_port[16], port[16];
    snprintf(cluster_port, sizeof cluster_port, "%d", server->cluster_port);
    snprintf(port, sizeof port, "%d", server->port);
    bool in_cluster = server->cluster_port != 0, with_password = server->password[0] != 0;
    const char *arguments[] = {"redis-server",
                               "--port",
                               port,
                               "--bind",
                               "127.0.0.1",
                               "--unixsocket",
                               socket_path,
                               "--dir",
                               server->folder,
                               "--appendonly",
                               "yes",
                               "--appendfsync",
                               server->written_only ? "no" : "always",
                               "--save",
                               "",
                               "--daemonize",
                               "no",
                               "--logfile",
                               "server.log",
                               "--requirepass",
                               with_password ? server->password : "",
                               "--masterauth",
                               with_password ? server->password : "",
                               in_cluster ? "--cluster-enabled" : NULL,
                               "yes",
                               "--cluster-port",
                               cluster_port,
                               "--cluster-node-timeout",
                               "1500",
                               NULL};
    execvp("redis-server", (char *const *)arguments);
    fprintf(stderr, "redis_server: cannot run redis-server (Debian package redis-server): %s\n", strerror(errno));
    _exit(127);
}

void redis_server_start(struct redis_server *server) {
    server->pid = fork();
    if (server->pid < 0) give_up("fork");
    if (server->pid == 0) run_server(server);
    for (int i = 0; i < START_ATTEMPTS; i++) {
        if (answers(server)) return;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) break;
        nanosleep(&(struct timespec){.tv_nsec = ATTEMPT_MS * 1000000L}, NULL);
    }
    errno = ETIMEDOUT;
    give_up("redis-server does not answer; see server.log in its folder");
}

void redis_server_create_as(struct redis_server *server) {
    snprintf(server->folder, sizeof server->folder, "/tmp/bora-test-redis-XXXXXX");
    if (mkdtemp(server->folder) == NULL) give_up("mkdtemp");
    snprintf(server->address, sizeof server->address, "unix:%s/redis.sock", server->folder);
    redis_server_start(server);
}

void redis_server_create(struct redis_server *server, const char *password) {
    *server = (struct redis_server){0};
    if (password != NULL) snprintf(server->password, sizeof server->password, "%s", password);
    redis_server_create_as(server);
}

void redis_server_kill(struct redis_server *server) {
    if (server->pid <= 0) return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

void redis_server_destroy(struct redis_server *server) {
    redis_server_kill(server);
    nftw(server->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void redis_server_freeze(struct redis_server *server) {
    kill(server->pid, SIGSTOP);
    waitpid(server->pid, NULL, WUNTRACED); /* it is stopped, not about to be */
}

void redis_server_thaw(struct redis_server *server) {
    kill(server->pid, SIGCONT);
}

static bool file_contains(const char *path, const char *text) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) give_up(path);
    struct stat info;
    if (fstat(fileno(file), &info) != 0) give_up(path);
    char *data = malloc((size_t)info.st_size + 1);
    size_t length = fread(data, 1, (size_t)info.st_size, file);
    fclose(file);
    bool found = memmem(data, length, text, strlen(text)) != NULL;
    free(data);
    return found;
}

bool redis_server_disk_contains(const struct redis_server *server, const char *text) {
    char folder[128], path[512];
    snprintf(folder, sizeof folder, "%s/appendonlydir", server->folder);
    DIR *entries = opendir(folder);
    if (entries == NULL) give_up(folder);
    bool found = false;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        found = found || file_contains(path, text);
    }
    closedir(entries);
    return found;
}
