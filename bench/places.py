# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Where things lie, and how programs are found and started."""
import os
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
