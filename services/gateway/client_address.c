/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "services/gateway/client_address.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { ADDRESS_TEXT_BYTES = INET6_ADDRSTRLEN + 8, IPV4_BITS_BEFORE = 96 };

/** "a.b.c.d" or an IPv6 address, also in brackets; `out_ipv4` says which. */
static bool parse_address(const char *text, uint8_t out[16], bool *out_ipv4) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    *out_ipv4 = inet_pton(AF_INET, text, out + sizeof mapped) == 1;
    if (*out_ipv4) memcpy(out, mapped, sizeof mapped);
    return *out_ipv4 || inet_pton(AF_INET6, text, out) == 1;
}

static void format_address(const uint8_t address[16], char out[CLIENT_ADDRESS_BYTES]) {
    struct in6_addr six;
    memcpy(&six, address, sizeof six);
    if (IN6_IS_ADDR_V4MAPPED(&six))
        (void)inet_ntop(AF_INET, address + 12, out, CLIENT_ADDRESS_BYTES);
    else
        (void)inet_ntop(AF_INET6, address, out, CLIENT_ADDRESS_BYTES);
}

static void clear_beyond(uint8_t address[16], int bits) {
    for (int bit = bits; bit < 128; bit++) address[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static bool is_trusted(const struct trusted_proxies *proxies, const uint8_t address[16]) {
    for (int i = 0; i < proxies->count; i++) {
        uint8_t network[16];
        memcpy(network, address, sizeof network);
        clear_beyond(network, proxies->networks[i].bits);
        if (memcmp(network, proxies->networks[i].address, sizeof network) == 0) return true;
    }
    return false;
}

/** A network's text without blanks: "10.0.0.0/8". */
static bool add_network(struct trusted_proxies *proxies, char *text) {
    char *slash = strchr(text, '/');
    bool ipv4;
    int64_t bits = 0;
    if (slash != NULL) *slash = 0;
    uint8_t *address = proxies->networks[proxies->count].address;
    if (!parse_address(text, address, &ipv4)) return false;
    int64_t most = ipv4 ? 32 : 128;
    if (slash == NULL)
        bits = most;
    else if (!text_to_i64(slash + 1, &bits) || bits < 0 || bits > most)
        return false;
    proxies->networks[proxies->count].bits = (int)bits + (ipv4 ? IPV4_BITS_BEFORE : 0);
    clear_beyond(address, proxies->networks[proxies->count].bits);
    proxies->count++;
    return true;
}

/** The piece up to `end` without the blanks around it. False when it is none or too long to be an address. */
static bool copy_piece(const char *start, const char *end, char out[ADDRESS_TEXT_BYTES]) {
    while (start < end && (*start == ' ' || *start == '\t')) start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t')) end--;
    size_t length = (size_t)(end - start);
    if (length == 0 || length >= ADDRESS_TEXT_BYTES) return false;
    memcpy(out, start, length);
    out[length] = 0;
    return true;
}

enum status trusted_proxies_parse(const char *text, struct trusted_proxies *out, struct error *err) {
    *out = (struct trusted_proxies){0};
    for (const char *start = text; start != NULL && *start != 0;) {
        const char *end = start + strcspn(start, ",");
        char piece[ADDRESS_TEXT_BYTES];
        if (out->count == TRUSTED_PROXIES_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "trusted-proxies: more than %d networks",
                             TRUSTED_PROXIES_MAX);
        if (!copy_piece(start, end, piece) || !add_network(out, piece))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "trusted-proxies: '%.*s' is no network: 10.0.0.0/8, fd00::/8, 192.168.1.7",
                             (int)(end - start < 64 ? end - start : 64), start);
        start = *end != 0 ? end + 1 : end;
    }
    return STATUS_OK;
}

/** One element of X-Forwarded-For: an address, which some proxies give a port: "1.2.3.4:567", "[::1]:567". */
static bool parse_forwarded(char *text, uint8_t out[16]) {
    bool ipv4;
    char *closing = strchr(text, ']'), *colon = strchr(text, ':');
    if (text[0] == '[' && closing != NULL) {
        *closing = 0;
        text++;
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        *colon = 0;
    }
    return parse_address(text, out, &ipv4);
}

void client_address(const struct trusted_proxies *proxies, const char *peer, const char *forwarded,
                    char out[CLIENT_ADDRESS_BYTES]) {
    uint8_t address[16];
    bool ipv4;
    if (!parse_address(peer, address, &ipv4)) {
        snprintf(out, CLIENT_ADDRESS_BYTES, "%s", peer);
        return;
    }
    const char *end = forwarded != NULL ? forwarded + strlen(forwarded) : NULL;
    /* Each proxy adds behind whom it heard: from the end on, as long as who says so is ours. */
    while (end != NULL && is_trusted(proxies, address)) {
        const char *start = end;
        char piece[ADDRESS_TEXT_BYTES];
        uint8_t before[16];
        while (start > forwarded && start[-1] != ',') start--;
        if (!copy_piece(start, end, piece) || !parse_forwarded(piece, before)) break;
        memcpy(address, before, sizeof address);
        end = start > forwarded ? start - 1 : NULL;
    }
    format_address(address, out);
}
