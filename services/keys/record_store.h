/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** One change of one record, with its entry in the audit trail and its mark that gateways must hear of it: script record_change.lua. */
#ifndef SERVICES_KEYS_RECORD_STORE_H
#define SERVICES_KEYS_RECORD_STORE_H

#include "services/keys/audit.h"
#include "services/keys/changes.h"

struct record_change {
    const char *what, *organization,
        *id_or_null; /* of the record's name (store_names.h); an organisation has no further id */
    int64_t version; /* that was read */
    const struct word_list *before,
        *after; /* field, value... as they were read and as they shall be, `version` one higher */
    const char *name_before, *name_after;   /* of a workspace that gets another one; else NULL */
    const char *workspace, *leaving_prefix; /* of a key that is no longer one of its workspace's; else NULL */
    const struct audit_entry *entry;
    const struct change *change;
};
/** ABORTED: somebody else changed it since (read it again). ALREADY_EXISTS: the name is taken. NOT_FOUND: it is gone. */
enum status record_change(struct handling *handling, const struct record_change *change, struct error *err);

/** Tries of read, change, write before it is given up: each one is lost only to somebody else's success. */
enum { RECORD_CHANGE_TRIES = 8 };

#endif
