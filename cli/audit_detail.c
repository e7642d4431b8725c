/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/audit_detail.h"

#include "base/json.h"
#include "base/limits.h"
#include "cli/values.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 4 * LIMIT_AUDIT_DETAIL_BYTES, VALUES_MAX = LIMIT_AUDIT_DETAIL_BYTES, ID_BYTES = 64 };

struct writing {
    struct bytes out;
    audit_name_fn *name;
    const void *context;
};

static void add(struct writing *writing, struct bytes_view text) {
    (void)!bytes_append(&writing->out, text.data, text.length);
}

static void add_string(struct writing *writing, const char *text) {
    (void)!bytes_append_string(&writing->out, text);
}

static bool ends_with(struct bytes_view text, const char *ending) {
    size_t length = strlen(ending);
    return text.length > length && memcmp(text.data + text.length - length, ending, length) == 0;
}

/** Unix seconds as the date they are. */
static void add_time(struct writing *writing, const struct json_value *value) {
    char text[VALUE_TIME_BYTES];
    int64_t seconds;
    if (!json_i64(value, &seconds)) {
        add_string(writing, "never");
        return;
    }
    value_format_time(seconds, text);
    add_string(writing, text);
}

static void add_id(struct writing *writing, struct bytes_view id) {
    char text[ID_BYTES];
    snprintf(text, sizeof text, "%.*s", (int)(id.length < ID_BYTES ? id.length : 0), (const char *)id.data);
    const char *name = writing->name(writing->context, text);
    if (name != NULL) {
        add_string(writing, name);
        add_string(writing, " (");
    }
    add(writing, id);
    if (name != NULL) add_string(writing, ")");
}

/** A number without the zeros that end its fraction, as money has them. */
static void add_number(struct writing *writing, struct bytes_view text) {
    if (memchr(text.data, '.', text.length) != NULL && memchr(text.data, 'e', text.length) == NULL) {
        while (text.data[text.length - 1] == '0') text.length--;
        if (text.data[text.length - 1] == '.') text.length--;
    }
    add(writing, text);
}

static void add_value(struct writing *writing, const struct json_value *value);

/** "tokens_per_day 5, concurrent_streams 2", or "a, b". */
static void add_items(struct writing *writing, const struct json_value *value) {
    if (value->count == 0) add_string(writing, value->kind == JSON_KIND_ARRAY ? "any" : "none");
    for (const struct json_value *item = value->first; item != NULL; item = item->next) {
        if (item != value->first) add_string(writing, ", ");
        if (value->kind == JSON_KIND_OBJECT) {
            add(writing, item->name);
            add_string(writing, " ");
        }
        bool nested = item->kind == JSON_KIND_OBJECT;
        if (nested) add_string(writing, "(");
        add_value(writing, item);
        if (nested) add_string(writing, ")");
    }
}

static void add_value(struct writing *writing, const struct json_value *value) {
    switch (value->kind) {
    case JSON_KIND_STRING:
        add(writing, value->string);
        break;
    case JSON_KIND_BOOLEAN:
        add_string(writing, value->boolean ? "yes" : "no");
        break;
    case JSON_KIND_NULL:
        add_string(writing, "none");
        break;
    case JSON_KIND_NUMBER:
        add_number(writing, value->text);
        break;
    default:
        add_items(writing, value);
        break;
    }
}

static void add_member_value(struct writing *writing, struct bytes_view name, const struct json_value *value) {
    if (ends_with(name, "_at"))
        add_time(writing, value);
    else if (bytes_view_equal_string(name, "workspace") && value->kind == JSON_KIND_STRING)
        add_id(writing, value->string);
    else
        add_value(writing, value);
}

/** What says nothing: what a new key has none of. */
static bool is_nothing(const struct json_value *value) {
    return value->kind == JSON_KIND_NULL ||
           ((value->kind == JSON_KIND_OBJECT || value->kind == JSON_KIND_ARRAY) && value->count == 0);
}

static void add_member(struct writing *writing, const struct json_value *member) {
    const struct json_value *before = json_member(member, "before"), *after = json_member(member, "after");
    bool changed = before != NULL && after != NULL && member->count == 2;
    if (!changed && is_nothing(member)) return;
    if (writing->out.length > 0) add_string(writing, "; ");
    struct bytes_view shown = member->name;
    if (ends_with(shown, "_at")) shown.length -= strlen("_at");
    add(writing, shown);
    add_string(writing, ": ");
    if (changed) {
        add_member_value(writing, member->name, before);
        add_string(writing, " \u2192 ");
    }
    add_member_value(writing, member->name, changed ? after : member);
}

const char *audit_detail_text(struct arena *arena, const char *detail, audit_name_fn *name, const void *context) {
    struct writing writing = {.name = name, .context = context};
    struct json_problem problem;
    struct json_value *value = NULL;
    enum status status = json_read(bytes_view_string(detail), LIMIT_JSON_DEPTH, VALUES_MAX, arena, &value, &problem);
    if (status != STATUS_OK || value->kind != JSON_KIND_OBJECT) return detail;
    bytes_init(&writing.out, TEXT_BYTES_MAX);
    for (const struct json_value *member = value->first; member != NULL; member = member->next)
        add_member(&writing, member);
    const char *text = writing.out.failed ? NULL : arena_copy(arena, writing.out.data, writing.out.length);
    if (writing.out.length == 0) text = "";
    bytes_deinit(&writing.out);
    return text != NULL ? text : detail;
}
