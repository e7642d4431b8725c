# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Megabytes of text encoded a second on one thread, beside Hugging Face's tokenizers and tiktoken as mistral-common uses it: the same vocabulary
(tekken 240911), the same texts, each encoded on its own, rounds interleaved."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from places import ROOT, clean_environment, program

PYTHON = os.environ.get("BORA_TEST_PYTHON") or Path(os.environ.get("BORA_CACHE", Path.home() / ".cache/bora")) / "venv-tests/bin/python"
PEER = ROOT / "bench/tokenizer_peer.py"
CHARACTERS = 2000000


def run(command):
    environment = {**clean_environment(), "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"bench: {done.stderr.strip()}")
    return done.stdout.split()


def bench_tokenizer(options, report):
    """encoding mixed real text, MB/s on one thread: 10 times Hugging Face's tokenizers, 3 times tiktoken in mistral-common"""
    if not Path(PYTHON).exists():
        sys.exit("bench: the references are not installed; `./dev test -R reference` does that")
    with tempfile.TemporaryDirectory(prefix="bora-bench-") as folder:
        tekken, texts = run([PYTHON, PEER, "prepare", folder, CHARACTERS])
        rates = {"ours": [], "tokenizers": [], "tiktoken": []}
        tokens = {}
        for _ in range(options.rounds):
            for side in rates:
                command = [program("bora-bench-tokenizer"), tekken, texts] if side == "ours" else [PYTHON, PEER, side, folder]
                rate, count, *_ = run(command)
                rates[side].append(float(rate))
                tokens[side] = int(count)
        if len(set(tokens.values())) != 1:
            sys.exit(f"bench: the numbers of tokens differ: {tokens}")
    for side, bar in (("tokenizers", 10), ("tiktoken", 3)):
        what = f"encode, tekken, one thread, beside {side}"
        ratio = report.row(what, rates["ours"], rates[side], "MB/s", digits=1)
        report.ratio(what, ratio, bar)
