/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "base/protobuf_wire.h"
#include "base/settings.h"
#include "rpc/grpc_internal.h"
#include "rpc/tls.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_BYTES_MAX = 1 << 20 };

/* ---- the library --------------------------------------------------------------------------------------------------- */

/** A client's mistake makes gRPC write an ERROR line, so these lines are ours to judge: of interest when debugging, all but a failed assertion,
 *  behind which gRPC aborts. */
static void on_library_log(gpr_log_func_args *arguments) {
    bool fatal = strncmp(arguments->message, "assertion failed", 16) == 0;
    enum log_level level = fatal ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG;
    LOG_AT_(level, "gRPC says", LOG_S("message", arguments->message), LOG_S("file", arguments->file),
            LOG_I("line", arguments->line));
}

void grpc_library_init(void) {
    if (getenv("GRPC_VERBOSITY") == NULL) gpr_set_log_function(on_library_log); /* who sets it wants gRPC's own lines */
    grpc_init();
}

/* ---- queues -------------------------------------------------------------------------------------------------------- */

static void *queue_main(void *context) {
    struct grpc_queue *queue = context;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(queue->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) return NULL;
        if (event.type != GRPC_OP_COMPLETE) continue;
        struct grpc_tag *tag = event.tag;
        TAG_ACQUIRE(tag);
        tag->done(tag, event.success != 0);
    }
}

enum status grpc_queue_start(struct grpc_queue *queue, const char *name, struct error *err) {
    int failed = pthread_create(&queue->thread, NULL, queue_main, queue);
    if (failed != 0) return error_set_errno(err, STATUS_RESOURCE_EXHAUSTED, failed, "cannot start a gRPC thread");
    pthread_setname_np(queue->thread, name);
    queue->started = true;
    return STATUS_OK;
}

void grpc_queue_stop(struct grpc_queue *queue) {
    if (queue->queue == NULL) return;
    grpc_completion_queue_shutdown(queue->queue);
    if (queue->started)
        pthread_join(queue->thread, NULL);
    else
        queue_main(queue); /* drain here */
    grpc_completion_queue_destroy(queue->queue);
    queue->queue = NULL;
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

grpc_byte_buffer *grpc_buffer_of(struct bytes_view message) {
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)message.data, message.length);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

bool grpc_buffer_read(grpc_byte_buffer *buffer, grpc_slice *out_slice) {
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, buffer)) return false;
    *out_slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

struct bytes_view grpc_slice_view(const grpc_slice *slice) {
    return bytes_view_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

bool grpc_metadata_is_legal(const grpc_metadata *entry) {
    return grpc_header_key_is_legal(entry->key) &&
           (grpc_is_binary_header(entry->key) || grpc_header_nonbin_value_is_legal(entry->value));
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

int64_t grpc_deadline_to_ns(gpr_timespec deadline) {
    gpr_timespec infinite = gpr_inf_future(deadline.clock_type);
    if (gpr_time_cmp(deadline, infinite) >= 0) return INT64_MAX;
    gpr_timespec monotonic = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
    if (monotonic.tv_sec > INT64_MAX / NS_PER_S - 1) return INT64_MAX;
    return monotonic.tv_sec * NS_PER_S + monotonic.tv_nsec;
}

gpr_timespec grpc_deadline_from_ns(int64_t monotonic_ns) {
    if (monotonic_ns == INT64_MAX) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return (gpr_timespec){.tv_sec = monotonic_ns / NS_PER_S,
                          .tv_nsec = (int32_t)(monotonic_ns % NS_PER_S),
                          .clock_type = GPR_CLOCK_MONOTONIC};
}

/* ---- credentials --------------------------------------------------------------------------------------------------- */

static enum status read_pem(const char *path, char **out, struct error *err) {
    size_t length;
    *out = NULL;
    return path == NULL ? STATUS_OK : settings_read_file(path, PEM_BYTES_MAX, out, &length, err);
}

struct pem {
    char *certificate, *key, *authorities;
};

static enum status read_pems(const struct rpc_tls *tls, struct pem *out, struct error *err) {
    if ((tls->certificate_file == NULL) != (tls->key_file == NULL))
        return error_set(err, STATUS_INVALID_ARGUMENT, "TLS needs a certificate and its key, not one of them");
    TRY(read_pem(tls->certificate_file, &out->certificate, err));
    TRY(read_pem(tls->key_file, &out->key, err));
    return read_pem(tls->ca_file, &out->authorities, err);
}

static void free_pems(struct pem *pem) {
    if (pem->key != NULL) explicit_bzero(pem->key, strlen(pem->key));
    free(pem->certificate);
    free(pem->key);
    free(pem->authorities);
}

enum status grpc_certificate_config_of(const struct rpc_tls *tls, grpc_ssl_server_certificate_config **out,
                                       struct error *err) {
    struct pem pem = {0};
    if (tls->certificate_file == NULL && tls->key_file == NULL)
        return error_set(err, STATUS_INVALID_ARGUMENT, "mutual TLS needs a server certificate");
    enum status status = read_pems(tls, &pem, err);
    /* The C core would say no more than that it cannot listen, or, later, nothing at all. */
    if (status == STATUS_OK) status = tls_check_identity(tls->certificate_file, tls->key_file, tls->ca_file, err);
    if (status == STATUS_OK) {
        grpc_ssl_pem_key_cert_pair pair = {.private_key = pem.key, .cert_chain = pem.certificate};
        /* The C core insists on authorities where it fetches a certificate, also where no client is asked for one: then any will do. */
        *out = grpc_ssl_server_certificate_config_create(pem.authorities != NULL ? pem.authorities : pem.certificate,
                                                         &pair, 1);
        if (*out == NULL) status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "TLS: no memory");
    }
    free_pems(&pem);
    return status;
}

enum status grpc_channel_credentials_of(const struct rpc_tls *tls, bool use_tls, grpc_channel_credentials **out,
                                        struct error *err) {
    if (!use_tls) {
        *out = grpc_insecure_credentials_create();
        return STATUS_OK;
    }
    struct pem pem = {0};
    enum status status = read_pems(tls, &pem, err);
    if (status == STATUS_OK) {
        grpc_ssl_pem_key_cert_pair pair = {.private_key = pem.key, .cert_chain = pem.certificate};
        *out = grpc_ssl_credentials_create_ex(pem.authorities, pem.certificate != NULL ? &pair : NULL, NULL, NULL);
        if (*out == NULL) status = error_set(err, STATUS_INVALID_ARGUMENT, "the TLS files make no client identity");
    }
    free_pems(&pem);
    return status;
}

/* ---- wire ---------------------------------------------------------------------------------------------------------- */

void wire_put_varint(struct bytes *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) (void)!bytes_append_byte(out, (uint8_t)(value | 0x80));
    (void)!bytes_append_byte(out, (uint8_t)value);
}

void wire_put_number(struct bytes *out, uint32_t number, uint64_t value) {
    wire_put_varint(out, (uint64_t)number << 3 | WIRE_VARINT);
    wire_put_varint(out, value);
}

void wire_put_bytes(struct bytes *out, uint32_t number, struct bytes_view value) {
    wire_put_varint(out, (uint64_t)number << 3 | WIRE_BYTES);
    wire_put_varint(out, value.length);
    (void)!bytes_append(out, value.data, value.length);
}

/* ---- google.rpc.Status{code = 1, message = 2, details = 3: Any{type_url = 1, value = 2}} ----------------------------- */

static const char type_prefix[] = "type.googleapis.com/";

enum status rpc_status_details(enum status status, const char *message, const char *type_name, struct bytes_view value,
                               struct bytes *out) {
    struct bytes any, url;
    bytes_init(&any, 1 << 20);
    bytes_init(&url, 1024);
    (void)!bytes_printf(&url, "%s%s", type_prefix, type_name);
    wire_put_bytes(&any, 1, bytes_view(&url));
    wire_put_bytes(&any, 2, value);
    wire_put_number(out, 1, (uint64_t)status);
    wire_put_bytes(out, 2, bytes_view_string(message != NULL ? message : ""));
    wire_put_bytes(out, 3, bytes_view(&any));
    bool failed = any.failed || url.failed || out->failed;
    bytes_deinit(&any);
    bytes_deinit(&url);
    return failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}

bool rpc_status_details_find(struct bytes_view details, const char *type_name, struct bytes_view *out_value) {
    struct wire_field field, inner;
    while (wire_next(&details, &field)) {
        if (field.number != 3 || field.type != WIRE_BYTES) continue;
        struct bytes_view any = field.bytes, url = {0}, value = {0};
        while (wire_next(&any, &inner)) {
            if (inner.number == 1 && inner.type == WIRE_BYTES) url = inner.bytes;
            if (inner.number == 2 && inner.type == WIRE_BYTES) value = inner.bytes;
        }
        size_t prefix = sizeof type_prefix - 1;
        if (url.length < prefix || memcmp(url.data, type_prefix, prefix) != 0) continue;
        if (!bytes_view_equal_string(bytes_view_of(url.data + prefix, url.length - prefix), type_name)) continue;
        *out_value = value;
        return true;
    }
    return false;
}
