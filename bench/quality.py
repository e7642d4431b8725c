# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What quantisation costs: perplexity of a fixed text, by weight type, beside llama.cpp on the same file.

The text is cut into windows of 512 tokens, each from an empty cache; the second half of a window is scored, as llama-perplexity does it. All types
are made from the same Q4_1 file.

A perplexity over two thousand tokens moves by a fifth of a per cent when anything is rounded in another order, so it cannot tell which side computes
better. The divergence can: the mean over all positions of the Kullback-Leibler divergence of the predictions from those of the very same weights
in f32 (each side's own f32, which agree). With f32 weights there is nothing to lose; what is left is what rounding activations to 8 bits costs.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import peer
import workloads
from places import ROOT, clean_environment, program

TEXT = ROOT / "bench/quality_text.txt"
WINDOW = 512
FLOAT = ["F32", "F16", "BF16"]
QUANTISED = ["Q4_1", "Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q4_K_S", "Q5_K_S", "Q6_K"]


def ours(model, options, reference=None):
    """(perplexity, mean divergence from `reference` or None)"""
    against = ["--against", str(reference)] if reference else []
    command = [str(program("bora-generate")), "--model-file", str(model), *against, "--perplexity", str(TEXT), "--window", str(WINDOW), "--scored-from", str(WINDOW // 2 + 1), "--threads", str(options.thread_counts[-1]), "--kernel-variant", options.variant]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    found = re.search(r"perplexity ([\d.]+)(?:.* divergence (-?[\d.]+))?", done.stdout)
    if done.returncode != 0 or not found:
        sys.exit(f"bench: {done.stderr.strip()}")
    return float(found[1]), float(found[2]) if found[2] else None


def theirs(model, options, reference=None):
    """The same of the peer, which writes the reference's predictions down first: a quarter of a gigabyte."""
    if not options.peer:
        return None, None
    threads = options.thread_counts[-1]
    with tempfile.TemporaryDirectory(prefix="bora-bench-") as folder:
        predictions = Path(folder) / "predictions" if reference else None
        if reference:
            peer.perplexity(reference, TEXT, WINDOW, threads, options.peer_variant, write=predictions)
        return peer.perplexity(model, TEXT, WINDOW, threads, options.peer_variant, against=predictions)


def row(report, what, mine, their, bar, digits):
    ratio = report.row(what, [mine], [their] if their is not None else [], "", digits=digits, ratio_digits=4)
    report.ratio(what, ratio, bar, at_least=False, digits=4)


def bench_quality(options, report):
    """perplexity of a fixed text of 4,608 tokens by weight type, and divergence from the same weights in f32, 135M: not above the peer's on the same file"""
    wanted = [word.strip() for word in options.models.split(",")] if options.models else FLOAT + QUANTISED
    for kind in FLOAT + QUANTISED:
        if kind not in wanted:
            continue
        model = workloads.Workload("135M", kind).path()
        with tempfile.TemporaryDirectory(prefix="bora-bench-") as folder:
            reference = None
            if kind in QUANTISED:
                reference = Path(folder) / "f32.gguf"
                peer.quantize(model, reference, "F32")
            mine, their = ours(model, options, reference), theirs(model, options, reference)
        row(report, f"perplexity 135M {kind}", mine[0], their[0], 1.0 if kind in QUANTISED else None, 4)
        if kind in QUANTISED:
            row(report, f"divergence 135M {kind}", mine[1], their[1], 1.0, 6)
