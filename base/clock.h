/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Clock. Code that waits or measures takes a `const struct clock *`, so that tests and simulations can hand in their own time.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*monotonic_ns)(void *context); /* never goes back; unrelated to the date */
    int64_t (*unix_ns)(void *context);      /* since 1970-01-01T00:00:00Z */
    void *context;
};

/** The machine's clock. */
const struct clock *clock_system(void);
static inline int64_t clock_monotonic_ns(const struct clock *clock) {
    return clock->monotonic_ns(clock->context);
}
static inline int64_t clock_unix_ns(const struct clock *clock) {
    return clock->unix_ns(clock->context);
}

/** A clock that moves only when told to; both readings share `now_ns`. */
struct clock_fake {
    struct clock clock;
    int64_t now_ns;
};
void clock_fake_init(struct clock_fake *fake, int64_t now_ns);

enum { NS_PER_MS = 1000000, NS_PER_US = 1000 };
#define NS_PER_S INT64_C(1000000000)

/** "2026-11-23T12:09:01.123456Z"; `out` holds at least 32 bytes. */
void clock_format_rfc3339(int64_t unix_ns, char *out);

#endif
