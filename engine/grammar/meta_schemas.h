/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/** The schemas of schemas, drafts 4, 6 and 7: "$ref" may name them wherever they are not given, as schemas that hold schemas do. */
#ifndef ENGINE_GRAMMAR_META_SCHEMAS_H
#define ENGINE_GRAMMAR_META_SCHEMAS_H

#include "base/bytes.h"

/** Of an address without its fragment; empty: it is none of them. */
struct bytes_view meta_schema_text(struct bytes_view address);

#endif
