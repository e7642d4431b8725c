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
extern const char limits_scopes_lua[], limits_leases_lua[], limits_settle_lua[], limits_admit_lua[],
    limits_catch_up_lua[];

enum {
    NAME_BYTES = 256, /* "bora:settled:{" id "}:" and a scope or lease, ":" and a model */
    NUMBER_BYTES = 8,
    NUMBERS_MAX = LIMITS_KINDS,
    PACKED_BYTES = NUMBERS_MAX * NUMBER_BYTES,
    ADMIT_KEYS_MAX = 3 + LIMITS_SCOPES_MAX,
    ADMIT_ARGUMENTS = 4,
    ADMIT_NUMBERS = 9,
    ANSWER_NUMBERS = 5,
    ROOM_NUMBERS = 3,
    ANSWER_NUMBERS_MAX = ANSWER_NUMBERS + ROOM_NUMBERS * LIMITS_KINDS,
    WORD_NUMBERS = 4,
    WORD_BYTES = LIMITS_LEASE_ID_BYTES + WORD_NUMBERS * NUMBER_BYTES,
    TAIL_BYTES_MAX = 2048, /* names of scopes, and the subject */
    ENTRY_NUMBERS = 7,
    ENDPOINT_BYTES_MAX = 64,
    GATE_MS = 3600 * 1000,
    VERSION_BYTES = 6, /* of the digest */
    FUNCTION_BYTES = 20 + 2 * VERSION_BYTES,
    LIBRARY_BYTES_MAX = 256 * 1024,
};
_Static_assert(NAME_BYTES > 16 + LIMITS_ID_BYTES + LIMITS_SCOPE_BYTES + LIMIT_MODEL_NAME_BYTES, "names fit");

static struct redis_library library;
static struct {
    char admit[FUNCTION_BYTES], tell[FUNCTION_BYTES], reap[FUNCTION_BYTES], used[FUNCTION_BYTES],
        catch_up[FUNCTION_BYTES], oldest[FUNCTION_BYTES];
} functions;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static _Atomic int64_t test_time_us;

void limits_set_test_time(int64_t us) {
    atomic_store(&test_time_us, us);
}

/** The library's and its functions' names end in a digest of the source: gateways of two versions keep to their own. */
static void init_library(void) {
    static const char *const parts[] = {limits_scopes_lua, limits_leases_lua, limits_settle_lua, limits_admit_lua,
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
    snprintf(functions.tell, FUNCTION_BYTES, "limits_tell_%s", version);
    snprintf(functions.reap, FUNCTION_BYTES, "limits_reap_%s", version);
    snprintf(functions.used, FUNCTION_BYTES, "limits_used_%s", version);
    snprintf(functions.catch_up, FUNCTION_BYTES, "limits_catch_up_%s", version);
    snprintf(functions.oldest, FUNCTION_BYTES, "limits_oldest_%s", version);
}

/* --- arguments and answers ---------------------------------------------------------------------------------------- */

/** Little-endian doubles, as the functions' struct.unpack("<d...") reads them. All numbers here are below 2^53. */
static struct bytes_view pack_numbers(const int64_t *values, int count, uint8_t *out) {
    for (int i = 0; i < count; i++) {
        double number = (double)values[i];
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        for (int byte = 0; byte < NUMBER_BYTES; byte++) out[NUMBER_BYTES * i + byte] = (uint8_t)(bits >> (8 * byte));
    }
    return (struct bytes_view){.data = out, .length = (size_t)count * NUMBER_BYTES};
}

/** What is out of range, which nobody writes, as INT64_MIN. */
static void unpack_numbers(const uint8_t *packed, int count, int64_t *out) {
    for (int i = 0; i < count; i++) {
        uint64_t bits = 0;
        for (int byte = 0; byte < NUMBER_BYTES; byte++) bits |= (uint64_t)packed[NUMBER_BYTES * i + byte] << (8 * byte);
        double number;
        memcpy(&number, &bits, sizeof number);
        out[i] = number > -0x1p62 && number < 0x1p62 ? (int64_t)number : INT64_MIN;
    }
}

/** Not empty, not longer than `most`, and without what would end a hash tag. */
static bool is_id(const char *id, size_t most) {
    return id != NULL && id[0] != 0 && strlen(id) <= most && strpbrk(id, "{}") == NULL;
}

static int64_t within(int64_t value, int64_t most) {
    return value < 0 ? 0 : value > most ? most : value;
}

/** The one key that every function on an organisation's leases is given; it derives the others. */
static void write_state_name(char out[NAME_BYTES], const char *organization) {
    snprintf(out, NAME_BYTES, "bora:limits:{%s}", organization);
}

static void refuse(redis_fn *fn, void *context, const char *why) {
    if (fn != NULL) fn(context, STATUS_INVALID_ARGUMENT, NULL, why);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static const char *what_is_wrong_with_words(const struct limits_word *words, int count) {
    if (count < 0 || count > LIMITS_WORDS_MAX) return "limits: too many words";
    for (int i = 0; i < count; i++) {
        if (words[i].lease == NULL || strlen(words[i].lease) != LIMITS_LEASE_ID_BYTES)
            return "limits: the lease's id has another length";
        if (words[i].said == LIMITS_REPORT && (words[i].answer < 0 || words[i].answer >= LIMITS_ANSWERS_MAX))
            return "limits: there is no such answer";
    }
    return NULL;
}

bool limits_word_is_valid(const struct limits_word *word) {
    return what_is_wrong_with_words(word, 1) == NULL;
}

static int64_t code_of(const struct limits_word *word) {
    enum {
        CHARGE,
        SETTLE,
        PROVISIONAL,
        UNUSED,
        RETURNED,
        REPORT
    }; /* as in limits_settle.lua; and more: of which answer */
    if (word->said == LIMITS_CHARGE) return CHARGE;
    if (word->said == LIMITS_REPORT) return REPORT + word->answer;
    if (word->usage.unused) return word->usage.returned ? RETURNED : UNUSED;
    return word->usage.provisional ? PROVISIONAL : SETTLE;
}

static struct bytes_view pack_words(const struct limits_word *words, int count, uint8_t *out) {
    for (int i = 0; i < count; i++) {
        const struct limits_usage *usage = &words[i].usage;
        int64_t input = within(usage->input, LIMITS_MAX);
        int64_t numbers[WORD_NUMBERS] = {input, within(usage->cached_input, input), within(usage->output, LIMITS_MAX),
                                         code_of(&words[i])};
        memcpy(out + (size_t)i * WORD_BYTES, words[i].lease, LIMITS_LEASE_ID_BYTES);
        pack_numbers(numbers, WORD_NUMBERS, out + (size_t)i * WORD_BYTES + LIMITS_LEASE_ID_BYTES);
    }
    return bytes_view_of(out, (size_t)count * WORD_BYTES);
}

/* --- admission ---------------------------------------------------------------------------------------------------- */

/** A request on its way. */
struct admitting {
    limits_fn *fn;
    redis_fn *told;
    void *context, *told_context;
    int scope_count, word_count;
    struct limits_bounds bounds[LIMITS_SCOPES_MAX];
};

/** What the functions answer besides limits_outcome: nothing was taken. */
enum { OUTCOME_TOO_LATE = LIMITS_SCARCE + 1, OUTCOME_OUTBOX_FULL };

/** Of each kind that is limited somewhere its number, limit and room, where the limits were looked at at all. */
static bool read_rooms(const int64_t *numbers, int count, struct limits_result *out) {
    for (int kind = 0; kind < LIMITS_KINDS; kind++)
        out->room[kind] = (struct limits_room){LIMITS_ABSENT, LIMITS_ABSENT};
    for (int i = 0; i < count; i += ROOM_NUMBERS) {
        if (numbers[i] < 0 || numbers[i] >= LIMITS_KINDS) return false;
        out->room[numbers[i]] = (struct limits_room){numbers[i + 1], numbers[i + 2]};
    }
    return true;
}

/** `*outcome`: also of the two above. */
static bool read_result(const struct redis_reply *reply, const struct admitting *admitting, int64_t *outcome,
                        struct limits_result *out) {
    int64_t numbers[ANSWER_NUMBERS_MAX];
    size_t words = (size_t)admitting->word_count, length = reply->string.length;
    if (reply->type != REDIS_STRING || length < words || (length - words) % NUMBER_BYTES != 0) return false;
    int count = (int)((length - words) / NUMBER_BYTES);
    if (count < ANSWER_NUMBERS || count > ANSWER_NUMBERS_MAX || (count - ANSWER_NUMBERS) % ROOM_NUMBERS != 0)
        return false;
    unpack_numbers(reply->string.data, count, numbers);
    *outcome = numbers[0];
    if (numbers[0] < LIMITS_ADMITTED || numbers[0] > OUTCOME_OUTBOX_FULL) return false;
    *out = (struct limits_result){.outcome = (enum limits_outcome)numbers[0], .output_held = numbers[4]};
    if (numbers[0] == LIMITS_DENIED || numbers[0] == LIMITS_NEVER_FITS) {
        if (numbers[1] < 0 || numbers[1] >= LIMITS_KINDS || numbers[2] < 0 || numbers[2] >= admitting->scope_count)
            return false;
        out->denied_by = (enum limits_kind)numbers[1];
        out->denied_scope = (int)numbers[2];
        out->denied_limit = admitting->bounds[numbers[2]].of[numbers[1]];
        out->retry_after_ms = (numbers[3] + 999) / 1000;
    }
    return read_rooms(numbers + ANSWER_NUMBERS, count - ANSWER_NUMBERS, out);
}

static void on_admitted(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct admitting *admitting = context;
    struct limits_result result;
    int64_t outcome = LIMITS_ADMITTED;
    if (status == STATUS_OK && !read_result(reply, admitting, &outcome, &result)) {
        status = STATUS_INTERNAL;
        message = "the limits function gave a strange answer";
    }
    if (admitting->told != NULL) admitting->told(admitting->told_context, status, NULL, message);
    if (status == STATUS_OK && outcome == OUTCOME_TOO_LATE) {
        status = STATUS_FAILED_PRECONDITION;
        message = "the lease was settled before it was admitted";
    } else if (status == STATUS_OK && outcome == OUTCOME_OUTBOX_FULL) {
        status = STATUS_UNAVAILABLE;
        message = "the outbox of usage is full";
    }
    admitting->fn(admitting->context, status, status == STATUS_OK ? &result : NULL, status == STATUS_OK ? "" : message);
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
    if (strlen(subject->workspace) > LIMITS_ID_BYTES) return "limits: the workspace's id is too long";
    if (strlen(subject->request_id) > LIMIT_REQUEST_ID_BYTES || strlen(subject->endpoint) > ENDPOINT_BYTES_MAX)
        return "limits: the request's id or its endpoint is too long";
    if (admission->input < 0 || admission->input > LIMITS_MAX || admission->output < 0 ||
        admission->output > LIMITS_MAX || admission->output_optional < 0 ||
        admission->output_optional > admission->output)
        return "limits: tokens out of range";
    if (admission->answers < 1 || admission->answers > LIMITS_ANSWERS_MAX) return "limits: answers out of range";
    if (price->input < 0 || price->input > LIMITS_PRICE_MAX || price->cached_input < 0 ||
        price->cached_input > LIMITS_PRICE_MAX || price->output < 0 || price->output > LIMITS_PRICE_MAX)
        return "limits: a price is out of range";
    const char *wrong = what_is_wrong_with_words(admission->words, admission->word_count);
    return wrong != NULL ? wrong : what_is_wrong_with_scopes(admission);
}

static bool write_gate(char out[NAME_BYTES], const char *what, const char *organization, const char *gate) {
    if (!is_id(organization, LIMITS_ID_BYTES) || !is_id(gate, LIMITS_GATE_BYTES)) return false;
    snprintf(out, NAME_BYTES, "bora:%s:{%s}:%s", what, organization, gate);
    return true;
}

/** All keys and arguments of the function, and the bytes that they lie in. */
struct admit_call {
    struct bytes_view keys[ADMIT_KEYS_MAX], arguments[ADMIT_ARGUMENTS];
    size_t key_count;
    char gate[NAME_BYTES], settled[NAME_BYTES], state[NAME_BYTES], scopes[LIMITS_SCOPES_MAX][NAME_BYTES];
    uint8_t numbers[(ADMIT_NUMBERS + LIMITS_SCOPES_MAX * LIMITS_KINDS) * NUMBER_BYTES];
    char tail[TAIL_BYTES_MAX];
    size_t tail_length;
    uint8_t words[LIMITS_WORDS_MAX * WORD_BYTES];
};
_Static_assert(TAIL_BYTES_MAX >= LIMITS_SCOPES_MAX * (LIMITS_SCOPE_BYTES + LIMIT_MODEL_NAME_BYTES + 2) +
                                     LIMITS_KEY_ID_BYTES + LIMITS_ID_BYTES + LIMIT_MODEL_NAME_BYTES +
                                     ENDPOINT_BYTES_MAX + LIMIT_REQUEST_ID_BYTES + 5,
               "what is_wrong lets through fits");

static void add_key(struct admit_call *call, const char *name) {
    call->keys[call->key_count++] = bytes_view_string(name);
}

/** With its zero. */
static void add_to_tail(struct admit_call *call, const char *text) {
    size_t bytes = strlen(text) + 1;
    memcpy(call->tail + call->tail_length, text, bytes);
    call->tail_length += bytes;
}

static void add_scopes(struct admit_call *call, const struct limits_admission *admission) {
    for (int i = 0; i < admission->scope_count; i++) {
        /* "k:<prefix>", "k:<prefix>:<model>" */
        const struct limits_scope *scope = &admission->scopes[i];
        char name[LIMITS_SCOPE_BYTES + 1 + LIMIT_MODEL_NAME_BYTES + 1];
        snprintf(name, sizeof name, "%s%s%s", scope->name, scope->of_model ? ":" : "",
                 scope->of_model ? admission->subject.model : "");
        snprintf(call->scopes[i], NAME_BYTES, "bora:use:{%s}:%s", admission->subject.organization, name);
        add_key(call, call->scopes[i]);
        add_to_tail(call, name);
        pack_numbers(scope->bounds.of, LIMITS_KINDS,
                     call->numbers + (ADMIT_NUMBERS + (size_t)i * LIMITS_KINDS) * NUMBER_BYTES);
    }
}

static void write_call(struct admit_call *call, const struct limits_admission *admission) {
    enum { ADMIT_PEEK = 1, ADMIT_LATE, ADMIT_ESTIMATE, ADMIT_AHEAD };
    const struct limits_subject *subject = &admission->subject;
    const char *lease = admission->peek ? "" : admission->lease;
    call->key_count = call->tail_length = 0;
    (void)write_gate(call->gate, "gate", subject->organization,
                     admission->gate != NULL ? admission->gate : subject->key);
    snprintf(call->settled, NAME_BYTES, "bora:settled:{%s}:%s", subject->organization, lease);
    write_state_name(call->state, subject->organization);
    add_key(call, call->gate);
    add_key(call, call->settled);
    add_key(call, call->state);
    add_scopes(call, admission);
    add_to_tail(call, subject->key);
    add_to_tail(call, subject->workspace);
    add_to_tail(call, subject->model);
    add_to_tail(call, subject->endpoint);
    add_to_tail(call, subject->request_id);
    int64_t time = admission->test_time_us != 0 ? admission->test_time_us : atomic_load(&test_time_us);
    int64_t numbers[ADMIT_NUMBERS] = {time,
                                      admission->late       ? ADMIT_LATE
                                      : admission->peek     ? ADMIT_PEEK
                                      : admission->ahead    ? ADMIT_AHEAD
                                      : admission->estimate ? ADMIT_ESTIMATE
                                                            : 0,
                                      admission->input,
                                      admission->output,
                                      admission->output_optional,
                                      admission->answers,
                                      admission->price.input,
                                      admission->price.cached_input,
                                      admission->price.output};
    pack_numbers(numbers, ADMIT_NUMBERS, call->numbers);
    size_t number_count = ADMIT_NUMBERS + (size_t)admission->scope_count * LIMITS_KINDS;
    call->arguments[0] = bytes_view_string(lease);
    call->arguments[1] = bytes_view_of(call->numbers, number_count * NUMBER_BYTES);
    call->arguments[2] = bytes_view_of(call->tail, call->tail_length);
    call->arguments[3] = pack_words(admission->words, admission->word_count, call->words);
}

void limits_admit(struct redis_client *client, const struct limits_admission *admission, limits_fn *fn, void *context) {
    pthread_once(&library_once, init_library);
    const char *wrong = what_is_wrong(admission);
    struct admitting *admitting = wrong == NULL ? malloc(sizeof *admitting) : NULL;
    if (admitting == NULL) {
        enum status status = wrong != NULL ? STATUS_INVALID_ARGUMENT : STATUS_UNAVAILABLE;
        if (wrong == NULL) wrong = "out of memory";
        if (admission->told != NULL) admission->told(admission->told_context, status, NULL, wrong);
        fn(context, status, NULL, wrong);
        return;
    }
    *admitting = (struct admitting){.fn = fn,
                                    .told = admission->told,
                                    .context = context,
                                    .told_context = admission->told_context,
                                    .scope_count = admission->scope_count,
                                    .word_count = admission->word_count};
    for (int i = 0; i < admission->scope_count; i++) admitting->bounds[i] = admission->scopes[i].bounds;
    struct admit_call call;
    write_call(&call, admission);
    redis_function_run(client, &library, functions.admit, call.keys, call.key_count, call.arguments, ADMIT_ARGUMENTS,
                       on_admitted, admitting);
}

/* --- charge, settle, report, reap --------------------------------------------------------------------------------- */

/** How the outcome of one word is passed on: as a number. */
struct telling {
    redis_fn *fn;
    void *context;
};

static void on_told(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct telling *telling = context;
    struct redis_reply outcome = {.type = REDIS_INTEGER};
    if (status == STATUS_OK && reply->type == REDIS_STRING && reply->string.length == 1) {
        outcome.integer = reply->string.data[0];
        reply = &outcome;
    }
    telling->fn(telling->context, status, reply, message);
    free(telling);
}

void limits_tell(struct redis_client *client, const char *organization, const struct limits_word *words, int count,
                 redis_fn *fn, void *context) {
    pthread_once(&library_once, init_library);
    const char *wrong = count < 1 ? "limits: no words" : what_is_wrong_with_words(words, count);
    if (wrong == NULL && !is_id(organization, LIMITS_ID_BYTES)) wrong = "limits: the organisation's id is strange";
    if (wrong != NULL) {
        refuse(fn, context, wrong);
        return;
    }
    char state[NAME_BYTES];
    uint8_t packed_time[NUMBER_BYTES], packed[LIMITS_WORDS_MAX * WORD_BYTES];
    write_state_name(state, organization);
    int64_t time = atomic_load(&test_time_us);
    struct bytes_view key = bytes_view_string(state);
    struct bytes_view arguments[] = {pack_numbers(&time, 1, packed_time), pack_words(words, count, packed)};
    redis_function_run(client, &library, functions.tell, &key, 1, arguments, 2, fn, context);
}

static void tell_one(struct redis_client *client, const char *organization, const struct limits_word *word,
                     redis_fn *fn, void *context) {
    struct telling *telling = fn != NULL ? malloc(sizeof *telling) : NULL;
    if (fn != NULL && telling == NULL) {
        fn(context, STATUS_UNAVAILABLE, NULL, "out of memory");
        return;
    }
    if (telling != NULL) *telling = (struct telling){fn, context};
    limits_tell(client, organization, word, 1, telling != NULL ? on_told : NULL, telling);
}

void limits_charge(struct redis_client *client, const char *organization, const char *lease,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    tell_one(client, organization, &(struct limits_word){.said = LIMITS_CHARGE, .lease = lease, .usage = *usage}, fn,
             context);
}

void limits_settle(struct redis_client *client, const char *organization, const char *lease,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    tell_one(client, organization, &(struct limits_word){.said = LIMITS_SETTLE, .lease = lease, .usage = *usage}, fn,
             context);
}

void limits_report(struct redis_client *client, const char *organization, const char *lease, int answer,
                   const struct limits_usage *usage, redis_fn *fn, void *context) {
    tell_one(client, organization,
             &(struct limits_word){.said = LIMITS_REPORT, .lease = lease, .answer = answer, .usage = *usage}, fn,
             context);
}

void limits_reap(struct redis_client *client, const char *organization, redis_fn *fn, void *context) {
    pthread_once(&library_once, init_library);
    if (!is_id(organization, LIMITS_ID_BYTES)) {
        refuse(fn, context, "limits: the organisation's id is strange");
        return;
    }
    char state[NAME_BYTES];
    write_state_name(state, organization);
    uint8_t packed[NUMBER_BYTES];
    int64_t time = atomic_load(&test_time_us);
    struct bytes_view key = bytes_view_string(state), argument = pack_numbers(&time, 1, packed);
    redis_function_run(client, &library, functions.reap, &key, 1, &argument, 1, fn, context);
}

bool limits_read_reaped(const struct redis_reply *reply, int64_t *out_count, int64_t *out_unreadable) {
    int64_t numbers[2];
    if (reply == NULL || reply->type != REDIS_STRING || reply->string.length != sizeof numbers) return false;
    unpack_numbers(reply->string.data, 2, numbers);
    *out_count = numbers[0];
    *out_unreadable = numbers[1];
    return true;
}

/* --- what is used ------------------------------------------------------------------------------------------------- */

/** Call a function on one scope's keys. */
static void run_on_scope(struct redis_client *client, const char *function, const char *organization, const char *scope,
                         const char *model_or_null, int64_t *numbers, int count, redis_fn *fn, void *context) {
    enum { SCOPE_KEYS = 2 };
    static const char *const kinds[SCOPE_KEYS] = {"use", "rps"};
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

/** A key and four arguments of limits_catch_up. False: names that none of ours can have. */
struct past_words {
    char name[NAME_BYTES], kind[2];
    uint8_t packed[PACKED_BYTES];
};
static bool write_past(const char *organization, const struct limits_past *past, struct past_words *words,
                       struct bytes_view *key, struct bytes_view arguments[4]) {
    const char *model = past->model_or_null != NULL ? past->model_or_null : "";
    if (!is_id(past->scope, LIMITS_SCOPE_BYTES) || strlen(model) > LIMIT_MODEL_NAME_BYTES) return false;
    snprintf(words->name, NAME_BYTES, "bora:use:{%s}:%s%s%s", organization, past->scope,
             past->model_or_null != NULL ? ":" : "", model);
    *key = bytes_view_string(words->name);
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
    enum { KEYS_AHEAD = 2, ARGUMENTS_AHEAD = 3 };
    struct past_words words[LIMITS_PAST_MAX];
    struct bytes_view keys[KEYS_AHEAD + LIMITS_PAST_MAX], arguments[ARGUMENTS_AHEAD + 4 * LIMITS_PAST_MAX];
    char state[NAME_BYTES], epoch[NAME_BYTES];
    uint8_t packed[PACKED_BYTES];
    pthread_once(&library_once, init_library);
    bool proper = is_id(ledger->organization, LIMITS_ID_BYTES) && count <= LIMITS_PAST_MAX;
    for (int i = 0; i < count && proper; i++)
        proper = write_past(ledger->organization, &scopes[i], &words[i], keys + KEYS_AHEAD + i,
                            arguments + ARGUMENTS_AHEAD + 4 * i);
    if (!proper) {
        refuse(fn, context, "limits: the organisation's id, a scope or a model is strange");
        return;
    }
    write_state_name(state, ledger->organization);
    snprintf(epoch, sizeof epoch, "bora:outbox-epoch:{%s}", ledger->organization);
    keys[0] = bytes_view_string(state);
    keys[1] = bytes_view_string(epoch);
    const int64_t numbers[] = {atomic_load(&test_time_us), ledger->day};
    arguments[0] = pack_numbers(numbers, 2, packed);
    arguments[1] = bytes_view_string(ledger->epoch);
    arguments[2] = bytes_view_string(ledger->position);
    redis_function_run(client, &library, functions.catch_up, keys, (size_t)(KEYS_AHEAD + count), arguments,
                       (size_t)(ARGUMENTS_AHEAD + 4 * count), fn, context);
}

bool limits_read_caught_up(const struct redis_reply *reply, bool *out_complete, int64_t *out_oldest_ms) {
    int64_t numbers[2];
    if (reply == NULL || reply->type != REDIS_STRING || reply->string.length != sizeof numbers) return false;
    unpack_numbers(reply->string.data, 2, numbers);
    *out_complete = numbers[0] != 0;
    *out_oldest_ms = numbers[1];
    return true;
}

void limits_oldest_lease(struct redis_client *client, const char *organization, const char *cursor, redis_fn *fn,
                         void *context) {
    pthread_once(&library_once, init_library);
    if (!is_id(organization, LIMITS_ID_BYTES)) {
        refuse(fn, context, "limits: the organisation's id is strange");
        return;
    }
    char state[NAME_BYTES];
    uint8_t packed[NUMBER_BYTES];
    int64_t time = atomic_load(&test_time_us);
    write_state_name(state, organization);
    const struct bytes_view key = bytes_view_string(state),
                            arguments[] = {pack_numbers(&time, 1, packed), bytes_view_string(cursor)};
    redis_function_run(client, &library, functions.oldest, &key, 1, arguments, 2, fn, context);
}

bool limits_read_oldest_lease(const struct redis_reply *reply, char out_cursor[LIMITS_CURSOR_BYTES + 1],
                              int64_t *out_oldest_ms) {
    if (reply == NULL || reply->type != REDIS_ARRAY || reply->count != 2 ||
        reply->items[0].string.length > LIMITS_CURSOR_BYTES || reply->items[1].string.length != sizeof(int64_t))
        return false;
    snprintf(out_cursor, LIMITS_CURSOR_BYTES + 1, "%s", (const char *)reply->items[0].string.data);
    unpack_numbers(reply->items[1].string.data, 1, out_oldest_ms);
    return true;
}

bool limits_read_used(const struct redis_reply *reply, struct limits_bounds *out) {
    if (reply == NULL || reply->type != REDIS_STRING || reply->string.length != PACKED_BYTES) return false;
    unpack_numbers(reply->string.data, LIMITS_KINDS, out->of);
    return true;
}

/* --- the outbox ------------------------------------------------------------------------------------------------- */

static bool take_text(const uint8_t **at, const uint8_t *end, struct bytes_view *out) {
    const uint8_t *zero = memchr(*at, 0, (size_t)(end - *at));
    if (zero == NULL) return false;
    *out = bytes_view_of(*at, (size_t)(zero - *at));
    *at = zero + 1;
    return true;
}

bool limits_read_entry(struct bytes_view packed, struct limits_entry *out) {
    enum { FIXED_BYTES = ENTRY_NUMBERS * NUMBER_BYTES + 1 + LIMITS_LEASE_ID_BYTES };
    int64_t numbers[ENTRY_NUMBERS];
    if (packed.length < FIXED_BYTES) return false;
    unpack_numbers(packed.data, ENTRY_NUMBERS, numbers);
    uint8_t kind = packed.data[ENTRY_NUMBERS * NUMBER_BYTES];
    *out = (struct limits_entry){
        .time_ms = numbers[0],
        .began_ms = numbers[1],
        .requests = numbers[2],
        .input = numbers[3],
        .cached = numbers[4],
        .output = numbers[5],
        .nanos = numbers[6],
        .kind = (enum limits_entry_kind)kind,
        .lease = bytes_view_of(packed.data + ENTRY_NUMBERS * NUMBER_BYTES + 1, LIMITS_LEASE_ID_BYTES)};
    const uint8_t *at = packed.data + FIXED_BYTES, *end = packed.data + packed.length;
    return kind <= LIMITS_CORRECTION && take_text(&at, end, &out->key) && take_text(&at, end, &out->workspace) &&
           take_text(&at, end, &out->model) && take_text(&at, end, &out->endpoint) &&
           take_text(&at, end, &out->request) && at == end;
}

/* --- the gate of a key -------------------------------------------------------------------------------------------- */

void limits_shut_gate(struct redis_client *client, const char *organization, const char *gate, redis_fn *fn,
                      void *context) {
    char name[NAME_BYTES];
    if (write_gate(name, "gate", organization, gate))
        redis_commandf(client, fn, context, "SET %s 1 PX %lld", name, (long long)GATE_MS);
    else
        refuse(fn, context, "limits: the organisation's or key's id is strange");
}

void limits_open_gate(struct redis_client *client, const char *organization, const char *gate, redis_fn *fn,
                      void *context) {
    char name[NAME_BYTES];
    if (write_gate(name, "gate", organization, gate))
        redis_commandf(client, fn, context, "DEL %s", name);
    else
        refuse(fn, context, "limits: the organisation's or key's id is strange");
}

void limits_set_expiry(struct redis_client *client, const char *organization, const char *gate, int64_t expires_at,
                       redis_fn *fn, void *context) {
    char name[NAME_BYTES];
    if (write_gate(name, "until", organization, gate))
        redis_commandf(client, fn, context, "SET %s %lld PX %lld", name, (long long)expires_at, (long long)GATE_MS);
    else
        refuse(fn, context, "limits: the organisation's or key's id is strange");
}

static void on_gate(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct admitting *asking = context;
    struct limits_result result = {.outcome = LIMITS_ADMITTED};
    for (int kind = 0; kind < LIMITS_KINDS; kind++)
        result.room[kind] = (struct limits_room){LIMITS_ABSENT, LIMITS_ABSENT};
    result.expires_at = LIMITS_ABSENT;
    if (status == STATUS_OK && reply->items[0].type == REDIS_STRING) result.outcome = LIMITS_KEY_CLOSED;
    if (status == STATUS_OK && reply->items[1].type == REDIS_STRING)
        result.expires_at = atoll((const char *)reply->items[1].string.data);
    asking->fn(asking->context, status, status == STATUS_OK ? &result : NULL, message);
    free(asking);
}

void limits_check_gate(struct redis_client *client, const char *organization, const char *gate, limits_fn *fn,
                       void *context) {
    char name[NAME_BYTES], until[NAME_BYTES];
    bool named = write_gate(name, "gate", organization, gate) && write_gate(until, "until", organization, gate);
    struct admitting *asking = named ? calloc(1, sizeof *asking) : NULL;
    if (asking == NULL) {
        fn(context, named ? STATUS_UNAVAILABLE : STATUS_INVALID_ARGUMENT, NULL,
           named ? "out of memory" : "limits: the organisation's or key's id is strange");
        return;
    }
    asking->fn = fn;
    asking->context = context;
    redis_commandf(client, on_gate, asking, "MGET %s %s", name, until);
}

bool limits_leaves_plenty(const struct limits_admission *admission, const struct limits_result *result) {
    enum { PLENTY = 100 };
    const struct limits_usage most = {.input = admission->input, .output = result->output_held};
    const int64_t all = most.input + most.output;
    const int64_t needs[LIMITS_KINDS] = {[LIMITS_INPUT_PER_MINUTE] = most.input,
                                         [LIMITS_OUTPUT_PER_MINUTE] = most.output,
                                         [LIMITS_TOKENS_PER_MINUTE] = all,
                                         [LIMITS_TOKENS_PER_DAY] = all,
                                         [LIMITS_TOKENS_PER_MONTH] = all,
                                         [LIMITS_STREAMS] = 1,
                                         [LIMITS_SPEND_PER_MONTH] = limits_cost(&admission->price, &most)};
    for (int kind = 0; kind < LIMITS_KINDS; kind++) {
        const struct limits_room *room = &result->room[kind];
        if (room->limit != LIMITS_ABSENT && room->remaining < PLENTY * needs[kind]) return false;
    }
    return true;
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
