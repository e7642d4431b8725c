# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Through HTTP on loopback: our house (gateway, keys, Redis, worker) against llama-server -np 16, both with all threads.

Both sides get the same prompts and the same max_tokens at temperature 0, and both are kept from ending early: llama-server by ignore_eos, ours
by a logit_bias of -100 on the two end tokens. An answer that is not exactly max_tokens long ends the bench. Every round has prompts of
its own, so that nobody's prompt cache answers for an earlier round.
"""
import contextlib
import os
import statistics
import sys

import workloads
from report import percentile
from servers import House, PeerServer

STREAM_COUNTS, STREAM_TOKENS, PROMPT_WORDS = (1, 4, 8, 16), 128, 32
STREAM_BARS = {8: 3.0, 16: 4.0}
GAP_STREAMS, GAP_WARM_PIECES, GAP_TOKENS, LONG_WORDS, GAP_BAR = 4, 48, 1500, 2000, 3.0
PREFIX_REQUESTS, SYSTEM_WORDS, PREFIX_TOKENS, PREFIX_BAR = 64, 1000, 16, 1.1
TAIL_TOKENS = 5  # <|im_end|> \n <|im_start|> assistant \n: behind what the user says
TENANT_BAR, FLOOD_STREAMS, FLOOD_WORDS, FLOOD_TOKENS, ASK_TOKENS = 2.0, 8, 1500, 32, 4
START_BAR = 1.0


@contextlib.contextmanager
def both(options):
    """(our house, the peer's server) with the real model and all threads."""
    model, threads = workloads.REAL, os.cpu_count()
    with House(model, threads, options.variant) as ours, PeerServer(model, threads, options.peer_variant) as theirs:
        for side in (ours, theirs):
            run_streams(side, 2, 8, "warm")
        yield ours, theirs


def complete(streams, tokens):
    """Every answer is there and has its full length."""
    for stream in streams:
        answer = stream.answer()
        if answer.error or answer.tokens() != tokens:
            sys.exit(f"bench: an answer has {answer.tokens()} tokens instead of {tokens} (HTTP {answer.status}) {answer.error or ''}")


def in_turn(sides, number):
    return sides if number % 2 == 0 else sides[::-1]


# ---- streams -----------------------------------------------------------------------------------------------------------


def run_streams(side, count, tokens, *seed):
    """Tokens a second of `count` streams that begin together, from the first request to the last token."""
    client = side.client()
    streams = [client.send(side.body(workloads.text(PROMPT_WORDS, *seed, i), tokens)) for i in range(count)]
    client.wait(streams)
    complete(streams, tokens)
    return count * tokens / (max(s.answer().times[-1] for s in streams) - streams[0].began)


def bench_streams(options, report):
    """1, 4, 8, 16 concurrent streams: tokens a second of all together"""
    with both(options) as sides:
        for count in STREAM_COUNTS:
            rates = {side.name: [] for side in sides}
            for number in range(options.rounds):
                for side in in_turn(sides, number):
                    rates[side.name].append(run_streams(side, count, STREAM_TOKENS, "streams", count, number))
            label = f"{count} stream{'s' if count > 1 else ''} over HTTP, 135M Q4_1"
            ratio = report.row(label, rates["bora"], rates["llama.cpp"], "tok/s")
            report.ratio(label, ratio, STREAM_BARS.get(count))


# ---- a long prompt arrives ---------------------------------------------------------------------------------------------


def longest_gap(gaps, begin, end):
    """The longest of the gaps [(from, to)] that overlap [begin, end]."""
    return max((to - since for since, to in gaps if to > begin and since < end), default=0.0)


def measure_gap(side, *seed):
    """(usual gap, longest gap while the long prompt is taken in, its time to first token), seconds; and its length in tokens."""
    client = side.client()
    streams = [client.send(side.body(workloads.text(PROMPT_WORDS, "gap", *seed, i), GAP_TOKENS)) for i in range(GAP_STREAMS)]
    client.until(lambda: min(s.pieces() for s in streams) >= GAP_WARM_PIECES, "the streams run")
    long = client.send(side.body(workloads.text(LONG_WORDS, "long", *seed), 1))
    client.wait([long])
    client.pause(0.2)
    client.cancel_all()
    complete([long], 1)
    if any(len(s.answer().times) >= GAP_TOKENS for s in streams):
        sys.exit("bench: the streams ended before the long prompt was taken in")
    arrived, first = long.began, long.answer().times[0] if long.answer().times else long.ended
    gaps = [gap for s in streams for gap in s.answer().gaps()]
    # The first pieces of each stream fall into the time in which the others' prompts are taken in.
    steady = max(s.answer().times[0] for s in streams)
    usual = statistics.median(to - since for since, to in gaps if since >= steady and to < arrived)
    return usual, longest_gap(gaps, arrived, first), first - arrived, long.answer().usage["prompt_tokens"]


def bench_gap(options, report):
    """4 running streams when a prompt of 2,000 tokens arrives: their longest gap over their usual one"""
    with both(options) as sides:
        measured = {side.name: [] for side in sides}
        for number in range(options.rounds):
            for side in in_turn(sides, number):
                measured[side.name].append(measure_gap(side, number))
    ours, theirs = measured["bora"], measured["llama.cpp"]
    report.row("usual gap of 4 streams", [1e3 * m[0] for m in ours], [1e3 * m[0] for m in theirs], "ms")
    report.row("longest gap, long prompt arrives", [1e3 * m[1] for m in ours], [1e3 * m[1] for m in theirs], "ms", f"the prompt has {ours[0][3]} and {theirs[0][3]} tokens")
    report.row("the long prompt's time to first token", [1e3 * m[2] for m in ours], [1e3 * m[2] for m in theirs], "ms")
    report.ratio("longest gap over usual gap", statistics.median(m[1] / m[0] for m in ours), GAP_BAR, at_least=False)
    report.ratio("longest gap over usual gap, peer", statistics.median(m[1] / m[0] for m in theirs))


# ---- one system prompt -------------------------------------------------------------------------------------------------


def ideal_prefill(prompt_tokens, prompt_tokens_without_user):
    """Tokens to compute when the common beginning is computed once: [prompt of each request], prompt with an empty user message."""
    common = prompt_tokens_without_user - TAIL_TOKENS
    return common + sum(tokens - common for tokens in prompt_tokens)


def run_prefix(side, number):
    """The answers of 64 requests that begin together, and the size of the prompt without what the user says."""
    system, client = workloads.text(SYSTEM_WORDS, "system", number), side.client()
    streams = [client.send(side.body(workloads.text(16, "user", number, i), PREFIX_TOKENS, system)) for i in range(PREFIX_REQUESTS)]
    client.wait(streams)
    complete(streams, PREFIX_TOKENS)
    seconds = max(s.answer().times[-1] for s in streams) - streams[0].began
    empty = client.send(side.body("", 1, system))
    client.wait([empty])
    complete([empty], 1)
    return [s.answer() for s in streams], empty.answer().usage["prompt_tokens"], seconds


def bench_prefix(options, report):
    """64 requests at once with one system prompt of 1,000 tokens: prefill computed over the ideal"""
    results = {"bora": [], "llama.cpp": []}
    with both(options) as (ours, theirs):
        for number in range(min(options.rounds, 3)):
            before = ours.metric("bora_engine_prompt_tokens_total")
            system = workloads.text(SYSTEM_WORDS, "system", number)
            answers, empty, seconds = run_prefix(ours, number)
            computed = ours.metric("bora_engine_prompt_tokens_total") - before
            ideal = ideal_prefill([a.usage["prompt_tokens"] for a in answers], empty)
            # The request with an empty message came last and finds everything but its tail.
            results["bora"].append(((computed - TAIL_TOKENS) / ideal, seconds, ideal))
            answers, empty, seconds = run_prefix(theirs, number)
            ideal = ideal_prefill([a.usage["prompt_tokens"] for a in answers], empty)
            results["llama.cpp"].append((sum(a.timings["prompt_n"] for a in answers) / ideal, seconds, ideal))
    a, b = results["bora"], results["llama.cpp"]
    report.row("prefill computed over ideal, 64 requests", [r[0] for r in a], [r[0] for r in b], "x", f"ideal {a[0][2]:.0f} tokens", digits=2)
    report.row("all 64 answered (16 tokens each)", [r[1] for r in a], [r[1] for r in b], "s", digits=2)
    report.ratio("prefill tokens computed over ideal", statistics.median(r[0] for r in a), PREFIX_BAR, at_least=False)
    report.ratio("prefill tokens computed over ideal, peer", statistics.median(r[0] for r in b))


# ---- tenants -----------------------------------------------------------------------------------------------------------


class Flood:
    """Keeps FLOOD_STREAMS long prompts of one key in the house: one that ends is followed by the next."""

    def __init__(self, side, client, key, seed):
        self.side, self.client, self.key, self.seed, self.sent = side, client, key, seed, 0
        self.streams = [self.send() for _ in range(FLOOD_STREAMS)]

    def send(self):
        self.sent += 1
        return self.client.send(self.side.body(workloads.text(FLOOD_WORDS, "flood", self.seed, self.sent), FLOOD_TOKENS), self.key)

    def refill(self):
        for i, stream in enumerate(self.streams):
            if stream.ended:
                if stream.answer().error:
                    sys.exit(f"bench: the flood was refused: {stream.answer().error}")
                self.streams[i] = self.send()


def ask_in_turn(side, client, key, count, seed, between):
    """Times to first token of `count` short requests, one after the other; `between` runs while time passes."""
    times = []
    for i in range(count):
        stream = client.send(side.body(workloads.text(PROMPT_WORDS, "ask", *seed, i), ASK_TOKENS), key)
        while not stream.ended:
            client.step()
            between()
        complete([stream], ASK_TOKENS)
        times.append(stream.answer().times[0] - stream.began)
        client.pause(0.05)
    return times


def measure_tenants(side, keys, asks, rounds):
    """(alone, beside the flood): times to first token, seconds."""
    alone, flooded = [], []
    for number in range(rounds):
        client = side.client()
        alone += ask_in_turn(side, client, keys[0], asks, ("alone", number), lambda: None)
        flood = Flood(side, client, keys[1], number)
        client.pause(1.0)
        flooded += ask_in_turn(side, client, keys[0], asks, ("flooded", number), flood.refill)
        client.cancel_all()
        client.pause(0.5)
    return alone, flooded


def bench_tenants(options, report):
    """one tenant floods long prompts: the 99th percentile of another's time to first token over its time alone"""
    asks = 10 if options.quick else 20
    with both(options) as (ours, theirs):
        alone, flooded = measure_tenants(ours, [ours.new_key("quiet"), ours.new_key("loud")], asks, options.rounds)
        # The peer knows no tenants; few requests show what that means.
        peer_alone, peer_flooded = measure_tenants(theirs, [None, None], 5, 1)
    p99 = [percentile(times, 0.99) for times in (alone, flooded, peer_alone, peer_flooded)]
    report.row("time to first token alone", [1e3 * t for t in alone], [1e3 * t for t in peer_alone], "ms", f"p99 {1e3 * p99[0]:.0f} of {len(alone)}, {1e3 * p99[2]:.0f} of {len(peer_alone)}")
    report.row("time to first token beside a flood", [1e3 * t for t in flooded], [1e3 * t for t in peer_flooded], "ms", f"p99 {1e3 * p99[1]:.0f} of {len(flooded)}, {1e3 * p99[3]:.0f} of {len(peer_flooded)}")
    report.ratio("p99 time to first token, flooded over alone", p99[1] / p99[0], TENANT_BAR, at_least=False)
    report.ratio("p99 time to first token, flooded over alone, peer (no tenants)", p99[3] / p99[2])


# ---- start -------------------------------------------------------------------------------------------------------------


def bench_start(options, report):
    """from exec to ready with a warm page cache"""
    ours_s, theirs_s = [], []
    theirs = PeerServer(workloads.REAL, os.cpu_count(), options.peer_variant)
    with House(workloads.REAL, os.cpu_count(), options.variant) as ours:
        for _ in range(options.rounds):
            ours.stop_worker()
            ours_s.append(ours.start_worker())
            theirs_s.append(theirs.start())
            theirs.stop()
    report.row("start to ready, 135M Q4_1", ours_s, theirs_s, "s", digits=3)
    report.ratio("start to ready", statistics.median(ours_s), START_BAR, at_least=False, unit=" s")
