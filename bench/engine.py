# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""One stream without a network: bora-bench-model against llama-bench, which measure the same thing.

prefill: 512 random tokens at once into an empty cache. decode: 128 random tokens one by one from an empty cache. Nothing is sampled and
nothing is guessed ahead on either side.
"""
import contextlib
import statistics
import subprocess
import sys

import peer
import workloads
from places import clean_environment, program

PEER = peer.NAME
PREFILL, DECODE = 512, 128
BANDWIDTH_SHARE = 0.8  # decode of a type other than Q4_1 may stop here instead of at its bar
DECODE_BARS = {"Q4_1": 2.0}
DECODE_BAR = 1.5
PREFILL_BARS = {"Q4_1": 3.5, "Q4_0": 2.0, "Q8_0": 2.0, "BF16": 1.5}
NEIGHBOUR_BAR = 50.0
LARGE_ROUNDS = 3  # a round takes the peer a minute


def parse_model_bench(text):
    """{"variant": "avx512", "decode_tok_s": 184.5, ...}"""
    found = dict(word.split("=", 1) for word in text.split())
    return {key: value if key == "variant" else float(value) for key, value in found.items()}


def ours(model, threads, prefill, decode, variant):
    command = [str(program("bora-bench-model")), "--model-file", str(model), "--threads", str(threads), "--prefill", str(prefill), "--decode", str(decode), "--kernel-variant", variant]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    if done.returncode != 0:
        sys.exit(f"bench: {done.stderr.strip()}")
    return parse_model_bench(done.stdout)


def sides(model, threads, prefill, decode, options):
    """{side: what measures one round}"""
    measures = {"bora": lambda _: ours(model, threads, prefill, decode, options.variant)}
    if options.peer:
        measures[PEER] = lambda _: peer.bench(model, threads, prefill, decode, options.peer_variant)
    return measures


def decode_bar(kind, weight_bytes, read_bytes_s, peer_tok_s):
    """(bar, why): the type's own ratio, or BANDWIDTH_SHARE of what memory allows where that is less."""
    if kind in DECODE_BARS:
        return DECODE_BARS[kind], ""
    allowed = BANDWIDTH_SHARE * read_bytes_s / weight_bytes / peer_tok_s
    return (allowed, "80 % of read bandwidth") if allowed < DECODE_BAR else (DECODE_BAR, "")


def bench_workload(workload, threads, rounds, options, report):
    model = workload.path()
    prefill, decode = (PREFILL if "prefill" in options.tests else 0), (DECODE if "decode" in options.tests else 0)
    samples = report.interleave(sides(model, threads, prefill, decode, options), rounds, options.patience)
    mine, theirs = samples["bora"], samples.get(PEER, [])
    label = f"{workload.name}, {threads} thread{'s' if threads > 1 else ''}"
    read, weight_bytes = max(m["read_bytes_s"] for m in mine), mine[0]["weight_bytes"]
    if decode:
        a, b = [m["decode_tok_s"] for m in mine], [t["decode"] for t in theirs]
        shares = [f"{100 * statistics.median(rates) * weight_bytes / read:.0f} %" for rates in (a, b) if rates]
        ratio = report.row(f"decode {label}", a, b, "tok/s", f"{' and '.join(shares)} of {read / 1e9:.1f} GB/s")
        bar, why = decode_bar(workload.kind, weight_bytes, read, statistics.median(b)) if b else (None, "")
        report.ratio(f"decode {label}", ratio, bar, note=why)
    if prefill:
        ratio = report.row(f"prefill {PREFILL} {label}", [m["prefill_tok_s"] for m in mine], [t["prefill"] for t in theirs], "tok/s")
        report.ratio(f"prefill {label}", ratio, PREFILL_BARS.get(workload.kind))


def bench_engine(options, report):
    """decode and prefill of one stream, every type; 1 thread and all, the large models with all"""
    for workload in workloads.chosen(options):
        large = workload in workloads.LARGE
        for threads in options.thread_counts[-1:] if large and not options.threads else options.thread_counts:
            bench_workload(workload, threads, min(options.rounds, LARGE_ROUNDS) if large else options.rounds, options, report)


# ---- a busy neighbour --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def busy_neighbour():
    """A process with one thread that never rests, on the processors that everybody may use."""
    process = subprocess.Popen([sys.executable, "-c", "print('busy', flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()


def bench_neighbour(options, report):
    """decode with all threads while a spinning process shares the processors: share of the speed that is kept"""
    model, threads = workloads.SMALL[0].path(), options.thread_counts[-1]
    measures = sides(model, threads, 0, DECODE, options)

    def alone_and_busy(measure):
        alone = measure(0)
        with busy_neighbour():
            return alone, measure(0)

    samples = report.interleave({side: lambda _, measure=measure: alone_and_busy(measure) for side, measure in measures.items()}, options.rounds, options.patience)
    rate = {"bora": lambda m: m["decode_tok_s"], PEER: lambda m: m["decode"]}
    alone, busy = ({side: [rate[side](pair[place]) for pair in samples.get(side, [])] for side in rate} for place in (0, 1))
    kept = {side: 100 * statistics.median(busy[side]) / statistics.median(alone[side]) for side in measures}
    label = f"135M Q4_1, {threads} threads"
    report.row(f"decode alone {label}", alone["bora"], alone[PEER], "tok/s")
    report.row(f"decode, busy neighbour {label}", busy["bora"], busy[PEER], "tok/s", f"keeps {' and '.join(f'{k:.0f} %' for k in kept.values())}")
    report.ratio("speed kept beside a busy neighbour", kept["bora"], NEIGHBOUR_BAR, unit=" %")
    report.ratio("speed kept beside a busy neighbour, peer", kept.get(PEER), unit=" %")
