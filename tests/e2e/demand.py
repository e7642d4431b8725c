# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Clients that always want more than their keys' limits let through, for accuracy.py. One thread, raw HTTP over keep-alive connections.

A key has a few clients and one door: whoever of them is at the front asks, is denied, waits as long as it was told, and asks again, until it passes; then
the next comes. So a key's demand never ends, while each denial costs the house one question and not one for each client.
"""
import asyncio
import contextlib
import json
import random
import time

PROMPT_LETTERS = 12
OUTPUT_MAX = 16  # max_tokens of those that give it
END_BIAS = 2.6  # makes one token of twenty the last one: the model says noise, all tokens alike
END_TOKEN, OTHER_CONTROLS = 258, (256, 257)
STREAMED, LEAVING, BOUNDED = 0.5, 0.2, 0.7  # shares of requests
AT_THE_DOOR_S = 0.1  # a denial comes earlier than that; who has heard nothing yet is let in, or will have to queue again
TOLD_MAX_S = 1.0  # tokens may be given back before the time that a denial says
AWAY_S = 0.25  # between two tries where nobody answers, or 503
POLL_MINUTE_S, POLL_SECOND_S = 0.15, 0.01  # behind the time that whole seconds of Retry-After leave open
POLL_STREAMS_S = 0.005  # nobody can say when an answer that runs will end
STREAMING_TOKENS = 1000, 2000  # of an answer where only those that run are limited: far longer than the way of the next
ANSWER_S = 90


class Wish:
    """A request that a client wants answered, and what became of it: `status` 0 where the connection broke, None where nobody knows."""

    def __init__(self, rng, is_long=False):
        self.stream, self.leaves, bounded = rng.random() < STREAMED, rng.random() < LEAVING, rng.random() < BOUNDED
        self.max_tokens = rng.randrange(1, OUTPUT_MAX + 1) if bounded else None
        self.is_long = is_long
        if is_long:  # and not streamed: to read thousands of events takes a client longer than to make them
            self.stream, self.max_tokens = False, rng.randrange(*STREAMING_TOKENS)
        self.letters = rng.randrange(1, PROMPT_LETTERS + 1)
        self.patience_s = rng.random() * (0.005 if self.stream else 0.02)  # of one that leaves: so long after the head of its answer; after it has asked
        self.status = self.id = self.usage = self.denied_by = None
        self.denials = []  # (sent, answered)
        self.since = self.sent = self.over = time.time()  # since when it is wanted; when it was sent the last time; answered, or given up

    def body(self):
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "w" * self.letters}], "stream": self.stream, "temperature": 1,
                 "logit_bias": {str(END_TOKEN): -100 if self.is_long else END_BIAS, **{str(token): -100 for token in OTHER_CONTROLS}}}
        if self.max_tokens is not None:
            asked["max_tokens"] = self.max_tokens
        return json.dumps(asked).encode()


class Gateways:
    """Idle connections by port. A port that refuses is not asked again."""

    def __init__(self, ports):
        self.idle = {port: [] for port in ports}

    async def take(self, rng):
        while True:
            port = rng.choice(list(self.idle))
            if self.idle[port]:
                return port, *self.idle[port].pop()
            try:
                return port, *await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                if len(self.idle) == 1:
                    raise
                self.idle.pop(port, None)

    def broken(self, port):
        for _, writer in self.idle.get(port, []):
            writer.close()
        if port in self.idle:
            self.idle[port] = []

    def give_back(self, port, reader, writer):
        if port in self.idle and not writer.is_closing():
            self.idle[port].append((reader, writer))
        else:
            writer.close()

    def close(self):
        for reader, writer in (c for idle in self.idle.values() for c in idle):
            writer.close()


async def read_head(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    return int(head[0].split()[1]), {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}


async def read_body(reader, headers):
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


def take_answer(wish, body):
    """Its usage; an answer that says that it failed is none."""
    last = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")][-1] if wish.stream else body
    said = json.loads(last)
    wish.usage = said.get("usage")
    if said["choices"][0].get("finish_reason") == "error":
        wish.status, wish.usage = 0, None


async def follow(key, wish, connection, gateways, head):
    """From the head of an answer to its end, or until the client leaves."""
    port, reader, writer = connection
    try:
        if wish.leaves and not wish.stream:
            with contextlib.suppress(asyncio.TimeoutError):
                wish.status, headers = await asyncio.wait_for(asyncio.shield(head), wish.patience_s)
            if wish.status in (None, 200):
                wish.status = None
                return None
        else:
            wish.status, headers = await asyncio.wait_for(head, ANSWER_S)
        wish.id = headers.get("x-request-id")
        wish.denied_by = headers.get("x-ratelimit-denied-by")
        if wish.leaves and wish.status == 200:
            await asyncio.sleep(wish.patience_s)
            return None
        body = await asyncio.wait_for(read_body(reader, headers), ANSWER_S)
        gateways.give_back(*connection)
        connection = None
        if wish.status == 200:
            take_answer(wish, body)
        return headers
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError, IndexError):
        wish.status = 0
        return None
    finally:
        wish.over = time.time()
        at_worker = wish.status == 429 and wish.denied_by is None  # it had passed the limits, and the worker's queue was full
        key.answers["full" if at_worker else wish.status] += 1
        if wish.status == 429 and not at_worker:
            wish.denials.append((wish.sent, wish.over))
        elif wish.status == 503:
            key.away.append(wish.over)
        if connection is not None:
            head.cancel()
            writer.close()


def pause(key, headers):
    """How long a denied one waits: what it was told, to the millisecond where it was told that, else ever again in the second that is open."""
    if key.kind == "concurrent_streams":
        return POLL_STREAMS_S
    exact = headers.get("retry-after-ms")
    told = int(exact) / 1000 if exact else int(headers["retry-after"]) - 1
    poll = POLL_SECOND_S if key.kind == "requests_per_second" else POLL_MINUTE_S
    rest = 0 if exact else poll
    return min(told + rest, TOLD_MAX_S) if key.counts_tokens else told + rest


async def try_once(key, wish, gateways, rng):
    """(what goes on with it, seconds to wait before it is asked again or None): the door may be left when this returns."""
    wish.status, wish.sent = None, time.time()
    try:
        connection = await gateways.take(rng)
    except OSError:
        wish.status = 0
        return None, AWAY_S
    data = wish.body()
    connection[2].write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: bora\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n" % (key.text.encode(), len(data)) + data)
    head = asyncio.ensure_future(read_head(connection[1]))
    going = asyncio.ensure_future(follow(key, wish, connection, gateways, head))
    await asyncio.wait({head, going}, timeout=AT_THE_DOOR_S)
    if not head.done() or head.cancelled():
        return going, None
    if head.exception() is not None:  # the gateway has gone
        await going
        gateways.broken(connection[0])
        return None, 0
    if head.result()[0] not in (429, 503):
        return going, None
    headers = await going
    return None, (pause(key, headers) if wish.status == 429 and headers else AWAY_S)


async def ask(key, wish, gateways, rng, until_s):
    """Until it has passed, or the time is over."""
    while True:
        async with key.door:
            wait_s = key.seconds_to_wait()
            going = None
            while going is None and time.time() + wait_s < until_s:
                await asyncio.sleep(wait_s)
                going, wait_s = await try_once(key, wish, gateways, rng)
                wait_s = max(wait_s or 0, key.seconds_to_wait())
            if going is None:
                wish.sent = until_s
                return
            key.passed(wish.sent)
        await going
        if wish.status not in (429, 503):
            return


async def client(key, gateways, began_s, until_s, seed):
    rng = random.Random(seed)
    await asyncio.sleep(max(0, began_s + key.starts_after_s - time.time()))
    while time.time() < until_s:
        wish = Wish(rng, key.kind == "concurrent_streams")
        key.wishes.append(wish)
        await ask(key, wish, gateways, rng, until_s)
        if wish.sent >= until_s:
            return
        if time.time() < began_s + key.paced_until_s:
            await asyncio.sleep(key.pace_s)


async def want(keys, ports, began_s, until_s, clients, events):
    """`clients` of each key, from began_s to until_s; `events`: (seconds after the beginning, what to do then)."""
    gateways = Gateways(ports)
    tasks = [asyncio.create_task(client(key, gateways, began_s, until_s, 1000 * number + index)) for number, key in enumerate(keys) for index in range(clients)]
    for after_s, event in events:
        await asyncio.sleep(max(0, began_s + after_s - time.time()))
        await asyncio.to_thread(event)
    await asyncio.gather(*tasks)
    gateways.close()
