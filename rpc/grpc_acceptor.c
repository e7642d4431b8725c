/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpc/grpc_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, BACK_OFF_MS = 50 };

struct grpc_acceptor {
    int fd, stop_fd;
    grpc_server *server;
    pthread_t thread;
    bool started;
    char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static enum status bind_unix(struct grpc_acceptor *acceptor, const char *path, struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the socket path %s is longer than %zu bytes", path,
                         sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    acceptor->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (acceptor->fd < 0) return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, errno, "cannot open a socket");
    struct stat facts;
    if (connect(acceptor->fd, (struct sockaddr *)&address, sizeof address) == 0)
        return error_set(err, STATUS_UNAVAILABLE, "%s is in use", path);
    if (errno == ECONNREFUSED && stat(path, &facts) == 0 && S_ISSOCK(facts.st_mode))
        unlink(path); /* left by a process that died */
    if (bind(acceptor->fd, (struct sockaddr *)&address, sizeof address) != 0)
        return error_set_errno(err, STATUS_UNAVAILABLE, errno, "cannot listen on %s", path);
    strcpy(acceptor->unix_path, path);
    return STATUS_OK;
}

/** "host:port" or "[v6]:port" into its parts. */
static bool split_address(const char *address, char host[256], char port[16]) {
    const char *colon = strrchr(address, ':');
    if (colon == NULL || strlen(colon + 1) == 0 || strlen(colon + 1) >= 16) return false;
    size_t length = (size_t)(colon - address);
    if (length >= 2 && address[0] == '[' && address[length - 1] == ']') {
        address++;
        length -= 2;
    }
    if (length >= 256) return false;
    memcpy(host, address, length);
    host[length] = 0;
    strcpy(port, colon + 1);
    return port[strspn(port, "0123456789")] == 0;
}

static enum status bind_tcp(struct grpc_acceptor *acceptor, const char *address, int *out_port, struct error *err) {
    char host[256], port[16];
    if (!split_address(address, host, port))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "'%.64s' is not an address such as 127.0.0.1:7001, [::]:7001 or unix:/path", address);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    int failed = getaddrinfo(host[0] != 0 ? host : NULL, port, &hints, &found);
    if (failed != 0) return error_set(err, STATUS_INVALID_ARGUMENT, "'%.64s': %s", address, gai_strerror(failed));
    enum status status = STATUS_OK;
    int on = 1, failure = 0;
    acceptor->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool bound = acceptor->fd >= 0 && setsockopt(acceptor->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                 bind(acceptor->fd, found->ai_addr, found->ai_addrlen) == 0;
    failure = errno;
    freeaddrinfo(found);
    if (!bound) return error_set_errno(err, STATUS_UNAVAILABLE, failure, "cannot listen on %.64s", address);
    struct sockaddr_storage actual;
    socklen_t length = sizeof actual;
    if (getsockname(acceptor->fd, (struct sockaddr *)&actual, &length) != 0)
        return error_set_errno(err, STATUS_INTERNAL, errno, "getsockname");
    *out_port = ntohs(actual.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&actual)->sin6_port
                                                   : ((struct sockaddr_in *)&actual)->sin_port);
    return status;
}

enum status grpc_acceptor_create(const char *address, grpc_server *server, struct grpc_acceptor **out, int *out_port,
                                 struct error *err) {
    struct grpc_acceptor *acceptor = calloc(1, sizeof *acceptor);
    if (acceptor == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    acceptor->fd = -1;
    acceptor->server = server;
    acceptor->stop_fd = eventfd(0, EFD_CLOEXEC);
    enum status status =
        acceptor->stop_fd < 0 ? error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, errno, "eventfd") : STATUS_OK;
    if (status == STATUS_OK)
        status = strncmp(address, "unix:", 5) == 0 ? bind_unix(acceptor, address + 5, err)
                                                   : bind_tcp(acceptor, address, out_port, err);
    if (status == STATUS_OK && listen(acceptor->fd, BACKLOG) != 0)
        status = error_set_errno(err, STATUS_UNAVAILABLE, errno, "cannot listen on %.64s", address);
    if (status != STATUS_OK)
        grpc_acceptor_destroy(acceptor);
    else
        *out = acceptor;
    return status;
}

void grpc_acceptor_peer(int fd, char *out, size_t out_bytes) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    snprintf(out, out_bytes, "unknown");
    if (getpeername(fd, (struct sockaddr *)&peer, &length) != 0) return;
    if (peer.ss_family == AF_UNIX)
        snprintf(out, out_bytes, "unix:");
    else if (getnameinfo((struct sockaddr *)&peer, length, host, sizeof host, port, sizeof port,
                         NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(out, out_bytes, peer.ss_family == AF_INET6 ? "ipv6:[%.54s]:%.6s" : "ipv4:%.54s:%.6s", host, port);
}

static void hand_over(const struct grpc_acceptor *acceptor, int connection) {
    int on = 1;
    fcntl(connection, F_SETFL, fcntl(connection, F_GETFL) | O_NONBLOCK);
    if (acceptor->unix_path[0] == 0) setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    grpc_server_add_channel_from_fd(acceptor->server, connection, credentials);
    grpc_server_credentials_release(credentials);
}

static void *acceptor_main(void *context) {
    struct grpc_acceptor *acceptor = context;
    struct pollfd wait[2] = {{.fd = acceptor->fd, .events = POLLIN}, {.fd = acceptor->stop_fd, .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR) return NULL;
        if (wait[1].revents != 0) return NULL;
        int connection = accept4(acceptor->fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection >= 0)
            hand_over(acceptor, connection);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            poll(&wait[1], 1, BACK_OFF_MS); /* until others have closed theirs */
    }
}

enum status grpc_acceptor_start(struct grpc_acceptor *acceptor, struct error *err) {
    int failed = pthread_create(&acceptor->thread, NULL, acceptor_main, acceptor);
    if (failed != 0)
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "cannot start the accepting thread");
    acceptor->started = true;
    return STATUS_OK;
}

void grpc_acceptor_destroy(struct grpc_acceptor *acceptor) {
    if (acceptor == NULL) return;
    if (acceptor->started) {
        uint64_t one = 1;
        ssize_t ignored = write(acceptor->stop_fd, &one, sizeof one);
        (void)ignored;
        pthread_join(acceptor->thread, NULL);
    }
    if (acceptor->fd >= 0) close(acceptor->fd);
    if (acceptor->stop_fd >= 0) close(acceptor->stop_fd);
    if (acceptor->unix_path[0] != 0) unlink(acceptor->unix_path);
    free(acceptor);
}
