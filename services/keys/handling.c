/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/handling.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/descriptors.h"
#include "services/keys/key_store.h"
#include "services/keys/refusal.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUEST_MEMORY_BYTES =
        96 << 20, /* the largest page: 1000 keys with 64 model limits each, beside what is read on the way to them */
    REPLY_BYTES_MAX = 16 << 20,
};

/* --- the end of a call -------------------------------------------------------------------------------------------- */

static void release(struct handling *handling) {
    rpc_call_unref(handling->call);
    arena_deinit(&handling->arena);
    bytes_deinit(&handling->message);
    explicit_bzero(handling->secret, sizeof handling->secret);
    free(handling);
}

static void finish_with(struct handling *handling, enum status status, const char *message) {
    metric_add(handling->service->requests, 1, handling->method->name, status_name(status));
    if (handling->problem.field != NULL)
        refuse_problem(handling->call, &handling->problem);
    else
        refuse(handling->call, status, message);
}

static void finish_with_reply(struct handling *handling, const ProtobufCMessage *reply) {
    struct bytes packed;
    bytes_init(&packed, REPLY_BYTES_MAX);
    if (protobuf_pack(reply, &packed) != STATUS_OK) {
        finish_with(handling, STATUS_RESOURCE_EXHAUSTED, "the answer is too large");
    } else {
        metric_add(handling->service->requests, 1, handling->method->name, status_name(STATUS_OK));
        (void)!rpc_call_write(handling->call, bytes_view(&packed)); /* refused only when the client has left */
        rpc_call_finish(handling->call, STATUS_OK, NULL, (struct bytes_view){0});
    }
    if (handling->secret[0] != 0 && packed.data != NULL) explicit_bzero(packed.data, packed.length);
    bytes_deinit(&packed);
}

enum status handling_refuse_field(struct handling *handling, const char *field, int64_t index, const char *message) {
    handling->problem = (struct field_problem){field, index, message};
    return STATUS_INVALID_ARGUMENT;
}

/* --- who calls ---------------------------------------------------------------------------------------------------- */

static enum status find_caller(struct handling *handling, struct error *err) {
    struct keys_service *service = handling->service;
    struct caller *caller = &handling->caller;
    const char *authorization = rpc_call_metadata(handling->call, "authorization");
    struct key_text key = {.whole = ""};
    if (keys_secrets_match(&service->secrets, service->secrets.admin_hash, authorization)) {
        *caller = (struct caller){.role = KEY_ROLE_OPERATOR, .name = "operator"};
        return STATUS_OK;
    }
    enum status status = key_text_parse(keys_secrets_bearer(authorization), &key)
                             ? keys_require_ready(service, err)
                             : error_set(err, STATUS_UNAUTHENTICATED, "the key is missing or not valid");
    if (status == STATUS_OK) status = key_authenticate(service, &key, &handling->arena, &caller->authority, err);
    explicit_bzero(&key, sizeof key);
    TRY(status);
    caller->role = caller->authority.key.role;
    caller->name = caller->authority.key.prefix;
    return STATUS_OK;
}

static enum status check_caller(const struct handling *handling, struct error *err) {
    const struct keys_method *method = handling->method;
    const struct caller *caller = &handling->caller;
    if (caller->role < method->least_role)
        return error_set(err, STATUS_PERMISSION_DENIED, "this takes %s key; this one has the role %s",
                         method->least_role == KEY_ROLE_OPERATOR ? "the operator's" : "an admin",
                         key_role_name(caller->role));
    const struct name_list *endpoints = &caller->authority.key.endpoints;
    if (method->endpoint != NULL && endpoints->count > 0 && !name_list_has(endpoints, method->endpoint))
        return error_set(err, STATUS_PERMISSION_DENIED, "the key's scopes do not have the endpoint %s",
                         method->endpoint);
    return STATUS_OK;
}

/** What came with the call, cut to what an entry of the audit trail has room for. */
static const char *take_metadata(struct handling *handling, const char *name, const char *otherwise, size_t bytes_max) {
    const char *value = rpc_call_metadata(handling->call, name);
    if (value == NULL) value = otherwise;
    const char *copy = arena_copy(&handling->arena, value, strnlen(value, bytes_max));
    return copy != NULL ? copy : "";
}

/* --- a job -------------------------------------------------------------------------------------------------------- */

static enum status handle(struct handling *handling, ProtobufCMessage **out_reply, struct transcode_errors *errors,
                          struct error *err) {
    const struct transcode_options options = {0};
    struct keys_service *service = handling->service;
    ProtobufCMessage *request = NULL;
    TRY(find_caller(handling, err));
    TRY(check_caller(handling, err));
    TRY(protobuf_unpack(handling->method->request, bytes_view(&handling->message), &handling->arena, &request, err));
    enum status status = transcode_check(service->transcoder, &options, request, &handling->arena, errors);
    if (status == STATUS_INVALID_ARGUMENT) return status;
    if (status != STATUS_OK) return error_set(err, status, "the request needs too much memory");
    TRY(keys_require_ready(service, err));
    handling->origin = (struct audit_origin){
        .actor = handling->caller.name,
        .request_id = take_metadata(handling, "x-request-id", "", LIMIT_REQUEST_ID_BYTES),
        .address = take_metadata(handling, "x-client-address", rpc_call_peer(handling->call), LIMIT_ADDRESS_BYTES)};
    return handling->method->run(handling, request, out_reply, err);
}

static void run_job(void *context) {
    struct handling *handling = context;
    struct transcode_errors errors = {0};
    struct error err = {0};
    ProtobufCMessage *reply = NULL;
    enum status status = handle(handling, &reply, &errors, &err);
    if (status == STATUS_OK) {
        finish_with_reply(handling, reply);
    } else if (errors.count > 0) {
        metric_add(handling->service->requests, 1, handling->method->name, status_name(status));
        refuse_fields(handling->call, &errors, &handling->arena);
    } else {
        if (status == STATUS_DATA_LOSS || status == STATUS_INTERNAL)
            log_error("a call failed", LOG_S("method", handling->method->name), LOG_S("status", status_name(status)),
                      LOG_S("error", err.message));
        finish_with(handling, status,
                    status == STATUS_DATA_LOSS ? "a record in the key store is damaged" : err.message);
    }
    release(handling);
}

void handling_message(struct rpc_call *call, struct bytes_view bytes) {
    struct keys_service *service = rpc_call_service(call);
    struct handling *handling = calloc(1, sizeof *handling);
    if (handling == NULL) {
        rpc_call_finish(call, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return;
    }
    *handling = (struct handling){.service = service, .call = call, .method = rpc_call_method_data(call)};
    arena_init(&handling->arena, REQUEST_MEMORY_BYTES);
    bytes_init(&handling->message, LIMIT_REQUEST_BODY_BYTES_MAX);
    rpc_call_ref(call);
    (void)rpc_call_peer(call); /* it is unknown when first asked after the client left */
    if (bytes_append(&handling->message, bytes.data, bytes.length) == STATUS_OK &&
        job_pool_submit(service->jobs, run_job, handling) == STATUS_OK)
        return;
    finish_with(handling, STATUS_UNAVAILABLE, "too many calls are under way; try again");
    release(handling);
}

/* --- what a caller may see ---------------------------------------------------------------------------------------- */

enum status handling_organization(struct handling *handling, const char *id_or_null, struct organization *out,
                                  struct error *err) {
    const struct caller *caller = &handling->caller;
    const char *own = caller->role == KEY_ROLE_OPERATOR ? NULL : caller->authority.organization.id;
    if (own != NULL && id_or_null != NULL && strcmp(own, id_or_null) != 0)
        return error_set(err, STATUS_NOT_FOUND, "no such organization");
    return place_organization(handling->service, own != NULL ? own : id_or_null, &handling->arena, out, err);
}

enum status handling_workspace(struct handling *handling, const char *id, struct workspace *out, struct error *err) {
    const struct caller *caller = &handling->caller;
    const char *own = caller->role == KEY_ROLE_OPERATOR ? NULL : caller->authority.organization.id;
    return place_workspace(handling->service, own, id, &handling->arena, out, err);
}

enum status handling_key(struct handling *handling, const char *id, struct key_record *out, struct error *err) {
    const struct caller *caller = &handling->caller;
    const char *own = caller->role == KEY_ROLE_OPERATOR ? NULL : caller->authority.organization.id;
    return key_find(handling->service, own, id, &handling->arena, out, err);
}

void handling_audit_words(struct handling *handling, const struct audit_entry *entry,
                          struct bytes_view out[AUDIT_WORDS]) {
    audit_words(handling->service->audit_kept, &handling->origin, entry, out);
}

/* --- Redis -------------------------------------------------------------------------------------------------------- */

enum status store_failure(enum status status, const char *message, struct error *err) {
    if (status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_CANCELLED) {
        log_debug("the store does not answer", LOG_S("status", status_name(status)), LOG_S("error", message));
        return error_set(err, STATUS_UNAVAILABLE, "the key store cannot be reached");
    }
    log_error("the store refused", LOG_S("status", status_name(status)), LOG_S("error", message));
    return error_set(err, STATUS_INTERNAL, "the key store refused the request");
}

enum status store_call(struct keys_service *service, const struct bytes_view *words, size_t count,
                       struct redis_reply **out, struct error *err) {
    struct error cause = {0};
    enum status status = redis_call(service->redis, words, count, out, &cause);
    return status == STATUS_OK ? STATUS_OK : store_failure(status, cause.message, err);
}

enum status store_words(struct keys_service *service, struct redis_reply **out, struct error *err,
                        const char *const *words) {
    enum { WORDS_MAX = 16 };
    struct bytes_view views[WORDS_MAX];
    size_t count = 0;
    for (; words[count] != NULL && count < WORDS_MAX; count++) views[count] = bytes_view_string(words[count]);
    return store_call(service, views, count, out, err);
}

enum status store_script(struct keys_service *service, const struct redis_script *script, const struct bytes_view *keys,
                         size_t key_count, const struct bytes_view *arguments, size_t argument_count,
                         struct redis_reply **out, struct error *err) {
    struct error cause = {0};
    enum status status =
        redis_script_call(service->redis, script, keys, key_count, arguments, argument_count, out, &cause);
    return status == STATUS_OK ? STATUS_OK : store_failure(status, cause.message, err);
}

/* --- the transcoder ----------------------------------------------------------------------------------------------- */

enum status keys_transcoder_create(struct transcoder **out, struct error *err) {
    enum { MESSAGES_MAX = 64 };
    const struct {
        const struct rpc_method *methods;
        size_t count;
    } tables[] = {
        {keys_methods, keys_method_count}, {place_methods, place_method_count}, {usage_methods, usage_method_count}};
    const ProtobufCMessageDescriptor *messages[MESSAGES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (size_t j = 0; j < tables[i].count && count < MESSAGES_MAX; j++) {
            const struct keys_method *method = tables[i].methods[j].data;
            if (method != NULL) messages[count++] = method->request;
        }
    }
    return transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), messages, count, out, err);
}
