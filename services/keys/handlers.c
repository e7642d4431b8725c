/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "proto/descriptors.h"
#include "services/keys/convert.h"
#include "services/keys/key_store.h"
#include "services/keys/keys.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUEST_MEMORY_BYTES = 64 << 20, /* the largest page: 1000 keys with 64 model limits each */
    REPLY_BYTES_MAX = 16 << 20,
    CREATE_ATTEMPTS = 4, /* two ids of 36^12 are never the same; if they are, once is enough */
    LIST_LIMIT_DEFAULT = 100,
};

/** A call from its message to its answer. */
struct handling {
    struct keys_service *service;
    struct rpc_call *call;
    const char *method;
    struct arena arena;
    struct key_text key;      /* create, verify */
    struct key_record record; /* create */
    int attempts;             /* create */
};

static int64_t unix_now(void) {
    return clock_unix_ns(clock_system()) / NS_PER_S;
}

/* --- the end of a call ------------------------------------------------------------------------------------------- */

static void finish(struct handling *handling, enum status status, const char *message, struct bytes_view details) {
    metric_add(handling->service->requests, 1, handling->method, status_name(status));
    rpc_call_finish(handling->call, status, message, details);
    rpc_call_unref(handling->call);
    arena_deinit(&handling->arena);
    free(handling);
}

/** `detail`: a packed ErrorDetail; taken. */
static void refuse_with(struct handling *handling, enum status status, const char *message, struct bytes *detail) {
    struct bytes details;
    bytes_init(&details, REPLY_BYTES_MAX);
    if (!detail->failed &&
        rpc_status_details(status, message, "bora.v1.ErrorDetail", bytes_view(detail), &details) != STATUS_OK)
        bytes_reset(&details);
    finish(handling, status, message, bytes_view(&details));
    bytes_deinit(&details);
    bytes_deinit(detail);
}

static void refuse(struct handling *handling, enum status status, const char *message) {
    const char *type = status == STATUS_UNAUTHENTICATED                                  ? "authentication_error"
                       : status == STATUS_INVALID_ARGUMENT || status == STATUS_NOT_FOUND ? "invalid_request_error"
                                                                                         : "server_error";
    struct bytes detail;
    bytes_init(&detail, REPLY_BYTES_MAX);
    if (convert_error(type, message, &detail) != STATUS_OK) detail.failed = true;
    refuse_with(handling, status, message, &detail);
}

static void refuse_fields(struct handling *handling, const struct transcode_errors *errors) {
    struct bytes detail;
    bytes_init(&detail, REPLY_BYTES_MAX);
    if (convert_validation(errors, &handling->arena, &detail) != STATUS_OK) detail.failed = true;
    refuse_with(handling, STATUS_INVALID_ARGUMENT, "the request is not valid", &detail);
}

static void refuse_problem(struct handling *handling, const struct convert_problem *problem) {
    struct bytes detail;
    bytes_init(&detail, REPLY_BYTES_MAX);
    if (convert_problem(problem, &handling->arena, &detail) != STATUS_OK) detail.failed = true;
    refuse_with(handling, STATUS_INVALID_ARGUMENT, "the request is not valid", &detail);
}

static void reply_with(struct handling *handling, const ProtobufCMessage *message) {
    struct bytes packed;
    bytes_init(&packed, REPLY_BYTES_MAX);
    if (protobuf_pack(message, &packed) != STATUS_OK) {
        refuse(handling, STATUS_RESOURCE_EXHAUSTED, "the answer is too large");
    } else {
        (void)!rpc_call_write(handling->call, bytes_view(&packed)); /* refused only when the client has left */
        finish(handling, STATUS_OK, NULL, (struct bytes_view){0});
    }
    bytes_deinit(&packed);
}

/** Redis did not do it. What passes is told as such; the rest is a fault of ours and worth a line. */
static void refuse_for_store(struct handling *handling, enum status status, const char *message) {
    bool passing = status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_CANCELLED;
    if (!passing)
        log_error("the store refused", LOG_S("method", handling->method), LOG_S("status", status_name(status)),
                  LOG_S("error", message));
    refuse(handling, passing ? STATUS_UNAVAILABLE : STATUS_INTERNAL,
           passing ? "the key store cannot be reached" : "the key store refused the request");
}

static void refuse_for_record(struct handling *handling, enum status status, const struct error *err) {
    log_error("a record cannot be read", LOG_S("method", handling->method), LOG_S("status", status_name(status)),
              LOG_S("error", err->message));
    refuse(handling, status, status == STATUS_DATA_LOSS ? "a record in the key store is damaged" : "out of memory");
}

/* --- the beginning of a call ------------------------------------------------------------------------------------- */

enum caller { CALLER_ADMIN, CALLER_GATEWAY };

/** NULL after a refusal. */
static struct handling *begin(struct rpc_call *call, const char *method, enum caller caller,
                              const ProtobufCMessageDescriptor *descriptor, struct bytes_view bytes,
                              ProtobufCMessage **out_message) {
    struct keys_service *service = rpc_call_service(call);
    struct handling *handling = calloc(1, sizeof *handling);
    if (handling == NULL) {
        rpc_call_finish(call, STATUS_RESOURCE_EXHAUSTED, "out of memory", (struct bytes_view){0});
        return NULL;
    }
    *handling = (struct handling){.service = service, .call = call, .method = method};
    arena_init(&handling->arena, REQUEST_MEMORY_BYTES);
    rpc_call_ref(call);

    const uint8_t *expected = caller == CALLER_ADMIN ? service->secrets.admin_hash : service->secrets.service_hash;
    const struct transcode_options options = {0};
    struct transcode_errors errors;
    struct error err = {0};
    enum status status = STATUS_OK;
    if (!keys_secrets_match(&service->secrets, expected, rpc_call_metadata(call, "authorization"))) {
        refuse(handling, STATUS_UNAUTHENTICATED,
               caller == CALLER_ADMIN ? "the admin key is missing or wrong" : "the service token is missing or wrong");
    } else if ((status = protobuf_unpack(descriptor, bytes, &handling->arena, out_message, &err)) != STATUS_OK) {
        refuse(handling, status, err.message);
    } else if ((status = transcode_check(service->transcoder, &options, *out_message, &handling->arena, &errors)) !=
               STATUS_OK) {
        if (status == STATUS_INVALID_ARGUMENT)
            refuse_fields(handling, &errors);
        else
            refuse(handling, status, "the request needs too much memory");
    } else if (atomic_load(&service->readiness) != KEYS_READY) {
        refuse(handling,
               atomic_load(&service->readiness) == KEYS_AWAY ? STATUS_UNAVAILABLE : STATUS_FAILED_PRECONDITION,
               keys_readiness_text(service));
    } else {
        return handling;
    }
    return NULL;
}

/* --- CreateKey --------------------------------------------------------------------------------------------------- */

static void try_creating(struct handling *handling);

static void on_created(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct handling *handling = context;
    if (status != STATUS_OK) {
        refuse_for_store(handling, status, message);
        return;
    }
    if (reply->integer != 1) { /* the id is taken */
        if (++handling->attempts < CREATE_ATTEMPTS)
            try_creating(handling);
        else
            refuse(handling, STATUS_INTERNAL, "no free key id was found");
        return;
    }
    Bora__V1__CreateKeyResponse response = BORA__V1__CREATE_KEY_RESPONSE__INIT;
    response.key = handling->key.whole;
    response.info = convert_record(&handling->record, &handling->arena);
    if (response.info == NULL) {
        refuse(handling, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    log_info("key created", LOG_S("key_id", handling->record.id), LOG_S("tenant", handling->record.tenant));
    reply_with(handling, &response.base);
}

static void try_creating(struct handling *handling) {
    struct key_record *record = &handling->record;
    struct error err = {0};
    struct bytes_view *words = NULL;
    size_t count = 0;
    enum status status = key_text_create(&handling->key, &err);
    if (status == STATUS_OK) {
        memcpy(record->id, handling->key.id, sizeof record->id);
        memcpy(record->last, handling->key.whole + KEY_TEXT_CHARACTERS - KEY_LAST_CHARACTERS, sizeof record->last);
        key_text_hash(handling->service->secrets.hash_secret, handling->key.whole, record->hash);
        if (record->tenant[0] == 0) record->tenant = record->id;
        status = key_record_write(record, &handling->arena, &words, &count, &err);
    }
    if (status != STATUS_OK)
        refuse(handling, status, err.message);
    else
        key_store_create(handling->service->redis, record->id, words, count, on_created, handling);
}

static void create_key(struct rpc_call *call, struct bytes_view bytes) {
    ProtobufCMessage *message = NULL;
    struct handling *handling =
        begin(call, "CreateKey", CALLER_ADMIN, &bora__v1__create_key_request__descriptor, bytes, &message);
    if (handling == NULL) return;
    const struct keys_settings *settings = &handling->service->settings;
    struct key_limits default_limits = {settings->default_requests_per_minute, settings->default_tokens_per_minute};
    struct convert_problem problem;
    convert_create_request((const Bora__V1__CreateKeyRequest *)message, &default_limits, unix_now(), &handling->record,
                           &problem);
    handling->record.created_at = unix_now();
    if (problem.type != NULL)
        refuse_problem(handling, &problem);
    else
        try_creating(handling);
}

/* --- ListKeys ---------------------------------------------------------------------------------------------------- */

/** `reply`: {more, id, fields, id, fields...} */
static enum status read_page(struct handling *handling, const struct redis_reply *reply,
                             Bora__V1__ListKeysResponse *out, struct error *err) {
    size_t count = (reply->count - 1) / 2;
    out->has_more = reply->items[0].integer == 1;
    out->keys = arena_alloc_array(&handling->arena, count, sizeof *out->keys);
    if (out->keys == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; i < count; i++) {
        struct key_record record;
        TRY(key_record_read((const char *)reply->items[1 + 2 * i].string.data, &reply->items[2 + 2 * i],
                            &handling->arena, &record, err));
        out->keys[i] = convert_record(&record, &handling->arena);
        if (out->keys[i] == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
        out->n_keys++;
    }
    return STATUS_OK;
}

static void on_listed(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct handling *handling = context;
    Bora__V1__ListKeysResponse response = BORA__V1__LIST_KEYS_RESPONSE__INIT;
    struct convert_problem unknown = {"value_error", "Value error, no such key", "after", -1};
    struct error err = {0};
    if (status != STATUS_OK)
        refuse_for_store(handling, status, message);
    else if (reply->count == 0)
        refuse_problem(handling, &unknown);
    else if ((status = read_page(handling, reply, &response, &err)) != STATUS_OK)
        refuse_for_record(handling, status, &err);
    else
        reply_with(handling, &response.base);
}

static void list_keys(struct rpc_call *call, struct bytes_view bytes) {
    ProtobufCMessage *message = NULL;
    struct handling *handling =
        begin(call, "ListKeys", CALLER_ADMIN, &bora__v1__list_keys_request__descriptor, bytes, &message);
    if (handling == NULL) return;
    const Bora__V1__ListKeysRequest *request = (const Bora__V1__ListKeysRequest *)message;
    bool after = request->_after_case == BORA__V1__LIST_KEYS_REQUEST___AFTER_AFTER,
         limit = request->_limit_case == BORA__V1__LIST_KEYS_REQUEST___LIMIT_LIMIT;
    key_store_list(handling->service->redis, after ? request->after : NULL, limit ? request->limit : LIST_LIMIT_DEFAULT,
                   on_listed, handling);
}

/* --- RevokeKey --------------------------------------------------------------------------------------------------- */

static void on_revoked(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct handling *handling = context;
    Bora__V1__RevokeKeyResponse response = BORA__V1__REVOKE_KEY_RESPONSE__INIT;
    struct key_record record;
    struct error err = {0};
    if (status != STATUS_OK) {
        refuse_for_store(handling, status, message);
    } else if (reply->count == 0) {
        refuse(handling, STATUS_NOT_FOUND, "no such key");
    } else if ((status = key_record_read(handling->key.id, reply, &handling->arena, &record, &err)) != STATUS_OK) {
        refuse_for_record(handling, status, &err);
    } else if ((response.info = convert_record(&record, &handling->arena)) == NULL) {
        refuse(handling, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    } else {
        log_info("key revoked", LOG_S("key_id", record.id), LOG_S("tenant", record.tenant));
        reply_with(handling, &response.base);
    }
}

static void revoke_key(struct rpc_call *call, struct bytes_view bytes) {
    ProtobufCMessage *message = NULL;
    struct handling *handling =
        begin(call, "RevokeKey", CALLER_ADMIN, &bora__v1__revoke_key_request__descriptor, bytes, &message);
    if (handling == NULL) return;
    const char *key_id = ((const Bora__V1__RevokeKeyRequest *)message)->key_id;
    if (!key_id_is_valid(key_id)) {
        refuse(handling, STATUS_NOT_FOUND, "no such key");
        return;
    }
    memcpy(handling->key.id, key_id, sizeof handling->key.id);
    key_store_revoke(handling->service->redis, key_id, unix_now(), on_revoked, handling);
}

/* --- VerifyKey --------------------------------------------------------------------------------------------------- */

/** One sentence for everything that does not match, so that nobody learns which ids exist. */
static void refuse_key(struct handling *handling) {
    refuse(handling, STATUS_UNAUTHENTICATED, "the key is not valid");
}

static void on_found(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct handling *handling = context;
    Bora__V1__VerifyKeyResponse response = BORA__V1__VERIFY_KEY_RESPONSE__INIT;
    struct key_record record;
    struct error err = {0};
    uint8_t hash[KEY_HASH_BYTES];
    key_text_hash(handling->service->secrets.hash_secret, handling->key.whole, hash);
    if (status != STATUS_OK) {
        refuse_for_store(handling, status, message);
    } else if (reply->count == 0) {
        refuse_key(handling);
    } else if ((status = key_record_read(handling->key.id, reply, &handling->arena, &record, &err)) != STATUS_OK) {
        refuse_for_record(handling, status, &err);
    } else if (!bytes_equal_constant_time(hash, record.hash, KEY_HASH_BYTES)) {
        refuse_key(handling);
    } else if (record.revoked_at != 0) {
        refuse(handling, STATUS_UNAUTHENTICATED, "the key is revoked");
    } else if (record.expires_at != 0 && record.expires_at <= unix_now()) {
        refuse(handling, STATUS_UNAUTHENTICATED, "the key has expired");
    } else if ((response.info = convert_record(&record, &handling->arena)) == NULL) {
        refuse(handling, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    } else {
        reply_with(handling, &response.base);
    }
}

static void verify_key(struct rpc_call *call, struct bytes_view bytes) {
    ProtobufCMessage *message = NULL;
    struct handling *handling =
        begin(call, "VerifyKey", CALLER_GATEWAY, &bora__v1__verify_key_request__descriptor, bytes, &message);
    if (handling == NULL) return;
    if (key_text_parse(((const Bora__V1__VerifyKeyRequest *)message)->key, &handling->key))
        key_store_get(handling->service->redis, handling->key.id, on_found, handling);
    else
        refuse_key(handling);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

#define PATH "/bora.v1.KeyService/"
const struct rpc_method keys_methods[] = {
    {.path = PATH "CreateKey", .message = create_key},
    {.path = PATH "ListKeys", .message = list_keys},
    {.path = PATH "RevokeKey", .message = revoke_key},
    {.path = PATH "VerifyKey", .message = verify_key},
};
const size_t keys_method_count = sizeof keys_methods / sizeof *keys_methods;

enum status keys_transcoder_create(struct transcoder **out, struct error *err) {
    const ProtobufCMessageDescriptor *const messages[] = {
        &bora__v1__create_key_request__descriptor, &bora__v1__list_keys_request__descriptor,
        &bora__v1__revoke_key_request__descriptor, &bora__v1__verify_key_request__descriptor};
    return transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), messages,
                             sizeof messages / sizeof *messages, out, err);
}
