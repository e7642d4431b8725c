#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What the repository promises about itself: include rules, licence headers, sizes, forbidden words, formatting.

    ./dev lint            everything
    ./dev lint includes   one check: includes, licences, sizes, words, format

The test `lint` runs it too, so CI does. It needs neither git nor clang-format: without them it looks at the folder's files, and says that
the formatting was not looked at. --root DIR looks at another tree.
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("bora/v1/", "bora/internal/v1/")  # headers made from proto/

# Who may include whom (ARCHITECTURE.md). "proto" is the generated code and proto/descriptors.h.
MAY_INCLUDE = {
    "base": {"base"},
    "kernels": {"base", "kernels"},
    "collectives": {"base", "collectives"},
    "rpc": {"base", "rpc"},
    "store": {"base", "store"},
    "engine": {"base", "kernels", "collectives", "engine"},
    "training": {"base", "kernels", "collectives", "engine", "training"},
    "services/gateway": {"base", "rpc", "store", "proto", "services/gateway", "engine/tokenizer", "engine/grammar"},
    "services/worker": {"base", "collectives", "rpc", "store", "engine", "proto", "services/worker"},
    "services/trainer": {"base", "kernels", "collectives", "rpc", "store", "engine", "training", "proto", "services/trainer"},
    "services/keys": {"base", "rpc", "store", "proto", "services/keys"},
    "cli": {"base", "rpc", "proto", "cli", "engine/weights", "engine/convert", "engine/tokenizer", "engine/grammar"},
    "clients/c": {"base", "rpc", "proto", "clients/c"},
    "proto": {"proto"},
}
# Inside engine/ the order is: text and files, then the model, then who drives it.
ENGINE_ORDER = ["weights", "tokenizer", "chat", "grammar", "kv_cache", "sampler", "text_stream", "model", "convert", "scheduler", "engine"]
FUNCTION_LINES_MAX, FILE_LINES_MAX = 70, 800
NOT_SOURCES = {"build", ".git", ".bora", "__pycache__"}
FORMATTER_MAJOR = 14  # Debian 12's; others lay out the same rules otherwise
# Found by line so that the list of exceptions can only shrink.
LONG_FUNCTIONS_ALLOWED = set()


def listed():
    """Paths of what belongs to the tree: what git knows, or all there is where git is not."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        return [f for f in found if f and (ROOT / f).exists()]
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in NOT_SOURCES]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return found


def files(*suffixes):
    return [Path(f) for f in sorted(listed()) if f.endswith(suffixes)]


def room_of(path):
    parts = str(path).split("/")
    return "/".join(parts[:2]) if parts[0] in ("services", "clients") else parts[0]


def included_room(include):
    if include.startswith(GENERATED) or include.startswith("proto/"):
        return "proto"
    return room_of(Path(include))


class Skipped(Exception):
    """A check that cannot be made here; the sentence says why."""


def check_includes():
    for path in files(".c", ".h", ".inc"):
        room = room_of(path)
        if room not in MAY_INCLUDE:
            continue  # tests, bench and tools may use everything
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            include = found[1]
            target = included_room(include)
            if "/" not in include:
                yield f"{path}:{number}: write \"{include}\" from the root, so that the line shows the room"
            elif target not in MAY_INCLUDE[room] and "/".join(include.split("/")[:2]) not in MAY_INCLUDE[room]:
                yield f"{path}:{number}: {room} may not include {include}"
            elif room == "engine" and target == "engine":
                yield from check_engine_order(path, number, include)


def check_engine_order(path, number, include):
    def rank(p):
        parts = str(p).split("/")
        return ENGINE_ORDER.index(parts[1]) if len(parts) > 2 and parts[1] in ENGINE_ORDER else len(ENGINE_ORDER)

    if rank(include) > rank(path):
        yield f"{path}:{number}: {include} stands above {'/'.join(str(path).split('/')[:2])} in the engine"


def check_licences():
    for path in files(".c", ".h", ".inc", ".py", ".sh", ".proto", ".lua"):
        if str(path).startswith("rpc/proto/grpc/"):
            continue  # gRPC's own, under its own Apache-2.0 header
        head = (ROOT / path).read_text(errors="replace")[:400]
        if "SPDX-License-Identifier:" not in head:
            yield f"{path}: no SPDX licence line"


def functions(text):
    """(name, first line, length) of every block that starts and ends in column 0."""
    lines, start, name = text.splitlines(), None, ""
    for number, line in enumerate(lines, 1):
        if start is None and line.endswith("{") and re.match(r"[A-Za-z_].*\)\s*\{$", line):
            start, name = number, re.search(r"(\w+)\s*\(", line)[1]
        elif line.startswith("}") and start is not None:
            yield name, start, number - start + 1
            start = None


def check_sizes():
    for path in files(".c", ".h", ".inc"):
        text = (ROOT / path).read_text()
        if text.count("\n") > FILE_LINES_MAX:
            yield f"{path}: {text.count(chr(10))} lines (at most {FILE_LINES_MAX})"
        for name, line, length in functions(text):
            if length > FUNCTION_LINES_MAX and f"{path}:{name}" not in LONG_FUNCTIONS_ALLOWED:
                yield f"{path}:{line}: {name}() has {length} lines (at most {FUNCTION_LINES_MAX})"


BANNED = {r"\bstrcat\s*\(": "bytes_append or snprintf", r"\bgets\s*\(": "fgets", r"\bstrtok\s*\(": "strcspn", r"\balloca\s*\(": "an arena", r"\bFIXME\b|\bXXX\b": "an issue"}


def check_words():
    for path in files(".c", ".h", ".inc"):
        if str(path).startswith("tests/"):
            continue
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            for pattern, instead in BANNED.items():
                if re.search(pattern, line):
                    yield f"{path}:{number}: use {instead}: {line.strip()[:80]}"


def check_format():
    tool = shutil.which("clang-format")
    version = re.search(r"version (\d+)", subprocess.run([tool, "--version"], capture_output=True, text=True).stdout) if tool else None
    if version is None or int(version[1]) != FORMATTER_MAJOR:
        raise Skipped(f"clang-format {FORMATTER_MAJOR} is not installed")
    sources = [str(f) for f in files(".c", ".h", ".inc")]
    done = subprocess.run([tool, "--dry-run", *sources], cwd=ROOT, capture_output=True, text=True)
    changed = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "warning:" in line})
    for path in changed:
        yield f"{path}: not formatted (./dev fmt)"


CHECKS = {"includes": check_includes, "licences": check_licences, "sizes": check_sizes, "words": check_words, "format": check_format}


def main():
    global ROOT
    wanted = sys.argv[1:]
    if wanted[:1] == ["--root"]:
        ROOT, wanted = Path(wanted[1]).absolute(), wanted[2:]
    wanted = wanted or list(CHECKS)
    unknown = [w for w in wanted if w not in CHECKS]
    if unknown:
        sys.exit(f"lint: unknown check '{unknown[0]}' (there are {', '.join(CHECKS)})")
    if not files(".c", ".h"):
        sys.exit(f"lint: there are no sources in {ROOT}")
    problems = 0
    for name in wanted:
        try:
            found = list(CHECKS[name]())
        except Skipped as skipped:
            print(f"lint {name}: skipped: {skipped}")
            continue
        problems += len(found)
        for line in found:
            print(line)
        print(f"lint {name}: {len(found)} problems" if found else f"lint {name}: ok")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
