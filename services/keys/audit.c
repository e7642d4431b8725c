/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/audit.h"

#include "base/json.h"

#include <inttypes.h>
#include <string.h>

void audit_words(const char *kept, const struct audit_origin *origin, const struct audit_entry *entry,
                 struct bytes_view out[AUDIT_WORDS]) {
    const char *const words[AUDIT_WORDS] = {
        kept,          origin->actor,      entry->action,  entry->target, entry->target_name,
        entry->detail, origin->request_id, origin->address};
    for (int i = 0; i < AUDIT_WORDS; i++) out[i] = bytes_view_string(words[i]);
}

/* --- the detail --------------------------------------------------------------------------------------------------- */

void audit_detail_begin(struct audit_detail *detail, struct arena *arena) {
    *detail = (struct audit_detail){.arena = arena, .members = "", .names = ""};
}

void audit_detail_add(struct audit_detail *detail, const char *name, const char *before, const char *after) {
    detail->failed = detail->failed || before == NULL || after == NULL;
    if (detail->failed || strcmp(before, after) == 0) return;
    const char *comma = detail->names[0] != 0 ? "," : "";
    const char *member =
        before[0] != 0 ? arena_printf(detail->arena, "{\"before\":%s,\"after\":%s}", before, after) : after;
    const char *members =
        member != NULL ? arena_printf(detail->arena, "%s%s\"%s\":%s", detail->members, comma, name, member) : NULL;
    const char *names = arena_printf(detail->arena, "%s%s\"%s\"", detail->names, comma, name);
    detail->failed = members == NULL || names == NULL;
    if (!detail->failed) detail->members = members, detail->names = names;
}

const char *audit_detail_end(struct audit_detail *detail) {
    if (detail->failed) return NULL;
    if (strlen(detail->members) + 2 > LIMIT_AUDIT_DETAIL_BYTES)
        return arena_printf(detail->arena, "{\"changed\":[%s],\"too_long\":true}", detail->names);
    return arena_printf(detail->arena, "{%s}", detail->members);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

const char *audit_json_text(struct arena *arena, const char *text) {
    struct bytes quoted;
    bytes_init(&quoted, LIMIT_AUDIT_DETAIL_BYTES);
    const char *copy = NULL;
    if (json_append_string(&quoted, bytes_view_string(text)) == STATUS_OK)
        copy = arena_copy(arena, quoted.data, quoted.length);
    bytes_deinit(&quoted);
    return copy;
}

const char *audit_json_flag(bool flag) {
    return flag ? "true" : "false";
}

const char *audit_json_number(struct arena *arena, int64_t number) {
    return arena_printf(arena, "%" PRId64, number);
}

/** Money in units of the currency, all its nanos as digits. */
static const char *json_of_bound(struct arena *arena, int kind, int64_t bound) {
    if (kind != LIMITS_SPEND_PER_MONTH) return audit_json_number(arena, bound);
    const int64_t nanos = 1000000000;
    return arena_printf(arena, "%" PRId64 ".%09" PRId64, bound / nanos, bound % nanos);
}

const char *audit_json_bounds(struct arena *arena, const struct limits_bounds *bounds) {
    const char *members = "";
    for (int kind = 0; kind < LIMITS_KINDS && members != NULL; kind++) {
        if (bounds->of[kind] == LIMITS_ABSENT) continue;
        const char *number = json_of_bound(arena, kind, bounds->of[kind]);
        if (number == NULL) return NULL;
        members = arena_printf(arena, "%s%s\"%s\":%s", members, members[0] != 0 ? "," : "", limit_names[kind], number);
    }
    return members != NULL ? arena_printf(arena, "{%s}", members) : NULL;
}

const char *audit_json_models(struct arena *arena, const struct limit_set *limits) {
    const char *members = "";
    for (size_t i = 0; i < limits->model_count && members != NULL; i++) {
        const char *name = audit_json_text(arena, limits->models[i].model),
                   *bounds = audit_json_bounds(arena, &limits->models[i].bounds);
        if (name == NULL || bounds == NULL) return NULL;
        members = arena_printf(arena, "%s%s%s:%s", members, i > 0 ? "," : "", name, bounds);
    }
    return members != NULL ? arena_printf(arena, "{%s}", members) : NULL;
}

const char *audit_json_names(struct arena *arena, const struct name_list *names) {
    const char *elements = "";
    for (size_t i = 0; i < names->count && elements != NULL; i++) {
        const char *name = audit_json_text(arena, names->names[i]);
        if (name == NULL) return NULL;
        elements = arena_printf(arena, "%s%s%s", elements, i > 0 ? "," : "", name);
    }
    return elements != NULL ? arena_printf(arena, "[%s]", elements) : NULL;
}
