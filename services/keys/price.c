/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/keys/price.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void price_write(const struct price *price, char out[PRICE_TEXT_BYTES]) {
    int written = snprintf(out, PRICE_TEXT_BYTES, "%" PRId64 " %" PRId64, price->input, price->output);
    if (price->cached_input != PRICE_ABSENT)
        snprintf(out + written, (size_t)(PRICE_TEXT_BYTES - written), " %" PRId64, price->cached_input);
}

bool price_read(struct bytes_view text, struct price *out) {
    char copy[PRICE_TEXT_BYTES];
    int64_t numbers[3] = {0, 0, PRICE_ABSENT};
    int count = 0;
    if (text.length >= sizeof copy) return false;
    memcpy(copy, text.data, text.length);
    copy[text.length] = 0;
    for (char *rest = copy, *word; (word = strsep(&rest, " ")) != NULL; count++) {
        if (count == 3 || !text_to_i64(word, &numbers[count]) || numbers[count] < 0) return false;
    }
    *out = (struct price){numbers[0], numbers[1], numbers[2]};
    return count >= 2;
}
