# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What quantisation costs: perplexity of a fixed text, by weight type, beside llama.cpp on the same file.

The text is cut into windows of 512 tokens, each from an empty cache; the second half of a window is scored, as llama-perplexity does it. All types
are made from the same Q4_1 file, whose weights in f32 are the reference that both sides' arithmetic is measured against: what is above it in the Q4_1
row comes from 8-bit activations alone, and in the other rows from rounding the weights again, too.
"""
import re
import subprocess
import sys

import peer
import workloads
from places import ROOT, clean_environment, program

TEXT = ROOT / "bench/quality_text.txt"
WINDOW = 512
KINDS = ["F32", "Q4_1", "Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q4_K_S", "Q5_K_S", "Q6_K", "F16", "BF16"]


def ours(model, threads, variant):
    command = [str(program("bora-generate")), "--model-file", str(model), "--perplexity", str(TEXT), "--window", str(WINDOW), "--scored-from", str(WINDOW // 2 + 1), "--threads", str(threads), "--kernel-variant", variant]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    found = re.search(r"perplexity ([\d.]+)", done.stdout)
    if done.returncode != 0 or not found:
        sys.exit(f"bench: {done.stderr.strip()}")
    return float(found[1])


def bench_quality(options, report):
    """perplexity of a fixed text of 4,608 tokens by weight type, 135M: not above the peer's on the same file"""
    threads, reference = options.thread_counts[-1], {}
    for kind in KINDS:
        model = workloads.Workload("135M", kind).path()
        mine, theirs = ours(model, threads, options.variant), peer.perplexity(model, TEXT, WINDOW, threads, options.peer_variant) if options.peer else None
        if kind == "F32":
            reference = {"bora": mine, "peer": theirs}
        note = f"over F32 {100 * (mine / reference['bora'] - 1):+.2f} %" + (f" and {100 * (theirs / reference['peer'] - 1):+.2f} %" if theirs else "")
        ratio = report.row(f"perplexity 135M {kind}", [mine], [theirs] if theirs else [], "", note, digits=4)
        report.ratio(f"perplexity {kind}", ratio, None if kind in ("F32", "F16", "BF16") else 1.0, at_least=False)
