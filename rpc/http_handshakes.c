/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* TLS handshakes, on a thread of their own: one takes as long as a hundred requests (an RSA signature some milliseconds), and whoever connects may ask for
 * one. A connection is the thread's until it comes back. */
#include "rpc/http_internal.h"

#include <errno.h>
#include <stdlib.h>

struct http_handshakes {
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct http_connection *waiting, **waiting_tail, *back, **back_tail;
    bool stop;
};

static void queue(struct http_connection ***tail, struct http_connection *connection) {
    connection->next_shaking = NULL;
    **tail = connection;
    *tail = &connection->next_shaking;
}

/** The next one, when there is one; NULL: it is time to stop. */
static struct http_connection *take_waiting(struct http_handshakes *handshakes) {
    pthread_mutex_lock(&handshakes->mutex);
    while (handshakes->waiting == NULL && !handshakes->stop) pthread_cond_wait(&handshakes->wake, &handshakes->mutex);
    struct http_connection *connection = handshakes->waiting;
    if (connection != NULL) {
        handshakes->waiting = connection->next_shaking;
        if (handshakes->waiting == NULL) handshakes->waiting_tail = &handshakes->waiting;
    }
    pthread_mutex_unlock(&handshakes->mutex);
    return connection;
}

static enum http_shake shake(struct http_connection *connection) {
    if (atomic_load(&connection->unwanted)) return HTTP_SHAKE_FAILED;
    if (tls_shake_hands(connection->tls) == 0) return HTTP_SHAKE_DONE;
    return errno == EAGAIN ? HTTP_SHAKE_MORE : HTTP_SHAKE_FAILED;
}

static void *run(void *context) {
    struct http_handshakes *handshakes = context;
    for (struct http_connection *connection; (connection = take_waiting(handshakes)) != NULL;) {
        connection->outcome = shake(connection);
        pthread_mutex_lock(&handshakes->mutex);
        queue(&handshakes->back_tail, connection);
        pthread_mutex_unlock(&handshakes->mutex);
        loop_wake(handshakes->loop);
    }
    return NULL;
}

void http_handshakes_push(struct http_handshakes *handshakes, struct http_connection *connection) {
    pthread_mutex_lock(&handshakes->mutex);
    queue(&handshakes->waiting_tail, connection);
    pthread_cond_signal(&handshakes->wake);
    pthread_mutex_unlock(&handshakes->mutex);
}

bool http_handshakes_pending(struct http_handshakes *handshakes) {
    if (handshakes == NULL) return false;
    pthread_mutex_lock(&handshakes->mutex);
    bool pending = handshakes->back != NULL;
    pthread_mutex_unlock(&handshakes->mutex);
    return pending;
}

void http_handshakes_take(struct http_handshakes *handshakes) {
    if (handshakes == NULL) return;
    pthread_mutex_lock(&handshakes->mutex);
    struct http_connection *connection = handshakes->back;
    handshakes->back = NULL;
    handshakes->back_tail = &handshakes->back;
    pthread_mutex_unlock(&handshakes->mutex);
    for (struct http_connection *next; connection != NULL; connection = next) {
        next = connection->next_shaking;
        http_connection_shaken(connection);
    }
}

enum status http_handshakes_start(struct loop *loop, struct http_handshakes **out, struct error *err) {
    struct http_handshakes *handshakes = calloc(1, sizeof *handshakes);
    if (handshakes == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "HTTP server: no memory");
    handshakes->loop = loop;
    handshakes->waiting_tail = &handshakes->waiting;
    handshakes->back_tail = &handshakes->back;
    pthread_mutex_init(&handshakes->mutex, NULL);
    pthread_cond_init(&handshakes->wake, NULL);
    int failed = pthread_create(&handshakes->thread, NULL, run, handshakes);
    if (failed != 0) {
        pthread_cond_destroy(&handshakes->wake);
        pthread_mutex_destroy(&handshakes->mutex);
        free(handshakes);
        return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "HTTP server: no thread for TLS");
    }
    (void)pthread_setname_np(handshakes->thread, "tls");
    *out = handshakes;
    return STATUS_OK;
}

void http_handshakes_stop(struct http_handshakes *handshakes) {
    if (handshakes == NULL) return;
    pthread_mutex_lock(&handshakes->mutex);
    handshakes->stop = true;
    pthread_cond_signal(&handshakes->wake);
    pthread_mutex_unlock(&handshakes->mutex);
    pthread_join(handshakes->thread, NULL);
    pthread_cond_destroy(&handshakes->wake);
    pthread_mutex_destroy(&handshakes->mutex);
    free(handshakes);
}
