/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/limits_fixture.h"

#include <stdio.h>

const char *lease_id(int number) {
    static _Thread_local char ids[8][LIMITS_LEASE_ID_BYTES + 1];
    static _Thread_local int next;
    char *id = ids[next++ % 8];
    snprintf(id, LIMITS_LEASE_ID_BYTES + 1, "%032x", (unsigned)number);
    return id;
}

void test_request_init(struct test_request *request) {
    *request = (struct test_request){0};
    request->scopes[0] = (struct limits_scope){.name = "k:" KEY, .bounds = LIMITS_UNLIMITED};
    request->admission = (struct limits_admission){
        .subject = {ORGANIZATION, "main", KEY, "small", "request-1", "chat"},
        .scope_count = 1,
        .input = 10,
        .output = 20,
        .answers = 1,
    };
}

void test_request_limit(struct test_request *request, enum limits_kind kind, int64_t limit) {
    request->scopes[0].bounds.of[kind] = limit;
}

int limits_setup(void **state) {
    limits_set_test_time(START_US);
    return redis_fixture_setup(state);
}

int limits_teardown(void **state) {
    limits_set_test_time(0);
    return redis_fixture_teardown(state);
}

struct redis_client *client_of(void **state) {
    return ((struct redis_fixture *)*state)->client;
}

struct limits_usage usage_of(int64_t input, int64_t cached, int64_t output) {
    return (struct limits_usage){.input = input, .cached_input = cached, .output = output};
}

void price_at_1000(struct test_request *request) {
    request->admission.price = (struct limits_price){1000000000, 0, 1000000000};
}

void keep_outcome(void *context, enum status status, const struct limits_result *result, const char *message) {
    tally_count(context, status, NULL, message);
    if (status == STATUS_OK && result->outcome == LIMITS_KEY_CLOSED) tally_count(context, STATUS_CANCELLED, NULL, "");
}

int64_t midnight_of(int year, int month, int day) {
    struct tm when = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return (int64_t)timegm(&when);
}

struct answer {
    struct tally tally;
    enum status status;
    struct limits_result result;
    int64_t integer;
    struct limits_bounds used;
};

static void keep_result(void *context, enum status status, const struct limits_result *result, const char *message) {
    struct answer *answer = context;
    answer->status = status;
    if (result != NULL) answer->result = *result;
    tally_count(&answer->tally, status, NULL, message);
}

struct limits_result admit_as(struct redis_client *client, struct test_request *request, int lease) {
    struct answer answer = {.tally = TALLY_INIT};
    request->admission.lease = lease_id(lease);
    request->admission.scopes = request->scopes;
    limits_admit(client, &request->admission, keep_result, &answer);
    tally_wait(&answer.tally, 1);
    if (answer.status != STATUS_OK) fail_msg("%s", answer.tally.message);
    return answer.result;
}

struct limits_result admit(struct redis_client *client, struct test_request *request) {
    static int next = 1 << 20;
    return admit_as(client, request, next++);
}

static void keep_reply(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct answer *answer = context;
    answer->status = status;
    int64_t unreadable;
    if (status == STATUS_OK && !limits_read_used(reply, &answer->used) &&
        !limits_read_reaped(reply, &answer->integer, &unreadable))
        answer->integer = reply->integer;
    tally_count(&answer->tally, status, reply, message);
}

static int64_t integer_of(struct answer *answer) {
    tally_wait(&answer->tally, 1);
    if (answer->status != STATUS_OK) fail_msg("%s", answer->tally.message);
    return answer->integer;
}

int64_t charge(struct redis_client *client, int lease, struct limits_usage usage) {
    struct answer answer = {.tally = TALLY_INIT};
    limits_charge(client, ORGANIZATION, lease_id(lease), &usage, keep_reply, &answer);
    return integer_of(&answer);
}

int64_t settle(struct redis_client *client, int lease, struct limits_usage usage) {
    struct answer answer = {.tally = TALLY_INIT};
    limits_settle(client, ORGANIZATION, lease_id(lease), &usage, keep_reply, &answer);
    return integer_of(&answer);
}

int64_t report(struct redis_client *client, int lease, int index, struct limits_usage usage) {
    struct answer answer = {.tally = TALLY_INIT};
    limits_report(client, ORGANIZATION, lease_id(lease), index, &usage, keep_reply, &answer);
    return integer_of(&answer);
}

int64_t reap(struct redis_client *client) {
    struct answer answer = {.tally = TALLY_INIT};
    limits_reap(client, ORGANIZATION, keep_reply, &answer);
    return integer_of(&answer);
}

struct told {
    struct tally tally;
    int count, *outcomes;
};

static void keep_outcomes(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct told *told = context;
    if (status == STATUS_OK && reply->string.length == (size_t)told->count)
        for (int i = 0; i < told->count; i++) told->outcomes[i] = reply->string.data[i];
    tally_count(&told->tally, status, reply, message);
}

void tell(struct redis_client *client, const struct limits_word *words, int count, int *outcomes) {
    struct told told = {.tally = TALLY_INIT, .count = count, .outcomes = outcomes};
    for (int i = 0; i < count; i++) outcomes[i] = -1;
    limits_tell(client, ORGANIZATION, words, count, keep_outcomes, &told);
    tally_wait(&told.tally, 1);
    if (told.tally.by_status[STATUS_OK] != 1) fail_msg("%s", told.tally.message);
}

struct limits_bounds used_all(struct redis_client *client, const char *scope, const char *model) {
    struct answer answer = {.tally = TALLY_INIT};
    limits_used(client, ORGANIZATION, scope, model, keep_reply, &answer);
    integer_of(&answer);
    return answer.used;
}

int64_t used(struct redis_client *client, const char *scope, const char *model, enum limits_kind kind) {
    return used_all(client, scope, model).of[kind];
}

static void copy_text(char *out, size_t bytes, struct bytes_view text) {
    snprintf(out, bytes, "%.*s", (int)text.length, (const char *)text.data);
}

static void read_entry(struct bytes_view packed, struct outbox_entry *out) {
    static const char *const kinds[] = {"settled", "expired", "correction"};
    struct limits_entry entry;
    assert_true(limits_read_entry(packed, &entry));
    *out = (struct outbox_entry){.time_ms = entry.time_ms,
                                 .began_ms = entry.began_ms,
                                 .input = entry.input,
                                 .cached = entry.cached,
                                 .output = entry.output,
                                 .nanos = entry.nanos,
                                 .requests = entry.requests};
    copy_text(out->lease, sizeof out->lease, entry.lease);
    copy_text(out->request, sizeof out->request, entry.request);
    copy_text(out->key, sizeof out->key, entry.key);
    copy_text(out->workspace, sizeof out->workspace, entry.workspace);
    copy_text(out->model, sizeof out->model, entry.model);
    copy_text(out->endpoint, sizeof out->endpoint, entry.endpoint);
    snprintf(out->how, sizeof out->how, "%s", kinds[entry.kind]);
}

int read_outbox(struct redis_client *client, struct outbox_entry *out, int most) {
    struct redis_reply *reply = NULL;
    struct error err = {0};
    if (redis_callf(client, &reply, &err, "XRANGE bora:outbox:{%s} - +", ORGANIZATION) != STATUS_OK)
        fail_msg("%s", err.message);
    int count = (int)reply->count;
    for (int i = 0; i < count && i < most; i++) {
        const struct redis_reply *fields = &reply->items[i].items[1];
        assert_int_equal(fields->count, 2);
        assert_true(bytes_view_equal_string(fields->items[0].string, "p"));
        read_entry(fields->items[1].string, &out[i]);
    }
    redis_reply_free(reply);
    return count;
}
