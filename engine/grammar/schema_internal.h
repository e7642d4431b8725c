/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Shared by schema.c (nodes, problems), schema_read.c (keywords) and schema_reference.c (addresses). */
#ifndef ENGINE_GRAMMAR_SCHEMA_INTERNAL_H
#define ENGINE_GRAMMAR_SCHEMA_INTERNAL_H

#include "engine/grammar/schema.h"

/** Depth of nested subschemas, whatever leads there. */
enum { SCHEMA_DEPTH_MAX = 400 };

/** A subschema in the making: where it stands. */
struct schema_place {
    const struct json_value *value;
    struct bytes_view base; /* the address that references in it are relative to */
    uint32_t origin;
    int depth;
};

uint32_t schema_origin_add(struct schema *schema, uint32_t above, struct bytes_view keyword);

/** One subschema as a formula. */
enum status schema_read(struct schema *schema, struct schema_place place, formula *out);

/** Formulas that say the same become one (schema_merge.c). False: the budget is exhausted. */
bool schema_merge(struct schema *schema);

/** unevaluatedProperties, or with `items` unevaluatedItems, of the schema at `place`: what is not evaluated satisfies `others`. */
enum status schema_unevaluated(struct schema *schema, struct schema_place place, uint32_t origin, bool items,
                               formula others, formula *out);

/* ---- references ---- */

enum status registry_create(struct schema *schema, const struct json_value *root,
                            const struct schema_document *documents, size_t count);
void registry_destroy(struct schema_registry *registry);
/** The address of `value` itself if it has an "$id", resolved against `base`; else `base`. */
struct bytes_view registry_base(struct schema *schema, const struct json_value *value, struct bytes_view base);
/** The subschema that `reference` names from a place with `base`; value NULL: there is none. */
struct schema_place registry_find(struct schema *schema, struct bytes_view reference, struct bytes_view base);
/** "$ref" hides its siblings: the document says that it is draft 7 or older. */
bool registry_hides_siblings(const struct schema *schema, struct bytes_view base);

#endif
