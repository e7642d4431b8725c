/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* JSON -> message over the real descriptors. What is read must come back the same; and the JSON reader must agree with jansson. */
#include "base/json.h"
#include "bora/v1/chat.pb-c.h"
#include "bora/v1/error.pb-c.h"
#include "bora/v1/keys.pb-c.h"
#include "proto/descriptors.h"
#include "rpc/transcode.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
    if (!condition) abort();
}

static const ProtobufCMessageDescriptor *const types[] = {&bora__v1__chat_completion_request__descriptor,
                                                          &bora__v1__validation_errors__descriptor,
                                                          &bora__v1__create_key_request__descriptor};

static struct transcoder *the_transcoder(void) {
    static struct transcoder *transcoder;
    if (transcoder == NULL)
        must(transcoder_create(bytes_view_of(proto_descriptors, proto_descriptors_length), types,
                               sizeof types / sizeof types[0], &transcoder, NULL) == STATUS_OK);
    return transcoder;
}

static void check_errors(const struct transcode_errors *errors) {
    must(errors->count > 0 && errors->count <= TRANSCODE_ERRORS_MAX);
    enum json_kind kind;
    for (size_t i = 0; i < errors->count; i++) {
        const struct transcode_error *error = &errors->items[i];
        must(error->path_length <= TRANSCODE_PATH_MAX);
        must(error->input == NULL || json_is_valid(bytes_view_string(error->input), 64, &kind));
        must(error->context == NULL ||
             (json_is_valid(bytes_view_string(error->context), 64, &kind) && kind == JSON_KIND_OBJECT));
    }
}

static void check_type(const ProtobufCMessageDescriptor *type, struct bytes_view json, bool strict) {
    struct arena arena, again;
    arena_init(&arena, 4 << 20);
    arena_init(&again, 8 << 20);
    struct bytes first, second;
    bytes_init(&first, 16 << 20);
    bytes_init(&second, 16 << 20);
    struct transcode_options options = {.strict = strict};
    struct transcode_errors errors;
    ProtobufCMessage *message = NULL;
    enum status status = transcode_read(the_transcoder(), &options, type, json, &arena, &message, &errors);
    must(status == STATUS_OK || status == STATUS_INVALID_ARGUMENT || status == STATUS_RESOURCE_EXHAUSTED);
    if (status == STATUS_INVALID_ARGUMENT) check_errors(&errors);
    if (status == STATUS_OK) {
        /* What JSON let in passes as gRPC, and its JSON reads as itself. */
        must(transcode_check(the_transcoder(), &options, message, &again, &errors) == STATUS_OK);
        must(transcode_write(the_transcoder(), message, &first) == STATUS_OK);
        status = transcode_read(the_transcoder(), &options, type, bytes_view(&first), &again, &message, &errors);
        must(status == STATUS_OK || status == STATUS_RESOURCE_EXHAUSTED);
        if (status == STATUS_OK) {
            must(transcode_write(the_transcoder(), message, &second) == STATUS_OK);
            must(bytes_view_equal(bytes_view(&first), bytes_view(&second)));
        }
    }
    bytes_deinit(&first);
    bytes_deinit(&second);
    arena_deinit(&arena);
    arena_deinit(&again);
}

/** jansson with duplicate names refused and NULs allowed draws the line where we do, but for number sizes and depth. */
static void compare_with_jansson(struct bytes_view json) {
    struct arena arena;
    arena_init(&arena, 16 << 20);
    struct json_value *value = NULL;
    struct json_problem problem;
    enum status status = json_read(json, 64, 1 << 20, &arena, &value, &problem);
    json_error_t error;
    json_t *theirs =
        json_loadb((const char *)json.data, json.length,
                   JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    bool their_limits = theirs == NULL && json_error_code(&error) == json_error_numeric_overflow;
    /* Names with NULs are jansson's own refusal; and it compares names before it has seen the text's end. */
    their_limits |= theirs == NULL && json_error_code(&error) == json_error_null_byte_in_key;
    if (status == STATUS_OK) must(theirs != NULL || their_limits);
    if (status == STATUS_INVALID_ARGUMENT && strcmp(problem.reason, "nested too deeply") != 0 &&
        strcmp(problem.reason, "too many values") != 0)
        must(theirs == NULL);
    json_decref(theirs);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct bytes_view json = bytes_view_of(data + 1, size - 1);
    check_type(types[data[0] % (sizeof types / sizeof types[0])], json, (data[0] & 128) != 0);
    /* jansson takes a NUL behind the value for the end */
    if (json.length > 0 && memchr(json.data, 0, json.length) == NULL) compare_with_jansson(json);
    return 0;
}
