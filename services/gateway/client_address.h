/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * Whose address a request came from, for the audit trail: its peer's, unless that is one of our own proxies; then the last address in
 * X-Forwarded-For that is none of theirs. What stands before it the client may have made up.
 */
#ifndef SERVICES_GATEWAY_CLIENT_ADDRESS_H
#define SERVICES_GATEWAY_CLIENT_ADDRESS_H

#include "base/status.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { TRUSTED_PROXIES_MAX = 64, CLIENT_ADDRESS_BYTES = INET6_ADDRSTRLEN };

struct trusted_proxies {
    int count;
    struct {
        uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d; the bits beyond `bits` are zero */
        int bits;
    } networks[TRUSTED_PROXIES_MAX];
};

/** "10.0.0.0/8,::1,192.168.1.7"; NULL and "" trust nobody. STATUS_INVALID_ARGUMENT names what is no network. */
enum status trusted_proxies_parse(const char *text, struct trusted_proxies *out, struct error *err);

/** `peer`: as rpc/http_server.h gives it. `forwarded`: the values of all X-Forwarded-For headers in the order of arrival, joined by commas; may be NULL. */
void client_address(const struct trusted_proxies *proxies, const char *peer, const char *forwarded,
                    char out[CLIENT_ADDRESS_BYTES]);

#endif
