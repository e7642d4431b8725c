/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/grammar/json_spelling.h"

#include "base/json.h"
#include "base/text.h"

static void append_unit(struct bytes *out, uint32_t unit) {
    (void)bytes_printf(out, "\\u%04x", (unsigned)unit);
}

enum status json_spelling_append(const struct json_spelling *spelling, struct bytes *out, struct bytes_view text) {
    if (spelling->unspelled == CODE_POINTS_COUNT) return json_append_string(out, text);
    struct bytes plain;
    bytes_init(&plain, SIZE_MAX / 2);
    enum status status = json_append_string(&plain, text);
    for (size_t i = 0; i < plain.length;) {
        uint32_t code_point;
        bool valid;
        size_t used = text_decode(plain.data + i, plain.length - i, &code_point, &valid);
        if (code_point < spelling->unspelled || code_point < 0x7f) {
            (void)bytes_append(out, plain.data + i, used);
        } else if (code_point < 0x10000) {
            append_unit(out, code_point);
        } else {
            append_unit(out, 0xd800 + ((code_point - 0x10000) >> 10));
            append_unit(out, 0xdc00 + ((code_point - 0x10000) & 0x3ff));
        }
        i += used;
    }
    bytes_deinit(&plain);
    return status != STATUS_OK ? status : out->failed ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}
