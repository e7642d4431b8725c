/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/text.h"
#include "store/redis_internal.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 64, COMMANDF_BYTES_MAX = 1 << 20, BULK_HEADER_BYTES = 24, GUARD_BYTES = 512, FUNCTION_BYTES = 128 };
#define CLUSTER_SUFFIX "_cluster"

/* --- arguments to bytes: *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n ------------------------------------------- */

/** A count and the end of its line. */
static char *put_count(char *to, char kind, size_t count) {
    *to++ = kind;
    to += text_from_i64((int64_t)count, to);
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static char *put_bulk(char *to, struct bytes_view argument) {
    to = put_count(to, '$', argument.length);
    if (argument.length > 0) memcpy(to, argument.data, argument.length);
    to += argument.length;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

struct redis_command *redis_command_create(const struct bytes_view *arguments, size_t count, redis_fn *fn,
                                           void *context) {
    size_t bytes = BULK_HEADER_BYTES;
    for (size_t i = 0; i < count; i++) bytes += arguments[i].length + BULK_HEADER_BYTES;
    struct redis_command *command = calloc(1, sizeof *command);
    char *wire = malloc(bytes);
    if (command == NULL || wire == NULL) {
        free(command);
        free(wire);
        return NULL;
    }
    char *to = put_count(wire, '*', count);
    for (size_t i = 0; i < count; i++) to = put_bulk(to, arguments[i]);
    command->argument_count = (int)count;
    command->wire = wire;
    command->wire_length = (size_t)(to - wire);
    command->fn = fn;
    command->context = context;
    return command;
}

void redis_command_free(struct redis_command *command) {
    if (command == NULL) return;
    free(command->wire);
    free(command);
}

static void fail_without_memory(redis_fn *fn, void *context) {
    if (fn != NULL) fn(context, STATUS_RESOURCE_EXHAUSTED, NULL, "out of memory");
}

void redis_command(struct redis_client *client, const struct bytes_view *arguments, size_t count, redis_fn *fn,
                   void *context) {
    struct redis_command *command = redis_command_create(arguments, count, fn, context);
    if (command != NULL)
        redis_submit(client, command);
    else
        fail_without_memory(fn, context);
}

/* --- printf-like ------------------------------------------------------------------------------------------------ */

struct words {
    struct bytes text;
    size_t ends[WORDS_MAX];
    size_t count;
};

static bool append_conversion(struct bytes *text, const char **format, va_list *values) {
    const char *at = *format + 1;
    if (*at == 's') {
        *format = at;
        return bytes_append_string(text, va_arg(*values, const char *)) == STATUS_OK;
    }
    if (*at == 'b') {
        const struct bytes_view *view = va_arg(*values, const struct bytes_view *);
        *format = at;
        return bytes_append(text, view->data, view->length) == STATUS_OK;
    }
    if (strncmp(at, "lld", 3) == 0) {
        *format = at + 2;
        return bytes_printf(text, "%lld", va_arg(*values, long long)) == STATUS_OK;
    }
    return false; /* a programmer's error */
}

static bool split_words(struct words *words, const char *format, va_list *values) {
    const char *at = format;
    while (*at != 0) {
        while (*at == ' ') at++;
        if (*at == 0) break;
        if (words->count == WORDS_MAX) return false;
        for (; *at != 0 && *at != ' '; at++) {
            if (*at == '%' ? !append_conversion(&words->text, &at, values)
                           : bytes_append_byte(&words->text, (uint8_t)*at) != STATUS_OK)
                return false;
        }
        words->ends[words->count++] = words->text.length;
    }
    return words->count > 0;
}

static struct redis_command *command_from_format(const char *format, va_list *values, redis_fn *fn, void *context) {
    struct words words = {.count = 0};
    bytes_init(&words.text, COMMANDF_BYTES_MAX);
    struct redis_command *command = NULL;
    if (split_words(&words, format, values)) {
        struct bytes_view arguments[WORDS_MAX];
        size_t start = 0;
        for (size_t i = 0; i < words.count; i++) {
            arguments[i] = bytes_view_of(words.text.data + start, words.ends[i] - start);
            start = words.ends[i];
        }
        command = redis_command_create(arguments, words.count, fn, context);
    }
    bytes_deinit(&words.text);
    return command;
}

static void commandv(struct redis_client *client, redis_fn *fn, void *context, const char *format, va_list *values) {
    struct redis_command *command = command_from_format(format, values, fn, context);
    if (command != NULL)
        redis_submit(client, command);
    else if (fn != NULL)
        fn(context, STATUS_INTERNAL, NULL, "the Redis command has a bad format or is too long");
}

void redis_commandf(struct redis_client *client, redis_fn *fn, void *context, const char *format, ...) {
    va_list values;
    va_start(values, format);
    commandv(client, fn, context, format, &values);
    va_end(values);
}

/* --- blocking --------------------------------------------------------------------------------------------------- */

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    bool done;
    enum status status;
    struct redis_reply *reply;
    struct error *err;
};

static void waiter_answer(void *context, enum status status, const struct redis_reply *reply, const char *message) {
    struct waiter *waiter = context;
    struct redis_reply *copy = status == STATUS_OK ? redis_reply_copy(reply) : NULL;
    pthread_mutex_lock(&waiter->mutex);
    waiter->reply = copy;
    if (status != STATUS_OK)
        waiter->status = error_set(waiter->err, status, "%s", message);
    else if (copy == NULL)
        waiter->status = error_set(waiter->err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    waiter->done = true;
    pthread_cond_signal(&waiter->done_changed);
    pthread_mutex_unlock(&waiter->mutex);
}

static enum status waiter_finish(struct waiter *waiter, struct redis_reply **out) {
    pthread_mutex_lock(&waiter->mutex);
    while (!waiter->done) pthread_cond_wait(&waiter->done_changed, &waiter->mutex);
    pthread_mutex_unlock(&waiter->mutex);
    pthread_mutex_destroy(&waiter->mutex);
    pthread_cond_destroy(&waiter->done_changed);
    if (waiter->status != STATUS_OK) return waiter->status;
    if (out != NULL)
        *out = waiter->reply;
    else
        redis_reply_free(waiter->reply);
    return STATUS_OK;
}

static enum status check_thread(struct redis_client *client, struct error *err) {
    bool own =
        client->loop != NULL ? loop_is_current(client->loop) : pthread_equal(pthread_self(), client->thread) != 0;
    if (!own) return STATUS_OK;
    return error_set(err, STATUS_INTERNAL, "a blocking Redis call on the client's own thread");
}

enum status redis_call(struct redis_client *client, const struct bytes_view *arguments, size_t count,
                       struct redis_reply **out, struct error *err) {
    TRY(check_thread(client, err));
    struct waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done_changed = PTHREAD_COND_INITIALIZER, .err = err};
    redis_command(client, arguments, count, waiter_answer, &waiter);
    return waiter_finish(&waiter, out);
}

enum status redis_callf(struct redis_client *client, struct redis_reply **out, struct error *err, const char *format,
                        ...) {
    TRY(check_thread(client, err));
    struct waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done_changed = PTHREAD_COND_INITIALIZER, .err = err};
    va_list values;
    va_start(values, format);
    commandv(client, waiter_answer, &waiter, format, &values);
    va_end(values);
    return waiter_finish(&waiter, out);
}

enum status redis_script_call(struct redis_client *client, const struct redis_script *script,
                              const struct bytes_view *keys, size_t key_count, const struct bytes_view *arguments,
                              size_t argument_count, struct redis_reply **out, struct error *err) {
    TRY(check_thread(client, err));
    struct waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done_changed = PTHREAD_COND_INITIALIZER, .err = err};
    redis_script_run(client, script, keys, key_count, arguments, argument_count, waiter_answer, &waiter);
    return waiter_finish(&waiter, out);
}

/* --- scripts ---------------------------------------------------------------------------------------------------- */

void redis_script_init(struct redis_script *script, const char *source) {
    unsigned char digest[SHA_DIGEST_LENGTH];
    SHA1((const unsigned char *)source, strlen(source), digest);
    script->source = source;
    bytes_to_hex(digest, sizeof digest, script->sha1);
}

/** EVALSHA or FCALL of a name, with the number of keys, the keys and the arguments; in a cluster with a key more, that never exists (redis.h). */
static struct redis_command *create_run(const struct redis_client *client, const char *verb, const char *name,
                                        const struct bytes_view *keys, size_t key_count,
                                        const struct bytes_view *arguments, size_t argument_count, redis_fn *fn,
                                        void *context) {
    bool guarded = key_count > 0 && redis_client_in_cluster(client);
    size_t count = 3 + key_count + guarded + argument_count, at = 3;
    struct bytes_view *words = calloc(count, sizeof *words), tag = {0};
    if (words == NULL) return NULL;
    char key_count_text[24], guard[GUARD_BYTES];
    snprintf(key_count_text, sizeof key_count_text, "%zu", key_count + guarded);
    words[0] = bytes_view_string(verb);
    words[1] = bytes_view_string(name);
    words[2] = bytes_view_string(key_count_text);
    for (size_t i = 0; i < key_count; i++) words[at++] = keys[i];
    if (guarded) {
        tag = redis_slot_tag(keys[0]);
        snprintf(guard, sizeof guard, "{%.*s}:never", (int)tag.length, (const char *)tag.data);
        words[at++] = bytes_view_string(guard);
    }
    for (size_t i = 0; i < argument_count; i++) words[at++] = arguments[i];
    struct redis_command *command =
        tag.length + sizeof "{}:never" > sizeof guard ? NULL : redis_command_create(words, count, fn, context);
    free(words);
    return command;
}

void redis_script_run(struct redis_client *client, const struct redis_script *script, const struct bytes_view *keys,
                      size_t key_count, const struct bytes_view *arguments, size_t argument_count, redis_fn *fn,
                      void *context) {
    struct redis_command *command =
        create_run(client, "EVALSHA", script->sha1, keys, key_count, arguments, argument_count, fn, context);
    if (command == NULL) {
        fail_without_memory(fn, context);
        return;
    }
    command->script = script;
    command->script_tail =
        (size_t)snprintf(NULL, 0, "*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n", command->argument_count, script->sha1);
    redis_submit(client, command);
}

bool redis_command_use_source(struct redis_command *command) {
    size_t source_length = strlen(command->script->source), tail_length = command->wire_length - command->script_tail;
    char *wire = malloc(3 * BULK_HEADER_BYTES + source_length + tail_length);
    if (wire == NULL) return false;
    char *to = put_count(wire, '*', (size_t)command->argument_count);
    to = put_bulk(to, bytes_view_string("EVAL"));
    to = put_bulk(to, bytes_view_of(command->script->source, source_length));
    memcpy(to, command->wire + command->script_tail, tail_length);
    free(command->wire);
    command->wire = wire;
    command->wire_length = (size_t)(to - wire) + tail_length;
    command->script = NULL;
    return true;
}

/* --- functions -------------------------------------------------------------------------------------------------- */

void redis_function_run(struct redis_client *client, const struct redis_library *library, const char *function,
                        const struct bytes_view *keys, size_t key_count, const struct bytes_view *arguments,
                        size_t argument_count, redis_fn *fn, void *context) {
    char name[FUNCTION_BYTES];
    if (redis_client_in_cluster(client)) {
        snprintf(name, sizeof name, "%s" CLUSTER_SUFFIX, function);
        function = name;
    }
    struct redis_command *command =
        create_run(client, "FCALL", function, keys, key_count, arguments, argument_count, fn, context);
    if (command == NULL) {
        fail_without_memory(fn, context);
        return;
    }
    command->library = library;
    redis_submit(client, command);
}

/** Ahead of a library's second line, so that errors name its own lines: functions get other names and are not shown the key more. While a library is
 *  loaded there are no functions of Lua's. */
#define REGISTER "redis.register_function"
#define REGISTER_IN_CLUSTER "register_in_cluster"
static const char for_cluster[] = CLUSTER_SUFFIX
    "\nlocal function " REGISTER_IN_CLUSTER "(name, run) "
    "local options = run and {function_name = name, callback = run} or name "
    "local callback = options.callback "
    "options.function_name = options.function_name .. '" CLUSTER_SUFFIX "' "
    "options.callback = function(keys, arguments) keys[#keys] = nil return callback(keys, arguments) end " REGISTER
    "(options) end ";

static bool write_for_cluster(const char *source, struct bytes *out) {
    const char *at = strchr(source, '\n');
    if (at == NULL) return bytes_append_string(out, source) == STATUS_OK; /* Redis says what is wrong with it */
    bool ok = bytes_append(out, source, (size_t)(at - source)) == STATUS_OK &&
              bytes_append_string(out, for_cluster) == STATUS_OK;
    at++;
    for (const char *next; ok && (next = strstr(at, REGISTER)) != NULL; at = next + sizeof REGISTER - 1)
        ok = bytes_append(out, at, (size_t)(next - at)) == STATUS_OK &&
             bytes_append_string(out, REGISTER_IN_CLUSTER) == STATUS_OK;
    return ok && bytes_append_string(out, at) == STATUS_OK;
}

struct redis_command *redis_command_load(const struct redis_library *library, bool in_cluster, redis_fn *fn,
                                         void *context) {
    struct redis_command *command = NULL;
    struct bytes source;
    bytes_init(&source, 2 * strlen(library->source) + sizeof for_cluster);
    if (in_cluster ? write_for_cluster(library->source, &source)
                   : bytes_append_string(&source, library->source) == STATUS_OK) {
        const struct bytes_view words[] = {bytes_view_string("FUNCTION"), bytes_view_string("LOAD"),
                                           bytes_view(&source)};
        command = redis_command_create(words, 3, fn, context);
    }
    bytes_deinit(&source);
    return command;
}
