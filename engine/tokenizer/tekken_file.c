/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/tekken_file.h"

struct bytes_view tekken_unlisted_special(size_t rank) {
    static const char *const names[] = {"<unk>",
                                        "<s>",
                                        "</s>",
                                        "[INST]",
                                        "[/INST]",
                                        "[AVAILABLE_TOOLS]",
                                        "[/AVAILABLE_TOOLS]",
                                        "[TOOL_RESULTS]",
                                        "[/TOOL_RESULTS]",
                                        "[TOOL_CALLS]",
                                        "[IMG]",
                                        "<pad>",
                                        "[IMG_BREAK]",
                                        "[IMG_END]",
                                        "[PREFIX]",
                                        "[MIDDLE]",
                                        "[SUFFIX]",
                                        "[SYSTEM_PROMPT]",
                                        "[/SYSTEM_PROMPT]",
                                        "[TOOL_CONTENT]"};
    return rank < sizeof names / sizeof names[0] ? bytes_view_string(names[rank]) : (struct bytes_view){0};
}

static int base64_digit(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool tekken_decode(struct bytes_view text, uint8_t *out, size_t *out_length) {
    size_t length = 0;
    if (text.length == 0 || text.length % 4 != 0 || text.length / 4 * 3 > TEKKEN_TOKEN_BYTES_MAX) return false;
    for (size_t at = 0; at < text.length; at += 4) {
        int digits[4], pad = 0;
        for (int i = 0; i < 4; i++) {
            bool may_pad = at + 4 == text.length && i >= 2 && text.data[at + (size_t)i] == '=';
            digits[i] = may_pad ? 0 : base64_digit(text.data[at + (size_t)i]);
            if (digits[i] < 0 || (pad > 0 && !may_pad)) return false;
            pad += may_pad;
        }
        uint32_t bits = (uint32_t)(digits[0] << 18 | digits[1] << 12 | digits[2] << 6 | digits[3]);
        for (int i = 0; i < 3 - pad; i++) out[length++] = (uint8_t)(bits >> (16 - 8 * i));
    }
    *out_length = length;
    return true;
}
