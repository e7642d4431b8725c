/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What becomes of changes when the limits' Redis is away or the service dies in the middle, and of what older versions left. argv[1] is the program. */
#include "tests/unit/services/keys_fixture.h"

#include "base/clock.h"
#include "base/random.h"
#include "rpc/transcode.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct keys_outcome disable(struct keys_fixture *fixture, const char *key_id, bool disabled) {
    Bora__V1__UpdateKeyRequest request = BORA__V1__UPDATE_KEY_REQUEST__INIT;
    request.key_id = (char *)key_id;
    GIVE(request, UPDATE_KEY_REQUEST, DISABLED, disabled, disabled);
    return keys_update(fixture, ADMIN_KEY, &request);
}

static void wait_for_gate(struct keys_fixture *fixture, const Bora__V1__ApiKey *key, bool shut) {
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (keys_gate_is_shut(fixture, key) != shut) {
        assert_true(clock_monotonic_ns(clock_system()) < until);
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    }
}

/** Fields of a hash, or members of a set. */
static int64_t count_of(const struct redis_server *server, const char *command, const char *format, const char *id) {
    char name[128];
    struct redis_client *client = keys_redis_client(server);
    struct redis_reply *reply = NULL;
    snprintf(name, sizeof name, format, id);
    struct bytes_view words[] = {bytes_view_string(command), bytes_view_string(name)};
    assert_int_equal(redis_call(client, words, 2, &reply, NULL), STATUS_OK);
    int64_t count = reply->integer;
    redis_reply_free(reply);
    redis_client_destroy(client);
    return count;
}

static void wait_for_no_marks(struct keys_fixture *fixture, const char *organization) {
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (count_of(&fixture->redis, "HLEN", "bora:pending:{%s}", organization) > 0) {
        assert_true(clock_monotonic_ns(clock_system()) < until);
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    }
}

/* --- the limits' Redis is away ------------------------------------------------------------------------------------ */

static void test_a_change_stands_and_is_told_when_the_limits_redis_is_back(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *revoked = keys_create_plain(fixture), *disabled = keys_create_plain(fixture);
    assert_int_equal(disable(fixture, disabled->key_id, true).status, STATUS_OK);
    redis_server_kill(&fixture->limits);
    struct keys_outcome outcome = keys_revoke(fixture, revoked->key_id);
    assert_int_equal(outcome.status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(outcome.message, "the change was made"));
    assert_int_equal(disable(fixture, disabled->key_id, false).status, STATUS_UNAVAILABLE);
    /* Keys are verified meanwhile, and as they are now. */
    assert_string_equal(keys_verify(fixture, revoked->key).message, "the key is revoked");
    assert_int_equal(keys_verify(fixture, disabled->key).status, STATUS_OK);
    assert_int_equal(keys_revoke(fixture, revoked->key_id).status, STATUS_UNAVAILABLE); /* once more, still */
    redis_server_start(&fixture->limits);
    wait_for_gate(fixture, revoked->info, true);
    wait_for_gate(fixture, disabled->info, false);
    wait_for_no_marks(fixture, revoked->info->organization_id);
    outcome = keys_revoke(fixture, revoked->key_id);
    assert_int_equal(outcome.status, STATUS_OK);
}

static void test_a_hung_limits_redis_is_unavailable_not_a_hang(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    redis_server_freeze(&fixture->limits);
    assert_int_equal(disable(fixture, created->key_id, true).status,
                     STATUS_UNAVAILABLE); /* after --redis-timeout, 1 s */
    assert_int_equal(keys_verify(fixture, created->key).status, STATUS_UNAUTHENTICATED);
    redis_server_thaw(&fixture->limits);
    wait_for_gate(fixture, created->info, true);
    wait_for_no_marks(fixture, created->info->organization_id);
}

static void test_rotation_needs_the_limits_redis_only_without_overlap(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    redis_server_kill(&fixture->limits);
    struct keys_outcome outcome = {.status = STATUS_OK};
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (outcome.status == STATUS_OK || strstr(outcome.message, "nothing was changed") == NULL) {
        assert_true(clock_monotonic_ns(clock_system()) < until); /* until it is noticed */
        outcome = keys_rotate(fixture, ADMIN_KEY, created->key_id, 0);
    }
    outcome = keys_rotate(fixture, ADMIN_KEY, created->key_id, 60);
    assert_int_equal(outcome.status, STATUS_OK); /* its secret would be lost otherwise */
    assert_int_equal(keys_verify(fixture, ((Bora__V1__CreateKeyResponse *)outcome.reply)->key).status, STATUS_OK);
    redis_server_start(&fixture->limits);
    wait_for_no_marks(fixture, created->info->organization_id);
}

/* --- the service dies between the commit and the gate -------------------------------------------------------------- */

static void test_a_change_whose_service_was_killed_is_finished_by_the_next(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    Bora__V1__RevokeKeyRequest request = BORA__V1__REVOKE_KEY_REQUEST__INIT;
    struct keys_waiting waiting = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                   .changed = PTHREAD_COND_INITIALIZER,
                                   .fixture = fixture,
                                   .descriptor = &bora__v1__revoke_key_response__descriptor};
    const char *const metadata[] = {"authorization", "Bearer " ADMIN_KEY, NULL};
    struct bytes packed;
    request.key_id = created->key_id;
    bytes_init(&packed, 1024);
    assert_int_equal(protobuf_pack(&request.base, &packed), STATUS_OK);
    redis_server_freeze(&fixture->limits);
    assert_int_equal(rpc_client_unary_async(fixture->channel, "/bora.v1.KeyService/RevokeKey", metadata,
                                            bytes_view(&packed), SECONDS * NS_PER_S, keys_waiting_done, &waiting, NULL),
                     STATUS_OK);
    bytes_deinit(&packed);
    int64_t until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
    while (count_of(&fixture->redis, "HLEN", "bora:pending:{%s}", created->info->organization_id) == 0)
        assert_true(clock_monotonic_ns(clock_system()) < until); /* it has been committed */
    test_process_stop(&fixture->keys, SIGKILL, SECONDS);
    pthread_mutex_lock(&waiting.mutex);
    while (!waiting.done) pthread_cond_wait(&waiting.changed, &waiting.mutex);
    pthread_mutex_unlock(&waiting.mutex);
    assert_int_not_equal(waiting.outcome.status, STATUS_OK);
    rpc_channel_close(fixture->channel);
    redis_server_thaw(&fixture->limits);
    keys_start(fixture);
    wait_for_gate(fixture, created->info, true);
    wait_for_no_marks(fixture, created->info->organization_id);
    assert_string_equal(keys_verify(fixture, created->key).message, "the key is revoked");
}

/* --- Redis is killed in the middle of everything ------------------------------------------------------------------- */

struct maker {
    struct keys_fixture *fixture;
    atomic_bool *stop;
    int number, made;
    char prefixes[1000][16];
};

/** Keys in workspaces that are made on the way, half of them revoked again. */
static void *make_keys(void *context) {
    struct maker *maker = context;
    const char *const metadata[] = {"authorization", "Bearer " ADMIN_KEY, NULL};
    struct bytes packed, reply;
    bytes_init(&packed, 4096);
    bytes_init(&reply, 1 << 16);
    for (int i = 0; !atomic_load(maker->stop) && maker->made < 1000; i++) {
        Bora__V1__CreateKeyRequest request = BORA__V1__CREATE_KEY_REQUEST__INIT;
        char tenant[32];
        snprintf(tenant, sizeof tenant, "tenant %d", i % 7);
        GIVE(request, CREATE_KEY_REQUEST, TENANT, tenant, tenant);
        bytes_reset(&packed);
        bytes_reset(&reply);
        (void)!protobuf_pack(&request.base, &packed);
        struct error err = {0};
        if (rpc_client_unary(maker->fixture->channel, "/bora.v1.KeyService/CreateKey", metadata, bytes_view(&packed),
                             SECONDS * NS_PER_S, &reply, &err) != STATUS_OK)
            continue;
        struct arena arena;
        ProtobufCMessage *message = NULL;
        arena_init(&arena, 1 << 16);
        if (protobuf_unpack(&bora__v1__create_key_response__descriptor, bytes_view(&reply), &arena, &message, NULL) ==
            STATUS_OK)
            snprintf(maker->prefixes[maker->made++], 16, "%s", ((Bora__V1__CreateKeyResponse *)message)->info->prefix);
        arena_deinit(&arena);
        if (i % 2 == 0 || maker->made == 0) continue;
        Bora__V1__RevokeKeyRequest revoke = BORA__V1__REVOKE_KEY_REQUEST__INIT;
        revoke.key_id = maker->prefixes[maker->made - 1];
        bytes_reset(&packed);
        bytes_reset(&reply);
        (void)!protobuf_pack(&revoke.base, &packed);
        (void)!rpc_client_unary(maker->fixture->channel, "/bora.v1.KeyService/RevokeKey", metadata, bytes_view(&packed),
                                SECONDS * NS_PER_S, &reply, &err);
    }
    bytes_deinit(&packed);
    bytes_deinit(&reply);
    return NULL;
}

/** That lists, indexes, sets of workspaces' keys and the audit trail say the same: run in Redis over all of an organisation. */
static const char check_source[] =
    "local org = ARGV[1] "
    "local live, seen, created = {}, {}, {} "
    "for _, entry in ipairs(redis.call('XRANGE', 'bora:audit:{' .. org .. '}', '-', '+')) do "
    "  local f = {} for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end "
    "  if f.action == 'key.create' then created[f.target] = (created[f.target] or 0) + 1 end end "
    "for _, prefix in ipairs(redis.call('ZRANGE', 'bora:keys:{' .. org .. '}', 0, -1)) do "
    "  local record = redis.call('HMGET', 'bora:key:{' .. org .. '}:' .. prefix, 'workspace', 'revoked_at') "
    "  if not record[1] then return 'no record of ' .. prefix end "
    "  if redis.call('HGET', 'bora:key-index', prefix) ~= org then return 'no index of ' .. prefix end "
    "  if created[prefix] ~= 1 then return 'entries of ' .. prefix .. ': ' .. tostring(created[prefix]) end "
    "  if redis.call('HGET', 'bora:ws-index', record[1]) ~= org then return 'no index of ' .. record[1] end "
    "  local member = redis.call('SISMEMBER', 'bora:ws-keys:{' .. org .. '}:' .. record[1], prefix) "
    "  if (member == 1) == (record[2] and true or false) then return 'set of ' .. prefix end "
    "  seen[prefix] = true end "
    "for prefix in pairs(created) do if not seen[prefix] then return 'not listed: ' .. prefix end end "
    "local names = redis.call('HGETALL', 'bora:ws-names:{' .. org .. '}') "
    "if #names / 2 ~= redis.call('ZCARD', 'bora:wss:{' .. org .. '}') then return 'names' end "
    "for i = 1, #names, 2 do "
    "  if redis.call('HGET', 'bora:ws:{' .. org .. '}:' .. names[i + 1], 'name') ~= names[i] then return names[i] end "
    "end "
    "return 'whole'";

static void test_all_that_is_known_of_keys_agrees_after_redis_was_killed(void **state) {
    struct keys_fixture *fixture = *state;
    enum { MAKERS = 4 };
    static struct maker makers[MAKERS];
    atomic_bool stop = false;
    pthread_t threads[MAKERS];
    Bora__V1__CreateKeyResponse *first = keys_create_plain(fixture);
    for (int i = 0; i < MAKERS; i++) {
        makers[i] = (struct maker){.fixture = fixture, .stop = &stop, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, make_keys, &makers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * NS_PER_MS}, NULL);
        keys_restart_redis(fixture); /* kill -9 in the middle of it all */
    }
    atomic_store(&stop, true);
    int made = 0;
    for (int i = 0; i < MAKERS; i++) {
        pthread_join(threads[i], NULL);
        made += makers[i].made;
        for (int j = 0; j < makers[i].made; j++) {
            Bora__V1__GetKeyRequest get = BORA__V1__GET_KEY_REQUEST__INIT;
            get.key_id = makers[i].prefixes[j];
            assert_int_equal(keys_call(fixture, "GetKey", ADMIN_KEY, &get.base, &bora__v1__api_key__descriptor).status,
                             STATUS_OK);
        }
    }
    print_message("%d keys acknowledged over three kills\n", made);
    assert_true(made > 0);
    struct redis_client *client = keys_redis_client(&fixture->redis);
    struct redis_reply *reply = NULL;
    struct redis_script script;
    redis_script_init(&script, check_source);
    struct bytes_view argument = bytes_view_string(first->info->organization_id);
    assert_int_equal(redis_script_call(client, &script, NULL, 0, &argument, 1, &reply, NULL), STATUS_OK);
    assert_string_equal((const char *)reply->string.data, "whole");
    redis_reply_free(reply);
    redis_client_destroy(client);
}

/* --- first starts ------------------------------------------------------------------------------------------------- */

static int64_t count_organizations(struct keys_fixture *fixture) {
    Bora__V1__ListOrganizationsRequest request = BORA__V1__LIST_ORGANIZATIONS_REQUEST__INIT;
    struct keys_outcome outcome = keys_call(fixture, "TenantService/ListOrganizations", ADMIN_KEY, &request.base,
                                            &bora__v1__list_organizations_response__descriptor);
    assert_int_equal(outcome.status, STATUS_OK);
    return (int64_t)((Bora__V1__ListOrganizationsResponse *)outcome.reply)->n_organizations;
}

static void test_services_that_start_together_make_one_organization(void **state) {
    struct keys_fixture *fixture = *state;
    enum { SERVICES = 4 };
    assert_int_equal(keys_stop(fixture), 0);
    struct redis_client *client = keys_redis_client(&fixture->redis);
    assert_int_equal(redis_callf(client, NULL, NULL, "FLUSHALL"), STATUS_OK);
    redis_client_destroy(client);
    char hash_secret[128], admin[128], token[128], redis[160];
    snprintf(hash_secret, sizeof hash_secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(admin, sizeof admin, "--admin-key-file=%s/admin-key", fixture->folder);
    snprintf(token, sizeof token, "--service-token-file=%s/service-token", fixture->folder);
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    const char *const arguments[] = {keys_program, "--listen=127.0.0.1:0", redis, hash_secret, admin, token, NULL};
    struct test_process services[SERVICES];
    for (int i = 0; i < SERVICES; i++) test_process_start(&services[i], arguments);
    for (int i = 0; i < SERVICES; i++)
        assert_true(test_process_wait_for(&services[i], "\"event\":\"ready\"", SECONDS, NULL, 0));
    for (int i = 0; i < SERVICES; i++) assert_int_equal(test_process_stop(&services[i], SIGTERM, SECONDS), 0);
    keys_start(fixture);
    assert_int_equal(count_organizations(fixture), 1);
    Bora__V1__ApiKey *key = keys_create_plain(fixture)->info;
    assert_int_equal(count_of(&fixture->redis, "ZCARD", "bora:wss:{%s}", key->organization_id), 1);
}

/* --- what older versions left -------------------------------------------------------------------------------------- */

enum { OLD_KEYS = 250 };
struct old_key {
    char text[64], prefix[16], tenant[32];
    bool revoked;
};

static void load_hash_secret(const struct keys_fixture *fixture, uint8_t out[32]) {
    char path[128], hex[80];
    snprintf(path, sizeof path, "%s/hash-secret", fixture->folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(hex, sizeof hex, file));
    fclose(file);
    assert_true(bytes_from_hex(hex, 64, out));
}

/** As version 0.1 wrote them: bora:key:{<prefix>}, listed in bora:keys. */
static void write_old_keys(struct keys_fixture *fixture, struct old_key *keys) {
    uint8_t secret[32], hash[32];
    char hash_hex[65];
    struct redis_client *client = keys_redis_client(&fixture->redis);
    load_hash_secret(fixture, secret);
    for (int i = 0; i < OLD_KEYS; i++) {
        struct old_key *key = &keys[i];
        unsigned length = sizeof hash;
        snprintf(key->prefix, sizeof key->prefix, "old%09d", i);
        snprintf(key->text, sizeof key->text, "bora_%s_%043d", key->prefix, i);
        snprintf(key->tenant, sizeof key->tenant, i == 0 ? "%.0stwo words" : "tenant%s", i % 3 == 0 ? "A" : "B");
        key->revoked = i % 10 == 9;
        HMAC(EVP_sha256(), secret, sizeof secret, (const unsigned char *)key->text, strlen(key->text), hash, &length);
        bytes_to_hex(hash, sizeof hash, hash_hex);
        struct bytes_view tenant = bytes_view_string(key->tenant);
        assert_int_equal(redis_callf(client, NULL, NULL,
                                     "HSET bora:key:{%s} created_at 1764000000 name old tenant %b hash %s last %s "
                                     "tokens_per_minute %lld requests_per_minute:small 5",
                                     key->prefix, &tenant, hash_hex, key->text + 57, (long long)i + 1),
                         STATUS_OK);
        if (key->revoked)
            assert_int_equal(redis_callf(client, NULL, NULL, "HSET bora:key:{%s} revoked_at 1764000001", key->prefix),
                             STATUS_OK);
        assert_int_equal(redis_callf(client, NULL, NULL, "ZADD bora:keys %lld %s", (long long)i + 1, key->prefix),
                         STATUS_OK);
    }
    assert_int_equal(redis_callf(client, NULL, NULL, "SET bora:keys:created %lld", (long long)OLD_KEYS), STATUS_OK);
    redis_client_destroy(client);
}

static void assert_taken_over(struct keys_fixture *fixture, const struct old_key *keys) {
    Bora__V1__ListKeysResponse *listed = keys_list_ok(fixture, 1000, NULL);
    assert_int_equal(listed->n_keys, OLD_KEYS);
    for (int i = 0; i < OLD_KEYS; i++) {
        const Bora__V1__ApiKey *key = listed->keys[i];
        assert_string_equal(key->prefix, keys[i].prefix); /* in the old order */
        assert_string_equal(key->tenant, keys[i].tenant);
        assert_string_equal(key->name, "old");
        assert_string_equal(key->status, keys[i].revoked ? "revoked" : "active");
        assert_string_equal(key->role, "service");
        assert_int_equal(key->limits->tokens_per_minute, i + 1);
        assert_int_equal(key->model_limits[0]->limits->requests_per_minute, 5);
        assert_int_equal(keys_verify(fixture, keys[i].text).status,
                         keys[i].revoked ? STATUS_UNAUTHENTICATED : STATUS_OK);
    }
    assert_int_equal(count_organizations(fixture), 1);
    assert_int_equal(count_of(&fixture->redis, "ZCARD", "bora:wss:{%s}", listed->keys[0]->organization_id), 4);
    assert_int_equal(count_of(&fixture->redis, "EXISTS", "bora:keys%s", ""), 0);
    assert_int_equal(count_of(&fixture->redis, "EXISTS", "bora:keys:created%s", ""), 0);
    assert_int_equal(count_of(&fixture->redis, "EXISTS", "bora:key:{%s}", keys[0].prefix), 0);
}

static void test_keys_of_earlier_versions_are_taken_over(void **state) {
    struct keys_fixture *fixture = *state;
    static struct old_key keys[OLD_KEYS];
    assert_int_equal(keys_stop(fixture), 0);
    struct redis_client *client = keys_redis_client(&fixture->redis);
    struct redis_reply *mark = NULL; /* it stays: these keys were made with our hash secret */
    assert_int_equal(redis_callf(client, &mark, NULL, "GET bora:keys:secret_mark"), STATUS_OK);
    assert_int_equal(redis_callf(client, NULL, NULL, "FLUSHALL"), STATUS_OK);
    assert_int_equal(redis_callf(client, NULL, NULL, "SET bora:keys:secret_mark %b", &mark->string), STATUS_OK);
    redis_reply_free(mark);
    redis_client_destroy(client);
    write_old_keys(fixture, keys);
    keys_start(fixture);
    assert_taken_over(fixture, keys);
    /* Limits that an old key did not have are not given to it now. */
    assert_int_equal(keys_verify_ok(fixture, keys[1].text)->levels[0]->limits->_requests_per_minute_case,
                     BORA__V1__LIMITS___REQUESTS_PER_MINUTE__NOT_SET);
    /* A start finds an old record that was taken over before: whoever did it was killed before it could remove it. What has changed since counts. */
    assert_int_equal(keys_revoke(fixture, keys[1].prefix).status, STATUS_OK);
    keys[1].revoked = true;
    assert_int_equal(keys_stop(fixture), 0);
    client = keys_redis_client(&fixture->redis);
    assert_int_equal(redis_callf(client, NULL, NULL, "ZADD bora:keys 1 %s", keys[1].prefix), STATUS_OK);
    assert_int_equal(redis_callf(client, NULL, NULL,
                                 "HSET bora:key:{%s} name old tenant tenantB created_at 1 name changed",
                                 keys[1].prefix),
                     STATUS_OK);
    redis_client_destroy(client);
    keys_start(fixture);
    assert_taken_over(fixture, keys);
    assert_int_equal(count_of(&fixture->redis, "EXISTS", "bora:key:{%s}", keys[1].prefix), 0);
}

static void test_taking_over_survives_being_killed(void **state) {
    struct keys_fixture *fixture = *state;
    static struct old_key keys[OLD_KEYS];
    assert_int_equal(keys_stop(fixture), 0);
    write_old_keys(fixture, keys);
    char hash_secret[128], admin[128], token[128], redis[160];
    snprintf(hash_secret, sizeof hash_secret, "--hash-secret-file=%s/hash-secret", fixture->folder);
    snprintf(admin, sizeof admin, "--admin-key-file=%s/admin-key", fixture->folder);
    snprintf(token, sizeof token, "--service-token-file=%s/service-token", fixture->folder);
    snprintf(redis, sizeof redis, "--redis=%s", fixture->redis.address);
    const char *const arguments[] = {keys_program, "--listen=127.0.0.1:0", redis, hash_secret, admin, token, NULL};
    int64_t left = OLD_KEYS;
    for (int i = 0; i < 6 && left > 0; i++) {
        struct test_process process;
        int64_t goal = left > 40 ? left - 40 : 0, until = clock_monotonic_ns(clock_system()) + SECONDS * NS_PER_S;
        test_process_start(&process, arguments);
        while ((left = count_of(&fixture->redis, "ZCARD", "bora:keys%s", "")) > goal)
            assert_true(clock_monotonic_ns(clock_system()) < until);
        test_process_stop(&process, SIGKILL, SECONDS);
    }
    keys_start(fixture);
    assert_taken_over(fixture, keys);
}

/* --- secrets ------------------------------------------------------------------------------------------------------ */

static int64_t commands_run(struct keys_fixture *fixture) {
    struct redis_client *client = keys_redis_client(&fixture->redis);
    struct redis_reply *reply = NULL;
    int64_t all = 0;
    assert_int_equal(redis_callf(client, &reply, NULL, "INFO commandstats"), STATUS_OK);
    static const char *const names[] = {"cmdstat_hget:calls=", "cmdstat_evalsha:calls=", "cmdstat_hgetall:calls="};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *found = strstr((const char *)reply->string.data, names[i]);
        if (found != NULL) all += atoll(found + strlen(names[i]));
    }
    redis_reply_free(reply);
    redis_client_destroy(client);
    return all;
}

static void test_unknown_prefixes_cost_as_much_as_wrong_secrets(void **state) {
    struct keys_fixture *fixture = *state;
    Bora__V1__CreateKeyResponse *created = keys_create_plain(fixture);
    char forged[64];
    snprintf(forged, sizeof forged, "%s", created->key);
    forged[60] = forged[60] == 'a' ? 'b' : 'a';
    int64_t start = commands_run(fixture);
    struct keys_outcome wrong = keys_verify(fixture, forged);
    int64_t after_wrong = commands_run(fixture);
    struct keys_outcome unknown = keys_verify(fixture, "bora_abcdefghijkl_0123456789012345678901234567890123456789abc");
    int64_t after_unknown = commands_run(fixture);
    assert_string_equal(wrong.message, unknown.message);
    /* Inside the script one reads three records and the other two: both go to Redis twice, with the same commands. */
    assert_in_range(after_wrong - start - (after_unknown - after_wrong), 0, 1);
}

static void test_no_core_dump_holds_a_secret(void **state) {
    struct keys_fixture *fixture = *state;
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/limits", (int)fixture->keys.pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    bool found = false;
    while (fgets(line, sizeof line, file) != NULL) {
        long soft = -1, hard = -1;
        if (strncmp(line, "Max core file size", 18) != 0) continue;
        assert_int_equal(sscanf(line + 18, "%ld %ld", &soft, &hard), 2);
        assert_int_equal(soft, 0);
        assert_int_equal(hard, 0);
        found = true;
    }
    fclose(file);
    assert_true(found);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s BORA_KEYS_PROGRAM\n", argv[0]);
        return 2;
    }
    keys_program = argv[1];
    keys_redis_timeout = "1s";
    const struct CMUnitTest tests[] = {
        KEYS_TEST(test_a_change_stands_and_is_told_when_the_limits_redis_is_back),
        KEYS_TEST(test_a_hung_limits_redis_is_unavailable_not_a_hang),
        KEYS_TEST(test_rotation_needs_the_limits_redis_only_without_overlap),
        KEYS_TEST(test_a_change_whose_service_was_killed_is_finished_by_the_next),
        KEYS_TEST(test_all_that_is_known_of_keys_agrees_after_redis_was_killed),
        KEYS_TEST(test_services_that_start_together_make_one_organization),
        KEYS_TEST(test_keys_of_earlier_versions_are_taken_over),
        KEYS_TEST(test_taking_over_survives_being_killed),
        KEYS_TEST(test_unknown_prefixes_cost_as_much_as_wrong_secrets),
        KEYS_TEST(test_no_core_dump_holds_a_secret),
    };
    return cmocka_run_group_tests_name("services/keys_recovery", tests, NULL, NULL);
}
