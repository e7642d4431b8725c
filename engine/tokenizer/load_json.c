/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/tokenizer_internal.h"
enum status tokenizer_load_json(struct bytes_view json, const char *file, struct tokenizer **out, struct error *err) {
    (void)json; (void)out;
    return error_set(err, STATUS_UNIMPLEMENTED, "%s: not yet", file);
}
