/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Path, query and body -> message: what is let in satisfies the rules and comes back as JSON; what is not is said in errors that can be shown. Input: the
 * path's value, a line, the query as "name=value&...", a line, the body. */
#include "base/json.h"
#include "bora/v1/keys.pb-c.h"
#include "bora/v1/usage.pb-c.h"
#include "proto/descriptors.h"
#include "rpc/transcode.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARAMETERS_MAX = 64 };

static void must(bool condition) {
    if (!condition) abort();
}

static const ProtobufCMessageDescriptor *const types[] = {
    &bora__v1__get_usage_request__descriptor, &bora__v1__list_keys_request__descriptor,
    &bora__v1__update_key_request__descriptor, &bora__v1__set_spend_limit_request__descriptor};

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
        must(error->context == NULL || json_is_valid(bytes_view_string(error->context), 64, &kind));
    }
}

/** The next piece up to `end`, as a C string in `text`, which it cuts. */
static char *cut(char **text, const char *end) {
    char *piece = *text;
    size_t length = strcspn(piece, end);
    *text += length + (piece[length] != 0);
    piece[length] = 0;
    return piece;
}

static void check_call(const ProtobufCMessageDescriptor *type, const struct transcode_call *call, bool strict) {
    struct arena arena, again;
    struct bytes written;
    struct transcode_options options = {.strict = strict};
    struct transcode_errors errors;
    ProtobufCMessage *message = NULL;
    arena_init(&arena, 4 << 20);
    arena_init(&again, 4 << 20);
    bytes_init(&written, 16 << 20);
    enum status status = transcode_read_call(the_transcoder(), &options, type, call, &arena, &message, &errors);
    must(status == STATUS_OK || status == STATUS_INVALID_ARGUMENT || status == STATUS_RESOURCE_EXHAUSTED);
    if (status == STATUS_INVALID_ARGUMENT) check_errors(&errors);
    if (status == STATUS_OK) {
        must(transcode_check(the_transcoder(), &options, message, &again, &errors) == STATUS_OK);
        must(transcode_write(the_transcoder(), message, &written) == STATUS_OK);
        /* A null that must be said is not written: it is missing then, and nothing else. */
        status = transcode_read(the_transcoder(), &options, type, bytes_view(&written), &again, &message, &errors);
        must(status == STATUS_OK || status == STATUS_INVALID_ARGUMENT);
        for (size_t i = 0; status != STATUS_OK && i < errors.count; i++)
            must(strcmp(errors.items[i].type, "missing") == 0);
    }
    bytes_deinit(&written);
    arena_deinit(&arena);
    arena_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    char *text = strndup((const char *)data + 1, size - 1), *rest = text;
    must(text != NULL);
    struct transcode_parameter path = {"key_id", cut(&rest, "\n")}, query[PARAMETERS_MAX];
    char *parameters = cut(&rest, "\n");
    struct transcode_call call = {.path = &path, .query = query, .has_body = (data[0] & 64) != 0};
    call.path_count = (data[0] & 32) != 0;
    call.body = bytes_view_string(rest);
    while (*parameters != 0 && call.query_count < PARAMETERS_MAX) {
        char *value = cut(&parameters, "&"), *name = cut(&value, "=");
        query[call.query_count++] = (struct transcode_parameter){name, value};
    }
    check_call(types[data[0] % (sizeof types / sizeof types[0])], &call, (data[0] & 128) != 0);
    free(text);
    return 0;
}
