/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/turns.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct job {
    job_fn *fn;
    void *context;
    struct job *next;
};

/** A tenant's waiting jobs; there is one while there are some. */
struct line {
    char *tenant;
    struct job *first, *last;
    size_t count;
    struct line *next; /* in the ring */
};

struct turns {
    struct job_pool *pool; /* holds one take_turn for each waiting job: which job that is shows when it runs */
    size_t queue_max, tenant_max;
    pthread_mutex_t mutex; /* guards what follows */
    struct line *last;     /* whose turn comes last; last->next is the one whose turn is next; NULL: nobody waits */
    size_t count;
};

static void free_line(struct line *line) {
    if (line != NULL) free(line->tenant);
    free(line);
}

static struct line *find_line_locked(const struct turns *turns, const char *tenant) {
    struct line *line = turns->last;
    for (bool more = line != NULL; more; line = line->next, more = line != turns->last) {
        if (strcmp(line->tenant, tenant) == 0) return line;
    }
    return NULL;
}

static struct line *make_line(const char *tenant) {
    struct line *line = calloc(1, sizeof *line);
    if (line != NULL && (line->tenant = strdup(tenant)) == NULL) {
        free(line);
        line = NULL;
    }
    return line;
}

static void add_line_locked(struct turns *turns, struct line *line) {
    line->next = turns->last != NULL ? turns->last->next : line;
    if (turns->last != NULL) turns->last->next = line;
    turns->last = line;
}

/** The oldest job of the line whose turn it is; that line goes to the end of the ring, or leaves it. There is one. */
static struct job *next_job_locked(struct turns *turns) {
    struct line *line = turns->last->next;
    struct job *job = line->first;
    line->first = job->next;
    line->count--;
    turns->count--;
    if (line->first != NULL) {
        turns->last = line;
    } else {
        turns->last->next = line->next;
        if (turns->last == line) turns->last = NULL;
        free_line(line);
    }
    return job;
}

static void take_turn(void *context) {
    struct turns *turns = context;
    pthread_mutex_lock(&turns->mutex);
    struct job *job = next_job_locked(turns);
    pthread_mutex_unlock(&turns->mutex);
    job->fn(job->context);
    free(job);
}

enum status turns_create(int threads, size_t queue_max, size_t tenant_max, const char *name, struct turns **out,
                         struct error *err) {
    struct turns *turns = calloc(1, sizeof *turns);
    if (turns == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    turns->queue_max = queue_max;
    turns->tenant_max = tenant_max;
    pthread_mutex_init(&turns->mutex, NULL);
    enum status status = job_pool_create(threads, queue_max, name, &turns->pool, err);
    if (status != STATUS_OK) {
        pthread_mutex_destroy(&turns->mutex);
        free(turns);
        return status;
    }
    *out = turns;
    return STATUS_OK;
}

void turns_destroy(struct turns *turns) {
    if (turns == NULL) return;
    job_pool_destroy(turns->pool);
    pthread_mutex_destroy(&turns->mutex);
    free(turns);
}

enum status turns_submit(struct turns *turns, const char *tenant, job_fn *fn, void *context) {
    struct job *job = malloc(sizeof *job);
    if (job == NULL) return STATUS_RESOURCE_EXHAUSTED;
    *job = (struct job){.fn = fn, .context = context};
    pthread_mutex_lock(&turns->mutex);
    struct line *known = find_line_locked(turns, tenant), *line = known != NULL ? known : make_line(tenant);
    /* Into the pool first, as a turn cannot be taken back; nobody takes one while the mutex is held. */
    bool room = line != NULL && line->count < turns->tenant_max && turns->count < turns->queue_max &&
                job_pool_submit(turns->pool, take_turn, turns) == STATUS_OK;
    if (room) {
        if (known == NULL) add_line_locked(turns, line);
        *(line->first != NULL ? &line->last->next : &line->first) = job;
        line->last = job;
        line->count++;
        turns->count++;
    }
    pthread_mutex_unlock(&turns->mutex);
    if (room) return STATUS_OK;
    if (known == NULL) free_line(line);
    free(job);
    return STATUS_RESOURCE_EXHAUSTED;
}
