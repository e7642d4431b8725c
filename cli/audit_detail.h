/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** What an entry of the audit trail says was changed, for people. */
#ifndef CLI_AUDIT_DETAIL_H
#define CLI_AUDIT_DETAIL_H

#include "base/arena.h"

/** What a workspace of this id is called; NULL where that is not known. */
typedef const char *audit_name_fn(const void *context, const char *id);

/**
 * {"limits": {"before": {"tokens_per_day": 5}, "after": {}}, "expires_at": 1798761599} ->
 * "limits: tokens_per_day 5 → none; expires 2026-12-31 23:59". Text that is no such object stays as it is. In the arena; `detail` itself when that is exhausted.
 */
const char *audit_detail_text(struct arena *arena, const char *detail, audit_name_fn *name, const void *context);

#endif
