/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/settlements.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

enum { BUCKETS = 4096, BATCH = 256, RECORD_WORD_BYTES = 64 };
static const int64_t POLL_NS = 20 * (int64_t)NS_PER_MS, BACKOFF_NS = 50 * (int64_t)NS_PER_MS, BACKOFF_MAX_NS = NS_PER_S;

enum kind { KIND_CHARGE, KIND_SETTLE, KIND_REPORT, KIND_RECORD };

/** An admission that has to be made up for, with what it lends. */
struct record {
    struct limits_admission admission;
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    char workspace[LIMITS_ID_BYTES + 1], key[LIMITS_KEY_ID_BYTES + 1], model[LIMIT_MODEL_NAME_BYTES + 1],
        request_id[RECORD_WORD_BYTES], endpoint[RECORD_WORD_BYTES];
};

struct entry {
    TAILQ_ENTRY(entry) link;       /* waiting or again */
    LIST_ENTRY(entry) same_bucket; /* charges that wait */
    struct settlements *owner;
    enum kind kind;
    int answer;
    bool was_sent;
    char organization[LIMITS_ID_BYTES + 1], lease[LIMITS_LEASE_ID_BYTES + 1];
    struct limits_usage usage;
    struct record *record; /* KIND_RECORD */
};
TAILQ_HEAD(entries, entry);
LIST_HEAD(bucket, entry);

struct settlements {
    struct redis_client *client;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct entries waiting;         /* not under way, oldest first */
    struct entries again;           /* came back without an answer, in that order; older than all that wait */
    struct bucket charges[BUCKETS]; /* those of `waiting`, by lease */
    int64_t under_way;
    bool away; /* calls wait instead of being sent; ends when nothing waits any more */
    bool stopping;
    struct settlements_counts counts;
};

static void free_entry(struct entry *entry) {
    if (entry != NULL) free(entry->record);
    free(entry);
}

/* --- a call and its answer: any thread ------------------------------------------------------------------------------ */

static void on_answer(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    struct entry *entry = context;
    struct settlements *settlements = entry->owner;
    pthread_mutex_lock(&settlements->mutex);
    settlements->under_way--;
    if (status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_RESOURCE_EXHAUSTED) {
        TAILQ_INSERT_TAIL(&settlements->again, entry, link);
        settlements->away = true;
        entry = NULL;
    } else {
        settlements->counts.waiting--;
        if (status == STATUS_CANCELLED)
            settlements->counts.dropped++;
        else if (status != STATUS_OK)
            settlements->counts.refused++;
    }
    pthread_cond_broadcast(&settlements->changed);
    pthread_mutex_unlock(&settlements->mutex);
    free_entry(entry);
}

/** A lease that was settled before is refused, and settling it again adds nothing. It is settled provisionally, as only that leaves a word which an
 *  admission that is sent again finds: without it a settlement whose answer was lost would be followed by a second request. */
static void on_recorded(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)result;
    struct entry *entry = context;
    if (status == STATUS_OK || status == STATUS_INTERNAL)
        limits_settle(entry->owner->client, entry->organization, entry->lease, &entry->usage, on_answer, entry);
    else
        on_answer(entry, status, NULL, message);
}

/** Without the lock: a client without a connection answers before it returns. The entry may be gone then. */
static void send_entry(struct entry *entry) {
    struct redis_client *client = entry->owner->client;
    switch (entry->kind) {
    case KIND_CHARGE:
        limits_charge(client, entry->organization, entry->lease, &entry->usage, on_answer, entry);
        break;
    case KIND_SETTLE:
        limits_settle(client, entry->organization, entry->lease, &entry->usage, on_answer, entry);
        break;
    case KIND_REPORT:
        limits_report(client, entry->organization, entry->lease, entry->answer, &entry->usage, on_answer, entry);
        break;
    case KIND_RECORD:
        limits_admit(client, &entry->record->admission, on_recorded, entry);
        break;
    }
}

/* --- what waits: under the lock ------------------------------------------------------------------------------------- */

static struct bucket *bucket_of(struct settlements *settlements, const char *lease) {
    return &settlements->charges[bytes_hash(0, bytes_view_string(lease)) % BUCKETS];
}

static struct entry *waiting_charge(struct settlements *settlements, const char *organization, const char *lease) {
    struct entry *entry;
    LIST_FOREACH(entry, bucket_of(settlements, lease), same_bucket) {
        if (strcmp(entry->lease, lease) == 0 && strcmp(entry->organization, organization) == 0) return entry;
    }
    return NULL;
}

static void index_charge(struct settlements *settlements, struct entry *entry) {
    if (entry->kind == KIND_CHARGE) LIST_INSERT_HEAD(bucket_of(settlements, entry->lease), entry, same_bucket);
}

static struct entry *take_first(struct settlements *settlements) {
    struct entry *entry = TAILQ_FIRST(&settlements->waiting);
    if (entry == NULL) return NULL;
    TAILQ_REMOVE(&settlements->waiting, entry, link);
    if (entry->kind == KIND_CHARGE) LIST_REMOVE(entry, same_bucket);
    return entry;
}

/** What came back waits again, before all that came later. */
static void put_back(struct settlements *settlements) {
    struct entry *entry;
    TAILQ_FOREACH(entry, &settlements->again, link) index_charge(settlements, entry);
    TAILQ_CONCAT(&settlements->again, &settlements->waiting, link);
    TAILQ_CONCAT(&settlements->waiting, &settlements->again, link);
}

/** A charge that waits is replaced by whatever comes for its lease that says more. */
static bool merge(struct settlements *settlements, enum kind kind, const char *organization, const char *lease,
                  const struct limits_usage *usage) {
    if (!settlements->away || kind == KIND_REPORT || kind == KIND_RECORD) return false;
    struct entry *charge = waiting_charge(settlements, organization, lease);
    if (charge == NULL) return false;
    int64_t output = charge->usage.output > usage->output ? charge->usage.output : usage->output;
    charge->usage = *usage;
    charge->usage.output = output;
    if (kind == KIND_SETTLE) LIST_REMOVE(charge, same_bucket);
    charge->kind = kind;
    return true;
}

static struct entry *add_entry(struct settlements *settlements, enum kind kind, const char *organization,
                               const char *lease, int answer, const struct limits_usage *usage) {
    int64_t most = kind == KIND_CHARGE ? SETTLEMENTS_CHARGES_MAX : SETTLEMENTS_MAX;
    struct entry *entry = settlements->counts.waiting < most ? calloc(1, sizeof *entry) : NULL;
    if (entry == NULL) {
        settlements->counts.dropped++;
        return NULL;
    }
    entry->owner = settlements;
    entry->kind = kind;
    entry->answer = answer;
    entry->usage = *usage;
    snprintf(entry->organization, sizeof entry->organization, "%s", organization);
    snprintf(entry->lease, sizeof entry->lease, "%s", lease);
    settlements->counts.waiting++;
    return entry;
}

static void attach_record(struct entry *entry, struct record *record) {
    entry->record = record;
    record->admission.lease = entry->lease;
    record->admission.subject = (struct limits_subject){.organization = entry->organization,
                                                        .workspace = record->workspace,
                                                        .key = record->key,
                                                        .model = record->model,
                                                        .request_id = record->request_id,
                                                        .endpoint = record->endpoint};
}

/** `record`: taken. */
static void submit(struct settlements *settlements, enum kind kind, const char *organization, const char *lease,
                   int answer, const struct limits_usage *usage, struct record *record) {
    struct entry *to_send = NULL;
    pthread_mutex_lock(&settlements->mutex);
    if (!merge(settlements, kind, organization, lease, usage)) {
        struct entry *entry = add_entry(settlements, kind, organization, lease, answer, usage);
        if (entry != NULL && record != NULL) attach_record(entry, record);
        if (entry == NULL) free(record);
        if (entry != NULL && settlements->away) {
            TAILQ_INSERT_TAIL(&settlements->waiting, entry, link);
            index_charge(settlements, entry);
        } else if (entry != NULL) {
            settlements->under_way++;
            entry->was_sent = true;
            to_send = entry;
        }
    }
    pthread_mutex_unlock(&settlements->mutex);
    if (to_send != NULL) send_entry(to_send);
}

void settlements_charge(struct settlements *settlements, const char *organization, const char *lease,
                        const struct limits_usage *usage) {
    submit(settlements, KIND_CHARGE, organization, lease, 0, usage, NULL);
}

void settlements_settle(struct settlements *settlements, const char *organization, const char *lease,
                        const struct limits_usage *usage) {
    submit(settlements, KIND_SETTLE, organization, lease, 0, usage, NULL);
}

void settlements_report(struct settlements *settlements, const char *organization, const char *lease, int answer,
                        const struct limits_usage *usage) {
    submit(settlements, KIND_REPORT, organization, lease, answer, usage, NULL);
}

static struct record *copy_record(const struct limits_admission *admission, const struct limits_usage *usage) {
    struct record *record = calloc(1, sizeof *record);
    if (record == NULL) return NULL;
    const struct limits_subject *subject = &admission->subject;
    for (int i = 0; i < admission->scope_count; i++) record->scopes[i] = admission->scopes[i];
    snprintf(record->workspace, sizeof record->workspace, "%s", subject->workspace);
    snprintf(record->key, sizeof record->key, "%s", subject->key);
    snprintf(record->model, sizeof record->model, "%s", subject->model);
    snprintf(record->request_id, sizeof record->request_id, "%s", subject->request_id);
    snprintf(record->endpoint, sizeof record->endpoint, "%s", subject->endpoint);
    record->admission = *admission;
    record->admission.scopes = record->scopes;
    record->admission.gate = NULL; /* what has passed is not asked whether it may */
    record->admission.late = true;
    record->admission.input = usage->input;
    record->admission.output = usage->output;
    record->admission.output_optional = 0;
    return record;
}

void settlements_record(struct settlements *settlements, const struct limits_admission *admission,
                        const struct limits_usage *usage) {
    struct record *record = copy_record(admission, usage);
    if (record == NULL) { /* its settlement alone says less than nothing: it is counted as lost */
        pthread_mutex_lock(&settlements->mutex);
        settlements->counts.dropped++;
        pthread_mutex_unlock(&settlements->mutex);
        return;
    }
    struct limits_usage provisional = *usage;
    provisional.provisional = true;
    submit(settlements, KIND_RECORD, admission->subject.organization, admission->lease, 0, &provisional, record);
}

struct settlements_counts settlements_count(struct settlements *settlements) {
    pthread_mutex_lock(&settlements->mutex);
    struct settlements_counts counts = settlements->counts;
    pthread_mutex_unlock(&settlements->mutex);
    return counts;
}

/* --- again: the thread ---------------------------------------------------------------------------------------------- */

static struct timespec time_after(int64_t ns) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    int64_t sum = time.tv_nsec + ns % NS_PER_S;
    time.tv_sec += ns / NS_PER_S + sum / NS_PER_S;
    time.tv_nsec = sum % NS_PER_S;
    return time;
}

/** Under the lock, which is given away meanwhile. Ends early only when it is time to stop. */
static void rest(struct settlements *settlements, int64_t ns) {
    struct timespec deadline = time_after(ns);
    while (!settlements->stopping &&
           pthread_cond_timedwait(&settlements->changed, &settlements->mutex, &deadline) == 0) {
    }
}

static void send_batch(struct settlements *settlements) {
    struct entry *batch[BATCH];
    int count = 0;
    while (count < BATCH && (batch[count] = take_first(settlements)) != NULL) {
        settlements->under_way++;
        settlements->counts.repeated += batch[count]->was_sent;
        batch[count]->was_sent = true;
        count++;
    }
    pthread_mutex_unlock(&settlements->mutex);
    for (int i = 0; i < count; i++) send_entry(batch[i]);
    pthread_mutex_lock(&settlements->mutex);
}

static void *run(void *argument) {
    struct settlements *settlements = argument;
    int64_t backoff_ns = 0;
    pthread_mutex_lock(&settlements->mutex);
    while (!settlements->stopping) {
        if (!settlements->away || settlements->under_way > 0) {
            pthread_cond_wait(&settlements->changed, &settlements->mutex);
            continue;
        }
        bool failed = !TAILQ_EMPTY(&settlements->again);
        backoff_ns = !failed                           ? 0
                     : backoff_ns == 0                 ? BACKOFF_NS
                     : backoff_ns * 2 < BACKOFF_MAX_NS ? backoff_ns * 2
                                                       : BACKOFF_MAX_NS;
        put_back(settlements);
        if (TAILQ_EMPTY(&settlements->waiting)) {
            settlements->away = false;
            pthread_cond_broadcast(&settlements->changed);
            continue;
        }
        if (!redis_client_connected(settlements->client)) {
            backoff_ns = 0; /* it is the connection's coming back that is waited for */
            while (!settlements->stopping && !redis_client_connected(settlements->client)) rest(settlements, POLL_NS);
        } else if (backoff_ns > 0) {
            rest(settlements, backoff_ns);
        }
        if (!settlements->stopping) send_batch(settlements);
    }
    pthread_mutex_unlock(&settlements->mutex);
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

enum status settlements_create(struct redis_client *client, struct settlements **out, struct error *err) {
    struct settlements *settlements = calloc(1, sizeof *settlements);
    if (settlements == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    settlements->client = client;
    TAILQ_INIT(&settlements->waiting);
    TAILQ_INIT(&settlements->again);
    for (int i = 0; i < BUCKETS; i++) LIST_INIT(&settlements->charges[i]);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&settlements->mutex, NULL);
    pthread_cond_init(&settlements->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&settlements->thread, NULL, run, settlements) != 0) {
        pthread_cond_destroy(&settlements->changed);
        pthread_mutex_destroy(&settlements->mutex);
        free(settlements);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "the thread of settlements cannot be started");
    }
    *out = settlements;
    return STATUS_OK;
}

int64_t settlements_destroy(struct settlements *settlements, int64_t timeout_ns) {
    if (settlements == NULL) return 0;
    struct timespec deadline = time_after(timeout_ns);
    pthread_mutex_lock(&settlements->mutex);
    while (settlements->counts.waiting > 0 &&
           pthread_cond_timedwait(&settlements->changed, &settlements->mutex, &deadline) == 0) {
    }
    settlements->stopping = true;
    pthread_cond_broadcast(&settlements->changed);
    pthread_mutex_unlock(&settlements->mutex);
    pthread_join(settlements->thread, NULL);

    pthread_mutex_lock(&settlements->mutex);
    while (settlements->under_way > 0) pthread_cond_wait(&settlements->changed, &settlements->mutex);
    int64_t left = settlements->counts.waiting;
    put_back(settlements);
    pthread_mutex_unlock(&settlements->mutex);
    for (struct entry *entry; (entry = take_first(settlements)) != NULL;) free_entry(entry);
    pthread_cond_destroy(&settlements->changed);
    pthread_mutex_destroy(&settlements->mutex);
    free(settlements);
    return left;
}
