/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/ahead.h"

#include "base/clock.h"
#include "base/random.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { BUCKETS = 1024, POOLS_MAX = 16384, READY_MAX = 32 };
static const int64_t AHEAD_NS = LIMITS_AHEAD_MS * (int64_t)NS_PER_MS;
static const int64_t ROUND_NS = NS_PER_MS;      /* so many as come in it are ready: Redis mostly takes less */
static const int64_t PAUSE_NS = NS_PER_S;       /* where there was no room, or nobody answered */
static const int64_t IDLE_NS = NS_PER_S;        /* whoever asks nothing for so long is forgotten */
static const int64_t SWEEP_NS = 10 * NS_PER_MS; /* what nobody came for is held so much longer at most */

struct ready {
    struct ahead_lease lease;
    int64_t since_ns; /* before Redis was asked */
};

/** Of one key and model. It stays while its key asks. */
struct pool {
    LIST_ENTRY(pool) same_bucket;
    TAILQ_ENTRY(pool) link;
    LIST_ENTRY(pool) busy; /* while something is ready or asked for */
    struct key_info *key;
    char model[LIMIT_MODEL_NAME_BYTES + 1];
    uint64_t version;             /* counts what was dropped: what was asked for before goes back when it comes */
    int64_t last_ns, interval_ns; /* of its requests: the latest, and how far they are apart on average */
    int64_t paused_until_ns;      /* 0: not; passed: one is asked for, to see */
    int64_t input, output;        /* that most of them do not exceed */
    int most;                     /* ready at a time: fewer when some came back, more when there was none */
    int asked, count;
    struct ready *ready; /* READY_MAX, oldest first; NULL until one is asked for */
};
LIST_HEAD(pool_list, pool);
TAILQ_HEAD(pools, pool);

struct ahead {
    struct ahead_options options;
    struct loop_member member;
    struct metric *admissions;
    _Atomic int64_t due_ns; /* when something is to be looked after */
    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t answered;
    bool stopping;
    int asked, pool_count;             /* of all pools; how many */
    struct pool_list buckets[BUCKETS]; /* by their keys' prefixes */
    struct pools pools;                /* those whose keys have asked least lately first */
    struct pool_list busy;
};

static struct pool_list *bucket_of(struct ahead *ahead, const char *prefix) {
    return &ahead->buckets[bytes_hash(0, bytes_view_string(prefix)) % BUCKETS];
}

static struct pool *find_locked(struct ahead *ahead, const struct key_info *key, const char *model) {
    struct pool *pool;
    LIST_FOREACH(pool, bucket_of(ahead, key->prefix), same_bucket) {
        if (pool->key == key && strcmp(pool->model, model) == 0) return pool;
    }
    return NULL;
}

static void look_after_by(struct ahead *ahead, int64_t ns) {
    if (ns < atomic_load(&ahead->due_ns)) atomic_store(&ahead->due_ns, ns);
}

/** NULL: there are too many, or no memory; this key's requests ask Redis themselves. */
static struct pool *make_locked(struct ahead *ahead, struct key_info *key, const char *model, int64_t now_ns) {
    struct pool *pool = ahead->pool_count < POOLS_MAX ? calloc(1, sizeof *pool) : NULL;
    if (pool == NULL) return NULL;
    key_info_ref(key);
    pool->key = key;
    pool->last_ns = now_ns;
    pool->interval_ns = 2 * AHEAD_NS;
    pool->most = 1;
    snprintf(pool->model, sizeof pool->model, "%s", model);
    LIST_INSERT_HEAD(bucket_of(ahead, key->prefix), pool, same_bucket);
    TAILQ_INSERT_TAIL(&ahead->pools, pool, link);
    ahead->pool_count++;
    look_after_by(ahead, now_ns + IDLE_NS);
    return pool;
}

static void free_locked(struct ahead *ahead, struct pool *pool) {
    LIST_REMOVE(pool, same_bucket);
    TAILQ_REMOVE(&ahead->pools, pool, link);
    ahead->pool_count--;
    key_info_unref(pool->key);
    free(pool->ready);
    free(pool);
}

static bool is_busy(const struct pool *pool) {
    return pool->asked > 0 || pool->count > 0;
}

/* ---- going back ---------------------------------------------------------------------------------------------------- */

static void give_back(struct ahead *ahead, const struct key_info *key, const struct ahead_lease *lease) {
    const struct limits_usage nothing = {.unused = true, .returned = true};
    settlements_settle(ahead->options.settlements, key->organization, lease->lease, &nothing);
}

/** Those that Redis was asked for before `before_ns`. */
static int give_back_locked(struct ahead *ahead, struct pool *pool, int64_t before_ns) {
    int count = 0;
    while (count < pool->count && pool->ready[count].since_ns < before_ns)
        give_back(ahead, pool->key, &pool->ready[count++].lease);
    if (count == 0) return 0;
    metric_add(ahead->admissions, count, "unused");
    pool->count -= count;
    memmove(pool->ready, pool->ready + count, (size_t)pool->count * sizeof *pool->ready);
    if (!is_busy(pool)) LIST_REMOVE(pool, busy);
    return count;
}

static int drop_locked(struct ahead *ahead, struct pool *pool) {
    pool->version++;
    return give_back_locked(ahead, pool, INT64_MAX);
}

/** The next of the busy pools that a change is about, behind `pool`, or NULL; of one key those of its bucket. */
static struct pool *next_about(struct ahead *ahead, struct pool *pool, enum key_change change, const char *id) {
    bool of_key = change == KEY_CHANGE_KEY;
    if (pool != NULL)
        pool = of_key ? LIST_NEXT(pool, same_bucket) : LIST_NEXT(pool, busy);
    else
        pool = LIST_FIRST(of_key ? bucket_of(ahead, id) : &ahead->busy);
    while (pool != NULL && !(is_busy(pool) && key_change_is_about(change, id, pool->key)))
        pool = of_key ? LIST_NEXT(pool, same_bucket) : LIST_NEXT(pool, busy);
    return pool;
}

int ahead_yield(struct ahead *ahead, enum key_change change, const char *id, int *out_asked) {
    int count = 0;
    *out_asked = 0;
    int64_t until_ns = clock_monotonic_ns(clock_system()) + PAUSE_NS;
    pthread_mutex_lock(&ahead->mutex);
    for (struct pool *pool = next_about(ahead, NULL, change, id), *next; pool != NULL; pool = next) {
        next = next_about(ahead, pool, change, id); /* one that is not busy any more has no place in the list */
        pool->paused_until_ns = until_ns;
        *out_asked += pool->asked;
        count += drop_locked(ahead, pool);
    }
    pthread_mutex_unlock(&ahead->mutex);
    return count;
}

void ahead_drop(struct ahead *ahead, enum key_change change, const char *id) {
    pthread_mutex_lock(&ahead->mutex);
    for (struct pool *pool = next_about(ahead, NULL, change, id), *next; pool != NULL; pool = next) {
        next = next_about(ahead, pool, change, id);
        (void)drop_locked(ahead, pool);
    }
    pthread_mutex_unlock(&ahead->mutex);
}

/** What is too old goes back, and its key is thought to want fewer; who asks no more is forgotten. When to look again. */
static int64_t sweep_locked(struct ahead *ahead, int64_t now_ns) {
    int64_t due_ns = INT64_MAX;
    for (struct pool *pool = LIST_FIRST(&ahead->busy), *next; pool != NULL; pool = next) {
        next = LIST_NEXT(pool, busy);
        if (give_back_locked(ahead, pool, now_ns - AHEAD_NS) > 0 && pool->most > 1) pool->most /= 2;
        if (pool->count > 0 && pool->ready[0].since_ns + AHEAD_NS < due_ns) due_ns = pool->ready[0].since_ns + AHEAD_NS;
    }
    struct pool *pool;
    while ((pool = TAILQ_FIRST(&ahead->pools)) != NULL && pool->last_ns + IDLE_NS <= now_ns && !is_busy(pool))
        free_locked(ahead, pool);
    if (pool != NULL && pool->last_ns + IDLE_NS < due_ns) due_ns = pool->last_ns + IDLE_NS;
    return due_ns < now_ns + SWEEP_NS ? now_ns + SWEEP_NS : due_ns;
}

static int64_t look_after(void *context) {
    struct ahead *ahead = context;
    int64_t now_ns = loop_now_ns(ahead->options.loop);
    if (atomic_load(&ahead->due_ns) > now_ns) return ahead->due_ns;
    pthread_mutex_lock(&ahead->mutex);
    atomic_store(&ahead->due_ns, sweep_locked(ahead, now_ns));
    pthread_mutex_unlock(&ahead->mutex);
    return ahead->due_ns;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

struct asking {
    struct ahead *ahead;
    struct pool *pool; /* it stays while something is asked for */
    uint64_t version;
    struct ready ready;
    struct limits_scope scopes[LIMITS_SCOPES_MAX];
    struct limits_admission admission;
};

static void keep_locked(struct ahead *ahead, struct asking *asking, const struct limits_result *result) {
    struct pool *pool = asking->pool;
    struct ready *ready = &asking->ready;
    if (ahead->stopping || asking->version != pool->version || pool->count == READY_MAX) {
        metric_add(ahead->admissions, 1, "unused");
        give_back(ahead, pool->key, &ready->lease);
        return;
    }
    ready->lease.requests = result->room[LIMITS_REQUESTS_PER_MINUTE];
    ready->lease.tokens = result->room[LIMITS_TOKENS_PER_MINUTE];
    ready->lease.plenty = limits_leaves_plenty(&asking->admission, result);
    pool->ready[pool->count++] = *ready;
    /* The one that was to see; not one that was under way when another found no room. */
    if (pool->paused_until_ns <= ready->since_ns) pool->paused_until_ns = 0;
    look_after_by(ahead, ready->since_ns + AHEAD_NS);
}

static void on_asked(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct asking *asking = context;
    struct ahead *ahead = asking->ahead;
    struct pool *pool = asking->pool;
    (void)message; /* whoever comes next says it */
    pthread_mutex_lock(&ahead->mutex);
    pool->asked--;
    if (status == STATUS_OK && result->outcome == LIMITS_ADMITTED) {
        keep_locked(ahead, asking, result);
    } else {
        pool->paused_until_ns = clock_monotonic_ns(clock_system()) + PAUSE_NS;
        metric_add(ahead->admissions, 1, status == STATUS_OK ? "scarce" : "lost");
        if (status != STATUS_OK) give_back(ahead, pool->key, &asking->ready.lease); /* it may be there */
    }
    if (!is_busy(pool)) LIST_REMOVE(pool, busy);
    if (--ahead->asked == 0) pthread_cond_broadcast(&ahead->answered);
    pthread_mutex_unlock(&ahead->mutex);
    free(asking);
}

/** The pool has counted it as asked for. */
static bool ask(struct ahead *ahead, const model_description *model, const struct asking *what) {
    struct asking *asking = malloc(sizeof *asking);
    if (asking == NULL) return false;
    *asking = *what;
    random_hex_id(asking->ready.lease.lease, LIMITS_LEASE_ID_BYTES);
    random_hex_id(asking->ready.lease.request_id, LIMITS_LEASE_ID_BYTES);
    const struct key_info *key = asking->pool->key;
    asking->admission = (struct limits_admission){.subject = {.organization = key->organization,
                                                              .workspace = key->workspace,
                                                              .key = key->prefix,
                                                              .model = model->name,
                                                              .request_id = asking->ready.lease.request_id,
                                                              .endpoint = "chat"},
                                                  .lease = asking->ready.lease.lease,
                                                  .price = key_info_price(key, model),
                                                  .gate = key->gate,
                                                  .scope_count = key_info_scopes(key, model, asking->scopes),
                                                  .scopes = asking->scopes,
                                                  .input = asking->ready.lease.input,
                                                  .output = asking->ready.lease.output,
                                                  .answers = 1,
                                                  .estimate = true,
                                                  .ahead = true};
    settlements_admit(ahead->options.settlements, &asking->admission, on_asked, asking);
    return true;
}

/** A little larger than most, so that the next one fits; what is too much of it goes back when its tokens are counted. */
static int64_t follow(int64_t most, int64_t now) {
    most -= most / 16;
    return now > most ? now : most;
}

static void note_time_locked(struct ahead *ahead, struct pool *pool, int64_t now_ns) {
    int64_t gap_ns = now_ns - pool->last_ns;
    if (gap_ns > 4 * AHEAD_NS) gap_ns = 4 * AHEAD_NS;
    if (gap_ns < 0) gap_ns = 0;
    pool->interval_ns = (7 * pool->interval_ns + gap_ns) / 8;
    if (now_ns > pool->last_ns) pool->last_ns = now_ns;
    TAILQ_REMOVE(&ahead->pools, pool, link);
    TAILQ_INSERT_TAIL(&ahead->pools, pool, link);
}

/** How many to ask for now. */
static int missing_of(const struct pool *pool, int64_t now_ns) {
    if (pool->interval_ns >= AHEAD_NS || now_ns < pool->paused_until_ns) return 0;
    int64_t wanted = 1 + ROUND_NS / (pool->interval_ns + 1);
    if (wanted > pool->most) wanted = pool->most;
    if (pool->paused_until_ns != 0) wanted = 1;
    int64_t missing = wanted - pool->count - pool->asked;
    return missing > 0 ? (int)missing : 0;
}

static int expect_locked(struct ahead *ahead, struct pool *pool, int64_t now_ns) {
    note_time_locked(ahead, pool, now_ns);
    int missing = missing_of(pool, now_ns);
    if (missing > 0 && pool->ready == NULL) pool->ready = calloc(READY_MAX, sizeof *pool->ready);
    if (missing == 0 || pool->ready == NULL) return 0;
    if (!is_busy(pool)) LIST_INSERT_HEAD(&ahead->busy, pool, busy);
    pool->asked += missing;
    ahead->asked += missing;
    return missing;
}

void ahead_note(struct ahead *ahead, struct key_info *key, const model_description *model, int64_t input,
                int64_t output) {
    if (!ahead->options.enabled || !atomic_load(&key->remembered)) return;
    int64_t now_ns = clock_monotonic_ns(clock_system());
    struct asking what = {.ahead = ahead, .ready = {.since_ns = now_ns}};
    pthread_mutex_lock(&ahead->mutex);
    what.pool = ahead->stopping ? NULL : find_locked(ahead, key, model->name);
    if (what.pool == NULL && !ahead->stopping) what.pool = make_locked(ahead, key, model->name, now_ns);
    int missing = 0;
    if (what.pool != NULL) {
        what.version = what.pool->version;
        what.pool->input = what.ready.lease.input = follow(what.pool->input, input);
        what.pool->output = what.ready.lease.output = follow(what.pool->output, output);
        missing = expect_locked(ahead, what.pool, now_ns);
    }
    pthread_mutex_unlock(&ahead->mutex);
    while (missing > 0 && ask(ahead, model, &what)) missing--;
    if (missing == 0) return;
    pthread_mutex_lock(&ahead->mutex); /* without memory */
    what.pool->asked -= missing;
    if (!is_busy(what.pool)) LIST_REMOVE(what.pool, busy);
    ahead->asked -= missing;
    pthread_cond_broadcast(&ahead->answered);
    pthread_mutex_unlock(&ahead->mutex);
}

/** True: it is `out`'s. */
static bool take_locked(struct pool *pool, int64_t input, int64_t output, int64_t oldest_ns, struct ahead_lease *out) {
    for (int i = 0; i < pool->count; i++) {
        const struct ready *ready = &pool->ready[i];
        if (ready->since_ns < oldest_ns || ready->lease.input < input || ready->lease.output < output) continue;
        *out = ready->lease;
        pool->count--;
        memmove(&pool->ready[i], &pool->ready[i + 1], (size_t)(pool->count - i) * sizeof *pool->ready);
        if (!is_busy(pool)) LIST_REMOVE(pool, busy);
        return true;
    }
    if (pool->count == 0 && pool->most < READY_MAX) pool->most *= 2;
    return false;
}

bool ahead_take(struct ahead *ahead, const struct key_info *key, const char *model, int64_t input, int64_t output,
                struct ahead_lease *out) {
    /* While Redis is away the configured choice counts. */
    if (!ahead->options.enabled || !atomic_load(&key->remembered) || !redis_client_connected(ahead->options.limits))
        return false;
    int64_t oldest_ns = clock_monotonic_ns(clock_system()) - AHEAD_NS;
    pthread_mutex_lock(&ahead->mutex);
    struct pool *pool = find_locked(ahead, key, model);
    bool found = pool != NULL && take_locked(pool, input, output, oldest_ns, out);
    pthread_mutex_unlock(&ahead->mutex);
    return found;
}

void ahead_use(struct ahead *ahead) {
    metric_add(ahead->admissions, 1, "used");
}

void ahead_return(struct ahead *ahead, const struct key_info *key, const struct ahead_lease *lease) {
    metric_add(ahead->admissions, 1, "unused");
    give_back(ahead, key, lease);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

enum status ahead_create(const struct ahead_options *options, struct ahead **out, struct error *err) {
    struct ahead *ahead = calloc(1, sizeof *ahead);
    if (ahead == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    ahead->options = *options;
    ahead->admissions = metrics_counter(options->metrics, "bora_gateway_admissions_ahead_total",
                                        "Admissions made before their requests came: used, unused (given back), or not "
                                        "made: scarce (too little room), lost (Redis did not say).",
                                        "outcome");
    atomic_init(&ahead->due_ns, INT64_MAX);
    pthread_mutex_init(&ahead->mutex, NULL);
    pthread_cond_init(&ahead->answered, NULL);
    TAILQ_INIT(&ahead->pools);
    LIST_INIT(&ahead->busy);
    for (int i = 0; i < BUCKETS; i++) LIST_INIT(&ahead->buckets[i]);
    ahead->member = (struct loop_member){.context = ahead, .turn = look_after};
    loop_join(options->loop, &ahead->member);
    *out = ahead;
    return STATUS_OK;
}

void ahead_stop(struct ahead *ahead) {
    if (ahead == NULL) return;
    pthread_mutex_lock(&ahead->mutex);
    ahead->stopping = true;
    while (ahead->asked > 0) pthread_cond_wait(&ahead->answered, &ahead->mutex);
    pthread_mutex_unlock(&ahead->mutex);
    ahead_drop(ahead, KEY_CHANGE_ALL, "");
}

void ahead_destroy(struct ahead *ahead) {
    if (ahead == NULL) return;
    loop_leave(ahead->options.loop, &ahead->member);
    while (!TAILQ_EMPTY(&ahead->pools)) free_locked(ahead, TAILQ_FIRST(&ahead->pools));
    pthread_cond_destroy(&ahead->answered);
    pthread_mutex_destroy(&ahead->mutex);
    free(ahead);
}
