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

enum { BUCKETS = 4096, ORGANIZATION_BUCKETS = 256, AGAIN_MAX = 256, ENDPOINT_BYTES = 64 };
static const int64_t GATHER_NS = 5 * (int64_t)NS_PER_MS;
static const int64_t POLL_NS = 20 * (int64_t)NS_PER_MS, BACKOFF_NS = 50 * (int64_t)NS_PER_MS, BACKOFF_MAX_NS = NS_PER_S;

enum kind { KIND_CHARGE, KIND_SETTLE, KIND_REPORT, KIND_RECORD };

/** An admission that has to be made up for, with what it lends. */
struct record {
    struct limits_admission admission;
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    char workspace[LIMITS_ID_BYTES + 1], key[LIMITS_KEY_ID_BYTES + 1], model[LIMIT_MODEL_NAME_BYTES + 1],
        request_id[LIMIT_REQUEST_ID_BYTES + 1], endpoint[ENDPOINT_BYTES + 1];
};

struct entry {
    TAILQ_ENTRY(entry) link;       /* waiting, again, or a batch's */
    LIST_ENTRY(entry) same_bucket; /* charges that wait or are gathered */
    enum kind kind;
    int answer;
    bool was_sent;
    char organization[LIMITS_ID_BYTES + 1], lease[LIMITS_LEASE_ID_BYTES + 1];
    struct limits_usage usage;
    struct record *record; /* KIND_RECORD */
};
TAILQ_HEAD(entries, entry);
LIST_HEAD(bucket, entry);

/** What is sent in one call: words on leases of one organisation, or one record. */
struct batch {
    TAILQ_ENTRY(batch) link;       /* gathered, or about to be sent */
    LIST_ENTRY(batch) same_bucket; /* gathered */
    struct settlements *owner;
    int64_t since_ns;
    int count;
    bool carried; /* by an admission, with which it may have been refused */
    struct entries entries;
};
TAILQ_HEAD(batches, batch);
LIST_HEAD(batch_bucket, batch);

struct settlements {
    struct redis_client *client;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct batches gathered; /* oldest first; none while away */
    struct batch_bucket organizations[ORGANIZATION_BUCKETS];
    struct entries waiting;         /* not under way, oldest first */
    struct entries again;           /* came back without an answer, in that order; older than all that wait */
    struct bucket charges[BUCKETS]; /* those of `waiting` and `gathered`, by lease */
    int64_t last_ns;                /* when something came to be gathered */
    int64_t under_way;
    bool away;     /* calls wait instead of being sent; ends when nothing waits any more */
    bool sleeping; /* the thread, until it is called */
    bool busy;     /* something was gathered since the thread has looked */
    bool draining; /* nothing is gathered any more */
    bool stopping;
    struct settlements_counts counts;
};

static void free_entry(struct entry *entry) {
    if (entry != NULL) free(entry->record);
    free(entry);
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

/* --- what is gathered: under the lock --------------------------------------------------------------------------------- */

static struct batch_bucket *organization_bucket(struct settlements *settlements, const char *organization) {
    return &settlements->organizations[bytes_hash(0, bytes_view_string(organization)) % ORGANIZATION_BUCKETS];
}

static const char *organization_of(const struct batch *batch) {
    return TAILQ_FIRST(&batch->entries)->organization;
}

static struct batch *find_batch(struct settlements *settlements, const char *organization) {
    struct batch *batch;
    LIST_FOREACH(batch, organization_bucket(settlements, organization), same_bucket) {
        if (strcmp(organization_of(batch), organization) == 0) return batch;
    }
    return NULL;
}

static struct batch *batch_create(struct settlements *settlements) {
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL) return NULL;
    batch->owner = settlements;
    TAILQ_INIT(&batch->entries);
    return batch;
}

static void batch_add(struct batch *batch, struct entry *entry) {
    TAILQ_INSERT_TAIL(&batch->entries, entry, link);
    batch->count++;
}

/** It is under way from now on. */
static void take_batch(struct settlements *settlements, struct batch *batch) {
    struct entry *entry;
    LIST_REMOVE(batch, same_bucket);
    TAILQ_REMOVE(&settlements->gathered, batch, link);
    TAILQ_FOREACH(entry, &batch->entries, link) {
        if (entry->kind == KIND_CHARGE) LIST_REMOVE(entry, same_bucket);
        entry->was_sent = true;
    }
    settlements->under_way += batch->count;
}

/** False when memory is out. `now`: it waits for no others. `*out_full`: the batch, if it is to be sent at once. */
static bool gather(struct settlements *settlements, struct entry *entry, bool now, struct batch **out_full) {
    struct batch *batch = find_batch(settlements, entry->organization);
    bool is_new = batch == NULL;
    if (is_new && (batch = batch_create(settlements)) == NULL) return false;
    int64_t now_ns = clock_monotonic_ns(clock_system());
    bool quiet = now_ns - settlements->last_ns > GATHER_NS; /* then waiting for others would be in vain */
    settlements->last_ns = now_ns;
    batch_add(batch, entry);
    index_charge(settlements, entry);
    if (is_new) {
        batch->since_ns = now_ns;
        LIST_INSERT_HEAD(organization_bucket(settlements, entry->organization), batch, same_bucket);
        TAILQ_INSERT_TAIL(&settlements->gathered, batch, link);
        settlements->busy = true;
        if (settlements->sleeping && !quiet && !now) pthread_cond_broadcast(&settlements->changed);
    }
    if (batch->count == LIMITS_WORDS_MAX || now || quiet || settlements->draining) {
        take_batch(settlements, batch);
        *out_full = batch;
    }
    return true;
}

/** Redis is away: what was gathered waits. */
static void stop_gathering(struct settlements *settlements) {
    struct batch *batch;
    while ((batch = TAILQ_FIRST(&settlements->gathered)) != NULL) {
        LIST_REMOVE(batch, same_bucket);
        TAILQ_REMOVE(&settlements->gathered, batch, link);
        TAILQ_CONCAT(&settlements->waiting, &batch->entries, link);
        free(batch);
    }
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
    if (kind == KIND_REPORT || kind == KIND_RECORD) return false;
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
    record->admission.subject.organization = entry->organization;
}

/* --- a call and its answer: any thread ------------------------------------------------------------------------------ */

static void send_batch(struct batch *batch);

/** Each alone, so that one that is refused takes no other with it. False when memory is out. */
static bool send_apart(struct batch *batch) {
    while (batch->count > 1) {
        struct batch *one = batch_create(batch->owner);
        if (one == NULL) return false;
        struct entry *entry = TAILQ_FIRST(&batch->entries);
        TAILQ_REMOVE(&batch->entries, entry, link);
        batch->count--;
        batch_add(one, entry);
        send_batch(one);
    }
    send_batch(batch);
    return true;
}

/** May the same call succeed later? */
static bool will_pass(enum status status) {
    return status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_RESOURCE_EXHAUSTED;
}

static void on_answer(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    (void)reply, (void)message;
    struct batch *batch = context;
    struct settlements *settlements = batch->owner;
    bool refused = status != STATUS_OK && status != STATUS_CANCELLED && !will_pass(status);
    if (refused && batch->carried) { /* it may have been the admission that was refused */
        batch->carried = false;
        send_batch(batch);
        return;
    }
    if (refused && batch->count > 1 && send_apart(batch)) return;
    pthread_mutex_lock(&settlements->mutex);
    settlements->under_way -= batch->count;
    if (will_pass(status)) {
        TAILQ_CONCAT(&settlements->again, &batch->entries, link);
        settlements->away = true;
        stop_gathering(settlements);
    } else {
        settlements->counts.waiting -= batch->count;
        if (status == STATUS_CANCELLED) settlements->counts.dropped += batch->count;
        if (refused) settlements->counts.refused += batch->count;
    }
    if (settlements->away || settlements->draining) pthread_cond_broadcast(&settlements->changed);
    pthread_mutex_unlock(&settlements->mutex);
    for (struct entry *entry; (entry = TAILQ_FIRST(&batch->entries)) != NULL;) {
        TAILQ_REMOVE(&batch->entries, entry, link);
        free_entry(entry);
    }
    free(batch);
}

static void write_words(const struct batch *batch, struct limits_word words[LIMITS_WORDS_MAX]) {
    int count = 0;
    struct entry *entry;
    TAILQ_FOREACH(entry, &batch->entries, link) {
        words[count++] = (struct limits_word){.said = entry->kind == KIND_CHARGE   ? LIMITS_CHARGE
                                                      : entry->kind == KIND_REPORT ? LIMITS_REPORT
                                                                                   : LIMITS_SETTLE,
                                              .lease = entry->lease,
                                              .answer = entry->answer,
                                              .usage = entry->usage};
    }
}

static void tell(struct batch *batch) {
    struct limits_word words[LIMITS_WORDS_MAX];
    write_words(batch, words);
    limits_tell(batch->owner->client, organization_of(batch), words, batch->count, on_answer, batch);
}

/** A lease that was settled before is refused, and settling it again adds nothing. It is settled provisionally, as only that leaves a word which an
 *  admission that is sent again finds: without it a settlement whose answer was lost would be followed by a second request. */
static void on_recorded(void *context, enum status status, const struct limits_result *result, const char *message) {
    (void)result;
    if (status == STATUS_OK || status == STATUS_FAILED_PRECONDITION)
        tell(context);
    else
        on_answer(context, status, NULL, message);
}

/** Without the lock: a client without a connection answers before it returns. The batch may be gone then. */
static void send_batch(struct batch *batch) {
    struct entry *first = TAILQ_FIRST(&batch->entries);
    if (first->kind == KIND_RECORD)
        limits_admit(batch->owner->client, &first->record->admission, on_recorded, batch);
    else
        tell(batch);
}

/* --- from outside --------------------------------------------------------------------------------------------------- */

static bool is_valid(enum kind kind, const char *organization, const char *lease, int answer) {
    struct limits_word word = {
        .said = kind == KIND_REPORT ? LIMITS_REPORT : LIMITS_SETTLE, .lease = lease, .answer = answer};
    return organization[0] != 0 && strlen(organization) <= LIMITS_ID_BYTES && limits_word_is_valid(&word);
}

/** False when memory is out. `*out_batch`: what is to be sent, without the lock. */
static bool take_in(struct settlements *settlements, struct entry *entry, bool now, struct batch **out_batch) {
    if (settlements->away) {
        TAILQ_INSERT_TAIL(&settlements->waiting, entry, link);
        index_charge(settlements, entry);
        return true;
    }
    if (entry->kind != KIND_RECORD) return gather(settlements, entry, now, out_batch);
    if ((*out_batch = batch_create(settlements)) == NULL) return false;
    batch_add(*out_batch, entry);
    entry->was_sent = true;
    settlements->under_way++;
    return true;
}

/** What came together with a charge that was gathered. */
static struct batch *take_gathered(struct settlements *settlements, const char *organization) {
    struct batch *batch = find_batch(settlements, organization);
    if (batch != NULL) take_batch(settlements, batch);
    return batch;
}

/** `now`: not gathered. `record`: taken. */
static void submit(struct settlements *settlements, enum kind kind, const char *organization, const char *lease,
                   int answer, const struct limits_usage *usage, bool now, struct record *record) {
    struct batch *to_send = NULL;
    pthread_mutex_lock(&settlements->mutex);
    if (!is_valid(kind, organization, lease, answer)) {
        settlements->counts.refused++;
        free(record);
    } else if (merge(settlements, kind, organization, lease, usage)) {
        if (now) to_send = take_gathered(settlements, organization);
    } else {
        struct entry *entry = add_entry(settlements, kind, organization, lease, answer, usage);
        if (entry != NULL && record != NULL) attach_record(entry, record);
        if (entry == NULL) free(record);
        if (entry != NULL && !take_in(settlements, entry, now, &to_send)) {
            settlements->counts.waiting--;
            settlements->counts.dropped++;
            free_entry(entry);
        }
    }
    pthread_mutex_unlock(&settlements->mutex);
    if (to_send != NULL) send_batch(to_send);
}

void settlements_charge(struct settlements *settlements, const char *organization, const char *lease,
                        const struct limits_usage *usage) {
    submit(settlements, KIND_CHARGE, organization, lease, 0, usage, false, NULL);
}

void settlements_settle(struct settlements *settlements, const char *organization, const char *lease,
                        const struct limits_usage *usage) {
    submit(settlements, KIND_SETTLE, organization, lease, 0, usage, false, NULL);
}

void settlements_settle_now(struct settlements *settlements, const char *organization, const char *lease,
                            const struct limits_usage *usage) {
    submit(settlements, KIND_SETTLE, organization, lease, 0, usage, true, NULL);
    redis_client_flush(settlements->client);
}

void settlements_report(struct settlements *settlements, const char *organization, const char *lease, int answer,
                        const struct limits_usage *usage) {
    submit(settlements, KIND_REPORT, organization, lease, answer, usage, false, NULL);
}

/** False when it does not fit. NULL is nothing. */
static bool copy_text(char *out, size_t size, const char *text) {
    size_t bytes = text != NULL ? strlen(text) + 1 : 0;
    if (bytes > size) return false;
    if (bytes > 0) memcpy(out, text, bytes);
    return true;
}

/** With what it lends, but for the organisation, the lease and the gate. False when something does not fit. */
static bool copy_admission(struct record *record, const struct limits_admission *admission) {
    const struct limits_subject *subject = &admission->subject;
    if (admission->scope_count < 0 || admission->scope_count > LIMITS_SCOPES_MAX) return false;
    for (int i = 0; i < admission->scope_count; i++) record->scopes[i] = admission->scopes[i];
    record->admission = *admission;
    record->admission.scopes = record->scopes;
    record->admission.subject = (struct limits_subject){.organization = subject->organization,
                                                        .workspace = record->workspace,
                                                        .key = record->key,
                                                        .model = record->model,
                                                        .request_id = record->request_id,
                                                        .endpoint = record->endpoint};
    return copy_text(record->workspace, sizeof record->workspace, subject->workspace) &&
           copy_text(record->key, sizeof record->key, subject->key) &&
           copy_text(record->model, sizeof record->model, subject->model) &&
           copy_text(record->request_id, sizeof record->request_id, subject->request_id) &&
           copy_text(record->endpoint, sizeof record->endpoint, subject->endpoint);
}

static struct record *copy_record(const struct limits_admission *admission, const struct limits_usage *usage) {
    struct record *record = calloc(1, sizeof *record);
    if (record == NULL || !copy_admission(record, admission)) {
        free(record);
        return NULL;
    }
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
    submit(settlements, KIND_RECORD, admission->subject.organization, admission->lease, 0, &provisional, false, record);
}

/* --- an admission, which may look twice ------------------------------------------------------------------------------- */

/** The end of another answer may make room in such a limit at any time. */
static bool gets_back(enum limits_kind kind) {
    return kind != LIMITS_REQUESTS_PER_SECOND && kind != LIMITS_REQUESTS_PER_MINUTE;
}

static bool may_look_twice(const struct limits_admission *admission) {
    if (admission->estimate) return false; /* exact numbers follow */
    for (int i = 0; i < admission->scope_count; i++) {
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            if (gets_back((enum limits_kind)kind) && admission->scopes[i].bounds.of[kind] != LIMITS_ABSENT) return true;
        }
    }
    return false;
}

struct asking {
    struct redis_client *client;
    struct record record;
    char organization[LIMITS_ID_BYTES + 1], lease[LIMITS_LEASE_ID_BYTES + 1], gate[LIMITS_GATE_BYTES + 1];
    limits_fn *fn;
    void *context;
};

/** Of commands that have come to two connections Redis may take the later one first, where both were there when it looked. Who was denied by what a
 *  settlement gives back asks once more: then all is in that had been said to Redis before it asked. */
static void on_first_look(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct asking *asking = context;
    if (status == STATUS_OK && result->outcome == LIMITS_DENIED && gets_back(result->denied_by))
        limits_admit(asking->client, &asking->record.admission, asking->fn, asking->context);
    else
        asking->fn(asking->context, status, result, message);
    free(asking);
}

/** NULL: it does not fit, and is refused anyway, or memory is out: then the first look is the only one. */
static struct asking *asking_create(struct settlements *settlements, const struct limits_admission *admission,
                                    limits_fn *fn, void *context) {
    struct asking *asking = malloc(sizeof *asking);
    if (asking == NULL) return NULL;
    struct record *record = &asking->record;
    asking->client = settlements->client;
    asking->fn = fn;
    asking->context = context;
    bool fits = copy_admission(record, admission) &&
                copy_text(asking->organization, sizeof asking->organization, admission->subject.organization) &&
                copy_text(asking->lease, sizeof asking->lease, admission->lease) &&
                copy_text(asking->gate, sizeof asking->gate, admission->gate);
    if (!fits) {
        free(asking);
        return NULL;
    }
    record->admission.subject.organization = asking->organization;
    if (admission->lease != NULL) record->admission.lease = asking->lease;
    if (admission->gate != NULL) record->admission.gate = asking->gate;
    return asking;
}

static bool names_lease(const struct batch *batch, const char *lease) {
    struct entry *entry;
    TAILQ_FOREACH(entry, &batch->entries, link) {
        if (lease != NULL && strcmp(entry->lease, lease) == 0) return true;
    }
    return false;
}

void settlements_admit(struct settlements *settlements, const struct limits_admission *admission, limits_fn *fn,
                       void *context) {
    struct batch *batch = NULL;
    pthread_mutex_lock(&settlements->mutex);
    /* Where there is plenty of room nobody waits for the room that they make, but for the answer, if he is there. */
    if (!admission->estimate || admission->ahead) batch = find_batch(settlements, admission->subject.organization);
    if (batch != NULL && names_lease(batch, admission->lease)) batch = NULL;
    if (batch != NULL) take_batch(settlements, batch);
    pthread_mutex_unlock(&settlements->mutex);
    struct asking *asking = may_look_twice(admission) ? asking_create(settlements, admission, fn, context) : NULL;
    if (asking != NULL) {
        fn = on_first_look;
        context = asking;
    }
    if (batch == NULL) {
        limits_admit(settlements->client, admission, fn, context);
        return;
    }
    struct limits_word words[LIMITS_WORDS_MAX];
    struct limits_admission carrier = *admission;
    write_words(batch, words);
    batch->carried = true;
    carrier.word_count = batch->count;
    carrier.words = words;
    carrier.told = on_answer;
    carrier.told_context = batch;
    limits_admit(settlements->client, &carrier, fn, context);
}

void settlements_pass_on(struct settlements *settlements, const char *organization) {
    pthread_mutex_lock(&settlements->mutex);
    struct batch *batch = find_batch(settlements, organization);
    if (batch != NULL && clock_monotonic_ns(clock_system()) - batch->since_ns < GATHER_NS / 2) batch = NULL;
    if (batch != NULL) take_batch(settlements, batch);
    pthread_mutex_unlock(&settlements->mutex);
    if (batch != NULL) send_batch(batch);
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

/** Under the lock, which is given away meanwhile. */
static void send_all(struct settlements *settlements, struct batches *batches) {
    struct batch *batch;
    pthread_mutex_unlock(&settlements->mutex);
    while ((batch = TAILQ_FIRST(batches)) != NULL) {
        TAILQ_REMOVE(batches, batch, link);
        send_batch(batch);
    }
    pthread_mutex_lock(&settlements->mutex);
}

/** The batch of `batches` that takes the entry; NULL when memory is out. */
static struct batch *batch_for(struct settlements *settlements, struct batches *batches, const struct entry *entry) {
    struct batch *batch;
    TAILQ_FOREACH(batch, batches, link) {
        if (entry->kind != KIND_RECORD && TAILQ_FIRST(&batch->entries)->kind != KIND_RECORD &&
            batch->count < LIMITS_WORDS_MAX && strcmp(organization_of(batch), entry->organization) == 0)
            return batch;
    }
    batch = batch_create(settlements);
    if (batch != NULL) TAILQ_INSERT_TAIL(batches, batch, link);
    return batch;
}

static void send_again(struct settlements *settlements) {
    struct batches batches = TAILQ_HEAD_INITIALIZER(batches);
    for (int i = 0; i < AGAIN_MAX; i++) {
        struct entry *entry = TAILQ_FIRST(&settlements->waiting);
        struct batch *batch = entry != NULL ? batch_for(settlements, &batches, entry) : NULL;
        if (batch == NULL) break;
        batch_add(batch, take_first(settlements));
        settlements->under_way++;
        settlements->counts.repeated += entry->was_sent;
        entry->was_sent = true;
    }
    if (TAILQ_EMPTY(&batches)) rest(settlements, POLL_NS);
    send_all(settlements, &batches);
}

/** What was gathered long enough ago goes. */
static void send_gathered(struct settlements *settlements) {
    int64_t now_ns = clock_monotonic_ns(clock_system());
    struct batches batches = TAILQ_HEAD_INITIALIZER(batches);
    struct batch *batch;
    while ((batch = TAILQ_FIRST(&settlements->gathered)) != NULL &&
           (settlements->draining || batch->since_ns + GATHER_NS <= now_ns)) {
        take_batch(settlements, batch);
        TAILQ_INSERT_TAIL(&batches, batch, link);
    }
    send_all(settlements, &batches);
}

static void rest_until(struct settlements *settlements, int64_t ns) {
    struct timespec deadline = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    pthread_cond_timedwait(&settlements->changed, &settlements->mutex, &deadline);
}

/** While Redis is there. Sleeps only when nothing has come for a while: who settles often need not call. */
static void look_after_gathered(struct settlements *settlements) {
    send_gathered(settlements);
    if (settlements->away || settlements->stopping) return;
    struct batch *first = TAILQ_FIRST(&settlements->gathered);
    if (first != NULL || settlements->busy) {
        settlements->busy = false;
        rest_until(settlements, (first != NULL ? first->since_ns : clock_monotonic_ns(clock_system())) + GATHER_NS);
        return;
    }
    settlements->sleeping = true;
    pthread_cond_wait(&settlements->changed, &settlements->mutex);
    settlements->sleeping = false;
}

static void *run(void *argument) {
    struct settlements *settlements = argument;
    int64_t backoff_ns = 0;
    pthread_mutex_lock(&settlements->mutex);
    while (!settlements->stopping) {
        if (!settlements->away) {
            look_after_gathered(settlements);
            continue;
        }
        if (settlements->under_way > 0) {
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
        if (!settlements->stopping) send_again(settlements);
    }
    pthread_mutex_unlock(&settlements->mutex);
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

enum status settlements_create(struct redis_client *client, struct settlements **out, struct error *err) {
    struct settlements *settlements = calloc(1, sizeof *settlements);
    if (settlements == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    settlements->client = client;
    TAILQ_INIT(&settlements->gathered);
    TAILQ_INIT(&settlements->waiting);
    TAILQ_INIT(&settlements->again);
    for (int i = 0; i < BUCKETS; i++) LIST_INIT(&settlements->charges[i]);
    for (int i = 0; i < ORGANIZATION_BUCKETS; i++) LIST_INIT(&settlements->organizations[i]);
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
    settlements->draining = true;
    send_gathered(settlements);
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
