/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int64_t system_monotonic(void *context) {
    return (void)context, read_clock(CLOCK_MONOTONIC);
}
static int64_t system_unix(void *context) {
    return (void)context, read_clock(CLOCK_REALTIME);
}

const struct clock *clock_system(void) {
    static const struct clock system_clock = {.monotonic_ns = system_monotonic, .unix_ns = system_unix};
    return &system_clock;
}

static int64_t fake_now(void *context) {
    return ((struct clock_fake *)context)->now_ns;
}

void clock_fake_init(struct clock_fake *fake, int64_t now_ns) {
    fake->now_ns = now_ns;
    fake->clock = (struct clock){.monotonic_ns = fake_now, .unix_ns = fake_now, .context = fake};
}

void clock_format_rfc3339(int64_t unix_ns, char *out) {
    int64_t seconds = unix_ns / NS_PER_S, rest = unix_ns % NS_PER_S;
    if (rest < 0) {
        seconds--;
        rest += NS_PER_S;
    }
    static _Thread_local int64_t known = INT64_MIN; /* a log asks for the same second again and again */
    static _Thread_local char text[24];
    enum { SECOND_BYTES = 19, MICRO_DIGITS = 6 };
    if (known != seconds) {
        time_t time = (time_t)seconds;
        struct tm parts;
        gmtime_r(&time, &parts);
        known = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts) == SECOND_BYTES ? seconds : INT64_MIN;
    }
    memcpy(out, text, SECOND_BYTES);
    char *at = out + SECOND_BYTES;
    int64_t micros = rest / 1000;
    at[0] = '.';
    for (int i = MICRO_DIGITS; i > 0; i--, micros /= 10) at[i] = (char)('0' + micros % 10);
    memcpy(at + 1 + MICRO_DIGITS, "Z", 2);
}
