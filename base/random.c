/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

enum status random_secret(void *out, size_t length, struct error *err) {
    uint8_t *at = out;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(err, STATUS_UNAVAILABLE, errno, "the kernel gives no random bytes");
        at += got;
        length -= (size_t)got;
    }
    return STATUS_OK;
}

void random_hex_id(char *out, size_t digits) {
    uint8_t data[32];
    struct error err = {0};
    if (random_secret(data, sizeof data, &err) != STATUS_OK) {
        uint64_t seed = (uint64_t)clock_unix_ns(clock_system()) ^ (uint64_t)getpid() << 32;
        for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)random_philox(seed, i, 0);
    }
    char hex[2 * sizeof data + 1];
    bytes_to_hex(data, sizeof data, hex);
    for (size_t i = 0; i < digits; i++) out[i] = hex[i % (sizeof hex - 1)];
    out[digits] = 0;
}

uint64_t random_philox(uint64_t seed, uint64_t position, uint32_t lane) {
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), lane, 0};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * counter[0], b = UINT64_C(0xCD9E8D57) * counter[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ counter[1] ^ key[0], (uint32_t)b, (uint32_t)(a >> 32) ^ counter[3] ^ key[1], (uint32_t)a};
        for (int i = 0; i < 4; i++) counter[i] = next[i];
        key[0] += UINT32_C(0x9E3779B9);
        key[1] += UINT32_C(0xBB67AE85);
    }
    return (uint64_t)counter[1] << 32 | counter[0];
}

double random_uniform(uint64_t seed, uint64_t position, uint32_t lane) { return (double)(random_philox(seed, position, lane) >> 11) * 0x1p-53; }
