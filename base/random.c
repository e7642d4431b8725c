/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <threads.h>
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

/** Bytes of the kernel's that each thread keeps: a request takes several ids. */
struct random_block {
    uint8_t bytes[512];
    size_t left;
    unsigned generation; /* a child must not go on where its parent does */
};

static atomic_uint generation = 1;

static void begin_child(void) {
    atomic_fetch_add(&generation, 1);
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, begin_child);
}

static void renew(struct random_block *block) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct error err = {0};
    pthread_once(&once, watch_forks);
    block->generation = atomic_load(&generation);
    if (random_secret(block->bytes, sizeof block->bytes, &err) != STATUS_OK) {
        uint64_t seed = (uint64_t)clock_unix_ns(clock_system()) ^ (uint64_t)getpid() << 32;
        for (size_t i = 0; i < sizeof block->bytes; i++) block->bytes[i] = (uint8_t)random_philox(seed, i, 0);
    }
    block->left = sizeof block->bytes;
}

static void take_bytes(uint8_t *out, size_t length) {
    static thread_local struct random_block block;
    if (block.left < length || block.generation != atomic_load(&generation)) renew(&block);
    block.left -= length;
    memcpy(out, block.bytes + block.left, length);
}

void random_hex_id(char *out, size_t digits) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < digits; i += 2) {
        uint8_t byte;
        take_bytes(&byte, 1);
        out[i] = hex[byte >> 4];
        if (i + 1 < digits) out[i + 1] = hex[byte & 15];
    }
    out[digits] = 0;
}

uint64_t random_number(void) {
    uint64_t number;
    take_bytes((uint8_t *)&number, sizeof number);
    return number;
}

void random_philox_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3], key0 = key[0], key1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * x0, b = UINT64_C(0xCD9E8D57) * x2;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ key0;
        x1 = (uint32_t)b;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ key1;
        x3 = (uint32_t)a;
        key0 += UINT32_C(0x9E3779B9); /* the golden ratio, and sqrt(3) - 1 below */
        key1 += UINT32_C(0xBB67AE85);
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

uint64_t random_philox(uint64_t seed, uint64_t position, uint32_t lane) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), lane, 0}, out[4];
    random_philox_block(counter, key, out);
    return (uint64_t)out[1] << 32 | out[0];
}

double random_uniform(uint64_t seed, uint64_t position, uint32_t lane) {
    return (double)(random_philox(seed, position, lane) >> 11) * 0x1p-53;
}
