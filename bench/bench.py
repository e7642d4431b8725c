#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, side by side with a peer in one run: rounds interleaved, medians and spread.

    ./dev bench                  everything that needs no peer to be built, and the engine if the peer is there
    ./dev bench engine           decode and prefill of one stream against llama.cpp (builds it once: about ten minutes)
    ./dev bench kernels | rpc    the programs build/release/bin/bora-bench-*

docs/BENCHMARKS.md keeps the results: date, machine, command, both sides.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release")) / "bin"
CACHE = Path(os.environ.get("BORA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bora")
MODEL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
PEER = CACHE / "peers/llama"
PEER_VERSION = "llama-cpp-python==0.3.36"
PROMPT = "Tell me a long story about a dragon who learns to play chess with the children of a small village. " * 20

PEER_PROGRAM = r"""
import json, sys, time
import numpy as np
import llama_cpp
model, threads, tokens, prompt = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
llama = llama_cpp.Llama(model, n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
text = "<|im_start|>user\n" + prompt + "<|im_end|>\n<|im_start|>assistant\n"
ids = llama.tokenize(text.encode(), add_bos=False, special=True)
llama.eval(ids[:16]); llama.reset()
began = time.perf_counter(); llama.eval(ids); prefill = time.perf_counter() - began
token, began = 1000, time.perf_counter()
for _ in range(tokens): llama.eval([token])
decode = time.perf_counter() - began
print(json.dumps({"prefill": len(ids) / prefill, "decode": tokens / decode, "prompt": len(ids)}))
"""


def processor():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)[1]
    flags = set(re.search(r"flags\s*: (.*)", text)[1].split())
    shown = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if f in flags]
    return f"{name}, {os.cpu_count()} CPUs, {' '.join(shown)}"


def build_peer():
    python = PEER / "bin/python"
    if not python.exists():
        print(f"==> building the peer {PEER_VERSION} into {PEER} (about ten minutes)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER_VERSION, "numpy"], check=True, env={**os.environ, "CMAKE_ARGS": "-DGGML_NATIVE=ON"})
    return python


def ours(threads, tokens, variant):
    done = subprocess.run([str(BIN / "bora-generate"), "--model-file", str(MODEL), "--prompt", PROMPT, "--max-tokens", str(tokens), "--threads", str(threads), "--kernel-variant", variant, "--stats"],
                          capture_output=True, text=True, check=True, env={k: v for k, v in os.environ.items() if not k.startswith("BORA_")})
    found = re.search(r"prefill (\d+) tokens in [\d.]+ s = ([\d.]+) tok/s; decode (\d+) tokens in [\d.]+ s = ([\d.]+) tok/s", done.stdout + done.stderr)
    return {"prefill": float(found[2]), "decode": float(found[4]), "prompt": int(found[1])}


def theirs(python, threads, tokens):
    done = subprocess.run([str(python), "-c", PEER_PROGRAM, str(MODEL), str(threads), str(tokens), PROMPT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def spread(values):
    return f"{statistics.median(values):7.1f} ({min(values):.1f}..{max(values):.1f})"


def bench_engine(options):
    python = build_peer()
    print(f"{processor()}\n{PEER_VERSION}, {MODEL.name}, one stream, {options.rounds} rounds interleaved, {options.tokens} tokens decoded\n")
    print(f"{'threads':8}{'what':10}{'bora tok/s':28}{'llama.cpp tok/s':28}ratio of medians")
    ratios = []
    for threads in (1, 2) if os.cpu_count() > 1 else (1,):
        samples = [(ours(threads, options.tokens, options.variant), theirs(python, threads, options.tokens)) for _ in range(options.rounds)]
        for what in ("decode", "prefill"):
            a, b = [s[0][what] for s in samples], [s[1][what] for s in samples]
            ratio = statistics.median(a) / statistics.median(b)
            ratios.append(f"{what}, {threads} threads: {ratio:.2f}x")
            print(f"{threads:<8}{what:10}{spread(a):28}{spread(b):28}{ratio:.2f}")
    print("\n".join(["", *ratios]))


def bench_program(name):
    program = BIN / f"bora-bench-{name}"
    if not program.exists():
        sys.exit(f"bench: {program} is not built")
    print(f"== {name}: {processor()}", flush=True)
    subprocess.run([str(program)], check=True)


def main():
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("name", nargs="?", choices=["all", "engine", "kernels", "rpc"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--variant", default="auto", choices=["auto", "plain", "avx2", "avx512"])
    options = parser.parse_args()
    if options.name in ("all", "kernels"):
        bench_program("kernels")
    if options.name in ("all", "rpc"):
        bench_program("rpc")
    if options.name == "engine" or (options.name == "all" and (PEER / "bin/python").exists()):
        bench_engine(options)


if __name__ == "__main__":
    main()
