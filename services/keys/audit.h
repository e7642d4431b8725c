/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** Entries of the audit trail, bora:audit:{<org>}: written by the scripts that make the changes, of words made here. */
#ifndef SERVICES_KEYS_AUDIT_H
#define SERVICES_KEYS_AUDIT_H

#include "services/keys/key_record.h"

enum { AUDIT_WORDS = 8, AUDIT_ACTION_BYTES = 64 };

/** Who did it, in which request, from where. */
struct audit_origin {
    const char *actor, *request_id, *address;
};
/** Strings are lent. */
struct audit_entry {
    const char *action; /* "key.create" */
    const char *target, *target_name;
    const char *detail; /* a JSON object, never a secret */
};
/**
 * What a script makes an entry of, as so many of its arguments:
 *     redis.call('XADD', <bora:audit:{org}>, 'MAXLEN', '~', a1, '*', 'actor', a2, 'action', a3, 'target', a4, 'name', a5, 'detail', a6, 'request', a7, 'address', a8)
 * `kept`: how many entries an organisation keeps, as text.
 */
void audit_words(const char *kept, const struct audit_origin *origin, const struct audit_entry *entry,
                 struct bytes_view out[AUDIT_WORDS]);

/** The detail of an entry: {"name": {"before": "a", "after": "b"}, ...}, what is equal left out; what would not fit is only named. */
struct audit_detail {
    struct arena *arena;
    const char *members; /* JSON members so far */
    const char *names;   /* JSON strings: whose they are */
    bool failed;         /* the arena is exhausted */
};
void audit_detail_begin(struct audit_detail *detail, struct arena *arena);
#define AUDIT_NONE "" /* before something was made */
/** One JSON value before and after; NULL: the arena was exhausted. */
void audit_detail_add(struct audit_detail *detail, const char *name, const char *before, const char *after);
/** In the arena; "{}" when nothing was added. */
const char *audit_detail_end(struct audit_detail *detail);

/* JSON values in the arena; NULL when it is exhausted. */
const char *audit_json_text(struct arena *arena, const char *text);
const char *audit_json_flag(bool flag);
const char *audit_json_number(struct arena *arena, int64_t number);
const char *audit_json_bounds(struct arena *arena, const struct limits_bounds *bounds);
/** {"small": {"tokens_per_minute": 5}} */
const char *audit_json_models(struct arena *arena, const struct limit_set *limits);
const char *audit_json_names(struct arena *arena, const struct name_list *names);

#endif
