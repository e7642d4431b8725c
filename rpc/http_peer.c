/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* What the connections of one address hold together. */
#include "rpc/http_internal.h"

#include <stdlib.h>
#include <string.h>

/** An address as 16 bytes: IPv4 mapped; of IPv6 the first 64 bits, which are what one customer is given. */
static void address_key(const struct sockaddr *address, uint8_t out[16]) {
    memset(out, 0, 16);
    if (address != NULL && address->sa_family == AF_INET) {
        out[10] = out[11] = 0xFF;
        memcpy(out + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address != NULL && address->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        memcpy(out, six, IN6_IS_ADDR_V4MAPPED(six) ? 16 : 8);
    }
}

static struct http_peer **bucket_of(struct http_server *server, const uint8_t key[16]) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (int i = 0; i < 16; i++) hash = (hash ^ key[i]) * 1099511628211u;
    return &server->peers[hash % HTTP_PEER_BUCKETS];
}

static struct http_peer *find(struct http_peer *peer, const uint8_t key[16]) {
    while (peer != NULL && memcmp(peer->address, key, sizeof peer->address) != 0) peer = peer->next;
    return peer;
}

struct http_peer *http_peer_find(struct http_server *server, const struct sockaddr *address) {
    uint8_t key[16];
    address_key(address, key);
    return find(*bucket_of(server, key), key);
}

struct http_peer *http_peer_join(struct http_server *server, const struct sockaddr *address) {
    uint8_t key[16];
    address_key(address, key);
    struct http_peer **bucket = bucket_of(server, key), *peer = find(*bucket, key);
    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL) return NULL;
        memcpy(peer->address, key, sizeof key);
        peer->next = *bucket;
        *bucket = peer;
    }
    peer->connections++;
    return peer;
}

void http_peer_leave(struct http_server *server, struct http_peer *peer) {
    if (peer == NULL || --peer->connections > 0) return;
    struct http_peer **at = bucket_of(server, peer->address);
    while (*at != peer) at = &(*at)->next;
    *at = peer->next;
    free(peer);
}
