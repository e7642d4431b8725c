#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks beside a peer, in one run: rounds interleaved, medians and spread, one table, a last line per ratio.

docs/BENCHMARKS.md says what is measured and keeps the results.
"""
import argparse
import os
import shlex
import signal
import subprocess
import sys
import time

import engine
import gateway
import grammar
import peer
import quality
import serve
import tokenizer
from machine import load, processor
from places import program, say
from report import Report


def only(tests, run):
    """`run` with a part of its tests."""

    def narrowed(options, report):
        run(argparse.Namespace(**{**vars(options), "tests": tests}), report)

    return narrowed


def bench_program(name):
    def run(_options, _report):
        print(f"== bora-bench-{name}", flush=True)
        subprocess.run([str(program(f"bora-bench-{name}"))], check=True)

    return run


# name: (what runs it, what it measures)
BENCHES = {
    "engine": (engine.bench_engine, engine.bench_engine.__doc__),
    "decode": (only({"decode"}, engine.bench_engine), "the decode half of engine"),
    "prefill": (only({"prefill"}, engine.bench_engine), "the prefill half of engine"),
    "neighbour": (engine.bench_neighbour, engine.bench_neighbour.__doc__),
    "streams": (serve.bench_streams, serve.bench_streams.__doc__),
    "gap": (serve.bench_gap, serve.bench_gap.__doc__),
    "prefix": (serve.bench_prefix, serve.bench_prefix.__doc__),
    "tenants": (serve.bench_tenants, serve.bench_tenants.__doc__),
    "start": (serve.bench_start, serve.bench_start.__doc__),
    "quality": (quality.bench_quality, quality.bench_quality.__doc__),
    "tokenizer": (tokenizer.bench_tokenizer, tokenizer.bench_tokenizer.__doc__),
    "grammar": (grammar.bench_grammar, grammar.bench_grammar.__doc__),
    "gateway": (gateway.bench_gateway, gateway.bench_gateway.__doc__),
    "added": (gateway.bench_added, gateway.bench_added.__doc__),
    "sustained": (gateway.bench_sustained, gateway.bench_sustained.__doc__),
    "idle": (gateway.bench_idle, gateway.bench_idle.__doc__),
    "readers": (gateway.bench_readers, gateway.bench_readers.__doc__),
    "kernels": (bench_program("kernels"), "every kernel variant, no peer: weights read a second, products a second, attention"),
    "sampler": (bench_program("sampler"), "one sample, by settings and vocabulary, no peer"),
    "rpc": (bench_program("rpc"), "gRPC server and client over loopback, no peer"),
    "limits": (bench_program("limits"), "admissions and settlements a second over one connection to Redis, no peer"),
    "base": (bench_program("base"), "settings, text, clocks and locks, no peer"),
}
ALL = ["engine", "neighbour", "streams", "gap", "prefix", "tenants", "start", "quality"]
BUSY_LOAD = 0.5


def parse_arguments(arguments=None):
    listed = "\n".join(f"    {name:10} {description}" for name, (_, description) in BENCHES.items())
    parser = argparse.ArgumentParser(prog="./dev bench", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
                                     epilog=f"benches:\n{listed}\n    {'all':10} {', '.join(ALL)} (what NAME is when it is left out)\n\nThe first run builds the peer: about twelve minutes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benches, in this order")
    parser.add_argument("--quick", action="store_true", help="3 rounds, all threads only, 135M models only, unless --models names the others")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each side (default 5)")
    parser.add_argument("--threads", metavar="N,N", help="thread counts (default: 1 and all processors; what goes over HTTP has the largest)")
    parser.add_argument("--models", metavar="NAME,NAME", help="of engine, decode and prefill: 135M, 1.1B, Q4_1, '1.1B Q4_0', ...; of quality: Q4_1, Q6_K, F32, ... (default: all)")
    parser.add_argument("--variant", default="auto", choices=["auto", "plain", "avx2", "avx512"], help="instruction set of our side")
    parser.add_argument("--peer-variant", default="native", choices=list(peer.VARIANTS), help="build of the peer; avx2 is another twelve minutes")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="our side only")
    parser.add_argument("--patience", type=float, default=0, metavar="SECONDS", help="per group of rows: wait for others to leave the processors alone, and repeat disturbed rounds")
    parser.add_argument("--json", metavar="FILE", help="write every round there too")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there too, as docs/BENCHMARKS.md has it")
    options = parser.parse_args(arguments)
    options.names = [name for given in options.names or ["all"] for name in (ALL if given == "all" else [given])]
    for name in options.names:
        if name not in BENCHES:
            parser.error(f"there is no bench '{name}': choose from all, {', '.join(BENCHES)}")
    options.rounds = options.rounds or (3 if options.quick else 5)
    everything = os.cpu_count()
    options.thread_counts = [int(n) for n in options.threads.split(",")] if options.threads else [everything] if options.quick else sorted({1, everything})
    options.tests = {"decode", "prefill"}
    return options


def command_line(arguments):
    """What to type for the same run; where its output goes is left out."""
    kept, words = [], iter(arguments)
    for word in words:
        if word in ("--json", "--markdown"):
            next(words, None)
        else:
            kept.append(word)
    return shlex.join(["./dev", "bench", *kept])


def main():
    options = parse_arguments()
    facts = {"date": time.strftime("%Y-%m-%d"), "command": command_line(sys.argv[1:]), "processor": processor(), "load": load(), "peer": f"{peer.PACKAGE} {peer.VERSION} ({options.peer_variant})" if options.peer else None, "variant": options.variant, "rounds": options.rounds}
    say(f"{facts['processor']}; load {facts['load']:.1f}")
    if facts["load"] > BUSY_LOAD:
        say(f"other programs are running (load {facts['load']:.1f}): look at these figures, do not publish them")
    report = Report()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        for name in options.names:
            BENCHES[name][0](options, report)
    except KeyboardInterrupt:
        return 130
    finally:
        report.finish(options.json, options.markdown, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
