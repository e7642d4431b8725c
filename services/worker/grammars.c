/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/worker/grammars.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "engine/grammar/cost.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRAMMAR_BYTES = 64 << 20,    /* what one may ever build */
    JSON_ARENA_BYTES = 32 << 20, /* a schema as a tree */
    KEPT_MAX = 1024              /* a look is a walk along all of them */
};

/** A schema's texts lie in its JSON, and what it finds out later it still writes to its problem: both live as long as it does. */
struct kept_grammar {
    atomic_int references; /* the table's, and those of calls */
    struct kept_grammar *newer, *older;
    uint64_t hash;
    struct grammar_source source; /* its text is `text` */
    uint8_t *text;
    bool ready;                /* compiled or declined; under the table's mutex, like the links and `bytes` */
    int64_t bytes, bytes_left; /* that it takes; that it might still build when it was compiled */
    enum status status;
    struct grammar_problem declined; /* why, when status says so */
    struct grammar *grammar;
    struct arena arena;
    struct grammar_problem problem;
};

struct grammars {
    const struct tokenizer *tokenizer;
    int64_t bytes_max;
    struct metric *compile_seconds, *found, *kept_bytes;
    pthread_mutex_t vocabulary_mutex;
    struct grammar_vocabulary *vocabulary; /* NULL until the first grammar comes */
    pthread_mutex_t mutex;                 /* guards what follows */
    pthread_cond_t compiled;
    struct kept_grammar *newest, *oldest; /* by last use */
    int count;
    int64_t bytes;
};

enum status grammars_create(const struct tokenizer *tokenizer, int64_t bytes_max, struct metrics *metrics,
                            struct grammars **out, struct error *err) {
    static const double seconds[] = {1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 2, 5, NAN};
    struct grammars *grammars = calloc(1, sizeof *grammars);
    if (grammars == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    grammars->tokenizer = tokenizer;
    grammars->bytes_max = bytes_max;
    grammars->compile_seconds = metrics_histogram(metrics, "bora_worker_grammar_compile_seconds",
                                                  "Time to compile a grammar, by outcome.", seconds, "outcome");
    grammars->found = metrics_counter(metrics, "bora_worker_grammars_found_total",
                                      "Requests whose grammar had been compiled, or declined, before.");
    grammars->kept_bytes =
        metrics_gauge(metrics, "bora_worker_grammars_bytes", "Memory of the grammars that are kept.");
    pthread_mutex_init(&grammars->vocabulary_mutex, NULL);
    pthread_mutex_init(&grammars->mutex, NULL);
    pthread_cond_init(&grammars->compiled, NULL);
    *out = grammars;
    return STATUS_OK;
}

/* ---- one grammar --------------------------------------------------------------------------------------------------- */

void kept_grammar_release(struct kept_grammar *kept) {
    if (kept == NULL || atomic_fetch_sub(&kept->references, 1) != 1) return;
    grammar_unref(kept->grammar);
    arena_deinit(&kept->arena);
    free(kept->text);
    free(kept);
}

struct grammar *kept_grammar_compiled(const struct kept_grammar *kept) {
    return kept->grammar;
}

bool grammar_begins(struct grammar *grammar, struct bytes_view text, size_t *out_needed) {
    struct grammar_session *session = NULL;
    struct grammar_state state;
    struct error err = {0};
    bool begins = false;
    *out_needed = SIZE_MAX;
    if (grammar_session_create(grammar, &session, &err) != STATUS_OK) return false;
    if (grammar_start(session, &state, &err) != STATUS_OK ||
        grammar_accept_bytes(session, &state, text, &begins, &err) != STATUS_OK)
        begins = false;
    if (begins) *out_needed = grammar_tokens_needed(session, &state);
    grammar_session_destroy(session);
    return begins;
}

/** Equal hashes of different grammars only cost a comparison. */
static uint64_t hash_of(const struct grammar_source *source) {
    return bytes_hash(BYTES_HASH_START, source->text);
}

static bool is_same(const struct kept_grammar *kept, const struct grammar_source *source, uint64_t hash) {
    return kept->hash == hash && kept->source.kind == source->kind && kept->source.space == source->space &&
           kept->source.order == source->order && kept->source.text.length == source->text.length &&
           memcmp(kept->text, source->text.data, source->text.length) == 0;
}

static struct kept_grammar *kept_create(const struct grammar_source *source, uint64_t hash) {
    struct kept_grammar *kept = calloc(1, sizeof *kept);
    if (kept == NULL) return NULL;
    kept->text = malloc(source->text.length + 1);
    if (kept->text == NULL) {
        free(kept);
        return NULL;
    }
    memcpy(kept->text, source->text.data, source->text.length);
    kept->source = *source;
    kept->source.text = bytes_view_of(kept->text, source->text.length);
    kept->hash = hash;
    atomic_init(&kept->references, 1);
    arena_init(&kept->arena, JSON_ARENA_BYTES);
    return kept;
}

/* ---- compiling ----------------------------------------------------------------------------------------------------- */

const struct grammar_vocabulary *grammars_vocabulary(struct grammars *grammars) {
    struct error err = {0};
    pthread_mutex_lock(&grammars->vocabulary_mutex);
    if (grammars->vocabulary == NULL)
        (void)!grammar_vocabulary_create(grammars->tokenizer, &grammars->vocabulary, &err); /* NULL is the failure */
    const struct grammar_vocabulary *vocabulary = grammars->vocabulary;
    pthread_mutex_unlock(&grammars->vocabulary_mutex);
    return vocabulary;
}

static enum status compile_schema(const struct grammar_vocabulary *vocabulary, struct kept_grammar *kept,
                                  const struct grammar_options *options) {
    struct json_value *schema = NULL;
    struct json_problem wrong = {0};
    enum status status =
        json_read(kept->source.text, LIMIT_JSON_DEPTH, LIMIT_PROTO_ELEMENTS, &kept->arena, &schema, &wrong);
    if (status == STATUS_OK) return grammar_compile_schema(vocabulary, schema, options, &kept->grammar, &kept->problem);
    snprintf(kept->problem.reason, sizeof kept->problem.reason, "%s",
             wrong.reason != NULL ? wrong.reason : "it is too large");
    return status;
}

static enum status compile(struct grammars *grammars, struct kept_grammar *kept) {
    struct grammar_options options = {.space = kept->source.space, .order = kept->source.order, .bytes = GRAMMAR_BYTES};
    const struct grammar_vocabulary *vocabulary = grammars_vocabulary(grammars);
    if (vocabulary == NULL) {
        snprintf(kept->problem.reason, sizeof kept->problem.reason, "out of memory");
        return STATUS_RESOURCE_EXHAUSTED;
    }
    switch (kept->source.kind) {
    case GRAMMAR_KIND_REGEX:
        return grammar_compile_regex(vocabulary, kept->source.text, &options, &kept->grammar, &kept->problem);
    case GRAMMAR_KIND_GBNF:
    case GRAMMAR_KIND_LARK:
        return grammar_compile_rules(vocabulary, kept->source.text,
                                     kept->source.kind == GRAMMAR_KIND_GBNF ? GRAMMAR_GBNF : GRAMMAR_LARK, &options,
                                     &kept->grammar, &kept->problem);
    default:
        return compile_schema(vocabulary, kept, &options);
    }
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

static void unlink_locked(struct grammars *grammars, struct kept_grammar *kept) {
    *(kept->newer != NULL ? &kept->newer->older : &grammars->newest) = kept->older;
    *(kept->older != NULL ? &kept->older->newer : &grammars->oldest) = kept->newer;
    kept->newer = kept->older = NULL;
    grammars->count--;
    grammars->bytes -= kept->bytes;
}

static void link_locked(struct grammars *grammars, struct kept_grammar *kept) {
    kept->older = grammars->newest;
    *(grammars->newest != NULL ? &grammars->newest->newer : &grammars->oldest) = kept;
    grammars->newest = kept;
    grammars->count++;
    grammars->bytes += kept->bytes;
}

/** It builds as it is used. */
static int64_t bytes_of(const struct kept_grammar *kept) {
    int64_t built = kept->grammar != NULL ? GRAMMAR_BYTES - grammar_bytes_left(kept->grammar) : 0;
    /* A schema as a tree takes some ten times its text. */
    return (int64_t)sizeof *kept + 10 * (int64_t)kept->source.text.length + built;
}

/** Let go of the least used until the rest is small enough; `used` and those that are being compiled stay. */
static void shrink_locked(struct grammars *grammars, const struct kept_grammar *used) {
    for (struct kept_grammar *kept = grammars->oldest, *next; kept != NULL; kept = next) {
        next = kept->newer;
        if (grammars->bytes <= grammars->bytes_max && grammars->count <= KEPT_MAX) break;
        if (kept == used || !kept->ready) continue;
        unlink_locked(grammars, kept);
        kept_grammar_release(kept);
    }
    metric_set(grammars->kept_bytes, (double)grammars->bytes);
}

/** Wait for the outcome, and put it in front. */
static void use_locked(struct grammars *grammars, struct kept_grammar *kept) {
    while (!kept->ready) pthread_cond_wait(&grammars->compiled, &grammars->mutex);
    bool linked = kept->newer != NULL || grammars->newest == kept;
    if (!linked) return; /* let go of meanwhile */
    unlink_locked(grammars, kept);
    kept->bytes = bytes_of(kept);
    link_locked(grammars, kept);
    shrink_locked(grammars, kept);
}

/** It has used up much of what it may build: who has begun with it may go on, others had better not begin. */
static bool is_spent(const struct kept_grammar *kept) {
    enum { SHARE = 2 };
    return kept->ready && kept->grammar != NULL && grammar_bytes_left(kept->grammar) <= kept->bytes_left / SHARE;
}

/** NULL: it is to be compiled; so is one that is spent. */
static struct kept_grammar *find_locked(struct grammars *grammars, const struct grammar_source *source, uint64_t hash) {
    struct kept_grammar *kept = grammars->newest;
    while (kept != NULL && !is_same(kept, source, hash)) kept = kept->older;
    if (kept == NULL || !is_spent(kept)) return kept;
    unlink_locked(grammars, kept);
    kept_grammar_release(kept);
    return NULL;
}

enum status grammars_get(struct grammars *grammars, const struct grammar_source *source, struct kept_grammar **out,
                         struct grammar_problem *problem) {
    uint64_t hash = hash_of(source);
    pthread_mutex_lock(&grammars->mutex);
    struct kept_grammar *kept = find_locked(grammars, source, hash);
    bool is_new = kept == NULL;
    if (is_new) {
        kept = kept_create(source, hash);
        if (kept != NULL) link_locked(grammars, kept);
    }
    if (kept != NULL) atomic_fetch_add(&kept->references, 1);
    if (kept != NULL && is_new) {
        pthread_mutex_unlock(&grammars->mutex);
        int64_t began = clock_monotonic_ns(clock_system());
        kept->status = compile(grammars, kept);
        kept->declined = kept->problem;
        if (kept->grammar != NULL) kept->bytes_left = grammar_bytes_left(kept->grammar);
        metric_observe(grammars->compile_seconds, (double)(clock_monotonic_ns(clock_system()) - began) / 1e9,
                       kept->status == STATUS_OK ? "ok" : status_name(kept->status));
        pthread_mutex_lock(&grammars->mutex);
        kept->ready = true;
        pthread_cond_broadcast(&grammars->compiled);
    } else if (kept != NULL) {
        metric_add(grammars->found, 1);
    }
    if (kept != NULL) use_locked(grammars, kept);
    pthread_mutex_unlock(&grammars->mutex);
    if (kept == NULL) {
        *problem = (struct grammar_problem){.reason = "out of memory"};
        return STATUS_RESOURCE_EXHAUSTED;
    }
    enum status status = kept->status;
    if (status == STATUS_OK) {
        *out = kept;
        return STATUS_OK;
    }
    *problem = kept->declined;
    kept_grammar_release(kept);
    return status;
}

void grammars_destroy(struct grammars *grammars) {
    if (grammars == NULL) return;
    while (grammars->newest != NULL) {
        struct kept_grammar *kept = grammars->newest;
        unlink_locked(grammars, kept);
        kept_grammar_release(kept);
    }
    grammar_vocabulary_destroy(grammars->vocabulary);
    pthread_cond_destroy(&grammars->compiled);
    pthread_mutex_destroy(&grammars->mutex);
    pthread_mutex_destroy(&grammars->vocabulary_mutex);
    free(grammars);
}
