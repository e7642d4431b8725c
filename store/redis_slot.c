/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* Which slot of a cluster a command goes to: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ ("Key distribution model"). */
#include "store/redis_internal.h"

#include <string.h>
#include <strings.h>

/** CRC-16/XMODEM. */
static uint16_t crc16(struct bytes_view bytes) {
    const uint16_t polynomial = 0x1021;
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.length; i++) {
        crc = (uint16_t)(crc ^ (bytes.data[i] << 8));
        for (int bit = 0; bit < 8; bit++) crc = (uint16_t)((crc & 0x8000) != 0 ? (crc << 1) ^ polynomial : crc << 1);
    }
    return crc;
}

struct bytes_view redis_slot_tag(struct bytes_view key) {
    const uint8_t *end = key.data + key.length;
    const uint8_t *open = key.length > 0 ? memchr(key.data, '{', key.length) : NULL;
    if (open == NULL) return key;
    open++;
    const uint8_t *close = open < end ? memchr(open, '}', (size_t)(end - open)) : NULL;
    return close == NULL || close == open ? key : bytes_view_of(open, (size_t)(close - open));
}

int redis_slot_of(struct bytes_view key) {
    return crc16(redis_slot_tag(key)) % REDIS_SLOTS;
}

/** The words of a command on the wire, which we have written ourselves: "$3\r\nGET\r\n" each, behind "*2\r\n". */
static bool next_word(const char **at, const char *end, struct bytes_view *out) {
    if (*at >= end || **at != '$') return false;
    const char *line_end = memchr(*at, '\n', (size_t)(end - *at));
    size_t length = 0;
    if (line_end == NULL) return false;
    for (const char *digit = *at + 1; *digit >= '0' && *digit <= '9'; digit++)
        length = 10 * length + (size_t)(*digit - '0');
    if ((size_t)(end - line_end) < length + 3) return false;
    *out = bytes_view_of(line_end + 1, length);
    *at = line_end + 1 + length + 2;
    return true;
}

static bool is_one_of(struct bytes_view word, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strlen(*names) == word.length && strncasecmp(*names, (const char *)word.data, word.length) == 0)
            return true;
    }
    return false;
}

bool redis_slot_key(const char *wire, size_t length, struct bytes_view *out) {
    static const char *const keyless[] = {"PING", "INFO",  "TIME",     "CONFIG", "CLUSTER", "FUNCTION", "SCRIPT",
                                          "SCAN", "KEYS",  "DBSIZE",   "WAIT",   "CLIENT",  "COMMAND",  "ASKING",
                                          "ACL",  "DEBUG", "FLUSHALL", "SAVE",   NULL};
    static const char *const counted[] = {"EVAL", "EVALSHA", "FCALL", "EVAL_RO", "EVALSHA_RO", "FCALL_RO", NULL};
    static const char *const with_subcommands[] = {"XINFO", "XGROUP", "OBJECT", "MEMORY", NULL};
    const char *end = wire + length, *at = memchr(wire, '\n', length);
    struct bytes_view verb, count;
    if (at == NULL) return false;
    at++;
    if (!next_word(&at, end, &verb) || is_one_of(verb, keyless)) return false;
    if (is_one_of(verb, with_subcommands) && !next_word(&at, end, out)) return false;
    if (is_one_of(verb, counted) &&
        (!next_word(&at, end, out) || !next_word(&at, end, &count) || bytes_view_equal_string(count, "0")))
        return false;
    return next_word(&at, end, out);
}
