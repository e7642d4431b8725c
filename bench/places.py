# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Where things lie, and what every bench needs of the operating system."""
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release")) / "bin"
CACHE = Path(os.environ.get("BORA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bora")


def say(text):
    print(f"==> {text}", flush=True)


def clean_environment():
    """Without BORA_* variables that happen to be set for a house of the user's."""
    return {k: v for k, v in os.environ.items() if not k.startswith("BORA_")}


def program(name):
    path = BIN / name
    if not path.exists():
        sys.exit(f"bench: {path} is not built; run ./dev build")
    return path


def processor():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)[1]
    flags = set(re.search(r"flags\s*: (.*)", text)[1].split())
    shown = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f in flags]
    return f"{name}, {os.cpu_count()} CPUs, {' '.join(shown)}"


def load():
    """Processes that ran or wanted to, on average over the last minute."""
    return os.getloadavg()[0]
