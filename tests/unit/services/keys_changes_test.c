/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What bora-keys does when keys, workspaces and organisations change: gates, what gateways are told, rotation. argv[1] is the program. */
#include "tests/unit/services/keys_fixture.h"

#include "base/clock.h"
#include "rpc/transcode.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- what gateways hear ------------------------------------------------------------------------------------------- */

struct listener {
    struct redis_client *client;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool subscribed;
    char heard[4096]; /* messages, each with a newline */
};

static void on_message(void *context, struct bytes_view message) {
    struct listener *listener = context;
    pthread_mutex_lock(&listener->mutex);
    size_t length = strlen(listener->heard);
    snprintf(listener->heard + length, sizeof listener->heard - length, "%.*s\n", (int)message.length,
             (const char *)message.data);
    pthread_cond_broadcast(&listener->changed);
    pthread_mutex_unlock(&listener->mutex);
}
static void on_state(void *context, bool subscribed) {
    struct listener *listener = context;
    pthread_mutex_lock(&listener->mutex);
    listener->subscribed = subscribed;
    pthread_cond_broadcast(&listener->changed);
    pthread_mutex_unlock(&listener->mutex);
}

static void listener_open(struct listener *listener, struct keys_fixture *fixture) {
    *listener = (struct listener){.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    listener->client = keys_redis_client(&fixture->limits);
    assert_int_equal(redis_subscribe(listener->client, "bora:changed", on_message, on_state, listener, NULL),
                     STATUS_OK);
    pthread_mutex_lock(&listener->mutex);
    while (!listener->subscribed) pthread_cond_wait(&listener->changed, &listener->mutex);
    pthread_mutex_unlock(&listener->mutex);
}
static void listener_close(struct listener *listener) {
    redis_client_destroy(listener->client);
}
static int count_of(const char *text, const char *wanted) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, wanted)) != NULL; at++) count++;
    return count;
}
/** Wait until the message has come so many times, and forget all that came. */
static void listener_expect_times(struct listener *listener, char kind, const char *id, int times) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%c %s\n", kind, id);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SECONDS;
    pthread_mutex_lock(&listener->mutex);
    int waited = 0;
    while (count_of(listener->heard, wanted) < times && waited == 0)
        waited = pthread_cond_timedwait(&listener->changed, &listener->mutex, &until);
    if (waited != 0) fail_msg("expected '%s' %d times, heard '%s'", wanted, times, listener->heard);
    listener->heard[0] = 0;
    pthread_mutex_unlock(&listener->mutex);
}
static void listener_expect(struct listener *listener, char kind, const char *id) {
    listener_expect_times(listener, kind, id, 1);
}

static struct keys_outcome set_disabled(struct keys_fixture *fixture, const char *key_id, bool disabled) {
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    GIVE(request, UPDATE_KEY_REQUEST, DISABLED, disabled, disabled);
    return keys_update(fixture, ADMIN_KEY, &request);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static void test_disabling_shuts_the_gate_before_it_is_answered_and_can_be_taken_back(void **state) {
    struct keys_fixture *fixture = *state;
    struct listener listener;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture), *other = keys_create_plain(fixture);
    listener_open(&listener, fixture);
    struct keys_outcome outcome = set_disabled(fixture, created->key_id, true);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_string_equal(((Bora__V1__ApiKey *)outcome.reply)->status, "disabled");
    assert_true(keys_gate_is_shut(fixture, created->info));
    listener_expect(&listener, 'k', created->info->prefix);
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_UNAUTHENTICATED);
    assert_false(keys_gate_is_shut(fixture, other->info));
    assert_int_equal(keys_verify(fixture, other->key).status, STATUS_OK);

    assert_int_equal(set_disabled(fixture, created->info->prefix, false).status, STATUS_OK);
    assert_false(keys_gate_is_shut(fixture, created->info));
    listener_expect(&listener, 'k', created->info->prefix);
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_OK);
    listener_close(&listener);
}

static void test_revoking_shuts_the_gate_and_nothing_opens_it(void **state) {
    struct keys_fixture *fixture = *state;
    struct listener listener;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    listener_open(&listener, fixture);
    assert_int_equal(keys_revoke(fixture, created->info->prefix).status, STATUS_OK);
    assert_true(keys_gate_is_shut(fixture, created->info));
    listener_expect(&listener, 'k', created->info->prefix);
    assert_int_equal(set_disabled(fixture, created->key_id, false).status, STATUS_FAILED_PRECONDITION);
    assert_int_equal(keys_rotate(fixture, ADMIN_KEY, created->key_id, -1).status, STATUS_FAILED_PRECONDITION);
    assert_true(keys_gate_is_shut(fixture, created->info));
    Bora__V1__ApiKey *listed = keys_list_ok(fixture, 0, NULL)->keys[0];
    assert_string_equal(listed->status, "revoked");
    assert_false(listed->can_delete);
    assert_string_equal(listed->actions->rotate->status, "unavailable");
    assert_string_equal(listed->actions->delete_->reason, "the key is revoked");
    listener_close(&listener);
}

static void test_what_is_absent_stays_and_the_rest_is_told(void **state) {
    struct keys_fixture *fixture = *state;
    struct listener listener;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    GIVE(request, CREATE_KEY_REQUEST, NAME, name, (char *)"before");
    GIVE(limits, LIMITS, TOKENS_PER_DAY, tokens_per_day, 7);
    request.limits = &limits;
    Bora__V1__CreateKeyResponse *created = keys_create_ok(fixture, &request);
    listener_open(&listener, fixture);

    Bora__V1__UpdateKeyRequest update = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    update.key_id = created->key_id;
    GIVE(update, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)"2200-01-01");
    GIVE(update, UPDATE_KEY_REQUEST, ROLE, role, (char *)"admin");
    Bora__V1__ApiKey *key = (Bora__V1__ApiKey *)keys_update(fixture, ADMIN_KEY, &update).reply;
    assert_non_null(key);
    listener_expect(&listener, 'k', created->info->prefix);
    assert_string_equal(key->name, "before");
    assert_string_equal(key->role, "admin");
    assert_int_equal(key->limits->tokens_per_day, 7);
    assert_string_equal(key->expiration_date, "2200-01-02T00:00:00Z"); /* the end of that day */

    bora__v1__update_key_request__init(&update);
    Bora__V1__Limits other = BORA__V1__LIMITS__INIT;
    GIVE(other, LIMITS, REQUESTS_PER_MINUTE, requests_per_minute, 1);
    update.key_id = created->key_id;
    update.limits = &other;
    GIVE(update, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)"");
    GIVE(update, UPDATE_KEY_REQUEST, NAME, name, (char *)"after");
    key = (Bora__V1__ApiKey *)keys_update(fixture, ADMIN_KEY, &update).reply;
    assert_non_null(key);
    assert_string_equal(key->name, "after");
    assert_int_equal(key->_expiration_date_case, BORA__V1__API_KEY___EXPIRATION_DATE__NOT_SET);
    assert_int_equal(key->limits->_tokens_per_day_case, BORA__V1__LIMITS___TOKENS_PER_DAY__NOT_SET);
    assert_int_equal(key->limits->requests_per_minute, 1);

    GIVE(update, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)"2020-01-01");
    assert_int_equal(keys_update(fixture, ADMIN_KEY, &update).status, STATUS_INVALID_ARGUMENT);
    GIVE(update, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)"tomorrow");
    struct keys_outcome refused = keys_update(fixture, ADMIN_KEY, &update);
    assert_string_equal(refused.detail->validation->detail[0]->loc[1]->name, "expiration");
    listener_close(&listener);
}

/* --- expiry ------------------------------------------------------------------------------------------------------- */

/** What whoever looks at the gate hears of its end; -1: nothing. */
static int64_t end_at_gate(struct keys_fixture *fixture, const Bora__V1__ApiKey *key, const char *gate) {
    struct redis_client *client = keys_redis_client(&fixture->limits);
    struct redis_reply *reply = NULL;
    assert_int_equal(redis_callf(client, &reply, NULL, "GET bora:until:{%s}:%s", key->organization_id, gate),
                     STATUS_OK);
    int64_t end = reply->type == REDIS_STRING ? atoll((const char *)reply->string.data) : -1;
    redis_reply_free(reply);
    redis_client_destroy(client);
    return end;
}

static void test_gateways_can_learn_of_another_end_of_a_key_and_of_each_secret(void **state) {
    struct keys_fixture *fixture = *state;
    const int64_t far = 4102444800; /* 2100 */
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    const char *prefix = created->info->prefix;
    assert_int_equal(end_at_gate(fixture, created->info, prefix), -1); /* its own, which VerifyKey told */
    Bora__V1__UpdateKeyRequest update = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    update.key_id = created->key_id;
    GIVE(update, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)"2100-01-01T00:00:00Z");
    assert_int_equal(keys_update(fixture, ADMIN_KEY, &update).status, STATUS_OK);
    assert_int_equal(end_at_gate(fixture, created->info, prefix), far);
    Bora__V1__CreateKeyResponse *rotated =
        (Bora__V1__CreateKeyResponse *)keys_rotate(fixture, ADMIN_KEY, created->key_id, 3600).reply;
    const char *gate = keys_verify_ok(fixture, rotated->key)->gate;
    assert_int_equal(end_at_gate(fixture, created->info, prefix), rotated->info->previous_expires_at);
    assert_int_equal(end_at_gate(fixture, created->info, gate), far);
    GIVE(update, UPDATE_KEY_REQUEST, EXPIRATION, expiration, (char *)"");
    assert_int_equal(keys_update(fixture, ADMIN_KEY, &update).status, STATUS_OK);
    assert_int_equal(end_at_gate(fixture, created->info, prefix), rotated->info->previous_expires_at);
    assert_int_equal(end_at_gate(fixture, created->info, gate), 0);
}

/* --- rotation ----------------------------------------------------------------------------------------------------- */

static void test_rotation_with_overlap_keeps_the_old_secret_until_its_end(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    int64_t now = clock_unix_ns(clock_system()) / NS_PER_S;
    struct keys_outcome outcome = keys_rotate(fixture, ADMIN_KEY, created->key_id, 3600);
    assert_int_equal(outcome.status, STATUS_OK);
    Bora__V1__CreateKeyResponse *rotated = (Bora__V1__CreateKeyResponse *)outcome.reply;
    assert_string_equal(rotated->key_id, created->key_id);
    assert_string_equal(rotated->info->prefix, created->info->prefix);
    assert_string_not_equal(rotated->key, created->key);
    assert_string_not_equal(rotated->hidden_key, created->hidden_key);
    assert_in_range(rotated->info->previous_expires_at, now + 3600, now + 3600 + SECONDS);
    assert_int_equal(keys_verify_ok(fixture, rotated->key)->info->_expires_at_case,
                     BORA__V1__API_KEY___EXPIRES_AT__NOT_SET);
    /* Gateways learn when the old one ends, so that they need not be told then. */
    assert_int_equal(keys_verify_ok(fixture, created->key)->info->expires_at, rotated->info->previous_expires_at);
    assert_false(keys_gate_is_shut(fixture, created->info));

    /* At most one old one at a time. */
    Bora__V1__CreateKeyResponse *again =
        (Bora__V1__CreateKeyResponse *)keys_rotate(fixture, ADMIN_KEY, created->key_id, -1).reply;
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_UNAUTHENTICATED);
    assert_int_equal(keys_verify(fixture, rotated->key).status, STATUS_OK);
    assert_int_equal(keys_verify(fixture, again->key).status, STATUS_OK);
    assert_in_range(again->info->previous_expires_at, now + 86400, now + 86400 + SECONDS); /* the default */
}

static void test_the_overlap_ends(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    Bora__V1__CreateKeyResponse *rotated =
        (Bora__V1__CreateKeyResponse *)keys_rotate(fixture, ADMIN_KEY, created->key_id, 2).reply;
    while (clock_unix_ns(clock_system()) / NS_PER_S < rotated->info->previous_expires_at)
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    assert_string_equal(keys_verify(fixture, created->key).message, "the key is not valid");
    assert_int_equal(keys_verify(fixture, rotated->key).status, STATUS_OK);
}

static void test_rotation_without_overlap_ends_the_old_secret_at_once(void **state) {
    struct keys_fixture *fixture = *state;
    struct listener listener;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    listener_open(&listener, fixture);
    struct keys_outcome outcome = keys_rotate(fixture, ADMIN_KEY, created->key_id, 0);
    assert_int_equal(outcome.status, STATUS_OK);
    listener_expect(&listener, 'k', created->info->prefix);
    Bora__V1__CreateKeyResponse *rotated = (Bora__V1__CreateKeyResponse *)outcome.reply;
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_UNAUTHENTICATED);
    assert_int_equal(keys_verify(fixture, rotated->key).status, STATUS_OK);
    /* A gateway that has not heard of it asks for the old secret's gate, and goes on doing so. */
    assert_true(keys_gate_is_shut(fixture, created->info));
    assert_false(keys_gate_of_secret_is_shut(fixture, created->info, keys_verify_ok(fixture, rotated->key)->gate));
    assert_int_equal(rotated->info->_previous_expires_at_case, BORA__V1__API_KEY___PREVIOUS_EXPIRES_AT__NOT_SET);
    listener_close(&listener);
}

/** Every secret has a gate of its own: what becomes of the key never opens that of one that was rotated away. */
static void test_gates_of_secrets_that_were_rotated_away_stay_shut(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *first = keys_create_plain(fixture);
    const Bora__V1__ApiKey *key = first->info;
    assert_string_equal(keys_verify_ok(fixture, first->key)->gate, key->prefix);
    Bora__V1__CreateKeyResponse *second =
        (Bora__V1__CreateKeyResponse *)keys_rotate(fixture, ADMIN_KEY, first->key_id, 3600).reply;
    const char *gate_of_second = keys_verify_ok(fixture, second->key)->gate;
    assert_string_not_equal(gate_of_second, key->prefix);
    assert_string_equal(keys_verify_ok(fixture, first->key)->gate, key->prefix); /* of the secret that is shown */
    assert_false(keys_gate_is_shut(fixture, key));
    Bora__V1__CreateKeyResponse *third =
        (Bora__V1__CreateKeyResponse *)keys_rotate(fixture, ADMIN_KEY, first->key_id, 3600).reply;
    const char *gate_of_third = keys_verify_ok(fixture, third->key)->gate;
    assert_true(keys_gate_is_shut(fixture, key)); /* at most one old secret goes on */
    assert_false(keys_gate_of_secret_is_shut(fixture, key, gate_of_second));
    Bora__V1__UpdateKeyRequest update = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    update.key_id = first->key_id;
    for (int disabled = 1; disabled >= 0; disabled--) {
        GIVE(update, UPDATE_KEY_REQUEST, DISABLED, disabled, disabled);
        assert_int_equal(keys_update(fixture, ADMIN_KEY, &update).status, STATUS_OK);
        assert_true(keys_gate_is_shut(fixture, key));
        assert_int_equal(keys_gate_of_secret_is_shut(fixture, key, gate_of_second), disabled);
        assert_int_equal(keys_gate_of_secret_is_shut(fixture, key, gate_of_third), disabled);
    }
    Bora__V1__UpdateWorkspaceRequest place = BORA__V1__UPDATE_WORKSPACE_REQUEST__INIT;
    place.workspace_id = key->workspace_id;
    for (int disabled = 1; disabled >= 0; disabled--) {
        GIVE(place, UPDATE_WORKSPACE_REQUEST, DISABLED, disabled, disabled);
        assert_int_equal(keys_call(fixture, "TenantService/UpdateWorkspace", ADMIN_KEY, &place.base,
                                   &bora__v1__workspace__descriptor)
                             .status,
                         STATUS_OK);
        assert_true(keys_gate_is_shut(fixture, key));
        assert_int_equal(keys_gate_of_secret_is_shut(fixture, key, gate_of_second), disabled);
        assert_int_equal(keys_gate_of_secret_is_shut(fixture, key, gate_of_third), disabled);
    }
    assert_int_equal(keys_rotate(fixture, ADMIN_KEY, first->key_id, 0).status, STATUS_OK);
    assert_true(keys_gate_of_secret_is_shut(fixture, key, gate_of_second));
    assert_true(keys_gate_of_secret_is_shut(fixture, key, gate_of_third));
    assert_int_equal(keys_revoke(fixture, first->key_id).status, STATUS_OK);
    char gate_of_fourth[64];
    snprintf(gate_of_fourth, sizeof gate_of_fourth, "%s.3", key->prefix);
    assert_true(keys_gate_of_secret_is_shut(fixture, key, gate_of_fourth));
}

static void test_no_secret_of_a_rotation_is_on_disk_or_in_the_log(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    Bora__V1__CreateKeyResponse *rotated =
        (Bora__V1__CreateKeyResponse *)keys_rotate(fixture, ADMIN_KEY, created->key_id, -1).reply;
    keys_revoke(fixture, created->key_id);
    char *log = test_process_output(&fixture->keys);
    const char *const secrets[] = {created->key + 18, rotated->key + 18};
    for (int i = 0; i < 2; i++) {
        assert_null(strstr(log, secrets[i]));
        assert_false(redis_server_disk_contains(&fixture->redis, secrets[i]));
        assert_false(redis_server_disk_contains(&fixture->limits, secrets[i]));
    }
    free(log);
}

/* --- places ------------------------------------------------------------------------------------------------------- */

static void disable_workspace(struct keys_fixture *fixture, const char *id, bool disabled) {
    Bora__V1__UpdateWorkspaceRequest request = BORA__V1__UPDATE_WORKSPACE_REQUEST__INIT;
    request.workspace_id = (char *)id;
    GIVE(request, UPDATE_WORKSPACE_REQUEST, DISABLED, disabled, disabled);
    struct keys_outcome outcome =
        keys_call(fixture, "TenantService/UpdateWorkspace", ADMIN_KEY, &request.base, &bora__v1__workspace__descriptor);
    if (outcome.status != STATUS_OK) fail_msg("%s", outcome.message);
    assert_int_equal(((Bora__V1__Workspace *)outcome.reply)->disabled, disabled);
}
static void disable_organization(struct keys_fixture *fixture, const char *id, bool disabled) {
    Bora__V1__UpdateOrganizationRequest request = BORA__V1__UPDATE_ORGANIZATION_REQUEST__INIT;
    request.organization_id = (char *)id;
    GIVE(request, UPDATE_ORGANIZATION_REQUEST, DISABLED, disabled, disabled);
    struct keys_outcome outcome = keys_call(fixture, "TenantService/UpdateOrganization", ADMIN_KEY, &request.base,
                                            &bora__v1__organization__descriptor);
    if (outcome.status != STATUS_OK) fail_msg("%s", outcome.message);
}

static void test_a_disabled_workspace_shuts_the_gates_of_all_its_keys(void **state) {
    struct keys_fixture *fixture = *state;
    enum { KEYS = 5 };
    struct listener listener;
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", NULL);
    Bora__V1__CreateKeyResponse *keys[KEYS], *elsewhere = keys_create_plain(fixture);
    for (int i = 0; i < KEYS; i++) keys[i] = keys_create_role(fixture, "service", workspace->id);
    assert_int_equal(set_disabled(fixture, keys[0]->key_id, true).status, STATUS_OK);
    listener_open(&listener, fixture);
    disable_workspace(fixture, workspace->id, true);
    listener_expect_times(&listener, 'w', workspace->id, 2); /* ahead of the gates, and behind them */
    for (int i = 0; i < KEYS; i++) {
        assert_true(keys_gate_is_shut(fixture, keys[i]->info));
        assert_int_equal(keys_verify(fixture, keys[i]->key).status, STATUS_UNAUTHENTICATED);
    }
    assert_false(keys_gate_is_shut(fixture, elsewhere->info));
    /* A key that is enabled in between stays out. */
    assert_int_equal(set_disabled(fixture, keys[1]->key_id, false).status, STATUS_OK);
    assert_true(keys_gate_is_shut(fixture, keys[1]->info));
    disable_workspace(fixture, workspace->id, false);
    for (int i = 1; i < KEYS; i++) {
        assert_false(keys_gate_is_shut(fixture, keys[i]->info));
        assert_int_equal(keys_verify(fixture, keys[i]->key).status, STATUS_OK);
    }
    assert_true(keys_gate_is_shut(fixture, keys[0]->info)); /* by itself */
    listener_close(&listener);
}

static void test_a_disabled_organization_shuts_the_gates_of_all_its_workspaces(void **state) {
    struct keys_fixture *fixture = *state;
    struct listener listener;
    Bora__V1__Organization *organization = keys_create_organization(fixture, "o");
    Bora__V1__Workspace *a = keys_create_workspace(fixture, "a", organization->id),
                        *b = keys_create_workspace(fixture, "b", organization->id);
    Bora__V1__CreateKeyResponse *in_a = keys_create_role(fixture, "service", a->id),
                                *in_b = keys_create_role(fixture, "admin", b->id),
                                *elsewhere = keys_create_plain(fixture);
    disable_workspace(fixture, a->id, true);
    listener_open(&listener, fixture);
    disable_organization(fixture, organization->id, true);
    listener_expect_times(&listener, 'o', organization->id, 2);
    assert_true(keys_gate_is_shut(fixture, in_a->info));
    assert_true(keys_gate_is_shut(fixture, in_b->info));
    assert_false(keys_gate_is_shut(fixture, elsewhere->info));
    assert_int_equal(keys_verify(fixture, in_b->key).status, STATUS_UNAUTHENTICATED);
    disable_organization(fixture, organization->id, false);
    assert_true(keys_gate_is_shut(fixture, in_a->info)); /* its workspace is */
    assert_false(keys_gate_is_shut(fixture, in_b->info));
    assert_int_equal(keys_verify(fixture, in_b->key).status, STATUS_OK);
    listener_close(&listener);
}

static void lose_gate(struct keys_fixture *fixture, const Bora__V1__ApiKey *key) {
    struct redis_client *client = keys_redis_client(&fixture->limits);
    struct error err = {0};
    assert_int_equal(redis_callf(client, NULL, &err, "DEL bora:gate:{%s}:%s", key->organization_id, key->prefix),
                     STATUS_OK);
    redis_client_destroy(client);
}

/** A call that is repeated because its answer was lost, or said UNAVAILABLE. */
static void test_a_place_that_is_disabled_once_more_leaves_no_entry_and_shuts_the_gates_again(void **state) {
    struct keys_fixture *fixture = *state;
    struct listener listener;
    const char *organization = keys_create_organization(fixture, "o")->id;
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", organization);
    Bora__V1__CreateKeyResponse *key = keys_create_role(fixture, "service", workspace->id);
    size_t entries = keys_audit(fixture, organization)->n_entries;
    for (int i = 0; i < 2; i++) {
        disable_workspace(fixture, workspace->id, true);
        assert_true(keys_gate_is_shut(fixture, key->info));
        lose_gate(fixture, key->info);
    }
    assert_int_equal(keys_audit(fixture, organization)->n_entries, entries + 1);
    disable_workspace(fixture, workspace->id, false);
    listener_open(&listener, fixture);
    for (int i = 0; i < 2; i++) {
        disable_organization(fixture, organization, true);
        listener_expect_times(&listener, 'o', organization, 2);
        assert_true(keys_gate_is_shut(fixture, key->info));
        lose_gate(fixture, key->info);
    }
    assert_int_equal(keys_audit(fixture, organization)->n_entries, entries + 3);
    listener_close(&listener);
}

/** Whoever states what there shall be, again and again, fills no trail and counts no versions. */
static void test_a_place_that_is_given_what_it_has_stays_as_it_is(void **state) {
    struct keys_fixture *fixture = *state;
    const char *organization = keys_create_organization(fixture, "o")->id;
    Bora__V1__Workspace *workspace = keys_create_workspace(fixture, "w", organization);
    Bora__V1__Limits limits = BORA__V1__LIMITS__INIT;
    GIVE(limits, LIMITS, TOKENS_PER_MINUTE, tokens_per_minute, 10);
    Bora__V1__UpdateWorkspaceRequest request = BORA__V1__UPDATE_WORKSPACE_REQUEST__INIT;
    request.workspace_id = workspace->id;
    request.key_limits = &limits;
    GIVE(request, UPDATE_WORKSPACE_REQUEST, NAME, name, (char *)"w");
    Bora__V1__UpdateOrganizationRequest of_all = BORA__V1__UPDATE_ORGANIZATION_REQUEST__INIT;
    of_all.organization_id = (char *)organization;
    of_all.limits = &limits;
    size_t entries = keys_audit(fixture, organization)->n_entries;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(keys_call(fixture, "TenantService/UpdateWorkspace", ADMIN_KEY, &request.base,
                                   &bora__v1__workspace__descriptor)
                             .status,
                         STATUS_OK);
        assert_int_equal(keys_call(fixture, "TenantService/UpdateOrganization", ADMIN_KEY, &of_all.base,
                                   &bora__v1__organization__descriptor)
                             .status,
                         STATUS_OK);
        assert_int_equal(keys_audit(fixture, organization)->n_entries, entries + 2);
    }
    GIVE(limits, LIMITS, TOKENS_PER_MINUTE, tokens_per_minute, 11);
    assert_int_equal(
        keys_call(fixture, "TenantService/UpdateWorkspace", ADMIN_KEY, &request.base, &bora__v1__workspace__descriptor)
            .status,
        STATUS_OK);
    assert_string_equal(
        keys_audit(fixture, organization)->entries[0]->detail,
        "{\"key_limits\":{\"before\":{\"tokens_per_minute\":10},\"after\":{\"tokens_per_minute\":11}}}");
}

/* --- crossing ----------------------------------------------------------------------------------------------------- */

enum { TOGGLES = 20, TOGGLERS = 4 };
struct toggler {
    struct keys_fixture *fixture;
    const char *key_id;
    bool disable;
    int failures;
};
static void *toggle(void *context) {
    struct toggler *toggler = context;
    struct bytes packed, reply;
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    const char *const metadata[] = {"authorization", "Bearer " ADMIN_KEY, NULL};
    request.key_id = (char *)toggler->key_id;
    GIVE(request, UPDATE_KEY_REQUEST, DISABLED, disabled, toggler->disable);
    bytes_init(&packed, 1024);
    bytes_init(&reply, 1 << 16);
    for (int i = 0; i < TOGGLES; i++) {
        struct error err = {0};
        char name[64]; /* another one each time: what changes nothing leaves no entry */
        snprintf(name, sizeof name, "%p %d", (void *)toggler, i);
        GIVE(request, UPDATE_KEY_REQUEST, NAME, name, name);
        bytes_reset(&packed);
        bytes_reset(&reply);
        (void)!protobuf_pack(&request.base, &packed);
        if (rpc_client_unary(toggler->fixture->channel, "/bora.v1.KeyService/UpdateKey", metadata, bytes_view(&packed),
                             SECONDS * NS_PER_S, &reply, &err) != STATUS_OK)
            toggler->failures++;
    }
    bytes_deinit(&packed);
    bytes_deinit(&reply);
    return NULL;
}

static void test_of_crossing_changes_gate_and_record_agree_at_the_end(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    struct toggler togglers[TOGGLERS];
    pthread_t threads[TOGGLERS];
    for (int i = 0; i < TOGGLERS; i++) {
        togglers[i] = (struct toggler){fixture, created->key_id, i % 2 == 0, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, toggle, &togglers[i]), 0);
    }
    int failures = 0;
    for (int i = 0; i < TOGGLERS; i++) {
        pthread_join(threads[i], NULL);
        failures += togglers[i].failures;
    }
    Bora__V1__ApiKey *key = keys_list_ok(fixture, 0, NULL)->keys[0];
    assert_int_equal(keys_gate_is_shut(fixture, created->info), key->disabled);
    /* Every change that was answered left its entry, and no other did. */
    Bora__V1__ListAuditResponse *audit = keys_audit(fixture, NULL);
    int entries = 0;
    for (size_t i = 0; i < audit->n_entries; i++) entries += strcmp(audit->entries[i]->action, "key.update") == 0;
    print_message("%d changes lost to others\n", failures);
    assert_int_equal(entries, TOGGLES * TOGGLERS - failures);
}

static void test_what_changes_nothing_leaves_no_entry_and_opens_no_gate(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    size_t before = keys_audit(fixture, NULL)->n_entries;
    struct listener listener;
    listener_open(&listener, fixture);
    for (size_t i = 0; i < 2; i++) { /* the second in case gateways could not be told of the first */
        assert_int_equal(set_disabled(fixture, created->key_id, true).status, STATUS_OK);
        listener_expect(&listener, 'k', created->info->prefix);
        assert_true(keys_gate_is_shut(fixture, created->info));
        assert_int_equal(keys_audit(fixture, NULL)->n_entries, before + 1);
    }
    listener_close(&listener);
}

enum { NAMES = 15, NAMERS = 4 };
struct namer {
    struct keys_fixture *fixture;
    const char *key_id;
    int number;
};
static void *name_often(void *context) {
    struct namer *namer = context;
    const char *const metadata[] = {"authorization", "Bearer " ADMIN_KEY, NULL};
    struct bytes packed, reply;
    bytes_init(&packed, 1024);
    bytes_init(&reply, 1 << 16);
    for (int i = 0; i < NAMES; i++) {
        char name[32];
        struct error err = {0};
        Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
        snprintf(name, sizeof name, "%d of %d", i, namer->number);
        request.key_id = (char *)namer->key_id;
        GIVE(request, UPDATE_KEY_REQUEST, NAME, name, name);
        bytes_reset(&packed);
        bytes_reset(&reply);
        (void)!protobuf_pack(&request.base, &packed);
        (void)!rpc_client_unary(namer->fixture->channel, "/bora.v1.KeyService/UpdateKey", metadata, bytes_view(&packed),
                                SECONDS * NS_PER_S, &reply, &err);
    }
    bytes_deinit(&packed);
    bytes_deinit(&reply);
    return NULL;
}

/** {"name":{"before":"<before>","after":"<after>"}} */
static void read_names(const char *detail, char before[32], char after[32]) {
    assert_int_equal(sscanf(detail, "{\"name\":{\"before\":\"%31[^\"]\",\"after\":\"%31[^\"]\"}}", before, after), 2);
}

static void test_nobody_overwrites_what_he_has_not_seen(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
    GIVE(request, CREATE_KEY_REQUEST, NAME, name, (char *)"first");
    Bora__V1__CreateKeyResponse *created = keys_create_ok(fixture, &request);
    struct namer namers[NAMERS];
    pthread_t threads[NAMERS];
    for (int i = 0; i < NAMERS; i++) {
        namers[i] = (struct namer){fixture, created->key_id, i};
        assert_int_equal(pthread_create(&threads[i], NULL, name_often, &namers[i]), 0);
    }
    for (int i = 0; i < NAMERS; i++) pthread_join(threads[i], NULL);
    /* Each entry begins where the one before ended. */
    Bora__V1__ListAuditResponse *audit = keys_audit(fixture, NULL);
    char now[32] = "first", before[32], after[32];
    for (size_t i = audit->n_entries; i-- > 0;) {
        if (strcmp(audit->entries[i]->action, "key.update") != 0) continue;
        read_names(audit->entries[i]->detail, before, after);
        assert_string_equal(before, now);
        memcpy(now, after, sizeof now);
    }
    assert_string_equal(keys_list_ok(fixture, 0, NULL)->keys[0]->name, now);
    assert_string_not_equal(now, "first");
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    keys_program = argv[1];
    const struct CMUnitTest tests[] = {
        KEYS_TEST(test_disabling_shuts_the_gate_before_it_is_answered_and_can_be_taken_back),
        KEYS_TEST(test_revoking_shuts_the_gate_and_nothing_opens_it),
        KEYS_TEST(test_what_is_absent_stays_and_the_rest_is_told),
        KEYS_TEST(test_gateways_can_learn_of_another_end_of_a_key_and_of_each_secret),
        KEYS_TEST(test_rotation_with_overlap_keeps_the_old_secret_until_its_end),
        KEYS_TEST(test_the_overlap_ends),
        KEYS_TEST(test_rotation_without_overlap_ends_the_old_secret_at_once),
        KEYS_TEST(test_gates_of_secrets_that_were_rotated_away_stay_shut),
        KEYS_TEST(test_no_secret_of_a_rotation_is_on_disk_or_in_the_log),
        KEYS_TEST(test_a_disabled_workspace_shuts_the_gates_of_all_its_keys),
        KEYS_TEST(test_a_disabled_organization_shuts_the_gates_of_all_its_workspaces),
        KEYS_TEST(test_what_changes_nothing_leaves_no_entry_and_opens_no_gate),
        KEYS_TEST(test_a_place_that_is_disabled_once_more_leaves_no_entry_and_shuts_the_gates_again),
        KEYS_TEST(test_a_place_that_is_given_what_it_has_stays_as_it_is),
        KEYS_TEST(test_of_crossing_changes_gate_and_record_agree_at_the_end),
        KEYS_TEST(test_nobody_overwrites_what_he_has_not_seen),
    };
    return cmocka_run_group_tests_name("services/keys_changes", tests, NULL, NULL);
}
