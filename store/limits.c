/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/limits.h"

#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* store/limits_*.lua: in this order, behind a head, they are one library. */
extern const char limits_scopes_lua[], limits_leases_lua[], limits_admit_lua[], limits_settle_lua[],
    limits_catch_up_lua[];

enum {
    NAME_BYTES = 256, /* "bora:settled:{" id "}:" and a scope or lease, ":" and a model */
    NUMBERS_MAX = LIMITS_KINDS,
    PACKED_BYTES = NUMBERS_MAX * 8,
    ADMIT_KEYS_MAX = 5 + 3 * LIMITS_SCOPES_MAX,
    ADMIT_ARGUMENTS_MAX = 7 + 2 * LIMITS_SCOPES_MAX,
    ANSWER_NUMBERS = 5 + 2 * LIMITS_KINDS,
    GATE_MS = 3600 * 1000,
    VERSION_BYTES = 6, /* of the digest */
    FUNCTION_BYTES = 20 + 2 * VERSION_BYTES,
    LIBRARY_BYTES_MAX = 256 * 1024,
};
_Static_assert(NAME_BYTES > 16 + LIMITS_ID_BYTES + LIMITS_SCOPE_BYTES + LIMIT_MODEL_NAME_BYTES, "names fit");

static struct redis_library library;
static struct {
    char admit[FUNCTION_BYTES], charge[FUNCTION_BYTES], settle[FUNCTION_BYTES], reap[FUNCTION_BYTES],
        used[FUNCTION_BYTES], catch_up[FUNCTION_BYTES];
} functions;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static _Atomic int64_t test_time_us;

void limits_set_test_time(int64_t us) {
    atomic_store(&test_time_us, us);
}

/** The library's and its functions' names end in a digest of the source: gateways of two versions keep to their own. */
static void init_library(void) {
    static const char *const parts[] = {limits_scopes_lua, limits_leases_lua, limits_admit_lua, limits_settle_lua,
                                        limits_catch_up_lua};
    enum { PARTS = sizeof parts / sizeof *parts };
    unsigned char digest[SHA_DIGEST_LENGTH];
    char version[2 * VERSION_BYTES + 1];
    struct bytes source;
    bytes_init(&source, LIBRARY_BYTES_MAX);
    bool ok = true;
    for (int i = 0; i < PARTS; i++) ok = ok && bytes_append_string(&source, parts[i]) == STATUS_OK;
    if (ok) SHA1(source.data, source.length, digest);
    bytes_to_hex(digest, VERSION_BYTES, version);
    bytes_reset(&source);
    ok =
        ok && bytes_printf(&source, "#!lua name=bora_limits_%s\nlocal VERSION = '%s'\n", version, version) == STATUS_OK;
    for (int i = 0; i < PARTS; i++) ok = ok && bytes_append_string(&source, parts[i]) == STATUS_OK;
    ok = ok && bytes_append_byte(&source, 0) == STATUS_OK;
    if (!ok) abort();                           /* at the first call of a process, which cannot go on without limits */
    library.source = (const char *)source.data; /* for the process' life */
    snprintf(functions.admit, FUNCTION_BYTES, "limits_admit_%s", version);
    snprintf(functions.charge, FUNCTION_BYTES, "limits_charge_%s", version);
    snprintf(functions.settle, FUNCTION_BYTES, "limits_settle_%s", version);
    snprintf(functions.reap, FUNCTION_BYTES, "limits_reap_%s", version);
    snprintf(functions.used, FUNCTION_BYTES, "limits_used_%s", version);
    snprintf(functions.catch_up, FUNCTION_BYTES, "limits_catch_up_%s", version);
}

/* --- arguments and answers ---------------------------------------------------------------------------------------- */

/** Little-endian doubles, as the functions' struct.unpack("<d...") reads them. All numbers here are below 2^53. */
static struct bytes_view pack_numbers(const int64_t *values, int count, uint8_t out[PACKED_BYTES]) {
    for (int i = 0; i < count; i++) {
        double number = (double)values[i];
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        for (int byte = 0; byte < 8; byte++) out[8 * i + byte] = (uint8_t)(bits >> (8 * byte));
    }
    return (struct bytes_view){.data = out, .length = (size_t)count * 8};
}

static bool unpack_numbers(struct bytes_view packed, int count, int64_t *out) {
    if (packed.length != (size_t)count * 8) return false;
    for (int i = 0; i < count; i++) {
        uint64_t bits = 0;
        for (int byte = 0; byte < 8; byte++) bits |= (uint64_t)packed.data[8 * i + byte] << (8 * byte);
        double number;
        memcpy(&number, &bits, sizeof number);
        out[i] = (int64_t)number;
    }
    return true;
}

/** Not empty, not longer than `most`, and without what would end a hash tag. */
static bool is_id(const char *id, size_t most) {
    return id != NULL && id[0] != 0 && strlen(id) <= most && strpbrk(id, "{}") == NULL;
}

static int64_t within(int64_t value, int64_t most) {
    return value < 0 ? 0 : value > most ? most : value;
}

struct organization_keys {
    char leases[NAME_BYTES], due[NAME_BYTES], outbox[NAME_BYTES];
};

static void write_keys(struct organization_keys *keys, const char *organization) {
    snprintf(keys->leases, NAME_BYTES, "bora:leases:{%s}", organization);
    snprintf(keys->due, NAME_BYTES, "bora:due:{%s}", organization);
    snprintf(keys->outbox, NAME_BYTES, "bora:outbox:{%s}", organization);
}

static void refuse(redis_fn *fn, void *context, const char *why) {
    if (fn != NULL) fn(context, STATUS_INVALID_ARGUMENT, NULL, why);
}

/* --- admission ---------------------------------------------------------------------------------------------------- */

/** A request on its way. */
struct admitting {
    limits_fn *fn;
    void *context;
    int scope_count;
    struct limits_bounds bounds[LIMITS_SCOPES_MAX];
};

static bool read_result(const struct redis_reply *reply, const struct admitting *admitting, struct limits_result *out) {
    int64_t numbers[ANSWER_NUMBERS];
    if (reply->type != REDIS_STRING || !unpack_numbers(reply->string, ANSWER_NUMBERS, numbers)) return false;
    if (numbers[0] < LIMITS_ADMITTED || numbers[0] > LIMITS_KEY_CLOSED) return false;
    *out = (struct limits_result){.outcome = (enum limits_outcome)numbers[0], .output_held = numbers[4]};
    if (out->outcome == LIMITS_DENIED || out->outcome == LIMITS_NEVER_FITS) {
        if (numbers[1] < 0 || numbers[1] >= LIMITS_KINDS || numbers[2] < 0 || numbers[2] >= admitting->scope_count)
            return false;
        out->denied_by = (enum limits_kind)numbers[1];
        out->denied_scope = (int)numbers[2];
        out->denied_limit = admitting->bounds[numbers[2]].of[numbers[1]];
        out->retry_after_ms = (numbers[3] + 999) / 1000;
    }
    for (int kind = 0; kind < LIMITS_KINDS; kind++)
        out->room[kind] = (struct limits_room){numbers[5 + 2 * kind], numbers[6 + 2 * kind]};
    return true;
}

static void on_admitted(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct admitting *admitting = context;
    struct limits_result result;
    if (status != STATUS_OK)
        admitting->fn(admitting->context, status, NULL, message);
    else if (!read_result(reply, admitting, &result))
        admitting->fn(admitting->context, STATUS_INTERNAL, NULL, "the limits function gave a strange answer");
    else
        admitting->fn(admitting->context, STATUS_OK, &result, "");
    free(admitting);
}

static const char *what_is_wrong_with_scopes(const struct limits_admission *admission) {
    if (admission->scope_count < 0 || admission->scope_count > LIMITS_SCOPES_MAX) return "limits: too many scopes";
    for (int i = 0; i < admission->scope_count; i++) {
        const struct limits_scope *scope = &admission->scopes[i];
        if (scope->name[0] == 0) return "limits: a scope has no name";
        for (int j = 0; j < i; j++) {
            if (scope->of_model == admission->scopes[j].of_model && strcmp(scope->name, admission->scopes[j].name) == 0)
                return "limits: a scope is named twice";
        }
        for (int kind = 0; kind < LIMITS_KINDS; kind++) {
            int64_t most = kind == LIMITS_SPEND_PER_MONTH ? LIMITS_SPEND_MAX : LIMITS_MAX;
            if (scope->bounds.of[kind] < LIMITS_ABSENT || scope->bounds.of[kind] > most)
                return "limits: a limit is out of range";
        }
    }
    return NULL;
}

static const char *what_is_wrong(const struct limits_admission *admission) {
    const struct limits_subject *subject = &admission->subject;
    const struct limits_price *price = &admission->price;
    if (!is_id(subject->organization, LIMITS_ID_BYTES)) return "limits: the organisation's id is empty or strange";
    if (!is_id(subject->key, LIMITS_KEY_ID_BYTES)) return "limits: the key's id is empty or strange";
    if (admission->gate != NULL && !is_id(admission->gate, LIMITS_GATE_BYTES))
        return "limits: the gate's name is empty or strange";
    if (!admission->peek && (admission->lease == NULL || strlen(admission->lease) != LIMITS_LEASE_ID_BYTES))
        return "limits: the lease's id has another length";
    if (strlen(subject->model) > LIMIT_MODEL_NAME_BYTES) return "limits: the model's name is too long";
    if (admission->input < 0 || admission->input > LIMITS_MAX || admission->output < 0 ||
        admission->output > LIMITS_MAX || admission->output_optional < 0 ||
        admission->output_optional > admission->output)
        return "limits: tokens out of range";
    if (admission->answers < 1 || admission->answers > LIMITS_ANSWERS_MAX) return "limits: answers out of range";
    if (price->input < 0 || price->input > LIMITS_PRICE_MAX || price->cached_input < 0 ||
        price->cached_input > LIMITS_PRICE_MAX || price->output < 0 || price->output > LIMITS_PRICE_MAX)
        return "limits: a price is out of range";
    return what_is_wrong_with_scopes(admission);
}

static bool write_gate(char out[NAME_BYTES], const char *organization, const char *gate) {
    if (!is_id(organization, LIMITS_ID_BYTES) || !is_id(gate, LIMITS_GATE_BYTES)) return false;
    snprintf(out, NAME_BYTES, "bora:gate:{%s}:%s", organization, gate);
    return true;
}

/** All keys and arguments of the function, and the bytes that they lie in. */
struct admit_call {
    struct bytes_view keys[ADMIT_KEYS_MAX], arguments[ADMIT_ARGUMENTS_MAX];
    size_t key_count, argument_count;
    struct organization_keys organization;
    char gate[NAME_BYTES], settled[NAME_BYTES], scope_keys[3 * LIMITS_SCOPES_MAX][NAME_BYTES];
    uint8_t numbers[PACKED_BYTES], bounds[LIMITS_SCOPES_MAX][PACKED_BYTES];
};

static void add_key(struct admit_call *call, const char *name) {
    call->keys[call->key_count++] = bytes_view_string(name);
}

static void add_argument(struct admit_call *call, struct bytes_view argument) {
    call->arguments[call->argument_count++] = argument;
}

static void add_scope_key(struct admit_call *call, int at, const char *format, const char *organization,
                          const char *name) {
    snprintf(call->scope_keys[at], NAME_BYTES, format, organization, name);
    add_key(call, call->scope_keys[at]);
}

/** "k:<prefix>", "k:<prefix>:<model>" */
struct scope_names {
    char of[LIMITS_SCOPES_MAX][NAME_BYTES];
};

static void add_scopes(struct admit_call *call, struct scope_names *names, const struct limits_admission *admission) {
    const char *organization = admission->subject.organization;
    for (int i = 0; i < admission->scope_count; i++) {
        const struct limits_scope *scope = &admission->scopes[i];
        char *name = names->of[i];
        snprintf(name, NAME_BYTES, "%s%s%s", scope->name, scope->of_model ? ":" : "",
                 scope->of_model ? admission->subject.model : "");
        add_scope_key(call, 3 * i, "bora:use:{%s}:%s", organization, name);
        add_scope_key(call, 3 * i + 1, "bora:win:{%s}:%s", organization, name);
        add_argument(call, bytes_view_string(name));
        add_argument(call, pack_numbers(scope->bounds.of, LIMITS_KINDS, call->bounds[i]));
    }
    for (int i = 0; i < admission->scope_count; i++) {
        if (admission->scopes[i].bounds.of[LIMITS_REQUESTS_PER_SECOND] >= 0)
            add_scope_key(call, 3 * i + 2, "bora:rps:{%s}:%s", organization, names->of[i]);
    }
}

static void write_call(struct admit_call *call, struct scope_names *names, const struct limits_admission *admission) {
    const struct limits_subject *subject = &admission->subject;
    const char *lease = admission->peek ? "" : admission->lease;
    call->key_count = call->argument_count = 0;
    write_keys(&call->organization, subject->organization);
    (void)write_gate(call->gate, subject->organization, admission->gate != NULL ? admission->gate : subject->key);
    snprintf(call->settled, NAME_BYTES, "bora:settled:{%s}:%s", subject->organization, lease);
    add_key(call, call->gate);
    add_key(call, call->settled);
    add_key(call, call->organization.leases);
    add_key(call, call->organization.due);
    add_key(call, call->organization.outbox);
    int64_t time = admission->test_time_us != 0 ? admission->test_time_us : atomic_load(&test_time_us);
    int64_t numbers[] = {time,
                         admission->late ? 2 : admission->peek,
                         admission->input,
                         admission->output,
                         admission->output_optional,
                         admission->answers,
                         admission->price.input,
                         admission->price.cached_input,
                         admission->price.output};
    add_argument(call, bytes_view_string(lease));
    add_argument(call, pack_numbers(numbers, sizeof numbers / sizeof *numbers, call->numbers));
    add_argument(call, bytes_view_string(subject->key));
    add_argument(call, bytes_view_string(subject->workspace));
    add_argument(call, bytes_view_string(subject->model));
    add_argument(call, bytes_view_string(subject->endpoint));
    add_argument(call, bytes_view_string(subject->request_id));
    add_scopes(call, names, admission);
}

void limits_admit(struct redis_client *client, const struct limits_admission *admission, limits_fn *fn, void *context) {
    pthread_once(&library_once, init_library);
    const char *wrong = what_is_wrong(admission);
    struct admitting *admitting = wrong == NULL ? malloc(sizeof *admitting) : NULL;
    if (admitting == NULL) {
        fn(context, wrong != NULL ? STATUS_INVALID_ARGUMENT : STATUS_UNAVAILABLE, NULL,
           wrong != NULL ? wrong : "out of memory");
        return;
    }
    *admitting = (struct admitting){.fn = fn, .context = context, .scope_count = admission->scope_count};
    for (int i = 0; i < admission->scope_count; i++) admitting->bounds[i] = admission->scopes[i].bounds;
    struct admit_call call;
    struct scope_names names;
    write_call(&call, &names, admission);
    redis_function_run(client, &library, functions.admit, call.keys, call.key_count, call.arguments,
                       call.argument_count, on_admitted, admitting);
}

/* --- charge, settle, report, reap --------------------------------------------------------------------------------- */

/** `numbers` begins with the time, which is filled in here. `settled` says whether the function knows the key of a settled lease too. */
static void run_on_lease(struct redis_client *client, const char *function, const char *organization, const char *lease,
                         bool settled, int64_t *numbers, int count, redis_fn *fn, void *context) {
    pthread_once(&library_once, init_library);
    if (!is_id(organization, LIMITS_ID_BYTES) || lease == NULL || strlen(lease) != LIMITS_LEASE_ID_BYTES) {
        refuse(fn, context, "limits: the organisation's or lease's id is strange");
        return;
    }
    struct organization_keys names;
    char settled_name[NAME_BYTES];
    write_keys(&names, organization);
    snprintf(settled_name, sizeof settled_name, "bora:settled:{%s}:%s", organization, lease);
    struct bytes_view keys[] = {bytes_view_string(names.leases), bytes_view_string(names.due),
                                bytes_view_string(names.outbox), bytes_view_string(settled_name)};
    uint8_t packed[PACKED_BYTES];
    numbers[0] = atomic_load(&test_time_us);
    struct bytes_view arguments[] = {bytes_view_string(lease), pack_numbers(numbers, count, packed)};
    redis_function_run(client, &library, function, keys, settled ? 4 : 3, arguments, 2, fn, context);
}

void limits_charge(struct redis_client *client, const char *organization, const char *lease,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    int64_t input = within(usage->input, LIMITS_MAX);
    int64_t numbers[] = {0, input, within(usage->cached_input, LIMITS_MAX), within(usage->output, LIMITS_MAX)};
    run_on_lease(client, functions.charge, organization, lease, false, numbers, 4, fn, context);
}

static void settle(struct redis_client *client, const char *organization, const char *lease, int answer,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    int64_t input = within(usage->input, LIMITS_MAX);
    int64_t numbers[] = {0,
                         input,
                         within(usage->cached_input, input),
                         within(usage->output, LIMITS_MAX),
                         answer < 0 && usage->provisional,
                         answer};
    run_on_lease(client, functions.settle, organization, lease, true, numbers, 6, fn, context);
}

void limits_settle(struct redis_client *client, const char *organization, const char *lease,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    settle(client, organization, lease, -1, usage, fn, context);
}

void limits_report(struct redis_client *client, const char *organization, const char *lease, int answer,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    if (answer < 0 || answer >= LIMITS_ANSWERS_MAX)
        refuse(fn, context, "limits: there is no such answer");
    else
        settle(client, organization, lease, answer, usage, fn, context);
}

void limits_reap(struct redis_client *client, const char *organization, redis_fn *fn, void *context) {
    pthread_once(&library_once, init_library);
    if (!is_id(organization, LIMITS_ID_BYTES)) {
        refuse(fn, context, "limits: the organisation's id is strange");
        return;
    }
    struct organization_keys names;
    write_keys(&names, organization);
    struct bytes_view keys[] = {bytes_view_string(names.leases), bytes_view_string(names.due),
                                bytes_view_string(names.outbox)};
    uint8_t packed[PACKED_BYTES];
    int64_t time = atomic_load(&test_time_us);
    struct bytes_view argument = pack_numbers(&time, 1, packed);
    redis_function_run(client, &library, functions.reap, keys, 3, &argument, 1, fn, context);
}

/* --- what is used ------------------------------------------------------------------------------------------------- */

/** Call a function on one scope's keys. */
static void run_on_scope(struct redis_client *client, const char *function, const char *organization, const char *scope,
                         const char *model_or_null, int64_t *numbers, int count, redis_fn *fn, void *context) {
    enum { SCOPE_KEYS = 3 };
    static const char *const kinds[SCOPE_KEYS] = {"use", "win", "rps"};
    pthread_once(&library_once, init_library);
    const char *model = model_or_null != NULL ? model_or_null : "";
    if (!is_id(organization, LIMITS_ID_BYTES) || !is_id(scope, LIMITS_SCOPE_BYTES) ||
        strlen(model) > LIMIT_MODEL_NAME_BYTES) {
        refuse(fn, context, "limits: the organisation's id, the scope or the model is strange");
        return;
    }
    char names[SCOPE_KEYS][NAME_BYTES];
    struct bytes_view keys[SCOPE_KEYS];
    for (int i = 0; i < SCOPE_KEYS; i++) {
        snprintf(names[i], NAME_BYTES, "bora:%s:{%s}:%s%s%s", kinds[i], organization, scope,
                 model_or_null != NULL ? ":" : "", model);
        keys[i] = bytes_view_string(names[i]);
    }
    uint8_t packed[PACKED_BYTES];
    numbers[0] = atomic_load(&test_time_us);
    struct bytes_view argument = pack_numbers(numbers, count, packed);
    redis_function_run(client, &library, function, keys, SCOPE_KEYS, &argument, 1, fn, context);
}

void limits_used(struct redis_client *client, const char *organization, const char *scope, const char *model_or_null,
                 redis_fn *fn, void *context) {
    int64_t numbers[] = {0};
    run_on_scope(client, functions.used, organization, scope, model_or_null, numbers, 1, fn, context);
}

/** Two keys and four arguments of limits_catch_up. False: names that none of ours can have. */
struct past_words {
    char names[2][NAME_BYTES], kind[2];
    uint8_t packed[PACKED_BYTES];
};
static bool write_past(const char *organization, const struct limits_past *past, struct past_words *words,
                       struct bytes_view keys[2], struct bytes_view arguments[4]) {
    static const char *const kinds[] = {"use", "win"};
    const char *model = past->model_or_null != NULL ? past->model_or_null : "";
    if (!is_id(past->scope, LIMITS_SCOPE_BYTES) || strlen(model) > LIMIT_MODEL_NAME_BYTES) return false;
    for (int i = 0; i < 2; i++) {
        snprintf(words->names[i], NAME_BYTES, "bora:%s:{%s}:%s%s%s", kinds[i], organization, past->scope,
                 past->model_or_null != NULL ? ":" : "", model);
        keys[i] = bytes_view_string(words->names[i]);
    }
    words->kind[0] = past->scope[0];
    words->kind[1] = 0;
    const int64_t numbers[] = {within(past->day_tokens, LIMITS_MAX), within(past->month_tokens, LIMITS_MAX),
                               within(past->month_spend, LIMITS_SPEND_MAX)};
    arguments[0] = bytes_view_string(words->kind);
    arguments[1] = bytes_view_string(past->scope[1] != 0 ? past->scope + 2 : "");
    arguments[2] = bytes_view_string(model);
    arguments[3] = pack_numbers(numbers, 3, words->packed);
    return true;
}

void limits_catch_up(struct redis_client *client, const struct limits_ledger *ledger, const struct limits_past *scopes,
                     int count, redis_fn *fn, void *context) {
    enum { KEYS_AHEAD = 4, ARGUMENTS_AHEAD = 3 };
    struct past_words words[LIMITS_PAST_MAX];
    struct bytes_view keys[KEYS_AHEAD + 2 * LIMITS_PAST_MAX], arguments[ARGUMENTS_AHEAD + 4 * LIMITS_PAST_MAX];
    struct organization_keys names;
    char epoch[NAME_BYTES];
    uint8_t packed[PACKED_BYTES];
    pthread_once(&library_once, init_library);
    bool proper = is_id(ledger->organization, LIMITS_ID_BYTES) && count <= LIMITS_PAST_MAX;
    for (int i = 0; i < count && proper; i++)
        proper = write_past(ledger->organization, &scopes[i], &words[i], keys + KEYS_AHEAD + 2 * i,
                            arguments + ARGUMENTS_AHEAD + 4 * i);
    if (!proper) {
        refuse(fn, context, "limits: the organisation's id, a scope or a model is strange");
        return;
    }
    write_keys(&names, ledger->organization);
    snprintf(epoch, sizeof epoch, "bora:outbox-epoch:{%s}", ledger->organization);
    keys[0] = bytes_view_string(names.leases);
    keys[1] = bytes_view_string(names.due);
    keys[2] = bytes_view_string(names.outbox);
    keys[3] = bytes_view_string(epoch);
    const int64_t numbers[] = {atomic_load(&test_time_us), ledger->day};
    arguments[0] = pack_numbers(numbers, 2, packed);
    arguments[1] = bytes_view_string(ledger->epoch);
    arguments[2] = bytes_view_string(ledger->position);
    redis_function_run(client, &library, functions.catch_up, keys, (size_t)(KEYS_AHEAD + 2 * count), arguments,
                       (size_t)(ARGUMENTS_AHEAD + 4 * count), fn, context);
}

bool limits_read_caught_up(const struct redis_reply *reply, bool *out_complete, int64_t *out_oldest_ms) {
    int64_t numbers[2];
    if (reply == NULL || reply->type != REDIS_STRING || !unpack_numbers(reply->string, 2, numbers)) return false;
    *out_complete = numbers[0] != 0;
    *out_oldest_ms = numbers[1];
    return true;
}

bool limits_read_used(const struct redis_reply *reply, struct limits_bounds *out) {
    return reply != NULL && reply->type == REDIS_STRING && unpack_numbers(reply->string, LIMITS_KINDS, out->of);
}

/* --- the gate of a key -------------------------------------------------------------------------------------------- */

void limits_shut_gate(struct redis_client *client, const char *organization, const char *gate, redis_fn *fn,
                      void *context) {
    char name[NAME_BYTES];
    if (write_gate(name, organization, gate))
        redis_commandf(client, fn, context, "SET %s 1 PX %lld", name, (long long)GATE_MS);
    else
        refuse(fn, context, "limits: the organisation's or key's id is strange");
}

void limits_open_gate(struct redis_client *client, const char *organization, const char *gate, redis_fn *fn,
                      void *context) {
    char name[NAME_BYTES];
    if (write_gate(name, organization, gate))
        redis_commandf(client, fn, context, "DEL %s", name);
    else
        refuse(fn, context, "limits: the organisation's or key's id is strange");
}

static void on_gate(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct admitting *asking = context;
    struct limits_result result = {.outcome = LIMITS_ADMITTED};
    for (int kind = 0; kind < LIMITS_KINDS; kind++)
        result.room[kind] = (struct limits_room){LIMITS_ABSENT, LIMITS_ABSENT};
    if (status == STATUS_OK && reply->integer != 0) result.outcome = LIMITS_KEY_CLOSED;
    asking->fn(asking->context, status, status == STATUS_OK ? &result : NULL, message);
    free(asking);
}

void limits_check_gate(struct redis_client *client, const char *organization, const char *gate, limits_fn *fn,
                       void *context) {
    char name[NAME_BYTES];
    bool named = write_gate(name, organization, gate);
    struct admitting *asking = named ? calloc(1, sizeof *asking) : NULL;
    if (asking == NULL) {
        fn(context, named ? STATUS_UNAVAILABLE : STATUS_INVALID_ARGUMENT, NULL,
           named ? "out of memory" : "limits: the organisation's or key's id is strange");
        return;
    }
    asking->fn = fn;
    asking->context = context;
    redis_commandf(client, on_gate, asking, "EXISTS %s", name);
}

/* --- money -------------------------------------------------------------------------------------------------------- */

static int64_t cost_of(int64_t tokens, int64_t price) {
    __int128 nanos = ((__int128)within(tokens, LIMITS_MAX) * within(price, LIMITS_PRICE_MAX) + 999999) / 1000000;
    return nanos > LIMITS_SPEND_MAX ? LIMITS_SPEND_MAX : (int64_t)nanos;
}

int64_t limits_cost(const struct limits_price *price, const struct limits_usage *usage) {
    int64_t input = within(usage->input, LIMITS_MAX), cached = within(usage->cached_input, input);
    int64_t of_input = cost_of(input - cached, price->input) + cost_of(cached, price->cached_input);
    return within(of_input, LIMITS_SPEND_MAX) + cost_of(usage->output, price->output);
}
