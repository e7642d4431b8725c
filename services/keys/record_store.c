/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/record_store.h"

#include "services/keys/handling.h"
#include "services/keys/out_of_memory.h"
#include "services/keys/store_names.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

extern const char record_change_lua[]; /* in this folder */

enum { NUMBER_BYTES = 24 };

static struct redis_script change_script;
static pthread_once_t scripts_once = PTHREAD_ONCE_INIT;

static void init_scripts(void) {
    redis_script_init(&change_script, record_change_lua);
}

static bool find_field(const struct word_list *list, struct bytes_view field, struct bytes_view *out_value) {
    for (size_t i = 0; i + 1 < list->count; i += 2) {
        if (!bytes_view_equal(list->words[i], field)) continue;
        *out_value = list->words[i + 1];
        return true;
    }
    return false;
}

static void add_view(struct word_list *list, struct bytes_view word) {
    word_list_add(list, (const char *)word.data);
}

/** The fields that go, behind their number, and then those that come or change with their values. */
static void add_difference(struct word_list *out, const struct word_list *before, const struct word_list *after) {
    struct bytes_view value;
    size_t going = 0;
    for (size_t i = 0; i + 1 < before->count; i += 2) going += !find_field(after, before->words[i], &value);
    word_list_add(out, arena_printf(out->arena, "%zu", going));
    for (size_t i = 0; i + 1 < before->count; i += 2) {
        if (!find_field(after, before->words[i], &value)) add_view(out, before->words[i]);
    }
    for (size_t i = 0; i + 1 < after->count; i += 2) {
        if (find_field(before, after->words[i], &value) && bytes_view_equal(value, after->words[i + 1])) continue;
        add_view(out, after->words[i]);
        add_view(out, after->words[i + 1]);
    }
}

static enum status outcome_of(int64_t answer, struct error *err) {
    switch (answer) {
    case 1:
        return STATUS_OK;
    case 0:
        return STATUS_ABORTED;
    case -2:
        return error_set(err, STATUS_ALREADY_EXISTS, "the name is taken");
    default:
        return error_set(err, STATUS_NOT_FOUND, "it is not there any more");
    }
}

enum status record_change(struct handling *handling, const struct record_change *change, struct error *err) {
    pthread_once(&scripts_once, init_scripts);
    char names[5][STORE_NAME_BYTES], version[NUMBER_BYTES];
    const char *organization = change->organization;
    const char *workspace = change->workspace != NULL ? change->workspace : "";
    struct bytes_view keys[] = {
        store_name(names[0], change->what, organization, change->id_or_null),
        store_name(names[1], "audit", organization, NULL), store_name(names[2], "pending", organization, NULL),
        store_name(names[3], "ws-names", organization, NULL), store_name(names[4], "ws-keys", organization, workspace)};
    snprintf(version, sizeof version, "%" PRId64, change->version);
    struct word_list arguments = {.arena = &handling->arena};
    struct bytes_view audit[AUDIT_WORDS];
    handling_audit_words(handling, change->entry, audit);
    bool renamed = change->name_after != NULL;
    word_list_add(&arguments, version);
    word_list_add(&arguments, change->change->mark);
    word_list_add(&arguments, change->change->nonce);
    word_list_add(&arguments, renamed ? change->name_before : "");
    word_list_add(&arguments, renamed ? change->name_after : "");
    word_list_add(&arguments, change->id_or_null != NULL ? change->id_or_null : organization);
    word_list_add(&arguments, change->leaving_prefix != NULL ? change->leaving_prefix : "");
    for (int i = 0; i < AUDIT_WORDS; i++) add_view(&arguments, audit[i]);
    add_difference(&arguments, change->before, change->after);
    if (arguments.failed || change->before->failed || change->after->failed) return out_of_memory(err);
    struct redis_reply *reply = NULL;
    TRY(store_script(handling->service, &change_script, keys, 5, arguments.words, arguments.count, &reply, err));
    int64_t answer = reply->integer;
    redis_reply_free(reply);
    return outcome_of(answer, err);
}
