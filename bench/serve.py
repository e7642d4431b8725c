# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Through HTTP on loopback: our house (gateway, keys, Redis, worker) against llama-server -np 16, both with all threads.

Both sides get the same prompts and the same max_tokens at temperature 0, and both are kept from ending early: llama-server by ignore_eos, ours
by a logit_bias of -100 on the two end tokens. An answer that is not exactly max_tokens long ends the bench. Every round has prompts of
its own, so that nobody's prompt cache answers for an earlier round.

Our worker guesses ahead by prompt lookup (llama-server does not unless told to), and greedy text that may not end repeats itself sooner
or later. The rows `no guessing` have it switched off: they say what the batching is worth.
"""
import contextlib
import statistics
import sys

import workloads
from report import percentile
from servers import House, PeerServer

PEER = PeerServer.name
PLAIN = ("bora, no guessing", ("--no-speculation",))
STREAM_COUNTS, STREAM_TOKENS, PROMPT_WORDS = (1, 4, 8, 16), 128, 32
STREAM_BARS = {8: 3.0, 16: 4.0}
GAP_STREAMS, GAP_WARM_PIECES, GAP_TOKENS, LONG_WORDS, GAP_BAR = 4, 48, 1500, 2000, 3.0
PREFIX_REQUESTS, SYSTEM_WORDS, USER_WORDS, PREFIX_TOKENS, PREFIX_BAR = 64, 1000, 16, 16, 1.1
PREFIX_ROUNDS = 3  # a count hardly varies
TAIL_TOKENS = 5  # <|im_end|> \n <|im_start|> assistant \n: behind what the user says
TENANT_BAR, FLOOD_STREAMS, FLOOD_WORDS, FLOOD_TOKENS, ASK_TOKENS = 2.0, 64, 1500, 32, 4
PEER_FLOOD_STREAMS = 8  # it answers in order: behind 64 long prompts one request waits for minutes
START_BAR = 1.0


@contextlib.contextmanager
def sides(options, *more):
    """Our house, further houses (name, flags of the worker), and the peer's server unless it is left out; warm, with the real model."""
    threads = options.thread_counts[-1]
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(House(workloads.REAL, threads, options.variant, name, flags)) for name, flags in (("bora", ()), *more)]
        if options.peer:
            opened.append(stack.enter_context(PeerServer(workloads.REAL, threads, options.peer_variant)))
        for side in opened:
            run_streams(side, 2, 8, "warm")
        yield opened


def in_rounds(opened, options, report, measure, rounds=None):
    """{side: [measure(side, round), ...]}; [] for a side that is left out."""
    measures = {side.name: lambda number, side=side: measure(side, number) for side in opened}
    return {"bora": [], PEER: []} | report.interleave(measures, rounds or options.rounds, options.patience)


def median_of(samples, value):
    """The median of value(sample); None without samples."""
    return statistics.median(map(value, samples)) if samples else None


def complete(streams, tokens):
    """Every answer is there and has its full length."""
    for stream in streams:
        answer = stream.answer()
        if answer.error or answer.tokens() != tokens:
            sys.exit(f"bench: an answer has {answer.tokens()} tokens instead of {tokens} (HTTP {answer.status}) {answer.error or ''}")


# ---- streams -----------------------------------------------------------------------------------------------------------


def run_streams(side, count, tokens, *seed):
    """Tokens a second of `count` streams that begin together, from the first request to the last token."""
    client = side.client()
    streams = [client.send(side.body(workloads.text(PROMPT_WORDS, *seed, i), tokens)) for i in range(count)]
    client.wait(streams)
    complete(streams, tokens)
    return count * tokens / (max(s.answer().times[-1] for s in streams) - streams[0].began)


def bench_streams(options, report):
    """1, 4, 8, 16 concurrent streams: tokens a second of all together, as shipped and without guessing ahead"""
    with sides(options, PLAIN) as opened:
        for count in STREAM_COUNTS:
            rates = in_rounds(opened, options, report, lambda side, number: run_streams(side, count, STREAM_TOKENS, "streams", count, number))
            for name, note in (("bora", ""), (PLAIN[0], ", no guessing")):
                label = f"{count} stream{'s' if count > 1 else ''} over HTTP{note}"
                report.ratio(label, report.row(label, rates[name], rates[PEER], "tok/s"), STREAM_BARS.get(count))


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
    with sides(options) as opened:
        measured = in_rounds(opened, options, report, measure_gap)
    a, b = measured["bora"], measured[PEER]
    for place, what in enumerate(("usual gap of 4 streams", "longest gap, long prompt arrives", "the long prompt's time to first token")):
        report.row(what, [1e3 * m[place] for m in a], [1e3 * m[place] for m in b], "ms", f"the prompt has {a[0][3]} tokens" if place == 1 else "")
    report.ratio("longest gap over usual gap", median_of(a, lambda m: m[1] / m[0]), GAP_BAR, at_least=False)
    report.ratio("longest gap over usual gap, peer", median_of(b, lambda m: m[1] / m[0]))


# ---- one system prompt -------------------------------------------------------------------------------------------------


def ideal_prefill(prompt_tokens, prompt_tokens_without_user):
    """Tokens to compute when the common beginning is computed once: [prompt of each request], prompt with an empty user message."""
    common = prompt_tokens_without_user - TAIL_TOKENS
    return common + sum(tokens - common for tokens in prompt_tokens)


def computed_prefill(side, answers, before):
    """Prompt tokens that were computed: our worker counts them, llama-server says it in each answer."""
    if side.name == PEER:
        return sum(answer.timings["prompt_n"] for answer in answers)
    return side.metric("bora_engine_prompt_tokens_total") - before


def measure_prefix(side, number):
    """(prefill computed over the ideal, seconds until all 64 were answered, the ideal)"""
    system, client = workloads.text(SYSTEM_WORDS, "system", number), side.client()
    before = side.metric("bora_engine_prompt_tokens_total") if side.name != PEER else 0
    streams = [client.send(side.body(workloads.text(USER_WORDS, "user", number, i), PREFIX_TOKENS, system)) for i in range(PREFIX_REQUESTS)]
    client.wait(streams)
    complete(streams, PREFIX_TOKENS)
    answers = [s.answer() for s in streams]
    computed, seconds = computed_prefill(side, answers, before), max(a.times[-1] for a in answers) - streams[0].began
    empty = client.send(side.body("", 1, system))
    client.wait([empty])
    complete([empty], 1)
    ideal = ideal_prefill([a.usage["prompt_tokens"] for a in answers], empty.answer().usage["prompt_tokens"])
    return computed / ideal, seconds, ideal


def bench_prefix(options, report):
    """64 requests at once with one system prompt of 1,000 tokens: prefill computed over the ideal"""
    with sides(options) as opened:
        measured = in_rounds(opened, options, report, measure_prefix, min(options.rounds, PREFIX_ROUNDS))
    a, b = measured["bora"], measured[PEER]
    report.row("prefill computed over ideal, 64 requests", [m[0] for m in a], [m[0] for m in b], "x", f"ideal {a[0][2]:.0f} tokens", digits=2)
    report.row(f"all 64 answered ({PREFIX_TOKENS} tokens each)", [m[1] for m in a], [m[1] for m in b], "s", digits=2)
    report.ratio("prefill tokens computed over ideal", median_of(a, lambda m: m[0]), PREFIX_BAR, at_least=False)
    report.ratio("prefill tokens computed over ideal, peer", median_of(b, lambda m: m[0]))


# ---- tenants -----------------------------------------------------------------------------------------------------------


class Flood:
    """Keeps long prompts of one key in the house: one that ends is followed by the next."""

    def __init__(self, side, client, key, seed):
        self.side, self.client, self.key, self.seed, self.sent = side, client, key, seed, 0
        self.streams = [self.send() for _ in range(PEER_FLOOD_STREAMS if side.name == PEER else FLOOD_STREAMS)]

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


def ask_beside_flood(side, client, asking, flooding, asks, *seed):
    """Times to first token of short requests of one key beside a flood of another."""
    flood = Flood(side, client, flooding, seed)
    client.pause(1.0)
    times = ask_in_turn(side, client, asking, asks, seed, flood.refill)
    client.cancel_all()
    client.pause(0.5)
    return times


def measure_tenants(side, keys, asks, number):
    """Times to first token, seconds: alone, beside the other's flood, and the reverse - the quiet one floods, and who flooded asks."""
    client = side.client()
    alone = ask_in_turn(side, client, keys[0], asks, ("alone", number), lambda: None)
    return alone, ask_beside_flood(side, client, keys[0], keys[1], asks, "flooded", number), ask_beside_flood(side, client, keys[1], keys[0], asks, "reverse", number)


def bench_tenants(options, report):
    """one tenant floods 64 long prompts: the 99th percentile of another's time to first token over its time alone, and in exchanged roles"""
    with sides(options) as opened:
        keys = [opened[0].new_key("quiet"), opened[0].new_key("loud")]
        rounds = in_rounds(opened[:1], options, report, lambda side, number: measure_tenants(side, keys, 20, number))["bora"]
        # The peer knows no tenants; a few requests show what that means.
        peer_rounds = [measure_tenants(side, (None, None), 5, 0) for side in opened[1:]]
    times = {name: [sum((r[place] for r in made), []) for place in (0, 1, 2)] for name, made in (("bora", rounds), (PEER, peer_rounds))}
    for place, what in enumerate(("alone", "beside a flood", "roles exchanged")):
        a, b = times["bora"][place], times[PEER][place]
        p99 = [f"{1e3 * percentile(t, 0.99):.0f} of {len(t)}" for t in (a, b) if t]
        report.row(f"time to first token {what}", [1e3 * t for t in a], [1e3 * t for t in b], "ms", f"p99 {', '.join(p99)}")
    for side, (alone, *flooded) in times.items():
        for which, beside in zip(("flooded", "roles exchanged"), flooded):
            over = percentile(beside, 0.99) / percentile(alone, 0.99) if alone else None
            report.ratio(f"p99 time to first token, {which} over alone{', peer (no tenants)' if side == PEER else ''}", over, TENANT_BAR if side == "bora" else None, at_least=False)


# ---- start -------------------------------------------------------------------------------------------------------------


def bench_start(options, report):
    """from exec to ready with a warm page cache"""
    theirs = PeerServer(workloads.REAL, options.thread_counts[-1], options.peer_variant)
    with House(workloads.REAL, options.thread_counts[-1], options.variant) as ours:
        measures = {"bora": lambda _: ours.restart_worker()} | ({PEER: lambda _: theirs.start_and_stop()} if options.peer else {})
        seconds = {PEER: []} | report.interleave(measures, options.rounds, options.patience)
    report.row("start to ready, 135M Q4_1", seconds["bora"], seconds[PEER], "s", digits=3)
    report.ratio("start to ready", statistics.median(seconds["bora"]), START_BAR, at_least=False, unit=" s")
